"""Reads capture files, packet by packet: pcap and pcapng, either byte order, micro- and nanoseconds.

The formats are draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Memory does not grow with the file. A file that
breaks off is an error here, with the place where it does: a tool that stops quietly lets one believe that was all.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from attacker.errors import CaptureFileError

MAX_PACKET = 1 << 20
MAX_BLOCK = 1 << 24
MAX_INTERFACES = 1 << 12
BUFFER = 1 << 20
LATEST_NS = 253_402_300_799 * 10**9
"""The last second that a `datetime` can tell; a damaged file's times may lie beyond."""

_PCAP_HEADER = 24
_NANOSECONDS = 10**9
_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")  # gzip, zstd, lz4
_SECTION_BYTES = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 1, 2, 3, 6
_TIME_RESOLUTION, _TIME_OFFSET = 9, 14


class Packet(NamedTuple):
    """One packet as captured: `time_ns` since 1970, the link type's registered number, and the packet's own `length`.

    `data` is shorter than that where the capture was told to keep only the beginnings of packets.
    """

    time_ns: int
    link_type: int
    data: bytes
    length: int


def read_packets(path: Path) -> Iterator[Packet]:
    """The packets in a file, in its order; CaptureFileError, once the intact ones are out, where the rest is not."""
    try:
        file = path.open("rb", buffering=BUFFER)
    except OSError as error:
        raise CaptureFileError(f"{path}: {error.strerror}; give a pcap or pcapng file") from None
    with file:
        reader = _Reader(file, path)
        magic = reader.read(4)
        if not magic:
            raise CaptureFileError(f"{path}: is empty; give a pcap or pcapng file")
        if magic in _PCAP_MAGICS:
            yield from _read_pcap(reader, *_PCAP_MAGICS[magic])
        elif magic == _SECTION_BYTES:
            yield from _read_pcapng(reader)
        elif magic.startswith(_COMPRESSED):
            raise CaptureFileError(f"{path}: is compressed; decompress it first")
        else:
            reason = f"begins with {magic.hex(' ')}, which neither pcap nor pcapng does"
            raise CaptureFileError(f"{path}: is no capture file, it {reason}; give a pcap or pcapng file")


class _Reader:
    """A file with its offset, for errors that say where."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.path = path
        self.offset = 0
        self.packets = 0

    def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the file's end."""
        try:
            data = self._file.read(count)
        except OSError as error:
            raise CaptureFileError(f"{self.path}: {error.strerror}; give a pcap or pcapng file") from None
        self.offset += len(data)
        return data

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes; CaptureFileError where the file breaks off before."""
        data = self.read(count)
        if len(data) < count:
            raise self.cut_off()
        return data

    def cut_off(self) -> CaptureFileError:
        where = f"in the middle of packet {self.packets + 1}" if self.packets else "before its first packet is complete"
        return self.error(f"breaks off at byte {self.offset}, {where}", "copy it again")

    def damaged(self, what: str) -> CaptureFileError:
        where = f"behind packet {self.packets}" if self.packets else "before its first packet"
        return self.error(f"{what} at byte {self.offset}, {where}", "the file is damaged, copy or capture it again")

    def error(self, what: str, remedy: str) -> CaptureFileError:
        return CaptureFileError(f"{self.path}: {what}; {remedy}")


def _read_pcap(reader: _Reader, order: str, nanoseconds: int) -> Iterator[Packet]:
    """`nanoseconds` is the length of the unit that a packet's fraction of a second counts in."""
    header = reader.exactly(_PCAP_HEADER - 4)
    link_type = int(struct.unpack(f"{order}I", header[16:])[0]) & 0xFFFF  # the rest tells of frame check sequences
    record = struct.Struct(f"{order}IIII")
    while head := reader.read(record.size):
        if len(head) < record.size:
            raise reader.cut_off()
        seconds, fraction, captured, length = record.unpack(head)
        if captured > MAX_PACKET:
            raise reader.damaged(f"claims a packet of {captured} bytes, {MAX_PACKET} at most,")
        data = reader.exactly(captured)
        reader.packets += 1
        yield Packet(seconds * _NANOSECONDS + fraction * nanoseconds, link_type, data, length)


