"""`certreplay demo --page`: the page is there from the beginning, and never longer than the command."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from programs import PATIENCE_SECONDS, wait_until


class Demo:
    """The command on a terminal, and what it has printed so far."""

    def __init__(self, runs: Path) -> None:
        self._ours, its = pty.openpty()
        command = (sys.executable, "-m", "lab", "demo", "--page", "--short", "--runs", str(runs))
        self.process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True)
        os.close(its)
        self.printed = ""

    def until(self, pattern: str) -> str:
        """What the pattern's group matches, once that is printed."""
        while not (found := re.search(pattern, self.printed)):
            self.printed += os.read(self._ours, 1 << 12).decode(errors="replace")
        return found[1]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    it = Demo(tmp_path / "runs")
    yield it
    it.close()


def read(address: str) -> str:
    """The page, as a browser gets it that has no cookie yet."""
    opened = build_opener(HTTPCookieProcessor()).open(address, timeout=PATIENCE_SECONDS)
    text: str = opened.read().decode()
    return text


def is_gone(address: str) -> bool:
    try:
        read(address)
    except HTTPError:
        return True  # another page has this port now, and another token
    except URLError as error:
        return isinstance(error.reason, ConnectionRefusedError)
    except (OSError, HTTPException):
        pass  # it was answering when it ended
    return False


def test_the_page_is_there_from_the_first_line_until_ctrl_c(demo: Demo) -> None:
    address = demo.until(r"The page is at (http://\S+)\s")
    assert demo.printed.splitlines()[0].startswith("The page is at ")
    assert "<html" in read(address)
    demo.until("(stays there)")
    wait_until(lambda: 'id="answer"' in read(address), "the whole run to be told")
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(PATIENCE_SECONDS) == 0
    wait_until(lambda: is_gone(address), "the page to be gone")


def test_the_page_goes_when_the_command_is_killed(demo: Demo) -> None:
    address = demo.until(r"The page is at (http://\S+)\s")
    read(address)
    demo.process.kill()
    wait_until(lambda: is_gone(address), "the page to be gone")


def test_a_run_goes_on_without_its_page(demo: Demo) -> None:
    """The page's process is the only child at first; if it is killed, the story is told all the same."""
    read(demo.until(r"The page is at (http://\S+)\s"))
    children = Path(f"/proc/{demo.process.pid}/task/{demo.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    demo.until("(stays there)")
    assert demo.process.wait(PATIENCE_SECONDS) == 0
