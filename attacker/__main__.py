"""`python -m attacker relay …` on loopback, `python -m attacker arp …` on the lab's network, until told to stop."""

import argparse
import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from attacker.capture import Tracker
from attacker.errors import AttackerError
from attacker.guard import Guard, stand_guard
from attacker.handshake import Capture, Contact
from attacker.moves import MOVES
from attacker.packets import host_port, segment
from attacker.raid import Plan, Raid
from attacker.relay import Forward, Relay
from attacker.wire_file import ETHERNET, CaptureFile
from lab.events import EventLog, PartStopped, PositionLeft, PositionTaken, Reporter, Trouble
from lab.parts import ArgumentParser, BadInput, run_part, stop_signal
from lab.tls.bundle import parse_bundle
from lab.tls.errors import BundleError
from lab.tls.versions import TLS12, TLS13

PART = "attacker"
VERSIONS = {"1.2": TLS12, "1.3": TLS13}
CAPTURE_FILE = "capture.pcapng"


class Eyes:
    """Everything that the attacker sees: written to the capture file first, then read like any other capture."""

    def __init__(self, file: CaptureFile, raid: Raid, reporter: Reporter) -> None:
        self._file = file
        self._raid = raid
        self._reporter = reporter
        self._tracker = Tracker()
        self._writing = True

    def see(self, time_ns: int, packet: bytes) -> None:
        """One packet, with the time it was seen in ns since 1970."""
        if self._writing:
            self._writing = self._write(time_ns, packet)
        seen = segment(ETHERNET, packet)
        if seen:
            self._tell(self._tracker.feed(time_ns, seen))

    def close(self) -> None:
        """Nothing more will be seen."""
        self._tell(self._tracker.finish())

    def _tell(self, found: Iterable[Capture | Contact]) -> None:
        for one in found:
            if isinstance(one, Capture):
                self._raid.take(one)
            else:
                self._raid.meet(one)

    def _write(self, time_ns: int, packet: bytes) -> bool:
        """Whether there is room for more."""
        try:
            if self._file.write(time_ns, packet):
                return True
            reason = "is full"
        except OSError as error:
            reason = str(error.strerror)
        self._reporter.report(Trouble(f"{CAPTURE_FILE}: {reason}; from here on nothing is written to it"))
        return False


async def relay(forwards: list[Forward], plan: Plan, log: EventLog, folder: Path, stop: asyncio.Event) -> None:
    """The position on loopback."""
    relayed: dict[str, tuple[str, int]] = {}
    raid = Raid(log, folder, "a TCP relay on loopback", relayed.__getitem__, plan)
    file = CaptureFile(folder / CAPTURE_FILE)
    eyes = Eyes(file, raid, log)
    position = Relay(eyes.see)
    try:
        await position.start(forwards)
        relayed |= {host_port(forward.listen): forward.target for forward in position.forwards}
        log.report(PositionTaken("relay", position.describe()))
        await stop.wait()
    finally:
        eyes.close()
        await raid.close()
        await position.close()
        file.close()
    log.report(PositionLeft("relay", ()))


async def arp(
    guard: Guard, client: str, server: str, plan: Plan, log: EventLog, folder: Path, stop: asyncio.Event
) -> None:
    """The position on the lab's network."""
    from attacker.arp import ArpPosition  # these two need scapy, and the relay need not wait for it
    from attacker.live import LiveLink

    position = ArpPosition(guard, client, server)
    raid = Raid(log, folder, f"{position.interface}, after ARP spoofing", _as_seen, plan)
    file = CaptureFile(folder / CAPTURE_FILE)
    link = LiveLink(position.interface, position.bpf_filter())
    eyes = Eyes(file, raid, log)
    link.watch(eyes.see)
    try:
        async with position:
            log.report(PositionTaken("arp", position.describe()))
            await position.hold(stop)
    finally:
        link.close()
        if link.lost:
            log.report(
                Trouble(f"{link.lost} of {link.packets} packets were lost: they came faster than they were read")
            )
        eyes.close()
        await raid.close()
        file.close()
    log.report(PositionLeft("arp", position.healed))


