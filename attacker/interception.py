"""The interceptor: mitmproxy in the bank's place, asking each client for its certificate.

mitmproxy runs as the program that it is, in an environment of its own, with `interception_addon` in it. On loopback it
is a reverse proxy for each server, between two relays that record what crosses the wire on either side; on the lab's
network it is a transparent proxy for the connections that ARP spoofing leads here.
"""

import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from attacker.errors import AttackerError
from attacker.haul import Haul
from attacker.leaks import INTERCEPTION
from attacker.packets import host_port
from attacker.plays import Loot
from attacker.relay import Forward, Relay
from attacker.scope import check_listen, check_target
from attacker.stolen import Sight
from attacker.wire_file import CaptureFile
from lab.events import Intercepted, PositionLeft, PositionTaken, Reporter, WentOn

CAPTURE_FILE = "interception.pcapng"
ADDON = Path(__file__).with_name("interception_addon.py")
PROGRAM = "mitmdump"
START_SECONDS = 30.0
STOP_SECONDS = 3.0
QUIET_SECONDS = 1.0
"""Once there is something for every door: when nobody has come for so long, everybody has."""
MAX_LINE = 1 << 20

Address: TypeAlias = tuple[str, int]


async def intercept_on_loopback(forwards: Sequence[Forward], haul: Haul, reporter: Reporter, folder: Path) -> None:
    """Answers in the servers' place until there is something for every door and nobody comes any more.

    mitmproxy stands between two relays, which record both of its sides: its clients', and the real servers'.
    AttackerError where mitmproxy is missing or cannot start; OutOfScope for a server that is not the lab's.
    """
    program = find_program()
    ports = _free_ports(len(forwards))
    file = CaptureFile(folder / CAPTURE_FILE)
    before, beyond = Relay(file.write), Relay(file.write, server_side=True)
    try:
        await beyond.start(Forward(("127.0.0.1", 0), one.target) for one in forwards)
        await before.start(Forward(one.listen, ("127.0.0.1", port)) for one, port in zip(forwards, ports, strict=True))
        ways = tuple(map(Way, before.forwards, ports, beyond.forwards))
        modes = [f"--mode=reverse:https://{host_port(way.beyond.listen)}@127.0.0.1:{way.port}" for way in ways]
        async with running_mitmproxy(program, modes, [way.beyond.listen for way in ways]) as mitmproxy:
            detail = (f"{host_port(way.before.listen)} in the place of {host_port(way.beyond.target)}" for way in ways)
            reporter.report(PositionTaken(INTERCEPTION.id, (*detail, f"mitmproxy {mitmproxy.version}")))
            await _listen(mitmproxy, OnLoopback(ways, before, beyond), haul, reporter)
    finally:
        await before.close()
        await beyond.close()
        file.close()
    reporter.report(PositionLeft(INTERCEPTION.id, ()))


async def intercept_on_network(listen: Address, haul: Haul, reporter: Reporter) -> None:
    """The same for the connections that the system hands to a transparent proxy listening there.

    Who leads them here, and who records them, is somebody else. It goes on to the doors and to nobody else.
    """
    program = find_program()
    host, port = check_listen(*listen)
    servers = [check_target(*door.address) for door in haul.doors]
    async with running_mitmproxy(program, [f"--mode=transparent@{host}:{port}"], servers) as mitmproxy:
        detail = f"a transparent proxy at {host_port((host, port))}"
        reporter.report(PositionTaken(INTERCEPTION.id, (detail, f"mitmproxy {mitmproxy.version}")))
        await _listen(mitmproxy, OnNetwork(), haul, reporter)
    reporter.report(PositionLeft(INTERCEPTION.id, ()))


@dataclass(frozen=True)
class Way:
    """From a client to a server: to the relay `before` mitmproxy's `port`, from there to the relay `beyond` it."""

    before: Forward
    port: int
    beyond: Forward


@dataclass(frozen=True)
class Met:
    """A connection of mitmproxy's, by the addresses that its other end knows: of whom, from where and to where."""

    client: str
    server: str


class Surroundings(Protocol):
    """What mitmproxy's own addresses stand for."""

    def client(self, peer: Address, local: Address, towards: Address) -> Met:
        """A client's connection, from `peer` to mitmproxy's `local`, that was to lead `towards` a server."""
        ...

    def server(self, local: Address, peer: Address) -> Met:
        """mitmproxy's own connection to a server."""
        ...


class OnNetwork:
    """A transparent proxy meets everybody under their own addresses."""

    def client(self, peer: Address, local: Address, towards: Address) -> Met:
        return Met(host_port(peer), host_port(towards))

    def server(self, local: Address, peer: Address) -> Met:
        return Met(host_port(local), host_port(peer))


@dataclass(frozen=True)
class OnLoopback:
    """Behind relays: whom they relay for, and where to."""

    ways: tuple[Way, ...]
    before: Relay
    beyond: Relay

    def client(self, peer: Address, local: Address, towards: Address) -> Met:
        client = next((one.client for one in reversed(self.before.passages) if one.local == peer), peer)
        server = next((way.before.listen for way in self.ways if way.port == local[1]), local)
        return Met(host_port(client), host_port(server))

    def server(self, local: Address, peer: Address) -> Met:
        own = next((one.local for one in reversed(self.beyond.passages) if one.client == local), local)
        server = next((way.beyond.target for way in self.ways if way.beyond.listen == peer), peer)
        return Met(host_port(own), host_port(server))


