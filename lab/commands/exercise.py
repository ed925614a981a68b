"""The command `exercise`. It imports what it needs when it is called."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lab.commands.options import RUNS, Json, Runs
from lab.exits import AS_EXPECTED, NOT_AS_EXPECTED, bad_input
from lab.printable import print_json, say


def exercise(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Nothing for the list; N for the task; `check N ANSWER` for an answer.", metavar="[[check] N [ANSWER]]"
        ),
    ] = None,
    hint: Annotated[bool, typer.Option("--hint", help="Show one hint more.")] = False,
    start: Annotated[bool, typer.Option("--start", help="Write the exercise's file, to begin with.")] = False,
    run: Annotated[Path | None, typer.Option(help="The run that the answer is about; the newest if not given.")] = None,
    runs: Runs = RUNS,
    reset: Annotated[
        bool, typer.Option("--reset", help="Begin anew: forget what is done, and the hints; keep files aside.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Exercises for students: list them, show a task, check an answer against a run of your own."""
    from lab.exercises import progress as kept
    from lab.exercises import starting, telling
    from lab.exercises.table import EXERCISES, find_exercise
    from lab.views import terminal

    if reset:
        if words or hint or start:
            bad_input("--reset forgets all exercises: give it alone")
        for line in starting.begin_anew(runs, Path()):
            say(f"certreplay: {line}", error=True)
    progress = kept.load(runs)
    match words or []:
        case []:
            if hint or start:
                option = "--hint" if hint else "--start"
                bad_input(f"give the exercise's number: certreplay exercise 8 {option}")
            if as_json:
                print_json([telling.tell_as_data(one, progress) for one in EXERCISES])
            else:
                terminal.show(telling.tell_list(progress))
        case ["check", number, *answer]:
            if hint or start:
                option = "--hint" if hint else "--start"
                bad_input(f"an option for the task, and not for an answer: certreplay exercise {number} {option}")
            _check_answer(number, " ".join(answer), run, runs, as_json)
        case [number] if number != "check":
            found = find_exercise(number)
            if start:
                file = starting.start(found, Path())
                kept.save(runs, progress.with_started(found.name, file))
                say(f"certreplay: wrote {file}", error=True)
                return
            if hint:
                progress = progress.with_hints(found.name, min(telling.shown_of(found, progress) + 1, len(found.hints)))
                kept.save(runs, progress)
            if as_json:
                print_json(telling.tell_as_data(found, progress))
            else:
                for line in telling.tell_task(found, progress, _run_for_task(run, runs)).splitlines():
                    say(line)
        case _:
            bad_input("certreplay exercise: nothing for the list, N for a task, `check N ANSWER` for an answer")


def _run_for_task(run: Path | None, runs: Path) -> str:
    """The run's folder, for the commands in a task; RUN where there is none yet."""
    from lab.events.run import RunError, named_run

    try:
        return str(named_run(run, runs))
    except RunError:
        return "RUN"


def _check_answer(number: str, answer: str, run: Path | None, runs: Path, as_json: bool) -> NoReturn:
    from lab.course import receipts
    from lab.document import Paragraph, Span
    from lab.exercises import progress as kept
    from lab.exercises.checking import check
    from lab.exercises.table import find_exercise
    from lab.views import terminal

    exercise = find_exercise(number)
    folder, checked = check(exercise, answer, run, runs)
    if checked.right:
        kept.save(runs, kept.load(runs).with_done(exercise.name, folder.name, answer))
    student, token = os.environ.get("CERTREPLAY_STUDENT", ""), os.environ.get("CERTREPLAY_TOKEN", "")
    receipt = receipts.receipt(token, exercise.number, student) if checked.right and student and token else ""
    if as_json:
        print_json(
            {
                "exercise": exercise.number,
                "run": folder.name,
                "right": checked.right,
                "why": checked.why,
                **({"receipt": receipt} if receipt else {}),
            }
        )
    else:
        verdict = Span("Right", "holds") if checked.right else Span("Not yet", "warning")
        about = "file" if exercise.file else "run"
        terminal.show([Paragraph((verdict, f", for the {about} {folder}.")), Paragraph(checked.why)])
        if receipt:
            say(f"Your receipt: {receipt}")
    sys.exit(AS_EXPECTED if checked.right else NOT_AS_EXPECTED)
