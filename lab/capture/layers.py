"""Takes the layers off a packet: link layers, tags, tunnels, IP. Every layer is a function, and tables lead from one to
the next, by link type, EtherType, IP protocol, PPP protocol or UDP port.

Link types are the registry's (tcpdump.org, LINKTYPE_*). Arbitrary bytes give something or nothing, never an error.
"""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lab.capture.contents import Content, Datagram, EapFrame, Endpoint, Station, Unread, tcp_segment
from lab.capture.fragments import Fragments

MAX_LAYERS = 24
"""How deep layers may be nested."""
MAX_CONTENTS = 64
"""How many payloads one packet may carry."""

TOO_DEEP, TOO_SHORT, FRAGMENT = "nested too deep", "too short for its headers", "IP fragment"
NO_TLS, ENCRYPTED_WIFI, OTHER_LLC, OTHER_GRE = "no TLS", "encrypted Wi-Fi", "other LLC", "other GRE"

Layer = Callable[[bytes, Fragments | None], "Steps"]


class Inner(NamedTuple):
    """A further layer and its bytes."""

    layer: Layer
    data: bytes


Steps = Iterator[Content | Inner]
"""What a layer holds."""


def peel(link_type: int, data: bytes, fragments: Fragments | None) -> list[Content]:
    """All that a packet carries. Without `fragments`, fragments of IP packets are not put together."""
    link = _LINKS.get(link_type)
    if link is None:
        return [Unread(f"link type {link_type}")]
    found: list[Content] = []
    todo: list[tuple[int, Layer, bytes]] = [(0, link, data)]
    while todo and len(found) < MAX_CONTENTS:
        depth, layer, data = todo.pop()
        if depth > MAX_LAYERS:
            found.append(Unread(TOO_DEEP))
            continue
        try:
            for step in layer(data, fragments):
                if isinstance(step, Inner):
                    todo.append((depth + 1, step.layer, step.data))
                else:
                    found.append(step)
        except (IndexError, struct.error):
            found.append(Unread(TOO_SHORT))
    return found


def _two(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]


# Link layers


def _ethernet(data: bytes, fragments: Fragments | None) -> Steps:
    yield from _typed(data, 12, data[:12])


def _typed(data: bytes, at: int, addresses: bytes) -> Steps:
    """What stands behind an EtherType or a length (IEEE 802.3), and behind any tags before it."""
    kind = _two(data, at)
    while kind in _TAGS:
        at += _TAGS[kind] + (4 * (data[at + 3] - 1) if kind == _CISCO_TAG and data[at + 3] else 0)
        kind = _two(data, at)
    if kind <= 1500:
        yield from _llc(data, at + 2, at + 2 + kind if kind else len(data), addresses)
    elif kind == _EAPOL:
        yield from _eapol(data[at + 2 :], addresses)
    else:
        yield from _by_ethertype(kind, data[at + 2 :])


def _by_ethertype(kind: int, data: bytes) -> Steps:
    layer = _ETHERTYPES.get(kind)
    if layer:
        yield Inner(layer, data)
    else:
        yield Unread(NO_TLS if kind in _WITHOUT_TLS else f"EtherType {kind:#06x}")


def _llc(data: bytes, at: int, end: int, addresses: bytes) -> Steps:
    """IEEE 802.2, with SNAP."""
    head = data[at : at + 3]
    if head == b"\xaa\xaa\x03":
        if data[at + 3 : at + 6] in (b"\0\0\0", b"\0\0\xf8"):
            yield from _typed(data[:end], at + 6, addresses)
        else:
            yield Unread(NO_TLS if data[at + 3 : at + 6] == b"\0\0\x0c" else OTHER_LLC)
    elif head == b"\x06\x06\x03":
        yield Inner(_ipv4, data[at + 3 : end])
    else:
        yield Unread(NO_TLS)  # spanning tree, IPX, NetBEUI and IS-IS


def _atm(data: bytes, fragments: Fragments | None) -> Steps:
    yield from _llc(data, 0, len(data), b"")


def _ip(data: bytes, fragments: Fragments | None) -> Steps:
    """Either version, which the first bits tell."""
    version = data[0] >> 4
    yield Inner(_ipv4, data) if version == 4 else Inner(_ipv6, data) if version == 6 else Unread(NO_TLS)


