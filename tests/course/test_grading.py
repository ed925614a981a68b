"""What students hand in is judged anew: sound work is left alone, and each forgery is found and named."""

import asyncio
import csv
import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from lab.catalogue.plan import full_matrix, short_story
from lab.course.grading import GradedWork, grade, grade_one
from lab.course.receipts import new_secret
from lab.events.run import open_run
from lab.exercises import progress as kept
from lab.exercises.recorded import certificates
from lab.judging.queries import RunQueries
from lab.judging.verdicts import JudgedRun
from lab.staging import embedded
from programs import certreplay


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run each of two students and of nobody, in folders of their names. Tests copy what they need."""
    folder = tmp_path_factory.mktemp("made")
    for student in ("s07", "s12", ""):
        plan = short_story().of(student)
        asyncio.run(embedded.run_embedded(folder / (student or "nobody"), plan, None, lambda run: None))
    return folder


def hand_in(made: Path, folder: Path, whose: str) -> Path:
    """A copy of somebody's run, in a student's folder; the run in it."""
    (run,) = (made / whose).iterdir()
    return Path(shutil.copytree(run, folder / run.name))


def fingerprint(run: Path) -> str:
    """The answer to exercise 1."""
    return sha256(certificates(RunQueries(JudgedRun(open_run(run))))[0]).hexdigest()


def findings(work: GradedWork) -> str:
    return "\n".join(work.all_findings())


def replaced(run: Path, before: str, after: str, files: str) -> None:
    for path in [*run.glob(files)]:
        path.write_text(path.read_text().replace(before, after))


def test_sound_work_has_no_findings_and_gets_the_receipt_that_the_student_has(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "course.secret"
    work = tmp_path / "s07"
    run = hand_in(made, work, "s07")
    roster = tmp_path / "roster.csv"
    roster.write_text("student,name\ns07,Ann\ns09,Bo\n")
    tokens = certreplay("export", "tokens", "--roster", roster, "--secret", secret)
    assert tokens.returncode == 0, tokens.stderr
    assert secret.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("CERTREPLAY_STUDENT", "s07")
    monkeypatch.setenv("CERTREPLAY_TOKEN", {row[0]: row[1] for row in csv.reader(tokens.stdout.splitlines())}["s07"])
    checked = certreplay("exercise", "check", "1", fingerprint(run), "--runs", work, "--json")
    receipt = json.loads(checked.stdout)["receipt"]
    assert receipt.startswith("certreplay{1:s07:")
    graded = certreplay("grade", work, "--json")
    assert graded.returncode == 0, graded.stdout
    (one,) = json.loads(graded.stdout)
    assert one["done"] == [1]
    with_roster = certreplay("grade", work, "--roster", roster, "--csv", tmp_path / "grades.csv")
    receipts = certreplay("export", "receipts", tmp_path / "grades.csv", "--secret", secret)
    assert (receipts.returncode, receipts.stdout) == (0, f"{receipt}\n")
    assert with_roster.returncode == 1
    assert "nothing was handed in" in with_roster.stdout


def test_an_outcome_that_was_edited_is_found_in_each_file_that_has_one(made: Path, tmp_path: Path) -> None:
    """sed s/accepted/refused/ on one file."""
    run = hand_in(made, tmp_path / "s07", "s07")
    having = [path for path in run.rglob("*.json*") if "accepted" in path.read_text()]
    assert {"attacker/events.jsonl", "verdicts.json"} <= {str(path.relative_to(run)) for path in having}
    for path in having:
        before = path.read_text()
        path.write_text(before.replace("accepted", "refused"))
        (graded,) = grade_one(tmp_path / "s07").runs
        assert graded.findings, path
        path.write_text(before)
    assert not findings(grade_one(tmp_path / "s07"))


def test_another_students_run_is_named_also_with_her_name_edited_out(made: Path, tmp_path: Path) -> None:
    run = hand_in(made, tmp_path / "s07", "s12")
    assert "this is the run of another student, s12" in findings(grade_one(tmp_path / "s07"))
    for files in ("*/*.jsonl", "*.json"):
        replaced(run, "s12", "s07", files)
    told = findings(grade_one(tmp_path / "s07"))
    assert "this is the run of another student, s12" in told
    assert "the certificate names the student s12, and the run the student s07" in told


def test_a_run_in_which_nothing_crossed_the_wire_is_known_by_what_was_presented(tmp_path: Path) -> None:
    plan = full_matrix(gateways=("mtls@openssl",), moves=("omit-proof",), leaks=("archive",)).of("s12")
    asyncio.run(embedded.run_embedded(tmp_path / "s12", plan, None, lambda run: None))
    (run,) = (tmp_path / "s12").iterdir()
    assert not open_run(run).folders.capture.exists()
    assert findings(grade_one(tmp_path / "s12")) == ""
    (tmp_path / "s12").rename(tmp_path / "s07")
    assert "this is the run of another student, s12" in findings(grade_one(tmp_path / "s07"))
    for events in (tmp_path / "s07" / run.name).glob("*/events.jsonl"):
        events.write_text("".join(line for line in events.open() if "move-tried" not in line))
    assert "shows no certificate of alice's" in findings(grade_one(tmp_path / "s07"))


def test_a_certificate_of_no_known_version_is_a_finding(made: Path, tmp_path: Path) -> None:
    run = hand_in(made, tmp_path / "s07", "s07")
    version = ("a003020102", "a003020109")
    assert version[0] in (run / "attacker" / "events.jsonl").read_text()
    replaced(run, *version, "attacker/events.jsonl")
    told = findings(grade_one(tmp_path / "s07"))
    assert "its messages are not readable: 9 is not a valid X509 version" in told


def test_what_nobody_foresaw_in_one_folder_leaves_the_others_graded(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(made, tmp_path / "s07", "s07")

    def fails(runs: Path) -> kept.Progress:
        raise KeyError("a bug")

    monkeypatch.setattr(kept, "load", fails)
    assert findings(grade_one(tmp_path / "s07")) == "cannot be graded: KeyError: 'a bug'"


@pytest.mark.parametrize("status", [0, 2])
def test_a_client_that_ends_its_process_is_a_finding_of_its_folder(tmp_path: Path, status: int) -> None:
    work = tmp_path / "s07"
    work.mkdir()
    (work / "client.py").write_text(
        "import os, sys\ndef make_context(ca_file):\n    os._exit(%d)\n" % status  # noqa: UP031
    )
    progress = {"version": 1, "done": {"a-careful-client": "client.py"}, "hints": {}, "answers": {}}
    (work / "exercises.json").write_text(json.dumps(progress))
    said = findings(grade_one(work))
    ended = f"client.py: alice's client ended with status {status} before its first login"
    assert (f"exercise 7: cannot be checked: {work}" in said, ended in said) == (True, True), said


def test_a_copy_is_named_where_it_names_another_student(made: Path, tmp_path: Path) -> None:
    for student, whose in (("s07", "s07"), ("s08", "s07"), ("s09", "nobody"), ("s10", "nobody")):
        hand_in(made, tmp_path / student, whose)
    told = {one.student: findings(one) for one in grade(sorted(tmp_path.iterdir()))}
    assert told["s07"] == ""
    assert "the same certificates as s07's" in told["s08"]
    for student, other in (("s09", "s10"), ("s10", "s09")):
        assert f"has the same certificates as {other}'s" in told[student]
        assert "name no student" in told[student]


def test_an_answer_that_is_only_marked_as_right_is_found(made: Path, tmp_path: Path) -> None:
    run = hand_in(made, tmp_path / "s07", "s07")
    answers = {"her-certificate": "ab" * 32, "not-tls-1.3": ""}
    done = {"her-certificate": run.name, "not-tls-1.3": run.name, "who-said-no": run.name, "what-never-left": "another"}
    progress = {"version": 1, "done": done, "hints": {}, "answers": answers}
    (tmp_path / "s07" / "exercises.json").write_text(json.dumps(progress))
    work = grade_one(tmp_path / "s07")
    assert work.done == ()
    found = {one.exercise: one.finding for one in work.answers}
    assert "the answer is wrong: This hash has the right length" in found[1]
    assert found[2] == "the progress says that it is done, and has no answer"
    assert found[6] == "the run another was not handed in"
    assert "the answer is wrong: Mallory tried nothing over TLS 1.3" in found[11]


def test_an_answer_about_a_forged_run_does_not_count(made: Path, tmp_path: Path) -> None:
    run = hand_in(made, tmp_path / "s07", "s07")
    assert certreplay("exercise", "check", "1", fingerprint(run), "--runs", tmp_path / "s07").returncode == 0
    replaced(run, "accepted", "refused", "*.json")
    (answer,) = grade_one(tmp_path / "s07").answers
    assert not answer.right
    assert "which has findings" in answer.finding


def test_folders_that_hold_no_work_are_said_and_the_others_graded(made: Path, tmp_path: Path) -> None:
    hand_in(made, tmp_path / "s07", "s07")
    (tmp_path / "s08").mkdir()
    hand_in(made, tmp_path / "s09" / "runs", "s07").joinpath("verdicts.json").unlink()
    (tmp_path / "s10").mkdir()
    (tmp_path / "s10" / "exercises.json").write_text("[")
    odd = tmp_path / "=HYPERLINK(1)"
    odd.mkdir()
    table = tmp_path / "grades.csv"
    done = certreplay("grade", *(tmp_path / name for name in ("s07", "s08", "s09", "s10", odd.name)), "--csv", table)
    assert done.returncode == 1
    rows = {row["student"]: row for row in csv.DictReader(table.read_text().splitlines())}
    assert rows["s07"]["findings"] == ""
    assert rows["s08"]["findings"] == "no run was handed in"
    assert "was broken off: it has no verdicts.json" in rows["s09"]["findings"]
    assert "holds no progress that this version can read" in rows["s10"]["findings"]
    assert "the folder's name is no student's" in rows["'=HYPERLINK(1)"]["findings"]


@pytest.mark.parametrize(
    ("roster", "why"),
    [
        ("name\nAnn\n", "the first line has no column 'student'"),
        ("student\nS07\n", "line 2: student 'S07'"),
        ("student\ns07\ns07\n", "line 3: s07 is in the roster twice"),
        ("student\n", "names no student"),
        ("student\n" + "".join(f"s{number}\n" for number in range(251)), "names 251 students"),
    ],
)
def test_a_roster_that_is_none_is_refused_in_one_line(tmp_path: Path, roster: str, why: str) -> None:
    (tmp_path / "roster.csv").write_text(roster)
    done = certreplay("grade", tmp_path, "--roster", tmp_path / "roster.csv")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert why in done.stderr


def test_what_cannot_be_graded_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a" / "s07").mkdir(parents=True)
    (tmp_path / "b" / "s07").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    for arguments, why in (
        ([tmp_path / "nowhere"], "no such folder"),
        ([tmp_path / "a" / "s07", tmp_path / "b" / "s07"], "put a student's work into one folder"),
        ([tmp_path / "a" / "s07", "--roster", tmp_path / "none"], "No such file"),
    ):
        done = certreplay("grade", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert why in done.stderr
    for table, why in (("secret", "holds no course's secret"), ("none", "No such file")):
        done = certreplay("export", "receipts", tmp_path / "table", "--secret", tmp_path / table)
        assert (done.returncode, done.stderr.count("\n"), why in done.stderr) == (2, 1, True), done.stderr


@pytest.mark.parametrize("name", ["link", "no-such-folder/secret"])
def test_a_secret_that_cannot_be_made_is_not_said_to_be_made(name: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    (tmp_path / "roster.csv").write_text("student\ns07\n")
    done = certreplay("export", "tokens", "--roster", tmp_path / "roster.csv", "--secret", tmp_path / name)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "made" not in done.stderr


def test_a_secret_is_never_overwritten(tmp_path: Path) -> None:
    secret = new_secret(tmp_path / "secret")
    (tmp_path / "roster.csv").write_text("student\ns07\n")
    again = certreplay("export", "tokens", "--roster", tmp_path / "roster.csv", "--secret", tmp_path / "secret")
    assert again.returncode == 0
    assert (tmp_path / "secret").read_text().strip() == secret.hex()
    assert secret.hex() not in again.stdout
