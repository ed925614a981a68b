"""How a call of the command ends.

Exit status 0: as expected. 1: not as expected. 2: the call or its input is wrong, said in one line on standard error,
and with --json also as `{"error": ...}` on standard output. 130: stopped by Ctrl-C; 143: by SIGTERM. 141: the reader of
standard output left, as with `| head`; that is no verdict.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lab.files import CannotWrite
from lab.printable import one_line, say

T = TypeVar("T")

AS_EXPECTED, NOT_AS_EXPECTED, BAD_INPUT = 0, 1, 2
BROKEN_PIPE = 128 + signal.SIGPIPE


class CallFailed(Exception):
    """A call that cannot be carried out: one line that says why, and the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(one_line(message))
        self.status = status


def bad_input(message: str) -> NoReturn:
    """Refuses a call because of its input; the message says what is wrong, where, and what to do."""
    raise CallFailed(message, BAD_INPUT)


def end_with(call: Callable[[], None], as_json: bool) -> NoReturn:
    """Carries out a call and ends by SystemExit. Every error that is the caller's becomes one line and status 2.

    With `as_json` the error is also a JSON object on standard output.
    """
    try:
        try:
            call()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        sys.exit(BROKEN_PIPE)
    except (Exception, CannotWrite) as error:
        refused = _refusal(error)
        if refused is None:
            raise
        say(f"certreplay: {refused}", error=True)
        if as_json:
            print(json.dumps({"error": str(refused)}), flush=True)
        sys.exit(refused.status)
    sys.exit(AS_EXPECTED)


def _refusal(error: Exception | CannotWrite) -> CallFailed | None:
    """What to say of an error that is the caller's; None for a bug."""
    from typer.exceptions import TyperException

    match error:
        case CallFailed():
            return error
        case TyperException():
            return CallFailed(f"{error.format_message().rstrip('.')} (--help shows how to call it)", BAD_INPUT)
        case CannotWrite():
            return CallFailed(str(error), BAD_INPUT)
        case MemoryError():
            return CallFailed(
                "there is not enough memory for this; end other programs, or raise `ulimit -v`", BAD_INPUT
            )
        case OSError(filename=str() | Path() as file):
            return CallFailed(f"{file}: {error.strerror}", BAD_INPUT)
        case OSError(errno=errno.ENOSPC):
            _forget_output()
            return CallFailed(f"cannot write: {error.strerror}", BAD_INPUT)
        case OSError():
            return CallFailed(error.strerror or str(error), BAD_INPUT)
        case _:
            return CallFailed(str(error), BAD_INPUT) if isinstance(error, _errors_of_callers()) else None


def _errors_of_callers() -> tuple[type[Exception], ...]:
    from attacker.errors import AttackerError
    from lab.capture.errors import CaptureFileError
    from lab.catalogue.plan import PlanError
    from lab.catalogue.students import StudentError
    from lab.course.errors import CourseError
    from lab.events.run import RunError
    from lab.exercises.exercise import ExerciseError
    from lab.guest.loading import GuestError
    from lab.staging.pki import PkiError
    from lab.story.recipe import NoRecipe
    from lab.tls.errors import BundleError
    from lab.views.terminal import WidthError

    return (
        AttackerError,
        BundleError,
        CaptureFileError,
        CourseError,
        ExerciseError,
        GuestError,
        NoRecipe,
        PkiError,
        PlanError,
        RunError,
        StudentError,
        WidthError,
    )


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end; Ctrl-C and SIGTERM stop it in good order, then end the command."""
    import asyncio

    from lab.staging.supervisor import PartFailed

    stopped_by: list[int] = []

    async def stoppable() -> T:
        task = asyncio.current_task()
        assert task
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: object) -> None:
            if not stopped_by:
                stopped_by.append(number)
                loop.call_soon_threadsafe(task.cancel)

        # The loop's own way to handle a signal would, at its end, leave none of the handlers there were before.
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return await work
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    try:
        result = asyncio.run(stoppable())
    except asyncio.CancelledError:
        pass
    except PartFailed as failure:
        if not stopped_by:
            raise CallFailed(str(failure), BAD_INPUT if failure.status == BAD_INPUT else NOT_AS_EXPECTED) from None
    if stopped_by:
        say("certreplay: stopped", error=True)
        sys.exit(128 + stopped_by[0])
    return result


def _forget_output() -> None:
    """What is left to be written would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
