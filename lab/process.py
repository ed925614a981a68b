"""What all parts have in common as processes: they end cleanly when told to, and say in one line what is wrong.

A part ends on SIGTERM, on SIGINT and, if tethered, when its standard input ends. Its parent holds the other end of that
pipe, so no part outlives a parent that was killed. Its exit status is 0 or 1, or 2 where its
call or its input is wrong.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from lab.files import CannotWrite
from lab.printable import one_line, prepare_output, say

T = TypeVar("T")

BAD_INPUT_STATUS = 2


class BadInput(Exception):
    """The part was called with input that it cannot use; the text says what, where, and what to do."""


class CannotGoOn(SystemExit):
    """The same, noticed in the middle of the work. Being a SystemExit, it ends the event loop from within any task."""


class ArgumentParser(argparse.ArgumentParser):
    """The standard one, except that a wrong call is BadInput: one line, not a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message} (--help shows how to call it)")


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Reads an argument that is a whole number between these; for `add_argument(type=...)`."""

    def read(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")

    return read


def part_of_one(text: str) -> float:
    """Reads an argument that is a number from 0 to 1; for `add_argument(type=...)`."""
    with suppress(ValueError):
        if 0 <= (number := float(text)) <= 1:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")


def seconds(most: float) -> Callable[[str], float]:
    """Reads an argument that is a time: more than 0, and at most `most` seconds; for `add_argument(type=...)`."""

    def read(text: str) -> float:
        with suppress(ValueError):
            if 0 < (time := float(text)) <= most:
                return time
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, more than 0 and at most {most:g}")

    return read


def stop_signal(tether: bool) -> asyncio.Event:
    """An event that is set when the part must end. Call it in a running loop, before anything else is started.

    With `tether`, the end of standard input sets it too; from /dev/null or a closed standard input that is at once.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def wait_for_end_of_input() -> None:
        try:
            while os.read(0, 1 << 12):
                pass
        except OSError:
            pass
        try:
            loop.call_soon_threadsafe(stopped.set)
        except RuntimeError:
            pass  # the loop is closed: the part has ended already

    if tether:
        threading.Thread(target=wait_for_end_of_input, name="tether", daemon=True).start()
    return stopped


async def until_told(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of the work, or None if it was told to stop before its end."""
    working, told = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not working.done():
        working.cancel()
    try:
        return await working
    except asyncio.CancelledError:
        return None


def run_part(name: str, main: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Runs a part to its end and exits with the status that `main` returns. `main` may read the command line.

    BadInput, CannotGoOn, CannotWrite and an OSError become one line on stderr, `name: what is wrong`, and status 2.
    """
    prepare_output()
    try:
        status = asyncio.run(main())
    except BadInput as error:
        status = _bad_input(name, str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        status = _bad_input(name, f"{where}{error.strerror or error}")
    except (CannotWrite, CannotGoOn) as error:
        logging.getLogger("asyncio").disabled = True  # it tells of every task that this broke off
        status = _bad_input(name, str(error))
    except KeyboardInterrupt:
        status = 0
    sys.exit(status)


def _bad_input(name: str, what: str) -> int:
    say(f"{name}: {one_line(what)}", error=True)
    return BAD_INPUT_STATUS
