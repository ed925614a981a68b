"""Certificates whose key is for RSASSA-PSS alone (RFC 4055): OpenSSL makes them, and no part of the lab does."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from lab.staging import pki
from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.errors import ProofError
from lab.tls.messages import CertificateVerify, parse
from lab.tls.proof import SIGNATURE_SCHEMES, PssPublicKey, PublicKey, SignatureScheme
from lab.tls.versions import TLS12, TLS13, Version
from programs import output_of
from tls_peers import (
    GNUTLS_ONLY_12,
    GNUTLS_ONLY_13,
    Files,
    answer_once,
    call,
    gnutls_serv,
    our_client,
    our_server,
    s_client,
    s_server,
    serving,
)

PSS_SCHEMES = [scheme for scheme in SIGNATURE_SCHEMES if scheme.key == "RSASSA-PSS"]
each_version = pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
each_scheme = pytest.mark.parametrize("scheme", PSS_SCHEMES, ids=lambda scheme: scheme.name)


@dataclass(frozen=True)
class Pss:
    """Such a key with its certificate, in one file."""

    file: Path
    key: rsa.RSAPrivateKey
    der: bytes


@pytest.fixture
def pss(tmp_path: Path, authority: pki.Identity) -> Pss:
    file, ca, key, certificate = (tmp_path / f"{name}.pem" for name in ("pss", "authority", "key", "certificate"))
    ca.write_bytes(authority.bundle_pem())
    output_of("openssl", "genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    subject = ("-subj", "/CN=pss", "-addext", "subjectAltName=DNS:bank.test", "-days", "2")
    signed = ("-CA", ca, "-CAkey", ca, "-out", certificate)
    output_of("openssl", "req", "-x509", "-new", "-key", key, *subject, *signed)
    file.write_bytes(key.read_bytes() + certificate.read_bytes())
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return Pss(file, private, load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER))


def files_of(tmp_path: Path, authority: pki.Identity, server: Path, client: Path) -> Files:
    files = Files(tmp_path / "ca.pem", server, client)
    files.ca.write_bytes(authority.certificate_pem())
    return files


def refusal(key: PublicKey, scheme: int, content: bytes, signature: bytes) -> int:
    with pytest.raises(ProofError) as caught:
        proof.check_signature(key, scheme, content, signature)
    return caught.value.alert


@each_version
@pytest.mark.parametrize("serves", ["openssl", "gnutls"])
def test_our_client_takes_a_server_with_such_a_key(
    tmp_path: Path, authority: pki.Identity, alice: pki.Identity, pss: Pss, version: Version, serves: str
) -> None:
    client = tmp_path / "client.pem"
    client.write_bytes(alice.bundle_pem())
    files = files_of(tmp_path, authority, pss.file, client)
    options, priority = (("-tls1_3",), GNUTLS_ONLY_13) if version == TLS13 else ((), GNUTLS_ONLY_12)
    program = s_server(files, *options) if serves == "openssl" else gnutls_serv(files, priority)
    ours = our_client(alice, versions=(version,))
    with serving(tmp_path / "output", *program) as port:
        asyncio.run(call(port, ours, b"GET / HTTP/1.0\r\n\r\n"))
    assert ours.peer_chain[0] == pss.der


@each_version
@each_scheme
def test_our_server_takes_a_client_with_such_a_key(
    tmp_path: Path, authority: pki.Identity, bank: pki.Identity, pss: Pss, scheme: SignatureScheme, version: Version
) -> None:
    server_file = tmp_path / "server.pem"
    server_file.write_bytes(bank.bundle_pem())
    files = files_of(tmp_path, authority, server_file, pss.file)
    server = our_server(bank, versions=(version,))
    options = ("-tls1_3",) if version == TLS13 else ()
    command = s_client(files, *options, "-client_sigalgs", scheme.name)
    assert "\nhello\n" in asyncio.run(answer_once(server, *command, line=b"hello\n"))
    (raw,) = [step.raw for step in server.steps if (step.sender, step.name) == ("client", CertificateVerify.name)]
    answer = parse(raw)
    assert isinstance(answer, CertificateVerify)
    assert answer.scheme == scheme.id
    assert server.peer_chain[0] == pss.der


@each_scheme
def test_such_a_key_has_schemes_of_its_own(pss: Pss, scheme: SignatureScheme) -> None:
    """RFC 8446 section 4.2.3: the certificate tells which kind of RSA key it is, and the signatures are the same."""
    key = proof.public_key(pss.der)
    assert isinstance(key, PssPublicKey)
    signature = proof.sign(pss.key, scheme, b"content")
    proof.check_signature(key, scheme.id, b"content", signature)
    assert refusal(key, scheme.id, b"other content", signature) == AlertDescription.DECRYPT_ERROR
    assert refusal(key.key, scheme.id, b"content", signature) == AlertDescription.ILLEGAL_PARAMETER


@pytest.mark.parametrize("scheme", [one for one in SIGNATURE_SCHEMES if one.key == "RSA"], ids=lambda one: one.name)
def test_such_a_key_has_none_of_the_schemes_of_an_ordinary_one(pss: Pss, scheme: SignatureScheme) -> None:
    signature = proof.sign(pss.key, scheme, b"content")
    assert refusal(proof.public_key(pss.der), scheme.id, b"content", signature) == AlertDescription.ILLEGAL_PARAMETER
