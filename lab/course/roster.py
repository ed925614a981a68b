"""A roster: a CSV file with a column `student`, and others that nobody here reads, such as names."""

import csv
from pathlib import Path

from lab import files
from lab.catalogue.students import StudentError, check_student
from lab.course.errors import CourseError

COLUMN = "student"
MOST = 250
"""Students; no course for one lab has more."""


def read_roster(path: Path) -> tuple[str, ...]:
    """The students' short names, as certificates and folders have them, in the roster's order.

    CourseError for what is no roster, with the line; OSError if it cannot be read.
    """
    try:
        lines = files.read(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise CourseError(f"{path}: is not UTF-8; save it as CSV in UTF-8") from None
    reader = csv.DictReader(lines, skipinitialspace=True)
    headings = [one.strip().lower() for one in reader.fieldnames or []]
    if COLUMN not in headings:
        raise CourseError(f"{path}: the first line has no column {COLUMN!r}; write `student` there")
    reader.fieldnames = headings
    found: dict[str, None] = {}
    try:
        for row in reader:
            if not any(row.values()):
                continue
            where = f"{path}, line {reader.line_num}"
            student = (row.get(COLUMN) or "").strip()
            try:
                check_student(student)
            except StudentError as error:
                raise CourseError(f"{where}: {error}") from None
            if student in found:
                raise CourseError(f"{where}: {student} is in the roster twice; give each student another short name")
            found[student] = None
    except csv.Error as error:
        raise CourseError(f"{path}, line {reader.line_num}: {error}") from None
    if not found:
        raise CourseError(f"{path}: names no student; write one on each line after the first")
    if len(found) > MOST:
        raise CourseError(f"{path}: names {len(found)} students, and {MOST} are the most; split it")
    return tuple(found)
