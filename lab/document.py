"""What whoever tells a run on a terminal tells it with."""

from collections.abc import Iterator
from typing import TypeAlias

from rich.console import ConsoleRenderable
from rich.table import Table
from rich.text import Text

Lines: TypeAlias = Iterator[ConsoleRenderable]


def facts(*facts: tuple[str, str | Text]) -> Table:
    """Aligned names and values."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(printable(value)) if isinstance(value, str) else value)
    return table


def printable(text: str) -> str:
    """Without control characters: names in certificates are whatever their issuer wrote, terminal commands too."""
    return "".join(character if character.isprintable() else "?" for character in text)
