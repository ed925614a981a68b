"""Files that got out: whatever they are, they give their certificates or a clear error."""

import json
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attacker.collected import Collected, Sighting
from attacker.errors import AttackerError
from attacker.leak.files import certificates_in, keys_in
from lab.catalogue.plan import KEY_TYPES, KeyType
from lab.events.types import CertificateCaptured, Event, PartStopped, Trouble
from lab.staging import pki
from victim_server import register
from victims import events_in, run_part

ALICE, BOB = (pki.new_self_signed_client(name) for name in ("alice", "bob"))
SQLITE = b"SQLite format 3\0"


def register_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "customers.sqlite"
        register.create(path, [register.Customer("alice", ALICE.der), register.Customer("bob", BOB.der)])
        return path.read_bytes()


REGISTER = register_bytes()


def certificates_in_bytes(content: bytes) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "leaked"
        path.write_bytes(content)
        return list(certificates_in(path))


# --- keys ---


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_key_is_found_with_the_certificate_that_it_is_for(tmp_path: Path, key_type: KeyType) -> None:
    identities = [pki.new_self_signed_client(name, key_type) for name in ("alice", "bob")]
    leaked = tmp_path / "leaked"
    leaked.write_bytes(b"".join(one.bundle_pem() for one in identities))
    assert list(certificates_in(leaked)) == [one.der for one in identities]
    found = keys_in(leaked)
    for one in identities:
        public = one.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert found[public].public_key() == one.certificate.public_key()
    leaked.write_bytes(b"".join(one.certificate_pem() for one in identities))
    assert keys_in(leaked) == {}


@pytest.mark.parametrize("inside", [b"", b"AAAA", b"MAA="])
def test_what_only_looks_like_a_key_is_none(tmp_path: Path, inside: bytes) -> None:
    leaked = tmp_path / "leaked"
    leaked.write_bytes(b"-----BEGIN PRIVATE KEY-----\n" + inside + b"\n-----END PRIVATE KEY-----\n")
    assert keys_in(leaked) == {}


# --- what is kept ---


def test_a_certificate_is_in_its_file_before_it_is_reported(tmp_path: Path) -> None:
    """Under a name that tells its kind, in whatever order they come."""
    from_ca = pki.new_client(pki.new_authority())
    kept: list[list[str]] = []

    class Reports:
        def report(self, event: Event) -> None:
            assert isinstance(event, CertificateCaptured)
            files = {path.name: path.read_bytes() for path in (tmp_path / "stolen").iterdir()}
            kept.append([name for name, content in files.items() if sha256_of(content) == event.sha256])

    collected = Collected(Reports(), tmp_path, "log", "a test")
    for der in (from_ca.der, ALICE.der, pki.new_self_signed_client("alice").der):
        collected.add(der, Sighting("", "file", ""))
    assert kept == [["alice.pem"], ["alice-self-signed.pem"], ["alice-self-signed-2.pem"]]


