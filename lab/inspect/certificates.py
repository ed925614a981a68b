"""What a capture file gives away: every client certificate in it, and the person or device that it identifies."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from lab import files
from lab.capture.handshake import Capture
from lab.document import Block, Section, facts
from lab.inspect.times import period
from lab.tls.der import elements, layout
from lab.tls.versions import protocol_name, version_name

T = TypeVar("T")

UNREADABLE = "unreadable"

_SUBJECT_KINDS = {
    NameOID.COMMON_NAME: "CN",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.USER_ID: "UID",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.GIVEN_NAME: "givenName",
    NameOID.SURNAME: "surname",
    NameOID.INITIALS: "initials",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.TITLE: "title",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.X500_UNIQUE_IDENTIFIER: "x500UniqueIdentifier",
    NameOID.UNSTRUCTURED_NAME: "unstructuredName",
    NameOID.STREET_ADDRESS: "street",
    NameOID.POSTAL_ADDRESS: "postalAddress",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
}
"""The attributes that identify a person or a device; those of its organisation and country are in the subject."""
_ALTERNATIVE_KINDS: tuple[tuple[type[x509.GeneralName], str], ...] = (
    (x509.RFC822Name, "e-mail"),
    (x509.DNSName, "DNS"),
    (x509.IPAddress, "IP"),
    (x509.UniformResourceIdentifier, "URI"),
    (x509.DirectoryName, "directory"),
    (x509.RegisteredID, "registered ID"),
)
_OTHER_KINDS = {
    "1.3.6.1.4.1.311.20.2.3": "UPN",
    "1.3.6.1.5.5.7.8.5": "XMPP",
    "1.3.6.1.5.5.7.8.7": "SRV",
    "1.3.6.1.5.5.7.8.9": "e-mail",
}
"""The otherNames that are strings: Microsoft's user principal name, RFC 6120, RFC 4985, RFC 8398."""
_STRINGS = {12: "utf-8", 19: "ascii", 20: "latin-1", 22: "ascii", 30: "utf-16-be"}
"""ASN.1's string types, by their DER tags (ITU-T X.690)."""
_BROKEN = (
    TypeError,
    ValueError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)
"""What `cryptography` has to say about certificates that are wrong."""


@dataclass(frozen=True)
class Name:
    """A name or an address, and what it is one of: `CN`, `e-mail`, `UPN`."""

    kind: str
    value: str


@dataclass(frozen=True)
class SeenCertificate:
    """One client certificate as it was seen in one handshake; `time` is when its connection was first seen.

    `identifies` has all names and addresses in it that identify a person or a device, of the subject and of the
    subjectAltName (RFC 5280 section 4.2.1.6); `names` are the latter alone, without their kinds. Times are ISO 8601 in
    UTC, `sha256` is the fingerprint in hex. What cannot be read in the certificate says so. `proof` tells whether a
    CertificateVerify was seen. `public_key` is the SHA-256 of the SubjectPublicKeyInfo, `client_random` tells one
    handshake from all others; both are in hex, and empty where they cannot be read.
    """

    time: str
    file: str
    client: str
    server: str
    server_name: str | None
    tls: str
    subject: str
    issuer: str
    serial: str
    not_before: str
    not_after: str
    sha256: str
    public_key: str
    client_random: str
    names: tuple[str, ...]
    identifies: tuple[Name, ...]
    proof: bool
    note: str
    carrier: str


