"""The report: one file that has all it needs, and nothing that may not be shown."""

import base64
import gzip
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lab.events.parts import KEY_LOG_FILE
from lab.events.run import open_run
from lab.judging.verdicts import JudgedRun
from lab.page.director import tell_page
from lab.page.rendering import shown_text
from lab.page.report import render_report
from programs import certreplay

BUDGET = 250_000
"""The most bytes that a demo's report may have."""


@pytest.fixture(scope="module")
def report(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "x.html"
    done = certreplay("report", finished_run, "-o", file)
    assert done.returncode == 0, done.stderr
    assert "17 scenes" in done.stdout
    return file.read_text()


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def unpacked(report: str) -> dict[str, str]:
    """All evidence in a report, by its id."""
    blocks = re.findall(r'<script type="text/plain" class="packed"[^>]*>([^<]+)</script>', report)
    assert blocks
    return {name: html for one in blocks for name, html in json.loads(gzip.decompress(base64.b64decode(one))).items()}


def test_it_is_one_small_file_that_asks_nobody(report: str) -> None:
    assert len(report.encode()) <= BUDGET
    for tag, attributes in Elements(report).found:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("#", "data:,")), f"{tag} {name}={value}"
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag


def test_its_policy_allows_its_own_script_and_style_and_no_other(report: str) -> None:
    elements = Elements(report)
    policy = next(a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    (style,) = re.findall("<style>(.*?)</style>", report, re.DOTALL)
    (script,) = re.findall('<script type="module">(.*?)</script>', report, re.DOTALL)
    for kind, text in (("style", style), ("script", script)):
        digest = base64.b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_all_that_it_links_to_is_in_it(report: str) -> None:
    evidence = unpacked(report)
    links = set(re.findall(r'href="#((?:cell|connection|event|message)/[^"]+)"', report + "".join(evidence.values())))
    assert len(links) > 100
    assert set(evidence) < links
    lacking = links - set(evidence)
    assert all(name.startswith("message/") for name in lacking), "of the later logins there is no room for the bytes"
    cells = [html for name, html in evidence.items() if name.startswith("cell/")]
    shown = "".join((report, *cells))
    assert not [name for name in lacking if name in shown]


def test_it_holds_no_key_and_no_path(report: str, finished_run: Path) -> None:
    whole = report + "".join(unpacked(report).values())
    packed = re.sub(r"\s|<[^>]*>", "", whole)
    bundle = next((finished_run / "victim-client").glob("*.pem")).read_text()
    assert "PRIVATE KEY" in bundle, "the run keeps alice's bundle, or this would show nothing"
    key = re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", bundle, re.DOTALL)
    assert key
    der = base64.b64decode(key[1])
    assert der[40:60].hex() not in packed
    assert key[1].strip()[40:80] not in whole
    secrets = [line.split()[2] for line in (finished_run / "victim-client" / KEY_LOG_FILE).read_text().splitlines()]
    assert secrets
    assert not [one for one in secrets if one in packed]
    assert "BEGIN" not in whole
    for path in (str(finished_run), str(finished_run.parent), str(Path.home())):
        assert path not in whole


def test_the_same_run_gives_the_same_report(report: str, finished_run: Path) -> None:
    assert render_report(tell_page(JudgedRun(open_run(finished_run)))) == report


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mitmdump: /home/teacher/.venv/bin/mitmdump: no such file", "mitmdump: …/mitmdump: no such file"),
        ("https://localhost:41499/account and GET /account", "https://localhost:41499/account and GET /account"),
        ("RFC 5246/8446, TLS 1.2/1.3", "RFC 5246/8446, TLS 1.2/1.3"),
        ("a\u202eb\x1bc\nd", "a?b?c?d"),
    ],
)
def test_a_text_is_made_safe(text: str, shown: str) -> None:
    assert shown_text(text) == shown


def test_a_text_has_an_end() -> None:
    assert len(shown_text("x" * 100_000)) < 5000
