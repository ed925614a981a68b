"""Follows all conversations at once and reads the handshakes in them."""

from collections.abc import Callable, Hashable
from typing import TypeVar

from lab.capture.contents import FIN, RST, SYN, Datagram, EapFrame, Endpoint, Segment
from lab.capture.dtls import DtlsHandshake, client_random, dtls_in
from lab.capture.eap import Dialogues, EapHandshake, Talk
from lab.capture.handshake import Capture, Contact, Handshake, TcpHandshake
from lab.capture.layers import NO_TLS
from lab.capture.openvpn import CLIENT_RESET, find_hmac, hides_handshake, read_control
from lab.capture.openvpn_udp import VpnHandshake
from lab.capture.packets import flow
from lab.capture.tally import BEGAN_EARLIER, DROPPED, DTLS_BEGAN_EARLIER, OPENVPN_ENCRYPTED, QUIC, SSL2, Tally

T = TypeVar("T")

MAX_OPEN = 1 << 13
MAX_OVER = 1 << 14
MAX_OCTETS = 48 << 20
"""The most memory, in bytes, that all open handshakes together may use; an estimate."""

MAX_NOTED = 1 << 13
"""The most other conversations that are remembered."""

_Ends = tuple[Endpoint, Endpoint]
"""A conversation's two ends, sorted."""
_Openings = tuple[tuple[Endpoint, int | None], ...]
"""The SYNs of a finished connection, to recognise a retransmission."""


