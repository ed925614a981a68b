"""Graded work as a table, as CSV and as data."""

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab import files
from lab.catalogue.students import StudentError, check_student
from lab.course.errors import CourseError
from lab.course.grading import GradedWork
from lab.course.labs import LabState
from lab.document import Block, Column, Items, Meaning, Paragraph, Section, Span, Table, columns
from lab.exercises.table import EXERCISES

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""
_EXERCISE, _RIGHT = "exercise_", "right"


def tell_grades(works: Sequence[GradedWork]) -> Iterator[Block]:
    """One table, and then each student's findings."""
    heads = (Column("student", "name"), *columns("runs", "right answers"), Column("findings", "number"))
    yield Table(heads, tuple(_row(one) for one in works))
    for work in works:
        if found := tuple(work.all_findings()):
            yield Section(work.student, (Items(found),), "entry")
    if not any(True for work in works for _ in work.all_findings()):
        yield Paragraph("No findings: every run is as its lab made it, and every answer is right.")


def tell_states(states: Sequence[LabState]) -> Iterator[Block]:
    """One table for the teacher: who has what, and who is stuck."""
    heads = (Column("student", "name"), Column("state"), Column("containers", "number"), Column("run", "name"))
    more = (Column("exercises", "number"), Column("page", "name"))
    rows = tuple(
        (one.student, _word(one), str(one.containers), one.run or "none", str(one.exercises), one.page or "none")
        for one in states
    )
    yield Table((*heads, *more), rows)
    if told := tuple(f"{one.student}: {one.why}" for one in states if one.why):
        yield Items(told)
    counts = Counter(one.state for one in states)
    yield Paragraph(", ".join(f"{number} {state}" for state, number in counts.items()) + ".")


def _word(one: LabState) -> Span:
    meanings: dict[str, Meaning] = {"worked": "holds", "findings": "finding", "stuck": "finding"}
    return Span(one.state, meanings.get(one.state, ""))


def _row(work: GradedWork) -> tuple[str | Span, ...]:
    sound = sum(not one.findings for one in work.runs)
    runs = str(len(work.runs)) if sound == len(work.runs) else f"{len(work.runs)}, {sound} without findings"
    found = len(list(work.all_findings()))
    return work.student, runs, ", ".join(map(str, work.done)) or "none", Span(str(found), "finding" if found else "")


def grades_csv(works: Sequence[GradedWork]) -> str:
    """A line for each student: her runs, each exercise with `right`, `wrong` or nothing, and her findings.

    A cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(
        [
            "student",
            "runs",
            "runs_without_findings",
            *(f"{_EXERCISE}{one.number}" for one in EXERCISES),
            "findings",
        ]
    )
    for work in works:
        marks = {one.exercise: _RIGHT if one.right else "wrong" for one in work.answers}
        row = [
            work.student,
            len(work.runs),
            sum(not one.findings for one in work.runs),
            *(marks.get(one.number, "") for one in EXERCISES),
            "; ".join(work.all_findings()),
        ]
        writer.writerow([f"'{one}" if str(one).startswith(_FORMULA) else one for one in row])
    return lines.getvalue()


def right_answers(path: Path) -> Iterator[tuple[str, int]]:
    """Students and the exercises that they solved, from such a CSV; CourseError for a file that is none."""
    try:
        rows = csv.DictReader(files.read(path).decode("utf-8-sig").splitlines())
        if not {"student", f"{_EXERCISE}1"} <= set(rows.fieldnames or ()):
            raise CourseError(f"{path}: holds no grades; `certreplay grade FOLDER... --csv {path}` writes them")
        for row in rows:
            try:
                check_student(row["student"] or "")
            except StudentError:
                continue  # `grade` has said so
            yield from (
                (row["student"], one.number) for one in EXERCISES if row.get(f"{_EXERCISE}{one.number}") == _RIGHT
            )
    except (UnicodeDecodeError, csv.Error) as error:
        raise CourseError(f"{path}: is no CSV in UTF-8 ({error})") from None


def as_data(work: GradedWork) -> dict[str, object]:
    """The same for JSON."""
    fields = dataclasses.asdict(work)
    for answer, graded in zip(fields["answers"], work.answers, strict=True):
        answer["right"] = graded.right
    return {**fields, "done": work.done}
