"""The attacker at a server that is not the bank's: `python -m attacker.probe`, told by standard input what to do.

The first line is the order, as JSON: see `Order`. The attacker then relays on loopback to the server, and reports
where. The second line says in which versions the certificate's owner has logged in through that relay; then she tries
her moves in these. Each event is a line on standard output. She never gets the owner's key.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from attacker.errors import AttackerError
from attacker.moves.make import MAKERS, Loot, NotApplicable
from attacker.moves.replay import Attempt, not_tried
from attacker.position.tcp_relay import Forward, TcpRelay
from attacker.probe.attempt import attempt
from attacker.probe.dialects import Dialect, Question, dialect_named
from attacker.probe.overheard import Overheard
from lab.address import Address
from lab.catalogue.leaks import WIRE
from lab.events.log import Recorded, to_line
from lab.events.types import Event, PositionTaken, Trouble
from lab.process import BadInput, run_part
from lab.tls.bundle import parse_bundle
from lab.tls.versions import Version, find_version

PART = "attacker"


@dataclass(frozen=True)
class Order:
    """What to do: the server, its name for the handshake, how it is spoken to, what to try, and how fast.

    `rate` is connections a second, `at_once` how many there may be at a time. `own` is the attacker's own bundle, in
    PEM, empty for none; `customer` is the name in the certificate.
    """

    target: Address
    server_name: str
    dialect: str
    question: Question
    moves: tuple[str, ...]
    versions: tuple[Version, ...]
    rate: float
    at_once: int
    customer: str
    chain: tuple[bytes, ...]
    own: str = ""

    def to_json(self) -> str:
        """One line."""
        question = self.question
        return json.dumps(
            {
                "target": list(self.target),
                "server_name": self.server_name,
                "dialect": self.dialect,
                "question": {**vars(question), "headers": list(question.headers), "send": question.send.hex()},
                "moves": self.moves,
                "versions": list(map(str, self.versions)),
                "rate": self.rate,
                "at_once": self.at_once,
                "customer": self.customer,
                "chain": [der.hex() for der in self.chain],
                "own": self.own,
            }
        )

    @classmethod
    def from_json(cls, line: str) -> "Order":
        """Reads it back; BadInput where it is none."""
        try:
            fields = json.loads(line)
            question = fields["question"]
            headers = tuple((str(name), str(value)) for name, value in question["headers"])
            versions = tuple(version for version in map(find_version, fields["versions"]) if version)
            return cls(
                **{
                    **fields,
                    "target": Address(*fields["target"]),
                    "question": Question(**{**question, "headers": headers, "send": bytes.fromhex(question["send"])}),
                    "moves": tuple(fields["moves"]),
                    "versions": versions,
                    "chain": tuple(map(bytes.fromhex, fields["chain"])),
                }
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"the order on standard input is not readable: {error}") from None


class Printer:
    """A Reporter that writes each event to standard output."""

    def __init__(self) -> None:
        self._sequence = 0

    def report(self, event: Event) -> None:
        self._sequence += 1
        sys.stdout.write(to_line(Recorded(PART, self._sequence, datetime.now(UTC), event)))
        sys.stdout.flush()


class Pace:
    """Lets connections begin no faster than `rate` a second and no more than `at_once` at a time."""

    def __init__(self, rate: float, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._pause = 1 / rate
        self._next = 0.0

    async def __aenter__(self) -> None:
        await self._places.acquire()
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + self._pause
        await asyncio.sleep(at - now)

    async def __aexit__(self, *_error: object) -> None:
        self._places.release()


async def probe(order: Order, read_line: Callable[[], str]) -> None:
    """The relay, then the attempts."""
    printer = Printer()
    dialect = dialect_named(order.dialect, order.question)
    own = parse_bundle(order.own.encode(), None, "the attacker's own bundle", None) if order.own else None
    with tempfile.TemporaryDirectory(prefix="certreplay-probe-") as folder:
        evidence = Overheard(printer, Path(folder))
        relay = TcpRelay(evidence.see)
        try:
            await relay.start([Forward(Address("127.0.0.1", 0), order.target)])
            printer.report(PositionTaken("relay", tuple(str(one.listen) for one in relay.forwards)))
            versions = (await asyncio.to_thread(read_line)).split()
        except AttackerError as error:
            printer.report(Trouble(str(error)))
            raise BadInput(str(error)) from None
        finally:
            await relay.close()
            evidence.close()
        order = replace(order, versions=tuple(one for one in order.versions if str(one) in versions))
        await _try(order, dialect, evidence.loot(order.chain, own), printer)


async def _try(order: Order, dialect: Dialect, loot: Loot, printer: Printer) -> None:
    pace = Pace(order.rate, order.at_once)

    async def one(move: str, version: Version) -> None:
        it = Attempt(move, version, order.target, order.server_name, order.customer, None, WIRE.id, loot.seen_at)
        try:
            script = MAKERS[move](loot, version)
        except NotApplicable as reason:
            printer.report(not_tried(it, str(reason)))
            return
        async with pace:
            tried, answer = await attempt(it, script, dialect)
            printer.report(tried)
            printer.report(answer)

    await asyncio.gather(*(one(move, version) for version in order.versions for move in order.moves))


async def main() -> int:
    """The part; its exit status."""
    order = Order.from_json(await asyncio.to_thread(sys.stdin.readline))
    await probe(order, sys.stdin.readline)
    return 0


if __name__ == "__main__":
    run_part("attacker.probe", main)
