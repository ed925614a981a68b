"""One attempt at a server of any kind, with what it answered."""

import asyncio
import time
from dataclasses import dataclass, field, replace

from attacker.moves.make import NotApplicable, Script
from attacker.moves.replay import Attempt, Course, carry_out, made, pointless, reported, unasked
from attacker.probe.answers import NO_TLS, Ending, ServerAnswer, answer_to
from attacker.probe.dialects import Dialect, closed_in_order
from attacker.probe.lines import DialectError, EndOfLine, Line
from attacker.probe.orders import Pace
from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import NOT_APPLICABLE
from lab.events.types import MoveTried, ServerAnswered
from lab.tls.client import Client
from lab.tls.sessions import Session, Session13
from lab.tls.streams import SocketConnection, TlsStream

READ_SIZE = 1 << 14
PAUSE_SECONDS = 1.0
"""Between an attempt and the same one again."""
ATTEMPTS, ATTEMPTS_WITH_A_MADE_UP_ONE = 2, 6
"""At most, of one that may end by an accident. Where a server on OpenSSL goes on with a client whose certificate has a
wrong signature, an error is left behind, which some take, now and then, for one of this connection or of the next."""


@dataclass
class Plain:
    """A Line without TLS."""

    connection: SocketConnection
    protocol = b""

    async def read(self) -> bytes:
        return await self.connection.read(READ_SIZE)

    async def write(self, data: bytes) -> None:
        self.connection.write(data)
        await self.connection.drain()


@dataclass
class Encrypted:
    """A Line over the lab's own TLS."""

    stream: TlsStream

    @property
    def protocol(self) -> bytes:
        engine = self.stream.engine
        return engine.protocol if isinstance(engine, Client) else b""

    async def read(self) -> bytes:
        return await self.stream.read()

    async def write(self, data: bytes) -> None:
        await self.stream.write(data)


@dataclass
class Questioning:
    """What is said on one connection, in one dialect, and what came of it."""

    dialect: Dialect
    said: ServerAnswer | None = None
    refused_to_begin: str = field(default="", init=False)

    async def prelude(self, connection: SocketConnection) -> None:
        """Before the handshake."""
        try:
            await self.dialect.before(Plain(connection))
        except DialectError as error:
            self.refused_to_begin = str(error)
            raise
        except EndOfLine:
            self.refused_to_begin = "it closed the connection before TLS began"
            raise

    async def ask(self, line: Line) -> None:
        """After the handshake: the dialect's question."""
        try:
            self.said = await self.dialect.ask(line)
        except EndOfLine:
            self.said = closed_in_order()
        except DialectError as error:
            self.said = ServerAnswer(Ending.UNREADABLE, "another answer", str(error))

    async def talk(self, stream: TlsStream) -> None:
        """Talk, for `carry_out`."""
        await self.ask(Encrypted(stream))

    def answer(self, course: Course) -> ServerAnswer:
        """What it amounts to."""
        if self.refused_to_begin:
            return ServerAnswer(Ending.FAILED, NO_TLS, self.refused_to_begin)
        return answer_to(course, self.said)


async def session_of(it: Attempt, script: Script, dialect: Dialect) -> Session | Session13:
    """Logs in as the script says: the session that the server gives. NotApplicable without one; OutOfScope."""
    exchange = Questioning(dialect)
    course = await carry_out(it, script, exchange.talk, exchange.prelude)
    answer, engine = exchange.answer(course), course.engine
    if answer.ending is not Ending.ANSWERED:
        raise NotApplicable(
            f"the attacker's own bundle does not get in at the other door, {it.server_name}: {answer.text}"
        )
    if not isinstance(engine, Client) or engine.session is None:
        raise NotApplicable(f"the other door, {it.server_name}, gave no session to resume")
    return engine.session


async def attempt_again(it: Attempt, script: Script, dialect: Dialect, pace: Pace) -> tuple[MoveTried, ServerAnswered]:
    """An attempt, and the same again where no connection came about, or one that the server ended at once or after the
    handshake without an answer, or left waiting from the beginning: that may be an accident, such as a restart. The
    last one counts. OutOfScope."""
    for number in range(1, _most_attempts(it.move) + 1):
        if number > 1:
            await asyncio.sleep(PAUSE_SECONDS)
        async with pace:
            tried, answer = await attempt(it, script, dialect)
        if not _may_be_an_accident(tried, answer):
            break
    return tried, replace(answer, attempts=number)


def _most_attempts(move_id: str) -> int:
    move = find_move(move_id)
    return ATTEMPTS_WITH_A_MADE_UP_ONE if move and move.shape.shows_a_made_up_one else ATTEMPTS


def _may_be_an_accident(tried: MoveTried, answer: ServerAnswered) -> bool:
    heard = any(sender == "server" for sender, _, _ in tried.steps)
    match answer.ending:
        case Ending.FAILED:
            return not tried.local
        case Ending.CLOSED:
            return answer.completed or not heard
        case Ending.SILENT:
            return not heard and not answer.made  # it was busy with another connection
        case _:
            return False


async def attempt(it: Attempt, script: Script, dialect: Dialect) -> tuple[MoveTried, ServerAnswered]:
    """Carries out a script and asks the dialect's question; whatever goes wrong is in the reports. OutOfScope."""
    began = time.perf_counter()
    exchange = Questioning(dialect)
    course = await carry_out(it, script, exchange.talk, exchange.prelude)
    milliseconds = round((time.perf_counter() - began) * 1000, 2)
    engine, answer = course.engine, exchange.answer(course)
    tried = replace(reported(it, script, course), milliseconds=milliseconds)
    if script.resume and (reason := pointless(engine, script)):
        tried = replace(tried, outcome=NOT_APPLICABLE, error=reason)
    return tried, ServerAnswered(
        move=it.move,
        tls=tried.tls,
        round=it.round,
        ending=answer.ending,
        kind=answer.kind,
        words=answer.words,
        content=answer.content,
        asked=not unasked(engine) or (isinstance(engine, Client) and engine.resumed),
        made=made(engine, script),
        completed=course.completed,
    )
