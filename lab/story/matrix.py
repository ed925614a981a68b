"""The matrix as tables: moves by gateways, one table for each version."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from lab.catalogue.gateways import GATEWAYS
from lab.catalogue.leaks import LEAKS, WIRE, find_leak
from lab.catalogue.moves import MOVES
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE
from lab.events.run import Run
from lab.events.types import MoveTried
from lab.judging.judgement import Judgement, Verdict
from lab.story.acts import came_back, due

NOTE_ON_TLS13 = (
    "In TLS 1.3 the wire shows no certificate: these attempts used the one that was captured when alice logged in over "
    "TLS 1.2."
)

_STYLES = {ACCEPTED: "bold red", NOT_APPLICABLE: "dim"}
_WORDS = {ACCEPTED: "ACCEPTED", NOT_APPLICABLE: "n/a"}


def matrix_tables(judgement: Judgement) -> list[tuple[str, Table]]:
    """A heading and a table for each leak and version that was tried."""
    tried = dict.fromkeys((verdict.leak, verdict.tls) for verdict in judgement.verdicts)
    order = sorted(tried, key=lambda one: ([leak.id for leak in LEAKS].index(one[0]), one[1]))
    return [(_heading(*one), _matrix(judgement, *one)) for one in order]


def _heading(leak: str, version: str) -> str:
    known = find_leak(leak)
    return f"TLS {version}" if known == WIRE else f"{known.title if known else leak}, TLS {version}"


def _matrix(judgement: Judgement, leak: str, version: str) -> Table:
    cells = {(v.move, v.gateway): v for v in judgement.verdicts if (v.leak, v.tls) == (leak, version)}
    gateways = [gateway.id for gateway in GATEWAYS if any(gateway.id == of for _, of in cells)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("move", no_wrap=True)
    for gateway in gateways:
        table.add_column(gateway.replace("-", "-\n").replace("@", "\n@"))
    for move in MOVES:
        row = [_cell(cells[move.id, gateway]) for gateway in gateways if (move.id, gateway) in cells]
        if row:
            table.add_row(move.id, *row)
    return table


def _cell(verdict: Verdict) -> Text:
    word = _WORDS.get(verdict.outcome, verdict.outcome)
    text = Text(word, _STYLES.get(verdict.outcome, "green"))
    return text if verdict.as_expected else text.append(" (!)", "bold yellow")


def findings(judgement: Judgement) -> list[str]:
    """What differs from what the RFCs predict, a line each."""
    return [
        f"{v.move} at {_where(v)}: {v.outcome} ({came_back(v)}; {v.evidence.reason}); expected {due(v)}"
        + (f"; {v.evidence.deviations} of {v.evidence.attempts} attempts" if v.evidence.attempts > 1 else "")
        for v in judgement.verdicts
        if not v.as_expected
    ] + [
        f"a fresh proof relayed to {v.gateway}, TLS {v.tls}, {v.key_exchange}: {v.outcome} ({v.reason}); "
        f"expected {v.expected}"
        for v in judgement.relays
        if not v.as_expected
    ]


def _where(verdict: Verdict) -> str:
    leak = "" if verdict.leak == WIRE.id else f", by the leak {verdict.leak}"
    return f"{verdict.gateway}, TLS {verdict.tls}{leak}"


class MatrixProgress:
    """A progress bar on standard error while a matrix runs, where that is a terminal; and how fast it went.

    `total` is how many attempts there will be.
    """

    def __init__(self, total: int) -> None:
        columns = (TextColumn("attempts"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("attempts", total=total)
        self._done = 0
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
        times = [
            recorded.time
            for recorded in run.events
            if isinstance(recorded.event, MoveTried) and recorded.part == "attacker"
        ]
        if times:
            self._done = len(times)
            self._seconds = (times[-1] - times[0]).total_seconds()
        self._progress.update(self._task, completed=self._done)

    def summary(self) -> str:
        """How many attempts there were, in which time."""
        rate = f", {self._done / self._seconds:.0f} a second" if self._seconds else ""
        return f"{self._done} attempts in {self._seconds:.1f} s{rate}"
