"""Shows a page: finds the run, says where the page is, serves it, also beside another command."""

import asyncio
import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

from lab.events.log import FILE_NAME
from lab.events.run import Folders, RunError, newest_run
from lab.page.following import SILENT_SECONDS, Following
from lab.page.server import FIRST_PORT, HOST, PageServer, bind
from lab.printable import say

EVERYWHERE = "0.0.0.0"  # noqa: S104
"""Every address that a container has."""
FindRun = Callable[[], Path | None]
"""Gives the folder of the run to show, None as long as there is none."""


def run_to_show(runs: Path) -> Path:
    """The newest run if it is going on, or else the newest that has an outcome. RunError if there is none."""
    logs = list(runs.glob(f"*/*/{FILE_NAME}"))
    if logs:
        newest = max(path.parent.parent for path in logs)
        last = max(path.stat().st_mtime for path in logs if path.parent.parent == newest)
        if not Folders(newest).verdicts.exists() and time.time() - last < SILENT_SECONDS:
            return newest
    return newest_run(runs)


def beside(find_run: FindRun, opens: bool) -> Callable[[], None]:
    """Serves a page in a thread beside a command. What it returns waits until somebody presses Ctrl-C."""
    serving = threading.Thread(target=lambda: asyncio.run(show(find_run, None, None, opens)), daemon=True)
    serving.start()

    def stay() -> None:
        say("The page stays there until you press Ctrl-C.")
        try:
            serving.join()
        except KeyboardInterrupt:
            say("")

    return stay


async def show(find_run: FindRun, port: int | None, listen: str | None, opens: bool) -> None:
    """Serves a page until it is cancelled, and says where. RunError if it cannot be served there."""
    host = listen or HOST
    bound = _bound(host, port)
    server = PageServer(Following(find_run), bound.getsockname()[1], host)
    say(f"The page is at {server.address()}")
    if listen:
        say(f"Others on this network can look on at {server.address(looking=True)}")
    if opens:
        webbrowser.open(server.address())
    await server.serve(bound)


async def show_published(find_run: FindRun, port: int) -> None:
    """Serves a page in a container until it is cancelled. Its host has it on this port of loopback, which is said."""
    server = PageServer(Following(find_run), port)
    say(f"The page is at {server.address()}")
    await server.serve(_bound(EVERYWHERE, FIRST_PORT))


def _bound(host: str, port: int | None) -> socket.socket:
    try:
        return bind(host, port)
    except (OSError, UnicodeError) as error:
        where = f"{host}:{port}" if port else host
        why = getattr(error, "strerror", None) or error
        raise RunError(f"{where}: the page cannot be served there ({why}); choose another --port or --listen") from None
