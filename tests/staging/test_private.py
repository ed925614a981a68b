"""No private key and no process outlives a run, however it ends."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.catalogue.plan import short_story
from lab.staging import embedded, private
from lab.staging.private import LOCK_FILE, PREFIX, private_folder
from lab.staging.supervisor import PartFailed
from programs import CERTREPLAY, wait_until

PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder for this test alone. Its path is short: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def key_files(*folders: Path) -> list[Path]:
    found = []
    for path in (path for folder in folders for path in folder.rglob("*")):
        try:
            if path.is_file() and PRIVATE_KEY.search(path.read_bytes()):
                found.append(path)
        except FileNotFoundError:
            continue  # it went while we looked
    return found


def with_words(*words: str) -> list[int]:
    """The processes whose command lines have all of these words in them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if all(word in line for word in words) and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


@pytest.fixture
def running(tmp: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A lab whose keys are there and whose parts are running."""
    command = [CERTREPLAY, "matrix", "--runs", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: with_words("victim_client", str(tmp_path)), "alice")
        assert key_files(tmp)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_lab_that_is_killed_leaves_no_key_and_no_process(
    running: "subprocess.Popen[bytes]", tmp: Path, tmp_path: Path
) -> None:
    running.kill()
    running.wait()
    wait_until(lambda: not with_words(str(tmp_path)) and not with_words(str(tmp)), "the end of every process")
    assert list(tmp.iterdir()) == []
    assert key_files(tmp_path) == []


@pytest.mark.parametrize("part", ["victim_server", "victim_client", "attacker"])
def test_a_part_that_is_stopped_does_not_outlive_the_lab_either(
    running: "subprocess.Popen[bytes]", tmp: Path, tmp_path: Path, part: str
) -> None:
    """It does not see that the lab is gone."""
    (stopped,) = with_words("python", part, str(tmp_path))
    os.kill(stopped, signal.SIGSTOP)
    running.kill()
    running.wait()
    wait_until(lambda: not with_words(str(tmp_path)) and not with_words(str(tmp)), "the end of every process")
    assert list(tmp.iterdir()) == []


def test_what_was_killed_together_with_its_caretaker_is_swept_by_the_next_run(
    running: "subprocess.Popen[bytes]", tmp: Path, tmp_path: Path
) -> None:
    (caretaker,) = with_words("caretaker.py", str(tmp))
    os.kill(caretaker, signal.SIGKILL)
    running.kill()
    running.wait()
    wait_until(lambda: not with_words(str(tmp_path)), "the end of every process")
    folder, *_ = tmp.glob(f"{PREFIX}*")
    (folder / "late.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")  # alice may have removed hers before she ended
    asyncio.run(embedded.run_embedded(tmp_path / "more", short_story(), None, lambda run: None))
    assert list(tmp.iterdir()) == []


def test_a_run_without_its_caretaker_ends_and_says_why(tmp: Path, tmp_path: Path) -> None:
    def kill_caretaker(run: object) -> None:
        for one in with_words("caretaker.py", str(tmp)):
            os.kill(one, signal.SIGKILL)

    with pytest.raises(PartFailed, match="the process that removes the keys of a killed lab ended"):
        asyncio.run(embedded.run_embedded(tmp_path, short_story(), None, kill_caretaker))
    assert list(tmp.iterdir()) == []


def test_a_caretaker_that_is_stopped_keeps_no_run_from_its_end(tmp: Path, tmp_path: Path) -> None:
    def stop_caretaker(run: object) -> None:
        for one in with_words("caretaker.py", str(tmp)):
            os.kill(one, signal.SIGSTOP)

    judgement = asyncio.run(embedded.run_embedded(tmp_path, short_story(), None, stop_caretaker))
    assert judgement.as_expected
    assert with_words("caretaker.py", str(tmp)) == []
    assert list(tmp.iterdir()) == []


def test_a_folder_in_use_is_not_swept(tmp: Path) -> None:
    with private_folder() as one, private_folder() as other:
        (one.path / "key").touch()
        private.sweep()
        assert (one.path / "key").exists()
        assert other.path.is_dir()
        assert one.path.stat().st_mode & 0o777 == 0o700
    assert list(tmp.iterdir()) == []


def test_a_folder_that_a_killed_lab_locked_is_swept(tmp: Path) -> None:
    script = (
        "import os, sys; from lab.staging.private import _make; path, lock = _make(); (path / 'key').touch(); "
        "print(path, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    assert (left / "key").exists()
    private.sweep()
    assert not left.exists()


def test_nothing_else_is_swept(tmp: Path, tmp_path: Path) -> None:
    """Neither somebody's copy of the lab, nor what a link leads to."""
    (tmp / f"{PREFIX}main").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / LOCK_FILE).touch()
    (tmp / f"{PREFIX}link").symlink_to(tmp_path / "elsewhere")
    (tmp / f"{PREFIX}file").touch()
    (tmp / f"{PREFIX}other").mkdir()
    (tmp / f"{PREFIX}other" / LOCK_FILE).symlink_to(tmp_path / "elsewhere" / LOCK_FILE)
    private.sweep()
    assert len(list(tmp.iterdir())) == 4
    assert (tmp_path / "elsewhere" / LOCK_FILE).exists()
