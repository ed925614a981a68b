"""What the lab says, as data: blocks. A view renders them for a terminal, a page or a file.

Blocks carry meaning and no layout: no widths, no colours, no line breaks. Their texts are raw, as a certificate or a
peer gave them; each view makes them safe for the place where it shows them.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Meaning: TypeAlias = Literal["", "accepted", "refused", "finding", "warning", "holds", "fails", "conditional", "aside"]
"""What a piece of text stands for: `accepted` and `refused` for outcomes; `holds`, `fails` and `conditional` for the
verdicts on claims; `finding` for what differs from theory; `aside` for what matters less."""


@dataclass(frozen=True)
class Span:
    """A piece of text with one meaning."""

    text: str
    meaning: Meaning = ""
    strong: bool = False


Inline: TypeAlias = str | Span | tuple[str | Span, ...]
"""The text of a line, a cell or a paragraph."""


@dataclass(frozen=True)
class Heading:
    """A heading that encloses nothing; level 1 is the document's own."""

    text: Inline
    level: Literal[1, 2] = 2


@dataclass(frozen=True)
class Paragraph:
    """One or more sentences."""

    text: Inline


@dataclass(frozen=True)
class Items:
    """Items, a line each."""

    items: tuple[Inline, ...]


@dataclass(frozen=True)
class Break:
    """A pause: what follows is about something else."""


@dataclass(frozen=True)
class Facts:
    """Names and their values. An empty name means that the value goes on with the one before."""

    rows: tuple[tuple[str, Inline], ...]


@dataclass(frozen=True)
class Column:
    """A table's column.

    `text` is words; `name` identifiers, which stay whole; `number` numbers; `outcome` a word or two below an
    identifier.
    """

    heading: str
    kind: Literal["text", "name", "number", "outcome"] = "text"


@dataclass(frozen=True)
class Table:
    """Rows of cells below headings, or without headings where all of them are empty."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Inline, ...], ...]


@dataclass(frozen=True)
class ByteField:
    """Consecutive bytes of a message, where they begin in it, and one phrase about them, empty where none is known.

    `name` is the RFC's for these bytes, where it has one.
    """

    at: int
    octets: bytes
    meaning: str = ""
    name: str = ""


@dataclass(frozen=True)
class Octets:
    """A message of a handshake, every byte of it.

    `message` is its name and `summary` the same with its size or number; `sender` is `client` or `server`. `encrypted`
    tells how it crossed the wire.
    """

    message: str
    sender: str
    encrypted: bool
    fields: tuple[ByteField, ...]
    summary: str = ""

    @property
    def octets(self) -> bytes:
        """All of its bytes."""
        return b"".join(field.octets for field in self.fields)


@dataclass(frozen=True)
class Exchange:
    """The messages of both sides, in their order."""

    messages: tuple[Octets, ...]


@dataclass(frozen=True)
class Compared:
    """Two values that should be the same: bytes, None where there is no such thing, or words.

    `note` says more about what they are; `at` is where the message that has them begins on either side, in bytes.
    """

    label: str
    left: bytes | Inline | None
    right: bytes | Inline | None
    note: str = ""
    at: tuple[int, int] | None = None

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        return self.left != self.right

    @property
    def alike(self) -> int:
        """How many bytes the two have in common before they differ; 0 where they don't, or where they are no bytes."""
        if not (isinstance(self.left, bytes) and isinstance(self.right, bytes) and self.differs):
            return 0
        pairs = enumerate(zip(self.left, self.right, strict=False))
        return next((at for at, (one, other) in pairs if one != other), min(len(self.left), len(self.right)))

    @property
    def remark(self) -> str:
        """What is said besides the label; empty for nothing."""
        return f"message at byte {self.at[0]} / {self.at[1]}" if self.at else self.note


@dataclass(frozen=True)
class Comparison:
    """Two columns of values, label by label."""

    headings: tuple[str, str, str]
    rows: tuple[Compared, ...]


@dataclass(frozen=True)
class Section:
    """Blocks below a title: a `chapter`, an `entry` of a list of like things, or a `point` within one of these.

    A `brief` one is a chapter in short: one paragraph, which its title begins.
    """

    title: Inline
    blocks: "tuple[Block, ...]"
    kind: Literal["chapter", "entry", "point", "brief"] = "chapter"


Block: TypeAlias = Heading | Paragraph | Items | Break | Facts | Table | Octets | Exchange | Comparison | Section


def facts(*rows: tuple[str, Inline]) -> Facts:
    """Names and their values."""
    return Facts(rows)


def columns(*headings: str) -> tuple[Column, ...]:
    """Columns of words."""
    return tuple(map(Column, headings))


def plain(text: Inline) -> str:
    """A text without its meanings."""
    return "".join(span.text for span in spans(text))


def spans(text: Inline) -> tuple[Span, ...]:
    """A text's pieces."""
    pieces = text if isinstance(text, tuple) else (text,)
    return tuple(Span(piece) if isinstance(piece, str) else piece for piece in pieces)
