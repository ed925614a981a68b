"""Every variant of pcap and pcapng gives the same packets; a broken file says what is wrong, where, and what to do."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether
from scapy.utils import PcapWriter, wrpcapng

from lab.capture.errors import CaptureFileError
from lab.capture.pcap import LATEST_NS, MAX_INTERFACES, MAX_PACKET, Packet, read_packets
from wirecraft import NOON_NS, block, pcap, pcapng, section

PACKETS = [b"first", b"second packet", b""]
EXPECTED = [Packet(NOON_NS + at * 10**6, 1, data, len(data), 0) for at, data in enumerate(PACKETS)]
INTERFACE = block(1, struct.pack("<HHI", 1, 0, 0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wire.pcap"


def read(path: Path, content: bytes) -> list[Packet]:
    """The packets in such a file. Each is where it says; from there on that is not told."""
    path.write_bytes(content)
    packets = list(read_packets(path))
    for packet in packets:
        assert content.startswith(packet.data, packet.at)
        assert packet.at > 0
    return [packet._replace(at=0) for packet in packets]


def problem(path: Path, content: bytes) -> str:
    """The error's text, without the file's name in front."""
    with pytest.raises(CaptureFileError) as caught:
        read(path, content)
    name, _, text = str(caught.value).partition(": ")
    assert name == str(path)
    assert "\n" not in text
    return text


def assert_clear_if_wrong(path: Path) -> None:
    problem = ""
    try:
        list(read_packets(path))
    except CaptureFileError as error:
        problem = str(error)
    assert problem == "" or problem.startswith(f"{path}: ")


def enhanced(data: bytes, interface: int = 0, ticks: int = 0) -> bytes:
    head = struct.pack("<IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(6, head + data)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("nanoseconds", [False, True], ids=["microseconds", "nanoseconds"])
def test_pcap_is_read_in_every_variant(path: Path, order: str, nanoseconds: bool) -> None:
    assert read(path, pcap(PACKETS, order=order, nanoseconds=nanoseconds)) == EXPECTED


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("resolution", [3, 6, 9])
def test_pcapng_is_read_in_every_variant(path: Path, order: str, resolution: int) -> None:
    assert read(path, pcapng(PACKETS, order=order, resolution=resolution)) == EXPECTED


def test_what_scapy_writes_is_read(path: Path) -> None:
    with PcapWriter(str(path), linktype=1, nano=True) as writer:
        writer.write_header(None)
        writer.write_packet(b"first", sec=7, usec=8)
    assert read(path, path.read_bytes()) == [Packet(7_000_000_008, 1, b"first", 5, 0)]


def test_what_scapy_writes_as_pcapng_is_read(path: Path) -> None:
    wrpcapng(str(path), [Ether(dst="02:00:00:00:00:04") / b"first", Ether(dst="02:00:00:00:00:04") / b"second"])
    assert [(packet.link_type, packet.data[14:]) for packet in read_packets(path)] == [(1, b"first"), (1, b"second")]


def test_the_link_type_stands_beside_what_is_said_of_check_sequences(path: Path) -> None:
    assert read(path, pcap(PACKETS, 1 | 1 << 26 | 4 << 28)) == EXPECTED


def test_a_packet_cut_short_by_the_capture_keeps_its_own_length(path: Path) -> None:
    content = bytearray(pcap([b"first"]))
    content[24 + 12 : 24 + 16] = struct.pack("<I", 1500)
    assert read(path, bytes(content)) == [Packet(NOON_NS, 1, b"first", 1500, 0)]


def test_each_interface_has_its_own_link_type_and_clock(path: Path) -> None:
    seconds = block(1, struct.pack("<HHI", 113, 0, 0) + struct.pack("<HHB3x", 9, 1, 0))
    content = section() + INTERFACE + seconds + enhanced(b"a", 1, 7) + enhanced(b"b", 0, 8)
    assert read(path, content) == [Packet(7 * 10**9, 113, b"a", 1, 0), Packet(8_000, 1, b"b", 1, 0)]


def test_a_clock_may_count_in_powers_of_two_from_an_offset(path: Path) -> None:
    options = struct.pack("<HHB3x", 9, 1, 0x80 | 2) + struct.pack("<HHq", 14, 8, 100)
    content = section() + block(1, struct.pack("<HHI", 1, 0, 0) + options) + enhanced(b"a", 0, 6)
    assert [packet.time_ns for packet in read(path, content)] == [101_500_000_000]


def test_a_clock_finer_than_nanoseconds_is_rounded(path: Path) -> None:
    picoseconds = block(1, struct.pack("<HHI", 1, 0, 0) + struct.pack("<HHB3x", 9, 1, 12))
    assert [packet.time_ns for packet in read(path, section() + picoseconds + enhanced(b"a", 0, 7_999))] == [7]


@pytest.mark.parametrize(("offset", "expected"), [(1 << 62, LATEST_NS), (-(1 << 62), 0)])
def test_a_time_beyond_all_calendars_is_the_last_or_the_first(path: Path, offset: int, expected: int) -> None:
    interface = block(1, struct.pack("<HHI", 1, 0, 0) + struct.pack("<HHq", 14, 8, offset))
    assert [packet.time_ns for packet in read(path, section() + interface + enhanced(b"a"))] == [expected]


def test_a_second_section_may_have_another_byte_order(path: Path) -> None:
    assert read(path, pcapng(PACKETS) + pcapng(PACKETS, order=">")) == EXPECTED * 2


def test_simple_and_obsolete_packet_blocks_are_read(path: Path) -> None:
    short = block(1, struct.pack("<HHI", 1, 0, 3))
    simple = block(3, struct.pack("<I", 5) + b"fir")
    old = block(2, struct.pack("<HHIIII", 0, 0, 0, 9, 6, 6) + b"second")
    expected = [Packet(0, 1, b"fir", 5, 0), Packet(9_000, 1, b"second", 6, 0)]
    assert read(path, section() + short + simple + old) == expected


def test_unknown_blocks_are_passed_over(path: Path) -> None:
    names, statistics, custom = block(4, b"names"), block(5, bytes(12)), block(0x0BAD, b"whatever")
    content = section() + names + INTERFACE + custom + enhanced(b"a") + statistics
    assert [packet.data for packet in read(path, content)] == [b"a"]


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(CaptureFileError) as caught:
        list(read_packets(path))
    assert str(caught.value) == f"{path}: No such file or directory; give a pcap or pcapng file"


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CaptureFileError, match=r"Is a directory; give a pcap or pcapng file$"):
        list(read_packets(tmp_path))


def test_an_empty_file(path: Path) -> None:
    assert problem(path, b"") == "is empty; give a pcap or pcapng file"


def test_another_kind_of_file(path: Path) -> None:
    reason = "not a pcap or pcapng file (begins with 2d 2d 2d 2d)"
    assert problem(path, b"-----BEGIN CERTIFICATE-----") == reason


def test_a_compressed_capture_that_holds_no_capture(path: Path) -> None:
    assert problem(path, gzip.compress(b"GIF89a and more")) == ("not a pcap or pcapng file (begins with 47 49 46 38)")


@pytest.mark.parametrize("length", range(1, 24))
def test_a_pcap_cut_off_in_its_header(path: Path, length: int) -> None:
    text = problem(path, pcap([])[:length])
    cut = "before its first packet is complete; copy it again"
    assert text.endswith(cut) or text.startswith("not a pcap or pcapng file (begins with ")


@pytest.mark.parametrize("missing", range(1, 16 + 13))
def test_a_pcap_cut_off_in_the_middle_of_a_packet(path: Path, missing: int) -> None:
    content = pcap(PACKETS[:2])[:-missing]
    expected = f"breaks off at byte {len(content)}, in the middle of packet 2; copy it again"
    assert problem(path, content) == expected


@pytest.mark.parametrize("missing", range(1, 12 + 20 + 16))
def test_a_pcapng_cut_off_in_the_middle_of_a_packet(path: Path, missing: int) -> None:
    content = pcapng(PACKETS[:2])[:-missing]
    expected = f"breaks off at byte {len(content)}, in the middle of packet 2; copy it again"
    assert problem(path, content) == expected


def test_the_packets_before_the_damage_come_out_first(path: Path) -> None:
    path.write_bytes(pcap(PACKETS[:2])[:-1])
    packets = read_packets(path)
    assert next(packets)._replace(at=0) == EXPECTED[0]
    with pytest.raises(CaptureFileError):
        next(packets)


@pytest.mark.parametrize("form", [pcap, pcapng])
def test_a_file_that_grows_is_read_up_to_a_byte(path: Path, form: Callable[[list[bytes]], bytes]) -> None:
    end = len(form(PACKETS[:1]))
    path.write_bytes(form(PACKETS))
    assert [packet.data for packet in read_packets(path, end)] == [packet.data for packet in EXPECTED[:1]]
    with pytest.raises(CaptureFileError, match=f"breaks off at byte {end + 1}, in the middle of packet 2"):
        list(read_packets(path, end + 1))


def test_a_pcap_that_claims_an_impossible_packet(path: Path) -> None:
    content = pcap([b"first"]) + struct.pack("<IIII", 0, 0, MAX_PACKET + 1, MAX_PACKET + 1)
    assert problem(path, content) == (
        f"claims a packet of {MAX_PACKET + 1} bytes, {MAX_PACKET} at most, at byte {len(content)}, behind packet 1; "
        "the file is damaged, copy or capture it again"
    )


DAMAGED = {
    "no byte order": (section()[:8] + bytes(20), "has a section without a byte-order magic"),
    "a block of 8 bytes": (section() + struct.pack("<II", 6, 8), "has a block that claims 8 bytes"),
    "a block of 13 bytes": (section() + struct.pack("<II", 6, 13) + bytes(40), "has a block that claims 13 bytes"),
    "a huge block": (section() + struct.pack("<II", 6, 1 << 31), f"has a block that claims {1 << 31} bytes"),
    "two lengths": (section() + INTERFACE[:-4] + bytes(4), "has a block whose two lengths differ"),
    "no interface": (section() + enhanced(b"a"), "has a packet block that makes no sense"),
    "no such interface": (section() + INTERFACE + enhanced(b"a", 1), "has a packet block that makes no sense"),
    "simple, no interface": (section() + block(3, bytes(4)), "has a packet block that makes no sense"),
    "a short packet block": (section() + INTERFACE + block(6, bytes(12)), "has a packet block that makes no sense"),
    "a packet too long": (
        section() + INTERFACE + block(6, struct.pack("<IIIII", 0, 0, 0, 5, 5) + b"four"),
        "claims a packet of 5 bytes, longer than its block,",
    ),
    "a short interface block": (section() + block(1, bytes(4)), "has an interface block that makes no sense"),
    "too many interfaces": (
        section() + INTERFACE * (MAX_INTERFACES + 1),
        "has an interface block that makes no sense",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_pcapng_says_what_is_wrong_and_where(path: Path, what: str) -> None:
    content, text = DAMAGED[what]
    found = problem(path, content)
    assert found.startswith(f"{text} at byte ")
    assert found.endswith(", before its first packet; the file is damaged, copy or capture it again")


@given(
    st.sampled_from([b"", pcap([]), pcap([], order=">"), section(), section() + INTERFACE, section(">")]),
    st.binary(max_size=300),
)
@example(section() + INTERFACE, block(6, struct.pack("<IIIII", 0, 0, 0, 1 << 31, 0)))
def test_arbitrary_bytes_give_packets_or_a_clear_error(path: Path, beginning: bytes, content: bytes) -> None:
    path.write_bytes(beginning + content)
    assert_clear_if_wrong(path)


@given(
    st.sampled_from([pcap(PACKETS), pcapng(PACKETS), pcapng(PACKETS, order=">")]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_files_give_packets_or_a_clear_error(path: Path, content: bytes, damage: list[tuple[int, int]]) -> None:
    damaged = bytearray(content)
    for at, value in damage:
        damaged[at % len(damaged)] = value
    path.write_bytes(damaged)
    assert_clear_if_wrong(path)
