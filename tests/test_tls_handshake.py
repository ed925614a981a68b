"""Playbooks of the two state machines: this comes in, that goes out. No network, and no peer but ourselves."""

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import pki
from lab.tls import extensions as ext
from lab.tls import keys
from lab.tls.alerts import FATAL, WARNING, Alert, AlertDescription
from lab.tls.client import Client
from lab.tls.connection import Connection
from lab.tls.engine import Closed, Data, EngineEvent, Established, Failed
from lab.tls.errors import CertificateError, TlsError
from lab.tls.keys import CIPHER_SUITES, SECP256R1, X25519
from lab.tls.messages import (
    Certificate,
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
from lab.tls.records import MAX_MESSAGE, MAX_PLAINTEXT, ContentType, RecordReader, write_record
from lab.tls.server import Proof, Server
from tls_peers import our_client, our_server, talk


@pytest.fixture(scope="module")
def bank() -> pki.Identity:
    return pki.new_server(pki.new_authority())


@pytest.fixture(scope="module")
def alice() -> pki.Identity:
    return pki.new_client(pki.new_authority())


def handshake(*messages: Message) -> bytes:
    """One record with these messages."""
    return write_record(ContentType.HANDSHAKE, b"".join(map(serialize, messages)))


CHANGE_CIPHER_SPEC = write_record(ContentType.CHANGE_CIPHER_SPEC, b"\x01")
HELLO = ClientHello(
    bytes(32),
    b"",
    tuple(suite.id for suite in CIPHER_SUITES),
    (
        ext.number_list(ext.SUPPORTED_GROUPS, keys.GROUPS),
        ext.number_list(ext.SIGNATURE_ALGORITHMS, (0x0403, 0x0804)),
        ext.renegotiation_info(),
    ),
)
ANY_KEY_EXCHANGE = ClientKeyExchange.ecdhe(keys.new_key_share(X25519, os.urandom).public)


def failure(events: list[EngineEvent]) -> Failed:
    (failed,) = [event for event in events if isinstance(event, Failed)]
    return failed


def last_alert(sent: bytes) -> Alert:
    """The plaintext alert that ends what was sent."""
    record = list(RecordReader().feed(sent))[-1]
    assert record.type == ContentType.ALERT
    return Alert(*record.fragment)


def assert_refused(connection: Connection, data: bytes, alert: AlertDescription) -> None:
    """The connection ends with this alert, which it also really sends."""
    failed = failure(connection.receive(data))
    assert (failed.alert, failed.sent_by) == (alert, connection.role)
    assert last_alert(connection.data_to_send()) == Alert(FATAL, alert)
    assert connection.receive(b"more") == []


# --- the server ---


SERVER_OUT_OF_ORDER: dict[str, list[bytes]] = {
    "a Certificate first": [handshake(Certificate(()))],
    "a Finished first": [handshake(Finished(bytes(12)))],
    "ChangeCipherSpec first": [CHANGE_CIPHER_SPEC],
    "two ClientHellos": [handshake(HELLO), handshake(HELLO)],
    "ClientKeyExchange in place of the Certificate": [handshake(HELLO), handshake(ANY_KEY_EXCHANGE)],
    "CertificateVerify in place of the Certificate": [handshake(HELLO), handshake(CertificateVerify(0x0403, b""))],
    "ChangeCipherSpec before any key": [handshake(HELLO), CHANGE_CIPHER_SPEC],
    "a ServerHelloDone from the client": [handshake(HELLO), handshake(ServerHelloDone())],
    "application data": [handshake(HELLO), write_record(ContentType.APPLICATION_DATA, b"GET /")],
}


@pytest.mark.parametrize("records", SERVER_OUT_OF_ORDER.values(), ids=SERVER_OUT_OF_ORDER)
def test_a_server_refuses_what_is_out_of_order(bank: pki.Identity, records: list[bytes]) -> None:
    server = our_server(bank)
    for record in records[:-1]:
        server.receive(record)
    server.data_to_send()
    assert_refused(server, records[-1], AlertDescription.UNEXPECTED_MESSAGE)


def after_certificate(bank: pki.Identity, alice: pki.Identity, policy: Proof = Proof.REQUIRED) -> Server:
    server = our_server(bank, policy)
    server.receive(handshake(HELLO))
    server.receive(handshake(Certificate((alice.der,))))
    server.data_to_send()
    return server


@pytest.mark.parametrize("policy", Proof, ids=lambda policy: policy.name)
def test_change_cipher_spec_before_the_key_exchange_is_refused(
    bank: pki.Identity, alice: pki.Identity, policy: Proof
) -> None:
    server = after_certificate(bank, alice, policy)
    assert_refused(server, CHANGE_CIPHER_SPEC, AlertDescription.UNEXPECTED_MESSAGE)


@pytest.mark.parametrize("policy", Proof, ids=lambda policy: policy.name)
def test_a_proof_before_the_key_exchange_is_refused(bank: pki.Identity, alice: pki.Identity, policy: Proof) -> None:
    server = after_certificate(bank, alice, policy)
    assert_refused(server, handshake(CertificateVerify(0x0403, b"")), AlertDescription.UNEXPECTED_MESSAGE)


def test_a_second_certificate_is_refused(bank: pki.Identity, alice: pki.Identity) -> None:
    server = after_certificate(bank, alice)
    assert_refused(server, handshake(Certificate((alice.der,))), AlertDescription.UNEXPECTED_MESSAGE)


def test_without_a_proof_the_change_cipher_spec_is_out_of_order(bank: pki.Identity, alice: pki.Identity) -> None:
    server = after_certificate(bank, alice)
    server.receive(handshake(ANY_KEY_EXCHANGE))
    failed = failure(server.receive(CHANGE_CIPHER_SPEC))
    assert failed.reason == "unexpected_message: ChangeCipherSpec came instead of CertificateVerify"


@pytest.mark.parametrize(
    ("scheme", "alert"),
    [
        (0x0403, AlertDescription.DECRYPT_ERROR),
        (0x0804, AlertDescription.ILLEGAL_PARAMETER),
        (0x0101, AlertDescription.ILLEGAL_PARAMETER),
    ],
    ids=["a signature that is none", "a scheme for another kind of key", "a scheme that was not offered"],
)
def test_a_wrong_proof_is_refused_for_its_own_reason(
    bank: pki.Identity, alice: pki.Identity, scheme: int, alert: AlertDescription
) -> None:
    server = after_certificate(bank, alice)
    server.receive(handshake(ANY_KEY_EXCHANGE))
    assert_refused(server, handshake(CertificateVerify(scheme, b"\x30\x06\x02\x01\x01\x02\x01\x01")), alert)


@pytest.mark.parametrize(
    ("changed", "alert"),
    [
        ({"version": 0x0302}, AlertDescription.PROTOCOL_VERSION),
        ({"cipher_suites": (0x002F,)}, AlertDescription.HANDSHAKE_FAILURE),
        ({"compression_methods": b"\x01"}, AlertDescription.ILLEGAL_PARAMETER),
        ({"extensions": (ext.number_list(ext.SUPPORTED_GROUPS, (24,)),)}, AlertDescription.HANDSHAKE_FAILURE),
        ({"extensions": (ext.number_list(ext.SIGNATURE_ALGORITHMS, (0x0201,)),)}, AlertDescription.HANDSHAKE_FAILURE),
        ({"extensions": (ext.Extension(ext.RENEGOTIATION_INFO, b"\x01x"),)}, AlertDescription.HANDSHAKE_FAILURE),
        ({"extensions": (ext.Extension(ext.SUPPORTED_VERSIONS, b"\x02\x03\x04"),)}, AlertDescription.PROTOCOL_VERSION),
        (
            {"extensions": (*(HELLO.extensions or ()), *(ext.extended_master_secret(),) * 2)},
            AlertDescription.DECODE_ERROR,
        ),
    ],
    ids=["TLS 1.1", "no suite", "compression", "no group", "no scheme", "renegotiation", "TLS 1.3 alone", "twice"],
)
def test_a_hello_that_the_server_cannot_take(
    bank: pki.Identity, changed: dict[str, object], alert: AlertDescription
) -> None:
    fields = {
        "random": bytes(32),
        "session_id": b"",
        "cipher_suites": HELLO.cipher_suites,
        "extensions": HELLO.extensions,
    }
    hello = ClientHello(**(fields | changed))  # type: ignore[arg-type]
    assert_refused(our_server(bank), handshake(hello), alert)


def test_a_client_without_a_certificate_gets_handshake_failure(bank: pki.Identity) -> None:
    server = our_server(bank)
    server.receive(handshake(HELLO))
    server.data_to_send()
    assert_refused(server, handshake(Certificate(())), AlertDescription.HANDSHAKE_FAILURE)


def test_a_certificate_that_is_none_is_bad(bank: pki.Identity) -> None:
    server = our_server(bank)
    server.receive(handshake(HELLO))
    server.data_to_send()
    assert_refused(server, handshake(Certificate((b"not a certificate",))), AlertDescription.BAD_CERTIFICATE)


def test_the_chain_checks_own_alert_is_sent(bank: pki.Identity, alice: pki.Identity) -> None:
    def expired(chain: tuple[bytes, ...]) -> None:
        raise CertificateError(AlertDescription.CERTIFICATE_EXPIRED, "too old")

    said = talk(our_client(alice), our_server(bank, Proof.REQUIRED, expired))
    assert said.failure("client").alert == AlertDescription.CERTIFICATE_EXPIRED
    assert said.failure("server").reason == "too old"


def test_a_point_that_is_on_no_curve_is_an_illegal_parameter(bank: pki.Identity, alice: pki.Identity) -> None:
    server = after_certificate(bank, alice)
    assert_refused(server, handshake(ClientKeyExchange.ecdhe(bytes(32))), AlertDescription.ILLEGAL_PARAMETER)


# --- the client ---


CLIENT_OUT_OF_ORDER: dict[str, bytes] = {
    "a Certificate first": handshake(Certificate(())),
    "ServerHelloDone first": handshake(ServerHelloDone()),
    "a Finished first": handshake(Finished(bytes(12))),
    "ChangeCipherSpec first": CHANGE_CIPHER_SPEC,
    "a ClientHello from the server": handshake(HELLO),
    "application data": write_record(ContentType.APPLICATION_DATA, b"HTTP/1.1"),
}


@pytest.mark.parametrize("record", CLIENT_OUT_OF_ORDER.values(), ids=CLIENT_OUT_OF_ORDER)
def test_a_client_refuses_what_is_out_of_order(record: bytes) -> None:
    client = our_client()
    client.data_to_send()
    assert_refused(client, record, AlertDescription.UNEXPECTED_MESSAGE)


@pytest.mark.parametrize(
    ("hello", "alert"),
    [
        (ServerHello(bytes(32), b"", 0xC02B, None, 0x0302), AlertDescription.PROTOCOL_VERSION),
        (ServerHello(bytes(32), b"", 0x002F, None), AlertDescription.ILLEGAL_PARAMETER),
        (ServerHello(bytes(32), b"", 0xC02B, None, compression_method=1), AlertDescription.ILLEGAL_PARAMETER),
        (ServerHello(bytes(32), b"", 0xC02B, (ext.Extension(35, b""),)), AlertDescription.UNSUPPORTED_EXTENSION),
        (
            ServerHello(bytes(32), b"", 0xC02B, (ext.Extension(ext.RENEGOTIATION_INFO, b"\x01x"),)),
            AlertDescription.HANDSHAKE_FAILURE,
        ),
    ],
    ids=["TLS 1.1", "another suite", "compression", "an extension nobody offered", "renegotiation"],
)
def test_a_hello_that_the_client_cannot_take(hello: ServerHello, alert: AlertDescription) -> None:
    client = our_client()
    client.data_to_send()
    assert_refused(client, handshake(hello), alert)


def tampered(
    alice: pki.Identity, bank: pki.Identity, kind: type, change: Callable[[bytes], bytes]
) -> tuple[Client, list[EngineEvent]]:
    """A client whose server's first flight was changed in one message."""
    client, server = our_client(alice), our_server(bank)
    server.receive(client.data_to_send())
    events: list[EngineEvent] = []
    for record in RecordReader().feed(server.data_to_send()):
        fragment = change(record.fragment) if record.fragment[0] == kind.type else record.fragment  # type: ignore[attr-defined]
        events += client.receive(write_record(record.type, fragment))
    return client, events


def test_a_server_that_does_not_prove_its_own_key_is_refused(alice: pki.Identity, bank: pki.Identity) -> None:
    _, events = tampered(alice, bank, ServerKeyExchange, lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]))
    assert failure(events).alert == AlertDescription.DECRYPT_ERROR


