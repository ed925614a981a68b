"""Handshake messages as frozen dataclasses; `serialize` is the inverse of `parse`.

A message on the wire is a type, a 24-bit length and a body (RFC 5246 section 7.4). A class here has the fields of the
body, in the RFC's order and with its names. Extensions stay raw and in order, so that every parsed message serializes
to the same bytes; `extensions.py` reads and writes their content. An unknown type becomes an `UnknownMessage`.

These are the messages up to TLS 1.2. `messages13.py` has those that are new or different in TLS 1.3.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from lab.tls import wire
from lab.tls.errors import DecodeError
from lab.tls.extensions import Extension, read_extensions, write_extensions
from lab.tls.versions import TLS12

HEADER_LENGTH = 4
MAX_SESSION_ID = 32  # RFC 5246 section 7.4.1.2


class Message(Protocol):
    """What every handshake message has."""

    @property
    def name(self) -> str:
        """The RFC's name of the message."""
        ...

    @property
    def type(self) -> int:
        """HandshakeType (RFC 5246 section 7.4)."""
        ...

    def body(self) -> bytes:
        """The message without its 4-byte header."""
        ...


@dataclass(frozen=True)
class HelloRequest:
    """RFC 5246 section 7.4.1.1: the server asks to renegotiate. Not part of the transcript."""

    name: ClassVar[str] = "HelloRequest"
    type: ClassVar[int] = 0

    def body(self) -> bytes:
        return b""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        wire.Reader(body, cls.name).end()
        return cls()


@dataclass(frozen=True)
class ClientHello:
    """RFC 5246 section 7.4.1.2. `random` has 32 bytes; `extensions` is None if the block is missing."""

    random: bytes
    session_id: bytes
    cipher_suites: tuple[int, ...]
    extensions: tuple[Extension, ...] | None
    version: int = TLS12
    compression_methods: bytes = b"\0"

    name: ClassVar[str] = "ClientHello"
    type: ClassVar[int] = 1

    def body(self) -> bytes:
        return (
            wire.number(self.version, 2)
            + self.random
            + wire.vector(self.session_id, 1)
            + wire.numbers(self.cipher_suites, 2, 2)
            + wire.vector(self.compression_methods, 1)
            + write_extensions(self.extensions)
        )

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        version = reader.number(2, "client_version")
        random = reader.take(32, "random")
        session_id = _session_id(reader)
        cipher_suites = reader.numbers(2, 2, "cipher_suites")
        compression_methods = reader.vector(1, "compression_methods", least=1)
        return cls(random, session_id, cipher_suites, read_extensions(reader), version, compression_methods)


@dataclass(frozen=True)
class ServerHello:
    """RFC 5246 section 7.4.1.3. `random` has 32 bytes; `extensions` is None if the block is missing."""

    random: bytes
    session_id: bytes
    cipher_suite: int
    extensions: tuple[Extension, ...] | None
    version: int = TLS12
    compression_method: int = 0

    name: ClassVar[str] = "ServerHello"
    type: ClassVar[int] = 2

    def body(self) -> bytes:
        return (
            wire.number(self.version, 2)
            + self.random
            + wire.vector(self.session_id, 1)
            + wire.number(self.cipher_suite, 2)
            + wire.number(self.compression_method, 1)
            + write_extensions(self.extensions)
        )

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        version = reader.number(2, "server_version")
        random = reader.take(32, "random")
        session_id = _session_id(reader)
        cipher_suite = reader.number(2, "cipher_suite")
        compression_method = reader.number(1, "compression_method")
        return cls(random, session_id, cipher_suite, read_extensions(reader), version, compression_method)


@dataclass(frozen=True)
class NewSessionTicket:
    """RFC 5077 section 3.3. `lifetime_hint` in seconds."""

    lifetime_hint: int
    ticket: bytes

    name: ClassVar[str] = "NewSessionTicket"
    type: ClassVar[int] = 4

    def body(self) -> bytes:
        return wire.number(self.lifetime_hint, 4) + wire.vector(self.ticket, 2)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        message = cls(reader.number(4, "ticket_lifetime_hint"), reader.vector(2, "ticket"))
        reader.end()
        return message


@dataclass(frozen=True)
class Certificate:
    """RFC 5246 sections 7.4.2 and 7.4.6: DER certificates, the sender's own first; empty if it has none."""

    chain: tuple[bytes, ...]

    name: ClassVar[str] = "Certificate"
    type: ClassVar[int] = 11

    def body(self) -> bytes:
        return wire.vectors(self.chain, 3, 3)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        message = cls(reader.vectors(3, 3, "certificate_list"))
        reader.end()
        return message


@dataclass(frozen=True)
class ServerKeyExchange:
    """RFC 8422 section 5.4, on a named curve: the server's ECDHE point and its signature over it and both randoms."""

    group: int
    point: bytes
    scheme: int
    signature: bytes

    name: ClassVar[str] = "ServerKeyExchange"
    type: ClassVar[int] = 12
    NAMED_CURVE: ClassVar[int] = 3

    def params(self) -> bytes:
        """ServerECDHParams, the signed part."""
        return wire.number(self.NAMED_CURVE, 1) + wire.number(self.group, 2) + wire.vector(self.point, 1)

    def body(self) -> bytes:
        return self.params() + wire.number(self.scheme, 2) + wire.vector(self.signature, 2)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        if (curve_type := reader.number(1, "curve_type")) != cls.NAMED_CURVE:
            raise DecodeError(f"{cls.name}: curve_type is {curve_type}, not named_curve ({cls.NAMED_CURVE})")
        group = reader.number(2, "namedcurve")
        point = reader.vector(1, "public", least=1)
        scheme = reader.number(2, "algorithm")
        message = cls(group, point, scheme, reader.vector(2, "signature"))
        reader.end()
        return message


