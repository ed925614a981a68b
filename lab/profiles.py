"""What leaked certificates give away about a person, though nobody can log in with them: who it is, where, and when."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TypeVar

from rich.console import ConsoleRenderable
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.sightings import Name, Sighting
from lab.story import facts, printable

T = TypeVar("T")

PERSONAL = ("e-mail", "emailAddress", "UPN", "UID", "XMPP", "serialNumber", "URI", "x500UniqueIdentifier")
"""Names that nobody else has: certificates that share one are the same person's, or the same device's."""
NETWORK_BITS = {4: 24, 6: 64}
"""How much of an address stands for where somebody is: what a household, an office or a cell has in common."""


@dataclass(frozen=True)
class Profile:
    """Everything that the captures tell of one person or device.

    `certificates` are fingerprints in hex, `sightings` are in the order of their time, `networks` in that of the first
    sighting there; `linked_by` are the names by which several certificates are known to be the same person's.
    """

    identifies: tuple[Name, ...]
    subjects: tuple[str, ...]
    certificates: tuple[str, ...]
    linked_by: tuple[str, ...]
    networks: tuple[str, ...]
    servers: tuple[str, ...]
    sightings: tuple[Sighting, ...]

    @property
    def summary(self) -> str:
        """In one sentence."""
        times, first, last = len(self.sightings), self.sightings[0].time, self.sightings[-1].time
        seen = f"seen {times} times" if times > 1 else "seen once"
        when = f"between {_short(first)} and {_short(last)}" if times > 1 else f"on {_short(first)}"
        return f"{seen}, {when}, on {_list('network', self.networks)}, at {_list('server', self.servers)}"


def profiles(sightings: Iterable[Sighting]) -> list[Profile]:
    """Whom the certificates identify; the same person's are together, and who was seen first comes first."""
    same_as: dict[str, str] = {}
    """Leads each fingerprint and personal name towards one of those that stand for the same person."""

    def person(mark: str) -> str:
        while (other := same_as.setdefault(mark, mark)) != mark:
            mark = other
        return mark

    seen = sorted(sightings, key=lambda sighting: sighting.time)
    for one in seen:
        for name in _personal(one):
            same_as[person(name)] = person(one.sha256)
    groups: dict[str, list[Sighting]] = {}
    for one in seen:
        groups.setdefault(person(one.sha256), []).append(one)
    return list(map(_profile, groups.values()))


def _personal(one: Sighting) -> set[str]:
    return {name.value.lower() for name in one.identifies if name.kind in PERSONAL}


def _profile(group: list[Sighting]) -> Profile:
    certificates = dict.fromkeys(one.sha256 for one in group)
    of = {sha256: next(one for one in group if one.sha256 == sha256) for sha256 in certificates}
    personal = _unique(name for one in of.values() for name in sorted(_personal(one)))
    linked_by = [name for name in personal if sum(name in _personal(one) for one in of.values()) > 1]
    return Profile(
        identifies=_unique(name for one in of.values() for name in one.identifies),
        subjects=_unique(one.subject for one in of.values()),
        certificates=tuple(certificates),
        linked_by=tuple(linked_by),
        networks=_unique(network_of(one.client) for one in group),
        servers=_unique(one.server_name or one.server for one in group),
        sightings=tuple(group),
    )


def network_of(client: str) -> str:
    """The network that a client's address, host:port, belongs to."""
    address = ip_address(client.rpartition(":")[0].strip("[]"))
    return str(ip_network((address, NETWORK_BITS[address.version]), strict=False))


def lines(found: list[Profile]) -> Iterator[ConsoleRenderable]:
    """All of it for people."""
    files = _unique(one.file for profile in found for one in profile.sightings)
    for profile in found:
        yield Text(printable(" and ".join(profile.subjects)), "bold")
        rows = [(name.kind, printable(name.value)) for name in profile.identifies]
        rows += [("certificate", sha256) for sha256 in profile.certificates]
        if profile.linked_by:
            linked = f"{len(profile.certificates)} certificates name {' and '.join(map(printable, profile.linked_by))}"
            rows.append(("the same person", linked))
        rows.append(("all in all", profile.summary))
        yield Padding(facts(*rows), (0, 0, 0, 2))
        yield Padding(_timeline(profile, files), (0, 0, 1, 2))
    yield facts(*((f"capture {number}", printable(file)) for number, file in enumerate(files, start=1)))


def _timeline(profile: Profile, files: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("time, UTC", "network", "from", "to", "TLS", "capture"):
        table.add_column(heading, overflow="fold")
    for one in profile.sightings:
        server = f"{printable(one.server_name)} ({one.server})" if one.server_name else one.server
        number = str(files.index(one.file) + 1)
        table.add_row(_short(one.time), network_of(one.client), one.client, server, one.tls, number)
    return table


def _short(time: str) -> str:
    """A time to the second."""
    return time[:19].replace("T", " ")


def _list(what: str, names: tuple[str, ...]) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({', '.join(map(printable, names))})"


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
