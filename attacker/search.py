"""Searches everything in a capture for given bytes, wherever packets or records cut them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attacker.packets import ACK, SYN, Endpoint, Segment, segment
from attacker.pcap import read_packets
from attacker.reassembly import SEQUENCE_NUMBERS, Stream, StreamBroken

MAX_STREAMS = 1 << 14
MAX_PENDING_TOGETHER = 1 << 26
MAX_HITS = 1000
"""So many hits of one needle are kept; one would do."""


@dataclass(frozen=True)
class Hit:
    """A needle was found: in whose stream, sent from where to where, and how many bytes in, gaps not counted."""

    needle: str
    sender: str
    receiver: str
    offset: int


@dataclass(frozen=True)
class Found:
    """How many connections and bytes were searched, and what was found.

    `gaps` are the places where bytes are missing in the capture, so that a needle across one cannot be found.
    """

    connections: int
    octets: int
    hits: tuple[Hit, ...]
    gaps: int = 0


def find_in_streams(path: Path, needles: Mapping[str, bytes]) -> Found:
    """Looks for each needle in both directions of every TCP connection of a capture file, TLS or not.

    CaptureFileError where the file cannot be read to its end.
    """
    search = _Search(needles)
    for packet in read_packets(path):
        seen = segment(packet.link_type, packet.data)
        if seen is not None and (seen.payload or seen.flags & SYN):
            search.feed(seen)
    return search.end()


class _Search:
    """All directions of all connections, so many at once; the oldest make way."""

    def __init__(self, needles: Mapping[str, bytes]) -> None:
        self._needles = needles
        self._keep = max(map(len, needles.values()), default=1) - 1
        self._directions: dict[tuple[Endpoint, Endpoint], _Direction] = {}
        self._hits: dict[str, list[Hit]] = {name: [] for name in needles}
        self._connections = self._octets = self._gaps = self._pending = 0

    def feed(self, seen: Segment) -> None:
        """Takes one segment."""
        ways = (seen.source, seen.destination), (seen.destination, seen.source)
        direction = self._directions.get(ways[0])
        if direction and seen.flags & SYN and direction.opening != seen.sequence:
            self._finish(ways[0])  # the ports are used again
            if not seen.flags & ACK:
                self._finish(ways[1])
            direction = None
        if direction is None:
            self._connections += ways[1] not in self._directions
            direction = self._directions[ways[0]] = _Direction()
        if seen.flags & SYN:
            direction.opening = seen.sequence
            direction.stream.begin(seen.sequence)
        if seen.payload:
            self._read(ways[0], direction, (seen.sequence + bool(seen.flags & SYN)) % SEQUENCE_NUMBERS, seen.payload)
        while len(self._directions) > MAX_STREAMS:
            self._finish(next(iter(self._directions)))

    def end(self) -> Found:
        """Nothing more will come."""
        for way in list(self._directions):
            self._finish(way)
        hits = tuple(hit for found in self._hits.values() for hit in found)
        return Found(self._connections, self._octets, hits, self._gaps)

    def _read(self, way: tuple[Endpoint, Endpoint], direction: "_Direction", sequence: int, payload: bytes) -> None:
        self._pending -= direction.stream.pending_octets
        try:
            self._look(way, direction, direction.stream.feed(sequence, payload))
        except StreamBroken:
            self._skip(way, direction)
        if self._pending + direction.stream.pending_octets > MAX_PENDING_TOGETHER:
            self._skip(way, direction)
        self._pending += direction.stream.pending_octets

    def _finish(self, way: tuple[Endpoint, Endpoint]) -> None:
        direction = self._directions.pop(way, None)
        if direction:
            self._pending -= direction.stream.pending_octets
            self._skip(way, direction)

    def _skip(self, way: tuple[Endpoint, Endpoint], direction: "_Direction") -> None:
        """Something is missing for good: what came is looked at nevertheless."""
        while data := direction.stream.skip():
            self._gaps += 1
            direction.tail = b""
            self._look(way, direction, data)

    def _look(self, way: tuple[Endpoint, Endpoint], direction: "_Direction", data: bytes) -> None:
        window = direction.tail + data
        start = direction.octets - len(direction.tail)
        for name, needle in self._needles.items():
            at = window.find(needle, max(0, len(direction.tail) - len(needle) + 1))
            while at >= 0 and len(self._hits[name]) < MAX_HITS:
                self._hits[name].append(Hit(name, str(way[0]), str(way[1]), start + at))
                at = window.find(needle, at + 1)
        direction.octets += len(data)
        self._octets += len(data)
        direction.tail = window[-self._keep :] if self._keep else b""


class _Direction:
    """One direction of a connection; keeps no more of it than a needle may still begin in."""

    def __init__(self) -> None:
        self.opening: int | None = None
        self.octets = 0
        self.stream = Stream()
        self.tail = b""
