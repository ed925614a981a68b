"""Serves the page of the newest run on a UNIX socket, for a proxy that knows who its user is, such as JupyterHub's.

Only the socket's owner can open it, and the proxy, which the owner runs. So there is no token. A new run is shown when
the page is loaded again; until there is one, a first screen says how to make it.
"""

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Router

from lab.events.run import RunError
from lab.page.following import Following
from lab.page.rendering import render_first
from lab.page.server import ASSETS, PageServer, QuietServer, asset_answer, with_headers
from lab.page.showing import run_to_show

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OWNER_ONLY = 0o077
"""The mask of rights for a socket that its owner alone can open."""


class NewestPage:
    """The page of the newest run, or the first screen."""

    def __init__(self, find_run: Callable[[], Path | None]) -> None:
        self._find_run = find_run
        self._folder: Path | None = None
        self._page: PageServer | None = None
        self._routes = Router()
        self._following: asyncio.Task[None] | None = None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http":
            await self._answer(Request(scope))(scope, receive, with_headers(send))

    def _answer(self, request: Request) -> "ASGIApp":
        path = request.url.path
        if request.method != "GET":
            return PlainTextResponse("This page is only for reading.", 405, {"allow": "GET"})
        if request.headers.get("sec-fetch-site", "none") in ("cross-site", "same-site") and path != "/":
            return PlainTextResponse("Another page asked for this.", 403)
        if path == "/":
            self._turn_to_newest()
        if self._page is None:
            name = path.removeprefix("/assets/")
            return HTMLResponse(render_first()) if path == "/" else asset_answer(name if name in ASSETS else "")
        request.scope["certreplay.token"] = self._page.tokens.presenter
        return self._routes

    def _turn_to_newest(self) -> None:
        folder = self._find_run()
        if folder is None or folder == self._folder:
            return
        if self._following:
            self._following.cancel()
        following = Following(lambda: folder)
        following.look()
        self._folder, self._page = folder, PageServer(following, 0)
        self._routes = Router(self._page.routes)
        self._following = asyncio.create_task(following.follow())


async def serve(runs: Path, path: Path) -> None:
    """Serves until it is cancelled. RunError if the socket cannot be made; one that nobody listens on is replaced."""

    def find_run() -> Path | None:
        with suppress(RunError):
            return run_to_show(runs)
        return None

    before = os.umask(OWNER_ONLY)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(str(path))
    except OSError as error:
        raise RunError(f"{path}: the page cannot be served there ({error.strerror}); choose another --socket") from None
    finally:
        os.umask(before)
    quiet = {"log_level": "error", "access_log": False, "server_header": False, "lifespan": "off"}
    server = QuietServer(uvicorn.Config(NewestPage(find_run), timeout_graceful_shutdown=1, **quiet))  # type: ignore[arg-type]
    try:
        await server.serve(sockets=[bound])
    finally:
        server.should_exit = server.force_exit = True
        path.unlink(missing_ok=True)
