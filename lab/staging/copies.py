"""Copies of what the parts of a class leave in their volumes, kept up to date while the parts write.

A part can put anything into its volume. The lab takes from it regular files of the names that this part's folder may
hold (`lab.events.parts`), opens them without following a link or waiting for a writer, and copies so much of each and
of all together, and no more. What it leaves out it tells once, and goes on.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.capture.writer import LIMIT_BYTES
from lab.events.log import FILE_NAME
from lab.events.parts import PART_FOLDERS, RECENT_FILES, STOLEN
from lab.printable import printable

CHUNK = 1 << 20
MAX_LISTED = 1000
"""The most names in a folder that are looked at."""
MAX_TOLD = 20
"""The most sentences about one part."""
MAX_SHOWN = 60
"""The most characters of a strange name that are shown."""
STOLEN_ENDING = ".pem"

_NO_FOLLOWING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = (
    (stat.S_ISLNK, "is a symbolic link"),
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a named pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISCHR, "is a device"),
)


@dataclass(frozen=True)
class Caps:
    """The most bytes that are copied: of a part's events, of another file, of a file in `stolen`, of all of a part."""

    events: int = 16 << 20
    file: int = LIMIT_BYTES
    stolen: int = 1 << 16
    part: int = 128 << 20


CAPS = Caps()


class NotTaken(Exception):
    """A file is left out; the text says why and completes its name."""


class Copies:
    """Copies of the run `name`, from the volumes of these parts in the folder `volumes`, into the directory `target`.

    Files only grow, so only new bytes are copied; those that take turns begin anew. A part's events come last: what
    they speak of is there by then.
    """

    def __init__(
        self, volumes: Path, name: str, target: Path, parts: tuple[str, ...] = tuple(PART_FOLDERS), caps: Caps = CAPS
    ) -> None:
        self._volumes = volumes
        self._name = name
        self._target = target
        self._caps = caps
        self._told: dict[str, set[str]] = {part: set() for part in parts}
        self._copied = {part: sum(map(_size, (target / part).rglob("*"))) for part in parts}

    def update(self) -> list[str]:
        """Copies the new bytes; a sentence for each thing that is left out, once."""
        return [what for part, told in self._told.items() for what in self._update(part, told)]

    def ended(self) -> Iterator[str]:
        """The parts that have begun, and whose folder no process holds a lock on any more."""
        for part in self._told:
            try:
                with _folder(str(self._volumes / part)) as volume, _folder(self._name, volume) as folder:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed
                    yield part
            except (FileNotFoundError, NotTaken, BlockingIOError):
                pass

    def _update(self, part: str, told: set[str]) -> Iterator[str]:
        for what in self._copy_part(part):
            if what not in told and len(told) < MAX_TOLD:
                told.add(what)
                yield what if len(told) < MAX_TOLD else f"{part}: more is left out"

    def _copy_part(self, part: str) -> Iterator[str]:
        """Copies what a part's folder may hold; a sentence for each thing that is left out."""
        may_hold = PART_FOLDERS[part]
        try:
            with _folder(str(self._volumes / part)) as volume, _folder(self._name, volume) as folder:
                if may_hold.steals:
                    yield from self._copy_stolen(part, folder)
                yield from self._copy_files(part, folder, may_hold.files, self._caps.file)
                yield from self._copy_files(part, folder, (FILE_NAME,), self._caps.events)
                for name in sorted(
                    _names(folder) - {FILE_NAME, *may_hold.files, *([STOLEN] if may_hold.steals else [])}
                ):
                    yield f"{part}/{_shown(name)} is left out: no file of that name is expected"
        except FileNotFoundError:
            pass  # the part has not begun
        except NotTaken as reason:
            yield f"{part} is left out: its folder {reason}"

    def _copy_stolen(self, part: str, folder: int) -> Iterator[str]:
        try:
            with _folder(STOLEN, folder) as stolen:
                names = _names(stolen)
                expected = {name for name in names if name.endswith(STOLEN_ENDING) and name.isprintable()}
                yield from self._copy_files(f"{part}/{STOLEN}", stolen, tuple(sorted(expected)), self._caps.stolen)
                for name in sorted(names - expected):
                    yield f"{part}/{STOLEN}/{_shown(name)} is left out: no file of that name is expected"
        except FileNotFoundError:
            pass  # nothing was stolen yet
        except NotTaken as reason:
            yield f"{part}/{STOLEN} is left out: it {reason}"

    def _copy_files(self, where: str, folder: int, names: tuple[str, ...], most: int) -> Iterator[str]:
        for name in names:
            try:
                self._copy_file(where, folder, name, most)
            except FileNotFoundError:
                pass  # not written yet
            except NotTaken as reason:
                yield f"{where}/{_shown(name)} is left out: it {reason}"

    def _copy_file(self, where: str, folder: int, name: str, most: int) -> None:
        """Copies a file's new bytes. NotTaken for what is no regular file with one name, and at a cap."""
        part = where.partition("/")[0]
        target = self._target / where / name
        with _opened(name, folder, os.O_RDONLY) as source:
            found = os.fstat(source)
            if found.st_nlink > 1:
                raise NotTaken("has a second name, a hard link")
            done = _size(target)
            if name in RECENT_FILES and found.st_size < done:  # it has begun anew
                target.unlink()
                self._copied[part] -= done
                done = 0
            end = min(found.st_size, most, done + self._caps.part - self._copied[part])
            if end > done:
                try:
                    self._copied[part] += _append(source, target, done, end)
                except OSError as error:
                    raise NotTaken(f"cannot be copied ({error.strerror})") from None
            if found.st_size > end:
                raise NotTaken(f"is too long, from byte {end} on")


def _append(source: int, target: Path, begin: int, end: int) -> int:
    """Copies these bytes of the source, which may have become shorter; how many there were."""
    target.parent.mkdir(parents=True, exist_ok=True)
    at = begin
    with target.open("ab") as writing:
        while at < end and (chunk := os.pread(source, min(CHUNK, end - at), at)):
            writing.write(chunk)
            at += len(chunk)
    return at - begin


@contextmanager
def _opened(name: str, folder: int | None, kind: int) -> Iterator[int]:
    """A file or, with O_DIRECTORY, a folder, as a descriptor. FileNotFoundError if it is not there, NotTaken if it is
    something else or cannot be read. What else lies there is not even opened: opening a device can do something."""
    directory = kind & os.O_DIRECTORY
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        for is_this, what in _KINDS:
            if is_this(mode) and not (directory and is_this is stat.S_ISDIR):
                raise NotTaken(what)
        descriptor = os.open(name, _NO_FOLLOWING | kind, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotTaken(f"cannot be read ({error.strerror})") from None
    try:
        mode = os.fstat(descriptor).st_mode  # it may have been exchanged in between
        if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
            raise NotTaken("is no folder" if directory else "is no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _folder(name: str, within: int | None = None) -> Iterator[int]:
    with _opened(name, within, os.O_DIRECTORY) as folder:
        yield folder


def _names(folder: int) -> set[str]:
    """The names in a folder, as many as are looked at."""
    names: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            names.add(entry.name)
            if len(names) >= MAX_LISTED:
                break
    return names


def _shown(name: str) -> str:
    """A name that somebody else chose, fit for a line."""
    return printable(name[:MAX_SHOWN])


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
