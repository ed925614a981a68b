"""A gateway: ends TLS, decides by its scheme who the client is, and passes HTTP on to the bank (RFC 9440's TTRP).

One gateway serves any number of connections up to a limit, each in a task of its own. Nothing that a client does raises
past its task: a client that is refused, too slow, too big or gone is reported or answered, and the gateway goes on.
"""

import asyncio
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from lab.events import ClientAuthenticated, ClientRefused, Reporter, Trouble
from lab.tls.errors import TlsError
from lab.tls.streams import READ_SIZE, ConnectionFailed, TlsStream
from victim_server.forwarding import Answer, BankFailed, ask_bank
from victim_server.schemes import EngineFactory, GatewayEngine, Scheme


@dataclass(frozen=True)
class Limits:
    """What a gateway puts up with; times in seconds, sizes in bytes."""

    connections: int = 512
    handshake_seconds: float = 10
    request_seconds: float = 10
    idle_seconds: float = 30
    bank_seconds: float = 10
    linger_seconds: float = 1
    header_bytes: int = 1 << 14
    body_bytes: int = 1 << 16


class Gateway:
    """One scheme on one listening socket, in front of the bank at its Unix domain socket.

    `key_log` is an open file descriptor for the session keys.
    """

    def __init__(
        self,
        scheme: Scheme,
        engines: EngineFactory,
        bank: Path,
        reporter: Reporter,
        key_log: int,
        limits: Limits | None = None,
    ) -> None:
        self._scheme = scheme
        self._engines = engines
        self._bank = bank
        self._reporter = reporter
        self._key_log = key_log
        self._limits = limits or Limits()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, listener: socket.socket) -> None:
        """Starts taking connections."""
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(_CountingReader(loop=loop), self._accept, loop=loop)

        self._server = await loop.create_server(protocol, sock=listener)

    async def close(self) -> None:
        """Stops, whatever connections there are."""
        if self._server:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._limits.connections:
            writer.transport.abort()
            return
        assert isinstance(reader, _CountingReader)
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: "_CountingReader", writer: asyncio.StreamWriter) -> None:
        """One connection, from accept to close."""
        peer = _address(writer.get_extra_info("peername"))
        try:
            engine = self._engines()
        except OSError as error:
            self._reporter.report(Trouble(f"{self._scheme.id} cannot take {peer}: {error}"))
            writer.transport.abort()
            return
        try:
            stream = TlsStream(engine, reader, writer)
            if await self._authenticate(stream, engine, reader, peer):
                await Conversation(stream, engine.peer_chain[0], self._bank, self._reporter, self._limits).run()
            await self._say_goodbye(engine, reader, writer)
        except (TlsError, OSError, TimeoutError):
            pass  # the client is gone, or takes nothing more
        except Exception as error:
            self._reporter.report(Trouble(f"{self._scheme.id}, with {peer}: {type(error).__name__}: {error}"))
        finally:
            writer.transport.abort()

    async def _authenticate(
        self, stream: TlsStream, engine: GatewayEngine, reader: "_CountingReader", peer: str
    ) -> bool:
        """The handshake and its report. A connection on which nothing was ever said is nobody's, and not reported."""
        try:
            async with asyncio.timeout(self._limits.handshake_seconds):
                await stream.handshake()
        except ConnectionFailed as error:
            if reader.received:
                sent = error.failed.alert if error.failed.sent_by == "server" else None
                self._reporter.report(ClientRefused(self._scheme.id, peer, error.failed.reason, sent))
            return False
        except TimeoutError:
            reason = f"no complete handshake within {self._limits.handshake_seconds:g} s"
            self._reporter.report(ClientRefused(self._scheme.id, peer, reason, None))
            return False
        finally:
            if engine.key_log:
                os.write(self._key_log, engine.key_log.encode())
        certificate = x509.load_der_x509_certificate(engine.peer_chain[0])
        subject, sha256 = certificate.subject.rfc4514_string(), certificate.fingerprint(SHA256()).hex()
        self._reporter.report(ClientAuthenticated(self._scheme.id, peer, subject, sha256, self._scheme.proof))
        return True

    async def _say_goodbye(
        self, engine: GatewayEngine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Closes so that the client gets to read the last words.

        Closing a socket on which there is unread data resets the connection, and the reset may overtake the alert or
        the answer; so what the client still sends is read and dropped, for a while (RFC 9112 section 9.6).
        """
        async with asyncio.timeout(self._limits.linger_seconds):
            engine.close()
            writer.write(engine.data_to_send())
            writer.write_eof()
            while await reader.read(READ_SIZE):
                pass


class Unacceptable(Exception):
    """A request that the gateway answers itself, and the connection ends with it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Conversation:
    """HTTP/1.1 with one authenticated client (RFC 9112), one request after the other, as many as it likes."""

    def __init__(self, stream: TlsStream, certificate: bytes, bank: Path, reporter: Reporter, limits: Limits) -> None:
        self._stream = stream
        self._certificate = certificate
        self._bank = bank
        self._reporter = reporter
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._method = b""

    async def run(self) -> None:
        """Until the client is done, says something unacceptable, or is silent for too long."""
        try:
            while await self._request_begins():
                request, body = await self._read_request()
                await self._send(await self._ask_bank(request, body))
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    return
                self._http.start_next_cycle()
        except Unacceptable as error:
            await self._send_error(error)
        except h11.RemoteProtocolError as error:
            await self._send_error(Unacceptable(error.error_status_hint, str(error)))

    async def _request_begins(self) -> bool:
        """Waits for the first bytes of a request; False when the client is done or silent for too long."""
        if self._http.trailing_data[0]:
            return True
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                data = await self._stream.read()
        except TimeoutError:
            return False
        self._http.receive_data(data)
        return bool(data)

    async def _read_request(self) -> tuple[h11.Request, bytes]:
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                request = await self._read_head()
            async with asyncio.timeout(self._limits.request_seconds):
                return request, await self._read_body()
        except TimeoutError:
            raise Unacceptable(408, "the request took too long") from None

    async def _read_head(self) -> h11.Request:
        request = await self._next_event()
        if not isinstance(request, h11.Request):
            raise ConnectionResetError("the client left in the middle of a request")
        self._method = request.method
        if sum(len(name) + len(value) for name, value in request.headers) > self._limits.header_bytes:
            raise Unacceptable(431, f"the headers are longer than {self._limits.header_bytes} bytes")
        if request.method == b"CONNECT":
            raise Unacceptable(501, "this gateway has one bank behind it and connects to nothing else")
        return request

    async def _read_body(self) -> bytes:
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > self._limits.body_bytes:
                raise Unacceptable(413, f"the body is longer than {self._limits.body_bytes} bytes")
        return bytes(body)

    async def _next_event(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
                await self._stream.write(self._http.send(go_on) or b"")
            self._http.receive_data(await self._stream.read())
        assert isinstance(event, h11.Event)
        return event

    async def _ask_bank(self, request: h11.Request, body: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._limits.bank_seconds):
                return await ask_bank(self._bank, request, body, self._certificate)
        except TimeoutError:
            problem = f"the bank did not answer within {self._limits.bank_seconds:g} s"
        except BankFailed as error:
            problem = str(error)
        self._reporter.report(Trouble(problem))
        raise Unacceptable(502, problem)

    async def _send_error(self, error: Unacceptable) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        body = json.dumps({"error": str(error)}).encode()
        headers.append((b"content-length", b"%d" % len(body)))
        await self._send(Answer(error.status, b"", headers, body))

    async def _send(self, answer: Answer) -> None:
        head = h11.Response(status_code=answer.status, reason=answer.reason, headers=answer.headers)
        body = b"" if self._method == b"HEAD" else answer.body
        events = (head, h11.Data(body), h11.EndOfMessage())
        async with asyncio.timeout(self._limits.request_seconds):
            await self._stream.write(b"".join(self._http.send(event) or b"" for event in events))


class _CountingReader(asyncio.StreamReader):
    """Knows whether the client ever said anything."""

    received = 0

    def feed_data(self, data: Any) -> None:
        self.received += len(data)
        super().feed_data(data)


def _address(peername: tuple[str, int] | None) -> str:
    """host:port; the socket of a client that has left already has no peer."""
    if not peername:
        return "a client that has left"
    host, port = peername[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
