"""What the bytes of a handshake mean, field by field: each byte belongs to exactly one field.

Nothing here raises: bytes that make no sense are a field of their own, which says why.
"""

from collections.abc import Callable

from lab.tls import layouts, names
from lab.tls.fields import Cursor, Field, Opaque, Structure, read_all, sized
from lab.tls.messages import HEADER_LENGTH, ServerHello
from lab.tls.messages13 import RETRY_RANDOM
from lab.tls.records import ContentType
from lab.tls.versions import TLS13, protocol_name, version_name

__all__ = ["Field", "dissect", "dissect_alert", "dissect_change_cipher_spec", "dissect_protected", "dissect_record"]

_UNKNOWN: Structure = (Opaque("body", "what the instrument does not read"),)
_RANDOM_AT = HEADER_LENGTH + 2


def dissect(raw: bytes, version: int, whole_certificates: bool = False) -> tuple[Field, ...]:
    """A handshake message of this version, its header first (RFC 5246 section 7.4, RFC 8446 section 4).

    With `whole_certificates` each certificate is one field.
    """

    def read(cursor: Cursor) -> None:
        def meaning(head: bytes) -> str:
            return f"{_name(head[0])} ({head[0]}), {cursor.sized(int.from_bytes(head[1:], 'big'), HEADER_LENGTH)}"

        head = cursor.take(HEADER_LENGTH, "handshake message", meaning)
        cursor.within(int.from_bytes(head[1:], "big"), _name(head[0]), lambda inner: read_all(layout, inner))

    layout = _layout(raw, version)
    return _all_of(raw, read, whole_certificates)


def dissect_record(header: bytes) -> tuple[Field, ...]:
    """The five bytes before a record's content (RFC 5246 section 6.2.1)."""
    return _all_of(header, lambda cursor: cursor.take(5, "record", _record))


def dissect_alert(alert: bytes) -> tuple[Field, ...]:
    """An alert (RFC 5246 section 7.2)."""
    return _all_of(alert, lambda cursor: read_all(layouts.ALERT, cursor))


def dissect_change_cipher_spec(content: bytes) -> tuple[Field, ...]:
    """A ChangeCipherSpec (RFC 5246 section 7.1)."""
    return _all_of(content, lambda cursor: read_all(layouts.CHANGE_CIPHER_SPEC, cursor))


def dissect_protected(fragment: bytes) -> tuple[Field, ...]:
    """A record's content under keys that are not known here."""
    return _all_of(fragment, lambda cursor: Opaque("protected", "encrypted").read(cursor))


def _all_of(data: bytes, read: Callable[[Cursor], object], whole_certificates: bool = False) -> tuple[Field, ...]:
    found: list[Field] = []
    Cursor(data, 0, len(data), found, whole_certificates).within(len(data), "the message", read)
    return tuple(found)


def _layout(raw: bytes, version: int) -> Structure:
    kind = raw[0] if raw else -1
    if kind == ServerHello.type and raw.startswith(RETRY_RANDOM, _RANDOM_AT):
        return layouts.HELLO_RETRY
    return (layouts.LAYOUTS13 if version == TLS13 else layouts.LAYOUTS).get(kind, _UNKNOWN)


def _name(kind: int) -> str:
    return names.MESSAGES.get(kind, "handshake message")


def _record(header: bytes) -> str:
    kind = {int(one): one.name.lower() for one in ContentType}.get(header[0], f"type {header[0]}")
    version = protocol_name(version_name(int.from_bytes(header[1:3], "big")))
    return f"record: {kind}, {version}, {sized(int.from_bytes(header[3:], 'big'))}"
