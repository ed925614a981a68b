"""Key agreement, and key derivation in TLS 1.2: cipher suites, groups, the PRF (RFC 5246 sections 5, 6.3 and 8.1).

TLS 1.3 derives its keys in `schedule.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab.tls.alerts import AlertDescription
from lab.tls.engine import Party
from lab.tls.errors import Abort
from lab.tls.versions import TLS12, TLS13, Version

Entropy: TypeAlias = Callable[[int], bytes]
"""Returns this number of fresh random bytes; `os.urandom` outside of tests."""

RANDOM_LENGTH = 32
MASTER_SECRET_LENGTH = 48
VERIFY_DATA_LENGTH = 12


@dataclass(frozen=True)
class CipherSuite:
    """A suite with an AEAD. `exchange` is the key exchange, ECDHE or RSA (key transport). `signed_with` is the kind of
    key in the server's certificate; it is empty in TLS 1.3, where the suite doesn't say.

    `salt_length` is the length of the derived part of the nonce: 4 bytes with AES-GCM in TLS 1.2, whose records carry
    the rest (RFC 5288 section 3); 12 with ChaCha20-Poly1305 (RFC 7905 section 2) and in TLS 1.3.
    """

    id: int
    name: str
    exchange: str
    signed_with: str
    aead: type[AESGCM] | type[ChaCha20Poly1305]
    key_length: int
    salt_length: int
    hash: hashes.HashAlgorithm

    @property
    def version(self) -> Version:
        """The version that the suite is for."""
        return TLS12 if self.signed_with else TLS13


_SHA256, _SHA384 = hashes.SHA256(), hashes.SHA384()

CIPHER_SUITES = (
    CipherSuite(0xC02B, "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE", "ECDSA", AESGCM, 16, 4, _SHA256),
    CipherSuite(0xC02C, "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE", "ECDSA", AESGCM, 32, 4, _SHA384),
    CipherSuite(0xCCA9, "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE", "ECDSA", ChaCha20Poly1305, 32, 12, _SHA256),
    CipherSuite(0xC02F, "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE", "RSA", AESGCM, 16, 4, _SHA256),
    CipherSuite(0xC030, "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE", "RSA", AESGCM, 32, 4, _SHA384),
    CipherSuite(0xCCA8, "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE", "RSA", ChaCha20Poly1305, 32, 12, _SHA256),
)
"""TLS 1.2 with forward secrecy (RFC 5289 section 3.2, RFC 7905 section 2), the most preferred first."""

RSA_TRANSPORT_SUITES = (
    CipherSuite(0x009C, "AES128-GCM-SHA256", "RSA", "RSA", AESGCM, 16, 4, _SHA256),
    CipherSuite(0x009D, "AES256-GCM-SHA384", "RSA", "RSA", AESGCM, 32, 4, _SHA384),
)
"""TLS 1.2 with RSA key transport (RFC 5288 section 3); not among the defaults."""

TLS13_SUITES = (
    CipherSuite(0x1301, "TLS_AES_128_GCM_SHA256", "ECDHE", "", AESGCM, 16, 12, _SHA256),
    CipherSuite(0x1302, "TLS_AES_256_GCM_SHA384", "ECDHE", "", AESGCM, 32, 12, _SHA384),
    CipherSuite(0x1303, "TLS_CHACHA20_POLY1305_SHA256", "ECDHE", "", ChaCha20Poly1305, 32, 12, _SHA256),
)
"""RFC 8446 appendix B.4, the most preferred first."""

DEFAULT_SUITES = TLS13_SUITES + CIPHER_SUITES
ALL_SUITES = DEFAULT_SUITES + RSA_TRANSPORT_SUITES

RENEGOTIATION_SCSV = 0x00FF  # RFC 5746 section 3.3

SECP256R1 = 23
SECP384R1 = 24
SECP521R1 = 25
X25519 = 29
GROUPS = (X25519, SECP256R1, SECP384R1, SECP521R1)
"""RFC 8422 section 5.1.1, the most preferred first. ECDSA keys must be on these curves, too (section 5.1)."""

_CURVES: dict[int, tuple[ec.EllipticCurve, int]] = {
    SECP256R1: (ec.SECP256R1(), 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551),
    SECP384R1: (ec.SECP384R1(), (1 << 384) - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D),
    SECP521R1: (
        ec.SECP521R1(),
        (1 << 521) - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7,
    ),
}
"""Curves with their orders (FIPS 186-4 sections D.1.2.3 to D.1.2.5)."""


@dataclass(frozen=True)
class KeyShare:
    """One side of an ephemeral Diffie-Hellman exchange; `public` is the point in its form on the wire."""

    group: int
    public: bytes
    _private: ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey

    def shared_secret(self, peer_public: bytes) -> bytes:
        """The shared secret (RFC 8422 section 5.10); Abort with illegal_parameter for an invalid point."""
        try:
            if isinstance(self._private, x25519.X25519PrivateKey):
                return self._private.exchange(x25519.X25519PublicKey.from_public_bytes(peer_public))
            if peer_public[:1] != b"\x04":
                raise ValueError("a point in uncompressed form begins with 4 (RFC 8422 section 5.4.1)")
            point = ec.EllipticCurvePublicKey.from_encoded_point(self._private.curve, peer_public)
            return self._private.exchange(ec.ECDH(), point)
        except ValueError as error:
            raise Abort(
                AlertDescription.ILLEGAL_PARAMETER,
                f"the peer's key share is not a point of group {self.group}: {error}",
            ) from None


def new_key_share(group: int, entropy: Entropy) -> KeyShare:
    """A fresh key share in one of GROUPS."""
    if group == X25519:
        private = x25519.X25519PrivateKey.from_private_bytes(entropy(32))
        return KeyShare(group, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), private)
    curve, order = _CURVES[group]
    scalar = int.from_bytes(entropy((curve.key_size + 7) // 8 + 8), "big") % (order - 1) + 1
    on_curve = ec.derive_private_key(scalar, curve)
    public = on_curve.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return KeyShare(group, public, on_curve)


def new_rsa_premaster(entropy: Entropy) -> bytes:
    """A premaster secret for RSA key transport (RFC 5246 section 7.4.7.1), 48 bytes that begin with the version."""
    return TLS12.to_bytes(2, "big") + entropy(MASTER_SECRET_LENGTH - 2)


def encrypt_premaster(server_key: object, premaster: bytes) -> bytes:
    """The premaster secret encrypted with the server's RSA key; Abort if it has another kind of key."""
    if not isinstance(server_key, rsa.RSAPublicKey):
        raise Abort(AlertDescription.ILLEGAL_PARAMETER, "RSA key transport to a server without an RSA key")
    try:
        return server_key.encrypt(premaster, PKCS1v15())
    except ValueError:
        raise Abort(AlertDescription.BAD_CERTIFICATE, "an RSA key too small for a premaster secret") from None


