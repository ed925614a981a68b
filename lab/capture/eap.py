"""TLS in EAP (RFC 5216), as companies log in to their Wi-Fi: in frames of IEEE 802.1X, or in RADIUS (RFC 3579).

The station is the TLS client. The packets alternate, and each answer has the number of its request.
"""

from collections.abc import Hashable
from ipaddress import ip_address
from typing import NamedTuple, TypeVar

from lab.capture.contents import Datagram, EapFrame, Endpoint, Place, Station
from lab.capture.handshake import Capture, Contact, Handshake
from lab.capture.side import PlaintextSide

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

REQUEST, RESPONSE, SUCCESS, FAILURE = 1, 2, 3, 4
_METHODS = {13: "EAP-TLS", 21: "EAP-TTLS", 25: "PEAP", 43: "EAP-FAST", 55: "TEAP"}
_TEAP = 55
_LENGTH_INCLUDED, _START, _OUTER = 0x80, 0x20, 0x10
_ACCESS_REQUEST, _ACCESS_ACCEPT, _ACCESS_REJECT, _ACCESS_CHALLENGE = 1, 2, 3, 11
_USER_NAME, _STATE, _CALLING_STATION, _EAP_MESSAGE = 1, 24, 31, 79
_RADIUS_HEADER = 20
MAX_REMEMBERED = 1 << 12
"""The most requests that are remembered, and the most states."""
_HEX = frozenset("0123456789abcdefABCDEF")


class Eap(NamedTuple):
    """An EAP packet (RFC 3748 section 4); `method` is empty where it carries no TLS."""

    code: int
    number: int
    method: str = ""
    starts: bool = False
    data: bytes = b""


class Talk(NamedTuple):
    """An EAP packet with its two parties. Packets of one conversation have the same `key`."""

    key: Hashable
    station: Place
    server: Place
    carrier: str
    eap: Eap


class EapHandshake(Handshake):
    """One TLS handshake in EAP."""

    def __init__(self, talk: Talk, time_ns: int) -> None:
        self._client, self._server = PlaintextSide(talk.station), PlaintextSide(talk.server)
        self._client.role, self._server.role = "client", "server"
        super().__init__(self._client, self._server, time_ns, f"{talk.eap.method} {talk.carrier}")
        self._last: dict[int, Eap] = {}
        if not talk.eap.starts:
            self._client.lose()
            self._server.lose()

    def feed(self, eap: Eap) -> Capture | Contact | None:
        """Takes the next packet."""
        if eap.code in (SUCCESS, FAILURE):
            self._client.closing = self._server.closing = True
            return self._progress(True)
        if self._last.get(eap.code) == eap:
            return None  # sent again
        self._look_for_gaps(eap)
        self._last[eap.code] = eap
        return self.read(eap.code == RESPONSE, eap.data)

    def _look_for_gaps(self, eap: Eap) -> None:
        """Requests are numbered one after the other, and each has its answer."""
        asked, answered = self._last.get(REQUEST), self._last.get(RESPONSE)
        if eap.code == RESPONSE:
            if asked and asked.number != eap.number:
                self._server.lose()
        elif asked:
            if eap.number != (asked.number + 1) % 256:
                self._server.lose()
                self._client.lose()
            elif not answered or answered.number != asked.number:
                self._client.lose()

    @property
    def begun(self) -> bool:
        """Whether more than its start was seen."""
        return bool(self._client.messages or self._server.messages)


def read_eap(packet: bytes) -> Eap | None:
    """The EAP packet in these bytes; None if there is none."""
    if len(packet) < 4 or int.from_bytes(packet[2:4], "big") > len(packet):
        return None
    code, number = packet[0], packet[1]
    if not REQUEST <= code <= FAILURE:
        return None
    packet = packet[: int.from_bytes(packet[2:4], "big")]
    method = _METHODS.get(packet[4]) if code in (REQUEST, RESPONSE) and len(packet) > 5 else None
    if not method:
        return Eap(code, number)
    flags, at = packet[5], 6
    at += 4 * bool(flags & _LENGTH_INCLUDED)
    end = len(packet)
    if packet[4] == _TEAP and flags & _OUTER:
        end -= int.from_bytes(packet[at : at + 4], "big")
        at += 4
    starts = bool(flags & _START) and code == REQUEST
    return Eap(code, number, method, starts, b"" if starts else packet[at:end])


