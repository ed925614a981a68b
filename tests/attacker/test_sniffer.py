"""The live link, on the loopback interface: nothing of a burst is missed, and what is lost is counted."""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from attacker.errors import AttackerError
from attacker.position import sniffer as live
from attacker.position.sniffer import Sniffer
from programs import unavailable

BURST = 50
FLOOD = 5_000
TWICE = 2
"""A packet socket on loopback sees each packet as it leaves and as it arrives."""


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        yield receiver


def link_to(receiver: socket.socket) -> Sniffer:
    try:
        return Sniffer("lo", f"udp port {receiver.getsockname()[1]}")
    except AttackerError as error:
        unavailable(str(error))


def send(receiver: socket.socket, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(count):
            sender.sendto(b"%d" % number, receiver.getsockname())


def test_every_packet_of_a_burst_is_seen_in_order_though_looking_takes_its_time(receiver: socket.socket) -> None:
    seen: list[bytes] = []

    def look(time_ns: int, packet: bytes) -> None:
        assert abs(time.time_ns() - time_ns) < 60 * 10**9
        seen.append(packet[42:])
        time.sleep(0.001)

    async def watch() -> None:
        link = link_to(receiver)
        link.watch(look)
        send(receiver, BURST)
        async with asyncio.timeout(30):
            while len(seen) < BURST:
                await asyncio.sleep(0.001)
        send(receiver, 1)
        link.close()
        assert (link.packets, link.lost) == (len(seen), 0)

    asyncio.run(watch())
    assert [data for number, data in enumerate(seen) if number % TWICE] == [b"%d" % n for n in range(BURST)] + [b"0"]


def test_what_is_lost_is_counted(receiver: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RECEIVE_BUFFER_BYTES", 1)
    seen: list[bytes] = []

    async def watch() -> None:
        link = link_to(receiver)
        link.watch(lambda time_ns, packet: seen.append(packet))
        send(receiver, FLOOD)
        link.close()
        assert link.lost > 0
        assert link.packets == len(seen) + link.lost == TWICE * FLOOD

    asyncio.run(watch())
