"""A TCP listener for servers that untrusted clients connect to: it bounds their number and what each may send."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

from lab.tls.engine import Engine
from lab.tls.errors import HandshakeTooLong
from lab.tls.streams import READ_SIZE

BACKLOG = 512
"""How many connections wait until the server takes them; the system may allow fewer."""
QUIET_SECONDS = 1.0
"""A client that has said nothing for so long may lose its place to another one."""
RATIONED_READ_SIZE = 1 << 10
READ_SIZE_A_ROUND = 1 << 12
"""The most bytes of an established connection that are worked on in one round of the event loop. A client can send
thousands of records that cost the server much, such as KeyUpdates."""
TURNS_A_ROUND = 4
"""How many rationed reads go on in one round of the event loop. The others wait for their turn, so a server also serves
established connections in every round, however many handshakes keep it busy."""


class RationedReader(asyncio.StreamReader):
    """A reader that gives out at most `limit` bytes, until `lift_limit`; then HandshakeTooLong.

    A TLS stack works on each record as it comes, however small, and on one thread for all clients. An endless handshake
    in tiny records would keep the others waiting; so each small read waits for one of the `turns`. After the
    handshake each client gets one small read a round.
    """

    def __init__(self, limit: int, turns: asyncio.Semaphore, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.received = 0
        """How many bytes the client has sent."""
        self.heard = loop.time()
        """When it sent the last of them, or connected, on the loop's clock."""
        self._clock = loop.time
        self._turns = turns
        self._limit = limit
        self._left: int | None = limit
        self._dropping = False

    @property
    def stage(self) -> int:
        """0: the client has said nothing; 1: it is in the handshake; 2: it has a connection."""
        return 2 if self._left is None else 1 if self.received else 0

    def drop(self) -> None:
        """From now on what the client sends is dropped and not kept; reads wait for its end."""
        self._left, self._dropping = None, True

    def lift_limit(self) -> None:
        """The handshake is over: gives out everything from now on."""
        self._left = None

    def feed_data(self, data: Any) -> None:
        self.received += len(data)
        self.heard = self._clock()
        if not self._dropping:
            super().feed_data(data)

    async def read(self, n: int = -1) -> bytes:
        if self._left is None:
            data = await super().read(READ_SIZE_A_ROUND if n < 0 else min(n, READ_SIZE_A_ROUND))
            await asyncio.sleep(0)  # a read that finds something does not let others go on
            return data
        if self._left <= 0:
            raise HandshakeTooLong(f"no complete handshake within {self._limit} bytes")
        data = await super().read(RATIONED_READ_SIZE)
        self._left -= len(data)
        async with self._turns:
            await asyncio.sleep(0)
        return data


Serve: TypeAlias = Callable[[RationedReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
"""Serves one connection. The listener aborts the connection afterwards."""


@dataclass(frozen=True, eq=False)
class Place:
    """One of the connections that there is room for, with the host that it comes from."""

    host: str
    reader: RationedReader
    task: asyncio.Task[None]


def whose_place(places: Collection[Place], host: str, now: float) -> Place | None:
    """The place that a newcomer from `host` takes, `now` on the loop's clock; None if all are worth keeping.

    It is one of the host that has most of them. Of those it is one on which nothing was ever said, else one in the
    handshake, else one that is idle; the one that has been silent for longest. A client that has just spoken keeps its
    place, unless its host has more places than the newcomer's will have. No host loses one to a host that has as many.
    """
    held = Counter(place.host for place in places)

    def may_go(place: Place) -> bool:
        more = held[place.host] - held[host]
        silent = place.reader.stage == 0 or now - place.reader.heard > QUIET_SECONDS
        return more > 1 or (silent and (more > 0 or place.host == host))

    return min(
        filter(may_go, places),
        key=lambda place: (-held[place.host], place.reader.stage, place.reader.heard),
        default=None,
    )


class Listener:
    """Listens on one socket and runs `serve` in a task for each connection.

    It has at most `connections` at a time. A further client takes the place of one that is less worth keeping, so that
    nobody shuts out the others with connections on which nothing happens; where all are busy, it is turned away. Each
    client may send `limit` bytes, see RationedReader.
    """

    def __init__(self, serve: Serve, connections: int, limit: int) -> None:
        self._serve = serve
        self._connections = connections
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: set[Place] = set()
        self._server: asyncio.Server | None = None

    @property
    def served(self) -> int:
        """How many connections there are."""
        return len(self._tasks)

    async def open(self, listening: socket.socket) -> None:
        """Starts to take connections on a bound socket."""
        loop = asyncio.get_running_loop()
        turns = asyncio.Semaphore(TURNS_A_ROUND)

        def protocol() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(RationedReader(self._limit, turns, loop), self._accept, loop=loop)

        self._server = await loop.create_server(protocol, sock=listening, backlog=BACKLOG)

    async def close(self) -> None:
        """Stops listening and breaks off all connections."""
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, RationedReader)
        peer = writer.get_extra_info("peername")
        host = str(peer[0]) if peer else ""
        if len(self._places) >= self._connections and not self._make_room(host):
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._run(reader, writer))
        place = Place(host, reader, task)
        self._places.add(place)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._places.discard(place))
        task.add_done_callback(lambda _: writer.transport.abort())  # also if it was broken off before it began

    def _make_room(self, host: str) -> bool:
        """Breaks off one connection for a newcomer from `host`, if there is one to break off."""
        loser = whose_place(self._places, host, asyncio.get_running_loop().time())
        if loser is None:
            return False
        self._places.discard(loser)
        loser.task.cancel()
        return True

    async def _run(self, reader: RationedReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        finally:
            if error := reader.exception():  # it has been raised, and its traceback holds all of the connection
                error.__traceback__ = None


async def say_goodbye(engine: Engine, reader: RationedReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Closes a connection so that the client can read the last message; TimeoutError after `seconds`.

    Closing a socket with unread data resets the connection, and the reset may overtake the alert or the answer. So what
    the client still sends is read and dropped for a while (RFC 9112 section 9.6).
    """
    reader.drop()
    async with asyncio.timeout(seconds):
        engine.close()
        writer.write(engine.data_to_send())
        writer.write_eof()
        while await reader.read(READ_SIZE):
            pass
