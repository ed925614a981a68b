"""Packets for a connection that a relay or a server saw as two streams of bytes: Wireshark needs packets.

They are what a sniffer on Linux's loopback would have recorded: Ethernet with empty
addresses, IPv4 (RFC 791) or IPv6 (RFC 8200), TCP (RFC 9293) with its handshake, sequence numbers and checksums.
"""

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from lab.address import Address

_ETHERTYPES = {socket.AF_INET: 0x0800, socket.AF_INET6: 0x86DD}
_IP_HEADER_LENGTHS = {socket.AF_INET: 20, socket.AF_INET6: 40}
_TCP_HEADER_LENGTH = 20
_MTU = 1500
_TTL = 64
_DONT_FRAGMENT = 0x4000
_WINDOW = 0xFFFF
# Well below a window, so no segment is sent into a full one.
_SEGMENTS_AN_ACK = 16
_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16


class SyntheticConnection:
    """One TCP connection as packets for `emit`: `open`, then `data` and `end` from either side, or `reset`."""

    def __init__(self, client: Address, server: Address, emit: Callable[[bytes], object]) -> None:
        self._client = _Endpoint(client, server)
        self._server = _Endpoint(server, client)
        self._emit = emit
        self._over = False

    def open(self) -> None:
        """The three-way handshake."""
        maximum_segment_size = struct.pack("!BBH", 2, 4, self._client.segment_size)
        self._send(self._client, _SYN, options=maximum_segment_size)
        self._send(self._server, _SYN | _ACK, options=maximum_segment_size)
        self._send(self._client, _ACK)

    def data(self, from_client: bool, data: bytes) -> None:
        """Bytes from one side, acknowledged by the other."""
        sender, receiver = self._sides(from_client)
        if self._over or sender.ended:
            return
        size = sender.segment_size
        last = (len(data) - 1) // size
        for number in range(last + 1):
            push = _PSH if number == last else 0
            self._send(sender, _ACK | push, data[number * size : (number + 1) * size])
            if number == last or number % _SEGMENTS_AN_ACK == _SEGMENTS_AN_ACK - 1:
                self._send(receiver, _ACK)

    def end(self, from_client: bool) -> None:
        """One side has finished; the other may still send."""
        sender, receiver = self._sides(from_client)
        if self._over or sender.ended:
            return
        self._send(sender, _FIN | _ACK)
        self._send(receiver, _ACK)
        sender.ended = True
        self._over = receiver.ended

    def reset(self, from_client: bool) -> None:
        """One side breaks the connection off; no packet follows."""
        if not self._over:
            self._over = True
            self._send(self._sides(from_client)[0], _RST | _ACK)

    def _sides(self, from_client: bool) -> tuple["_Endpoint", "_Endpoint"]:
        return (self._client, self._server) if from_client else (self._server, self._client)

    def _send(self, sender: "_Endpoint", flags: int, data: bytes = b"", options: bytes = b"") -> None:
        other = self._server if sender is self._client else self._client
        acknowledged = other.next_number if flags & _ACK else 0
        packet = sender.packet(acknowledged, flags, options, data)
        sender.next_number = (sender.next_number + len(data) + bool(flags & (_SYN | _FIN))) & 0xFFFFFFFF
        self._emit(packet)


@dataclass(frozen=True)
class _Addresses:
    """What all packets of one side have in common."""

    family: socket.AddressFamily
    both: bytes
    ports: bytes

    @classmethod
    def of(cls, source: Address, destination: Address) -> "_Addresses":
        family = socket.AF_INET6 if ":" in source.host else socket.AF_INET
        both = socket.inet_pton(family, source.host) + socket.inet_pton(family, destination.host)
        return cls(family, both, struct.pack("!HH", source.port, destination.port))


class _Endpoint:
    """One end of the connection: its position in its stream, and how it writes its packets."""

    def __init__(self, address: Address, peer: Address) -> None:
        self._addresses = _Addresses.of(address, peer)
        family = self._addresses.family
        self._link = bytes(12) + struct.pack("!H", _ETHERTYPES[family])
        self._addresses_sum = int.from_bytes(self._addresses.both) + socket.IPPROTO_TCP
        self._identification = int.from_bytes(os.urandom(2))
        self.segment_size = _MTU - _IP_HEADER_LENGTHS[family] - _TCP_HEADER_LENGTH
        self.next_number = int.from_bytes(os.urandom(4))
        self.ended = False

    def packet(self, acknowledged: int, flags: int, options: bytes, data: bytes) -> bytes:
        """The sender's next packet, from its link layer on."""
        offset = (_TCP_HEADER_LENGTH + len(options)) // 4 << 4
        numbers = self._addresses.ports + struct.pack("!IIBBH", self.next_number, acknowledged, offset, flags, _WINDOW)
        rest = options + data
        length = _TCP_HEADER_LENGTH + len(rest)
        # The sum includes the pseudo-header (RFC 9293 section 3.1): addresses, protocol, length.
        check = _checksum(numbers + bytes(4) + rest, self._addresses_sum + length)
        return self._link + self._ip_header(length) + numbers + struct.pack("!HH", check, 0) + rest

    def _ip_header(self, payload_length: int) -> bytes:
        addresses = self._addresses
        if addresses.family == socket.AF_INET6:
            return struct.pack("!IHBB", 6 << 28, payload_length, socket.IPPROTO_TCP, _TTL) + addresses.both
        self._identification = (self._identification + 1) & 0xFFFF
        head = struct.pack(
            "!BBHHHBB", 0x45, 0, 20 + payload_length, self._identification, _DONT_FRAGMENT, _TTL, socket.IPPROTO_TCP
        )
        return head + struct.pack("!H", _checksum(head + addresses.both)) + addresses.both


def _checksum(data: bytes, added: int = 0) -> int:
    """The Internet checksum (RFC 1071) over `data`, with `added` in the sum.

    65536 modulo 65535 is 1. So the bytes read as one number leave the same remainder as the sum of their 16-bit words:
    one division instead of a loop.
    """
    total = int.from_bytes(data) << (8 * (len(data) % 2))
    return 0xFFFF - ((total + added) % 0xFFFF or 0xFFFF)
