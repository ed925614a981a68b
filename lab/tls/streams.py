"""An engine over an asyncio connection: the one place in `lab.tls` that does I/O."""

import asyncio
from collections import deque

from lab.tls.engine import Closed, Data, Engine, Established, Failed
from lab.tls.errors import TlsError

READ_SIZE = 1 << 16


class ConnectionFailed(TlsError):
    """The connection ended otherwise than by close_notify; `failed` says how."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.reason)
        self.failed = failed


class TlsStream:
    """Application data over one TLS connection. Time limits are the caller's: wrap calls in `asyncio.timeout`."""

    def __init__(self, engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.engine = engine
        self._reader = reader
        self._writer = writer
        self._data: deque[bytes] = deque()
        self._established = False
        self._ended = False
        self._failure: Failed | None = None

    async def handshake(self) -> None:
        """Goes on until the handshake is complete; ConnectionFailed where it isn't going to be."""
        await self._flush()
        while not self._established:
            await self._pump()

    async def read(self) -> bytes:
        """The next application data, at least one byte; b"" when the peer has said that it is done."""
        while not self._data and not self._ended:
            await self._pump()
        return self._data.popleft() if self._data else b""

    async def write(self, data: bytes) -> None:
        """Sends application data and waits while the peer is slow to take it."""
        self.engine.send(data)
        await self._flush()

    async def close(self) -> None:
        """Says close_notify, if that is still possible, and closes the connection."""
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
            await self._writer.drain()

    async def _pump(self) -> None:
        """One read from the connection, through the engine."""
        if self._failure:
            raise ConnectionFailed(self._failure)
        try:
            received = await self._reader.read(READ_SIZE)
        except OSError as error:
            received, broken = b"", str(error)
        else:
            broken = "the peer closed the connection without close_notify"
        events = self.engine.receive(received) if received else [Failed(None, None, broken)]
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
        try:
            await self._flush()
        except OSError as error:
            if not self._ended:  # a peer that is done need not wait for our close_notify
                self._failure = self._failure or Failed(None, None, str(error))
        if not self._established and self._ended and not self._failure:
            self._failure = Failed(None, None, "the peer closed the connection before the handshake was complete")
        if self._failure and not self._data:
            raise ConnectionFailed(self._failure)
