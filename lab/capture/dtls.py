"""DTLS (RFC 6347): each datagram has whole records, and each handshake message says where its fragments belong."""

from collections.abc import Iterator

from lab.capture.contents import Place
from lab.capture.handshake import Capture, Contact, Handshake
from lab.capture.side import MAX_HANDSHAKE, MAX_MESSAGES, MAX_PROTECTED_RECORDS, PlaintextSide
from lab.tls.messages import ClientHello
from lab.tls.records import MAX_MESSAGE, ContentType
from lab.tls.versions import DTLS10, DTLS12

RECORD_HEADER, MESSAGE_HEADER = 13, 12
ENOUGH = 3
"""After this many encrypted records a side's handshake counts as over. One would not do: datagrams may come out of
order."""
_VERSIONS = tuple(version.to_bytes(2, "big") for version in (DTLS10, DTLS12))
_BEFORE_STANDARD = b"\x01\x00"
"""The version that OpenSSL sent before RFC 4347, which Cisco's VPN still does."""
_CONNECTION_ID = 25  # RFC 9146
_HELLO_VERIFY_REQUEST = 3
_STUN = b"\x21\x12\xa4\x42"
_STUN_DATA = 0x0013


def dtls_in(payload: bytes) -> bytes | None:
    """The DTLS records in a datagram, also behind the headers of CAPWAP and of TURN; None if there are none."""
    if is_dtls(payload):
        return payload
    if payload[:4] == b"\x01\0\0\0" and is_dtls(payload[4:]):  # RFC 5415 section 4.2
        return payload[4:]
    if 0x40 <= payload[0] < 0x50 and is_dtls(payload[4:]):  # RFC 8656 section 12.4
        return payload[4:]
    return _in_stun(payload) if payload[4:8] == _STUN else None


def is_dtls(data: bytes) -> bool:
    """Whether these bytes are DTLS records, the last perhaps incomplete."""
    if len(data) < RECORD_HEADER:
        return False
    kind, version = data[0], data[1:3]
    if version == _BEFORE_STANDARD:
        return kind == ContentType.HANDSHAKE and data[3:5] == b"\0\0" and _ends(data) == len(data)
    if version not in _VERSIONS or not (ContentType.CHANGE_CIPHER_SPEC <= kind <= _CONNECTION_ID):
        return False
    end = _ends(data)
    return kind == _CONNECTION_ID or end == len(data) or (end < len(data) and data[end : end + 1] >= b"\x14")


def client_random(data: bytes) -> bytes | None:
    """The random of the ClientHello that opens a handshake, if these records start with one."""
    message = data[RECORD_HEADER:]
    opens = data[0] == ContentType.HANDSHAKE and data[3:5] == b"\0\0" and message[:1] == b"\x01"
    return message[14:46] if opens and message[4:6] == b"\0\0" and message[6:9] == b"\0\0\0" else None


class DtlsHandshake(Handshake):
    """The two sides of a DTLS connection."""

    def __init__(self, source: Place, destination: Place, time_ns: int) -> None:
        self._source = source
        super().__init__(_DtlsSide(source), _DtlsSide(destination), time_ns)

    def feed(self, source: Place, records: bytes) -> Capture | Contact | None:
        """Takes the records of one datagram."""
        return self.read(source == self._source, records)

    def restarted_by(self, records: bytes) -> bool:
        """Whether these records open another handshake than this one."""
        random = client_random(records)
        if random is None:
            return False
        known = [first[0].random for side in self._sides if (first := side.first(ClientHello))]
        return bool(known) and random not in known


class _Assembly:
    """One message whose fragments are not all there."""

    def __init__(self, kind: int, length: int) -> None:
        self.kind, self.length = kind, length
        self.pieces: dict[int, bytes] = {}

    def whole(self) -> bytes | None:
        data = bytearray()
        for at in sorted(self.pieces):
            if at > len(data):
                return None
            data += self.pieces[at][len(data) - at :]
        return bytes(data[: self.length]) if len(data) >= self.length else None


