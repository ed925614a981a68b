"""The position on loopback, which takes no privileges: a TCP relay that the client takes for the server.

It passes on what it reads, at once and unchanged, and tells one side of every connection as packets, the client's
unless told otherwise, so that what the attacker reads afterwards is what lies in its capture file.
"""

import asyncio
import errno
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from attacker import scope
from attacker.errors import AttackerError
from attacker.position.synthetic import SyntheticConnection

Sink: TypeAlias = Callable[[int, bytes], object]

READ_SIZE = 1 << 16
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
# Two sockets each: together they stay below the 1024 files that many systems allow a process.
CLIENTS_AT_ONCE = 400
_ACCEPT_PAUSE_SECONDS = 0.05
MAX_PASSAGES = 1 << 12
# Closing with a linger time of zero sends RST in place of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Forward:
    """Where the relay listens, on loopback, and the server it relays to. Port 0 listens on any free port."""

    listen: tuple[str, int]
    target: tuple[str, int]


@dataclass(frozen=True)
class Passage:
    """One connection through the relay: the client's address, and the relay's own towards the server."""

    client: tuple[str, int]
    local: tuple[str, int]


class TcpRelay:
    """Relays any number of forwards and hands each packet, with the time it was seen in ns since 1970, to `sink`.

    A packet is in the sink before its bytes are passed on. A connection on which the sink raises is broken off. Clients
    beyond `clients_at_once` wait until others have left; a connection on which nothing moves is broken off. With
    `server_side` the packets are those between relay and server.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        server_side: bool = False,
        clients_at_once: int = CLIENTS_AT_ONCE,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._sink = sink
        self._server_side = server_side
        self.passages: deque[Passage] = deque(maxlen=MAX_PASSAGES)
        """The connections so far that have reached their server, the last ones at least."""
        self._idle_seconds = idle_seconds
        self._places = asyncio.Semaphore(clients_at_once)
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.forwards: tuple[Forward, ...] = ()

    async def start(self, forwards: Iterable[Forward]) -> None:
        """Listens; `forwards` then holds the addresses in use. OutOfScope or AttackerError, with nothing left open."""
        checked = [
            Forward(scope.check_loopback(*forward.listen), scope.check_target(*forward.target)) for forward in forwards
        ]
        try:
            for forward in checked:
                self._listeners.append(_listen(*forward.listen))
            self.forwards = tuple(
                Forward(listener.getsockname()[:2], forward.target)
                for listener, forward in zip(self._listeners, checked, strict=True)
            )
            _refuse_circles(self.forwards)
        except AttackerError:
            await self.close()
            raise
        for listener, forward in zip(self._listeners, self.forwards, strict=True):
            self._start_task(self._accept(listener, forward.target))

    async def close(self) -> None:
        """Stops listening and breaks off what is open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        self._listeners, self.forwards = [], ()

    def describe(self) -> tuple[str, ...]:
        """A line for each forward: `127.0.0.1:40001 -> 127.0.0.1:8441`."""
        return tuple(f"{_text(forward.listen)} -> {_text(forward.target)}" for forward in self.forwards)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket, target: tuple[str, int]) -> None:
        """Takes clients in while there is a place for them; the others wait in the system's queue."""
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            try:
                client, peer = await loop.sock_accept(listener)
            except OSError:
                # The client is gone again, or the process has no file left for it.
                self._places.release()
                await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            except BaseException:
                self._places.release()
                raise
            task = self._start_task(self._serve(peer[:2], client, target))
            task.add_done_callback(partial(self._leave, client))

    def _leave(self, client: socket.socket, _task: asyncio.Task[None]) -> None:
        client.close()
        self._places.release()

    def _emit(self, packet: bytes) -> None:
        self._sink(time.time_ns(), packet)

    async def _serve(self, peer: tuple[str, int], client: socket.socket, target: tuple[str, int]) -> None:
        """One client's connection from its first packet to its last."""
        connections = [client]
        orderly = False
        conversation: SyntheticConnection | None = None
        try:
            if not self._server_side:
                conversation = SyntheticConnection(peer, client.getsockname()[:2], self._emit)
                conversation.open()
            server = socket.socket(_family(target[0]), socket.SOCK_STREAM)
            connections.append(server)
            server.setblocking(False)
            for connection in connections:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(server, target)
            local = server.getsockname()[:2]
            self.passages.append(Passage(peer, local))
            if conversation is None:
                conversation = SyntheticConnection(local, target, self._emit)
                conversation.open()
            async with asyncio.timeout(self._idle_seconds) as limit, asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(conversation, True, client, server, limit))
                both.create_task(self._pass_on(conversation, False, server, client, limit))
            orderly = True
        except* OSError:
            pass  # told in the conversation, or below: the server is away, or nothing has moved for too long
        finally:
            for connection in connections:
                if not orderly:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                connection.close()
            if conversation and not orderly:
                conversation.reset(from_client=False)

    async def _pass_on(
        self,
        conversation: SyntheticConnection,
        from_client: bool,
        source: socket.socket,
        destination: socket.socket,
        limit: asyncio.Timeout,
    ) -> None:
        """One direction, until its sender has nothing more to say. OSError where either side breaks off."""
        loop = asyncio.get_running_loop()
        client_at_fault = from_client
        try:
            while data := await loop.sock_recv(source, READ_SIZE):
                limit.reschedule(loop.time() + self._idle_seconds)
                conversation.data(from_client, data)
                client_at_fault = not from_client
                await loop.sock_sendall(destination, data)
                client_at_fault = from_client
            conversation.end(from_client)
            client_at_fault = not from_client
            destination.shutdown(socket.SHUT_WR)
        except OSError:
            conversation.reset(client_at_fault)
            raise


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), family=_family(host), backlog=1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AttackerError(
                f"{_text((host, port))} is taken by another program: stop that, or let the relay listen elsewhere"
            ) from None
        raise AttackerError(f"the relay cannot listen on {_text((host, port))}: {error.strerror}") from None
    listener.setblocking(False)
    return listener


def _refuse_circles(forwards: tuple[Forward, ...]) -> None:
    listening = {forward.listen for forward in forwards}
    for forward in forwards:
        if forward.target in listening:
            raise AttackerError(f"the relay would forward to itself at {_text(forward.target)}: name the server there")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _text(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
