"""What the lab hands out: files that only their owner reads, and certificates that OpenSSL takes."""

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab.capture.key_forms import key_forms
from lab.catalogue import cast
from lab.catalogue.plan import KEY_TYPES, KeyType
from lab.staging import pki
from lab.tls.bundle import parse_bundle
from programs import program
from victim_server import register


def openssl(*words: str | Path) -> str:
    call = [program("openssl"), *map(str, words)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.fixture(params=KEY_TYPES)
def issued_with(request: pytest.FixtureRequest, tmp_path: Path) -> pki.Issued:
    """Everything the lab hands out, with each kind of key."""
    return pki.issue(tmp_path / "public", tmp_path / "server", tmp_path / "client", request.param)


@pytest.mark.parametrize(
    ("bundle", "trusted", "purpose", "other"),
    [
        ("client_pem", "ca_pem", "sslclient", "sslserver"),
        ("server_pem", "ca_pem", "sslserver", "sslclient"),
        ("client_self_signed_pem", "client_self_signed_pem", "sslclient", "sslserver"),
    ],
)
def test_openssl_takes_a_certificate_for_its_own_purpose_only(
    issued_with: pki.Issued, bundle: str, trusted: str, purpose: str, other: str
) -> None:
    files = ("-CAfile", getattr(issued_with, trusted), getattr(issued_with, bundle))
    assert openssl("verify", "-purpose", purpose, *files).endswith(": OK\n")
    refused = openssl("verify", "-purpose", other, *files)
    assert "unsuitable certificate purpose" in refused or "unsupported certificate purpose" in refused


def test_openssl_finds_nothing_to_object_to_in_strict_mode(issued_with: pki.Issued) -> None:
    it = issued_with
    for trusted, certificate in (
        (it.ca_pem, it.client_pem),
        (it.ca_pem, it.server_pem),
        (it.client_self_signed_pem, it.client_self_signed_pem),
    ):
        said = openssl("verify", "-x509_strict", "-CAfile", trusted, certificate)
        assert said.endswith(": OK\n"), said


def test_nobody_vouches_for_a_self_signed_certificate_but_the_register(issued: pki.Issued) -> None:
    assert "error" in openssl("verify", "-CAfile", issued.ca_pem, issued.client_self_signed_pem)
    entries = register.read(issued.register)
    assert [entry.name for entry in entries] == ["alice", "bob", "carol"]
    assert entries[0].certificate == issued.client_self_signed.der
    assert b"PRIVATE KEY" not in issued.register.read_bytes()


def test_the_two_bundles_have_nothing_in_common_but_the_customer(issued: pki.Issued) -> None:
    one, two = issued.client, issued.client_self_signed
    assert one.certificate.subject == two.certificate.subject == two.certificate.issuer
    assert one.key.public_key() != two.key.public_key()


def test_mallory_is_a_customer_like_any_other_and_gets_nothing_of_alices(tmp_path: Path) -> None:
    hers = tmp_path / "attacker"
    it = pki.issue(tmp_path / "public", tmp_path / "server", tmp_path / "client", attacker=hers)
    assert it.mallory
    assert sorted(hers.iterdir()) == sorted([it.mallory.pem, it.mallory.self_signed_pem])
    for path in hers.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for alices in (it.client, it.client_self_signed):
            assert alices.certificate_pem() not in path.read_bytes()
    assert openssl("verify", "-CAfile", it.ca_pem, it.mallory.pem).endswith(": OK\n")
    entries = {entry.name: entry.certificate for entry in register.read(it.register)}
    assert entries["mallory"] == it.mallory.self_signed.der
    assert "mallory" in it.mallory.identity.certificate.subject.rfc4514_string()


def test_mallory_can_be_left_out(issued: pki.Issued, tmp_path: Path) -> None:
    assert issued.mallory is None
    assert not list(tmp_path.rglob("*mallory*"))


@pytest.mark.parametrize(
    ("option", "name"),
    [*(("-verify_hostname", name) for name in cast.SERVER_NAMES), ("-verify_ip", "127.0.0.1"), ("-verify_ip", "::1")],
)
def test_the_servers_certificate_is_for_every_name_and_address_of_its(
    issued: pki.Issued, option: str, name: str
) -> None:
    said = openssl("verify", option, name, "-CAfile", issued.ca_pem, issued.server_pem)
    assert said.endswith(": OK\n")


def test_a_certificate_of_another_authority_does_not_pass(issued: pki.Issued, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(pki.new_client(pki.new_authority("somebody else")).certificate_pem())
    assert "error" in openssl("verify", "-CAfile", issued.ca_pem, stranger)


def test_alice_can_issue_nothing_herself(issued: pki.Issued, tmp_path: Path) -> None:
    forged = pki.new_client(issued.client, "mallory")
    (tmp_path / "forged.pem").write_bytes(forged.certificate_pem())
    said = openssl("verify", "-CAfile", issued.ca_pem, "-untrusted", issued.client_pem, tmp_path / "forged.pem")
    assert "error" in said


def test_the_bundle_is_the_same_in_pem_and_in_pkcs12(issued_with: pki.Issued) -> None:
    it, now = issued_with, datetime.now(UTC)
    for identity, pem_file, p12_file, password_file in (
        (it.client, it.client_pem, it.client_p12, it.client_p12_password),
        (
            it.client_self_signed,
            it.client_self_signed_pem,
            it.client_self_signed_p12,
            it.client_self_signed_p12_password,
        ),
    ):
        pem = parse_bundle(pem_file.read_bytes(), None, "pem", now)
        p12 = parse_bundle(p12_file.read_bytes(), password_file.read_text().strip(), "p12", now)
        assert pem.chain == p12.chain == (identity.der,)
        assert pem.key.public_key() == p12.key.public_key()


# --- issuing on request ---


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_on_request_the_bank_signs_a_key_that_it_never_has(
    issued: pki.Issued, tmp_path: Path, key_type: KeyType
) -> None:
    made = pki.request_and_issue(issued.authority, tmp_path / "server", tmp_path / "client", key_type)
    assert openssl("verify", "-purpose", "sslclient", "-CAfile", issued.ca_pem, made.client_pem).endswith(": OK\n")
    bundle = parse_bundle(made.client_pem.read_bytes(), None, "pem", datetime.now(UTC))
    assert bundle.key.public_key() == made.identity.certificate.public_key()
    kept = made.requests.read_bytes()
    assert made.identity.certificate_pem() in kept
    assert "verify OK" in openssl("req", "-verify", "-noout", "-in", made.requests)
    sought = {name: form for name, form in key_forms(bundle.key).items() if form in made.client_pem.read_bytes()}
    assert sought  # the key is in alice's own file, so that the search can find it
    assert not [name for name, form in key_forms(bundle.key).items() if form in kept]
    for path in (made.client_pem, made.requests):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_alices_certificates_name_the_student_and_nobody_elses_do(tmp_path: Path) -> None:
    folders = tmp_path / "public", tmp_path / "server", tmp_path / "client"
    issued = pki.issue(*folders, attacker=tmp_path, student="s07")
    requested = pki.request_and_issue(issued.authority, tmp_path / "server", tmp_path / "client", student="s07")
    hers = [issued.client_pem, issued.client_self_signed_pem, requested.client_pem]
    others = [issued.server_pem, tmp_path / pki.ATTACKER_PEM, tmp_path / pki.ATTACKER_SELF_SIGNED_PEM]

    def subject(pem: Path) -> str:
        return openssl("x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", pem)

    assert all("OU=s07" in subject(one) for one in hers)
    assert not any("OU=" in subject(one) for one in others)


def test_a_request_is_answered_anew_by_a_new_authority(issued: pki.Issued, tmp_path: Path) -> None:
    """The lab issues everything anew where something is missing or has expired; alice keeps her key."""
    key, requests = tmp_path / "key.pem", tmp_path / "requests.pem"
    pki.request(key, requests)
    assert not pki.is_answered(requests)
    pki.answer(pki.new_authority("an earlier one"), requests)
    assert pki.is_answered(requests)
    certificate = pki.answer(issued.authority, requests)
    assert requests.read_bytes().count(b"-----BEGIN ") == 2
    assert openssl("verify", "-CAfile", issued.ca_pem, requests).endswith(": OK\n")
    bundle = parse_bundle(key.read_bytes() + requests.read_bytes(), None, "both", datetime.now(UTC))
    assert bundle.chain == (certificate.public_bytes(Encoding.DER),)
    event = pki.answered_event(requests)
    assert (event.sha256, event.files) == (certificate.fingerprint(hashes.SHA256()).hex(), ())


def test_a_request_that_openssl_makes_is_signed_under_the_name_that_the_bank_knows(
    issued: pki.Issued, tmp_path: Path
) -> None:
    key, request = tmp_path / "key.pem", tmp_path / "request.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    openssl("req", "-new", *curve, "-nodes", "-keyout", key, "-subj", "/CN=mallory", "-out", request)
    certificate = pki.issue_on_request(issued.authority, request.read_bytes(), "alice")
    assert certificate.subject == issued.client.certificate.subject
    (tmp_path / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    assert openssl("verify", "-CAfile", issued.ca_pem, tmp_path / "certificate.pem").endswith(": OK\n")
    assert openssl("x509", "-pubkey", "-noout", "-in", tmp_path / "certificate.pem") == openssl(
        "pkey", "-pubout", "-in", key
    )


def test_a_request_for_a_key_that_its_sender_does_not_have_is_refused(issued: pki.Issued) -> None:
    """Somebody else's public key in it, and the signature is by another."""
    own, other = (x509.load_pem_x509_csr(pki.new_request(pki.new_key("p256"))) for _ in range(2))
    points = [one.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for one in (own, other)]
    der = own.public_bytes(Encoding.DER)
    assert points[0] in der
    forged = x509.load_der_x509_csr(der.replace(points[0], points[1])).public_bytes(Encoding.PEM)
    with pytest.raises(pki.PkiError, match="is not signed by the key in it"):
        pki.issue_on_request(issued.authority, forged)


@pytest.mark.parametrize("request_pem", [b"", b"x", b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END"])
def test_what_is_no_request_is_refused(issued: pki.Issued, request_pem: bytes) -> None:
    with pytest.raises(pki.PkiError, match="cannot be read"):
        pki.issue_on_request(issued.authority, request_pem)


def test_the_issuer_keeps_the_bundles_only_if_it_is_told_to(issued: pki.Issued, tmp_path: Path) -> None:
    assert issued.archive is None
    folders = (tmp_path / "a" / "public", tmp_path / "a" / "server", tmp_path / "a" / "client")
    it = pki.issue(*folders, archive=tmp_path / "a" / "archive", attacker=tmp_path / "a" / "attacker")
    assert it.archive
    kept = it.archive.read_bytes()
    assert it.client.bundle_pem() in kept
    assert it.client_self_signed.bundle_pem() in kept
    assert it.mallory
    assert it.mallory.identity.certificate_pem() not in kept
    assert kept.count(b"-----BEGIN PRIVATE KEY-----") == 4
    assert stat.S_IMODE(it.archive.stat().st_mode) == 0o600
    assert it.archive.parent != it.register.parent  # the bank's gateways need no copies


def test_openssl_opens_the_pkcs12_bundle_with_its_password(issued_with: pki.Issued) -> None:
    it = issued_with
    said = openssl("pkcs12", "-in", it.client_p12, "-passin", f"file:{it.client_p12_password}", "-nodes")
    assert "PRIVATE KEY" in said
    assert "CN = alice" in said


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_only_the_owner_may_read_what_is_secret(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        it = pki.issue(tmp_path / "public", tmp_path / "server", tmp_path / "client")
    finally:
        os.umask(before)
    for path in (*it.server_pem.parent.iterdir(), *it.client_pem.parent.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(it.ca_pem.stat().st_mode) == 0o644


def test_what_everybody_may_have_holds_no_key(issued: pki.Issued) -> None:
    (only,) = issued.ca_pem.parent.iterdir()
    assert only == issued.ca_pem
    assert b"PRIVATE KEY" not in only.read_bytes()


@pytest.mark.parametrize(
    "there",
    [
        "public/ca.pem",
        "server/server.pem",
        "server/customers.sqlite",
        "client/alice.pem",
        "client/alice.p12",
        "client/alice-self-signed.pem",
        "attacker/mallory.pem",
        "attacker/mallory-self-signed.pem",
    ],
)
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    path = tmp_path / there
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(pki.PkiError) as caught:
        pki.issue(tmp_path / "public", tmp_path / "server", tmp_path / "client", attacker=tmp_path / "attacker")
    assert str(caught.value).startswith(f"{path}: is already there")
    assert path.read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(pki.PkiError) as caught:
        pki.issue(tmp_path / "file" / "public", tmp_path / "server", tmp_path / "client")
    assert str(caught.value).startswith(f"{tmp_path}/file/public/ca.pem: cannot be written")


def test_certificates_are_valid_from_an_hour_ago_for_30_days(authority: pki.Identity) -> None:
    now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    certificate = pki.new_client(authority, now=now).certificate
    assert certificate.not_valid_before_utc == now - timedelta(hours=1)
    assert certificate.not_valid_after_utc == now + timedelta(days=30)


def test_no_two_certificates_are_the_same(authority: pki.Identity) -> None:
    one, two = pki.new_client(authority), pki.new_client(authority)
    assert one.certificate.serial_number != two.certificate.serial_number
    assert one.sha256 != two.sha256


@pytest.mark.parametrize(
    ("key_type", "words"),
    [("p256", "ECDSA, secp256r1"), ("rsa", "RSA, 2048 bits"), ("ed25519", "Ed25519"), ("p384", "ECDSA, secp384r1")],
)
def test_what_is_told_about_a_bundle_is_what_is_in_it(tmp_path: Path, key_type: KeyType, words: str) -> None:
    it = pki.issue(tmp_path / "public", tmp_path / "server", tmp_path / "client", key_type)
    event = pki.issued_event(tmp_path / "client")
    assert event.key_type == words
    assert event.sha256 == it.client.sha256
    assert event.subject == x509.load_pem_x509_certificate(it.client.certificate_pem()).subject.rfc4514_string()
    assert event.issuer == "CN=certreplay lab authority"
    assert datetime.fromisoformat(event.not_after) == it.client.certificate.not_valid_after_utc
    assert event.files == ("alice.pem", "alice.p12")
    other = pki.issued_event(tmp_path / "client", pki.SELF_SIGNED)
    assert (other.sha256, other.issuer) == (it.client_self_signed.sha256, other.subject)
    assert other.files == ("alice-self-signed.pem", "alice-self-signed.p12")
