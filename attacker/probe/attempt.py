"""One attempt at a server of any kind, with what it answered."""

import asyncio
import time
from dataclasses import dataclass, field, replace

from attacker.moves.make import Script
from attacker.moves.replay import Attempt, Course, carry_out, made, pointless, reported
from attacker.probe.answers import HANDSHAKE, Ending, ServerAnswer, answer_to, answered
from attacker.probe.dialects import Dialect, DialectError, EndOfLine, Line, Raw, closed_in_order
from lab.catalogue.outcomes import NOT_APPLICABLE
from lab.events.types import MoveTried, ServerAnswered
from lab.tls.client import Client
from lab.tls.streams import SocketConnection

QUIET_SECONDS = 1.0
"""How long a handshake has to stand, where nothing is spoken above it, to count as complete: a server may check the
client after its own end of the handshake (RFC 8446 section 4.4)."""
READ_SIZE = 1 << 14


@dataclass
class Plain:
    """A Line without TLS."""

    connection: SocketConnection

    async def read(self) -> bytes:
        return await self.connection.read(READ_SIZE)

    async def write(self, data: bytes) -> None:
        self.connection.write(data)
        await self.connection.drain()


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
        quiet = isinstance(self.dialect, Raw) and not self.dialect.question.send
        try:
            if not quiet:
                self.said = await self.dialect.ask(line)
                return
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    self.said = await self.dialect.ask(line)
            except TimeoutError:
                self.said = answered(HANDSHAKE, f"and no alert within {QUIET_SECONDS:g} s")
        except EndOfLine:
            self.said = closed_in_order()
        except DialectError as error:
            self.said = answered("another answer", str(error))

    def answer(self, course: Course) -> ServerAnswer:
        """What it amounts to."""
        if self.refused_to_begin:
            return ServerAnswer(Ending.FAILED, "no TLS", self.refused_to_begin)
        return answer_to(course, self.said)


async def attempt(it: Attempt, script: Script, dialect: Dialect) -> tuple[MoveTried, ServerAnswered]:
    """Carries out a script and asks the dialect's question; whatever goes wrong is in the reports. OutOfScope."""
    began = time.perf_counter()
    exchange = Questioning(dialect)
    course = await carry_out(it, script, exchange.ask, exchange.prelude)
    milliseconds = round((time.perf_counter() - began) * 1000, 2)
    engine, answer = course.engine, exchange.answer(course)
    tried = replace(reported(it, script, course), milliseconds=milliseconds)
    if script.resume and (reason := pointless(engine, script)):
        tried = replace(tried, outcome=NOT_APPLICABLE, error=reason)
    asked = not (isinstance(engine, Client) and engine.version is not None and engine.request is None)
    return tried, ServerAnswered(
        move=it.move,
        tls=tried.tls,
        round=it.round,
        ending=answer.ending,
        kind=answer.kind,
        words=answer.words,
        content=answer.content,
        asked=asked or (isinstance(engine, Client) and engine.resumed),
        made=made(engine, script),
        completed=course.completed,
    )
