"""A campaign: the loot of one leak comes in, is tried at every gateway, and each attempt is reported."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attacker.attempts import AttemptRunner, Destination, Orders
from attacker.collected import Collected, Sighting, common_name, is_self_signed
from attacker.moves.make import Loot, OtherDoor, look_alike_bundle
from attacker.passwords import FoundPassword
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.leaks import Leak
from lab.catalogue.moves import STOLEN_KEY, find_move, moves_for
from lab.events.log import Reporter
from lab.events.types import PasswordFound, Trouble
from lab.tls.bundle import Bundle
from lab.tls.versions import Version

MAX_OTHERS = 1000
"""The most certificates of other customers that are tried."""


class Campaign:
    """Takes in the loot of one leak and tries it: every ordered move at every destination.

    Where the key leaks, the move with the key is tried as well, ordered or not. With a `victim`, the moves use this
    customer's certificates. Those of others are tried too, once for each
    destination and version, with the move `omit-proof`, or with their keys if these leaked. Without a victim the
    certificates of all customers are used alike. At each destination the attacker prefers what was seen there, then
    what was seen in the same version.

    Attempts begin in the order of the servers' ports: all together with `use`, or with `start` as soon as there is loot
    for them, but not before this number of servers, `awaited`, can be tried. Certificates are kept in `folder`/stolen.
    `source` says how they came in, in more detail than the leak itself.
    """

    def __init__(
        self,
        reporter: Reporter,
        folder: Path,
        leak: Leak,
        orders: Orders,
        destinations: Sequence[Destination] = (),
        *,
        victim: str | None = None,
        source: str = "",
        awaited: int = 0,
    ) -> None:
        orders = replace(orders, moves=moves_for(leak, {move.id for move in orders.moves}))
        self._reporter = reporter
        self._orders = orders
        self._victim = victim
        self._awaited = awaited
        self._collected = Collected(reporter, folder, leak.id, source or leak.how)
        self._runner = AttemptRunner(reporter, leak.id, orders)
        of_kind = {one.takes for one in destinations if one.takes in leak.certificates}
        self._destinations = [one for one in destinations if one.takes in of_kind or one.takes_password]
        self._wanted = of_kind
        self._loot: dict[tuple[str, str], Loot] = {}
        """The first loot of each kind of certificate and each version in which it was seen, empty for none."""
        self._loot_at: dict[str, Loot] = {}
        """The first loot from each place."""
        self._others: dict[bytes, Loot] = {}
        self._begun: set[tuple[int, Version]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passwords: dict[tuple[str, str], FoundPassword] = {}
        self._password_sent_in: set[str] = set()
        self._password_found = asyncio.Event()
        self._complete, self._complete_in_every_version = asyncio.Event(), asyncio.Event()

    def add(self, destination: Destination) -> None:
        """One more server to try."""
        self._destinations.append(destination)

    def take(self, loot: Loot, sighting: Sighting) -> bool:
        """Takes in a certificate and everything that came with it; False as in `collect`."""
        certificate = loot.chain[0]
        if loot.session:
            sighting = replace(sighting, session=loot.session.ticket or loot.session.id)
        if not self.collect(certificate, sighting):
            return False
        name, kind = common_name(certificate), kind_of(certificate)
        loot = replace(loot, seen_at=sighting.server)
        if self._victim is None or name == self._victim:
            self._loot.setdefault((kind, sighting.tls), loot)
            self._loot_at.setdefault(sighting.server, loot)
        elif len(self._others) < MAX_OTHERS:
            self._others.setdefault(certificate, loot)
        if self._wanted <= {kind for kind, _ in self._loot}:
            self._complete.set()
        if self._loot.keys() >= {(kind, str(version)) for kind in self._wanted for version in self._orders.versions}:
            self._complete_in_every_version.set()
        return True

    def collect(self, certificate: bytes, sighting: Sighting) -> bool:
        """Reports a certificate, in DER, and keeps it; False for the attacker's own and for an unreadable one."""
        if any(certificate == bundle.chain[0] for bundle in self._orders.own):
            return False
        try:
            self._collected.add(certificate, sighting)
        except ValueError as error:
            who = sighting.client or sighting.server
            self._reporter.report(Trouble(f"{who} presented no readable certificate: {error}"))
            return False
        return True

    def take_password(self, found: FoundPassword) -> None:
        """Takes in a password, or what a file has of it. It is kept in memory alone, and reported without itself."""
        if (found.name, found.password) not in self._passwords and len(self._passwords) < MAX_OTHERS:
            self._passwords[found.name, found.password] = found
            self._reporter.report(PasswordFound(self._collected.leak, found.name, found.seen_at, found.form))
        self._password_sent_in.add(found.tls)
        if self._password_sent_in >= set(map(str, self._orders.versions)):
            self._password_found.set()

    async def password_found(self) -> None:
        """Waits until a password was sent in every version; does not wait if no destination takes one."""
        if any(one.takes_password for one in self._destinations):
            await self._password_found.wait()

    async def complete(self, *, in_every_version: bool = False) -> None:
        """Waits until there is loot for every destination, or even for every destination in every version."""
        await (self._complete_in_every_version if in_every_version else self._complete).wait()

    async def use(self) -> None:
        """Tries everything at every destination, and waits for the outcomes."""
        await asyncio.gather(*self._due(), *self._of_others(), *self._by_password())

    def start(self) -> None:
        """Begins in the background what can be tried and has not been."""
        ready = (all(self._is_ready(one, version) for version in self._orders.versions) for one in self._destinations)
        if sum(ready) < self._awaited:
            return
        for work in self._due():
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def at_rest(self) -> bool:
        """Whether `start` has begun at as many servers as were awaited, in every version, and all attempts are over."""
        return not self._tasks and len(self._begun) >= max(self._awaited, 1) * len(self._orders.versions)

    async def close(self) -> None:
        """Breaks off the attempts in the background."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _due(self) -> Iterator[Coroutine[Any, Any, None]]:
        for number, destination in sorted(enumerate(self._destinations), key=lambda one: one[1].address.port):
            for version in self._orders.versions:
                if (number, version) in self._begun or not self._is_ready(destination, version):
                    continue
                if loot := self._best(destination, version):
                    self._begun.add((number, version))
                    door = (
                        OtherDoor(self._orders.other_name, look_alike_bundle(loot)) if self._takes_other_door else None
                    )
                    loot = replace(loot, own=self._own_like(loot), other_door=door)
                    loot = _with_what_was_seen(loot, destination)
                    yield self._runner.everything(destination, version, loot)

    @property
    def _takes_other_door(self) -> bool:
        return bool(self._orders.other_name) and any(move.shape.elsewhere for move in self._orders.moves)

    def _is_ready(self, destination: Destination, version: Version) -> bool:
        return destination.is_ready(version, self._orders.handshakes(version))

    def _of_others(self) -> Iterator[Coroutine[Any, Any, None]]:
        omit_proof, stolen_key = find_move("omit-proof"), find_move(STOLEN_KEY)
        assert omit_proof
        assert stolen_key
        for destination in self._destinations:
            for version in self._orders.versions:
                for certificate, loot in self._others.items():
                    if kind_of(certificate) == destination.takes:
                        yield self._runner.one(destination, version, loot, stolen_key if loot.key else omit_proof)

    def _by_password(self) -> Iterator[Coroutine[Any, Any, None]]:
        for destination in self._destinations:
            for version in self._orders.versions if destination.takes_password else ():
                for found in self._passwords.values():
                    yield self._runner.log_in(destination, version, found)

    def _best(self, destination: Destination, version: Version) -> Loot | None:
        of_kind = {tls: loot for (kind, tls), loot in self._loot.items() if kind == destination.takes}
        return self._loot_at.get(destination.seen_as) or of_kind.get(str(version)) or next(iter(of_kind.values()), None)

    def _own_like(self, loot: Loot) -> Bundle | None:
        """Of mallory's own bundles one of the same kind as the loot's certificate."""
        kind = kind_of(loot.chain[0])
        return next((bundle for bundle in self._orders.own if kind_of(bundle.chain[0]) == kind), None)


def _with_what_was_seen(loot: Loot, destination: Destination) -> Loot:
    """The loot, and what else the wire showed of the destination.

    A ticket is of use only where a client's certificate was seen: the others are for sessions without one.
    """
    if destination.on_wire is None:
        return loot
    ticket = destination.on_wire.ticket if loot.seen_at == destination.seen_as else None
    return replace(loot, recorded=destination.on_wire.recorded, ticket=ticket)


def kind_of(certificate: bytes) -> CertificateKind:
    """The kind of a certificate; ValueError if the DER is no certificate."""
    return CertificateKind.SELF_SIGNED if is_self_signed(certificate) else CertificateKind.FROM_CA
