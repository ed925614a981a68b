"""The class's authority: it issues what is missing, names the run, and lets a run that lives go on."""

import fcntl
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from lab.catalogue.cast import AUTHORITY
from lab.catalogue.plan import short_story
from lab.events.log import FILE_NAME, EventLog
from lab.events.run import Folders, make_run_folder, new_run_name
from lab.events.types import Trouble
from lab.staging import classroom, pki

FILES = [("keys", folder, name) for folder, names in classroom.ISSUED.items() for name in names]


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The authority's volumes, as its container mounts them."""
    for name in ("public", "data", "requests", *(f"keys/{one}" for one in ("server", "client", "shop", "archive"))):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(classroom, "_check_container", lambda: None)
    monkeypatch.setattr(classroom, "write_scope", lambda hosts: None)
    monkeypatch.setattr(classroom, "PUBLIC", tmp_path / "public")
    monkeypatch.setattr(classroom, "KEYS", tmp_path / "keys")
    monkeypatch.setattr(classroom, "DATA", tmp_path / "data")
    monkeypatch.setattr(classroom, "REQUESTS", tmp_path / "requests" / pki.REQUESTS)
    return tmp_path


def start(volumes: Path, student: str = "") -> str:
    """The name of the run that the authority starts."""
    classroom.start_run(short_story().of(student), "a project")
    return (volumes / "public" / "run").read_text().strip()


def issued(volumes: Path) -> dict[Path, bytes]:
    folders = (volumes / "public", volumes / "keys")
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*.*") if path.is_file()}


def test_a_new_run_keeps_the_bundles_and_names_the_project(volumes: Path) -> None:
    first = start(volumes)
    bundles = issued(volumes)
    second = start(volumes)
    assert first != second
    assert issued(volumes) == bundles
    for name in (first, second):
        (line,) = [
            one for one in (volumes / "data" / name / FILE_NAME).read_text().splitlines() if "run-started" in one
        ]
        assert '"lab": "a project"' in line
        assert name in line


@pytest.mark.parametrize("lost", [*FILES, ("public", pki.CA_FILE)], ids="/".join)
def test_everything_is_issued_anew_when_anything_is_missing(volumes: Path, lost: tuple[str, ...]) -> None:
    start(volumes)
    before = issued(volumes)
    volumes.joinpath(*lost).unlink()
    start(volumes)
    after = issued(volumes)
    assert before.keys() == after.keys()
    assert not [path for path in after if after[path] == before[path]]
    authority = x509.load_pem_x509_certificate((volumes / "public" / pki.CA_FILE).read_bytes())
    for name in ("keys/server/server.pem", "keys/client/alice.pem", "keys/shop/shop.pem"):
        x509.load_pem_x509_certificate((volumes / name).read_bytes()).verify_directly_issued_by(authority)


def test_another_student_gets_certificates_that_name_him(volumes: Path) -> None:
    start(volumes, "s07")
    mine = issued(volumes)
    start(volumes, "s07")
    assert issued(volumes) == mine
    start(volumes, "s12")
    theirs = issued(volumes)
    assert not [path for path in theirs if theirs[path] == mine[path]]
    for bundle in pki.BUNDLES.values():
        pem = (volumes / "keys" / "client" / f"{bundle}.pem").read_bytes()
        assert "OU=s12" in x509.load_pem_x509_certificate(pem).subject.rfc4514_string()


@pytest.mark.parametrize("folder", classroom.ISSUED)
def test_a_volume_can_get_lost(volumes: Path, folder: str) -> None:
    start(volumes)
    for path in (volumes / "keys" / folder).iterdir():
        path.unlink()
    start(volumes)
    assert len(issued(volumes)) == len(FILES) + 1


def test_an_authority_that_was_cut_off_while_it_issued_starts_anew(
    volumes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[Path] = []
    really: Callable[[Path, bytes, int], None] = pki._write

    def cut_off(path: Path, content: bytes, mode: int) -> None:
        if len(writes) == 5:
            raise KeyboardInterrupt
        writes.append(path)
        really(path, content, mode)

    monkeypatch.setattr(pki, "_write", cut_off)
    with pytest.raises(KeyboardInterrupt):
        start(volumes)
    monkeypatch.setattr(pki, "_write", really)
    assert start(volumes)
    assert len(issued(volumes)) == len(FILES) + 1


def test_a_run_goes_on_while_a_part_of_it_lives(volumes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = start(volumes)
    bundles = issued(volumes)
    part = os.open(volumes / "public" / "run", os.O_RDONLY)
    other = os.open(volumes / "public" / "run", os.O_RDONLY)
    fcntl.flock(part, fcntl.LOCK_SH)
    fcntl.flock(other, fcntl.LOCK_SH)
    os.close(other)
    assert start(volumes) == first
    assert capsys.readouterr().out == f"the run {first} goes on: parts of it are running\n"
    assert issued(volumes) == bundles
    os.close(part)
    assert start(volumes) != first


def test_two_labs_that_start_in_the_same_millisecond_get_two_runs(tmp_path: Path) -> None:
    name = new_run_name(datetime(2030, 1, 2, tzinfo=UTC))
    made = [make_run_folder(tmp_path, name).path.name for _ in range(3)]
    assert made == [name, f"{name}-2", f"{name}-3"]
    assert sorted(made) == made


def test_a_judge_that_is_started_again_finds_its_run_and_no_other_labs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classroom, "PARTS", tmp_path / "parts")
    runs, name = tmp_path / "runs", "2030"

    def ours(folders: Folders) -> bool:
        return classroom._has_begun(name, folders)

    def report(folder: Path, what: str) -> None:
        log = EventLog(folder, AUTHORITY)
        log.report(Trouble(what))
        log.close()

    report(runs / name / AUTHORITY, "another lab's certificates")
    report(tmp_path / "parts" / AUTHORITY / name, "our certificates")
    assert make_run_folder(runs, name, ours).path.name == "2030-2"
    own = runs / "2030-2" / AUTHORITY
    own.mkdir()
    copied = (tmp_path / "parts" / AUTHORITY / name / FILE_NAME).read_bytes()
    (own / FILE_NAME).write_bytes(copied[:20])  # it was killed while it copied
    assert make_run_folder(runs, name, ours).path.name == "2030-2"
