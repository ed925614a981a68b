"""Runs of the lab that are made once and judged again and again.

A run takes seconds or a minute, and a mutant of the judge changes nothing before it is over. So the tests of each such
mutant get a copy of a run that the real code made, and judge it with the mutant's.
"""

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from lab import files
from lab.catalogue.plan import Plan
from lab.events.run import open_run
from lab.judging.judgement import Judgement
from lab.judging.verdicts import JudgedRun
from lab.staging import embedded

_made = embedded.run_embedded


def share_runs(folder: Path, keep: bool) -> None:
    """From here on a plan whose run is in `folder` is not carried out again. With `keep` each new run goes there."""

    async def run_embedded(runs: Path, plan: Plan, first_port: int | None, watch: Any, **more: Any) -> Judgement:
        kept = folder / sha256(repr((plan, sorted(more.items()))).encode()).hexdigest()
        if not kept.exists():
            judgement = await _made(runs, plan, first_port, watch, **more)
            if keep:
                shutil.copytree(runs / judgement.run, kept / judgement.run)
            return judgement
        (there,) = kept.iterdir()
        run = open_run(shutil.copytree(there, runs / there.name))
        before = json.loads(run.folders.verdicts.read_text())["events"]  # the parts told more after the verdicts
        judgement = replace(JudgedRun(run).judgement, events=before)
        files.write(run.folders.verdicts, judgement.to_json())
        watch(run)
        return judgement

    embedded.run_embedded = run_embedded  # type: ignore[assignment]
