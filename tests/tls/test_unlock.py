"""Bundles that ask their reader for too much work: said in one line, and soon."""

import base64
from pathlib import Path

import pytest

from lab.tls.bundle import MAX_CERTIFICATES, parse_bundle
from lab.tls.errors import BundleError
from programs import certreplay

SEQUENCE, INTEGER, OCTETS, OID, NULL = 0x30, 0x02, 0x04, 0x06, b"\x05\x00"
DATA = bytes.fromhex("2a864886f70d010701")
SHA256 = bytes.fromhex("608648016503040201")
PBES2, PBKDF2 = bytes.fromhex("2a864886f70d01050d"), bytes.fromhex("2a864886f70d01050c")
SCRYPT = bytes.fromhex("2b06010401da47040b")
AES256 = bytes.fromhex("60864801650304012a")


def der(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    length = len(body).to_bytes(4, "big").lstrip(b"\0")
    return bytes([tag]) + (bytes([len(body)]) if len(body) < 0x80 else bytes([0x80 + len(length)]) + length) + body


def number(value: int) -> bytes:
    return der(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def pkcs12(iterations: int) -> bytes:
    """A PKCS#12 file (RFC 7292 section 4) that holds nothing but a MAC, over a password hashed so many times."""
    nothing = der(SEQUENCE, der(OID, DATA), der(0xA0, der(OCTETS, der(SEQUENCE))))
    digest = der(SEQUENCE, der(SEQUENCE, der(OID, SHA256), NULL), der(OCTETS, bytes(32)))
    return der(SEQUENCE, number(3), nothing, der(SEQUENCE, digest, der(OCTETS, bytes(8)), number(iterations)))


def encrypted_pem(derivation: bytes) -> bytes:
    """An encrypted private key (RFC 5958 section 3), whose key derivation is this."""
    cipher = der(SEQUENCE, der(OID, AES256), der(OCTETS, bytes(16)))
    algorithm = der(SEQUENCE, der(OID, PBES2), der(SEQUENCE, derivation, cipher))
    encoded = base64.encodebytes(der(SEQUENCE, algorithm, der(OCTETS, bytes(160))))
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + encoded + b"-----END ENCRYPTED PRIVATE KEY-----\n"


def pbkdf2(iterations: int) -> bytes:
    return der(SEQUENCE, der(OID, PBKDF2), der(SEQUENCE, der(OCTETS, bytes(8)), number(iterations)))


def scrypt(cost: int, block: int) -> bytes:
    parameters = (der(OCTETS, bytes(8)), number(cost), number(block), number(1))
    return der(SEQUENCE, der(OID, SCRYPT), der(SEQUENCE, *parameters))


@pytest.mark.parametrize(
    "content",
    [pkcs12(2**31 - 1), encrypted_pem(pbkdf2(2**31 - 1)), encrypted_pem(scrypt(2**20, 64))],
    ids=["PKCS#12", "PBKDF2", "scrypt"],
)
def test_a_bundle_that_asks_for_too_much(content: bytes, tmp_path: Path) -> None:
    file, password = tmp_path / "bundle", tmp_path / "password"
    file.write_bytes(content)
    password.write_text("secret")
    done = certreplay("bundle", file, "--password-file", password)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"certreplay: {file}: ")
    if content != encrypted_pem(scrypt(2**20, 64)):  # OpenSSL itself may say that it has no memory for that
        assert "s of computing" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pkcs12(1), "the password is wrong or missing"),
        (encrypted_pem(pbkdf2(1)), "the password is wrong or missing"),
        (b"\x30\x80" * 100_000, "neither PEM nor PKCS#12"),
        (b"\x30\x84\x7f\xff\xff\xff", "neither PEM nor PKCS#12"),
    ],
    ids=["PKCS#12", "PBKDF2", "deep", "long"],
)
def test_the_same_with_little_work(content: bytes, words: str) -> None:
    """It is the work that is refused."""
    with pytest.raises(BundleError, match=words):
        parse_bundle(content, "secret", "the bundle", None)


def test_a_long_key_in_pem() -> None:
    """A key this long takes minutes to check; what is no key at all is refused at once."""
    block = base64.encodebytes(der(SEQUENCE, number(0), *(number(2**65_000 + 1) for _ in range(8))))
    pem = b"-----BEGIN RSA PRIVATE KEY-----\n" + block + b"-----END RSA PRIVATE KEY-----\n"
    with pytest.raises(BundleError, match="the bundle: "):
        parse_bundle(pem, None, "the bundle", None)


def test_more_certificates_than_a_chain_has(issued_pem: bytes) -> None:
    key, _, certificate = issued_pem.partition(b"-----BEGIN CERTIFICATE-----")
    chain = (b"-----BEGIN CERTIFICATE-----" + certificate) * (MAX_CERTIFICATES + 1)
    with pytest.raises(BundleError, match="a chain has 100 at most"):
        parse_bundle(key + chain, None, "the bundle", None)


@pytest.fixture
def issued_pem(finished_run: Path) -> bytes:
    return (finished_run / "victim-client" / "alice-self-signed.pem").read_bytes()
