"""What leaked certificates tell about a person, even if nobody can log in with them: who it is, where, and when."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import TypeVar

from lab.address import find_address
from lab.document import Block, Column, Section, Span, Table, columns, facts
from lab.inspect.certificates import Name, SeenCertificate
from lab.inspect.times import moment

T = TypeVar("T")

MAILS = ("e-mail", "emailAddress", "UPN", "XMPP")
"""Names like e-mail addresses, which are unique: certificates that share one belong to the same person."""
PERSONAL = ("UID", "serialNumber", "URI", "x500UniqueIdentifier")
"""Names that are unique among the certificates of one issuer."""
SAME_KEY = "the same public key"
NETWORK_BITS = {4: 24, 6: 64}
"""The part of an address that stands for a place: what a household, an office or a cell has in common."""


@dataclass(frozen=True)
class Profile:
    """Everything that the captures tell of one person or device.

    `certificates` are fingerprints in hex, `sightings` are in the order of their time, each handshake once, `networks`
    in that of their first certificate; `linked_by` names what shows that several certificates are one person's.
    """

    identifies: tuple[Name, ...]
    subjects: tuple[str, ...]
    certificates: tuple[str, ...]
    linked_by: tuple[str, ...]
    networks: tuple[str, ...]
    servers: tuple[str, ...]
    sightings: tuple[SeenCertificate, ...]

    @property
    def summary(self) -> str:
        """In one sentence."""
        times, first, last = len(self.sightings), self.sightings[0].time, self.sightings[-1].time
        seen = f"seen {times} times" if times > 1 else "seen once"
        first, last = _short(first), _short(last)
        when = f"at {first} UTC" if first == last else f"between {first} and {last} UTC"
        return f"{seen}, {when}, on {_list('network', self.networks)}, at {_list('server', self.servers)}"


def profiles(sightings: Iterable[SeenCertificate]) -> list[Profile]:
    """A profile for each person that the certificates name, sorted by when the person was first seen."""
    same_as: dict[str, str] = {}
    """Leads each fingerprint and personal name towards one of those that stand for the same person."""

    def person(mark: str) -> str:
        while (other := same_as.setdefault(mark, mark)) != mark:
            mark = other
        return mark

    seen = _once(sorted(sightings, key=lambda one: one.time))
    for one in seen:
        for mark in _marks(one):
            same_as[person(mark)] = person(one.sha256)
    groups: dict[str, list[SeenCertificate]] = {}
    for one in seen:
        groups.setdefault(person(one.sha256), []).append(one)
    return list(map(_profile, groups.values()))


def _once(seen: Iterable[SeenCertificate]) -> list[SeenCertificate]:
    """Without those that several captures have of the same handshake."""
    handshakes: dict[object, SeenCertificate] = {}
    for one in seen:
        handshakes.setdefault((one.client_random, one.client, one.server) if one.client_random else id(one), one)
    return list(handshakes.values())


def _marks(one: SeenCertificate) -> dict[str, str]:
    """What identifies the owner of a certificate, each with the words for it."""
    marks = {f"public key {one.public_key}": SAME_KEY} if one.public_key else {}
    for name in one.identifies:
        value = name.value.lower()
        if value and name.kind in MAILS:
            marks[f"mail {value}"] = value
        elif value and name.kind in PERSONAL:
            marks[f"{name.kind} {value} by {one.issuer}"] = value
    return marks


def _profile(group: list[SeenCertificate]) -> Profile:
    of: dict[str, SeenCertificate] = {}
    for one in group:
        of.setdefault(one.sha256, one)
    marks = [mark for one in of.values() for mark in _marks(one).items()]
    times = Counter(marks)
    return Profile(
        identifies=_unique(name for one in of.values() for name in one.identifies),
        subjects=_unique(one.subject for one in of.values()),
        certificates=tuple(of),
        linked_by=_unique(mark[1] for mark in marks if times[mark] > 1),
        networks=_unique(network_of(one.client) for one in group),
        servers=_unique(_server(one) for one in group),
        sightings=tuple(group),
    )


def _server(one: SeenCertificate) -> str:
    """Under the name that was asked for, if one was; a host may have several, each with a port of its own."""
    address = find_address(one.server)
    return f"{one.server_name}:{address.port}" if one.server_name and address else one.server


def network_of(client: str) -> str:
    """The network that a client's address, host:port, belongs to; the client itself where it is no IP address, as a
    station's in Wi-Fi."""
    address = find_address(client)
    try:
        ip = ip_address(address.host if address else client)
    except ValueError:
        return client
    return str(ip_network((ip, NETWORK_BITS[ip.version]), strict=False))


def tell_profiles(found: list[Profile]) -> Iterator[Block]:
    """All of it: each profile, then which file has which number."""
    files = _unique(one.file for profile in found for one in profile.sightings)
    for profile in found:
        rows = [(name.kind, name.value) for name in profile.identifies]
        rows += [("certificate", sha256) for sha256 in profile.certificates]
        if profile.linked_by:
            by = " and ".join(profile.linked_by)
            rows.append(("same person", f"{len(profile.certificates)} certificates are linked by {by}"))
        rows.append(("summary", profile.summary))
        title = Span(" and ".join(profile.subjects), strong=True)
        yield Section(title, (facts(*rows), _timeline(profile, files)), "entry")
    yield facts(*((f"file {number}", file) for number, file in enumerate(files, start=1)))


def _timeline(profile: Profile, files: tuple[str, ...]) -> Table:
    rows = []
    for one in profile.sightings:
        server = f"{one.server_name} ({one.server})" if one.server_name else one.server
        rows.append((_short(one.time), one.client, server, one.tls, str(files.index(one.file) + 1)))
    where = columns("from", "to", "TLS", "file")
    return Table((Column("time, UTC", "name"), *where), tuple(rows))


def _short(time: str) -> str:
    return moment(datetime.fromisoformat(time))


def _list(what: str, names: tuple[str, ...]) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({', '.join(names)})"


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
