"""Reads capture files, packet by packet: pcap and pcapng, either byte order, micro- and nanoseconds, and snoop.

The formats are draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng and RFC 1761; the file may be compressed. Memory does
not grow with the file. A truncated file is an error that names the place, since a tool that stops silently looks as if
it had read everything.
"""

import struct
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from lab import files
from lab.capture.compressed import MAGIC_LENGTH, NotDecompressed, Readable, decompressed
from lab.capture.errors import CaptureFileError, CutOffError

MAX_FILE = 1 << 36
"""64 GiB."""
MAX_PACKET = 1 << 20
MAX_BLOCK = 1 << 24
MAX_INTERFACES = 1 << 12
BUFFER = 1 << 18
LATEST_NS = 253_402_300_799 * 10**9
"""The last second that a `datetime` can hold; times in a damaged file may be later."""

_PCAP_HEADER, _BLOCK_HEADER = 24, 8
_NANOSECONDS = 10**9
_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<IIII", 1000),
    b"\xa1\xb2\xc3\xd4": (">IIII", 1000),
    b"\x4d\x3c\xb2\xa1": ("<IIII", 1),
    b"\xa1\xb2\x3c\x4d": (">IIII", 1),
    b"\x34\xcd\xb2\xa1": ("<IIII8x", 1000),  # with Kuznetzov's patch for libpcap, once usual on Linux
    b"\xa1\xb2\xcd\x34": (">IIII8x", 1000),
}
"""The header of each packet, and the unit of a fraction of a second in nanoseconds."""
_SNOOP, _SNOOP_LINKS = b"snoop\0", {0: 1, 4: 1}
_SNOOP_HEADER, _SNOOP_PACKET_HEADER = 16, 24
_SECTION_BYTES = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 1, 2, 3, 6
_PACKET_KINDS = (_PACKET, _OLD_PACKET, _SIMPLE_PACKET)
_TIME_RESOLUTION, _TIME_OFFSET = 9, 14


class Packet(NamedTuple):
    """One packet as captured: `time_ns` since 1970, the link type's registered number, and the packet's own `length`.

    `data` is shorter than `length` if the capture kept only the start of each packet. `at` is its place in the file.
    """

    time_ns: int
    link_type: int
    data: bytes
    length: int
    at: int


class Passed:
    """How many packets were passed over, as they belong to the flows of connections that need no more reading."""

    def __init__(self, flows: Container[bytes]) -> None:
        self.flows = flows
        self.packets = 0


def read_packets(path: Path, end: int = MAX_FILE, passed: Passed | None = None) -> Iterator[Packet]:
    """The packets of a file in order; CaptureFileError after the last intact one if the rest is damaged.

    A file that goes on growing is read as if it ended at byte `end`, counted after it is decompressed.
    Packets that certainly are of the flows in `passed` are counted there and not given.
    """
    passed = passed or Passed(())
    try:
        file = files.open_to_read(path, MAX_FILE)
    except OSError as error:
        raise CaptureFileError(f"{path}: {error.strerror}; give a pcap or pcapng file") from None
    with file:
        reader = _Reader(file, path, end)
        content = decompressed(cast(BinaryIO, file), reader.more(0, MAGIC_LENGTH)[:MAGIC_LENGTH])
        if content:
            file.seek(0)
            reader = _Reader(content, path, end)
        magic = reader.more(0, MAGIC_LENGTH)[:4]
        if not magic:
            raise CaptureFileError(f"{path}: is empty; give a pcap or pcapng file")
        if magic in _PCAP_MAGICS:
            yield from _read_pcap(reader, passed, *_PCAP_MAGICS[magic])
        elif magic == _SECTION_BYTES:
            yield from _read_pcapng(reader, passed)
        elif reader.window.startswith(_SNOOP):
            yield from _read_snoop(reader)
        else:
            raise CaptureFileError(f"{path}: not a pcap or pcapng file (begins with {magic.hex(' ')})")


def is_bulk(data: bytes, at: int, octets: int) -> bool:
    """Whether the Ethernet frame at `at` is TCP in IPv4, without options or fragments, and no SYN."""
    return (
        octets > 47
        and data.startswith(b"\x08\x00\x45", at + 12)
        and data[at + 23] == 6
        and not data[at + 47] & 2
        and not (data[at + 20] & 0x3F or data[at + 21])
    )


