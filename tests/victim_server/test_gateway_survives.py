"""What a gateway lives through: crowds, clients that dawdle, clients that lie about lengths, clients that vanish.

Every test attacks a real process on loopback, with many connections for a moment. Meanwhile alice goes on logging in,
and afterwards the process has given back what it took: file descriptors and memory.
"""

import contextlib
import itertools
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from lab.events.types import GatewayListening, Trouble
from lab.staging import pki
from lab.tls.client import Client
from lab.tls.proof import prove_with
from lab.tls.records import ContentType, write_record
from programs import wait_until
from tls_peers import update_keys
from victim_server.gateway import Limits
from victims import (
    PATIENCE_SECONDS,
    Reports,
    Victims,
    connect,
    connect_tls,
    events_in,
    get_account,
    instrument_at,
    read_all,
    shake_hands,
    start_part,
    wait_for_event,
)

GATEWAYS = ("certificate-only@instrument", "mtls@openssl")
"""One gateway that runs the instrument, and one that runs OpenSSL."""
CROWD = 200
MORE_THAN_THERE_IS_ROOM_FOR = 560
ATTACK_SECONDS = 0.75
SLACK_OCTETS = 8 << 20
"""What the process may hold more than at first after all these tests: measured 1 or 2 MiB."""
PEAK_OCTETS = 256 << 20
"""What it may use at any time: CROWD connections of each attack, and whatever is not yet given back."""
PAGE = os.sysconf("SC_PAGE_SIZE")

each_gateway = pytest.mark.parametrize("gateway_id", GATEWAYS)

Chunks: TypeAlias = Iterator[bytes]
Attack: TypeAlias = Callable[[Client], Chunks]
"""Bytes for one connection, as many as the gateway takes; the client is one whose handshake nobody has begun."""


@dataclass
class Process:
    """The victims' process, and what it used before anybody attacked it."""

    victims: Victims
    pid: int
    idle_octets: int = 0
    idle_descriptors: int = 0
    troubles: int = 0
    """How many there have been so far: each test answers for its own."""

    def octets(self) -> int:
        """Resident memory, once the process has given back what is free."""
        os.kill(self.pid, signal.SIGUSR1)
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE

    def peak_octets(self) -> int:
        """The most that was ever resident."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def assert_recovered(self) -> None:
        """Waits until every connection is gone; the memory has to be, too, and there was no trouble."""
        wait_until(
            lambda: self.descriptors() <= self.idle_descriptors,
            lambda: f"connections to be gone: {self.descriptors()} file descriptors, {self.idle_descriptors} before",
        )
        wait_until(
            lambda: self.octets() <= self.idle_octets + SLACK_OCTETS,
            lambda: f"memory to be given back: {self.octets() >> 20} MiB, {self.idle_octets >> 20} before",
        )
        assert self.peak_octets() < PEAK_OCTETS
        trouble = [event for event in events_in(self.victims.folder / "events.jsonl") if isinstance(event, Trouble)]
        new, self.troubles = trouble[self.troubles :], len(trouble)
        assert not new


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("survivor")
    issued = pki.issue(folder / "public", folder / "server", folder / "client")
    run = folder / "victim-server"
    ports = [word for gateway_id in GATEWAYS for word in ("--port", f"{gateway_id}=0")]
    files = ("--bundle", str(issued.server_pem), "--ca", str(issued.ca_pem), "--folder", str(run))
    part = start_part("tests.support.frugal", "victim_server", *ports, *files)
    reports = Reports()
    for event in wait_for_event(part, run / "events.jsonl", GatewayListening, len(GATEWAYS)):
        reports.report(event)
    it = Process(Victims(issued, run, reports), part.pid)
    before = it.descriptors()
    for gateway_id in GATEWAYS:  # what a process needs once, it has now
        crowd_logs_in(it.victims, gateway_id)
    wait_until(lambda: it.descriptors() <= before, "the crowds to be gone")
    it.idle_octets, it.idle_descriptors = it.octets(), before + len(GATEWAYS)
    yield it
    part.communicate(timeout=PATIENCE_SECONDS)
    assert part.returncode == 0


def log_in(victims: Victims, gateway_id: str) -> None:
    """Alice, who must get in whatever else goes on."""
    with contextlib.closing(connect_tls(victims, gateway_id)) as connection:
        connection.sendall(get_account(victims.issued, gateway_id, "Connection: close"))
        assert b'{"customer":"alice","balance":1000}' in read_all(connection)


def crowd_logs_in(victims: Victims, gateway_id: str) -> None:
    with ThreadPoolExecutor(CROWD) as pool:
        list(pool.map(lambda _: log_in(victims, gateway_id), range(CROWD)))


def leave(connection: socket.socket, politely: bool) -> None:
    """Closes, or resets, as a client that crashed."""
    if not politely:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@dataclass
class Line:
    """One attacking connection, and what is still to be sent on it."""

    connection: socket.socket
    chunks: Chunks
    pending: bytes = b""

    def step(self) -> None:
        """Sends what the connection takes now; one that the gateway has closed takes nothing more."""
        try:
            self.pending = self.pending or next(self.chunks, b"")
            if self.pending:
                self.pending = self.pending[self.connection.send(self.pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self.chunks, self.pending = iter(()), b""


@contextlib.contextmanager
def under(attack: Attack, victims: Victims, gateway_id: str, connections: int) -> Iterator[None]:
    """Attacks for the block's duration and at least for ATTACK_SECONDS, in a thread; all are there from the first."""
    there, over = threading.Event(), threading.Event()

    def new_line() -> Line:
        version = "1.3" if attack is asks_for_new_keys else "1.2"
        client = instrument_at(victims, gateway_id, prove_with(victims.issued.client.key), version)
        connection = connect(victims, gateway_id)
        if attack in AFTER_A_HANDSHAKE:
            shake_hands(connection, client)
            connection.sendall(client.data_to_send())
        connection.setblocking(False)
        return Line(connection, attack(client))

    def run() -> None:
        try:
            lines = [new_line() for _ in range(connections)]
        finally:
            there.set()
        until = time.monotonic() + ATTACK_SECONDS
        while time.monotonic() < until or not over.is_set():
            for line in lines:
                line.step()
            time.sleep(0.001)
        for number, line in enumerate(lines):
            leave(line.connection, politely=number % 2 == 0)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        there.wait()
        try:
            yield
        finally:
            over.set()
        running.result(PATIENCE_SECONDS)


