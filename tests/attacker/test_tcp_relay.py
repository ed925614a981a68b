"""The relay: it passes on what it reads, unchanged, and what it records is what happened."""

import asyncio
import errno
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from attacker.errors import AttackerError
from attacker.position.tcp_relay import Forward, Passage, TcpRelay
from attacker.scope import OutOfScope
from event_loops import in_event_loop
from lab.address import Address, host_port
from lab.capture.writer import CaptureFile
from lab.staging import pki
from programs import program

ANY_PORT = Address("127.0.0.1", 0)
DEADLINE_SECONDS = 30
BODY = b"balance: 1000"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Record:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def __call__(self, _time_ns: int, packet: bytes) -> None:
        self.packets.append(packet)

    def stream(self, from_client: bool, server_port: int) -> bytes:
        segments = (Ether(packet)[TCP] for packet in self.packets)
        return b"".join(bytes(s.payload) for s in segments if (s.dport == server_port) == from_client)

    def flags(self) -> list[str]:
        return [str(Ether(packet)[TCP].flags) for packet in self.packets]


class NoNewSocket(socket.socket):
    """What a process sees that has no file left: only what was accepted already becomes a socket."""

    def __init__(self, family: int, kind: int, protocol: int = 0, fileno: int | None = None) -> None:
        if fileno is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        super().__init__(family, kind, protocol, fileno)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def server(
    handler: Handler, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    listening = await asyncio.start_server(handler, host, 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


@asynccontextmanager
async def relay(
    target: tuple[str, int],
    sink: Callable[[int, bytes], object],
    host: str = "127.0.0.1",
    *,
    clients_at_once: float = 100,
    idle_seconds: float = 60,
) -> AsyncIterator[int]:
    running = TcpRelay(sink, clients_at_once=int(clients_at_once), idle_seconds=idle_seconds)
    await running.start([Forward(Address(host, 0), Address(*target))])
    try:
        yield running.forwards[0].listen[1]
    finally:
        await running.close()


@asynccontextmanager
async def through_relay(
    handler: Handler, sink: Callable[[int, bytes], object], host: str = "127.0.0.1", **options: float
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, int]]:
    """A client's connection through a relay to a server with that handler, and the relay's port."""
    async with server(handler, host) as port, relay((host, port), sink, host, **options) as relayed:
        reader, writer = await asyncio.open_connection(host, relayed)
        try:
            yield reader, writer, relayed
        finally:
            writer.close()


@in_event_loop
async def test_it_says_which_connections_it_put_together() -> None:
    """Before the server can have read anything."""
    told: list[Passage] = []
    peers: list[tuple[str, list[Passage]]] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        peers.append((host_port(writer.get_extra_info("peername")), list(told)))
        writer.close()

    async with server(note) as port:
        running = TcpRelay(Record(), told=told.append)
        await running.start([Forward(ANY_PORT, Address("127.0.0.1", port))])
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*running.forwards[0].listen)
            writer.write(b"!")
            assert await reader.read() == b""
            local, passages = peers[-1]
            client = host_port(writer.get_extra_info("sockname"))
            assert [str(one.local) for one in passages if str(one.client) == client] == [local]
            assert passages[-1].server == Address("127.0.0.1", port)
            writer.close()
        await running.close()
    assert len({passage.local for passage in told}) == 3


