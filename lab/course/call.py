"""What the teacher's commands do; each returns the exit status."""

import dataclasses
from pathlib import Path

from lab import files
from lab.course import ctfd, labs
from lab.course.grading import grade
from lab.course.labs import LabState, OneLab
from lab.course.receipts import new_secret, read_secret, receipt, token
from lab.course.roster import read_roster
from lab.course.telling import as_data, grades_csv, right_answers, tell_grades, tell_states
from lab.exits import AS_EXPECTED, NOT_AS_EXPECTED, run_to_end
from lab.printable import print_json, say
from lab.views import terminal


def export_tokens(roster: Path, secret: Path, as_json: bool) -> int:
    """Prints each student's token, as CSV or JSON; makes the course's secret if there is none."""
    students = read_roster(roster)
    key = course_secret(secret)
    tokens = {one: token(key, one) for one in students}
    if as_json:
        print_json(tokens)
    else:
        say("student,token")
        for student, one in tokens.items():
            say(f"{student},{one}")
    return AS_EXPECTED


def export_ctfd(roster: Path, secret: Path, output: Path, as_json: bool) -> int:
    """Writes the exercises for CTFd, with a flag for each student; makes the course's secret if there is none."""
    students = read_roster(roster)
    written = ctfd.export(output, students, course_secret(secret))
    if as_json:
        print_json({"challenges": list(map(str, written)), "csv": str(output / ctfd.CSV_FILE)})
    else:
        many = f"{len(written)} challenges with {len(students)} flags each"
        say(f"wrote {many}, in {output}: for ctfcli, and {ctfd.CSV_FILE}")
    return AS_EXPECTED


def course_secret(path: Path) -> bytes:
    """The course's secret, which is made where there is none."""
    if path.exists():
        return read_secret(path)
    secret = new_secret(path)
    say(f"certreplay: made the course's secret, {path}; keep it, and give it to no student", error=True)
    return secret


def export_receipts(graded: Path, secret: Path, as_json: bool) -> int:
    """Prints the receipts for right answers in a CSV that `grade` wrote. Nothing of a student's is read or run here."""
    key = read_secret(secret)
    receipts = [(one, number, receipt(token(key, one), number, one)) for one, number in right_answers(graded)]
    if as_json:
        print_json([{"student": a, "exercise": b, "receipt": c} for a, b, c in receipts])
    else:
        for _, _, one in receipts:
            say(one)
    return AS_EXPECTED


def grade_folders(folders: list[Path], roster: Path | None, csv_file: Path | None, as_json: bool) -> int:
    """Grades, and shows the table."""
    students = read_roster(roster) if roster else ()
    works = grade(folders, students)
    if csv_file:
        files.write(csv_file, grades_csv(works))
    if as_json:
        print_json([as_data(one) for one in works])
    else:
        terminal.show(tell_grades(works))
        if csv_file:
            say(f"wrote {csv_file}")
    return NOT_AS_EXPECTED if any(True for work in works for _ in work.all_findings()) else AS_EXPECTED


def class_up(
    roster: Path,
    runs: Path,
    compose: Path,
    name: str,
    network: str,
    first_port: int,
    every_seconds: float,
    as_json: bool,
) -> int:
    """Builds the images once, starts a lab for each student of the roster, and shows how they are."""
    students = read_roster(roster)

    async def up() -> tuple[LabState, ...]:
        it = await labs.prepare(students, runs, compose, name, network, first_port)
        if not as_json:
            say(f"{len(students)} labs in {it.network}, one every {every_seconds:g} seconds; building the images first")
        await labs.build(it)
        await labs.start(it, map(it.lab, students), every_seconds, _teller("up", as_json))
        return await labs.states(it)

    return _show_states(run_to_end(up()), as_json)


def class_status(roster: Path | None, runs: Path, compose: Path, as_json: bool) -> int:
    """Shows how the labs are; with a roster also who has none."""
    students = read_roster(roster) if roster else ()
    it = labs.load(runs, compose)
    there = {one.student for one in it.labs}
    without = (LabState(one, labs.NOT_UP, "has no lab yet", 0, "", 0, "") for one in students if one not in there)
    return _show_states((*run_to_end(labs.states(it)), *without), as_json)


def class_down(students: list[str], roster: Path | None, runs: Path, compose: Path, as_json: bool) -> int:
    """Takes labs down, those that are named or all; their runs stay."""
    it = labs.load(runs, compose)
    if roster:
        listed = set(read_roster(roster))
        students = students or [one.student for one in it.labs if one.student in listed]
    failed: list[str] = []
    tell = _teller("down", as_json)

    def done(one: OneLab, status: int, said: str) -> None:
        tell(one, status, said)
        failed.extend([one.student] if status else [])

    chosen = [it.lab(one) for one in students] if students or roster else list(it.labs)
    run_to_end(labs.stop(it, chosen, done))
    labs.forget(it, [one.student for one in chosen if one.student not in failed])
    if as_json:
        print_json({"down": [one.student for one in chosen if one.student not in failed], "failed": failed})
    return NOT_AS_EXPECTED if failed else AS_EXPECTED


def class_again(student: str, anew: bool, runs: Path, compose: Path, as_json: bool) -> int:
    """Starts one student's lab again: with its keys, or `anew` with all that was at the start. Her runs stay."""
    it = labs.load(runs, compose)
    one = it.lab(student)

    async def again() -> tuple[LabState, ...]:
        if anew:
            await labs.stop(it, [one], _teller("down", as_json))
        else:
            await labs.halt(it, one)
        await labs.start(it, [one], 0, _teller("up", as_json))
        return tuple(state for state in await labs.states(it) if state.student == student)

    return _show_states(run_to_end(again()), as_json)


def _teller(what: str, as_json: bool) -> labs.Done:
    """Says of each lab that it is up or down, or why not."""

    def tell(one: OneLab, status: int, said: str) -> None:
        if status or not as_json:
            say(f"{one.student}: not {what}: {said}" if status else f"{one.student}: {what}", error=bool(status))

    return tell


def _show_states(states: tuple[LabState, ...], as_json: bool) -> int:
    if as_json:
        print_json([dataclasses.asdict(one) for one in states])
    else:
        terminal.show(tell_states(states))
    well = all(one.state in ("starting", "worked") for one in states)
    return AS_EXPECTED if well else NOT_AS_EXPECTED
