"""Blocks on a terminal: colours for meanings, no wider than a projector shows, plain where it is piped.

Each text is made safe here, and nowhere else: names in certificates are whatever their issuer wrote. rich is imported
by what needs it, so that a command that prints nothing does not wait for it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.document import (
    Block,
    Break,
    Column,
    Compared,
    Comparison,
    Exchange,
    Facts,
    Heading,
    Inline,
    Items,
    Octets,
    Paragraph,
    Section,
    Span,
    Table,
    plain,
    spans,
)
from lab.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable
    from rich.padding import Padding
    from rich.table import Table as Grid
    from rich.text import Text

WIDTH = 110
STYLES = {
    "accepted": "red",
    "refused": "green",
    "finding": "bold yellow",
    "warning": "yellow",
    "holds": "green",
    "fails": "red",
    "conditional": "yellow",
    "aside": "dim",
}
"""How each meaning is shown; those that are missing are plain."""
FIELD_OCTETS, FIELD_LINES = 16, 3
"""How many bytes of a field stand on a line, and how many lines of them are shown."""
MESSAGE_OCTETS, MESSAGE_LINES = 24, 3
COMPARED_OCTETS = 32
INDENT = 2
GAP = 2
WHOLE = ("name", "outcome")
"""The kinds of columns that are not broken as long as the others have room, each for NARROWEST characters."""
NARROWEST = 12


class Terminal:
    """Standard output, for blocks; `quiet` shows nothing. With `all_bytes` long messages are shown whole."""

    def __init__(self, quiet: bool = False, all_bytes: bool = False, console: "Console | None" = None) -> None:
        self._quiet = quiet
        self._all_bytes = all_bytes
        self._console = console
        self._started = False

    def show(self, blocks: Iterable[Block]) -> None:
        """Prints blocks, each as soon as it comes."""
        if self._quiet:
            return
        for block in blocks:
            if isinstance(block, Break) and not self._started:
                continue
            if self._console is None:
                self._console = new_console()
            lines = list(render(block, self._all_bytes))
            if self._started and isinstance(block, Section) and block.kind == "chapter":
                lines.insert(0, _text(""))
            _print_trimmed(self._console, lines)
            self._started = True


def show(blocks: Iterable[Block], all_bytes: bool = False) -> None:
    """Prints blocks on standard output."""
    Terminal(all_bytes=all_bytes).show(blocks)


def new_console() -> "Console":
    """Standard output, no wider than a projector shows."""
    from rich.console import Console

    class OutputConsole(Console):
        def on_broken_pipe(self) -> None:
            """Raises what rich would turn into status 1, which is a verdict's here."""
            raise

    console = OutputConsole(highlight=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def _print_trimmed(console: "Console", lines: "Iterable[ConsoleRenderable]") -> None:
    """Prints without the blanks that rich fills lines up with, so that what is piped is plain."""
    with console.capture() as captured:
        for line in lines:
            console.print(line)
    for printed in captured.get().splitlines():
        console.out(printed.rstrip(), highlight=False)


def render(block: Block, all_bytes: bool = False) -> "Iterator[ConsoleRenderable]":
    """A block as rich shows it."""
    match block:
        case Heading(text):
            yield _text(text, "bold")
        case Paragraph(text):
            yield _text(text)
        case Items(items):
            yield from (_text(("  ", *spans(item))) for item in items)
        case Break():
            yield _text("")
        case Facts(rows):
            yield _facts(rows)
        case Table():
            yield _FittedTable(block)
        case Octets():
            yield _octets(block, all_bytes)
        case Exchange(messages):
            for message in messages:
                yield from _message(message, all_bytes)
        case Comparison():
            yield _comparison(block, all_bytes)
        case Section():
            yield from _section(block, all_bytes)


def _section(section: Section, all_bytes: bool) -> "Iterator[ConsoleRenderable]":
    yield _text(section.title, "bold" if section.kind == "chapter" else "")
    for block in section.blocks:
        for line in render(block, all_bytes):
            yield _indented(line)
    if section.kind == "entry":
        yield _text("")


def _text(text: Inline, style: str = "") -> "Text":
    from rich.text import Text

    pieces = ((printable(span.text), f"{style} {_style(span)}".strip()) for span in spans(text))
    return Text.assemble(*pieces, no_wrap=False, overflow="fold")


def _style(span: Span) -> str:
    return f"{'bold ' if span.strong else ''}{STYLES.get(span.meaning, '')}"


def _indented(line: "ConsoleRenderable", columns: int = INDENT) -> "Padding":
    from rich.padding import Padding

    return Padding(line, (0, 0, 0, columns))


def _grid(headings: bool = True) -> "Grid":
    """A table without lines."""
    from rich.table import Table as Grid

    if not headings:
        return Grid.grid(padding=(0, GAP, 0, 0))
    return Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")


def _facts(rows: tuple[tuple[str, Inline], ...]) -> "Grid":
    grid = _grid(headings=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(_text(name), _text(value))
    return grid


@dataclass(frozen=True)
class _FittedTable:
    """A table whose names stay whole wherever the other columns then have room, and are folded where they have not."""

    table: Table

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Grid]":
        grid = _grid(any(column.heading for column in self.table.columns))
        whole = self._needs() <= options.max_width
        for column in self.table.columns:
            grid.add_column(
                _lines(*_heading(column)),
                justify="right" if column.kind == "number" else "left",
                no_wrap=whole and column.kind in WHOLE,
                overflow="fold",
            )
        for row in self.table.rows:
            grid.add_row(*map(_text, row))
        yield grid

    def _needs(self) -> int:
        """The width from which on names can stay whole."""
        widths = GAP * (len(self.table.columns) - 1)
        for number, column in enumerate(self.table.columns):
            longest = max(map(len, (*_heading(column), *(plain(row[number]) for row in self.table.rows))))
            widths += longest if column.kind in WHOLE else min(longest, NARROWEST)
        return widths


def _heading(column: Column) -> list[str]:
    heading = column.heading
    if column.kind == "outcome":
        heading = heading.replace("-", "-\n").replace("@", "\n@")
    return heading.split("\n")


def _lines(*lines: str) -> "Text":
    from rich.text import Text

    return Text("\n".join(map(printable, lines)))


def _octets(message: Octets, all_bytes: bool) -> "Padding":
    """Bytes and what they mean, side by side; of a long field the beginning."""
    grid = _grid(headings=False)
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(overflow="fold")
    for field in message.fields:
        lines = _hex_lines(field.octets, FIELD_OCTETS)
        shown = lines if all_bytes else lines[:FIELD_LINES]
        for number, line in enumerate(shown):
            grid.add_row(line, _text("" if number else field.meaning))
        left = len(field.octets) - FIELD_OCTETS * len(shown)
        if left > 0:
            grid.add_row(f"... and {left} bytes more", "")
    return _indented(grid)


def _message(message: Octets, all_bytes: bool) -> "Iterator[ConsoleRenderable]":
    """Which way it went, and its bytes: of a long one the beginning, or all of them, field by field."""
    from rich.text import Text

    how = Span(", encrypted" if message.encrypted else ", in plaintext", "aside")
    yield _text((Span("--> " if message.sender == "client" else "<-- ", "aside"), message.summary, how))
    if all_bytes:
        yield _indented(_fields(message))
        return
    lines = _hex_lines(message.octets, MESSAGE_OCTETS)
    shown = lines[:MESSAGE_LINES]
    left = len(message.octets) - MESSAGE_OCTETS * len(shown)
    more = [f"... and {left} bytes more (--all-bytes)"] if left > 0 else []
    yield _indented(Text("\n".join([*shown, *more]), "cyan", no_wrap=True), 2 * INDENT)


def _fields(message: Octets) -> "Grid":
    """Each field: where it begins, its bytes, and what they mean."""
    grid = _grid(headings=False)
    grid.add_column(justify="right", style="dim", no_wrap=True)
    grid.add_column(style="cyan")
    grid.add_column(overflow="fold")
    for field in message.fields:
        grid.add_row(str(field.at), "\n".join(_hex_lines(field.octets, FIELD_OCTETS)), _text(field.meaning))
    return grid


def _hex_lines(octets: bytes, a_line: int) -> list[str]:
    return [octets[at : at + a_line].hex(" ") for at in range(0, len(octets), a_line)]


def _comparison(comparison: Comparison, all_bytes: bool) -> "Grid":
    grid = _grid()
    for heading in comparison.headings:
        grid.add_column(_text(heading), overflow="fold")
    for row in comparison.rows:
        values = (_value(value, row, all_bytes) for value in (row.left, row.right))
        grid.add_row(_lines(row.label, *([row.remark] if row.remark else [])), *values)
    return grid


def _value(value: bytes | Inline | None, row: Compared, whole: bool) -> "Text":
    """Bytes from the first that differs on, all of them or as many as a reader likes to see."""
    if not isinstance(value, bytes | None):
        return _text(value)
    if not value:
        return _text("not there" if value is None else "empty")
    start = 0 if whole else row.alike
    shown = value[start:] if whole else value[start : start + COMPARED_OCTETS]
    if len(shown) == len(value):
        return _text(shown.hex())
    before = f"after {start} bytes alike: " if start else ""
    return _text(f"{before}{shown.hex()}... ({len(value)} bytes)")
