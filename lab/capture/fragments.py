"""Puts fragments of IP packets together (RFC 791 section 3.2, RFC 8200 section 4.5), within bounds.

Where fragments overlap, the bytes that came first count.
"""

from collections.abc import Hashable

MAX_WAITING = 1 << 10
"""The most incomplete packets that are kept; the oldest are dropped first."""
MAX_OCTETS = 1 << 23
"""The most memory of all of them together, in bytes; an estimate."""
MAX_PIECES = 1 << 10
"""No packet has more fragments."""
MAX_LENGTH = 65_535
_OVERHEAD = 200
MAX_DONE = 1 << 10
"""The most complete packets that are remembered, in case one of their fragments is seen again."""


class _Waiting:
    """The fragments of one packet that were seen so far."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.length: int | None = None
        self.octets = 0

    def whole(self) -> bytes | None:
        """The packet's payload, if there is all of it."""
        if self.length is None:
            return None
        data = bytearray()
        for at, piece in sorted(self.pieces, key=lambda one: one[0]):
            if at > len(data):
                return None
            data += piece[len(data) - at :]
        return bytes(data[: self.length]) if len(data) >= self.length else None


class Fragments:
    """The packets that are incomplete; `lost` counts the fragments of those that were dropped."""

    def __init__(self) -> None:
        self.lost = 0
        self._waiting: dict[Hashable, _Waiting] = {}
        self._done: dict[Hashable, None] = {}
        self._octets = 0

    def add(self, key: Hashable, at: int, more: bool, piece: bytes) -> bytes | None:
        """Takes a fragment's bytes from offset `at` on; returns the payload that it completes.

        `key` tells packets apart: addresses, protocol and identification.
        """
        if key in self._done:
            return None  # seen again
        if at + len(piece) > MAX_LENGTH:
            self.lost += 1
            return None
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting()
        if not more:
            waiting.length = at + len(piece)
        waiting.pieces.append((at, piece))
        grown = len(piece) + _OVERHEAD
        waiting.octets += grown
        self._octets += grown
        whole = waiting.whole() if waiting.length is not None else None
        if whole is not None:
            self._drop(key)
            self._done[key] = None
            if len(self._done) > MAX_DONE:
                del self._done[next(iter(self._done))]
        elif len(waiting.pieces) > MAX_PIECES:
            self.lost += self._drop(key)
        while len(self._waiting) > MAX_WAITING or self._octets > MAX_OCTETS:
            self.lost += self._drop(next(iter(self._waiting)))
        return whole

    @property
    def unfinished(self) -> int:
        """How many fragments wait for others, or were dropped."""
        return self.lost + sum(len(one.pieces) for one in self._waiting.values())

    def _drop(self, key: Hashable) -> int:
        """Drops a packet and returns how many fragments it had."""
        waiting = self._waiting.pop(key)
        self._octets -= waiting.octets
        return len(waiting.pieces)
