"""Redirects forwarded connections to a local port, with one netfilter rule (nftables)."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from attacker.errors import AttackerError

PROGRAM = "nft"
TABLE = "certreplay"
_SECONDS = 5.0


@dataclass(frozen=True)
class Redirect:
    """Connections from the `clients` to the `server`'s `ports`, and no others, go to the local port `to`.

    Clients and server are IPv4 addresses. Replies have the source address that the client connected to.
    """

    clients: tuple[str, ...]
    server: str
    ports: tuple[int, ...]
    to: int

    def rules(self) -> str:
        """The input for nft(8). Connections that exist already are not redirected."""
        clients, ports = ", ".join(self.clients), ", ".join(map(str, self.ports))
        return (
            f"table ip {TABLE} {{\n"
            "chain passing {\n"
            "type nat hook prerouting priority dstnat\n"
            f"ip saddr {{ {clients} }} ip daddr {self.server} tcp dport {{ {ports} }} "
            f"tcp flags & (fin | syn | rst | ack) == syn redirect to :{self.to}\n"
            "}\n"
            "}\n"
        )


@contextmanager
def redirected(redirect: Redirect) -> Iterator[None]:
    """Sets the rule for as long as the block lasts. Needs CAP_NET_ADMIN; AttackerError if it cannot be set."""
    _nft(redirect.rules())
    try:
        yield
    finally:
        _nft(f"delete table ip {TABLE}")


def _nft(commands: str) -> None:
    program = shutil.which(PROGRAM, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not program:
        raise AttackerError(f"{PROGRAM} is missing: redirecting connections needs it (Debian: nftables)")
    try:
        done = subprocess.run(  # noqa: S603  a program from the system's own folders
            [program, "-f", "-"], input=commands, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AttackerError(f"{PROGRAM}: {error}") from None
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0]
        raise AttackerError(f"{PROGRAM}: {reason}; it needs CAP_NET_ADMIN (compose: `cap_add: [NET_ADMIN]`)")


def between(hosts: Sequence[str], server: str, ports: Sequence[int]) -> str:
    """A filter for both directions of these hosts' connections to the server's ports (pcap-filter(7))."""
    either_host = " or ".join(f"host {host}" for host in hosts)
    either_port = " or ".join(f"port {port}" for port in ports)
    return f"tcp and host {server} and ({either_host}) and ({either_port})"
