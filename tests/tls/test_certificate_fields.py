"""What each field of a certificate is said to mean, on certificates with one of everything."""

import datetime
import ipaddress
from collections.abc import Iterable, Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from lab.tls.certificate_fields import CertificateComponent, about, distinguished_name
from lab.tls.der import elements
from lab.tls.errors import DecodeError
from lab.tls.fields import Cursor, Field

KEY = ec.generate_private_key(ec.SECP256R1())
SUBJECT = x509.Name(
    [
        x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "example"),
        x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
        x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Bern"),
        x509.NameAttribute(NameOID.LOCALITY_NAME, "Biel"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Bank"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Counter"),
        x509.NameAttribute(NameOID.COMMON_NAME, "alïce"),
    ]
)
ISSUER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the issuer")])
FROM, UNTIL = datetime.datetime(2026, 1, 2, 3, 4, 5), datetime.datetime(2027, 6, 7, 8, 9, 10)
NO_USE = dict.fromkeys(
    (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ),
    False,
)


def issued(
    *extensions: tuple[x509.ExtensionType, bool], key: CertificatePublicKeyTypes | None = None
) -> x509.Certificate:
    builder = x509.CertificateBuilder(ISSUER, SUBJECT, key or KEY.public_key(), 0xC0FFEE, FROM, UNTIL)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(KEY, hashes.SHA256())


def der_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def encoded(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = [len(content)] if len(content) < 0x80 else [0x82, *divmod(len(content), 0x100)]
    return bytes([tag, *length]) + content


def rewritten(certificate: x509.Certificate, parts: Iterable[bytes]) -> bytes:
    """The certificate with other parts in what its issuer signed."""
    der = der_of(certificate)
    (whole,) = elements(der, 0, len(der))
    tbs, *_ = elements(der, whole.content, whole.end)
    return encoded(0x30, encoded(0x30, *parts), der[tbs.end :])


def parts_of(certificate: x509.Certificate) -> list[bytes]:
    der = certificate.tbs_certificate_bytes
    (tbs,) = elements(der, 0, len(der))
    return [der[one.start : one.end] for one in elements(der, tbs.content, tbs.end)]


def fields(der: bytes, whole: bool = False) -> Sequence[Field]:
    """Its fields, which hold each of its bytes once, in their order."""
    found: list[Field] = []
    cursor = Cursor(b"before" + der, 6, 6 + len(der), found, whole)
    CertificateComponent().read(cursor)
    assert b"".join(one.octets for one in found) == der
    assert cursor.at == 6 + len(der)
    return found


def meanings(der: bytes) -> list[str]:
    return [one.meaning for one in fields(der)]


def test_each_field_is_told_in_its_order_with_its_value() -> None:
    certificate = issued((x509.BasicConstraints(ca=False, path_length=None), True))
    told = [(one.name, one.meaning) for one in fields(der_of(certificate))]
    assert told == [
        ("Certificate", f"X.509 in DER, {len(der_of(certificate)) - 4} bytes: a certificate"),
        (
            "tbsCertificate",
            f"tbsCertificate, {len(certificate.tbs_certificate_bytes) - 4} bytes: what its issuer signed",
        ),
        ("version", "version: v3"),
        ("serialNumber", "serialNumber: c0ffee"),
        ("signature", "signature: the issuer signs with ecdsa-with-SHA256"),
        ("issuer", "issuer: CN=the issuer"),
        ("validity", "validity, 30 bytes"),
        ("notBefore", "notBefore: 2026-01-02 03:04:05 UTC"),
        ("notAfter", "notAfter: 2027-06-07 08:09:10 UTC"),
        ("subject", "subject: CN=alïce,OU=Counter,O=Bank,L=Biel,ST=Bern,C=CH,DC=example, whose certificate it is"),
        ("subjectPublicKeyInfo", "subjectPublicKeyInfo, 89 bytes"),
        ("algorithm", "algorithm: elliptic curve, secp256r1"),
        ("subjectPublicKey", "subjectPublicKey: the public key, which checks proofs and cannot make them"),
        ("extensions", "extensions, 14 bytes"),
        ("extension", "extension basicConstraints, critical: the key may not sign certificates"),
        ("signatureAlgorithm", "signatureAlgorithm: ecdsa-with-SHA256 again, outside of what is signed"),
        ("signatureValue", "signatureValue: the issuer's signature over tbsCertificate"),
    ]


@pytest.mark.parametrize(
    ("value", "critical", "told"),
    [
        (x509.BasicConstraints(True, 0), True, "basicConstraints, critical: the key may sign certificates"),
        (x509.BasicConstraints(False, None), False, "basicConstraints: the key may not sign certificates"),
        (
            x509.SubjectAlternativeName(
                [x509.DNSName("bank.example"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]
            ),
            False,
            "subjectAltName: bank.example, 192.0.2.1",
        ),
        (
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ObjectIdentifier("1.2.3.4")]),
            False,
            "extendedKeyUsage: clientAuth, Unknown OID",
        ),
        *(
            (x509.KeyUsage(**NO_USE | {use: True}), True, f"keyUsage, critical: {use}")
            for use in NO_USE
            if not use.endswith("_only")
        ),
        (
            x509.KeyUsage(**NO_USE | {"digital_signature": True, "crl_sign": True}),
            False,
            "keyUsage: digital_signature, crl_sign",
        ),
        (x509.KeyUsage(**NO_USE), False, "keyUsage: none"),
        (x509.SubjectKeyIdentifier(b"\xab\xcd"), False, "subjectKeyIdentifier: the key is abcd"),
        (
            x509.AuthorityKeyIdentifier(b"\xbe\xef", None, None),
            False,
            "authorityKeyIdentifier: the issuer's key is beef",
        ),
        (x509.AuthorityKeyIdentifier(None, None, None), False, "authorityKeyIdentifier: the issuer's key is "),
        (x509.OCSPNoCheck(), False, "OCSPNoCheck: its value"),
        (
            x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
            True,
            "Unknown OID, critical: its value",
        ),
    ],
)
def test_an_extension_says_what_it_is_for(value: x509.ExtensionType, critical: bool, told: str) -> None:
    assert [one for one in meanings(der_of(issued((value, critical)))) if one.startswith("extension ")] == [
        f"extension {told}"
    ]