def _behind(octets: int, inner: Layer) -> Layer:
    """A layer behind a header of a fixed length."""

    def layer(data: bytes, fragments: Fragments | None) -> Steps:
        yield Inner(inner, data[octets:])

    return layer


def _cooked(data: bytes, fragments: Fragments | None) -> Steps:
    yield from _typed(data, 14, bytes(6) + data[6:12])


def _cooked2(data: bytes, fragments: Fragments | None) -> Steps:
    yield from _typed(data[12:18] + data[:2] + data[20:], 6, bytes(6) + data[12:18])


def _packet_filter(data: bytes, fragments: Fragments | None) -> Steps:
    """OpenBSD's PFLOG."""
    yield Inner(_ip, data[data[0] + 3 & ~3 :])


def _pktap(data: bytes, fragments: Fragments | None) -> Steps:
    """macOS: a header that names the link type of what follows."""
    length, _, link = struct.unpack_from("<III", data)
    yield Inner(_link(link), data[length:])


def _link(link_type: int) -> Layer:
    layer = _LINKS.get(link_type)

    def unknown(data: bytes, fragments: Fragments | None) -> Steps:
        yield Unread(f"link type {link_type}")

    return layer or unknown


def _nflog(data: bytes, fragments: Fragments | None) -> Steps:
    """Linux: attributes in the byte order of the machine, of which one is the packet."""
    order = "<" if struct.unpack_from("<H", data, 4)[0] <= len(data) - 4 else ">"
    at = 4
    while at + 4 <= len(data):
        length, kind = struct.unpack_from(f"{order}HH", data, at)
        if length < 4:
            break
        if kind & 0x7FFF == 9:
            yield Inner(_ip, data[at + 4 : at + length])
            return
        at += length + 3 & ~3
    yield Unread(TOO_SHORT)


def _cisco_hdlc(data: bytes, fragments: Fragments | None) -> Steps:
    yield from _by_ethertype(_two(data, 2), data[4:])


def _frame_relay(data: bytes, fragments: Fragments | None) -> Steps:
    """RFC 2427, with an address of two bytes."""
    kind = data[3]
    if kind == 0xCC:
        yield Inner(_ipv4, data[4:])
    elif kind == 0x8E:
        yield Inner(_ipv6, data[4:])
    elif data[2:4] == b"\x03\x00" and data[4] == 0x80:
        yield from _by_ethertype(_two(data, 8), data[10:])
    elif kind == 0x80:
        yield from _by_ethertype(_two(data, 7), data[9:])
    else:
        yield from _by_ethertype(_two(data, 2), data[4:])


# Wi-Fi


def _radiotap(data: bytes, fragments: Fragments | None) -> Steps:
    """Radiotap: only whether the frame's header is padded matters, which its flags tell."""
    (length,) = struct.unpack_from("<H", data, 2)
    at, present, words = 4, 0x80000000, []
    while present & 0x80000000:
        (present,) = struct.unpack_from("<I", data, at)
        words.append(present)
        at += 4
    flags = 0
    if words[0] & 2:
        flags = data[(at + 7 & ~7) + 8 if words[0] & 1 else at]
    frame = data[length : -4 if flags & 0x10 else None]
    yield Inner(_padded_wifi if flags & 0x20 else _wifi, frame)


def _wifi(data: bytes, fragments: Fragments | None) -> Steps:
    yield from _wifi_frame(data, 1)


def _padded_wifi(data: bytes, fragments: Fragments | None) -> Steps:
    yield from _wifi_frame(data, 4)