def test_a_server_with_another_certificate_is_refused(alice: pki.Identity, bank: pki.Identity) -> None:
    _, events = tampered(alice, bank, Certificate, lambda raw: serialize(Certificate((alice.der,))))
    assert failure(events).alert == AlertDescription.DECRYPT_ERROR


def test_the_clients_own_chain_check_is_asked(alice: pki.Identity, bank: pki.Identity) -> None:
    def unknown(chain: tuple[bytes, ...]) -> None:
        raise CertificateError(AlertDescription.UNKNOWN_CA, "never heard of it")

    said = talk(our_client(alice, check_chain=unknown), our_server(bank))
    assert said.failure("server").alert == AlertDescription.UNKNOWN_CA
    assert said.failure("server").sent_by == "client"


def test_a_client_that_is_not_asked_sends_no_certificate(alice: pki.Identity, bank: pki.Identity) -> None:
    client, server = our_client(alice), our_server(bank, None)
    assert talk(client, server).established
    assert server.peer_chain == ()
    assert "Certificate" not in [step.name for step in client.steps if step.sender == "client"]


# --- either role ---


def parties(alice: pki.Identity, bank: pki.Identity) -> tuple[Client, Server]:
    client, server = our_client(alice), our_server(bank)
    assert talk(client, server).established
    return client, server


