"""The listener: how many connections it has at a time, and how much each client may send."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.staging import pki
from lab.tls.errors import HandshakeTooLong
from lab.tls.listener import (
    BACKLOG,
    QUIET_SECONDS,
    RATIONED_READ_SIZE,
    READ_SIZE_A_ROUND,
    Listener,
    Place,
    RationedReader,
    say_goodbye,
    whose_place,
)
from programs import PATIENCE_SECONDS
from tls_peers import cases, our_server

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
        (speaks, words), (silent, quiet) = [await asyncio.open_connection("127.0.0.1", port) for _ in range(AT_A_TIME)]
        assert await greeting(speaks) == await greeting(silent) == b"hi"
        for _ in range(10):
            words.write(b"hello")
            await asyncio.sleep(0.05)
            newcomer, quiet_too = await asyncio.open_connection("127.0.0.1", port)
            assert await greeting(newcomer) == b"hi"
            assert await greeting(silent) == b""
            assert not quiet.is_closing()  # and keeps it: Python closes a writer that nobody refers to
            silent, quiet = newcomer, quiet_too
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


# What a client may send, and who loses a place: without sockets.


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time is set by hand."""

    now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    loop = Clock()
    yield loop
    loop.close()


def reader_of(clock: Clock, limit: int = 1 << 16) -> RationedReader:
    return RationedReader(limit, asyncio.Semaphore(1), clock)


def test_a_reader_knows_how_far_its_client_is(clock: Clock) -> None:
    reader = reader_of(clock)
    assert (reader.stage, reader.received, reader.heard) == (0, 0, 100.0)
    clock.now = 107.0
    reader.feed_data(b"hello")
    assert (reader.stage, reader.received, reader.heard) == (1, 5, 107.0)
    reader.lift_limit()
    assert reader.stage == 2


def test_a_handshake_may_have_as_many_bytes_as_the_limit(clock: Clock) -> None:
    reader = reader_of(clock, 10)
    reader.feed_data(bytes(9))
    assert len(clock.run_until_complete(reader.read())) == 9
    reader.feed_data(bytes(1))
    assert len(clock.run_until_complete(reader.read())) == 1
    reader.feed_data(bytes(1))
    with pytest.raises(HandshakeTooLong, match=r"^no complete handshake within 10 bytes$"):
        clock.run_until_complete(reader.read())


def test_a_reader_gives_out_little_at_a_time(clock: Clock) -> None:
    reader = reader_of(clock)
    reader.feed_data(bytes(30_000))
    assert len(clock.run_until_complete(reader.read())) == RATIONED_READ_SIZE
    reader.lift_limit()
    sizes = [len(clock.run_until_complete(reader.read(most))) for most in (-1, 1 << 14, 5, 0)]
    assert sizes == [READ_SIZE_A_ROUND, READ_SIZE_A_ROUND, 5, 0]


def test_what_is_dropped_is_not_kept(clock: Clock) -> None:
    reader = reader_of(clock, 10)
    reader.drop()
    reader.feed_data(bytes(1000))
    reader.feed_eof()
    assert clock.run_until_complete(reader.read()) == b""


@pytest.mark.parametrize("lifted", [False, True], ids=["in the handshake", "after it"])
def test_a_client_that_has_sent_much_lets_others_go_on(lifted: bool) -> None:
    """A read that finds something does not wait by itself."""

    async def run() -> int:
        rounds, reader = 0, RationedReader(1 << 16, asyncio.Semaphore(1), asyncio.get_running_loop())
        if lifted:
            reader.lift_limit()
        reader.feed_data(bytes(10 * READ_SIZE_A_ROUND))

        async def other() -> None:
            nonlocal rounds
            while True:
                rounds += 1
                await asyncio.sleep(0)

        waiting = asyncio.create_task(other())
        for _ in range(10):
            await reader.read()
        waiting.cancel()
        return rounds

    assert asyncio.run(run()) >= 10


async def nothing() -> None:
    """A connection's task."""


def places(clock: Clock, *of: tuple[str, int, float]) -> set[Place]:
    """Each by its host, how far it is, and for how many seconds it has been silent."""
    found = set[Place]()
    for host, stage, silent in of:
        reader = reader_of(clock)
        clock.now = 100.0 - silent
        reader.heard = clock.now
        if stage:
            reader.feed_data(b"hello")
        if stage == 2:
            reader.lift_limit()
        found.add(Place(host, reader, clock.create_task(nothing())))
    clock.now = 100.0
    clock.run_until_complete(nothing())
    return found


QUIET = QUIET_SECONDS + 1
BUSY = QUIET_SECONDS
BEFORE_ALL = 50.0


