"""Playbooks of TLS 1.3: what `test_tls_handshake.py` doesn't have for both versions."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys, proof, records, wire
from lab.tls.alerts import FATAL, WARNING, Alert, AlertDescription
from lab.tls.client import MAX_COOKIE
from lab.tls.connection import MAX_EARLY_DATA, MAX_STEPS, MAX_WARNINGS
from lab.tls.engine import Failed
from lab.tls.extensions import Extension
from lab.tls.keys13 import MAX_KEY_UPDATES
from lab.tls.messages import (
    CertificateVerify,
    Finished,
    Message,
    ServerHello,
    serialize,
)
from lab.tls.messages13 import (
    Certificate13,
    CertificateEntry,
    CertificateRequest13,
    EncryptedExtensions,
    KeyUpdate,
    NewSessionTicket13,
)
from lab.tls.records import ContentType, write_record
from lab.tls.versions import TLS12, TLS13
from tls13_script import GROUP, OTHER_GROUP, SUITE, ScriptedClient13, ScriptedServer13, start
from tls_peers import cases, our_client, our_server, pieces

ROLES = ("client", "server")
both_roles = pytest.mark.parametrize("role", ROLES)


Against = Callable[..., Any]


@pytest.fixture
def against(alice: pki.Identity, bank: pki.Identity) -> Against:
    """A script against a fresh engine of this role, with the engine's options."""
    return partial(start, TLS13, alice=alice, bank=bank)


@pytest.fixture
def client(against: Against) -> ScriptedServer13:
    """Our client, with a scripted server to talk to it."""
    script = against("client")
    assert isinstance(script, ScriptedServer13)
    return script


@pytest.fixture
def server(against: Against) -> ScriptedClient13:
    """Our server, with a scripted client to talk to it."""
    script = against("server")
    assert isinstance(script, ScriptedClient13)
    return script


@pytest.fixture
def picky(against: Against) -> ScriptedClient13:
    """Our server, which asks for another group than the first share's."""
    script = against("server", groups=(OTHER_GROUP,))
    assert isinstance(script, ScriptedClient13)
    return script


# The honest order, and every other one.


def test_a_server_asks_for_a_certificate_only_if_told_to(against: Against) -> None:
    script = against("server", policy=None)
    script.play("hello", "finished")
    assert script.established
    assert not [message for message in script.heard if isinstance(message, CertificateRequest13)]


def test_a_client_that_is_not_asked_sends_neither_certificate_nor_proof(client: ScriptedServer13) -> None:
    client.play("hello", "extensions", "certificate", "proof", "finished")
    assert client.established
    assert [message.name for message in client.heard] == ["ClientHello", "Finished"]


# ClientHello.


@cases(
    ("changes", "alert"),
    {
        "TLS 1.2": ({"without": (ext.SUPPORTED_VERSIONS,)}, "protocol_version"),
        "versions without TLS 1.3": ({"replace": (ext.versions((TLS12, 0x0305)),)}, "protocol_version"),
        "no key_share": ({"without": (ext.KEY_SHARE,)}, "missing_extension"),
        "no supported_groups": ({"without": (ext.SUPPORTED_GROUPS,)}, "missing_extension"),
        "no signature_algorithms": ({"without": (ext.SIGNATURE_ALGORITHMS,)}, "missing_extension"),
        "a share of a group that is not offered": (
            {"replace": (ext.number_list(ext.SUPPORTED_GROUPS, (24,)),)},
            "illegal_parameter",
        ),
        "no group of ours": (
            {"replace": (ext.number_list(ext.SUPPORTED_GROUPS, (30,)), ext.key_shares([(30, b"point")]))},
            "handshake_failure",
        ),
        "only PKCS #1 v1.5": (
            {"replace": (ext.number_list(ext.SIGNATURE_ALGORITHMS, (0x0401,)),)},
            "handshake_failure",
        ),
        "no suite of ours": ({"cipher_suites": (0x1302, 0xC02B)}, "handshake_failure"),
        "compression": ({"compression_methods": b"\x01\x00"}, "illegal_parameter"),
        "two shares of a group": ({"replace": (ext.key_shares([(GROUP, b"a"), (GROUP, b"b")]),)}, "illegal_parameter"),
        "no point": ({"replace": (ext.key_shares([(GROUP, b"\x04" + bytes(64))]),)}, "illegal_parameter"),
        "a point that gives no secret": (
            {"replace": (ext.key_shares([(OTHER_GROUP, bytes(32))]),)},
            "illegal_parameter",
        ),
        "SSL 3.0 in the old field": ({"version": 0x0300}, "protocol_version"),
        "less than SSL 3.0 in the old field": ({"version": 0x0002}, "protocol_version"),
        "no suite at all": ({"cipher_suites": ()}, "decode_error"),
        "no compression method at all": ({"compression_methods": b""}, "decode_error"),
        "an empty supported_versions": ({"replace": (ext.versions(()),)}, "decode_error"),
        "an empty supported_groups": ({"replace": (ext.number_list(ext.SUPPORTED_GROUPS, ()),)}, "decode_error"),
        "an empty signature_algorithms": (
            {"replace": (ext.number_list(ext.SIGNATURE_ALGORITHMS, ()),)},
            "decode_error",
        ),
        "an empty point": ({"replace": (ext.key_shares([(GROUP, b"")]),)}, "decode_error"),
        "early_data not empty": ({"add": (Extension(ext.EARLY_DATA, b"\0"),)}, "decode_error"),
        "an empty server name": ({"add": (Extension(ext.SERVER_NAME, b"\0\x03\0\0\0"),)}, "decode_error"),
        "half a share": ({"replace": (Extension(ext.KEY_SHARE, b"\0\x04\0\x17\0"),)}, "decode_error"),
        "an extension twice": ({"add": (Extension(21, b""), Extension(21, b""))}, "decode_error"),
    },
)
def test_a_server_refuses_a_client_hello_for_its_right_reason(
    server: ScriptedClient13, changes: dict[str, Any], alert: str
) -> None:
    server.say(server.make_hello(**changes))
    assert server.refusal == alert
    assert server.heard == []


