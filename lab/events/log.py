"""A part's events on disk: one JSON object a line, in the folder of the part that wrote them.

A line holds the envelope (`version`, `part`, `sequence`, `time`, `type`) and the event's own fields. Times are UTC;
bytes are hex. A line whose type or version this code does not know, or whose fields do not fit their types, is read as
an `UnknownEvent` and shown. A last line that was cut off is left for later.
"""

import dataclasses
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from lab import files
from lab.events import version1
from lab.events.fields import build
from lab.events.types import BY_NAME, Event, UnknownEvent, type_name

VERSION = 3
READABLE = (version1.VERSION, 2, VERSION)
"""Version 2 lacks fields of version 3 and has no others: what they say was not recorded then."""
FILE_NAME = "events.jsonl"
MAX_FILE = 1 << 29
MAX_LINE = 1 << 22
"""The most bytes of a file, and of a line, that are read."""
CHUNK = 1 << 16
_LINE = re.compile(rb"[^\n]{50,}")
"""A line that may be an event: an envelope alone is longer. Millions of shorter lines are passed over quickly."""
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""No event is earlier: from its time a duration can be subtracted."""


@dataclass(frozen=True)
class Recorded:
    """An event with its envelope."""

    part: str
    sequence: int
    time: datetime
    event: Event
    version: int = VERSION
    """The version of the format that it was written in."""

    @property
    def number(self) -> str:
        """What names it in a run: `attacker#12` is the twelfth event of the part `attacker`."""
        return f"{self.part}#{self.sequence}"


class Reporter(Protocol):
    """Takes a part's reports."""

    def report(self, event: Event) -> None: ...


class EventLog:
    """Appends one part's events to the file in its folder, each line in one write.

    The events of a part are numbered from 1 without a gap, also where several processes write as the same part, one
    after the other or at the same time. OSError where the folder cannot be written.
    """

    def __init__(self, folder: Path, part: str) -> None:
        files.make_folder(folder)
        self._path = folder / FILE_NAME
        self._part = part
        self._file = files.open_to_write(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._sequence, self._end = 0, 0

    def report(self, event: Event) -> None:
        """files.CannotWrite where the event cannot be written."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._catch_up()
            self._sequence += 1
            line = to_line(Recorded(self._part, self._sequence, datetime.now(UTC), event)).encode()
            files.append(self._file, line, self._path)
            self._end += len(line)
        except OSError as error:
            raise files.CannotWrite(f"{error.filename or self._path}: {error.strerror}") from None
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Goes on after what another process has written meanwhile."""
        size = os.fstat(self._file).st_size
        if size == self._end:
            return
        self._sequence = max((recorded.sequence for recorded in read_events(self._path)), default=0)
        if os.pread(self._file, 1, size - 1) != b"\n":
            files.append(self._file, b"\n", self._path)  # that process was cut off within its last line
            size += 1
        self._end = size

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
    """Reads a line back; ValueError where it is no event at all.

    An event that this version does not know, or whose fields do not fit, becomes an `UnknownEvent`.
    """
    fields = _object(line)
    try:
        version, kind = fields.pop("version"), fields.pop("type")
        part, sequence, time = fields.pop("part"), fields.pop("sequence"), datetime.fromisoformat(fields.pop("time"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the envelope lacks or garbles {error}") from None
    if type(kind) is not str or type(part) is not str or type(sequence) is not int:
        raise ValueError("type and part are strings, and the sequence is an integer")
    if time.tzinfo is None or time < EARLIEST:
        raise ValueError("the time has an offset from UTC, and is not before 1970")
    event = _event(version, kind, fields) or UnknownEvent(kind, fields)
    return Recorded(part, sequence, time, event, version if type(version) is int else VERSION)


def _object(line: str) -> dict[str, Any]:
    """The JSON object in a line; ValueError where there is none, or one with text that cannot be written again."""
    try:
        fields = json.loads(line)
        if "\\u" in line:
            json.dumps(fields, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except RecursionError:
        raise ValueError("nested too deeply for an event") from None
    if not isinstance(fields, dict):
        raise ValueError("an event is a JSON object")
    return fields


def _event(version: object, kind: str, fields: dict[str, Any]) -> Event | None:
    """The event with these fields; None where they do not fit it, and for an unknown version or type."""
    if version == version1.VERSION:
        fields = version1.upgraded(kind, fields)
    if version not in READABLE or kind not in BY_NAME:
        return None
    try:
        event: Event = build(BY_NAME[kind], fields)
    except (TypeError, ValueError):
        return None
    return event


def read_events(path: Path) -> Iterator[Recorded]:
    """The events in one file, in its order; none where there is no file. It skips unreadable lines."""
    if path.exists():
        yield from Tail(path).new()


class Tail:
    """Reads a growing `events.jsonl`: each call of `new` yields the events of the lines that are new.

    Lines longer than MAX_LINE are skipped. OSError for a file that is longer than MAX_FILE, or no regular one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        """Where the first line begins that has not been read."""
        self._within_a_long_line = False

    def new(self) -> Iterator[Recorded]:
        for line in self._lines():
            try:
                yield from_line(line.decode())
            except ValueError:
                continue

    def _lines(self) -> Iterator[bytes]:
        try:
            file = files.open_to_read(self._path, MAX_FILE)
        except FileNotFoundError:
            return
        with file:
            file.seek(self._offset)
            begun = b""
            while chunk := file.read(CHUNK):
                whole, newline, begun = (begun + chunk).rpartition(b"\n")
                if newline:
                    self._offset += len(whole) + 1
                    if self._within_a_long_line:
                        self._within_a_long_line, whole = False, whole.partition(b"\n")[2]
                    for found in _LINE.finditer(whole):
                        yield found[0]
                if len(begun) > MAX_LINE:
                    self._offset += len(begun)
                    self._within_a_long_line, begun = True, b""
