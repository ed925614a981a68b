"""Messages of a handshake as blocks: every byte, what it means where that is known, and whether it was encrypted."""

from collections.abc import Iterable

from lab.document import ByteField, Exchange, Octets
from lab.judging.judgement import Sent
from lab.tls.dissect import Field, certificate_fields, proof_fields
from lab.tls.errors import DecodeError

IN_SIGHT = ("ClientHello", "ServerHello", "ChangeCipherSpec")
"""What stays plaintext when a side's other messages are encrypted: in TLS 1.3 all that follow ServerHello (RFC 8446
section 2), in TLS 1.2 all that follow the side's ChangeCipherSpec (RFC 5246 section 7.1)."""
PROTECTED = "protected record"
"""The name of a record for which the attempt has no keys."""


def octets(message: str, sender: str, encrypted: bool, fields: Iterable[Field], summary: str = "") -> Octets:
    """A message, each field with its offset; a malformed message as far as it can be read."""
    placed: list[ByteField] = []
    at = 0
    try:
        for field in fields:
            placed.append(ByteField(at, field.octets, field.meaning))
            at += len(field.octets)
    except DecodeError as error:
        placed.append(ByteField(at, b"", f"unreadable: {error}"))
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


def _fields(message: Sent, version: str) -> list[Field]:
    """What the bytes mean; only the bytes if the message is malformed or `lab.tls.dissect` does not explain it."""
    raw = bytes.fromhex(message.hex)
    try:
        if message.name == "Certificate" and version != "1.3":
            return list(certificate_fields(b"", raw))
        if message.name == "CertificateVerify":
            return list(proof_fields(raw))
    except DecodeError:
        pass
    return [Field(raw, "")]
