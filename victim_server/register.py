"""The bank's register of customers, in an SQLite database: the self-signed certificates that it issued to them, and the
hashes of their passwords if they have any.

It holds no keys: those were handed out and forgotten. Whether its leak does any harm is up to the scheme.
"""

import errno
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lab import files
from lab.process import BadInput
from victim_server.passwords import KeptPassword


@dataclass(frozen=True)
class Customer:
    """A customer's name and certificate, in DER."""

    name: str
    certificate: bytes


def create(path: Path, entries: Iterable[Customer], passwords: Mapping[str, KeptPassword] | None = None) -> None:
    """Writes a new register, readable by its owner alone; FileExistsError where there is a file already, or OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE customers (name TEXT NOT NULL, certificate TEXT NOT NULL UNIQUE)")
            rows = ((entry.name, _pem(entry.certificate)) for entry in entries)
            database.executemany("INSERT INTO customers VALUES (?, ?)", rows)
            if passwords:
                database.execute(
                    "CREATE TABLE passwords (name TEXT PRIMARY KEY, salt BLOB NOT NULL, hash BLOB NOT NULL)"
                )
                kept = ((name, one.salt, one.hash) for name, one in passwords.items())
                database.executemany("INSERT INTO passwords VALUES (?, ?, ?)", kept)
    except sqlite3.OperationalError as error:  # which does not name the file
        raise OSError(errno.EIO, str(error), str(path)) from None


def read_passwords(path: Path) -> dict[str, KeptPassword]:
    """What it keeps of the customers' passwords, by name, empty if none has one; BadInput and OSError as in `read`."""
    files.check(path, files.LARGE)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            rows = database.execute("SELECT name, salt, hash FROM passwords") if "passwords" in tables else ()
            return {name: KeptPassword(salt, hash_) for name, salt, hash_ in rows}
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise BadInput(f"{path}: is no register of customers: {error}; give the bank's SQLite database") from None


def read(path: Path) -> tuple[Customer, ...]:
    """All entries; BadInput for what is no such register, OSError where it cannot be read."""
    files.check(path, files.LARGE)  # its error, unlike SQLite's, says what is wrong
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name, certificate FROM customers ORDER BY rowid").fetchall()
        return tuple(Customer(name, _der(certificate)) for name, certificate in rows)
    except (sqlite3.Error, AttributeError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: is no register of customers: {error}; give the bank's SQLite database") from None


def _pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def _der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
