"""The lines that the dialects speak over, and what they have in common on them."""

from dataclasses import dataclass
from typing import Protocol

MAX_ANSWER = 1 << 18


class DialectError(Exception):
    """The server does not speak as this dialect has it; the text says what it said."""


class EndOfLine(Exception):
    """The server closed the connection in an orderly way before it answered."""


class Line(Protocol):
    """A connection that bytes go over, encrypted or not. `read` returns b"" at its end."""

    @property
    def protocol(self) -> bytes:
        """What the server chose to speak (RFC 7301); empty if it chose nothing."""
        ...

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


@dataclass
class AnswerReader:
    """Reads lines and counted bytes from a Line."""

    line: Line
    unread: bytes = b""

    async def more(self) -> None:
        """Reads once; EndOfLine at the end, DialectError for an answer that is too long."""
        data = await self.line.read()
        if not data:
            raise EndOfLine
        self.unread += data
        if len(self.unread) > MAX_ANSWER:
            raise DialectError(f"the answer is longer than {MAX_ANSWER} bytes")

    async def until(self, end: bytes) -> bytes:
        """Everything up to and with `end`."""
        while end not in self.unread:
            await self.more()
        at = self.unread.index(end) + len(end)
        found, self.unread = self.unread[:at], self.unread[at:]
        return found

    async def exactly(self, count: int) -> bytes:
        while len(self.unread) < count:
            await self.more()
        found, self.unread = self.unread[:count], self.unread[count:]
        return found


def clean(octets: bytes, length: int = 120) -> str:
    """Bytes of the server's as one line."""
    return " ".join(octets.decode("utf-8", "backslashreplace").split())[:length]
