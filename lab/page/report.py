"""The page in one file: it opens from a disk, from a course site, from an e-mail, and asks nobody for anything.

Its policy stands in the file and allows the one style and the one script in it, by their hashes. The evidence is in
blocks of JSON, compressed (RFC 1952) and in base64, that the script opens on demand. All of it is rendered from the
view model, which holds what may be shown: no key, no key log, no path of the host.
"""

import base64
import gzip
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter

from markupsafe import Markup, escape

from lab.page.director import Director
from lab.page.rendering import MODULES, asset, render_closeup, render_page, render_scene

A_BLOCK = 512
"""How many pieces of evidence are compressed together; the more, the smaller, and the longer the first takes."""
MAX_MESSAGES = 160
"""How many messages a report has byte by byte: those of a demo's story and attempts. `certreplay show` has all."""

_LINK = re.compile(r'href="#((?:cell|connection|event|message)/[^"]+)"')


@dataclass(frozen=True)
class Packed:
    """Some evidence, compressed; `ids` names it."""

    ids: Markup
    data: Markup


@dataclass(frozen=True)
class Inline:
    """What a page that is one file has in itself."""

    policy: Markup
    style: Markup
    script: Markup
    packed: tuple[Packed, ...]


def render_report(director: Director) -> str:
    """The report of a run that is over."""
    style, script = dense(asset("page.css")), one_script()
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    evidence = sorted(_evidence(director), key=itemgetter(1))  # what is alike stands together, and compresses better
    blocks = (evidence[at : at + A_BLOCK] for at in range(0, len(evidence), A_BLOCK))
    inline = Inline(Markup(policy), Markup(style), Markup(script), tuple(map(_packed, blocks)))  # noqa: S704
    return render_page(director.page, inline=inline)


def one_script() -> str:
    """The modules as one: without the lines by which they find each other."""
    parts = (re.sub(r"^import .*\n", "", asset(name), flags=re.MULTILINE) for name in MODULES)
    return dense(re.sub(r"^export ", "", "\n".join(parts), flags=re.MULTILINE))


def dense(text: str) -> str:
    """A script or a style without its comments, where they have lines of their own, and without indentation."""
    text = re.sub(r"^\s*(?://[^\n]*|/\*.*?\*/)$", "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join(filter(None, map(str.strip, text.splitlines())))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def _evidence(director: Director) -> Iterator[tuple[str, str]]:
    """All evidence that a reader can get to, each with its id."""
    ahead = deque(_links(render_scene(scene) for scene in director.page.scenes))
    done: set[str] = set()
    messages = 0
    while ahead:
        name = ahead.popleft()
        messages += name.startswith("message/") and name not in done
        if name in done or (name.startswith("message/") and messages > MAX_MESSAGES):
            continue
        done.add(name)
        if closeup := director.closeup(name):
            html = render_closeup(closeup)
            yield name, html
            ahead += _links([html])


def _links(pages: Iterable[str]) -> Iterator[str]:
    for page in pages:
        yield from _LINK.findall(page)


def _packed(some: list[tuple[str, str]]) -> Packed:
    content = json.dumps(dict(some)).encode()
    data = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return Packed(escape(" ".join(name for name, _ in some)), escape(data))
