"""One side of a connection: its segments in, its handshake messages out, as far as they are plaintext."""

from typing import TypeVar

from lab.capture.packets import ACK, FIN, SYN, Endpoint, Segment
from lab.capture.reassembly import SEQUENCE_NUMBERS, Stream, StreamBroken
from lab.tls.engine import Party
from lab.tls.errors import Abort
from lab.tls.messages import (
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
_KEPT_OVERHEAD = 128
"""The approximate memory of a segment or a message, without its bytes."""


class PlaintextSide:
    """What one side of a connection sent in plaintext: its handshake messages up to its ChangeCipherSpec."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.opening: int | None = None
        """The sequence number of this side's SYN, if it was seen."""
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
        """Whether its FIN was seen; earlier bytes may still be missing."""
        self._firsts: dict[type[Message], tuple[Message, bytes, bytes]] = {}
        """The results of `first`."""
        self._first: int | None = None
        self._end = 0
        self._stream = Stream()
        self._records = RecordReader()
        self._joiner = MessageJoiner()
        self._began_in = b""
        self._synchronized = False
        self._beginning = b""
        self._skipped = 0
        self._read_octets = 0
        self._protected_records = 0

    def feed(self, segment: Segment) -> None:
        """Takes one segment of this side."""
        sequence, flags, payload = segment.sequence, segment.flags, segment.payload
        if flags & SYN:
            self.opening = segment.sequence
            self.role = self.role or ("server" if flags & ACK else "client")
            self._stream.begin(sequence)
            sequence = (sequence + 1) % SEQUENCE_NUMBERS
        if flags & FIN:
            self.closing = True
            self._end = (sequence + len(payload)) % SEQUENCE_NUMBERS
        if payload and not self.over:
            if self._first is None:
                self._first = sequence
            try:
                self._read(self._stream.feed(sequence, payload))
            except StreamBroken:
                self.over = True
            if self.over:
                self._stream = Stream()  # the segments that wait in it are no longer needed

    def continues(self, opening: int) -> bool:
        """Whether a SYN belongs to this side: it was seen before, or comes right before the first segment."""
        if self.opening is not None:
            return self.opening == opening
        return self._first is None or self._first == (opening + 1) % SEQUENCE_NUMBERS

    @property
    def ended(self) -> bool:
        """Whether this side has closed its direction and everything that it sent was seen."""
        return self.closing and (self.over or self._stream.has_reached(self._end))

    @property
    def octets(self) -> int:
        """The approximate memory in use, in bytes."""
        pending = self._stream.pending_octets
        return pending + 2 * (len(self.raw) + self._read_octets) + _KEPT_OVERHEAD * len(self.messages)

    def records(self) -> tuple[tuple[int, int], ...]:
        """The content type and length of each record that was read."""
        return tuple((record.type, len(record.fragment)) for record in RecordReader().feed(bytes(self.raw)))

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

    def _read(self, data: bytes) -> None:
        if data and not self._synchronized:
            data = self._synchronize(data)
        if not data:
            return
        self._read_octets += len(data)
        try:
            for record in self._records.feed(data):
                self._on_record(record)
                if self.over:
                    return
        except Abort:
            self._lose_track()
        if self._read_octets > MAX_HANDSHAKE or len(self.messages) > MAX_MESSAGES:
            self.over = True

    def _synchronize(self, data: bytes) -> bytes:
        """The bytes to read, from the first segment that starts like a record; until then none."""
        data = self._beginning + data
        self._beginning = b""
        if not _may_begin_a_record(data):
            self._skip(data)
            return b""
        if len(data) < RECORD_HEADER_LENGTH:
            self._beginning = data
            return b""
        self._synchronized = True
        return data

    def _lose_track(self) -> None:
        """The bytes looked like records but are not."""
        if self.messages or self.changed_cipher:
            self.over = True
        else:
            self._synchronized = False
            self._records, self._joiner = RecordReader(), MessageJoiner()
            self._skip(self.raw)
            self._read_octets = 0
            self.raw.clear()

    def _skip(self, data: bytes | bytearray) -> None:
        self._skipped += len(data)
        self.over = self._skipped > MAX_SKIPPED

    def _on_record(self, record: Record) -> None:
        header = b"%c%b%b" % (record.type, record.version.to_bytes(2, "big"), len(record.fragment).to_bytes(2, "big"))
        self.raw += header + record.fragment
        if record.type == ContentType.APPLICATION_DATA:
            self._protected_records += 1
            self.over = self._protected_records >= MAX_PROTECTED_RECORDS
        elif self.changed_cipher:
            self.over = True  # all later records are protected; the first of them is the Finished
        elif record.type == ContentType.CHANGE_CIPHER_SPEC:
            self.changed_cipher = True
        elif record.type == ContentType.HANDSHAKE:
            if not self._joiner.pending:
                self._began_in = header
            for raw in self._joiner.feed(record.fragment):
                self.messages.append((self._began_in, raw))
                self.role = _SENDERS.get(raw[0], self.role)
                self._began_in = header


def _may_begin_a_record(data: bytes) -> bool:
    """Whether these bytes can start a TLS record (RFC 5246 section 6.2.1)."""
    if data[0] not in CONTENT_TYPES or (len(data) > 1 and data[1] != 3) or (len(data) > 2 and data[2] > 4):
        return False
    return len(data) < RECORD_HEADER_LENGTH or int.from_bytes(data[3:5], "big") <= MAX_PROTECTED
