"""From the view model to HTML. Here, and nowhere else, texts are made safe for a page.

The templates in `templates` are named after what they draw. Jinja2 escapes every text in them; before that, each goes
through `shown_text`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab.document import Compared, Inline, Octets, plain, spans
from lab.page.model import Closeup, Highlighted, Page, Scene
from lab.printable import printable

MODULES = ("stage.js", "disc.js", "evidence.js", "live.js", "page.js")
"""The modules in `assets`, each after those that it imports."""
A_LINE = 16
"""How many bytes stand on a line."""
MAX_TEXT = 4000
"""The longest text that is shown whole, in characters."""
COMPARED_OCTETS = 64

_PATH = re.compile(r"(?<![\w:/.~])/(?:[\w.@+%-]+/)+(?=[\w.@+%-])")
"""The directories of an absolute path of a host."""
OUTCOMES = {"accepted": "let in", "refused": "refused", "not applicable": "n/a"}


def shown_text(text: str) -> str:
    """A text as a page may show it: no control characters, no turned direction, no paths of the host, not endless."""
    cut = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text):,} characters)"
    return printable(_PATH.sub("…/", cut))


@dataclass(frozen=True)
class HexRun:
    """Bytes on a line that belong to one field; None to none."""

    hex: str
    field: int | None


@dataclass(frozen=True)
class HexLine:
    """A line of bytes, with the place of the first."""

    at: str
    runs: tuple[HexRun, ...]


def render_page(page: Page, presenter: bool = False, inline: object = None) -> str:
    """The whole page."""
    return _template("page.html", page=page, presenter=presenter, inline=inline)


def render_first() -> str:
    """What is there before the first run."""
    return _template("first.html")


def render_scene(scene: Scene) -> str:
    """One scene."""
    return _template("scene.html", scene=scene)


def render_closeup(closeup: Closeup) -> str:
    """What is opened on demand."""
    return _template("closeup.html", it=closeup)


def render_exercises(views: Iterable[object], run: str) -> str:
    """The page with the exercises of a run."""
    return _template("exercises.html", views=list(views), run=run)


def asset(name: str) -> str:
    """The text of a file in `assets`."""
    return resources.files("lab.page").joinpath("assets", name).read_text()


def load_templates() -> None:
    """Compiles all templates, so that nobody who looks at a page has to wait for it."""
    for name in environment().list_templates():
        environment().get_template(name)


def _template(name: str, **values: object) -> str:
    return environment().get_template(name).render(**values)


@cache
def environment() -> Environment:
    """Jinja2, with what the templates need."""
    made = Environment(
        loader=PackageLoader("lab.page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: shown_text(value) if type(value) is str else value,
        trim_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters.update(
        kind=lambda value: type(value).__name__,
        spans=spans,
        number=lambda value: f"{value:,}",
        slug=lambda value: str(value).replace(" ", "-"),
        outcome=lambda value: OUTCOMES.get(value, value),
        short_hash=lambda value: f"{value[:16]}…{value[-8:]}",
        highlighted_lines=highlighted_lines,
        field_lines=field_lines,
        flagged=lambda octets, flags: zip((f"{one:02x}" for one in octets), flags, strict=True),
        breakable=lambda text: Markup("<wbr>").join(re.split(r"(?<=-)|(?=@)", shown_text(text))),
        camel=lambda text: Markup("<wbr>").join(re.split(r"(?<=[a-z_])(?=[A-Z])|(?<=_)", shown_text(text))),
        ticked=ticked,
    )
    made.globals["compared"] = compared
    return made


def ticked(text: str) -> Markup:
    """A text in which `backticks` mark code."""
    parts = shown_text(text).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def compared(value: bytes | Inline | None, row: Compared) -> str:
    """A value in a comparison: words, or bytes from shortly before the first that differs."""
    if value is None:
        return "not there"
    if not isinstance(value, bytes):
        return plain(value)
    if not value:
        return "empty"
    start = row.alike if len(value) > COMPARED_OCTETS else 0
    shown = value[start : start + COMPARED_OCTETS]
    before = f"after {start} bytes alike: " if start else ""
    more = f" … ({len(value)} bytes)" if start + len(shown) < len(value) else ""
    return f"{before}{shown.hex(' ')}{more}"


def highlighted_lines(it: Highlighted) -> list[HexLine]:
    """The bytes in lines, each byte with the field that it belongs to, if that is one of those that matter."""
    owner: list[int | None] = [None] * len(it.octets)
    for number, field in enumerate(it.highlights):
        owner[field.at : field.at + field.length] = [number] * field.length
    return list(_lines(it.octets, owner))


def field_lines(it: Octets) -> list[HexLine]:
    """The bytes in lines, each byte with the number of its field."""
    owner: list[int | None] = []
    for number, field in enumerate(it.fields):
        owner += [number] * len(field.octets)
    return list(_lines(it.octets, owner))


def _lines(octets: bytes, owner: list[int | None]) -> Iterator[HexLine]:
    for at in range(0, len(octets), A_LINE):
        runs: list[HexRun] = []
        begin = at
        end = min(at + A_LINE, len(octets))
        for place in range(at, end):
            if place + 1 == end or owner[place + 1] != owner[begin]:
                runs.append(HexRun(octets[begin : place + 1].hex(" "), owner[begin]))
                begin = place + 1
        yield HexLine(f"{at:04x}", tuple(runs))
