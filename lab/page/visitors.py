"""A server for a page, with room for everybody: nobody keeps others out with connections on which nothing happens."""

import contextlib
import itertools
import resource
from asyncio import Transport
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MOST = 400
"""The most connections at a time; fewer where the process may open fewer files."""
BACKLOG = 64
"""How many are taken in one round of the event loop, before any of them can be counted."""
IDLE_SECONDS = 10.0
"""How long a connection may go without a whole request."""


class Visitor(H11Protocol):
    """One connection. One that is idle for too long ends.

    A newcomer always finds room: one connection of the host that has most ends for it, the oldest idle one, else the
    oldest. A browser that listens for news connects again by itself.
    """

    _numbers = itertools.count()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._number = next(self._numbers)
        self._idle_since = self.loop.time()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Makes room, if there is none."""
        others = [one for one in self.connections if isinstance(one, Visitor)]
        super().connection_made(transport)
        self.loop.call_later(IDLE_SECONDS, self._end_if_idle)
        if len(others) >= _most():
            held = Counter(one._host for one in others)
            loser = max(others, key=lambda one: (held[one._host], one._is_idle, -one._number))
            self.connections.discard(loser)
            loser.transport.abort()

    def on_response_complete(self) -> None:
        """It waits for the next request now."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    @property
    def _host(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _end_if_idle(self) -> None:
        if self.transport.is_closing():
            return
        left = self._idle_since + IDLE_SECONDS - self.loop.time() if self._is_idle else IDLE_SECONDS
        if left <= 0:
            self.transport.close()
        else:
            self.loop.call_later(left, self._end_if_idle)


class QuietServer(uvicorn.Server):
    """Serves this, says nothing, and leaves signals to the command that serves."""

    def __init__(self, app: "ASGIApp") -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Visitor,
                ws="none",
                lifespan="off",
                backlog=BACKLOG,
                timeout_graceful_shutdown=1,
                log_level="error",
                access_log=False,
                server_header=False,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def _most() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else min(MOST, files // 2)
