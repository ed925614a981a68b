"""Bundles: PEM and PKCS#12 give the same key and certificate, and every fault has one line that says what to do."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from lab import pki
from lab.pki import KEY_TYPES, KeyType
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.errors import BundleError

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def alice() -> pki.Identity:
    return pki.new_client(pki.new_authority())


def read(data: bytes, password: str | None = None, now: datetime = NOW) -> Bundle:
    return parse_bundle(data, password, "alice.pem", now)


def assert_refused(data: bytes, words: str, password: str | None = None, now: datetime = NOW) -> None:
    with pytest.raises(BundleError) as refused:
        read(data, password, now)
    assert str(refused.value).startswith("alice.pem: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def encrypted_pem(identity: pki.Identity, password: str) -> bytes:
    protection = BestAvailableEncryption(password.encode())
    return identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection) + identity.certificate_pem()


def key_pem(identity: pki.Identity) -> bytes:
    return identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_both_forms_hold_the_same(authority: pki.Identity, key_type: KeyType) -> None:
    made = pki.new_client(authority, "alice", key_type)
    for bundle in (read(made.bundle_pem()), read(made.bundle_p12("secret"), "secret")):
        assert bundle.chain == (made.der,)
        assert bundle.key.public_key() == made.key.public_key()


def test_key_and_certificate_may_stand_in_either_order(alice: pki.Identity) -> None:
    assert read(alice.certificate_pem() + key_pem(alice)).chain == (alice.der,)


def test_an_encrypted_key_opens_with_its_password(alice: pki.Identity) -> None:
    assert read(encrypted_pem(alice, "secret"), "secret").chain == (alice.der,)


def test_a_password_that_is_not_needed_does_no_harm(alice: pki.Identity) -> None:
    assert read(alice.bundle_pem(), "secret").chain == (alice.der,)


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_wrong_password(alice: pki.Identity, password: str | None) -> None:
    assert_refused(alice.bundle_p12("secret"), "password", password)
    assert_refused(encrypted_pem(alice, "secret"), "password", password)


def test_a_certificate_without_its_key(alice: pki.Identity) -> None:
    assert_refused(alice.certificate_pem(), "no private key")


def test_a_key_without_its_certificate(alice: pki.Identity) -> None:
    assert_refused(key_pem(alice), "no certificate")


def test_a_key_that_does_not_match(alice: pki.Identity, authority: pki.Identity) -> None:
    assert_refused(key_pem(pki.new_client(authority)) + alice.certificate_pem(), "does not belong")


def test_an_expired_certificate(alice: pki.Identity) -> None:
    assert_refused(alice.bundle_pem(), "expired", now=NOW + timedelta(days=31))


def test_a_certificate_of_the_future(alice: pki.Identity) -> None:
    assert_refused(alice.bundle_pem(), "not valid before", now=NOW - timedelta(days=1))


@pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"])
def test_what_is_no_bundle(data: bytes) -> None:
    assert_refused(data, "")


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_bundle_or_a_bundle_error(data: bytes, pem: bool) -> None:
    with pytest.raises(BundleError):
        read(b"-----BEGIN PRIVATE KEY-----\n" + data if pem else data)
