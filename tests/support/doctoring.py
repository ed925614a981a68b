"""Runs that went otherwise: a copy of a real run with some of its events changed."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from lab.events.log import FILE_NAME, from_line, to_line
from lab.events.run import Run, open_run
from lab.events.types import Event


def doctored_run(finished: Path, copy: Path, change: Callable[[Event], Event | None]) -> Run:
    """A copy of the run with its events passed through a function, which may change or drop them."""
    shutil.copytree(finished, copy)
    for path in copy.glob(f"*/{FILE_NAME}"):
        recorded = [from_line(line) for line in path.read_text().splitlines()]
        changed = [(one, change(one.event)) for one in recorded]
        path.write_text("".join(to_line(dataclasses.replace(one, event=event)) for one, event in changed if event))
    return open_run(copy)
