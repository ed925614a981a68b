"""From a captured packet to what it carries: a TCP segment, a UDP datagram, an EAP packet, or a word why not.

Most packets are Ethernet with IPv4 and TCP, or IP itself; these are read here, quickly. `lab.capture.layers` has all
others. Arbitrary bytes give something or nothing, never an error.
"""

import struct

from lab.capture.contents import (
    ACK,
    FIN,
    RST,
    SYN,
    Content,
    Datagram,
    EapFrame,
    Endpoint,
    Place,
    Segment,
    Station,
    Unread,
    tcp_segment,
)
from lab.capture.fragments import Fragments
from lab.capture.layers import LINK_TYPES, peel

__all__ = (
    "ACK",
    "FIN",
    "LINK_TYPES",
    "RST",
    "SYN",
    "Content",
    "Datagram",
    "EapFrame",
    "Endpoint",
    "Place",
    "Segment",
    "Station",
    "Unread",
    "contents",
    "flow",
    "payload_offset",
    "segment",
)

_ETHERNET, _RAW_IP = 1, 101
_IPV4_HEADER = struct.Struct("!BxHxxHxBxx4s4s").unpack_from


def flow(source: Endpoint, destination: Endpoint) -> bytes:
    """Addresses and ports as the bytes of a packet."""
    return source.host + destination.host + source.port.to_bytes(2, "big") + destination.port.to_bytes(2, "big")


def segment(link_type: int, data: bytes) -> Segment | None:
    """The TCP segment in a packet; None if there is none, or only a fragment of one."""
    found = _quickly(link_type, data)
    if found:
        return found
    return next((one for one in peel(link_type, data, None) if isinstance(one, Segment)), None)


def contents(link_type: int, data: bytes, fragments: Fragments) -> list[Content]:
    """All that a packet carries, which with aggregation may be several; fragments of IP packets are put together."""
    found = _quickly(link_type, data)
    return [found] if found else peel(link_type, data, fragments)


def payload_offset(seen: Segment, data: bytes) -> int:
    """Where in its packet a segment's payload starts; -1 if the segment is not from this packet."""
    header = data.find(struct.pack("!HHI", seen.source.port, seen.destination.port, seen.sequence))
    while 0 <= header <= len(data) - 20:
        payload = header + (data[header + 12] >> 4) * 4
        if data.startswith(seen.payload, payload):
            return payload
        header = data.find(data[header : header + 8], header + 1)
    return -1


def _quickly(link_type: int, data: bytes) -> Segment | None:
    """The segment in a packet of IPv4 and TCP, on Ethernet or raw."""
    if link_type == _ETHERNET:
        if data[12:14] != b"\x08\x00":
            return None
        start = 14
    elif link_type == _RAW_IP:
        start = 0
    else:
        return None
    try:
        words, total, fragment, protocol, source, destination = _IPV4_HEADER(data, start)
        header = (words & 0x0F) * 4
        if words >> 4 != 4 or header < 20 or protocol != 6 or fragment & 0x3FFF:
            return None
        end = start + total if total else len(data)  # zero with segmentation offload
        return tcp_segment(data, start + header, end, source, destination)
    except (IndexError, struct.error):
        return None  # shorter than its own headers say
