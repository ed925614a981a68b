"""A story as a recording of a terminal: asciicast version 2, which all players and converters take.

The first line is a header in JSON. Each further line is [seconds, kind, text]: `o` is what the terminal shows, `m` a
marker, here one for each act. The times are a reader's and come from the text alone, so that the same run gives the
same recording. https://docs.asciinema.org/manual/asciicast/v2/
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence

from lab.document import Block, Section, plain
from lab.printable import printable
from lab.views.terminal import Terminal, recording_console

WIDTH, HEIGHT = 100, 30
WORDS_A_SECOND = 3.5
"""How fast people read from a screen."""
LINE_SECONDS = 0.15
"""What a line takes besides its words; most of those with bytes in hex have few."""
ACT_SECONDS = 1.5
"""How long it stays still before an act begins, and in the end."""
PACES = (0.1, 100.0)
"""The slowest and the fastest."""

_SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")
_WORD = re.compile(r"[^\W\d_]{2,}(?:'\w+)?")
_IN_HEX = re.compile(r"\b[0-9a-f]{2}(?: [0-9a-f]{2})+\b|\b[0-9a-f]{16,}\b")


def recording(blocks: Iterable[Block], title: str, began: int, pace: float = 1.0) -> Iterator[str]:
    """The file's lines, without their ends. `began` is when the run did, in seconds of Unix time; with `pace` 2 it goes
    twice as fast."""
    yield json.dumps({"version": 2, "width": WIDTH, "height": HEIGHT, "timestamp": began, "title": printable(title)})
    screen = io.StringIO()
    shown = Terminal(console=recording_console(screen, WIDTH))
    at = 0.0
    for block in blocks:
        if isinstance(block, Section):
            at += ACT_SECONDS / pace
            yield _event(at, "m", printable(plain(block.title)))
        shown.show([block])
        for line in screen.getvalue().splitlines():
            yield _event(at, "o", f"{line}\r\n")
            at += seconds(line) / pace
        screen.seek(0)
        screen.truncate()
    yield _event(at + ACT_SECONDS / pace, "o", "")


def lasts(lines: Sequence[str]) -> float:
    """How long a recording of these lines is, in seconds."""
    at = json.loads(lines[-1])[0]
    return float(at)


def seconds(line: str) -> float:
    """How long a reader takes for a line of the screen."""
    text = _IN_HEX.sub("", _SEQUENCE.sub("", line))
    return LINE_SECONDS + len(_WORD.findall(text)) / WORDS_A_SECOND


def _event(at: float, kind: str, text: str) -> str:
    return json.dumps([round(at, 3), kind, text])
