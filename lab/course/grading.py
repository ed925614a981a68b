"""Judges handed-in work anew: runs from their captures, gateways' reports and ledgers, answers from their runs.

A run's events can be edited, its outcome too, and a run can be another student's. All of that is found and named, a
sentence each, and nobody is punished: a finding is a question to the student.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

from cryptography import x509

from lab.capture.errors import CaptureFileError
from lab.capture.reader import read_file
from lab.catalogue.cast import CUSTOMER
from lab.catalogue.students import StudentError, check_student
from lab.course.errors import CourseError
from lab.events.log import FILE_NAME
from lab.events.run import VERDICTS_FILE, Run, RunError, open_run
from lab.events.types import BundleIssued
from lab.exercises import progress as kept
from lab.exercises.checking import check
from lab.exercises.exercise import Exercise, ExerciseError
from lab.exercises.table import EXERCISES
from lab.guest.loading import GuestError
from lab.judging.consistency import Told
from lab.judging.facts import common_name, read_certificate, student_in
from lab.judging.shapes import presented
from lab.judging.verdicts import JudgedRun

MOST_RUNS = 100
"""Of one student; the newest are taken."""
MOST_SAID = 10
"""Findings of one run."""


@dataclass(frozen=True)
class GradedRun:
    """A run, and what is wrong with it, a sentence each; nothing if it is as its lab made it.

    `students` are the names in alice's certificates: those in captures and attempts, and not only in events about them.
    `certificates` are the fingerprints of those.
    """

    name: str
    students: tuple[str, ...]
    certificates: tuple[str, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True)
class GradedAnswer:
    """An exercise that the progress has as done, and what is wrong with that; empty if the answer is right."""

    exercise: int
    run: str
    answer: str
    finding: str

    @property
    def right(self) -> bool:
        return not self.finding


@dataclass(frozen=True)
class GradedWork:
    """What one folder holds. `findings` are about all of it, beside those of its runs and answers."""

    student: str
    folder: str
    runs: tuple[GradedRun, ...]
    answers: tuple[GradedAnswer, ...]
    findings: tuple[str, ...] = ()

    @property
    def done(self) -> tuple[int, ...]:
        """The exercises whose answers are right."""
        return tuple(one.exercise for one in self.answers if one.right)

    def all_findings(self) -> Iterator[str]:
        yield from self.findings
        for run in self.runs:
            yield from (f"run {run.name}: {why}" for why in run.findings)
        yield from (f"exercise {one.exercise}: {one.finding}" for one in self.answers if not one.right)


def grade(folders: Sequence[Path], roster: Sequence[str] = ()) -> tuple[GradedWork, ...]:
    """Grades folders, one of each student: her runs, or a folder `runs` with them, and her progress beside them.

    The folder's name is the student's. With a roster, a student who handed nothing in is in the result too. CourseError
    for a folder that is not there or for two of one student.
    """
    seen: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise CourseError(
                f"{folder}: no such folder; give the folder of each student's work, such as handed-in/s07"
            )
        name = folder.resolve().name
        if name in seen:
            raise CourseError(f"{folder}: {seen[name]} is {name}'s as well; put a student's work into one folder")
        seen[name] = folder
    if len(folders) > 1 and (os.cpu_count() or 1) > 1:
        with ProcessPoolExecutor(min(len(folders), os.cpu_count() or 1), get_context("spawn")) as pool:
            graded = list(pool.map(grade_one, folders))
    else:
        graded = [grade_one(folder) for folder in folders]
    missing = [
        GradedWork(one, "", (), (), ("nothing was handed in",))
        for one in roster
        if one not in {g.student for g in graded}
    ]
    strange = {one.student for one in graded} - set(roster) if roster else set()
    return (
        *(replace(one, findings=(*one.findings, *_about(one, strange))) for one in _copied(graded)),
        *missing,
    )


def _about(work: GradedWork, strange: set[str]) -> Iterator[str]:
    if work.student in strange:
        yield f"the roster has no student {work.student}"


def grade_one(folder: Path) -> GradedWork:
    """Grades one folder for itself. What goes wrong with it is its finding, and keeps no other from being graded."""
    student = folder.resolve().name
    try:
        return _graded(folder, student)
    except Exception as error:  # students' files and runs are anything at all
        return GradedWork(student, str(folder), (), (), (f"cannot be graded: {_said(error)}",))


def _said(error: Exception) -> str:
    """An error in a finding; one that nobody foresaw has its name in it."""
    foreseen = isinstance(error, ExerciseError | GuestError | RunError | CaptureFileError | OSError | ValueError)
    return str(error) if foreseen else f"{type(error).__name__}: {error}"


def _graded(folder: Path, student: str) -> GradedWork:
    runs = folder / "runs" if (folder / "runs").is_dir() else folder
    found = sorted({path.parent.parent for path in runs.glob(f"*/*/{FILE_NAME}")}, reverse=True)
    findings = []
    try:
        check_student(student)
    except StudentError as error:
        findings.append(f"the folder's name is no student's: {error}")
    if len(found) > MOST_RUNS:
        findings.append(f"has {len(found)} runs; the newest {MOST_RUNS} are graded")
    graded = tuple(_graded_run(one, student) for one in sorted(found[:MOST_RUNS]))
    if not graded:
        findings.append("no run was handed in")
    try:
        answers = tuple(_graded_answers(folder, runs, {one.name: one for one in graded}))
    except (ExerciseError, OSError) as error:
        answers = ()
        findings.append(f"the answers cannot be read: {error}")
    return GradedWork(student, str(folder), graded, answers, tuple(findings))


def _graded_run(folder: Path, student: str) -> GradedRun:
    findings: list[str] = []
    named: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    try:
        run = open_run(folder)
        shown = dict(_certificates(run))
        issued = {one.sha256 for one in run.all(BundleIssued)}
        certificates = tuple(sorted(issued | shown.keys()))
        named = tuple(sorted({student_in(certificate) for certificate in shown.values()}))
        judgement = JudgedRun(run).judgement
        if not run.folders.verdicts.exists():
            findings.append(f"was broken off: it has no {VERDICTS_FILE}")
        findings += (*judgement.contradictions, *judgement.errors)
        if not findings and not judgement.as_expected:
            findings.append("an outcome is not what the RFCs and the gateways' declared faults predict")
    except Exception as error:  # a run that was edited can fail anywhere
        findings.append(f"cannot be judged: {_said(error)}")
    findings = [*_whose(named, student), *findings]
    more = len(findings) - MOST_SAID
    said = (*findings[:MOST_SAID], *([f"and {more} more findings"] if more > 0 else ()))
    return GradedRun(folder.name, named, certificates, said)


def _certificates(run: Run) -> Iterator[tuple[str, x509.Certificate]]:
    """Alice's certificates by their fingerprints: those on the wire, and those that mallory presented as her own."""
    yield from Told(run).certificates.items()
    captures = read_file(run.folders.capture).captures if run.folders.capture.exists() else ()
    for der in dict.fromkeys((*(one.chain[0] for one in captures), *presented(run))):
        try:
            certificate = read_certificate(der)
        except ValueError:
            continue  # the judge says so
        if common_name(certificate.subject.rfc4514_string()) == CUSTOMER:
            yield sha256(der).hexdigest(), certificate


