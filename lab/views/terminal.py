"""Blocks on a terminal: colours for meanings, no wider than a projector shows, plain where it is piped.

Each text is made safe here, and nowhere else: names in certificates are whatever their issuer wrote. rich is imported
by what needs it, so that a command that prints nothing does not wait for it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from lab.decimals import decimal
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
LEAST_WIDTH = 20
WIDTH_VARIABLE = "CERTREPLAY_WIDTH"
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
NARROWER_OCTETS = (16, 8, 4, 2, 1)
"""How many bytes stand on a line where there is no room for more."""
BESIDE_OCTETS = 18
"""The width for what bytes mean, at least."""
COMPARED_OCTETS = 32
LEAST_COLUMN = 10
"""The width that a table's column needs, on average and with the gap, to be readable."""
INDENT = 2
GAP = 2
WHOLE = ("name", "outcome")
"""The kinds of columns that are not broken as long as the others have room, each for NARROWEST characters."""
NARROWEST = 12


class WidthError(Exception):
    """A width that nothing can be shown in; the text says where it was given and what to do."""


class Terminal:
    """Standard output, for blocks; `quiet` shows nothing. With `all_bytes` long messages are shown whole.

    `prefix` is how many columns somebody else will put in front of each line.
    """

    def __init__(
        self, quiet: bool = False, all_bytes: bool = False, console: "Console | None" = None, prefix: int = 0
    ) -> None:
        self._quiet = quiet
        self._all_bytes = all_bytes
        self._console = console
        self._prefix = prefix
        self._started = False

    def show(self, blocks: Iterable[Block]) -> None:
        """Prints blocks, each as soon as it comes."""
        if self._quiet:
            return
        for block in blocks:
            if isinstance(block, Break) and not self._started:
                continue
            if self._console is None:
                self._console = new_console(self._prefix)
            lines = list(render(block, self._all_bytes))
            if self._started and isinstance(block, Section) and block.kind == "chapter":
                lines.insert(0, _text(""))
            _print_trimmed(self._console, lines)
            self._started = True


def show(blocks: Iterable[Block], all_bytes: bool = False) -> None:
    """Prints blocks on standard output."""
    Terminal(all_bytes=all_bytes).show(blocks)


def new_console(prefix: int = 0) -> "Console":
    """Standard output, as wide as its terminal and no wider than a projector shows, or as CERTREPLAY_WIDTH says."""
    console = _console()
    console.width = _width(os.environ, console.width if console.is_terminal else WIDTH, prefix)
    return console


def recording_console(file: IO[str], width: int) -> "Console":
    """A terminal of this width that has colours, whatever the environment says."""
    return _console(file=file, width=width, force_terminal=True, color_system="standard", no_color=False, _environ={})


def _console(**options: object) -> "Console":
    from rich.console import Console

    class OutputConsole(Console):
        def on_broken_pipe(self) -> None:
            """Raises what rich would turn into status 1, which is a verdict's here."""
            raise

    return OutputConsole(highlight=False, **options)  # type: ignore[arg-type]


def _width(environment: Mapping[str, str], found: int, prefix: int) -> int:
    """How wide to print: CERTREPLAY_WIDTH as it is; otherwise COLUMNS, or what was found, up to WIDTH and less what
    stands in front. WidthError for a CERTREPLAY_WIDTH that is no width."""
    if chosen := environment.get(WIDTH_VARIABLE):
        width = decimal(chosen)
        if width is None or width < LEAST_WIDTH:
            raise WidthError(f"{WIDTH_VARIABLE}={chosen}: give a number of columns, {LEAST_WIDTH} or more")
        return width
    known = decimal(environment.get("COLUMNS", "")) or found
    return max(min(known, WIDTH) - prefix, LEAST_WIDTH)


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
            yield _Fitted(lambda width: _facts(rows, width))
        case Table():
            yield _Fitted(lambda width: _table(block, width))
        case Octets():
            yield _indented(_Fitted(lambda width: _octets(block, all_bytes, width)))
        case Exchange(messages):
            for message in messages:
                yield from _message(message, all_bytes)
        case Comparison():
            yield _comparison(block, all_bytes)
        case Section():
            yield from _section(block, all_bytes)


def _section(section: Section, all_bytes: bool) -> "Iterator[ConsoleRenderable]":
    if section.kind == "brief":
        for block in section.blocks:
            if isinstance(block, Paragraph):
                yield _text((Span(f"{plain(section.title)}: ", strong=True), *spans(block.text)))
        return
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


