"""How far a run is, on a terminal, while it goes on."""

from types import TracebackType
from typing import Self

from lab.catalogue.outcomes import NOT_APPLICABLE
from lab.events.run import Run
from lab.events.types import MoveTried
from lab.words import counted


class MatrixProgress:
    """A progress bar on standard error while a matrix runs, where that is a terminal; and how fast it went.

    `total` is how many attempts there will be, those included that have nothing to send.
    """

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("attempts"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("attempts", total=total)
        self._made = self._reported = 0
        self._seconds = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, run: Run) -> None:
        """Takes in what has happened."""
        tried = [
            (recorded.time, recorded.event)
            for recorded in run.events
            if isinstance(recorded.event, MoveTried) and recorded.part == "attacker"
        ]
        times = [time for time, event in tried if event.local or event.outcome != NOT_APPLICABLE]
        if times:
            self._seconds = (times[-1] - times[0]).total_seconds()
        self._made, self._reported = len(times), len(tried)
        self._progress.update(self._task, completed=self._reported)

    def summary(self) -> str:
        """How many attempts were made, in which time, and how many were not, as there was nothing to send."""
        rate = f", {self._made / self._seconds:.0f} a second" if self._seconds else ""
        rest = self._reported - self._made
        empty = f"; {rest:,} more had nothing to send" if rest else ""
        return f"{counted(self._made, 'attempt')} in {self._seconds:.1f} s{rate}{empty}"
