"""How the command ends: its exit statuses, and what it says when it refuses or is stopped.

0: as expected. 1: not as expected. 2: the call or its input is wrong, said in one line. 130: stopped by Ctrl-C (143: by
SIGTERM). 141: the reader of the output left, as with `| head`; that is no verdict.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

AS_EXPECTED, NOT_AS_EXPECTED, BAD_INPUT = 0, 1, 2
OUTPUT_CLOSED = 128 + signal.SIGPIPE


def refuse(message: str, status: int = BAD_INPUT) -> NoReturn:
    """Ends the command with one line on standard error; with `--json` in the call, also with a JSON object."""
    line = " ".join(message.split())
    if "--json" in sys.argv[1:]:
        print(json.dumps({"error": line}))
    print(f"certreplay: {line}", file=sys.stderr)
    sys.exit(status)


def end_on_error(command: Callable[[], object]) -> int:
    """Calls a command; its exit status, which is what it returns, if that is a number.

    Every error that is the caller's becomes one line and status 2.
    """
    try:
        try:
            status = command()
            sys.stdout.flush()
        except Exception as error:
            _end(error)
    except BrokenPipeError:
        return _output_closed()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer and rich turn that into an exit
            return _output_closed()
        return _flushed(end.code if isinstance(end.code, int) else BAD_INPUT)
    return status if isinstance(status, int) else AS_EXPECTED


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end. Ctrl-C and SIGTERM stop it in good order, then end the command."""
    import asyncio  # the verbs that run nothing need not wait for it

    stopped_by: list[int] = []

    async def stoppable() -> T:
        task = asyncio.current_task()
        assert task
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            if not stopped_by:
                stopped_by.append(number)
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        return await work

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        if not stopped_by:
            raise
        refuse("stopped", 128 + stopped_by[0])


def _end(error: Exception) -> NoReturn:
    """Ends the command with what its caller has to know of an error; raises the error if it is a bug."""
    from typer.exceptions import TyperException

    from attacker.errors import AttackerError
    from lab.capture.errors import CaptureFileError
    from lab.catalogue.plan import PlanError
    from lab.events.run import RunError
    from lab.staging.pki import PkiError
    from lab.staging.supervisor import PartFailed
    from lab.tls.errors import BundleError

    if isinstance(error, BrokenPipeError):
        raise error
    if isinstance(error, TyperException):
        if not str(error):  # called without anything: the help was shown
            sys.exit(BAD_INPUT)
        refuse(f"{error.format_message().rstrip('.')} (--help shows how to call it)")
    if isinstance(error, PartFailed):
        refuse(str(error), BAD_INPUT if error.status == BAD_INPUT else NOT_AS_EXPECTED)
    if isinstance(error, AttackerError | BundleError | CaptureFileError | PkiError | PlanError | RunError):
        refuse(str(error))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        _discard_output()  # what is left to be written would fail again
        refuse(f"cannot write: {error.strerror}")
    if isinstance(error, OSError) and error.filename is not None:
        refuse(f"{error.filename}: {error.strerror}")
    raise error


def _flushed(status: int) -> int:
    """The status, once everything is written; a reader that has left or a full disk changes it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _output_closed()
    except OSError as error:
        _discard_output()
        print(f"certreplay: cannot write: {error.strerror}", file=sys.stderr)
        return BAD_INPUT
    return status


def _output_closed() -> int:
    _discard_output()
    return OUTPUT_CLOSED


def _discard_output() -> None:
    """Sends the rest of standard output nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
