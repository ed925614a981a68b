"""No part is believed beyond its own: which events a folder may hold, and what becomes of the others."""

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from lab.catalogue.cast import ATTACKER, AUTHORITY, CONTROL, LAB, VICTIM_CLIENT, VICTIM_SERVER
from lab.events.log import FILE_NAME
from lab.events.parts import PART_FOLDERS, PLANNERS
from lab.events.run import Run, open_run
from lab.events.types import BY_NAME, MoveTried, RunStarted
from lab.judging.verdicts import JudgedRun
from programs import certreplay

Line = dict[str, Any]
PLAN: Line = {
    "type": "run-started",
    "mode": "embedded",
    "run": "x",
    "gateways": ["mtls@openssl"],
    "moves": ["omit-proof"],
    "versions": ["1.2"],
    "key_type": "p256",
    "rounds": 1,
    "leaks": ["wire"],
}
MALLORYS = tuple(name for name, folder in PART_FOLDERS.items() if folder.steals)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A run of her own for each test."""
    return shutil.copytree(finished_run, tmp_path / finished_run.name)


def lines(run: Path, part: str) -> list[Line]:
    return [json.loads(line) for line in (run / part / FILE_NAME).read_text().splitlines()]


def say(run: Path, folder: str, /, **fields: object) -> None:
    """Appends a line to a folder's events, as its next one in that part's name if the fields do not say otherwise."""
    (run / folder).mkdir(exist_ok=True)
    path = run / folder / FILE_NAME
    number = len(path.read_text().splitlines()) + 1 if path.exists() else 1
    envelope = {"version": 3, "part": folder, "sequence": number, "time": "2030-01-01T00:00:00+00:00"}
    with path.open("a") as file:
        file.write(json.dumps(envelope | fields) + "\n")


def judged(run: Path) -> JudgedRun:
    return JudgedRun(open_run(run))


def test_every_event_can_be_said_by_somebody_and_a_plan_by_the_lab_only() -> None:
    said = {kind for folder in PART_FOLDERS.values() for kind in folder.says}
    by_all, in_no_run = {"trouble", "part-stopped"}, {"server-answered"}
    assert {name for name, kind in BY_NAME.items() if kind not in said} == by_all | in_no_run
    assert {name for name, folder in PART_FOLDERS.items() if RunStarted in folder.says} == set(PLANNERS)


def test_a_run_that_nobody_touched_is_believed_whole(finished_run: Path) -> None:
    run = open_run(finished_run)
    assert run.refused == []
    assert JudgedRun(run).judgement.as_expected


@pytest.mark.parametrize(
    ("folder", "change"),
    [
        *((folder, {}) for folder in (*MALLORYS, VICTIM_CLIENT, VICTIM_SERVER, CONTROL, "strange")),
        (ATTACKER, {"moves": []}),
        (ATTACKER, {"moves": ["nothing"]}),
        (ATTACKER, {"time": "1970-01-01T00:00:00+00:00"}),
    ],
)
def test_a_plan_in_another_folder_changes_nothing(run: Path, folder: str, change: Line) -> None:
    before = judged(run).judgement
    say(run, folder, **PLAN | change)
    after = judged(run).judgement
    assert after.verdicts == before.verdicts
    assert len(after.verdicts) == 15
    told = f"the part {folder} holds events of the type run-started, which are not its own to report; they are left out"
    assert any(one.startswith(told) for one in after.contradictions)
    assert certreplay("verdicts", run).returncode == 1


@pytest.mark.parametrize("name", [LAB, AUTHORITY, VICTIM_SERVER, "nobody"])
def test_nobody_speaks_in_the_name_of_another(run: Path, name: str) -> None:
    before = judged(run).judgement
    say(run, ATTACKER, **PLAN | {"part": name, "time": "1970-01-01T00:00:00+00:00"})
    after = judged(run).judgement
    assert after.verdicts == before.verdicts
    assert any("events in the name of another part" in one for one in after.contradictions)


def test_two_parts_do_not_share_a_name(run: Path) -> None:
    """The folder counts, whatever the lines in it say."""
    shutil.copytree(run / ATTACKER, run / "rogue-server")
    found = open_run(run)
    assert {one.recorded.part for one in found.refused} == {ATTACKER}
    assert {one.folder for one in found.refused} == {"rogue-server"}
    assert JudgedRun(found).judgement.verdicts == judged(run).judgement.verdicts


@pytest.mark.parametrize("part", [LAB, VICTIM_CLIENT, VICTIM_SERVER])
@pytest.mark.parametrize("folder", MALLORYS)
def test_mallory_says_nothing_that_only_the_lab_and_the_victims_know(run: Path, part: str, folder: str) -> None:
    """The controls' attempts as well, which have no leak."""
    everybodys = ("trouble", "part-stopped")
    theirs = [line for line in lines(run, part) if line["type"] not in everybodys]
    assert theirs
    numbers: dict[str, int] = defaultdict(int)
    for line in theirs:
        say(run, folder, **{name: value for name, value in line.items() if name not in ("part", "sequence")})
        numbers[line["type"]] += 1
    found = open_run(run)
    assert len(found.refused) == len(theirs)
    assert [one for one in found.events if one.part == LAB and isinstance(one.event, MoveTried)]


