"""What a packet may carry, once its layers are off."""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from lab.address import Address

FIN, SYN, RST, ACK = 1, 2, 4, 16

_TCP_HEADER = struct.Struct("!HHI4xBB").unpack_from


class Endpoint(NamedTuple):
    """An address and a port; `host` is packed, 4 or 16 bytes. As text it is `127.0.0.1:8441` or `[::1]:8441`."""

    host: bytes
    port: int

    def __str__(self) -> str:
        address = IPv4Address(self.host) if len(self.host) == 4 else IPv6Address(self.host)
        return str(Address(str(address), self.port))


class Station(NamedTuple):
    """One end of a conversation that has no IP address: its MAC address, or what else it is called."""

    name: str

    def __str__(self) -> str:
        return self.name


Place = Endpoint | Station


class Segment(NamedTuple):
    """One TCP segment (RFC 9293 section 3.1)."""

    source: Endpoint
    destination: Endpoint
    sequence: int
    flags: int
    payload: bytes


class Datagram(NamedTuple):
    """One UDP datagram (RFC 768)."""

    source: Endpoint
    destination: Endpoint
    payload: bytes


class EapFrame(NamedTuple):
    """An EAP packet straight on a link (IEEE 802.1X, PPP); `group` if its destination is a group address."""

    source: Station
    destination: Station
    group: bool
    packet: bytes


class Unread(NamedTuple):
    """Something that is not read, by its kind; `lab.capture.tally` has the words for it."""

    kind: str


Content = Segment | Datagram | EapFrame | Unread


def tcp_segment(data: bytes, at: int, end: int, source: bytes, destination: bytes) -> Segment | None:
    """The segment that starts at `at`; struct.error or IndexError if its header is not whole."""
    source_port, destination_port, sequence, offset, flags = _TCP_HEADER(data, at)
    payload = at + (offset >> 4) * 4
    if payload < at + 20 or payload > end:
        return None
    return Segment(
        Endpoint(source, source_port),
        Endpoint(destination, destination_port),
        sequence,
        flags,
        data[payload:end],
    )
