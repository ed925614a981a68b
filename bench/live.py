"""Live capture under load: a thousand mutual handshakes as fast as the client can make them, and none may be missed.

Twice, if it may: at the relay on loopback, which the embedded lab uses, and at a network interface, as in the
classroom; there in network namespaces of the bench's own with a cable between them, which takes root. What was seen is
compared with the client's own list of its connections, by the addresses and ports of both ends.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import HOST, Files, issue, openssl_server
from bench.report import Aim, ReportSection, ReportTable, machine

HANDSHAKES, QUICK_HANDSHAKES = 1000, 200
SERVERS = 2
CLIENT, SERVER = "10.77.3.2", "10.77.3.3"
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Load:
    """One position under load: what the client did, and what the onlooker saw of it."""

    connections: set[str]
    seconds: float
    seen: list[str]
    with_proof: int
    packets: int
    dropped: int

    @property
    def missed(self) -> int:
        return len(self.connections - set(self.seen))


def run(quick: bool) -> ReportSection:
    """The bench."""
    count = QUICK_HANDSHAKES if quick else HANDSHAKES
    loads: dict[str, Load] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = issue(Path(folder))
        loads["relay on loopback"] = _at_the_relay(files, count)
        if can_make_namespaces():
            loads["network interface"] = _at_an_interface(files, count)
    heads = ("position", "handshakes", "a second", "seen", "with proof", "missed", "packets", "packets lost")
    rows = tuple(
        (
            name,
            f"{len(load.connections):,}",
            f"{len(load.connections) / load.seconds:.0f}",
            f"{len(load.seen):,}",
            f"{load.with_proof:,}",
            str(load.missed),
            f"{load.packets:,}",
            str(load.dropped),
        )
        for name, load in loads.items()
    )
    aims = tuple(_aim(name, load) for name, load in loads.items())
    left_out = "" if len(loads) > 1 else " The network interface is left out: that takes root and `ip`."
    conditions = f"{SERVERS} servers, a client thread for each, TLS 1.2, P-256 keys.{left_out} {machine()}"
    return ReportSection(conditions, (ReportTable(heads, rows),), aims)


def _aim(name: str, load: Load) -> Aim:
    twice = len(load.seen) - len(set(load.seen))
    measured = f"{load.missed} missed, {twice} seen twice, {len(load.seen) - load.with_proof} without their proof"
    met = set(load.seen) == load.connections and load.with_proof == len(load.seen) == len(load.connections)
    return Aim(f"{name}, {len(load.connections):,} handshakes, none missed", measured, met)


def _at_the_relay(files: Files, count: int) -> Load:
    with ExitStack() as stack:
        ports = [stack.enter_context(openssl_server(files)) for _ in range(SERVERS)]
        onlooker = stack.enter_context(_onlooker("relay", *map(str, ports), folder=files.folder / "relay"))
        return _load(onlooker, files, HOST, count)


def _at_an_interface(files: Files, count: int) -> Load:
    with ExitStack() as stack:
        client, server = stack.enter_context(_two_hosts())
        ports = [stack.enter_context(openssl_server(files, *_inside(server), host=SERVER)) for _ in range(SERVERS)]
        there = ("interface", "eth0", f"tcp and host {CLIENT} and host {SERVER}", *map(str, ports))
        onlooker = stack.enter_context(_onlooker(*there, folder=files.folder / "link", prefix=_inside(server)))
        return _load(onlooker, files, SERVER, count, _inside(client))


def _load(onlooker: "subprocess.Popen[str]", files: Files, host: str, count: int, prefix: tuple[str, ...] = ()) -> Load:
    """Puts the load on, tells the onlooker when it is over, and asks what it saw."""
    assert onlooker.stdout
    ports = onlooker.stdout.readline().split()
    command = [*prefix, sys.executable, "-m", "bench.busy_client", str(files.bundle), str(count), host, *ports]
    client = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    did = json.loads(client.stdout)
    saw = json.loads(onlooker.communicate("stop\n", timeout=PATIENCE_SECONDS)[0])
    return Load(set(did["connections"]), did["seconds"], **saw)


@contextmanager
def _onlooker(*arguments: str, folder: Path, prefix: tuple[str, ...] = ()) -> Iterator["subprocess.Popen[str]"]:
    """The attacker's eyes in a process of their own; its first line tells the ports that the client is to go to."""
    command = [*prefix, sys.executable, "-m", "bench.onlooker", str(folder), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def can_make_namespaces() -> bool:
    """Whether there can be a network for the bench alone."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("ip"):
        return False
    name = f"certreplay-bench-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        _ip("netns", "del", name)
    return made


@contextmanager
def _two_hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them: their names, the client's and the server's."""
    names = f"certreplay-bench-{os.getpid()}-client", f"certreplay-bench-{os.getpid()}-server"
    with ExitStack() as stack:
        for name in names:
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
        _ip("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for name, address in zip(names, (CLIENT, SERVER), strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                _ip("-n", name, "link", "set", interface, "up")
        yield names


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _inside(namespace: str) -> tuple[str, ...]:
    return "ip", "netns", "exec", namespace
