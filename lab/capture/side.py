"""One side of a conversation: its bytes in order in, its handshake messages out, as far as they are plaintext.

Where bytes are missing, reading goes on with the next record whose start can be told.
"""

import re
from typing import TypeVar

from lab.capture.contents import Place
from lab.tls.engine import Party
from lab.tls.errors import Abort
from lab.tls.messages import (
    HEADER_LENGTH,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Message,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
    parse,
)
from lab.tls.records import (
    CONTENT_TYPES,
    MAX_PROTECTED,
    RECORD_HEADER_LENGTH,
    ContentType,
    MessageJoiner,
    Record,
    RecordReader,
)

M = TypeVar("M", bound=Message)

MAX_HANDSHAKE = 1 << 18
"""The most bytes that are kept of one side's handshake; no real handshake is longer."""
MAX_MESSAGES = 64
MAX_PROTECTED_RECORDS = 16
"""The most application data records that are kept of one side: TLS 1.3 hides its handshake in such records."""
MAX_SKIPPED = 1 << 18
"""After this many bytes without the start of a record, the connection is not TLS."""
MAX_GAPS = 1 << 6
"""With more gaps than this a side is given up."""
MAX_WATCHED, MAX_WATCHED_RECORDS = 1 << 16, 64
"""So much is read after a handshake, to see whether another, encrypted one follows."""
MAX_PREFACE = 1 << 12
"""TLS may begin inside a segment, after a PROXY header or an HTTP CONNECT, among the first bytes of a side."""

_SENDERS: dict[int, Party] = {
    ClientHello.type: "client",
    ClientKeyExchange.type: "client",
    CertificateVerify.type: "client",
    ServerHello.type: "server",
    ServerKeyExchange.type: "server",
    CertificateRequest.type: "server",
    ServerHelloDone.type: "server",
}
"""The messages that only one party sends."""
_KEPT_OVERHEAD = 160
"""The approximate memory of a message, without its bytes."""
_SIDE_OVERHEAD = 2600
"""The approximate memory of a side that has read nothing, measured."""
_TAIL = 11
"""One byte less than it takes to recognise a record with the start of a handshake message."""

_PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"
"""How a PROXY header of version 2 begins (haproxy's proxy-protocol.txt, section 2.2)."""
_HELLO = re.compile(rb"\x16\x03[\x00-\x04][\x00-\x40].\x01\x00..\x03[\x00-\x04]", re.DOTALL)
"""A record that starts with a ClientHello."""
_RECORD = re.compile(
    rb"\x14\x03[\x00-\x04]\x00\x01\x01|\x16\x03[\x00-\x04]([\x00-\x48].)[\x01\x02\x04\x0b-\x10\x16]([\x00\x01]..)",
    re.DOTALL,
)
"""A ChangeCipherSpec, or a record that starts with a handshake message; groups: the two lengths."""


