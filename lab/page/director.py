"""Tells a run as scenes while it goes on: each as soon as its evidence is in, and never another way afterwards."""

from dataclasses import replace

from lab.events.types import RunStarted
from lab.judging.verdicts import JudgedRun
from lab.page import ladders
from lab.page.closeups import Closeups
from lab.page.model import Closeup, Page, Scene
from lab.page.roles import roles_of
from lab.page.scenes import SceneMaker, makers
from lab.page.teaching import Teaching
from lab.story.acts import QUESTION


class Director:
    """The scenes of a run, told in order. What was told stays as it was; later events change nothing about it."""

    def __init__(self) -> None:
        self._ahead: tuple[SceneMaker, ...] = ()
        self._messages = ladders.Messages()
        self._known: dict[str, Closeup] = {}
        self._closeups: Closeups | None = None
        self.page = Page("", "", QUESTION, (), (), False)

    @property
    def done(self) -> bool:
        """Whether all has been told."""
        return self.page.over

    def update(self, judged: JudgedRun, over: bool) -> tuple[Scene, ...]:
        """What can be told now and was not told before; once the run is `over`, all that is left and can be told."""
        started = judged.run.first(RunStarted)
        if self.done or not (started or over):
            return ()
        self._closeups = Closeups(judged, self._messages)
        if not self.page.run:
            self._ahead = makers(judged.plan)
            self.page = replace(
                self.page,
                run=started.run if started else judged.run.name,
                mode=started.mode if started else "",
                student=judged.plan.student,
            )
        given = Teaching(judged, over, roles_of(judged.plan), self._messages)
        news: list[Scene] = []
        while self._ahead:
            scene = self._ahead[0].tell(given)
            if scene is None and not over:
                break
            self._ahead = self._ahead[1:]
            news += [scene] if scene else []
        pending = tuple(one.id for one in self._ahead)
        self.page = replace(self.page, scenes=(*self.page.scenes, *news), pending=pending, over=over)
        return tuple(news)

    def closeup(self, name: str) -> Closeup | None:
        """The evidence with this id, the same each time; None if there is none."""
        if name not in self._known and self._closeups and (found := self._closeups.find(name)):
            self._known[name] = found
        return self._known.get(name)


def tell_page(judged: JudgedRun) -> Director:
    """The whole page of a run, as far as it got."""
    director = Director()
    director.update(judged, over=True)
    return director
