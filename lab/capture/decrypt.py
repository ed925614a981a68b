"""The teacher's view: all messages of a captured handshake in order, read with the victims' logged session keys.

The attacker has no such keys. In TLS 1.2 the messages up to ChangeCipherSpec need none; in TLS 1.3 the key log has each
side's handshake traffic secret (SSLKEYLOGFILE format; RFC 8446 section 7).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab import files
from lab.capture.errors import CutOffError
from lab.capture.packets import ACK, SYN, Endpoint, segment
from lab.capture.pcap import Packet, read_packets
from lab.capture.reassembly import SEQUENCE_NUMBERS, Stream, StreamBroken
from lab.events.types import HandshakeDecrypted, LoginDecrypted
from lab.tls import extensions as ext
from lab.tls import keys, records
from lab.tls.alerts import parse_alert
from lab.tls.engine import Party
from lab.tls.errors import Abort
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    Message,
    NewSessionTicket,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
)
from lab.tls.messages13 import Certificate13, CompressedCertificate, is_retry, parse
from lab.tls.records import ContentType, Protection, Record
from lab.tls.schedule import TrafficSecrets, traffic_key
from lab.tls.versions import TLS12, TLS13, version_name

MAX_CONNECTIONS = 1 << 12
MAX_MESSAGES = 256
"""No more messages of a connection are told."""
MAX_MS = 86_400_000.0
CCS, PROTECTED = "ChangeCipherSpec", "protected record"
MAX_KEPT = 1 << 18
"""No more bytes of a connection's messages are kept."""
_SECRETS: Mapping[str, Party] = {
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET": "client",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET": "server",
}

_SENT_BY: Mapping[Party, tuple[type[Message], ...]] = {
    "client": (ClientHello, ClientKeyExchange, CertificateVerify),
    "server": (ServerHello, ServerKeyExchange, CertificateRequest, ServerHelloDone, NewSessionTicket),
}
"""Messages that no other party sends in plaintext (RFC 5246 section 7.3, RFC 5077 section 3.3)."""
_EMPTY = ", empty"

Secrets = dict[bytes, TrafficSecrets]
"""By client random, the handshake traffic secrets."""
KeyLogs = Mapping[str, Path]
"""Key log files by the part that wrote them."""


@dataclass(frozen=True)
class ReadMessage:
    """A handshake message, alert or ChangeCipherSpec of a capture, or a record that no key opens: who sent it, its
    name, its bytes without any record header, whether it was encrypted, and when, in ms since the first packet."""

    sender: Party
    name: str
    raw: bytes
    encrypted: bool
    ms: float


@dataclass(frozen=True)
class ReadHandshake:
    """A connection's handshake. `connection` is the server's random in hex, as in events; `version` is the number."""

    client: str
    server: str
    version: int
    connection: str
    messages: tuple[ReadMessage, ...]


def read_handshakes(capture: Path, key_log: Path) -> list[ReadHandshake]:
    """Every handshake in a capture file with the bytes of its messages, those of TLS 1.3 with the keys of `key_log`.

    CaptureFileError if it cannot be read.
    """
    end = _end(capture)
    return [one.as_read() for one in _connections(capture, end, read_key_log(key_log), keep=True)]


def decrypted_handshakes(capture: Path, key_logs: KeyLogs) -> list[HandshakeDecrypted]:
    """Every handshake in a capture file, in the order of their start. CaptureFileError if it cannot be read."""
    end = _end(capture)
    by_part = {part: read_key_log(path) for part, path in key_logs.items()}
    whose = {random: part for part, secrets in by_part.items() for random in secrets}
    secrets = {random: of for one in by_part.values() for random, of in one.items()}
    return [connection.as_event(whose) for connection in _connections(capture, end, secrets)]


def decrypted_logins(
    capture: Path, key_log: Path, end: int | None = None, growing: bool = False
) -> list[LoginDecrypted]:
    """The same with all that the wire shows of each message, up to byte `end` of the file. `key_log` is the client's.
    The last packet of a `growing` file may be cut off."""
    end = _end(capture) if end is None else end
    return [connection.as_login() for connection in _connections(capture, end, read_key_log(key_log), growing=growing)]


def _packets(capture: Path, end: int, growing: bool) -> Iterator[Packet]:
    try:
        yield from read_packets(capture, end)
    except CutOffError:
        if not growing:
            raise


def _end(capture: Path) -> int:
    """How long the file is before the key logs are read: a later handshake's keys may not be in there yet."""
    try:
        return capture.stat().st_size
    except OSError:
        return 0  # reading it says what is wrong


