"""Serves a run's page, to the people who have its address and to nobody else.

Who opens the address with a token in it gets a cookie, HttpOnly and SameSite=Strict, and needs the token no more. There
are two tokens: the presenter's, whose place others can follow, and one for those who only look. Only GET is answered,
and nothing that is asked for changes anything on the disk.
A Host that is a name and not ours is refused: a page elsewhere could have that name point to this address (DNS
rebinding). So is an Origin that is not our own. The policy allows what the page is made of and nothing else.
"""

import asyncio
import contextlib
import ipaddress
import json
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from lab.decimals import decimal
from lab.page.address import PageAddress
from lab.page.exercising import ExercisePages
from lab.page.following import Following
from lab.page.model import Page
from lab.page.rendering import MODULES, asset, load_templates, render_closeup, render_page, render_scene
from lab.page.visitors import QuietServer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ASSETS = {
    **dict.fromkeys(("page.css", "exercises.css"), "text/css"),
    **dict.fromkeys((*MODULES, "exercises.js"), "text/javascript"),
}
MAX_PLACE = 200
"""The longest place that a presenter can be at, in characters."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def with_headers(send: "Send") -> "Send":
    """Sends with the headers that keep a page to itself."""

    async def guarded(message: "Message") -> None:
        if message["type"] == "http.response.start":
            more = ((name.encode(), value.encode()) for name, value in HEADERS.items())
            message["headers"] = [*message["headers"], *more]
        await send(message)

    return guarded


def asset_answer(name: str) -> Response:
    """A file that the page is made of."""
    if name not in ASSETS:
        return PlainTextResponse("There is no such file.", 404)
    return Response(asset(name), media_type=ASSETS[name])


class Guard:
    """Refuses what is not meant for this page, and adds the headers that keep it to itself."""

    def __init__(self, app: "ASGIApp", address: PageAddress) -> None:
        self._app, self._address = app, address

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        request = Request(scope)
        refusal = self._refusal(request)
        await (refusal or self._app)(scope, receive, with_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        if request.method != "GET":
            return PlainTextResponse("This page is only for reading.", 405, {"allow": "GET"})
        if not _is_ours(headers, self._address.host):
            return PlainTextResponse("This is not the address of this page.", 421)
        elsewhere = headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
        origin = headers.get("origin")
        if (origin and origin != f"http://{headers.get('host')}") or (elsewhere and request.url.path != "/"):
            return PlainTextResponse("Another page asked for this.", 403)
        token = request.query_params.get("token", "") if request.url.path == "/" else ""
        held = request.cookies.get(self._address.cookie, "")
        if not (self._address.tokens.lets_in(token) or self._address.tokens.lets_in(held)):
            return PlainTextResponse("Open the page by its whole address: the token in it is missing or wrong.", 403)
        request.scope["certreplay.token"] = token if self._address.tokens.lets_in(token) else held
        return None


def _is_ours(headers: Headers, host: str) -> bool:
    """Whether the Host is an address, this machine's own name for itself, or the one to listen on."""
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", host):
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False


class PageServer:
    """The application, and where it is to be found."""

    def __init__(self, following: Following, address: PageAddress) -> None:
        self.following = following
        self.address = address
        self._made: dict[bool, tuple[Page, str]] = {}
        self.routes = [
            Route("/", self._page),
            Route("/assets/{name}", self._asset),
            Route("/evidence/{name:path}", self._evidence),
            Route("/events", self._events),
            Route("/at", self._at),
            *ExercisePages(following).routes(),
        ]
        self.app = Starlette(
            routes=self.routes,
            middleware=[
                Middleware(Guard, address=address),
                Middleware(GZipMiddleware),
            ],
        )

    async def _page(self, request: Request) -> Response:
        token = request.scope["certreplay.token"]
        answer = Response(self._html(self.address.tokens.presents(token)), media_type="text/html")
        if self.address.cookie:
            answer.set_cookie(self.address.cookie, token, httponly=True, samesite="strict", path="/")
        return answer

    def _html(self, presenter: bool) -> str:
        """The page as it is now; made anew when there is more to tell."""
        page = self.following.director.page
        if self._made.get(presenter, (None, ""))[0] is not page:
            self._made[presenter] = page, render_page(page, presenter)
        return self._made[presenter][1]

    async def _asset(self, request: Request) -> Response:
        return asset_answer(request.path_params["name"])

    async def _evidence(self, request: Request) -> Response:
        closeup = self.following.director.closeup(request.path_params["name"])
        if closeup is None:
            return PlainTextResponse("There is no such evidence in this run.", 404)
        return Response(render_closeup(closeup), media_type="text/html")

    async def _at(self, request: Request) -> Response:
        if not self.address.tokens.presents(request.scope["certreplay.token"]):
            return PlainTextResponse("Only the presenter says where to look.", 403)
        place = request.query_params.get("place", "")
        if place.startswith("#") and len(place) <= MAX_PLACE:
            await self.following.go_to(place)
        return Response(status_code=204)

    async def _events(self, request: Request) -> Response:
        told = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        return EventSourceResponse(self._news(decimal(told) or 0), ping=15)

    async def _news(self, told: int) -> AsyncIterator[dict[str, str]]:
        """Each scene after the first `told`, the presenter's place, and the end."""
        place, over = "", False
        async for news in self.following.news():
            scenes = news.page.scenes
            for number, scene in enumerate(scenes[told:], start=told + 1):
                later = [*(one.id for one in scenes[number:]), *news.page.pending]
                data = json.dumps({"html": render_scene(scene), "pending": later})
                yield {"event": "scene", "id": str(number), "data": data}
                told = number
            if news.page.over and not over:
                over = True
                yield {"event": "over", "data": "{}"}
            if news.place != place:
                place = news.place
                yield {"event": "at", "data": json.dumps(place)}

    async def serve(self, bound: socket.socket) -> None:
        """Serves until it is cancelled."""
        server = QuietServer(self.app)
        templates = asyncio.create_task(asyncio.to_thread(load_templates))
        following = asyncio.create_task(self.following.follow())
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            await asyncio.wait({following, serving}, return_when=asyncio.FIRST_EXCEPTION)
            await serving
        finally:
            following.cancel()
            server.should_exit = server.force_exit = True
            await asyncio.wait({serving, templates})
