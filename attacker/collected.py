"""The certificates that the attacker has collected: in files, with a report when each is first seen."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lab import files
from lab.events.log import Reporter
from lab.events.parts import STOLEN
from lab.events.types import CertificateCaptured
from lab.tls.messages import CertificateVerify, serialize

MAX_NAME = 64
"""RFC 5280 appendix A.1 allows no longer common names, and a file system may not either."""
MAX_SIGHTINGS = 10_000


@dataclass(frozen=True)
class Sighting:
    """Where and how a certificate was seen.

    `client` and `server` are host:port or a file; `tls` is empty outside a handshake. `record` is the header of the
    record in which the Certificate message `message` began, `transcript` is what the proof signs. All of these are
    empty if the certificate was not seen on the wire.
    """

    client: str
    server: str
    tls: str
    record: bytes = b""
    message: bytes = b""
    proof: CertificateVerify | None = None
    transcript: tuple[bytes, ...] = ()
    client_random: bytes = b""
    server_random: bytes = b""
    note: str = ""
    session: bytes = b""
    """The session's ticket or else its ID, as the wire shows it."""


class Collected:
    """Keeps certificates in `folder`/stolen. `leak` is how they come in, `source` says it for people, in detail."""

    def __init__(self, reporter: Reporter, folder: Path, leak: str, source: str) -> None:
        self._reporter = reporter
        self._folder = folder / STOLEN
        self.leak = leak
        self._source = source
        self._seen: set[tuple[str, ...]] = set()

    def add(self, certificate: bytes, sighting: Sighting) -> None:
        """Reports and keeps a certificate, in DER, when it is first seen at a server in a version.

        ValueError if it is no certificate.
        """
        parsed = read_certificate(certificate)
        sha256 = parsed.fingerprint(hashes.SHA256()).hex()
        seen = (sha256, sighting.server, sighting.tls)
        if seen in self._seen or len(self._seen) >= MAX_SIGHTINGS:
            return
        self._seen.add(seen)
        self._keep(_file_name(certificate), parsed.public_bytes(Encoding.PEM))  # before anybody can look for it
        self._reporter.report(
            CertificateCaptured(
                leak=self.leak,
                client=sighting.client,
                server=sighting.server,
                tls=sighting.tls,
                subject=parsed.subject.rfc4514_string(),
                issuer=parsed.issuer.rfc4514_string(),
                sha256=sha256,
                record=sighting.record.hex(),
                message=sighting.message.hex(),
                proof=serialize(sighting.proof).hex() if sighting.proof else None,
                transcript=tuple(raw.hex() for raw in sighting.transcript),
                client_random=sighting.client_random.hex(),
                server_random=sighting.server_random.hex(),
                source=self._source,
                note=sighting.note,
                session=sighting.session.hex(),
            )
        )

    def _keep(self, name: str, pem: bytes) -> None:
        """Writes a certificate to a file of this name; further ones of that name get a number."""
        files.make_folder(self._folder)
        for path in _names(self._folder, name):
            if not path.exists():
                files.write(path, pem)
            if files.read(path) == pem:
                return


def _file_name(certificate: bytes) -> str:
    """The subject's common name, made fit for a file, and whether the certificate is self-signed."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", common_name(certificate)) or "certificate"
    return name[:MAX_NAME] + ("-self-signed" if is_self_signed(certificate) else "")


def _names(folder: Path, name: str) -> Iterator[Path]:
    yield folder / f"{name}.pem"
    for number in range(2, 100):
        yield folder / f"{name}-{number}.pem"


def read_certificate(der: bytes) -> x509.Certificate:
    """Reads a certificate from an untrusted source; ValueError if it is none or has unreadable names."""
    try:
        parsed = x509.load_der_x509_certificate(der)
        for name in (parsed.subject, parsed.issuer):  # the parser reads them only when asked
            name.rfc4514_string()
    except Exception as error:  # the parser raises many types: InvalidVersion, TypeError
        raise ValueError(str(error)) from None
    return parsed


def common_name(certificate: bytes) -> str:
    """The common name of a certificate in DER, empty if it has none; ValueError if it is no certificate."""
    names = read_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def is_self_signed(certificate: bytes) -> bool:
    """Whether a certificate in DER names its own subject as its issuer; ValueError if it is no certificate."""
    parsed = read_certificate(certificate)
    return parsed.issuer == parsed.subject
