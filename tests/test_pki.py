"""What the lab issues: files that only their owners read, and certificates that OpenSSL takes for their purpose."""

import stat
import subprocess
from pathlib import Path

import pytest

from lab import pki
from lab.pki import KEY_TYPES, KeyType, PkiError
from programs import program


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize(("role", "purpose"), [("client", "sslclient"), ("server", "sslserver")])
def test_openssl_verifies_the_chain_for_its_purpose_alone(
    authority: pki.Identity, tmp_path: Path, key_type: KeyType, role: str, purpose: str
) -> None:
    made = (pki.new_client if role == "client" else pki.new_server)(authority, key_type=key_type)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem())
    (tmp_path / "leaf.pem").write_bytes(made.certificate_pem())
    for asked in ("sslclient", "sslserver"):
        command = [program("openssl"), "verify", "-x509_strict", "-purpose", asked, "-CAfile", "ca.pem", "leaf.pem"]
        verified = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (verified.returncode == 0) is (asked == purpose), verified.stderr


def test_private_files_are_their_owners_alone(issued: pki.Issued) -> None:
    for path in (issued.server_pem, issued.client_pem, issued.client_p12, issued.client_p12_password):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"PRIVATE" not in issued.ca_pem.read_bytes()


def test_the_authoritys_key_is_kept_nowhere(issued: pki.Issued) -> None:
    secret = issued.authority.key.private_numbers().private_value  # type: ignore[union-attr]
    for path in issued.ca_pem.parent.parent.rglob("*.pem"):
        assert f"{secret:x}".encode() not in path.read_bytes()


def test_the_p12_opens_with_the_password_beside_it(issued: pki.Issued) -> None:
    command = [program("openssl"), "pkcs12", "-in", str(issued.client_p12), "-nodes"]
    password = f"file:{issued.client_p12_password}"
    opened = subprocess.run([*command, "-passin", password], capture_output=True, text=True, check=True)
    assert "BEGIN PRIVATE KEY" in opened.stdout
    assert "BEGIN CERTIFICATE" in opened.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folders = (tmp_path / "public", tmp_path / "server", tmp_path / "client")
    first = pki.issue(*folders)
    before = first.client_pem.read_bytes()
    with pytest.raises(PkiError, match="is not overwritten"):
        pki.issue(*folders)
    assert first.client_pem.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PkiError, match="file"):
        pki.issue(tmp_path / "file" / "public", tmp_path / "server", tmp_path / "client")


def test_the_clients_certificate_names_her_as_real_ones_do(issued: pki.Issued) -> None:
    assert issued.client.certificate.subject.rfc4514_string() == "O=Bank of Example,CN=alice"
