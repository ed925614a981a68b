"""Bundles: private key and certificate in one file, PEM or PKCS#12."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import PublicKeyAlgorithmOID

from lab.printable import printable
from lab.tls.errors import BundleError
from lab.tls.proof import PrivateKey
from lab.unlock import TooMuchWork, unlock

MAX_CERTIFICATES = 100
EASY_OCTETS = 1 << 12
"""A key in PEM that is no longer, RSA with 4096 bits for example, is soon checked."""


@dataclass(frozen=True)
class Bundle:
    """A private key and its certificate chain in DER, the certificate of the key first."""

    chain: tuple[bytes, ...]
    key: PrivateKey

    def to_pem(self) -> str:
        """Both in one PEM text, the key first and unencrypted."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = (x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in self.chain)
        return b"".join((key, *chain)).decode()


def parse_bundle(data: bytes, password: str | None, where: str, now: datetime | None) -> Bundle:
    """Reads a bundle in PEM (RFC 7468) or PKCS#12 (RFC 7292).

    BundleError, which begins with `where`, for: another format, a missing or wrong password, no key, no certificate, a
    key that does not belong to the first certificate, a certificate that is not valid at `now` (UTC, aware; None checks
    no dates).
    """
    secret = password.encode() if password is not None else None
    try:
        return _parse(data, secret, where, now)
    except TooMuchWork as error:
        raise BundleError(f"{where}: {error}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # the library reads many fields late
        raise BundleError(f"{where}: {_why_unreadable(error)}") from None


def _parse(data: bytes, secret: bytes | None, where: str, now: datetime | None) -> Bundle:
    if b"-----BEGIN" in data:
        key: Any = _pem_key(data, secret, where)
        certificates = x509.load_pem_x509_certificates(data) if b"BEGIN CERTIFICATE" in data else []
    else:
        key_in_der, chain = unlock(data, secret, is_pem=False)
        key = _checked_key(key_in_der)
        certificates = list(map(x509.load_der_x509_certificate, chain))
    if key is None or not certificates:
        missing = "private key" if key is None else "certificate"
        raise BundleError(f"{where}: holds no {missing}; a bundle is a key and its certificate in one file")
    if not isinstance(key, PrivateKey):
        raise BundleError(f"{where}: its key is a {type(key).__name__}; use ECDSA, RSA or Ed25519")
    if len(certificates) > MAX_CERTIFICATES:
        raise BundleError(f"{where}: holds {len(certificates)} certificates; a chain has {MAX_CERTIFICATES} at most")
    leaf = certificates[0]
    if leaf.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        raise BundleError(f"{where}: its key is for RSASSA-PSS alone (RFC 8017); use ECDSA, RSA or Ed25519")
    if _spki(key.public_key()) != _spki(leaf.public_key()):
        raise BundleError(f"{where}: the key does not belong to the certificate ({_subject(leaf)})")
    if now and now > leaf.not_valid_after_utc:
        raise BundleError(f"{where}: the certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d}; issue a new one")
    if now and now < leaf.not_valid_before_utc:
        raise BundleError(f"{where}: the certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M}Z")
    return Bundle(tuple(c.public_bytes(Encoding.DER) for c in certificates), key)


def _subject(certificate: x509.Certificate) -> str:
    """The subject in one line: it may hold line breaks and control characters."""
    return printable(certificate.subject.rfc4514_string())


def _pem_key(data: bytes, secret: bytes | None, where: str) -> Any:
    if b"PRIVATE KEY-----" not in data:
        return None
    block = _only_key(data)
    if b"ENCRYPTED" not in block and len(block) <= EASY_OCTETS:
        return serialization.load_pem_private_key(block, None)  # a password is not needed
    try:
        return _checked_key(unlock(block, secret if b"ENCRYPTED" in block else None, is_pem=True)[0])
    except TypeError:
        if secret is None:
            raise BundleError(f"{where}: the key is encrypted; give its password") from None
        raise


def _checked_key(der: bytes | None) -> Any:
    """A private key in PKCS#8 that has been checked; checking it again would take as long."""
    if der is None:
        return None
    return serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)


def _only_key(data: bytes) -> bytes:
    """The PEM block with the private key, at any place in the file."""
    lines, taken = data.decode("ascii", "replace").splitlines(), []
    inside = False
    for line in lines:
        inside = inside or (line.startswith("-----BEGIN") and "PRIVATE KEY" in line)
        if inside:
            taken.append(line)
        if line.startswith("-----END"):
            inside = False
    return "\n".join(taken).encode() + b"\n"


def _why_unreadable(error: Exception) -> str:
    text = str(error)
    if "assword" in text or "decrypt" in text.lower() or "mac" in text.lower().split():
        return "the password is wrong or missing"
    detail = text.splitlines()[0] if text else "unreadable"
    return f"neither PEM nor PKCS#12 with a usable key and certificate ({detail})"


def _spki(key: Any) -> bytes:
    return cast(bytes, key.public_bytes(Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