# --- attacks ---


def says_nothing(client: Client) -> Chunks:
    """A half-open connection."""
    return iter(())


def stops_in_its_hello(client: Client) -> Chunks:
    yield client.data_to_send()[:-1]


def drips_its_hello(client: Client) -> Chunks:
    """One byte at a time, with a pause."""
    for byte in client.data_to_send()[:-1]:
        yield bytes([byte])
        for _ in range(10):
            yield b""


def random_bytes(client: Client) -> Chunks:
    source = random.Random(1)
    while True:
        yield source.randbytes(1 << 12)


def random_records(client: Client) -> Chunks:
    """Framed as TLS frames it, so that they are looked into."""
    source = random.Random(2)
    while True:
        yield write_record(source.choice([20, 21, 22, 23]), source.randbytes(source.randrange(1 << 10)))


def records_past_the_limit(client: Client) -> Chunks:
    """2^14 + 2048 bytes is the most that any record may have (RFC 5246 section 6.2.3)."""
    yield b"\x16\x03\x03\xff\xff"
    while True:
        yield bytes(1 << 14)


def a_message_of_16_mib(client: Client) -> Chunks:
    """A ClientHello that says it is as long as a handshake message can be, in whole records."""
    yield write_record(ContentType.HANDSHAKE, b"\x01\xff\xff\xff")
    while True:
        yield write_record(ContentType.HANDSHAKE, bytes(1 << 14))


def a_long_message_in_crumbs(client: Client) -> Chunks:
    """A ClientHello that both stacks would take if it ever ended, a byte a record."""
    yield write_record(ContentType.HANDSHAKE, b"\x01\x01\xff\x00")
    while True:
        yield write_record(ContentType.HANDSHAKE, b"\0") * 100


def empty_records(client: Client) -> Chunks:
    while True:
        yield write_record(ContentType.HANDSHAKE, b"") * 100


