"""What a client sends once the server has had its say, as data: honest flights and others.

A flight is a tuple of steps. A real stack has one flight for each version and no other; here any order will do, so that
what an attack sends can be read off a table.
"""

from dataclasses import dataclass
from typing import TypeAlias

from lab.tls.proof import Prover
from lab.tls.versions import TLS13


@dataclass(frozen=True)
class SendCertificate:
    """Certificate with this chain (DER, own first; empty for none); left out where the server didn't ask."""

    chain: tuple[bytes, ...]


@dataclass(frozen=True)
class SendKeyExchange:
    """ClientKeyExchange, and the keys that follow from it. TLS 1.2 only.

    With RSA key transport `premaster` takes the place of a fresh premaster secret, and `encrypted`, where that is given
    too, is sent for it as it is.
    """

    premaster: bytes | None = None
    encrypted: bytes | None = None


@dataclass(frozen=True)
class SendProof:
    """What `prove` answers to the server's challenge, if anything; left out where the server didn't ask."""

    prove: Prover


@dataclass(frozen=True)
class SendChangeCipherSpec:
    """ChangeCipherSpec; in TLS 1.3 it means nothing.

    In TLS 1.2 what follows is protected. Before the key exchange there is only an empty master secret to derive keys
    from, and a server that lets that pass has CVE-2014-0224.
    """


@dataclass(frozen=True)
class SendFinished:
    """Finished, over everything sent and received so far."""


Step: TypeAlias = SendCertificate | SendKeyExchange | SendProof | SendChangeCipherSpec | SendFinished
Flight: TypeAlias = tuple[Step, ...]


def honest_flight(version: int, chain: tuple[bytes, ...], prove: Prover | None) -> Flight:
    """The order of RFC 5246 section 7.3, or of RFC 8446 section 2. Without `prove` there is no CertificateVerify."""
    proof = (SendProof(prove or _no_proof),) if chain else ()
    if version == TLS13:
        return (SendCertificate(chain), *proof, SendFinished())
    return (SendCertificate(chain), SendKeyExchange(), *proof, SendChangeCipherSpec(), SendFinished())


def _no_proof(challenge: object) -> None:
    return None
