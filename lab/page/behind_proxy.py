"""Serves the page of the newest run on a UNIX socket, for a proxy that knows who its user is, such as JupyterHub's.

Only the socket's owner can open it, and the proxy, which the owner runs. So there is no token. A new run is shown when
the page is opened again; until there is one, a first screen says how to make it.
"""

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, Router

from lab.events.run import RunError
from lab.page.address import PageAddress
from lab.page.following import Following
from lab.page.rendering import render_first
from lab.page.server import PageServer, asset_answer, with_headers
from lab.page.showing import run_to_show
from lab.page.visitors import QuietServer

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

OWNER_ONLY = 0o077
"""The mask of rights for a socket that its owner alone can open."""
MAX_SHOWN = 8
"""The pages of no more runs are kept."""


@dataclass(frozen=True)
class _Shown:
    """The page of one run."""

    page: PageServer
    routes: Router
    following: asyncio.Task[None]


class RunPages:
    """Sends `/` on to the page of the newest run, `run/NAME/`, or answers it with the first screen.

    Each run has an address of its own, so that a page that was opened before a new run goes on about its own.
    """

    def __init__(self, find_run: Callable[[], Path | None]) -> None:
        self._find_run = find_run
        self._shown: dict[str, _Shown] = {}
        self._routes = Router(
            [Route("/", self._newest), Route("/assets/{name}", _asset), Mount("/run/{run}", self._run)]
        )

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http":
            await (_refusal(Request(scope)) or self._routes)(scope, receive, with_headers(send))

    async def _newest(self, request: Request) -> Response:
        folder = self._find_run()
        if folder is None:
            return HTMLResponse(render_first())
        if folder.name not in self._shown:
            await self._show(folder)
        return RedirectResponse(f"run/{quote(folder.name)}/", headers={"cache-control": "no-store"})

    async def _show(self, folder: Path) -> None:
        following = Following(lambda: folder)
        await asyncio.to_thread(following.look)
        page = PageServer(following, PageAddress())
        self._shown[folder.name] = _Shown(page, Router(page.routes), asyncio.create_task(following.follow()))
        if len(self._shown) > MAX_SHOWN:
            self._shown.pop(next(iter(self._shown))).following.cancel()

    async def _run(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        shown = self._shown.get(scope["path_params"]["run"])
        if shown is None:
            answer = PlainTextResponse("This run is no longer shown here. Open the page again for the newest.", 404)
            await answer(scope, receive, send)
            return
        scope["certreplay.token"] = shown.page.address.tokens.presenter
        await shown.routes(scope, receive, send)


async def _asset(request: Request) -> Response:
    return asset_answer(request.path_params["name"])


def _refusal(request: Request) -> Response | None:
    if request.method != "GET":
        return PlainTextResponse("This page is only for reading.", 405, {"allow": "GET"})
    elsewhere = request.headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
    if elsewhere and request.headers.get("sec-fetch-mode") != "navigate":
        return PlainTextResponse("Another page asked for this.", 403)
    return None


async def serve(runs: Path, path: Path) -> None:
    """Serves until it is cancelled. RunError if the socket cannot be made; one that nobody listens on is replaced."""

    def find_run() -> Path | None:
        with suppress(RunError):
            return run_to_show(runs)
        return None

    before = os.umask(OWNER_ONLY)
    try:
        if _is_abandoned(path):
            path.unlink()
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(str(path))
        ours = path.lstat().st_ino
    except OSError as error:
        why = error.strerror or error
        raise RunError(f"{path}: the page cannot be served there ({why}); choose another --socket") from None
    finally:
        os.umask(before)
    server = QuietServer(RunPages(find_run))
    try:
        await server.serve(sockets=[bound])
    finally:
        server.should_exit = server.force_exit = True
        with suppress(FileNotFoundError):
            if path.lstat().st_ino == ours:
                path.unlink()


def _is_abandoned(path: Path) -> bool:
    """Whether it is a socket that nobody listens on. OSError as `connect` has it where somebody's cannot be asked."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as asking:
            asking.setblocking(False)  # where many wait to be let in, it would wait, too
            asking.connect(str(path))
    except FileNotFoundError:
        return False
    except ConnectionRefusedError:
        return True
    except BlockingIOError:
        pass
    return False
