"""The parts that messages are made of (RFC 5246 section 4), and how a message is cut into them, every byte of it.

`lab.tls.layouts` says with these parts what each message looks like.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from lab.tls.errors import DecodeError
from lab.tls.names import named


@dataclass(frozen=True)
class Field:
    """Consecutive bytes of a message: where they begin in it, the RFC's name for them, and one phrase about them.

    `name` is empty for bytes that could not be read.
    """

    at: int
    octets: bytes
    name: str
    meaning: str


class Cursor:
    """A place in some bytes, and the fields found up to there. DecodeError for a field that goes beyond `end`."""

    def __init__(self, data: bytes, at: int, end: int, found: list[Field], whole_certificates: bool) -> None:
        self.data, self.at, self.end = data, at, end
        self.found = found
        self.whole_certificates = whole_certificates

    @property
    def left(self) -> int:
        """The number of bytes not yet read."""
        return self.end - self.at

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer where there are fewer."""
        return self.data[self.at : min(self.at + size, self.end)]

    def take(self, size: int, name: str, meaning: Callable[[bytes], str]) -> bytes:
        """The next field; one of no bytes is none."""
        if size > self.left:
            raise DecodeError(f"{name} is cut off, {size - self.left} bytes short")
        octets = self.data[self.at : self.at + size]
        if octets:
            self.found.append(Field(self.at, octets, name, meaning(octets)))
        self.at += size
        return octets

    def within(self, size: int, name: str, read: Callable[["Cursor"], object]) -> None:
        """Reads what is in the next `size` bytes, or in all that are left. What cannot be read in there is a field
        too, and nothing behind it is lost."""
        end = min(self.at + size, self.end)
        inner = Cursor(self.data, self.at, end, self.found, self.whole_certificates)
        try:
            read(inner)
            why = f"{sized(inner.left)} too many for {name}"
        except DecodeError as error:
            why = f"unreadable: {error}"
        inner.take(inner.left, "", lambda _: why)
        self.at = end

    def sized(self, size: int, width: int) -> str:
        """A length in words, and how much of that is missing after the length itself, `width` bytes wide."""
        missing = size - (self.left - width)
        return f"{sized(size)}, {missing} of them missing" if missing > 0 else sized(size)


class Component(Protocol):
    """Something that messages have."""

    def read(self, cursor: Cursor) -> None:
        """Takes the part's fields."""
        ...


Structure: TypeAlias = Sequence[Component]


def read_all(structure: Structure, cursor: Cursor) -> None:
    """One part after another."""
    for component in structure:
        component.read(cursor)


@dataclass(frozen=True)
class Number:
    """An unsigned number, `width` bytes wide: its name if `names` has it, or what `say` says of it."""

    name: str
    width: int
    names: Mapping[int, str] = field(default_factory=dict)
    say: Callable[[int], str] | None = None
    bare: bool = False
    """Whether its value says enough, without its name in front."""

    def read(self, cursor: Cursor) -> None:
        cursor.take(self.width, self.name, self._meaning)

    def _meaning(self, octets: bytes) -> str:
        number = int.from_bytes(octets, "big")
        said = self.say(number) if self.say else named(self.names, number, self.width)
        return said if self.bare else f"{self.name}: {said}"


@dataclass(frozen=True)
class Opaque:
    """Bytes without parts, `size` of them or all that are left; `meaning` is a phrase, or makes one of them."""

    name: str
    meaning: str | Callable[[bytes], str]
    size: int | None = None

    def read(self, cursor: Cursor) -> None:
        meaning = self.meaning
        size = cursor.left if self.size is None else self.size
        cursor.take(size, self.name, meaning if callable(meaning) else lambda _: meaning)


@dataclass(frozen=True)
class Vector:
    """A length of `width` bytes, and then as many bytes: `of` once, or again and again where `many`."""

    name: str
    width: int
    of: Structure
    many: bool = False
    called: str = ""
    """What the length is said to be of, instead of the name."""

    def read(self, cursor: Cursor) -> None:
        def meaning(octets: bytes) -> str:
            return f"{self.called or self.name}, {cursor.sized(int.from_bytes(octets, 'big'), self.width)}"

        size = int.from_bytes(cursor.take(self.width, f"{self.name}'s length", meaning), "big")
        cursor.within(size, self.name, self._content)

    def _content(self, inner: Cursor) -> None:
        while inner.left:
            read_all(self.of, inner)
            if not self.many:
                return


def sized(octets: int) -> str:
    """A number of bytes in words."""
    return "empty" if not octets else f"{octets} byte{'s' if octets > 1 else ''}"
