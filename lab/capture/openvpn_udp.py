"""OpenVPN over UDP: TLS in numbered packets."""

from lab.capture.contents import Place
from lab.capture.handshake import Capture, Contact, Handshake
from lab.capture.openvpn import read_control
from lab.capture.side import PlaintextSide

CARRIER = "OpenVPN over UDP"
_MAX_WAITING = 1 << 7
_OVERHEAD = 160


class _VpnSide(PlaintextSide):
    """One side of a connection: numbered packets, which may come in any order and more than once."""

    def __init__(self, endpoint: Place) -> None:
        super().__init__(endpoint)
        self._next = 1
        self._waiting: dict[int, bytes] = {}

    def feed(self, number: int, data: bytes) -> None:
        """Takes a packet's data."""
        if number >= self._next and number not in self._waiting:
            self._waiting[number] = data
        self._read_on()
        while len(self._waiting) > _MAX_WAITING:
            self._pass_gap()

    def finish(self) -> None:
        while self._waiting and not self.over:
            self._pass_gap()
        super().finish()

    @property
    def octets(self) -> int:
        return super().octets + sum(len(data) + _OVERHEAD for data in self._waiting.values())

    @property
    def watched(self) -> bool:
        return True

    def _read_on(self) -> None:
        while self._next in self._waiting:
            self.read(self._waiting.pop(self._next))
            self._next += 1

    def _pass_gap(self) -> None:
        self.lose()
        self._next = min(self._waiting)
        self._read_on()


class VpnHandshake(Handshake):
    """One TLS handshake in the control channel, over UDP."""

    def __init__(self, source: Place, destination: Place, time_ns: int, hmac: int) -> None:
        self._source = source
        self._one, self._other = _VpnSide(source), _VpnSide(destination)
        self._hmac = hmac
        super().__init__(self._one, self._other, time_ns, CARRIER)

    def feed(self, source: Place, packet: bytes) -> Capture | Contact | None:
        """Takes one datagram's payload."""
        control = read_control(packet, self._hmac)
        if control is None:
            return None
        (self._one if source == self._source else self._other).feed(control.number, control.data)
        return self.read(source == self._source, b"")
