"""A needle is found wherever packets cut it; what is missing in a capture does not hide what is there."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wirecraft
from attacker.packets import Segment
from attacker.reassembly import MAX_PENDING
from attacker.search import MAX_HITS, Found, Hit, find_in_streams
from wirecraft import Flight

NEEDLE = b"-----BEGIN PRIVATE KEY-----"
HIT = Hit("key", "10.9.0.2:50123", "10.9.0.4:8443", 5)
HIDDEN = b"over " + NEEDLE + b" and out"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wire.pcap"


def find(path: Path, segments: list[Segment]) -> Found:
    return find_in_streams(wirecraft.write(path, segments), {"key": NEEDLE, "other": b"\0other"})


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
    assert find(path, segments).hits == (Hit("key", "10.9.0.4:8443", "10.9.0.2:50123", 5),)


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


def test_a_needle_across_a_gap_is_not_found(path: Path) -> None:
    opening, *data = sent(NEEDLE[:13] + b"lost" + NEEDLE[13:], 1)
    assert find(path, [opening, *data[:14], *data[18:]]).hits == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.data())
def test_any_cut_and_order_gives_the_same_hit(path: Path, data: st.DataObject) -> None:
    opening, *rest = sent(HIDDEN, data.draw(st.integers(1, 12)))
    assert find(path, [opening, *data.draw(st.permutations(rest))]).hits == (HIT,)
