"""A machine that lacks something: one line names it and says what to do, with status 2, and no traceback."""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import cli
from programs import certreplay

PROGRAM = [sys.executable, "-m", "lab"]
ROOT = str(Path(cli.__file__).parents[1])


def run(*arguments: str | Path, before: Callable[[], object] | None = None, **others: Any) -> tuple[int, str]:
    """The command as a process of its own: its status and what it says on standard error."""
    environment = os.environ | {"PYTHONPATH": ROOT} | others.pop("environment", {})
    command = [*PROGRAM, *map(str, arguments)]
    done = subprocess.run(
        command, stderr=subprocess.PIPE, timeout=120, check=False, preexec_fn=before, env=environment, **others
    )
    return done.returncode, done.stderr.decode()


def assert_one_line(ended: tuple[int, str], *words: str) -> None:
    status, said = ended
    assert (status, said.count("\n")) == (2, 1), said
    assert said.startswith("certreplay: ")
    for word in words:
        assert word in said


def test_no_room_for_the_events(tmp_path: Path) -> None:
    """A limit on the size of a file stands in for a disk that is full."""

    def few_octets() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    ended = run("demo", "--runs", tmp_path, before=few_octets, stdout=subprocess.DEVNULL)
    assert_one_line(ended, str(tmp_path), "File too large")


def test_no_room_for_the_register(tmp_path: Path) -> None:
    """SQLite's own error does not name the file."""

    def few_octets() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))

    ended = run("demo", "--runs", tmp_path, before=few_octets, stdout=subprocess.DEVNULL)
    assert_one_line(ended, "customers.sqlite")


def test_a_temporary_folder_whose_name_is_too_long(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    ended = run("demo", "--runs", tmp_path / "runs", environment={"TMPDIR": str(folder)}, stdout=subprocess.DEVNULL)
    assert_one_line(ended, str(folder), "too long", "TMPDIR")


def test_a_machine_without_localhost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    done = certreplay("demo", "--runs", tmp_path)
    assert_one_line((done.returncode, done.stderr), "localhost", "/etc/hosts")
    assert not list(tmp_path.iterdir())


def test_a_closed_standard_output(finished_run: Path) -> None:
    assert_one_line(run("verdicts", finished_run, before=lambda: os.close(1)), "standard output is closed")


@pytest.mark.parametrize("closed", [0, 2])
def test_another_closed_stream(finished_run: Path, closed: int) -> None:
    """Nothing goes to the wrong place."""
    command = [*PROGRAM, "verdicts", str(finished_run)]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
        preexec_fn=lambda: os.close(closed),
        env=os.environ | {"PYTHONPATH": ROOT},
    )
    assert (done.returncode, done.stdout.count(b"certreplay: ")) == (0, 0)


def test_a_current_directory_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()

    def leave() -> None:
        os.chdir(gone)
        gone.rmdir()

    assert_one_line(run("demo", before=leave), "current directory is gone")


@pytest.mark.parametrize("variable", ["HOME", "LANG", "LC_ALL", "TERM", "PATH"])
def test_a_variable_that_is_missing(finished_run: Path, variable: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != variable}
    command = [*PROGRAM, "story", str(finished_run)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment | {"PYTHONPATH": ROOT})
    assert (done.returncode, done.stderr) == (0, b"")
