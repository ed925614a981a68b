"""Runs that went otherwise: a real run with some of its events changed."""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from lab.events.log import Recorded
from lab.events.run import Run, open_run
from lab.events.types import Event


def doctored_run(finished: Path, change: Callable[[Event], Event | None]) -> Run:
    """The run with its events passed through a function, which may change or drop them; no number is missing then."""
    run = Run(finished)
    changed = [(one, change(one.event)) for one in recorded_in(finished)]
    numbers: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
    run.events = [
        dataclasses.replace(one, event=event, sequence=next(numbers[one.part])) for one, event in changed if event
    ]
    return run


@cache
def recorded_in(finished: Path) -> tuple[Recorded, ...]:
    """The events of a finished run, read once."""
    return tuple(open_run(finished).events)
