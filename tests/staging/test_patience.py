"""How long a run may take, and what is said of one that takes longer."""

import asyncio
from pathlib import Path

import pytest

from lab.catalogue.plan import short_story
from lab.events.run import open_run
from lab.judging.verdicts import JudgedRun
from lab.staging import embedded, patience


def test_a_run_that_takes_too_long_says_so_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "slowness", lambda: 0.001)
    judgement = asyncio.run(embedded.run_embedded(tmp_path, short_story(), None, lambda run: None))
    assert judgement.verdicts == ()
    assert judgement.errors[0] == "the run was not over after 0 seconds; it is judged as far as it got"
    assert JudgedRun(open_run(tmp_path / judgement.run)).judgement.errors == judgement.errors


def test_a_processor_that_is_slower_gets_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands for the processor: it goes on by so much between two looks."""
    for taken, times in ((0.0, 1.0), (0.03, 3.0), (100.0, patience.MOST)):
        clock = iter((7.0, 7.0 + taken))
        monkeypatch.setattr("time.process_time", lambda clock=clock: next(clock))
        assert patience.slowness() == pytest.approx(times)
