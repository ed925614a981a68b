"""The position on loopback, which needs no privileges: a TCP relay in the place of the server.

It passes on what it reads, at once and unchanged. It also turns one side of every connection into packets, usually the
client's side. So the attacker reads the same packets that are in its capture file.
"""

import asyncio
import errno
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any, TypeAlias

from attacker import scope
from attacker.errors import AttackerError
from lab.address import Address
from lab.capture.synthetic import SyntheticConnection
from lab.ports import HOST

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

    listen: Address
    target: Address


@dataclass(frozen=True)
class Passage:
    """One connection through the relay: the client's address, and the relay's own towards the server.

    An address alone does not tell which connection it is: a port may be in use towards two places at a time.
    """

    forward: Forward
    client: Address
    local: Address


class TcpRelay:
    """Relays any number of forwards and hands each packet, with the time it was seen in ns since 1970, to `sink`.

    The sink gets a packet before the relay passes its bytes on. If the sink raises, the relay breaks the connection
    off, and so it does after `idle_seconds` without data. Clients beyond `clients_at_once` wait until others have left.
    With `server_side` the packets are those between relay and server.
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
        self._passages: deque[Passage] = deque(maxlen=MAX_PASSAGES)
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
                self._listeners.append(listen_at(forward.listen))
            self.forwards = tuple(
                Forward(Address(*listener.getsockname()[:2]), forward.target)
                for listener, forward in zip(self._listeners, checked, strict=True)
            )
            _refuse_circles(self.forwards)
        except AttackerError:
            await self.close()
            raise
        for listener, forward in zip(self._listeners, self.forwards, strict=True):
            self._start_task(self._accept(listener, forward))

    async def close(self) -> None:
        """Stops listening and breaks off what is open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        self._listeners, self.forwards = [], ()

    def passed(self, forward: Forward) -> Iterator[Passage]:
        """The connections of one of `forwards` that reached their server, the latest first."""
        return (one for one in reversed(self._passages) if one.forward == forward)

    def describe(self) -> tuple[str, ...]:
        """A line for each forward: `127.0.0.1:40001 -> 127.0.0.1:8441`."""
        return tuple(f"{forward.listen} -> {forward.target}" for forward in self.forwards)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket, forward: Forward) -> None:
        """Accepts clients while there is a place for them; the others wait in the system's queue."""
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            try:
                client, peer = await loop.sock_accept(listener)
            except OSError:
                # The client has left already, or the process has no file descriptor left.
                self._places.release()
                await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            except BaseException:
                self._places.release()
                raise
            task = self._start_task(self._serve(Address(*peer[:2]), client, forward))
            task.add_done_callback(partial(self._leave, client))

    def _leave(self, client: socket.socket, _task: asyncio.Task[None]) -> None:
        client.close()
        self._places.release()

    def _emit(self, packet: bytes) -> None:
        self._sink(time.time_ns(), packet)

    async def _serve(self, peer: Address, client: socket.socket, forward: Forward) -> None:
        """One client's connection from its first packet to its last."""
        target = forward.target
        connections = [client]
        orderly = False
        packets: SyntheticConnection | None = None
        try:
            if not self._server_side:
                packets = SyntheticConnection(peer, Address(*client.getsockname()[:2]), self._emit)
                packets.open()
            server = socket.socket(_family(target.host), socket.SOCK_STREAM)
            connections.append(server)
            server.setblocking(False)
            for connection in connections:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if (host := ip_address(peer.host)).version == 4 and host.is_loopback and target.host == HOST:
                server.bind((peer.host, 0))  # as if the network had routed the client here, the server sees its address
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(server, target)
            local = Address(*server.getsockname()[:2])
            self._passages.append(Passage(forward, peer, local))
            if packets is None:
                packets = SyntheticConnection(local, target, self._emit)
                packets.open()
            async with asyncio.timeout(self._idle_seconds) as limit, asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(packets, True, client, server, limit))
                both.create_task(self._pass_on(packets, False, server, client, limit))
            orderly = True
        except* OSError:
            pass  # the packets show it: the server is away, or no data came for too long
        finally:
            for connection in connections:
                if not orderly:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                connection.close()
            if packets and not orderly:
                packets.reset(from_client=False)

    async def _pass_on(
        self,
        packets: SyntheticConnection,
        from_client: bool,
        source: socket.socket,
        destination: socket.socket,
        limit: asyncio.Timeout,
    ) -> None:
        """One direction, until its sender has finished; OSError if either side breaks the connection off."""
        loop = asyncio.get_running_loop()
        client_at_fault = from_client
        try:
            while data := await loop.sock_recv(source, READ_SIZE):
                limit.reschedule(loop.time() + self._idle_seconds)
                packets.data(from_client, data)
                client_at_fault = not from_client
                await loop.sock_sendall(destination, data)
                client_at_fault = from_client
            packets.end(from_client)
            client_at_fault = not from_client
            destination.shutdown(socket.SHUT_WR)
        except OSError:
            packets.reset(client_at_fault)
            raise


def listen_at(address: Address) -> socket.socket:
    """A listening socket; AttackerError if the attacker cannot listen there."""
    try:
        listener = socket.create_server(address, family=_family(address.host), backlog=1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AttackerError(f"another program uses {address}: stop it, or listen elsewhere") from None
        raise AttackerError(f"cannot listen on {address}: {error.strerror}; choose another address") from None
    listener.setblocking(False)
    return listener


def _refuse_circles(forwards: tuple[Forward, ...]) -> None:
    listening = {forward.listen for forward in forwards}
    for forward in forwards:
        if forward.target in listening:
            raise AttackerError(f"the relay would forward to itself at {forward.target}: give the server's address")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
