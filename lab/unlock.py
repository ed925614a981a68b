"""Opens a key that may ask its reader for any amount of work, in a process of its own with limits.

A PKCS#12 file or an encrypted key says itself how often to hash the password, or how much memory to fill (RFC 7292
appendix B, RFC 8018, RFC 7914), and a long RSA key takes minutes to check. OpenSSL does as it is told and cannot be
interrupted. Run as a program, this module reads such a file from standard input and imports nothing else of the lab.
"""

import json
import subprocess
import sys
from typing import Any

COMPUTING_SECONDS = 3
WAITING_SECONDS = 20
"""How long it may take where the machine has other things to do."""
MEMORY_OCTETS = 1 << 29


class TooMuchWork(Exception):
    """The file asks for more than the limits allow; the text says what and what to do."""


def unlock(data: bytes, password: bytes | None, is_pem: bool) -> tuple[bytes | None, list[bytes]]:
    """The private key in such a file, in PKCS#8, and of PKCS#12 the certificates, the key's first; all in DER.

    Raises TypeError where a password is missing or is not needed, ValueError for what is unreadable, and TooMuchWork.
    """
    asked = {"data": data.hex(), "password": None if password is None else password.hex(), "is_pem": is_pem}
    # -P: nothing in the current directory can take the place of a module
    command = [sys.executable, "-P", __file__]
    try:
        done = subprocess.run(  # noqa: S603, nobody else chooses the command
            command, input=json.dumps(asked).encode(), capture_output=True, timeout=WAITING_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise _too_much() from None
    if done.returncode:
        raise _too_much()
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise (TypeError if answer["is_type_error"] else ValueError)(answer["error"])
    key = None if answer["key"] is None else bytes.fromhex(answer["key"])
    return key, list(map(bytes.fromhex, answer["certificates"]))


def _too_much() -> TooMuchWork:
    return TooMuchWork(
        f"takes more than {COMPUTING_SECONDS} s of computing or {MEMORY_OCTETS >> 20} MB to open: its password is "
        "hashed too often, or its key is too long; export it again with usual settings"
    )


def _main() -> None:
    """Reads a request from standard input and prints the answer."""
    import resource

    from cryptography.exceptions import UnsupportedAlgorithm

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (COMPUTING_SECONDS, COMPUTING_SECONDS))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_OCTETS, MEMORY_OCTETS))
    asked = json.load(sys.stdin)
    try:
        answer = _open(asked)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        answer = {"error": str(error), "is_type_error": isinstance(error, TypeError)}
    print(json.dumps(answer))


def _open(asked: dict[str, Any]) -> dict[str, Any]:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
        pkcs12,
    )

    data = bytes.fromhex(asked["data"])
    password = None if asked["password"] is None else bytes.fromhex(asked["password"])
    certificates = []
    key: Any
    if asked["is_pem"]:
        key = load_pem_private_key(data, password)
    else:
        key, first, more = pkcs12.load_key_and_certificates(data, password)
        certificates = [*([first] if first else []), *more]
    return {
        "key": key and key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex(),
        "certificates": [one.public_bytes(Encoding.DER).hex() for one in certificates],
    }


if __name__ == "__main__":
    _main()
