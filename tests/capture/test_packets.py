"""TCP segments are found under every link layer, and nothing else is taken for one."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting

import wirecraft
from lab.capture.packets import ACK, LINK_TYPES, SYN, Endpoint, Segment, flow, payload_offset, segment
from lab.capture.pcap import is_bulk
from wirecraft import LINKS, Link

RAW_IP = 101
V4 = Segment(wirecraft.endpoint("10.9.0.2", 50123), wirecraft.endpoint("10.9.0.4", 8443), 4_000_000_000, ACK, b"hello")
V6 = Segment(wirecraft.endpoint("fd00::2", 50123), wirecraft.endpoint("fd00::4", 8443), 7, ACK, b"hello")


def tcp() -> Any:
    return TCP(sport=50123, dport=8443, seq=7, flags="A") / b"hello"


@pytest.mark.parametrize("sent", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_a_segment_is_read_under_every_link_layer(link: Link, sent: Segment) -> None:
    packet = link.wrap(wirecraft.packet(sent))
    assert segment(link.number, packet) == sent
    assert packet[payload_offset(sent, packet) :].startswith(sent.payload)


@pytest.mark.parametrize("link_type", [101, 12, 14, 228])
def test_all_link_types_for_raw_ip_are_read(link_type: int) -> None:
    assert segment(link_type, wirecraft.packet(V4)) == V4


def test_bsd_loopback_is_read_whatever_its_byte_order() -> None:
    assert segment(108, struct.pack(">I", 2) + wirecraft.packet(V4)) == V4


def test_an_unknown_link_type_gives_nothing() -> None:
    assert segment(127, wirecraft.packet(V4)) is None


def test_header_options_are_passed_over() -> None:
    options = IP(src="10.9.0.2", dst="10.9.0.4", options=[("NOP"), ("NOP"), ("NOP"), ("EOL")])
    with_options = options / TCP(seq=7, options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2))]) / b"hello"
    found = segment(RAW_IP, bytes(with_options))
    assert found is not None
    assert found.payload == b"hello"


@pytest.mark.parametrize(
    "extensions",
    [
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt(),
        IPv6ExtHdrRouting(addresses=["fd00::9"]),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=["fd00::9"]) / IPv6ExtHdrDestOpt(),
        IPv6ExtHdrFragment(offset=0, m=0),
    ],
    ids=["hop-by-hop", "destination", "routing", "three", "atomic fragment"],
)
def test_ipv6_extension_headers_are_passed_over(extensions: Any) -> None:
    assert segment(RAW_IP, bytes(IPv6(src="fd00::2", dst="fd00::4") / extensions / tcp())) == V6


@pytest.mark.parametrize(("flags", "offset"), [("MF", 0), ("MF", 8), (0, 8)], ids=["first", "middle", "last"])
def test_ipv4_fragments_are_passed_over(flags: Any, offset: int) -> None:
    assert segment(RAW_IP, bytes(IP(flags=flags, frag=offset) / tcp())) is None


@pytest.mark.parametrize(("more", "offset"), [(1, 0), (1, 8), (0, 8)], ids=["first", "middle", "last"])
def test_ipv6_fragments_are_passed_over(more: int, offset: int) -> None:
    assert segment(RAW_IP, bytes(IPv6() / IPv6ExtHdrFragment(offset=offset, m=more) / tcp())) is None


def test_udp_is_no_segment() -> None:
    assert segment(RAW_IP, bytes(IP() / UDP() / b"hello")) is None


def test_a_packet_cut_short_gives_the_bytes_that_are_there() -> None:
    found = segment(RAW_IP, wirecraft.packet(V4)[:-2])
    assert found is not None
    assert found.payload == b"hel"


@pytest.mark.parametrize("sent", [V4, V6], ids=["IPv4", "IPv6"])
def test_a_length_of_zero_means_segmentation_offload(sent: Segment) -> None:
    packet = bytearray(wirecraft.packet(sent))
    at = 2 if sent is V4 else 4
    packet[at : at + 2] = b"\0\0"
    assert segment(RAW_IP, bytes(packet)) == sent


@pytest.mark.parametrize("length", range(34))
def test_headers_that_break_off_before_the_flags_give_nothing(length: int) -> None:
    assert segment(RAW_IP, wirecraft.packet(V4)[:length]) is None


@given(st.sampled_from([*sorted(LINK_TYPES), 127]), st.binary(max_size=200))
def test_arbitrary_bytes_give_a_segment_or_nothing(link_type: int, data: bytes) -> None:
    segment(link_type, data)


@given(
    st.sampled_from(LINKS),
    st.sampled_from([V4, V6]),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_packets_give_a_segment_or_nothing(link: Link, sent: Segment, damage: list[tuple[int, int]]) -> None:
    packet = bytearray(link.wrap(wirecraft.packet(sent)))
    for at, value in damage:
        packet[at % len(packet)] = value
    segment(link.number, bytes(packet))


def test_a_packet_is_known_by_its_flow_without_being_read() -> None:
    packet = wirecraft.ETHERNET.wrap(wirecraft.packet(V4))
    assert packet[26:38] == flow(V4.source, V4.destination)
    assert is_bulk(b"before" + packet, 6, len(packet))


def test_a_syn_is_never_taken_for_bulk_data() -> None:
    packet = wirecraft.ETHERNET.wrap(wirecraft.packet(V4._replace(flags=SYN)))
    assert not is_bulk(packet, 0, len(packet))


@given(
    st.sampled_from(LINKS),
    st.sampled_from([V4, V6]),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4),
    st.integers(0, 100),
)
def test_what_is_known_by_its_flow_would_be_read_as_of_it_or_not_at_all(
    link: Link, sent: Segment, damage: list[tuple[int, int]], length: int
) -> None:
    packet = bytearray(link.wrap(wirecraft.packet(sent)))
    for at, value in damage:
        packet[at % len(packet)] = value
    data = bytes(packet[:length])
    known = data[26:38]
    if link.number == 1 and is_bulk(data, 0, len(data)):
        found = segment(link.number, data)
        assert found is None or (flow(found.source, found.destination) == known and not found.flags & SYN)


@pytest.mark.parametrize(
    ("end", "text"),
    [(("127.0.0.1", 8441), "127.0.0.1:8441"), (("::1", 8441), "[::1]:8441")],
)
def test_an_endpoint_reads_as_people_write_it(end: tuple[str, int], text: str) -> None:
    found: Endpoint = wirecraft.endpoint(*end)
    assert str(found) == text
