"""TDS, the protocol of Microsoft SQL Server, whose packets hold the TLS handshake ([MS-TDS] 2.2.3.1 and 2.2.6.5).

A packet has a header of eight bytes: its type, its status, its length with the header, and more that is not read here.
After the handshake the packets are in TLS, and no longer TLS in packets.
"""

from collections.abc import Iterator

CARRIER = "TDS"

_HEADER = 8
_RESPONSE, _PRELOGIN = 0x04, 0x12
_STATUSES = (0, 1)
_VERSION_OPTION = 0
"""The first option of a PRELOGIN message."""


def begins_tds(data: bytes) -> bool:
    """Whether a side that begins with these bytes sends a PRELOGIN message, or answers one."""
    return (
        len(data) > _HEADER
        and data[0] in (_RESPONSE, _PRELOGIN)
        and data[1] in _STATUSES
        and _HEADER < int.from_bytes(data[2:4], "big") <= len(data)
        and data[_HEADER] == _VERSION_OPTION
    )


class TdsStream:
    """One side's packets, which come in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_packets = True
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """The TLS bytes in these, and in those that waited for them."""
        self._buffer += data
        return b"".join(self._contents())

    def _contents(self) -> Iterator[bytes]:
        buffer = self._buffer
        while self._in_packets and len(buffer) >= _HEADER:
            length = int.from_bytes(buffer[2:4], "big")
            if buffer[0] not in (_RESPONSE, _PRELOGIN) or buffer[1] not in _STATUSES or length < _HEADER:
                self._in_packets = False
                break
            if len(buffer) < length:
                return
            content = bytes(buffer[_HEADER:length])
            del buffer[:length]
            self._begun = self._begun or content.startswith(b"\x16\x03")
            if self._begun:
                yield content
        if not self._in_packets:
            yield bytes(buffer)
            buffer.clear()
