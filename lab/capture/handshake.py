"""One handshake as an onlooker sees it: two byte streams in, at most one capture out.

In TLS 1.2 everything up to ChangeCipherSpec is plaintext (RFC 5246 section 7.3): both hellos, the Certificate messages,
the CertificateVerify. In TLS 1.3 nothing after ServerHello is (RFC 8446 section 2).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from lab.capture.packets import ACK, FIN, RST, SYN, Endpoint, Segment
from lab.capture.reassembly import SEQUENCE_NUMBERS, Stream, StreamBroken
from lab.tls import extensions as ext
from lab.tls.engine import Party
from lab.tls.errors import Abort
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Message,
    NewSessionTicket,
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
from lab.tls.transcript import Entry
from lab.tls.versions import TLS12, TLS13

M = TypeVar("M", bound=Message)

MAX_HANDSHAKE = 1 << 18
"""So many bytes of one side's handshake are kept; a longer one is nobody's."""
MAX_MESSAGES = 64
MAX_PROTECTED_RECORDS = 16
"""So many of one side's application data records are kept: in TLS 1.3 the handshake looks like that."""
MAX_SKIPPED = 1 << 18
"""After so many bytes without the beginning of a record, it isn't TLS."""

BEGAN_EARLIER = "the handshake began before the capture did"
NO_SERVER = "the server's side of the handshake is not in the capture"
NO_PROOF = "the client sent no proof"
NO_PROOF_YET = "the capture of the handshake ends before the client's proof"
OLD_PROOF = "the client's proof has the form it had before TLS 1.2, so it is not kept"
GARBLED_PROOF = "the client's proof is garbled, so it is not kept"

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
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_KEPT_OVERHEAD = 128
"""About what a segment or a message takes up beside its bytes."""


@dataclass(frozen=True)
class Capture:
    """One handshake in which a client presented a certificate, as the attacker saw it.

    `chain` is in DER, the client's own certificate first; `certificate_message` has its 4-byte header, `record_header`
    is of the record it began in; `client_bytes` is what the client sent up to its Finished; `messages` is what was seen
    of each side until then, the client's first. `transcript` has the messages that the proof signs, in their order (RFC
    5246 section 7.4.8), empty where some were not seen. `session_id` and `ticket` are what the server gave the client
    to go on with later, empty for nothing. `time_ns` is when the connection was first seen. The randoms are None where
    the capture began too late for them, and `version` is what the client's records say, then. `server_name` is None
    where it is not a host name. `note` is empty unless there is something to say.
    """

    client: str
    server: str
    version: int | None
    server_name: str | None
    chain: tuple[bytes, ...]
    certificate_message: bytes
    record_header: bytes
    certificate_verify: CertificateVerify | None
    client_random: bytes | None
    server_random: bytes | None
    client_bytes: bytes
    messages: tuple[Entry, ...]
    transcript: tuple[Entry, ...]
    session_id: bytes
    ticket: bytes
    time_ns: int
    note: str


@dataclass(frozen=True)
class Contact:
    """A handshake from which no client certificate can be read, as in TLS 1.3, where they are encrypted.

    `client_bytes` is what the client sent, as far as it was kept; the records are given by content type and length.
    `asked` says whether a CertificateRequest could be read, `resumed` whether the server went on with an earlier
    session in plain sight. The rest is as in a Capture.
    """

    client: str
    server: str
    version: int | None
    server_name: str | None
    client_random: bytes
    server_random: bytes | None
    client_bytes: bytes
    client_records: tuple[tuple[int, int], ...]
    server_records: tuple[tuple[int, int], ...]
    asked: bool
    resumed: bool
    time_ns: int


