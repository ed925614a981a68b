"""A run's private folder: where the private keys lie while it lasts. It never outlives the run.

The lab removes it, or the caretaker (`lab.staging.caretaker`) if the lab cannot. If both were killed at once, the next
run does: a lock tells whether somebody still uses a folder.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.staging import caretaker

PREFIX = "certreplay-"
LOCK_FILE = ".certreplay-run"
"""Only a folder with this file in it is swept."""


@dataclass(frozen=True)
class PrivateFolder:
    """The folder, and the caretaker, which wants to know of every part."""

    path: Path
    caretaker: "subprocess.Popen[bytes]"

    def tell(self, sign: str, pid: int) -> None:
        """Says that a part has begun, `+`, or has ended, `-`."""
        assert self.caretaker.stdin
        with suppress(OSError):  # a caretaker that was killed; the lab notices that itself
            os.write(self.caretaker.stdin.fileno(), f"{sign}{pid}\n".encode())


@contextmanager
def private_folder() -> Iterator[PrivateFolder]:
    """A new private folder, gone when the block ends. Folders that earlier runs had to leave are removed first."""
    sweep()
    path, lock = _make()
    try:
        process = subprocess.Popen(  # noqa: S603  this very Python
            [sys.executable, "-I", "-S", caretaker.__file__, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock,),
        )
        try:
            yield PrivateFolder(path, process)
        finally:
            shutil.rmtree(path, ignore_errors=True)
            process.kill()  # nothing is left for it to do, and it may be stopped
            process.communicate()
    finally:
        os.close(lock)


def sweep() -> None:
    """Removes the private folders that nobody uses any more."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if path.is_symlink() or path.stat().st_uid != os.geteuid():
                continue
            lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _make() -> tuple[Path, int]:
    """A new folder and the lock on it. Another lab may sweep it before it is locked; then there is a newer one."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))  # mode 0700
        try:
            lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:
                return path, lock
        except BlockingIOError:
            pass
        os.close(lock)