@pytest.mark.parametrize("suite", CIPHER_SUITES[:3], ids=lambda suite: suite.name)
@pytest.mark.parametrize("group", [X25519, SECP256R1])
def test_client_and_server_understand_each_other(
    alice: pki.Identity, bank: pki.Identity, suite: keys.CipherSuite, group: int
) -> None:
    client, server = our_client(alice, suites=(suite,)), our_server(bank, groups=(group,))
    assert talk(client, server).established
    client.send(b"ping")
    assert talk(client, server).data("server") == b"ping"
    assert client.key_log == server.key_log


def recut(stream: bytes, size: int) -> bytes:
    """The same handshake messages in records of `size` bytes, or all in one record each flight."""
    content = b"".join(record.fragment for record in RecordReader().feed(stream))
    step = size or len(content)
    return b"".join(write_record(ContentType.HANDSHAKE, content[i : i + step]) for i in range(0, len(content), step))


@pytest.mark.parametrize("size", [1, 5, 0], ids=["one byte a record", "five bytes a record", "all in one record"])
def test_messages_may_be_cut_and_joined_by_records(alice: pki.Identity, bank: pki.Identity, size: int) -> None:
    client, server = our_client(alice), our_server(bank)
    server.receive(recut(client.data_to_send(), size))
    client.receive(recut(server.data_to_send(), size))
    flight = client.data_to_send()
    plain = flight[: flight.index(CHANGE_CIPHER_SPEC)]
    server.receive(recut(plain, size) + flight[len(plain) :])
    assert Established() in client.receive(server.data_to_send())


