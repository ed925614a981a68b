"""Shows a page: finds the run, says where the page is, serves it."""

import socket
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

from lab.events.log import FILE_NAME
from lab.events.run import Folders, newest_run
from lab.page.address import FIRST_PORT, HOST, PageAddress, bind
from lab.page.following import SILENT_SECONDS, Following
from lab.page.server import PageServer
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


async def show(find_run: FindRun, port: int | None, listen: str | None, opens: bool) -> None:
    """Serves a page until it is cancelled, and says where. RunError if it cannot be served there."""
    bound, address = bind(listen or HOST, port)
    address.tell()
    if listen:
        say(f"Others on this network can look on at {address.url(looking=True)}")
    await serve(find_run, bound, address, opens)


async def show_published(find_run: FindRun, port: int) -> None:
    """Serves a page in a container until it is cancelled. Its host has it on this port of loopback, which is said."""
    bound, _ = bind(EVERYWHERE, FIRST_PORT)
    address = PageAddress(HOST, port)
    address.tell()
    await serve(find_run, bound, address)


async def serve(find_run: FindRun, bound: socket.socket, address: PageAddress, opens: bool = False) -> None:
    """Serves a page until it is cancelled. If it `opens`, the browser shows it."""
    if opens:
        webbrowser.open(address.url())
    await PageServer(Following(find_run), address).serve(bound)