def sha256_of(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


# --- what is found ---


@pytest.mark.parametrize(
    "written",
    [
        lambda pem: pem,
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: quote(pem, safe=""),
        lambda pem: quote(pem, safe="/"),
        lambda pem: quote_plus(pem),
        lambda pem: json.dumps({"request": "GET /", "certificate": pem}),
        lambda pem: json.dumps({"certificate": pem.replace("\n", "\r\n")}),
        lambda pem: pem.replace("\n", r"\x0A"),
        lambda pem: pem.replace("\n", "\n\t"),
    ],
    ids=["PEM", "CRLF", "percent", "percent but /", "form", "JSON", "JSON with CRLF", "hex escapes", "tabs"],
)
def test_pem_is_found_as_logs_have_it(written: Callable[[str], str]) -> None:
    lines = [f'127.0.0.1 "GET /" 200 {written(one.certificate_pem().decode())} -' for one in (ALICE, BOB, ALICE)]
    assert certificates_in_bytes("\n".join(lines).encode()) == [ALICE.der, BOB.der]


def test_the_banks_register_gives_everyone_in_it() -> None:
    assert certificates_in_bytes(REGISTER) == [ALICE.der, BOB.der]


def test_a_database_may_have_other_tables_and_keep_certificates_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE empty (x)")
        database.execute('CREATE TABLE "a ""table"" of theirs" (id INTEGER, der BLOB, pem TEXT, note)')
        row = (1, ALICE.der, BOB.certificate_pem().decode(), None)
        database.execute('INSERT INTO "a ""table"" of theirs" VALUES (?, ?, ?, ?)', row)
    assert list(certificates_in(path)) == [ALICE.der, BOB.der]


def test_a_certificate_in_der_is_one() -> None:
    assert certificates_in_bytes(ALICE.der) == [ALICE.der]


def test_a_broken_certificate_hides_no_other() -> None:
    pem = ALICE.certificate_pem()
    assert certificates_in_bytes(pem[:200] + pem + pem.replace(b"MII", b"MIX", 1) + BOB.certificate_pem()) == [
        ALICE.der,
        BOB.der,
    ]


# --- whatever comes ---


def assert_certificates_or_a_clear_error(content: bytes) -> None:
    try:
        found = certificates_in_bytes(content)
    except AttackerError as error:
        found, said = [], str(error)
    else:
        said = "give the file that leaked"
    assert said.isprintable()
    assert said.endswith("give the file that leaked")
    assert len(set(found)) == len(found)


@given(st.binary(max_size=2000))
@example(b"")
@example(b"\x30")
@example(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----")
@example(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")
@example(b"-----BEGIN%20CERTIFICATE-----%-----END%20CERTIFICATE-----")
@example(b"-----BEGIN CERTIFICATE-----" * 60)
def test_any_bytes_give_certificates_or_a_clear_error(content: bytes) -> None:
    assert_certificates_or_a_clear_error(content)


@given(st.binary(max_size=2000))
@settings(max_examples=50)
def test_what_only_begins_like_a_database_gives_a_clear_error(content: bytes) -> None:
    assert_certificates_or_a_clear_error(SQLITE + content)


@given(st.lists(st.tuples(st.integers(0, len(REGISTER) - 1), st.integers(0, 255)), min_size=1, max_size=30))
@settings(max_examples=150)
def test_a_garbled_register_gives_certificates_or_a_clear_error(changes: list[tuple[int, int]]) -> None:
    garbled = bytearray(REGISTER)
    for at, value in changes:
        garbled[at] = value
    assert_certificates_or_a_clear_error(bytes(garbled))


@given(st.integers(0, len(ALICE.der) - 1), st.integers(0, 255))
@example(ALICE.der.index(b"\xa0\x03\x02\x01\x02") + 4, 8)  # X.509 version 9
@settings(max_examples=150)
def test_a_garbled_certificate_is_one_or_none(at: int, value: int) -> None:
    garbled = ALICE.der[:at] + bytes((value,)) + ALICE.der[at + 1 :]
    assert certificates_in_bytes(garbled) in ([], [garbled])


# --- as a part ---


def steal(file: Path, folder: Path, *options: str) -> tuple[int, str]:
    """The attacker as a part, with a file that leaked and gateways that do not exist."""
    gateways = ("--gateway=127.0.0.1:9", "--gateway=self-signed=127.0.0.1:9")
    done = run_part("attacker", "database", *gateways, f"--file={file}", f"--folder={folder}", *options)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("content", "why"),
    [(SQLITE + b"garbage", "not a database"), (REGISTER[:5000], "malformed")],
    ids=["no database", "half a register"],
)
def test_a_database_that_is_none_takes_one_line(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "customers.sqlite"
    file.write_bytes(content)
    status, said = steal(file, tmp_path / "run")
    assert (status, said.count("\n")) == (2, 1), said
    assert said.startswith(f"attacker: {file}: ")
    assert why in said
    assert [event.what for event in events_in(tmp_path / "run" / "events.jsonl") if isinstance(event, Trouble)]


@pytest.mark.parametrize(("name", "why"), [("missing", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_takes_one_line(tmp_path: Path, name: str, why: str) -> None:
    status, said = steal(tmp_path / name, tmp_path / "run")
    assert (status, said.count("\n")) == (2, 1), said
    assert why in said


@pytest.mark.parametrize("content", [b"", b"nothing in here", pki.new_client(pki.new_authority(), "bob").der])
def test_a_file_without_the_victim_comes_to_an_end(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert steal(tmp_path / "file", tmp_path / "run") == (0, "")
    assert isinstance(events_in(tmp_path / "run" / "events.jsonl")[-1], PartStopped)
    assert not (tmp_path / "run" / "stolen" / "alice.pem").exists()


def test_certificates_that_no_move_can_be_made_of_stop_nobody(tmp_path: Path) -> None:
    """Bits of alice's certificate turned, so that it still reads as hers; one of them, at least, has no usable key."""
    ders = [ALICE.der[:at] + bytes((ALICE.der[at] ^ 1,)) + ALICE.der[at + 1 :] for at in range(0, len(ALICE.der), 5)]
    with closing(sqlite3.connect(tmp_path / "file")) as database, database:
        database.execute("CREATE TABLE all_of_them (der BLOB)")
        database.executemany("INSERT INTO all_of_them VALUES (?)", [(der,) for der in ders])
    status, said = steal(tmp_path / "file", tmp_path / "run", "--tls=1.2", "--tls=1.3", "--move=foreign-key")
    assert status == 0, said
    seen = [event for event in events_in(tmp_path / "run" / "events.jsonl") if isinstance(event, CertificateCaptured)]
    assert len(seen) > 10