def _wifi_frame(data: bytes, alignment: int) -> Steps:
    """IEEE 802.11 section 9.3.2.1: data frames that are not encrypted."""
    control, flags = data[0], data[1]
    if control & 0x0C != 0x08 or control & 0x40:
        yield Unread(NO_TLS)  # management, control, and frames without data
        return
    if flags & 0x40:
        yield Unread(ENCRYPTED_WIFI)
        return
    at = 30 if flags & 3 == 3 else 24
    aggregated = False
    if control & 0x80:
        aggregated = bool(data[at] & 0x80)
        at += 6 if flags & 0x80 else 2
    at += -at % alignment
    if _two(data, 22) & 0x0F00 and data[22] & 0x0F:
        yield Unread("fragmented Wi-Fi")
        return
    if aggregated:
        while at + 14 < len(data):
            length = _two(data, at + 12)
            yield Inner(_ethernet, data[at : at + 14 + length])
            at += 14 + length
            at += -(14 + length) % 4
        return
    one, two, three = data[4:10], data[10:16], data[16:22]
    to, source = {0: (one, two), 1: (three, two), 2: (one, three)}.get(flags & 3, (three, data[24:30]))
    yield Inner(_ethernet, to + source + b"\0\0" + data[at:])


def _prism(data: bytes, fragments: Fragments | None) -> Steps:
    yield Inner(_wifi, data[struct.unpack_from("<I", data, 4)[0] :])


def _avs(data: bytes, fragments: Fragments | None) -> Steps:
    yield Inner(_wifi, data[struct.unpack_from(">I", data, 4)[0] :])


def _ppi(data: bytes, fragments: Fragments | None) -> Steps:
    length, link = struct.unpack_from("<2xHI", data)
    yield Inner(_link(link), data[length:])


# PPP


def _ppp(data: bytes, fragments: Fragments | None) -> Steps:
    """RFC 1661 section 2, RFC 1662 section 3: address and control, and half of the protocol, may be left out."""
    if data[0] in (0x0F, 0x8F) and data[1] == 0:
        yield Inner(_cisco_hdlc, data)
        return
    at = 2 if data[:2] == b"\xff\x03" else 0
    protocol, at = (data[at], at + 1) if data[at] & 1 else (_two(data, at), at + 2)
    if protocol == _PPP_EAP:
        yield from _eap(data[at:], Station("PPP"), Station("PPP"), True)
    elif protocol in _PPP_PROTOCOLS:
        yield Inner(_PPP_PROTOCOLS[protocol], data[at:])
    else:
        yield Unread(NO_TLS if protocol >= 0x8000 else f"PPP protocol {protocol:#06x}")


def _ppp_with_direction(data: bytes, fragments: Fragments | None) -> Steps:
    yield Inner(_ppp, data[2:] if data[1] == 3 else data[1:])


def _pppoe(data: bytes, fragments: Fragments | None) -> Steps:
    """RFC 2516 section 4."""
    yield Inner(_ppp, data[6 : 6 + _two(data, 4)])


# EAP


def _eapol(data: bytes, addresses: bytes) -> Steps:
    """IEEE 802.1X section 11.3."""
    if data[1] == 0:
        to, source = addresses[:6], addresses[6:12]
        yield from _eap(data[4 : 4 + _two(data, 2)], Station(source.hex(":")), Station(to.hex(":")), bool(to[0] & 1))
    else:
        yield Unread(NO_TLS)


def _eap(packet: bytes, source: Station, destination: Station, group: bool) -> Steps:
    yield EapFrame(source, destination, group, packet)


# Tunnels


def _mpls(data: bytes, fragments: Fragments | None) -> Steps:
    """RFC 3032: labels, then IP, or Ethernet with or without a control word (RFC 4448), which only guessing tells."""
    at = 0
    while not data[at + 2] & 1:
        at += 4
    inner = data[at + 4 :]
    if inner[0] >> 4 == 4 and 20 <= _two(inner, 2) <= len(inner):
        yield Inner(_ipv4, inner)
    elif inner[0] >> 4 == 6 and _two(inner, 4) + 40 <= len(inner):
        yield Inner(_ipv6, inner)
    elif _is_ethernet(inner[4:]):
        yield Inner(_ethernet, inner[4:])
    elif _is_ethernet(inner):
        yield Inner(_ethernet, inner)
    else:
        yield Inner(_ip, inner)


def _is_ethernet(data: bytes) -> bool:
    kind = int.from_bytes(data[12:14], "big")
    return kind in _TAGS or kind in _ETHERTYPES or kind in _WITHOUT_TLS