def seen_certificate(file: Path, capture: Capture) -> SeenCertificate:
    """Reads a captured certificate, which may be anything that its client sent."""
    der = capture.chain[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clients send malformed certificates; they are shown, not corrected
        with suppress(*_BROKEN):
            return _sighting(file, capture, x509.load_der_x509_certificate(der))
    return _sighting(file, capture, None)


def _sighting(file: Path, capture: Capture, certificate: x509.Certificate | None) -> SeenCertificate:
    def read(what: Callable[[x509.Certificate], T], otherwise: T) -> T:
        with suppress(*_BROKEN):
            return what(certificate) if certificate else otherwise
        return otherwise

    der = capture.chain[0]
    no_names: tuple[Name, ...] = ()
    alternative = alternative_names(certificate) if certificate else no_names
    return SeenCertificate(
        time=datetime.fromtimestamp(capture.time_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
        file=str(file),
        client=capture.client,
        server=capture.server,
        server_name=capture.server_name,
        tls=version_name(capture.version),
        subject=read(lambda it: it.subject.rfc4514_string(_SUBJECT_KINDS), UNREADABLE),
        issuer=read(lambda it: it.issuer.rfc4514_string(_SUBJECT_KINDS), UNREADABLE),
        serial=read(lambda it: _hex(it.serial_number), UNREADABLE),
        not_before=read(lambda it: it.not_valid_before_utc.isoformat(), UNREADABLE),
        not_after=read(lambda it: it.not_valid_after_utc.isoformat(), UNREADABLE),
        sha256=sha256(der).hexdigest(),
        public_key=read(lambda it: sha256(der[layout(der).public_key]).hexdigest(), ""),
        client_random=(capture.client_random or b"").hex(),
        names=tuple(name.value for name in alternative),
        identifies=read(lambda it: tuple(_subject_names(it)), no_names) + alternative,
        proof=capture.proof_seen,
        note=capture.note,
        carrier=capture.carrier,
    )


def alternative_names(certificate: x509.Certificate) -> tuple[Name, ...]:
    """The names in its subjectAltName, none where that is missing or cannot be read."""
    with suppress(*_BROKEN):
        return tuple(_alternative_names(certificate))
    return ()


def write_pem(folder: Path, chains: Iterable[tuple[bytes, ...]]) -> list[Path]:
    """Each chain in DER once, as `<sha256>.pem` of its first; RunError where the folder cannot be written."""
    from ssl import DER_cert_to_PEM_cert  # these two take as long to import as a small capture to read

    from lab.events.run import RunError

    written = []
    try:
        files.make_folder(folder)
        for chain in dict.fromkeys(chains):
            path = folder / f"{sha256(chain[0]).hexdigest()}.pem"
            files.write(path, "".join(map(DER_cert_to_PEM_cert, chain)))
            written.append(path)
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}; choose a folder that can be written") from None
    return written


def tell_sightings(seen: Iterable[SeenCertificate]) -> Iterator[Block]:
    """Each certificate once, with every place where it was seen."""
    certificates: dict[str, list[SeenCertificate]] = {}
    for one in seen:
        certificates.setdefault(one.sha256, []).append(one)
    for first, *others in certificates.values():
        rows = [*_facts(first), *(row for one in (first, *others) for row in _handshake(one))]
        yield Section(first.subject, (facts(*rows),), "entry")


def _facts(seen: SeenCertificate) -> Iterator[tuple[str, str]]:
    """What the certificate says."""
    yield "issuer", seen.issuer
    yield "serial", seen.serial
    yield "valid", UNREADABLE if UNREADABLE in (seen.not_before, seen.not_after) else _valid(seen)
    yield "sha256", seen.sha256
    for name in seen.identifies:
        yield name.kind, name.value


def _valid(seen: SeenCertificate) -> str:
    return period(datetime.fromisoformat(seen.not_before), datetime.fromisoformat(seen.not_after))


def _handshake(seen: SeenCertificate) -> Iterator[tuple[str, str]]:
    """Where the certificate was seen."""
    proof = "with a proof" if seen.proof else "no proof seen"
    yield "seen in", seen.file
    no_name = "no name asked" if seen.client_random else "the name asked was not seen"
    ends = f"{seen.client} to {seen.server} ({seen.server_name or no_name})"
    yield "", ", ".join(filter(None, (ends, seen.carrier, protocol_name(seen.tls), proof)))
    if seen.note:
        yield "note", seen.note


def _subject_names(certificate: x509.Certificate) -> Iterator[Name]:
    for attribute in certificate.subject:
        if kind := _SUBJECT_KINDS.get(attribute.oid):
            value = attribute.value
            yield Name(kind, value if isinstance(value, str) else value.hex())


def _alternative_names(certificate: x509.Certificate) -> Iterator[Name]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return
    for name in extension.value:
        if isinstance(name, x509.OtherName):
            oid = name.type_id.dotted_string
            text = _string(name.value)
            yield Name(_OTHER_KINDS[oid], text) if oid in _OTHER_KINDS else Name("other name", f"{oid}: {text}")
        else:
            kind = next(kind for type_, kind in _ALTERNATIVE_KINDS if isinstance(name, type_))
            yield Name(kind, _text(name.value))


def _hex(number: int) -> str:
    """Whole octets, as others show serial numbers."""
    digits = f"{abs(number):x}"
    return "-" * (number < 0) + "0" * (len(digits) % 2) + digits


def _text(value: object) -> str:
    if isinstance(value, x509.Name):
        return value.rfc4514_string(_SUBJECT_KINDS)
    return value.dotted_string if isinstance(value, x509.ObjectIdentifier) else str(value)


def _string(der: bytes) -> str:
    """The text in a DER string; hex where it is none."""
    with suppress(ValueError):
        (one,) = elements(der, 0, len(der))
        if one.tag in _STRINGS:
            return der[one.content : one.end].decode(_STRINGS[one.tag])
    return der.hex()
