"""Attempts that were not their move: a real attempt with one of its messages changed, and the changes."""

import dataclasses
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from attacker.moves.make import look_alike_certificate
from lab.catalogue.plan import KeyType
from lab.judging.attempts import Tried
from lab.judging.facts import read_certificate
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls.messages import Certificate, CertificateVerify, ClientHello, Finished, Message, NewSessionTicket, serialize
from lab.tls.messages13 import Certificate13, CertificateEntry, parse

Change: TypeAlias = Callable[[Message], Message | None]
"""What becomes of a message; None if it is left out."""
Chain: TypeAlias = tuple[bytes, ...]


def changed(
    tried: Tried, kind: type[Message], change: Change, of: Literal["steps", "elsewhere"] = "steps", by: str = "client"
) -> Tried:
    """The attempt with its last message of that kind changed, or that of its login under the server's other name."""
    steps: list[tuple[str, str, str]] = [*getattr(tried.event, of)]
    at = max(at for at, step in enumerate(steps) if step[:2] == (by, str(kind.name)))
    sender, name, raw = steps[at]
    message = change(parse(bytes.fromhex(raw), tried.version))
    steps[at : at + 1] = [(sender, name, serialize(message).hex())] if message else []
    return with_event(tried, **{of: tuple(steps)})


def with_event(tried: Tried, **fields: Any) -> Tried:
    return dataclasses.replace(tried, event=dataclasses.replace(tried.event, **fields))


def left_out(message: Message) -> None:
    return None


def unlike_its_name(message: Message) -> Message:
    """The step's name says one thing, and its bytes are another."""
    return Finished(b"\0" * 12)


def second_proof(message: Message) -> Message:
    return CertificateVerify(0x0403, b"\1")


def other_signature(message: Message) -> Message:
    assert isinstance(message, CertificateVerify)
    return dataclasses.replace(message, signature=message.signature[:-4] + os.urandom(4))


def other_bit(message: Message) -> Message:
    assert isinstance(message, CertificateVerify)
    return dataclasses.replace(message, signature=bytes((message.signature[0] ^ 2,)) + message.signature[1:])


def with_proof(**fields: Any) -> Change:
    def apply(message: Message) -> Message:
        assert isinstance(message, CertificateVerify)
        return dataclasses.replace(message, **fields)

    return apply


def some_signature(message: Message) -> Message:
    assert isinstance(message, CertificateVerify)
    return dataclasses.replace(message, signature=b"\1" * max(1, len(message.signature)))


def other_random(message: Message) -> Message:
    assert isinstance(message, ClientHello)
    return dataclasses.replace(message, random=os.urandom(32))


def other_session(message: Message) -> Message:
    assert isinstance(message, ClientHello)
    return dataclasses.replace(message, session_id=os.urandom(32), extensions=())


def other_ticket(message: Message) -> Message:
    """Another ticket in TLS 1.3, none in TLS 1.2."""
    assert isinstance(message, ClientHello)
    psk = ext.read_pre_shared_key(message.extensions)
    if psk is None:
        return other_session(message)
    other = ext.pre_shared_key(dataclasses.replace(psk, identity=os.urandom(len(psk.identity))))
    return dataclasses.replace(message, extensions=(*(message.extensions or ())[:-1], other))


def with_ticket(change: Callable[[bytes], bytes]) -> Change:
    """The ticket of TLS 1.2 changed."""

    def apply(message: Message) -> Message:
        assert isinstance(message, ClientHello)
        return dataclasses.replace(
            message,
            extensions=tuple(
                dataclasses.replace(one, data=change(one.data)) if one.type == ext.SESSION_TICKET else one
                for one in message.extensions or ()
            ),
        )

    return apply


def with_chain(change: Callable[[Chain], Chain]) -> Change:
    def apply(message: Message) -> Message:
        assert isinstance(message, Certificate | Certificate13)
        chain = change(message.chain)
        if isinstance(message, Certificate):
            return Certificate(chain)
        return dataclasses.replace(message, entries=tuple(CertificateEntry(der, ()) for der in chain))

    return apply


def of_nobody(chain: Chain) -> Chain:
    return (pki.new_self_signed_client("nobody").der,)


def like_it_but_signed_by_another_key(chain: Chain) -> Chain:
    """A copy of the copy for a new key; the last byte of its signature is wrong."""
    copy = look_alike_certificate(chain[0], pki.new_key("p256"))
    return (copy[:-1] + bytes((copy[-1] ^ 1,)),)


def like_it_but(
    serial_number: int = 0, extensions: int | None = None, longer: timedelta = timedelta(), key_type: KeyType = "p256"
) -> Callable[[Chain], Chain]:
    """A copy for a new key. `serial_number` is added to the model's; of its extensions the first `extensions` stay, or
    all of them. It is valid so much `longer`."""

    def copy(chain: Chain) -> Chain:
        model, key = read_certificate(chain[0]), pki.new_key(key_type)
        builder = x509.CertificateBuilder(
            model.issuer,
            model.subject,
            key.public_key(),
            model.serial_number + serial_number,
            model.not_valid_before_utc,
            model.not_valid_after_utc + longer,
            [*model.extensions][:extensions],
        )
        return (builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER),)

    return copy


def first_only(chain: Chain) -> Chain:
    return chain[:1]


def reversed_(chain: Chain) -> Chain:
    return chain[1::-1]


def doubled(chain: Chain) -> Chain:
    return chain[:1] * 2


def no_ticket(message: Message) -> Message:
    return NewSessionTicket(0, b"")