@cases(
    "changes",
    {
        "no session ID": {"session_id": b""},
        "an old legacy_version": {"version": 0x0301},
        "an unknown suite": {"cipher_suites": (0x0A0A, SUITE.id)},
        "an unknown extension": {"add": (Extension(0x0A0A, b"grease"),)},
        "an unasked cookie": {"add": (Extension(ext.COOKIE, b"\0\x01a"),)},
    },
)
def test_a_server_takes_a_client_hello_that_has_more_or_less(server: ScriptedClient13, changes: dict[str, Any]) -> None:
    server.say(server.make_hello(**changes))
    server.play("certificate", "proof", "finished")
    assert server.established
    middlebox = "ChangeCipherSpec" in [step.name for step in server.engine.steps]
    assert middlebox is (changes.get("session_id") != b"")


def test_a_server_asks_again_for_a_group_that_it_likes(picky: ScriptedClient13) -> None:
    picky.hello()
    assert ext.read_retry_group(picky.find(ServerHello).extensions) == OTHER_GROUP
    picky.change_cipher_spec()
    picky.second_hello(add=(Extension(ext.COOKIE, b"\0\x01a"), Extension(ext.PADDING, bytes(9))))
    picky.play("certificate", "proof", "finished")
    assert picky.established


@cases(
    "changes",
    {
        "random": {"random": bytes(32)},
        "session ID": {"session_id": b"other"},
        "suites": {"cipher_suites": (SUITE.id, 0x1302)},
        "versions": {"replace": (ext.versions((TLS13, TLS12)),)},
        "no share": {"replace": (ext.key_shares([]),)},
        "no key_share": {"without": (ext.KEY_SHARE,)},
        "an extension less": {"without": (ext.SIGNATURE_ALGORITHMS,)},
        "early data": {"add": (Extension(ext.EARLY_DATA, b""),)},
        "an extension more": {"add": (Extension(99, b""),)},
    },
)
def test_a_second_client_hello_that_is_not_the_first_is_illegal(
    picky: ScriptedClient13, changes: dict[str, Any]
) -> None:
    picky.hello()
    picky.second_hello(**changes)
    assert picky.refusal == "illegal_parameter"


def test_a_second_client_hello_has_each_extension_once(picky: ScriptedClient13) -> None:
    picky.hello()
    picky.second_hello(add=(ext.key_shares([(OTHER_GROUP, bytes(32))]),))
    assert picky.refusal == "decode_error"


def test_what_may_change_in_a_second_client_hello_is_there_once_too(picky: ScriptedClient13) -> None:
    picky.hello()
    picky.second_hello(add=(Extension(ext.PADDING, b"\0"),) * 2)
    assert picky.refusal == "decode_error"


def test_a_second_client_hello_with_the_first_ones_share_is_illegal(picky: ScriptedClient13) -> None:
    picky.hello()
    picky.hello()
    assert picky.refusal == "illegal_parameter"


def test_anything_but_a_second_client_hello_is_unexpected(picky: ScriptedClient13) -> None:
    picky.hello()
    picky.say(Finished(bytes(32)))
    assert picky.refusal == "unexpected_message"


# ServerHello and HelloRetryRequest.


