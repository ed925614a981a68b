"""Where the parts of a certificate lie: where another parser of X.509 finds them. Other bytes are no certificate."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.tls.der import Element, elements, layout

NAMES = x509.SubjectAlternativeName([x509.DNSName("bank.example"), x509.DNSName("bank" * 15 + ".example")])
USE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
CONSTRAINTS = x509.BasicConstraints(ca=False, path_length=None)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
INTEGER = b"\x02\x01\x05"


def issued(*extensions: x509.ExtensionType) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an issuer")]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a subject")]),
        public_key=key.public_key(),
        serial_number=0x1234567890,
        not_valid_before=BEGIN,
        not_valid_after=BEGIN + timedelta(days=1),
    )
    for one in extensions:
        builder = builder.add_extension(one, critical=False)
    return builder.sign(key, hashes.SHA256())


def sequence(content: bytes, tag: int = 0x30) -> bytes:
    assert len(content) < 128
    return bytes((tag, len(content))) + content


def with_fields(count: int) -> bytes:
    """Something with the structure of a certificate and this number of fields."""
    return sequence(sequence(sequence(INTEGER, 0xA0) + INTEGER * count) + sequence(b"") + sequence(b"\0abc", 0x03))


@pytest.mark.parametrize(
    "extensions",
    [(), (CONSTRAINTS,), (NAMES,), (CONSTRAINTS, NAMES, USE), (NAMES, USE)],
    ids=["none", "no names", "names alone", "names between", "names first"],
)
def test_each_part_is_where_the_other_parser_finds_it(extensions: tuple[x509.ExtensionType, ...]) -> None:
    certificate = issued(*extensions)
    der = certificate.public_bytes(Encoding.DER)
    found = layout(der)
    assert int.from_bytes(der[found.serial], "big") == certificate.serial_number
    assert der[found.issuer] == certificate.issuer.public_bytes()
    assert der[found.subject] == certificate.subject.public_bytes()
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert der[found.public_key] == spki
    assert der[found.signature] == certificate.signature
    times = b"".join(sequence(one, 0x17) for one in (b"260101000000Z", b"260102000000Z"))
    assert der[found.validity] == sequence(times)
    names = der[found.alternative_names] if found.alternative_names else None
    assert names == (NAMES.public_bytes() if NAMES in extensions else None)


def test_a_certificate_that_is_cut_off_is_none() -> None:
    der = issued(CONSTRAINTS, NAMES).public_bytes(Encoding.DER)
    for end in range(len(der)):
        with pytest.raises(ValueError, match=r"DER|element|not enough|too many"):
            layout(der[:end])


def test_a_certificate_has_six_fields_at_least() -> None:
    assert layout(with_fields(6)).alternative_names is None
    with pytest.raises(ValueError, match="a certificate with 5 fields"):
        layout(with_fields(5))


@pytest.mark.parametrize(
    ("header", "length"),
    [(b"\x04\x00", 0), (b"\x04\x7f", 127), (b"\x04\x81\x80", 128), (b"\x04\x81\xff", 255), (b"\x04\x82\x01\x00", 256)],
    ids=["empty", "short", "128", "one byte", "two bytes"],
)
def test_a_length_is_read_in_each_form(header: bytes, length: int) -> None:
    before, der = b"\x05\x00", header + bytes(length)
    begin, content, end = 2, 2 + len(header), 2 + len(der)
    expected = [Element(5, 0, 2, 2), Element(4, begin, content, end), Element(5, end, end + 2, end + 2)]
    assert list(elements(before + der + before, 0, end + 2)) == expected


@pytest.mark.parametrize(
    ("der", "words"),
    [
        (b"\x30", "in the middle of a header"),
        (b"\x05\x00\x30", "in the middle of a header"),
        (b"\x04\x02a", "element at byte 0 that is longer"),
        (b"\x05\x00\x04\x02a", "element at byte 2 that is longer"),
        (b"\x30\x80\x00\x00", "element at byte 0 that is longer"),
    ],
    ids=["a tag alone", "a tag at the end", "too short", "the second is too short", "no length, which is not DER"],
)
def test_what_does_not_come_out_even_is_no_der(der: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        list(elements(der, 0, len(der)))