async def _listen(mitmproxy: "Mitmproxy", surroundings: Surroundings, haul: Haul, reporter: Reporter) -> None:
    """Takes in what mitmproxy tells."""
    complete = asyncio.create_task(haul.complete())
    try:
        while True:
            try:
                async with asyncio.timeout(QUIET_SECONDS if complete.done() else None):
                    told = await mitmproxy.next()
            except TimeoutError:
                return
            await asyncio.sleep(0)  # complete() gets to know what was just taken in
            if told is None:
                raise AttackerError(f"mitmproxy ended: {mitmproxy.last_words()}")
            take(told, surroundings, haul, reporter)
    finally:
        complete.cancel()


def take(told: dict[str, Any], surroundings: Surroundings, haul: Haul, reporter: Reporter) -> None:
    """One thing that mitmproxy told: reports it, and brings a certificate into the haul."""
    local, peer, towards = (_address(told.get(name)) for name in ("local", "peer", "towards"))
    if told.get("what") == "server":
        met = surroundings.server(local, peer)
        reporter.report(WentOn(met.server, met.client, told["tls"], told["error"]))
    elif told.get("what") == "client":
        met = surroundings.client(peer, local, towards)
        chain = tuple(map(bytes.fromhex, told["chain"]))
        digest = sha256(chain[0]).hexdigest() if chain else ""
        reporter.report(Intercepted(met.client, met.server, told["tls"], digest, told["error"]))
        if chain:
            haul.take(Loot(chain, None), Sight(client=met.client, server=met.server, tls=told["tls"]))


def _address(told: Any) -> Address:
    """An address in JSON; that of nobody where there is none."""
    match told:
        case [str(host), int(port)]:
            return host, port
        case _:
            return "", 0


class Mitmproxy:
    """A running mitmdump with our addon."""

    def __init__(self, process: asyncio.subprocess.Process, version: str) -> None:
        self.version = version
        self._process = process
        self._words: list[str] = []
        assert process.stderr
        self._listening = asyncio.create_task(self._hear(process.stderr))

    async def next(self) -> dict[str, Any] | None:
        """The next thing that it tells; None when it has ended."""
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict):
                    return told
            self._words.append(line.decode("utf-8", "replace").strip())
        return None

    def last_words(self) -> str:
        """The end of what else it said."""
        return self._words[-1] if self._words else "it said nothing"

    async def stop(self) -> None:
        """Ends it: its standard input ends first, and it is killed if that does not do."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._listening.cancel()

    async def _hear(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self._words = [*self._words[-20:], line.decode("utf-8", "replace").strip()]


@asynccontextmanager
async def running_mitmproxy(program: str, modes: Sequence[str], servers: Sequence[Address]) -> AsyncIterator[Mitmproxy]:
    """mitmdump in these modes, as long as the block lasts; its own CA lasts no longer. It goes on to these servers
    only."""
    with tempfile.TemporaryDirectory(prefix="mitmproxy-") as folder:
        process = await asyncio.create_subprocess_exec(
            program,
            *modes,
            *("--quiet", "--ssl-insecure", f"--scripts={ADDON}"),
            *("--set", "request_client_cert=true", "--set", f"confdir={folder}", "--set", "http2=false"),
            *("--set", f"lab_servers={','.join(map(host_port, servers))}"),
            # In TLS 1.3 a client's handshake is over before the server has looked at it, and mitmproxy waits for ever.
            *("--set", "tls_version_server_max=TLS1_2"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE,
            env={"PATH": os.environ.get("PATH", ""), "HOME": folder, "PYTHONUNBUFFERED": "1"},
        )
        it = Mitmproxy(process, await _version(program))
        try:
            try:
                async with asyncio.timeout(START_SECONDS):
                    while (told := await it.next()) and told.get("what") != "running":
                        pass
            except TimeoutError:
                raise AttackerError(f"{program} did not start within {START_SECONDS:g} s") from None
            if told is None:
                raise AttackerError(f"{program} ended: {it.last_words()}")
            yield it
        finally:
            await it.stop()


def find_program() -> str:
    """mitmdump's path: in the environment that `make` sets up beside ours, or wherever PATH leads."""
    own = Path(sys.prefix) / "mitmproxy" / "bin" / PROGRAM
    found = str(own) if own.exists() else shutil.which(PROGRAM)
    if not found:
        raise AttackerError(f"{PROGRAM} is missing: `make .venv/mitmproxy` installs mitmproxy for the lab")
    return found


async def _version(program: str) -> str:
    """As in `Mitmproxy: 11.0.2`."""
    process = await asyncio.create_subprocess_exec(program, "--version", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    first = output.decode("utf-8", "replace").partition("\n")[0]
    return first.rpartition(" ")[2].strip()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in free]
