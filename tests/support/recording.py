"""Relays on loopback that pass on everything and remember it, as a capture has it: no root is needed."""

import abc
import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from scapy.layers.inet import IP, UDP

import wirecraft
from wirecraft import RAW_IP, Flight

CLIENT, SERVER = ("10.9.0.2", 50123), ("10.9.0.4", 4444)
"""How the two ends are called in what is recorded."""


class _Relay(abc.ABC):
    """A relay to a port of loopback, in a thread of its own."""

    kind: socket.SocketKind

    def __init__(self, to_port: int) -> None:
        self._to = ("127.0.0.1", to_port)
        self.seen: list[Flight] = []
        self._listening = socket.socket(socket.AF_INET, self.kind)
        self._listening.bind(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._listening.close()

    @abc.abstractmethod
    def _run(self) -> None: ...


class UdpRelay(_Relay):
    """Datagrams."""

    kind = socket.SOCK_DGRAM

    def _run(self) -> None:
        with socket.socket(socket.AF_INET, self.kind) as onward, selectors.DefaultSelector() as waiting:
            onward.connect(self._to)
            waiting.register(self._listening, selectors.EVENT_READ)
            waiting.register(onward, selectors.EVENT_READ)
            client = ("", 0)
            while not self._over.is_set():
                for key, _ in waiting.select(0.05):
                    with contextlib.suppress(ConnectionError):
                        if key.fileobj is self._listening:
                            data, client = self._listening.recvfrom(1 << 16)
                            self.seen.append(Flight(True, data))
                            onward.send(data)
                        else:
                            data = onward.recv(1 << 16)
                            self.seen.append(Flight(False, data))
                            self._listening.sendto(data, client)

    def write(self, path: Path) -> Path:
        """What was seen, as a capture file."""
        path.write_bytes(wirecraft.pcap(map(datagram, self.seen), RAW_IP.number))
        return path


class TcpRelay(_Relay):
    """One connection."""

    kind = socket.SOCK_STREAM

    def _run(self) -> None:
        self._listening.listen()
        self._listening.settimeout(0.05)
        client = next(self._accepted(), None)
        if client is None:
            return
        with client, socket.create_connection(self._to) as onward, selectors.DefaultSelector() as waiting:
            waiting.register(client, selectors.EVENT_READ, onward)
            waiting.register(onward, selectors.EVENT_READ, client)
            while not self._over.is_set():
                for key, _ in waiting.select(0.05):
                    try:
                        data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    except ConnectionError:
                        return
                    if not data:
                        return
                    self.seen.append(Flight(key.fileobj is client, data))
                    key.data.sendall(data)

    def _accepted(self) -> Iterator[socket.socket]:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                yield self._listening.accept()[0]

    def write(self, path: Path) -> Path:
        """What was seen, as a capture file."""
        return wirecraft.write(path, wirecraft.alice_to_bank(self.seen, client=CLIENT, server=SERVER), RAW_IP)


def datagram(flight: Flight) -> bytes:
    """A datagram as an IP packet."""
    source, destination = (CLIENT, SERVER) if flight.from_client else (SERVER, CLIENT)
    head = IP(src=source[0], dst=destination[0]) / UDP(sport=source[1], dport=destination[1])
    return bytes(head / flight.data)


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def settle(relay: _Relay, seconds: float = 0.3) -> None:
    """Waits until nothing new is seen for a while."""
    seen = -1
    while seen != len(relay.seen):
        seen = len(relay.seen)
        time.sleep(seconds)
