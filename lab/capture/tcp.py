"""One side of a TCP connection: its segments in any order in, its handshake messages out."""

from lab.capture.contents import ACK, FIN, SYN, Segment
from lab.capture.openvpn import CARRIER as OPENVPN
from lab.capture.openvpn import ControlStream, find_hmac, first_packet, hides_handshake
from lab.capture.reassembly import SEQUENCE_NUMBERS, Stream, StreamBroken
from lab.capture.side import PlaintextSide
from lab.capture.tds import CARRIER as TDS
from lab.capture.tds import TdsStream, begins_tds


class TcpSide(PlaintextSide):
    """What one side of a TCP connection sent in plaintext."""

    def __init__(self, segment: Segment, from_source: bool) -> None:
        super().__init__(segment.source if from_source else segment.destination)
        self.opening: int | None = None
        """The sequence number of this side's SYN, if it was seen."""
        self._first: int | None = None
        self._end = 0
        self._stream = Stream()
        self._carried: ControlStream | TdsStream | None = None
        """What takes TLS out of another protocol's packets."""
        self._at_start = True
        self.hidden = False
        """Whether it is OpenVPN's, with a handshake that is encrypted as a whole."""

    def read(self, data: bytes) -> None:
        if self._at_start and data:
            self._at_start = False
            self._look_for_carrier(data)
        super().read(self._carried.feed(data) if self._carried else data)

    def _look_for_carrier(self, data: bytes) -> None:
        if begins_tds(data):
            self._carried, self.carrier = TdsStream(), TDS
            return
        packet = first_packet(data)
        if packet is None:
            return
        hmac = find_hmac(packet)
        if hmac is not None:
            self._carried, self.carrier = ControlStream(hmac), OPENVPN
        else:
            self.hidden = self.over = hides_handshake(packet)

    def lose(self) -> None:
        if self._carried:
            self.gaps += 1
            self.over = True  # where the next packet starts is not known
        super().lose()

    def feed(self, segment: Segment) -> None:
        """Takes one segment of this side."""
        sequence, flags, payload = segment.sequence, segment.flags, segment.payload
        if flags & SYN:
            self.opening = segment.sequence
            self.role = self.role or ("server" if flags & ACK else "client")
            self._stream.begin(sequence)
            sequence = (sequence + 1) % SEQUENCE_NUMBERS
        if flags & FIN:
            self.closing = True
            self._end = (sequence + len(payload)) % SEQUENCE_NUMBERS
        if payload and not (self.over and self.watched):
            if self._first is None:
                self._first = sequence
            try:
                self.read(self._stream.feed(sequence, payload))
            except StreamBroken:
                self._pass_gap()
            if self.over and (self.watched or not self.changed_cipher):
                self._stream = Stream()  # the segments that wait in it are no longer needed

    def finish(self) -> None:
        while not self.over and self._stream.pending_octets:
            self._pass_gap()
        super().finish()

    def continues(self, opening: int) -> bool:
        """Whether a SYN belongs to this side: it was seen before, or comes right before the first segment."""
        if self.opening is not None:
            return self.opening == opening
        return self._first is None or self._first == (opening + 1) % SEQUENCE_NUMBERS

    @property
    def ended(self) -> bool:
        return self.closing and (self.over or self._stream.has_reached(self._end))

    @property
    def octets(self) -> int:
        return super().octets + self._stream.held

    def _pass_gap(self) -> None:
        """Reads on after bytes that will not come any more."""
        self.lose()
        self.read(self._stream.skip())
