"""From a captured packet to the TCP segment in it: link layers, VLAN tags, IPv4 and IPv6.

Link types are the registry's (tcpdump.org, LINKTYPE_*). Arbitrary bytes give a segment or None, never an error.
"""

import struct
from collections.abc import Container
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from lab.address import Address

FIN, SYN, RST, ACK = 1, 2, 4, 16

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLANS = (0x8100, 0x88A8, 0x9100)
_TCP = 6
_EXTENSIONS = (0, 43, 60, 135, 139, 140)  # RFC 7045 section 4, those that carry their length in units of 8 bytes
_FRAGMENT, _AUTHENTICATION = 44, 51
_ETHERNET, _NULL, _LOOP, _SLL, _SLL2 = 1, 0, 108, 113, 276
_RAW = (12, 14, 101, 228, 229)

_IPV4_HEADER = struct.Struct("!BxHxxHxBxx4s4s").unpack_from
_IPV6_HEADER = struct.Struct("!4xHBx16s16s").unpack_from
_TCP_HEADER = struct.Struct("!HHI4xBB").unpack_from

LINK_TYPES = frozenset((_ETHERNET, _NULL, _LOOP, _SLL, _SLL2, *_RAW))
"""The link types that are read."""


class Endpoint(NamedTuple):
    """An address and a port; `host` is packed, 4 or 16 bytes. As text it is `127.0.0.1:8441` or `[::1]:8441`."""

    host: bytes
    port: int

    def __str__(self) -> str:
        address = IPv4Address(self.host) if len(self.host) == 4 else IPv6Address(self.host)
        return str(Address(str(address), self.port))


class Segment(NamedTuple):
    """One TCP segment (RFC 9293 section 3.1)."""

    source: Endpoint
    destination: Endpoint
    sequence: int
    flags: int
    payload: bytes


def flow(source: Endpoint, destination: Endpoint) -> bytes:
    """Addresses and ports as the bytes of a packet."""
    return source.host + destination.host + source.port.to_bytes(2, "big") + destination.port.to_bytes(2, "big")


def is_of_flows(flows: Container[bytes], link_type: int, data: bytes) -> bool:
    """Whether a packet certainly belongs to one of these flows and is no SYN.

    A quick test for the most usual packets, Ethernet with IPv4 and no options; it costs a fraction of reading them.
    """
    return (
        data[26:38] in flows
        and link_type == _ETHERNET
        and data[12:15] == b"\x08\x00\x45"
        and len(data) > 47
        and not data[47] & SYN
    )


def segment(link_type: int, data: bytes) -> Segment | None:
    """The TCP segment in a packet; None if there is none, or only a fragment of one."""
    try:
        ethernet = link_type == _ETHERNET and data[12:14] == b"\x08\x00"
        start = 14 if ethernet else _network_layer(link_type, data)
        if start is None:
            return None
        version = data[start] >> 4
        if version == 4:
            return _from_ipv4(data, start)
        if version == 6:
            return _from_ipv6(data, start)
    except (IndexError, struct.error):
        pass  # shorter than its own headers say
    return None


def payload_offset(seen: Segment, data: bytes) -> int:
    """Where in its packet a segment's payload starts; -1 if the segment is not from this packet."""
    header = data.find(struct.pack("!HHI", seen.source.port, seen.destination.port, seen.sequence))
    while 0 <= header <= len(data) - 20:
        payload = header + (data[header + 12] >> 4) * 4
        if data.startswith(seen.payload, payload):
            return payload
        header = data.find(data[header : header + 8], header + 1)
    return -1


def _network_layer(link_type: int, data: bytes) -> int | None:
    """Where the IP header starts; None if there is none."""
    if link_type == _ETHERNET:
        at = 12
    elif link_type in _RAW:
        return 0
    elif link_type in (_NULL, _LOOP):
        return 4
    elif link_type == _SLL:
        at = 14
    elif link_type == _SLL2:
        return _behind_tags(data, data[0] << 8 | data[1], 18)  # the 20-byte header starts with the type
    else:
        return None
    return _behind_tags(data, data[at] << 8 | data[at + 1], at)


def _behind_tags(data: bytes, kind: int, at: int) -> int | None:
    """Where the IP header starts, after an EtherType and any VLAN tags."""
    while kind in _VLANS:
        at += 4
        kind = data[at] << 8 | data[at + 1]
    return at + 2 if kind in (_IPV4, _IPV6) else None


def _from_ipv4(data: bytes, start: int) -> Segment | None:
    """RFC 791 section 3.1. The total length cuts off what Ethernet padded."""
    words, total, fragment, protocol, source, destination = _IPV4_HEADER(data, start)
    header = (words & 0x0F) * 4
    if header < 20 or protocol != _TCP or fragment & 0x3FFF:
        return None
    end = start + total if total else len(data)  # zero with segmentation offload
    return _tcp(data, start + header, end, source, destination)


def _from_ipv6(data: bytes, start: int) -> Segment | None:
    """RFC 8200 section 3, extension headers skipped."""
    length, following, source, destination = _IPV6_HEADER(data, start)
    end = start + 40 + length if length else len(data)
    at = start + 40
    while following != _TCP:
        if following in _EXTENSIONS:
            step = (data[at + 1] + 1) * 8
        elif following == _AUTHENTICATION:
            step = (data[at + 1] + 2) * 4
        elif following == _FRAGMENT and not (data[at + 2] or data[at + 3] & 0xF9):  # the only one: RFC 6946
            step = 8
        else:
            return None
        following, at = data[at], at + step
    return _tcp(data, at, end, source, destination)


def _tcp(data: bytes, at: int, end: int, source: bytes, destination: bytes) -> Segment | None:
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
