"""Reads client certificates off the wire: packets in, captures out. A live link and a file go the same way."""

from dataclasses import dataclass
from pathlib import Path

from attacker.errors import CaptureFileError
from attacker.handshake import Capture, Handshake
from attacker.packets import ACK, SYN, Endpoint, Segment, segment
from attacker.pcap import read_packets
from lab.tls.messages import TLS13, Certificate, CertificateRequest

MAX_CONNECTIONS = 1 << 16


@dataclass
class Tally:
    """What was seen, so that one can say why there is nothing; counts."""

    packets: int = 0
    handshakes: int = 0
    tls13: int = 0
    server_certificates: int = 0
    requests: int = 0
    empty_certificates: int = 0


@dataclass(frozen=True)
class Reading:
    """What a capture file holds; `problem` says what is wrong with it, or why there is no client certificate in it."""

    captures: tuple[Capture, ...]
    tally: Tally
    problem: CaptureFileError | None


def read_file(path: Path) -> Reading:
    """Every client certificate in a pcap or pcapng file."""
    tracker = Tracker()
    captures: list[Capture] = []
    problem: CaptureFileError | None = None
    try:
        for packet in read_packets(path):
            tracker.tally.packets += 1
            found = segment(packet.link_type, packet.data)
            if found:
                captures += tracker.feed(packet.time_ns, found)
    except CaptureFileError as error:
        problem = error
    captures += tracker.finish()
    if problem is None and not captures:
        problem = CaptureFileError(f"{path}: {_why_nothing(tracker.tally)}")
    return Reading(tuple(captures), tracker.tally, problem)


def _why_nothing(tally: Tally) -> str:
    if not tally.packets:
        return "holds no packets; capture again, while a client logs in"
    if not tally.handshakes:
        return f"holds no TLS handshake in its {tally.packets} packets; capture a connection from its start"
    if tally.tls13 == tally.handshakes:
        return (
            "holds TLS 1.3 only, which encrypts the Certificate messages: there is nothing to read without the "
            "session's keys; capture TLS 1.2"
        )
    if tally.empty_certificates:
        return "holds no client certificate: the server asked, and the client had none to send; give it its bundle"
    if tally.requests:
        return "holds no client certificate: the server asked, but the answer isn't there; capture for longer"
    if tally.server_certificates:
        return "holds a server's certificate only: the server never asked its client for one"
    return "holds resumed TLS sessions only, in which no certificates are sent; capture a first login"


class Tracker:
    """Follows all TCP connections at once and reads the handshakes in them.

    Bounded: so many connections, so much of each. A connection whose handshake is over costs a look a segment.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._connections: dict[tuple[Endpoint, Endpoint], Handshake | None] = {}

    def feed(self, time_ns: int, seen: Segment) -> list[Capture]:
        """Takes one segment; the captures that are complete with it."""
        key = (seen.source, seen.destination)
        if seen.source > seen.destination:
            key = (seen.destination, seen.source)
        found: list[Capture] = []
        connection = self._connections.get(key)
        if seen.flags & (SYN | ACK) == SYN and (connection is None or not connection.opened_by(seen)):
            found += self._end(key)  # the ports are used again
            connection = self._open(key, seen, time_ns, found)
        elif connection is None:
            if key in self._connections or not (seen.payload or seen.flags & SYN):
                return found
            connection = self._open(key, seen, time_ns, found)
        captured = connection.feed(seen)
        if captured:
            found.append(captured)
        if connection.over:
            self._count(connection)
            self._connections[key] = None
        return found

    def finish(self) -> list[Capture]:
        """Nothing more will come: what the connections that are still open have given."""
        return [capture for key in list(self._connections) for capture in self._end(key)]

    def _open(self, key: tuple[Endpoint, Endpoint], first: Segment, time_ns: int, found: list[Capture]) -> Handshake:
        if len(self._connections) >= MAX_CONNECTIONS:
            found += self._end(next(iter(self._connections)))
        connection = self._connections[key] = Handshake(first, time_ns)
        return connection

    def _end(self, key: tuple[Endpoint, Endpoint]) -> list[Capture]:
        connection = self._connections.pop(key, None)
        if connection is None:
            return []
        captured = connection.end()
        self._count(connection)
        return [captured] if captured else []

    def _count(self, connection: Handshake) -> None:
        """Adds a connection that is over to the tally."""
        client, server = connection.side("client"), connection.side("server")
        if not (client and server and (client.messages or server.messages)):
            return
        self.tally.handshakes += 1
        self.tally.tls13 += connection.version() == TLS13
        self.tally.requests += server.first(CertificateRequest) is not None
        self.tally.server_certificates += server.first(Certificate) is not None
        presented = client.first(Certificate)
        self.tally.empty_certificates += presented is not None and not presented[0].chain
