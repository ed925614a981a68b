"""A needle is found wherever packets cut it; what is missing in a capture does not hide what is there."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether

import wirecraft
from lab.capture import search
from lab.capture.packets import ACK, RST, SYN, Segment
from lab.capture.reassembly import MAX_PENDING
from lab.capture.search import MAX_HITS, THE_FILE, Found, Hit, find_in_capture
from wirecraft import ETHERNET, Flight, packet

NEEDLE = b"-----BEGIN PRIVATE KEY-----"
HIT = Hit("key", "10.9.0.2:50123 to 10.9.0.4:8443", 5)
NEEDLES = {"key": NEEDLE, "other": b"\0other"}
HIDDEN = b"over " + NEEDLE + b" and out"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wire.pcap"


def find(path: Path, segments: list[Segment]) -> Found:
    """What is found; whatever is, is where it says in the file."""
    found = find_in_capture(wirecraft.write(path, segments), NEEDLES)
    content = path.read_bytes()
    for hit in found.hits:
        assert b"".join(content[one.at : one.at + one.octets] for one in hit.pieces) == NEEDLES[hit.needle]
    return found


def find_in_packets(path: Path, packets: list[bytes], link: int = ETHERNET.number, keep: int = 1 << 18) -> Found:
    path.write_bytes(wirecraft.pcap(packets, link, keep=keep))
    return find_in_capture(path, NEEDLES)


def frames(segments: list[Segment]) -> list[bytes]:
    return [ETHERNET.wrap(packet(segment)) for segment in segments]


def in_the_file(path: Path) -> tuple[Hit, ...]:
    """What is found of something that the file has in one piece, and no stream."""
    return (Hit("key", THE_FILE, path.read_bytes().index(NEEDLE)),)


def sent(data: bytes, size: int = 1000, client: tuple[str, int] = ("10.9.0.2", 50123)) -> list[Segment]:
    return wirecraft.alice_to_bank([Flight(True, data)], size=size, client=client)


def test_a_needle_is_found_with_its_place(path: Path) -> None:
    assert find(path, sent(HIDDEN)) == Found(1, len(HIDDEN), (HIT,))


@pytest.mark.parametrize("size", range(1, len(NEEDLE) + 1))
def test_a_needle_is_found_wherever_segments_cut_it(path: Path, size: int) -> None:
    assert find(path, sent(HIDDEN, size)).hits == (HIT,)


def test_a_needle_is_found_in_segments_out_of_order_and_sent_twice(path: Path) -> None:
    opening, *data = sent(HIDDEN, 4)
    assert find(path, [opening, *data[::-1], *data]).hits == (HIT,)


def test_a_needle_from_the_server_is_found(path: Path) -> None:
    segments = wirecraft.alice_to_bank([Flight(True, b"please"), Flight(False, HIDDEN)])
    assert find(path, segments).hits == (Hit("key", "10.9.0.4:8443 to 10.9.0.2:50123", 5),)


def test_each_occurrence_is_a_hit(path: Path) -> None:
    assert [hit.offset for hit in find(path, sent(NEEDLE * 3, 5)).hits] == [0, 27, 54]


def test_hits_without_end_are_not_all_kept(path: Path) -> None:
    assert len(find(path, sent(NEEDLE * (MAX_HITS + 1))).hits) == MAX_HITS


def test_both_directions_together_make_no_needle(path: Path) -> None:
    flights = [Flight(True, NEEDLE[:9]), Flight(False, NEEDLE[9:])]
    assert find(path, wirecraft.alice_to_bank(flights)) == Found(1, len(NEEDLE), ())


def test_connections_are_kept_apart(path: Path) -> None:
    one, other = sent(NEEDLE[:9]), sent(NEEDLE[9:], client=("10.9.0.3", 50123))
    assert find(path, [*one, *other]) == Found(2, len(NEEDLE), ())


def test_ports_that_are_used_again_make_another_connection(path: Path) -> None:
    again = wirecraft.alice_to_bank([Flight(True, NEEDLE[9:])], starts=(500_000, 900_000))
    assert find(path, [*sent(NEEDLE[:9]), *again]) == Found(2, len(NEEDLE), ())


def test_a_repeated_syn_is_no_other_connection(path: Path) -> None:
    segments = sent(HIDDEN)
    assert find(path, [*segments, *segments[:2]]) == Found(1, len(HIDDEN), (HIT,))


def test_a_needle_behind_a_gap_is_found_and_the_gap_is_counted(path: Path) -> None:
    segments = [segment for segment in sent(b"lost" + HIDDEN, 4) if segment.payload != b"lost"]
    assert find(path, segments) == Found(1, len(HIDDEN), (HIT,), gaps=1)


def test_a_needle_behind_a_gap_in_a_long_stream_is_found(path: Path) -> None:
    flights = [Flight(True, b"lost"), Flight(True, HIDDEN + bytes(2 * MAX_PENDING))]
    segments = [segment for segment in wirecraft.alice_to_bank(flights) if segment.payload != b"lost"]
    assert find(path, segments).hits == (HIT,)


def test_a_needle_across_a_gap_is_not_found_but_the_gap_is_counted(path: Path) -> None:
    syn, answer, *data = sent(NEEDLE[:13] + b"lost" + NEEDLE[13:], 1)
    assert find(path, [syn, answer, *data[:13], *data[17:]]) == Found(1, len(NEEDLE), (), gaps=1)


def test_what_is_sent_again_is_no_gap(path: Path) -> None:
    syn, answer, *data = sent(HIDDEN, 4)
    again = [segment for segment in sent(HIDDEN, 7) if segment.payload]  # and cut elsewhere
    found = find(path, [syn, syn, answer, *data[:5], *data, *again, *data[::-1]])
    assert found == Found(1, len(HIDDEN), (HIT,))


def test_a_segment_before_the_first_one_seen_is_searched_and_a_needle_across_them_is_counted(path: Path) -> None:
    before, *rest = wirecraft.alice_to_bank([Flight(True, HIDDEN), Flight(True, b"later")], opening=False)
    assert find(path, [*rest, before]).hits == in_the_file(path)
    one, two, *ends = wirecraft.alice_to_bank([Flight(True, NEEDLE[:9]), Flight(True, NEEDLE[9:])], opening=False)
    assert find(path, [two, one, *ends]) == Found(1, len(NEEDLE) - 9, (), gaps=2)  # the other is the missing SYN


def test_a_connection_whose_beginning_is_missing_has_a_gap(path: Path) -> None:
    found = find(path, [segment for segment in sent(NEEDLE[9:]) if not segment.flags & SYN])
    assert found == Found(1, len(NEEDLE) - 9, (), gaps=1)


@pytest.mark.parametrize("left", [0, 1], ids=["by the sender's last packet", "by its FIN"])
def test_a_connection_whose_end_is_missing_has_a_gap(path: Path, left: int) -> None:
    syn, answer, *data, fin, _ = sent(HIDDEN, 6)
    last = fin if left else fin._replace(flags=ACK)
    assert find(path, [syn, answer, *data[:-1], last]).gaps == 1


def test_a_segment_sent_again_with_other_bytes_is_searched_and_counted(path: Path) -> None:
    syn, answer, data, *rest = sent(b"x" * len(HIDDEN))
    other = data._replace(payload=HIDDEN)
    found = find(path, [syn, answer, data, other, *rest])
    assert found == Found(1, len(HIDDEN), in_the_file(path), gaps=1)


def test_a_segment_that_overlaps_with_other_bytes_is_searched_and_counted(path: Path) -> None:
    syn, answer, data, *rest = sent(b"x" * 10)
    other = data._replace(sequence=data.sequence + 2, payload=HIDDEN)
    assert find(path, [syn, answer, data, other, *rest]) == Found(1, len(HIDDEN) + 2, in_the_file(path), gaps=1)


def test_contradicting_segments_out_of_order_are_counted(path: Path) -> None:
    syn, answer, first, last, *ends = sent(b"x" * 2 * len(HIDDEN), len(HIDDEN))
    other = last._replace(payload=HIDDEN)
    found = find(path, [syn, answer, last, other, first, *ends])
    assert found == Found(1, 2 * len(HIDDEN), in_the_file(path), gaps=1)


def test_a_segment_that_comes_when_it_was_given_up_is_searched_and_counted(path: Path) -> None:
    flights = [Flight(True, HIDDEN), Flight(True, bytes(2 * MAX_PENDING))]
    syn, answer, late, *data = wirecraft.alice_to_bank(flights)
    assert find(path, [syn, answer, *data, late]) == Found(1, 2 * MAX_PENDING, in_the_file(path), gaps=2)


def test_ports_that_are_used_again_without_a_syn_are_searched_and_counted(path: Path) -> None:
    flights = [Flight(True, HIDDEN)]
    again = wirecraft.alice_to_bank(flights, starts=(500, 900), opening=False)
    assert find(path, [*sent(b"x" * 90), *again[:1]]) == Found(1, 90, in_the_file(path), gaps=1)


def test_the_acknowledgement_behind_a_fin_is_no_gap(path: Path) -> None:
    *segments, fin, end = sent(HIDDEN)
    behind = fin._replace(sequence=fin.sequence + 1, flags=ACK)
    assert find(path, [*segments, fin, end, behind, behind._replace(flags=RST | ACK)]).gaps == 0


def test_a_reset_does_not_hide_what_comes_behind_it(path: Path) -> None:
    syn, answer, data, *rest = sent(HIDDEN)
    reset = data._replace(flags=RST, payload=b"")
    assert find(path, [syn, answer, reset, data, *rest]) == Found(1, len(HIDDEN), (HIT,))


def test_a_syn_behind_its_data_is_a_gap(path: Path) -> None:
    syn, answer, one, two, *_ = sent(HIDDEN, 20)
    assert find(path, [one, syn, answer, two]).gaps > 0


def test_connections_that_had_to_make_way_have_gaps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_STREAMS", 2)
    one, other = sent(HIDDEN, 9), sent(b"aside", client=("10.9.0.3", 50123))
    found = find(path, [*one[:4], *other, *one[4:]])
    assert found.hits == ()
    assert found.gaps > 0


def test_no_more_is_held_than_allowed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_HELD", 30)
    one, other = sent(HIDDEN, 9), sent(b"aside" * 4, client=("10.9.0.3", 50123))
    assert find(path, [*one[:4], *other, *one[4:]]).gaps > 0


def test_packets_cut_short_are_counted(path: Path) -> None:
    packets = frames(sent(HIDDEN))
    found = find_in_packets(path, packets, keep=len(packets[2]) - 20)
    assert (found.hits, found.gaps, found.cut) == ((), 1, 1)


def _fragments() -> list[bytes]:
    whole = IP(src="10.9.0.2", dst="10.9.0.4") / TCP(sport=50123, dport=8443, seq=7, flags="A") / HIDDEN
    return [bytes(Ether(type=0x0800) / part) for part in fragment(whole, fragsize=24)]


@pytest.mark.parametrize(
    ("packets", "link"),
    [
        ([bytes(Ether(type=0x0800) / IP() / UDP() / HIDDEN)], 1),
        ([bytes(Ether(type=0x0806)) + HIDDEN], 1),
        ([HIDDEN], 127),
        ([bytes(Ether(type=0x0800) / IP(flags="MF") / TCP() / HIDDEN)], 1),
        ([bytes(Ether(type=0x86DD) / IPv6() / IPv6ExtHdrFragment(m=1) / TCP() / HIDDEN)], 1),
    ],
    ids=["UDP", "ARP", "a link type that isn't read", "an IPv4 fragment", "an IPv6 fragment"],
)
def test_packets_of_no_connection_are_searched_and_counted(path: Path, packets: list[bytes], link: int) -> None:
    found = find_in_packets(path, packets, link)
    assert found == Found(0, 0, in_the_file(path), alone=1)


def test_a_needle_across_fragments_is_not_found_but_they_are_counted(path: Path) -> None:
    packets = _fragments()
    assert find_in_packets(path, packets) == Found(0, 0, (), alone=len(packets))


@pytest.mark.parametrize("around", ["padding", "options"])
def test_bytes_around_a_segment_are_searched(path: Path, around: str) -> None:
    if around == "padding":
        packets = [frames(sent(b""))[0] + HIDDEN]
    else:
        packets = [bytes(Ether(type=0x0800) / IP() / TCP(flags="S", options=[(253, NEEDLE)]))]
    assert find_in_packets(path, packets) == Found(1, 0, in_the_file(path))


def test_what_the_file_has_outside_of_packets_is_searched(path: Path) -> None:
    path.write_bytes(wirecraft.pcapng(frames(sent(b"hello"))) + wirecraft.block(0x0BAD, HIDDEN))
    assert find_in_capture(path, NEEDLES).hits == in_the_file(path)


def test_a_large_file_is_searched_to_its_end(path: Path) -> None:
    packets = [bytes(60_000)] * 35
    for shift in range(0, 60_000, 20_000):
        found = find_in_packets(path, [*packets, bytes(shift) + HIDDEN], 127)
        assert found.hits == in_the_file(path)


@pytest.mark.parametrize("shift", range(0, len(NEEDLE) + 1, 3))
def test_a_needle_is_found_wherever_the_file_is_read_in_pieces(path: Path, shift: int) -> None:
    before = (1 << 20) - 24 - 16 - shift  # the file's header and the packet's
    assert find_in_packets(path, [bytes(before) + HIDDEN[5:]], 127, keep=1 << 20).hits == in_the_file(path)


def test_many_hits_in_the_file_are_not_all_kept(path: Path) -> None:
    assert len(find_in_packets(path, [NEEDLE * (MAX_HITS + 1)], 127).hits) == MAX_HITS


@settings(max_examples=50)
@given(st.data())
def test_any_cut_and_order_gives_the_same_hit(path: Path, data: st.DataObject) -> None:
    opening, *rest = sent(HIDDEN, data.draw(st.integers(1, 12)))
    assert find(path, [opening, *data.draw(st.permutations(rest))]).hits == (HIT,)


def test_a_hit_tells_in_which_packets_it_is_and_where(path: Path) -> None:
    (hit,) = find(path, sent(HIDDEN, 10)).hits
    assert [(one.packet, one.octets) for one in hit.pieces] == [(3, 5), (4, 10), (5, 10), (6, 2)]


def test_a_hit_is_where_it_came_first(path: Path) -> None:
    opening, answer, *data = sent(HIDDEN, 10)
    (hit,) = find(path, [opening, answer, data[1], *data]).hits
    assert [one.packet for one in hit.pieces] == [4, 3, 6, 7]


def test_other_bytes_with_the_same_sequence_numbers_are_not_taken_for_a_hit(path: Path) -> None:
    opening, answer, data, *rest = sent(HIDDEN)
    first, second = data._replace(payload=HIDDEN[:9]), data._replace(sequence=data.sequence + 9, payload=HIDDEN[9:])
    (hit,) = find(path, [opening, answer, first, first._replace(payload=b"x" * 9), second, *rest]).hits
    assert [one.packet for one in hit.pieces] == [3, 5]


def test_where_a_hit_is_is_told_of_long_streams_too(path: Path) -> None:
    flights = [Flight(True, b"0123456789" * 40_000), Flight(True, HIDDEN), Flight(True, bytes(300_000))]
    (hit,) = find(path, wirecraft.alice_to_bank(flights)).hits
    (piece,) = hit.pieces
    assert path.read_bytes().index(NEEDLE) == piece.at


def test_so_many_segments_that_not_all_are_remembered_hide_no_hit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_SOURCES", 3)
    found = find_in_capture(wirecraft.write(path, sent(b"x" * 45 + HIDDEN, 1)), NEEDLES)
    assert found.hits == (replace(HIT, offset=50),)
    assert found.hits[0].pieces == ()


def test_a_file_that_grows_is_searched_up_to_a_byte(path: Path) -> None:
    """Neither its streams nor its own bytes are searched beyond."""
    nothing = find(path, sent(b"nothing"))
    end = path.stat().st_size
    later = sent(HIDDEN, client=("10.9.0.3", 50124))
    assert find(path, [*sent(b"nothing"), *later]).hits
    assert find_in_capture(path, NEEDLES, end) == nothing
    path.write_bytes(path.read_bytes()[:end] + NEEDLE)
    assert find_in_capture(path, NEEDLES, end) == nothing