class _DtlsSide(PlaintextSide):
    """What one side sent. The messages are in the form of TLS: without fragmentation, and without a cookie."""

    rewritten = True

    def __init__(self, endpoint: Place) -> None:
        super().__init__(endpoint)
        self._begun: dict[int, _Assembly] = {}
        self._done: set[int] = set()
        self._kept = self._encrypted = 0
        self._sizes: list[tuple[int, int]] = []

    @property
    def watched(self) -> bool:
        return True

    @property
    def octets(self) -> int:
        return super().octets + self._kept

    def records(self) -> tuple[tuple[int, int], ...]:
        return tuple(self._sizes)

    def read(self, data: bytes) -> None:
        for kind, epoch, header, fragment in _records(data):
            self.speaks_tls = True
            if kind == ContentType.ALERT:
                self.closing = True
            if self.over:
                continue
            self._sizes.append((kind, len(fragment)))
            self._kept += len(fragment) + 64
            if epoch or kind in (ContentType.APPLICATION_DATA, _CONNECTION_ID):
                self._encrypted += 1
                self.over = self._encrypted >= (ENOUGH if self.changed_cipher else MAX_PROTECTED_RECORDS)
            elif kind == ContentType.CHANGE_CIPHER_SPEC:
                self.changed_cipher = True
            elif kind == ContentType.HANDSHAKE:
                self._on_fragments(header, fragment)
            if self._kept > MAX_HANDSHAKE or len(self.messages) > MAX_MESSAGES:
                self.over = True

    def finish(self) -> None:
        self.holed |= {one.kind for one in self._begun.values()}
        self.gaps += bool(self._begun) or self._misses_messages()
        self._begun = {}

    def _misses_messages(self) -> bool:
        """Whether the numbers of the messages have a gap."""
        return bool(self._done) and max(self._done) - min(self._done) >= len(self._done)

    def _on_fragments(self, header: bytes, data: bytes) -> None:
        at = 0
        while at + MESSAGE_HEADER <= len(data):
            kind, length = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
            number = int.from_bytes(data[at + 4 : at + 6], "big")
            offset, octets = (int.from_bytes(data[at + start : at + start + 3], "big") for start in (6, 9))
            piece = data[at + MESSAGE_HEADER : at + MESSAGE_HEADER + octets]
            at += MESSAGE_HEADER + octets
            if length > MAX_MESSAGE or offset + octets > length or number in self._done:
                continue
            begun = self._begun.setdefault(number, _Assembly(kind, length))
            if len(piece) > len(begun.pieces.get(offset, b"")) or not length:
                begun.pieces[offset] = piece
            whole = begun.whole()
            if whole is not None:
                del self._begun[number]
                self._done.add(number)
                body = _without_cookie(whole) if kind == ClientHello.type else whole
                self.on_message(header, bytes([kind]) + len(body).to_bytes(3, "big") + body)
                self.raw += self.messages[-1][1]
                if kind == _HELLO_VERIFY_REQUEST:
                    self.role = "server"


def _without_cookie(body: bytes) -> bytes:
    """A ClientHello's body without the cookie, which stands behind the session's id (RFC 6347 section 4.2.1)."""
    at = 35 + body[34] if len(body) > 34 else len(body)
    return body[:at] + body[at + 1 + body[at] :] if at < len(body) else body


def _records(data: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Type, epoch, header and fragment of each record; of DTLS 1.3's encrypted ones only that there is one."""
    at = 0
    while at < len(data):
        if data[at] & 0xE0 == 0x20:  # RFC 9147 section 4: the rest of the datagram
            yield ContentType.APPLICATION_DATA, 2, b"", data[at:]
            return
        header = data[at : at + RECORD_HEADER]
        if len(header) < RECORD_HEADER or header[1:3] not in (*_VERSIONS, _BEFORE_STANDARD):
            return
        end = at + RECORD_HEADER + int.from_bytes(header[11:13], "big")
        yield header[0], int.from_bytes(header[3:5], "big"), header, data[at + RECORD_HEADER : end]
        at = end


def _ends(data: bytes) -> int:
    """Where the first record ends."""
    return RECORD_HEADER + int.from_bytes(data[11:13], "big")


def _in_stun(payload: bytes) -> bytes | None:
    """The data that a STUN message carries for TURN (RFC 8656 section 18.4)."""
    at = 20
    while at + 4 <= len(payload):
        kind, length = (int.from_bytes(payload[at + start : at + start + 2], "big") for start in (0, 2))
        data = payload[at + 4 : at + 4 + length]
        if kind == _STUN_DATA and is_dtls(data):
            return data
        at += 4 + length + -length % 4
    return None
