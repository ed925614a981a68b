"""Checks an answer against a run, and looks whether it is another run's."""

from contextlib import suppress
from pathlib import Path

from lab.events.log import FILE_NAME
from lab.events.run import RunError, named_run, open_run
from lab.exercises.exercise import Checked, CheckFile, Exercise, ExerciseError
from lab.judging.queries import RunQueries
from lab.judging.verdicts import JudgedRun

MOST_RUNS = 20
"""How many of the newest other runs an answer is looked for in."""


def check(exercise: Exercise, answer: str, run: Path | None, runs: Path) -> tuple[Path, Checked]:
    """Whether an answer is right, and what it is about: a run, the newest in `runs` if not told otherwise, or a file.

    The answer to an exercise with a file is its path; empty for the usual name in the current folder. ExerciseError
    where there is no answer, or where the run has nothing to check it with; RunError where there is no such run;
    GuestError, with file and line, where a file fails.
    """
    if exercise.check_file:
        return _check_file(exercise, exercise.check_file, answer.strip(), run)
    assert exercise.check
    if exercise.needs == "run":
        if answer and run:
            raise ExerciseError("the answer is a run: name it once, as the answer or with --run")
        run, answer = run or (Path(answer) if answer else None), ""
    elif not answer.strip():
        raise ExerciseError(f"give an answer: certreplay exercise check {exercise.number} {exercise.answer}")
    folder = named_run(run, runs)
    checked = exercise.check(_queries(folder), answer)
    if not checked.right and answer and (other := _right_in(exercise, answer, folder, runs)):
        why = f"This is the answer for another run, {other.name}. Add `--run {other}`, or find this run's answer."
        checked = Checked(False, why)
    return folder, checked


def _check_file(exercise: Exercise, check_file: CheckFile, answer: str, run: Path | None) -> tuple[Path, Checked]:
    if run:
        raise ExerciseError(f"exercise {exercise.number} is checked in runs of its own: leave --run out")
    file = Path(answer or exercise.file)
    if not file.is_file():
        start = f"certreplay exercise {exercise.number} --start"
        raise ExerciseError(f"{file}: there is no such file; `{start}` writes one to begin with")
    return file, check_file(file)


def _right_in(exercise: Exercise, answer: str, folder: Path, runs: Path) -> Path | None:
    """Another run for which the answer is right."""
    others = {path.parent.parent for path in runs.glob(f"*/*/{FILE_NAME}")} - {folder}
    assert exercise.check
    for other in sorted(others, reverse=True)[:MOST_RUNS]:
        with suppress(ExerciseError, RunError):
            if exercise.check(_queries(other), answer).right:
                return other
    return None


def _queries(folder: Path) -> RunQueries:
    return RunQueries(JudgedRun(open_run(folder)))
