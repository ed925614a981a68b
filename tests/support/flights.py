"""An OpenSSL client whose flights can be altered on their way, to see what a server says to a handshake that deviates.

The client itself is honest and knows nothing of it, and it is the client that decrypts and names the server's alert.
For TLS 1.3 its second flight is opened with the secret from its key log, changed, and protected again (RFC 8446
sections 5.2 and 7.3): the few lines of record protection here are the tests' own, so that they share no mistake with
the lab's.
"""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from lab.tls.alerts import AlertDescription

HANDSHAKE, APPLICATION_DATA = 22, 23
CERTIFICATE_VERIFY, FINISHED = 15, 20
TLS13_SUITE = "TLS_AES_256_GCM_SHA384"

Alter: TypeAlias = Callable[[bytes], bytes]
"""Takes a flight of records and gives the one to send instead."""


def alert_in(error: ssl.SSLError) -> int | None:
    """The number of the alert that an SSLError is about: `TLSV1_ALERT_UNKNOWN_CA` and the like."""
    _, is_alert, name = (error.reason or "").partition("_ALERT_")
    return AlertDescription.__members__[name] if is_alert else None


class Client:
    """Python's own TLS between two buffers; `alter` gets its second flight, the one with the certificate."""

    def __init__(self, context: ssl.SSLContext, key_log: Path, alter: Alter | None = None) -> None:
        context.keylog_filename = str(key_log)
        self._key_log = key_log
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._alter = alter
        self._flights = 0
        self._established = False

    def receive(self, data: bytes) -> None:
        """Takes bytes from the wire; SSLError where they end the connection."""
        if data:
            self._incoming.write(data)
        try:
            if not self._established:
                self.tls.do_handshake()
                self._established = True
            self.tls.read(1 << 14)
        except ssl.SSLWantReadError:
            pass

    def data_to_send(self) -> bytes:
        flight = self._outgoing.read()
        if not flight:
            return b""
        self._flights += 1
        return self._alter(flight) if self._alter and self._flights == 2 else flight

    def secret(self, label: str) -> bytes:
        """A secret of this connection, by its name in the key log."""
        lines = (line.split() for line in self._key_log.read_text().splitlines())
        return next(bytes.fromhex(line[2]) for line in lines if line[0] == label)


def records(flight: bytes) -> Iterator[bytes]:
    """Each record, its header included."""
    while flight:
        end = 5 + int.from_bytes(flight[3:5], "big")
        yield flight[:end]
        flight = flight[end:]


def messages(data: bytes) -> list[bytes]:
    """Whole handshake messages, each with its header."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[1:4], "big")
        found.append(data[:end])
        data = data[end:]
    return found


def rewrite(client: Client, change: Callable[[list[bytes]], list[bytes]], flight: bytes) -> bytes:
    """A TLS 1.3 client's flight with its handshake messages changed; the records in front of them stay."""
    cipher = client.tls.cipher()
    assert cipher
    assert cipher[0] == TLS13_SUITE
    protection = Protection(client.secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET"))
    plaintext = b""
    for number, record in enumerate(record for record in records(flight) if record[0] == APPLICATION_DATA):
        plaintext += protection.open(number, record)
    kept = b"".join(record for record in records(flight) if record[0] != APPLICATION_DATA)
    changed = change(messages(plaintext))
    return kept + b"".join(protection.seal(number, message) for number, message in enumerate(changed))


class Protection:
    """One direction of TLS_AES_256_GCM_SHA384 under one traffic secret (RFC 8446 sections 5.2, 5.3 and 7.3)."""

    def __init__(self, secret: bytes) -> None:
        self._aead = AESGCM(_expand(secret, b"key", 32))
        self._iv = int.from_bytes(_expand(secret, b"iv", 12), "big")

    def open(self, number: int, record: bytes) -> bytes:
        """The handshake bytes in the record with this sequence number."""
        inner = self._aead.decrypt(self._nonce(number), record[5:], record[:5]).rstrip(b"\0")
        assert inner[-1] == HANDSHAKE
        return inner[:-1]

    def seal(self, number: int, message: bytes) -> bytes:
        """A record with one handshake message."""
        inner = message + bytes([HANDSHAKE])
        header = bytes([APPLICATION_DATA, 3, 3]) + (len(inner) + 16).to_bytes(2, "big")
        return header + self._aead.encrypt(self._nonce(number), inner, header)

    def _nonce(self, number: int) -> bytes:
        return (self._iv ^ number).to_bytes(12, "big")


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 section 7.1)."""
    name = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return HKDFExpand(hashes.SHA384(), length, info).derive(secret)


def without(kind: int) -> Callable[[list[bytes]], list[bytes]]:
    """Leaves out the messages of one type."""
    return lambda found: [message for message in found if message[0] != kind]


def twice(kind: int) -> Callable[[list[bytes]], list[bytes]]:
    """Says the messages of one type twice."""
    return lambda found: [message for message in found for _ in range(2 if message[0] == kind else 1)]


def damaged(kind: int) -> Callable[[list[bytes]], list[bytes]]:
    """Changes the last bit of the messages of one type."""
    return lambda found: [flip_last_bit(message) if message[0] == kind else message for message in found]


def flip_last_bit(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])
