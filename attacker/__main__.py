"""The attacker: `python -m attacker LEAK …`, until told to stop or, where a leak comes to an end, until then.

The wire leaks by `relay` on loopback and by `arp` on the lab's network; the other leaks go by their own names.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from attacker.attempts import Plan
from attacker.errors import AttackerError
from attacker.haul import Haul, parse_door
from attacker.leak import files, interception
from attacker.leak.live_relay import relay_live
from attacker.leak.rogue_server import keep_a_shop
from attacker.leak.wire import arp, as_seen, relay
from attacker.position.capabilities import drop_capabilities
from attacker.position.tcp_relay import Forward
from attacker.position.watchdog import Watchdog, start_watchdog
from lab.capture.errors import CaptureFileError
from lab.catalogue.leaks import DATABASE, INTERCEPTION, LEAKS, LIVE_RELAY, LOG, ROGUE_SERVER
from lab.catalogue.moves import MOVES
from lab.events.log import EventLog, Reporter
from lab.events.types import LeakSought, PartStopped, Trouble
from lab.process import ArgumentParser, BadInput, run_part, stop_signal
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.errors import BundleError
from lab.tls.versions import TLS12, VERSION_NAMES, versions_named

PART = "attacker"
RELAY, ARP = "relay", "arp"
VICTIM = "alice"

Collect = Callable[[argparse.Namespace, Haul, Reporter], Awaitable[None]]
"""Lets a leak happen: brings what it gives into the haul, and returns when nothing more is to come."""


async def _collect_from_file(arguments: argparse.Namespace, haul: Haul, reporter: Reporter) -> None:
    files.collect(arguments.file, haul)


async def _collect_live(arguments: argparse.Namespace, haul: Haul, reporter: Reporter) -> None:
    forwards = [forward(text) for text in arguments.forward]
    await relay_live(forwards, arguments.relays, arguments.victim, haul, reporter)


async def _collect_in_a_shop(arguments: argparse.Namespace, haul: Haul, reporter: Reporter) -> None:
    await keep_a_shop(listen(arguments.listen), bundle(arguments.shop_bundle), haul, reporter)


async def _collect_between(arguments: argparse.Namespace, haul: Haul, reporter: Reporter) -> None:
    forwards = [forward(text) for text in arguments.forward]
    await interception.intercept_on_loopback(forwards, haul, reporter, arguments.folder, arguments.visits)


async def _collect_on_network(
    watchdog: Watchdog, arguments: argparse.Namespace, haul: Haul, reporter: Reporter
) -> None:
    addresses = [parse_door(door).address for door in arguments.door]
    ports = [port for host, port in addresses if host == arguments.server]
    if not (arguments.client and arguments.server and ports):
        raise BadInput("--arp needs each --client, and the --server with at least one --door")
    await interception.intercept_on_network(
        watchdog, arguments.client, arguments.server, ports, haul, reporter, arguments.folder
    )
    drop_capabilities()  # what is left is TLS connections


COLLECT: dict[str, Collect] = {
    INTERCEPTION.id: _collect_between,
    LIVE_RELAY.id: _collect_live,
    ROGUE_SERVER.id: _collect_in_a_shop,
    DATABASE.id: _collect_from_file,
    LOG.id: _collect_from_file,
}


def parser() -> ArgumentParser:
    """The command line."""
    it = ArgumentParser(prog="python -m attacker", description=__doc__)
    leaks = it.add_subparsers(dest="leak", required=True, metavar="LEAK")
    on_loopback = leaks.add_parser(RELAY, help="between a client and a server on loopback")
    on_loopback.add_argument(
        "--forward", action="append", required=True, metavar="HOST:PORT=HOST:PORT", help="listen there, relay to there"
    )
    on_network = leaks.add_parser(ARP, help="between two hosts on the lab's network")
    on_network.add_argument("--client", required=True, metavar="HOST")
    on_network.add_argument("--server", required=True, metavar="HOST")
    for known in (known for known in LEAKS if known.id in COLLECT):
        leak = leaks.add_parser(known.id, help=known.how)
        leak.add_argument(
            "--door",
            action="append",
            required=True,
            metavar="[self-signed=]HOST:PORT",
            help="a gateway to try, and whether it takes the certificates that the bank's customers signed themselves",
        )
        leak.add_argument("--victim", default=VICTIM, metavar="NAME", help="whose account it is about (%(default)s)")
        if known.id in (DATABASE.id, LOG.id):
            leak.add_argument("--file", type=Path, required=True, help="what got out of the bank")
        if known.id in (INTERCEPTION.id, LIVE_RELAY.id):
            tell = "listen there as if it were the server there; may be repeated"
            ways = leak.add_mutually_exclusive_group(required=True)
            ways.add_argument("--forward", action="append", metavar="HOST:PORT=HOST:PORT", help=tell)
        if known.id == INTERCEPTION.id:
            tell = "come between each --client and the --server on the lab's network, and answer at its doors"
            ways.add_argument("--arp", action="store_true", help=tell)
            leak.add_argument("--client", action="append", metavar="HOST", help="with --arp; may be repeated")
            leak.add_argument("--server", metavar="HOST", help="with --arp")
            tell = "on loopback, wait for so many connections to each; otherwise until nobody comes any more"
            leak.add_argument("--visits", type=int, metavar="N", help=tell)
        if known.id == LIVE_RELAY.id:
            leak.add_argument("--relays", type=int, default=1, metavar="N", help="connections to relay (%(default)s)")
        if known.id == ROGUE_SERVER.id:
            leak.add_argument("--listen", required=True, metavar="HOST:PORT", help="where the shop is")
            leak.add_argument("--shop-bundle", type=Path, required=True, help="the shop's own, PEM")
    for command in leaks.choices.values():
        _add_common(command)
    return it


def _add_common(command: argparse.ArgumentParser) -> None:
    """What all leaks have in common: what to try with what they give."""
    moves = [move.id for move in MOVES]
    tell = f"what to try: {', '.join(moves)} (all)"
    command.add_argument("--move", action="append", choices=moves, metavar="MOVE", help=tell)
    command.add_argument("--tls", action="append", choices=VERSION_NAMES, help="a version to try it in (1.2)")
    command.add_argument("--rounds", type=int, default=1, metavar="N", help="how often to try it (%(default)s)")
    command.add_argument("--bundle", type=Path, action="append", default=[], help="mallory's own, PEM; repeatable")
    command.add_argument("--folder", type=Path, required=True, help="where everything goes")
    command.add_argument("--tether", action="store_true", help="stop when standard input ends, too")


def plan(arguments: argparse.Namespace) -> Plan:
    """What the attacker is told to do; BadInput for a bundle that can't be used."""
    return Plan(
        moves=tuple(move for move in MOVES if not arguments.move or move.id in arguments.move),
        versions=versions_named(arguments.tls or [str(TLS12)]),
        rounds=arguments.rounds,
        own=tuple(map(bundle, arguments.bundle)),
    )


