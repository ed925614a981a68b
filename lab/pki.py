"""Issues what the lab needs: an authority, the server's certificate and alice's bundle, in PEM and in PKCS#12.

Alice's key is made by the server and handed to her together with its certificate, which is the premise of the lab's
question. Certificates follow RFC 5280; all are valid from an hour ago for 30 days.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.events import BundleIssued
from lab.tls.proof import PrivateKey

KeyType = Literal["p256", "rsa", "ed25519"]
KEY_TYPES: tuple[KeyType, ...] = get_args(KeyType)

CUSTOMER = "alice"
SERVER_NAME = "bank.example"
SERVER_NAMES = (SERVER_NAME, "victim-server", "localhost")
VALIDITY = timedelta(days=30)

CA_FILE = "ca.pem"
SERVER_PEM = "server.pem"
CLIENT_PEM = f"{CUSTOMER}.pem"
CLIENT_P12 = f"{CUSTOMER}.p12"
CLIENT_P12_PASSWORD = f"{CLIENT_P12}.password"


class PkiError(Exception):
    """Something could not be issued; the text says what and what to do."""


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def sha256(self) -> str:
        """The certificate's fingerprint, in hex."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def bundle_pem(self) -> bytes:
        """Key and certificate in one file."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + self.certificate_pem()

    def bundle_p12(self, password: str) -> bytes:
        """The same as PKCS#12 (RFC 7292) under a password."""
        name = self.certificate.subject.rfc4514_string().encode()
        protection = BestAvailableEncryption(password.encode())
        return pkcs12.serialize_key_and_certificates(name, self.key, self.certificate, None, protection)


def new_key(key_type: KeyType) -> PrivateKey:
    """A fresh private key: P-256, RSA with 2048 bits or Ed25519."""
    match key_type:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()


def new_authority(name: str = "certreplay lab authority", now: datetime | None = None) -> Identity:
    """A self-signed authority that may issue end-entity certificates only."""
    key = new_key("p256")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _key_usage(digital_signature=False, key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(subject, subject, key, now or datetime.now(UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return _signed(builder, key, key)


def new_server(authority: Identity, key_type: KeyType = "p256", now: datetime | None = None) -> Identity:
    """The bank's certificate, for its name, its container's name and loopback."""
    key = new_key(key_type)
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in SERVER_NAMES]
    names += [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
    return _issued(authority, subject, key, names, ExtendedKeyUsageOID.SERVER_AUTH, now)


def new_client(
    authority: Identity, name: str = CUSTOMER, key_type: KeyType = "p256", now: datetime | None = None
) -> Identity:
    """A customer's certificate. It names her as real ones do: common name, organisation, mail address."""
    key = new_key(key_type)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Bank of Example"),
        ]
    )
    names = [x509.RFC822Name(f"{name}@bank.example")]
    return _issued(authority, subject, key, names, ExtendedKeyUsageOID.CLIENT_AUTH, now)


@dataclass(frozen=True)
class Issued:
    """Everything the lab hands out, and where it lies.

    `public` holds what anybody may have, `client` and `server` what only its owner may.
    """

    authority: Identity
    server: Identity
    client: Identity
    ca_pem: Path
    server_pem: Path
    client_pem: Path
    client_p12: Path
    client_p12_password: Path


def issue(public: Path, server: Path, client: Path, key_type: KeyType = "p256") -> Issued:
    """Issues everything into three folders, which are made where they are missing.

    Files with a private key or a password are readable by their owner alone. Nothing is overwritten: PkiError where a
    file is already there, or cannot be written. The authority's key is not kept.
    """
    authority = new_authority()
    bank = new_server(authority, key_type)
    alice = new_client(authority, CUSTOMER, key_type)
    password = os.urandom(12).hex()
    issued = Issued(
        authority,
        bank,
        alice,
        public / CA_FILE,
        server / SERVER_PEM,
        client / CLIENT_PEM,
        client / CLIENT_P12,
        client / CLIENT_P12_PASSWORD,
    )
    _write(issued.ca_pem, authority.certificate_pem(), 0o644)
    _write(issued.server_pem, bank.bundle_pem(), 0o600)
    _write(issued.client_pem, alice.bundle_pem(), 0o600)
    _write(issued.client_p12, alice.bundle_p12(password), 0o600)
    _write(issued.client_p12_password, password.encode() + b"\n", 0o600)
    return issued


def issued_event(client: Path) -> BundleIssued:
    """What everybody may know about the bundle in alice's folder."""
    certificate = x509.load_pem_x509_certificate((client / CLIENT_PEM).read_bytes())
    return BundleIssued(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        key_type=_key_words(certificate.public_key()),
        not_after=certificate.not_valid_after_utc.isoformat(),
        files=(CLIENT_PEM, CLIENT_P12),
    )


def _key_words(key: object) -> str:
    match key:
        case ec.EllipticCurvePublicKey():
            return f"ECDSA, {key.curve.name}"
        case rsa.RSAPublicKey():
            return f"RSA, {key.key_size} bits"
        case _:
            return "Ed25519"


def _write(path: Path, content: bytes, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise PkiError(f"{path}: is already there and is not overwritten; remove it or choose another folder") from None
    except OSError as error:
        raise PkiError(f"{path}: cannot be written ({error.strerror}); choose a folder that can") from None


def _issued(
    authority: Identity,
    subject: x509.Name,
    key: PrivateKey,
    names: list[x509.GeneralName] | list[x509.RFC822Name],
    purpose: x509.ObjectIdentifier,
    now: datetime | None,
) -> Identity:
    issuer_key = authority.certificate.public_key()
    # A server whose key receives premaster secrets has to say that it may (RFC 5246 section 7.4.2).
    transport = purpose == ExtendedKeyUsageOID.SERVER_AUTH and isinstance(key, rsa.RSAPrivateKey)
    usage = _key_usage(digital_signature=True, key_cert_sign=False, crl_sign=False, key_encipherment=transport)
    builder = (
        _builder(subject, authority.certificate.subject, key, now or datetime.now(UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key),  # type: ignore[arg-type]
            critical=False,
        )
    )
    return _signed(builder, key, authority.key)


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: PrivateKey, issuer_key: PrivateKey) -> Identity:
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Identity(builder.sign(issuer_key, algorithm), key)


def _key_usage(
    *, digital_signature: bool, key_cert_sign: bool, crl_sign: bool, key_encipherment: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
