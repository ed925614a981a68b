"""Where the attacker may go: loopback and this run's hosts, nothing else. All code that sends anything asks here first.

Loopback is always in scope. The run's hosts are those that the authority named and that wrote down where they are
(`lab.scope`). They are in scope only while this machine is on their network and on no other, by a virtual cable: with
the host's own interfaces (`network_mode: host`, macvlan) the attacker reaches loopback only. No name is ever looked up.
"""

import asyncio
import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from attacker.errors import AttackerError
from lab import scope
from lab.address import Address
from lab.scope import Host, Interface, Scope

_DOCKER_DNS = IPv4Address("127.0.0.11")
# An engine plugs a container into a bridge with a pair of these; nothing else that leads anywhere has this driver.
_VIRTUAL_CABLE = "veth"
_LOOK_EVERY_SECONDS = 0.05

IpAddress = IPv4Address | IPv6Address


class OutOfScope(AttackerError):
    """The attacker was told to go outside the lab. Nothing has been sent."""


@dataclass(frozen=True)
class Victim:
    """A host of the run, and the interface that leads to it."""

    host: Host
    interface: Interface


def check_target(host: str, port: int) -> Address:
    """The numeric address to use for `host`, which is an address, `localhost` or the name of a host of the run.

    OutOfScope says in one line why it may not be used.
    """
    if not 0 < port < 1 << 16:
        raise OutOfScope(f"{host}: {port} is not a port; ports are 1 to 65535")
    address = _on_loopback(host)
    return Address(str(address or check_victim(host).host.ip), port)


def check_loopback(host: str, port: int) -> Address:
    """`check_target`, for an address that must be on loopback. Port 0 stands for any free port."""
    checked = check_target(host, port or 1)
    if not ip_address(checked.host).is_loopback:
        raise OutOfScope(f"{host} is out of scope: the attacker listens on loopback only")
    return Address(checked.host, port)


def check_listen(host: str, port: int) -> Address:
    """The address at which the attacker is a server: on loopback or, in the lab's container, this container's own, also
    by its name. Port 0 stands for any free port."""
    address = _on_loopback(host)
    run = scope.read_scope()
    if address or run is None:
        return Address(check_target(host, port or 1).host, port)
    named = host if _numeric(host) else repr(host)
    own = _interface(named, run).address
    if own is None or (host != socket.gethostname() and _numeric(host) != own.ip):
        raise OutOfScope(f"{named} is out of scope: the attacker listens on loopback and at its own address")
    return Address(str(own.ip), port)


def check_victim(host: str) -> Victim:
    """A host of the run, by its name or its address, and the interface that leads to it; OutOfScope otherwise."""
    named = repr(host) if (address := _numeric(host)) is None else host
    if isinstance(address, IPv6Address):
        raise OutOfScope(f"{named} is out of scope: of IPv6 addresses only ::1 is in scope")
    if address == _DOCKER_DNS:
        raise OutOfScope(f"{named} is out of scope: that is Docker's name server, not the lab's")
    run = scope.read_scope()
    if run is None:
        stays = "outside the lab's containers the attacker stays on loopback (localhost, 127.0.0.0/8, ::1)"
        raise OutOfScope(f"{named} is out of scope: {stays}")
    if _writable():
        written = f"this process can write {scope.SCOPE_FILE} or {scope.PLACES} itself"
        raise OutOfScope(f"{named} is out of scope: {written}, and nobody may set a limit for herself")
    interface = _interface(named, run)
    if host in run.names and host not in run.hosts:
        raise OutOfScope(f"{named} is out of scope: it has not said where it is in this run")
    for one in run.hosts.values():
        if host == one.name or address == one.ip:
            return Victim(one, interface)
    known = ", ".join(map(str, run.hosts.values())) or "there is none yet"
    raise OutOfScope(f"{named} is out of scope: it is not a host of this run; hosts: {known}")


async def wait_for_hosts(names: tuple[str, ...], seconds: float) -> None:
    """Waits until these of the run's hosts have said where they are, or the time is over; then `check_victim` tells."""
    try:
        async with asyncio.timeout(seconds):
            while (run := scope.read_scope()) and set(names) & set(run.names) - set(run.hosts):
                await asyncio.sleep(_LOOK_EVERY_SECONDS)
    except TimeoutError:
        pass


def _on_loopback(host: str) -> IpAddress | None:
    """The loopback address that `host` stands for, if it is one."""
    if host.lower() == "localhost":
        return IPv4Address("127.0.0.1")
    address = _numeric(host)
    if address is None or not address.is_loopback or (address == _DOCKER_DNS and scope.read_scope()):
        return None
    return address


def _numeric(host: str) -> IpAddress | None:
    """Reads `host` as a number, in any notation that the system accepts ("127.1", "0x7f000001")."""
    try:
        ((*_, (address, *_)), *_) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        return None
    return _plain(str(address)) if host else None


def _plain(address: str) -> IpAddress:
    """An IP address; an IPv4-mapped IPv6 address is IPv4 (RFC 4291 section 2.5.5.2)."""
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _interface(named: str, run: Scope) -> Interface:
    """This machine's only interface, if it is on the network of the run's hosts."""
    found = scope.interfaces()
    if len(found) != 1:
        places = ", ".join(map(str, found)) or "none"
        raise OutOfScope(f"{named} is out of scope: the attacker works on one network, the run's; this is on {places}")
    (interface,) = found
    if interface.driver != _VIRTUAL_CABLE:
        unknown = "of a kind that this system does not name, as under emulation"
        kind = "an interface of the host's" if interface.driver else unknown
        raise OutOfScope(f"{named} is out of scope: {interface.name} is {kind}, not a container's own")
    networks = {one.address.network for one in run.hosts.values()}
    if interface.address is None or networks - {interface.address.network}:
        where = ", ".join(sorted(map(str, networks)))
        raise OutOfScope(f"{named} is out of scope: this is on {interface}, and the run's hosts are on {where}")
    return interface


def _writable() -> bool:
    """Whether this process could have written its own scope; in the lab's containers both volumes are read-only."""
    return any(os.access(path, os.W_OK) for path in (scope.SCOPE_FILE, scope.SCOPE_FILE.parent, scope.PLACES))
