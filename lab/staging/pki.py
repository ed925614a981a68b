"""Issues what the lab needs: an authority, the server's certificate and its customers' bundles.

The server makes a customer's keys and hands them out together with their certificates: that is the premise of the
lab's question. It can also issue on a certificate request (RFC 2986): then the customer makes the key, and the server
never has it. Each customer gets two bundles: one with a certificate from the authority, one with a self-signed
certificate, which the server recognises because it keeps a list of those that it issued. Certificates follow RFC 5280;
all are valid from an hour ago for 30 days.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab import files
from lab.catalogue.cast import CUSTOMER, MALLORY, OTHER_CUSTOMERS, SERVER_NAMES, SHOP_NAMES
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.plan import KeyType
from lab.events.types import BundleIssued
from lab.tls.bundle import Bundle
from lab.tls.proof import PrivateKey, key_words
from victim_server import register
from victim_server.passwords import keep

VALIDITY = timedelta(days=30)

CA_FILE = "ca.pem"
SERVER_PEM = "server.pem"
SERVER_RSA_PEM = "server-rsa.pem"
REGISTER = "customers.sqlite"
SELF_SIGNED = f"{CUSTOMER}-self-signed"
BUNDLES: Mapping[CertificateKind, str] = {CertificateKind.FROM_CA: CUSTOMER, CertificateKind.SELF_SIGNED: SELF_SIGNED}
"""The names of alice's bundles, without endings."""
CLIENT_PEM = f"{CUSTOMER}.pem"
CLIENT_P12 = f"{CUSTOMER}.p12"
CLIENT_P12_PASSWORD = f"{CLIENT_P12}.password"
CLIENT_SELF_SIGNED_PEM = f"{SELF_SIGNED}.pem"
CLIENT_SELF_SIGNED_P12 = f"{SELF_SIGNED}.p12"
CLIENT_SELF_SIGNED_P12_PASSWORD = f"{CLIENT_SELF_SIGNED_P12}.password"
CLIENT_FILES = (
    *(CLIENT_PEM, CLIENT_P12, CLIENT_P12_PASSWORD),
    *(CLIENT_SELF_SIGNED_PEM, CLIENT_SELF_SIGNED_P12, CLIENT_SELF_SIGNED_P12_PASSWORD),
)
ATTACKER_PEM = f"{MALLORY}.pem"
ATTACKER_SELF_SIGNED_PEM = f"{MALLORY}-self-signed.pem"
SHOP_PEM = "shop.pem"
ARCHIVE = "handed-out.pem"
PASSWORD = f"{CUSTOMER}.password"
BY_REQUEST = f"{CUSTOMER}-by-request"
REQUESTS = "requests.pem"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


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
        """Key and certificate in one PEM file."""
        return _key_pem(self.key) + self.certificate_pem()

    def bundle_p12(self, password: str) -> bytes:
        """The same as PKCS#12 (RFC 7292) under a password."""
        name = self.certificate.subject.rfc4514_string().encode()
        protection = BestAvailableEncryption(password.encode())
        return pkcs12.serialize_key_and_certificates(name, self.key, self.certificate, None, protection)


def new_key(key_type: KeyType) -> PrivateKey:
    """A fresh private key: P-256, RSA with 2048 bits, Ed25519 or P-384."""
    match key_type:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())