class Side:
    """What one side of a connection sent in plaintext: its handshake messages, as far as its ChangeCipherSpec."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.opening: int | None = None
        """The sequence number of this side's SYN, where it was seen."""
        self.role: Party | None = None
        """What its messages, or else its SYN, show it to be."""
        self.messages: list[tuple[bytes, bytes]] = []
        """Each message's bytes, behind the header of the record that it began in."""
        self.raw = bytearray()
        """The records that were read, as far as the Finished."""
        self.changed_cipher = False
        self.over = False
        """Whether nothing more can be read from this side."""
        self.closing = False
        """Whether its FIN was seen, though perhaps not yet all that it sent before."""
        self._firsts: dict[type[Message], tuple[Message, bytes, bytes]] = {}
        """What `first` has found."""
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
                self._stream = Stream()  # what waits in there is of no use any more

    def continues(self, opening: int) -> bool:
        """Whether a SYN belongs to what was seen of this side: it was seen before, or fits in front of all."""
        if self.opening is not None:
            return self.opening == opening
        return self._first is None or self._first == (opening + 1) % SEQUENCE_NUMBERS

    @property
    def ended(self) -> bool:
        """Whether this side said that it has nothing more to send, and all that it sent is here."""
        return self.closing and (self.over or self._stream.has_reached(self._end))

    @property
    def octets(self) -> int:
        """About how much memory all this takes up."""
        pending = self._stream.pending_octets
        return pending + 2 * (len(self.raw) + self._read_octets) + _KEPT_OVERHEAD * len(self.messages)

    def records(self) -> tuple[tuple[int, int], ...]:
        """Content type and length of each record that was read."""
        return tuple((record.type, len(record.fragment)) for record in RecordReader().feed(bytes(self.raw)))

    def sent(self, kind: type[Message]) -> bool:
        """Whether a message of this type was seen, readable or not."""
        return any(raw[0] == kind.type for _, raw in self.messages)  # type: ignore[comparison-overlap]

    def first(self, kind: type[M]) -> tuple[M, bytes, bytes] | None:
        """The first readable message of a type, with its bytes and the header of its record."""
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
        """What to read, once a segment begins as a record does; until then nothing."""
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
        """What looked like records is none."""
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
            self.over = True  # what follows is protected; the first such record is the Finished
        elif record.type == ContentType.CHANGE_CIPHER_SPEC:
            self.changed_cipher = True
        elif record.type == ContentType.HANDSHAKE:
            if not self._joiner.pending:
                self._began_in = header
            for raw in self._joiner.feed(record.fragment):
                self.messages.append((self._began_in, raw))
                self.role = _SENDERS.get(raw[0], self.role)
                self._began_in = header


class Handshake:
    """The two sides of one connection."""

    def __init__(self, first: Segment, time_ns: int) -> None:
        self._sides = (Side(first.source), Side(first.destination))
        self._time_ns = time_ns
        self._captured = False
        self.over = False
        """Whether nothing more can come of it."""

    def continued_by(self, opening: Segment) -> bool:
        """Whether this SYN is of this connection, and not the first of another one on the same ports."""
        return self._side(opening).continues(opening.sequence)

    def feed(self, segment: Segment) -> "Capture | Contact | None":
        """Takes a segment of either side; the capture, or else the contact, once it is complete."""
        self._side(segment).feed(segment)
        one, other = self._sides
        self.over = (
            bool(segment.flags & RST)
            or (one.closing and other.closing)
            or ((one.over or one.ended) and (other.over or other.ended))
        )
        return self.end() if self.over or self._complete() else None

    def end(self) -> "Capture | Contact | None":
        """What there is; None where that is nothing, or it was told before."""
        parties = self.parties()
        if not parties or self._captured:
            return None
        client, server = parties
        self._captured = self.over = True
        found = client.first(Certificate)
        if not found or not found[0].chain:
            return self._contact(client, server)
        certificate, raw, header = found
        client_hello, server_hello = client.first(ClientHello), server.first(ServerHello)
        version = self.version() or int.from_bytes(header[1:3], "big")
        proof = client.first(CertificateVerify) if version >= TLS12 else None
        return Capture(
            client=str(client.endpoint),
            server=str(server.endpoint),
            version=version,
            server_name=_server_name(client_hello[0]) if client_hello else None,
            chain=certificate.chain,
            certificate_message=raw,
            record_header=header,
            certificate_verify=proof[0] if proof else None,
            client_random=client_hello[0].random if client_hello else None,
            server_random=server_hello[0].random if server_hello else None,
            client_bytes=bytes(client.raw),
            messages=tuple(_entries(client, server)),
            transcript=tuple(_signed(client, server)),
            session_id=server_hello[0].session_id if server_hello else b"",
            ticket=_ticket(server),
            time_ns=self._time_ns,
            note="; ".join(_notes(client, server, version, proof is not None)),
        )

    @property
    def resumed(self) -> bool:
        """Whether the server went on with an earlier session, without any certificates (RFC 5246 section 7.3)."""
        parties = self.parties()
        if not parties or self.version() == TLS13:
            return False
        server = parties[1]
        return server.changed_cipher and server.sent(ServerHello) and not server.sent(Certificate)

    def _contact(self, client: Side, server: Side) -> Contact | None:
        client_hello, server_hello = client.first(ClientHello), server.first(ServerHello)
        if not client_hello:
            return None
        return Contact(
            client=str(client.endpoint),
            server=str(server.endpoint),
            version=self.version(),
            server_name=_server_name(client_hello[0]),
            client_random=client_hello[0].random,
            server_random=server_hello[0].random if server_hello else None,
            client_bytes=bytes(client.raw),
            client_records=client.records(),
            server_records=server.records(),
            asked=server.sent(CertificateRequest),
            resumed=self.resumed,
            time_ns=self._time_ns,
        )

    def parties(self) -> tuple[Side, Side] | None:
        """Client and server, as their messages or their SYNs show; None where nothing does."""
        one, other = self._sides
        if one.role == "client" or other.role == "server":
            return one, other
        if other.role == "client" or one.role == "server":
            return other, one
        return None

    def version(self) -> int | None:
        """The version that the server chose; None as long as it hasn't."""
        parties = self.parties()
        hello = parties[1].first(ServerHello) if parties else None
        if not hello:
            return None
        try:
            return ext.selected_version(hello[0].extensions) or hello[0].version
        except Abort:
            return hello[0].version

    @property
    def openings(self) -> tuple[tuple[Endpoint, int | None], ...]:
        """Each side's SYN: whose, and its sequence number."""
        return tuple((side.endpoint, side.opening) for side in self._sides)

    @property
    def octets(self) -> int:
        """About how much memory all this takes up."""
        return sum(side.octets for side in self._sides)

    def _side(self, segment: Segment) -> Side:
        one, other = self._sides
        return one if segment.source == one.endpoint else other

    def _complete(self) -> bool:
        """Whether the client's part is all here, and the server's as far as its answer to that.

        On a live link the two directions may be seen in either order.
        """
        parties = self.parties()
        if not parties:
            return False
        client, server = parties
        return client.ended or (client.over and (server.ended or server.over or server.changed_cipher))


