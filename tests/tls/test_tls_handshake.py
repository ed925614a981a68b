"""Playbooks of both roles, no network: this comes in, that goes out, and every refusal has its alert.

What holds in TLS 1.2 and 1.3 alike is here, with the rest of TLS 1.2; `test_tls13_handshake.py` has that of TLS 1.3.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys, proof, records
from lab.tls.alerts import FATAL, WARNING, Alert, AlertDescription
from lab.tls.client import Client
from lab.tls.connection import MAX_WARNINGS
from lab.tls.engine import Closed, Data, EngineEvent, Established, Failed
from lab.tls.errors import CertificateError, TlsError
from lab.tls.extensions import Extension
from lab.tls.keys import Entropy
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    HelloRequest,
    Message,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
    serialize,
)
from lab.tls.messages13 import parse
from lab.tls.records import ContentType, write_record
from lab.tls.server import ClientAuth, OtherName, Proof, Server
from lab.tls.sessions import SessionStore
from lab.tls.transcript import Transcript
from lab.tls.versions import TLS12, TLS13, Version
from tls13_script import start
from tls_peers import NAME, cases, our_client, our_server, pieces, talk
from tls_script import GROUP, Script, ScriptedClient, ScriptedServer

both_roles = pytest.mark.parametrize("role", ["client", "server"])


Against = Callable[..., Any]


@pytest.fixture(params=[TLS12, TLS13], ids=str)
def version(request: pytest.FixtureRequest) -> Version:
    found: Version = request.param
    return found


@pytest.fixture
def against(version: Version, alice: pki.Identity, bank: pki.Identity) -> Against:
    """A script against a fresh engine of this role, in each of the versions."""
    return partial(start, version, alice=alice, bank=bank)


@pytest.fixture
def against12(alice: pki.Identity, bank: pki.Identity) -> Against:
    """The same in TLS 1.2 alone."""
    return partial(start, TLS12, alice=alice, bank=bank)


@pytest.fixture
def client(against12: Against) -> ScriptedServer:
    """Our client, with a scripted server to talk to it."""
    script = against12("client")
    assert isinstance(script, ScriptedServer)
    return script


@pytest.fixture
def server(against12: Against) -> ScriptedClient:
    """Our server, with a scripted client to talk to it."""
    script = against12("server")
    assert isinstance(script, ScriptedClient)
    return script


# The honest order, and every other one.


@both_roles
def test_the_honest_script_is_taken(against: Against, role: str) -> None:
    script = against(role).play_all()
    assert script.events == [Established()]
    script.send(ContentType.APPLICATION_DATA, b"hello")
    assert script.events == [Established(), Data(b"hello")]


@both_roles
def test_application_data_before_the_end_of_the_handshake_is_unexpected(against: Against, role: str) -> None:
    for step in against(role).steps:
        script = against(role)
        script.play_before(step)
        script.send(ContentType.APPLICATION_DATA, b"early")
        assert (script.refusal, script.data) == ("unexpected_message", b"")


def test_a_hello_request_during_the_handshake_means_nothing(client: ScriptedServer) -> None:
    client.play_before("certificate")
    client.say_raw(serialize(HelloRequest()))
    client.play("certificate", "key_exchange", "request", "done", "change_cipher_spec", "finished")
    assert client.established
    assert client.alerts == []


# Finished.


@both_roles
@cases("verify_data", {"zeros": bytes(12), "empty": b"", "long": bytes(36)})
def test_a_finished_that_does_not_fit_is_a_decrypt_error(against: Against, role: str, verify_data: bytes) -> None:
    script = against(role)
    script.play_before("finished")
    script.say(Finished(verify_data))
    assert script.refusal == "decrypt_error"


@pytest.mark.parametrize("name", [NAME, "other.example"])
def test_what_stands_for_another_name_is_for_those_who_ask_for_it(
    alice: pki.Identity, bank: pki.Identity, version: Version, name: str
) -> None:
    """RFC 6066 section 3."""
    other = OtherName(ClientAuth(lambda chain: None, Proof.NOT_CHECKED), SessionStore(os.urandom))
    server = our_server(bank, versions=(version,), other_names={"other.example": other})
    usual = server.client_auth, server.sessions
    client = Client(
        entropy=os.urandom,
        server_name=name,
        chain=(alice.der,),
        prove=proof.prove_with(alice.key),
        versions=(version,),
    )
    assert talk(client, server).established
    expected = usual if name == NAME else (other.client_auth, other.sessions)
    assert (server.client_auth, server.sessions) == expected


@pytest.mark.parametrize("tickets", [False, True])
def test_a_client_asks_for_a_ticket_only_if_it_is_told_to(version: Version, tickets: bool) -> None:
    """RFC 5077 section 3.2; in TLS 1.3 a server sends them to clients that name a mode (RFC 8446 section 4.2.9)."""
    client = our_client(versions=(version,), tickets=True) if tickets else our_client(versions=(version,))
    hello = parse(client.transcript.entries[0].raw, version)
    assert isinstance(hello, ClientHello)
    kind = ext.PSK_KEY_EXCHANGE_MODES if version == TLS13 else ext.SESSION_TICKET
    assert (ext.find(hello.extensions, kind) is not None) is tickets


def test_a_server_asks_for_certificates_with_both_kinds_of_signatures(alice: pki.Identity, bank: pki.Identity) -> None:
    """ecdsa_sign is 64 (RFC 8422 section 5.5), rsa_sign is 1 (RFC 5246 section 7.4.4)."""
    client = our_client(alice)
    assert talk(client, our_server(bank)).established
    assert isinstance(client.request, CertificateRequest)
    assert client.request.certificate_types == (64, 1)


def test_a_transcript_after_a_retry_begins_with_the_first_hellos_hash() -> None:
    """message_hash is 254 (RFC 8446 section 4.4.1)."""
    transcript = Transcript()
    transcript.add("client", b"hello")
    transcript.hash_first(hashes.SHA256())
    transcript.add("server", b"retry")
    assert transcript.content() == b"\xfe\0\0\x20" + hashlib.sha256(b"hello").digest() + b"retry"


def test_a_server_has_no_premaster_secret_before_a_client_has_come(bank: pki.Identity) -> None:
    assert our_server(bank).premaster == b""


@both_roles
def test_a_finished_in_plaintext_has_a_bad_mac(against12: Against, role: str) -> None:
    script = against12(role)
    script.play_before("finished")
    finished = serialize(script.make_finished())
    script.give(write_record(ContentType.HANDSHAKE, finished))
    assert script.refusal == "bad_record_mac"


# Records.


@both_roles
def test_messages_may_come_in_records_of_one_byte(against: Against, role: str) -> None:
    script = against(role)
    script.cut = lambda raw: pieces(raw, 1)
    assert script.play_all()


def test_a_client_takes_all_of_the_servers_flight_in_one_record(client: ScriptedServer, bank: pki.Identity) -> None:
    client.say_together(
        client.make_hello(),
        Certificate((bank.der,)),
        client.make_key_exchange(),
        CertificateRequest((64,), proof.SCHEME_IDS),
        ServerHelloDone(),
    )
    client.play("change_cipher_spec", "finished")
    assert client.established


def test_a_server_takes_all_of_the_clients_flight_in_one_record(server: ScriptedClient) -> None:
    server.hello()
    certificate, (exchange, premaster) = server.make_certificate(), server.make_key_exchange()
    server.handshake += serialize(certificate) + serialize(exchange)
    server.derive(premaster, server.random, server.find(ServerHello).random)
    verify = server.make_proof()
    server.handshake += serialize(verify)
    server.say_raw(serialize(certificate) + serialize(exchange) + serialize(verify))
    server.play("change_cipher_spec", "finished")
    assert server.established


@pytest.mark.parametrize("cut", [1, 2, 5, 4096])
def test_bytes_may_come_in_pieces_of_any_size(
    alice: pki.Identity, bank: pki.Identity, version: Version, cut: int
) -> None:
    assert talk(our_client(alice, versions=(version,)), our_server(bank, versions=(version,)), cut).established


@both_roles
def test_a_record_of_another_type_within_a_message_is_unexpected(against: Against, role: str) -> None:
    for interrupt in (Script.change_cipher_spec, lambda script: script.send(ContentType.APPLICATION_DATA, b"")):
        script = against(role)
        script.play_before("certificate")
        script.say_raw(b"\x0b")
        interrupt(script)
        assert script.refusal == "unexpected_message"


@both_roles
def test_an_alert_within_a_message_is_heard(against: Against, role: str) -> None:
    script = against(role)
    script.play_before("certificate")
    script.say_raw(b"\x0b")
    script.send(ContentType.ALERT, Alert(FATAL, AlertDescription.INTERNAL_ERROR).serialize())
    (failed,) = script.events
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (AlertDescription.INTERNAL_ERROR, script.role)


@both_roles
def test_a_message_must_not_span_the_change_of_keys(against12: Against, role: str) -> None:
    """Its first bytes would be taken for protected ones."""
    script = against12(role)
    script.play_before("change_cipher_spec")
    script.say_raw(serialize(script.make_finished())[:4])
    script.send(ContentType.CHANGE_CIPHER_SPEC, b"\x01")
    assert script.refusal == "unexpected_message"


def test_a_finished_in_the_record_before_the_change_of_keys_is_unexpected(server: ScriptedClient) -> None:
    server.play_before("proof")
    server.say_together(server.make_proof(), server.make_finished())
    assert server.refusal == "unexpected_message"


@both_roles
@pytest.mark.parametrize("step", ["hello", "certificate"])
def test_a_plaintext_record_that_is_too_long_overflows(against: Against, role: str, step: str) -> None:
    script = against(role)
    script.play_before(step)
    script.send(ContentType.HANDSHAKE, bytes(records.MAX_PLAINTEXT + 1))
    assert script.refusal == "record_overflow"


@both_roles
def test_a_protected_record_with_too_much_plaintext_overflows(against: Against, role: str) -> None:
    script = against(role).play_all()
    script.send(ContentType.APPLICATION_DATA, bytes(records.MAX_PLAINTEXT + 1))
    assert script.refusal == "record_overflow"
    assert script.data == b""


@both_roles
def test_a_record_longer_than_any_overflows(against: Against, role: str) -> None:
    script = against(role)
    script.give(b"\x16\x03\x03" + (records.MAX_PROTECTED + 1).to_bytes(2, "big"))
    assert script.refusal == "record_overflow"


@both_roles
def test_a_huge_message_is_a_decode_error(against: Against, role: str) -> None:
    script = against(role)
    script.play_before("certificate")
    script.say_raw(b"\x0b" + (records.MAX_MESSAGE + 1).to_bytes(3, "big"))
    assert script.refusal == "decode_error"


@both_roles
def test_an_empty_handshake_record_is_unexpected(against: Against, role: str) -> None:
    script = against(role)
    script.say_raw(b"")
    assert script.refusal == "unexpected_message"


@both_roles
def test_what_is_no_tls_is_unexpected(against: Against, role: str) -> None:
    script = against(role)
    script.give(b"GET / HTTP/1.1\r\n\r\n")
    assert script.refusal == "unexpected_message"


@both_roles
@pytest.mark.parametrize("content", [b"", b"\x02", b"\x01\x01"])
def test_a_change_cipher_spec_is_the_byte_1(against12: Against, role: str, content: bytes) -> None:
    script = against12(role)
    script.play_before("change_cipher_spec")
    script.send(ContentType.CHANGE_CIPHER_SPEC, content)
    assert script.refusal == "decode_error"


@both_roles
def test_a_record_that_was_tampered_with_has_a_bad_mac(against: Against, role: str) -> None:
    script = against(role).play_all()
    assert script.write
    sealed = bytearray(script.write.seal(ContentType.APPLICATION_DATA, b"to bob")[1])
    sealed[10] ^= 1
    script.give(write_record(ContentType.APPLICATION_DATA, bytes(sealed)))
    assert script.refusal == "bad_record_mac"


@both_roles
def test_plaintext_after_the_handshake_has_a_bad_mac(against: Against, role: str) -> None:
    script = against(role).play_all()
    script.give(write_record(ContentType.APPLICATION_DATA, b"an injected command, longer than a tag"))
    assert script.refusal == "bad_record_mac"
    assert script.data == b""


@both_roles
def test_a_protected_record_has_the_version_that_was_agreed_on(against12: Against, role: str) -> None:
    script = against12(role).play_all()
    script.send(ContentType.APPLICATION_DATA, b"data", version=0x0301)
    assert script.refusal == "protocol_version"


@both_roles
def test_some_empty_records_are_nothing_and_a_flood_of_them_is_unexpected(against: Against, role: str) -> None:
    script = against(role).play_all()
    for _ in range(records.MAX_EMPTY_RECORDS):
        script.send(ContentType.APPLICATION_DATA, b"")
    script.send(ContentType.APPLICATION_DATA, b"data")
    assert script.data == b"data"
    for _ in range(records.MAX_EMPTY_RECORDS + 1):
        script.send(ContentType.APPLICATION_DATA, b"")
    assert script.refusal == "unexpected_message"


@both_roles
def test_nothing_is_heard_or_said_after_a_failure(against: Against, role: str) -> None:
    script = against(role)
    script.say_raw(b"")
    reported, said = list(script.events), list(script.alerts)
    script.play("hello")
    script.engine.close()
    script.listen()
    assert (script.events, script.alerts) == (reported, said)


# Alerts.


@both_roles
@pytest.mark.parametrize("description", list(AlertDescription), ids=lambda alert: alert.label)
def test_every_fatal_alert_ends_the_handshake_and_is_reported(
    against12: Against, role: str, description: AlertDescription
) -> None:
    script = against12(role)
    script.play_before("certificate")
    script.send(ContentType.ALERT, Alert(FATAL, description).serialize())
    (failed,) = script.events
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (description, script.role)
    assert description.label in failed.reason
    assert script.alerts == []


@both_roles
def test_a_fatal_alert_ends_an_established_connection(against: Against, role: str) -> None:
    script = against(role).play_all()
    script.send(ContentType.ALERT, Alert(FATAL, AlertDescription.INTERNAL_ERROR).serialize())
    failed = script.events[-1]
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (AlertDescription.INTERNAL_ERROR, script.role)


@both_roles
def test_a_warning_changes_nothing_and_a_flood_of_them_is_unexpected(against12: Against, role: str) -> None:
    script = against12(role)
    warning = Alert(WARNING, AlertDescription.UNRECOGNIZED_NAME).serialize()
    for _ in range(MAX_WARNINGS):
        script.send(ContentType.ALERT, warning)
    script.play_all()
    script.send(ContentType.ALERT, warning)
    assert script.refusal == "unexpected_message"


@both_roles
@pytest.mark.parametrize("content", [b"", b"\x02", b"\x02\x28\x02\x28", b"\x03\x28"], ids=bytes.hex)
def test_an_alert_that_cannot_be_read_is_a_decode_error(against12: Against, role: str, content: bytes) -> None:
    script = against12(role)
    script.send(ContentType.ALERT, content)
    assert script.refusal == "decode_error"


@both_roles
def test_close_notify_is_reported_and_answered_in_kind(against: Against, role: str) -> None:
    script = against(role).play_all()
    script.send(ContentType.ALERT, Alert(WARNING, AlertDescription.CLOSE_NOTIFY).serialize())
    script.engine.close()
    script.listen()
    assert script.events[-1] == Closed()
    assert script.alerts == [Alert(WARNING, AlertDescription.CLOSE_NOTIFY)]


@both_roles
def test_close_notify_is_said_once_and_what_still_comes_is_read(against: Against, role: str) -> None:
    script = against(role).play_all()
    script.engine.close()
    script.engine.close()
    script.send(ContentType.APPLICATION_DATA, b"last words")
    script.send(ContentType.ALERT, Alert(WARNING, AlertDescription.CLOSE_NOTIFY).serialize())
    assert script.alerts == [Alert(WARNING, AlertDescription.CLOSE_NOTIFY)]
    assert script.events[1:] == [Data(b"last words"), Closed()]


@both_roles
@pytest.mark.parametrize("level", [WARNING, FATAL], ids=["close_notify", "a fatal alert"])
def test_what_follows_the_end_is_not_heard_even_if_it_came_with_it(against: Against, role: str, level: int) -> None:
    script = against(role).play_all()
    assert script.write
    end = Alert(level, AlertDescription.CLOSE_NOTIFY if level == WARNING else AlertDescription.INTERNAL_ERROR)
    contents = ((ContentType.ALERT, end.serialize()), (ContentType.APPLICATION_DATA, b"too late"))
    script.give(b"".join(write_record(*script.write.seal(kind, content)) for kind, content in contents))
    assert [type(event) for event in script.events] == [Established, Closed if level == WARNING else Failed]


@both_roles
def test_close_notify_has_no_effect_on_the_other_direction_in_tls_13(
    alice: pki.Identity, bank: pki.Identity, role: str
) -> None:
    """RFC 8446 section 6.1; section 7.2.1 of RFC 5246 has it otherwise."""
    client, server = our_client(alice, versions=(TLS13,)), our_server(bank, versions=(TLS13,))
    assert talk(client, server).established
    closing, other = (client, server) if role == "server" else (server, client)
    closing.send(b"the question")
    closing.close()
    said = talk(client, server)
    assert (said.data(role), getattr(said, role)[-1]) == (b"the question", Closed())
    other.send(b"the answer")
    other.close()
    said = talk(client, server)
    assert (said.data(closing.role), getattr(said, closing.role)[-1]) == (b"the answer", Closed())


@both_roles
def test_close_notify_ends_both_directions_in_tls_12(alice: pki.Identity, bank: pki.Identity, role: str) -> None:
    """RFC 5246 section 7.2.1: the other side answers with close_notify at once, and discards what it has to write."""
    client, server = our_client(alice), our_server(bank)
    assert talk(client, server).established
    closing, other = (client, server) if role == "server" else (server, client)
    closing.close()
    assert getattr(talk(client, server), closing.role) == [Closed()]
    with pytest.raises(TlsError):
        other.send(b"the answer")


@both_roles
def test_an_engine_that_gives_up_says_so_with_an_alert(against: Against, role: str) -> None:
    for step in against(role).steps:
        script = against(role)
        script.play_before(step)
        script.events += script.engine.give_up("this takes too long")
        script.listen()
        assert script.refusal == "internal_error"
        assert script.engine.give_up("again") == []


@both_roles
def test_close_notify_within_the_handshake_is_a_failure(against: Against, role: str) -> None:
    script = against(role)
    script.play_before("certificate")
    script.send(ContentType.ALERT, Alert(WARNING, AlertDescription.CLOSE_NOTIFY).serialize())
    (failed,) = script.events
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (AlertDescription.CLOSE_NOTIFY, script.role)


@both_roles
def test_data_can_be_sent_only_while_the_connection_stands(against: Against, role: str) -> None:
    script = against(role)
    with pytest.raises(TlsError):
        script.engine.send(b"early")
    script.play_all().engine.send(b"in time")
    script.engine.close()
    with pytest.raises(TlsError):
        script.engine.send(b"late")


# Renegotiation.


def test_a_server_that_asks_to_renegotiate_is_told_no(client: ScriptedServer) -> None:
    client.play_all()
    client.say_raw(serialize(HelloRequest()))
    assert client.alerts == [Alert(WARNING, AlertDescription.NO_RENEGOTIATION)]
    client.send(ContentType.APPLICATION_DATA, b"all the same")
    assert client.data == b"all the same"


def test_a_client_that_starts_to_renegotiate_is_told_no(server: ScriptedClient) -> None:
    server.play_all()
    server.say_raw(serialize(server.make_hello()))
    assert server.alerts == [Alert(WARNING, AlertDescription.NO_RENEGOTIATION)]
    server.send(ContentType.APPLICATION_DATA, b"all the same")
    assert server.data == b"all the same"


@both_roles
def test_asking_to_renegotiate_again_and_again_is_unexpected(against12: Against, role: str) -> None:
    script = against12(role).play_all()
    request: Message = HelloRequest() if role == "client" else ClientHello(bytes(32), b"", (1,), None)
    for _ in range(MAX_WARNINGS + 1):
        script.say_raw(serialize(request))
    assert script.refusal == "unexpected_message"


# ClientHello.

TLS13_ONLY = Extension(ext.SUPPORTED_VERSIONS, b"\x02\x03\x04")
TLS12_AND_13 = Extension(ext.SUPPORTED_VERSIONS, b"\x04\x03\x04\x03\x03")
NO_SCHEMES = Extension(ext.SIGNATURE_ALGORITHMS, b"\0\0")
NOT_EMPTY = Extension(ext.RENEGOTIATION_INFO, b"\x0c" + bytes(12))
ED25519 = ext.number_list(ext.SIGNATURE_ALGORITHMS, (0x0807,))


@cases(
    ("changes", "alert"),
    {
        "TLS 1.1": ({"version": 0x0302}, "protocol_version"),
        "TLS 1.3 alone": ({"add": (TLS13_ONLY,)}, "protocol_version"),
        "no suite of ours": ({"cipher_suites": (0x1301, 0x002F)}, "handshake_failure"),
        "no suite for the server's key": ({"cipher_suites": (0xC02F,)}, "handshake_failure"),
        "no suite at all": ({"cipher_suites": ()}, "decode_error"),
        "SSL 3.0": ({"version": 0x0300}, "protocol_version"),
        "SSL 3.0 and TLS 1.2": ({"version": 0x0300, "add": (TLS12_AND_13,)}, "protocol_version"),
        "no compression method at all": ({"compression_methods": b""}, "decode_error"),
        "an empty signature_algorithms": ({"replace": (NO_SCHEMES,)}, "decode_error"),
        "an empty supported_groups": ({"replace": (Extension(ext.SUPPORTED_GROUPS, b"\0\0"),)}, "decode_error"),
        "an empty ec_point_formats": ({"replace": (Extension(ext.EC_POINT_FORMATS, b"\0"),)}, "decode_error"),
        "bytes after ec_point_formats": ({"replace": (Extension(ext.EC_POINT_FORMATS, b"\1\0?"),)}, "decode_error"),
        "no server name in server_name": ({"add": (Extension(ext.SERVER_NAME, b""),)}, "decode_error"),
        "an empty list in server_name": ({"add": (Extension(ext.SERVER_NAME, b"\0\0"),)}, "decode_error"),
        "an empty server name": ({"add": (Extension(ext.SERVER_NAME, b"\0\x03\0\0\0"),)}, "decode_error"),
        "bytes after server_name": ({"add": (Extension(ext.SERVER_NAME, b"\0\x04\0\0\1a?"),)}, "decode_error"),
        "two server names": ({"add": (Extension(0, b"\0\x08" + b"\0\0\1a" * 2),)}, "illegal_parameter"),
        "a server name with a NUL": ({"add": (Extension(0, b"\0\x06\0\0\3a\0b"),)}, "illegal_parameter"),
        "no group of ours": ({"replace": (ext.number_list(ext.SUPPORTED_GROUPS, (30,)),)}, "handshake_failure"),
        "no scheme for the server's key": ({"replace": (ED25519,)}, "handshake_failure"),
        "only the default schemes, which are SHA-1's": ({"without": (ext.SIGNATURE_ALGORITHMS,)}, "handshake_failure"),
        "renegotiation_info not empty": ({"replace": (NOT_EMPTY,)}, "handshake_failure"),
        "compression alone": ({"compression_methods": b"\x01"}, "illegal_parameter"),
        "compressed points alone": ({"replace": (Extension(ext.EC_POINT_FORMATS, b"\x01\x01"),)}, "illegal_parameter"),
        "extended_master_secret not empty": (
            {"replace": (Extension(ext.EXTENDED_MASTER_SECRET, b"\0"),)},
            "decode_error",
        ),
        "half a group": ({"replace": (Extension(ext.SUPPORTED_GROUPS, b"\0\x03\0\x17\0"),)}, "decode_error"),
        "an extension twice": ({"add": (Extension(21, b""), Extension(21, b""))}, "decode_error"),
        "server_name cut off": ({"add": (Extension(ext.SERVER_NAME, b"\0\x05\0\0\x09ba"),)}, "decode_error"),
        "session_id too long": ({"session_id": bytes(33)}, "decode_error"),
    },
)
def test_a_server_refuses_a_client_hello_for_its_right_reason(
    server: ScriptedClient, changes: dict[str, object], alert: str
) -> None:
    server.say(server.make_hello(**changes))
    assert server.refusal == alert
    assert server.heard == []


@cases(
    "changes",
    {
        "a later version": {"version": 0x0304},
        "TLS 1.3 too": {"add": (TLS12_AND_13,)},
        "no point formats": {"without": (ext.EC_POINT_FORMATS,)},
        "no renegotiation_info": {"without": (ext.RENEGOTIATION_INFO,)},
        "a session to resume": {"session_id": bytes(32)},
        "compression too": {"compression_methods": b"\x01\x00"},
        "a suite that nobody knows": {"cipher_suites": (0x0A0A, 0xC02B)},
        "an extension that nobody knows": {"add": (Extension(0x0A0A, b"grease"),)},
    },
)
def test_a_server_takes_a_client_hello_that_offers_more_or_less(
    server: ScriptedClient, changes: dict[str, object]
) -> None:
    server.say(server.make_hello(**changes))
    server.play("certificate", "key_exchange", "proof", "change_cipher_spec", "finished")
    assert server.established


@pytest.mark.parametrize(("version", "kind"), [(TLS12, 20), (TLS12, 23), (TLS13, 20), (TLS13, 23)], ids=str)
@both_roles
def test_no_other_record_comes_between_the_parts_of_a_message(
    alice: pki.Identity, bank: pki.Identity, role: str, version: Version, kind: int
) -> None:
    """RFC 5246 section 6.2.1, RFC 8446 section 5.1. A ChangeCipherSpec would be right here but for that."""
    script = start(version, role, alice=alice, bank=bank)
    script.play_before("change_cipher_spec" if version == TLS12 else "finished")
    whole = serialize(script.make_finished())
    script.say_raw(whole[:7])
    if kind == ContentType.CHANGE_CIPHER_SPEC:
        script.change_cipher_spec()
    else:
        script.send(kind, b"data")
    assert script.refusal == "unexpected_message"
    (failed,) = [event for event in script.events if isinstance(event, Failed)]
    assert "another record interrupts a handshake message" in failed.reason


def test_a_client_that_names_no_groups_gets_the_one_that_the_server_likes_best(server: ScriptedClient) -> None:
    """RFC 8422 section 4."""
    server.say(server.make_hello(without=(ext.SUPPORTED_GROUPS,)))
    (exchange,) = [message for message in server.heard if isinstance(message, ServerKeyExchange)]
    assert exchange.group == keys.GROUPS[0] != GROUP


def test_a_server_answers_only_the_extensions_that_were_asked(server: ScriptedClient) -> None:
    lacking = (ext.EC_POINT_FORMATS, ext.RENEGOTIATION_INFO, ext.EXTENDED_MASTER_SECRET)
    server.say(server.make_hello(without=lacking))
    assert server.find(ServerHello).extensions is None


def test_a_server_answers_that_it_takes_uncompressed_points(server: ScriptedClient) -> None:
    """RFC 8422 section 5.2."""
    server.hello()
    assert ext.find(server.find(ServerHello).extensions, ext.EC_POINT_FORMATS) == b"\1\0"


def test_a_server_asks_for_a_certificate_with_a_key_to_sign_with(server: ScriptedClient) -> None:
    """RFC 8422 section 5.5: ecdsa_sign is 64. RFC 5246 section 7.4.4: rsa_sign is 1."""
    server.hello()
    assert server.find(CertificateRequest).certificate_types == (64, 1)


def test_a_server_answers_the_renegotiation_suite_as_it_does_the_extension(server: ScriptedClient) -> None:
    suites = (0xC02B, keys.RENEGOTIATION_SCSV)
    server.say(server.make_hello(cipher_suites=suites, without=(ext.RENEGOTIATION_INFO,)))
    assert ext.find(server.find(ServerHello).extensions, ext.RENEGOTIATION_INFO) == b"\0"


def test_a_server_asks_for_a_certificate_only_if_told_to(server: ScriptedClient, against12: Against) -> None:
    server.hello()
    assert server.find(CertificateRequest).signature_schemes == proof.SCHEME_IDS
    silent = against12("server", policy=None)
    silent.play("hello", "key_exchange", "change_cipher_spec", "finished")
    assert silent.established
    assert not [message for message in silent.heard if isinstance(message, CertificateRequest)]


def test_a_server_that_did_not_ask_takes_no_certificate(against: Against) -> None:
    script = against("server", policy=None)
    script.play("hello", "certificate")
    assert script.refusal == "unexpected_message"


def test_every_handshake_has_a_random_of_its_own(against: Against) -> None:
    first, second = against("server"), against("server")
    first.play("hello")
    second.play("hello")
    assert first.find(ServerHello).random != second.find(ServerHello).random


# ServerHello and what follows it.

CHOSE_TLS13 = Extension(ext.SUPPORTED_VERSIONS, b"\x03\x04")


@cases(
    ("changes", "alert"),
    {
        "TLS 1.1": ({"version": 0x0302}, "protocol_version"),
        "TLS 1.3's number": ({"version": 0x0304}, "protocol_version"),
        "TLS 1.3, which was not offered": ({"add": (CHOSE_TLS13,)}, "unsupported_extension"),
        "a suite that was not offered": ({"cipher_suite": 0x002F}, "illegal_parameter"),
        "compression": ({"compression_method": 1}, "illegal_parameter"),
        "an extension that was not offered": ({"add": (Extension(16, b"\0\x03\x02h2"),)}, "unsupported_extension"),
        "renegotiation_info not empty": ({"extensions": (NOT_EMPTY,)}, "handshake_failure"),
        "compressed points alone": ({"add": (Extension(ext.EC_POINT_FORMATS, b"\x01\x01"),)}, "illegal_parameter"),
        "an extension twice": ({"add": (ext.extended_master_secret(),)}, "decode_error"),
    },
)
def test_a_client_refuses_a_server_hello_for_its_right_reason(
    client: ScriptedServer, changes: dict[str, object], alert: str
) -> None:
    client.say(client.make_hello(**changes))
    assert client.refusal == alert


def test_a_client_offers_what_it_was_told_to(alice: pki.Identity, bank: pki.Identity) -> None:
    suite = keys.CIPHER_SUITES[2]
    script = ScriptedServer(our_client(alice, suites=(suite,), groups=(GROUP,)), bank)
    hello = script.find(ClientHello)
    assert hello.cipher_suites == (suite.id,)
    assert ext.read_server_name(hello.extensions) == NAME
    assert ext.read_number_list(hello.extensions, ext.SUPPORTED_GROUPS) == (GROUP,)
    assert ext.read_number_list(hello.extensions, ext.SIGNATURE_ALGORITHMS) == proof.SCHEME_IDS
    assert ext.find(hello.extensions, ext.EXTENDED_MASTER_SECRET) == b""
    assert ext.find(hello.extensions, ext.RENEGOTIATION_INFO) == b"\0"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_client_names_no_server_that_it_knows_by_address_alone(bank: pki.Identity, address: str) -> None:
    """RFC 6066 section 3: server_name holds no IP addresses."""
    script = ScriptedServer(Client(entropy=os.urandom, server_name=address), bank)
    assert ext.find(script.find(ClientHello).extensions, ext.SERVER_NAME) is None


@pytest.mark.parametrize(
    ("chain", "alert"),
    [((), "handshake_failure"), ((b"no certificate",), "bad_certificate"), ((b"",), "decode_error")],
    ids=["none", "garbage", "an empty one"],
)
@both_roles
def test_a_certificate_that_cannot_be_used_is_refused(
    against12: Against, role: str, chain: tuple[bytes, ...], alert: str
) -> None:
    script = against12(role)
    script.play_before("certificate")
    script.say(Certificate(chain))
    assert script.refusal == alert


def test_a_certificate_that_does_not_suit_the_suite_is_illegal(client: ScriptedServer, authority: pki.Identity) -> None:
    client.hello()
    client.say(Certificate((pki.new_server(authority, "rsa").der,)))
    assert client.refusal == "illegal_parameter"


def test_the_check_of_a_clients_chain_has_the_last_word(against: Against) -> None:
    def nobody(chain: tuple[bytes, ...]) -> None:
        raise CertificateError(AlertDescription.UNKNOWN_CA, "nobody is known here")

    script = against("server", check=nobody)
    script.play("hello", "certificate")
    assert script.refusal == "unknown_ca"


def test_the_check_of_a_servers_chain_has_the_last_word(against: Against) -> None:
    def nobody(chain: tuple[bytes, ...]) -> None:
        raise CertificateError(AlertDescription.CERTIFICATE_EXPIRED, "too old")

    script = against("client", check_chain=nobody)
    script.play_before("certificate")
    script.play("certificate")
    assert script.refusal == "certificate_expired"


def test_a_client_refuses_a_key_exchange_that_the_server_did_not_sign(client: ScriptedServer) -> None:
    client.play_before("key_exchange")
    honest = client.make_key_exchange()
    client.say(replace(honest, point=keys.new_key_share(GROUP, lambda count: b"\x01" * count).public))
    assert client.refusal == "decrypt_error"


def test_a_client_refuses_the_key_exchange_of_another_handshake(client: ScriptedServer, against12: Against) -> None:
    """The signature covers both randoms (RFC 8422 section 5.4)."""
    earlier = against12("client")
    assert isinstance(earlier, ScriptedServer)
    client.play_before("key_exchange")
    earlier.play_before("key_exchange")
    client.say(earlier.make_key_exchange())
    assert client.refusal == "decrypt_error"


def test_a_client_refuses_a_group_that_it_did_not_offer(against12: Against) -> None:
    script = against12("client", groups=(keys.X25519,))
    script.play_before("done")
    assert script.refusal == "illegal_parameter"


@pytest.mark.parametrize("scheme", [0x0203, 0x0401], ids=["not offered", "for another kind of key"])
def test_a_client_refuses_a_key_exchange_with_a_scheme_that_does_not_do(client: ScriptedServer, scheme: int) -> None:
    client.play_before("key_exchange")
    client.say(replace(client.make_key_exchange(), scheme=scheme))
    assert client.refusal == "illegal_parameter"


BAD_POINTS = {
    "not on the curve": b"\x04" + b"\x01" * 64,
    "at infinity": b"\x00",
    "too short": b"\x04" + bytes(10),
    "compressed": keys.new_key_share(GROUP, lambda count: b"\x02" * count).public[:33].replace(b"\x04", b"\x02", 1),
}


@pytest.mark.parametrize("point", BAD_POINTS.values(), ids=BAD_POINTS)
@both_roles
def test_a_key_share_that_is_no_uncompressed_point_is_illegal(against12: Against, role: str, point: bytes) -> None:
    script = against12(role)
    script.play_before("key_exchange")
    if isinstance(script, ScriptedServer):
        script.say(script.make_key_exchange(point=point))
        script.play("request", "done")
    else:
        script.say(ClientKeyExchange.ecdhe(point))
    assert script.refusal == "illegal_parameter"


@both_roles
def test_an_empty_key_share_is_a_decode_error(against12: Against, role: str) -> None:
    """RFC 8422 section 5.4: opaque point <1..2^8-1>."""
    script = against12(role)
    script.play_before("key_exchange")
    if isinstance(script, ScriptedServer):
        script.say(script.make_key_exchange(point=b""))
    else:
        script.say(ClientKeyExchange.ecdhe(b""))
    assert script.refusal == "decode_error"


def test_an_x25519_share_that_gives_no_secret_is_illegal(client: ScriptedServer) -> None:
    """RFC 8422 section 5.11: the all-zero result."""
    client.play_before("key_exchange")
    client.say(client.make_key_exchange(keys.X25519, bytes(32)))
    client.play("request", "done")
    assert client.refusal == "illegal_parameter"


def test_bytes_after_the_point_in_a_client_key_exchange_are_a_decode_error(server: ScriptedClient) -> None:
    server.play_before("key_exchange")
    exchange, _ = server.make_key_exchange()
    server.say(ClientKeyExchange(exchange.exchange_keys + b"\0"))
    assert server.refusal == "decode_error"


# The proof.


def test_both_sides_agree_on_what_a_proof_has_to_sign(alice: pki.Identity, bank: pki.Identity) -> None:
    ours, theirs = our_client(alice), our_server(bank)
    assert talk(ours, theirs).established
    assert ours.challenge
    assert ours.challenge == theirs.challenge
    names = ["ClientHello", "ServerHello", "Certificate", "ServerKeyExchange", "CertificateRequest", "ServerHelloDone"]
    assert [step.name for step in ours.steps][:6] == names
    signed = b"".join(step.raw for step in ours.steps[:8])
    assert ours.challenge.content == signed
    assert [step.name for step in ours.steps[6:8]] == ["Certificate", "ClientKeyExchange"]


def test_both_sides_saw_the_same_handshake(alice: pki.Identity, bank: pki.Identity, version: Version) -> None:
    ours, theirs = our_client(alice, versions=(version,)), our_server(bank, versions=(version,))
    assert talk(ours, theirs).established
    assert ours.steps == theirs.steps
    assert ours.transcript.entries == theirs.transcript.entries
    assert ours.key_log == theirs.key_log != ""
    assert ours.challenge == theirs.challenge is not None


@pytest.mark.parametrize("scheme", [0x0203, 0x0808], ids=["SHA-1", "Ed448"])
@pytest.mark.parametrize("policy", list(Proof), ids=lambda policy: policy.name)
def test_a_proof_with_a_scheme_that_was_not_offered_is_illegal_where_it_is_looked_at(
    against12: Against, policy: Proof, scheme: int
) -> None:
    script = against12("server", policy=policy)
    assert isinstance(script, ScriptedClient)
    script.play_before("proof")
    script.say(replace(script.make_proof(), scheme=scheme))
    if policy is Proof.REQUIRED:
        assert script.refusal == "illegal_parameter"
    else:
        script.play("change_cipher_spec", "finished")
        assert script.established


def test_a_proof_with_a_scheme_for_another_kind_of_key_is_illegal(server: ScriptedClient) -> None:
    server.play_before("proof")
    server.say(replace(server.make_proof(), scheme=0x0804))
    assert server.refusal == "illegal_parameter"


@cases("signature", {"empty": b"", "a byte": b"\0", "zeros": bytes(70)})
def test_a_proof_that_is_no_signature_is_a_decrypt_error(server: ScriptedClient, signature: bytes) -> None:
    server.play_before("proof")
    server.say(CertificateVerify(0x0403, signature))
    assert server.refusal == "decrypt_error"


def test_a_proof_over_anything_but_this_handshake_is_a_decrypt_error(server: ScriptedClient) -> None:
    server.play_before("proof")
    honest = server.handshake
    server.handshake = honest[:-1]
    short = server.make_proof()
    server.handshake = honest
    server.say(short)
    assert server.refusal == "decrypt_error"


@pytest.mark.parametrize("policy", list(Proof), ids=lambda policy: policy.name)
def test_a_client_without_a_certificate_is_a_handshake_failure(bank: pki.Identity, policy: Proof) -> None:
    failed = talk(our_client(), our_server(bank, policy)).failure("client")
    assert (failed.alert, failed.sent_by) == (AlertDescription.HANDSHAKE_FAILURE, "server")


@pytest.mark.parametrize("policy", list(Proof), ids=lambda policy: policy.name)
def test_a_proof_may_be_missing_only_where_it_is_not_checked(against: Against, policy: Proof) -> None:
    script = against("server", policy=policy)
    script.play(*(step for step in script.steps if step != "proof"))
    if policy is Proof.NOT_CHECKED:
        assert script.established
    else:
        assert script.refusal == "unexpected_message"


def test_a_server_that_asks_for_no_proof_takes_any(against: Against) -> None:
    script = against("server", policy=Proof.NOT_CHECKED)
    script.play_before("proof")
    script.say(CertificateVerify(0xFFFF, b"?"))
    script.play(*script.steps[script.steps.index("proof") + 1 :])
    assert script.established


def test_even_without_a_proof_the_handshake_itself_is_checked(against12: Against) -> None:
    script = against12("server", policy=Proof.NOT_CHECKED)
    script.play("hello", "certificate", "key_exchange", "change_cipher_spec")
    script.say(Finished(bytes(12)))
    assert script.refusal == "decrypt_error"


def test_a_client_that_no_scheme_suits_ends_the_handshake_itself(client: ScriptedServer) -> None:
    client.play_before("request")
    client.say(CertificateRequest((1,), (0x0401,)))
    client.done()
    assert client.refusal == "internal_error"


def test_a_client_that_is_not_asked_sends_neither_certificate_nor_proof(client: ScriptedServer) -> None:
    client.play("hello", "certificate", "key_exchange", "done", "change_cipher_spec", "finished")
    assert client.established
    names = [message.name for message in client.heard]
    assert names == ["ClientHello", "ClientKeyExchange", "Finished"]


def test_a_client_without_a_certificate_says_so_and_proves_nothing(alice: pki.Identity, bank: pki.Identity) -> None:
    script = ScriptedServer(our_client(prove=proof.prove_with(alice.key)), bank)
    script.play(*script.steps)
    assert script.established
    assert script.find(Certificate).chain == ()
    assert not [message for message in script.heard if isinstance(message, CertificateVerify)]


# There is no randomness but what was given.


def a_handshake(alice: pki.Identity, bank: pki.Identity, seed: bytes) -> list[bytes]:
    """All flights of a handshake whose randomness comes from `seed` alone."""

    def entropy(label: bytes) -> Entropy:
        numbers = count()
        return lambda length: hashlib.shake_256(seed + label + bytes([next(numbers)])).digest(length)

    prove = proof.prove_with(alice.key)
    client = Client(entropy=entropy(b"client"), chain=(alice.der,), prove=prove)
    auth = ClientAuth(lambda chain: None, Proof.REQUIRED)
    server = Server(entropy=entropy(b"server"), chain=(bank.der,), key=bank.key, client_auth=auth)
    flights = []
    for giver, taker in ((client, server), (server, client)) * 2:
        flights.append(giver.data_to_send())
        taker.receive(flights[-1])
    client.send(b"hello")
    assert server.receive(client.data_to_send()) == [Data(b"hello")]
    return flights


def test_the_same_entropy_makes_the_same_bytes(authority: pki.Identity) -> None:
    """With Ed25519, whose signatures hold no randomness of their own, that is true of the whole handshake."""
    alice, bank = pki.new_client(authority, key_type="ed25519"), pki.new_server(authority, "ed25519")
    first, again, other = (a_handshake(alice, bank, seed) for seed in (b"one", b"one", b"another"))
    assert first == again
    assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))


# Whatever comes, an engine answers; it never raises.


@both_roles
@settings(max_examples=300)
@given(steps=st.integers(0, 7), data=st.binary(max_size=200), kind=st.none() | st.sampled_from(list(ContentType)))
def test_arbitrary_bytes_never_raise_in_any_state(
    against: Against, role: str, steps: int, data: bytes, kind: ContentType | None
) -> None:
    script = against(role)
    script.play(*script.steps[:steps])
    if kind is None:
        script.give(data)
    else:
        script.send(kind, data)
    assert sum(isinstance(event, Failed) for event in script.events) <= 1


def minor_versions(flight: bytearray) -> set[int]:
    """Where in these records the minor version stands."""
    found, start = set(), 0
    for record in records.RecordReader().feed(bytes(flight)):
        found.add(start + 2)
        start += records.RECORD_HEADER_LENGTH + len(record.fragment)
    return found


@settings(max_examples=300)
@given(flight=st.integers(0, 3), position=st.integers(0, 100_000), change=st.integers(1, 255))
def test_a_flight_with_one_byte_changed_never_raises_and_never_leads_to_a_connection(
    alice: pki.Identity, bank: pki.Identity, version: Version, flight: int, position: int, change: int
) -> None:
    """Both Finished cover the messages and tags cover what is protected; a plaintext record's version is free."""
    versions = (version, TLS12)[: 1 + (version == TLS13)]
    client, server = our_client(alice, versions=versions), our_server(bank, versions=versions)
    harmless = True
    events: dict[str, list[EngineEvent]] = {"client": [], "server": []}
    for turn in range(8):
        giver, taker = (client, server) if turn % 2 == 0 else (server, client)
        sent = bytearray(giver.data_to_send())
        if turn == flight and sent:
            at = position % len(sent)
            harmless = at in minor_versions(sent)
            sent[at] ^= change
        events[taker.role] += taker.receive(bytes(sent))
    assert harmless or not all(Established() in found for found in events.values())