def new_authority(
    name: str = "certreplay lab authority", now: datetime | None = None, path_length: int | None = 0
) -> Identity:
    """A self-signed authority, which may issue end-entity certificates only, or without a path length others too."""
    key = new_key("p256")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _key_usage(digital_signature=False, key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(subject, subject, key.public_key(), now or datetime.now(UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
    )
    return Identity(_signed(builder, key), key)


def new_server(authority: Identity, key_type: KeyType = "p256", now: datetime | None = None) -> Identity:
    """The bank's certificate, for its name, its container's name and loopback."""
    return _new_server(authority, SERVER_NAMES, key_type, now)


def new_shop(
    authority: Identity,
    key_type: KeyType = "p256",
    now: datetime | None = None,
    names: tuple[str, ...] = SHOP_NAMES,
) -> Identity:
    """The certificate of a shop that alice uses, for its name, its container's name and loopback."""
    return _new_server(authority, names, key_type, now)


def _new_server(authority: Identity, names: tuple[str, ...], key_type: KeyType, now: datetime | None) -> Identity:
    key = new_key(key_type)
    alternative: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternative += [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    return _issued(authority, subject, key, alternative, ExtendedKeyUsageOID.SERVER_AUTH, now)


def new_client(
    authority: Identity,
    name: str = CUSTOMER,
    key_type: KeyType = "p256",
    now: datetime | None = None,
    student: str = "",
) -> Identity:
    """A customer's certificate. It names her as real ones do: common name, organisation, e-mail address.

    A student whose run it is stands in it as the organisational unit.
    """
    key = new_key(key_type)
    return _issued(authority, _customer(name, student), key, _mail(name), ExtendedKeyUsageOID.CLIENT_AUTH, now)


def new_self_signed_client(
    name: str = CUSTOMER, key_type: KeyType = "p256", now: datetime | None = None, student: str = ""
) -> Identity:
    """A self-signed certificate for a customer; a server must know it in advance to accept it."""
    key, subject = new_key(key_type), _customer(name, student)
    builder = _builder(subject, subject, key.public_key(), now or datetime.now(UTC))
    return Identity(_signed(_for_end_entity(builder, _mail(name), ExtendedKeyUsageOID.CLIENT_AUTH), key), key)


def new_request(key: PrivateKey, name: str = CUSTOMER) -> bytes:
    """What a customer sends the bank: a certificate request (RFC 2986) in PEM, signed with the key that she made."""
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(_customer(name)).sign(key, algorithm)
    return request.public_bytes(Encoding.PEM)


def issue_on_request(
    authority: Identity, request: bytes, name: str = CUSTOMER, now: datetime | None = None, student: str = ""
) -> x509.Certificate:
    """The certificate for the public key in a request, in PEM, that the bank has from the customer of this name.

    The name in the request is not taken over: the bank knows who its customer is. PkiError for what is no request, and
    for one that its sender did not sign with the key in it (RFC 2986 section 3).
    """
    try:
        asked = x509.load_pem_x509_csr(request)
        public = asked.public_key()
        signed = asked.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PkiError(f"{name}'s certificate request cannot be read: {error}; send one in PEM") from None
    if not signed:
        raise PkiError(f"{name}'s certificate request is not signed by the key in it; send one that is")
    return _issue(authority, _customer(name, student), public, _mail(name), ExtendedKeyUsageOID.CLIENT_AUTH, now)


@dataclass(frozen=True)
class Bundles:
    """A customer's two bundles, each with its PEM file."""

    identity: Identity
    self_signed: Identity
    pem: Path
    self_signed_pem: Path


@dataclass(frozen=True)
class Issued:
    """Everything the lab hands out, and its files.

    `ca_pem` is public. `server_pem` and the client's files, alice's, are for their owners only. `register` is the
    server's register of the customers that have self-signed certificates, without their keys. `mallory` has the
    attacker's bundles as an ordinary customer, None if she is none; `shop_pem` is her bundle as a shop's owner.
    `server_rsa_pem` is the server's bundle for RSA key transport: the same as `server_pem` if that has an RSA key.
    `archive` has copies of the bundles that the server handed out, None if it kept none.
    `password` has alice's password for logins without a certificate, None if she has none.
    """

    authority: Identity
    server: Identity
    client: Identity
    client_self_signed: Identity
    mallory: Bundles | None
    shop_pem: Path | None
    ca_pem: Path
    server_pem: Path
    server_rsa_pem: Path | None
    register: Path
    client_pem: Path
    client_p12: Path
    client_p12_password: Path
    client_self_signed_pem: Path
    client_self_signed_p12: Path
    client_self_signed_p12_password: Path
    archive: Path | None
    password: Path | None

    def file(self, kind: CertificateKind) -> Path:
        """One of alice's bundles, in PEM."""
        return self.client_pem if kind == CertificateKind.FROM_CA else self.client_self_signed_pem

    def bundle(self, kind: CertificateKind) -> Bundle:
        """The content of one of alice's bundles."""
        identity = self.client if kind == CertificateKind.FROM_CA else self.client_self_signed
        return Bundle((identity.der,), identity.key)


def issue(
    public: Path,
    server: Path,
    client: Path,
    key_type: KeyType = "p256",
    *,
    attacker: Path | None = None,
    shop: Path | None = None,
    rsa_transport: bool = False,
    archive: Path | None = None,
    passwords: bool = False,
    student: str = "",
) -> Issued:
    """Issues everything into these folders; makes the folders that are missing.

    Without a folder `attacker` mallory is no customer and gets nothing; with a folder `shop` she has a shop. With
    `rsa_transport` the server also has a bundle with an RSA key; in a folder `archive` the issuer keeps a copy of each
    bundle that it hands out to its customers, but for mallory's; with `passwords` its customers have passwords as well,
    of 96 random bits, and it keeps these hashed. Alice's certificates name the `student`, if there is one. Only their
    owner can read files with a private key or a password; one password opens both of alice's PKCS#12 files. Nothing is
    overwritten: PkiError if a file exists or cannot be written. The authority's key is not kept; its certificate is
    written last, when all else is there.
    """
    authority = new_authority()
    more_server_keys = rsa_transport and key_type != "rsa"
    issued = Issued(
        authority=authority,
        server=new_server(authority, key_type),
        client=new_client(authority, CUSTOMER, key_type, student=student),
        client_self_signed=new_self_signed_client(CUSTOMER, key_type, student=student),
        mallory=_mallory(authority, attacker, key_type) if attacker else None,
        shop_pem=shop / SHOP_PEM if shop else None,
        ca_pem=public / CA_FILE,
        server_pem=server / SERVER_PEM,
        server_rsa_pem=server / (SERVER_RSA_PEM if more_server_keys else SERVER_PEM) if rsa_transport else None,
        register=server / REGISTER,
        client_pem=client / CLIENT_PEM,
        client_p12=client / CLIENT_P12,
        client_p12_password=client / CLIENT_P12_PASSWORD,
        client_self_signed_pem=client / CLIENT_SELF_SIGNED_PEM,
        client_self_signed_p12=client / CLIENT_SELF_SIGNED_P12,
        client_self_signed_p12_password=client / CLIENT_SELF_SIGNED_P12_PASSWORD,
        archive=archive / ARCHIVE if archive else None,
        password=client / PASSWORD if passwords else None,
    )
    customers = {name: new_self_signed_client(name, key_type) for name in OTHER_CUSTOMERS}
    customers |= {CUSTOMER: issued.client_self_signed}
    handed_out = (issued.client, *customers.values())
    customers |= {MALLORY: issued.mallory.self_signed} if issued.mallory else {}
    _write(issued.server_pem, issued.server.bundle_pem(), 0o600)
    entries = [register.Customer(name, identity.der) for name, identity in sorted(customers.items())]
    chosen = {name: os.urandom(12).hex() for name in (CUSTOMER, *OTHER_CUSTOMERS)} if passwords else {}
    with _writing(issued.register):
        register.create(issued.register, entries, {name: keep(word) for name, word in chosen.items()})
    if issued.password:
        _write(issued.password, f"{chosen[CUSTOMER]}\n".encode(), 0o600)
    password = os.urandom(12).hex()
    for identity, pem, p12, p12_password in (
        (issued.client, issued.client_pem, issued.client_p12, issued.client_p12_password),
        (
            issued.client_self_signed,
            issued.client_self_signed_pem,
            issued.client_self_signed_p12,
            issued.client_self_signed_p12_password,
        ),
    ):
        _write(pem, identity.bundle_pem(), 0o600)
        _write(p12, identity.bundle_p12(password), 0o600)
        _write(p12_password, password.encode() + b"\n", 0o600)
    if issued.mallory:
        _write(issued.mallory.pem, issued.mallory.identity.bundle_pem(), 0o600)
        _write(issued.mallory.self_signed_pem, issued.mallory.self_signed.bundle_pem(), 0o600)
    if issued.server_rsa_pem and more_server_keys:
        _write(issued.server_rsa_pem, new_server(authority, "rsa").bundle_pem(), 0o600)
    if issued.shop_pem:
        _write(issued.shop_pem, new_shop(authority, key_type).bundle_pem(), 0o600)
    if issued.archive:
        _write(issued.archive, b"".join(identity.bundle_pem() for identity in handed_out), 0o600)
    _write(issued.ca_pem, authority.certificate_pem(), 0o644)
    return issued


@dataclass(frozen=True)
class Requested:
    """What there is after a certificate request: alice's own bundle, and the file in which the bank keeps the rest."""

    identity: Identity
    client_pem: Path
    requests: Path


def request(key_pem: Path, requests: Path, key_type: KeyType = "p256") -> PrivateKey:
    """Alice makes a key, which stays in a file of her own, and writes the bank a request. PkiError as in `issue`."""
    key = new_key(key_type)
    _write(key_pem, _key_pem(key), 0o600)
    _write(requests, new_request(key), 0o600)
    return key


def answer(authority: Identity, requests: Path, student: str = "") -> x509.Certificate:
    """The bank issues a certificate on the request in this file, and keeps it there after the request.

    A certificate that it issued earlier makes room. PkiError as in `issue_on_request`, or if the file cannot be
    written.
    """
    with _writing(requests):
        asked = files.read(requests).partition(_CERTIFICATE)[0]
        certificate = issue_on_request(authority, asked, student=student)
        requests.write_bytes(asked + certificate.public_bytes(Encoding.PEM))
    return certificate


def is_answered(requests: Path) -> bool:
    """Whether the bank has issued a certificate on the request in this file; OSError if it cannot be read."""
    return _CERTIFICATE in files.read(requests)


def request_and_issue(
    authority: Identity, server: Path, client: Path, key_type: KeyType = "p256", student: str = ""
) -> Requested:
    """Alice makes a key in her folder and sends the bank a request; the bank keeps that and the certificate in its own.

    PkiError as in `issue`.
    """
    client_pem, requests = client / f"{BY_REQUEST}.pem", server / REQUESTS
    key = request(client_pem, requests, key_type)
    identity = Identity(answer(authority, requests, student), key)
    client_pem.write_bytes(identity.bundle_pem())
    return Requested(identity, client_pem, requests)


def issued_event(client: Path, bundle: str = CUSTOMER) -> BundleIssued:
    """The public facts about a bundle in alice's folder: one of BUNDLES, or BY_REQUEST."""
    names = tuple(name for name in (f"{bundle}.pem", f"{bundle}.p12") if (client / name).exists())
    return _event(client / names[0], names)


def answered_event(requests: Path) -> BundleIssued:
    """The same about the certificate in the bank's file. The bank knows no file that holds the key."""
    return _event(requests, ())


def _event(pem: Path, names: tuple[str, ...]) -> BundleIssued:
    certificate = x509.load_pem_x509_certificate(files.read(pem))
    return BundleIssued(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        key_type=key_words(certificate.public_key()),
        not_after=certificate.not_valid_after_utc.isoformat(),
        files=names,
    )


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    with _writing(path), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Wraps the writing of a new file: makes its folder, and turns errors into a PkiError."""
    try:
        files.make_folder(path.parent)
        yield
    except FileExistsError:
        raise PkiError(f"{path}: is already there and is not overwritten; remove it or choose another folder") from None
    except OSError as error:
        raise PkiError(f"{path}: cannot be written ({error.strerror}); choose a folder that can") from None


def _mallory(authority: Identity, folder: Path, key_type: KeyType) -> Bundles:
    return Bundles(
        new_client(authority, MALLORY, key_type),
        new_self_signed_client(MALLORY, key_type),
        folder / ATTACKER_PEM,
        folder / ATTACKER_SELF_SIGNED_PEM,
    )


def _customer(name: str, student: str = "") -> x509.Name:
    named = {NameOID.COMMON_NAME: name, NameOID.ORGANIZATION_NAME: "Bank of Example"}
    named |= {NameOID.ORGANIZATIONAL_UNIT_NAME: student} if student else {}
    return x509.Name([x509.NameAttribute(*attribute) for attribute in named.items()])


def _mail(name: str) -> list[x509.GeneralName]:
    return [x509.RFC822Name(f"{name}@bank.example")]


def _issued(
    authority: Identity,
    subject: x509.Name,
    key: PrivateKey,
    names: Iterable[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    now: datetime | None,
) -> Identity:
    return Identity(_issue(authority, subject, key.public_key(), names, purpose, now), key)


def _issue(
    authority: Identity,
    subject: x509.Name,
    public: CertificatePublicKeyTypes,
    names: Iterable[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    now: datetime | None,
) -> x509.Certificate:
    """A certificate for a public key; the private key is not needed."""
    issuer_key = authority.certificate.public_key()
    builder = _builder(subject, authority.certificate.subject, public, now or datetime.now(UTC)).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key),  # type: ignore[arg-type]
        critical=False,
    )
    # A server whose key receives premaster secrets has to say that it may (RFC 5246 section 7.4.2).
    transport = purpose == ExtendedKeyUsageOID.SERVER_AUTH and isinstance(public, rsa.RSAPublicKey)
    return _signed(_for_end_entity(builder, names, purpose, key_encipherment=transport), authority.key)


def _for_end_entity(
    builder: x509.CertificateBuilder,
    names: Iterable[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    *,
    key_encipherment: bool = False,
) -> x509.CertificateBuilder:
    """The extensions of a certificate that may not issue others."""
    usage = _key_usage(digital_signature=True, key_cert_sign=False, crl_sign=False, key_encipherment=key_encipherment)
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: CertificatePublicKeyTypes, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, issuer_key: PrivateKey) -> x509.Certificate:
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, algorithm)


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
