"""A part's events on disk: one JSON object a line, in the folder of the part that wrote them.

A run is a directory with one folder a part; each part appends to its own `events.jsonl` and to no other, and whoever
shows a run merges them by time. A line holds the envelope (`version`, `part`, `sequence`, `time`, `type`) and the
event's own fields. Times are UTC; bytes are hex. A line of a type or version that this code doesn't know is read as an
`UnknownEvent` and shown, and a last line that was cut off is left for later.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from lab.events import version1
from lab.events.types import BY_NAME, Event, UnknownEvent, type_name

VERSION = 2
FILE_NAME = "events.jsonl"


@dataclass(frozen=True)
class Recorded:
    """An event with its envelope."""

    part: str
    sequence: int
    time: datetime
    event: Event


class Reporter(Protocol):
    """Where a part says what happened."""

    def report(self, event: Event) -> None: ...


class EventLog:
    """Appends one part's events to its folder, each line whole and at once on disk as far as the system's cache.

    Goes on where an earlier process of the same part stopped. OSError where the folder cannot be written.
    """

    def __init__(self, folder: Path, part: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE_NAME
        self._part = part
        self._sequence = max((r.sequence for r in read_events(path)), default=0)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")  # an earlier process was cut off within its last line

    def report(self, event: Event) -> None:
        self._sequence += 1
        line = to_line(Recorded(self._part, self._sequence, datetime.now(UTC), event))
        os.write(self._file, line.encode())

    def close(self) -> None:
        os.close(self._file)


def to_line(recorded: Recorded) -> str:
    """One line of `events.jsonl`, newline included."""
    fields = dataclasses.asdict(recorded.event)
    kind = type_name(type(recorded.event))
    if isinstance(recorded.event, UnknownEvent):
        kind, fields = recorded.event.type, dict(recorded.event.fields)
    envelope = {
        "version": VERSION,
        "part": recorded.part,
        "sequence": recorded.sequence,
        "time": recorded.time.isoformat(timespec="microseconds"),
        "type": kind,
    }
    return json.dumps(envelope | fields) + "\n"


def from_line(line: str) -> Recorded:
    """Reads a line back; ValueError where it is no event at all."""
    try:
        fields = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply for an event") from None
    if not isinstance(fields, dict):
        raise ValueError("an event is a JSON object")
    try:
        version, kind = fields.pop("version"), fields.pop("type")
        part, sequence = str(fields.pop("part")), int(fields.pop("sequence"))
        time = datetime.fromisoformat(fields.pop("time"))
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"an event's envelope lacks or garbles {error}") from None
    if time.tzinfo is None or not isinstance(kind, str):
        raise ValueError("an event's time has an offset from UTC, and its type is a string")
    known = BY_NAME.get(kind) if version in (VERSION, version1.VERSION) else None
    if known:
        current = fields if version == VERSION else version1.upgraded(kind, fields)
        values = {key: _frozen(value) for key, value in current.items()}
        try:
            return Recorded(part, sequence, time, known(**values))
        except TypeError:
            pass  # other fields than this version's: shown as it stands
    return Recorded(part, sequence, time, UnknownEvent(kind, fields))


def _frozen(value: Any) -> Any:
    """Lists, whose place in an event a tuple has."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def read_events(path: Path) -> Iterator[Recorded]:
    """The events in one file, in its order; none where there is no file. Unreadable lines are passed over."""
    if path.exists():
        yield from Tail(path).new()


class Tail:
    """Reads a growing `events.jsonl`: each call of `new` yields the whole lines that came since the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[Recorded]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                yield from_line(line.decode())
            except ValueError:
                continue
