"""The teacher's look: the order of all messages in a captured handshake, with the session keys that the victims logged.

The attacker has no such keys. In TLS 1.2 the messages up to ChangeCipherSpec need none; in TLS 1.3 the key log has each
side's handshake traffic secret (SSLKEYLOGFILE format; RFC 8446 section 7).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.capture.packets import ACK, SYN, Endpoint, segment
from lab.capture.pcap import read_packets
from lab.capture.reassembly import SEQUENCE_NUMBERS, Stream, StreamBroken
from lab.events.types import HandshakeDecrypted
from lab.tls import extensions as ext
from lab.tls import keys, records
from lab.tls.alerts import parse_alert
from lab.tls.errors import Abort
from lab.tls.messages import Certificate, ClientHello, Finished, Message, ServerHello
from lab.tls.messages13 import Certificate13, is_retry, parse
from lab.tls.records import ContentType, Protection, Record
from lab.tls.schedule import traffic_key
from lab.tls.versions import TLS12, TLS13, version_name

MAX_CONNECTIONS = 1 << 12
_SECRETS = {"CLIENT_HANDSHAKE_TRAFFIC_SECRET": True, "SERVER_HANDSHAKE_TRAFFIC_SECRET": False}

Secrets = dict[bytes, dict[bool, bytes]]
"""By client random, the handshake traffic secrets of the client (True) and of the server (False)."""
KeyLogs = Mapping[str, Path]
"""The files by the parts that wrote them."""


def decrypted_handshakes(capture: Path, key_logs: KeyLogs) -> list[HandshakeDecrypted]:
    """Every handshake in a capture file, in the order of their beginnings. CaptureFileError where it cannot be read."""
    by_part = {part: read_key_log(path) for part, path in key_logs.items()}
    whose = {random: part for part, secrets in by_part.items() for random in secrets}
    secrets = {random: of for one in by_part.values() for random, of in one.items()}
    talks: dict[frozenset[Endpoint], _Talk] = {}
    done: list[_Talk] = []
    for packet in read_packets(capture):
        seen = segment(packet.link_type, packet.data)
        if seen is None:
            continue
        ends = frozenset((seen.source, seen.destination))
        if seen.flags & SYN and not seen.flags & ACK and ends in talks:
            done.append(talks.pop(ends))  # the ports are used again
        if ends not in talks and len(talks) + len(done) < MAX_CONNECTIONS:
            talks[ends] = _Talk(seen.source, seen.destination, secrets)
        if ends in talks:
            from_client = seen.source == talks[ends].client
            sequence = (seen.sequence + bool(seen.flags & SYN)) % SEQUENCE_NUMBERS
            talks[ends].feed(from_client, sequence, seen.payload)
    return [talk.told(whose) for talk in (*done, *talks.values()) if talk.messages]


def read_key_log(path: Path) -> Secrets:
    """What TLS 1.3's handshakes were protected with; a file that is not there says nothing, nor does half a line."""
    secrets: Secrets = defaultdict(dict)
    for line in path.read_text().splitlines() if path.exists() else ():
        label, *values = line.split(" ")
        if label in _SECRETS and len(values) == 2:
            with suppress(ValueError):
                secrets[bytes.fromhex(values[0])][_SECRETS[label]] = bytes.fromhex(values[1])
    return secrets


@dataclass
class _Side:
    """What one side says: its stream, its records, its messages, and how they are protected from some point on."""

    stream: Stream = field(default_factory=Stream)
    reader: records.RecordReader = field(default_factory=records.RecordReader)
    joiner: records.MessageJoiner = field(default_factory=records.MessageJoiner)
    protection: Protection | None = None
    opaque: bool = False
    """Whether what it says from here on is nothing that we can look into."""


class _Talk:
    """One connection."""

    def __init__(self, client: Endpoint, server: Endpoint, secrets: Secrets) -> None:
        self.client, self.server = client, server
        self.messages: list[tuple[str, str]] = []
        self._secrets = secrets
        self._sides = {True: _Side(), False: _Side()}
        self._random = b""
        self._version = TLS12

    def feed(self, from_client: bool, sequence: int, payload: bytes) -> None:
        """One segment."""
        side = self._sides[from_client]
        try:
            for record in side.reader.feed(side.stream.feed(sequence, payload)) if not side.opaque else ():
                self._on_record(from_client, side, record)
        except (Abort, StreamBroken):
            side.opaque = True

    def told(self, whose: Mapping[bytes, str]) -> HandshakeDecrypted:
        """As an event; `whose` has the parts that logged keys, by client random."""
        return HandshakeDecrypted(
            client=str(self.client),
            server=str(self.server),
            tls=version_name(self._version),
            messages=tuple(self.messages),
            of=whose.get(self._random, ""),
        )

    def _on_record(self, from_client: bool, side: _Side, record: Record) -> None:
        kind, fragment = record.type, record.fragment
        if kind == ContentType.CHANGE_CIPHER_SPEC:
            side.opaque = self._version == TLS12
            return
        if side.protection and kind == ContentType.APPLICATION_DATA:
            kind, fragment = side.protection.open(kind, fragment)
        elif kind == ContentType.APPLICATION_DATA:
            side.opaque = True
        if kind == ContentType.HANDSHAKE:
            for raw in side.joiner.feed(fragment):
                self._on_message(from_client, side, parse(raw, self._version))
        elif kind == ContentType.ALERT:
            self._note(from_client, f"alert {parse_alert(fragment).name}")

    def _on_message(self, from_client: bool, side: _Side, message: Message) -> None:
        empty = isinstance(message, Certificate | Certificate13) and not message.chain
        self._note(from_client, f"{message.name}, empty" if empty else message.name)
        match message:
            case ClientHello():
                self._random = message.random
            case ServerHello() if ext.selected_version(message.extensions) == TLS13:
                self._version = TLS13
                if not is_retry(message):
                    self._look_inside(message)
            case Finished() if self._version == TLS13:
                side.opaque = True  # what follows is under other keys

    def _look_inside(self, hello: ServerHello) -> None:
        suite = next((one for one in keys.TLS13_SUITES if one.id == hello.cipher_suite), None)
        for from_client, secret in self._secrets.get(self._random, {}).items():
            if suite:
                protection = records.Protection13(suite, traffic_key(secret, suite))
                self._sides[from_client].protection = protection

    def _note(self, from_client: bool, name: str) -> None:
        self.messages.append(("client" if from_client else "server", name))


def certificate_was_sent(handshake: HandshakeDecrypted) -> bool:
    """Whether the client sent a certificate in it."""
    return ("client", "Certificate") in handshake.messages


def alerts_of_client(handshake: HandshakeDecrypted) -> Iterator[str]:
    """The alerts with which the client ended it."""
    alerts = (name for sender, name in handshake.messages if sender == "client" and name.startswith("alert "))
    return (name for name in alerts if name != "alert close_notify")
