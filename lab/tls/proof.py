"""The proof of possession, CertificateVerify: what it signs, how to make it, how to check it.

RFC 5246 section 7.4.8 for TLS 1.2, RFC 8446 section 4.4.3 for TLS 1.3.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import PublicKeyAlgorithmOID

from lab.tls import names
from lab.tls.alerts import AlertDescription
from lab.tls.errors import CertificateError, ProofError, TlsError
from lab.tls.keys import digest
from lab.tls.messages import CertificateVerify
from lab.tls.versions import TLS12, TLS13, version_name


@dataclass(frozen=True)
class PssPublicKey:
    """An RSA key in a certificate that allows RSASSA-PSS alone (RFC 4055 section 1.2). It has schemes of its own."""

    key: rsa.RSAPublicKey


PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | PssPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True)
class SignatureScheme:
    """A row of the IANA registry TLS SignatureScheme. `key` is the kind of its keys, as `key_kind` names it.

    `curve` is the curve of an ECDSA scheme in TLS 1.3.
    """

    id: int
    name: str
    key: str
    hash: hashes.HashAlgorithm | None = None
    pss: bool = False
    curve: type[ec.EllipticCurve] | None = None

    def suits(self, key: "PublicKey | PrivateKey", version: int) -> bool:
        """Whether `key` may sign with this scheme. In TLS 1.2 an ECDSA scheme fixes only the hash and allows any curve
        (RFC 5246 section 7.4.1.4.1). TLS 1.3 fixes the curve, too, and forbids PKCS #1 v1.5 (RFC 8446 section 4.2.3).
        """
        if self.key != key_kind(key):
            return False
        if version < TLS13:
            return True
        if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
            return self.curve is type(key.curve)
        return self.key != "RSA" or self.pss


SIGNATURE_SCHEMES = (
    SignatureScheme(0x0403, "ecdsa_secp256r1_sha256", "ECDSA", hashes.SHA256(), curve=ec.SECP256R1),
    SignatureScheme(0x0503, "ecdsa_secp384r1_sha384", "ECDSA", hashes.SHA384(), curve=ec.SECP384R1),
    SignatureScheme(0x0603, "ecdsa_secp521r1_sha512", "ECDSA", hashes.SHA512(), curve=ec.SECP521R1),
    SignatureScheme(0x0807, "ed25519", "Ed25519"),
    SignatureScheme(0x0804, "rsa_pss_rsae_sha256", "RSA", hashes.SHA256(), pss=True),
    SignatureScheme(0x0805, "rsa_pss_rsae_sha384", "RSA", hashes.SHA384(), pss=True),
    SignatureScheme(0x0806, "rsa_pss_rsae_sha512", "RSA", hashes.SHA512(), pss=True),
    SignatureScheme(0x0809, "rsa_pss_pss_sha256", "RSASSA-PSS", hashes.SHA256(), pss=True),
    SignatureScheme(0x080A, "rsa_pss_pss_sha384", "RSASSA-PSS", hashes.SHA384(), pss=True),
    SignatureScheme(0x080B, "rsa_pss_pss_sha512", "RSASSA-PSS", hashes.SHA512(), pss=True),
    SignatureScheme(0x0401, "rsa_pkcs1_sha256", "RSA", hashes.SHA256()),
    SignatureScheme(0x0501, "rsa_pkcs1_sha384", "RSA", hashes.SHA384()),
    SignatureScheme(0x0601, "rsa_pkcs1_sha512", "RSA", hashes.SHA512()),
)
"""The most preferred first."""

SCHEME_IDS = tuple(scheme.id for scheme in SIGNATURE_SCHEMES)

_BY_ID = {scheme.id: scheme for scheme in SIGNATURE_SCHEMES}


def find_signature_scheme(number: int) -> SignatureScheme | None:
    """The scheme with that number."""
    return _BY_ID.get(number)


def scheme_name(number: int, version: int) -> str:
    """What a scheme is called in a version, or the number in hex."""
    known = names.SIGNATURE_SCHEMES if version >= TLS13 else names.SIGNATURE_ALGORITHMS12
    return known.get(number, f"0x{number:04x}")


def key_kind(key: PublicKey | PrivateKey) -> str:
    """ECDSA, RSA, RSASSA-PSS or Ed25519."""
    match key:
        case ec.EllipticCurvePublicKey() | ec.EllipticCurvePrivateKey():
            return "ECDSA"
        case rsa.RSAPublicKey() | rsa.RSAPrivateKey():
            return "RSA"
        case PssPublicKey():
            return "RSASSA-PSS"
        case _:
            return "Ed25519"


def _such_a_key(key: PublicKey | PrivateKey, version: int) -> str:
    """All that decides which schemes are for a key."""
    on = f" on {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) else ""
    return f"a key of kind {key_kind(key)}{on} in TLS {version_name(version)}"


def key_words(key: object) -> str:
    """A kind of public key for people, with its curve or its length."""
    match key:
        case ec.EllipticCurvePublicKey():
            return f"ECDSA, {key.curve.name}"
        case rsa.RSAPublicKey():
            return f"RSA, {key.key_size} bits"
        case _:
            return type(key).__name__.removesuffix("PublicKey").strip("_")


@lru_cache(maxsize=64)  # one server is asked again and again
def public_key(certificate: bytes) -> PublicKey:
    """The public key in a DER certificate; CertificateError if there is no usable one."""
    try:
        read = x509.load_der_x509_certificate(certificate)
        key: Any = read.public_key()
        if read.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
            key = PssPublicKey(key)
    except Exception as error:  # the parser's own errors are of many types
        raise CertificateError(AlertDescription.BAD_CERTIFICATE, f"an unreadable certificate: {error}") from None
    if not isinstance(key, PublicKey):
        reason = f"a certificate with a {type(key).__name__}, which no signature scheme here can use"
        raise CertificateError(AlertDescription.UNSUPPORTED_CERTIFICATE, reason)
    return key


@dataclass(frozen=True)
class Challenge:
    """What a client must sign to prove possession, and the schemes that the server accepts.

    The client signs `content`. In TLS 1.2 it is the `transcript`, the handshake messages so far; in TLS 1.3 it is their
    hash after a fixed prefix (`signed_content`). The messages contain the server's random, which is fresh in every
    handshake: that makes an old proof worthless.
    """

    transcript: bytes
    content: bytes
    schemes: tuple[int, ...]
    version: int


def challenge12(transcript: bytes, schemes: tuple[int, ...]) -> Challenge:
    """The challenge in TLS 1.2 (RFC 5246 section 7.4.8)."""
    return Challenge(transcript, transcript, schemes, TLS12)


def challenge13(transcript: bytes, schemes: tuple[int, ...], hash_: hashes.HashAlgorithm) -> Challenge:
    """The client's challenge in TLS 1.3 (RFC 8446 section 4.4.3)."""
    return Challenge(transcript, signed_content("client", transcript, hash_), schemes, TLS13)


