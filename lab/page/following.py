"""Follows a run's folder, and tells its scenes to everybody who listens."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.events.run import Run
from lab.judging.verdicts import JudgedRun
from lab.page.director import Director
from lab.page.model import Page

POLL_SECONDS = 0.1
SILENT_SECONDS = 20.0
"""A run without a word for so long, and without an outcome, broke off."""


@dataclass(frozen=True)
class News:
    """What followers are told: the page so far, and where the presenter is."""

    page: Page
    place: str


class Following:
    """The page of a run, from its beginning or its end on.

    `find_run` gives the run's folder, None as long as there is none.
    """

    def __init__(self, find_run: Callable[[], Path | None]) -> None:
        self.director = Director()
        self.place = ""
        self._find_run = find_run
        self._run: Run | None = None
        self._heard = time.monotonic()
        self._changed = asyncio.Condition()

    @property
    def folder(self) -> Path | None:
        """The run's folder, once there is a run."""
        return self._run.folders.path if self._run else None

    async def follow(self) -> None:
        """Reads what is new until all is told."""
        while not self.director.done:
            if await asyncio.to_thread(self.look):  # a long run takes its time, and the page answers meanwhile
                await self._tell()
            await asyncio.sleep(POLL_SECONDS)
        await self._tell()

    def look(self) -> bool:
        """Reads what has come; whether there is anything new to tell."""
        if self._run is None:
            folder = self._find_run()
            if folder is None:
                return False
            self._run = Run(folder)
        ended = self._run.folders.verdicts.exists()  # looked at first: what comes before it is read then
        news = self._run.update()
        self._heard = time.monotonic() if news else self._heard
        broke_off = bool(self._run.events) and time.monotonic() - self._heard > SILENT_SECONDS
        if not (news or ended or broke_off):
            return False
        before = self.director.page
        self.director.update(JudgedRun(self._run), over=ended or broke_off)
        return self.director.page != before

    async def go_to(self, place: str) -> None:
        """The presenter is there now."""
        self.place = place
        await self._tell()

    async def news(self) -> AsyncIterator[News]:
        """What there is, at once and then whenever it changes."""
        while True:
            now = News(self.director.page, self.place)
            yield now
            async with self._changed:
                await self._changed.wait_for(partial(self._differs, now))

    def _differs(self, told: News) -> bool:
        return (told.page, told.place) != (self.director.page, self.place)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
