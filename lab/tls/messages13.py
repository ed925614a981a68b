"""The handshake messages that are new or different in TLS 1.3 (RFC 8446 section 4).

The hellos, CertificateVerify and Finished are those of `messages.py`. `parse` reads the messages of both versions.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Self

from lab.tls import extensions as ext
from lab.tls import wire
from lab.tls.alerts import AlertDescription
from lab.tls.errors import Abort, DecodeError
from lab.tls.extensions import Extension, Extensions, read_extensions, write_extensions
from lab.tls.messages import CertificateVerify, ClientHello, Finished, Message, ServerHello, UnknownMessage, split
from lab.tls.messages import parse as parse12
from lab.tls.versions import TLS13

RETRY_RANDOM = sha256(b"HelloRetryRequest").digest()
"""The random of a ServerHello that is a HelloRetryRequest (RFC 8446 section 4.1.3)."""


def is_retry(hello: ServerHello) -> bool:
    """Whether a ServerHello is a HelloRetryRequest."""
    return hello.random == RETRY_RANDOM


@dataclass(frozen=True)
class EncryptedExtensions:
    """RFC 8446 section 4.3.1: the server's answers to extensions that don't affect the keys."""

    extensions: Extensions

    name: ClassVar[str] = "EncryptedExtensions"
    type: ClassVar[int] = 8

    def body(self) -> bytes:
        return write_extensions(self.extensions)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        return cls(_block(wire.Reader(body, cls.name)))


@dataclass(frozen=True)
class CertificateEntry:
    """One certificate in DER with its extensions, such as an OCSP response."""

    certificate: bytes
    extensions: Extensions = ()


@dataclass(frozen=True)
class Certificate13:
    """RFC 8446 section 4.4.2: the sender's own certificate first; `context` repeats that of the CertificateRequest."""

    entries: tuple[CertificateEntry, ...]
    context: bytes = b""

    name: ClassVar[str] = "Certificate"
    type: ClassVar[int] = 11

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates alone, in DER."""
        return tuple(entry.certificate for entry in self.entries)

    @classmethod
    def of(cls, chain: tuple[bytes, ...]) -> Self:
        """A message with these certificates and no extensions."""
        return cls(tuple(CertificateEntry(certificate) for certificate in chain))

    def body(self) -> bytes:
        entries = (wire.vector(e.certificate, 3) + write_extensions(e.extensions) for e in self.entries)
        return wire.vector(self.context, 1) + wire.vector(b"".join(entries), 3)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        context = reader.vector(1, "certificate_request_context")
        entries = wire.Reader(reader.vector(3, "certificate_list"), cls.name)
        reader.end()
        found: list[CertificateEntry] = []
        while entries.left:
            certificate = entries.vector(3, f"cert_data of entry {len(found) + 1}", least=1)
            block = wire.vector(entries.vector(2, "extensions"), 2)
            found.append(CertificateEntry(certificate, _block(wire.Reader(block, cls.name))))
        return cls(tuple(found), context)


@dataclass(frozen=True)
class CompressedCertificate:
    """RFC 8879 section 4: a Certificate13, compressed. The lab reads it where a capture shows one, and never sends it.

    `algorithm` is 1 for zlib, 2 for brotli, 3 for zstd. `uncompressed_length` is in bytes.
    """

    algorithm: int
    uncompressed_length: int
    compressed: bytes

    name: ClassVar[str] = "CompressedCertificate"
    type: ClassVar[int] = 25
    ALGORITHMS: ClassVar[Mapping[int, str]] = {1: "zlib", 2: "brotli", 3: "zstd"}

    @property
    def algorithm_name(self) -> str:
        """The algorithm's name in the RFC, or its number."""
        return self.ALGORITHMS.get(self.algorithm, f"algorithm {self.algorithm}")

    def certificate(self) -> Certificate13 | None:
        """The message inside; None if Python has no library for the algorithm, which is so for all but zlib.

        Abort with bad_certificate if the content is not what it says.
        """
        if self.algorithm_name != "zlib":
            return None
        try:
            body = zlib.decompressobj().decompress(self.compressed, self.uncompressed_length + 1)
        except zlib.error as error:
            raise Abort(AlertDescription.BAD_CERTIFICATE, f"{self.name}: {error}") from None
        if len(body) != self.uncompressed_length:
            reason = f"{self.name}: more or fewer than {self.uncompressed_length} bytes"
            raise Abort(AlertDescription.BAD_CERTIFICATE, reason)
        return Certificate13.parse(body)

    def body(self) -> bytes:
        numbers = wire.number(self.algorithm, 2) + wire.number(self.uncompressed_length, 3)
        return numbers + wire.vector(self.compressed, 3)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        algorithm, length = reader.number(2, "algorithm"), reader.number(3, "uncompressed_length")
        message = cls(algorithm, length, reader.vector(3, "compressed_certificate_message", least=1))
        reader.end()
        return message