def _as_seen(server: str) -> tuple[str, int]:
    """On the network the attacker reaches a server under the very address that the victim does."""
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def parser() -> ArgumentParser:
    """The command line."""
    it = ArgumentParser(prog="python -m attacker", description=__doc__)
    moves = [move.id for move in MOVES]
    all_moves = f"{', '.join(moves)} (all)"
    positions = it.add_subparsers(dest="position", required=True, metavar="{relay,arp}")
    on_loopback = positions.add_parser("relay", help="between a client and a server on loopback")
    on_loopback.add_argument(
        "--forward", action="append", required=True, metavar="HOST:PORT=HOST:PORT", help="listen there, relay to there"
    )
    on_network = positions.add_parser("arp", help="between two hosts on the lab's network")
    on_network.add_argument("--client", required=True, metavar="HOST")
    on_network.add_argument("--server", required=True, metavar="HOST")
    for position in (on_loopback, on_network):
        position.add_argument(
            "--move", action="append", choices=moves, metavar="MOVE", help=f"what to try: {all_moves}"
        )
        position.add_argument("--tls", action="append", choices=VERSIONS, help="a version to try it in (1.2)")
        position.add_argument("--rounds", type=int, default=1, metavar="N", help="how often to try it (%(default)s)")
        position.add_argument("--bundle", type=Path, action="append", default=[], help="mallory's own, PEM; repeatable")
        position.add_argument("--folder", type=Path, required=True, help="where everything goes")
        position.add_argument("--tether", action="store_true", help="stop when standard input ends, too")
    return it


def plan(arguments: argparse.Namespace) -> Plan:
    """What the attacker is told to do; BadInput for a bundle that can't be used."""
    own = []
    for file in arguments.bundle:
        try:
            own.append(parse_bundle(file.read_bytes(), None, str(file), datetime.now(UTC)))
        except BundleError as error:
            raise BadInput(str(error)) from None
    return Plan(
        moves=tuple(move for move in MOVES if not arguments.move or move.id in arguments.move),
        versions=tuple(number for name, number in VERSIONS.items() if name in (arguments.tls or ["1.2"])),
        rounds=arguments.rounds,
        own=tuple(own),
    )


def forward(text: str) -> Forward:
    """Reads `127.0.0.1:40001=127.0.0.1:8441`; BadInput for anything else."""
    try:
        listen, target = text.split("=")
        return Forward(_as_seen(listen), _as_seen(target))
    except ValueError:
        raise BadInput(f"{text!r} is not HOST:PORT=HOST:PORT") from None


async def main(arguments: argparse.Namespace, guard: Guard | None) -> int:
    """The part; its exit status."""
    stop = stop_signal(arguments.tether)
    folder: Path = arguments.folder
    with _events(folder) as log:
        if guard:
            await arp(guard, arguments.client, arguments.server, plan(arguments), log, folder, stop)
        else:
            await relay([forward(text) for text in arguments.forward], plan(arguments), log, folder, stop)
        log.report(PartStopped("told to stop"))
    return 0


@contextmanager
def _events(folder: Path) -> Iterator[EventLog]:
    """The event log; what the attacker cannot do is told there and then on stderr."""
    log = EventLog(folder, PART)
    try:
        yield log
    except AttackerError as error:
        log.report(Trouble(str(error)))
        raise BadInput(str(error)) from None
    finally:
        log.close()


def run() -> None:
    """Reads the call, sets the guard before anything else is begun, and runs."""

    async def bad_call() -> int:
        parser().parse_args()
        return 0

    try:
        arguments = parser().parse_args()
    except BadInput:
        run_part(PART, bad_call)
    guard = stand_guard() if arguments.position == "arp" else None
    run_part(PART, partial(main, arguments, guard))


if __name__ == "__main__":
    run()
