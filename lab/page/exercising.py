"""The exercises beside a run's page: task, hints, state, and a place to type an answer.

The page stays one for reading. A hint and the check of an answer are looked up, by GET, and nothing on the disk
changes. So the browser keeps what was right here, and the student's progress, which
is shown, does not change: `certreplay exercise check` writes it. A student's code is never run from here.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from lab.decimals import decimal
from lab.page.following import Following
from lab.page.rendering import render_exercises, shown_text

if TYPE_CHECKING:
    from lab.exercises.exercise import Exercise

MAX_ANSWER = 2000
"""The longest answer that is looked at, in characters."""


@dataclass(frozen=True)
class TextBlock:
    """A paragraph, which is one line, or the lines of commands."""

    lines: tuple[str, ...]
    code: bool


@dataclass(frozen=True)
class ExerciseView:
    """One exercise as the page shows it. `done` is what the student's progress says, empty for nothing."""

    number: int
    title: str
    minutes: int
    learns: str
    task: tuple[TextBlock, ...]
    hints: int
    form: str
    typed: bool
    """Whether the answer is typed here; otherwise it is a file, and a command checks it."""
    done: str


class ExercisePages:
    """The routes of the exercises of the run that is shown."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._one_by_one = asyncio.Lock()

    def routes(self) -> list[Route]:
        return [
            Route("/exercises", self._all),
            Route("/exercises/{number}/hint", self._hint),
            Route("/exercises/{number}/answer", self._answer),
        ]

    async def _all(self, request: Request) -> Response:
        from lab.exercises import progress
        from lab.exercises.exercise import ExerciseError
        from lab.exercises.table import EXERCISES

        folder = self._following.folder
        try:
            done = progress.load(folder.parent).done if folder else {}
        except (ExerciseError, OSError):
            done = {}
        run = folder.name if folder else ""
        views = [_view(one, folder, done.get(one.name, "")) for one in EXERCISES]
        return Response(render_exercises(views, run), media_type="text/html")

    async def _hint(self, request: Request) -> Response:
        exercise, wanted = _exercise(request), decimal(request.query_params.get("number", ""))
        if exercise is None or wanted is None or not 0 < wanted <= len(exercise.hints):
            return PlainTextResponse("There is no such hint.", 404)
        blocks = _blocks(exercise.hints[wanted - 1], self._following.folder)
        told = [{"text": "\n".join(map(shown_text, one.lines)), "code": one.code} for one in blocks]
        return JSONResponse(told)

    async def _answer(self, request: Request) -> Response:
        exercise, folder = _exercise(request), self._following.folder
        if exercise is None or exercise.needs == "file" or folder is None:
            return PlainTextResponse("There is no such exercise to answer here.", 404)
        answer = request.query_params.get("answer", "")
        if len(answer) > MAX_ANSWER:
            return JSONResponse({"right": False, "why": f"This is longer than any answer: {len(answer)} characters."})
        async with self._one_by_one:
            right, why = await asyncio.to_thread(_checked, exercise, answer, folder)
        return JSONResponse({"right": right, "why": shown_text(why)})


def _exercise(request: Request) -> "Exercise | None":
    from lab.exercises.table import EXERCISES

    number = request.path_params["number"]
    return next((one for one in EXERCISES if str(one.number) == number), None)


def _checked(exercise: "Exercise", answer: str, folder: Path) -> tuple[bool, str]:
    from lab.events.run import RunError
    from lab.exercises.checking import check
    from lab.exercises.exercise import ExerciseError

    try:
        _, checked = check(exercise, "" if exercise.needs == "run" else answer, folder, folder.parent)
    except (ExerciseError, RunError, OSError) as error:
        return False, str(error)
    return checked.right, checked.why


def _view(one: "Exercise", folder: Path | None, done: str) -> ExerciseView:
    return ExerciseView(
        number=one.number,
        title=one.title,
        minutes=one.minutes,
        learns=one.learns,
        task=tuple(_blocks(one.task, folder)),
        hints=len(one.hints),
        form=one.answer,
        typed=one.needs != "file",
        done=done,
    )


def _blocks(text: str, folder: Path | None) -> Iterator[TextBlock]:
    """A text in Markdown, as far as the exercises use it: paragraphs and indented commands."""
    run = f"{folder.parent.name}/{folder.name}" if folder else "RUN"
    for block in text.replace("RUN/", f"{run}/").split("\n\n"):
        lines = block.splitlines()
        code = all(line.startswith("    ") or not line for line in lines)
        yield TextBlock(tuple(line[4:] for line in lines) if code else (" ".join(lines),), code)