def endless_warnings(client: Client) -> Chunks:
    """A ClientHello, then user_canceled again and again."""
    yield client.data_to_send()
    while True:
        yield write_record(ContentType.ALERT, b"\x01\x5a") * 100


def a_certificate_that_never_ends(client: Client) -> Chunks:
    """The client's own flight begins with a Certificate that says it has 16 MiB."""
    yield client.data_to_send()
    yield write_record(ContentType.HANDSHAKE, b"\x0b\xff\xff\xff\xff\xff\xfc")
    while True:
        yield write_record(ContentType.HANDSHAKE, bytes(1 << 14))


def drips_its_request(client: Client) -> Chunks:
    """Slow loris: one header after the other."""
    for number in itertools.count():
        client.send(b"GET /account HTTP/1.1\r\nHost: h\r\n" if number == 0 else b"X-%d: x\r\n" % number)
        yield client.data_to_send()


def empty_application_data(client: Client) -> Chunks:
    while True:
        client._write_record(ContentType.APPLICATION_DATA, b"")
        yield client.data_to_send()


def asks_and_does_not_listen(client: Client) -> Chunks:
    while True:
        client.send(b"GET /account HTTP/1.1\r\nHost: h\r\n\r\n" * 100)
        yield client.data_to_send()


def a_body_without_end(client: Client) -> Chunks:
    client.send(b"POST /transfer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        client.send(b"4000\r\n" + bytes(1 << 14) + b"\r\n")
        yield client.data_to_send()


def asks_for_new_keys(client: Client) -> Chunks:
    """TLS 1.3's KeyUpdate, which asks for one in return (RFC 8446 section 4.6.3), and is never read."""
    while True:
        for _ in range(20):
            update_keys(client, request=True)
        yield client.data_to_send()


BEFORE_A_HANDSHAKE: tuple[Attack, ...] = (
    says_nothing,
    stops_in_its_hello,
    drips_its_hello,
    random_bytes,
    random_records,
    records_past_the_limit,
    a_message_of_16_mib,
    a_long_message_in_crumbs,
    empty_records,
    endless_warnings,
    a_certificate_that_never_ends,
)
AFTER_A_HANDSHAKE: tuple[Attack, ...] = (
    drips_its_request,
    empty_application_data,
    asks_and_does_not_listen,
    a_body_without_end,
    asks_for_new_keys,
)


# --- tests ---


@each_gateway
def test_a_crowd_gets_in_at_once(process: Process, gateway_id: str) -> None:
    crowd_logs_in(process.victims, gateway_id)
    process.assert_recovered()


@each_gateway
@pytest.mark.parametrize("attack", BEFORE_A_HANDSHAKE + AFTER_A_HANDSHAKE)
def test_alice_gets_in_while_others_misbehave(process: Process, gateway_id: str, attack: Attack) -> None:
    """A crowd of strangers, or some customers. Those who say nothing would take every place, and come from her host."""
    connections = CROWD if attack in BEFORE_A_HANDSHAKE else CROWD // 10
    if attack is says_nothing:
        connections = MORE_THAN_THERE_IS_ROOM_FOR
        assert connections > Limits().connections
    with under(attack, process.victims, gateway_id, connections):
        for _ in range(3):
            log_in(process.victims, gateway_id)
    log_in(process.victims, gateway_id)
    process.assert_recovered()


@each_gateway
@pytest.mark.parametrize("politely", [True, False], ids=["closes", "resets"])
def test_a_client_may_vanish_after_any_byte(process: Process, gateway_id: str, politely: bool) -> None:
    """Of both its flights and of its request, one in seven."""
    victims = process.victims
    request = get_account(victims.issued, gateway_id)
    for flights in range(3):
        for cut in itertools.count(step=7):
            client = instrument_at(victims, gateway_id, prove_with(victims.issued.client.key))
            connection = connect(victims, gateway_id)
            for _ in range(flights):
                connection.sendall(client.data_to_send())
                client.receive(connection.recv(1 << 16))
            if flights == 2:
                client.send(request)
            rest = client.data_to_send()
            connection.sendall(rest[:cut])
            leave(connection, politely)
            if cut >= len(rest):
                break
    log_in(victims, gateway_id)
    process.assert_recovered()