def _whose(named: tuple[str, ...], student: str) -> Iterator[str]:
    if not named:
        yield f"shows no certificate of {CUSTOMER}'s, so nothing says whose run it is"
    for one in named:
        if not one:
            yield "alice's certificates name no student; make the run with --student, or with CERTREPLAY_STUDENT set"
        elif one != student:
            yield f"this is the run of another student, {one}: alice's certificates name her"


def _graded_answers(folder: Path, runs: Path, graded: dict[str, GradedRun]) -> Iterator[GradedAnswer]:
    progress = kept.load(runs)
    for exercise in EXERCISES:
        if (name := progress.done.get(exercise.name)) is None:
            continue
        answer = progress.answers.get(exercise.name, "")
        run = graded.get(name)
        if exercise.needs == "file":
            finding = _checked_file(exercise, folder, runs)
        elif run is None:
            finding = f"the run {name} was not handed in"
        elif not answer and exercise.needs != "run":
            finding = "the progress says that it is done, and has no answer"
        elif run.findings:
            finding = f"the answer is about the run {name}, which has findings"
        else:
            finding = _checked(exercise, answer if exercise.needs != "run" else "", runs / name, runs)
        yield GradedAnswer(exercise.number, name, answer, finding)


def _checked_file(exercise: Exercise, folder: Path, runs: Path) -> str:
    """What is wrong with the file of an exercise; it lies in the folder that was handed in, or beside the runs."""
    files = [place / exercise.file for place in (folder, runs) if (place / exercise.file).is_file()]
    if not files:
        return f"the file {exercise.file} was not handed in"
    return _checked(exercise, str(files[0]), None, runs)


def _checked(exercise: Exercise, answer: str, run: Path | None, runs: Path) -> str:
    """What is wrong with an answer, which may be a file; empty if nothing is."""
    try:
        _, checked = check(exercise, answer, run, runs)
    except Exception as error:  # a student's file does anything at all
        return f"cannot be checked: {_said(error)}"
    wrong = f"{exercise.file} is not right" if exercise.file else "the answer is wrong"
    return "" if checked.right else f"{wrong}: {checked.why}"


def _copied(graded: Iterable[GradedWork]) -> Iterator[GradedWork]:
    """Names a run that has the same certificates as another student's: no two runs do, so one is a copy. Where they
    name the student herself, the other one is."""
    works = list(graded)
    owners: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for work in works:
        for run in work.runs:
            for certificate in run.certificates:
                owners[certificate].add((work.student, run.name))
    for work in works:
        yield replace(work, runs=tuple(_with_copies(run, work.student, owners) for run in work.runs))


def _with_copies(run: GradedRun, student: str, owners: Mapping[str, set[tuple[str, str]]]) -> GradedRun:
    same = set[tuple[str, str]]().union(*(owners[one] for one in run.certificates))
    others = ", ".join(f"{other}'s {name}" for other, name in sorted(same) if other != student)
    if not others or run.students == (student,):
        return run
    return replace(run, findings=(*run.findings, f"has the same certificates as {others}: one of them is a copy"))
