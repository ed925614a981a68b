"""The leaks `database`, `log`, `archive` and `requests`: a file of the bank's, with every certificate and key in it."""

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from attacker.call import Call, LeakCommand, Parser, add_gateways
from attacker.collected import Sighting
from attacker.errors import AttackerError
from attacker.moves.make import Loot
from attacker.passwords import FoundPassword
from lab.catalogue.leaks import Leak
from lab.events.types import PASSWORD_HASH, KeyFound
from lab.files import open_to_read, read
from lab.printable import printable
from lab.tls.proof import PrivateKey

MAX_FILE = 1 << 28
_SQLITE = b"SQLite format 3\0"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_PERCENT = re.compile(rb"-----BEGIN(?:%20|\+)CERTIFICATE-----[A-Za-z0-9%+/=]+-----END(?:%20|\+)CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END PRIVATE KEY-----")
_SEQUENCE = b"\x30"
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|n|r\\n)")


def command(leak: Leak) -> LeakCommand:
    """The command for a leak that is a file. Its `run` raises AttackerError if it cannot read the file."""

    async def run(call: Call) -> None:
        campaign, path = call.begin(leak), call.arguments.file
        keys = keys_in(path)
        for certificate in certificates_in(path):
            parsed = x509.load_der_x509_certificate(certificate)
            loot = Loot((certificate,), None, key=keys.get(_public_octets(parsed)))
            if campaign.take(loot, Sighting(client="", server=path.name, tls="")) and loot.key:
                names = parsed.subject.rfc4514_string(), parsed.fingerprint(SHA256()).hex()
                call.reporter.report(KeyFound(leak.id, path.name, *names))
        for name, hash_ in password_hashes_in(path):
            campaign.take_password(FoundPassword(name, hash_.hex(), PASSWORD_HASH, path.name))
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


def password_hashes_in(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each customer's name and the hash of her password, from a table `passwords` in a leaked SQLite database.

    AttackerError if the file cannot be read.
    """
    if not _is_database(path):
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            if database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'passwords'").fetchone():
                for name, hash_ in database.execute("SELECT name, hash FROM passwords"):
                    if isinstance(name, str) and isinstance(hash_, bytes):
                        yield name, hash_
    except (sqlite3.Error, ValueError) as error:
        raise AttackerError(f"{path}: {printable(str(error))}; give the file that leaked") from None


def _is_database(path: Path) -> bool:
    with open_to_read(path, MAX_FILE) as file:
        return file.read(len(_SQLITE)) == _SQLITE


def keys_in(path: Path) -> Mapping[bytes, PrivateKey]:
    """The private keys in a leaked file, PEM without a password, by their public keys (SubjectPublicKeyInfo, DER).

    AttackerError if the file cannot be read.
    """
    keys: dict[bytes, PrivateKey] = {}
    for text in _texts(path):
        for found in _KEY.finditer(_ESCAPE.sub(_unescaped, text)):
            try:
                key = load_pem_private_key(found[0], None)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                continue
            if isinstance(key, PrivateKey):
                keys[_public_octets(key)] = key
    return keys


def _public_octets(of: x509.Certificate | PrivateKey) -> bytes:
    """The public key of a certificate or of a private key; empty for one of an unknown kind."""
    try:
        return of.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""


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
        if not _is_database(path):
            yield read(path, MAX_FILE)
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
