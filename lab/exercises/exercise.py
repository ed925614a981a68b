"""What an exercise is: texts in a folder, and a check of an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeAlias

from lab.judging.queries import RunQueries

NEXT_HINT = "\n---\n"


class ExerciseError(Exception):
    """An exercise that cannot be shown or checked; the text says why and what to do."""


@dataclass(frozen=True)
class Checked:
    """Whether an answer is right, and why: what helps after a wrong one, why it worked after a right one."""

    right: bool
    why: str


Check: TypeAlias = Callable[[RunQueries, str], Checked]
"""Checks an answer against a run; ExerciseError where the run has nothing to check it with."""


CheckFile: TypeAlias = Callable[[Path], Checked]
"""Checks a file that the student wrote, in runs of its own; GuestError, with file and line, where the file fails."""


@dataclass(frozen=True)
class Exercise:
    """One exercise. Its folder `NN-name` has task.md, which begins with the title, and hints.md.

    `minutes` is how long it takes, `learns` what one learns, a sentence. `answer` is the form of the answer, and
    `needs` says whether the answer is words, the run itself, which then may be named, or the student's `file`, whose
    beginning is in the exercise's folder.
    """

    number: int
    name: str
    minutes: int
    learns: str
    answer: str
    check: Check | None = None
    needs: Literal["words", "run", "file"] = "words"
    file: str = ""
    check_file: CheckFile | None = None
    more_files: Callable[[], Mapping[str, bytes]] | None = None
    """What is written beside the file, by name: made for this student, and never work of hers."""

    @property
    def folder(self) -> str:
        return f"{self.number:02}-{self.name}"

    @cached_property
    def task(self) -> str:
        """The task in Markdown, without the title."""
        return self._text("task.md").partition("\n")[2].strip()

    @cached_property
    def title(self) -> str:
        return self._text("task.md").partition("\n")[0].removeprefix("# ")

    @cached_property
    def hints(self) -> tuple[str, ...]:
        """The hints in Markdown, in their order."""
        return tuple(hint.strip() for hint in self._text("hints.md").split(NEXT_HINT))

    @property
    def beginning(self) -> str:
        """What the student's file holds at first."""
        return self._text(f"{self.file}.txt")

    def _text(self, name: str) -> str:
        return files("lab.exercises").joinpath(self.folder, name).read_text()
