"""The exhibits: what the catalogue says of them, and that they do it; most with the marker `gallery`."""

import asyncio
import platform
import subprocess
from pathlib import Path

import pytest

from lab.catalogue.exhibits import AMD64, EXHIBITS, JAVA, BrokenRelease, find_exhibit
from lab.catalogue.moves import find_move
from lab.probing.exhibits import WARNING, ReleasePair, accepted, expected, try_exhibit
from lab.probing.servers import is_installed
from programs import certreplay, unavailable

USUAL = ("wolfssl-4.1.0", "nginx-1.18.0", "python-3.9.2")
"""Those that take little. The others have a marker, `gallery`."""
ROWS = [pytest.param(one.id, marks=[] if one.id in USUAL else [pytest.mark.gallery]) for one in EXHIBITS]


def lacks(exhibit: BrokenRelease) -> str:
    """What keeps it from being tried here; empty if nothing does."""
    if platform.machine() not in AMD64:
        return f"{exhibit.id} needs {AMD64[0]}"
    if exhibit.base and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return f"{exhibit.id} needs Docker"
    for server in (exhibit.server, exhibit.mended_server):
        if server and not is_installed(server):
            return f"{exhibit.id} needs {' '.join(server.packages)}"
    return ""


@pytest.mark.parametrize("name", ROWS)
def test_it_takes_what_it_is_said_to_take_and_the_mended_one_nothing(name: str) -> None:
    exhibit = find_exhibit(name)
    assert exhibit
    if why := lacks(exhibit):
        unavailable(why)
    pair = asyncio.run(try_exhibit(exhibit, lambda words: None))
    assert not pair.missing, pair.missing
    assert accepted(pair.shipped) == expected(exhibit)
    assert accepted(pair.mended) == set()
    assert pair.as_written


def test_every_row_names_moves_and_pins_its_releases() -> None:
    for exhibit in EXHIBITS:
        assert all(find_move(move) for moves in exhibit.takes.values() for move in moves)
        assert expected(exhibit)
        assert "=" in exhibit.shipped
        assert bool(exhibit.mended) != bool(exhibit.mended_server)


def test_what_cannot_be_installed_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(*command: str, told: str = "") -> str:
        return "no such release"

    monkeypatch.setattr("lab.probing.exhibits._done", refuses)
    monkeypatch.setattr(platform, "machine", lambda: AMD64[0])
    absent = BrokenRelease("none", "None", "certreplay==0.0.0", "certreplay==0.0.0", "", JAVA)
    pair = asyncio.run(try_exhibit(absent, lambda words: None))
    assert pair.missing == "certreplay==0.0.0 cannot be installed: no such release"
    assert not pair.as_written


def test_on_another_processor_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert asyncio.run(try_exhibit(EXHIBITS[0], lambda words: None)).missing == "it runs on x86_64, and this is aarch64"


def test_the_page_in_docs_has_every_exhibit() -> None:
    page = (Path(__file__).parents[2] / "docs" / "exhibits.md").read_text()
    assert all(f"## {one.title}\n" in page for one in EXHIBITS)
    assert WARNING in page


def test_without_a_verdict_nothing_is_as_written() -> None:
    assert not ReleasePair(EXHIBITS[0], missing="away").as_written
    assert not ReleasePair(EXHIBITS[0]).as_written


def test_an_exhibit_that_is_not_there_is_named() -> None:
    done = certreplay("exhibits", "java-1.0")
    assert done.returncode == 2
    assert "give one of java-11.0.5" in done.stderr
