"""A roster: a CSV file with a column `student`, and others that nobody here reads, such as names."""

import csv
from dataclasses import dataclass
from pathlib import Path

from lab import files
from lab.catalogue.students import StudentError, check_student
from lab.course.errors import CourseError

COLUMN, NAME, EMAIL = "student", "name", "email"
MOST = 250
"""Students; no course for one lab has more."""


@dataclass(frozen=True)
class Student:
    """A student's short name, as certificates and folders have it, and what else the roster says; empty if nothing."""

    id: str
    name: str = ""
    email: str = ""


def read_roster(path: Path) -> tuple[Student, ...]:
    """The students, in the roster's order. CourseError for what is no roster, with the line; OSError if unreadable."""
    try:
        lines = files.read(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise CourseError(f"{path}: is not UTF-8; save it as CSV in UTF-8") from None
    reader = csv.DictReader(lines, skipinitialspace=True)
    headings = [one.strip().lower() for one in reader.fieldnames or []]
    if COLUMN not in headings:
        raise CourseError(f"{path}: the first line has no column {COLUMN!r}; write `student,name,email` there")
    reader.fieldnames = headings
    found: dict[str, Student] = {}
    try:
        for row in reader:
            if not any(row.values()):
                continue
            where = f"{path}, line {reader.line_num}"
            student = Student(*((row.get(one) or "").strip() for one in (COLUMN, NAME, EMAIL)))
            try:
                check_student(student.id)
            except StudentError as error:
                raise CourseError(f"{where}: {error}") from None
            if student.id in found:
                raise CourseError(f"{where}: {student.id} is in the roster twice; give each student another short name")
            found[student.id] = student
    except csv.Error as error:
        raise CourseError(f"{path}, line {reader.line_num}: {error}") from None
    if not found:
        raise CourseError(f"{path}: names no student; write one on each line after the first")
    if len(found) > MOST:
        raise CourseError(f"{path}: names {len(found)} students, and {MOST} are the most; split it")
    return tuple(found.values())
