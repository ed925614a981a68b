"""The capture file: readable by Wireshark's own tools at any moment, and never larger than it may be."""

import struct
import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import TCP
from scapy.utils import rdpcap

from lab.address import Address
from lab.capture.errors import CaptureFileError
from lab.capture.synthetic import SyntheticConnection
from lab.capture.writer import CaptureFile, RecentPackets
from programs import program

SECOND = 1_000_000_000
NOON = 1_767_268_800 * SECOND


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attacker" / "capture.pcapng"


def packet(text: bytes) -> bytes:
    packets: list[bytes] = []
    SyntheticConnection(Address("127.0.0.1", 50123), Address("127.0.0.1", 8441), packets.append).data(True, text)
    return packets[0]


def contents(path: Path) -> list[bytes]:
    """What another program reads from the file."""
    return [bytes(found[TCP].payload) for found in rdpcap(str(path))]


def write(path: Path, *texts: bytes) -> None:
    file = CaptureFile(path)
    for text in texts:
        assert file.write(NOON, packet(text))
    file.close()


def test_a_packet_is_in_the_file_as_soon_as_it_is_written(path: Path) -> None:
    file = CaptureFile(path)
    file.write(NOON, packet(b"one"))
    assert contents(path) == [b"one"]
    file.close()


def test_times_are_kept_to_the_nanosecond(path: Path) -> None:
    file = CaptureFile(path)
    file.write(NOON + 123_456_789, packet(b"one"))
    file.close()
    assert int(rdpcap(str(path))[0].time * SECOND) == NOON + 123_456_789


def test_a_second_process_goes_on_in_the_same_file(path: Path) -> None:
    write(path, b"one", b"two")
    write(path, b"three")
    assert contents(path) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("lost", range(1, 30))
def test_a_packet_that_a_killed_process_left_half_written_is_dropped(path: Path, lost: int) -> None:
    write(path, b"one", b"two")
    path.write_bytes(path.read_bytes()[:-lost])
    write(path, b"three")
    assert contents(path) == [b"one", b"three"]


@pytest.mark.parametrize("length", range(70))
def test_a_file_cut_off_anywhere_in_its_head_is_begun_anew(path: Path, length: int) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:length])
    write(path, b"one")
    assert contents(path) == [b"one"]


@pytest.mark.parametrize(
    "other",
    [b"#!/bin/sh\n", b"hi", struct.pack(">II", 0x0A0D0D0A, 28) + struct.pack(">IHHqI", 0x1A2B3C4D, 1, 0, -1, 28)],
)
def test_another_file_is_left_alone(path: Path, other: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(other)
    with pytest.raises(CaptureFileError, match="not a capture that this lab wrote"):
        CaptureFile(path)
    assert path.read_bytes() == other


def test_the_limit_holds_across_processes(path: Path) -> None:
    write(path, b"one")
    before = path.stat().st_size
    file = CaptureFile(path, limit_bytes=before + 250)
    kept = [file.write(NOON, packet(b"two")) for _ in range(5)]
    file.close()
    assert kept == [True, False, False, False, False]
    assert file.full
    assert path.stat().st_size <= before + 250
    assert contents(path) == [b"one", b"two"]


def test_capinfos_takes_it_without_complaint(path: Path) -> None:
    write(path, b"one", b"two")
    write(path, b"three")
    told = subprocess.run([program("capinfos"), "-Ttcm", path], check=True, capture_output=True, text=True)
    assert told.stderr == ""
    assert told.stdout.splitlines()[-1].split(",")[-1].strip('"') == "3"


def test_of_packets_without_end_the_newest_are_kept(tmp_path: Path) -> None:
    files = [tmp_path / "recent-1.pcapng", tmp_path / "recent-2.pcapng"]
    recent = RecentPackets(files, limit_bytes=2000)
    assert not any(file.exists() for file in files)
    texts = [b"%d" % number for number in range(200)]
    for text in texts:
        assert recent.write(NOON, packet(text))
        assert sum(file.stat().st_size for file in files if file.exists()) <= 2 * 2000
    recent.close()
    older, newer = sorted(map(contents, files), key=lambda one: int(one[0]))
    assert older + newer == texts[-len(older + newer) :]
    assert len(older) > 10


def test_a_packet_that_no_file_has_room_for_is_left_out(tmp_path: Path) -> None:
    recent = RecentPackets([tmp_path / "recent.pcapng"], limit_bytes=400)
    assert recent.write(NOON, packet(b"one"))
    assert not recent.write(NOON, packet(bytes(500)))
    assert recent.write(NOON, packet(b"two"))
    recent.close()
    assert contents(tmp_path / "recent.pcapng") == [b"two"]
