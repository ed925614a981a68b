"""The listener: how many connections it has at a time."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from lab.tls.listener import BACKLOG, Listener
from programs import PATIENCE_SECONDS

AT_A_TIME = 2


def listening(talk: Callable[[int], Awaitable[None]]) -> None:
    """Lets `talk` talk to a listener on this port, which greets each client and hears it out."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hi")
        while await reader.read():
            pass

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
    """Where the others have just said something, and there is no reason to prefer it."""

    async def talk(port: int) -> None:
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(AT_A_TIME)]
        assert [await greeting(reader) for reader, _ in clients] == [b"hi"] * AT_A_TIME
        for _, writer in clients:
            writer.write(b"hello")
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await greeting(reader) == b""
        for one in (writer, *(writer for _, writer in clients)):
            one.close()

    listening(talk)


def test_a_silent_client_loses_its_place() -> None:
    """The one that came first, while one that speaks keeps its own."""

    async def talk(port: int) -> None:
        (speaks, words), (silent, _) = [await asyncio.open_connection("127.0.0.1", port) for _ in range(AT_A_TIME)]
        assert await greeting(speaks) == await greeting(silent) == b"hi"
        for _ in range(10):
            words.write(b"hello")
            await asyncio.sleep(0.05)
            newcomer, _ = await asyncio.open_connection("127.0.0.1", port)
            assert await greeting(newcomer) == b"hi"
            assert await greeting(silent) == b""
            silent = newcomer
        words.write_eof()
        assert await greeting(speaks) == b""

    listening(talk)


def test_a_host_with_many_places_gives_one_to_another_host() -> None:
    """Even if its clients are busy."""

    async def talk(port: int) -> None:
        many = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0)) for _ in range(AT_A_TIME)]
        for reader, writer in many:
            assert await greeting(reader) == b"hi"
            writer.write(b"hello")
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await greeting(reader) == b"hi"
        writer.write(b"hello")
        await asyncio.sleep(0.1)
        again, _ = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        assert await greeting(again) == b""
        writer.write_eof()
        assert await greeting(reader) == b""

    listening(talk)


def test_a_crowd_from_one_host_takes_no_place_from_another() -> None:
    """Not even that of a client which has just come and said nothing yet, while the whole crowd is busy."""

    async def talk(port: int) -> None:
        alice, words = await asyncio.open_connection("127.0.0.1", port)
        assert await greeting(alice) == b"hi"
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            writer.write(b"hello")
            await greeting(reader)
            await asyncio.sleep(0.02)
        assert (alice.at_eof(), alice.exception()) == (False, None)
        words.close()

    listening(talk)


def test_the_backlog_is_what_the_system_was_asked_for() -> None:
    async def run(bound: socket.socket) -> int:
        listener = Listener(ignore, AT_A_TIME, 1 << 16)
        await listener.open(bound)
        (most_waiting,) = struct.unpack_from("I", bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28)
        await listener.close()
        return int(most_waiting)

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves nobody."""

    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with socket.create_server(("127.0.0.1", 0)) as bound:
        assert asyncio.run(run(bound)) == min(BACKLOG, most)


def test_a_client_that_has_left_makes_room() -> None:
    async def talk(port: int) -> None:
        for _ in range(3 * AT_A_TIME):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await greeting(reader) == b"hi"
            writer.write_eof()
            assert await greeting(reader) == b""
            writer.close()

    listening(talk)
