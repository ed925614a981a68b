"""Searches a capture for given bytes: first its TCP streams, then the raw file.

A stream joins what was split across packets. Bytes outside all streams are still in the file, unbroken if one packet
holds them whole. Blind spots, where a match could be split and missed, are counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lab import files
from lab.capture.compressed import MAGIC_LENGTH, decompressed
from lab.capture.errors import CaptureFileError
from lab.capture.packets import ACK, FIN, RST, SYN, Endpoint, Segment, payload_offset, segment
from lab.capture.pcap import MAX_FILE, read_packets
from lab.capture.reassembly import SEQUENCE_NUMBERS, Stream, StreamBroken

MAX_STREAMS = 1 << 14
MAX_HELD = 1 << 28
"""The most bytes of all streams held together; the oldest streams are dropped first."""
REMEMBERED = 1 << 16
"""The bytes of each stream that are remembered at least, to compare retransmissions."""
MAX_HITS = 1000
"""The most hits that are kept of one needle."""
THE_FILE = "the file itself"
MAX_SOURCES = 1 << 14
"""The most segments of a stream whose place in the file is remembered; at least half as many are."""
_SOURCE_OVERHEAD = 128
"""The approximate memory of one, in bytes."""

_Way = tuple[Endpoint, Endpoint]


@dataclass(frozen=True)
class Piece:
    """Consecutive bytes of a hit in one packet: `octets` bytes, from byte `at` of the file.

    `packet` counts from 1; None if unknown.
    """

    packet: int | None
    at: int
    octets: int


@dataclass(frozen=True)
class Hit:
    """A needle was found at a byte `offset` of a place: a stream (gaps not counted) or the file.

    `pieces` say where it is in the file, one for each packet that holds a part of it, of the packets that had it first.
    They are empty if that is unknown.
    """

    needle: str
    place: str
    offset: int
    pieces: tuple[Piece, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Found:
    """How many connections and bytes were searched, and what was found, at most MAX_HITS of each needle.

    The file itself is searched for the needles that no stream holds. A match can be missed only where it is split, and
    these counts are the blind spots: `gaps` are places where a stream lacks bytes, starts before the capture, or has
    contradicting bytes; `cut` packets were not captured whole; `alone` packets belong to no stream (other protocols, IP
    fragments, unknown link types).
    """

    connections: int
    octets: int
    hits: tuple[Hit, ...]
    gaps: int = 0
    cut: int = 0
    alone: int = 0


def find_in_capture(path: Path, needles: Mapping[str, bytes], end: int = MAX_FILE) -> Found:
    """Searches both directions of every TCP connection, TLS or not, and the whole file for each needle.

    A file that goes on growing is searched as if it ended at byte `end`. CaptureFileError if the file cannot be read to
    its end.
    """
    try:
        file = files.open_to_read(path, MAX_FILE)
    except OSError as error:
        raise CaptureFileError(f"{path}: {error.strerror}; give a pcap or pcapng file") from None
    with file:
        if decompressed(file, file.read(MAGIC_LENGTH)):
            raise CaptureFileError(f"{path}: is compressed, and places in it are asked for; decompress it first")
        search = _Search(needles, file)
        for number, (_, link_type, data, length, at) in enumerate(read_packets(path, end), start=1):
            search.cut += len(data) < length
            seen = segment(link_type, data)
            if seen is None:
                search.alone += 1
            else:
                search.feed(seen, number, at + payload_offset(seen, data) if seen.payload else at)
        search.end()
    hits = search.hits
    missing = {name: needle for name, needle in needles.items() if not hits[name]}
    for name, at in _find_in_file(path, missing, end):
        if len(hits[name]) < MAX_HITS:
            hits[name].append(Hit(name, THE_FILE, at, (Piece(None, at, len(needles[name])),)))
    together = tuple(hit for found in hits.values() for hit in found)
    return Found(search.connections, search.octets, together, search.gaps, search.cut, search.alone)


def _find_in_file(path: Path, needles: Mapping[str, bytes], end: int) -> Iterator[tuple[str, int]]:
    """Each needle's name and offset in the raw file."""
    keep = max(map(len, needles.values()), default=1) - 1
    window, passed = b"", 0
    try:
        with files.open_to_read(path, MAX_FILE) as file:
            while data := file.read(min(1 << 20, end - passed - len(window))):
                tail = window[len(window) - min(keep, len(window)) :]
                passed += len(window) - len(tail)
                window = tail + data
                for name, needle in needles.items():
                    for at in _occurrences(needle, window, len(tail)):
                        yield name, passed + at
    except OSError as error:
        raise CaptureFileError(f"{path}: {error.strerror}; give a pcap or pcapng file") from None


def _occurrences(needle: bytes, window: bytes | bytearray, old: int) -> Iterator[int]:
    """Where a needle is in a window, without the matches inside its first `old` bytes."""
    at = window.find(needle, max(0, old - len(needle) + 1))
    while at >= 0:
        yield at
        at = window.find(needle, at + 1)


