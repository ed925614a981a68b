"""An engine over an asyncio connection. Only this module and `lab.tls.listener` do I/O in `lab.tls`."""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Self

from lab.tls.engine import Closed, Data, Engine, EngineEvent, Established, Failed
from lab.tls.errors import HandshakeTooLong, TlsError

READ_SIZE = 1 << 16
READS_IN_A_ROW = 16
"""A read that finds data does not wait. After this many in a row, other tasks run and time limits are checked."""


class ConnectionFailed(TlsError):
    """The connection ended without close_notify; `failed` says how."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.reason)
        self.failed = failed


class SocketConnection:
    """A socket as a stream's reader and writer. asyncio's own take twice as many turns of the loop for a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._outgoing = b""
        self._reads = 0

    @classmethod
    async def open(cls, address: tuple[str, int], source: str = "") -> Self:
        """Connects to a numeric address, from one of this machine's own if that is given; OSError where that can't be
        done."""
        connection = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source:
                connection.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(connection, address)
        except OSError as error:
            connection.close()
            if error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno)) from None  # asyncio's own text is for developers
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    async def read(self, size: int) -> bytes:
        self._reads += 1
        if not self._reads % READS_IN_A_ROW:
            await asyncio.sleep(0)
        return await asyncio.get_running_loop().sock_recv(self.socket, size)

    def write(self, data: bytes) -> None:
        self._outgoing += data

    async def drain(self) -> None:
        outgoing, self._outgoing = self._outgoing, b""
        await asyncio.get_running_loop().sock_sendall(self.socket, outgoing)

    def close(self) -> None:
        with suppress(OSError):
            self.socket.recv(READ_SIZE)  # what is left unread would make this a reset
        self.socket.close()

    async def wait_closed(self) -> None:
        """It is."""


class TlsStream:
    """Application data over one TLS connection. Time limits are the caller's: wrap calls in `asyncio.timeout`.

    A TLS 1.3 client is established before the server checks its certificate (RFC 8446 section 4.4), so it learns of a
    refusal in its first `read` or `write`. The server may close the connection right after its alert. Therefore a
    stream always reads what came before the connection broke.
    """

    def __init__(
        self,
        engine: Engine,
        reader: asyncio.StreamReader | SocketConnection,
        writer: asyncio.StreamWriter | SocketConnection,
    ) -> None:
        self.engine = engine
        self._reader = reader
        self._writer = writer
        self._unread = b""
        self._data: deque[bytes] = deque()
        self._established = False
        self._ended = False
        self._failure: Failed | None = None

    async def handshake(self) -> None:
        """Completes the handshake; ConnectionFailed if it fails."""
        await self.until(lambda: self._established)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Reads until the condition holds; ConnectionFailed if the connection fails before."""
        await self._flush()
        while not condition():
            await self._pump()

    async def take(self, events: Iterable[EngineEvent]) -> None:
        """Takes events of the engine that did not come from reading, and sends what the engine has to send;
        ConnectionFailed if the connection is over."""
        self._note(events)
        await self._send_out()

    async def read(self) -> bytes:
        """The next application data, at least one byte; b"" after the peer's close_notify."""
        while not self._data and not self._ended:
            await self._pump()
        return self._data.popleft() if self._data else b""

    async def write(self, data: bytes) -> None:
        """Sends application data and waits while the peer is slow; ConnectionFailed if the connection is over."""
        if self._failure:
            raise ConnectionFailed(self._failure)
        try:
            self.engine.send(data)
        except TlsError:
            if not self._ended:
                raise
            raise ConnectionFailed(Failed(None, None, "the peer closed the connection")) from None
        try:
            await self._flush()
        except OSError:
            while True:
                await self._pump()

    async def close(self) -> None:
        """Sends close_notify if that is still possible, and closes the connection."""
        try:
            if self._established and self._failure is None:
                self.engine.close()
                await self._flush()
        except OSError:
            pass
        finally:
            self._writer.close()
            try:
                await self._writer.wait_closed()
            except OSError:
                pass

    async def _flush(self) -> None:
        if outgoing := self.engine.data_to_send():
            self._writer.write(outgoing)
            if isinstance(self._writer, asyncio.StreamWriter) and self._writer.is_closing() and not self._failure:
                self._unread += _left_in_socket(self._writer)
            await self._writer.drain()

    def _left(self) -> bytes:
        """What has come and was not read: of a broken connection the StreamReader returns nothing more."""
        buffer: bytearray = getattr(self._reader, "_buffer", bytearray())
        left, self._unread = bytes(buffer) + self._unread, b""
        buffer.clear()
        return left

    async def _receive(self) -> bytes:
        """The next bytes, b"" at the end; OSError if the connection broke and everything has been read."""
        try:
            return await self._reader.read(READ_SIZE) or self._left()
        except OSError:
            if left := self._left():
                return left
            raise

    async def _pump(self) -> None:
        """Reads once from the connection and passes the bytes to the engine."""
        if self._failure:
            raise ConnectionFailed(self._failure)
        try:
            received = await self._receive()
        except HandshakeTooLong as error:
            await self.take(self.engine.give_up(str(error)))
            return
        except OSError as error:
            received, broken = b"", str(error)
        else:
            broken = "the peer closed the connection without close_notify"
        await self.take(self.engine.receive(received) if received else [Failed(None, None, broken)])

    def _note(self, events: Iterable[EngineEvent]) -> None:
        for event in events:
            match event:
                case Established():
                    self._established = True
                case Data(data):
                    self._data.append(data)
                case Closed():
                    self._ended = True
                case Failed():
                    self._failure = event

    async def _send_out(self) -> None:
        """Sends what the engine has to send; ConnectionFailed if the connection is over and all data was read."""
        try:
            await self._flush()
        except OSError as error:
            if not self._ended:  # the peer need not wait for our close_notify
                self._failure = self._failure or Failed(None, None, str(error))
        if not self._established and self._ended and not self._failure:
            self._failure = Failed(None, None, "the peer closed the connection before the handshake was complete")
        if self._failure and not self._data:
            raise ConnectionFailed(self._failure)


def _left_in_socket(writer: asyncio.StreamWriter) -> bytes:
    """What came before the connection broke: asyncio discards it once a write has failed."""
    left = b""
    with suppress(OSError), writer.get_extra_info("socket").dup() as connection:
        while received := connection.recv(READ_SIZE):
            left += received
    return left
