"""What the files hold in which the attackers keep what they took."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from handmade import run_of
from lab.judging.stolen import MAX_OCTETS, stolen_files

DER = b"any bytes"
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\n{b64encode(DER).decode()}\n-----END CERTIFICATE-----\n"


def key(kind: str) -> str:
    return f"-----BEGIN {kind}PRIVATE KEY-----\nYW55\n-----END {kind}PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("content", "certificates", "keys"),
    [
        ("", (), 0),
        (CERTIFICATE, (DER,), 0),
        (CERTIFICATE + CERTIFICATE, (DER, DER), 0),
        (CERTIFICATE.replace("\n", "\r\n"), (DER,), 0),
        (CERTIFICATE + key("") + key("EC ") + key("RSA ") + key("ENCRYPTED "), (DER,), 4),
        (CERTIFICATE.replace("\n-----END", "A\n-----END"), (b"",), 0),
        ("-----BEGIN CERTIFICATE-----\n", (), 0),
    ],
)
def test_a_file_holds_what_its_pem_labels_say(
    tmp_path: Path, content: str, certificates: tuple[bytes, ...], keys: int
) -> None:
    """A damaged certificate counts, and is empty."""
    file = tmp_path / "attacker" / "stolen" / "alice.pem"
    file.parent.mkdir(parents=True)
    file.write_text(content, newline="")
    (found,) = stolen_files(run_of(folder=tmp_path))
    assert (found.name, found.certificates, found.keys) == ("attacker/stolen/alice.pem", certificates, keys)
    assert found.fingerprints == tuple(sha256(one).hexdigest() if one else "" for one in certificates)


def test_what_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    for part, name in (("attacker", "b.pem"), ("attacker", "a.pem"), ("interceptor", "a.pem")):
        (tmp_path / part / "stolen").mkdir(parents=True, exist_ok=True)
        (tmp_path / part / "stolen" / name).write_text(CERTIFICATE)
    (tmp_path / "attacker" / "stolen" / "folder.pem").mkdir()
    with (tmp_path / "attacker" / "stolen" / "long.pem").open("a") as long:
        long.write(CERTIFICATE)
        long.truncate(MAX_OCTETS + 1)
    run = run_of(folder=tmp_path)
    attackers = {"a.pem": (DER,), "b.pem": (DER,), "folder.pem": (), "long.pem": ()}
    assert {file.name.rpartition("/")[2]: file.certificates for file in stolen_files(run, "attacker")} == attackers
    assert [file.name for file in stolen_files(run)] == [
        *(f"attacker/stolen/{name}" for name in attackers),
        "interceptor/stolen/a.pem",
    ]
