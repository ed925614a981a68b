"""A story that goes on at each Enter, and what happens where no Enter comes."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.document import Block, Paragraph, Section
from lab.views.steps import PROMPT, stepwise
from programs import PATIENCE_SECONDS, certreplay, certreplay_process

ACTS: list[Block] = [Paragraph("before"), *(Section(f"act {n}", ()) for n in range(3))]


class Typed(io.StringIO):
    """What a person types, of whom a test sees when she was asked."""

    def __init__(self, text: str, terminal: bool) -> None:
        super().__init__(text)
        self.asked = 0
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        self.asked += 1
        return super().readline()


def test_each_act_waits_for_a_line() -> None:
    given, told = Typed("\n\n\n", False), io.StringIO()
    seen = [(given.asked, block) for block in stepwise(ACTS, given, told)]
    assert seen == list(zip((0, 1, 2, 3), ACTS, strict=True))
    assert told.getvalue() == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_once_the_input_ends_the_rest_follows_at_once(terminal: bool) -> None:
    given = Typed("\n", terminal)
    assert list(stepwise(ACTS, given, Typed("", terminal))) == ACTS
    assert given.asked == 2


def test_a_person_is_told_what_to_do_and_the_prompt_goes_away() -> None:
    told = Typed("", True)
    assert list(stepwise(ACTS, Typed("\n\n\n", True), told)) == ACTS
    assert told.getvalue().count(PROMPT) == 3
    assert told.getvalue().count(" " * len(PROMPT)) == 3


def test_without_input_the_command_tells_the_whole_story(finished_run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", "story", str(finished_run), "--step"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == certreplay("story", finished_run).stdout


def test_json_and_steps_do_not_go_together(finished_run: Path) -> None:
    for command in (("story", str(finished_run)), ("demo",)):
        done = certreplay(*command, "--step", "--json")
        assert done.returncode == 2
        assert "--step" in done.stderr


def at_a_terminal(*arguments: str, typed: int) -> list[str]:
    """What the terminal shows up to each time that it waits, and then; Enter is typed so many times, then Ctrl-D."""
    process, terminal = pty.fork()
    if not process:
        os.execv(sys.executable, [sys.executable, "-m", "lab", *arguments])
    screens, seen = [], ""
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:
            break
        seen += data.decode(errors="replace")
        if seen.endswith(PROMPT):
            screens.append(seen)
            seen = ""
            os.write(terminal, b"\n" if len(screens) <= typed else b"\x04")
    screens.append(seen)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return screens


def test_a_demo_waits_for_its_presenter(tmp_path: Path) -> None:
    screens = at_a_terminal("demo", "--step", "--runs", str(tmp_path), typed=3)
    began = [re.findall(r"(?m)^(?:\x1b\[1m)?(\d+)\. ", re.sub(r"\r", "", one)) for one in screens]
    assert began[:4] == [[], ["1"], ["2"], ["3"]]
    assert began[4] == ["4", "5", "6", "7", "8", "9", "10"]
    assert len(screens) == 5


def test_a_short_demo_is_thirty_lines_without_bytes(tmp_path: Path) -> None:
    os.environ["COLUMNS"] = "80"
    try:
        done = certreplay_process("demo", "--short", "--runs", str(tmp_path))
    finally:
        del os.environ["COLUMNS"]
    assert done.returncode == 0
    story, _, after = done.stdout.partition("\n\n")
    assert after.startswith("Everything is in ")
    assert 20 < len(story.splitlines()) <= 30
    assert not re.search(r"\b[0-9a-f]{2}( [0-9a-f]{2}){3}|[0-9a-f]{16}", story)
    for act in range(1, 11):
        assert re.search(rf"(?m)^{act}\. ", story)