@dataclass(frozen=True)
class CertificateRequest:
    """RFC 5246 section 7.4.4: client_certificate_type numbers, signature schemes, DER names of authorities."""

    certificate_types: tuple[int, ...]
    signature_schemes: tuple[int, ...]
    authorities: tuple[bytes, ...] = ()

    name: ClassVar[str] = "CertificateRequest"
    type: ClassVar[int] = 13

    def body(self) -> bytes:
        return (
            wire.numbers(self.certificate_types, 1, 1)
            + wire.numbers(self.signature_schemes, 2, 2)
            + wire.vectors(self.authorities, 2, 2)
        )

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        message = cls(
            reader.numbers(1, 1, "certificate_types"),
            reader.numbers(2, 2, "supported_signature_algorithms"),
            reader.vectors(2, 2, "certificate_authorities"),
        )
        reader.end()
        return message


@dataclass(frozen=True)
class ServerHelloDone:
    """RFC 5246 section 7.4.5."""

    name: ClassVar[str] = "ServerHelloDone"
    type: ClassVar[int] = 14

    def body(self) -> bytes:
        return b""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        wire.Reader(body, cls.name).end()
        return cls()


@dataclass(frozen=True)
class CertificateVerify:
    """RFC 5246 section 7.4.8: the proof of possession, a signature over the handshake so far."""

    scheme: int
    signature: bytes

    name: ClassVar[str] = "CertificateVerify"
    type: ClassVar[int] = 15

    def body(self) -> bytes:
        return wire.number(self.scheme, 2) + wire.vector(self.signature, 2)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = wire.Reader(body, cls.name)
        message = cls(reader.number(2, "algorithm"), reader.vector(2, "signature"))
        reader.end()
        return message


@dataclass(frozen=True)
class ClientKeyExchange:
    """RFC 8422 section 5.7. `exchange_keys` is raw: its structure depends on the key exchange."""

    exchange_keys: bytes

    name: ClassVar[str] = "ClientKeyExchange"
    type: ClassVar[int] = 16

    def body(self) -> bytes:
        return self.exchange_keys

    @classmethod
    def parse(cls, body: bytes) -> Self:
        return cls(body)

    @classmethod
    def ecdhe(cls, point: bytes) -> Self:
        return cls(wire.vector(point, 1))

    @classmethod
    def rsa(cls, encrypted_premaster: bytes) -> Self:
        """RFC 5246 section 7.4.7.1."""
        return cls(wire.vector(encrypted_premaster, 2))

    def encrypted_premaster(self) -> bytes:
        """The encrypted premaster secret of RSA key transport."""
        reader = wire.Reader(self.exchange_keys, self.name)
        encrypted = reader.vector(2, "encrypted_premaster_secret")
        reader.end()
        return encrypted

    def point(self) -> bytes:
        """The client's ECDHE point."""
        reader = wire.Reader(self.exchange_keys, self.name)
        point = reader.vector(1, "ecdh_Yc", least=1)
        reader.end()
        return point


@dataclass(frozen=True)
class Finished:
    """RFC 5246 section 7.4.9."""

    verify_data: bytes

    name: ClassVar[str] = "Finished"
    type: ClassVar[int] = 20

    def body(self) -> bytes:
        return self.verify_data

    @classmethod
    def parse(cls, body: bytes) -> Self:
        return cls(body)


@dataclass(frozen=True)
class UnknownMessage:
    """A handshake message of a type that is not known here."""

    type: int
    content: bytes

    @property
    def name(self) -> str:
        return f"handshake message {self.type}"

    def body(self) -> bytes:
        return self.content


KNOWN = (
    HelloRequest,
    ClientHello,
    ServerHello,
    NewSessionTicket,
    Certificate,
    ServerKeyExchange,
    CertificateRequest,
    ServerHelloDone,
    CertificateVerify,
    ClientKeyExchange,
    Finished,
)
_BY_TYPE = {kind.type: kind for kind in KNOWN}


def _session_id(reader: wire.Reader) -> bytes:
    session_id = reader.vector(1, "session_id")
    if len(session_id) > MAX_SESSION_ID:
        raise DecodeError(f"a session_id of {len(session_id)} bytes, {MAX_SESSION_ID} at most")
    return session_id


def serialize(message: Message) -> bytes:
    """The message's bytes, header included."""
    return wire.number(message.type, 1) + wire.vector(message.body(), 3)


def split(raw: bytes) -> tuple[int, bytes]:
    """Type and body of the message in `raw`; DecodeError unless it holds exactly one."""
    reader = wire.Reader(raw, "handshake message")
    kind = reader.number(1, "msg_type")
    body = reader.vector(3, "body")
    reader.end()
    return kind, body


def parse(raw: bytes) -> Message:
    """The message in `raw`, header included; DecodeError names the wrong field."""
    kind, body = split(raw)
    known = _BY_TYPE.get(kind)
    return known.parse(body) if known else UnknownMessage(kind, body)
