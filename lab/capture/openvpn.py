"""OpenVPN's control channel, in which TLS runs in plaintext unless tls-crypt hides it.

The format is that of OpenVPN's own documentation (doxygen, "Network protocol") and of openvpn(8): an opcode and a key
number, the sender's session, with tls-auth an HMAC and a replay counter, acknowledgements, the packet's number, data.
"""

from collections.abc import Iterator
from typing import NamedTuple

CARRIER = "OpenVPN over TCP"
SOFT_RESET, CONTROL, CLIENT_RESET, SERVER_RESET, CLIENT_RESET_V3 = 3, 4, 7, 8, 10
_HMACS = (0, 16, 20, 28, 32, 48, 64)
"""The lengths of tls-auth's HMAC: none, MD5, SHA-1 and the SHA-2 family."""
_REPLAY = 8
"""The replay counter: a packet number and a time."""
_RESET_LENGTH, _CRYPT_RESET_LENGTH = 14, 54
_MAX_ACKS = 8
_MAX_NUMBER = 1 << 16


class ControlPacket(NamedTuple):
    """A packet of the control channel; `number` counts within one key, from 0. It acknowledges `acks` packets."""

    opcode: int
    key: int
    acks: int
    number: int
    data: bytes


def hides_handshake(packet: bytes) -> bool:
    """Whether this opens a connection with tls-crypt, which encrypts the control channel."""
    if len(packet) < _CRYPT_RESET_LENGTH or packet[9:13] != b"\0\0\0\1":
        return False
    opcode = packet[0] >> 3
    return opcode == CLIENT_RESET_V3 or (
        opcode in (CLIENT_RESET, SERVER_RESET) and len(packet) >= _CRYPT_RESET_LENGTH and find_hmac(packet) is None
    )


def find_hmac(packet: bytes) -> int | None:
    """How long the HMAC is in the packets of a connection, by the first of them; None if it is not OpenVPN's.

    A byte of the HMAC can look like a count of acknowledgements. But a client's first packet acknowledges nothing, and
    a server's at most that one; so its length tells.
    """
    if len(packet) < _RESET_LENGTH or packet[0] & 7:
        return None
    opcode = packet[0] >> 3
    for hmac in _HMACS:
        control = read_control(packet, hmac)
        if control is None:
            continue
        is_reset = opcode in (CLIENT_RESET, SERVER_RESET) and not control.data and control.number == 0
        if is_reset and control.acks <= (opcode == SERVER_RESET):
            return hmac
        if opcode == CONTROL and 0 < control.number < _MAX_NUMBER and control.data[:2] == b"\x16\x03":
            return hmac
    return None


def read_control(packet: bytes, hmac: int) -> ControlPacket | None:
    """The packet of the control channel in these bytes; None if there is none."""
    opcode = packet[0] >> 3
    if opcode not in (SOFT_RESET, CONTROL, CLIENT_RESET, SERVER_RESET):
        return None
    at = 9 + (hmac + _REPLAY if hmac else 0)
    if at >= len(packet) or packet[at] > _MAX_ACKS:
        return None
    acks = packet[at]
    at += 1 + 4 * acks + 8 * bool(acks)
    if at + 4 > len(packet):
        return None
    return ControlPacket(opcode, packet[0] & 7, acks, int.from_bytes(packet[at : at + 4], "big"), packet[at + 4 :])


class ControlStream:
    """OpenVPN over TCP: each packet has its length in front, and they come in order."""

    def __init__(self, hmac: int) -> None:
        self._hmac = hmac
        self._buffer = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The TLS bytes of the first key's packets that are now complete."""
        self._buffer += data
        return b"".join(self._data())

    def _data(self) -> Iterator[bytes]:
        while len(self._buffer) > 2:
            end = 2 + int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < end or end == 2:
                return
            control = read_control(bytes(self._buffer[2:end]), self._hmac)
            del self._buffer[:end]
            if control and control.key == 0:
                yield control.data


def first_packet(data: bytes) -> bytes | None:
    """The packet with which OpenVPN over TCP would begin here; None if these bytes cannot be it."""
    if len(data) < 2 + _RESET_LENGTH or data[2] >> 3 not in (CLIENT_RESET, SERVER_RESET, CLIENT_RESET_V3):
        return None
    end = 2 + int.from_bytes(data[:2], "big")
    return data[2:end] if end <= len(data) else None
