"""A run: the directory that holds everything one execution of the lab produced, and the events in it.

`runs/<UTC time>/` has one folder a part, written by that part alone; `verdicts.json` beside them is the outcome.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from lab import files
from lab.catalogue.cast import ATTACKER
from lab.events.log import FILE_NAME, Recorded, Tail
from lab.events.parts import CAPTURE_FILE, NOTHING, PART_FOLDERS, PLANNERS
from lab.events.types import Event, RunStarted, type_name

E = TypeVar("E", bound=Event)

VERDICTS_FILE = "verdicts.json"


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


def make_run_folder(
    parent: Path, name: str, is_ours: Callable[[Folders], bool] = lambda folders: False, chosen_by: str = "--runs"
) -> Folders:
    """Makes the run's own folder, or finds the one that `is_ours`; RunError where that cannot be done.

    Another lab's run can have begun in the same millisecond. Then a number follows the name. A user chooses `parent`
    by `chosen_by`.
    """
    path, numbers = parent / name, itertools.count(2)
    while not (_is_made(path, chosen_by) or is_ours(Folders(path))):
        path = parent / f"{name}-{next(numbers)}"
    return Folders(path)


def _is_made(path: Path, chosen_by: str) -> bool:
    """Makes a folder; False where something of that name is there. RunError where it cannot be made."""
    try:
        files.make_folder(path.parent)
        path.mkdir(mode=0o755)
    except FileExistsError:
        return False
    except OSError as error:
        reason = f"{path}: the run directory cannot be made ({error.strerror}); choose another with {chosen_by}"
        raise RunError(reason) from None
    return True


NAMES_FOLDERS = 3
"""The version of events from which on a part has its folder's name; earlier, several parts of a class had one name."""


@dataclass(frozen=True)
class RefusedEvent:
    """An event that its folder may not hold; `why` completes "`attacker` holds ..."."""

    folder: str
    why: str
    recorded: Recorded


class Run:
    """The events of a run, merged by time; `update` reads what has come since.

    What a folder may not hold (`lab.events.parts`) is in `refused` and not in `events`: nobody is believed beyond his
    own.
    """

    def __init__(self, folder: Path) -> None:
        self.folders = Folders(folder)
        self.events: list[Recorded] = []
        self.refused: list[RefusedEvent] = []
        self._tails: dict[Path, Tail] = {}
        self._version: int | None = None

    @property
    def name(self) -> str:
        return self.folders.path.name

    def update(self) -> bool:
        """Takes in new events; whether there were any."""
        found: list[Recorded] = []
        refused = len(self.refused)
        paths = self.folders.path.glob(f"*/{FILE_NAME}")
        for path in sorted(paths, key=lambda path: (path.parent.name not in PLANNERS, path)):
            for recorded in self._tails.setdefault(path, Tail(path)).new():
                found += self._believed(path.parent.name, recorded)
        if found:
            self.events += found
            self.events.sort(key=lambda recorded: (recorded.time, recorded.part, recorded.sequence))
        return bool(found) or len(self.refused) > refused

    def _believed(self, folder: str, recorded: Recorded) -> Iterator[Recorded]:
        """The event, if its folder may hold it. The plan is read first; it tells the version of all other events."""
        if recorded.version < NAMES_FOLDERS:
            recorded = replace(recorded, part=folder)
        kind = type_name(type(recorded.event))
        why = ""
        if recorded.part != folder:
            why = "events in the name of another part"
        elif not PART_FOLDERS.get(folder, NOTHING).may_say(recorded.event):
            why = f"events of the type {kind}, which are not its own to report"
        elif self._version is None and isinstance(recorded.event, RunStarted):
            self._version = recorded.version
        elif recorded.version != (self._version or recorded.version):
            why = f"events of the format {recorded.version}, and the run's is {self._version}"
        if why:
            self.refused.append(RefusedEvent(folder, why, recorded))
        else:
            yield recorded

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


def named_run(run: Path | None, runs: Path) -> Path:
    """The folder of the run that somebody named: by its directory, by its name in `runs`, or, without a name, the
    newest. RunError where there is none to take; whether a named one is there, `open_run` says."""
    if run is None:
        return newest_run(runs)
    return runs / run if not run.exists() and (runs / run).is_dir() else run


def newest_run(runs: Path) -> Path:
    """The newest run in `runs`, by its name; rather one with an outcome than one that was cut off. RunError if none."""
    found = {path.parent.parent for path in runs.glob(f"*/*/{FILE_NAME}") if path.stat().st_size}
    found = {folder for folder in found if Folders(folder).verdicts.exists()} or found
    if not found:
        raise RunError(f"{runs}: no run is in there; `certreplay demo` makes one, and --runs says where to look")
    return max(found, key=lambda folder: folder.name)
