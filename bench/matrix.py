"""The full matrix: how many attempts a second, and whether a hundred matrices come to the same verdicts.

Each matrix is one call of `certreplay matrix`, with processes, keys and certificates of its own. Attempts are counted
from the moment that the attacker begins the first to the moment that it has the verdict on the last; a move
that cannot be made, so that nobody connects, isn't counted.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from attacker.attempts import AT_ONCE
from bench.report import Aim, ReportSection, ReportTable, machine
from bench.timing import Timing
from lab.catalogue.cast import ATTACKER
from lab.events.run import open_run
from lab.events.types import MoveTried

MATRICES, QUICK_MATRICES = 100, 3
ROUNDS, QUICK_ROUNDS = 20, 2
AIM_A_SECOND = 200
CERTREPLAY = Path(sys.executable).parent / "certreplay"

Verdicts = frozenset[tuple[Any, ...]]


@dataclass(frozen=True)
class Matrix:
    """One call's outcome. `seconds` is for its attempts, `in_all` for the whole command."""

    verdicts: Verdicts
    as_expected: bool
    attempts: int
    seconds: float
    in_all: float

    @property
    def rate(self) -> float:
        return self.attempts / self.seconds


def run(quick: bool) -> ReportSection:
    """The bench."""
    count, rounds = (QUICK_MATRICES, QUICK_ROUNDS) if quick else (MATRICES, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        single = [_matrix(Path(folder) / str(number), 1) for number in range(count)]
        long = _matrix(Path(folder) / "long", rounds)
    rates = Timing(tuple(matrix.rate for matrix in single))
    whole = Timing(tuple(matrix.in_all for matrix in single))
    rows = (
        (f"one matrix, median of {count}", str(single[0].attempts), f"{rates.median:.0f}", f"{whole.median:.1f}"),
        (
            "first to last decile",
            "",
            "{:.0f} to {:.0f}".format(*rates.spread),
            "{:.1f} to {:.1f}".format(*whole.spread),
        ),
        (f"one matrix, {rounds} rounds", str(long.attempts), f"{long.rate:.0f}", f"{long.in_all:.1f}"),
    )
    heads = ("", "attempts", "attempts a second", "whole command, s")
    aims = (
        Aim(f"one matrix, {AIM_A_SECOND} attempts a second", f"{rates.median:.0f}", rates.median >= AIM_A_SECOND),
        Aim(f"{rounds} rounds, {AIM_A_SECOND} attempts a second", f"{long.rate:.0f}", long.rate >= AIM_A_SECOND),
        _sameness(single),
    )
    conditions = f"Both versions, all schemes and moves, P-256 keys, {AT_ONCE} attempts at once. {machine()}"
    return ReportSection(conditions, (ReportTable(heads, rows),), aims)


def _sameness(matrices: list[Matrix]) -> Aim:
    """Whether all matrices have the same verdicts, and the theory's."""
    sets = Counter(matrix.verdicts for matrix in matrices)
    expected = sum(matrix.as_expected for matrix in matrices)
    measured = f"{len(sets)} different, each of {len(matrices[0].verdicts)} verdicts; {expected} matrices as expected"
    if len(sets) > 1:
        usual, *others = (verdicts for verdicts, _ in sets.most_common())
        odd = sorted({verdict[:3] for other in others for verdict in other ^ usual})
        measured += f"; they differ in {', '.join('/'.join(place) for place in odd)}"
    what = f"{len(matrices)} repeated matrices give {len(matrices)} identical sets of verdicts"
    return Aim(what, measured, len(sets) == 1 and expected == len(matrices))


def _matrix(runs: Path, rounds: int) -> Matrix:
    command = [str(CERTREPLAY), "matrix", "--json", f"--repeat={rounds}", f"--runs={runs}"]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    in_all = time.perf_counter() - began
    if done.returncode not in (0, 1):
        raise RuntimeError(f"certreplay matrix ended with {done.returncode}: {done.stderr}")
    (judgement,) = json.loads(done.stdout)
    times = [
        (recorded.time - timedelta(milliseconds=recorded.event.milliseconds), recorded.time)
        for recorded in open_run(runs / judgement["run"]).events
        if recorded.part == ATTACKER and isinstance(recorded.event, MoveTried) and recorded.event.local
    ]
    seconds = (max(end for _, end in times) - min(begin for begin, _ in times)).total_seconds()
    return Matrix(_verdicts(judgement), judgement["as_expected"], len(times), seconds, in_all)


def _verdicts(judgement: dict[str, Any]) -> Verdicts:
    """What can be the same in two runs: the outcomes, the alerts and who sent them, the statuses, what was stolen."""
    return frozenset(
        (
            *(verdict[key] for key in ("gateway", "tls", "move", "outcome", "expected")),
            *(verdict["evidence"][key] for key in ("alert_seen_by", "stolen", "attempts", "deviations")),
            tuple((verdict["evidence"]["alert"] or {}).values()),
            (verdict["evidence"]["http"] or {}).get("status"),
        )
        for verdict in judgement["verdicts"]
    )
