"""The attacker: `python -m attacker LEAK …`, until told to stop or until the leak has given everything.

The wire leaks to `relay` on loopback and to `arp` on the lab's network; the other leaks go by their own names.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attacker.attempts import AT_ONCE
from attacker.call import Call, LeakCommand
from attacker.errors import AttackerError
from attacker.leak import files, interception, live_relay, rogue_server, wire
from attacker.position.watchdog import Watchdog, start_watchdog
from lab.capture.errors import CaptureFileError
from lab.catalogue.leaks import ARCHIVE, DATABASE, INTERCEPTION, LIVE_RELAY, LOG, REQUESTS, ROGUE_SERVER
from lab.catalogue.moves import LAB_MOVES
from lab.events.log import EventLog
from lab.events.types import DONE, TOLD_TO_STOP, PartStopped, Trouble
from lab.process import ArgumentParser, BadInput, run_part, stop_signal, until_told, whole_number
from lab.tls.versions import VERSION_NAMES

PART = "attacker"

COMMANDS: Mapping[str, LeakCommand] = {
    "relay": wire.RELAY,
    "arp": wire.ARP,
    INTERCEPTION.id: interception.COMMAND,
    LIVE_RELAY.id: live_relay.COMMAND,
    ROGUE_SERVER.id: rogue_server.COMMAND,
    **{leak.id: files.command(leak) for leak in (DATABASE, LOG, ARCHIVE, REQUESTS)},
}
"""How each leak happens, by its id; the wire's, by the attacker's position."""


def parser() -> ArgumentParser:
    """The command line."""
    it = ArgumentParser(prog="python -m attacker", description=__doc__)
    leaks = it.add_subparsers(dest="leak", required=True, metavar="LEAK")
    moves = [move.id for move in LAB_MOVES]
    for name, command in COMMANDS.items():
        leak = leaks.add_parser(name, help=command.help)
        command.add_arguments(leak)
        tell = f"what to try: {', '.join(moves)} (all)"
        leak.add_argument("--move", action="append", choices=moves, metavar="MOVE", help=tell)
        leak.add_argument(
            "--move-file", type=Path, action="append", default=[], metavar="FILE", help="a student's move; repeatable"
        )
        leak.add_argument("--tls", action="append", choices=VERSION_NAMES, help="a version to try it in (1.2)")
        number = whole_number(1, 1000)
        leak.add_argument("--rounds", type=number, default=1, metavar="N", help="how often to try it (%(default)s)")
        leak.add_argument("--at-once", type=number, default=AT_ONCE, metavar="N", help="attempts at once (%(default)s)")
        leak.add_argument("--bundle", type=Path, action="append", default=[], help="mallory's own, PEM; repeatable")
        tell = "another name of the servers, under which anybody may log in, as the bank's website says"
        leak.add_argument("--other-name", default="", metavar="NAME", help=tell)
        leak.add_argument("--source", default="", metavar="ADDRESS", help="come from this address of this machine")
        leak.add_argument("--part", default=PART, metavar="NAME", help="the name to report under (%(default)s)")
        leak.add_argument("--folder", type=Path, required=True, help="where everything goes")
        leak.add_argument("--tether", action="store_true", help="stop when standard input ends, too")
    return it


async def main(call: Call, command: LeakCommand) -> int:
    """The part; its exit status."""
    stop = call.stop
    if command.ends:
        await until_told(stop, command.run(call))
        if call.watchdog:
            await stop.wait()  # a container that has ended never counts as healthy
    else:
        await command.run(call)
    call.reporter.report(PartStopped(TOLD_TO_STOP if stop.is_set() else DONE))
    return 0


@contextmanager
def _events(folder: Path, part: str) -> Iterator[EventLog]:
    """The event log. It also gets the error that ends the attacker, before standard error does."""
    log = EventLog(folder, part)
    try:
        yield log
    except (AttackerError, CaptureFileError) as error:
        log.report(Trouble(str(error)))
        raise BadInput(str(error)) from None
    finally:
        log.close()


def run() -> None:
    """Reads the call, starts the watchdog before anything else, and runs."""

    async def bad_call() -> int:
        parser().parse_args()
        return 0

    try:
        arguments = parser().parse_args()
    except BadInput:
        run_part(PART, bad_call)
    command = COMMANDS[arguments.leak]
    watchdog: Watchdog | None = start_watchdog() if command.takes_network(arguments) else None

    async def begin() -> int:
        stop = stop_signal(arguments.tether)
        with _events(arguments.folder, arguments.part) as log:
            return await main(Call(arguments, log, stop, watchdog), command)

    run_part(PART, begin)


if __name__ == "__main__":
    run()
