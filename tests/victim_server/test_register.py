"""The bank's register of customers: what was written is read, and nothing else is taken for one."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.process import BadInput
from lab.staging import pki
from victim_server import register
from victim_server.register import Customer

IDENTITIES = [pki.new_self_signed_client(name) for name in ("alice", "bob", "carol", "dave")]
DERS = [identity.der for identity in IDENTITIES]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "customers.sqlite"


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(st.tuples(NAMES, st.sampled_from(DERS)), max_size=4, unique_by=lambda entry: entry[1]))
@settings(max_examples=50)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, bytes]]) -> None:
    path = tmp_path_factory.mktemp("register") / "customers.sqlite"
    entries = tuple(Customer(*row) for row in rows)
    register.create(path, entries)
    assert register.read(path) == entries


def test_only_its_owner_reads_it(path: Path) -> None:
    register.create(path, [Customer("alice", DERS[0])])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_it_holds_no_keys(path: Path) -> None:
    register.create(path, [Customer("alice", DERS[0])])
    assert b"PRIVATE KEY" not in path.read_bytes()


def test_one_that_is_there_is_not_overwritten(path: Path) -> None:
    register.create(path, [Customer("alice", DERS[0])])
    with pytest.raises(FileExistsError):
        register.create(path, [])
    assert register.read(path) == (Customer("alice", DERS[0]),)


def test_a_certificate_is_nobody_elses(path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        register.create(path, [Customer("alice", DERS[0]), Customer("bob", DERS[0])])


def test_reading_does_not_change_it(path: Path) -> None:
    register.create(path, [Customer("alice", DERS[0])])
    before = path.read_bytes()
    register.read(path)
    assert path.read_bytes() == before


def test_a_name_of_a_file_may_be_anything(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=memory#b%20.sqlite"
    register.create(path, [Customer("alice", DERS[0])])
    assert register.read(path) == (Customer("alice", DERS[0]),)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE customers",
        "ALTER TABLE customers RENAME COLUMN name TO other",
        "UPDATE customers SET certificate = 'no certificate'",
        "UPDATE customers SET certificate = x'00ff'",
        "UPDATE customers SET certificate = 7",
    ],
)
def test_what_is_no_register_is_bad_input(path: Path, statement: str) -> None:
    register.create(path, [Customer("alice", DERS[0])])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    with pytest.raises(BadInput, match=r"is no register of customers: .*; give the bank's SQLite database"):
        register.read(path)


@given(st.binary(max_size=500))
@settings(max_examples=50)
def test_any_bytes_are_bad_input(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("register") / "customers.sqlite"
    for garbled in (content, b"SQLite format 3\0" + content):
        path.write_bytes(garbled)
        with pytest.raises(BadInput):
            register.read(path)


def test_one_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        register.read(path)
