"""One handshake as an onlooker sees it: two byte streams in, at most one capture out.

In TLS 1.2 everything up to ChangeCipherSpec is plaintext (RFC 5246 section 7.3): both hellos, the Certificate messages,
the CertificateVerify. In TLS 1.3 nothing after ServerHello is (RFC 8446 section 2).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from attacker.packets import RST, SYN, Endpoint, Segment
from attacker.reassembly import Stream, StreamBroken
from lab.tls import extensions as ext
from lab.tls.engine import Party
from lab.tls.errors import Abort
from lab.tls.messages import (
    TLS12,
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Message,
    ServerHello,
    ServerHelloDone,
    UnknownMessage,
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
    write_record,
)
from lab.tls.transcript import Entry

M = TypeVar("M", bound=Message)

MAX_CLIENT_BYTES = 1 << 18
MAX_SKIPPED = 1 << 20

BEGAN_EARLIER = "the handshake began before the capture did"
OLD_PROOF = "the client's proof has the form it had before TLS 1.2, so it is not kept"

_READ = {kind.type for kind in (ClientHello, ServerHello, Certificate, CertificateRequest, CertificateVerify)}
_CLIENTS = (ClientHello.type, ClientKeyExchange.type, CertificateVerify.type)
_SERVERS = (ServerHello.type, CertificateRequest.type, ServerHelloDone.type, 12)


@dataclass(frozen=True)
class Capture:
    """One handshake in which a client presented a certificate, as the attacker saw it.

    `chain` is in DER, the client's own certificate first; `certificate_message` has its 4-byte header, `record_header`
    is of the record it began in; `client_bytes` is what the client sent up to its Finished; `messages` is what was seen
    of each side, the client's first. Version and randoms are None where the capture began too late for them. `note` is
    empty unless there is something to say.
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
    time_ns: int
    note: str


class Side:
    """What one side of a connection sent in plaintext: its handshake messages, as far as its ChangeCipherSpec."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.stream = Stream()
        self.began = False
        """Whether this side's SYN was seen."""
        self.messages: list[tuple[bytes, bytes]] = []
        """Each message's bytes, behind the header of the record that it began in."""
        self.raw = bytearray()
        self.changed_cipher = False
        self.over = False
        self._records = RecordReader()
        self._joiner = MessageJoiner()
        self._began_in: bytes = b""
        self._synchronized = False
        self._skipped = 0

    def feed(self, segment: Segment) -> None:
        """Takes one segment of this side."""
        if segment.flags & SYN:
            self.began = True
            self.stream.begin(segment.sequence)
        if segment.payload and not self.over:
            sequence = segment.sequence + 1 if segment.flags & SYN else segment.sequence
            try:
                self._read(self.stream.feed(sequence % (1 << 32), segment.payload))
            except (StreamBroken, Abort):
                self.over = True

    def first(self, kind: type[M]) -> tuple[M, bytes, bytes] | None:
        """The first message of a type, with its bytes and the header of its record."""
        for header, raw in self.messages:
            if raw[0] == kind.type:  # type: ignore[comparison-overlap]
                message = _parsed(raw)
                if isinstance(message, kind):
                    return message, raw, header
        return None

    def sent_any(self, kinds: tuple[int, ...]) -> bool:
        return any(raw[0] in kinds for _, raw in self.messages)

    def _read(self, data: bytes) -> None:
        if not data:
            return
        if not self._synchronized:
            if not _begins_a_record(data):
                self._skipped += len(data)
                self.over = self.began or self._skipped > MAX_SKIPPED  # not TLS at all
                return
            self._synchronized = True
        if len(self.raw) < MAX_CLIENT_BYTES:
            self.raw += data
        for record in self._records.feed(data):
            self._on_record(record)
            if self.over:
                return

    def _on_record(self, record: Record) -> None:
        if self.changed_cipher or record.type == ContentType.APPLICATION_DATA:
            self.over = True  # what follows is protected; the first such record is the Finished
        elif record.type == ContentType.CHANGE_CIPHER_SPEC:
            self.changed_cipher = True
        elif record.type == ContentType.HANDSHAKE:
            header = write_record(record.type, record.fragment, record.version)[:RECORD_HEADER_LENGTH]
            if not self._joiner.pending:
                self._began_in = header
            for raw in self._joiner.feed(record.fragment):
                self.messages.append((self._began_in, raw))
                self._began_in = header


