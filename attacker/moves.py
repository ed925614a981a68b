"""The moves: every way this lab knows of presenting somebody else's certificate without its private key."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.messages import CertificateVerify
from lab.tls.proof import PrivateKey, Prover


@dataclass(frozen=True)
class Loot:
    """What the wire gave away: the certificates, and the proof that its owner once made with them.

    `proof` is None where no CertificateVerify was seen.
    """

    chain: tuple[bytes, ...]
    proof: CertificateVerify | None


@dataclass(frozen=True)
class Move:
    """One way of presenting a captured certificate.

    `sends` and `refused_by` are sentences for people; `alert` is the alert that the RFC gives for such a refusal.
    `prover` makes the answer to the server's challenge out of the loot.
    """

    id: str
    title: str
    sends: str
    refused_by: str
    alert: AlertDescription
    prover: Callable[[Loot], Prover]


def _omit(loot: Loot) -> Prover:
    return lambda challenge: None


def _replay(loot: Loot) -> Prover:
    return lambda challenge: loot.proof


def _sign_with_own_key(loot: Loot) -> Prover:
    return proof.prove_with(_own_key(proof.key_kind(proof.public_key(loot.chain[0]))))


@cache
def _own_key(kind: str) -> PrivateKey:
    """The attacker's own key, of the same kind as the certificate's, so that the signature is well-formed for it."""
    match kind:
        case "ECDSA":
            return ec.generate_private_key(ec.SECP256R1())
        case "RSA":
            return rsa.generate_private_key(65537, 2048)
        case _:
            return ed25519.Ed25519PrivateKey.generate()


MOVES = (
    Move(
        "omit-proof",
        "Send the certificate, skip the proof",
        "Certificate, ClientKeyExchange and then ChangeCipherSpec: no CertificateVerify",
        "RFC 5246 section 7.4.8: CertificateVerify follows every certificate that can sign; without it the "
        "ChangeCipherSpec is out of order",
        AlertDescription.UNEXPECTED_MESSAGE,
        _omit,
    ),
    Move(
        "replay-proof",
        "Send the certificate and the captured proof",
        "the CertificateVerify that was captured, byte for byte",
        "RFC 5246 section 7.4.8: the signature is over all messages of this handshake, and the server's random in "
        "them is new",
        AlertDescription.DECRYPT_ERROR,
        _replay,
    ),
    Move(
        "foreign-key",
        "Send the certificate and sign with another key",
        "a CertificateVerify over this very handshake, made with the attacker's own key",
        "RFC 5246 section 7.4.8: the signature is checked with the public key in the certificate, and that is not "
        "the attacker's",
        AlertDescription.DECRYPT_ERROR,
        _sign_with_own_key,
    ),
)
