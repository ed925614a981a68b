"""Passwords, kept as a bank keeps them: salted and hashed by scrypt (RFC 7914).

So the list does not give them away. A password that can be guessed can be guessed from its hash too; it takes longer.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

SALT_LENGTH, HASH_LENGTH = 16, 32
COST, BLOCK_SIZE, PARALLEL = 1 << 14, 8, 1
"""Scrypt's N, r and p: 16 MiB for each guess, as RFC 7914 section 2 has it for interactive logins."""


@dataclass(frozen=True)
class KeptPassword:
    """What the bank keeps of a customer's password."""

    salt: bytes
    hash: bytes


def keep(password: str) -> KeptPassword:
    """Hashes a password under a fresh salt."""
    salt = os.urandom(SALT_LENGTH)
    return KeptPassword(salt, _scrypt(salt).derive(password.encode()))


class PasswordCheck:
    """Callable: whether this is the customer's password. An unknown name takes as much time as a known one."""

    def __init__(self, kept: Mapping[str, KeptPassword]) -> None:
        self._kept = kept
        self._nobody = KeptPassword(bytes(SALT_LENGTH), bytes(HASH_LENGTH))

    def __call__(self, name: str, password: str) -> bool:
        kept = self._kept.get(name, self._nobody)
        try:
            _scrypt(kept.salt).verify(password.encode(), kept.hash)
        except InvalidKey:
            return False
        return name in self._kept


def read_basic(headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """Name and password in the Authorization header (RFC 7617); None where there is no such header.

    The names of the headers are in lower case. ValueError, with words for people, where it isn't what it should be.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        return None
    scheme, _, credentials = values[0].partition(b" ")
    try:
        if len(values) > 1 or scheme.lower() != b"basic":
            raise ValueError
        name, colon, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except ValueError:
        raise ValueError("Authorization is not Basic with a name and a password (RFC 7617)") from None
    if not colon:
        raise ValueError("Authorization is not Basic with a name and a password (RFC 7617)")
    return name, password


def _scrypt(salt: bytes) -> Scrypt:
    return Scrypt(salt=salt, length=HASH_LENGTH, n=COST, r=BLOCK_SIZE, p=PARALLEL)
