"""Shows the page of a run beside the command that carries it out: in a process of its own, so that neither waits."""

import asyncio
import os
import signal
import threading
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socket

from lab.page.address import HOST, PageAddress, bind
from lab.printable import say

LOOK_SECONDS = 0.5


class PageBeside:
    """The page from now on, as long as this process lives. It says where it is before it reads in what it needs.

    Made before there is a thread or an event loop, for the page's process is a fork. RunError if it cannot be served.
    """

    def __init__(self, opens: bool) -> None:
        bound, address = bind(HOST, None)
        address.tell()
        import lab.page.showing  # noqa: F401  the command needs most of it, too, and a fork has it already

        fork = get_context("fork")
        told, self._tell = fork.Pipe(duplex=False)
        arguments = told, self._tell, bound, address, opens
        self._serving = fork.Process(target=_serve, args=arguments, daemon=True)
        self._serving.start()
        told.close()
        bound.close()
        self._shown: Path | None = None

    def show(self, run: Path) -> None:
        """Shows the run in this folder from now on."""
        if run == self._shown:
            return
        self._shown = run
        with suppress(BrokenPipeError):  # the page is gone; the run goes on
            self._tell.send(run)

    def stay(self) -> None:
        """Waits until somebody presses Ctrl-C."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        say("The page stays there until you press Ctrl-C.")
        while self._serving.is_alive() and not signal.sigtimedwait({signal.SIGINT}, LOOK_SECONDS):
            pass
        say("")


def _serve(told: Connection, tell: Connection, bound: socket, address: PageAddress, opens: bool) -> None:
    """The page's process. Ctrl-C does not reach it; it ends when the command has ended, for whatever reason."""
    os.setsid()
    tell.close()
    runs: list[Path] = []

    def listen() -> None:
        with suppress(EOFError):
            while True:
                runs.append(told.recv())
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    from lab.page.showing import serve

    asyncio.run(serve(lambda: runs[-1] if runs else None, bound, address, opens))