def decrypt_premaster(server_key: rsa.RSAPrivateKey, encrypted: bytes, version: int, entropy: Entropy) -> bytes:
    """The client's premaster secret, which must begin with the `version` of its hello; a random one if it doesn't. Then
    the Finished doesn't fit, and nothing earlier shows the failure (RFC 5246 section 7.4.7.1)."""
    instead = entropy(MASTER_SECRET_LENGTH)
    try:
        premaster = server_key.decrypt(encrypted, PKCS1v15())
    except ValueError:
        return instead
    right = len(premaster) == MASTER_SECRET_LENGTH and premaster[:2] == version.to_bytes(2, "big")
    return premaster if right else instead


def prf(secret: bytes, label: bytes, seed: bytes, length: int, hash_: hashes.HashAlgorithm) -> bytes:
    """The first `length` bytes of PRF(secret, label, seed) (RFC 5246 section 5)."""

    def mac(data: bytes) -> bytes:
        h = hmac.HMAC(secret, hash_)
        h.update(data)
        return h.finalize()

    seed = label + seed
    output, a = b"", seed
    while len(output) < length:
        a = mac(a)
        output += mac(a + seed)
    return output[:length]


def digest(data: bytes, hash_: hashes.HashAlgorithm) -> bytes:
    """One hash over all of `data`."""
    h = hashes.Hash(hash_)
    h.update(data)
    return h.finalize()


def master_secret(premaster: bytes, client_random: bytes, server_random: bytes, suite: CipherSuite) -> bytes:
    """RFC 5246 section 8.1, 48 bytes."""
    return prf(premaster, b"master secret", client_random + server_random, MASTER_SECRET_LENGTH, suite.hash)


def extended_master_secret(premaster: bytes, handshake: bytes, suite: CipherSuite) -> bytes:
    """RFC 7627 section 4, 48 bytes; `handshake` has all messages up to and including ClientKeyExchange."""
    session_hash = digest(handshake, suite.hash)
    return prf(premaster, b"extended master secret", session_hash, MASTER_SECRET_LENGTH, suite.hash)


def verify_data(master: bytes, sender: str, handshake: bytes, suite: CipherSuite) -> bytes:
    """The content of `sender`'s Finished (RFC 5246 section 7.4.9), 12 bytes."""
    label = f"{sender} finished".encode()
    return prf(master, label, digest(handshake, suite.hash), VERIFY_DATA_LENGTH, suite.hash)


@dataclass(frozen=True)
class TrafficKey:
    """The key of one direction and the derived part of its nonces."""

    key: bytes
    salt: bytes


def traffic_keys(
    master: bytes, client_random: bytes, server_random: bytes, suite: CipherSuite
) -> dict[Party, TrafficKey]:
    """The keys in the key block (RFC 5246 section 6.3); AEAD suites have no MAC keys."""
    key, salt = suite.key_length, suite.salt_length
    block = prf(master, b"key expansion", server_random + client_random, 2 * (key + salt), suite.hash)
    salts = block[2 * key :]
    return {
        "client": TrafficKey(block[:key], salts[:salt]),
        "server": TrafficKey(block[key : 2 * key], salts[salt:]),
    }


def key_log_line(client_random: bytes, master: bytes) -> str:
    """The line that lets Wireshark decrypt a TLS 1.2 session (SSLKEYLOGFILE format), newline included."""
    return f"CLIENT_RANDOM {client_random.hex()} {master.hex()}\n"