@cases(
    ("changes", "alert"),
    {
        "TLS 1.3's number in the old field": ({"version": 0x0304}, "protocol_version"),
        "TLS 1.2, which was not offered": ({"extensions": None}, "protocol_version"),
        "a later version": ({"extensions": (ext.chosen_version(0x0305),)}, "illegal_parameter"),
        "TLS 1.2 in the new field": ({"extensions": (ext.chosen_version(TLS12),)}, "illegal_parameter"),
        "no key_share": ({"extensions": (ext.chosen_version(TLS13),)}, "missing_extension"),
        "no echo of the session ID": ({"session_id": b""}, "illegal_parameter"),
        "a suite that was not offered": ({"cipher_suite": 0x1302}, "illegal_parameter"),
        "a suite of TLS 1.2": ({"cipher_suite": 0xC02B}, "illegal_parameter"),
        "compression": ({"compression_method": 1}, "illegal_parameter"),
        "an extension that was not offered": ({"add": (Extension(16, b"\0\x03\x02h2"),)}, "unsupported_extension"),
        "a cookie": ({"add": (Extension(ext.COOKIE, b"\0\x01a"),)}, "unsupported_extension"),
        "an extension from elsewhere": (
            {"add": (ext.number_list(ext.SUPPORTED_GROUPS, (GROUP,)),)},
            "illegal_parameter",
        ),
        "a group without a share of ours": (
            {"extensions": (ext.chosen_version(TLS13), ext.key_share(OTHER_GROUP, bytes(32)))},
            "illegal_parameter",
        ),
        "no point": (
            {"extensions": (ext.chosen_version(TLS13), ext.key_share(GROUP, b"\x04" + bytes(64)))},
            "illegal_parameter",
        ),
    },
)
def test_a_client_refuses_a_server_hello_for_its_right_reason(
    client: ScriptedServer13, changes: dict[str, Any], alert: str
) -> None:
    client.say(client.make_hello(**changes))
    assert client.refusal == alert


def test_a_client_sends_another_share_and_the_cookie_if_asked_to(client: ScriptedServer13) -> None:
    first = client.client_hello
    client.retry(add=(Extension(ext.COOKIE, b"\0\x03abc"),))
    second = client.client_hello
    assert ext.find(second.extensions, ext.COOKIE) == b"\0\x03abc"
    assert set(ext.read_key_shares(second.extensions) or {}) == {OTHER_GROUP}
    changed = (ext.COOKIE, ext.KEY_SHARE)
    assert [e for e in second.extensions or () if e.type not in changed] == [
        e for e in first.extensions or () if e.type not in changed
    ]
    assert replace(second, extensions=None) == replace(first, extensions=None)
    assert client.play_all()


def test_both_sides_send_a_change_cipher_spec_around_a_retry(picky: ScriptedClient13, client: ScriptedServer13) -> None:
    """RFC 8446 appendix D.4: the server after its first message, the client before its second ClientHello."""
    picky.hello()
    client.retry()
    assert [step.name for step in picky.engine.steps if step.sender == "server"] == ["ServerHello", "ChangeCipherSpec"]
    sent = [step.name for step in client.engine.steps if step.sender == "client"]
    assert sent == ["ClientHello", "ChangeCipherSpec", "ClientHello"]


@pytest.mark.parametrize("cookie", [b"a", b"abc", bytes(MAX_COOKIE - 2)], ids=len)
def test_a_client_keeps_its_share_if_only_a_cookie_is_asked_for(client: ScriptedServer13, cookie: bytes) -> None:
    extension = Extension(ext.COOKIE, wire.vector(cookie, 2))
    raw = serialize(client.make_retry(None, add=(extension,)))
    client.hash_first()
    client.handshake += raw
    client.say_raw(*pieces(raw, records.MAX_PLAINTEXT))
    assert ext.find(client.client_hello.extensions, ext.COOKIE) == extension.data
    assert set(ext.read_key_shares(client.client_hello.extensions) or {}) == {GROUP}
    assert client.play_all()


