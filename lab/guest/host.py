"""The lab's side of a guest: starts its process, calls its function, and ends it."""

import os
import selectors
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.guest.loading import SECONDS, GuestError
from lab.guest.messages import decode, encode

START_SECONDS = 60.0
"""How long a process may take until the file is loaded, on a busy machine."""
LONGEST_ANSWER = 1 << 20
_PASSED_ON = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL")


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
            env={name: value for name, value in os.environ.items() if name in _PASSED_ON},
        )
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
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

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
        """The next line; GuestError if none comes in time."""
        assert self._process.stdout
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(seconds) or len(line) > LONGEST_ANSWER:
                    self.close()
                    raise GuestError(f"{self.file}: no answer within {seconds:g} s; does something in it never end?")
                more = self._process.stdout.read(1 << 16)
                if not more:
                    status = self._process.wait()
                    how = f"by signal {-status}" if status < 0 else f"with status {status}"
                    raise GuestError(f"{self.file}: its process ended {how} in the middle of its work")
                line += more
        return line
