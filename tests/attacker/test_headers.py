"""The headers in which a server behind a proxy reads who its client is."""

import base64
from hashlib import sha1, sha256
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from attacker.moves import headers
from lab.staging import pki


@pytest.fixture
def nameless(alice: pki.Identity) -> bytes:
    """A certificate without a common name, in DER."""
    model = x509.load_der_x509_certificate(alice.der)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Bank of Example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.not_valid_before(model.not_valid_before_utc).not_valid_after(model.not_valid_after_utc)
    made = builder.public_key(model.public_key()).sign(pki.new_key("p256"), hashes.SHA256())
    return made.public_bytes(Encoding.DER)


def test_the_headers_say_that_this_very_certificate_was_checked(alice: pki.Identity) -> None:
    usual = dict(headers.spellings(alice.der)[0])
    text, pem = base64.b64encode(alice.der).decode(), alice.certificate_pem().decode()
    assert usual["Client-Cert"] == usual["Client-Cert-Chain"] == f":{text}:"
    assert usual["X-SSL-Client-DER"] == text
    assert unquote(usual["X-SSL-Client-Cert"]) == unquote(usual["SSL-Client-Cert"]) == pem
    assert usual["X-SSL-Client-Verify"] == usual["SSL-Client-Verify"] == "SUCCESS"
    names = ("X-SSL-Client-S-DN", "X-SSL-Client-DN", "SSL-Client-Subject-DN")
    assert {usual[name] for name in names} == {"O=Bank of Example,CN=alice"}
    assert usual["X-SSL-Client-I-DN"] == "CN=certreplay lab authority"
    assert usual["X-SSL-Client-CN"] == "alice"
    assert usual["X-SSL-Client-SHA1"] == sha1(alice.der).hexdigest()
    assert usual["X-Forwarded-Client-Cert"].startswith(f"Hash={sha256(alice.der).hexdigest()};Cert=")


def test_they_are_sent_in_three_spellings(alice: pki.Identity) -> None:
    usual, shouted, quiet = headers.spellings(alice.der)
    assert [value for _, value in usual] == [value for _, value in shouted] == [value for _, value in quiet]
    assert ("X_SSL_CLIENT_VERIFY", "SUCCESS") in shouted
    assert ("x-ssl-client-verify", "SUCCESS") in quiet


def test_without_a_common_name_the_whole_name_is_said(nameless: bytes) -> None:
    assert dict(headers.spellings(nameless)[0])["X-SSL-Client-CN"] == "O=Bank of Example"