def signed_content(party: str, transcript: bytes, hash_: hashes.HashAlgorithm) -> bytes:
    """What client or server sign in TLS 1.3 (RFC 8446 section 4.4.3)."""
    return b" " * 64 + f"TLS 1.3, {party} CertificateVerify".encode() + b"\0" + digest(transcript, hash_)


Prover: TypeAlias = Callable[[Challenge], CertificateVerify | None]
"""Answers a challenge; None means that no CertificateVerify is sent."""


def choose_scheme(key: PublicKey | PrivateKey, offered: Iterable[int], version: int = TLS12) -> SignatureScheme | None:
    """The most preferred scheme for `key` among those offered; None if none fits."""
    offered = set(offered)
    fitting = (scheme for scheme in SIGNATURE_SCHEMES if scheme.id in offered and scheme.suits(key, version))
    return next(fitting, None)


def sign(key: PrivateKey, scheme: SignatureScheme, content: bytes) -> bytes:
    """The signature over `content`; TlsError if the key is too small for the scheme."""
    match key:
        case ec.EllipticCurvePrivateKey():
            assert scheme.hash
            return key.sign(content, ec.ECDSA(scheme.hash))
        case rsa.RSAPrivateKey():
            assert scheme.hash
            try:
                return key.sign(content, _rsa_padding(scheme), scheme.hash)
            except ValueError:
                raise TlsError(f"an RSA key of {key.key_size} bits is too small for {scheme.name}") from None
        case ed25519.Ed25519PrivateKey():
            return key.sign(content)


def check_signature(key: PublicKey, scheme_id: int, content: bytes, signature: bytes, version: int = TLS12) -> None:
    """ProofError unless `signature` is one over `content` with the private key that belongs to `key`."""
    scheme = find_signature_scheme(scheme_id)
    if scheme is None or not scheme.suits(key, version):
        reason = f"signature scheme {scheme_name(scheme_id, version)} is not for {_such_a_key(key, version)}"
        raise ProofError(AlertDescription.ILLEGAL_PARAMETER, reason)
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                assert scheme.hash
                key.verify(signature, content, ec.ECDSA(scheme.hash))
            case (rsa.RSAPublicKey() as rsa_key) | PssPublicKey(rsa_key):
                assert scheme.hash
                rsa_key.verify(signature, content, _rsa_padding(scheme), scheme.hash)
            case ed25519.Ed25519PublicKey():
                key.verify(signature, content)
    except ValueError:  # RSA-PSS needs a key with room for hash and salt
        reason = f"the certificate's RSA key is too small for {scheme.name}"
        raise ProofError(AlertDescription.ILLEGAL_PARAMETER, reason) from None
    except InvalidSignature:
        reason = "the signature does not fit this handshake and the certificate's key"
        raise ProofError(AlertDescription.DECRYPT_ERROR, reason) from None


def check(key: PublicKey, challenge: Challenge, proof: CertificateVerify) -> None:
    """ProofError unless `proof` answers `challenge` with the private key that belongs to `key`."""
    if proof.scheme not in challenge.schemes:
        reason = f"signature scheme {scheme_name(proof.scheme, challenge.version)} was not offered"
        raise ProofError(AlertDescription.ILLEGAL_PARAMETER, reason)
    check_signature(key, proof.scheme, challenge.content, proof.signature, challenge.version)


def prove_with(key: PrivateKey) -> Prover:
    """The honest prover: signs every challenge with `key`; TlsError if the server accepts no scheme for it."""

    def prove(challenge: Challenge) -> CertificateVerify:
        scheme = choose_scheme(key, challenge.schemes, challenge.version)
        if scheme is None:
            raise TlsError(f"the server accepts no signature scheme for {_such_a_key(key, challenge.version)}")
        return CertificateVerify(scheme.id, sign(key, scheme, challenge.content))

    return prove


def _rsa_padding(scheme: SignatureScheme) -> padding.AsymmetricPadding:
    """RFC 8446 section 4.2.3: the PSS salt is as long as the hash."""
    if not scheme.pss:
        return padding.PKCS1v15()
    assert scheme.hash
    return padding.PSS(padding.MGF1(scheme.hash), scheme.hash.digest_size)
