"""Writes packets to a pcapng file for Wireshark, each at once, so that a killed run leaves a readable file.

The format is draft-ietf-opsawg-pcapng: a section header, an interface description with times in nanoseconds, and one
enhanced packet block for each packet.
"""

import itertools
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from lab import files
from lab.capture.errors import CaptureFileError

ETHERNET = 1
LIMIT_BYTES = 64 << 20
RECENT_BYTES = 2 << 20

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC = 0x1A2B3C4D
_SNAP_LENGTH = 1 << 18
_END_OF_OPTIONS = struct.pack("<HH", 0, 0)
_USER_APPLICATION, _TIME_RESOLUTION = 4, 9
_NANOSECONDS = b"\x09"


class CaptureFile:
    """Appends packets of one link type to a file.

    An existing file is kept; a new section begins after its last whole block. CaptureFileError if it is not a capture
    that this lab wrote; OSError if it cannot be written.
    """

    def __init__(self, path: Path, link_type: int = ETHERNET, limit_bytes: int = LIMIT_BYTES) -> None:
        files.make_folder(path.parent)
        self._path = path
        self._limit = limit_bytes
        self._file = files.open_to_write(path, os.O_RDWR | os.O_CREAT)
        try:
            with os.fdopen(os.dup(self._file), "rb") as existing:
                self._size = _whole_blocks(existing, path)
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            self._append(_section_header() + _interface(link_type))
        except BaseException:
            os.close(self._file)
            raise
        self.full = False

    def write(self, time_ns: int, packet: bytes) -> bool:
        """Appends a packet seen at `time_ns` since 1970. False once the size limit is reached."""
        block = _block(
            _PACKET,
            struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(packet), len(packet)) + _padded(packet),
        )
        self.full = self.full or self._size + len(block) > self._limit
        if not self.full:
            self._append(block)
        return not self.full

    def close(self) -> None:
        os.close(self._file)

    def _append(self, blocks: bytes) -> None:
        files.append(self._file, blocks, self._path)
        self._size += len(blocks)


class RecentPackets:
    """The newest packets, in files that take turns: when one is full, the one with the oldest packets begins anew.

    No file is there before the first packet. OSError if one cannot be written.
    """

    def __init__(self, paths: Iterable[Path], link_type: int = ETHERNET, limit_bytes: int = RECENT_BYTES) -> None:
        self._paths = itertools.cycle(paths)
        self._link_type = link_type
        self._limit = limit_bytes
        self._file: CaptureFile | None = None

    def write(self, time_ns: int, packet: bytes) -> bool:
        """Appends a packet seen at `time_ns` since 1970. False for one that is longer than a whole file may be."""
        return (self._file is not None and self._file.write(time_ns, packet)) or self._next().write(time_ns, packet)

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _next(self) -> CaptureFile:
        self.close()
        self._file = None
        path = next(self._paths)
        path.unlink(missing_ok=True)
        self._file = CaptureFile(path, self._link_type, self._limit)
        return self._file


def _whole_blocks(file: BinaryIO, path: Path) -> int:
    """The length of the file's whole blocks; a later, incomplete block is dropped."""
    length = os.fstat(file.fileno()).st_size
    end = 0
    while True:
        file.seek(end)
        head = file.read(12)
        if end == 0 and head and not struct.pack("<I", _SECTION).startswith(head[:4]):
            break
        if len(head) < 12:
            return end
        kind, total, magic = struct.unpack("<III", head)
        if kind == _SECTION and magic != _MAGIC:
            break
        if total < 12 or total % 4 or end + total > length:
            return end
        file.seek(end + total - 4)
        if file.read(4) != head[4:8]:
            return end
        end += total
    raise CaptureFileError(f"{path}: not a capture that this lab wrote; move it away or choose another file")


def _section_header() -> bytes:
    unknown_length = -1
    body = struct.pack("<IHHq", _MAGIC, 1, 0, unknown_length)
    return _block(_SECTION, body + _option(_USER_APPLICATION, b"certreplay") + _END_OF_OPTIONS)


def _interface(link_type: int) -> bytes:
    body = struct.pack("<HHI", link_type, 0, _SNAP_LENGTH)
    return _block(_INTERFACE, body + _option(_TIME_RESOLUTION, _NANOSECONDS) + _END_OF_OPTIONS)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    """A block has its length before and after its body, so that it can be read in both directions."""
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
