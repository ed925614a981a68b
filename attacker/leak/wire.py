"""The leak `wire`: a position between client and server, and everything that is seen from there."""

from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from attacker.attempts import Destination, OnTheWire
from attacker.call import FORWARD, LISTEN_INSTEAD, Call, LeakCommand, Parser
from attacker.campaign import Campaign
from attacker.collected import MAX_SIGHTINGS, Sighting
from attacker.moves.make import Loot
from attacker.position.tcp_relay import TcpRelay
from attacker.scope import wait_for_hosts
from lab.address import Address, find_address
from lab.capture.handshake import Capture, Contact, described
from lab.capture.packets import segment
from lab.capture.reader import Tracker
from lab.capture.writer import ETHERNET, CaptureFile, RecentPackets
from lab.catalogue.leaks import WIRE
from lab.events.log import Reporter
from lab.events.parts import CAPTURE_FILE, RECENT_FILES
from lab.events.types import HandshakeSeen, PositionLeft, PositionTaken, Trouble
from lab.process import whole_number
from lab.tls.errors import Abort
from lab.tls.messages import ClientHello, ServerHello, parse
from lab.tls.records import ContentType
from lab.tls.sessions import Session
from lab.tls.versions import TLS12, TLS13, version_name

MAX_SERVERS = 10_000
SETTLED_NS = 120 * 10**9
"""So long after the last attempt the capture file is complete: by then it holds all that a verdict can rest on."""

_BEYOND_PLAINTEXT = (ContentType.CHANGE_CIPHER_SPEC, ContentType.APPLICATION_DATA)
"""Records which show that the client answered the server."""

AddressOf: TypeAlias = Callable[[str], Address]
"""From a server's address on the wire, `host:port`, to the address at which the attacker reaches that server."""


class Wiretap:
    """Writes each packet to the capture file, then reads the handshakes in it, like those of any other capture.

    The campaign gets every server that is seen and every certificate with its proof; attempts begin at once. When all
    attempts are over and SETTLED_NS have passed, the capture file is complete, and of what comes then only the newest
    is kept, in `recent`: a lab can stand idle for hours.
    """

    def __init__(
        self,
        file: CaptureFile,
        recent: RecentPackets,
        campaign: Campaign,
        reporter: Reporter,
        address_of: AddressOf,
    ) -> None:
        self._file = file
        self._recent = recent
        self._campaign = campaign
        self._reporter = reporter
        self._address_of = address_of
        self._tracker = Tracker()
        self._writing = True
        self._at_rest_since_ns: int | None = None
        self._settled = False
        self._servers: dict[str, OnTheWire] = {}
        self._proven: set[str] = set()
        self._contacts: set[tuple[str, int | None, bool]] = set()

    def see(self, time_ns: int, packet: bytes) -> None:
        """One packet, with the time it was seen in ns since 1970."""
        if self._writing:
            self._writing = self._write(time_ns, packet)
        seen = segment(ETHERNET, packet)
        if seen:
            self._read(self._tracker.feed(time_ns, seen))

    def close(self) -> None:
        """There are no more packets."""
        self._read(self._tracker.finish())

    def take(self, capture: Capture) -> None:
        """Works on a handshake with a readable client certificate."""
        if not capture.chain or len(self._servers) > MAX_SERVERS:
            return
        sighting = sighting_of(capture)
        if capture.certificate_verify is None or capture.server in self._proven:
            self._campaign.collect(capture.chain[0], sighting)
        elif self._campaign.take(loot_of(capture), sighting):
            self._proven.add(capture.server)
            self._seen_at(capture.server, capture.server_name).recorded[TLS12] = capture.client_bytes
            self._campaign.start()

    def meet(self, contact: Contact) -> None:
        """Works on a handshake without a readable client certificate."""
        if contact.version is None or contact.resumed or len(self._servers) > MAX_SERVERS:
            return
        self._report(contact)
        if any(kind in _BEYOND_PLAINTEXT for kind, _ in contact.client_records):
            seen = self._seen_at(contact.server, contact.server_name)
            seen.handshakes13 += contact.version == TLS13
            seen.ticket = seen.ticket or contact.offered
            seen.recorded.setdefault(contact.version, contact.client_bytes)
            self._campaign.start()

    def _seen_at(self, server: str, server_name: str | None) -> OnTheWire:
        if server not in self._servers:
            seen = self._servers[server] = OnTheWire()
            address = self._address_of(server)
            name = server_name or server.rpartition(":")[0]
            self._campaign.add(Destination(address, name, seen_as=server, on_wire=seen))
        return self._servers[server]

    def _report(self, contact: Contact) -> None:
        """Reports the first handshake of this kind with a server."""
        kind = contact.server, contact.version, contact.offered is not None
        if kind in self._contacts or len(self._contacts) >= MAX_SIGHTINGS:
            return
        self._contacts.add(kind)
        self._reporter.report(seen_of(contact))

    def _read(self, found: Iterable[Capture | Contact]) -> None:
        for one in found:
            if isinstance(one, Capture):
                self.take(one)
            else:
                self.meet(one)

    def _write(self, time_ns: int, packet: bytes) -> bool:
        """Whether more can be written."""
        self._settled = self._settled or self._settles(time_ns)
        try:
            if self._settled:
                self._recent.write(time_ns, packet)
                return True
            if self._file.write(time_ns, packet):
                return True
            reason = "is full"
        except OSError as error:
            reason = str(error.strerror)
        self._reporter.report(Trouble(f"{CAPTURE_FILE}: {reason}; nothing more is written to it"))
        return False

    def _settles(self, time_ns: int) -> bool:
        """Whether the campaign has been at rest for long enough."""
        if not self._campaign.at_rest:
            self._at_rest_since_ns = None
        elif self._at_rest_since_ns is None:
            self._at_rest_since_ns = time_ns
        return self._at_rest_since_ns is not None and time_ns - self._at_rest_since_ns >= SETTLED_NS