def _connections(
    capture: Path, end: int, secrets: "Secrets", keep: bool = False, growing: bool = False
) -> "list[_Connection]":
    """The connections in which a handshake message was read, up to a byte of the file; with `keep` the messages' bytes
    are kept."""
    connections: dict[frozenset[Endpoint], _Connection] = {}
    done: list[_Connection] = []
    for packet in _packets(capture, end, growing):
        seen = segment(packet.link_type, packet.data)
        if seen is None:
            continue
        ends = frozenset((seen.source, seen.destination))
        if seen.flags & SYN and not seen.flags & ACK and ends in connections:
            done.append(connections.pop(ends))  # the ports are used again
        if ends not in connections and len(connections) + len(done) < MAX_CONNECTIONS:
            connections[ends] = _Connection(seen.source, seen.destination, packet.time_ns, secrets, keep)
        if ends in connections:
            sender: Party = "client" if seen.source == connections[ends].client else "server"
            sequence = (seen.sequence + bool(seen.flags & SYN)) % SEQUENCE_NUMBERS
            connections[ends].feed(sender, sequence, seen.payload, packet.time_ns)
    return [connection for connection in (*done, *connections.values()) if connection.messages]


def read_key_log(path: Path) -> Secrets:
    """The secrets of TLS 1.3 handshakes; none from a missing file, and incomplete lines are skipped."""
    secrets: Secrets = defaultdict(dict)
    for line in files.read(path, files.LARGE).decode("ascii", "replace").splitlines() if path.exists() else ():
        label, *values = line.split(" ")
        if label in _SECRETS and len(values) == 2:
            with suppress(ValueError):
                secrets[bytes.fromhex(values[0])][_SECRETS[label]] = bytes.fromhex(values[1])
    return secrets


@dataclass
class _DecryptedSide:
    """One side: its stream, records and messages, and their protection once it starts."""

    stream: Stream = field(default_factory=Stream)
    reader: records.RecordReader = field(default_factory=records.RecordReader)
    joiner: records.MessageJoiner = field(default_factory=records.MessageJoiner)
    protection: Protection | None = None
    changed_cipher: bool = False
    opaque: bool = False
    """Whether the rest cannot be decrypted."""