def _gre(data: bytes, fragments: Fragments | None) -> Steps:
    """RFC 2784, RFC 2890, and RFC 2637 for PPP."""
    flags, kind = struct.unpack_from("!HH", data)
    at = 4
    at += 4 * bool(flags & 0xC000)  # a checksum, or routing
    at += 4 * bool(flags & 0x2000)
    at += 4 * bool(flags & 0x1000)
    at += 4 * bool(flags & 7 == 1 and flags & 0x80)
    if at >= len(data):
        yield Unread(NO_TLS)  # keepalives, acknowledgements
    elif kind == _ERSPAN:
        yield Inner(_ethernet, data[at + 8 if flags & 0x1000 else at :])
    elif kind == _ERSPAN_III:
        yield Inner(_ethernet, data[at + (20 if data[at + 11] & 1 else 12) :])
    elif kind == _WCCP:
        yield Inner(_ip, data[at if data[at] >> 4 in (4, 6) else at + 4 :])
    elif kind in _ETHERTYPES:
        yield Inner(_ETHERTYPES[kind], data[at:])
    elif kind in _TAGS:
        yield from _typed(kind.to_bytes(2, "big") + data[at:], 0, b"")
    else:
        yield Unread(f"GRE protocol {kind:#06x}")


def _nsh(data: bytes, fragments: Fragments | None) -> Steps:
    """RFC 8300 section 2."""
    yield Inner(_next_protocol(data[3]), data[4 * (data[1] & 0x3F) :])


def _next_protocol(number: int) -> Layer:
    """The registry of VXLAN-GPE and NSH."""
    return {1: _ipv4, 2: _ipv6, 3: _ethernet, 4: _nsh, 5: _mpls}.get(number, _unknown_tunnel)


def _unknown_tunnel(data: bytes, fragments: Fragments | None) -> Steps:
    yield Unread("unknown tunnel")


def _vxlan(data: bytes) -> Steps:
    """RFC 7348 section 5."""
    if data[0] & 0x08:
        yield Inner(_ethernet, data[8:])


def _is_vxlan(data: bytes) -> bool:
    """Whether a datagram on any port can only be VXLAN: its reserved bits are zero, and it holds Ethernet."""
    return data[:4] == b"\x08\0\0\0" and data[7:8] == b"\0" and len(data) > 22 and _is_ethernet(data[8:])


def _vxlan_gpe(data: bytes) -> Steps:
    if data[0] & 0x08:
        yield Inner(_next_protocol(data[3]) if data[0] & 0x04 else _ethernet, data[8:])


def _geneve(data: bytes) -> Steps:
    """RFC 8926 section 3.4."""
    if data[0] >> 6 == 0:
        yield from _by_ethertype(_two(data, 2), data[8 + 4 * (data[0] & 0x3F) :])


def _gtp(data: bytes) -> Steps:
    """3GPP TS 29.281 section 5: the user's packets are in G-PDUs."""
    if data[0] >> 4 != 3:
        return
    if data[1] != 255:
        yield Unread(NO_TLS)
        return
    at = 8
    if data[0] & 7:
        following, at = data[at + 3], at + 4
        while data[0] & 4 and following:
            length = 4 * data[at]
            following = data[at + length - 1]
            at += length or len(data)
    if data[at] >> 4 in (4, 6):
        yield Inner(_ip, data[at:])
    elif _is_ethernet(data[at:]):
        yield Inner(_ethernet, data[at:])
    else:
        yield Unread("unknown tunnel")


def _gre_in_udp(data: bytes) -> Steps:
    """RFC 8086."""
    yield Inner(_gre, data)


def _mpls_in_udp(data: bytes) -> Steps:
    """RFC 7510."""
    yield Inner(_mpls, data)


def _l2tp(data: bytes) -> Steps:
    """RFC 2661 section 3.1: PPP in data messages."""
    flags = _two(data, 0)
    if flags & 0x000F != 2:
        return
    if flags & 0x8000:
        yield Unread(NO_TLS)
        return
    at = 6 + 2 * bool(flags & 0x4000) + 4 * bool(flags & 0x0800)
    if flags & 0x0200:
        at += 2 + _two(data, at)
    yield Inner(_ppp, data[at:])


def _teredo(data: bytes) -> Steps:
    """RFC 4380 section 5.1.1, without the indications that may stand before."""
    if data[0] >> 4 == 6 and len(data) >= 40:
        yield Inner(_ipv6, data)