def test_the_attackers_attempts_are_no_controls(run: Path) -> None:
    """A run without its controls has no verdicts, and mallory cannot add them."""
    controls = [line for line in lines(run, LAB) if line["type"] == "move-tried"]
    rest = [line for line in lines(run, LAB) if line["type"] != "move-tried"]
    (run / LAB / FILE_NAME).write_text(
        "".join(json.dumps(line | {"sequence": n}) + "\n" for n, line in enumerate(rest, 1))
    )
    assert not judged(run).judgement.verdicts
    for line in controls:
        say(run, ATTACKER, **{name: value for name, value in line.items() if name not in ("part", "sequence")})
    assert not judged(run).judgement.verdicts


def test_each_of_mallorys_parts_speaks_of_its_own_leak(run: Path) -> None:
    say(run, "rogue-server", type="leak-sought", leak="wire")
    say(run, "leaked-archive", type="leak-sought", leak="wire")
    say(run, "rogue-server", type="leak-sought", leak="rogue-server")
    found = open_run(run)
    assert [one.folder for one in found.refused] == ["leaked-archive", "rogue-server"]
    assert JudgedRun(found).plan.leaks == ("wire", "rogue-server")


@pytest.mark.parametrize("version", [1, 2])
def test_nobody_uses_an_older_format_than_the_run(run: Path, version: int) -> None:
    """Less is asked of an event of an older format."""
    attempt = next(line for line in lines(run, ATTACKER) if line["type"] == "move-tried")
    say(run, ATTACKER, **attempt | {"version": version, "sequence": 1000})
    found = open_run(run)
    assert [one.why for one in found.refused] == [f"events of the format {version}, and the run's is 3"]


def test_in_a_run_of_an_older_format_the_folder_is_the_part(tmp_path: Path) -> None:
    """Several parts of a class had one name then."""
    say(tmp_path, AUTHORITY, **PLAN | {"version": 2})
    say(tmp_path, "careful-client", type="trouble", what="rain", version=2, part=VICTIM_CLIENT)
    run = open_run(tmp_path)
    assert [one.part for one in run.events] == [AUTHORITY, "careful-client"]
    say(tmp_path, ATTACKER, **PLAN | {"version": 2, "part": AUTHORITY, "moves": []})
    assert run.update()
    assert len(list(run.all(RunStarted))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"moves": []},
        {"gateways": []},
        {"leaks": []},
        {"versions": []},
        {"moves": ["x"]},
        {"gateways": ["x"]},
        {"rounds": 0},
    ],
    ids=str,
)
def test_a_plan_that_tries_nothing_is_an_error(run: Path, change: Line) -> None:
    changed = [line | change if line["type"] == "run-started" else line for line in lines(run, LAB)]
    (run / LAB / FILE_NAME).write_text("".join(json.dumps(line) + "\n" for line in changed))
    judgement = judged(run).judgement
    assert "the run set out to try nothing" in judgement.errors[0]
    assert not judgement.verdicts
    for command in ("verdicts", "story", "claims"):
        assert certreplay(command, run).returncode == 1, command


def test_a_run_without_a_plan_is_an_error(run: Path) -> None:
    rest = [line for line in lines(run, LAB) if line["type"] != "run-started"]
    (run / LAB / FILE_NAME).write_text(
        "".join(json.dumps(line | {"sequence": n}) + "\n" for n, line in enumerate(rest, 1))
    )
    judgement = judged(run).judgement
    assert judgement.errors == ("the run does not say what it set out to try; only the lab can say it",)
    assert certreplay("verdicts", run).returncode == 1


def test_the_first_plan_counts(run: Path) -> None:
    say(run, LAB, **PLAN | {"moves": []})
    assert len(judged(run).judgement.verdicts) == 15


def test_a_live_run_tells_what_it_refused_too(run: Path) -> None:
    it = Run(run)
    assert it.update()
    say(run, ATTACKER, **PLAN)
    assert it.update()
    assert not it.update()
    assert len(it.refused) == 1