def _grid(headings: bool = True, gap: int = GAP) -> "Grid":
    """A table without lines."""
    from rich.table import Table as Grid

    if not headings:
        return Grid.grid(padding=(0, gap, 0, 0))
    return Grid(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")


@dataclass(frozen=True)
class _Fitted:
    """Something that looks different in another width."""

    make: "Callable[[int], ConsoleRenderable]"

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[ConsoleRenderable]":
        yield self.make(options.max_width)


def _facts(rows: tuple[tuple[str, Inline], ...], width: int) -> "Grid":
    grid = _grid(headings=False)
    names, values = (max((len(plain(row[side])) for row in rows), default=0) for side in (0, 1))
    grid.add_column(no_wrap=names + GAP + min(values, BESIDE_OCTETS) <= width, overflow="fold")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(_text(name), _text(value))
    return grid


def _table(table: Table, width: int) -> "ConsoleRenderable":
    """A table whose names stay whole wherever the other columns then have room, and are folded where they have not.

    Where no column has room, each row is facts below one another.
    """
    if width < LEAST_COLUMN * len(table.columns) - GAP:
        return _rows_as_facts(table, width)
    gap = GAP if _needs(table, GAP) <= width else GAP - 1
    grid = _grid(any(column.heading for column in table.columns), gap)
    whole = _needs(table, gap) <= width
    for column in table.columns:
        grid.add_column(
            _lines(*_heading(column)),
            justify="right" if column.kind == "number" else "left",
            no_wrap=whole and column.kind in WHOLE,
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(*map(_text, row))
    return grid


def _rows_as_facts(table: Table, width: int) -> "ConsoleRenderable":
    from rich.console import Group

    rows = (
        _facts(tuple((column.heading, cell) for column, cell in zip(table.columns, row, strict=True)), width)
        for row in table.rows
    )
    return Group(*(line for row in rows for line in (row, _text(""))))


def _needs(table: Table, gap: int) -> int:
    """The width from which on names can stay whole."""
    widths = gap * (len(table.columns) - 1)
    for number, column in enumerate(table.columns):
        longest = max(map(len, (*_heading(column), *(plain(row[number]) for row in table.rows))))
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


def _octets(message: Octets, all_bytes: bool, width: int) -> "Grid":
    """Bytes and what they mean, side by side; of a long field the beginning."""
    grid = _grid(headings=False)
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(overflow="fold")
    a_line = _octets_a_line(FIELD_OCTETS, width - GAP - BESIDE_OCTETS)
    for field in message.fields:
        shown = field.octets if all_bytes else field.octets[: FIELD_OCTETS * FIELD_LINES]
        grid.add_row("\n".join(_hex_lines(shown, a_line)), _text(field.meaning))
        if left := len(field.octets) - len(shown):
            grid.add_row("...", f"and {left} bytes more")
    return grid


def _message(message: Octets, all_bytes: bool) -> "Iterator[ConsoleRenderable]":
    """Which way it went, and its bytes: of a long one the beginning, or all of them, field by field."""
    how = Span(", encrypted" if message.encrypted else ", in plaintext", "aside")
    yield _text((Span("--> " if message.sender == "client" else "<-- ", "aside"), message.summary, how))
    if all_bytes:
        yield _indented(_Fitted(lambda width: _fields(message, width)))
    else:
        yield _indented(_Fitted(lambda width: _beginning(message, width)), 2 * INDENT)


def _beginning(message: Octets, width: int) -> "Text":
    from rich.text import Text

    shown = message.octets[: MESSAGE_OCTETS * MESSAGE_LINES]
    lines = _hex_lines(shown, _octets_a_line(MESSAGE_OCTETS, width))
    left = len(message.octets) - len(shown)
    more = [f"... and {left} bytes more (--all-bytes)"] if left else []
    return Text("\n".join([*lines, *more]), "cyan", overflow="fold")


def _fields(message: Octets, width: int) -> "Grid":
    """Each field: where it begins, its bytes, and what they mean."""
    grid = _grid(headings=False)
    grid.add_column(justify="right", style="dim", no_wrap=True)
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    offsets = len(str(len(message.octets)))
    a_line = _octets_a_line(FIELD_OCTETS, width - offsets - 2 * GAP - BESIDE_OCTETS)
    for field in message.fields:
        grid.add_row(str(field.at), "\n".join(_hex_lines(field.octets, a_line)), _text(field.meaning))
    return grid


def _octets_a_line(most: int, width: int) -> int:
    """How many bytes in hex stand on a line of this width."""
    return next((octets for octets in (most, *NARROWER_OCTETS) if 3 * octets - 1 <= width), 1)


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
