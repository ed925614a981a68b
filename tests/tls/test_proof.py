"""The proof of possession: who can make one, and what each wrong one is refused for."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from lab.catalogue.plan import KEY_TYPES, KeyType
from lab.staging import pki
from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.errors import CertificateError, ProofError, TlsError
from lab.tls.messages import CertificateVerify
from lab.tls.proof import SCHEME_IDS, SIGNATURE_SCHEMES, Challenge, PrivateKey, PublicKey, SignatureScheme, challenge12
from lab.tls.server import Proof, ProofSeen
from lab.tls.versions import TLS12, TLS13, Version
from tls_peers import by_another_key, omitted, our_client, our_server, talk

KEYS: dict[str, PrivateKey] = {
    "ECDSA": pki.new_key("p256"),
    "RSA": pki.new_key("rsa"),
    "Ed25519": pki.new_key("ed25519"),
}
CHALLENGE = challenge12(b"ClientHello, ServerHello and so on", SCHEME_IDS)


def refusal(key: PublicKey, challenge: Challenge, answer: CertificateVerify) -> int:
    """The alert for a wrong proof."""
    with pytest.raises(ProofError) as caught:
        proof.check(key, challenge, answer)
    return caught.value.alert


def honest(kind: str) -> CertificateVerify:
    answer = proof.prove_with(KEYS[kind])(CHALLENGE)
    assert answer
    return answer


@pytest.mark.parametrize("scheme", [s for s in SIGNATURE_SCHEMES if s.key in KEYS], ids=lambda scheme: scheme.name)
def test_a_proof_in_every_scheme_is_right_for_its_key(scheme: SignatureScheme) -> None:
    key = KEYS[scheme.key]
    signature = proof.sign(key, scheme, CHALLENGE.content)
    proof.check(key.public_key(), CHALLENGE, CertificateVerify(scheme.id, signature))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
@pytest.mark.parametrize("scheme", [s for s in SIGNATURE_SCHEMES if s.key == "ECDSA"], ids=lambda scheme: scheme.name)
def test_in_tls_12_an_ecdsa_scheme_names_a_hash_and_no_curve(curve: ec.EllipticCurve, scheme: SignatureScheme) -> None:
    key = ec.generate_private_key(curve)
    answer = CertificateVerify(scheme.id, proof.sign(key, scheme, CHALLENGE.content))
    proof.check(key.public_key(), CHALLENGE, answer)


@pytest.mark.parametrize("kind", KEYS)
def test_a_proof_by_another_key_is_a_decrypt_error(kind: str) -> None:
    other: dict[str, KeyType] = {"ECDSA": "p256", "RSA": "rsa", "Ed25519": "ed25519"}
    answer = proof.prove_with(pki.new_key(other[kind]))(CHALLENGE)
    assert answer
    assert refusal(KEYS[kind].public_key(), CHALLENGE, answer) == AlertDescription.DECRYPT_ERROR


@pytest.mark.parametrize("kind", KEYS)
def test_a_proof_of_another_handshake_is_a_decrypt_error(kind: str) -> None:
    later = replace(CHALLENGE, content=CHALLENGE.content + b"with a fresh server random")
    assert refusal(KEYS[kind].public_key(), later, honest(kind)) == AlertDescription.DECRYPT_ERROR


@pytest.mark.parametrize("kind", KEYS)
@given(signature=st.binary(max_size=300))
def test_a_proof_of_any_bytes_is_a_decrypt_error(kind: str, signature: bytes) -> None:
    answer = replace(honest(kind), signature=signature)
    assert refusal(KEYS[kind].public_key(), CHALLENGE, answer) == AlertDescription.DECRYPT_ERROR


@pytest.mark.parametrize("kind", KEYS)
@given(position=st.integers(0, 1000), bit=st.integers(0, 7))
def test_a_proof_with_any_bit_changed_is_a_decrypt_error(kind: str, position: int, bit: int) -> None:
    answer = honest(kind)
    changed = bytearray(answer.signature)
    changed[position % len(changed)] ^= 1 << bit
    altered = replace(answer, signature=bytes(changed))
    assert refusal(KEYS[kind].public_key(), CHALLENGE, altered) == AlertDescription.DECRYPT_ERROR


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("scheme", [*SIGNATURE_SCHEMES, None], ids=lambda scheme: scheme.name if scheme else "unknown")
def test_a_proof_in_a_scheme_for_another_kind_of_key_is_illegal(kind: str, scheme: SignatureScheme | None) -> None:
    if scheme and scheme.key == kind:
        return
    unknown = 0xFE00
    number = scheme.id if scheme else unknown
    answer = replace(honest(kind), scheme=number)
    offered = replace(CHALLENGE, schemes=(*SCHEME_IDS, unknown))
    assert refusal(KEYS[kind].public_key(), offered, answer) == AlertDescription.ILLEGAL_PARAMETER


def test_a_right_proof_in_a_scheme_that_was_not_offered_is_illegal() -> None:
    answer = honest("ECDSA")
    others = tuple(scheme for scheme in SCHEME_IDS if scheme != answer.scheme)
    challenge = replace(CHALLENGE, schemes=others)
    assert refusal(KEYS["ECDSA"].public_key(), challenge, answer) == AlertDescription.ILLEGAL_PARAMETER


def test_rsa_with_pss_does_not_pass_for_pkcs1() -> None:
    answer = honest("RSA")
    assert proof.scheme_name(answer.scheme, TLS12) == "rsa_pss_rsae_sha256"
    altered = replace(answer, scheme=0x0401)
    assert refusal(KEYS["RSA"].public_key(), CHALLENGE, altered) == AlertDescription.DECRYPT_ERROR


def test_the_honest_prover_takes_a_scheme_that_the_server_offers() -> None:
    answer = proof.prove_with(KEYS["RSA"])(replace(CHALLENGE, schemes=(0x0403, 0x0601)))
    assert answer
    assert proof.scheme_name(answer.scheme, TLS12) == "rsa_pkcs1_sha512"


@pytest.mark.parametrize("kind", KEYS)
def test_the_honest_prover_says_that_no_scheme_suits_its_key(kind: str) -> None:
    with pytest.raises(TlsError, match=f"no signature scheme for a key of kind {kind}"):
        proof.prove_with(KEYS[kind])(replace(CHALLENGE, schemes=(0x0203,)))


def test_a_key_too_small_for_the_only_scheme_offered_is_an_error_and_no_crash() -> None:
    """PSS with SHA-512 needs 130 bytes; a key of 1024 bits has 128."""
    small = rsa.generate_private_key(65537, 1024)
    with pytest.raises(TlsError, match="rsa_pss_rsae_sha512"):
        proof.prove_with(small)(replace(CHALLENGE, schemes=(0x0806,)))


def test_a_certificates_key_too_small_for_the_scheme_is_refused_like_any_wrong_proof() -> None:
    """cryptography makes no such keys, but certificates can have them."""
    modulus = (1 << 511) + 1
    small = rsa.RSAPublicNumbers(65537, modulus).public_key()
    assert refusal(small, CHALLENGE, CertificateVerify(0x0806, bytes(64))) == AlertDescription.ILLEGAL_PARAMETER
    assert refusal(small, CHALLENGE, CertificateVerify(0x0804, bytes(64))) == AlertDescription.DECRYPT_ERROR


@pytest.mark.parametrize("scheme", SIGNATURE_SCHEMES, ids=lambda scheme: scheme.name)
def test_a_scheme_is_what_its_name_says(scheme: SignatureScheme) -> None:
    """RFC 8446 section 4.2.3."""
    kind, _, rest = scheme.name.partition("_")
    assert (
        scheme.key
        == {"ecdsa": "ECDSA", "ed25519": "Ed25519", "rsa": "RSASSA-PSS" if "pss_pss" in rest else "RSA"}[kind]
    )
    assert (scheme.hash.name if scheme.hash else "ed25519") == scheme.name.rpartition("_")[2]
    assert scheme.pss is rest.startswith("pss")
    assert (scheme.curve.name if scheme.curve else "") == (rest.partition("_")[0] if kind == "ecdsa" else "")


def test_a_scheme_without_a_name_is_shown_in_hex() -> None:
    assert proof.scheme_name(0xFE00, TLS12) == "0xfe00"


def test_in_tls12_a_scheme_of_ecdsa_has_no_curve() -> None:
    """RFC 5246 section 7.4.1.4.1: it goes with a hash and any curve."""
    for scheme in SIGNATURE_SCHEMES:
        assert proof.scheme_name(scheme.id, TLS13) == scheme.name
        if scheme.curve and scheme.hash:
            assert proof.scheme_name(scheme.id, TLS12) == f"ecdsa with {scheme.hash.name}"
        else:
            assert proof.scheme_name(scheme.id, TLS12) == scheme.name


@pytest.mark.parametrize(
    ("key", "scheme", "words"),
    [
        (ec.generate_private_key(ec.SECP384R1()), 0x0403, "is not for a key of kind ECDSA on secp384r1 in TLS 1.3"),
        (KEYS["RSA"], 0x0401, "rsa_pkcs1_sha256 is not for a key of kind RSA in TLS 1.3"),
        (KEYS["RSA"], 0x0403, "ecdsa_secp256r1_sha256 is not for a key of kind RSA in TLS 1.3"),
    ],
    ids=["another curve", "PKCS #1 v1.5", "another kind"],
)
def test_a_refusal_says_for_which_key_a_scheme_is_not(key: PrivateKey, scheme: int, words: str) -> None:
    with pytest.raises(ProofError, match=words):
        proof.check_signature(key.public_key(), scheme, b"", b"", TLS13)
    with pytest.raises(TlsError, match=f"no signature scheme {words.partition('is not ')[2]}"):
        proof.prove_with(key)(replace(CHALLENGE, schemes=(scheme,), version=TLS13))


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_the_key_in_a_certificate_is_found(authority: pki.Identity, key_type: KeyType) -> None:
    alice = pki.new_client(authority, key_type=key_type)
    assert proof.key_kind(proof.public_key(alice.der)) == proof.key_kind(alice.key)


@given(st.binary(max_size=100))
def test_what_is_no_certificate_is_a_bad_certificate(data: bytes) -> None:
    with pytest.raises(CertificateError) as caught:
        proof.public_key(data)
    assert caught.value.alert == AlertDescription.BAD_CERTIFICATE


def test_a_certificate_with_a_key_that_no_scheme_takes_is_unsupported(authority: pki.Identity) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, ed448.Ed448PrivateKey.generate().public_key(), 1, now, now)
        .sign(authority.key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    with pytest.raises(CertificateError) as caught:
        proof.public_key(certificate)
    assert caught.value.alert == AlertDescription.UNSUPPORTED_CERTIFICATE


PROVERS = {"honest": None, "by another key": by_another_key, "omitted": omitted}
SEEN = {
    (Proof.REQUIRED, "honest"): ProofSeen.VALID,
    (Proof.REQUIRED, "by another key"): ProofSeen.INVALID,
    (Proof.REQUIRED, "omitted"): ProofSeen.NONE,
    (Proof.IGNORED, "honest"): ProofSeen.VALID,
    (Proof.IGNORED, "by another key"): ProofSeen.INVALID,
    (Proof.IGNORED, "omitted"): ProofSeen.NONE,
    (Proof.NOT_CHECKED, "honest"): ProofSeen.UNCHECKED,
    (Proof.NOT_CHECKED, "by another key"): ProofSeen.UNCHECKED,
    (Proof.NOT_CHECKED, "omitted"): ProofSeen.NONE,
}


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
@pytest.mark.parametrize(("policy", "name"), SEEN, ids=lambda value: getattr(value, "name", value))
def test_a_server_says_what_it_measured_of_a_proof(
    alice: pki.Identity, bank: pki.Identity, policy: Proof, name: str, version: Version
) -> None:
    make = PROVERS[name]
    client = our_client(alice, make and make(alice, bank, bank), versions=(version,))
    server = our_server(bank, policy, versions=(version,))
    assert server.proof == ProofSeen.NONE
    talk(client, server)
    assert server.proof == SEEN[policy, name]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("ECDSA", "ECDSA, secp256r1"), ("RSA", "RSA, 2048 bits"), ("Ed25519", "Ed25519")],
)
def test_a_kind_of_key_is_told_with_its_curve_or_its_length(kind: str, words: str) -> None:
    assert proof.key_words(KEYS[kind].public_key()) == words