class _Search:
    """Both directions of all connections; the number is bounded, and the oldest are dropped first."""

    def __init__(self, needles: Mapping[str, bytes], file: BinaryIO) -> None:
        self.hits: dict[str, list[Hit]] = {name: [] for name in needles}
        self.connections = self.octets = self.gaps = self.cut = self.alone = 0
        self._needles = needles
        self._file = file
        self._remember = max((REMEMBERED, *map(len, needles.values())))
        self._directions: dict[_Way, _Direction] = {}
        self._held = 0

    def feed(self, seen: Segment, packet: int, at: int) -> None:
        """Takes one segment of packet number `packet`, its payload at byte `at` of the file."""
        ways = (seen.source, seen.destination), (seen.destination, seen.source)
        opens = bool(seen.flags & SYN)
        direction = self._directions.get(ways[0])
        if direction is None and not (seen.payload or opens):
            return
        if direction and opens and direction.opening != seen.sequence:
            self._finish(ways[0])  # the ports are used again
            if not seen.flags & ACK:
                self._finish(ways[1])
            direction = None
        if direction is None:
            self.connections += ways[1] not in self._directions
            direction = self._directions[ways[0]] = _Direction(self._remember)
        if opens:
            direction.opening = seen.sequence
            direction.stream.begin(seen.sequence)
        sequence = (seen.sequence + opens) % SEQUENCE_NUMBERS
        if not direction.closed and (seen.payload or not seen.flags & RST):
            direction.reached = (sequence + len(seen.payload)) % SEQUENCE_NUMBERS
            direction.closed = bool(seen.flags & FIN)
        if seen.payload:
            self._read(ways[0], direction, sequence, seen.payload, packet, at)
        while len(self._directions) > MAX_STREAMS or self._held > MAX_HELD:
            self._finish(next(iter(self._directions)))

    def end(self) -> None:
        """Searches the rest of all streams."""
        for way in list(self._directions):
            self._finish(way)

    def _read(self, way: _Way, direction: "_Direction", sequence: int, payload: bytes, packet: int, at: int) -> None:
        self._held -= direction.held
        direction.remember_source(_Source(direction.stream.position(sequence), len(payload), packet, at))
        try:
            self._look(way, direction, direction.stream.feed(sequence, payload))
        except StreamBroken:
            self._skip(way, direction)
        self._held += direction.held

    def _finish(self, way: _Way) -> None:
        direction = self._directions.pop(way, None)
        if direction:
            self._held -= direction.held
            self._skip(way, direction)
            self.gaps += direction.stream.contradictions
            self.gaps += direction.opening is None
            self.gaps += not direction.stream.has_reached(direction.reached)

    def _skip(self, way: _Way, direction: "_Direction") -> None:
        """Searches the bytes after each gap that stays open."""
        while data := direction.stream.skip():
            self.gaps += 1
            self._look(way, direction, data)

    def _look(self, way: _Way, direction: "_Direction", data: bytes) -> None:
        """Searches new bytes of a stream, the last ones that it remembers."""
        if not data:
            return
        direction.octets += len(data)
        self.octets += len(data)
        window = direction.stream.recent
        old = len(window) - len(data)
        for name, needle in self._needles.items():
            for at in _occurrences(needle, window, old):
                if len(self.hits[name]) == MAX_HITS:
                    break
                place = f"{way[0]} to {way[1]}"
                pieces = self._pieces(direction, direction.stream.end - len(window) + at, needle)
                self.hits[name].append(Hit(name, place, direction.octets - len(window) + at, pieces))

    def _pieces(self, direction: "_Direction", start: int, needle: bytes) -> tuple[Piece, ...]:
        """Where in the file the needle at this position of a stream is."""
        pieces: list[Piece] = []
        done = 0
        while done < len(needle):
            piece = self._piece(direction, start + done, needle[done:])
            if piece is None:
                return ()
            pieces.append(piece)
            done += piece.octets
        return tuple(pieces)

    def _piece(self, direction: "_Direction", position: int, wanted: bytes) -> Piece | None:
        """The first packet that holds the start of the wanted bytes at a position, and how many of them.

        Different bytes may have been sent with the same sequence numbers, so the file is compared.
        """
        for source in direction.sources:
            behind = position - source.position
            if 0 <= behind < source.octets:
                octets = min(source.octets - behind, len(wanted))
                self._file.seek(source.at + behind)
                if self._file.read(octets) == wanted[:octets]:
                    return Piece(source.packet, source.at + behind, octets)
        return None


class _Source(NamedTuple):
    """`octets` bytes of a stream from a position on, and their place in the file."""

    position: int
    octets: int
    packet: int
    at: int


class _Direction:
    """One direction of a connection."""

    def __init__(self, remember: int) -> None:
        self.opening: int | None = None
        self.reached = 0
        """The sequence number after the sender's last byte, as its last packet or its FIN shows."""
        self.closed = False
        self.octets = 0
        self.stream = Stream(remember)
        self.sources: list[_Source] = []
        """In file order."""
        self._enough = 64

    def remember_source(self, source: _Source) -> None:
        """Remembers where bytes came from, while the bytes themselves are remembered."""
        if len(self.sources) >= self._enough:
            oldest = self.stream.end - len(self.stream.recent)
            self.sources = [one for one in self.sources if one.position + one.octets > oldest]
            if len(self.sources) > MAX_SOURCES // 2:
                del self.sources[: -MAX_SOURCES // 2]
            self._enough = 2 * len(self.sources) + 64
        self.sources.append(source)

    @property
    def held(self) -> int:
        return self.stream.pending_octets + len(self.stream.recent) + len(self.sources) * _SOURCE_OVERHEAD
