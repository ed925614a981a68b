"""Files that got out of the bank: every certificate in one, whatever the file is."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attacker.collected import Sight
from attacker.errors import AttackerError
from attacker.haul import Haul
from attacker.moves.make import Loot

MAX_FILE = 1 << 28
_SQLITE = b"SQLite format 3\0"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_PERCENT = re.compile(rb"-----BEGIN(?:%20|\+)CERTIFICATE-----[A-Za-z0-9%+/=]+-----END(?:%20|\+)CERTIFICATE-----")
_SEQUENCE = b"\x30"
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|n|r\\n)")


def collect(path: Path, haul: Haul) -> None:
    """Brings every certificate in the file into the haul. AttackerError for a file that cannot be read."""
    for certificate in certificates_in(path):
        haul.take(Loot((certificate,), None), Sight(client="", server=path.name, tls=""))


def certificates_in(path: Path) -> Iterator[bytes]:
    """The certificates in a leaked file, in DER, each once: in any column of an SQLite database, or in a text.

    In a log, PEM is one line: percent-encoded, as nginx's $ssl_client_escaped_cert, or with escapes for what a line
    cannot hold, \\n or \\x0A. AttackerError for a file that cannot be read.
    """
    seen: set[bytes] = set()
    for text in _texts(path):
        for parse, encoded in _encoded(text):
            try:
                der = parse(encoded).public_bytes(Encoding.DER)
            except (ValueError, x509.InvalidVersion):
                continue
            if der not in seen:
                seen.add(der)
                yield der


def _encoded(text: bytes) -> Iterator[tuple[Callable[[bytes], x509.Certificate], bytes]]:
    """What may be a certificate, with the parser for it."""
    if text.startswith(_SEQUENCE):
        yield x509.load_der_x509_certificate, text
    for found in _PERCENT.finditer(text):
        yield x509.load_pem_x509_certificate, unquote_to_bytes(found[0].replace(b"+CERTIFICATE", b"%20CERTIFICATE"))
    for found in _PEM.finditer(_ESCAPE.sub(_unescaped, text)):
        yield x509.load_pem_x509_certificate, found[0]


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode()) if found[1] else b"\n"


def _texts(path: Path) -> Iterator[bytes]:
    """The whole file, or all the values in a database."""
    try:
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) != _SQLITE:
                file.seek(0)
                yield file.read(MAX_FILE)
                return
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.text_factory = bytes
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                name = table.decode("utf-8", "replace").replace('"', '""')
                for row in database.execute(f'SELECT * FROM "{name}"'):  # noqa: S608
                    yield from (value for value in row if isinstance(value, bytes))
    except OSError as error:
        raise AttackerError(f"{path}: {error.strerror}; give the file that leaked") from None
    except (sqlite3.Error, ValueError) as error:  # their words may have the file's in them
        words = "".join(character if character.isprintable() else "?" for character in str(error))
        raise AttackerError(f"{path}: {words}; give the file that leaked") from None
