"""Blocks as Markdown, and the documents made of them.

`python -m lab.views.markdown` writes docs/matrix.md from the catalogue, docs/exercises.md from the exercises and
docs/page-model.md from the page's view model, and with `--claims RUN` docs/claims.md from a run of everything
(`certreplay claims --new` makes one).
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.document import (
    Block,
    Break,
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
from lab.exercises.telling import exercises_document
from lab.page.schema import schema_document
from lab.printable import printable
from lab.story.claims import claims_document
from lab.story.matrix import expected_document

DOCS = Path(__file__).parents[2] / "docs"
FILE = DOCS / "matrix.md"
CLAIMS_FILE = DOCS / "claims.md"
EXERCISES_FILE = DOCS / "exercises.md"
MODEL_FILE = DOCS / "page-model.md"

_CODE = re.compile(r"(`[^`]+`)")
_SPECIAL = re.compile(r"[\\*<&\[\]|~`$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
"""Marks of Markdown, and what makes a link of an address; an underscore is no mark between letters."""
_BEGINNING = re.compile(r"[#>+=-]|\d+(?=[.)])")
"""What is a mark at the beginning only: of a heading, a quotation, a list."""
MAX_LEVEL = 6


def text(blocks: Iterable[Block]) -> str:
    """A whole document."""
    return "\n\n".join(part for block in blocks for part in _parts(block, 2)) + "\n"


def _parts(block: Block, level: int) -> Iterator[str]:
    """A block as paragraphs; the headings in it begin at this level."""
    match block:
        case Heading(title):
            yield f"{'#' * (1 if block.level == 1 else level)} {_text(title)}"
        case Paragraph(sentences):
            yield _text(sentences)
        case Items(items):
            yield "\n".join(f"- {_text(item)}" for item in items)
        case Break():
            pass
        case Facts(rows):
            yield "\n".join(f"- {_text(name)}: {_text(value)}" if name else f"  {_text(value)}" for name, value in rows)
        case Table():
            yield "\n".join(_table(block))
        case Octets():
            yield from _message(block)
        case Exchange(messages):
            for message in messages:
                yield from _message(message)
        case Comparison():
            yield "\n".join(_comparison(block))
        case Section():
            yield f"{'#' * min(level, MAX_LEVEL)} {_text(block.title)}"
            for inner in block.blocks:
                yield from _parts(inner, level + 1)


def _text(text: Inline) -> str:
    written = "".join(map(_span, spans(text))).strip()
    return _BEGINNING.sub(_escape, written, count=1) if _BEGINNING.match(written) else written


def _span(span: Span) -> str:
    """Strong where it matters; blanks stay outside of the marks, or these would be none."""
    written, words = safe(span.text), safe(span.text.strip())
    strong = span.strong or span.meaning in ("finding", "warning")
    return written.replace(words, f"**{words}**", 1) if strong and words else written


def safe(text: str) -> str:
    """Without control characters, and with the marks of Markdown escaped, but for those around code."""
    return "".join(
        part.replace("|", "\\|") if _CODE.fullmatch(part) else _SPECIAL.sub(_escape, part)
        for part in _CODE.split(printable(text))
    )


def _escape(mark: re.Match[str]) -> str:
    return f"{mark[0]}\\" if mark[0].isdigit() else f"\\{mark[0]}"


def _code(text: str) -> str:
    """Identifiers and bytes."""
    shown = printable(text).replace("`", "?").replace("|", "\\|")
    return f"`{shown}`" if shown.strip() else ""


def _table(table: Table) -> Iterator[str]:
    headings = (_code(one.heading) if one.kind == "outcome" else _text(one.heading) for one in table.columns)
    yield _row(headings)
    yield "|" + "---|" * len(table.columns)
    for row in table.rows:
        yield _row(
            _code(plain(cell)) if column.kind == "name" else _text(cell)
            for column, cell in zip(table.columns, row, strict=True)
        )


def _message(message: Octets) -> Iterator[str]:
    how = "encrypted" if message.encrypted else "in plaintext"
    yield f"{safe(message.summary or message.message)}, by the {safe(message.sender)}, {how}:"
    rows = (_row((str(one.at), _code(one.octets.hex(" ")), safe(one.meaning))) for one in message.fields)
    yield "\n".join((_row(("byte", "bytes", "meaning")), "|---|---|---|", *rows))


def _comparison(comparison: Comparison) -> Iterator[str]:
    yield _row(map(safe, comparison.headings))
    yield "|---|---|---|"
    for row in comparison.rows:
        label = safe(f"{row.label}; {row.remark}" if row.remark else row.label)
        yield _row((label, _value(row.left, row), _value(row.right, row)))


def _value(value: bytes | Inline | None, row: Compared) -> str:
    """Bytes that differ are strong, from the first of them on."""
    if not isinstance(value, bytes | None):
        return _text(value)
    if not value:
        return "not there" if value is None else "empty"
    if not row.differs:
        return _code(value.hex())
    alike, differing = _code(value[: row.alike].hex()), _code(value[row.alike :].hex())
    return f"{alike} **{differing}**".strip()


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            FILE.write_text(text(expected_document()))
            EXERCISES_FILE.write_text(exercises_document())
            MODEL_FILE.write_text(text(schema_document()))
        case ["--claims", run]:
            CLAIMS_FILE.write_text(text(claims_document(Path(run))))
        case _:
            sys.exit("usage: python -m lab.views.markdown [--claims RUN]")
