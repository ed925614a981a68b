"""The access log that a gateway can keep: one line a request, with the client's certificate in it, as real ones can.

The certificate is PEM, percent-encoded, as nginx writes its $ssl_client_escaped_cert: useful for finding out
who did what, and for every other reader of the log.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lab import files
from victim_server.authentication import Customer

MAX_OCTETS = 1 << 26
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\')


class AccessLog:
    """Appends to a file that only its owner can read; stops at MAX_OCTETS. OSError where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._file = files.open_to_write(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._left = MAX_OCTETS - os.fstat(self._file).st_size

    def write(self, peer: str, request: str, status: int, customer: Customer) -> None:
        """One request, `GET /account`, from `peer`, host:port: with the client's certificate, or with the name of one
        who gave her password. No log has the password."""
        subject, pem = customer, "-"
        if isinstance(customer, bytes):
            parsed = x509.load_der_x509_certificate(customer)
            subject, pem = parsed.subject.rfc4514_string(), quote(parsed.public_bytes(Encoding.PEM), safe="")
        fields = (
            peer,
            f"[{datetime.now(UTC):%d/%b/%Y:%H:%M:%S %z}]",
            _quoted(request),
            str(status),
            _quoted(str(subject)),
            pem,
        )
        line = f"{' '.join(fields)}\n".encode()
        if len(line) <= self._left:
            self._left -= os.write(self._file, line)

    def close(self) -> None:
        os.close(self._file)


def _quoted(text: str) -> str:
    """In quotes, on one line whatever is in it: escaped as nginx does by default."""
    octets = text.encode("utf-8", "replace")
    return '"' + "".join(chr(o) if o in _PLAIN else f"\\x{o:02X}" for o in octets) + '"'
