"""The attacker at a server that is not the bank's: `python -m attacker.probe`, told by standard input what to do.

The first line is the order, as JSON: see `Order`. The attacker then relays on loopback to the server, and reports
where. The second line says in which versions the certificate's owner has logged in through that relay; then she tries
her moves in these. Each event is a line on standard output. She never gets the owner's key.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from attacker.errors import AttackerError
from attacker.moves.make import MAKERS, Loot, OtherDoor, Script
from attacker.moves.replay import Attempt, not_tried
from attacker.position.tcp_relay import Forward, TcpRelay
from attacker.probe.attempt import attempt_again, session_of
from attacker.probe.dialects import DIALECTS, HTTP
from attacker.probe.orders import Order, Pace, Target
from attacker.probe.overheard import Overheard
from lab.address import Address
from lab.catalogue.leaks import WIRE
from lab.events.log import Recorded, to_line
from lab.events.types import Event, PositionTaken, Trouble
from lab.process import BadInput, run_part
from lab.tls.bundle import parse_bundle
from lab.tls.versions import Version

PART = "attacker"
NO_HEADERS = "this protocol has no headers"


class Printer:
    """A Reporter that writes each event to standard output."""

    def __init__(self) -> None:
        self._sequence = 0

    def report(self, event: Event) -> None:
        self._sequence += 1
        sys.stdout.write(to_line(Recorded(PART, self._sequence, datetime.now(UTC), event)))
        sys.stdout.flush()


async def probe(order: Order, read_line: Callable[[], str]) -> None:
    """The relay, then the attempts."""
    printer, target = Printer(), order.target
    own = parse_bundle(order.own.encode(), None, "the attacker's own bundle", None) if order.own else None
    with tempfile.TemporaryDirectory(prefix="certreplay-probe-") as folder:
        evidence = Overheard(printer, Path(folder))
        relay = TcpRelay(evidence.see)
        try:
            await relay.start([Forward(Address("127.0.0.1", 0), target.address)])
            printer.report(PositionTaken("relay", tuple(str(one.listen) for one in relay.forwards)))
            versions = (await asyncio.to_thread(read_line)).split()
        except AttackerError as error:
            printer.report(Trouble(str(error)))
            raise BadInput(str(error)) from None
        finally:
            await relay.close()
            evidence.close()
        target = replace(target, versions=tuple(one for one in target.versions if str(one) in versions))
        door = OtherDoor(target.other_name, own) if target.other_name and own else None
        loot = replace(evidence.loot(order.chain, own), other_door=door)
        await _try(target, order.customer, loot, printer)


async def _try(target: Target, customer: str, loot: Loot, printer: Printer) -> None:
    pace = Pace(target.rate, target.at_once)

    async def through_the_other_door(it: Attempt, script: Script) -> Script:
        assert script.elsewhere
        door = Address(target.address.host, target.other_port or target.address.port)
        question = replace(target.question, host=str(Address(target.other_name, door.port)))
        there = replace(it, target=door, server_name=target.other_name)
        async with pace:
            session = await session_of(there, script.elsewhere, DIALECTS[target.dialect](question))
        return replace(script, resume=session)

    async def one(move: str, version: Version) -> None:
        it = Attempt(
            move,
            version,
            target.address,
            target.server_name,
            customer,
            leak=WIRE.id,
            seen_at=loot.seen_at,
            protocols=target.protocols,
        )
        try:
            script = MAKERS[move](loot, version)
            if script.elsewhere:
                script = await through_the_other_door(it, script)
        except Exception as reason:  # NotApplicable, or a parser's error if the certificate is badly formed
            printer.report(not_tried(it, str(reason)))
            return
        if script.spellings and target.dialect != HTTP:
            printer.report(not_tried(it, NO_HEADERS))
            return
        for number, said in enumerate(script.spellings or ((),), start=1):
            question = replace(target.question, headers=target.question.headers + said)
            one_way = replace(script, spellings=(said,) if said else ())
            dialect = DIALECTS[target.dialect](question)
            tried, answer = await attempt_again(replace(it, round=number), one_way, dialect, pace)
            printer.report(tried)
            printer.report(answer)

    await asyncio.gather(*(one(move, version) for version in target.versions for move in target.moves))


async def main() -> int:
    """The part; its exit status."""
    order = Order.from_json(await asyncio.to_thread(sys.stdin.readline))
    await probe(order, sys.stdin.readline)
    return 0


if __name__ == "__main__":
    run_part("attacker.probe", main)
