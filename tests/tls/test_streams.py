"""`TlsStream` where a server refuses a client that is already established, and hangs up right behind its alert."""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from lab.staging import pki
from lab.tls.alerts import AlertDescription
from lab.tls.engine import Engine
from lab.tls.streams import ConnectionFailed, SocketConnection, TlsStream
from lab.tls.versions import TLS12, TLS13, Version
from tls_peers import PATIENCE_SECONDS, Identities, our_client, our_server

Use = Callable[[TlsStream], Awaitable[object]]
Connect = Callable[[Engine, int], Awaitable[TlsStream]]


@contextlib.contextmanager
def refusing_server(bank: pki.Identity, reset: bool) -> Iterator[tuple[int, threading.Event]]:
    """Takes one connection, refuses the client and closes, with a reset or in good order; the event tells when."""
    gone = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        engine = our_server(bank, versions=(TLS13,))
        with connection:
            while not any(step.name.startswith("alert") for step in engine.steps):
                engine.receive(connection.recv(1 << 16))
                connection.sendall(engine.data_to_send())
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], gone
        thread.join(PATIENCE_SECONDS)


async def by_transport(engine: Engine, port: int) -> TlsStream:
    return TlsStream(engine, *await asyncio.open_connection("127.0.0.1", port))


async def by_socket(engine: Engine, port: int) -> TlsStream:
    connection = await SocketConnection.open(("127.0.0.1", port))
    return TlsStream(engine, connection, connection)


async def read(stream: TlsStream) -> bytes:
    return await stream.read()


async def write(stream: TlsStream) -> None:
    await stream.write(b"let me in")
    await stream.write(b"please")
    await stream.read()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("idle", [False, True], ids=["a busy loop", "an idle loop"])
@pytest.mark.parametrize("use", [read, write], ids=["read", "write"])
@pytest.mark.parametrize("connect", [by_transport, by_socket], ids=["asyncio's transport", "a socket"])
def test_a_refusal_after_the_handshake_is_reported_by_the_next_use(
    identities: Identities, connect: Connect, use: Use, idle: bool, reset: bool
) -> None:
    """Whether the event loop has seen the end of the connection already, or hasn't yet."""

    async def refused(port: int, gone: threading.Event) -> ConnectionFailed:
        async with asyncio.timeout(PATIENCE_SECONDS):
            stream = await connect(our_client(versions=(TLS13,)), port)
            await stream.handshake()
            if idle:
                while not gone.is_set():
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
            else:
                gone.wait(PATIENCE_SECONDS)
                time.sleep(0.05)  # what comes meanwhile, the loop does not see
            try:
                with pytest.raises(ConnectionFailed) as caught:
                    await use(stream)
                with pytest.raises(ConnectionFailed) as again:
                    await use(stream)
                assert again.value.failed == caught.value.failed
                return caught.value
            finally:
                await stream.close()

    with refusing_server(identities("server", "p256"), reset) as (port, gone):
        failed = asyncio.run(refused(port, gone)).failed
    assert (failed.alert, failed.sent_by) == (AlertDescription.CERTIFICATE_REQUIRED, "server")


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
def test_what_is_written_to_a_peer_that_has_closed_fails_as_a_connection_does(
    alice: pki.Identity, bank: pki.Identity, version: Version
) -> None:
    """In TLS 1.3 it can still be sent, and no answer comes; in TLS 1.2 it cannot."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = TlsStream(our_server(bank, versions=(version,)), reader, writer)
        await stream.handshake()
        await stream.close()

    async def ask() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, asyncio.timeout(PATIENCE_SECONDS):
            stream = await by_socket(our_client(alice, versions=(version,)), server.sockets[0].getsockname()[1])
            try:
                await stream.handshake()
                assert await stream.read() == b""
                await stream.write(b"are you still there?")
                return await stream.read()
            finally:
                await stream.close()

    if version == TLS13:
        assert asyncio.run(ask()) == b""
    else:
        with pytest.raises(ConnectionFailed, match=r"the peer closed the connection"):
            asyncio.run(ask())


def test_what_is_left_unread_does_not_cost_the_peer_our_last_bytes() -> None:
    """A socket that is closed with unread data sends a reset, and the peer's next read may fail (RFC 1122 4.2.2.13)."""

    async def close_without_reading(port: int) -> None:
        connection = await SocketConnection.open(("127.0.0.1", port))
        with listening.accept()[0] as peer:
            peer.settimeout(PATIENCE_SECONDS)
            peer.sendall(b"the peer still sends")
            connection.write(b"our last bytes")
            await connection.drain()
            connection.close()
            assert peer.recv(1 << 16) == b"our last bytes"
            assert peer.recv(1 << 16) == b"", "the end in good order"

    with socket.create_server(("127.0.0.1", 0)) as listening:
        asyncio.run(close_without_reading(listening.getsockname()[1]))


def test_a_peer_that_never_stops_sending_keeps_no_time_limit_from_being_noticed() -> None:
    async def read_for_ever(connection: SocketConnection) -> None:
        async with asyncio.timeout(0.001):
            while await connection.read(1):
                pass

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(bytes(100_000))
        with pytest.raises(TimeoutError):
            asyncio.run(read_for_ever(SocketConnection(ours)))
        assert ours.recv(1), "it read all there was before it looked at the time"
