"""Reads client certificates from packets, the same way for a live link and for a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.capture.errors import CaptureFileError
from lab.capture.handshake import Capture, Contact, Handshake
from lab.capture.packets import FIN, LINK_TYPES, RST, SYN, Endpoint, Segment, flow, is_of_flows, segment
from lab.capture.pcap import read_packets
from lab.tls.messages import Certificate, CertificateRequest
from lab.tls.versions import TLS13

MAX_OPEN = 1 << 13
MAX_OVER = 1 << 15
MAX_OCTETS = 1 << 27
"""The most memory, in bytes, that all open handshakes together may use; an estimate."""

_Ends = tuple[Endpoint, Endpoint]
"""A connection's two ends, sorted."""
_Openings = tuple[tuple[Endpoint, int | None], ...]
"""The SYNs of a finished connection, to recognise a retransmission."""


@dataclass
class Tally:
    """Counts of what was seen. They explain why a capture has no client certificate.

    `unread` packets have a link type that this reader does not know; `cut` packets were not captured whole. A handshake
    is `resumed` if the server resumed an earlier session, without certificates.
    """

    packets: int = 0
    unread: int = 0
    cut: int = 0
    handshakes: int = 0
    tls13: int = 0
    resumed: int = 0
    server_certificates: int = 0
    requests: int = 0
    empty_certificates: int = 0


@dataclass(frozen=True)
class Reading:
    """What a capture file holds: handshakes with a client certificate, and the others.

    `problem` says what is wrong with the file, or why it holds no client certificate.
    """

    captures: tuple[Capture, ...]
    contacts: tuple[Contact, ...]
    tally: Tally
    problem: CaptureFileError | None


def read_file(path: Path) -> Reading:
    """Every client certificate in a pcap or pcapng file."""
    found: list[Capture | Contact] = []
    tally, problem = scan_file(path, found.append)
    captures = tuple(one for one in found if isinstance(one, Capture))
    contacts = tuple(one for one in found if isinstance(one, Contact))
    return Reading(captures, contacts, tally, problem)


def scan_file(path: Path, take: Callable[[Capture | Contact], object]) -> tuple[Tally, CaptureFileError | None]:
    """Passes each handshake in a pcap or pcapng file to `take` and keeps none, so memory does not grow with the file.

    Returns the counts and the problem, as in a Reading.
    """
    tracker = Tracker()
    tally = tracker.tally
    captures = 0
    problem: CaptureFileError | None = None
    link_type = 0

    def tell(found: list[Capture | Contact]) -> None:
        nonlocal captures
        for one in found:
            captures += isinstance(one, Capture)
            take(one)

    try:
        for time_ns, link_type, data, length, _ in read_packets(path):
            tally.packets += 1
            if len(data) < length:
                tally.cut += 1
            if tracker.passes_over(link_type, data):
                continue
            seen = segment(link_type, data)
            if seen:
                tell(tracker.feed(time_ns, seen))
            elif link_type not in LINK_TYPES:
                tally.unread += 1
    except CaptureFileError as error:
        problem = error
    tell(tracker.finish())
    if problem is None and not captures:
        problem = CaptureFileError(f"{path}: {_why_nothing(tally, link_type)}")
    return tally, problem


def _why_nothing(tally: Tally, link_type: int) -> str:
    if not tally.packets:
        return "holds no packets; capture again, while a client logs in"
    if tally.unread == tally.packets:
        return f"holds packets of link type {link_type}, which is not read here; capture on Ethernet or `-i any`"
    if tally.cut:
        cut = f"{tally.cut} of its {tally.packets} packets were cut short when they were captured"
        return f"holds no whole client certificate: {cut}; capture whole packets (`tcpdump -s 0`)"
    if not tally.handshakes:
        return f"holds no TLS handshake in its {tally.packets} packets; capture a connection from its start"
    if tally.tls13 == tally.handshakes:
        return (
            "holds TLS 1.3 only, which encrypts the Certificate messages: there is nothing to read without the "
            "session's keys; capture TLS 1.2"
        )
    return _why_none_presented(tally) + (f" (and {tally.tls13} in TLS 1.3, which encrypts them)" if tally.tls13 else "")


def _why_none_presented(tally: Tally) -> str:
    if tally.empty_certificates:
        return "holds no client certificate: the server asked, and the client had none to send; give it its bundle"
    if tally.requests:
        return "holds no client certificate: the server asked, but the answer isn't there; capture for longer"
    if tally.server_certificates:
        return "holds a server's certificate only: the server never asked its client for one"
    if tally.resumed:
        return "holds resumed TLS sessions only, in which no certificates are sent; capture a first login"
    return "holds only the beginnings of TLS handshakes, without any certificate; capture for longer"


class Tracker:
    """Follows all TCP connections at once and reads the handshakes in them.

    Connections and memory are bounded; the oldest connections are dropped first. A connection whose handshake is over
    costs one lookup for each segment.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._open: dict[_Ends, Handshake] = {}
        self._over: dict[_Ends, _Openings] = {}
        self._flows_over: set[bytes] = set()
        """Both directions of each connection in `_over`."""
        self._octets = 0

    def passes_over(self, link_type: int, data: bytes) -> bool:
        """Whether a packet can be skipped because the handshake of its connection is over."""
        return is_of_flows(self._flows_over, link_type, data)

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
        elif flags & SYN and not connection.continued_by(seen):
            found += self._end(ends)  # the ports are used again
            connection = self._begin(ends, seen, time_ns)
        self._octets -= connection.octets
        captured = connection.feed(seen)
        self._octets += connection.octets
        if captured:
            found.append(captured)
        if connection.over:
            self._end(ends)
        while len(self._open) > MAX_OPEN or self._octets > MAX_OCTETS:
            found += self._end(next(iter(self._open)))
        return found

    def finish(self) -> list[Capture | Contact]:
        """The captures and contacts of all connections that are still open."""
        return [capture for ends in list(self._open) for capture in self._end(ends)]

    def _begin(self, ends: _Ends, first: Segment, time_ns: int) -> Handshake:
        self._forget(ends)
        connection = self._open[ends] = Handshake(first, time_ns)
        return connection

    def _end(self, ends: _Ends) -> list[Capture | Contact]:
        connection = self._open.pop(ends)
        self._octets -= connection.octets
        self._over[ends] = connection.openings
        self._flows_over |= _flows(ends)
        if len(self._over) > MAX_OVER:
            self._forget(next(iter(self._over)))
        captured = connection.end()
        self._count(connection)
        return [captured] if captured else []

    def _forget(self, ends: _Ends) -> None:
        """Drops what is remembered of a finished connection."""
        if self._over.pop(ends, None) is not None:
            self._flows_over -= _flows(ends)

    def _count(self, connection: Handshake) -> None:
        """Adds a finished connection to the tally."""
        parties = connection.parties()
        if not parties or not (parties[0].messages or parties[1].messages):
            return
        client, server = parties
        tls13 = connection.version() == TLS13
        presented = client.first(Certificate)
        self.tally.handshakes += 1
        self.tally.tls13 += tls13
        self.tally.requests += server.sent(CertificateRequest)
        self.tally.server_certificates += server.sent(Certificate)
        self.tally.empty_certificates += presented is not None and not presented[0].chain
        self.tally.resumed += connection.resumed


def _flows(ends: _Ends) -> set[bytes]:
    one, other = ends
    return {flow(one, other), flow(other, one)}
