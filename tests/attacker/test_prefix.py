"""The request without a handshake: what a server gets of it."""

import asyncio
import socket
import threading

import pytest

from attacker.moves.prefix import request_without_handshake
from lab.address import Address
from programs import PATIENCE_SECONDS


def test_a_server_that_serves_many_at_once_has_lost_the_connection_at_the_end() -> None:
    """And not only when the attacker goes on."""
    lost: list[str] = []

    class Server(asyncio.Protocol):
        def connection_lost(self, error: Exception | None) -> None:
            lost.append(type(error).__name__)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(Server, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await request_without_handshake(Address("127.0.0.1", port), "/account")
            assert lost == ["ConnectionResetError"]

    asyncio.run(run())


def test_the_request_is_there_when_the_server_looks_and_its_connection_is_over() -> None:
    """A server that takes one connection after the other has another one first, on which nothing is said."""
    said: list[bytes] = []

    def serve() -> None:
        first, _ = listening.accept()
        second, _ = listening.accept()
        with first, second:
            for one in (first, second):
                one.settimeout(PATIENCE_SECONDS)
                said.append(one.recv(1 << 16))
            with pytest.raises(ConnectionResetError):
                second.recv(1)
            said.append(b"reset")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        asyncio.run(request_without_handshake(Address("127.0.0.1", listening.getsockname()[1]), "/account"))
        thread.join(PATIENCE_SECONDS)
    assert said == [b"", b"GET /account HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"reset"]
