"""One direction of a TCP connection: segments in any order in, the byte stream out (RFC 9293 section 3.10.7.4)."""

from heapq import heappop, heappush

MAX_PENDING = 1 << 18
MAX_PENDING_SEGMENTS = 1 << 13
SEQUENCE_NUMBERS = 1 << 32
PENDING_OVERHEAD = 220
"""The approximate memory of a segment that waits, without its bytes."""


class StreamBroken(Exception):
    """Too much arrived out of order: some bytes are missing for good. `skip` continues after the gap."""


class Stream:
    """Puts segments in order; retransmitted bytes count once.

    Without `begin`, the stream starts at the first segment. At least the last `remember` bytes are kept, to check
    whether retransmitted bytes are the same.
    """

    def __init__(self, remember: int = 0) -> None:
        self._remember = remember
        self.recent = bytearray()
        """The last bytes in order, those of the last call included, back to the last gap at most."""
        self.contradictions = 0
        """How often bytes were dropped that may differ from the bytes in their place."""
        self._next: int | None = None
        """The position of the next byte; it does not wrap around as sequence numbers do."""
        self._pending: dict[int, bytes] = {}
        self._starts: list[int] = []
        """The keys of `_pending`, as a heap."""
        self.pending_octets = 0

    def begin(self, sequence: int) -> None:
        """Takes the SYN, which uses one sequence number. It has an effect only before the first segment."""
        if self._next is None:
            self._next = (sequence + 1) % SEQUENCE_NUMBERS

    def feed(self, sequence: int, payload: bytes) -> bytes:
        """Returns the bytes that are now in order; StreamBroken if the missing ones will not arrive any more."""
        if self._next is None:
            self._next = sequence
        if len(self.recent) > 2 * self._remember:
            del self.recent[: -self._remember]
        if sequence == self._next % SEQUENCE_NUMBERS and not self._pending:
            self._next += len(payload)
            self._recall(payload)
            return payload
        start = self._next + self._ahead(sequence)
        if start + len(payload) <= self._next:
            self._check_again(start, payload)
            return b""
        self._keep(start, payload)
        ready = self._ready()
        if not ready and (self.pending_octets > MAX_PENDING or len(self._pending) > MAX_PENDING_SEGMENTS):
            raise StreamBroken
        return ready

    def skip(self) -> bytes:
        """Skips the first gap and returns the bytes up to the next one; empty if there is no gap."""
        if not self._pending:
            return b""
        self._next = self._starts[0]
        self.recent.clear()
        return self._ready()

    @property
    def held(self) -> int:
        """The approximate memory of the segments that wait, in bytes."""
        return self.pending_octets + PENDING_OVERHEAD * len(self._pending)

    @property
    def end(self) -> int:
        """The position after the last byte in order."""
        return self._next or 0

    def position(self, sequence: int) -> int:
        """The position of a sequence number; positions do not wrap around."""
        return sequence if self._next is None else self._next + self._ahead(sequence)

    def has_reached(self, sequence: int) -> bool:
        """Whether everything before a sequence number has come, if the start of the stream is known."""
        return self._next is None or self._ahead(sequence) <= 0

    def _keep(self, start: int, payload: bytes) -> None:
        known = self._pending.get(start)
        if known is None:
            heappush(self._starts, start)
            known = b""
        common = min(len(known), len(payload))
        self.contradictions += known[:common] != payload[:common]
        if len(known) < len(payload):
            self._pending[start] = known + payload[len(known) :]
            self.pending_octets += len(payload) - len(known)

    def _ready(self) -> bytes:
        assert self._next is not None
        ready = bytearray()
        while self._starts and self._starts[0] <= self._next:
            start = heappop(self._starts)
            data = self._pending.pop(start)
            self.pending_octets -= len(data)
            self._check_again(start, data[: self._next - start])
            new = data[self._next - start :]
            ready += new
            self._next += len(new)
            self._recall(new)
        return bytes(ready)

    def _recall(self, data: bytes) -> None:
        if self._remember:
            self.recent += data

    def _check_again(self, start: int, data: bytes) -> None:
        """Compares bytes that arrived again with those in their place."""
        assert self._next is not None
        at = len(self.recent) - (self._next - start)
        self.contradictions += at < 0 or self.recent[at : at + len(data)] != data

    def _ahead(self, sequence: int) -> int:
        """How far `sequence` lies ahead of the next byte; negative if behind."""
        assert self._next is not None
        distance = (sequence - self._next) % SEQUENCE_NUMBERS
        return distance - SEQUENCE_NUMBERS if distance >= SEQUENCE_NUMBERS // 2 else distance
