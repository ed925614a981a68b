"""The move `prefix` in protocols with STARTTLS: a command in plaintext, right behind the one that begins TLS.

An attacker in between can put it into a client's connection. A server that keeps it and answers it once the handshake
is over takes it for the client's: what came before the proof counts as proved.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from attacker.probe.answers import ServerAnswer, answered
from attacker.probe.dialects import DIALECTS, QUIET_SECONDS, WHO_AM_I_REQUEST, Dialect, Question
from attacker.probe.lines import EndOfLine, Line, clean

TAKEN = "an answer to what came before the handshake"
DROPPED = "no answer to what came before the handshake"
PROTOCOL_VIOLATION = b"C08P01\0"
"""PostgreSQL ends the connection for it, with this SQLSTATE."""

_PREFIXES: Mapping[str, tuple[bytes, bytes]] = {
    "smtp": (b"STARTTLS\r\n", b"NOOP\r\n"),
    "imap": (b"a STARTTLS\r\n", b"x NOOP\r\n"),
    "pop3": (b"STLS\r\n", b"CAPA\r\n"),
    "ldap": (b"1.3.6.1.4.1.1466.20037", WHO_AM_I_REQUEST),
    "postgres": ((80877103).to_bytes(4, "big"), b"\0\0\0\x15\0\x03\0\0user\0prefix\0\0"),
}
"""By protocol, how the message ends that begins TLS, and what is put behind it: each is answered without a login."""


def prefixed(name: str, question: Question) -> "Prefixed | None":
    """The protocol of that name with such a command; None if nothing comes before TLS in it, or no command is known."""
    found = _PREFIXES.get(name)
    return Prefixed(DIALECTS[name](question), *found) if found else None


@dataclass(frozen=True)
class Prefixed:
    """A Dialect that puts `command` behind the message that ends with `begins`, and asks nothing more."""

    dialect: Dialect
    begins: bytes
    command: bytes

    async def before(self, line: Line) -> None:
        await self.dialect.before(_Stuffed(line, self.begins, self.command))

    async def ask(self, line: Line) -> ServerAnswer:
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                data = await line.read()
        except TimeoutError:
            return answered(DROPPED)
        if not data:
            raise EndOfLine
        if PROTOCOL_VIOLATION in data:
            return answered(DROPPED, clean(data.replace(b"\0", b" ")))
        return answered(TAKEN, clean(data.replace(b"\0", b" ")), data)


@dataclass(frozen=True)
class _Stuffed:
    line: Line
    begins: bytes
    command: bytes

    @property
    def protocol(self) -> bytes:
        return self.line.protocol

    async def read(self) -> bytes:
        return await self.line.read()

    async def write(self, data: bytes) -> None:
        await self.line.write(data + (self.command if data.endswith(self.begins) else b""))
