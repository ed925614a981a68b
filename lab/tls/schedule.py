"""The key schedule of TLS 1.3 (RFC 8446 section 7)."""

from functools import cache
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from lab.tls import wire
from lab.tls.engine import Party
from lab.tls.keys import CipherSuite, TrafficKey, digest

TrafficSecrets: TypeAlias = dict[Party, bytes]
"""The traffic secrets of one epoch by who writes with them, each as long as the suite's hash."""


class Schedule:
    """The secrets of one connection from the ECDHE shared secret and the pre-shared key `psk`, empty for none.

    A transcript is the bytes of the handshake messages, up to and including the one that the RFC names.
    """

    def __init__(self, suite: CipherSuite, shared_secret: bytes, psk: bytes = b"") -> None:
        self._suite = suite
        before = _before_handshake_with(psk, type(suite.hash)) if psk else _before_handshake(type(suite.hash))
        self._handshake = _extract(before, shared_secret, suite.hash)
        derived = _derive(self._handshake, b"derived", _hash_of_nothing(type(suite.hash)), suite.hash)
        self._master = _extract(derived, _zeros(suite.hash), suite.hash)

    def handshake_secrets(self, transcript: bytes) -> TrafficSecrets:
        """`transcript` ends with ServerHello."""
        return self._secrets(self._handshake, b"hs", transcript)

    def application_secrets(self, transcript: bytes) -> TrafficSecrets:
        """`transcript` ends with the server's Finished."""
        return self._secrets(self._master, b"ap", transcript)

    def resumption_secret(self, transcript: bytes) -> bytes:
        """`transcript` ends with the client's Finished."""
        return _derive(self._master, b"res master", digest(transcript, self._suite.hash), self._suite.hash)

    def _secrets(self, secret: bytes, epoch: bytes, transcript: bytes) -> TrafficSecrets:
        hash_ = self._suite.hash
        hashed = digest(transcript, hash_)
        return {
            "client": _derive(secret, b"c " + epoch + b" traffic", hashed, hash_),
            "server": _derive(secret, b"s " + epoch + b" traffic", hashed, hash_),
        }


def traffic_key(secret: bytes, suite: CipherSuite) -> TrafficKey:
    """The key for records under a traffic secret (RFC 8446 section 7.3)."""
    key = _expand_label(secret, b"key", b"", suite.key_length, suite.hash)
    return TrafficKey(key, _expand_label(secret, b"iv", b"", suite.salt_length, suite.hash))


def next_secret(secret: bytes, suite: CipherSuite) -> bytes:
    """The traffic secret after a KeyUpdate (RFC 8446 section 7.2)."""
    return _expand_label(secret, b"traffic upd", b"", suite.hash.digest_size, suite.hash)


def verify_data(secret: bytes, transcript: bytes, suite: CipherSuite) -> bytes:
    """The content of Finished of the party with this handshake traffic secret (RFC 8446 section 4.4.4)."""
    finished_key = _expand_label(secret, b"finished", b"", suite.hash.digest_size, suite.hash)
    return _mac(finished_key, digest(transcript, suite.hash), suite.hash)


def ticket_secret(resumption_secret: bytes, nonce: bytes, suite: CipherSuite) -> bytes:
    """The pre-shared key of a ticket with this nonce (RFC 8446 section 4.6.1)."""
    return _expand_label(resumption_secret, b"resumption", nonce, suite.hash.digest_size, suite.hash)


def binder(psk: bytes, transcript: bytes, suite: CipherSuite) -> bytes:
    """The binder of a pre-shared key (RFC 8446 section 4.2.11.2); `transcript` ends before the binders."""
    early = _extract(_zeros(suite.hash), psk, suite.hash)
    key = _derive(early, b"res binder", _hash_of_nothing(type(suite.hash)), suite.hash)
    return verify_data(key, transcript, suite)


def key_log_lines(client_random: bytes, handshake: TrafficSecrets, application: TrafficSecrets) -> str:
    """The lines that let Wireshark decrypt a TLS 1.3 connection (SSLKEYLOGFILE format), each with its newline."""
    labelled = (
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", handshake["client"]),
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", handshake["server"]),
        ("CLIENT_TRAFFIC_SECRET_0", application["client"]),
        ("SERVER_TRAFFIC_SECRET_0", application["server"]),
    )
    return "".join(f"{label} {client_random.hex()} {secret.hex()}\n" for label, secret in labelled)


@cache
def _before_handshake(kind: type[hashes.HashAlgorithm]) -> bytes:
    """The secret derived from the early secret; without a pre-shared key it is always the same."""
    return _before_handshake_with(_zeros(kind()), kind)


def _before_handshake_with(psk: bytes, kind: type[hashes.HashAlgorithm]) -> bytes:
    hash_ = kind()
    return _derive(_extract(_zeros(hash_), psk, hash_), b"derived", _hash_of_nothing(kind), hash_)


@cache
def _hash_of_nothing(kind: type[hashes.HashAlgorithm]) -> bytes:
    """Transcript-Hash("")."""
    return digest(b"", kind())


def _zeros(hash_: hashes.HashAlgorithm) -> bytes:
    return bytes(hash_.digest_size)


def _derive(secret: bytes, label: bytes, hashed: bytes, hash_: hashes.HashAlgorithm) -> bytes:
    """Derive-Secret (RFC 8446 section 7.1) of messages whose Transcript-Hash is `hashed`."""
    return _expand_label(secret, label, hashed, hash_.digest_size, hash_)


def _expand_label(secret: bytes, label: bytes, context: bytes, length: int, hash_: hashes.HashAlgorithm) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1)."""
    info = wire.number(length, 2) + wire.vector(b"tls13 " + label, 1) + wire.vector(context, 1)
    return HKDFExpand(hash_, length, info).derive(secret)


def _extract(salt: bytes, secret: bytes, hash_: hashes.HashAlgorithm) -> bytes:
    """HKDF-Extract (RFC 5869 section 2.2)."""
    return _mac(salt, secret, hash_)


def _mac(key: bytes, data: bytes, hash_: hashes.HashAlgorithm) -> bytes:
    h = hmac.HMAC(key, hash_)
    h.update(data)
    return h.finalize()