class _Interface(NamedTuple):
    """What a packet block needs to know of its interface, and `time_ns` from the block's own time."""

    link_type: int
    snap_length: int
    time_ns: Callable[[int], int]


class _Section:
    """What a section's header and interface blocks say about the blocks that follow."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.head = struct.Struct(f"{order}II")
        self.packet = struct.Struct(f"{order}IIIII")
        self.old_packet = struct.Struct(f"{order}HHIIII")
        self.number = struct.Struct(f"{order}I")
        self.interfaces: list[_Interface] = []


def _read_pcapng(reader: _Reader) -> Iterator[Packet]:
    section = _Section("<")
    head = _SECTION_BYTES + reader.exactly(4)
    while head:
        if len(head) < section.head.size:
            raise reader.cut_off()
        begun = b""
        if head.startswith(_SECTION_BYTES):
            begun = reader.exactly(4)
            if begun not in _BYTE_ORDERS:
                raise reader.damaged("has a section without a byte-order magic")
            section = _Section(_BYTE_ORDERS[begun])
        kind, length = section.head.unpack(head)
        left = length - 8 - len(begun)
        if left < 4 or length % 4 or length > MAX_BLOCK:
            raise reader.damaged(f"has a block that claims {length} bytes")
        body = reader.exactly(left)
        if body[-4:] != head[4:]:
            raise reader.damaged("has a block whose two lengths differ")
        if kind in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            packet = _packet(kind, body, section, reader)
            reader.packets += 1
            yield packet
        elif kind == _INTERFACE:
            section.interfaces.append(_interface(body[:-4], section, reader))
        head = reader.read(section.head.size)


def _packet(kind: int, body: bytes, section: _Section, reader: _Reader) -> Packet:
    """Takes a block from behind its first length to its end, the second length included."""
    try:
        if kind == _PACKET:
            number, high, low, captured, length = section.packet.unpack_from(body)
            interface, start = section.interfaces[number], 20
            time_ns = interface.time_ns(high << 32 | low)
        elif kind == _OLD_PACKET:
            number, _, high, low, captured, length = section.old_packet.unpack_from(body)
            interface, start = section.interfaces[number], 20
            time_ns = interface.time_ns(high << 32 | low)
        else:
            (length,) = section.number.unpack_from(body)
            interface, start = section.interfaces[0], 4
            captured, time_ns = min(length, interface.snap_length or length), 0
    except (struct.error, IndexError):
        raise reader.damaged("has a packet block that makes no sense") from None
    if captured > len(body) - 4 - start or captured > MAX_PACKET:
        raise reader.damaged(f"claims a packet of {captured} bytes, longer than its block,")
    time_ns = max(0, min(time_ns, LATEST_NS))
    return Packet(time_ns, interface.link_type, body[start : start + captured], length)


def _interface(body: bytes, section: _Section, reader: _Reader) -> _Interface:
    if len(body) < 8 or len(section.interfaces) >= MAX_INTERFACES:
        raise reader.damaged("has an interface block that makes no sense")
    link_type, _, snap_length = struct.unpack_from(f"{section.order}HHI", body)
    unit, seconds = 6, 0
    at = 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(f"{section.order}HH", body, at)
        value = body[at + 4 : at + 4 + length]
        if code == _TIME_RESOLUTION and len(value) == 1:
            unit = value[0]
        elif code == _TIME_OFFSET and len(value) == 8:
            (seconds,) = struct.unpack(f"{section.order}q", value)
        at += 4 + length + -length % 4
        if code == 0:
            break
    return _Interface(link_type, snap_length, _clock(unit, seconds))


def _clock(unit: int, seconds: int) -> Callable[[int], int]:
    """From an interface's if_tsresol and if_tsoffset: ticks to nanoseconds since 1970."""
    offset = seconds * _NANOSECONDS
    if unit & 0x80:
        bits = unit & 0x7F
        return lambda ticks: offset + (ticks * _NANOSECONDS >> bits)
    ticks_a_second = 10**unit
    if ticks_a_second <= _NANOSECONDS:
        scale = _NANOSECONDS // ticks_a_second
        return lambda ticks: offset + ticks * scale
    return lambda ticks: offset + ticks * _NANOSECONDS // ticks_a_second
