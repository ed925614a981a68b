"""What each move sends as a proof, looked at before it is sent, for every kind of key."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from attacker.moves import make
from attacker.moves.make import MAKERS, Loot, NotApplicable, OtherDoor, Script
from lab.catalogue.moves import OTHER_DOOR, PREFIX, STOLEN_KEY
from lab.catalogue.outcomes import NO_TICKET
from lab.catalogue.plan import KEY_TYPES, KeyType
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import proof
from lab.tls.bundle import Bundle
from lab.tls.errors import Abort
from lab.tls.flight import SendCertificate, SendProof
from lab.tls.messages import CertificateVerify, ClientHello
from lab.tls.sessions import Session
from lab.tls.versions import TLS12, TLS13, Version
from tls_peers import Identities

CHALLENGE = proof.challenge12(b"this handshake so far", proof.SCHEME_IDS)
every_key = pytest.mark.parametrize("key_type", KEY_TYPES)

Take = Callable[[KeyType], tuple[pki.Identity, Loot]]


@pytest.fixture
def take(identities: Identities) -> Take:
    """Alice, and what the wire gave of her."""

    def loot(key_type: KeyType) -> tuple[pki.Identity, Loot]:
        alice = identities("client", key_type)
        captured = proof.prove_with(alice.key)(proof.challenge12(b"her own handshake", proof.SCHEME_IDS))
        return alice, Loot((alice.der,), captured)

    return loot


def proof_in(script: Script, challenge: proof.Challenge = CHALLENGE) -> CertificateVerify:
    (step,) = [step for step in script.flight or () if isinstance(step, SendProof)]
    answer = step.prove(challenge)
    assert answer
    return answer


def leaf_in(script: Script) -> bytes:
    return next(step.chain[0] for step in script.flight or () if isinstance(step, SendCertificate))


@every_key
def test_a_foreign_key_is_of_the_same_kind_and_its_proof_is_right_for_it_alone(take: Take, key_type: KeyType) -> None:
    alice, loot = take(key_type)
    script = MAKERS["foreign-key"](loot, TLS12)
    hers, own = alice.key.public_key(), make.fresh_key(alice.der).public_key()
    assert type(own) is type(hers)
    assert own != hers
    assert getattr(own, "key_size", None) == getattr(hers, "key_size", None)
    assert leaf_in(script) == alice.der
    assert load_der_public_key(script.signed_by) == own
    assert (script.tickets, script.unresumed_counts) == (False, False)
    proof.check(own, CHALLENGE, proof_in(script))
    with pytest.raises(Abort):
        proof.check(hers, CHALLENGE, proof_in(script))


@every_key
def test_a_captured_proof_is_sent_as_it_is_or_with_one_thing_changed(take: Take, key_type: KeyType) -> None:
    _, loot = take(key_type)
    captured = loot.proof
    assert captured
    assert proof_in(MAKERS["replay-proof"](loot, TLS12)) == captured
    flipped, relabelled = (proof_in(MAKERS[move](loot, TLS12)) for move in ("flipped-proof", "relabelled-proof"))
    assert flipped.scheme == captured.scheme
    pairs = zip(flipped.signature, captured.signature, strict=True)
    assert [one ^ other for one, other in pairs] == [*bytes(len(captured.signature) - 1), 1]
    assert relabelled.signature == captured.signature
    assert relabelled.scheme in set(proof.SCHEME_IDS) - {captured.scheme}
    kinds = {scheme.id: scheme.key for scheme in proof.SIGNATURE_SCHEMES}
    if key_type == "ed25519":  # there is no other scheme for such a key
        assert relabelled.scheme == proof.SCHEME_IDS[0]
    else:
        assert kinds[relabelled.scheme] == kinds[captured.scheme]


@every_key
def test_a_made_up_signature_is_in_a_scheme_that_suits_the_certificate(take: Take, key_type: KeyType) -> None:
    alice, loot = take(key_type)
    suiting = proof.choose_scheme(alice.key, proof.SCHEME_IDS, TLS12)
    assert suiting
    empty, zero = (proof_in(MAKERS[move](loot, TLS12)) for move in ("empty-proof", "zero-proof"))
    for_none = proof_in(MAKERS["empty-proof"](loot, TLS12), replace(CHALLENGE, schemes=()))
    assert for_none == CertificateVerify(proof.SCHEME_IDS[0], b""), "where the server accepts no scheme for it"
    assert empty == CertificateVerify(suiting.id, b"")
    assert zero.scheme == suiting.id
    if key_type in ("p256", "p384"):
        assert decode_dss_signature(zero.signature) == (0, 0)
    else:
        assert zero.signature == bytes(len(loot.proof.signature if loot.proof else b""))


@every_key
def test_a_look_alike_has_all_of_the_certificate_but_its_key(take: Take, key_type: KeyType) -> None:
    alice, loot = take(key_type)
    script = MAKERS["look-alike"](loot, TLS12)
    hers, other = (x509.load_der_x509_certificate(der) for der in (alice.der, leaf_in(script)))
    assert (other.subject, other.issuer, other.serial_number) == (hers.subject, hers.issuer, hers.serial_number)
    assert list(other.extensions) == list(hers.extensions)
    assert other.not_valid_after_utc == hers.not_valid_after_utc
    assert other.public_key() != hers.public_key()
    proof.check(proof.public_key(leaf_in(script)), CHALLENGE, proof_in(script))


@every_key
def test_a_certificate_that_one_issues_to_oneself_has_the_names_and_nothing_else(take: Take, key_type: KeyType) -> None:
    alice, loot = take(key_type)
    script = MAKERS["self-issued"](loot, TLS12)
    hers, other = (x509.load_der_x509_certificate(der) for der in (alice.der, leaf_in(script)))
    assert other.subject == other.issuer == hers.subject != hers.issuer
    other.verify_directly_issued_by(other)
    assert other.serial_number != hers.serial_number
    assert other.public_key() != hers.public_key()
    named = [one for one in hers.extensions if isinstance(one.value, x509.SubjectAlternativeName)]
    assert [one.value for one in other.extensions] == [one.value for one in named]
    proof.check(proof.public_key(leaf_in(script)), CHALLENGE, proof_in(script))


ASKED = ("Certificate", "KeyExchange", "ChangeCipherSpec", "Finished")
PROVED = ("Certificate", "KeyExchange", "Proof", "ChangeCipherSpec", "Finished")
FLIGHTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no-certificate": (ASKED, ("Certificate", "Finished")),
    "no-certificate-message": (ASKED[1:], ("Finished",)),
    "verify-header": (ASKED, ("Certificate", "Finished")),
    "omit-proof": (PROVED, ("Certificate", "Proof", "Finished")),
    "replay-proof": (PROVED, ("Certificate", "Proof", "Finished")),
    "early-proof": (
        ("Certificate", "Proof", "KeyExchange", "ChangeCipherSpec", "Finished"),
        ("Proof", "Certificate", "Finished"),
    ),
    "early-finished": (
        ("Certificate", "ChangeCipherSpec", "Finished"),
        ("Certificate", "ChangeCipherSpec", "Finished"),
    ),
}
"""The messages of a move in TLS 1.2 and 1.3, where it is one."""
WITHOUT_A_CERTIFICATE = ("no-certificate", "verify-header")


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
@pytest.mark.parametrize("name", FLIGHTS)
def test_a_move_sends_these_messages_in_this_order(take: Take, name: str, version: Version) -> None:
    alice, loot = take("p256")
    script = MAKERS[name](loot, version)
    names = tuple(type(step).__name__.removeprefix("Send") for step in script.flight or ())
    assert names == FLIGHTS[name][version == TLS13]
    sent = [()] if name in WITHOUT_A_CERTIFICATE else [(alice.der,)] * ("Certificate" in names)
    assert chains(script) == sent


def test_what_goes_with_a_request_that_no_certificate_comes_before(take: Take) -> None:
    alice, loot = take("p256")
    assert MAKERS["no-certificate"](loot, TLS12).header == b""
    assert MAKERS["omit-proof"](loot, TLS12).header == alice.der
    told = MAKERS["verify-header"](loot, TLS12)
    assert told.header == alice.der
    assert told.spellings


def test_a_recording_is_sent_as_it_is_and_no_header_with_it(take: Take) -> None:
    _, loot = take("p256")
    script = MAKERS["replay-flight"](replace(loot, recorded={TLS12: b"heard"}), TLS12)
    assert (script.recorded, script.header, script.flight) == (b"heard", b"", None)


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
def test_the_captured_hello_comes_along_in_tls_12(take: Take, version: Version) -> None:
    """In TLS 1.3 it has a key share whose private key only the client has."""
    _, loot = take("p256")
    hello = ClientHello(bytes(32), b"", (0xC02B,), ())
    assert MAKERS["replay-proof"](replace(loot, hello=hello), version).hello == (hello if version == TLS12 else None)


def test_a_proof_that_is_left_out_is_none(take: Take) -> None:
    _, loot = take("p256")
    (step,) = [one for one in MAKERS["omit-proof"](loot, TLS12).flight or () if isinstance(one, SendProof)]
    assert step.prove(CHALLENGE) is None


def test_a_session_that_was_seen_is_resumed_without_a_certificate(take: Take) -> None:
    _, loot = take("p256")
    session = Session(b"id", b"", bytes(48), 0xC02B, extended=True)
    ticket = ext.OfferedPsk(b"ticket", 7, bytes(32))
    seen = replace(loot, session=session, ticket=ticket)
    script = MAKERS["resume-session"](seen, TLS12)
    assert (script.resume, chains(script)) == (session, [()])
    offered = MAKERS["resume-session"](seen, TLS13).resume
    assert isinstance(offered, ext.OfferedPsk)
    assert (offered.identity, offered.obfuscated_age, len(offered.binder)) == (b"ticket", 7, 32)
    assert offered.binder != ticket.binder


def test_a_stolen_password_goes_with_a_request_without_a_certificate() -> None:
    """RFC 7617 section 2."""
    script = make.stolen_password("Aladdin", "open sesame", TLS12)
    assert (script.header, script.authorization) == (b"", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    assert "Basic" not in repr(script)
    assert chains(script) == [()]


NEEDED = {
    ("replay-proof", TLS12): "no proof was captured",
    ("replay-flight", TLS12): "no whole connection of this version was recorded",
    ("resume-session", TLS12): "the wire showed no session",
    ("resume-session", TLS13): NO_TICKET,
    ("own-leaf-first", TLS12): "mallory has no certificate of her own",
    (OTHER_DOOR, TLS12): "no other name of the server is known",
    (PREFIX, TLS12): "nothing comes back to such a request",
    (STOLEN_KEY, TLS12): "no private key leaked",
}


@pytest.mark.parametrize(("name", "version"), NEEDED, ids=lambda value: str(value))
def test_a_move_without_what_it_takes_is_not_made(take: Take, name: str, version: Version) -> None:
    alice, _ = take("p256")
    with pytest.raises(NotApplicable, match=NEEDED[name, version]):
        MAKERS[name](Loot((alice.der,), None), version)


def test_the_other_door_is_entered_with_mallorys_own_bundle(take: Take, identities: Identities) -> None:
    _, loot = take("p256")
    mallory = identities("client", "rsa")
    door = OtherDoor("other.example", Bundle((mallory.der,), mallory.key))
    script = MAKERS[OTHER_DOOR](replace(loot, other_door=door), TLS12)
    login = script.elsewhere
    assert login
    assert (login.server_name, login.tickets, leaf_in(login)) == ("other.example", True, mallory.der)
    proof.check(mallory.key.public_key(), CHALLENGE, proof_in(login))
    assert script.unresumed_counts
    assert not [step for step in script.flight or () if isinstance(step, SendProof)]


@every_key
def test_with_a_leaked_key_the_proof_is_alices(take: Take, key_type: KeyType) -> None:
    alice, loot = take(key_type)
    script = MAKERS[STOLEN_KEY](replace(loot, key=alice.key), TLS12)
    assert leaf_in(script) == alice.der
    proof.check(alice.key.public_key(), CHALLENGE, proof_in(script))


def test_what_cannot_be_tried_says_why_and_from_where_it_was_tried() -> None:
    why = NotApplicable("it gives no session", "127.0.0.3:40000")
    assert (str(why), why.local) == ("it gives no session", "127.0.0.3:40000")


def chains(script: Script) -> list[tuple[bytes, ...]]:
    return [step.chain for step in script.flight or () if isinstance(step, SendCertificate)]


def test_whose_leaf_comes_first_and_whose_follows(take: Take, identities: Identities) -> None:
    """The rest of the captured chain stays behind the captured leaf."""
    alice, loot = take("p256")
    mallory = identities("client", "rsa")
    issuer = b"the issuer's certificate"
    mallorys = replace(loot, chain=(alice.der, issuer), own=Bundle((mallory.der, b"her issuer's"), mallory.key))
    own, stolen, second = (
        MAKERS[move](mallorys, TLS12) for move in ("own-leaf-first", "stolen-leaf-first", "second-certificate")
    )
    assert chains(own) == [(mallory.der, alice.der, issuer)]
    assert chains(stolen) == [(alice.der, mallory.der, issuer)]
    assert chains(second) == [(mallory.der, b"her issuer's"), (alice.der, issuer)]
    for script in (own, stolen, second):
        proof.check(mallory.key.public_key(), CHALLENGE, proof_in(script))


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
def test_a_second_certificate_comes_after_the_proof_and_before_the_keys_change(
    take: Take, identities: Identities, version: Version
) -> None:
    _, loot = take("p256")
    mallory = identities("client", "rsa")
    script = MAKERS["second-certificate"](replace(loot, own=Bundle((mallory.der,), mallory.key)), version)
    names = [type(step).__name__.removeprefix("Send") for step in script.flight or ()]
    last = ["ChangeCipherSpec", "Finished"] if version == TLS12 else ["Finished"]
    assert names[names.index("Proof") :] == ["Proof", "Certificate", *last]


def test_a_look_alike_is_valid_already_even_if_its_model_is_not(take: Take) -> None:
    """The machine that made the certificate may have a clock that is ahead of the attacker's."""
    _, loot = take("p256")
    later = datetime.now(UTC) + timedelta(days=1)
    alice = pki.new_client(pki.new_authority(now=later), "alice", now=later)
    copy = x509.load_der_x509_certificate(leaf_in(MAKERS["look-alike"](replace(loot, chain=(alice.der,)), TLS12)))
    assert copy.not_valid_before_utc <= datetime.now(UTC)


def test_a_forged_ticket_is_of_a_session_that_is_bound_to_no_handshake(take: Take) -> None:
    """RFC 7627 is younger than the servers that took such tickets."""
    _, loot = take("p256")
    script = MAKERS["forged-ticket"](loot, TLS12)
    assert isinstance(script.resume, Session)
    assert (script.resume.id, script.resume.extended, script.unresumed_counts) == (b"", False, True)
    assert script.resume.master
    assert len(script.resume.master) == 48
