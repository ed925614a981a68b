"""Records (RFC 5246 section 6.2, RFC 8446 section 5): framing, protection, and messages from fragments."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from cryptography.exceptions import InvalidTag

from lab.tls import wire
from lab.tls.alerts import AlertDescription
from lab.tls.errors import Abort, DecodeError
from lab.tls.keys import CipherSuite, TrafficKey
from lab.tls.messages import HEADER_LENGTH
from lab.tls.versions import TLS12

RECORD_HEADER_LENGTH = 5
MAX_PLAINTEXT = 1 << 14  # RFC 5246 section 6.2.1
MAX_PROTECTED = MAX_PLAINTEXT + 2048  # RFC 5246 section 6.2.3
MAX_PROTECTED_13 = MAX_PLAINTEXT + 256  # RFC 8446 section 5.2
MAX_MESSAGE = 1 << 17
"""Longer handshake messages are refused; no real certificate chain has 128 KiB."""
MAX_EMPTY_RECORDS = 32
"""More in a row are refused: they cost work and carry no data."""


class ContentType(IntEnum):
    """RFC 5246 section 6.2.1."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


CONTENT_TYPES = frozenset(map(int, ContentType))


@dataclass(frozen=True)
class Record:
    """One record from the wire; the fragment may still be protected."""

    type: int
    version: int
    fragment: bytes


class RecordReader:
    """Cuts a byte stream into records. Holds at most one incomplete record."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """The records that are now complete; Abort for bytes that are not TLS records."""
        self._buffer += data
        while len(self._buffer) >= RECORD_HEADER_LENGTH:
            kind, major = self._buffer[0], self._buffer[1]
            if kind not in CONTENT_TYPES or major != 3:
                raise Abort(
                    AlertDescription.UNEXPECTED_MESSAGE, f"no TLS record begins with {self._buffer[:5].hex(' ')}"
                )
            length = int.from_bytes(self._buffer[3:5], "big")
            if length > MAX_PROTECTED:
                raise Abort(AlertDescription.RECORD_OVERFLOW, f"a record of {length} bytes, {MAX_PROTECTED} at most")
            end = RECORD_HEADER_LENGTH + length
            if len(self._buffer) < end:
                return
            version = int.from_bytes(self._buffer[1:3], "big")
            fragment = bytes(self._buffer[RECORD_HEADER_LENGTH:end])
            del self._buffer[:end]
            yield Record(kind, version, fragment)

    @property
    def incomplete(self) -> Record | None:
        """What there is of the record that is not complete yet; None before its header is."""
        if len(self._buffer) < RECORD_HEADER_LENGTH:
            return None
        return Record(
            self._buffer[0], int.from_bytes(self._buffer[1:3], "big"), bytes(self._buffer[RECORD_HEADER_LENGTH:])
        )


def write_record(kind: int, fragment: bytes, version: int = TLS12) -> bytes:
    """One record's bytes; at most MAX_PROTECTED bytes of fragment."""
    return wire.number(kind, 1) + wire.number(version, 2) + wire.vector(fragment, 2)


def fragments(data: bytes) -> Iterator[bytes]:
    """`data` in pieces that fit into a record."""
    for start in range(0, len(data), MAX_PLAINTEXT):
        yield data[start : start + MAX_PLAINTEXT]


class MessageJoiner:
    """Joins handshake messages from record fragments, which hold parts of one or several (RFC 5246 section 6.2.1)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, fragment: bytes) -> Iterator[bytes]:
        """The messages that are now complete, header included; DecodeError for one that is too long."""
        self._buffer += fragment
        while len(self._buffer) >= HEADER_LENGTH:
            length = int.from_bytes(self._buffer[1:HEADER_LENGTH], "big")
            if length > MAX_MESSAGE:
                raise DecodeError(f"a handshake message of {length} bytes, {MAX_MESSAGE} at most")
            end = HEADER_LENGTH + length
            if len(self._buffer) < end:
                return
            raw = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield raw

    @property
    def pending(self) -> bool:
        """Whether a message is incomplete."""
        return bool(self._buffer)

    @property
    def begun(self) -> int | None:
        """The type of the message that is incomplete, if one is."""
        return self._buffer[0] if self._buffer else None


class Protection(Protocol):
    """The AEAD of one direction with its sequence number; each call is for the next record."""

    def seal(self, kind: int, plaintext: bytes) -> tuple[int, bytes]:
        """The type in the record's header, and the protected fragment."""
        ...

    def open(self, kind: int, fragment: bytes) -> tuple[int, bytes]:
        """The record's real type and plaintext; Abort with bad_record_mac if it was altered."""
        ...