class _Reader:
    """A window that moves over a file, and its place, for error messages.

    Callers read `window` directly: a call for each packet would cost more than all other work.
    """

    def __init__(self, file: Readable, path: Path, end: int) -> None:
        self._file = file
        self._path = path
        self._left = end
        self.passed = 0
        """The window's place in the file."""
        self.window = b""
        self.packets = 0

    def more(self, at: int, count: int) -> bytes:
        """Moves the window forward by `at` bytes; it then has `count` bytes or more, fewer at the end of the file."""
        self.passed += at
        parts = [self.window[at:]]
        missing = count - len(parts[0])
        while missing > 0:
            try:
                data = self._file.read(min(max(BUFFER, missing), self._left))
            except NotDecompressed as error:
                raise CaptureFileError(f"{self._path}: cannot be decompressed ({error}); decompress it first") from None
            except OSError as error:
                raise CaptureFileError(f"{self._path}: {error.strerror}; give a pcap or pcapng file") from None
            if not data:
                break
            parts.append(data)
            missing -= len(data)
            self._left -= len(data)
        self.window = b"".join(parts)
        return self.window

    def cut_off(self) -> CutOffError:
        """The error for a file that ends too early."""
        where = f"in the middle of packet {self.packets + 1}" if self.packets else "before its first packet is complete"
        return CutOffError(self._told(f"breaks off at byte {self.passed + len(self.window)}, {where}", "copy it again"))

    def damaged(self, what: str, at: int) -> CaptureFileError:
        """The error for damaged bytes at `at` of the window."""
        where = f"behind packet {self.packets}" if self.packets else "before its first packet"
        return CaptureFileError(
            self._told(f"{what} at byte {self.passed + at}, {where}", "the file is damaged, copy or capture it again")
        )

    def _told(self, what: str, remedy: str) -> str:
        return f"{self._path}: {what}; {remedy}"


def _read_pcap(reader: _Reader, passed: Passed, header: str, nanoseconds: int) -> Iterator[Packet]:
    """`header` is the layout of a packet's; `nanoseconds` the unit that its fraction of a second counts in."""
    window, at = reader.more(0, _PCAP_HEADER), _PCAP_HEADER
    if len(window) < _PCAP_HEADER:
        raise reader.cut_off()
    link_type = int(struct.unpack_from(f"{header[0]}I", window, 20)[0]) & 0xFFFF  # upper bits: check sequences
    layout = struct.Struct(header)
    head, header_length, flows = layout.unpack_from, layout.size, passed.flows
    while True:
        if len(window) - at < header_length:
            window, at = reader.more(at, header_length), 0
            if not window:
                return
            if len(window) < header_length:
                raise reader.cut_off()
        seconds, fraction, captured, length = head(window, at)
        at += header_length
        if captured > MAX_PACKET:
            raise reader.damaged(f"claims a packet of {captured} bytes, {MAX_PACKET} at most,", at)
        end = at + captured
        if end > len(window):
            window, at, end = reader.more(at, captured), 0, captured
            if end > len(window):
                raise reader.cut_off()
        reader.packets += 1
        if (
            window[at + 26 : at + 38] in flows
            and captured == length
            and link_type == 1
            and is_bulk(window, at, captured)
        ):
            passed.packets += 1
            at = end
            continue
        time_ns = seconds * _NANOSECONDS + fraction * nanoseconds
        yield Packet(time_ns, link_type, window[at:end], length, reader.passed + at)
        at = end


def _read_snoop(reader: _Reader) -> Iterator[Packet]:
    """RFC 1761, as Solaris writes it: big-endian, and every record says how long it is with its padding."""
    window, at = reader.more(0, _SNOOP_HEADER), _SNOOP_HEADER
    if len(window) < _SNOOP_HEADER:
        raise reader.cut_off()
    (number,) = struct.unpack_from(">I", window, 12)
    link_type = _SNOOP_LINKS.get(number)
    if link_type is None:
        raise reader.damaged(f"has snoop's data link {number}, which is not read,", 12)
    while True:
        if len(window) - at < _SNOOP_PACKET_HEADER:
            window, at = reader.more(at, _SNOOP_PACKET_HEADER), 0
            if not window:
                return
            if len(window) < _SNOOP_PACKET_HEADER:
                raise reader.cut_off()
        length, captured, record, _, seconds, micros = struct.unpack_from(">IIIIII", window, at)
        if captured > MAX_PACKET or record > MAX_PACKET + _SNOOP_PACKET_HEADER + 8:
            raise reader.damaged(f"claims a packet of {captured} bytes, {MAX_PACKET} at most,", at)
        if record < captured + _SNOOP_PACKET_HEADER:
            raise reader.damaged("has a record shorter than its packet", at)
        if at + record > len(window):
            window, at = reader.more(at, record), 0
            if record > len(window):
                raise reader.cut_off()
        reader.packets += 1
        start = at + _SNOOP_PACKET_HEADER
        time_ns = seconds * _NANOSECONDS + micros * 1000
        yield Packet(time_ns, link_type, window[start : start + captured], length, reader.passed + start)
        at += record


class _Interface(NamedTuple):
    """What is needed of an interface to read its packets; `time_ns` converts a block's time."""

    link_type: int
    snap_length: int
    time_ns: Callable[[int], int]