@dataclass(frozen=True)
class CertificateRequest13:
    """RFC 8446 section 4.3.2: what the server asks for is in the extensions."""

    extensions: Extensions
    context: bytes = b""

    name: ClassVar[str] = "CertificateRequest"
    type: ClassVar[int] = 13

    @classmethod
    def of(cls, signature_schemes: tuple[int, ...], authorities: tuple[bytes, ...] = ()) -> Self:
        """Asks for proofs with these schemes, and for certificates from these authorities (DER names), if any."""
        asked = [ext.number_list(ext.SIGNATURE_ALGORITHMS, signature_schemes)]
        if authorities:
            asked.append(Extension(ext.CERTIFICATE_AUTHORITIES, wire.vectors(authorities, 2, 2)))
        return cls(tuple(asked))

    @property
    def signature_schemes(self) -> tuple[int, ...]:
        """The schemes that the server accepts; empty if they are missing, which the RFC forbids."""
        return ext.read_number_list(self.extensions, ext.SIGNATURE_ALGORITHMS) or ()

    def body(self) -> bytes:
        return wire.vector(self.context, 1) + write_extensions(self.extensions)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        context = reader.vector(1, "certificate_request_context")
        extensions = _block(reader)
        if not extensions:  # extensions<2..2^16-1>
            raise DecodeError(f"{cls.name}: the extensions are empty")
        return cls(extensions, context)


@dataclass(frozen=True)
class NewSessionTicket13:
    """RFC 8446 section 4.6.1. `lifetime` in seconds; `age_add` hides the ticket's age."""

    lifetime: int
    age_add: int
    nonce: bytes
    ticket: bytes
    extensions: Extensions = ()

    name: ClassVar[str] = "NewSessionTicket"
    type: ClassVar[int] = 4

    def body(self) -> bytes:
        return (
            wire.number(self.lifetime, 4)
            + wire.number(self.age_add, 4)
            + wire.vector(self.nonce, 1)
            + wire.vector(self.ticket, 2)
            + write_extensions(self.extensions)
        )

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        lifetime, age_add = reader.number(4, "ticket_lifetime"), reader.number(4, "ticket_age_add")
        nonce, ticket = reader.vector(1, "ticket_nonce"), reader.vector(2, "ticket", least=1)
        return cls(lifetime, age_add, nonce, ticket, _block(reader))


@dataclass(frozen=True)
class KeyUpdate:
    """RFC 8446 section 4.6.3: the sender changes to its next key; `requested` asks the peer to do so, too."""

    requested: bool

    name: ClassVar[str] = "KeyUpdate"
    type: ClassVar[int] = 24

    def body(self) -> bytes:
        return wire.number(self.requested, 1)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        requested = reader.number(1, "request_update")
        reader.end()
        if requested > 1:  # RFC 8446 section 4.6.3
            reason = f"{cls.name}: request_update is {requested}, neither 0 nor 1"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        return cls(bool(requested))


KNOWN13 = (
    ClientHello,
    ServerHello,
    NewSessionTicket13,
    EncryptedExtensions,
    Certificate13,
    CompressedCertificate,
    CertificateRequest13,
    CertificateVerify,
    Finished,
    KeyUpdate,
)
_BY_TYPE = {kind.type: kind for kind in KNOWN13}


def parse(raw: bytes, version: int) -> Message:
    """The message of this version in `raw`, header included; DecodeError names the wrong field.

    Abort with illegal_parameter for a KeyUpdate with an unknown request.
    """
    if version != TLS13:
        return parse12(raw)
    kind, body = split(raw)
    known = _BY_TYPE.get(kind)
    return known.parse(body) if known else UnknownMessage(kind, body)


def _block(reader: wire.Reader) -> Extensions:
    """The extension block at the end of a structure, which TLS 1.3 requires."""
    found = read_extensions(reader)
    if found is None:
        raise DecodeError("the extensions are missing")
    return found
