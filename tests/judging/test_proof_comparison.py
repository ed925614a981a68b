"""Why a proof does not fit: two handshakes of a few messages made by hand, and what is said of their difference."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256, sha384

import pytest

from handmade import SEEN, TRIED, with_fields
from lab.events.types import CertificateCaptured, MoveTried
from lab.judging.proof_comparison import (
    EXTENSION_NAMES,
    Difference,
    Messages,
    as_the_server_saw_them,
    certificates_in,
    chain_in,
    challenge_of,
    fits,
    handshake_messages,
    message_fields,
    pairs,
    presented,
    proof_reason,
    scheme_suits,
    up_to_the_proof,
)
from lab.tls import extensions as ext
from lab.tls.errors import DecodeError
from lab.tls.keys import TLS13_SUITES, CipherSuite
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    Finished,
    Message,
    ServerHello,
    ServerHelloDone,
    serialize,
)
from lab.tls.messages13 import RETRY_RANDOM, Certificate13, CertificateEntry
from lab.tls.proof import SCHEME_IDS, challenge12, prove_with, signed_content
from lab.tls.transcript import MESSAGE_HASH
from lab.tls.versions import TLS12, TLS13, Version
from made_up import KEY, certificate_of

ALICE, MALLORY, BANK = certificate_of("alice"), certificate_of("mallory"), certificate_of("bank")
HELLO = ClientHello(b"c" * 32, b"", (0xC02B,), (ext.server_name("bank.example"), ext.extended_master_secret()))
ANSWER = ServerHello(b"s" * 32, b"", 0xC02B, ())
BEFORE = (HELLO, ANSWER, Certificate((BANK,)), ServerHelloDone(), Certificate((ALICE,)))
ECDSA_P384 = 0x0503


def raws(*messages: Message) -> list[bytes]:
    return [serialize(one) for one in messages]


def over(*messages: Message) -> CertificateVerify:
    made = prove_with(KEY)(challenge12(b"".join(raws(*messages)), SCHEME_IDS))
    assert made
    return made


def captured(*messages: Message, proof: Message | None = None, tls: str = "1.2") -> CertificateCaptured:
    """A capture of a handshake with these messages before the proof."""
    made = serialize(proof or over(*messages)).hex()
    return with_fields(SEEN, tls=tls, transcript=tuple(one.hex() for one in raws(*messages)), proof=made)


def tried(*messages: Message, tls: str = "1.2") -> MoveTried:
    """An attempt with these messages; the server's are its hello, the bank's certificate and what ends its flight."""
    servers = (ServerHello, ServerHelloDone)
    steps = tuple(
        (
            "server" if isinstance(one, servers) or one == Certificate((BANK,)) else "client",
            one.name,
            serialize(one).hex(),
        )
        for one in messages
    )
    return with_fields(TRIED, steps=steps, tls=tls)


def joined(*messages: Message) -> bytes:
    return b"".join(raws(*messages))


# What is said of a proof that was sent again.


def test_a_proof_fits_the_handshake_that_it_was_made_over_and_no_other() -> None:
    other = ServerHello(b"t" * 32, b"", 0xC02B, ())
    now = (HELLO, other, *BEFORE[2:])
    proof = over(*BEFORE)
    reason = proof_reason(captured(*BEFORE, proof=proof), tried(*now, proof))
    assert reason
    assert (reason.scheme, reason.signature) == ("ecdsa with sha256", proof.signature.hex())
    assert (reason.signed_by, reason.hash) == ("sha256", "sha256")
    assert reason.captured_hash == sha256(joined(*BEFORE)).hexdigest()
    assert reason.server_hash == sha256(joined(*now)).hexdigest()
    assert (reason.fits_captured, reason.fits_server) == (True, False)
    assert reason.differences == (Difference("ServerHello", "random", "73" * 32, "74" * 32),)
    assert reason.difference == reason.differences[0]


@pytest.mark.parametrize(
    ("tls", "scheme", "suits"),
    [("1.3", 0x0403, True), ("1.3", ECDSA_P384, False), ("1.2", ECDSA_P384, True), ("1.2", 0x0804, False)],
)
def test_the_version_decides_whether_the_scheme_of_a_proof_suits_the_key(tls: str, scheme: int, suits: bool) -> None:
    """An ECDSA scheme fixes the curve in TLS 1.3 alone."""
    hers = Certificate13((CertificateEntry(ALICE),)) if tls == "1.3" else Certificate((ALICE,))
    assert scheme_suits(tried(HELLO, ANSWER, hers, CertificateVerify(scheme, b""), tls=tls)) is suits
    assert scheme_suits(tried(HELLO, ANSWER, hers, tls=tls))
    assert scheme_suits(tried(HELLO, ANSWER, Certificate(()), CertificateVerify(scheme, b""), tls="1.2"))


def test_a_proof_of_the_attackers_own_is_told_with_both_hashes() -> None:
    """The hash that alice signed, and that of the proof that was sent."""
    hers = CertificateVerify(ECDSA_P384, b"of another key")
    reason = proof_reason(captured(*BEFORE, proof=hers), tried(*BEFORE, over(*BEFORE)))
    assert reason
    assert (reason.signed_by, reason.hash) == ("sha384", "sha256")
    assert reason.captured_hash == sha384(joined(*BEFORE)).hexdigest()
    assert reason.server_hash == sha256(joined(*BEFORE)).hexdigest()
    assert (reason.fits_captured, reason.fits_server) == (True, True)
    assert (reason.differences, reason.difference) == ((), None)
    without = proof_reason(with_fields(captured(*BEFORE), proof=None), tried(*BEFORE, over(*BEFORE)))
    assert without
    assert without.signed_by == "sha256"


@pytest.mark.parametrize("scheme", [0x0807, 0x0909], ids=["it hashes in its own way", "not known"])
def test_a_scheme_without_a_hash_of_its_own_shows_sha256(scheme: int) -> None:
    reason = proof_reason(captured(*BEFORE), tried(*BEFORE, CertificateVerify(scheme, b"")))
    assert reason
    assert (reason.hash, reason.fits_server) == ("sha256", False)


def test_a_proof_is_not_compared_where_something_is_missing_or_unreadable() -> None:
    capture, attempt = captured(*BEFORE), tried(*BEFORE, over(*BEFORE))
    assert proof_reason(capture, attempt)
    for other in (
        *(with_fields(capture, tls=tls) for tls in ("", "9.9")),
        with_fields(capture, transcript=()),
        with_fields(capture, transcript=("0100000100",)),
        captured(*BEFORE, proof=Finished(b"")),
    ):
        assert proof_reason(other, attempt) is None
    unreadable = with_fields(attempt, steps=(*attempt.steps[:-1], ("client", "CertificateVerify", "0f00000100")))
    for another in (
        *(with_fields(attempt, tls="9.9"), tried(*BEFORE), tried(*BEFORE[:4], over(*BEFORE)), unreadable),
        tried(*BEFORE[:4], Certificate(()), over(*BEFORE)),
    ):
        assert proof_reason(capture, another) is None


def test_a_message_of_one_handshake_alone_differs_as_a_whole() -> None:
    request = CertificateRequest((64,), (0x0403,))
    longer = (*BEFORE[:3], request, *BEFORE[3:])
    for then, now, sent in ((longer, BEFORE, ("sent", "")), (BEFORE, longer, ("", "sent"))):
        reason = proof_reason(captured(*then), tried(*now, over(*then)))
        assert reason
        assert reason.differences == (Difference("CertificateRequest", "the message itself", *sent),)
    from_the_second_on = proof_reason(captured(*BEFORE[1:]), tried(*BEFORE, over(*BEFORE)))
    assert from_the_second_on
    assert from_the_second_on.differences == (Difference("ClientHello", "the message itself", "", "sent"),)


def test_fields_that_one_handshake_alone_has_differ() -> None:
    shorter = ClientHello(b"c" * 32, b"", (0xC02B, 0xC02C), (ext.server_name("bank.example"),), version=0x0302)
    for then, now in ((HELLO, shorter), (shorter, HELLO)):
        reason = proof_reason(captured(then, *BEFORE[1:]), tried(now, *BEFORE[1:], over(then, *BEFORE[1:])))
        assert reason
        fields, others = message_fields(then), message_fields(now)
        assert {one.field: (one.captured, one.server) for one in reason.differences} == {
            name: (fields.get(name, ""), others.get(name, ""))
            for name in ("cipher_suites", "extended_master_secret", "version")
        }


def test_a_message_that_differs_in_the_order_of_its_extensions_alone_is_told() -> None:
    turned = replace(HELLO, extensions=(HELLO.extensions or ())[::-1])
    reason = proof_reason(captured(*BEFORE), tried(turned, *BEFORE[1:], over(*BEFORE)))
    assert reason
    assert [(one.message, one.field) for one in reason.differences] == [("ClientHello", "the order of the extensions")]


def test_a_certificate_differs_in_what_another_version_has_besides() -> None:
    """Whose it is, is told: a handshake has two such messages."""
    answer = replace(ANSWER, cipher_suite=0x1301)
    now = (HELLO, answer, as_13(BANK), as_13(ALICE))
    reason = proof_reason(captured(*BEFORE), tried(*now, over(*now), tls="1.3"))
    assert reason
    assert (reason.made_in, reason.made_as, reason.scheme) == ("1.2", "ecdsa with sha256", "ecdsa_secp256r1_sha256")
    besides = ("certificate_request_context", "extensions of certificate 1")
    assert [(one.message, one.field) for one in reason.differences if one.field in besides] == [
        (f"the {side}'s Certificate", field) for side in ("server", "client") for field in besides
    ]


@pytest.mark.parametrize(("turned", "as_made"), [(0, True), (1, False)])
def test_a_signature_under_another_scheme_may_fit_under_that_in_which_it_was_made(turned: int, as_made: bool) -> None:
    proof = over(*BEFORE)
    signature = proof.signature[:-1] + bytes((proof.signature[-1] ^ turned,))
    reason = proof_reason(captured(*BEFORE, proof=proof), tried(*BEFORE, CertificateVerify(ECDSA_P384, signature)))
    assert reason
    assert (reason.fits_captured, reason.fits_server, reason.fits_as_made) == (False, False, as_made)
    assert (reason.scheme, reason.made_as) == ("ecdsa with sha384", "ecdsa with sha256")


# The order of messages.

C, S = "client", "server"


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("c1 s1 s2 c2 c3 s3", "c1 s1 s2 c2 c3 s3"),
        ("c1 c2 s1 s2", "c1 s1 s2 c2"),
        ("c1 c2 c3 s1 s2", "c1 s1 s2 c2 c3"),
        ("c1 c2 c3", "c1 c2 c3"),
        ("s1 c1 c2", "s1 c1 c2"),
        ("", ""),
    ],
)
def test_an_attempt_that_sends_everything_at_once_is_answered_after_its_hello(sent: str, seen: str) -> None:
    def messages(text: str) -> Messages:
        return [(C if one[0] == "c" else S, one.encode()) for one in text.split()]

    assert as_the_server_saw_them(messages(sent), TLS12) == messages(seen)
    assert as_the_server_saw_them(messages(sent), TLS13) == messages(sent)


def test_only_handshake_messages_are_in_a_transcript() -> None:
    steps = (
        *((C, "ClientHello", "01"), (S, "alert close_notify", "0100"), (C, "ChangeCipherSpec", "01")),
        *((C, "protected record", "17"), (S, "ServerHello", "02")),
    )
    assert handshake_messages(steps) == [(C, b"\1"), (S, b"\2")]


def test_what_comes_before_the_clients_proof_is_what_it_signs() -> None:
    before: Messages = [(C, b"\1hello"), (S, b"\2hello"), (S, b"\x0fthe server's"), (C, b"\x0bcertificate")]
    proof, behind = (C, b"\x0fthe client's"), (C, b"\x14finished")
    assert up_to_the_proof([*before, proof, behind], TLS12) == (before, proof[1])
    assert up_to_the_proof([*before, behind], TLS12) == ([*before, behind], b"")


@pytest.mark.parametrize(
    ("one", "other", "paired"),
    [
        ([1, 2, 11], [1, 2, 11], [(0, 0), (1, 1), (2, 2)]),
        ([1, 2, 13, 11], [1, 2, 11], [(0, 0), (1, 1), (2, None), (3, 2)]),
        ([1, 2, 11], [1, 12, 2, 11], [(0, 0), (None, 1), (1, 2), (2, 3)]),
        ([1, 2], [1, 12], [(0, 0), (1, None), (None, 1)]),
        ([], [1], [(None, 0)]),
    ],
)
def test_messages_of_one_type_correspond(
    one: list[int], other: list[int], paired: list[tuple[int | None, int | None]]
) -> None:
    assert list(pairs(one, other)) == paired


# What a proof has to sign.


def in_13(random: bytes, suite: int = TLS13_SUITES[0].id) -> bytes:
    return serialize(ServerHello(random, b"", suite, (ext.chosen_version(TLS13),)))


@pytest.mark.parametrize("suite", TLS13_SUITES, ids=lambda one: str(one.hash.name))
def test_a_first_hello_before_a_retry_is_signed_as_its_hash(suite: CipherSuite) -> None:
    """RFC 8446 section 4.4.1; once it is hashed, it stays as it is."""
    number, hash_ = suite.id, suite.hash
    hashed = hashlib.new(hash_.name, serialize(HELLO)).digest()
    first = bytes((MESSAGE_HASH, 0, 0, len(hashed))) + hashed
    rest = [in_13(RETRY_RANDOM, number), serialize(HELLO), in_13(b"s" * 32, number)]
    content = signed_content("client", b"".join((first, *rest)), hash_)
    assert challenge_of([serialize(HELLO), *rest], TLS13).content == content
    assert challenge_of([first, *rest], TLS13).content == content
    straight = [serialize(HELLO), rest[-1]]
    assert challenge_of(straight, TLS13).content == signed_content("client", b"".join(straight), hash_)


def test_in_tls_12_the_messages_themselves_are_signed() -> None:
    challenge = challenge_of(raws(*BEFORE), TLS12)
    assert challenge.content == joined(*BEFORE)
    key = KEY.public_key()
    assert fits(key, challenge, over(*BEFORE)) is True
    assert fits(key, challenge, over(*BEFORE[:-1])) is False


# Certificates.


def as_12(*chain: bytes) -> Message:
    return Certificate(chain)


def as_13(*chain: bytes) -> Message:
    return Certificate13(tuple(CertificateEntry(der) for der in chain))


@pytest.mark.parametrize(("tls", "version", "message"), [("1.2", TLS12, as_12), ("1.3", TLS13, as_13)])
def test_the_certificates_of_a_message_are_read_in_its_version(
    tls: str, version: Version, message: Callable[..., Message]
) -> None:
    shown, none = message(ALICE, MALLORY), message()
    assert certificates_in(serialize(shown), version) == chain_in(serialize(shown), version) == (ALICE, MALLORY)
    assert certificates_in(serialize(none), version) == ()
    with pytest.raises(DecodeError, match="Certificate: it has no certificate"):
        chain_in(serialize(none), version)
    with pytest.raises(DecodeError, match="Finished in the place of a Certificate"):
        certificates_in(serialize(Finished(b"")), version)
    steps = ((C, "Certificate", serialize(shown).hex()), (S, "Certificate", "0bff"), (C, "Finished", "14000000"))
    prints = {sha256(der).hexdigest() for der in (ALICE, MALLORY)}
    assert presented(with_fields(TRIED, tls=tls, steps=steps)) == prints
    assert presented(with_fields(TRIED, tls=tls, steps=steps[1:])) == frozenset()
    assert presented(with_fields(TRIED, tls=tls, steps=((C, "Certificate", "0b00000100"),))) == frozenset()


def test_an_attempt_without_a_version_is_read_as_one_of_tls_12() -> None:
    steps = ((C, "Certificate", serialize(Certificate((ALICE,))).hex()),)
    assert presented(with_fields(TRIED, tls="", steps=steps)) == {sha256(ALICE).hexdigest()}


# The fields of a message.


def test_the_fields_of_a_message_are_told_in_hex() -> None:
    unknown = ext.Extension(0xFAFA, b"\1")
    hello = ClientHello(b"c" * 32, b"\2", (0xC02B, 0x00FF), (ext.extended_master_secret(), unknown))
    assert message_fields(hello) == {
        "random": "63" * 32,
        "session_id": "02",
        "cipher_suites": "c02b00ff",
        "extended_master_secret": "",
        "extension 64250": "01",
        "version": "0303",
        "compression_methods": "00",
    }
    assert message_fields(ServerHello(b"s" * 32, b"", 0xC02B, None))["cipher_suite"] == "c02b"
    authorities = CertificateRequest((64,), (0x0403,), (b"\1\2", b"\3"))
    assert message_fields(authorities)["authorities"] == "010203"
    assert message_fields(Certificate((b"\1", b"\2"))) == {"certificate 1": "01", "certificate 2": "02"}
    stapled = Certificate13((CertificateEntry(b"\1", (unknown,)), CertificateEntry(b"\2")), b"\3")
    assert message_fields(stapled) == {
        "certificate_request_context": "0103",
        "certificate 1": "01",
        "extensions of certificate 1": "0005fafa000101",
        "certificate 2": "02",
        "extensions of certificate 2": "0000",
    }
    assert message_fields(ServerHelloDone()) == {}


def test_extensions_have_the_names_of_their_registry() -> None:
    assert EXTENSION_NAMES[0] == "server_name"
    assert EXTENSION_NAMES[51] == "key_share"
    assert all(isinstance(number, int) for number in EXTENSION_NAMES)
    assert all(getattr(ext, name.upper()) == number for number, name in EXTENSION_NAMES.items())