@cases(
    ("changes", "alert"),
    {
        "the group that has come": ({"group": GROUP}, "illegal_parameter"),
        "a group that was not offered": ({"group": 24}, "illegal_parameter"),
        "nothing that changes": ({"group": None}, "illegal_parameter"),
        "no echo of the session ID": ({"session_id": b""}, "illegal_parameter"),
        "a suite that was not offered": ({"cipher_suite": 0x1302}, "illegal_parameter"),
        "an empty cookie": ({"add": (Extension(ext.COOKIE, b"\0\0"),)}, "decode_error"),
        "a cookie that leaves no room": ({"add": (Extension(ext.COOKIE, bytes(65_000)),)}, "decode_error"),
        "an extension that was not offered": ({"add": (Extension(16, b""),)}, "unsupported_extension"),
        "an extension from elsewhere": (
            {"add": (ext.number_list(ext.SUPPORTED_GROUPS, (GROUP,)),)},
            "illegal_parameter",
        ),
    },
)
def test_a_client_refuses_a_retry_for_its_right_reason(
    client: ScriptedServer13, changes: dict[str, Any], alert: str
) -> None:
    client.say_raw(*pieces(serialize(client.make_retry(**changes)), records.MAX_PLAINTEXT))
    assert client.refusal == alert


def test_a_server_selects_no_older_version_by_the_extension(against: Against) -> None:
    """RFC 8446 section 4.2.1: an older version is chosen without supported_versions."""
    client = against("client", versions=(TLS12, TLS13), suites=keys.DEFAULT_SUITES)
    suite = keys.CIPHER_SUITES[0].id
    client.say(client.make_hello(extensions=(ext.chosen_version(TLS12),), cipher_suite=suite, session_id=b""))
    assert client.refusal == "illegal_parameter"
    failed = client.events[-1]
    assert isinstance(failed, Failed)
    assert failed.reason == "the server selected version 0x0303"


def test_a_second_retry_is_unexpected(client: ScriptedServer13) -> None:
    client.retry()
    client.say(client.make_retry(GROUP))
    assert client.refusal == "unexpected_message"


@cases(
    ("hello", "words"),
    {
        "another suite": ("another suite", "the HelloRetryRequest had another cipher suite"),
        "another group": ("another group", f"the server's key share is of group {GROUP}, none of ours"),
        "another version": ("another version", "the HelloRetryRequest had another version"),
    },
)
def test_what_a_retry_settled_stays(against: Against, hello: str, words: str) -> None:
    script = against("client", versions=(TLS13, TLS12), suites=keys.DEFAULT_SUITES)
    assert isinstance(script, ScriptedServer13)
    script.retry()
    changes: dict[str, dict[str, Any]] = {
        "another suite": {"cipher_suite": 0x1302},
        "another group": {"extensions": (ext.chosen_version(TLS13), ext.key_share(GROUP, bytes(65)))},
        "another version": {"extensions": None, "cipher_suite": 0xC02B},
    }
    script.say(script.make_hello(**changes[hello]))
    assert script.refusal == "illegal_parameter"
    failed = script.events[-1]
    assert isinstance(failed, Failed)
    assert failed.reason == words


@pytest.mark.parametrize("sentinel", [b"DOWNGRD\x01", b"DOWNGRD\x00"], ids=bytes.hex)
def test_a_client_of_both_versions_knows_a_downgrade_by_the_random(against: Against, sentinel: bytes) -> None:
    script = against("client", versions=(TLS13, TLS12), suites=keys.DEFAULT_SUITES)
    assert isinstance(script, ScriptedServer13)
    script.say(script.make_hello(extensions=None, cipher_suite=0xC02B, random=bytes(24) + sentinel))
    assert script.refusal == "illegal_parameter"


# EncryptedExtensions, certificates and their proofs.


@cases(
    ("extension", "alert"),
    {
        "not offered": (Extension(16, b""), "unsupported_extension"),
        "key_share": (Extension(ext.KEY_SHARE, b""), "illegal_parameter"),
        "signature_algorithms": (ext.number_list(ext.SIGNATURE_ALGORITHMS, (0x0403,)), "illegal_parameter"),
    },
)
def test_encrypted_extensions_answer_what_belongs_there_alone(
    client: ScriptedServer13, extension: Extension, alert: str
) -> None:
    client.hello()
    client.say(EncryptedExtensions((extension,)))
    assert client.refusal == alert


def test_encrypted_extensions_may_answer_the_servers_name_and_groups(client: ScriptedServer13) -> None:
    client.hello()
    groups = ext.number_list(ext.SUPPORTED_GROUPS, (GROUP, 24))
    client.say(EncryptedExtensions((Extension(ext.SERVER_NAME, b""), groups)))
    client.play("request", "certificate", "proof", "finished")
    assert client.established


