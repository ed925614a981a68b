"""Which parts of a class ended before they were done, as when a container is killed.

Each part holds a lock on its folder of the run for as long as it lives (`x-in-run` in compose.yaml), and its last event
says whether it was done. No container sees the processes of another.
"""

import asyncio
from collections.abc import Iterator

from lab.events.run import Run
from lab.events.types import DONE, Event, PartStopped, Trouble
from lab.staging.copies import Copies

PATIENCE_SECONDS = 5.0
"""How long a part may be away: somebody may start it again."""


class EndedParts:
    """Watches the parts of a run, which `copies` knows; in a running event loop."""

    def __init__(self, run: Run, copies: Copies) -> None:
        self._run = run
        self._copies = copies
        self._since: dict[str, float] = {}

    def update(self) -> bool:
        """Looks which parts have ended early; whether one has been away for too long."""
        now = asyncio.get_running_loop().time()
        self._since = {part: self._since.get(part, now) for part in self._copies.ended() if self._reason(part) != DONE}
        return any(now - since > PATIENCE_SECONDS for since in self._since.values())

    def told(self, killed: bool = False) -> Iterator[str]:
        """A sentence for each part that has ended early, in that order; with `killed` for those that gave no reason."""
        for part in sorted(self._since, key=self._since.__getitem__):
            reason = self._reason(part)
            if not (killed and reason):
                troubles = [one.what for one in self._events(part) if isinstance(one, Trouble)]
                why = reason or (troubles or ["it was killed or broke off"])[-1]
                yield f"{part}: ended before the verdicts: {why}; `docker compose logs {part}` may say more"

    def _reason(self, part: str) -> str:
        """The reason that a part gave for its end as its last event; empty if it gave none."""
        events = self._events(part)
        return events[-1].reason if events and isinstance(events[-1], PartStopped) else ""

    def _events(self, part: str) -> list[Event]:
        return [recorded.event for recorded in self._run.events if recorded.part == part]
