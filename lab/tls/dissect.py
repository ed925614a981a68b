"""What the bytes of a captured message mean, field by field."""

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509

from lab.tls import wire
from lab.tls.errors import DecodeError
from lab.tls.messages import CertificateVerify, parse
from lab.tls.proof import scheme_name
from lab.tls.versions import version_name


@dataclass(frozen=True)
class Field:
    """Some consecutive bytes and one phrase about them."""

    octets: bytes
    meaning: str


def certificate_fields(record_header: bytes, message: bytes) -> Iterator[Field]:
    """A record's five-byte header (RFC 5246 section 6.2.1) and the Certificate message behind it (section 7.4.2).

    DecodeError where the bytes are none.
    """
    if record_header:
        length = int.from_bytes(record_header[3:], "big")
        version = version_name(int.from_bytes(record_header[1:3], "big"))
        yield Field(record_header, f"record: handshake, TLS {version}, {length} bytes")
    yield Field(message[:4], f"Certificate (11), {len(message) - 4} bytes")
    reader = wire.Reader(message[4:], "Certificate")
    octets = reader.take(3, "certificate_list's length")
    yield Field(octets, f"certificate_list, {int.from_bytes(octets, 'big')} bytes")
    while reader.left:
        octets = reader.take(3, "a certificate's length")
        length = int.from_bytes(octets, "big")
        yield Field(octets, f"a certificate, {length} bytes")
        der = reader.take(length, "a certificate")
        yield Field(der, f"X.509 in DER: {_about(der)}")


def proof_fields(message: bytes) -> Iterator[Field]:
    """A CertificateVerify message (RFC 5246 section 7.4.8). DecodeError for anything else."""
    proof = parse(message)
    if not isinstance(proof, CertificateVerify):
        raise DecodeError(f"{proof.name} in the place of a CertificateVerify")
    yield Field(message[:4], f"CertificateVerify (15), {len(message) - 4} bytes")
    yield Field(message[4:6], scheme_name(proof.scheme))
    yield Field(message[6:8], f"signature, {len(proof.signature)} bytes")
    yield Field(proof.signature, "over this one handshake")


def _about(der: bytes) -> str:
    try:
        certificate = x509.load_der_x509_certificate(der)
        return f"{certificate.subject.rfc4514_string()}, issued by {certificate.issuer.rfc4514_string()}"
    except ValueError as error:
        raise DecodeError(f"Certificate: an unreadable certificate: {error}") from None
