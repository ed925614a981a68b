"""A short soak: a lab whose parts are killed and stopped leaves a readable run, no process and no key."""

import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import soak
from lab.events.log import EventLog
from lab.events.types import Trouble


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, as sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        yield Path(name)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_round_leaves_nothing(seed: int, folder: Path) -> None:
    done = soak.soak_embedded(random.Random(seed), folder)
    assert done.wrong == (), done.what


def test_the_soak_sees_what_is_left(folder: Path) -> None:
    """The control: a key, and a run that cannot be read."""
    assert soak.key_files(folder) == []
    (folder / "key.pem").write_text("-----BEGIN PRIVATE KEY-----")
    assert soak.key_files(folder) == [folder / "key.pem"]
    run = folder / "runs" / "2030"
    log = EventLog(run / "lab", "lab")
    log.report(Trouble("rain"))
    log.close()
    assert list(soak.unreadable(folder / "runs")) == []
    (run / "verdicts.json").write_text("{")
    (told,) = soak.unreadable(folder / "runs")
    assert told.startswith("the run cannot be read: JSONDecodeError")


def test_the_soak_sees_a_process_that_is_left(folder: Path) -> None:
    left = subprocess.Popen([sys.executable, "-c", "input()", str(folder)], stdin=subprocess.PIPE)
    try:
        assert soak.processes_of(folder) == [left.pid]
    finally:
        left.communicate(b"\n")
    assert soak.processes_of(folder) == []
