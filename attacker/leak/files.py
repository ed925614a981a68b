"""The leaks `database` and `log`: a file of the bank's, and every certificate in it."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attacker.call import Call, LeakCommand, Parser, add_gateways
from attacker.collected import Sighting
from attacker.errors import AttackerError
from attacker.moves.make import Loot
from lab.catalogue.leaks import Leak
from lab.printable import printable

MAX_FILE = 1 << 28
_SQLITE = b"SQLite format 3\0"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_PERCENT = re.compile(rb"-----BEGIN(?:%20|\+)CERTIFICATE-----[A-Za-z0-9%+/=]+-----END(?:%20|\+)CERTIFICATE-----")
_SEQUENCE = b"\x30"
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|n|r\\n)")


def command(leak: Leak) -> LeakCommand:
    """The command for a leak that is a file. Its `run` raises AttackerError if it cannot read the file."""

    async def run(call: Call) -> None:
        campaign, path = call.begin(leak), call.arguments.file
        for certificate in certificates_in(path):
            campaign.take(Loot((certificate,), None), Sighting(client="", server=path.name, tls=""))
        await campaign.use()

    return LeakCommand(leak.how, _add_arguments, run)


def _add_arguments(parser: Parser) -> None:
    add_gateways(parser)
    parser.add_argument("--file", type=Path, required=True, help="the file that leaked")


def certificates_in(path: Path) -> Iterator[bytes]:
    """The certificates in a leaked file, in DER, each once: from any column of an SQLite database, or from a text.

    In a log, PEM is one line. It is percent-encoded, as in nginx's $ssl_client_escaped_cert, or has \\n or \\x0A for
    the end of a line. AttackerError if the file cannot be read.
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
    """Text that may be a certificate, with the parser for it."""
    if text.startswith(_SEQUENCE):
        yield x509.load_der_x509_certificate, text
    for found in _PERCENT.finditer(text):
        yield x509.load_pem_x509_certificate, unquote_to_bytes(found[0].replace(b"+CERTIFICATE", b"%20CERTIFICATE"))
    for found in _PEM.finditer(_ESCAPE.sub(_unescaped, text)):
        yield x509.load_pem_x509_certificate, found[0]


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode()) if found[1] else b"\n"


def _texts(path: Path) -> Iterator[bytes]:
    """The whole file, or all values in a database."""
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
    except (sqlite3.Error, ValueError) as error:  # such an error may quote the file
        raise AttackerError(f"{path}: {printable(str(error))}; give the file that leaked") from None
