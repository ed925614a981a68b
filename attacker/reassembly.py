"""One direction of a TCP connection: segments in any order in, the byte stream out (RFC 9293 section 3.10.7.4)."""

MAX_PENDING = 1 << 18
_RANGE = 1 << 32


class StreamBroken(Exception):
    """More came out of order than is kept, because something is missing for good."""


class Stream:
    """Puts segments in order. What comes twice counts once, as it came first.

    Without `begin` the first segment that is fed counts as the stream's beginning.
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._pending: dict[int, bytes] = {}
        self._pending_octets = 0

    def begin(self, sequence: int) -> None:
        """The SYN, which takes up one sequence number."""
        self._next = (sequence + 1) % _RANGE

    def feed(self, sequence: int, payload: bytes) -> bytes:
        """The bytes that are in order now; StreamBroken where what is missing will not come any more."""
        if self._next is None:
            self._next = sequence
        if sequence != self._next or self._pending:
            return self._feed_out_of_order(sequence, payload)
        self._next = (sequence + len(payload)) % _RANGE
        return payload

    def _feed_out_of_order(self, sequence: int, payload: bytes) -> bytes:
        if len(self._pending.get(sequence, b"")) < len(payload):
            self._pending_octets += len(payload) - len(self._pending.get(sequence, b""))
            self._pending[sequence] = payload
        ready = bytearray()
        while True:
            assert self._next is not None
            usable = [(self._ahead(start), start) for start in self._pending if self._ahead(start) <= 0]
            if not usable:
                break
            ahead, start = min(usable)
            data = self._pending.pop(start)
            self._pending_octets -= len(data)
            new = data[-ahead:]
            ready += new
            self._next = (self._next + len(new)) % _RANGE
        if self._pending_octets > MAX_PENDING:
            raise StreamBroken
        return bytes(ready)

    def _ahead(self, sequence: int) -> int:
        """How far `sequence` lies ahead of what is wanted next, negative if behind; numbers wrap around."""
        assert self._next is not None
        distance = (sequence - self._next) % _RANGE
        return distance - _RANGE if distance >= _RANGE // 2 else distance
