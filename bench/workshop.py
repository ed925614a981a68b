"""A copy of the tree in which mutants are tried; and, run as a program, the process that runs their tests.

There are two such processes, and each forks for a mutant: a fork begins without anything that another one did. One has
collected all tests. It serves mutants of a function's body, whose code is exchanged in the fork. The other has imported
only what no mutant changes. It serves mutants of what is executed by an import.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from bench.executed import environment

LEFT_OUT = (".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", "runs", "*.egg-info")
INTERNAL_ERROR, USAGE_ERROR = 3, 4
"""pytest's status if a mutant's code does not fit the functions that are there; and if a test that is asked for isn't
there, as a mutant can change the names of tests."""
START_SECONDS = 60.0
"""As long as the first test may take to begin."""
TEST = b"test\n"
"""What a fork says when a test begins."""
OPTIONS = ("-x", "-q", "--no-header", "-p", "no:xdist", "-p", "no:cacheprovider")
COMMON = (
    *("hypothesis", "cryptography.x509", "cryptography.hazmat.primitives.serialization.pkcs12", "asyncio"),
    *("scapy.all", "starlette.applications", "uvicorn", "h11", "OpenSSL.SSL", "rich.console", "typer", "docker"),
)
"""What the tests import of others; what is not installed is left out."""


@dataclass(frozen=True)
class Asked:
    """A mutant, as its process is asked to try it: a file's path in the tree, its text without the change and with it,
    and its tests in their order. `runs` is where runs of the lab are kept for them, empty for a new run each time, and
    `keep` says that this one puts them there."""

    path: str
    before: str
    source: str
    tests: Sequence[str]
    runs: str = ""
    keep: bool = False


class Workshop:
    """A copy of the tree in which mutants are tried one after the other. `close` it in the end."""

    def __init__(self, root: Path, folder: Path, modules: Sequence[str]) -> None:
        self.tree = folder / "tree"
        shutil.copytree(root, self.tree, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        self._collected, self._empty = self._forge(modules), self._forge([])
        self._runs = ""

    @property
    def keeps_runs(self) -> bool:
        """Whether runs of the lab are made once for all mutants."""
        return bool(self._runs)

    def _forge(self, modules: Sequence[str]) -> subprocess.Popen[bytes]:
        forge = subprocess.Popen(
            [sys.executable, "-m", __name__, *modules],
            cwd=self.tree,
            env=environment(self.tree),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert forge.stdout
        if not forge.stdout.readline():
            raise RuntimeError(f"the tests cannot be collected: {' '.join(modules)}")
        return forge

    def keep_runs(self, path: str, tests: Mapping[str, float]) -> None:
        """Keeps the runs of the lab that these tests make: those of later mutants judge them anew. RuntimeError if a
        test fails. `path` is any file, which is not changed."""
        self._runs = str(self.tree.with_name("runs"))
        text = (self.tree / path).read_text()
        if self._run(self._collected, Asked(path, text, text, tuple(tests), self._runs, True), tests.values()):
            raise RuntimeError(f"the tests fail without any change: {' '.join(tests)}")

    def status(self, path: str, source: str, tests: Mapping[str, float], imported: bool) -> int | None:
        """The status of the tests with one file's content changed; None if one of them took more seconds than it may,
        and all were ended. `imported` is whether an import executes the change."""
        file = self.tree / path
        asked = Asked(path, file.read_text(), source, tuple(tests), self._runs)
        try:
            self._write(file, source)
            status = INTERNAL_ERROR if imported else self._run(self._collected, asked, tests.values())
            if status in (INTERNAL_ERROR, USAGE_ERROR):
                status = self._run(self._empty, asked, tests.values())
            if status == USAGE_ERROR:
                modules = dict.fromkeys(test.partition("::")[0] for test in tests)
                status = self._run(self._empty, replace(asked, tests=tuple(modules)), repeat(sum(tests.values())))
            return status
        finally:
            self._write(file, asked.before)

    def close(self) -> None:
        """Ends the processes."""
        for forge in (self._collected, self._empty):
            assert forge.stdin
            forge.stdin.close()
            forge.wait()

    def _write(self, file: Path, source: str) -> None:
        """Also forgets the compiled module, whose time and size may be those of the next."""
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        file.write_text(source)

    def _run(self, forge: subprocess.Popen[bytes], asked: Asked, seconds: Iterable[float]) -> int | None:
        """pytest ends at the first failure. `seconds` may pass with each test until the next one begins."""
        stdin, stdout = forge.stdin, forge.stdout
        assert stdin
        assert stdout
        stdin.write(json.dumps(vars(asked)).encode() + b"\n")
        group, told = int(stdout.readline()), TEST
        for allowed in chain((START_SECONDS,), seconds):
            in_time = bool(select.select([stdout], [], [], allowed)[0])
            told = stdout.readline() if in_time else told
            if told != TEST or not in_time:
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)  # with all that it started: the group is its own
        late = told == TEST
        while told == TEST:
            told = stdout.readline()
        return None if late else int(told)


class _Forge:
    """Runs the tests of each mutant that a line of standard input asks for, in a fork. Standard output has a line once
    it is ready, then the fork's process, `TEST` for each test, and the fork's status. It is a pytest plugin, too."""

    def __init__(self) -> None:
        self._asked, self._told = os.fdopen(os.dup(0)), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        self._collected = False

    def serve(self, modules: Sequence[str]) -> int:
        """In the first process until standard input ends; in each fork until its tests have ended, with their status.

        The tests of `modules` are collected before the first mutant.
        """
        if modules:
            self._collected = True
            return int(pytest.main([*OPTIONS, *modules], plugins=[self]))
        for name in COMMON:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        asked = self._next_in_fork()
        return int(pytest.main([*OPTIONS, *asked.tests], plugins=[self])) if asked else 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if not self._collected:
            return None
        items = {item.nodeid: item for item in session.items}
        functions: dict[str, list[FunctionType]] = defaultdict(list)
        for one in gc.get_objects():
            if isinstance(one, FunctionType):
                functions[one.__code__.co_filename].append(one)
        asked = self._next_in_fork()
        if asked is None:
            return True
        file = str(Path(asked.path).absolute())
        exchange(functions[file], file, asked.before, asked.source)
        session.items = [items[test] for test in asked.tests]
        return None  # pytest goes on with these

    def pytest_runtest_logstart(self) -> None:
        os.write(self._told, TEST)

    def _next_in_fork(self) -> Asked | None:
        """What a fork has to do; None in the first process, when nothing more is asked for."""
        gc.collect()
        gc.freeze()
        os.write(self._told, b"ready\n")
        for line in self._asked:
            process = os.fork()
            if process == 0:
                os.setpgid(0, 0)
                os.write(self._told, f"{os.getpid()}\n".encode())
                return _prepared(Asked(**json.loads(line)))
            os.write(self._told, f"{os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}\n".encode())
        return None


def _prepared(asked: Asked) -> Asked:
    if asked.runs:
        importlib.import_module("bench.kept_runs").share_runs(Path(asked.runs), asked.keep)
    return asked


def exchange(functions: Iterable[FunctionType], file: str, before: str, after: str) -> None:
    """Gives a module's functions the code that they have in another text of it.

    ValueError if a function would take other variables from around it.
    """
    old, new = _codes(before, file), _codes(after, file)
    other = {
        _place(one): its
        for name in old.keys() & new.keys()
        if len(old[name]) == len(new[name])
        for one, its in zip(old[name], new[name], strict=True)
    }
    for function in functions:
        function.__code__ = other.get(_place(function.__code__), function.__code__)


def _codes(source: str, file: str) -> dict[str, list[CodeType]]:
    """The code of each function of a module by its name, in the text's order."""
    found: dict[str, list[CodeType]] = defaultdict(list)
    rest = [compile(source, file, "exec")]
    for code in rest:
        found[code.co_qualname].append(code)
        rest += [one for one in code.co_consts if isinstance(one, CodeType)]
    return found


def _place(code: CodeType) -> tuple[object, ...]:
    """Where it stands in its module. Two functions can have one name and one line."""
    return code.co_qualname, code.co_firstlineno, *code.co_positions()


if __name__ == "__main__":
    os._exit(_Forge().serve(sys.argv[1:]))