class Tracker:
    """Follows all conversations at once, over TCP, UDP and EAP, and reads the handshakes in them.

    Connections and memory are bounded; the oldest connections are dropped first. A connection whose handshake is over
    costs one lookup for each segment.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._open: dict[Hashable, Handshake] = {}
        self._over: dict[Hashable, _Openings] = {}
        self.flows_over: set[bytes] = set()
        """Both directions of each connection in `_over`."""
        self._octets = 0
        self._dialogues = Dialogues()
        self._told: dict[Hashable, bytes] = {}
        """Conversations that are over, other than TCP's, each with what tells a new one from it."""
        self._vpns: dict[Hashable, int] = {}
        """The ends of OpenVPN connections, each with the length of its HMAC."""
        self._noted: dict[Hashable, None] = {}
        """The conversations of each kind that are not read."""

    def feed(self, time_ns: int, seen: Segment) -> list[Capture | Contact]:
        """Takes one segment; returns the captures and contacts that it completes."""
        source, destination, _, flags, payload = seen
        if not payload and not flags & (SYN | FIN | RST):
            return []
        ends = (source, destination) if source < destination else (destination, source)
        found: list[Capture | Contact] = []
        connection = self._open.get(ends)
        if connection is None:
            openings = self._over.get(ends)
            if flags & SYN:
                if openings and (source, seen.sequence) in openings:
                    return found  # sent again
            elif openings is not None or not payload:
                return found
            connection = self._begin(ends, seen, time_ns)
        assert isinstance(connection, TcpHandshake)
        if flags & SYN and not connection.continued_by(seen):
            found += self._end(ends)  # the ports are used again
            connection = self._begin(ends, seen, time_ns)
        return found + self._after(ends, connection, connection.feed(seen))

    def take(self, time_ns: int, seen: Datagram | EapFrame) -> list[Capture | Contact]:
        """Takes what is no segment; returns the captures and contacts that it completes."""
        if isinstance(seen, EapFrame):
            return self._talk(time_ns, self._dialogues.in_frame(seen))
        source, destination, payload = seen
        ends = (source, destination) if source < destination else (destination, source)
        if payload:
            if records := dtls_in(payload):
                return self._dtls(time_ns, seen, ends, records)
            hmac = self._vpns[ends] if ends in self._vpns else find_hmac(payload)
            if hmac is not None:
                return self._vpn(time_ns, seen, ends, hmac)
            if talk := self._dialogues.in_radius(seen):
                return self._talk(time_ns, talk)
        kind = QUIC if is_quic(payload) else OPENVPN_ENCRYPTED if hides_handshake(payload) else NO_TLS
        if kind == NO_TLS or (kind, ends) not in self._noted:
            self.tally.unread[kind] += 1
        if kind != NO_TLS:
            _remember(self._noted, (kind, ends), None)
        return []

    def _dtls(self, time_ns: int, seen: Datagram, ends: _Ends, records: bytes) -> list[Capture | Contact]:
        key = ("DTLS", ends)
        found: list[Capture | Contact] = []
        connection = self._open.get(key)
        random = client_random(records)
        if isinstance(connection, DtlsHandshake):
            if connection.restarted_by(records):
                found += self._end(key)
                connection = None
        elif key in self._told and (random is None or random == self._told[key]):
            return found
        if connection is None:
            connection = self._open_other(key, DtlsHandshake(seen.source, seen.destination, time_ns))
        if random is not None:
            _remember(self._told, key, random)
        assert isinstance(connection, DtlsHandshake)
        return found + self._go_on(key, connection, lambda: connection.feed(seen.source, records))

    def _vpn(self, time_ns: int, seen: Datagram, ends: _Ends, hmac: int) -> list[Capture | Contact]:
        _remember(self._vpns, ends, hmac)
        control = read_control(seen.payload, hmac)
        found: list[Capture | Contact] = []
        if control is None:
            return found
        key, session = ("OpenVPN", ends, control.key), seen.payload[1:9]
        if control.opcode == CLIENT_RESET and self._told.get(key) != session:
            found += self._end(key) if key in self._open else []
            _remember(self._told, key, session)
        elif key not in self._open:
            if key in self._told:
                return found
            _remember(self._told, key, session)
        connection = self._open.get(key) or self._open_other(
            key, VpnHandshake(seen.source, seen.destination, time_ns, hmac)
        )
        assert isinstance(connection, VpnHandshake)
        return found + self._go_on(key, connection, lambda: connection.feed(seen.source, seen.payload))

    def _talk(self, time_ns: int, talk: Talk | None) -> list[Capture | Contact]:
        found: list[Capture | Contact] = []
        if talk is None:
            self.tally.unread[NO_TLS] += 1
            return found
        connection = self._open.get(talk.key)
        if isinstance(connection, EapHandshake) and talk.eap.starts and connection.begun:
            found += self._end(talk.key)
            connection = None
        if connection is None:
            if not talk.eap.method or (talk.key in self._told and not talk.eap.starts):
                return found
            connection = self._open_other(talk.key, EapHandshake(talk, time_ns))
            _remember(self._told, talk.key, b"")
        assert isinstance(connection, EapHandshake)
        return found + self._go_on(talk.key, connection, lambda: connection.feed(talk.eap))

    def _open_other(self, key: Hashable, connection: Handshake) -> Handshake:
        self._open[key] = connection
        return connection

    def _go_on(
        self, key: Hashable, connection: Handshake, step: Callable[[], Capture | Contact | None]
    ) -> list[Capture | Contact]:
        return self._after(key, connection, step())

    def _after(self, key: Hashable, connection: Handshake, told: Capture | Contact | None) -> list[Capture | Contact]:
        """What is told of a conversation that has just gone on, and of those that make way."""
        found = [told] if told else []
        self._octets -= connection.counted
        connection.counted = connection.octets
        self._octets += connection.counted
        if connection.over:
            found += self._end(key)
        while len(self._open) > MAX_OPEN or self._octets > MAX_OCTETS:
            self.tally.unread[DROPPED] += 1
            found += self._end(next(iter(self._open)))
        return found

    def finish(self) -> list[Capture | Contact]:
        """The captures and contacts of all connections that are still open."""
        return [capture for ends in list(self._open) for capture in self._end(ends)]

    def _begin(self, ends: _Ends, first: Segment, time_ns: int) -> TcpHandshake:
        self._forget(ends)
        connection = self._open[ends] = TcpHandshake(first, time_ns)
        return connection

    def _end(self, key: Hashable) -> list[Capture | Contact]:
        connection = self._open.pop(key)
        self._octets -= connection.counted
        if isinstance(connection, TcpHandshake):
            self._over[key] = connection.openings
            self.flows_over |= _flows(connection)
            if len(self._over) > MAX_OVER:
                self._forget(next(iter(self._over)))
        told = connection.end()
        self._count(connection)
        return [told] if told else []

    def _forget(self, key: Hashable) -> None:
        """Drops what is remembered of a finished connection."""
        openings = self._over.pop(key, None)
        if openings is not None:
            (one, _), (other, _) = openings
            self.flows_over -= {flow(one, other), flow(other, one)}

    def _count(self, connection: Handshake) -> None:
        """Adds a finished conversation to the tally."""
        upshot = connection.upshot()
        if upshot:
            self.tally.upshots[upshot] += 1
        elif connection.ssl2:
            self.tally.unread[SSL2] += 1
        elif connection.hidden:
            self.tally.unread[OPENVPN_ENCRYPTED] += 1
        elif connection.speaks_tls:
            self.tally.unread[DTLS_BEGAN_EARLIER if isinstance(connection, DtlsHandshake) else BEGAN_EARLIER] += 1
        else:
            self.tally.unread[NO_TLS] += 1


def is_quic(payload: bytes) -> bool:
    """Whether a datagram has a long header of QUIC (RFC 9000 section 17.2, RFC 9369, and Google's before)."""
    if len(payload) < 7:
        return False
    version = payload[1:5]
    if payload[0] & 0x80 and payload[5] <= 20:
        return (
            version in _QUIC_VERSIONS
            or version[:3] in _QUIC_DRAFTS
            or (version[:2] in _GOOGLE and payload[0] & 0x40 > 0)
        )
    return payload[0] & 0x89 == 0x09 and payload[9:11] in _GOOGLE


_QUIC_VERSIONS = (b"\0\0\0\1", b"\x6b\x33\x43\xcf")
_QUIC_DRAFTS = (b"\xff\0\0",)
_GOOGLE = (b"Q0", b"T0")


def _remember(remembered: dict[Hashable, T], key: Hashable, value: T) -> None:
    remembered[key] = value
    if len(remembered) > MAX_NOTED:
        del remembered[next(iter(remembered))]


def _flows(connection: TcpHandshake) -> set[bytes]:
    (one, _), (other, _) = connection.openings
    return {flow(one, other), flow(other, one)}
