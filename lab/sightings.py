"""What a capture file gives away: every client certificate in it, and whom it identifies."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from attacker.handshake import Capture
from lab.run import RunError
from lab.tls.versions import version_name


@dataclass(frozen=True)
class Sighting:
    """One client certificate as it was seen in one handshake.

    `names` are all names and addresses in it that identify a person or a device (RFC 5280 section 4.2.1.6); times are
    ISO 8601 in UTC, `sha256` is the fingerprint in hex. `proof` says whether a CertificateVerify was seen.
    """

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
    names: tuple[str, ...]
    proof: bool
    note: str


def sighting(file: Path, capture: Capture) -> Sighting:
    """Reads the certificate; ValueError where it is none."""
    certificate = x509.load_der_x509_certificate(capture.chain[0])
    return Sighting(
        file=str(file),
        client=capture.client,
        server=capture.server,
        server_name=capture.server_name,
        tls=version_name(capture.version),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc.isoformat(),
        not_after=certificate.not_valid_after_utc.isoformat(),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        names=tuple(_names(certificate)),
        proof=capture.certificate_verify is not None,
        note=capture.note,
    )


def write_pem(folder: Path, captures: Iterable[Capture]) -> list[Path]:
    """Each certificate once, as `<sha256>.pem` with its chain; RunError where the folder cannot be written."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for chain in dict.fromkeys(capture.chain for capture in captures):
            certificates = [x509.load_der_x509_certificate(der) for der in chain]
            path = folder / f"{certificates[0].fingerprint(hashes.SHA256()).hex()}.pem"
            path.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates))
            written.append(path)
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}; choose a folder that can be written") from None
    return written


def _names(certificate: x509.Certificate) -> Iterable[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return
    for name in extension.value:
        yield name.value.rfc4514_string() if isinstance(name, x509.DirectoryName) else str(name.value)
