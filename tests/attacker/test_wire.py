"""What mallory does with what she sees on the wire: when she begins, and with which ticket."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

import wirecraft
from attacker.attempts import Orders
from attacker.campaign import Campaign
from attacker.leak.wire import SETTLED_NS, Wiretap
from event_loops import in_event_loop
from lab.address import Address
from lab.capture.reader import read_file
from lab.capture.writer import CaptureFile, RecentPackets
from lab.catalogue.leaks import WIRE
from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import INCONCLUSIVE, NO_TICKET, NOT_APPLICABLE
from lab.events.types import Event, HandshakeSeen, MoveTried
from lab.ports import held_ports
from lab.staging import pki
from lab.tls.versions import VERSIONS
from wirecraft import Flight, Parties

MOVES = tuple(move for move in map(find_move, ("omit-proof", "resume-session")) if move)
SERVER = ("10.9.0.4", 8443)


class Reports:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def report(self, event: Event) -> None:
        self.events.append(event)


class Listener:
    """Mallory on the wire, and a way to let her see connections. Whatever she attacks, nobody listens there."""

    def __init__(self, folder: Path, orders: Orders, port: int, awaited: int = 0) -> None:
        self.reports = Reports()
        self.campaign = Campaign(self.reports, folder, WIRE, orders, awaited=awaited)
        self.file = CaptureFile(folder / "capture.pcapng")
        self.recent = RecentPackets([folder / "recent-1.pcapng", folder / "recent-2.pcapng"])
        self.wiretap = Wiretap(
            self.file, self.recent, self.campaign, self.reports, lambda server: Address("127.0.0.1", port)
        )
        self._ports = count(50000)

    async def see(self, flights: list[Flight], server: tuple[str, int] = SERVER, at_ns: int = 7) -> None:
        """A whole connection; then she has the time for all that she can try."""
        for segment in wirecraft.alice_to_bank(flights, client=("10.9.0.2", next(self._ports)), server=server):
            self.wiretap.see(at_ns, wirecraft.ETHERNET.wrap(wirecraft.packet(segment)))
        while self.campaign._tasks:
            await asyncio.gather(*self.campaign._tasks)

    @property
    def tried(self) -> dict[tuple[str, str], str]:
        """The outcome of each move in each version; the error where there was nothing to try."""
        tried = (one for one in self.reports.events if isinstance(one, MoveTried))
        return {(one.tls, one.move): one.error or "" if one.outcome == NOT_APPLICABLE else one.outcome for one in tried}

    @property
    def sessions(self) -> list[str]:
        """What the handshakes that she reported offered, in TLS 1.3."""
        seen = (one for one in self.reports.events if isinstance(one, HandshakeSeen))
        return [one.session for one in seen if one.tls == "1.3"]


IN_12 = {("1.2", "omit-proof"): INCONCLUSIVE, ("1.2", "resume-session"): INCONCLUSIVE}
"""She tries both, and nobody is there."""


@pytest.fixture
def port() -> Iterator[int]:
    """Held, and nobody listens there."""
    with ExitStack() as stack:
        yield held_ports(stack, 1)[0]


@pytest.fixture
def modern(authority: pki.Identity) -> Parties:
    return wirecraft.parties(authority, version=ssl.TLSVersion.TLSv1_3)


def in_12(authority: pki.Identity) -> list[Flight]:
    return wirecraft.handshake(wirecraft.parties(authority))[0]


@in_event_loop
async def test_she_waits_for_the_ticket_that_alice_shows_when_she_comes_again(
    tmp_path: Path, authority: pki.Identity, modern: Parties, port: int
) -> None:
    mallory = Listener(tmp_path, Orders(moves=MOVES, versions=VERSIONS), port)
    await mallory.see(in_12(authority))
    assert mallory.tried == IN_12
    flights, session = wirecraft.handshake(modern)
    await mallory.see(flights)
    assert mallory.tried == IN_12
    await mallory.see(wirecraft.handshake(modern, session=session)[0])
    in_13 = {("1.3", "omit-proof"): INCONCLUSIVE, ("1.3", "resume-session"): INCONCLUSIVE}
    assert mallory.tried == IN_12 | in_13
    none, ticket = mallory.sessions
    assert (none, len(ticket) > 100) == ("", True)


@in_event_loop
async def test_she_does_not_wait_for_ever_for_a_ticket(
    tmp_path: Path, authority: pki.Identity, modern: Parties, port: int
) -> None:
    mallory = Listener(tmp_path, Orders(moves=MOVES, versions=VERSIONS), port)
    await mallory.see(in_12(authority))
    for _ in range(2):
        await mallory.see(wirecraft.handshake(modern)[0])
    assert mallory.tried == IN_12 | {("1.3", "omit-proof"): INCONCLUSIVE, ("1.3", "resume-session"): NO_TICKET}
    assert mallory.sessions == [""]


@in_event_loop
async def test_she_waits_for_no_ticket_if_she_is_not_to_use_it(
    tmp_path: Path, authority: pki.Identity, modern: Parties, port: int
) -> None:
    mallory = Listener(tmp_path, Orders(moves=MOVES[:1], versions=VERSIONS), port)
    await mallory.see(in_12(authority))
    await mallory.see(wirecraft.handshake(modern)[0])
    assert mallory.tried.keys() == {("1.2", "omit-proof"), ("1.3", "omit-proof")}


@in_event_loop
async def test_a_ticket_is_nobodys_where_no_certificate_was_seen(
    tmp_path: Path, authority: pki.Identity, modern: Parties, port: int
) -> None:
    """A server that asks for no certificate gives tickets, too; they are for sessions without one."""
    mallory = Listener(tmp_path, Orders(moves=MOVES, versions=VERSIONS), port)
    await mallory.see(wirecraft.handshake(wirecraft.parties(authority, asks=False))[0])
    flights, session = wirecraft.handshake(modern)
    await mallory.see(flights)
    await mallory.see(wirecraft.handshake(modern, session=session)[0])
    assert mallory.tried == {}
    await mallory.see(in_12(authority), server=("10.9.0.5", 8443))
    assert mallory.tried == IN_12 | {("1.3", "omit-proof"): INCONCLUSIVE, ("1.3", "resume-session"): NO_TICKET}


@in_event_loop
async def test_once_all_is_tried_the_capture_is_complete_and_then_only_the_newest_packets_are_kept(
    tmp_path: Path, authority: pki.Identity, port: int
) -> None:
    mallory = Listener(tmp_path, Orders(moves=MOVES), port)
    capture = tmp_path / "capture.pcapng"
    await mallory.see(in_12(authority))
    assert mallory.tried == IN_12
    await mallory.see(in_12(authority), at_ns=100)
    await mallory.see(in_12(authority), at_ns=99 + SETTLED_NS)
    assert len(read_file(capture).captures) == 3
    whole = capture.read_bytes()
    for _ in range(2):
        await mallory.see(in_12(authority), at_ns=100 + SETTLED_NS)
    assert capture.read_bytes() == whole
    assert len(read_file(tmp_path / "recent-1.pcapng").captures) == 2


@in_event_loop
async def test_while_anything_is_left_to_try_the_capture_goes_on(
    tmp_path: Path, authority: pki.Identity, port: int
) -> None:
    mallory = Listener(tmp_path, Orders(moves=MOVES), port, awaited=2)
    for number in range(3):
        await mallory.see(in_12(authority), at_ns=number * SETTLED_NS)
    assert mallory.tried == {}
    assert len(read_file(tmp_path / "capture.pcapng").captures) == 3
