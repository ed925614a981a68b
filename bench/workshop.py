"""A copy of the tree in which mutants are tried; and, run as a program, the process that runs their tests.

That process imports once what all tests need and no mutant changes, and forks for each mutant: a fork begins without
anything that another one did.
"""

import contextlib
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bench.executed import environment

LEFT_OUT = (".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", "runs", "*.egg-info")
USAGE_ERROR = 4
"""pytest's status if a test that is asked for isn't there: a mutant can change the names of tests."""
OPTIONS = ("-x", "-q", "--no-header", "-p", "no:xdist", "-p", "no:cacheprovider")
COMMON = (
    *("pytest", "hypothesis", "cryptography.x509", "cryptography.hazmat.primitives.serialization.pkcs12", "asyncio"),
    *("scapy.all", "starlette.applications", "uvicorn", "h11", "OpenSSL.SSL", "rich.console", "typer", "docker"),
)
"""What the tests import of others; what is not installed is left out."""


class Workshop:
    """A copy of the tree in which mutants are tried one after the other. `close` it in the end."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.tree = folder / "tree"
        shutil.copytree(root, self.tree, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        self._forge = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=self.tree,
            env=environment(self.tree),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def status(self, path: str, source: str, tests: Sequence[str], seconds: float) -> int | None:
        """The status of the tests with one file's content changed; None if they took too long, and were ended."""
        file = self.tree / path
        before = file.read_text()
        try:
            self._write(file, source)
            status = self._run(tests, seconds)
            if status == USAGE_ERROR:
                status = self._run(list(dict.fromkeys(test.partition("::")[0] for test in tests)), seconds)
            return status
        finally:
            self._write(file, before)

    def close(self) -> None:
        """Ends the process."""
        assert self._forge.stdin
        self._forge.stdin.close()
        self._forge.wait()

    def _write(self, file: Path, source: str) -> None:
        """Also forgets the compiled module, whose time and size may be those of the next."""
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        file.write_text(source)

    def _run(self, tests: Sequence[str], seconds: float) -> int | None:
        """pytest ends at the first failure."""
        stdin, stdout = self._forge.stdin, self._forge.stdout
        assert stdin
        assert stdout
        stdin.write(json.dumps([*OPTIONS, *tests]).encode() + b"\n")
        group = int(stdout.readline())
        in_time = bool(select.select([stdout], [], [], seconds)[0])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)  # with all that it started: the group is its own
        status = int(stdout.readline())
        return status if in_time else None


def _serve() -> None:
    """Runs pytest with the arguments in each line of standard input; answers with the process, then with its status."""
    for name in COMMON:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            _test(json.loads(line))
        with contextlib.suppress(OSError):
            os.setpgid(process, process)  # so does the other; the first of the two counts
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


def _test(arguments: list[str]) -> NoReturn:
    import pytest

    status = 1
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        sys.stdin = os.fdopen(0)
        status = int(pytest.main(arguments))
    finally:
        os._exit(status)


if __name__ == "__main__":
    _serve()