@cases(
    ("held", "newcomer", "loser"),
    {
        "nobody, where all are busy": ([("a", 1, BUSY), ("a", 2, BUSY)], "a", None),
        "who has said nothing": ([("a", 0, 0.0), ("a", 1, BEFORE_ALL)], "a", ("a", 0, 0.0)),
        "who has been silent for longest": ([("a", 0, 2.0), ("a", 0, 3.0), ("a", 0, 1.0)], "a", ("a", 0, 3.0)),
        "a handshake before a connection": ([("a", 2, BEFORE_ALL), ("a", 1, QUIET)], "a", ("a", 1, QUIET)),
        "who is idle": ([("a", 2, QUIET), ("a", 2, BUSY)], "a", ("a", 2, QUIET)),
        "a host with more of them": ([("a", 1, QUIET), ("a", 1, BUSY), ("b", 0, 0.0)], "b", ("a", 1, QUIET)),
        "a host with two more, however busy": ([("a", 1, BUSY), ("a", 2, BUSY)], "b", ("a", 1, BUSY)),
        "not a busy host with one more": ([("a", 1, BUSY)], "b", None),
        "a silent host with one more": ([("a", 1, QUIET)], "b", ("a", 1, QUIET)),
        "not a host with as many": ([("a", 0, 0.0), ("b", 1, BUSY)], "b", None),
        "its own host": ([("a", 0, BEFORE_ALL), ("b", 0, 0.0)], "b", ("b", 0, 0.0)),
    },
)
def test_whose_place_a_newcomer_takes(
    clock: Clock, held: list[tuple[str, int, float]], newcomer: str, loser: tuple[str, int, float] | None
) -> None:
    lost = whose_place(places(clock, *held), newcomer, clock.now)
    assert (lost and (lost.host, lost.reader.stage, clock.now - lost.reader.heard)) == loser


def test_each_of_two_newcomers_at_once_takes_a_place_of_its_own() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hi")
        await reader.read()

    async def run(bound: socket.socket) -> None:
        listener, address = Listener(greet, AT_A_TIME, 1 << 16), bound.getsockname()
        await listener.open(bound)
        with ExitStack() as stack:
            for _ in range(2):  # the system connects all of them before the listener's next turn
                clients = [
                    stack.enter_context(socket.create_connection(address, PATIENCE_SECONDS)) for _ in range(AT_A_TIME)
                ]
                greetings = [await asyncio.to_thread(client.recv, 2) for client in clients]
                assert greetings == [b"hi"] * AT_A_TIME
                assert listener.served == AT_A_TIME
        await listener.close()

    with socket.create_server(("127.0.0.1", 0)) as bound:
        asyncio.run(asyncio.wait_for(run(bound), PATIENCE_SECONDS))


def test_the_error_of_a_connection_holds_nothing_of_it() -> None:
    """A traceback holds all frames, and these the connection."""
    readers: list[asyncio.StreamReader] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        readers.append(reader)
        await reader.read()

    async def run(bound: socket.socket) -> None:
        listener = Listener(serve, AT_A_TIME, 1 << 16)
        await listener.open(bound)
        with socket.create_connection(bound.getsockname()) as client:
            while not readers:
                await asyncio.sleep(0.01)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset
        while listener.served:
            await asyncio.sleep(0.01)
        await listener.close()

    with socket.create_server(("127.0.0.1", 0)) as bound:
        asyncio.run(asyncio.wait_for(run(bound), PATIENCE_SECONDS))
    error = readers[0].exception()
    assert isinstance(error, ConnectionResetError)
    assert error.__traceback__ is None


CLOSE_NOTIFY = b"\x15\x03\x03\0\x02\x01\0"


def goodbyes_to(bank: pki.Identity, talk: Callable[[int, list[str]], Awaitable[None]], seconds: float) -> list[str]:
    """How each goodbye ended. `talk` talks to a listener that says goodbye at once to clients that may say ten bytes;
    it sees which goodbyes are over."""
    goodbyes: list[str] = []

    async def serve(reader: RationedReader, writer: asyncio.StreamWriter) -> None:
        try:
            await say_goodbye(our_server(bank), reader, writer, seconds)
            goodbyes.append("heard out")
        except Exception as error:
            goodbyes.append(type(error).__name__)

    async def run(bound: socket.socket) -> None:
        listener = Listener(serve, AT_A_TIME, 10)
        await listener.open(bound)
        await talk(bound.getsockname()[1], goodbyes)
        while listener.served:
            await asyncio.sleep(0.01)
        await listener.close()

    with socket.create_server(("127.0.0.1", 0)) as bound:
        asyncio.run(asyncio.wait_for(run(bound), PATIENCE_SECONDS))
    return goodbyes


def test_a_client_that_goes_on_talking_hears_the_goodbye_and_is_heard_out(bank: pki.Identity) -> None:
    async def talk(port: int, over: list[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == CLOSE_NOTIFY
        for _ in range(3):
            writer.write(bytes(1 << 16))
            await writer.drain()
            await asyncio.sleep(0.02)
            assert over == []
        writer.close()

    assert goodbyes_to(bank, talk, PATIENCE_SECONDS) == ["heard out"]


def test_a_client_that_stays_is_not_waited_for_for_ever(bank: pki.Identity) -> None:
    async def talk(port: int, over: list[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == CLOSE_NOTIFY
        while not over:
            await asyncio.sleep(0.01)
        writer.close()

    assert goodbyes_to(bank, talk, 0.1) == ["TimeoutError"]


def test_nothing_is_kept_of_clients_that_have_left_and_nothing_runs_after_the_end() -> None:
    """Not the connections, and after `close` no port and no task."""
    ended = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            ended.append(writer)

    async def run(bound: socket.socket) -> None:
        listener, port = Listener(serve, AT_A_TIME, 1 << 16), bound.getsockname()[1]
        await listener.open(bound)
        for _ in range(3 * AT_A_TIME):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            assert await greeting(reader) == b""
        assert (listener.served, len(ended)) == (0, 3 * AT_A_TIME)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not listener.served:
            await asyncio.sleep(0.01)
        await listener.close()
        assert len(ended) == 3 * AT_A_TIME + 1
        assert await greeting(reader) == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    with socket.create_server(("127.0.0.1", 0)) as bound:
        asyncio.run(asyncio.wait_for(run(bound), PATIENCE_SECONDS))