@pytest.mark.parametrize("cut", [1, 3])
def test_bytes_may_come_one_by_one(alice: pki.Identity, bank: pki.Identity, cut: int) -> None:
    assert talk(our_client(alice), our_server(bank), cut=cut).established


def test_a_record_inside_a_message_that_is_cut_is_refused(bank: pki.Identity) -> None:
    server = our_server(bank)
    server.receive(handshake(HELLO)[:5][:3] + b"\x00\x04" + serialize(HELLO)[:4])
    assert_refused(server, CHANGE_CIPHER_SPEC, AlertDescription.UNEXPECTED_MESSAGE)


@pytest.mark.parametrize(
    ("data", "alert"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", AlertDescription.UNEXPECTED_MESSAGE),
        (b"\x16\x03\x03\xff\xff", AlertDescription.RECORD_OVERFLOW),
        (write_record(ContentType.HANDSHAKE, bytes(MAX_PLAINTEXT + 1)), AlertDescription.RECORD_OVERFLOW),
        (
            handshake(HELLO)[:5] + b"\x01" + (MAX_MESSAGE + 1).to_bytes(3, "big") + bytes(200),
            AlertDescription.DECODE_ERROR,
        ),
        (write_record(ContentType.HANDSHAKE, b""), AlertDescription.UNEXPECTED_MESSAGE),
        (write_record(ContentType.ALERT, b"\x02"), AlertDescription.DECODE_ERROR),
        (write_record(ContentType.ALERT, b"\x07\x00"), AlertDescription.DECODE_ERROR),
        (write_record(ContentType.CHANGE_CIPHER_SPEC, b"\x02"), AlertDescription.DECODE_ERROR),
        (write_record(ContentType.ALERT, bytes((WARNING, 90))) * 5, AlertDescription.UNEXPECTED_MESSAGE),
        (handshake(HelloRequest()) * 5, AlertDescription.UNEXPECTED_MESSAGE),
        (write_record(ContentType.HANDSHAKE, b"\x01\x00\x00\x01\x00"), AlertDescription.DECODE_ERROR),
    ],
    ids=[
        "HTTP",
        "a record too long",
        "plaintext too long",
        "a message too long",
        "an empty handshake record",
        "half an alert",
        "an alert of no level",
        "another ChangeCipherSpec",
        "a flood of warnings",
        "a flood of HelloRequests",
        "a hello that is cut off",
    ],
)
@pytest.mark.parametrize("role", ["client", "server"])
def test_garbage_ends_the_connection_with_the_alert_for_it(
    bank: pki.Identity, role: str, data: bytes, alert: AlertDescription
) -> None:
    connection: Connection = our_client() if role == "client" else our_server(bank)
    connection.data_to_send()
    assert_refused(connection, data, alert)