class Dialogues:
    """Tells which conversation an EAP packet belongs to."""

    def __init__(self) -> None:
        self._requests: dict[Hashable, tuple[bytes, int]] = {}
        """By the two ends and the identifier of a RADIUS request: its authenticator, and the conversation."""
        self._states: dict[Hashable, int] = {}
        """By the server and its State, which the next request repeats."""
        self._stations: dict[int, Place] = {}
        self._count = 0
        self._supplicants: dict[Station, Station] = {}
        """By an authenticator that sends to the group address, the station that answered last."""
        self._authenticators: dict[Station, Station] = {}
        self._last_asker: Station | None = None
        self._last_answerer: Station | None = None

    def in_frame(self, frame: EapFrame) -> Talk | None:
        """What an EAP packet straight on a link says."""
        eap = read_eap(frame.packet)
        if eap is None:
            return None
        if frame.source == frame.destination:  # PPP has no addresses
            client, authenticator = Station("PPP client"), Station("PPP server")
            return Talk(("EAP", client, authenticator), client, authenticator, "in PPP", eap)
        if eap.code == RESPONSE:
            station, server = frame.source, frame.destination
            self._last_answerer = station
            if frame.group:
                server = self._authenticators.get(station) or self._last_asker or server
        else:
            station, server = frame.destination, frame.source
            self._last_asker = server
            if frame.group:
                station = self._last_answerer or station
        self._authenticators[station] = server
        _bound(self._authenticators)
        return Talk(("EAP", station, server), station, server, "in 802.1X", eap)

    def in_radius(self, seen: Datagram) -> Talk | None:
        """What a RADIUS packet says, on any port; None if it is none, or has no EAP packet."""
        attributes = read_radius(seen.payload)
        if attributes is None:
            return None
        code, number, authenticator = seen.payload[0], seen.payload[1], seen.payload[4:20]
        eap = read_eap(b"".join(attributes.get(_EAP_MESSAGE, [])))
        if eap is None:
            return None
        state = b"".join(attributes.get(_STATE, []))
        if code == _ACCESS_REQUEST:
            client, server = seen.source, seen.destination
            conversation = self._conversation(client, server, number, authenticator, state)
            self._requests[client, server, number] = authenticator, conversation
            _bound(self._requests)
            name = attributes.get(_CALLING_STATION) or attributes.get(_USER_NAME)
            if name and conversation not in self._stations:
                self._stations[conversation] = Station(_name(name[0]))
                _bound(self._stations)
        else:
            client, server = seen.destination, seen.source
            known = self._requests.get((client, server, number))
            conversation = known[1] if known else self._new()
            if state:
                self._states[server.host, state] = conversation
                _bound(self._states)
        station = self._stations.get(conversation, client)
        carrier = f"in RADIUS, by way of {ip_address(client.host)}"
        return Talk(("RADIUS", conversation), station, server, carrier, eap)

    def _conversation(self, client: Endpoint, server: Endpoint, number: int, authenticator: bytes, state: bytes) -> int:
        known = self._requests.get((client, server, number))
        if known and known[0] == authenticator:
            return known[1]  # sent again
        found = self._states.get((server.host, state)) if state else None
        return self._new() if found is None else found

    def _new(self) -> int:
        self._count += 1
        return self._count


def read_radius(payload: bytes) -> dict[int, list[bytes]] | None:
    """The attributes of an access packet with EAP in it (RFC 2865 section 3), by type; None for anything else."""
    if len(payload) < _RADIUS_HEADER or payload[0] not in _ACCESS_CODES:
        return None
    length = int.from_bytes(payload[2:4], "big")
    if not _RADIUS_HEADER <= length <= len(payload):
        return None
    attributes: dict[int, list[bytes]] = {}
    at = _RADIUS_HEADER
    while at < length:
        octets = payload[at + 1] if at + 1 < length else 0
        if octets < 2 or at + octets > length:
            return None
        attributes.setdefault(payload[at], []).append(payload[at + 2 : at + octets])
        at += octets
    return attributes if _EAP_MESSAGE in attributes else None


_ACCESS_CODES = (_ACCESS_REQUEST, _ACCESS_ACCEPT, _ACCESS_REJECT, _ACCESS_CHALLENGE)


def _name(value: bytes) -> str:
    """A station as RADIUS calls it; a MAC address is written as everywhere (RFC 3580 section 3.21)."""
    text = value[:64].decode("utf-8", "replace")
    digits = "".join(character for character in text if character in _HEX)
    if len(digits) == 12 and all(character in _HEX or character in ":-." for character in text):
        return bytes.fromhex(digits).hex(":")
    return "".join(character if character.isprintable() else "?" for character in text) or "unnamed"


def _bound(remembered: dict[K, V]) -> None:
    while len(remembered) > MAX_REMEMBERED:
        del remembered[next(iter(remembered))]
