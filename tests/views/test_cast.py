"""Recordings of a run: what their file says, and what the programs that people use make of it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.document import Paragraph, Section, Span
from lab.events.run import open_run
from lab.judging.verdicts import JudgedRun
from lab.story import acts
from lab.views import cast
from programs import PATIENCE_SECONDS, certreplay

SHORT_LINES = 30
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def made(run: Path, file: Path, *options: str) -> list[Any]:
    """The lines of a recording that the command made."""
    done = certreplay("record", run, "-o", file, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"wrote {file}: ")
    return [json.loads(line) for line in file.read_text().splitlines()]


def screen(lines: list[Any]) -> str:
    return "".join(text for _, kind, text in lines[1:] if kind == "o")


def test_a_recording_is_an_asciicast_of_version_2_with_a_marker_for_each_act(
    finished_run: Path, tmp_path: Path
) -> None:
    header, *events = made(finished_run, tmp_path / "x.cast")
    assert (header["version"], header["width"], header["height"]) == (2, 100, 30)
    assert finished_run.name in header["title"]
    told = acts.tell(JudgedRun(open_run(finished_run)))
    assert [text for _, kind, text in events if kind == "m"] == [one.title for one in told if isinstance(one, Section)]
    times = [at for at, *_ in events]
    assert times == sorted(times)
    assert times[0] == 0
    assert {kind for _, kind, _ in events} == {"o", "m"}
    for _, kind, text in events:
        if kind == "o" and text:
            assert text.endswith("\r\n")
            assert len(COLOURS.sub("", text).rstrip()) <= 100


def test_a_recording_shows_the_story_in_colours(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTREPLAY_WIDTH", "100")
    told = certreplay("story", finished_run).stdout
    shown = screen(made(finished_run, tmp_path / "x.cast"))
    assert "\x1b[1;31maccepted" in shown
    assert [line.rstrip() for line in COLOURS.sub("", shown).splitlines()] == told.splitlines()


def test_the_same_run_gives_the_same_recording_whatever_the_environment(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(finished_run, tmp_path / "one.cast")
    for name, value in {
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "40",
        "COLORTERM": "truecolor",
        "LINES": "9",
    }.items():
        monkeypatch.setenv(name, value)
    made(finished_run, tmp_path / "other.cast")
    assert (tmp_path / "one.cast").read_bytes() == (tmp_path / "other.cast").read_bytes()


def test_a_recording_goes_at_the_pace_that_is_asked_for(finished_run: Path, tmp_path: Path) -> None:
    usual, fast = (made(finished_run, tmp_path / "x.cast", *more) for more in ((), ("--pace", "4")))
    assert 240 < usual[-1][0] < 1200
    assert fast[-1][0] == pytest.approx(usual[-1][0] / 4, abs=0.01)
    assert [one[1:] for one in fast[1:]] == [one[1:] for one in usual[1:]]


@pytest.mark.parametrize("pace", ["0", "-1", "0.05", "101", "nan", "inf"])
def test_a_pace_that_is_none_is_refused(finished_run: Path, tmp_path: Path, pace: str) -> None:
    done = certreplay("record", finished_run, "-o", tmp_path / "x.cast", "--pace", pace)
    assert (done.returncode, done.stdout) == (2, "")
    assert "from 0.1 to 100" in done.stderr
    assert not (tmp_path / "x.cast").exists()


def test_a_reader_is_given_time_for_words_and_not_for_bytes() -> None:
    words = cast.seconds("she signs every handshake anew with her private key")
    assert words == pytest.approx(cast.LINE_SECONDS + 9 / cast.WORDS_A_SECOND)
    assert cast.seconds("\x1b[36m30 45 02 21 00 be ef ad\x1b[0m  a9f1" + "0" * 30) == cast.LINE_SECONDS
    assert cast.seconds("") == cast.LINE_SECONDS


def test_a_short_recording_fits_a_screen(finished_run: Path, tmp_path: Path) -> None:
    lines = made(finished_run, tmp_path / "x.cast", "--short")
    assert len(screen(lines).splitlines()) <= lines[0]["height"]
    assert len([one for one in lines[1:] if one[1] == "m"]) == 10


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_commands_the_terminal_that_plays_it(title: str, text: str) -> None:
    blocks = [Section(title, (Paragraph((text, Span(text, "accepted"))),))]
    for line in cast.recording(blocks, title, 0):
        found = json.loads(line)
        shown = found["title"] if isinstance(found, dict) else found[2].removesuffix("\r\n")
        assert COLOURS.sub("", shown).isprintable()


def test_the_outcome_is_machine_readable_too(finished_run: Path, tmp_path: Path) -> None:
    done = certreplay("record", finished_run, "-o", tmp_path / "x.cast", "--json")
    said = json.loads(done.stdout)
    assert said["file"] == str(tmp_path / "x.cast")
    assert said["acts"] == 10


def test_a_run_without_events_cannot_be_recorded(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    done = certreplay("record", tmp_path / "run", "-o", tmp_path / "x.cast")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def by(name: str, *arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    """A program of the development environment."""
    program = Path(sys.executable).with_name(name)
    return subprocess.run([program, *arguments], capture_output=True, timeout=PATIENCE_SECONDS, check=True)


def test_asciinema_plays_it(finished_run: Path, tmp_path: Path) -> None:
    lines = made(finished_run, tmp_path / "x.cast")
    assert by("asciinema", "cat", tmp_path / "x.cast").stdout.decode() == screen(lines)
    played = by("asciinema", "play", "--speed", "100000", tmp_path / "x.cast").stdout.decode()
    assert screen(lines) in played


def test_agg_makes_a_gif_of_it(finished_run: Path, tmp_path: Path) -> None:
    made(finished_run, tmp_path / "x.cast", "--short", "--pace", "10")
    by("agg", tmp_path / "x.cast", tmp_path / "x.gif")
    gif = (tmp_path / "x.gif").read_bytes()
    assert gif[:6] == b"GIF89a"
    assert gif.count(b"\x21\xf9\x04") > 15  # graphic control extensions, one a frame


def test_termtosvg_makes_an_svg_of_it(finished_run: Path, tmp_path: Path) -> None:
    made(finished_run, tmp_path / "x.cast", "--short")
    by("termtosvg-ng", "render", tmp_path / "x.cast", tmp_path / "x.svg")
    svg = (tmp_path / "x.svg").read_text()
    assert svg.count("pinned-certificate-only@instrument") >= 2
    assert "not found on the wire" in " ".join(re.sub(r"<[^>]+>", " ", svg).replace("\xa0", " ").split())
    assert svg.startswith("<svg")
