"""The scope of a run in containers: the hosts that the attacker may go to, and where on the network they are.

The authority names these hosts and makes up a nonce for the run, in a file that it alone can write. It is on no
network, so each host measures where it is, and writes that down with the nonce: that shows that it belongs to this run.
The attacker can read all of this and write none of it.
"""

import json
import secrets
import socket
import struct
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from lab import files
from lab.process import BadInput

SCOPE_FILE = Path("/public/scope.json")
"""What the authority writes: the nonce, and the names of the hosts."""
PLACES = Path("/scope")
"""Where each host writes a file of its own name: the nonce, its address and its MAC address."""

_MAX_FILE = 1 << 12
_UP, _LOOPBACK = 1 << 0, 1 << 3  # netdevice(7)
_FLAGS, _ADDRESS, _MASK, _HARDWARE, _ETHTOOL = 0x8913, 0x8915, 0x891B, 0x8927, 0x8946
_DRIVER_INFO, _DRIVER_INFO_LENGTH = 3, 196
_REQUEST_LENGTH = 40


@dataclass(frozen=True)
class Interface:
    """A network interface of this machine that is up and no loopback; without an IPv4 address, `address` is None."""

    name: str
    address: IPv4Interface | None
    mac: str
    driver: str
    """Empty if the system does not know it."""

    def __str__(self) -> str:
        return f"{self.name} {self.address or 'without an address'}"


@dataclass(frozen=True)
class Host:
    """One of the run's hosts: its name, its address with its network, and its MAC address."""

    name: str
    address: IPv4Interface
    mac: str

    @property
    def ip(self) -> IPv4Address:
        return self.address.ip

    def __str__(self) -> str:
        return f"{self.name} ({self.ip})"


@dataclass(frozen=True)
class Scope:
    """The names of a run's hosts, and those of them that have said where they are."""

    names: tuple[str, ...]
    hosts: Mapping[str, Host]


def write_scope(names: Iterable[str]) -> None:
    """Names the hosts of a new run. What hosts wrote down for an earlier one no longer counts."""
    _write(SCOPE_FILE, {"nonce": secrets.token_hex(16), "hosts": list(names)})


def write_place(name: str) -> None:
    """Writes down where this host of the run is; BadInput if it is not on one network, or on no run's."""
    found = interfaces()
    if len(found) != 1 or not found[0].address:
        places = ", ".join(map(str, found)) or "none"
        raise BadInput(f"{name}: a host of the lab is on one network, the lab's; this one is on {places}")
    run = _read(SCOPE_FILE)
    if run is None or "nonce" not in run:
        raise BadInput(f"{SCOPE_FILE}: no authority has named a run here")
    place = {"nonce": run["nonce"], "address": str(found[0].address), "mac": found[0].mac}
    _write(PLACES / f"{name}.json", place)


def read_scope() -> Scope | None:
    """This run's scope as far as it is known now; None on a machine where no authority has named a run."""
    run = _read(SCOPE_FILE)
    if run is None or not isinstance(run.get("nonce"), str) or not isinstance(run.get("hosts"), list):
        return None
    names = tuple(map(str, run["hosts"]))
    hosts = {name: host for name in names if (host := _host(name, run["nonce"]))}
    return Scope(names, hosts)


def _host(name: str, nonce: str) -> Host | None:
    """Where a host has said that it is in this run."""
    place = _read(PLACES / f"{name}.json")
    if place is None or place.get("nonce") != nonce:
        return None
    address, mac = place.get("address"), place.get("mac")
    try:
        return Host(name, IPv4Interface(address), mac) if isinstance(address, str) and isinstance(mac, str) else None
    except ValueError:
        return None


def _write(path: Path, what: Mapping[str, object]) -> None:
    """Others find the old file or the new one, each whole."""
    unfinished = path.with_suffix(".part")
    files.write(unfinished, json.dumps(what))
    unfinished.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(files.read(path, _MAX_FILE))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def interfaces() -> tuple[Interface, ...]:
    """The interfaces of this machine that are up, without loopback. Linux only (netdevice(7)); elsewhere none."""
    try:
        import fcntl
    except ImportError:
        return ()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:

        def ask(name: str, what: int) -> bytes:
            """The answer of the kernel, without the name before it; empty if there is none."""
            try:
                return fcntl.ioctl(asking, what, struct.pack(f"{_REQUEST_LENGTH}s", name.encode()))[16:]
            except OSError:
                return b""

        def driver(name: str) -> str:
            """The name that the driver gives itself (ethtool's ETHTOOL_GDRVINFO)."""
            answer = array("B", struct.pack("=I", _DRIVER_INFO) + bytes(_DRIVER_INFO_LENGTH - 4))
            try:
                fcntl.ioctl(asking, _ETHTOOL, struct.pack("@16sP16x", name.encode(), answer.buffer_info()[0]))
            except OSError:
                return ""
            return answer.tobytes()[4:36].split(b"\0")[0].decode(errors="replace")

        found = []
        for _, name in socket.if_nameindex():
            (flags,) = struct.unpack("=H", ask(name, _FLAGS)[:2] or bytes(2))
            if flags & _UP and not flags & _LOOPBACK:
                address, mask = ask(name, _ADDRESS)[4:8], ask(name, _MASK)[4:8]
                network = IPv4Interface((address, str(IPv4Address(mask)))) if address else None
                found.append(Interface(name, network, ask(name, _HARDWARE)[2:8].hex(":"), driver(name)))
    return tuple(found)