def test_each_extension_has_its_own_value() -> None:
    certificate = issued((x509.SubjectKeyIdentifier(b"\x01"), False), (x509.BasicConstraints(True, None), True))
    assert [one for one in meanings(der_of(certificate)) if one.startswith("extension ")] == [
        "extension subjectKeyIdentifier: the key is 01",
        "extension basicConstraints, critical: the key may sign certificates",
    ]


def test_the_kind_of_key_is_told() -> None:
    keys: dict[str, CertificatePublicKeyTypes] = {
        "RSA, 1024 bits": rsa.generate_private_key(65537, 1024).public_key(),
        "elliptic curve, secp384r1": ec.generate_private_key(ec.SECP384R1()).public_key(),
        "Ed25519": ed25519.Ed25519PrivateKey.generate().public_key(),
    }
    for told, key in keys.items():
        assert f"algorithm: {told}" in meanings(der_of(issued(key=key)))


def test_a_kind_of_key_that_nobody_knows_is_told_as_that() -> None:
    parts = parts_of(issued())
    parts[6] = parts[6].replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f"))
    assert "algorithm: of a kind that is not known here" in meanings(rewritten(issued(), parts))


def test_a_certificate_of_the_first_version_has_no_field_for_it() -> None:
    certificate = issued()
    _version, *rest = parts_of(certificate)
    told = fields(rewritten(certificate, rest))
    assert [one.name for one in told][:4] == ["Certificate", "tbsCertificate", "serialNumber", "signature"]
    assert "serialNumber: c0ffee" in [one.meaning for one in told]


def test_a_unique_identifier_is_one_field() -> None:
    certificate = issued()
    told = fields(
        rewritten(certificate, [*parts_of(certificate), bytes.fromhex("81020001"), bytes.fromhex("82020002")])
    )
    unique = [(one.octets.hex(), one.meaning) for one in told if one.name == "uniqueID"]
    assert unique == [("81020001", "a unique identifier"), ("82020002", "a unique identifier")]


def test_a_certificate_that_is_wanted_whole_is_one_field() -> None:
    der = der_of(issued())
    (field,) = fields(der, whole=True)
    assert (field.at, field.name) == (6, "X.509")
    assert field.meaning == (
        "X.509 in DER: CN=alïce,OU=Counter,O=Bank,L=Biel,ST=Bern,C=CH,DC=example, issued by CN=the issuer"
    )


def test_a_certificate_whose_extensions_make_no_sense_is_one_field() -> None:
    certificate = issued((x509.SubjectKeyIdentifier(b"\x01"), False))
    *parts, extensions = parts_of(certificate)
    twice = extensions[4:]
    (field,) = fields(rewritten(certificate, [*parts, encoded(0xA3, encoded(0x30, twice, twice))]))
    assert field.name == "X.509"


def test_what_is_no_certificate_is_told_as_that() -> None:
    with pytest.raises(DecodeError, match=r"^an unreadable certificate: "):
        fields(b"\x30\x01\x00")


def test_a_name_is_written_as_the_library_writes_it() -> None:
    several = x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COUNTRY_NAME, "CH")]),
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(NameOID.COMMON_NAME, "a"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "b")]
            ),
        ]
    )
    for name in (SUBJECT, ISSUER, several, x509.Name([])):
        assert distinguished_name(name.public_bytes()) == name.rfc4514_string()


def test_an_attribute_that_has_no_short_name_is_its_identifier_in_hex() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.TITLE, "Dr"), x509.NameAttribute(NameOID.COMMON_NAME, "b")])
    assert distinguished_name(name.public_bytes()) == "CN=b,55040c=Dr"


def test_bytes_of_a_name_that_are_no_text_are_shown_as_such() -> None:
    der = ISSUER.public_bytes().replace(b"the issuer", b"\xff\xfe issuer!")
    assert distinguished_name(der) == "CN=\ufffd\ufffd issuer!"


def test_two_names_are_no_name() -> None:
    with pytest.raises(ValueError, match="too many"):
        distinguished_name(ISSUER.public_bytes() * 2)


def test_whose_it_is_and_who_issued_it() -> None:
    assert about(issued()).endswith(",DC=example, issued by CN=the issuer")
