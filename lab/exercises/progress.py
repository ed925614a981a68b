"""What a student has done: a small file beside the runs, written whole each time."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lab import files
from lab.exercises.exercise import ExerciseError

FILE_NAME = "exercises.json"
VERSION = 1


@dataclass(frozen=True)
class Progress:
    """By an exercise's name: the run or file whose answer was right, that answer, how many hints were shown, and where
    the file is that was written to begin with."""

    done: dict[str, str] = field(default_factory=dict)
    hints: dict[str, int] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)

    def with_done(self, name: str, run: str, answer: str) -> "Progress":
        return replace(self, done=self.done | {name: run}, answers=self.answers | {name: answer})

    def with_hints(self, name: str, shown: int) -> "Progress":
        return replace(self, hints=self.hints | {name: shown})

    def with_started(self, name: str, file: Path) -> "Progress":
        return replace(self, started=self.started | {name: str(file.resolve())})


def load(runs: Path) -> Progress:
    """What is done so far, nothing without a file; ExerciseError for a file that is not ours."""
    path = runs / FILE_NAME
    try:
        content = json.loads(files.read(path))
        done, hints = content["done"], content["hints"]
        answers, started = content.get("answers", {}), content.get("started", {})
        texts = all(_is(one, str) for one in (done, answers, started))
        sound = content["version"] == VERSION and texts and _is(hints, int)
    except FileNotFoundError:
        return Progress()
    except (ValueError, LookupError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise ExerciseError(
            f"{path}: holds no progress that this version can read; `certreplay exercise --reset` forgets it"
        )
    return Progress(done, hints, answers, started)


def _is(value: object, kind: type) -> bool:
    """Whether it maps names to values of this kind."""
    return isinstance(value, dict) and all(type(one) is kind for one in value.values())


def save(runs: Path, progress: Progress) -> None:
    """Writes the file whole: one that is killed meanwhile leaves the one before."""
    files.make_folder(runs)
    unfinished = runs / f".{FILE_NAME}.{os.getpid()}"
    content = {"version": VERSION, **asdict(progress)}
    try:
        files.write(unfinished, json.dumps(content, indent=2) + "\n")
        unfinished.replace(runs / FILE_NAME)
    finally:
        unfinished.unlink(missing_ok=True)


def reset(runs: Path) -> None:
    """Forgets all of it."""
    (runs / FILE_NAME).unlink(missing_ok=True)