class PlaintextSide:
    """What one side of a conversation sent in plaintext: its handshake messages up to its ChangeCipherSpec."""

    rewritten = False
    """Whether the messages have another form than on the wire, so that no signature fits them."""
    carrier = ""
    """What carries its TLS, if that is not TCP itself."""

    def __init__(self, endpoint: Place) -> None:
        self.endpoint = endpoint
        self.role: Party | None = None
        """Client or server, as its messages or its SYN show."""
        self.messages: list[tuple[bytes, bytes]] = []
        """For each message the header of the record in which it starts, and its bytes."""
        self.raw = bytearray()
        """The records that were read, up to the Finished."""
        self.changed_cipher = False
        self.over = False
        """Whether nothing more can be read from this side."""
        self.closing = False
        """Whether its end was seen; earlier bytes may still be missing."""
        self.gaps = 0
        """How often bytes of its handshake are missing in the middle."""
        self.holed: set[int] = set()
        """The types of the messages in which bytes are missing."""
        self.later_handshakes = 0
        """Encrypted handshake records after the Finished: another handshake, which cannot be read."""
        self.ssl2 = False
        """Whether it speaks SSL 2.0."""
        self.speaks_tls = False
        """Whether whole TLS records were read."""
        self.old_hello = False
        """Whether it began with a ClientHello in the form of SSL 2.0 (RFC 5246 appendix E.2)."""
        self._firsts: dict[type[Message], tuple[Message, bytes, bytes]] = {}
        """The results of `first`."""
        self._records = RecordReader()
        self._joiner = MessageJoiner()
        self._began_in = b""
        self._synchronized = False
        self._lost = False
        """Whether bytes are missing right before those that come next."""
        self._beginning = self._tail = b""
        """The bytes that may begin a record; the last of those before them that do not."""
        self._skipped = 0
        self._read_octets = 0
        self._protected_records = 0
        self._watched = self._watched_records = 0
        self._old_hello_octets = 0

    @property
    def ended(self) -> bool:
        """Whether this side has closed its direction and everything that it sent was seen."""
        return self.closing

    @property
    def octets(self) -> int:
        """The approximate memory in use, in bytes."""
        return _SIDE_OVERHEAD + 2 * (len(self.raw) + self._read_octets) + _KEPT_OVERHEAD * len(self.messages)

    @property
    def watched(self) -> bool:
        """Whether enough was read after the handshake."""
        return self._watched >= MAX_WATCHED or self._watched_records >= MAX_WATCHED_RECORDS

    def records(self) -> tuple[tuple[int, int], ...]:
        """The content type and length of each record that was read."""
        raw = bytes(self.raw[self._old_hello_octets :])
        return tuple((record.type, len(record.fragment)) for record in RecordReader().feed(raw))

    def sent(self, kind: type[Message]) -> bool:
        """Whether a message of this type was seen, even if it could not be parsed."""
        return any(raw[0] == kind.type for _, raw in self.messages)  # type: ignore[comparison-overlap]

    def first(self, kind: type[M]) -> tuple[M, bytes, bytes] | None:
        """The first message of a type that parses, with its bytes and the header of its record."""
        if kind in self._firsts:
            message, raw, header = self._firsts[kind]
            assert isinstance(message, kind)
            return message, raw, header
        for header, raw in self.messages:
            if raw[0] == kind.type:  # type: ignore[comparison-overlap]
                try:
                    message = parse(raw)
                except Abort:
                    continue
                if isinstance(message, kind):
                    self._firsts[kind] = message, raw, header
                    return message, raw, header
        return None

    def read(self, data: bytes) -> None:
        """Takes the next bytes."""
        if data and self.over:
            self._watch(data)
            return
        if data and not self._synchronized:
            data = self._synchronize(data)
        if not data:
            return
        self._read_octets += len(data)
        try:
            for record in self._records.feed(data):
                if self.over:
                    self._see_protected(record)
                else:
                    self._on_record(record)
        except Abort:
            self._lose_track()
        if self._read_octets > MAX_HANDSHAKE or len(self.messages) > MAX_MESSAGES:
            self.over = True

    def lose(self) -> None:
        """Bytes are missing here; messages that are whole before that are still read."""
        self.over = self.over or self.changed_cipher  # what follows is encrypted
        if self.over:
            return
        self.gaps += 1
        self._drain()
        if self._joiner.begun is not None:
            self.holed.add(self._joiner.begun)
        self._records, self._joiner = RecordReader(), MessageJoiner()
        self._synchronized, self._lost, self._beginning, self._tail = False, True, b"", b""
        self.over = self.gaps > MAX_GAPS

    def finish(self) -> None:
        """No more bytes will come."""
        if not self.over:
            self._drain()

    def _drain(self) -> None:
        """Reads the whole messages in a record that is incomplete."""
        record = self._records.incomplete
        if record and record.type == ContentType.HANDSHAKE and not self.changed_cipher:
            try:
                self._on_handshake(_header(record), record.fragment)
            except Abort:
                self._joiner = MessageJoiner()
        self._records = RecordReader()

    def _watch(self, data: bytes) -> None:
        """Looks at the records after the Finished."""
        if self.changed_cipher and not self.watched:
            self._watched += len(data)
            try:
                for record in self._records.feed(data):
                    self._see_protected(record)
            except Abort:
                self._watched = MAX_WATCHED

    def _see_protected(self, record: Record) -> None:
        self._watched_records += 1
        self.later_handshakes += record.type == ContentType.HANDSHAKE

    def _synchronize(self, data: bytes) -> bytes:
        """The bytes to read, from the first that start a record; until then none."""
        for start in (self._beginning + data, data) if self._beginning else (data,):
            if _may_begin_a_record(start):
                if len(start) < RECORD_HEADER_LENGTH:
                    self._beginning = start
                    return b""
                return self._synchronized_at(start)
            if not self._skipped and not self._lost and (rest := self._take_old_hello(start)) is not None:
                return rest
        behind = self._tail + self._beginning + data
        self._beginning = b""
        at = self._inside(behind)
        if at is not None:
            return self._synchronized_at(behind[at:])
        self._skip(data)
        self._tail = behind[-_TAIL:] if self._lost or self._skipped <= MAX_PREFACE else b""
        return b""

    def _synchronized_at(self, data: bytes) -> bytes:
        self._synchronized, self._lost = True, False
        self._beginning = self._tail = b""
        return data

    def _inside(self, data: bytes) -> int | None:
        """Where in these bytes TLS goes on or begins, if that can be told."""
        if self._lost:
            for found in _RECORD.finditer(data):
                if found[1] is None or _fits(found[1], found[2]):
                    return found.start()
        elif self._skipped <= MAX_PREFACE and (hello := _HELLO.search(data)):
            at = hello.start()
            if data[at - 1] == 0x0A or data.startswith(_PROXY_V2):
                return at
        return None

    def _take_old_hello(self, data: bytes) -> bytes | None:
        """What follows a ClientHello in the form of SSL 2.0, with which some clients begin; None if there is none."""
        version = data[3:5]
        if (
            not data[0] & 0x80
            or data[2:3] not in (b"", b"\1")
            or not any(one.startswith(version) for one in _OLD_VERSIONS)
        ):
            return None
        if len(data) < 11:
            self._beginning = data
            return b""
        ciphers, session, challenge = (int.from_bytes(data[at : at + 2], "big") for at in (5, 7, 9))
        length = (data[0] & 0x7F) << 8 | data[1]
        if length != 9 + ciphers + session + challenge or not ciphers or ciphers % 3 or not 16 <= challenge <= 32:
            return None
        self.role = "client"
        if data[3] != 3:
            self.ssl2 = self.over = True
            return b""
        end = 2 + length
        if len(data) < end:
            self._beginning = data
            return b""
        raw = data[2:end]
        random = raw[-challenge:].rjust(32, b"\0")
        hello = ClientHello(random, b"", (), None, int.from_bytes(raw[1:3], "big"))
        self._firsts[ClientHello] = hello, raw, data[:2]
        self.messages.append((data[:2], raw))
        self.raw += data[:end]
        self._old_hello_octets = end
        self.old_hello = True
        return self._synchronized_at(data[end:])

    def _lose_track(self) -> None:
        """The bytes looked like records but are not."""
        if self.messages or self.changed_cipher:
            self.over = True
        else:
            self._synchronized = self.speaks_tls = False
            self._records, self._joiner = RecordReader(), MessageJoiner()
            self._skip(self.raw)
            self._read_octets = 0
            self.raw.clear()

    def _skip(self, data: bytes | bytearray) -> None:
        self._skipped += len(data)
        self.over = self._skipped > MAX_SKIPPED

    def _on_record(self, record: Record) -> None:
        header = _header(record)
        self.raw += header + record.fragment
        self.speaks_tls = True
        if record.type == ContentType.APPLICATION_DATA:
            self._protected_records += 1
            self.over = self._protected_records >= MAX_PROTECTED_RECORDS
        elif self.changed_cipher:
            self.over = True  # all later records are protected; the first of them is the Finished
        elif record.type == ContentType.CHANGE_CIPHER_SPEC:
            self.changed_cipher = True
        elif record.type == ContentType.HANDSHAKE:
            self._on_handshake(header, record.fragment)

    def _on_handshake(self, header: bytes, fragment: bytes) -> None:
        if not self._joiner.pending:
            self._began_in = header
        for raw in self._joiner.feed(fragment):
            self.on_message(self._began_in, raw)
            self._began_in = header

    def on_message(self, header: bytes, raw: bytes) -> None:
        """One whole message, and the header of the record in which it starts."""
        self.messages.append((header, raw))
        self.role = _SENDERS.get(raw[0], self.role)


_OLD_VERSIONS = (b"\x00\x02", b"\x03\x00", b"\x03\x01", b"\x03\x02", b"\x03\x03")


def _header(record: Record) -> bytes:
    return b"%c%b%b" % (record.type, record.version.to_bytes(2, "big"), len(record.fragment).to_bytes(2, "big"))


def _fits(record_length: bytes, message_length: bytes) -> bool:
    """Whether a message may start a record: it fits into it, or it goes on in the next one."""
    record, message = (int.from_bytes(length, "big") for length in (record_length, message_length))
    return message + HEADER_LENGTH <= record or record >= 1 << 9


def _may_begin_a_record(data: bytes) -> bool:
    """Whether these bytes can start a TLS record (RFC 5246 section 6.2.1)."""
    if data[0] not in CONTENT_TYPES or (len(data) > 1 and data[1] != 3) or (len(data) > 2 and data[2] > 4):
        return False
    return len(data) < RECORD_HEADER_LENGTH or int.from_bytes(data[3:5], "big") <= MAX_PROTECTED
