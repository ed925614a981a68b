"""One direction of a TCP connection: segments in any order in, the byte stream out (RFC 9293 section 3.10.7.4)."""

from heapq import heappop, heappush

MAX_PENDING = 1 << 18
MAX_PENDING_SEGMENTS = 1 << 13
SEQUENCE_NUMBERS = 1 << 32


class StreamBroken(Exception):
    """More came out of order than is kept, because something is missing for good; `skip` leaves it out."""


class Stream:
    """Puts segments in order. What comes twice counts once.

    Without `begin` the first segment that is fed counts as the stream's beginning. `remember` is how many bytes of what
    came out are kept at least, to tell whether what comes again is the same.
    """

    def __init__(self, remember: int = 0) -> None:
        self._remember = remember
        self.recent = bytearray()
        """The last bytes that came out, those of the last call among them, as far back as the last gap."""
        self.contradictions = 0
        """How often something was left out that isn't known to be the same bytes again."""
        self._next: int | None = None
        """The number of the byte that is wanted next, counted on where sequence numbers wrap around."""
        self._pending: dict[int, bytes] = {}
        self._starts: list[int] = []
        """The keys of `_pending`, as a heap."""
        self.pending_octets = 0

    def begin(self, sequence: int) -> None:
        """The SYN, which takes up one sequence number. It counts once, and before everything else."""
        if self._next is None:
            self._next = (sequence + 1) % SEQUENCE_NUMBERS

    def feed(self, sequence: int, payload: bytes) -> bytes:
        """The bytes that are in order now; StreamBroken where what is missing will not come any more."""
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
        """Leaves out what is missing: the bytes behind the first gap, as far as the second; empty without a gap."""
        if not self._pending:
            return b""
        self._next = self._starts[0]
        self.recent.clear()
        return self._ready()

    @property
    def end(self) -> int:
        """The position behind everything that is out."""
        return self._next or 0

    def position(self, sequence: int) -> int:
        """The position that a sequence number stands for, counted on where sequence numbers wrap around."""
        return sequence if self._next is None else self._next + self._ahead(sequence)

    def has_reached(self, sequence: int) -> bool:
        """Whether everything before a sequence number is out, as far as one knows where the stream began."""
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
        """Bytes from `start` that are left out, as the stream is past them."""
        assert self._next is not None
        at = len(self.recent) - (self._next - start)
        self.contradictions += at < 0 or self.recent[at : at + len(data)] != data

    def _ahead(self, sequence: int) -> int:
        """How far `sequence` lies ahead of what is wanted next, negative if behind."""
        assert self._next is not None
        distance = (sequence - self._next) % SEQUENCE_NUMBERS
        return distance - SEQUENCE_NUMBERS if distance >= SEQUENCE_NUMBERS // 2 else distance
