"""What the bytes of a certificate mean: X.509 in DER (RFC 5280 section 4.1, ITU-T X.690)."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lab.tls.der import Element, elements
from lab.tls.errors import DecodeError
from lab.tls.fields import Cursor

_CONTEXT_0, _CONTEXT_3 = 0xA0, 0xA3
_ATTRIBUTES = {
    b"\x55\x04\x03": "CN",
    b"\x55\x04\x06": "C",
    b"\x55\x04\x07": "L",
    b"\x55\x04\x08": "ST",
    b"\x55\x04\x0a": "O",
    b"\x55\x04\x0b": "OU",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19": "DC",
}
"""Attribute types by the content of their object identifiers (RFC 4514 section 3)."""


class CertificateComponent:
    """All bytes that are left: a certificate, field by field, or as one where the cursor wants certificates whole."""

    def read(self, cursor: Cursor) -> None:
        der = cursor.peek(cursor.left)
        whole, fields = _read(der)
        for end, name, meaning in () if cursor.whole_certificates else fields:
            cursor.take(end - (len(der) - cursor.left), name, _saying(meaning))
        cursor.take(cursor.left, "X.509", lambda _: f"X.509 in DER: {whole}")


@lru_cache(maxsize=64)  # a run shows the same few certificates thousands of times
def _read(der: bytes) -> tuple[str, tuple[tuple[int, str, str], ...]]:
    """Whose it is, and its fields; none where its structure is too odd for that. DecodeError where it is none."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        whole = about(certificate)
    except (ValueError, x509.InvalidVersion) as error:
        raise DecodeError(f"an unreadable certificate: {error}") from None
    try:
        return whole, tuple(_fields(der, certificate))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return whole, ()


def about(certificate: x509.Certificate) -> str:
    """Whose it is, and who issued it."""
    return f"{certificate.subject.rfc4514_string()}, issued by {certificate.issuer.rfc4514_string()}"


def distinguished_name(der: bytes) -> str:
    """A Name in DER as RFC 4514 writes it, but for the escapes; ValueError where the bytes are none."""
    (name,) = elements(der, 0, len(der))
    relative = [
        "+".join(_attribute(der, one) for one in elements(der, part.content, part.end))
        for part in elements(der, name.content, name.end)
    ]
    return ",".join(reversed(relative))


def _attribute(der: bytes, one: Element) -> str:
    kind, value = elements(der, one.content, one.end)
    oid = der[kind.content : kind.end]
    return f"{_ATTRIBUTES.get(oid, oid.hex())}={der[value.content : value.end].decode('utf-8', 'replace')}"


def _saying(meaning: str) -> Callable[[bytes], str]:
    return lambda _: meaning


def _fields(der: bytes, certificate: x509.Certificate) -> Iterator[tuple[int, str, str]]:
    """For each field where it ends, its name in RFC 5280, and what it means. ValueError for an odd structure."""
    (whole,) = elements(der, 0, len(der))
    tbs, algorithm, signature = elements(der, whole.content, whole.end)
    yield whole.content, "Certificate", f"X.509 in DER, {whole.end - whole.content} bytes: a certificate"
    yield tbs.content, "tbsCertificate", f"tbsCertificate, {tbs.end - tbs.content} bytes: what its issuer signed"
    parts = list(elements(der, tbs.content, tbs.end))
    if parts[0].tag == _CONTEXT_0:
        yield parts.pop(0).end, "version", f"version: {certificate.version.name}"
    serial, signed_by, issuer, validity, subject, public_key, *rest = parts
    algorithm_name = _algorithm(certificate)
    yield serial.end, "serialNumber", f"serialNumber: {certificate.serial_number:x}"
    yield signed_by.end, "signature", f"signature: the issuer signs with {algorithm_name}"
    yield issuer.end, "issuer", f"issuer: {certificate.issuer.rfc4514_string()}"
    before, after = elements(der, validity.content, validity.end)
    yield validity.content, "validity", f"validity, {validity.end - validity.content} bytes"
    yield before.end, "notBefore", f"notBefore: {_time(certificate.not_valid_before_utc)}"
    yield after.end, "notAfter", f"notAfter: {_time(certificate.not_valid_after_utc)}"
    yield subject.end, "subject", f"subject: {certificate.subject.rfc4514_string()}, whose certificate it is"
    kind, key = elements(der, public_key.content, public_key.end)
    size = f"{public_key.end - public_key.content} bytes"
    yield public_key.content, "subjectPublicKeyInfo", f"subjectPublicKeyInfo, {size}"
    yield kind.end, "algorithm", f"algorithm: {_key(certificate)}"
    yield key.end, "subjectPublicKey", "subjectPublicKey: the public key, which checks proofs and cannot make them"
    for part in rest:
        if part.tag == _CONTEXT_3:
            yield from _extensions(der, part, certificate)
        else:
            yield part.end, "uniqueID", "a unique identifier"
    yield algorithm.end, "signatureAlgorithm", f"signatureAlgorithm: {algorithm_name} again, outside of what is signed"
    yield signature.end, "signatureValue", "signatureValue: the issuer's signature over tbsCertificate"


def _extensions(der: bytes, part: Element, certificate: x509.Certificate) -> Iterator[tuple[int, str, str]]:
    (sequence,) = elements(der, part.content, part.end)
    yield sequence.content, "extensions", f"extensions, {sequence.end - sequence.content} bytes"
    known = list(certificate.extensions)
    for one, extension in zip(elements(der, sequence.content, sequence.end), known, strict=True):
        name = getattr(extension.oid, "_name", extension.oid.dotted_string)
        critical = ", critical" if extension.critical else ""
        yield one.end, "extension", f"extension {name}{critical}: {_extension_value(extension.value)}"


def _extension_value(value: x509.ExtensionType) -> str:
    """What an extension says, in short."""
    match value:
        case x509.BasicConstraints():
            return "the key may sign certificates" if value.ca else "the key may not sign certificates"
        case x509.SubjectAlternativeName():
            return ", ".join(str(name.value) for name in value)
        case x509.ExtendedKeyUsage():
            return ", ".join(getattr(oid, "_name", oid.dotted_string) for oid in value)
        case x509.KeyUsage():
            return ", ".join(name for name in _USES if getattr(value, name)) or "none"
        case x509.SubjectKeyIdentifier():
            return f"the key is {value.digest.hex()}"
        case x509.AuthorityKeyIdentifier():
            return f"the issuer's key is {(value.key_identifier or b'').hex()}"
        case _:
            return "its value"


_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign"),
)


def _algorithm(certificate: x509.Certificate) -> str:
    oid = certificate.signature_algorithm_oid
    return str(getattr(oid, "_name", oid.dotted_string))


def _key(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "of a kind that is not known here"
    match key:
        case ec.EllipticCurvePublicKey():
            return f"elliptic curve, {key.curve.name}"
        case rsa.RSAPublicKey():
            return f"RSA, {key.key_size} bits"
        case _:
            return type(key).__name__.removesuffix("PublicKey").strip("_")


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
