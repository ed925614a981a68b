"""The proof of possession: what is signed with one key is checked with its certificate's and with no other."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from lab import pki
from lab.pki import KEY_TYPES, KeyType
from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.errors import CertificateError, ProofError, TlsError
from lab.tls.messages import TLS12, CertificateVerify
from lab.tls.proof import SIGNATURE_SCHEMES, Challenge, PrivateKey, SignatureScheme

CHALLENGE = Challenge(b"all messages of one handshake", proof.SCHEME_IDS, TLS12)
KEYS: dict[str, PrivateKey] = {
    "ECDSA": pki.new_key("p256"),
    "RSA": pki.new_key("rsa"),
    "Ed25519": pki.new_key("ed25519"),
}


@pytest.mark.parametrize("scheme", SIGNATURE_SCHEMES, ids=lambda scheme: scheme.name)
def test_what_the_key_signs_its_public_half_verifies(scheme: SignatureScheme) -> None:
    key = KEYS[scheme.key]
    signature = proof.sign(key, scheme, CHALLENGE.content)
    proof.check(key.public_key(), CHALLENGE, CertificateVerify(scheme.id, signature))


@pytest.mark.parametrize("scheme", SIGNATURE_SCHEMES, ids=lambda scheme: scheme.name)
def test_over_another_handshake_it_is_a_decrypt_error(scheme: SignatureScheme) -> None:
    key = KEYS[scheme.key]
    signature = proof.sign(key, scheme, b"all messages of an earlier handshake")
    with pytest.raises(ProofError) as refused:
        proof.check(key.public_key(), CHALLENGE, CertificateVerify(scheme.id, signature))
    assert refused.value.alert == AlertDescription.DECRYPT_ERROR


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_by_another_key_it_is_a_decrypt_error(key_type: KeyType) -> None:
    answer = proof.prove_with(pki.new_key(key_type))(CHALLENGE)
    assert answer
    with pytest.raises(ProofError) as refused:
        proof.check(pki.new_key(key_type).public_key(), CHALLENGE, answer)
    assert refused.value.alert == AlertDescription.DECRYPT_ERROR


@pytest.mark.parametrize(
    "signature", [b"", b"\0" * 70, b"\x30\x06\x02\x01\x00\x02\x01\x00"], ids=["none", "zeros", "r=s=0"]
)
@pytest.mark.parametrize("scheme", SIGNATURE_SCHEMES, ids=lambda scheme: scheme.name)
def test_what_is_no_signature_at_all_is_a_decrypt_error(scheme: SignatureScheme, signature: bytes) -> None:
    with pytest.raises(ProofError) as refused:
        proof.check(KEYS[scheme.key].public_key(), CHALLENGE, CertificateVerify(scheme.id, signature))
    assert refused.value.alert == AlertDescription.DECRYPT_ERROR


def test_a_scheme_that_was_not_offered_is_an_illegal_parameter() -> None:
    answer = proof.prove_with(KEYS["ECDSA"])(CHALLENGE)
    assert answer
    with pytest.raises(ProofError) as refused:
        proof.check(KEYS["ECDSA"].public_key(), Challenge(CHALLENGE.content, (0x0804,), TLS12), answer)
    assert refused.value.alert == AlertDescription.ILLEGAL_PARAMETER


def test_a_scheme_for_another_kind_of_key_is_an_illegal_parameter() -> None:
    answer = proof.prove_with(KEYS["ECDSA"])(CHALLENGE)
    assert answer
    with pytest.raises(ProofError) as refused:
        proof.check(KEYS["RSA"].public_key(), CHALLENGE, answer)
    assert refused.value.alert == AlertDescription.ILLEGAL_PARAMETER


def test_a_prover_whose_schemes_nobody_takes_says_so() -> None:
    with pytest.raises(TlsError, match="no signature scheme"):
        proof.prove_with(KEYS["Ed25519"])(Challenge(b"", (0x0403,), TLS12))


def test_any_curve_serves_an_ecdsa_scheme_in_tls_12() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    answer = proof.prove_with(key)(CHALLENGE)
    assert answer
    proof.check(key.public_key(), CHALLENGE, answer)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_the_public_key_is_read_from_the_certificate(authority: pki.Identity, key_type: KeyType) -> None:
    alice = pki.new_client(authority, "alice", key_type)
    read = proof.public_key(alice.certificate.public_bytes(Encoding.DER))
    assert read == alice.key.public_key()


@pytest.mark.parametrize("der", [b"", b"\x30\x00", bytes(300)])
def test_what_is_no_certificate_is_a_bad_certificate(der: bytes) -> None:
    with pytest.raises(CertificateError) as refused:
        proof.public_key(der)
    assert refused.value.alert == AlertDescription.BAD_CERTIFICATE
