"""The command `certreplay exercise`: the list, tasks and hints, progress, and what it says of answers in general."""

import json
import shutil
from pathlib import Path

import pytest

import lab.views.markdown as docs
from lab.exercises.exercise import Exercise
from lab.exercises.table import EXERCISES
from lab.exercises.telling import exercises_document
from programs import certreplay


@pytest.fixture
def runs(finished_run: Path, tmp_path: Path) -> Path:
    """A folder of runs with a copy of one."""
    shutil.copytree(finished_run, tmp_path / "runs" / finished_run.name)
    return tmp_path / "runs"


def fingerprint(run: Path) -> str:
    seen = json.loads(certreplay("verdicts", run, "--json").stdout)["capture"]["sha256"]
    assert len(seen) == 64
    return str(seen)


def shown(*arguments: str | Path) -> str:
    done = certreplay("exercise", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return " ".join(done.stdout.split())


def checked(*arguments: str | Path) -> tuple[int, str]:
    done = certreplay("exercise", "check", *arguments)
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda one: one.folder)
def test_every_exercise_has_its_texts(exercise: Exercise) -> None:
    assert exercise.title
    assert len(exercise.task) > 100
    assert len(exercise.hints) >= 2
    assert all(exercise.hints)
    assert all(len(line) <= 120 for text in (exercise.task, *exercise.hints) for line in text.splitlines())


def test_the_documented_exercises_are_those_of_the_lab() -> None:
    stale = "docs/exercises.md is stale: python -m lab.views.markdown"
    assert docs.EXERCISES_FILE.read_text() == exercises_document(), stale


def test_the_document_has_no_hints() -> None:
    written = exercises_document()
    assert all(one.task in written for one in EXERCISES)
    assert not [hint for one in EXERCISES for hint in one.hints if hint in written]


def test_hints_come_one_after_the_other_and_stay(tmp_path: Path) -> None:
    hints = EXERCISES[0].hints
    for number in (1, 2, len(hints), len(hints) + 1):
        told = certreplay("exercise", "1", "--hint", "--runs", tmp_path).stdout
        assert told.count("Hint ") == min(number, len(hints))
    assert certreplay("exercise", "1", "--runs", tmp_path).stdout.count("Hint ") == len(hints)
    assert "--hint" not in told
    shown("--reset", "--runs", tmp_path)
    assert "Hint " not in certreplay("exercise", "1", "--runs", tmp_path).stdout


def test_the_commands_of_a_task_name_the_run(runs: Path, finished_run: Path, tmp_path: Path) -> None:
    assert f"{runs / finished_run.name}/attacker/capture.pcapng" in shown("1", "--runs", runs)
    assert "RUN/attacker/capture.pcapng" in shown("1", "--runs", tmp_path)


def test_a_right_answer_is_kept_until_reset(runs: Path, finished_run: Path) -> None:
    assert "done" not in shown("--runs", runs)
    status, why = checked("1", fingerprint(finished_run), "--runs", runs)
    assert (status, why.startswith("Right")) == (0, True)
    assert f"done, with the run {finished_run.name}" in shown("--runs", runs)
    assert checked("1", "00" * 32, "--runs", runs)[0] == 1
    assert "done" in shown("--runs", runs)
    assert [path.name for path in runs.iterdir() if path.is_file()] == ["exercises.json"]
    assert "done" not in shown("--reset", "--runs", runs)
    assert "done" not in shown("--runs", runs)


def test_a_wrong_answer_is_not_kept(runs: Path) -> None:
    assert checked("1", "00" * 32, "--runs", runs)[0] == 1
    assert "done" not in shown("--runs", runs)


def test_an_answer_for_another_run_is_known(runs: Path, finished_run: Path) -> None:
    newer = runs / "2999-01-01T00-00-00.000Z"
    assert certreplay("matrix", "--gateway", "mtls@openssl", "--tls", "1.2", "--runs", runs).returncode == 0
    (other,) = (run for run in runs.iterdir() if run.name != finished_run.name)
    other.rename(newer)
    mine = fingerprint(finished_run)
    status, why = checked("1", mine, "--runs", runs)
    assert (status, finished_run.name in why) == (1, True), why
    assert checked("1", mine, "--runs", runs, "--run", finished_run.name)[0] == 0
    assert checked("1", fingerprint(newer), "--runs", runs)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("99",), "there is no exercise 99; there are 1"),
        (("check", "1"), "give an answer: certreplay exercise check 1"),
        (("check",), "`check N ANSWER`"),
        (("1", "2"), "`check N ANSWER`"),
        (("--hint",), "give the exercise's number"),
        (("1", "--reset"), "give it alone"),
        (("check", "1", "00", "--run", "nowhere"), "no such run directory"),
        (("check", "1", "00"), "no run is in there"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = certreplay("exercise", *arguments, "--runs", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1, "done": {"a": 1}, "hints": {}}', "\xff", "[" * 99999])
def test_a_damaged_file_of_progress_is_named_and_can_be_forgotten(tmp_path: Path, content: str) -> None:
    (tmp_path / "exercises.json").write_text(content, encoding="latin-1")
    done = certreplay("exercise", "--runs", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "exercises.json" in done.stderr
    assert "--reset" in done.stderr
    shown("--reset", "--runs", tmp_path)


def test_everything_is_there_as_data(runs: Path, finished_run: Path) -> None:
    listed = json.loads(certreplay("exercise", "--json", "--runs", runs).stdout)
    assert [one["number"] for one in listed] == [one.number for one in EXERCISES]
    assert not any(one["done"] or one["hints"] for one in listed)
    hinted = json.loads(certreplay("exercise", "1", "--hint", "--json", "--runs", runs).stdout)
    assert hinted["hints"] == [EXERCISES[0].hints[0]]
    answer = certreplay("exercise", "check", "1", fingerprint(finished_run), "--json", "--runs", runs)
    told = json.loads(answer.stdout)
    assert (told["exercise"], told["run"], told["right"]) == (1, finished_run.name, True)
