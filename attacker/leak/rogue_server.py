"""A shop: a server other than the bank, which alice really uses and properly verifies. It keeps what it is shown.

Nothing is wrong with its TLS: it requires the client's proof and checks it, in TLS 1.2 and 1.3, like any server that
does mutual TLS as written. It takes any certificate, as a shop takes any customer, and so gets to have one of
everybody's, with a proof: its administrator can try both at the bank.
"""

import asyncio
import json
import os
from contextlib import suppress
from dataclasses import dataclass

import h11

from attacker.attempts import common_name
from attacker.collected import Sight
from attacker.errors import AttackerError
from attacker.haul import Haul
from attacker.moves.make import Loot
from attacker.scope import check_listen
from lab.address import host_port
from lab.events.log import Reporter
from lab.events.types import PositionLeft, PositionTaken, Trouble
from lab.tls.bundle import Bundle
from lab.tls.connection import ChangeCipherSpec, Step
from lab.tls.errors import TlsError
from lab.tls.messages import Certificate, CertificateVerify, ClientHello, ServerHello
from lab.tls.messages13 import parse
from lab.tls.server import ClientAuth, Proof, Server
from lab.tls.streams import READ_SIZE, TlsStream
from lab.tls.versions import TLS12, TLS13, version_name

KIND = "rogue-server"
GRACE_SECONDS = 3.0


@dataclass(frozen=True)
class Limits:
    """What the shop puts up with: so many connections at once, and each for so long and with so many bytes."""

    connections: int = 64
    seconds: float = 10.0
    linger_seconds: float = 1.0
    octets: int = 1 << 16


async def keep_a_shop(listen: tuple[str, int], bundle: Bundle, haul: Haul, reporter: Reporter) -> None:
    """Serves customers until there is something of the victim's for every door, and a little longer for her proofs in
    all versions. OutOfScope or AttackerError where it cannot listen there."""
    shop = Shop(bundle, haul, reporter)
    address = await shop.open(*listen)
    try:
        where = f"{common_name(bundle.chain[0])}, a shop at {host_port(address)}"
        reporter.report(PositionTaken(KIND, (f"{where}, which takes any certificate and checks its proof",)))
        await haul.complete()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await haul.complete(in_every_version=True)
    finally:
        await shop.close()
    reporter.report(PositionLeft(KIND, ()))


class Shop:
    """The shop's server. `bundle` is its own, and what its clients show it goes into the haul."""

    def __init__(self, bundle: Bundle, haul: Haul, reporter: Reporter, limits: Limits | None = None) -> None:
        self._bundle = bundle
        self._haul = haul
        self._reporter = reporter
        self._limits = limits or Limits()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Listens; the address in use. Port 0 takes any free one."""
        host, port = check_listen(host, port)
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = _RationedReader(self._limits.octets, loop)
            return asyncio.StreamReaderProtocol(reader, self._accept, loop=loop)

        try:
            self._server = await loop.create_server(protocol, host, port)
        except OSError as error:
            where = host_port((host, port))
            raise AttackerError(f"--listen {where}: {os.strerror(error.errno or 0)}; choose another port") from None
        address: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return address

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
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. What the client has shown is kept once it has had its answer."""
        engine = self._engine()
        try:
            if await self._attend(engine, reader, writer):
                client, server = (host_port(writer.get_extra_info(name)) for name in ("peername", "sockname"))
                self._haul.take(*what_was_shown(engine, client, server))
        except Exception as error:
            self._reporter.report(Trouble(f"the shop, with a client: {type(error).__name__}: {error}"))
        finally:
            writer.transport.abort()

    async def _attend(self, engine: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """A handshake, a request, an answer; whether the handshake came to its end. A client that is gone, or was
        refused, or makes no sense, is let go."""
        complete = False
        with suppress(TlsError, h11.ProtocolError, OSError, TimeoutError):
            async with asyncio.timeout(self._limits.seconds):
                stream = TlsStream(engine, reader, writer)
                try:
                    await stream.handshake()
                    complete = True
                    await _answer(stream, common_name(engine.peer_chain[0]))
                finally:
                    await self._say_goodbye(engine, reader, writer)
        return complete

    def _engine(self) -> Server:
        return Server(
            entropy=os.urandom,
            chain=self._bundle.chain,
            key=self._bundle.key,
            client_auth=ClientAuth(_any_customer, Proof.REQUIRED),
            versions=(TLS13, TLS12),
        )

    async def _say_goodbye(self, engine: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Closes so that the client gets to read the last words: what it still sends is read and dropped for a while,
        as unread data would make the system reset the connection (RFC 9112 section 9.6)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger_seconds):
                engine.close()
                writer.write(engine.data_to_send())
                writer.write_eof()
                while await reader.read(READ_SIZE):
                    pass


def what_was_shown(engine: Server, client: str, server: str) -> tuple[Loot, Sight]:
    """What a client gave away in a handshake that is complete: its certificates, its proof and what that was over."""
    version = engine.version or TLS12
    messages = [
        step for step in engine.steps if step.name != ChangeCipherSpec.name and not step.name.startswith("alert")
    ]
    at = next(number for number, step in enumerate(messages) if _is(step, "client", CertificateVerify.type))
    hello = next(parse(step.raw, version) for step in messages if _is(step, "client", ClientHello.type))
    answered = [parse(step.raw, version) for step in messages if _is(step, "server", ServerHello.type)][
        -1
    ]  # not a retry
    answer = parse(messages[at].raw, version)
    assert isinstance(hello, ClientHello)
    assert isinstance(answered, ServerHello)
    assert isinstance(answer, CertificateVerify)
    sight = Sight(
        client=client,
        server=server,
        tls=version_name(version),
        message=next(step.raw for step in messages if _is(step, "client", Certificate.type)),
        proof=answer,
        transcript=tuple(step.raw for step in messages[:at]),
        client_random=hello.random,
        server_random=answered.random,
    )
    return Loot(engine.peer_chain, answer, hello=hello), sight


def _is(step: Step, sender: str, kind: int) -> bool:
    return (step.sender, step.raw[0]) == (sender, kind)


def _any_customer(chain: tuple[bytes, ...]) -> None:
    """Raises for none: to a shop a certificate is no more than a customer's name."""


async def _answer(stream: TlsStream, customer: str) -> None:
    """The answer to one request; what isn't one is an h11.ProtocolError."""
    http = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            http.receive_data(await stream.read())
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.ConnectionClosed):
            return
    assert request
    known = (request.method, request.target) == (b"GET", b"/account")
    body = json.dumps({"customer": customer, "balance": 0} if known else {"error": "there is no such page"}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
    events = (h11.Response(status_code=200 if known else 404, headers=headers), h11.Data(body), h11.EndOfMessage())
    await stream.write(b"".join(http.send(event) or b"" for event in events))


class _RationedReader(asyncio.StreamReader):
    """Gives out only so many bytes in all: a connection, too, is as long as a shop's customer needs."""

    def __init__(self, octets: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._left = octets

    async def read(self, n: int = -1) -> bytes:
        if self._left <= 0:
            raise OSError("more bytes than a customer has to send")
        data = await super().read(min(n, self._left))
        self._left -= len(data)
        return data
