"""The view model's schema as a document, read from `lab.page.model` itself: classes, fields, types, what they mean."""

import ast
import inspect
from collections.abc import Iterator

from lab.document import Block, Column, Heading, Inline, Paragraph, Table
from lab.page import model

ABOUT = (
    "Generated from lab/page/model.py by `python -m lab.views.markdown`.",
    f"This is version {model.VERSION} of what `certreplay show RUN --json` prints, a `Page`. The templates of the page "
    "draw the same data. The version grows when a field changes its meaning or goes away; new fields may come without "
    "that.",
    "In JSON an object has its class in `kind`. A tuple is a list, bytes are hex in lower case, None is null, an "
    "`Outcome` is `accepted`, `refused`, `not applicable` or `inconclusive`. `Block` and `Inline` are those of "
    "lab/document.py: a block is an object with its `kind`, an inline text is a string, a span, or a list of both.",
    "Nothing in it is markup, and texts are as the run has them: make them safe before you show them.",
)


def schema_document() -> Iterator[Block]:
    """docs/page-model.md."""
    yield Heading("The page's view model", level=1)
    for sentences in ABOUT:
        yield Paragraph(sentences)
    module = ast.parse(inspect.getsource(model))
    aliases = [(one.target.id, one.value) for one in module.body if _is_alias(one)]  # type: ignore[attr-defined]
    yield Heading("Names for types")
    yield Table((Column("name", "name"), Column("is", "name")), tuple((name, _type(value)) for name, value in aliases))
    classes = [one for one in module.body if isinstance(one, ast.ClassDef)]
    for one in sorted(classes, key=lambda found: found.name != "Page"):
        yield Heading(one.name)
        yield Paragraph(" ".join((ast.get_docstring(one) or "").split()))
        yield Table((Column("field", "name"), Column("type", "name"), Column("")), tuple(_fields(one)))


def _is_alias(one: ast.stmt) -> bool:
    return isinstance(one, ast.AnnAssign) and isinstance(one.annotation, ast.Name) and one.annotation.id == "TypeAlias"


def _type(node: ast.expr | None) -> str:
    return ast.unparse(node).replace("'", '"') if node else ""


def _fields(one: ast.ClassDef) -> Iterator[tuple[Inline, ...]]:
    """Name, type, and what the string after the field says, if there is one."""
    for field, after in zip(one.body, [*one.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            said = after.value if isinstance(after, ast.Expr) else None
            words = said.value if isinstance(said, ast.Constant) and isinstance(said.value, str) else ""
            yield _type(field.target), _type(field.annotation), " ".join(words.split())
