"""Files that got out of the bank: every certificate in one, whatever the file is."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attacker.errors import AttackerError
from attacker.haul import Haul
from attacker.plays import Loot
from attacker.stolen import Sight

MAX_FILE = 1 << 28
_SQLITE = b"SQLite format 3\0"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_PERCENT = re.compile(rb"-----BEGIN(?:%20|\+)CERTIFICATE-----[A-Za-z0-9%+/=]+-----END(?:%20|\+)CERTIFICATE-----")


def collect(path: Path, haul: Haul) -> None:
    """Brings every certificate in the file into the haul. AttackerError for a file that cannot be read."""
    for certificate in certificates_in(path):
        haul.take(Loot((certificate,), None), Sight(client="", server=path.name, tls=""))


def certificates_in(path: Path) -> Iterator[bytes]:
    """The certificates in a leaked file, in DER, each once: in any column of an SQLite database, or as PEM in text.

    In a log, PEM is one line: percent-encoded, as nginx and others write it, or with \\n for the line breaks.
    AttackerError for a file that cannot be read.
    """
    seen: set[bytes] = set()
    for text in _texts(path):
        for pem in _pems(text):
            try:
                der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
            except (ValueError, x509.InvalidVersion):
                continue
            if der not in seen:
                seen.add(der)
                yield der


def _pems(text: bytes) -> Iterator[bytes]:
    for found in _PERCENT.finditer(text):
        yield unquote_to_bytes(found[0].replace(b"+CERTIFICATE", b"%20CERTIFICATE"))
    for found in _PEM.finditer(text.replace(rb"\n", b"\n")):
        yield found[0]


def _texts(path: Path) -> Iterator[bytes]:
    """The file's lines, or all the values in a database."""
    try:
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) != _SQLITE:
                file.seek(0)
                yield file.read(MAX_FILE)
                return
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                for row in database.execute('SELECT * FROM "{}"'.format(table.replace('"', '""'))):  # noqa: S608
                    yield from (str(value).encode() for value in row if isinstance(value, str))
                    yield from (value for value in row if isinstance(value, bytes))
    except OSError as error:
        raise AttackerError(f"{path}: {error.strerror}; give the file that leaked") from None
    except sqlite3.Error as error:
        raise AttackerError(f"{path}: {error}; give the file that leaked") from None