@cases(
    ("request_", "alert"),
    {
        "honest": (CertificateRequest13.of((0x0403,)), None),
        "a context": (replace(CertificateRequest13.of((0x0403,)), context=b"?"), "illegal_parameter"),
        "no signature_algorithms": (CertificateRequest13((Extension(47, b""),)), "missing_extension"),
        "no extensions": (CertificateRequest13(()), "decode_error"),
        "no schemes": (CertificateRequest13.of(()), "decode_error"),
        "half a scheme": (CertificateRequest13((Extension(ext.SIGNATURE_ALGORITHMS, b"\0\x01\x04"),)), "decode_error"),
    },
)
def test_a_client_looks_at_what_is_asked_of_it(
    client: ScriptedServer13, request_: CertificateRequest13, alert: str | None
) -> None:
    client.play("hello", "extensions")
    client.say(request_)
    if alert is None:
        client.play("certificate", "proof", "finished")
        assert client.established
    else:
        assert client.refusal == alert


def certificates(identity: pki.Identity) -> dict[str, tuple[Message, dict[str, str]]]:
    """Certificates that cannot be used, each with the alert by role."""
    entry = CertificateEntry(identity.der, (Extension(5, b"ocsp"),))
    return {
        "none": (Certificate13(()), {"client": "decode_error", "server": "certificate_required"}),
        "garbage": (Certificate13.of((b"garbage",)), dict.fromkeys(ROLES, "bad_certificate")),
        "an empty one": (Certificate13.of((b"",)), dict.fromkeys(ROLES, "decode_error")),
        "a context": (
            Certificate13((CertificateEntry(identity.der),), b"?"),
            dict.fromkeys(ROLES, "illegal_parameter"),
        ),
        "an extension": (Certificate13((entry,)), dict.fromkeys(ROLES, "unsupported_extension")),
    }


@pytest.mark.parametrize("case", ["none", "garbage", "an empty one", "a context", "an extension"])
@both_roles
def test_a_certificate_that_cannot_be_used_is_refused(
    against: Against, alice: pki.Identity, role: str, case: str
) -> None:
    script = against(role)
    script.play_before("certificate")
    message, alerts = certificates(alice)[case]
    script.say(message)
    assert script.refusal == alerts[role]


@cases(
    ("scheme", "alert"),
    {
        "a wrong signature": (0x0403, "decrypt_error"),
        "another curve": (0x0503, "illegal_parameter"),
        "PKCS #1 v1.5": (0x0401, "illegal_parameter"),
        "another kind of key": (0x0804, "illegal_parameter"),
        "not offered": (0x0203, "illegal_parameter"),
    },
)
@both_roles
def test_a_proof_that_does_not_do_is_refused(against: Against, role: str, scheme: int, alert: str) -> None:
    script = against(role)
    script.play_before("proof")
    script.say(CertificateVerify(scheme, bytes(70)))
    assert script.refusal == alert


@both_roles
def test_pkcs1_is_refused_even_where_the_signature_is_right(authority: pki.Identity, role: str) -> None:
    alice, bank = pki.new_client(authority, key_type="rsa"), pki.new_server(authority, "rsa")
    options: dict[str, Any] = {"versions": (TLS13,), "suites": (SUITE,)}
    script: ScriptedClient13 | ScriptedServer13
    if role == "client":
        script = ScriptedServer13(our_client(alice, groups=(GROUP,), **options), bank)
    else:
        script = ScriptedClient13(our_server(bank, **options), alice)
    script.play_before("proof")
    key = bank.key if role == "client" else alice.key
    pkcs1 = next(scheme for scheme in proof.SIGNATURE_SCHEMES if scheme.name == "rsa_pkcs1_sha256")
    signature = proof.sign(key, pkcs1, proof.signed_content(script.role, script.handshake, SUITE.hash))
    script.say(CertificateVerify(pkcs1.id, signature))
    assert script.refusal == "illegal_parameter"


@both_roles
def test_a_proof_in_the_other_sides_name_is_a_decrypt_error(
    against: Against, alice: pki.Identity, bank: pki.Identity, role: str
) -> None:
    """RFC 8446 section 4.4.3: the context string tells the server's signatures from the client's."""
    script = against(role)
    script.play_before("proof")
    key = bank.key if role == "client" else alice.key
    content = proof.signed_content(script.engine.role, script.handshake, SUITE.hash)
    script.say(CertificateVerify(0x0403, proof.sign(key, proof.SIGNATURE_SCHEMES[0], content)))
    assert script.refusal == "decrypt_error"


# Records.


@both_roles
def test_a_change_cipher_spec_during_the_handshake_means_nothing(against: Against, role: str) -> None:
    for at in range(1, len(against(role).steps)):
        script = against(role)
        script.play(*script.steps[:at])
        script.change_cipher_spec()
        script.play(*script.steps[at:])
        assert script.established


@pytest.mark.parametrize("content", [b"", b"\x02", b"\x01\x01"], ids=bytes.hex)
@both_roles
def test_a_change_cipher_spec_that_is_none_is_unexpected(against: Against, role: str, content: bytes) -> None:
    script = against(role)
    script.play_before("certificate")
    script.give(write_record(ContentType.CHANGE_CIPHER_SPEC, content))
    assert script.refusal == "unexpected_message"


