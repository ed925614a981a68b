"""The student's files: written to begin with, and set aside when all begins anew. No work is ever lost."""

import itertools
from contextlib import suppress
from pathlib import Path

from lab import files
from lab.exercises import progress
from lab.exercises.exercise import Exercise, ExerciseError
from lab.exercises.table import EXERCISES


def start(exercise: Exercise, folder: Path) -> Path:
    """Writes the file to begin with, and gives its path. ExerciseError where there is something already."""
    if not exercise.file:
        raise ExerciseError(f"exercise {exercise.number} has no file to begin with: its answer is {exercise.answer}")
    path = folder / exercise.file
    if path.exists() or path.is_symlink():
        raise ExerciseError(f"{path}: is there already, and stays as it is; move it away, or go on with it")
    for name, content in exercise.more_files().items() if exercise.more_files else ():
        (folder / name).parent.mkdir(exist_ok=True)
        files.write(folder / name, content, 0o600)
    files.write(path, exercise.beginning)
    return path


def begin_anew(runs: Path, folder: Path) -> list[str]:
    """Forgets what was done, and clears away the files that were begun in this folder: what was changed in one is kept
    under another name, and one in another folder stays, which a line tells. A file of progress that is not ours is
    forgotten, too."""
    try:
        started = progress.load(runs).started
    except ExerciseError:
        started = {}
    told = []
    for one in EXERCISES:
        path = Path(started.get(one.name, ""))
        if not (one.file and path.name == one.file and path.is_file()):
            continue
        if path.parent.resolve() != folder.resolve():
            told.append(f"your {path} is in another folder, so it stays as it is")
            continue
        for name in one.more_files() if one.more_files else ():
            (path.parent / name).unlink(missing_ok=True)
            with suppress(OSError):  # something else is in there
                (path.parent / name).parent.rmdir()
        if files.read(path) == one.beginning.encode():
            path.unlink()
            continue
        numbers = (path.with_name(f"{path.name}.kept-{number}") for number in itertools.count(1))
        kept = next(name for name in numbers if not name.exists())
        path.rename(kept)
        told.append(f"your {path} is kept as {kept}")
    progress.reset(runs)
    return told
