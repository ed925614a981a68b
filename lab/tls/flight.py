"""What a client sends after the server's flight, as data.

A flight is a tuple of steps. A real stack has one flight for each version. Here every order is possible, so that a
table can say what an attack sends.
"""

from dataclasses import dataclass
from typing import TypeAlias

from lab.tls.proof import Prover
from lab.tls.versions import TLS13


@dataclass(frozen=True)
class SendCertificate:
    """Certificate with this chain (DER, own first; empty for none); left out if the server didn't ask for one."""

    chain: tuple[bytes, ...]


@dataclass(frozen=True)
class SendKeyExchange:
    """ClientKeyExchange, and the keys that follow from it. TLS 1.2 only.

    With RSA key transport, `premaster` replaces a fresh premaster secret, and `encrypted` is sent as its encryption.
    """

    premaster: bytes | None = None
    encrypted: bytes | None = None


@dataclass(frozen=True)
class SendProof:
    """The answer of `prove` to the challenge, if it gives one; left out if the server didn't ask for a certificate."""

    prove: Prover


@dataclass(frozen=True)
class SendChangeCipherSpec:
    """ChangeCipherSpec; TLS 1.3 ignores it.

    In TLS 1.2 everything after it is protected. Before the key exchange the keys come from an empty master secret; a
    server that accepts that has CVE-2014-0224.
    """


@dataclass(frozen=True)
class SendFinished:
    """Finished, over everything sent and received so far; with one bit wrong if it is `spoiled`."""

    spoiled: bool = False

    def made(self, verify_data: bytes) -> bytes:
        """What is sent for the right `verify_data`."""
        return verify_data[:-1] + bytes((verify_data[-1] ^ self.spoiled,))


Step: TypeAlias = SendCertificate | SendKeyExchange | SendProof | SendChangeCipherSpec | SendFinished
Flight: TypeAlias = tuple[Step, ...]


def honest_flight(version: int, chain: tuple[bytes, ...], prove: Prover | None) -> Flight:
    """The flight of RFC 5246 section 7.3 or RFC 8446 section 2; without CertificateVerify if there is no `prove`."""
    proof = (SendProof(prove or _no_proof),) if chain else ()
    if version == TLS13:
        return (SendCertificate(chain), *proof, SendFinished())
    return (SendCertificate(chain), SendKeyExchange(), *proof, SendChangeCipherSpec(), SendFinished())


def _no_proof(challenge: object) -> None:
    return None
