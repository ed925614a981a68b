"""What `certreplay grade` and its like do; each returns the exit status."""

import json
from pathlib import Path

from lab import files
from lab.course import ctfd
from lab.course.grading import grade
from lab.course.receipts import new_secret, read_secret, receipt, token
from lab.course.roster import read_roster
from lab.course.telling import as_data, grades_csv, tell_grades
from lab.exits import AS_EXPECTED, NOT_AS_EXPECTED
from lab.printable import say
from lab.views import terminal


def export_tokens(roster: Path, secret: Path, as_json: bool) -> int:
    """Prints each student's token, as CSV or JSON; makes the course's secret if there is none."""
    students = read_roster(roster)
    key = course_secret(secret)
    tokens = {one.id: token(key, one.id) for one in students}
    if as_json:
        print(json.dumps(tokens, indent=2))
    else:
        say("student,token")
        for student, one in tokens.items():
            say(f"{student},{one}")
    return AS_EXPECTED


def export_ctfd(roster: Path, secret: Path, output: Path, as_json: bool) -> int:
    """Writes the exercises for CTFd, with a flag for each student; makes the course's secret if there is none."""
    students = [one.id for one in read_roster(roster)]
    written = ctfd.export(output, students, course_secret(secret))
    if as_json:
        print(json.dumps({"challenges": list(map(str, written)), "csv": str(output / ctfd.CSV_FILE)}, indent=2))
    else:
        many = f"{len(written)} challenges with {len(students)} flags each"
        say(f"wrote {many}, in {output}: for ctfcli, and {ctfd.CSV_FILE}")
    return AS_EXPECTED


def course_secret(path: Path) -> bytes:
    """The course's secret, which is made where there is none."""
    if path.exists():
        return read_secret(path)
    say(f"certreplay: made the course's secret, {path}; keep it, and give it to no student", error=True)
    return new_secret(path)


def grade_folders(
    folders: list[Path], roster: Path | None, csv_file: Path | None, secret: Path | None, as_json: bool
) -> int:
    """Grades, and shows the table; with a secret also the receipts for right answers."""
    students = [one.id for one in read_roster(roster)] if roster else []
    key = read_secret(secret) if secret else None
    works = grade(folders, students)
    receipts = {
        (work.student, number): receipt(token(key, work.student), number, work.student)
        for work in works
        for number in work.done
        if key
    }
    if csv_file:
        files.write(csv_file, grades_csv(works, receipts))
    if as_json:
        print(json.dumps([as_data(one, receipts) for one in works], indent=2))
    else:
        terminal.show(tell_grades(works))
        for one in receipts.values():
            say(one)
        if csv_file:
            say(f"wrote {csv_file}")
    return NOT_AS_EXPECTED if any(True for work in works for _ in work.all_findings()) else AS_EXPECTED