async def eventually(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@in_event_loop
async def test_both_directions_pass_unchanged_and_are_recorded(host: str) -> None:
    question, record = os.urandom(300_001), Record()
    async with through_relay(echo, record, host) as (reader, writer, relayed):
        writer.write(question)
        writer.write_eof()
        assert await reader.read(-1) == question
        assert record.stream(True, relayed) == question
        assert record.stream(False, relayed) == question
        assert record.flags()[-1] == "A"


@in_event_loop
async def test_a_packet_is_recorded_before_its_bytes_are_passed_on() -> None:
    record = Record()
    recorded_on_arrival: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        recorded_on_arrival.append(Ether(record.packets[-2])[TCP].load)
        writer.close()

    async with through_relay(listen, record) as (reader, writer, _):
        writer.write(b"hello")
        await reader.read()
    assert recorded_on_arrival == [b"hello"]


@in_event_loop
async def test_what_cannot_be_recorded_is_not_passed_on() -> None:
    arrived: list[bytes] = []

    def full(_time_ns: int, packet: bytes) -> None:
        if Ether(packet)[TCP].payload:
            raise OSError("no space left on device")

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            arrived.append(await reader.read())
        except OSError:
            arrived.append(b"")
        writer.close()

    async with through_relay(listen, full) as (reader, writer, _):
        writer.write(b"hello")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await eventually(lambda: bool(arrived))
    assert arrived == [b""]


@in_event_loop
async def test_a_client_that_has_said_everything_still_gets_its_answer() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(-1)
        writer.write(question[::-1])
        writer.close()

    async with through_relay(answer_at_the_end, Record()) as (reader, writer, _):
        writer.write(b"drow")
        writer.write_eof()
        assert await reader.read(-1) == b"word"


@in_event_loop
async def test_a_server_that_speaks_first_is_heard() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with through_relay(greet, Record()) as (reader, _, _):
        assert await reader.read(-1) == b"hello"


@in_event_loop
async def test_a_slow_receiver_holds_the_sender_back() -> None:
    """What the relay takes in for a receiver that doesn't read is bounded by socket buffers."""
    seen = 0

    def count(_time_ns: int, packet: bytes) -> None:
        nonlocal seen
        seen += len(packet)

    async def never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(DEADLINE_SECONDS)
        writer.close()

    loop = asyncio.get_running_loop()
    async with server(never_read) as port, relay(("127.0.0.1", port), count) as relayed:
        with socket.create_connection(("127.0.0.1", relayed)) as client:
            client.setblocking(False)
            sending = asyncio.create_task(loop.sock_sendall(client, bytes(64 << 20)))
            before = -1
            while seen != before:
                before = seen
                await asyncio.sleep(0.5)
            assert not sending.done()
            sending.cancel()
    assert 0 < seen < 40 << 20


@in_event_loop
async def test_a_server_that_is_away_costs_the_client_its_connection() -> None:
    record = Record()
    with socket.create_server(ANY_PORT) as gone:
        port = gone.getsockname()[1]
    async with relay(("127.0.0.1", port), record) as relayed:
        reader, writer = await asyncio.open_connection("127.0.0.1", relayed)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await eventually(lambda: record.flags()[3:] == ["RA"])


@in_event_loop
async def test_a_client_that_breaks_off_is_recorded_and_passed_on() -> None:
    record = Record()
    broken: list[type[BaseException]] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(100):
                pass
        except OSError as error:
            broken.append(type(error))
        writer.close()

    async with through_relay(listen, record) as (_, writer, relayed):
        writer.write(b"hello")
        await eventually(lambda: record.stream(True, relayed) == b"hello")
        client = writer.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await eventually(lambda: bool(broken))
        last = Ether(record.packets[-1])[TCP]
        assert (str(last.flags), last.dport) == ("RA", relayed)
    assert broken == [ConnectionResetError]


@in_event_loop
async def test_a_connection_on_which_nothing_moves_is_broken_off() -> None:
    record = Record()
    async with through_relay(echo, record, idle_seconds=0.2) as (reader, _, _):
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await eventually(lambda: record.flags()[-1] == "RA")


@in_event_loop
async def test_clients_beyond_the_bound_wait_for_their_turn() -> None:
    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        writer.write_eof()
        answer = await reader.read(-1)
        writer.close()
        return answer

    async with server(echo) as port, relay(("127.0.0.1", port), Record(), clients_at_once=2) as relayed:
        answers = await asyncio.gather(*(ask(relayed) for _ in range(50)))
        assert answers == [b"hello"] * 50


@in_event_loop
async def test_without_files_left_a_client_loses_its_connection_and_the_relay_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = Record()
    async with server(echo) as port, relay(("127.0.0.1", port), record) as relayed:
        with monkeypatch.context() as short_of_files:
            client = socket.create_connection(("127.0.0.1", relayed))

            short_of_files.setattr(socket, "socket", NoNewSocket)
            await eventually(lambda: record.flags()[3:] == ["RA"])
        client.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", relayed)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


@in_event_loop
async def test_closing_breaks_off_what_is_open_and_frees_the_port() -> None:
    async with server(echo) as port:
        async with relay(("127.0.0.1", port), Record()) as relayed:
            reader, writer = await asyncio.open_connection("127.0.0.1", relayed)
            writer.write(b"hello")
            await reader.readexactly(5)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", relayed)


@in_event_loop
async def test_a_taken_port_is_said_in_one_line_and_nothing_stays_open() -> None:
    with socket.create_server(ANY_PORT) as taken, socket.create_server(ANY_PORT) as free:
        port, first = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        running = TcpRelay(Record())
        target = Address("127.0.0.1", 1)
        with pytest.raises(AttackerError, match=rf"^another program uses 127\.0\.0\.1:{port}: "):
            await running.start(
                [Forward(Address("127.0.0.1", first), target), Forward(Address("127.0.0.1", port), target)]
            )
        with socket.create_server(("127.0.0.1", first)):
            assert running.describe() == ()


@pytest.mark.parametrize(
    ("listen", "target"),
    [
        (ANY_PORT, Address("192.0.2.7", 443)),
        (ANY_PORT, Address("example.com", 443)),
        (Address("0.0.0.0", 0), Address("127.0.0.1", 443)),
    ],
)
@in_event_loop
async def test_it_relays_from_loopback_to_the_lab_only(listen: Address, target: Address) -> None:
    with pytest.raises(OutOfScope):
        await TcpRelay(Record()).start([Forward(listen, target)])


@in_event_loop
async def test_it_does_not_forward_to_itself() -> None:
    with socket.create_server(ANY_PORT) as chosen:
        port = chosen.getsockname()[1]
    with pytest.raises(AttackerError, match="would forward to itself"):
        await TcpRelay(Record()).start([Forward(Address("127.0.0.1", port), Address("localhost", port))])


@in_event_loop
async def test_it_describes_itself_a_line_a_forward() -> None:
    running = TcpRelay(Record())
    await running.start(
        [Forward(ANY_PORT, Address("localhost", 8441)), Forward(Address("::1", 0), Address("::1", 8442))]
    )
    first, second = (forward.listen[1] for forward in running.forwards)
    assert running.describe() == (f"127.0.0.1:{first} -> 127.0.0.1:8441", f"[::1]:{second} -> [::1]:8442")
    await running.close()


@pytest.fixture
def tshark() -> Callable[..., list[str]]:
    found = program("tshark")

    def run(path: Path, *arguments: str) -> list[str]:
        checked = [part for protocol in ("ip", "tcp") for part in ("-o", f"{protocol}.check_checksum:TRUE")]
        done = subprocess.run([found, "-r", path, *checked, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.splitlines()

    return run


def handshakes(path: Path, issued: pki.Issued, version: ssl.TLSVersion, keys: Path, host: str, times: int) -> int:
    """Real mutual handshakes between two OpenSSLs, through the relay into `path`; returns the relay's port."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(issued.server_pem)
    server_side.load_verify_locations(issued.ca_pem)
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.minimum_version = server_side.maximum_version = version
    client_side = ssl.create_default_context(cafile=str(issued.ca_pem))
    client_side.load_cert_chain(issued.client_pem)
    client_side.keylog_filename = str(keys)
    file = CaptureFile(path)
    port = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
        writer.close()

    async def ask(port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port, ssl=client_side, server_hostname="localhost")
        writer.write(b"GET /account HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.read(-1)).endswith(BODY)
        writer.close()
        await writer.wait_closed()

    async def test() -> None:
        nonlocal port
        async with server(answer, host, server_side) as target:
            running = TcpRelay(file.write)
            await running.start([Forward(Address(host, 0), Address(host, target))])
            port = running.forwards[0].listen[1]
            for _ in range(times):
                await ask(port)
            await asyncio.gather(*(ask(port) for _ in range(times)))
            await running.close()

    asyncio.run(test())
    file.close()
    return port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tshark_reads_the_handshake_and_warns_of_nothing(
    tmp_path: Path, issued: pki.Issued, tshark: Callable[..., list[str]], host: str
) -> None:
    path = tmp_path / "capture.pcapng"
    port = handshakes(path, issued, ssl.TLSVersion.TLSv1_2, tmp_path / "keys.log", host, 5)
    decode = ("-d", f"tcp.port=={port},tls")
    found = tshark(path, *decode, "-Y", "tcp.stream==0 && tls.handshake", "-T", "fields", "-e", "tls.handshake.type")
    types = [number for line in found for number in line.split(",")]
    assert types[:9] == ["1", "2", "11", "12", "13", "14", "11", "16", "15"]
    warned = tshark(path, *decode, "-Y", "_ws.expert.severity >= warning && tcp.flags.reset == 0")
    assert warned == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tshark_decrypts_it_with_the_victims_session_keys(
    tmp_path: Path, issued: pki.Issued, tshark: Callable[..., list[str]], version: ssl.TLSVersion
) -> None:
    path, keys = tmp_path / "capture.pcapng", tmp_path / "keys.log"
    port = handshakes(path, issued, version, keys, "127.0.0.1", 1)
    decode = ("-d", f"tcp.port=={port},tls", "-d", f"tls.port=={port},http", "-o", f"tls.keylog_file:{keys}")
    assert tshark(path, *decode, "-Y", "http.request", "-T", "fields", "-e", "http.request.uri") == ["/account"] * 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@in_event_loop
async def test_tshark_finds_a_long_transfer_in_order(
    tmp_path: Path, tshark: Callable[..., list[str]], host: str
) -> None:
    path = tmp_path / "capture.pcapng"
    file = CaptureFile(path)
    async with through_relay(echo, file.write, host) as (reader, writer, _):
        writer.write(bytes(1 << 20))
        writer.write_eof()
        assert len(await reader.read(-1)) == 1 << 20
    file.close()
    assert len(tshark(path)) > 2 * (1 << 20) // 1500
    assert tshark(path, "-Y", "tcp.analysis.flags || _ws.expert.severity >= warning") == []
