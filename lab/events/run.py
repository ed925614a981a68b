"""A run: the directory that holds everything one execution of the lab produced, and the events in it.

`runs/<UTC time>/` has one folder a part, written by that part alone; `verdicts.json` beside them is the outcome.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from lab.catalogue.cast import ATTACKER
from lab.events.log import FILE_NAME, Recorded, Tail
from lab.events.types import Event

E = TypeVar("E", bound=Event)

VERDICTS_FILE = "verdicts.json"
CAPTURE_FILE = "capture.pcapng"
INTERCEPTION_FILE = "interception.pcapng"
KEY_LOG_FILE = "keys.log"


class RunError(Exception):
    """A run that cannot be read or written; the text says which and what to do."""


@dataclass(frozen=True)
class Folders:
    """Where a run keeps things."""

    path: Path

    def part(self, name: str) -> Path:
        return self.path / name

    @property
    def verdicts(self) -> Path:
        return self.path / VERDICTS_FILE

    @property
    def capture(self) -> Path:
        return self.path / ATTACKER / CAPTURE_FILE


def new_run_name(now: datetime | None = None) -> str:
    """A run's name: when it began, UTC to the millisecond, sortable and fit for a file name."""
    moment = now or datetime.now(UTC)
    return f"{moment:%Y-%m-%dT%H-%M-%S}.{moment.microsecond // 1000:03d}Z"


def make_run_folder(parent: Path, name: str, chosen_by: str = "--runs") -> Folders:
    """Makes the run's own folder; RunError where that cannot be done. A user chooses `parent` by `chosen_by`."""
    path = parent / name
    try:
        path.mkdir(parents=True, mode=0o755)
    except FileExistsError:
        raise RunError(f"{path}: is already there; every run has a folder of its own") from None
    except OSError as error:
        reason = f"{path}: the run directory cannot be made ({error.strerror}); choose another with {chosen_by}"
        raise RunError(reason) from None
    return Folders(path)


class Run:
    """The events of a run, merged by time; `update` reads what has come since.

    `parts` tells which folders in the run's own to look into; all of them by default.
    """

    def __init__(self, folder: Path, parts: str = "*") -> None:
        self.folders = Folders(folder)
        self._files = f"{parts}/{FILE_NAME}"
        self.events: list[Recorded] = []
        self._tails: dict[Path, Tail] = {}

    @property
    def name(self) -> str:
        return self.folders.path.name

    def update(self) -> bool:
        """Takes in new events; whether there were any."""
        found: list[Recorded] = []
        for path in sorted(self.folders.path.glob(self._files)):
            found += self._tails.setdefault(path, Tail(path)).new()
        if found:
            self.events += found
            self.events.sort(key=lambda recorded: (recorded.time, recorded.part, recorded.sequence))
        return bool(found)

    def all(self, kind: type[E]) -> Iterator[E]:
        """The events of one type, in order."""
        return (recorded.event for recorded in self.events if isinstance(recorded.event, kind))

    def first(self, kind: type[E]) -> E | None:
        """The first event of a type."""
        return next(self.all(kind), None)


def open_run(folder: Path) -> Run:
    """The run in `folder`, as far as it got; RunError where there is none."""
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run directory; `certreplay demo` makes one under runs/")
    run = Run(folder)
    if not run.update():
        raise RunError(f"{folder}: holds no events, so it is no run directory")
    return run


def newest_run(runs: Path) -> Path:
    """The newest run in `runs`, by its name; rather one with an outcome than one that was cut off. RunError if none."""
    found = {path.parent.parent for path in runs.glob(f"*/*/{FILE_NAME}") if path.stat().st_size}
    found = {folder for folder in found if Folders(folder).verdicts.exists()} or found
    if not found:
        raise RunError(f"{runs}: no run is in there; `certreplay demo` makes one, and --runs says where to look")
    return max(found, key=lambda folder: folder.name)