def _entries(client: Side, server: Side) -> Iterator[Entry]:
    """The client's messages, then the server's as far as ServerHelloDone, which the client's Certificate answers."""
    for _, raw in client.messages:
        yield Entry("client", raw)
    for _, raw in server.messages:
        yield Entry("server", raw)
        if raw[0] == ServerHelloDone.type:
            return


def _signed(client: Side, server: Side) -> Iterator[Entry]:
    """The messages before the client's CertificateVerify, where all of them were seen."""
    if not (client.sent(ClientHello) and server.sent(ServerHello) and server.sent(ServerHelloDone)):
        return
    (_, hello), *rest = client.messages
    yield Entry("client", hello)
    yield from (entry for entry in _entries(client, server) if entry.sender == "server")
    for _, raw in rest:
        if raw[0] == CertificateVerify.type:
            return
        yield Entry("client", raw)


def _ticket(server: Side) -> bytes:
    """The ticket in the server's NewSessionTicket, which TLS 1.2 shows to everybody (RFC 5077 section 3.3)."""
    found = server.first(NewSessionTicket)
    return found[0].ticket if found else b""


def _notes(client: Side, server: Side, version: int, proof: bool) -> Iterator[str]:
    if not client.sent(ClientHello):
        yield BEGAN_EARLIER
    elif not server.sent(ServerHello):
        yield NO_SERVER
    if proof:
        return
    if client.sent(CertificateVerify):
        yield OLD_PROOF if version < TLS12 else GARBLED_PROOF
    else:
        yield NO_PROOF if client.changed_cipher else NO_PROOF_YET


def _server_name(hello: ClientHello) -> str | None:
    try:
        name = ext.read_server_name(hello.extensions)
    except Abort:
        return None
    return name if name and len(name) <= 253 and _HOST_NAME.fullmatch(name) else None


def _may_begin_a_record(data: bytes) -> bool:
    """Whether these bytes can be the beginning of a TLS record (RFC 5246 section 6.2.1)."""
    if data[0] not in CONTENT_TYPES or (len(data) > 1 and data[1] != 3) or (len(data) > 2 and data[2] > 4):
        return False
    return len(data) < RECORD_HEADER_LENGTH or int.from_bytes(data[3:5], "big") <= MAX_PROTECTED
