"""The lab's side of a guest: starts its process, calls its function, and ends it."""

import atexit
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.guest.kinds import CHECK
from lab.guest.loading import SECONDS, GuestError
from lab.guest.messages import decode, encode

START_SECONDS = 60.0
"""How long a process may take until the file is loaded, on a busy machine."""
LONGEST_ANSWER = 1 << 20
_PASSED_ON = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL")


def environment() -> dict[str, str]:
    """What a process with a student's code in it gets of this one's environment: no secrets."""
    return {name: value for name, value in os.environ.items() if name in _PASSED_ON}


@dataclass(frozen=True)
class Refusal:
    """The function refused a client."""

    why: str
    alert: str


class Guest:
    """One function of a student's file, in a process of its own.

    GuestError, with file and line, where the file cannot be loaded or the function fails. `values` are what the file
    has under the names that were asked for, as far as they are text. Nothing of the lab's memory or keys is in there.
    """

    def __init__(self, file: Path, function: str, parameters: str, names: Iterable[str] = ()) -> None:
        self.file = file
        self._process = subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-m", "lab.guest", str(file), function, parameters, *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment(),
            start_new_session=True,
        )
        self._ended = False
        atexit.register(self.close)
        try:
            found = self._answer(START_SECONDS).get("values")
        except BaseException:
            self.close()
            raise
        named = found if isinstance(found, dict) else {}
        self.values = {str(name): value for name, value in named.items() if isinstance(value, str)}

    def call(self, *arguments: object) -> object:
        """What the function gives back, or its Refusal."""
        assert self._process.stdin
        try:
            self._process.stdin.write(encode(arguments).encode())
        except OSError:
            raise GuestError(f"{self.file}: its process has ended; did it call sys.exit or os._exit?") from None
        answer = self._answer(2 * SECONDS)
        if "refused" in answer:
            return Refusal(str(answer["refused"]), str(answer["alert"]))
        return answer.get("result")

    def close(self) -> None:
        """Ends the process, and what it started."""
        if self._ended:
            return
        self._ended = True
        atexit.unregister(self.close)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.wait()

    def _end(self, ends: float) -> str:
        """How the process ended, which has closed its output, in words. What it started ends too."""
        try:
            status = self._process.wait(max(ends - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            return "closed its standard output"
        finally:
            self.close()
        return f"ended by signal {-status}" if status < 0 else f"ended with status {status}"

    def _answer(self, seconds: float) -> dict[str, object]:
        line = self._line(seconds)
        try:
            answer = decode(line.decode())
        except (ValueError, LookupError, TypeError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise GuestError(f"{self.file}: its process wrote what is no answer; leave its standard output alone")
        if "error" in answer:
            raise GuestError(str(answer["error"]))
        return answer

    def _line(self, seconds: float) -> bytes:
        """The next line; GuestError if it is not whole in time."""
        assert self._process.stdout
        line, ends = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if len(line) > LONGEST_ANSWER:
                    self.close()
                    raise GuestError(f"{self.file}: an answer is longer than {LONGEST_ANSWER >> 20} MiB")
                left = ends - time.monotonic()
                if left < 0 or not selector.select(left):
                    self.close()
                    raise GuestError(f"{self.file}: no answer within {seconds:g} s; does something in it never end?")
                more = self._process.stdout.read(1 << 16)
                if not more:
                    raise GuestError(f"{self.file}: its process {self._end(ends)} in the middle of its work")
                line += more
        return line


def decision(guest: Guest, *given: object) -> Refusal | None:
    """What a server's check decides; GuestError where it gives back False, which refuses nobody."""
    decided = guest.call(*given)
    if decided is False:
        raise GuestError(f"{guest.file}: {CHECK[0]} gives back False; to refuse a client, raise Refuse")
    return decided if isinstance(decided, Refusal) else None
