"""The packets that stand for a relayed connection, judged by scapy: a sniffer could have recorded them."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from lab.address import Address
from lab.capture.synthetic import SyntheticConnection

PAIRS = {
    "IPv4": (Address("127.0.0.1", 50123), Address("127.0.0.1", 8441)),
    "IPv6": (Address("::1", 50123), Address("::1", 8441)),
}
MTU = 1500
pieces = st.lists(
    st.tuples(st.booleans(), st.one_of(st.binary(min_size=1, max_size=40), st.integers(1, 200_000).map(bytes))),
    max_size=6,
)


def begin(family: str) -> tuple[SyntheticConnection, list[bytes]]:
    packets: list[bytes] = []
    conversation = SyntheticConnection(*PAIRS[family], packets.append)
    conversation.open()
    return conversation, packets


@pytest.mark.parametrize("family", PAIRS)
@settings(max_examples=30)
@given(pieces=pieces, client_ends_first=st.booleans())
def test_scapy_would_have_built_the_same_packets(
    family: str, pieces: list[tuple[bool, bytes]], client_ends_first: bool
) -> None:
    conversation, packets = begin(family)
    for from_client, data in pieces:
        conversation.data(from_client, data)
    conversation.end(client_ends_first)
    conversation.end(not client_ends_first)
    for packet in packets:
        parsed = Ether(packet)
        del parsed[TCP].chksum
        if IP in parsed:
            del parsed[IP].chksum
        assert bytes(parsed) == packet
        assert len(parsed[IP if family == "IPv4" else IPv6]) <= MTU


@pytest.mark.parametrize("family", PAIRS)
@settings(max_examples=30)
@given(pieces=pieces)
def test_both_streams_are_whole_and_every_byte_is_acknowledged(family: str, pieces: list[tuple[bool, bytes]]) -> None:
    conversation, packets = begin(family)
    for from_client, data in pieces:
        conversation.data(from_client, data)
    conversation.end(True)
    conversation.end(False)
    client_port = PAIRS[family][0][1]
    for from_client in (True, False):
        sent = [tcp for tcp in (Ether(p)[TCP] for p in packets) if (tcp.sport == client_port) == from_client]
        received = [tcp for tcp in (Ether(p)[TCP] for p in packets) if (tcp.sport == client_port) != from_client]
        stream = b"".join(bytes(tcp.payload) for tcp in sent)
        assert stream == b"".join(data for by_client, data in pieces if by_client == from_client)
        for earlier, later in pairwise(sent):
            taken = len(earlier.payload) + bool(earlier.flags.S) + bool(earlier.flags.F)
            assert later.seq == (earlier.seq + taken) % (1 << 32)
        assert received[-1].ack == (sent[0].seq + len(stream) + 2) % (1 << 32)


def test_it_begins_with_the_three_way_handshake() -> None:
    _, packets = begin("IPv4")
    flags = [str(Ether(packet)[TCP].flags) for packet in packets]
    assert flags == ["S", "SA", "A"]


def test_nothing_follows_a_reset() -> None:
    conversation, packets = begin("IPv4")
    conversation.reset(from_client=True)
    conversation.data(False, b"late")
    conversation.end(False)
    conversation.reset(from_client=False)
    assert [str(Ether(packet)[TCP].flags) for packet in packets[3:]] == ["RA"]


def test_a_side_that_has_ended_may_still_be_told_something() -> None:
    conversation, packets = begin("IPv4")
    conversation.end(True)
    conversation.data(True, b"never")
    conversation.data(False, b"late")
    streams = [bytes(Ether(packet)[TCP].payload) for packet in packets]
    assert b"".join(streams) == b"late"


def test_a_sum_of_all_ones_gives_a_checksum_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", bytes)
    conversation, packets = begin("IPv4")
    conversation.data(True, b"\0\0")
    completes_the_sum = Ether(packets[3])[TCP].chksum.to_bytes(2)
    again, packets = begin("IPv4")
    again.data(True, completes_the_sum)
    parsed = Ether(packets[3])
    assert parsed[TCP].chksum == 0
    del parsed[TCP].chksum
    assert bytes(parsed) == packets[3]
