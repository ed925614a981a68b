"""The files in which the attackers of a run keep what they took."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from lab import files
from lab.events.run import Run

MAX_OCTETS = 1 << 24
"""A longer file is not read."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END")
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@dataclass(frozen=True)
class StolenFile:
    """What a file holds, by its PEM labels (RFC 7468).

    `name` begins in the run's directory. `certificates` are in DER, empty for a damaged one; `keys` counts the private
    keys.
    """

    name: str
    certificates: tuple[bytes, ...]
    keys: int

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """One in hex for each certificate, empty for a damaged one."""
        return tuple(sha256(der).hexdigest() if der else "" for der in self.certificates)


def stolen_files(run: Run, part: str = "*") -> Iterator[StolenFile]:
    """The files of one part, or of all; what cannot be read holds nothing."""
    for path in sorted(run.folders.path.glob(f"{part}/stolen/*")):
        try:
            content = files.read(path, MAX_OCTETS)
        except OSError:
            content = b""
        certificates = tuple(map(_der, _CERTIFICATE.findall(content)))
        yield StolenFile(str(path.relative_to(run.folders.path)), certificates, len(_PRIVATE_KEY.findall(content)))


def _der(body: bytes) -> bytes:
    try:
        return base64.b64decode(body)
    except ValueError:
        return b""
