"""A part of a class that ended before it was done is named at once, as why there are no verdicts."""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.catalogue.cast import LAB, VICTIM_CLIENT, VICTIM_SERVER
from lab.catalogue.plan import short_story
from lab.events.log import EventLog
from lab.events.run import open_run
from lab.events.types import DONE, TOLD_TO_STOP, Event, PartStopped, Trouble
from lab.judging.facts import run_started
from lab.judging.judgement import Judgement
from lab.judging.verdicts import JudgedRun
from lab.staging import classroom, ended

RUN = "2030-01-02T03-04-05.678Z"


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The volumes of a class in which nobody waits, with a run that the authority has begun."""
    for name in ("public", "runs", "parts"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(classroom, "_check_container", lambda: None)
    monkeypatch.setattr(classroom, "PUBLIC", tmp_path / "public")
    monkeypatch.setattr(classroom, "PARTS", tmp_path / "parts")
    monkeypatch.setattr(classroom, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(classroom, "RUN_SECONDS", 1.0)
    monkeypatch.setattr(classroom, "slowness", lambda: 1.0)
    monkeypatch.setattr(ended, "PATIENCE_SECONDS", 0.1)
    (tmp_path / "public" / "run").write_text(f"{RUN}\n")
    report(tmp_path, "authority", run_started("classroom", RUN, short_story(), "project"), PartStopped(DONE))
    return tmp_path


def report(volumes: Path, part: str, *events: Event) -> None:
    log = EventLog(volumes / "parts" / part / RUN, part)
    for event in events:
        log.report(event)
    log.close()


@pytest.fixture
def alive(volumes: Path) -> Iterator[Callable[[str], None]]:
    """Lets a part live, as its container does."""
    locks: list[int] = []

    def lives(part: str) -> None:
        locks.append(os.open(volumes / "parts" / part / RUN, os.O_RDONLY))
        fcntl.flock(locks[-1], fcntl.LOCK_SH)

    yield lives
    for lock in locks:
        os.close(lock)


def follow() -> Judgement:
    async def followed() -> Judgement:
        return await classroom.follow(asyncio.Event(), once=True, watch=lambda run, judgement: None)

    return asyncio.run(followed())


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ((), "it was killed or broke off"),
        ((Trouble("no room on the disk"),), "no room on the disk"),
        ((PartStopped(TOLD_TO_STOP),), "told to stop"),
        ((PartStopped(DONE), Trouble("it began again")), "it began again"),
    ],
)
def test_a_part_that_ended_too_early_is_named_first(
    volumes: Path, alive: Callable[[str], None], capsys: pytest.CaptureFixture[str], last: tuple[Event, ...], why: str
) -> None:
    report(volumes, VICTIM_CLIENT)
    alive(VICTIM_CLIENT)
    report(volumes, VICTIM_SERVER, *last)
    line = f"victim-server: ended before the verdicts: {why}; `docker compose logs victim-server` may say more"
    judgement = follow()
    assert not judgement.verdicts
    assert judgement.errors[0] == line
    assert capsys.readouterr().err == f"certreplay: {line}\n"
    run = open_run(volumes / "runs" / RUN)
    assert [one.part for one in run.events if one.event == Trouble(line)] == [LAB]
    assert JudgedRun(run).judgement.errors == judgement.errors


def test_a_part_that_lives_or_was_done_is_not_blamed(volumes: Path, alive: Callable[[str], None]) -> None:
    report(volumes, VICTIM_CLIENT)
    alive(VICTIM_CLIENT)
    report(volumes, VICTIM_SERVER, PartStopped(DONE))
    errors = follow().errors
    assert errors[0] == "the run was not over after 1 seconds; it is judged as far as it got"
    assert not any("ended before" in error for error in errors)


def test_a_part_that_comes_back_is_not_blamed(
    volumes: Path, alive: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    report(volumes, VICTIM_SERVER)
    looked: list[bool] = []
    look = ended.EndedParts.update

    def come_back_once_missed(parts: ended.EndedParts) -> bool:
        looked.append(look(parts))
        if len(looked) == 1:
            assert list(parts.told())
            alive(VICTIM_SERVER)
        return looked[-1]

    monkeypatch.setattr(ended.EndedParts, "update", come_back_once_missed)
    assert not any("ended before" in error for error in follow().errors)
    assert not any(looked)


def test_when_the_lab_is_told_to_stop_a_part_that_was_killed_is_still_named(volumes: Path) -> None:
    """Compose stops everything as soon as one part has ended, if it was told so."""
    report(volumes, VICTIM_CLIENT, PartStopped(TOLD_TO_STOP))
    report(volumes, VICTIM_SERVER)

    async def followed() -> Judgement:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, stop.set)
        return await classroom.follow(stop, once=True, watch=lambda run, judgement: None)

    blamed = [error for error in asyncio.run(followed()).errors if "ended before" in error]
    assert [error.partition(":")[0] for error in blamed] == ["victim-server"]
