"""TLS's presentation language (RFC 5246 section 4): big-endian numbers and length-prefixed vectors."""

import struct
from collections.abc import Iterable

from lab.tls.errors import DecodeError

_FORMATS = {1: "B", 2: "H"}


class Reader:
    """Reads the fields of `data` in order; DecodeError names the structure, the field and the offset."""

    def __init__(self, data: bytes, structure: str) -> None:
        self._data = data
        self._structure = structure
        self._at = 0

    def take(self, count: int, field: str) -> bytes:
        """The next `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            missing = end - len(self._data)
            raise DecodeError(f"{self._structure}: {field} at byte {self._at} is cut off, {missing} bytes short")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, width: int, field: str) -> int:
        """The next unsigned number, `width` bytes wide."""
        return int.from_bytes(self.take(width, field), "big")

    def vector(self, width: int, field: str, least: int = 0) -> bytes:
        """The content of the next vector, after its length of `width` bytes; `least` bytes or more."""
        content = self.take(self.number(width, f"{field}'s length"), field)
        if len(content) < least:
            raise DecodeError(f"{self._structure}: {field} has {len(content)} bytes, {least} at least")
        return content

    def numbers(self, width: int, item: int, field: str) -> tuple[int, ...]:
        """The next vector of unsigned numbers, each `item` bytes wide, 1 or 2. No RFC that is read here allows an empty
        one: cipher_suites<2..2^16-2>, named_group_list<2..2^16-1>, and so on."""
        content = self.vector(width, field, least=item)
        if len(content) % item:
            raise DecodeError(f"{self._structure}: {field} has {len(content)} bytes, not a multiple of {item}")
        return struct.unpack(f">{len(content) // item}{_FORMATS[item]}", content)

    def vectors(self, width: int, item: int, field: str) -> tuple[bytes, ...]:
        """The next vector of vectors; `item` is the width of the inner lengths. The outer one may be empty. The inner
        ones may not: ASN.1Cert<1..2^24-1>, DistinguishedName<1..2^16-1>."""
        inner = Reader(self.vector(width, field), f"{self._structure}, {field}")
        found: list[bytes] = []
        while inner.left:
            found.append(inner.vector(item, f"entry {len(found) + 1}", least=1))
        return tuple(found)

    @property
    def left(self) -> int:
        """The number of bytes not yet read."""
        return len(self._data) - self._at

    def end(self) -> None:
        """DecodeError if bytes are left."""
        if self.left:
            raise DecodeError(f"{self._structure}: {self.left} bytes too many from byte {self._at} on")


def number(value: int, width: int) -> bytes:
    """An unsigned number, `width` bytes wide."""
    return value.to_bytes(width, "big")


def vector(content: bytes, width: int) -> bytes:
    """`content` after its length of `width` bytes."""
    return len(content).to_bytes(width, "big") + content


def numbers(values: Iterable[int], width: int, item: int) -> bytes:
    """A vector of unsigned numbers, each `item` bytes wide."""
    return vector(b"".join([value.to_bytes(item, "big") for value in values]), width)


def vectors(contents: Iterable[bytes], width: int, item: int) -> bytes:
    """A vector of vectors; `item` is the width of the inner lengths."""
    return vector(b"".join(vector(content, item) for content in contents), width)
