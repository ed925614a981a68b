"""`TlsStream`: what it makes of connections that break or end, above all of a server that refuses a client late."""

import asyncio
import contextlib
import errno
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from lab.staging import pki
from lab.tls.alerts import AlertDescription
from lab.tls.engine import Closed, Data, Engine, EngineEvent, Established, Failed
from lab.tls.errors import HandshakeTooLong, TlsError
from lab.tls.streams import READS_IN_A_ROW, ConnectionFailed, SocketConnection, TlsStream
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


# A stream with an engine that only says what it is told to.


@dataclass
class Puppet:
    """An engine for which what comes is the data itself. To the first bytes it adds the events `after`, and answers
    them with `answer`."""

    after: list[EngineEvent] = field(default_factory=list)
    answer: bytes = b""
    outgoing: bytes = b""
    closed: bool = False
    peer_chain: tuple[bytes, ...] = ()

    def receive(self, data: bytes) -> list[EngineEvent]:
        events, self.after = [Data(data), *self.after], []
        self.outgoing, self.answer = self.outgoing + self.answer, b""
        return events

    def data_to_send(self) -> bytes:
        outgoing, self.outgoing = self.outgoing, b""
        return outgoing

    def send(self, data: bytes) -> None:
        if self.closed:
            raise TlsError("too late")
        self.outgoing += data

    def close(self) -> None:
        self.closed = True
        self.outgoing += b"close_notify"

    def give_up(self, reason: str) -> list[EngineEvent]:
        self.outgoing += b"alert"
        return [Failed(80, "client", reason)]


class Broken(asyncio.StreamReader):
    """What came before the connection broke."""

    def __init__(self, left: bytes, error: Exception) -> None:
        super().__init__()
        self.feed_data(left)
        self.set_exception(error)


