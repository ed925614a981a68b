"""Certificates that no authority would issue: self-signed, with any subject and any alternative names."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lab.staging import pki

KEY = pki.new_key("p256")
"""Of all of them."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def certificate_of(name: str) -> bytes:
    """A certificate with a common name that may be anything, in DER."""
    return certificate([(NameOID.COMMON_NAME, name)])


def certificate(
    subject: Sequence[tuple[x509.ObjectIdentifier, str]], *names: x509.GeneralName, serial: int = 1
) -> bytes:
    """A certificate, valid in 2026, in DER."""
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in subject])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), serial, START, START.replace(year=2027))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
