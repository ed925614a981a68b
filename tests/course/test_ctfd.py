"""The export to CTFd, as ctfcli reads it and as the admin's import does."""

import csv
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from ctfcli.core.challenge import Challenge
from ctfcli.core.exceptions import LintException

from lab.course.ctfd import CSV_FILE, PROJECT_FILE
from lab.course.receipts import read_secret, receipt, token
from lab.exercises.table import EXERCISES
from programs import certreplay


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export for two students, with the course's secret beside it."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "roster.csv").write_text("student\ns07\ns12\n")
    done = certreplay(
        *("export", "ctfd", "--roster", folder / "roster.csv"),
        *("--secret", folder / "course.secret", "-o", folder / "ctfd"),
    )
    assert done.returncode == 0, done.stderr
    return folder / "ctfd"


def challenges(exported: Path) -> list[Any]:
    """As ctfcli reads them, in the order of the project's file."""
    project = ConfigParser()
    project.read(exported / PROJECT_FILE)
    return [Challenge(exported / path / "challenge.yml") for path in project["challenges"].values()]


def test_every_challenge_passes_ctfclis_lint(exported: Path) -> None:
    found = challenges(exported)
    assert [one["name"] for one in found] == [f"{one.number}. {one.title}" for one in EXERCISES]
    for one in found:
        assert one.lint(skip_hadolint=True) is True


def test_ctfclis_lint_finds_something(exported: Path, tmp_path: Path) -> None:
    content = (exported / EXERCISES[0].folder / "challenge.yml").read_text()
    (tmp_path / "challenge.yml").write_text(content.replace("description:", "nothing:"))
    with pytest.raises(LintException):
        Challenge(tmp_path / "challenge.yml").lint(skip_hadolint=True)


def test_the_flags_are_the_students_receipts(exported: Path) -> None:
    secret = read_secret(exported.parent / "course.secret")
    for exercise, one in zip(EXERCISES, challenges(exported), strict=True):
        mine = [receipt(token(secret, name), exercise.number, name) for name in ("s07", "s12")]
        assert one["flags"] == mine
    assert exported.stat().st_mode & 0o077 == 0


def test_a_prerequisite_comes_first_and_hints_can_be_paid(exported: Path) -> None:
    """CTFd sells no hint to somebody without points."""
    earlier: list[str] = []
    for exercise, one in zip(EXERCISES, challenges(exported), strict=True):
        assert set(one["requirements"]) <= set(earlier)
        assert bool(one["requirements"]) == bool(earlier)
        assert [hint["content"] for hint in one["hints"]] == list(exercise.hints)
        assert all(bool(hint["cost"]) == bool(earlier) for hint in one["hints"])
        assert sum(hint["cost"] for hint in one["hints"]) <= one["value"] / 2
        assert one["description"].startswith(exercise.task)
        earlier.append(one["name"])


def test_the_admins_csv_has_what_ctfds_import_takes_apart(exported: Path) -> None:
    rows = list(csv.DictReader((exported / CSV_FILE).read_text().splitlines(keepends=True)))
    for row, one in zip(rows, challenges(exported), strict=True):
        assert row["flags"].split(",") == one["flags"]
        assert (row["name"], row["description"], int(row["value"])) == (one["name"], one["description"], one["value"])


def test_an_export_is_not_overwritten(exported: Path) -> None:
    roster = exported.parent / "roster.csv"
    done = certreplay(
        "export", "ctfd", "--roster", roster, "--secret", exported.parent / "course.secret", "-o", exported
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not overwritten" in done.stderr
