"""Where the parts of a certificate lie in its DER (ITU-T X.690 section 8.1, RFC 5280 section 4.1)."""

from collections.abc import Iterator
from typing import NamedTuple

_CONTEXT_0, _CONTEXT_3 = 0xA0, 0xA3
_SUBJECT_ALTERNATIVE_NAME = b"\x06\x03\x55\x1d\x11"


class Element(NamedTuple):
    """A tag, and where its element begins, where its content does, and where both end."""

    tag: int
    start: int
    content: int
    end: int


class Layout(NamedTuple):
    """A certificate's parts; the serial number, the alternative names and the signature without what they are in."""

    serial: slice
    issuer: slice
    validity: slice
    subject: slice
    public_key: slice
    alternative_names: slice | None
    signature: slice


def layout(der: bytes) -> Layout:
    """Where everything is in a certificate; ValueError where the bytes are none."""
    (certificate,) = elements(der, 0, len(der))
    tbs, _, signature = elements(der, certificate.content, certificate.end)
    fields = [one for one in elements(der, tbs.content, tbs.end) if one.tag != _CONTEXT_0]
    if len(fields) < 6:
        raise ValueError(f"a certificate with {len(fields)} fields")
    serial, _, issuer, validity, subject, public_key, *rest = fields
    return Layout(
        serial=slice(serial.content, serial.end),
        issuer=slice(issuer.start, issuer.end),
        validity=slice(validity.start, validity.end),
        subject=slice(subject.start, subject.end),
        public_key=slice(public_key.start, public_key.end),
        alternative_names=_alternative_names(der, rest),
        signature=slice(signature.content + 1, signature.end),  # behind the count of unused bits
    )


def elements(der: bytes, start: int, end: int) -> Iterator[Element]:
    """The elements that fill these bytes one after another; ValueError where they don't."""
    while start < end:
        if start + 2 > end:
            raise ValueError(f"DER that ends at byte {end}, in the middle of a header")
        length, content = der[start + 1], start + 2
        if length > 0x80:
            content += length - 0x80
            length = int.from_bytes(der[start + 2 : content], "big")
        if content + length > end:
            raise ValueError(f"an element at byte {start} that is longer than what it is in")
        yield Element(der[start], start, content, content + length)
        start = content + length


def _alternative_names(der: bytes, fields: list[Element]) -> slice | None:
    for extensions in (one for one in fields if one.tag == _CONTEXT_3):
        for sequence in elements(der, extensions.content, extensions.end):
            for extension in elements(der, sequence.content, sequence.end):
                if der.startswith(_SUBJECT_ALTERNATIVE_NAME, extension.content):
                    *_, value = elements(der, extension.content, extension.end)
                    return slice(value.content, value.end)
    return None
