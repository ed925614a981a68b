"""What the attacker has stolen: certificates in files, and a report of the first sight of each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from attacker.attempts import common_name, read_certificate
from lab.events.log import Reporter
from lab.events.types import CertificateCaptured
from lab.tls.messages import CertificateVerify, serialize

FOLDER = "stolen"
MAX_NAME = 64
"""RFC 5280 appendix A.1 has no longer common names, and a file system may not have room for them."""
MAX_SIGHTS = 10_000


@dataclass(frozen=True)
class Sight:
    """Where and how a certificate was seen.

    `client` and `server` are host:port or a file, `tls` is empty outside a handshake. `record` is the header of the
    record that the Certificate message `message` began in, `transcript` what the proof was made over; all of these are
    empty where there was no wire to read them off.
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


class Stolen:
    """Keeps certificates in `folder`/stolen. `leak` is how they come in, `source` the same for people, in detail."""

    def __init__(self, reporter: Reporter, folder: Path, leak: str, source: str) -> None:
        self._reporter = reporter
        self._folder = folder / FOLDER
        self._leak = leak
        self._source = source
        self._seen: set[tuple[str, ...]] = set()

    def report(self, certificate: bytes, sight: Sight) -> None:
        """Reports the first sight of a certificate, in DER, at a server in a version; ValueError if it is none."""
        parsed = read_certificate(certificate)
        sha256 = parsed.fingerprint(hashes.SHA256()).hex()
        if not self.is_new(sha256, sight.server, sight.tls):
            return
        self._reporter.report(
            CertificateCaptured(
                leak=self._leak,
                client=sight.client,
                server=sight.server,
                tls=sight.tls,
                subject=parsed.subject.rfc4514_string(),
                issuer=parsed.issuer.rfc4514_string(),
                sha256=sha256,
                record=sight.record.hex(),
                message=sight.message.hex(),
                proof=serialize(sight.proof).hex() if sight.proof else None,
                transcript=tuple(raw.hex() for raw in sight.transcript),
                client_random=sight.client_random.hex(),
                server_random=sight.server_random.hex(),
                source=self._source,
                note=sight.note,
            )
        )

    def is_new(self, *sight: str) -> bool:
        """Whether it has not been reported yet; it counts as reported from now on."""
        known = len(self._seen)
        if known < MAX_SIGHTS:
            self._seen.add(sight)
        return len(self._seen) > known

    def keep(self, certificate: bytes) -> None:
        """Writes a certificate, in DER, to a file named after its subject, each further one with a number.

        ValueError if it is none.
        """
        name = re.sub(r"[^A-Za-z0-9._-]", "_", common_name(certificate)) or "certificate"
        name = name[:MAX_NAME]
        pem = read_certificate(certificate).public_bytes(Encoding.PEM)
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in _names(self._folder, name):
            if not path.exists():
                path.write_bytes(pem)
            if path.read_bytes() == pem:
                return


def _names(folder: Path, name: str) -> Iterator[Path]:
    yield folder / f"{name}.pem"
    for number in range(2, 100):
        yield folder / f"{name}-{number}.pem"