def test_a_flood_of_empty_records_ends_the_connection(alice: pki.Identity, bank: pki.Identity) -> None:
    client, _ = parties(alice, bank)
    failed = failure(client.receive(write_record(ContentType.APPLICATION_DATA, b"") * 40))
    assert failed.alert in (AlertDescription.BAD_RECORD_MAC, AlertDescription.UNEXPECTED_MESSAGE)


def test_a_record_that_was_tampered_with_is_a_bad_record_mac(alice: pki.Identity, bank: pki.Identity) -> None:
    client, server = parties(alice, bank)
    client.send(b"move 100 to bob")
    sent = bytearray(client.data_to_send())
    sent[-1] ^= 1
    assert failure(server.receive(bytes(sent))).alert == AlertDescription.BAD_RECORD_MAC


def test_a_record_that_comes_twice_is_a_bad_record_mac(alice: pki.Identity, bank: pki.Identity) -> None:
    client, server = parties(alice, bank)
    client.send(b"move 100 to bob")
    sent = client.data_to_send()
    assert server.receive(sent) == [Data(b"move 100 to bob")]
    assert failure(server.receive(sent)).alert == AlertDescription.BAD_RECORD_MAC


def test_a_wrong_finished_is_a_decrypt_error(
    alice: pki.Identity, bank: pki.Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = keys.verify_data

    def wrong(master: bytes, sender: str, handshake_: bytes, suite: keys.CipherSuite) -> bytes:
        return honest(master, sender, handshake_ + b"x", suite)

    client, server = our_client(alice), our_server(bank)
    server.receive(client.data_to_send())
    with monkeypatch.context() as patch:
        patch.setattr(keys, "verify_data", wrong)
        client.receive(server.data_to_send())
    assert failure(server.receive(client.data_to_send())).alert == AlertDescription.DECRYPT_ERROR


def test_renegotiation_is_declined_and_the_connection_goes_on(alice: pki.Identity, bank: pki.Identity) -> None:
    client, server = parties(alice, bank)
    server._write_record(ContentType.HANDSHAKE, serialize(HelloRequest()))
    assert client.receive(server.data_to_send()) == []
    assert client.steps[-1].raw == bytes((WARNING, AlertDescription.NO_RENEGOTIATION))
    client._write_record(ContentType.HANDSHAKE, serialize(HELLO))
    assert server.receive(client.data_to_send()) == []
    assert server.steps[-1].raw == bytes((WARNING, AlertDescription.NO_RENEGOTIATION))
    client.send(b"still here")
    assert talk(client, server).data("server") == b"still here"


@pytest.mark.parametrize("description", [d for d in AlertDescription if d != AlertDescription.CLOSE_NOTIFY])
def test_every_fatal_alert_of_the_peer_ends_the_connection_under_its_name(
    bank: pki.Identity, description: AlertDescription
) -> None:
    server = our_server(bank)
    failed = failure(server.receive(write_record(ContentType.ALERT, bytes((FATAL, description)))))
    assert (failed.alert, failed.sent_by) == (description, "client")
    assert description.label in failed.reason
    assert server.data_to_send() == b""


def test_close_notify_ends_it_in_good_order(alice: pki.Identity, bank: pki.Identity) -> None:
    client, server = parties(alice, bank)
    client.close()
    assert server.receive(client.data_to_send()) == [Closed()]
    assert server.receive(b"\x17\x03\x03\x00\x00") == []


def test_data_before_the_handshake_is_over_is_a_mistake_of_ours() -> None:
    with pytest.raises(TlsError, match="established"):
        our_client().send(b"too early")


def test_steps_tell_the_handshake_in_order(alice: pki.Identity, bank: pki.Identity) -> None:
    client, server = parties(alice, bank)
    told = [(step.sender, step.name) for step in client.steps]
    assert told == [(step.sender, step.name) for step in server.steps]
    assert [name for sender, name in told if sender == "client"] == [
        "ClientHello",
        "Certificate",
        "ClientKeyExchange",
        "CertificateVerify",
        "ChangeCipherSpec",
        "Finished",
    ]


def test_with_the_same_entropy_the_same_bytes_go_out() -> None:
    def entropy() -> Callable[[int], bytes]:
        numbers: Iterator[int] = count(1)
        return lambda length: bytes(next(numbers) % 256 for _ in range(length))

    assert Client(entropy=entropy()).data_to_send() == Client(entropy=entropy()).data_to_send()


def flights(alice: pki.Identity, bank: pki.Identity) -> tuple[bytes, bytes]:
    client, server = our_client(alice), our_server(bank)
    first = client.data_to_send()
    server.receive(first)
    client.receive(server.data_to_send())
    return first, client.data_to_send()


mutations = st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=3)


def mutated(flight: bytes, changes: list[tuple[int, int]]) -> bytes:
    """The flight with some bytes changed; places count modulo its length, which signatures vary."""
    changed = bytearray(flight)
    for place, value in changes if flight else ():
        changed[place % len(flight)] = value
    return bytes(changed)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_no_bytes_make_the_server_raise(alice: pki.Identity, bank: pki.Identity, data: st.DataObject) -> None:
    server = our_server(bank)
    for flight in flights(alice, bank):
        server.receive(mutated(flight, data.draw(mutations)))
    server.receive(data.draw(st.binary(max_size=100)))


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_no_bytes_make_the_client_raise(alice: pki.Identity, bank: pki.Identity, data: st.DataObject) -> None:
    client, server = our_client(alice), our_server(bank)
    for _ in range(2):
        server.receive(client.data_to_send())
        client.receive(mutated(server.data_to_send(), data.draw(mutations)))
    client.receive(data.draw(st.binary(max_size=100)))