@pytest.mark.parametrize("content", [b"\x01", b"\x02"], ids=bytes.hex)
@both_roles
@pytest.mark.parametrize("step", ["certificate", "nothing"])
def test_a_protected_change_cipher_spec_is_unexpected(against: Against, role: str, step: str, content: bytes) -> None:
    script = against(role)
    script.play_before(step)
    script.send(ContentType.CHANGE_CIPHER_SPEC, content)
    assert script.refusal == "unexpected_message"


@both_roles
def test_a_change_cipher_spec_after_the_handshake_is_unexpected(against: Against, role: str) -> None:
    script = against(role).play_all()
    script.change_cipher_spec()
    assert script.refusal == "unexpected_message"


def test_a_change_cipher_spec_before_the_client_hello_is_unexpected(server: ScriptedClient13) -> None:
    server.change_cipher_spec()
    assert server.refusal == "unexpected_message"


@both_roles
def test_a_flood_of_change_cipher_specs_is_unexpected(against: Against, role: str) -> None:
    script = against(role)
    script.play_before("certificate")
    for _ in range(MAX_WARNINGS + 1):
        script.change_cipher_spec()
    assert script.refusal == "unexpected_message"


@pytest.mark.parametrize("step", ["certificate", "nothing"])
@both_roles
def test_a_plaintext_record_under_protection_is_unexpected(against: Against, role: str, step: str) -> None:
    script = against(role)
    script.play_before(step)
    script.give(write_record(ContentType.HANDSHAKE, serialize(Certificate13(()))))
    assert script.refusal == "unexpected_message"


@pytest.mark.parametrize("step", ["certificate", "nothing"])
@both_roles
def test_a_record_that_was_tampered_with_has_a_bad_mac(against: Against, role: str, step: str) -> None:
    script = against(role)
    script.play_before(step)
    script.give(write_record(ContentType.APPLICATION_DATA, bytes(40)))
    assert script.refusal == "bad_record_mac"


@both_roles
def test_a_record_with_too_much_in_it_overflows(against: Against, role: str) -> None:
    """RFC 8446 sections 5.1, 5.2 and 5.4."""
    plain, padded, protected = (against(role) for _ in range(3))
    plain.say_raw(bytes(records.MAX_PLAINTEXT + 1))
    assert plain.refusal == "record_overflow"
    padded.play_all().send(ContentType.APPLICATION_DATA, bytes(records.MAX_PLAINTEXT + 1))
    assert padded.refusal == "record_overflow"
    protected.play_all().give(write_record(ContentType.APPLICATION_DATA, bytes(records.MAX_PLAINTEXT + 257)))
    assert protected.refusal == "record_overflow"


@pytest.mark.parametrize("kind", [0, 24, 99])
@both_roles
def test_a_protected_record_of_no_known_type_is_unexpected(against: Against, role: str, kind: int) -> None:
    script = against(role).play_all()
    script.send(kind, b"")
    assert script.refusal == "unexpected_message"


@both_roles
def test_padding_is_taken_off(against: Against, role: str) -> None:
    script = against(role).play_all()
    assert script.write
    _, sealed = script.write.seal(0, b"data" + bytes([ContentType.APPLICATION_DATA]) + bytes(100))
    script.give(write_record(ContentType.APPLICATION_DATA, sealed))
    assert script.data == b"data"


@pytest.mark.parametrize("kind", [ContentType.HANDSHAKE, ContentType.ALERT], ids=str)
@pytest.mark.parametrize("step", ["certificate", "nothing"])
@both_roles
def test_an_empty_record_is_unexpected_unless_it_is_application_data(
    against: Against, role: str, step: str, kind: ContentType
) -> None:
    script = against(role)
    script.play_before(step)
    script.send(kind, b"")
    assert script.refusal == "unexpected_message"


def test_nothing_follows_a_client_hello_in_its_record(server: ScriptedClient13) -> None:
    """RFC 8446 section 5.1: messages before a change of keys end their record."""
    server.handshake = serialize(server.make_hello())
    server.say_raw(server.handshake + serialize(Certificate13(())))
    assert server.refusal == "unexpected_message"


def test_nothing_follows_a_server_hello_in_its_record(client: ScriptedServer13) -> None:
    client.say_together(client.make_hello(), EncryptedExtensions(()))
    client.listen()
    (failed,) = client.events
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (AlertDescription.UNEXPECTED_MESSAGE, "client")


