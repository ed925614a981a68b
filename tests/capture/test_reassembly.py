"""The byte stream that comes out is the one that was sent, however its segments arrive."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.capture.reassembly import MAX_PENDING, MAX_PENDING_SEGMENTS, Stream, StreamBroken

Piece = tuple[int, bytes]

START = 5_000


def pieces(data: bytes, size: int, first: int = START) -> list[Piece]:
    return [((first + at) % (1 << 32), data[at : at + size]) for at in range(0, len(data), size)]


def joined(arriving: list[Piece], opening: int | None = START - 1) -> bytes:
    stream = Stream()
    if opening is not None:
        stream.begin(opening)
    return feed(stream, arriving)


def feed(stream: Stream, arriving: list[Piece]) -> bytes:
    return b"".join(stream.feed(sequence, payload) for sequence, payload in arriving)


def behind_a_gap() -> Stream:
    """A stream whose first byte, in front of START, never comes."""
    stream = Stream()
    stream.begin(START - 2)
    return stream


def test_segments_in_order_pass_through() -> None:
    assert joined(pieces(b"certificate", 3)) == b"certificate"


def test_without_a_syn_the_first_segment_is_the_beginning() -> None:
    assert joined(pieces(b"certificate", 3), opening=None) == b"certificate"


def test_reversed_one_byte_segments_come_out_in_order() -> None:
    data = random.Random(1).randbytes(6000)
    assert joined(pieces(data, 1)[::-1]) == data


def test_retransmitted_segments_count_once() -> None:
    assert joined([piece for piece in pieces(b"certificate", 3) for _ in range(2)]) == b"certificate"


def test_segments_that_overlap_count_once() -> None:
    assert joined([(START, b"cert"), (START + 6, b"icate"), (START + 2, b"rtifica")]) == b"certificate"


def test_a_longer_retransmission_of_a_waiting_segment_brings_its_new_bytes() -> None:
    assert joined([(START + 4, b"if"), (START + 4, b"ificate"), (START, b"cert")]) == b"certificate"


def test_a_repeated_syn_does_not_start_again() -> None:
    stream = Stream()
    stream.begin(START - 1)
    first = stream.feed(START, b"cert")
    stream.begin(START - 1)
    assert first + stream.feed(START, b"cert") + stream.feed(START + 4, b"ificate") == b"certificate"


@pytest.mark.parametrize("order", [1, -1])
def test_sequence_numbers_wrap_around(order: int) -> None:
    first = (1 << 32) - 4
    assert joined(pieces(b"certificate", 3, first)[::order], opening=first - 1) == b"certificate"


@given(st.binary(max_size=300), st.integers(0, (1 << 32) - 1), st.randoms(use_true_random=False))
def test_any_cut_order_and_repetition_gives_the_same_bytes(data: bytes, first: int, chance: random.Random) -> None:
    arriving: list[Piece] = []
    at = 0
    while at < len(data):
        end = chance.randint(at + 1, len(data))
        arriving += [((first + at) % (1 << 32), data[at:end])] * chance.randint(1, 3)
        at = chance.randint(at + 1, end)
    chance.shuffle(arriving)
    assert joined(arriving, opening=(first - 1) % (1 << 32)) == data


def test_a_gap_holds_back_what_is_behind_it() -> None:
    assert joined([(START, b"cert"), (START + 6, b"icate")]) == b"cert"


def test_a_gap_that_never_closes_is_told_before_much_is_kept() -> None:
    stream = behind_a_gap()
    with pytest.raises(StreamBroken):
        feed(stream, pieces(bytes(2 * MAX_PENDING), 1000))
    assert stream.pending_octets <= MAX_PENDING + 1000


def test_small_segments_behind_a_gap_are_bounded_by_their_number() -> None:
    with pytest.raises(StreamBroken):
        feed(behind_a_gap(), pieces(bytes(2 * MAX_PENDING_SEGMENTS), 1))


def test_a_repeated_segment_behind_a_gap_is_kept_once() -> None:
    stream = behind_a_gap()
    feed(stream, [(START, b"certificate")] * (MAX_PENDING_SEGMENTS + 1))
    assert stream.pending_octets == len(b"certificate")


def test_skipping_a_gap_gives_what_is_behind_it() -> None:
    stream = Stream()
    stream.begin(START - 1)
    stream.feed(START + 6, b"ica")
    stream.feed(START + 20, b"behind the next gap")
    assert stream.skip() == b"ica"
    assert stream.feed(START + 9, b"te") == b"te"


def test_without_a_gap_there_is_nothing_to_skip() -> None:
    assert Stream().skip() == b""
