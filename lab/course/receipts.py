"""Receipts for right answers: `certreplay{EXERCISE:STUDENT:HMAC}`.

The course has a secret, which only the teacher has. From it follows a token for each student, and from the token her
receipts (HMAC-SHA-256, RFC 2104). A student's lab may have her token, and then prints receipts by itself: with the
token one can make that student's receipts, and nobody else's. Without a token only the teacher's side makes them.
"""

import hmac
import os
from hashlib import sha256
from pathlib import Path

from lab import files
from lab.course.errors import CourseError

SECRET_OCTETS = 32
RECEIPT_DIGITS = 32
"""Hex digits of the HMAC in a receipt: 128 bits."""


def new_secret(path: Path) -> bytes:
    """Makes a course's secret in a file of its owner's alone. CourseError if there is one."""
    secret = os.urandom(SECRET_OCTETS)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secret.hex()}\n")
    except FileExistsError:
        raise CourseError(f"{path}: is already there and is not overwritten") from None
    return secret


def read_secret(path: Path) -> bytes:
    """A course's secret; CourseError for what is none, OSError if it cannot be read."""
    try:
        secret = bytes.fromhex(files.read(path).decode().strip())
    except ValueError:
        secret = b""
    if len(secret) != SECRET_OCTETS:
        raise CourseError(f"{path}: holds no course's secret, {2 * SECRET_OCTETS} hex digits; name the right file")
    return secret


def token(secret: bytes, student: str) -> str:
    """A student's token, in hex."""
    return hmac.new(secret, f"token:{student}".encode(), sha256).hexdigest()


def receipt(of_token: str, exercise: int, student: str) -> str:
    """The receipt for an exercise that this student has done."""
    code = hmac.new(of_token.encode(), f"{exercise}:{student}".encode(), sha256).hexdigest()[:RECEIPT_DIGITS]
    return f"certreplay{{{exercise}:{student}:{code}}}"