def bundle(file: Path) -> Bundle:
    """One of mallory's own bundles; BadInput where it can't be used."""
    try:
        return parse_bundle(file.read_bytes(), None, str(file), datetime.now(UTC))
    except BundleError as error:
        raise BadInput(str(error)) from None


def forward(text: str) -> Forward:
    """Reads `127.0.0.1:40001=127.0.0.1:8441`; BadInput for anything else."""
    try:
        listen, target = text.split("=")
        return Forward(as_seen(listen), as_seen(target))
    except ValueError:
        raise BadInput(f"{text!r} is not HOST:PORT=HOST:PORT") from None


def listen(text: str) -> tuple[str, int]:
    """Reads `127.0.0.1:8443`; BadInput for anything else."""
    try:
        return as_seen(text)
    except ValueError:
        raise BadInput(f"--listen {text}: give HOST:PORT") from None


async def main(arguments: argparse.Namespace, watchdog: Watchdog | None) -> int:
    """The part; its exit status."""
    stop = stop_signal(arguments.tether)
    folder: Path = arguments.folder
    with _events(folder) as log:
        if watchdog and arguments.leak == ARP:
            await arp(watchdog, arguments.client, arguments.server, plan(arguments), log, folder, stop)
        elif arguments.leak == RELAY:
            await relay([forward(text) for text in arguments.forward], plan(arguments), log, folder, stop)
        else:
            await until(stop, by_leak(arguments, log, watchdog))
            if watchdog:
                await stop.wait()  # a container that has ended is never seen to be healthy, however well it ended
        log.report(PartStopped("told to stop" if stop.is_set() else "done"))
    return 0


async def by_leak(arguments: argparse.Namespace, reporter: Reporter, watchdog: Watchdog | None) -> None:
    """Lets the leak happen, then tries at every door what it gave."""
    leak = next(leak for leak in LEAKS if leak.id == arguments.leak)
    reporter.report(LeakSought(leak.id))
    doors = map(parse_door, arguments.door)
    haul = Haul(reporter, arguments.folder, leak, plan(arguments), doors, arguments.victim)
    collect = partial(_collect_on_network, watchdog) if watchdog else COLLECT[leak.id]
    await collect(arguments, haul, reporter)
    await haul.use()


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Works to the end, or until told to stop."""
    working, told = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not working.done():
        working.cancel()
    with suppress(asyncio.CancelledError):
        await working


@contextmanager
def _events(folder: Path) -> Iterator[EventLog]:
    """The event log; what the attacker cannot do is told there and then on stderr."""
    log = EventLog(folder, PART)
    try:
        yield log
    except (AttackerError, CaptureFileError) as error:
        log.report(Trouble(str(error)))
        raise BadInput(str(error)) from None
    finally:
        log.close()


def run() -> None:
    """Reads the call, sets the watchdog before anything else is begun, and runs."""

    async def bad_call() -> int:
        parser().parse_args()
        return 0

    try:
        arguments = parser().parse_args()
    except BadInput:
        run_part(PART, bad_call)
    on_network = arguments.leak == ARP or (arguments.leak == INTERCEPTION.id and arguments.arp)
    watchdog = start_watchdog() if on_network else None
    run_part(PART, partial(main, arguments, watchdog))


if __name__ == "__main__":
    run()
