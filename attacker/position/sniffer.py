"""The sniffer: live packets of a network interface, through scapy's packet socket and a BPF filter.

A packet socket has a small buffer, and packets that come while it is full are lost. So the sniffer empties it before it
works on a packet, and again after every few packets.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import scapy.layers.l2  # noqa: F401  registers packet sockets and Ethernet with `conf`
from scapy.config import conf
from scapy.error import Scapy_Exception

from attacker.errors import AttackerError

RECEIVE_BUFFER_BYTES = 4 << 20
"""What the sniffer asks for; the system grants at most net.core.rmem_max."""
MAX_WAITING = 1 << 16
_AT_A_TIME = 8
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # packet(7)


class Sniffer:
    """An open interface, not promiscuous. Needs CAP_NET_RAW."""

    def __init__(self, interface: str, bpf_filter: str) -> None:
        try:
            self._socket: Any = conf.L2listen(iface=interface, filter=bpf_filter, promisc=False)
        except PermissionError:
            raise AttackerError("sniffing needs CAP_NET_RAW (compose: `cap_add: [NET_RAW]`)") from None
        except OSError as error:
            raise AttackerError(f"{interface}: {error.strerror or error}") from None
        except (ValueError, Scapy_Exception) as error:  # no such interface; no libpcap to compile the filter with
            raise AttackerError(f"{interface}: {error}") from None
        self._socket.ins.setblocking(False)
        self._socket.ins.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._see: Callable[[int, bytes], object] = _ignore
        self.packets = 0
        self.lost = 0
        """How many packets came, and how many of them were lost; known after `close`."""
        self._statistics()  # resets the counts: packets lost before the filter was set do not matter

    def watch(self, see: Callable[[int, bytes], object]) -> None:
        """Gives each packet, with its time in ns since 1970, to `see`, in the running loop, until `close`."""
        self._loop = asyncio.get_running_loop()
        self._see = see
        self._loop.add_reader(self._socket.ins, self._take_in)

    def close(self) -> None:
        """Gives the remaining packets to `see`, and closes."""
        if self._see is not _ignore:
            self._loop.remove_reader(self._socket.ins)
        self._receive()
        self._hand_on(len(self._waiting))
        self.packets, self.lost = self._statistics()
        self._socket.close()

    def _statistics(self) -> tuple[int, int]:
        """How many packets came, and how many of them were lost, since the last call."""
        statistics = self._socket.ins.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        packets, lost = struct.unpack("II", statistics)
        return packets, lost

    def _take_in(self) -> None:
        if not self._waiting:
            self._loop.call_soon(self._go_on)
        self._receive()

    def _go_on(self) -> None:
        try:
            self._hand_on(_AT_A_TIME)
        finally:  # an error with one packet must not stop the others
            if self._waiting:
                self._loop.call_soon(self._go_on)

    def _hand_on(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            self._see(*self._waiting.popleft())

    def _receive(self) -> None:
        """Reads all waiting packets, as far as there is room."""
        while len(self._waiting) < MAX_WAITING:
            try:
                _, data, seconds = self._socket.recv_raw()
            except OSError:  # no more packets, or the link is down
                return
            if data:
                self._waiting.append((int(seconds * 10**9), data))


def _ignore(time_ns: int, packet: bytes) -> None:
    """Takes packets before `watch` is called."""