def _tzsp(data: bytes) -> Steps:
    """TaZmen's sniffer protocol, by which access points send what they hear: a header, tagged fields, a frame."""
    if data[0] != 1 or data[1] > 1:  # a packet that was received, or one to be sent
        return
    at = 4
    while data[at] != 1:
        at += 1 if data[at] == 0 else 2 + data[at + 1]
    protocol = _two(data, 2)
    layer = {1: _ethernet, 18: _wifi, 119: _prism, 127: _avs}.get(protocol)
    yield Inner(layer, data[at + 1 :]) if layer else Unread("unknown tunnel")


def _esp_in_udp(data: bytes) -> Steps:
    """RFC 3948: ESP, or IKE behind four zero bytes; both are encrypted."""
    if len(data) > 8:
        yield Unread("IP protocol 50" if any(data[:4]) else NO_TLS)


# IP


def _ipv4(data: bytes, fragments: Fragments | None) -> Steps:
    """RFC 791 section 3.1. The total length cuts off what Ethernet padded."""
    words, total, number, fragment, protocol, source, destination = _IPV4_HEADER(data)
    header = (words & 0x0F) * 4
    if words >> 4 != 4 or header < 20 or (total and total < header):
        yield Unread(TOO_SHORT)
        return
    payload = data[header : total or len(data)]  # zero with segmentation offload
    if fragment & 0x3FFF:
        key = (source, destination, protocol, number)
        whole = _together(fragments, key, (fragment & 0x1FFF) * 8, bool(fragment & 0x2000), payload)
        if whole is None:
            yield from _lone_fragment(fragments)
            return
        payload = whole
    yield from _transport(protocol, payload, source, destination)


def _ipv6(data: bytes, fragments: Fragments | None) -> Steps:
    """RFC 8200 section 3, extension headers skipped."""
    first, length, following, source, destination = _IPV6_HEADER(data)
    if first >> 4 != 6:
        yield Unread(TOO_SHORT)
        return
    payload = data[40 : 40 + length if length else len(data)]
    at = 0
    while following in _EXTENSIONS or following == _FRAGMENT_HEADER:
        if following == _FRAGMENT_HEADER:
            offset, number = struct.unpack_from("!HI", payload, at + 2)
            following, piece = payload[at], payload[at + 8 :]
            if offset & 0xFFF9:  # not the only one: RFC 6946
                key = (source, destination, following, number)
                whole = _together(fragments, key, offset & 0xFFF8, bool(offset & 1), piece)
                if whole is None:
                    yield from _lone_fragment(fragments)
                    return
                piece = whole
            payload, at = piece, 0
        else:
            following, at = payload[at], at + (payload[at + 1] + 1) * 8
    yield from _transport(following, payload[at:], source, destination)


def _together(fragments: Fragments | None, key: tuple[object, ...], at: int, more: bool, piece: bytes) -> bytes | None:
    return fragments.add(key, at, more, piece) if fragments else None


def _lone_fragment(fragments: Fragments | None) -> Steps:
    """A fragment that waits for others is counted at the end; without `fragments` it is nothing."""
    if fragments is None:
        yield Unread(FRAGMENT)


def _transport(protocol: int, data: bytes, source: bytes, destination: bytes) -> Steps:
    while protocol == _AUTHENTICATION:  # RFC 4302 section 2
        protocol, data = data[0], data[(data[1] + 2) * 4 :]
    if protocol == _TCP:
        segment = tcp_segment(data, 0, len(data), source, destination)
        yield segment or Unread(TOO_SHORT)
    elif protocol in _UDPS:
        yield from _udp(data, source, destination)
    elif protocol in _PROTOCOLS:
        yield Inner(_PROTOCOLS[protocol], data)
    else:
        yield Unread(NO_TLS if protocol in _PROTOCOLS_WITHOUT_TLS else f"IP protocol {protocol}")


def _udp(data: bytes, source: bytes, destination: bytes) -> Steps:
    """A datagram, or the tunnel that its port stands for, if its bytes agree."""
    source_port, destination_port, length = struct.unpack_from("!HHH", data)
    payload = data[8 : length if length >= 8 else len(data)]
    tunnel = _TUNNELS.get(destination_port) or _TUNNELS.get(source_port) or (_vxlan if _is_vxlan(payload) else None)
    if tunnel and payload and (steps := list(tunnel(payload))):
        yield from steps
    else:
        yield Datagram(Endpoint(source, source_port), Endpoint(destination, destination_port), payload)


