"""Loads a student's file, calls what is in it, and says of every error at which line it came about."""

import resource
import signal
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from lab import files
from lab.guest import Refuse
from lab.tls.errors import Abort

T = TypeVar("T")

CPU_SECONDS = 2.0
"""How much a call may compute."""
SECONDS = 15.0
"""How long it may take, whatever it does, on a busy machine too."""
MEMORY_BYTES = 1 << 29
FILE_BYTES = 1 << 20


class GuestError(Exception):
    """A student's file does not do; the text says what is wrong, with file and line."""


class _TooSlow(BaseException):
    """A call that takes too long; no `except Exception` of the file's own takes it."""


def limit_memory() -> None:
    """From now on this process may use no more memory than a guest."""
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)


def limit_files(octets: int = FILE_BYTES) -> None:
    """From now on it may write no longer files, and no core."""
    _limit(resource.RLIMIT_FSIZE, octets)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(ValueError, OSError):  # not every system has every limit
        resource.setrlimit(kind, (most, most))


class GuestModule:
    """A student's file, loaded into this process. GuestError where that is impossible."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._name = str(file.resolve())
        source = files.read(file)
        self._module = types.ModuleType(file.stem)
        self._module.__file__ = self._name
        sys.path.append(str(file.resolve().parent))  # last: what lies beside it takes the place of nothing
        with self._errors("it"):
            code = compile(source, self._name, "exec")
            exec(code, self._module.__dict__)  # noqa: S102 - this is what it is for

    def value(self, name: str) -> object:
        """What the file calls so; None if nothing."""
        return getattr(self._module, name, None)

    def function(self, name: str, parameters: str) -> Callable[..., Any]:
        """A function of the file. Refuse and the instrument's Abort pass through it; what else it raises is a
        GuestError."""
        found = self.value(name)
        if not isinstance(found, types.FunctionType):
            raise GuestError(f"{self.file}: there is no function {name}({parameters}) in it; write one")

        def call(*arguments: object) -> object:
            with self._errors(f"{name}({parameters})", found.__code__.co_firstlineno):
                return found(*arguments)

        return call

    def wrong(self, name: str, what: str) -> GuestError:
        """That something in the file, by its name, is not what it must be."""
        found = self.value(name)
        line = found.__code__.co_firstlineno if isinstance(found, types.FunctionType) else None
        return GuestError(f"{self._at(line)}: {name} {what}")

    @contextmanager
    def _errors(self, what: str, line: int | None = None) -> Iterator[None]:
        try:
            with _in_time():
                yield
        except (Refuse, Abort):
            raise
        except _TooSlow as error:
            reason = f"{what} takes too long: at most {CPU_SECONDS:g} s of computing and {SECONDS:g} s in all"
            raise GuestError(f"{self._at(self._line(error) or line)}: {reason}") from None
        except SyntaxError as error:
            mine = error.filename == self._name
            at = self._at(error.lineno if mine else self._line(error))
            raise GuestError(f"{at}: {type(error).__name__}: {error.msg}") from None
        except MemoryError as error:
            most = f"it takes more memory than {MEMORY_BYTES >> 20} MiB"
            raise GuestError(f"{self._at(self._line(error) or line)}: {most}") from None
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise GuestError(f"{self._at(self._line(error) or line)}: {told}") from None

    def _line(self, error: BaseException) -> int | None:
        """The last line of the file that was carried out."""
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self._name]
        return lines[-1] if lines else None

    def _at(self, line: int | None) -> str:
        return f"{self.file}, line {line}" if line else str(self.file)


@contextmanager
def _in_time() -> Iterator[None]:
    """_TooSlow, at the line that is carried out then, once the block takes too long."""

    def stop(number: int, frame: object) -> None:
        raise _TooSlow

    alarms = ((signal.SIGVTALRM, signal.ITIMER_VIRTUAL, CPU_SECONDS), (signal.SIGALRM, signal.ITIMER_REAL, SECONDS))
    before = [signal.signal(number, stop) for number, _, _ in alarms]
    try:
        for _, timer, seconds in alarms:
            signal.setitimer(timer, seconds)
        yield
    finally:
        for (number, timer, _), handler in zip(alarms, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