class _Connection:
    """One connection."""

    def __init__(self, client: Endpoint, server: Endpoint, began_ns: int, secrets: Secrets, keep: bool) -> None:
        self.client, self.server = client, server
        self._began_ns = self._now_ns = began_ns
        self._seen: list[tuple[Party, str, int, bool, float]] = []
        self._may_keep = MAX_KEPT if keep else 0
        self._kept: list[ReadMessage] = []
        self._server_random = b""
        self._secrets = secrets
        self._sides: Mapping[Party, _DecryptedSide] = {"client": _DecryptedSide(), "server": _DecryptedSide()}
        self._random = b""
        self._version = TLS12

    @property
    def messages(self) -> tuple[tuple[str, str], ...]:
        """Sender and name of each message and alert that was read."""
        return tuple((sender, name) for sender, name, *_ in self._seen if name not in (CCS, PROTECTED))

    def feed(self, sender: Party, sequence: int, payload: bytes, time_ns: int) -> None:
        """One segment."""
        side = self._sides[sender]
        self._now_ns = time_ns
        try:
            for record in side.reader.feed(side.stream.feed(sequence, payload)) if not side.opaque else ():
                self._on_record(side, record)
        except (Abort, StreamBroken):
            side.opaque = True

    def as_event(self, whose: Mapping[bytes, str]) -> HandshakeDecrypted:
        """The event; `whose` maps a client random to the part that logged its keys."""
        return HandshakeDecrypted(
            client=str(self.client),
            server=str(self.server),
            tls=version_name(self._version),
            messages=self.messages,
            of=whose.get(self._random, ""),
        )

    def as_login(self) -> LoginDecrypted:
        """The event with all details."""
        connection = self._server_random.hex()
        return LoginDecrypted(
            str(self.client), str(self.server), version_name(self._version), connection, tuple(self._seen)
        )

    def as_read(self) -> ReadHandshake:
        """The messages with their bytes."""
        return ReadHandshake(
            str(self.client), str(self.server), self._version, self._server_random.hex(), tuple(self._kept)
        )

    def _note(self, sender: Party, name: str, raw: bytes, encrypted: bool) -> None:
        if len(self._seen) >= MAX_MESSAGES:
            return
        milliseconds = round(min(max(self._now_ns - self._began_ns, 0) / 1e6, MAX_MS), 3)
        self._seen.append((sender, name, len(raw), encrypted, milliseconds))
        if len(raw) <= self._may_keep:
            self._may_keep -= len(raw)
            self._kept.append(ReadMessage(sender, name, raw, encrypted, milliseconds))

    def _party(self, side: _DecryptedSide) -> Party:
        return "client" if side is self._sides["client"] else "server"

    def _on_record(self, side: _DecryptedSide, record: Record) -> None:
        sender, kind, fragment = self._party(side), record.type, record.fragment
        if kind == ContentType.CHANGE_CIPHER_SPEC:
            side.changed_cipher = self._version == TLS12
            self._note(sender, CCS, fragment, False)
            return
        if side.changed_cipher:
            side.opaque = True  # the Finished; what follows is no handshake
            self._note(sender, PROTECTED, fragment, True)
            return
        encrypted = kind == ContentType.APPLICATION_DATA
        if side.protection and encrypted:
            kind, fragment = side.protection.open(kind, fragment)
        elif encrypted:
            side.opaque = True
            self._note(sender, PROTECTED, fragment, True)
        if kind == ContentType.HANDSHAKE:
            for raw in side.joiner.feed(fragment):
                self._on_message(side, raw, encrypted)
        elif kind == ContentType.ALERT:
            self._note(sender, f"alert {parse_alert(fragment).name}", fragment, encrypted)

    def _on_message(self, side: _DecryptedSide, raw: bytes, encrypted: bool) -> None:
        message = parse(raw, self._version)
        if isinstance(message, ServerHello):
            self._server_random = message.random
        if not self._random and isinstance(message, _SENT_BY[_other(self._party(side))]):
            self._exchange_roles()  # the capture lacks the connection's beginning, which says who the client is
        self._note(self._party(side), _told(message), raw, encrypted)
        match message:
            case ClientHello():
                self._random = message.random
            case ServerHello() if ext.selected_version(message.extensions) == TLS13:
                self._version = TLS13
                if not is_retry(message):
                    self._look_inside(message)
            case Finished() if self._version == TLS13:
                side.opaque = True  # later messages use other keys

    def _exchange_roles(self) -> None:
        self.client, self.server = self.server, self.client
        self._sides = {"client": self._sides["server"], "server": self._sides["client"]}
        self._seen = [(_other(sender), name, size, hidden, ms) for sender, name, size, hidden, ms in self._seen]
        self._kept = [replace(one, sender=_other(one.sender)) for one in self._kept]

    def _look_inside(self, hello: ServerHello) -> None:
        suite = next((one for one in keys.TLS13_SUITES if one.id == hello.cipher_suite), None)
        for sender, secret in self._secrets.get(self._random, {}).items():
            if suite:
                protection = records.Protection13(suite, traffic_key(secret, suite))
                self._sides[sender].protection = protection


def _other(party: Party) -> Party:
    return "server" if party == "client" else "client"


def _told(message: Message) -> str:
    """A message's name; of a certificate also whether it is empty, and how it is compressed."""
    match message:
        case Certificate() | Certificate13():
            return message.name if message.chain else f"{message.name}{_EMPTY}"
        case CompressedCertificate():
            return f"{message.name}, {message.algorithm_name}{_EMPTY if _is_empty(message) else ''}"
        case _:
            return message.name


def _is_empty(message: CompressedCertificate) -> bool:
    """Whether it has no certificate. By its length if it cannot be read: nothing else is as short (RFC 8446 4.4.2)."""
    try:
        certificate = message.certificate()
    except Abort:
        return False
    return not certificate.chain if certificate else message.uncompressed_length <= len(Certificate13(()).body())


def is_certificate(name: str) -> bool:
    """Whether a message, by its name in `HandshakeDecrypted`, has certificates (RFC 8446 section 4.4.2, RFC 8879)."""
    kind = name.partition(", ")[0]
    return kind in (Certificate.name, CompressedCertificate.name) and not name.endswith(_EMPTY)


def certificate_was_sent(handshake: HandshakeDecrypted) -> bool:
    """Whether the client sent a certificate."""
    return any(sender == "client" and is_certificate(name) for sender, name in handshake.messages)


def alerts_of_client(handshake: HandshakeDecrypted) -> Iterator[str]:
    """The alerts with which the client ended the handshake."""
    alerts = (name for sender, name in handshake.messages if sender == "client" and name.startswith("alert "))
    return (name for name in alerts if name != "alert close_notify")
