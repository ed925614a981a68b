"""Reading bundles: every form that people have them in, and one line for everything that can be wrong with one."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from hypothesis import given
from hypothesis import strategies as st

from lab.catalogue.plan import KEY_TYPES, KeyType
from lab.staging import pki
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.errors import BundleError
from programs import program

NOW = datetime.now(UTC)
WHERE = "alice.pem"
PASSWORD = "öpen sesame"


@pytest.fixture(scope="module")
def alice(authority: pki.Identity) -> pki.Identity:
    return pki.new_client(authority)


def encrypted(identity: pki.Identity, form: PrivateFormat = PrivateFormat.PKCS8, password: str = PASSWORD) -> bytes:
    """Key and certificate, the key under a password."""
    key = identity.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(password.encode()))
    return key + identity.certificate_pem()


def trouble(data: bytes, password: str | None = None, now: datetime = NOW) -> str:
    """The one line that says what is wrong, without the name of the file that it begins with."""
    with pytest.raises(BundleError) as caught:
        parse_bundle(data, password, WHERE, now)
    text = str(caught.value)
    assert text.startswith(f"{WHERE}: ")
    assert "\n" not in text
    return text.removeprefix(f"{WHERE}: ")


def holds(bundle: Bundle, identity: pki.Identity) -> bool:
    return bundle.chain[0] == identity.der and bundle.key.public_key() == identity.key.public_key()


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("password", [None, PASSWORD])
def test_a_pem_bundle_is_read(authority: pki.Identity, key_type: KeyType, password: str | None) -> None:
    """A password that isn't needed does no harm."""
    identity = pki.new_client(authority, key_type=key_type)
    assert holds(parse_bundle(identity.bundle_pem(), password, WHERE, NOW), identity)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_pkcs12_bundle_is_read(authority: pki.Identity, key_type: KeyType) -> None:
    identity = pki.new_client(authority, key_type=key_type)
    assert holds(parse_bundle(identity.bundle_p12(PASSWORD), PASSWORD, WHERE, NOW), identity)


def test_a_pkcs12_bundle_without_a_password_is_read(alice: pki.Identity) -> None:
    assert isinstance(alice.key, ec.EllipticCurvePrivateKey)
    data = pkcs12.serialize_key_and_certificates(b"alice", alice.key, alice.certificate, None, NoEncryption())
    assert holds(parse_bundle(data, None, WHERE, NOW), alice)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS#8", "traditional"])
def test_an_encrypted_pem_bundle_is_read(alice: pki.Identity, form: PrivateFormat) -> None:
    assert holds(parse_bundle(encrypted(alice, form), PASSWORD, WHERE, NOW), alice)


def test_the_certificate_may_come_before_the_key(alice: pki.Identity) -> None:
    key = alice.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert holds(parse_bundle(alice.certificate_pem() + key, None, WHERE, NOW), alice)


def test_what_openssl_prints_around_the_blocks_is_passed_over(alice: pki.Identity) -> None:
    key = alice.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    data = b"Bag Attributes\n    friendlyName: alice\n" + key + b"subject=CN = alice\n" + alice.certificate_pem()
    assert holds(parse_bundle(data.replace(b"\n", b"\r\n"), None, WHERE, NOW), alice)


@pytest.mark.parametrize("where", ["before it", "behind it", "in the certificate"])
def test_only_the_keys_own_block_says_whether_it_is_encrypted(alice: pki.Identity, where: str) -> None:
    key = alice.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    note, certificate = b"ENCRYPTED\n", alice.certificate_pem()
    if where == "in the certificate":
        certificate = certificate.replace(b"-----\n", b"-----\nNote: " + note + b"\n", 1)
    data = {"before it": note + key, "behind it": key + note}.get(where, key) + certificate
    assert holds(parse_bundle(data, PASSWORD, WHERE, NOW), alice)


def test_a_key_that_only_says_that_it_is_encrypted_is_refused(alice: pki.Identity) -> None:
    data = alice.bundle_pem().replace(b"KEY-----\n", b"KEY-----\nNote: ENCRYPTED\n\n", 1)
    assert trouble(data, PASSWORD) == "the password is wrong or missing"


def test_a_bundle_that_openssl_made_is_read(alice: pki.Identity, tmp_path: Path) -> None:
    (tmp_path / "alice.pem").write_bytes(alice.bundle_pem())
    command = f"pkcs12 -export -in {tmp_path}/alice.pem -out {tmp_path}/alice.p12 -passout pass:secret"
    subprocess.run([program("openssl"), *command.split()], check=True, capture_output=True, timeout=60)
    assert holds(parse_bundle((tmp_path / "alice.p12").read_bytes(), "secret", WHERE, NOW), alice)


def test_the_authoritys_certificates_follow_the_keys_own(alice: pki.Identity, authority: pki.Identity) -> None:
    pem = parse_bundle(alice.bundle_pem() + authority.certificate_pem(), None, WHERE, NOW)
    assert pem.chain == (alice.der, authority.der)
    assert isinstance(alice.key, ec.EllipticCurvePrivateKey)
    p12 = pkcs12.serialize_key_and_certificates(
        b"alice", alice.key, alice.certificate, [authority.certificate], BestAvailableEncryption(b"secret")
    )
    assert parse_bundle(p12, "secret", WHERE, NOW).chain == (alice.der, authority.der)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_bundle_that_is_written_is_read_back(authority: pki.Identity, key_type: KeyType) -> None:
    identity = pki.new_client(authority, key_type=key_type)
    written = Bundle((identity.der, authority.der), identity.key).to_pem()
    read = parse_bundle(written.encode(), None, WHERE, NOW)
    assert holds(read, identity)
    assert read.chain == (identity.der, authority.der)


