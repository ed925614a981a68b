"""The exercises as challenges for CTFd: folders with a challenge.yml for ctfcli, and one CSV for the admin's import.

Every student has a flag of her own, her receipt. CTFd takes any of a challenge's flags from anybody; the flag names the
student, so one that was passed on shows. https://github.com/CTFd/ctfcli has the format of challenge.yml.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lab import files
from lab.course.errors import CourseError
from lab.course.receipts import receipt, token
from lab.exercises.exercise import Exercise
from lab.exercises.table import EXERCISES

CATEGORY = "certreplay"
CSV_FILE = "challenges.csv"
PROJECT_FILE = ".ctf/config"
"""What makes the folder a project of ctfcli. Where the CTFd is, and its token, ctfcli reads from the environment."""
POINTS_A_MINUTE = 10
FIRST = 1
AFTER = {4: 3}
"""What an exercise takes up from an earlier one. All others come after the first."""


def export(folder: Path, students: Sequence[str], secret: bytes) -> tuple[Path, ...]:
    """Writes it all into a new folder, which only its owner can read: the flags are in it. Returns the challenges'
    folders. CourseError if the folder is there already."""
    files.make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise CourseError(f"{folder}: is already there and is not overwritten; choose another with --output") from None
    tokens = {student: token(secret, student) for student in students}
    challenges = {
        one.folder: challenge(one, [receipt(of, one.number, student) for student, of in tokens.items()])
        for one in EXERCISES
    }
    for name, content in challenges.items():
        (folder / name).mkdir()
        files.write(folder / name / "challenge.yml", as_yaml(content))
    files.write(folder / CSV_FILE, as_csv(challenges.values()))
    project = folder / PROJECT_FILE
    project.parent.mkdir()
    files.write(
        project, "".join(f"{line}\n" for line in ("[config]", "", "[challenges]", *(f"{n} = {n}" for n in challenges)))
    )
    return tuple(folder / name for name in challenges)


def challenge(exercise: Exercise, flags: Sequence[str]) -> dict[str, object]:
    """One exercise in the terms of challenge.yml."""
    value = POINTS_A_MINUTE * exercise.minutes
    before = AFTER.get(exercise.number, FIRST)
    first = exercise.number == FIRST
    # CTFd sells no hint to somebody who has no points yet.
    cost = 0 if first else value // (2 * len(exercise.hints))
    return {
        "name": _title(exercise),
        "author": "certreplay",
        "category": CATEGORY,
        "description": _description(exercise),
        "attribution": "certreplay, MIT licence",
        "value": value,
        "type": "standard",
        "flags": list(flags),
        "tags": [f"{exercise.minutes} minutes"],
        "hints": [{"content": hint, "cost": cost} for hint in exercise.hints],
        "requirements": [] if first else [next(_title(one) for one in EXERCISES if one.number == before)],
        "state": "visible",
        "version": "0.1",
    }


def _title(exercise: Exercise) -> str:
    return f"{exercise.number}. {exercise.title}"


def _description(exercise: Exercise) -> str:
    call = f"certreplay exercise check {exercise.number} {exercise.answer}"
    return (
        f"{exercise.task}\n\nDo this in a run of your own; RUN stands for its folder. Let your lab check the answer:"
        f"\n\n    {call}\n\nAfter a right answer you get a receipt, from your lab or from your teacher. It is the flag."
    )


def as_yaml(content: Mapping[str, object]) -> str:
    """A mapping as YAML 1.2, a key a line and an item of a list a line. Each value is JSON, which YAML contains."""
    return "".join(f"{line}\n" for name, value in content.items() for line in _lines(name, value))


def _lines(name: str, value: object) -> Iterator[str]:
    if isinstance(value, list) and value:
        yield f"{name}:"
        yield from (f"  - {json.dumps(one, ensure_ascii=False)}" for one in value)
    else:
        yield f"{name}: {json.dumps(value, ensure_ascii=False)}"


def as_csv(challenges: Iterable[Mapping[str, object]]) -> str:
    """What CTFd's admin can import. It has no place for prerequisites and a hint's cost, and splits hints at commas; so
    those are left to ctfcli."""
    columns = ("name", "category", "description", "value", "type", "state")
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow([*columns, "flags", "tags"])
    for one in challenges:
        flags, tags = one["flags"], one["tags"]
        assert isinstance(flags, list)
        assert isinstance(tags, list)
        writer.writerow([*(one[name] for name in columns), ",".join(flags), ",".join(tags)])
    return lines.getvalue()
