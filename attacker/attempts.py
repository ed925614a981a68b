"""Attempts: all ordered moves at one server in one version."""

import asyncio
from dataclasses import dataclass, field, replace

from attacker.collected import common_name
from attacker.moves.make import MAKERS, Loot, Maker, NotApplicable, stolen_password
from attacker.moves.replay import Attempt, Transfer, attempt, not_tried, through_the_other_door
from attacker.moves.student import StudentMove
from attacker.passwords import FoundPassword
from lab.address import Address
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.leaks import LootKind
from lab.catalogue.moves import MOVES, STOLEN_PASSWORD, Move
from lab.events.log import Reporter
from lab.tls.bundle import Bundle
from lab.tls.extensions import OfferedPsk
from lab.tls.versions import TLS12, TLS13, Version

TRANSFER = Transfer("mallory", 100)
AT_ONCE = 8
"""How many attempts the attacker makes at once if not told."""


@dataclass(frozen=True)
class Orders:
    """What the attacker does at each server: which moves, in which versions, how many rounds.

    `at_once` is how many attempts she makes at once, at all servers together.
    `own` are mallory's own bundles, as a customer of the bank. `students` are moves of a student's, as far as they are
    among the `moves`.
    """

    moves: tuple[Move, ...] = MOVES
    versions: tuple[Version, ...] = (TLS12,)
    rounds: int = 1
    at_once: int = AT_ONCE
    own: tuple[Bundle, ...] = ()
    students: tuple[StudentMove, ...] = ()
    transfer: Transfer | None = TRANSFER
    source: str = ""
    """The address of this machine that she comes from; empty for any."""
    other_name: str = ""
    """Another name of the servers, under which anybody may log in; empty if none is known."""

    def maker(self, move: Move) -> Maker:
        """How a move is made."""
        return next((one.make for one in self.students if one.move == move), None) or MAKERS[move.id]

    def handshakes(self, version: Version) -> int:
        """How many handshakes of this version to wait for at a server that the attacker knows from the wire.

        TLS 1.3 encrypts the server's tickets, so only a client that comes again shows one (RFC 8446 section 4.2.11).
        """
        resumes = any(LootKind.SESSION in move.needs for move in self.moves)
        return 2 if version == TLS13 and resumes else 1


@dataclass
class OnTheWire:
    """What the wire showed of a server.

    `recorded` is what a client sent to it on one whole connection, by version. `handshakes13` is how many handshakes of
    TLS 1.3 were seen, and `ticket` the first ticket that a client offered in one.
    """

    recorded: dict[int, bytes] = field(default_factory=dict)
    handshakes13: int = 0
    ticket: OfferedPsk | None = None


@dataclass
class Destination:
    """A server to try: the address at which the attacker reaches it, and the server name for the handshake.

    `takes` is the kind of certificate that it takes, as the bank's website says or as the attacker saw there. On the
    wire the attacker sees more of a server: `seen_as` is its address there, `on_wire` what was seen. `takes_password`
    tells whether it asks for a name and a password.
    """

    address: Address
    name: str
    takes: CertificateKind = CertificateKind.FROM_CA
    seen_as: str = ""
    on_wire: OnTheWire | None = None
    takes_password: bool = False

    def is_ready(self, version: Version, handshakes: int) -> bool:
        """Whether attempts in this version can begin.

        A server that the attacker knows from the wire must have been seen there in that version, in TLS 1.3 with so
        many `handshakes`, and in TLS 1.2, which alone can show the certificate that the server wants.
        """
        if self.on_wire is None:
            return True
        seen = {TLS12, version} <= self.on_wire.recorded.keys()
        return seen and (version != TLS13 or self.on_wire.handshakes13 >= handshakes)


class AttemptRunner:
    """Makes the ordered moves with the loot of one leak, and reports the outcome of each attempt.

    The attempts begin in the order in which they were asked for.
    """

    def __init__(self, reporter: Reporter, leak: str, orders: Orders) -> None:
        self._reporter = reporter
        self._leak = leak
        self._orders = orders
        self._turns = asyncio.Semaphore(orders.at_once)

    async def everything(self, destination: Destination, version: Version, loot: Loot) -> None:
        """All moves, round by round."""
        for round_ in range(1, self._orders.rounds + 1):
            await asyncio.gather(*(self.one(destination, version, loot, move, round_) for move in self._orders.moves))

    async def one(self, destination: Destination, version: Version, loot: Loot, move: Move, round_: int = 1) -> None:
        """One move, once."""
        it = Attempt(
            move=move.id,
            version=version,
            target=destination.address,
            server_name=destination.name,
            victim=common_name(loot.chain[0]),
            transfer=self._orders.transfer,
            leak=self._leak,
            seen_at=loot.seen_at,
            round=round_,
            source=self._orders.source,
        )
        try:
            script = self._orders.maker(move)(loot, version)
        except Exception as reason:  # NotApplicable, or a parser's error if the certificate is badly formed
            self._reporter.report(not_tried(it, str(reason)))
            return
        async with self._turns:
            try:
                script = await through_the_other_door(it, script)
            except NotApplicable as reason:
                self._reporter.report(replace(not_tried(it, str(reason)), local=reason.local))
                return
            self._reporter.report(await attempt(it, script))

    async def log_in(self, destination: Destination, version: Version, found: FoundPassword) -> None:
        """Once with a name and what was found of its password."""
        it = Attempt(
            move=STOLEN_PASSWORD,
            version=version,
            target=destination.address,
            server_name=destination.name,
            victim=found.name,
            transfer=self._orders.transfer,
            leak=self._leak,
            seen_at=found.seen_at,
            source=self._orders.source,
        )
        async with self._turns:
            self._reporter.report(await attempt(it, stolen_password(found.name, found.password, version)))