def seen_of(contact: Contact) -> HandshakeSeen:
    """What is reported of a handshake without a readable client certificate."""
    return HandshakeSeen(
        client=contact.client,
        server=contact.server,
        tls=version_name(contact.version or 0),
        server_name=contact.server_name or "",
        client_random=(contact.client_random or b"").hex(),
        server_random=(contact.server_random or b"").hex(),
        client_records=tuple(described(contact.client_records)),
        server_records=tuple(described(contact.server_records)),
        asked=contact.asked,
        session=contact.offered.identity.hex() if contact.offered else "",
    )


def loot_of(capture: Capture) -> Loot:
    """What a captured handshake gives for making moves."""
    messages = [_parsed(entry.raw) for entry in capture.messages]
    hello = next((message for message in messages if isinstance(message, ClientHello)), None)
    answer = next((message for message in messages if isinstance(message, ServerHello)), None)
    session = None
    if answer and (capture.session_id or capture.ticket):
        session = Session(capture.session_id, capture.ticket, None, answer.cipher_suite, True)
    return Loot(chain=capture.chain, proof=capture.certificate_verify, hello=hello, session=session)


def sighting_of(capture: Capture) -> Sighting:
    """Where and how a captured handshake showed its certificate."""
    return Sighting(
        client=capture.client,
        server=capture.server,
        tls=version_name(capture.version),
        record=capture.record_header,
        message=capture.certificate_message,
        proof=capture.certificate_verify,
        transcript=tuple(entry.raw for entry in capture.transcript),
        client_random=capture.client_random or b"",
        server_random=capture.server_random or b"",
        note=capture.note,
    )


def _parsed(raw: bytes) -> object:
    try:
        return parse(raw)
    except Abort:
        return None


async def relay(call: Call) -> None:
    """Relays on loopback, until told to stop."""
    relayed: dict[str, Address] = {}
    async with _wiretap(call, "a TCP relay on loopback", relayed.__getitem__) as wiretap:
        position = TcpRelay(wiretap.see)
        try:
            await position.start(call.forwards())
            relayed |= {str(forward.listen): forward.target for forward in position.forwards}
            call.reporter.report(PositionTaken("relay", position.describe()))
            await call.stop.wait()
        finally:
            await position.close()
    call.reporter.report(PositionLeft("relay", ()))


async def arp(call: Call) -> None:
    """Spoofs ARP on the lab's network and sniffs there, until told to stop."""
    from attacker.position.arp import FIND_SECONDS, ArpPosition  # these need scapy, which the relay can do without
    from attacker.position.sniffer import Sniffer

    assert call.watchdog
    hosts = call.arguments.client, call.arguments.server
    await wait_for_hosts(hosts, FIND_SECONDS)
    position = ArpPosition(call.watchdog, *hosts)
    async with _wiretap(call, f"{position.interface}, after ARP spoofing", _as_seen) as wiretap:
        sniffer = Sniffer(position.interface, position.bpf_filter())
        sniffer.watch(wiretap.see)
        try:
            async with position:
                call.reporter.report(PositionTaken("arp", position.describe()))
                await position.hold(call.stop)
        finally:
            sniffer.close()
            if sniffer.lost:
                lost = f"{sniffer.lost} of {sniffer.packets} packets were lost: they came too fast"
                call.reporter.report(Trouble(lost))
    call.reporter.report(PositionLeft("arp", position.healed))


@asynccontextmanager
async def _wiretap(call: Call, source: str, address_of: AddressOf) -> Any:
    campaign = Campaign(call.reporter, call.folder, WIRE, call.orders(), source=source, awaited=call.arguments.servers)
    file = CaptureFile(call.folder / CAPTURE_FILE)
    recent = RecentPackets(call.folder / name for name in RECENT_FILES)
    wiretap = Wiretap(file, recent, campaign, call.reporter, address_of)
    try:
        yield wiretap
    finally:
        wiretap.close()
        await campaign.close()
        file.close()
        recent.close()


def _as_seen(server: str) -> Address:
    """On the network the attacker reaches a server at the address that the victim uses."""
    address = find_address(server)
    assert address
    return address


def _add_servers(parser: Parser) -> None:
    tell = "attack once this many servers have been seen, the one with the lowest port first (%(default)s)"
    parser.add_argument("--servers", type=whole_number(1, 1000), default=1, metavar="N", help=tell)


def _add_relay_arguments(parser: Parser) -> None:
    _add_servers(parser)
    parser.add_argument("--forward", action="append", required=True, metavar=FORWARD, help=LISTEN_INSTEAD)


def _add_arp_arguments(parser: Parser) -> None:
    _add_servers(parser)
    parser.add_argument("--client", required=True, metavar="HOST")
    parser.add_argument("--server", required=True, metavar="HOST")


RELAY = LeakCommand("between a client and a server on loopback", _add_relay_arguments, relay, ends=False)
ARP = LeakCommand(
    "between two hosts on the lab's network", _add_arp_arguments, arp, ends=False, takes_network=lambda arguments: True
)