@contextlib.contextmanager
def between(engine: Engine) -> Iterator[tuple[TlsStream, socket.socket]]:
    """A stream over one end of a pair of sockets, and the other end. A write to an end that is gone fails at once."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(PATIENCE_SECONDS)
        connection = SocketConnection(ours)
        yield TlsStream(engine, connection, connection), theirs


def of(stream: TlsStream, reader: asyncio.StreamReader) -> TlsStream:
    """The stream with another reader."""
    stream._reader = reader
    return stream


def failure(use: Awaitable[object]) -> Failed:
    async def used() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await use

    with pytest.raises(ConnectionFailed) as caught:
        asyncio.run(used())
    assert str(caught.value) == caught.value.failed.reason
    return caught.value.failed


def test_what_comes_is_read_in_its_order_while_something_is_sent() -> None:
    async def conversation(stream: TlsStream, theirs: socket.socket) -> list[bytes]:
        theirs.sendall(b"one")
        await stream.write(b"and")
        first = await stream.read()
        theirs.sendall(b"two")
        await stream.write(b"and")
        return [first, await stream.read()]

    with between(Puppet()) as (stream, theirs):
        assert asyncio.run(conversation(stream, theirs)) == [b"one", b"two"]


@pytest.mark.parametrize("gone", [False, True], ids=["a peer that listens", "a peer that is gone"])
def test_data_before_the_failure_is_read_before_the_failure_is_told(gone: bool) -> None:
    failed = Failed(40, "server", "refused")

    async def both(stream: TlsStream) -> None:
        assert await stream.read() == b"first"
        await stream.read()

    with between(Puppet([failed], b"alert")) as (stream, theirs):
        theirs.sendall(b"first")
        if gone:
            theirs.close()
        assert failure(both(stream)) == failed


def test_a_failure_is_not_told_while_there_is_data_to_read() -> None:
    failed = Failed(40, "server", "refused")

    async def both(stream: TlsStream) -> None:
        await stream.take([Data(b"first"), failed])
        assert await stream.read() == b"first"
        await stream.read()

    with between(Puppet()) as (stream, _):
        assert failure(both(stream)) == failed
    with between(Puppet()) as (stream, _):
        assert failure(stream.take([failed])) == failed


def test_an_engine_that_may_not_send_is_no_failure_of_the_connection() -> None:
    with between(Puppet(closed=True)) as (stream, _), pytest.raises(TlsError, match="too late") as caught:
        asyncio.run(stream.write(b"data"))
    assert not isinstance(caught.value, ConnectionFailed)


def test_a_write_to_a_peer_that_is_gone_fails_by_itself() -> None:
    with between(Puppet()) as (stream, theirs):
        theirs.close()
        assert failure(stream.write(b"data")).sent_by is None


class Closing(SocketConnection):
    """A writer that takes its time to close, and may break meanwhile."""

    def __init__(self, connection: socket.socket, error: OSError | None) -> None:
        super().__init__(connection)
        self.error, self.closed = error, False

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)
        self.closed = True
        if self.error:
            raise self.error


@pytest.mark.parametrize("error", [None, ConnectionResetError("it was reset")], ids=repr)
def test_a_stream_is_closed_when_its_connection_is(error: OSError | None) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        connection = Closing(ours, error)
        asyncio.run(TlsStream(Puppet(), connection, connection).close())
        assert connection.closed


def test_close_notify_is_sent_on_an_established_connection_alone() -> None:
    for established in (False, True):
        with between(Puppet([Established()])) as (stream, theirs):
            if established:
                theirs.sendall(b"hello")
                asyncio.run(stream.handshake())
            asyncio.run(stream.close())
            assert theirs.recv(100) == (b"close_notify" if established else b"")


def test_what_came_before_a_connection_broke_is_read_once() -> None:
    async def both(stream: TlsStream) -> None:
        of(stream, Broken(b"the last of it", ConnectionResetError("it was reset")))
        assert await stream.read() == b"the last of it"
        await stream.read()

    with between(Puppet()) as (stream, _):
        assert failure(both(stream)) == Failed(None, None, "it was reset")


def test_the_reason_of_a_broken_connection_is_told() -> None:
    async def broken(stream: TlsStream) -> None:
        await of(stream, Broken(b"", ConnectionResetError("it was reset"))).read()

    with between(Puppet()) as (stream, _):
        assert failure(broken(stream)).reason == "it was reset"


def test_an_end_without_close_notify_is_told_as_that() -> None:
    with between(Puppet()) as (stream, theirs):
        theirs.close()
        assert failure(stream.read()).reason == "the peer closed the connection without close_notify"


def test_close_notify_within_the_handshake_is_a_failure() -> None:
    with between(Puppet([Closed()])) as (stream, theirs):
        theirs.sendall(b"?")
        of_it = failure(ended(stream))
    assert of_it.reason == "the peer closed the connection before the handshake was complete"


async def ended(stream: TlsStream) -> None:
    """Reads what there is, and goes on with the handshake."""
    with contextlib.suppress(ConnectionFailed):
        await stream.until(lambda: False)
    assert await stream.read()
    await stream.until(lambda: False)


def test_a_handshake_that_is_too_long_is_given_up_with_an_alert() -> None:
    async def too_long(stream: TlsStream) -> None:
        await of(stream, Broken(b"", HandshakeTooLong("it takes too long"))).handshake()

    with between(Puppet()) as (stream, theirs):
        assert failure(too_long(stream)) == Failed(80, "client", "it takes too long")
        assert theirs.recv(100) == b"alert"


def answered(engine: Puppet) -> list[bytes]:
    """What is read from a peer that says two things and is gone before the first is answered."""

    async def all_of(stream: TlsStream) -> list[bytes]:
        await stream.until(lambda: bool(stream._data))
        return [await stream.read() for _ in range(2)]

    with between(engine) as (stream, theirs):
        theirs.sendall(b"the rest")
        theirs.close()
        return asyncio.run(all_of(stream))


def test_nobody_has_to_wait_for_our_close_notify() -> None:
    assert answered(Puppet([Established(), Closed()], b"close_notify")) == [b"the rest", b""]


def test_an_answer_that_cannot_be_sent_is_a_failure_where_nothing_has_ended() -> None:
    with pytest.raises(ConnectionFailed, match="Broken pipe"):
        answered(Puppet([Established()], b"answer"))


def test_a_connection_can_be_made_from_another_address_of_this_machine() -> None:
    async def source(port: int) -> str:
        connection = await SocketConnection.open(("127.0.0.1", port), "127.0.0.9")
        try:
            assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert connection.socket.getsockname()[1] > 1023, "the system chooses the port"
            return str(connection.socket.getsockname()[0])
        finally:
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert asyncio.run(source(listening.getsockname()[1])) == "127.0.0.9"


def test_a_connection_that_is_refused_says_so_in_the_systems_words() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ConnectionRefusedError, match=r"^\[Errno \d+\] Connection refused$"):
            asyncio.run(SocketConnection.open(("127.0.0.1", port)))


def test_an_error_without_a_number_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise OSError("no words of the system's")

    async def connect() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", fail)
        with pytest.raises(OSError, match=r"^no words of the system's$"):
            await SocketConnection.open(("127.0.0.1", 9))

    asyncio.run(connect())


def test_many_reads_that_find_something_let_others_go_on() -> None:
    """After READS_IN_A_ROW reads other tasks have a turn, and after no other read."""

    async def run(ours: socket.socket, theirs: socket.socket) -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        ours.setblocking(False)
        theirs.sendall(bytes(3 * READS_IN_A_ROW))
        connection, counting = SocketConnection(ours), asyncio.create_task(count())
        await asyncio.sleep(0)  # it begins
        so_far = []
        for _ in range(2 * READS_IN_A_ROW):
            await connection.read(1)
            so_far.append(turns)
        counting.cancel()
        assert so_far == [0] * (READS_IN_A_ROW - 1) + [1] * READS_IN_A_ROW + [2]

    ours, theirs = socket.socketpair()
    with ours, theirs:
        asyncio.run(run(ours, theirs))


@pytest.mark.parametrize(
    "given_up", [asyncio.CancelledError(), OSError(errno.EHOSTUNREACH, ""), OSError("why")], ids=repr
)
def test_a_connection_that_is_given_up_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, given_up: BaseException
) -> None:
    made: list[socket.socket] = []
    real = socket.socket

    def make(*kind: int) -> socket.socket:
        made.append(real(*kind))
        return made[-1]

    monkeypatch.setattr(socket, "socket", make)

    async def give_up(port: int) -> None:
        async def cancelled(*_: object) -> None:
            raise given_up

        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", cancelled)
        with pytest.raises(type(given_up)):
            await SocketConnection.open(("127.0.0.1", port))

    with asyncio.Runner() as runner:
        runner.get_loop()
        made.clear()
        runner.run(give_up(9))
    assert [one.fileno() for one in made] == [-1]