class Handshake:
    """The two sides of one connection."""

    def __init__(self, first: Segment, time_ns: int) -> None:
        self._sides = (Side(first.source), Side(first.destination))
        self._time_ns = time_ns
        self._sequence = first.sequence
        self._captured = False
        self.over = False

    def opened_by(self, segment: Segment) -> bool:
        """Whether this SYN is the one that opened this connection, sent again, or another one's on the same ports."""
        return self._sequence == segment.sequence and self._sides[0].endpoint == segment.source

    def feed(self, segment: Segment) -> Capture | None:
        """Takes a segment of either side; the capture, once it is complete."""
        side = self._sides[0] if segment.source == self._sides[0].endpoint else self._sides[1]
        side.feed(segment)
        self.over = bool(segment.flags & RST) or all(side.over for side in self._sides)
        client, server = self.side("client"), self.side("server")
        complete = client and client.over and server and (server.over or server.first(ServerHello))
        return self.end() if complete or self.over else None

    def end(self) -> Capture | None:
        """What there is; None where no client presented a certificate, or it was told before."""
        client, server = self.side("client"), self.side("server")
        found = client.first(Certificate) if client else None
        if not client or not server or not found or not found[0].chain or self._captured:
            return None
        self._captured = self.over = True
        certificate, raw, header = found
        client_hello, server_hello = client.first(ClientHello), server.first(ServerHello)
        proof = client.first(CertificateVerify)
        version = self.version()
        notes = [] if client_hello and server_hello else [BEGAN_EARLIER]
        if version is not None and version < TLS12:
            proof, notes = None, [*notes, OLD_PROOF]
        return Capture(
            client=str(client.endpoint),
            server=str(server.endpoint),
            version=version,
            server_name=ext.read_server_name(client_hello[0].extensions) if client_hello else None,
            chain=certificate.chain,
            certificate_message=raw,
            record_header=header,
            certificate_verify=proof[0] if proof else None,
            client_random=client_hello[0].random if client_hello else None,
            server_random=server_hello[0].random if server_hello else None,
            client_bytes=bytes(client.raw),
            messages=tuple(self._entries()),
            time_ns=self._time_ns,
            note="; ".join(notes),
        )

    def side(self, party: Party) -> Side | None:
        """The side that is the client or the server, as its messages or its SYN show; None where nothing does."""
        clients, servers = (_CLIENTS, _SERVERS) if party == "client" else (_SERVERS, _CLIENTS)
        for side, other in (self._sides, self._sides[::-1]):
            if side.sent_any(clients) or other.sent_any(servers):
                return side
        opened = self._sides[0].began
        return self._sides[0 if party == "client" else 1] if opened else None

    def version(self) -> int | None:
        """The version that the server chose; None as long as it hasn't."""
        server = self.side("server")
        hello = server.first(ServerHello) if server else None
        if not hello:
            return None
        try:
            return ext.selected_version(hello[0].extensions) or hello[0].version
        except Abort:
            return hello[0].version

    def _entries(self) -> Iterator[Entry]:
        parties: tuple[Party, Party] = ("client", "server")
        for party in parties:
            side = self.side(party)
            for _, raw in side.messages if side else ():
                yield Entry(party, raw)


def _parsed(raw: bytes) -> Message:
    """The message; one that is garbled, or that nobody here asks about, stays unread."""
    if raw[0] in _READ:
        try:
            return parse(raw)
        except Abort:
            pass
    return UnknownMessage(raw[0], raw[4:])


def _begins_a_record(data: bytes) -> bool:
    """Whether these bytes can be the beginning of a TLS record (RFC 5246 section 6.2.1)."""
    if data[0] not in CONTENT_TYPES or (len(data) > 1 and data[1] != 3):
        return False
    return len(data) < RECORD_HEADER_LENGTH or int.from_bytes(data[3:5], "big") <= MAX_PROTECTED