@pytest.mark.parametrize("message", [Finished, KeyUpdate], ids=lambda kind: kind.name)
@both_roles
def test_nothing_follows_the_last_message_under_old_keys(against: Against, role: str, message: type) -> None:
    script = against(role)
    script.play_before("finished" if message is Finished else "nothing")
    raw = serialize(script.make_finished() if message is Finished else KeyUpdate(False))
    script.say_raw(raw + serialize(KeyUpdate(False)))
    (failed,) = [event for event in script.events if isinstance(event, Failed)]
    assert (failed.alert, failed.sent_by) == (AlertDescription.UNEXPECTED_MESSAGE, role)


# Early data.


def test_early_data_is_passed_over(server: ScriptedClient13) -> None:
    server.say(server.make_hello(add=(Extension(ext.EARLY_DATA, b""),)))
    for _ in range(3):
        server.give(write_record(ContentType.APPLICATION_DATA, bytes(1000)))
    server.play("certificate", "proof", "finished")
    server.send(ContentType.APPLICATION_DATA, b"in time")
    assert server.data == b"in time"


def test_too_much_early_data_has_a_bad_mac(server: ScriptedClient13) -> None:
    server.say(server.make_hello(add=(Extension(ext.EARLY_DATA, b""),)))
    for _ in range(MAX_EARLY_DATA // (1 << 14) + 1):
        server.give(write_record(ContentType.APPLICATION_DATA, bytes(1 << 14)))
    assert server.refusal == "bad_record_mac"


def test_what_cannot_be_read_after_the_early_data_has_a_bad_mac(server: ScriptedClient13) -> None:
    server.say(server.make_hello(add=(Extension(ext.EARLY_DATA, b""),)))
    server.play("certificate")
    server.give(write_record(ContentType.APPLICATION_DATA, bytes(1000)))
    assert server.refusal == "bad_record_mac"


def test_a_record_that_opens_is_no_early_data_even_if_there_is_nothing_in_it(server: ScriptedClient13) -> None:
    server.say(server.make_hello(add=(Extension(ext.EARLY_DATA, b""),)))
    server.send(0, bytes(3))
    assert server.refusal == "unexpected_message"


def test_a_plaintext_alert_is_not_heard_from_a_client_whose_first_record_ended_the_early_data(
    server: ScriptedClient13,
) -> None:
    server.say(server.make_hello(add=(Extension(ext.EARLY_DATA, b""),)))
    server.play("certificate")
    server.give(write_record(ContentType.ALERT, Alert(FATAL, AlertDescription.INTERNAL_ERROR).serialize()))
    assert server.refusal == "unexpected_message"


def test_early_data_is_passed_over_until_the_second_client_hello(picky: ScriptedClient13) -> None:
    picky.say(picky.make_hello(add=(Extension(ext.EARLY_DATA, b""),)))
    picky.give(write_record(ContentType.APPLICATION_DATA, bytes(1000)))
    picky.second_hello()
    picky.give(write_record(ContentType.APPLICATION_DATA, bytes(1000)))
    assert picky.refusal == "bad_record_mac"


# New keys.


@pytest.mark.parametrize("requested", [False, True], ids=["alone", "both"])
@both_roles
def test_keys_are_updated_again_and_again(against: Against, role: str, requested: bool) -> None:
    script = against(role).play_all()
    before = tuple(script.engine.transcript.entries)
    for word in (b"one", b"two", b"three"):
        script.update_keys(requested)
        if requested:
            assert script.heard[-1] == KeyUpdate(False)
            script.follow(script.engine.role)
        script.send(ContentType.APPLICATION_DATA, word)
        script.engine.send(b"answer")
        script.listen()
    assert script.data == b"onetwothree"
    assert (KeyUpdate(False) in script.heard) is requested
    assert script.alerts == []
    assert tuple(script.engine.transcript.entries) == before, "a KeyUpdate is in no transcript (RFC 8446 section 4.4.1)"


@both_roles
def test_keys_are_updated_up_to_a_limit(against: Against, role: str) -> None:
    script = against(role).play_all()
    for _ in range(MAX_KEY_UPDATES):
        script.update_keys()
    assert script.alerts == []
    script.update_keys()
    assert script.refusal == "unexpected_message"


@pytest.mark.parametrize("kind", [ContentType.APPLICATION_DATA, ContentType.ALERT], ids=["data", "an alert"])
@both_roles
def test_the_old_keys_are_no_good_after_an_update(against: Against, role: str, kind: ContentType) -> None:
    script = against(role).play_all()
    old = script.write
    script.update_keys()
    script.write = old
    script.send(kind, Alert(FATAL, AlertDescription.INTERNAL_ERROR).serialize())
    assert script.refusal == "bad_record_mac"


@both_roles
def test_so_many_key_updates_and_no_more_are_taken(against: Against, role: str) -> None:
    script = against(role).play_all()
    for _ in range(MAX_KEY_UPDATES):
        script.update_keys()
    script.send(ContentType.APPLICATION_DATA, b"still here")
    assert script.data == b"still here"
    script.update_keys()
    assert script.refusal == "unexpected_message"


@both_roles
def test_no_keys_are_updated_after_close_notify(against: Against, role: str) -> None:
    script = against(role).play_all()
    script.engine.close()
    script.update_keys(requested=True)
    assert KeyUpdate(False) not in script.heard


@both_roles
def test_a_key_update_that_asks_for_something_else_is_illegal(against: Against, role: str) -> None:
    script = against(role).play_all()
    script.say_raw(b"\x18\0\0\x01\x02")
    assert script.refusal == "illegal_parameter"


@both_roles
def test_a_message_may_not_span_a_key_update(against: Against, role: str) -> None:
    script = against(role).play_all()
    update = serialize(KeyUpdate(False))
    script.say_raw(update + update[:2])
    assert script.refusal == "unexpected_message"


def test_the_steps_that_are_kept_are_bounded(client: ScriptedServer13) -> None:
    client.play_all()
    for _ in range(MAX_STEPS):
        client.say_raw(serialize(NewSessionTicket13(7200, 0, b"", b"ticket")))
    assert len(client.engine.steps) == MAX_STEPS


# Alerts.


@pytest.mark.parametrize("level", [WARNING, FATAL])
@pytest.mark.parametrize("step", ["certificate", "nothing"])
@both_roles
def test_an_alert_of_any_level_ends_the_connection(against: Against, role: str, step: str, level: int) -> None:
    script = against(role)
    script.play_before(step)
    script.send(ContentType.ALERT, Alert(level, AlertDescription.BAD_CERTIFICATE).serialize())
    failed = script.events[-1]
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (AlertDescription.BAD_CERTIFICATE, script.role)


@pytest.mark.parametrize("level", [WARNING, FATAL])
@both_roles
def test_user_canceled_changes_nothing(against: Against, role: str, level: int) -> None:
    script = against(role)
    script.play_before("certificate")
    script.send(ContentType.ALERT, Alert(level, AlertDescription.USER_CANCELED).serialize())
    script.play(*script.steps[script.steps.index("certificate") :])
    assert script.established


@both_roles
def test_a_plaintext_alert_is_heard_from_a_peer_that_has_no_keys_and_from_no_other(against: Against, role: str) -> None:
    alert = write_record(ContentType.ALERT, Alert(FATAL, AlertDescription.INTERNAL_ERROR).serialize())
    first, later = against(role), against(role).play_all()
    first.play("hello")
    first.give(alert)
    (failed,) = first.events
    assert isinstance(failed, Failed)
    assert failed.sent_by == first.role
    later.give(alert)
    assert later.refusal == "unexpected_message"


def refuse_under_handshake_keys(script: ScriptedServer13) -> None:
    """As mbedTLS and Erlang refuse a client's certificate: their Finished is out, and their keys are still the old."""
    script.play(*(step for step in script.steps if step != "finished"))
    old = script.write
    script.finished()
    script.write = old
    script.send(ContentType.ALERT, Alert(FATAL, AlertDescription.CERTIFICATE_REQUIRED).serialize())


def test_a_refusal_under_the_handshake_keys_is_read(client: ScriptedServer13) -> None:
    refuse_under_handshake_keys(client)
    refused = client.events[-1]
    assert isinstance(refused, Failed)
    assert (refused.alert, refused.sent_by) == (AlertDescription.CERTIFICATE_REQUIRED, "server")


@pytest.mark.parametrize("kind", [ContentType.HANDSHAKE, ContentType.APPLICATION_DATA], ids=str)
def test_only_an_alert_is_read_under_the_handshake_keys(client: ScriptedServer13, kind: ContentType) -> None:
    client.play_before("finished")
    old = client.write
    client.finished()
    client.write = old
    client.send(kind, serialize(NewSessionTicket13(7200, 0, b"", b"ticket")))
    assert client.refusal == "bad_record_mac"


def test_only_the_first_record_is_read_under_the_handshake_keys(client: ScriptedServer13) -> None:
    client.play_before("finished")
    old = client.write
    client.finished()
    client.send(ContentType.APPLICATION_DATA, b"data")
    client.write = old
    client.send(ContentType.ALERT, Alert(FATAL, AlertDescription.CERTIFICATE_REQUIRED).serialize())
    assert client.refusal == "bad_record_mac"


# Whatever comes, an engine answers; it never raises.