class Protection12:
    """The protection of TLS 1.2 (RFC 5246 section 6.2.3.3)."""

    def __init__(self, suite: CipherSuite, traffic_key: TrafficKey) -> None:
        self._aead = suite.aead(traffic_key.key)
        self._salt = traffic_key.salt
        self._explicit = 12 - suite.salt_length  # bytes of nonce that each record carries
        self._sequence = 0

    def seal(self, kind: int, plaintext: bytes) -> tuple[int, bytes]:
        """See `Protection.seal`."""
        nonce, shown = self._nonce(self._sequence.to_bytes(8, "big"))
        return kind, shown + self._aead.encrypt(nonce, plaintext, self._additional_data(kind, len(plaintext)))

    def open(self, kind: int, fragment: bytes) -> tuple[int, bytes]:
        """See `Protection.open`."""
        length = len(fragment) - self._explicit - 16
        if length < 0:
            raise Abort(AlertDescription.BAD_RECORD_MAC, "a protected record too short for its tag")
        nonce, _ = self._nonce(fragment[: self._explicit] or self._sequence.to_bytes(8, "big"))
        try:
            plaintext = self._aead.decrypt(nonce, fragment[self._explicit :], self._additional_data(kind, length))
        except InvalidTag:
            raise Abort(AlertDescription.BAD_RECORD_MAC, "a record whose tag is wrong") from None
        if length > MAX_PLAINTEXT:
            raise Abort(AlertDescription.RECORD_OVERFLOW, f"a record with {length} bytes of plaintext")
        return kind, plaintext

    def _nonce(self, counter: bytes) -> tuple[bytes, bytes]:
        """The record's nonce from its 8-byte counter, and the part that the record carries."""
        if self._explicit:  # RFC 5288 section 3
            return self._salt + counter, counter
        return _masked(self._salt, int.from_bytes(counter, "big")), b""  # RFC 7905 section 2

    def _additional_data(self, kind: int, length: int) -> bytes:
        head = self._sequence.to_bytes(8, "big") + wire.number(kind, 1) + wire.number(TLS12, 2)
        self._sequence += 1
        return head + wire.number(length, 2)


class Protection13:
    """The protection of TLS 1.3 (RFC 8446 section 5.2): every record looks like application data."""

    def __init__(self, suite: CipherSuite, traffic_key: TrafficKey) -> None:
        self._aead = suite.aead(traffic_key.key)
        self._salt = traffic_key.salt
        self._sequence = 0

    def seal(self, kind: int, plaintext: bytes) -> tuple[int, bytes]:
        """See `Protection.seal`."""
        inner = plaintext + wire.number(kind, 1)
        sealed = self._aead.encrypt(self._nonce(), inner, _header13(len(inner) + 16))
        self._sequence += 1
        return ContentType.APPLICATION_DATA, sealed

    def open(self, kind: int, fragment: bytes) -> tuple[int, bytes]:
        """See `Protection.open`; unexpected_message for a record without protection or without a type."""
        if kind != ContentType.APPLICATION_DATA:
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "a record without protection, which is required now")
        if len(fragment) > MAX_PROTECTED_13:
            raise Abort(AlertDescription.RECORD_OVERFLOW, f"a protected record of {len(fragment)} bytes")
        try:
            inner = self._aead.decrypt(self._nonce(), fragment, _header13(len(fragment)))
        except InvalidTag:
            raise Abort(AlertDescription.BAD_RECORD_MAC, "a record whose tag is wrong") from None
        self._sequence += 1
        content = inner.rstrip(b"\0")
        if not content or content[-1] not in CONTENT_TYPES:
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "a protected record without a content type")
        if len(inner) > MAX_PLAINTEXT + 1:
            raise Abort(AlertDescription.RECORD_OVERFLOW, f"a record with {len(inner)} bytes of plaintext")
        return content[-1], content[:-1]

    def _nonce(self) -> bytes:
        return _masked(self._salt, self._sequence)


def _masked(salt: bytes, sequence: int) -> bytes:
    """A record's nonce (RFC 8446 section 5.3)."""
    return (int.from_bytes(salt, "big") ^ sequence).to_bytes(len(salt), "big")


def _header13(length: int) -> bytes:
    """The record's own header, which is its additional data."""
    return b"\x17\x03\x03" + wire.number(length, 2)
