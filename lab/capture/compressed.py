"""Compressed capture files, as people keep them: gzip, xz, bzip2, zstd and lz4, decompressed as they are read."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

MAX_DICTIONARY = 1 << 26
"""What a file may ask of the decompressor's memory, in bytes; `xz -9` asks for this much."""
_XZ_OVERHEAD = 1 << 20


class Readable(Protocol):
    """What a reader of capture files needs of a file."""

    def read(self, count: int, /) -> bytes: ...


class NotDecompressed(Exception):
    """Damaged, or it asks for too much memory; the text says which."""


class _Decompressed:
    """The decompressed bytes of a file; every error of every library is a NotDecompressed."""

    def __init__(self, file: Readable, errors: tuple[type[Exception], ...]) -> None:
        self._file = file
        self._errors = errors

    def read(self, count: int, /) -> bytes:
        try:
            return self._file.read(count)
        except self._errors as error:
            raise NotDecompressed(str(error) or type(error).__name__) from None


class _Xz:
    """As `lzma.LZMAFile`, with a bound on memory, which that one does not have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor = self._new()

    def read(self, count: int, /) -> bytes:
        while True:
            if self._decompressor.eof:
                rest = self._decompressor.unused_data.lstrip(b"\0") or self._file.read(1 << 16)
                if not rest:
                    return b""
                self._decompressor = self._new()
                data = self._decompressor.decompress(rest, count)
            else:
                more = self._file.read(1 << 16) if self._decompressor.needs_input else b""
                if not more and self._decompressor.needs_input:
                    raise EOFError("the compressed data ends early")
                data = self._decompressor.decompress(more, count)
            if data:
                return data

    def _new(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_DICTIONARY + _XZ_OVERHEAD)


class _Marked:
    """A file, and behind it a compressed mark: `zstandard` ends without a word where a file is cut off."""

    def __init__(self, file: BinaryIO, mark: bytes) -> None:
        self._file, self._mark = file, mark

    def read(self, count: int = -1, /) -> bytes:
        data = self._file.read(count)
        if not data:
            data, self._mark = self._mark, b""
        return data


class _UpToMark:
    """What is before the mark; EOFError if there is none."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._held = b""

    def read(self, count: int, /) -> bytes:
        while True:
            data = self._file.read(count)
            if not data:
                if self._held != _END:
                    raise EOFError("the compressed data ends early")
                return b""
            together = self._held + data
            ready, self._held = together[: -len(_END)], together[-len(_END) :]
            if ready:
                return ready


_END = bytes.fromhex("9c1d36a3b51d4ae58e07f2a0c1d24e6b")


def _gzip(file: BinaryIO) -> Readable:
    return _Decompressed(gzip.GzipFile(fileobj=file), (OSError, EOFError, zlib.error))


def _bzip2(file: BinaryIO) -> Readable:
    return _Decompressed(bz2.BZ2File(file), (OSError, EOFError, ValueError))


def _xz(file: BinaryIO) -> Readable:
    return _Decompressed(_Xz(file), (lzma.LZMAError, EOFError))


def _zstd(file: BinaryIO) -> Readable:
    import zstandard  # these two are imported only where they are needed: they take time

    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_DICTIONARY)
    marked = _Marked(file, zstandard.compress(_END))
    content = _UpToMark(decompressor.stream_reader(cast(BinaryIO, marked), read_across_frames=True))
    return _Decompressed(content, (zstandard.ZstdError, EOFError))


def _lz4(file: BinaryIO) -> Readable:
    import lz4.frame

    opened: Any = lz4.frame.LZ4FrameFile(file)
    return _Decompressed(opened, (RuntimeError, EOFError))


_FORMATS: dict[bytes, Callable[[BinaryIO], Readable]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": _bzip2,
    b"\xfd7zXZ\0": _xz,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\x04\x22\x4d\x18": _lz4,
}
"""By how the file begins."""
MAGIC_LENGTH = max(map(len, _FORMATS))


def decompressed(file: BinaryIO, begins: bytes) -> Readable | None:
    """A compressed file's content; None if it is not compressed. `begins` has its first MAGIC_LENGTH bytes."""
    opener = next((opener for magic, opener in _FORMATS.items() if begins.startswith(magic)), None)
    return opener(file) if opener else None