def test_a_chain_has_a_hundred_certificates_at_most(alice: pki.Identity, authority: pki.Identity) -> None:
    hundred = alice.bundle_pem() + 99 * authority.certificate_pem()
    assert len(parse_bundle(hundred, None, WHERE, NOW).chain) == 100
    assert trouble(hundred + authority.certificate_pem()) == "holds 101 certificates; a chain has 100 at most"


def test_a_certificate_is_valid_from_its_first_second_to_its_last(alice: pki.Identity) -> None:
    """RFC 5280 section 4.1.2.5: both are within."""
    first, last = alice.certificate.not_valid_before_utc, alice.certificate.not_valid_after_utc
    assert holds(parse_bundle(alice.bundle_pem(), None, WHERE, first), alice)
    assert holds(parse_bundle(alice.bundle_pem(), None, WHERE, last), alice)
    trouble(alice.bundle_pem(), now=first - timedelta(seconds=1))
    trouble(alice.bundle_pem(), now=last + timedelta(seconds=1))


def test_a_wrong_password_is_named_as_such(alice: pki.Identity) -> None:
    assert trouble(alice.bundle_p12(PASSWORD), "wrong") == "the password is wrong or missing"
    assert trouble(encrypted(alice), "wrong") == "the password is wrong or missing"
    assert trouble(encrypted(alice, PrivateFormat.TraditionalOpenSSL), "wrong") == "the password is wrong or missing"


def test_a_missing_password_is_named_as_such(alice: pki.Identity) -> None:
    assert trouble(alice.bundle_p12(PASSWORD)) == "the password is wrong or missing"
    assert trouble(encrypted(alice)) == "the key is encrypted; give its password"


def test_a_certificate_alone_is_no_bundle(alice: pki.Identity) -> None:
    assert "holds no private key" in trouble(alice.certificate_pem())


def test_a_key_alone_is_no_bundle(alice: pki.Identity) -> None:
    key = alice.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert "holds no certificate" in trouble(key)


def test_a_pkcs12_file_with_a_certificate_alone_is_no_bundle(alice: pki.Identity) -> None:
    data = pkcs12.serialize_key_and_certificates(b"alice", None, alice.certificate, None, NoEncryption())
    assert "holds no private key" in trouble(data)


def test_a_key_that_belongs_to_another_certificate_is_refused(alice: pki.Identity, authority: pki.Identity) -> None:
    mallory = pki.new_client(authority, "mallory")
    key = mallory.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    said = trouble(key + alice.certificate_pem())
    assert said.startswith("the key does not belong to the certificate")
    assert "CN=alice" in said


def test_an_expired_certificate_is_refused(alice: pki.Identity) -> None:
    assert trouble(alice.bundle_pem(), now=NOW + timedelta(days=31)).startswith("the certificate expired on ")


def test_a_certificate_that_is_not_valid_yet_is_refused(alice: pki.Identity) -> None:
    assert trouble(alice.bundle_pem(), now=NOW - timedelta(days=1)).startswith("the certificate is not valid before ")


def test_a_kind_of_key_that_the_lab_cannot_use_is_refused(alice: pki.Identity) -> None:
    key = ed448.Ed448PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert "use ECDSA, RSA or Ed25519" in trouble(pem + alice.certificate_pem())


def test_a_key_for_rsassa_pss_alone_is_refused_in_words(tmp_path: Path) -> None:
    """`cryptography` takes it for any RSA key, and writes it as one that does not fit its certificate."""
    both = ("-keyout", "-", "-out", "-", "-nodes", "-subj", "/CN=alice", "-pkeyopt", "rsa_keygen_bits:2048")
    made = subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "rsa-pss", *both], capture_output=True, check=True, cwd=tmp_path
    )
    assert "its key is for RSASSA-PSS alone (RFC 8017); use ECDSA, RSA or Ed25519" in trouble(made.stdout)


def test_a_subject_with_a_line_break_makes_no_second_line(authority: pki.Identity) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice\nerror: all is well")])
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1))
    pem = certificate.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)
    other = pki.new_key("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert trouble(other + pem).startswith("the key does not belong")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a bundle",
        b"\x30\x82\x01\x00 cut off",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY-----\nü\n-----END PRIVATE KEY-----\n".encode(),
    ],
    ids=["nothing", "text", "DER", "certificate", "key", "half a key", "half a certificate", "not ASCII"],
)
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    assert trouble(data)


def test_what_the_library_says_of_it_is_told() -> None:
    what = "neither PEM nor PKCS#12 with a usable key and certificate"
    assert trouble(b"hello") == f"{what} (Could not deserialize PKCS12 data)"


@given(st.binary(max_size=300), st.none() | st.text(max_size=8).filter(lambda text: text.isascii()))
def test_any_bytes_are_refused_in_one_line(data: bytes, password: str | None) -> None:
    assert trouble(data, password)


@given(st.data())
def test_a_bundle_with_one_byte_changed_is_read_or_refused_in_one_line(
    alice: pki.Identity, data: st.DataObject
) -> None:
    pem = bytearray(alice.bundle_pem())
    pem[data.draw(st.integers(0, 2000)) % len(pem)] = data.draw(st.integers(0, 255))
    try:
        parse_bundle(bytes(pem), None, WHERE, NOW)
    except BundleError as error:
        said = str(error)
    else:
        return
    assert said.startswith(f"{WHERE}: ")
    assert "\n" not in said
