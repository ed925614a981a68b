"""Messages of a handshake as blocks: every byte, what it means where that is known, and whether it was encrypted."""

from collections.abc import Iterable

from lab.document import ByteField, Exchange, Octets
from lab.judging.judgement import Sent
from lab.tls.dissect import Field, dissect, dissect_alert, dissect_change_cipher_spec, dissect_protected
from lab.tls.versions import TLS12, find_version

IN_SIGHT = ("ClientHello", "ServerHello", "ChangeCipherSpec")
"""What stays plaintext when a side's other messages are encrypted: in TLS 1.3 all that follow ServerHello (RFC 8446
section 2), in TLS 1.2 all that follow the side's ChangeCipherSpec (RFC 5246 section 7.1)."""
PROTECTED = "protected record"
"""The name of a record for which the attempt has no keys."""


def octets(message: str, sender: str, encrypted: bool, fields: Iterable[Field], summary: str = "") -> Octets:
    """A message, each field with its offset; the fields follow one another."""
    placed: list[ByteField] = []
    at = 0
    for field in fields:
        placed.append(ByteField(at, field.octets, field.meaning, field.name))
        at += len(field.octets)
    return Octets(message, sender, encrypted, tuple(placed), summary)


def exchange(messages: Iterable[Sent], version: str) -> Exchange:
    """What was sent, in its order, each with whether it crossed the wire encrypted."""
    under_keys: set[str] = set()
    shown: list[Octets] = []
    for one in messages:
        encrypted = one.name == PROTECTED or (one.sender in under_keys and one.name not in IN_SIGHT)
        shown.append(octets(one.name, one.sender, encrypted, _fields(one, version), str(one)))
        if version == "1.3" and one.name == "ServerHello":
            under_keys |= {"client", "server"}
        elif version != "1.3" and one.name == "ChangeCipherSpec":
            under_keys.add(one.sender)
    return Exchange(tuple(shown))


def _fields(message: Sent, version: str) -> tuple[Field, ...]:
    raw = bytes.fromhex(message.hex)
    if message.name == "ChangeCipherSpec":
        return dissect_change_cipher_spec(raw)
    if message.name == PROTECTED:
        return dissect_protected(raw)
    if message.name.startswith("alert "):
        return dissect_alert(raw)
    return dissect(raw, find_version(version) or TLS12)
