"""Opens files that a person named or that somebody else wrote: regular ones only, and none longer than is useful.

Opening a FIFO waits for its other end, a device may never end, and a file with holes can be longer than any disk. What
is refused here is an OSError with the file's name, like one from the system.
"""

import errno
import os
import stat
from io import FileIO
from pathlib import Path

SMALL = 1 << 20
"""Enough bytes for a bundle, a password, a list of CAs."""
CHUNK = 1 << 20
"""The most bytes that are read at once: a read takes that much memory, however short the file is."""
LARGE = 1 << 28
"""Enough bytes for what a bank keeps of its customers, and for the events of a part."""


class CannotWrite(SystemExit):
    """What a program is there to write cannot be written; the text says where and why.

    Being a SystemExit, this ends the event loop from within any task, and nothing on the way takes it for an error of
    the network.
    """


_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_to_read(path: Path, most: int) -> FileIO:
    """Opens a regular file of at most `most` bytes; OSError for everything else."""
    file = FileIO(_open(path, os.O_RDONLY, 0), "rb")
    if (size := os.fstat(file.fileno()).st_size) > most:
        file.close()
        raise too_long(path, size, most)
    return file


def read(path: Path, most: int = SMALL) -> bytes:
    """A regular file of at most `most` bytes; OSError for everything else."""
    with open_to_read(path, most) as file:
        content = bytearray()
        while len(content) <= most and (more := file.read(min(CHUNK, most + 1 - len(content)))):
            content += more
    if len(content) > most:  # it grows, or its size is not known, as in /proc
        raise too_long(path, len(content), most)
    return bytes(content)


def check(path: Path, most: int = SMALL) -> None:
    """OSError for a file that `open_to_read` refuses: for one that a library opens itself."""
    open_to_read(path, most).close()


def open_to_write(path: Path, flags: int, mode: int = 0o644) -> int:
    """A file descriptor for a regular file, which `flags` may create; OSError for everything else."""
    return _open(path, flags, mode)


def make_folder(path: Path) -> None:
    """Makes a folder, and those that it lies in, unless it is there; OSError, which names it, where that cannot be
    done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # also a link that leads nowhere
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from None
    except RecursionError:  # each folder on the way takes a call
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path)) from None


def write(path: Path, content: bytes | str, mode: int = 0o644) -> None:
    """Makes this a regular file's content; OSError, which names the file, where that cannot be done."""
    octets = content if isinstance(content, bytes) else content.encode()
    with FileIO(open_to_write(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        append(file.fileno(), octets, path)


def append(descriptor: int, octets: bytes, path: Path) -> None:
    """Writes all of it; OSError, which names the file, where that cannot be done."""
    left = memoryview(octets)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def too_long(path: Path, size: int, most: int) -> OSError:
    """The error for a file of `size` bytes."""
    return OSError(errno.EFBIG, f"is longer than {most:,} bytes ({size:,}), the most that is read", str(path))


def _open(path: Path, flags: int, mode: int) -> int:
    """Looks at the file before and after it opens it: opening some devices already does something."""
    try:
        _refuse_odd(path, os.stat(path).st_mode)
    except FileNotFoundError:
        pass  # `flags` may create it
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        _refuse_odd(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_odd(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    for is_one, name in _KINDS:
        if is_one(mode):
            raise OSError(errno.EINVAL, f"is {name}, and not a regular file", str(path))
