"""The shapes of the moves: what the bytes of an attempt must hold, or it was not that move."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from lab.tls.versions import TLS12, TLS13, Version


class Leaf(Enum):
    """A certificate by its owner; the value is for people."""

    CUSTOMERS = "the customer's certificate"
    COPY = "a copy of the customer's certificate with another key"
    NAMESAKE = "a certificate with the customer's name, issued by itself"
    MALLORYS = "mallory's certificate"


class ProofShape(Enum):
    """What a CertificateVerify is; the value is for people."""

    CAPTURED = "the captured proof, byte for byte"
    RELABELLED = "the captured signature under another scheme"
    FLIPPED = "the captured proof with the last bit of its signature changed"
    BY_FIRST = "a signature over this handshake by the key of the first certificate"
    BY_SECOND = "a signature over this handshake by the key of the second certificate"
    BY_FOREIGN_KEY = "a signature over this handshake by a key that is in none of the certificates"
    EMPTY = "a signature without any bytes"
    ZEROS = "a signature of zeros"
    NEW = "one that no other move sends, and not valid for this handshake"


AS_CAPTURED = frozenset({ProofShape.CAPTURED, ProofShape.FLIPPED})
"""The proofs that keep the scheme in which the customer signed."""

_HONEST: Mapping[Version, tuple[str, ...]] = {
    TLS12: ("ClientHello", "Certificate", "ClientKeyExchange", "CertificateVerify", "ChangeCipherSpec", "Finished"),
    TLS13: ("ClientHello", "Certificate", "CertificateVerify", "Finished"),
}
"""RFC 5246 section 7.3, RFC 8446 section 2."""
_WITHOUT_PROOF: Mapping[Version, tuple[str, ...]] = {
    version: tuple(name for name in names if name != "CertificateVerify") for version, names in _HONEST.items()
}


@dataclass(frozen=True)
class Shape:
    """What the client sends in a move.

    `certificates` has, for each Certificate message, the certificates that it begins with; the rest of a chain may
    follow. `proof` is the CertificateVerify, None if there is none. `messages` are the names of the client's messages
    in order, for each version, from its last ClientHello on, without the ChangeCipherSpec that follows the ClientHello
    of TLS 1.3 (RFC 8446 appendix D.4); None for the honest order. With `recorded` everything is a recording of what the
    customer sent. With `hello` the ClientHello is hers too, in TLS 1.2. With `session` the ClientHello offers her
    session. `header` is whose certificate the request's header has, where the server takes one from there; None for the
    first of `certificates`.
    """

    certificates: tuple[tuple[Leaf, ...], ...] = ()
    proof: ProofShape | None = None
    messages: Mapping[Version, tuple[str, ...]] | None = None
    recorded: bool = False
    hello: bool = False
    session: bool = False
    header: tuple[Leaf, ...] | None = None
    elsewhere: tuple[Leaf, ...] = ()
    """The certificates with which the session began that it offers, under another name of the server."""

    @property
    def in_header(self) -> tuple[Leaf, ...]:
        """The certificate in the request's header, where the server takes one from there; empty for none."""
        return next(iter(self.certificates), ())[:1] if self.header is None else self.header

    @property
    def shows_a_made_up_one(self) -> bool:
        """Whether a certificate is shown that the attacker made in the customer's name."""
        return any({Leaf.COPY, Leaf.NAMESAKE}.intersection(leaves) for leaves in self.certificates)

    def in_order(self, version: Version) -> tuple[str, ...]:
        """The client's messages in this version."""
        return (self.messages or (_HONEST if self.proof else _WITHOUT_PROOF))[version]


ANONYMOUS: Mapping[Version, tuple[str, ...]] = {
    version: tuple(name for name in names if name != "Certificate") for version, names in _WITHOUT_PROOF.items()
}
"""The client's messages if the server asks for no certificate."""
