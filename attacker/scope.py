"""Where the attacker may go: the lab, and nothing else. All code that sends anything asks here first.

Loopback is always in scope. In the lab's own container the private addresses (RFC 1918) of the container's network are
in scope too, except the host's own address there. The network must be connected by a virtual cable: with the host's own
interfaces (`network_mode: host`, macvlan) the container reaches loopback only.
"""

import socket
import stat
import struct
from array import array
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

from attacker.errors import AttackerError
from lab.address import Address

# The lab's image carries this file; it belongs to root.
MARKER = Path("/etc/certreplay-lab")
ROUTES = Path("/proc/net/route")
HOSTS = Path("/etc/hosts")

_PRIVATE = tuple(IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_LOOPBACK = IPv4Network("127.0.0.0/8")
_DOCKER_DNS = IPv4Address("127.0.0.11")
_ROUTE_UP, _ROUTE_GATEWAY = 1, 2
# An engine plugs a container into a bridge with a pair of these; nothing else that leads anywhere has this driver.
_VIRTUAL_CABLE = "veth"
_SIOCETHTOOL, _ETHTOOL_GET_DRIVER_INFO, _DRIVER_INFO_LENGTH = 0x8946, 3, 196


class OutOfScope(AttackerError):
    """The attacker was told to go outside the lab. Nothing has been sent."""


@dataclass(frozen=True)
class Attached:
    """A network that this machine is directly attached to, and the interface for it."""

    interface: str
    network: IPv4Network


def check_target(host: str, port: int) -> Address:
    """The numeric address to use for `host`; use it, so that the name is not looked up a second time.

    Outside the lab's container the only name is `localhost`; other names are not looked up. A name with several
    addresses is in scope only if all of them are. OutOfScope says in one line why it is not.
    """
    if not 0 < port < 1 << 16:
        raise OutOfScope(f"{host}: {port} is not a port; ports are 1 to 65535")
    addresses = _resolve(host)
    for address in addresses:
        if reason := _objection(address):
            named = host if host == str(address) else f"{host} ({address})"
            raise OutOfScope(f"{named} is out of scope: {reason}")
    return Address(str(addresses[0]), port)


def check_loopback(host: str, port: int) -> Address:
    """`check_target`, for an address that must be on loopback. Port 0 stands for any free port."""
    address, _ = check_target(host, port or 1)
    if not ip_address(address).is_loopback:
        raise OutOfScope(f"{host} is out of scope: the attacker listens on loopback only")
    return Address(address, port)


def check_listen(host: str, port: int) -> Address:
    """`check_target`, for an address at which the attacker is a server: on loopback or, in the lab's container, on its
    network. Port 0 stands for any free port."""
    return Address(check_target(host, port or 1).host, port)


def check_victim(host: str) -> tuple[str, str]:
    """The numeric address of a host on the lab's network, and the interface that leads to it; OutOfScope otherwise."""
    address, _ = check_target(host, 1)
    attached = _attached_to(ip_address(address))
    if attached is None:
        raise OutOfScope(f"{host} is out of scope: ARP reaches hosts on the lab's own network only")
    return address, attached.interface


def in_lab_container() -> bool:
    """Whether this is the lab's own container: its image has a marker file that only root can create."""
    try:
        found = MARKER.lstat()
    except OSError:
        return False
    writable_by_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(found.st_mode) and found.st_uid == 0 and not writable_by_others


def _resolve(host: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """The addresses of `host`, at least one. Every spelling that the system reads as a numeric address is one."""
    found = _numeric(host)
    if found:
        return found
    if host.lower() == "localhost":
        return (IPv4Address("127.0.0.1"),)
    if not in_lab_container():
        raise OutOfScope(f"{host!r} is out of scope: outside the lab's container the attacker knows localhost only")
    found = _from_hosts_file(host)
    if found:
        return found
    try:
        # With a final dot the resolver does not try the host's search domains.
        answers = socket.getaddrinfo(f"{host.rstrip('.')}.", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OutOfScope(f"{host!r} is not a host on the lab's network: {error}") from None
    return tuple(_plain(str(answer[4][0])) for answer in answers)


def _numeric(host: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """Reads `host` as a number, in any notation that the system accepts ("127.1", "0x7f000001")."""
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        return ()
    return tuple(_plain(str(answer[4][0])) for answer in answers) if host else ()


def _from_hosts_file(host: str) -> tuple[IPv4Address | IPv6Address, ...]:
    try:
        lines = HOSTS.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    found: list[IPv4Address | IPv6Address] = []
    for line in lines:
        address, *names = line.split("#")[0].split() or [""]
        if host.lower() in (name.lower() for name in names):
            found += _numeric(address)
    return tuple(found)


def _plain(address: str) -> IPv4Address | IPv6Address:
    """An IP address; an IPv4-mapped IPv6 address is IPv4 (RFC 4291 section 2.5.5.2)."""
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _objection(address: IPv4Address | IPv6Address) -> str | None:
    """Why the attacker may not send to `address`; None if it may."""
    inside = in_lab_container()
    if isinstance(address, IPv6Address):
        return None if address == IPv6Address(1) else "of IPv6 addresses only ::1 is in scope"
    if inside and address == _DOCKER_DNS:
        return "that is Docker's name server, not the lab's"
    if address in _LOOPBACK:
        return None
    if not inside:
        return "outside the lab's container the attacker stays on loopback (127.0.0.0/8, ::1)"
    if not any(address in network for network in _PRIVATE):
        return "it is not a private address of the lab's network"
    attached = _attached_to(address)
    if attached is None:
        return "it is not on a network that this container is attached to"
    if _driver(attached.interface) != _VIRTUAL_CABLE:
        return f"{attached.interface} is an interface of the host's, not a container's own"
    network = attached.network
    if address in (network.network_address, network.broadcast_address):
        return f"it is not a single host of {network}"
    if address == network.network_address + 1 or any(address == route.gateway for route in _routes()):
        return f"it is the Docker host's own address on {network}"
    return None


@dataclass(frozen=True)
class _Route:
    """The needed fields of a line of /proc/net/route."""

    interface: str
    network: IPv4Network
    gateway: IPv4Address | None


def _routes() -> tuple[_Route, ...]:
    """The IPv4 routes that are up; none if the system does not list them."""
    try:
        lines = ROUTES.read_text().splitlines()[1:]
    except OSError:
        return ()
    found = []
    for line in lines:
        interface, destination, gateway, flags, _references, _use, _metric, mask = line.split()[:8]
        if int(flags, 16) & _ROUTE_UP:
            network = IPv4Network((_address(destination), str(_address(mask))))
            by_gateway = int(flags, 16) & _ROUTE_GATEWAY
            found.append(_Route(interface, network, _address(gateway) if by_gateway else None))
    return tuple(found)


def _address(digits: str) -> IPv4Address:
    """The kernel prints an address as a number in its own byte order."""
    return IPv4Address(socket.htonl(int(digits, 16)))


def _attached_to(address: IPv4Address | IPv6Address) -> Attached | None:
    """The most specific attached network that holds `address`."""
    holding = [route for route in _routes() if route.gateway is None and address in route.network]
    best = max(holding, key=lambda route: route.network.prefixlen, default=None)
    return Attached(best.interface, best.network) if best else None


def _driver(interface: str) -> str:
    """The name of the interface's driver (ethtool's ETHTOOL_GDRVINFO); empty if the system does not know it."""
    answer = array("B", struct.pack("=I", _ETHTOOL_GET_DRIVER_INFO) + bytes(_DRIVER_INFO_LENGTH - 4))
    request = struct.pack("@16sP16x", interface.encode(), answer.buffer_info()[0])
    try:
        import fcntl  # not on every system

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            fcntl.ioctl(asking, _SIOCETHTOOL, request)
    except (ImportError, OSError):
        return ""
    return answer.tobytes()[4:36].split(b"\0")[0].decode(errors="replace")
