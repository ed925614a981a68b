"""Whole commands, warm: how long `certreplay` takes to start, and how long a demo takes from call to end.

A start is compared with Python's own, in the same environment. Warm means that the programs have run before, so that
Python's bytecode is there and the files are in the system's cache.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.report import Aim, ReportSection, ReportTable, machine
from bench.timing import Timing, side_by_side

ROUNDS, QUICK_ROUNDS = 30, 3
DEMOS, QUICK_DEMOS = 20, 2
AT_MOST_PYTHON = 8.0
AT_MOST_DEMO_SECONDS = 1.0
CERTREPLAY = str(Path(sys.executable).parent / "certreplay")
PYTHON, HELP, MOVES, DEMO = "python -c pass", "certreplay --help", "certreplay moves", "certreplay demo"
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def run(quick: bool) -> ReportSection:
    """The bench."""
    rounds, demos = (QUICK_ROUNDS, QUICK_DEMOS) if quick else (ROUNDS, DEMOS)
    starts = {PYTHON: (sys.executable, "-c", "pass"), HELP: (CERTREPLAY, "--help"), MOVES: (CERTREPLAY, "moves")}
    times = side_by_side({name: _call(*command) for name, command in starts.items()}, rounds)
    with tempfile.TemporaryDirectory() as folder:
        times |= side_by_side({DEMO: _call(CERTREPLAY, "demo", f"--runs={folder}")}, demos)
    rows = tuple(_row(name, timing, times[PYTHON]) for name, timing in times.items())
    demo = times[DEMO].median
    aims = (
        *(_start_aim(name, times) for name in (HELP, MOVES)),
        Aim(f"`{DEMO}` in at most {AT_MOST_DEMO_SECONDS:g} s", f"{demo:.2f} s", demo <= AT_MOST_DEMO_SECONDS),
    )
    heads = ("command", "median, ms", "spread, ms", "beside Python's start")
    conditions = f"{rounds} rounds, {demos} demos with P-256 keys, all warm. {machine()}"
    return ReportSection(conditions, (ReportTable(heads, rows),), aims)


def _row(name: str, timing: Timing, python: Timing) -> tuple[str, ...]:
    low, high = timing.spread
    beside = f"{timing.median / python.median:.1f}" if name != DEMO else ""
    return f"`{name}`", f"{timing.median * 1000:.0f}", f"{low * 1000:.0f} to {high * 1000:.0f}", beside


def _start_aim(name: str, times: dict[str, Timing]) -> Aim:
    beside = times[name].median / times[PYTHON].median
    what = f"`{name}` in at most {AT_MOST_PYTHON:g} times the time of `{PYTHON}`"
    return Aim(what, f"{beside:.1f} times", beside <= AT_MOST_PYTHON)


def _call(*command: str) -> Callable[[], None]:
    """A call of the command; it raises where that does not end with 0."""
    environment = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}

    def go() -> None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")

    return go
