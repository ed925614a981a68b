"""Runs the parts as processes and makes sure that none outlives the lab."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.guest.host import environment
from lab.staging.caretaker import kill_group
from lab.staging.private import PrivateFolder

STOP_SECONDS = 3.0
LAST_WORDS = 1 << 13
LONGEST_FOLDER = 70


@dataclass(frozen=True)
class Part:
    """A part's name in the run, its Python package and its arguments.

    It may end by itself with an exit status in `may_end`; every other end is a failure.
    """

    name: str
    package: str
    arguments: tuple[str, ...]
    may_end: tuple[int, ...] = ()


class PartFailed(Exception):
    """A part ended too early. `status` is its exit status, negative for a signal."""

    def __init__(self, name: str, status: int, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.status = status


class Supervisor:
    """Starts parts, and ends them all when its block is left, for whatever reason.

    Each part is tethered: its standard input is a pipe from the lab, and it ends when that closes, even if the lab is
    killed. Each part runs in its own session: Ctrl-C reaches only the lab, which then stops the parts in order. What
    they write for themselves goes to the run's private folder, and its caretaker ends those that cannot end by
    themselves once the lab is gone.
    """

    def __init__(self, private: PrivateFolder) -> None:
        self._private = private
        self._parts: dict[str, Part] = {}
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._words: dict[str, asyncio.Task[list[str]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopping = asyncio.create_task(self.stop())
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:  # Ctrl-C while the parts are being stopped: they are stopped all the same
            await stopping
            raise

    async def start(self, part: Part) -> None:
        """Starts a part; it is not ready yet when this returns."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            part.package,
            *part.arguments,
            "--tether",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=_environment(part, self._private.path),
        )
        self._private.tell("+", process.pid)
        self._parts[part.name] = part
        self._running[part.name] = process
        assert process.stderr
        self._words[part.name] = asyncio.create_task(_last_words(process.stderr))

    async def check(self) -> None:
        """PartFailed if a part has ended too early, or the caretaker."""
        if (status := self._private.caretaker.poll()) is not None:
            what = "the process that removes the keys of a killed lab"
            raise PartFailed("caretaker", status, f"caretaker: {what} ended (status {status}); start the lab again")
        for name, process in self._running.items():
            if process.returncode is not None and process.returncode not in self._parts[name].may_end:
                words = await self._words[name]
                raise PartFailed(name, process.returncode, _what_happened(name, process.returncode, words))

    def has_ended(self, name: str) -> bool:
        """Whether a started part has ended by itself."""
        return self._running[name].returncode is not None

    async def stop(self, *names: str) -> None:
        """Ends these parts, or all: terminates them, and kills those that still run after STOP_SECONDS."""
        running = {name: process for name, process in self._running.items() if not names or name in names}
        for process in running.values():
            if process.returncode is None:
                process.terminate()
        ends = [asyncio.create_task(process.wait()) for process in running.values()]
        if ends:
            _, late = await asyncio.wait(ends, timeout=STOP_SECONDS)
            for process in running.values():
                if late and process.returncode is None:
                    process.kill()
            await asyncio.gather(*ends)
        for name in running:
            self._words.pop(name).cancel()
            process = self._running.pop(name)
            kill_group(process.pid)  # what a part that was killed had started
            self._private.tell("-", process.pid)


async def _last_words(stream: asyncio.StreamReader) -> list[str]:
    """The last lines of a part's standard error."""
    words = b""
    while more := await stream.read(1 << 12):
        words = (words + more)[-LAST_WORDS:]
    return words.decode("utf-8", "replace").strip().splitlines()


def _environment(part: Part, private: Path) -> dict[str, str]:
    """The parts get no SSLKEYLOGFILE or similar variable: they write to the run directory and the private folder only.
    A part with a student's code gets no more than a guest.

    A socket there needs a path that is not too long (unix(7)); below a long one they keep the usual folder.
    """
    with_students_code = any(one.startswith("--student-code=") for one in part.arguments)
    given = environment() if with_students_code else os.environ
    kept = {name: value for name, value in given.items() if not name.startswith("SSL")}
    return kept | {"TMPDIR": str(private)} if len(str(private)) <= LONGEST_FOLDER else kept


def _what_happened(name: str, status: int, words: list[str]) -> str:
    own = [line for line in words if line.startswith(f"{name}: ")]
    last = (own or words or ["it printed nothing"])[-1]
    if status < 0:
        return f"{name}: ended by signal {-status}; {last}"
    return last if last.startswith(f"{name}: ") else f"{name}: ended with status {status}; {last}"
