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
BUFFER = 1 << 20

_PCAP_HEADER = 24
_NANOSECONDS = 10**9
_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_SECTION = 0x0A0D0D0A
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 1, 2, 3, 6
_TIME_RESOLUTION, _TIME_OFFSET = 9, 14


class Packet(NamedTuple):
    """One packet as captured: `time_ns` since 1970 and the link type's registered number."""

    time_ns: int
    link_type: int
    data: bytes


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
        elif magic == _SECTION.to_bytes(4, "big"):
            yield from _read_pcapng(reader)
        else:
            reason = f"begins with {magic.hex(' ')}, which neither pcap nor pcapng does"
            raise CaptureFileError(f"{path}: is no capture file, it {reason}")


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
            raise self.error(f"breaks off at byte {self.offset}, {count - len(data)} bytes short", "copy it again")
        return data

    def error(self, what: str, remedy: str = "the file is damaged") -> CaptureFileError:
        return CaptureFileError(f"{self.path}: {what}, in the middle of packet {self.packets + 1}; {remedy}")


def _read_pcap(reader: _Reader, order: str, nanoseconds: int) -> Iterator[Packet]:
    """`nanoseconds` is the length of the unit that a packet's fraction of a second counts in."""
    header = reader.exactly(_PCAP_HEADER - 4)
    link_type = int(struct.unpack(f"{order}I", header[16:])[0]) & 0x0FFFFFFF
    record = struct.Struct(f"{order}IIII")
    while head := reader.read(record.size):
        if len(head) < record.size:
            raise reader.error(f"breaks off at byte {reader.offset}, in a packet's header", "copy it again")
        seconds, fraction, captured, _ = record.unpack(head)
        if captured > MAX_PACKET:
            raise reader.error(f"claims a packet of {captured} bytes at byte {reader.offset}, {MAX_PACKET} at most")
        data = reader.exactly(captured)
        reader.packets += 1
        yield Packet(seconds * _NANOSECONDS + fraction * nanoseconds, link_type, data)


class _Interface(NamedTuple):
    """What a packet block needs to know of its interface; a block's time is so many `unit`s after `offset_ns`."""

    link_type: int
    snap_length: int
    time_ns: Callable[[int], int]


def _read_pcapng(reader: _Reader) -> Iterator[Packet]:
    order = "<"
    interfaces: list[_Interface] = []
    kind_bytes = _SECTION.to_bytes(4, "big")
    while kind_bytes:
        if len(kind_bytes) < 4:
            raise reader.error(f"breaks off at byte {reader.offset}, in a block's header", "copy it again")
        length_bytes = reader.exactly(4)
        if kind_bytes == b"\x0a\x0d\x0d\x0a":
            magic = reader.exactly(4)
            if magic not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
                raise reader.error(f"has a section without a byte-order magic at byte {reader.offset - 4}")
            order = "<" if magic[0] == 0x4D else ">"
            interfaces = []
            body_read = 4
        else:
            body_read = 0
        (kind,) = struct.unpack(f"{order}I", kind_bytes)
        (length,) = struct.unpack(f"{order}I", length_bytes)
        if length < 12 + body_read or length % 4 or length > MAX_BLOCK:
            raise reader.error(f"has a block that claims {length} bytes at byte {reader.offset - 8 - body_read}")
        body = reader.exactly(length - 12 - body_read)
        if reader.exactly(4) != length_bytes:
            raise reader.error(f"has a block whose two lengths differ at byte {reader.offset - 4}")
        if kind == _INTERFACE:
            interfaces.append(_interface(body, order, reader))
        elif kind in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            packet = _packet_block(kind, body, order, interfaces, reader)
            reader.packets += 1
            yield packet
        kind_bytes = reader.read(4)


def _packet_block(kind: int, body: bytes, order: str, interfaces: list[_Interface], reader: _Reader) -> Packet:
    try:
        if kind == _SIMPLE_PACKET:
            (original,) = struct.unpack_from(f"{order}I", body)
            interface = interfaces[0]
            captured, time_ns, start = min(original, interface.snap_length or original), 0, 4
        else:
            layout = "IIIII" if kind == _PACKET else "HHIIII"
            fields = struct.unpack_from(f"{order}{layout}", body)
            interface = interfaces[fields[0]]
            high, low, captured, _ = fields[-4:]
            time_ns, start = interface.time_ns(high << 32 | low), 20
    except (struct.error, IndexError):
        raise reader.error(f"has a packet block that makes no sense before byte {reader.offset}") from None
    if start + captured > len(body):
        raise reader.error(f"has a packet longer than its block before byte {reader.offset}")
    return Packet(time_ns, interface.link_type, body[start : start + captured])


def _interface(body: bytes, order: str, reader: _Reader) -> _Interface:
    if len(body) < 8:
        raise reader.error(f"has an interface block that is too short before byte {reader.offset}")
    link_type, _, snap_length = struct.unpack_from(f"{order}HHI", body)
    unit, seconds = 6, 0
    at = 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(f"{order}HH", body, at)
        value = body[at + 4 : at + 4 + length]
        if code == _TIME_RESOLUTION and len(value) == 1:
            unit = value[0]
        elif code == _TIME_OFFSET and len(value) == 8:
            (seconds,) = struct.unpack(f"{order}q", value)
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
