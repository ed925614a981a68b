"""The listener: how many connections it has at a time."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from lab.tls.listener import Listener
from programs import PATIENCE_SECONDS

AT_A_TIME = 2


def listening(talk: Callable[[int], Awaitable[None]]) -> None:
    """Lets `talk` talk to a listener on this port, which greets each client and hears it out."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hi")
        await reader.read()

    async def run(bound: socket.socket) -> None:
        listener = Listener(greet, AT_A_TIME, 1 << 16)
        await listener.open(bound)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await talk(bound.getsockname()[1])
        finally:
            await listener.close()

    with socket.create_server(("127.0.0.1", 0)) as bound:
        asyncio.run(run(bound))


async def greeting(reader: asyncio.StreamReader) -> bytes:
    """What a client hears first; nothing where the listener breaks off."""
    try:
        return await reader.read(2)
    except ConnectionError:
        return b""


def test_one_client_more_than_there_is_room_for_is_turned_away() -> None:
    async def talk(port: int) -> None:
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(AT_A_TIME)]
        assert [await greeting(reader) for reader, _ in clients] == [b"hi"] * AT_A_TIME
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await greeting(reader) == b""
        for one in (writer, *(writer for _, writer in clients)):
            one.close()

    listening(talk)


def test_a_client_that_has_left_makes_room() -> None:
    async def talk(port: int) -> None:
        for _ in range(3 * AT_A_TIME):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await greeting(reader) == b"hi"
            writer.write_eof()
            assert await greeting(reader) == b""
            writer.close()

    listening(talk)
