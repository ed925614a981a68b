"""Searches everything in a capture for given bytes, wherever packets or records cut them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attacker.packets import SYN, Endpoint, segment
from attacker.pcap import read_packets
from attacker.reassembly import Stream, StreamBroken


@dataclass(frozen=True)
class Hit:
    """A needle was found: in whose stream, sent from where to where, and how many bytes in."""

    needle: str
    sender: str
    receiver: str
    offset: int


@dataclass(frozen=True)
class Found:
    """How many connections and bytes were searched, and what was found."""

    connections: int
    octets: int
    hits: tuple[Hit, ...]


def find_in_streams(path: Path, needles: Mapping[str, bytes]) -> Found:
    """Looks for each needle in both directions of every TCP connection of a capture file, TLS or not."""
    streams: dict[tuple[Endpoint, Endpoint], _Searched] = {}
    done: list[_Searched] = []
    for packet in read_packets(path):
        seen = segment(packet.link_type, packet.data)
        if seen is None or not (seen.payload or seen.flags & SYN):
            continue
        key = (seen.source, seen.destination)
        if seen.flags & SYN and key in streams:
            done.append(streams.pop(key))
        if key not in streams:
            streams[key] = _Searched(*key, needles)
        streams[key].feed(seen.sequence, bool(seen.flags & SYN), seen.payload)
    done += streams.values()
    connections = {frozenset((searched.sender, searched.receiver)) for searched in done}
    hits = tuple(hit for searched in done for hit in searched.hits)
    return Found(len(connections), sum(searched.octets for searched in done), hits)


class _Searched:
    """One direction of a connection; keeps no more of it than a needle may still begin in."""

    def __init__(self, sender: Endpoint, receiver: Endpoint, needles: Mapping[str, bytes]) -> None:
        self.sender, self.receiver = str(sender), str(receiver)
        self.octets = 0
        self.hits: list[Hit] = []
        self._needles = needles
        self._stream = Stream()
        self._tail = b""
        self._keep = max(map(len, needles.values()), default=1) - 1

    def feed(self, sequence: int, syn: bool, payload: bytes) -> None:
        if syn:
            self._stream.begin(sequence)
        if not payload:
            return
        try:
            data = self._stream.feed((sequence + syn) % (1 << 32), payload)
        except StreamBroken:
            self._stream = Stream()  # something is missing: search on behind the gap
            self._tail = b""
            data = self._stream.feed((sequence + syn) % (1 << 32), payload)
        self._search(data)

    def _search(self, data: bytes) -> None:
        window = self._tail + data
        start = self.octets - len(self._tail)
        for name, needle in self._needles.items():
            at = window.find(needle, max(0, len(self._tail) - len(needle) + 1))
            while at >= 0:
                self.hits.append(Hit(name, self.sender, self.receiver, start + at))
                at = window.find(needle, at + 1)
        self.octets += len(data)
        self._tail = window[-self._keep :] if self._keep else b""
