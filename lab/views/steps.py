"""A story that goes on when its presenter says so."""

import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from lab.document import Block, Section

PROMPT = "[Enter: the next act]"
_WIPE = f"\x1b[A\r{' ' * len(PROMPT)}\r"
"""Puts the cursor back to where the prompt was, and takes that away."""


def stepwise(blocks: Iterable[Block], given: TextIO = sys.stdin, told: TextIO = sys.stderr) -> Iterator[Block]:
    """The blocks, each act of them after one more line of what is `given`: Enter, where that is a terminal.

    Once no more is given, all that is left follows at once. The prompt is only for a person at a terminal.
    """
    asks = given.isatty() and told.isatty()
    ended = False
    for block in blocks:
        if isinstance(block, Section) and not ended:
            if asks:
                told.write(PROMPT)
                told.flush()
            ended = not given.readline()
            if asks:
                told.write(f"\r{' ' * len(PROMPT)}\r" if ended else _WIPE)
                told.flush()
        yield block