class _Section:
    """What a section's header and interface blocks say about the later blocks."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.head = struct.Struct(f"{order}II")
        self.packet = struct.Struct(f"{order}IIIII")
        self.old_packet = struct.Struct(f"{order}HxxIIII")
        self.number = struct.Struct(f"{order}I")
        self.interfaces: list[_Interface] = []

    def passes_over(self, window: bytes, at: int, end: int) -> bool:
        """Whether the packet block at `at` has a whole packet of bulk data on Ethernet."""
        number, _, _, captured, length = self.packet.unpack_from(window, at + _BLOCK_HEADER)
        if captured != length or at + 28 + captured > end or number >= len(self.interfaces):
            return False
        return self.interfaces[number].link_type == 1 and is_bulk(window, at + 28, captured)


def _read_pcapng(reader: _Reader, passed: Passed) -> Iterator[Packet]:
    section = _Section("<")
    flows = passed.flows
    window, at = reader.window, 0
    while True:
        if len(window) - at < _BLOCK_HEADER:
            window, at = reader.more(at, _BLOCK_HEADER), 0
            if not window:
                return
        if window.startswith(_SECTION_BYTES, at):
            if len(window) - at < _BLOCK_HEADER + 4:
                window, at = reader.more(at, _BLOCK_HEADER + 4), 0
            section = _section(reader, at)
        if len(window) - at < _BLOCK_HEADER:
            raise reader.cut_off()
        kind, length = section.head.unpack_from(window, at)
        if length < _BLOCK_HEADER + 4 or length % 4 or length > MAX_BLOCK:
            raise reader.damaged(f"has a block that claims {length} bytes", at)
        if at + length > len(window):
            window, at = reader.more(at, length), 0
            if length > len(window):
                raise reader.cut_off()
        end = at + length - 4
        if window[end : end + 4] != window[at + 4 : at + 8]:
            raise reader.damaged("has a block whose two lengths differ", at)
        if kind == _PACKET and window[at + 54 : at + 66] in flows and section.passes_over(window, at, end):
            reader.packets += 1
            passed.packets += 1
        elif kind in _PACKET_KINDS:
            packet = _packet(kind, at, end, section, reader)
            reader.packets += 1
            yield packet
        elif kind == _INTERFACE:
            section.interfaces.append(_interface(at, end, section, reader))
        at = end + 4


def _section(reader: _Reader, at: int) -> _Section:
    """The section that starts at `at`; its header gives the byte order."""
    magic = reader.window[at + _BLOCK_HEADER : at + _BLOCK_HEADER + 4]
    if len(magic) < 4:
        raise reader.cut_off()
    if magic not in _BYTE_ORDERS:
        raise reader.damaged("has a section without a byte-order magic", at)
    return _Section(_BYTE_ORDERS[magic])


def _packet(kind: int, at: int, end: int, section: _Section, reader: _Reader) -> Packet:
    """The packet in the block that starts at `at`; its second length is at `end`."""
    window = reader.window
    start = at + _BLOCK_HEADER
    try:
        if kind == _SIMPLE_PACKET:
            (length,) = section.number.unpack_from(window, start)
            interface, start = section.interfaces[0], start + 4
            captured, time_ns = min(length, interface.snap_length or length), 0
        else:
            layout = section.packet if kind == _PACKET else section.old_packet
            number, high, low, captured, length = layout.unpack_from(window, start)
            interface, start = section.interfaces[number], start + 20
            time_ns = interface.time_ns(high << 32 | low)
    except (struct.error, IndexError):
        raise reader.damaged("has a packet block that makes no sense", at) from None
    if captured > end - start or captured > MAX_PACKET:
        raise reader.damaged(f"claims a packet of {captured} bytes, longer than its block,", at)
    if not 0 <= time_ns <= LATEST_NS:
        time_ns = 0 if time_ns < 0 else LATEST_NS
    return Packet(time_ns, interface.link_type, window[start : start + captured], length, reader.passed + start)


def _interface(at: int, end: int, section: _Section, reader: _Reader) -> _Interface:
    """The interface in the block from `at` to its second length at `end`."""
    body = reader.window[at + _BLOCK_HEADER : end]
    if len(body) < 8 or len(section.interfaces) >= MAX_INTERFACES:
        raise reader.damaged("has an interface block that makes no sense", at)
    link_type, _, snap_length = struct.unpack_from(f"{section.order}HHI", body)
    unit, seconds = 6, 0
    option = 8
    while option + 4 <= len(body):
        code, length = struct.unpack_from(f"{section.order}HH", body, option)
        value = body[option + 4 : option + 4 + length]
        if code == _TIME_RESOLUTION and len(value) == 1:
            unit = value[0]
        elif code == _TIME_OFFSET and len(value) == 8:
            (seconds,) = struct.unpack(f"{section.order}q", value)
        option += 4 + length + -length % 4
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
