"""Runs that a checker makes itself to try a student's file: with fresh keys, which the student has never seen."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.catalogue.cast import ATTACKER, CARELESS_CLIENT, VICTIM_CLIENT, VICTIM_SERVER
from lab.catalogue.plan import Plan
from lab.events.run import open_run
from lab.exits import CallFailed, run_to_end
from lab.guest.loading import GuestError
from lab.judging.verdicts import JudgedRun
from lab.ports import Hosts
from lab.staging.embedded import run_embedded
from lab.staging.student_code import StudentCode


@contextmanager
def trial(plan: Plan, code: StudentCode | None = None, hosts: Hosts | None = None) -> Iterator[JudgedRun]:
    """A new run with the student's files, judged; it is gone when the block ends. GuestError, with file and line, where
    a file fails in the middle of it."""
    with tempfile.TemporaryDirectory(prefix="exercise-") as folder:
        runs = Path(folder)
        try:
            judgement = run_to_end(run_embedded(runs, plan, None, lambda run: None, code=code, hosts=hosts))
        except CallFailed as failed:
            part, _, why = str(failed).partition(": ")
            raise GuestError(why if part in PARTS else str(failed)) from None
        yield JudgedRun(open_run(runs / judgement.run))


PARTS = (VICTIM_SERVER, VICTIM_CLIENT, CARELESS_CLIENT, f"{CARELESS_CLIENT}-rsa", ATTACKER)
"""The parts in which a student's file can fail; their names mean nothing to the student."""