_IPV4_HEADER = struct.Struct("!BxHHHxBxx4s4s").unpack_from
_IPV6_HEADER = struct.Struct("!B3xHBx16s16s").unpack_from

_CISCO_TAG, _EAPOL, _PPP_EAP = 0x8909, 0x888E, 0xC227
_ERSPAN, _ERSPAN_III, _WCCP = 0x88BE, 0x22EB, 0x883E
_TCP, _FRAGMENT_HEADER, _AUTHENTICATION = 6, 44, 51
_UDPS = (17, 136)  # UDP-Lite too, RFC 3828
_EXTENSIONS = (0, 43, 60, 135, 139, 140)  # RFC 7045 section 4, those that carry their length in units of 8 bytes

_TAGS = {
    0x8100: 4,  # IEEE 802.1Q
    0x88A8: 4,
    0x9100: 4,
    0x9200: 4,
    0x8926: 6,  # VN-Tag
    0x893F: 8,  # IEEE 802.1BR
    0x892F: 6,  # HSR
    0xF1C1: 6,  # IEEE 802.1CB
    _CISCO_TAG: 8,  # Cisco's security group tag, if it has one option
}
"""Tags between EtherTypes, and how far the next EtherType is."""
_ETHERTYPES: dict[int, Layer] = {
    0x0800: _ipv4,
    0x86DD: _ipv6,
    0x8847: _mpls,
    0x8848: _mpls,
    0x8864: _pppoe,
    0x880B: _ppp,
    0x88E7: _behind(4, _ethernet),  # IEEE 802.1ah
    0x894F: _nsh,
    0x6558: _ethernet,
}
_WITHOUT_TLS = frozenset((0x0806, 0x8035, 0x8863, 0x88CC, 0x8809, 0x88F7, 0x8902, 0x9000, 0x8808, 0x890D, 0x893A))
"""ARP, RARP, PPPoE discovery, LLDP, LACP, PTP, CFM, loopback test, PAUSE, TDLS, IEEE 1905.1."""
_PPP_PROTOCOLS: dict[int, Layer] = {0x0021: _ipv4, 0x0057: _ipv6, 0x0281: _mpls, 0x0283: _mpls}
_PROTOCOLS: dict[int, Layer] = {4: _ipv4, 41: _ipv6, 47: _gre, 94: _ipv4, 97: _behind(2, _ethernet), 137: _mpls}
_PROTOCOLS_WITHOUT_TLS = frozenset((1, 2, 46, 58, 59, 88, 89, 103, 112))
"""ICMP, IGMP, RSVP, ICMPv6, nothing, EIGRP, OSPF, PIM, VRRP."""
_TUNNELS: dict[int, Callable[[bytes], Steps]] = {
    4789: _vxlan,
    8472: _vxlan,
    4790: _vxlan_gpe,
    6081: _geneve,
    2152: _gtp,
    4754: _gre_in_udp,
    6635: _mpls_in_udp,
    1701: _l2tp,
    3544: _teredo,
    4500: _esp_in_udp,
    37008: _tzsp,
}
"""By UDP port."""
_LINKS: dict[int, Layer] = {
    0: _behind(4, _ip),
    1: _ethernet,
    9: _ppp,
    12: _ip,
    14: _ip,
    50: _ppp,
    51: _pppoe,
    100: _atm,
    101: _ip,
    104: _cisco_hdlc,
    105: _wifi,
    107: _frame_relay,
    108: _behind(4, _ip),
    109: _behind(12, _ip),
    113: _cooked,
    117: _packet_filter,
    119: _prism,
    127: _radiotap,
    163: _avs,
    166: _ppp_with_direction,
    192: _ppi,
    204: _ppp_with_direction,
    219: _mpls,
    228: _ipv4,
    229: _ipv6,
    239: _nflog,
    240: _behind(4, _ethernet),
    258: _pktap,
    276: _cooked2,
}
LINK_TYPES = frozenset(_LINKS)
"""The link types that are read."""
