"""Which tests execute which lines: measured once for each test module, and kept in the temporary folder.

Also a pytest plugin. It tells coverage.py which test is running, or which fixture that several tests share is made, and
times both. The processes that a test starts are measured as well.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage, CoverageData

CACHE = Path(tempfile.gettempdir()) / "certreplay-executed"
STARTED_BY, RESULT = "CERTREPLAY_STARTED_BY", "CERTREPLAY_EXECUTED"
"""Environment variables: the context of what a test starts, and where the plugin writes what it timed."""
PYTEST = (sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:xdist", "-p", "no:cacheprovider")
KEPT_SECONDS = 0.5
"""What a fixture takes whose run was kept: it is copied and judged."""
_RC = """[run]
parallel = true
sigterm = true
patch = _exit
context = ${CERTREPLAY_STARTED_BY-}
include = %(tree)s/*
omit = */.venv/*,*/site-packages/*,%(tree)s/tests/*
data_file = %(folder)s/data
"""


@dataclass
class Timed:
    """A test: its own seconds without its shared fixtures', and the names of these."""

    seconds: float
    fixtures: list[str]


@dataclass
class Executed:
    """What some test modules execute.

    `lines` has, for each file and line, the contexts: a test's id, a shared fixture's name, or empty for what is
    executed by an import. `fixtures` has the seconds that each takes.
    """

    tests: dict[str, Timed] = field(default_factory=dict)
    fixtures: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))

    def quickest(self, path: str, lines: Iterable[int] | None, budget: float) -> list[str]:
        """The tests that execute one of these lines of a file, or any line of it for None; one at least, and no more
        than take `budget` seconds together. First those in a module named after the file, then the quickest.

        What an import executes concerns each test that executes something of the file.
        """
        everywhere = self.lines.get(path, {})
        contexts = self._contexts(path, everywhere if lines is None or self.imported(path, lines) else lines)
        found = [one for one, timed in self.tests.items() if not contexts.isdisjoint((one, *timed.fixtures))]
        named = Path(path).with_suffix("").parts[2:]
        found.sort(key=lambda test: (not _has_one(_module(test), named), self._order(test)))
        within, shared = 0.0, set[str]()
        for count, one in enumerate(found):
            new = set(self.tests[one].fixtures) - shared
            within += self.tests[one].seconds + sum(self.fixtures[name] for name in new)
            shared |= new
            if within > budget:
                return found[: max(count, 1)]
        return found

    def imported(self, path: str, lines: Iterable[int] | None) -> bool:
        """Whether an import executes one of these lines of a file; of None, which are executed by nothing else, yes."""
        return lines is None or "" in self._contexts(path, lines)

    @property
    def modules(self) -> list[str]:
        """Those of the tests."""
        return sorted(set(map(_module, self.tests)))

    def one_of_each_fixture(self) -> list[str]:
        """The quickest test of those that share the same fixtures, for all such groups."""
        found = {tuple(self.tests[test].fixtures): test for test in sorted(self.tests, key=self._order, reverse=True)}
        return sorted(test for fixtures, test in found.items() if fixtures)

    def with_kept_runs(self) -> "Executed":
        """The same where the runs that fixtures make are kept from before."""
        return replace(self, fixtures=dict.fromkeys(self.fixtures, KEPT_SECONDS))

    def _contexts(self, path: str, lines: Iterable[int]) -> set[str]:
        of_file = self.lines.get(path, {})
        return set().union(*(of_file.get(line, ()) for line in lines))

    def _order(self, test: str) -> tuple[int, list[str], float]:
        """The quickest first; those that share fixtures together, if they take about as long."""
        seconds = self.seconds([test])
        return math.frexp(seconds)[1], self.tests[test].fixtures, seconds

    def seconds(self, tests: Iterable[str]) -> float:
        """What these tests take together, with all that they share."""
        timed = [self.tests[one] for one in tests]
        shared = {name for one in timed for name in one.fixtures}
        return sum(one.seconds for one in timed) + sum(self.fixtures.get(name, 0.0) for name in shared)


def _module(test: str) -> str:
    return test.partition("::")[0]


def _has_one(module: str, names: Iterable[str]) -> bool:
    return any(name in Path(module).stem for name in names)


class Plugin:
    """Tells coverage.py what is running, and times it."""

    def __init__(self, measured: Coverage) -> None:
        self._measured = measured
        self._context = ""
        self._shared = 0.0
        self.executed = Executed()

    @contextmanager
    def _named(self, context: str) -> Iterator[None]:
        before, self._context = self._context, context
        try:
            self._switch()
            yield
        finally:
            self._context = before
            self._switch()

    def _switch(self) -> None:
        self._measured.switch_context(self._context)
        os.environ[STARTED_BY] = self._context

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        began, self._shared = time.monotonic(), 0.0
        with self._named(item.nodeid):
            result = yield
        seconds = time.monotonic() - began - self._shared
        names = [f"fixture {name}" for name in getattr(item, "fixturenames", ())]
        self.executed.tests[item.nodeid] = Timed(seconds, names)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        if fixturedef.scope == "function":
            return (yield)
        name, began, inner = f"fixture {fixturedef.argname}", time.monotonic(), self._shared
        with self._named(name):
            result = yield
        seconds = time.monotonic() - began
        self.executed.fixtures[name] = max(seconds - (self._shared - inner), self.executed.fixtures.get(name, 0.0))
        self._shared = inner + seconds
        return result

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        shared = self.executed.fixtures
        for timed in self.executed.tests.values():
            timed.fixtures = [name for name in timed.fixtures if name in shared]
        tests = {name: [timed.seconds, timed.fixtures] for name, timed in self.executed.tests.items()}
        Path(os.environ[RESULT]).write_text(json.dumps({"tests": tests, "fixtures": shared}))


def pytest_configure(config: pytest.Config) -> None:
    """Where the processes below were asked to be measured, and this is the first of them."""
    measured = Coverage.current()
    if measured is not None and RESULT in os.environ and not os.environ.get(STARTED_BY):
        config.pluginmanager.register(Plugin(measured))


def executed_by(tree: Path, tests: Iterable[str], cache: Path = CACHE) -> Executed:
    """What these test modules of a tree execute; RuntimeError if one fails. What is known of a module is read from
    `cache`, unless the module has changed since, or anything that is no module of tests."""
    folders = [path for path in tree.iterdir() if path.is_dir() and not path.name.startswith(".")]
    files = [*tree.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    ground = _digest(path for path in files if not path.name.startswith("test_"))
    together = Executed()
    for test in tests:
        kept = cache / f"{_digest([tree / test], ground)}.json"
        if not kept.exists():
            cache.mkdir(parents=True, exist_ok=True)
            new = kept.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(_measure(tree, test)))
            new.replace(kept)
        read = json.loads(kept.read_text())
        together.tests |= {name: Timed(*timed) for name, timed in read["tests"].items()}
        for name, seconds in read["fixtures"].items():
            together.fixtures[name] = max(seconds, together.fixtures.get(name, 0.0))
        for path, lines in read["lines"].items():
            for line, contexts in lines.items():
                together.lines[path][int(line)].update(contexts)
    return together


def _digest(files: Iterable[Path], more: str = "") -> str:
    code = sorted(file for file in files if file.suffix in (".py", ".toml") and file.is_file())
    return sha256("".join([more, *(f"{file.name} {file.read_text()}" for file in code)]).encode()).hexdigest()


def _measure(tree: Path, test: str) -> dict[str, Any]:
    """One module of tests; RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rc, result = folder / "rc", folder / "result.json"
        rc.write_text(_RC % {"tree": tree, "folder": folder})
        asked = {"COVERAGE_PROCESS_START": str(rc), RESULT: str(result), STARTED_BY: ""}
        done = subprocess.run(
            [*PYTEST, "-p", __name__, test],
            cwd=tree,
            env=environment(tree) | asked,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the tests fail without any change: {test}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for file in folder.glob("data.*"):
            data = CoverageData(str(file))
            data.read()
            for path in data.measured_files():
                for line, contexts in data.contexts_by_lineno(path).items():
                    lines[Path(path).relative_to(tree).as_posix()][line].update(contexts)
        told = {path: {line: sorted(found) for line, found in of_file.items()} for path, of_file in lines.items()}
        return {**json.loads(result.read_text()), "lines": told}


def environment(tree: Path) -> dict[str, str]:
    """That of the tests. The second place is for this module, where the tree is another project's; and a test that is
    skipped for want of a program would let everything pass."""
    paths = f"{tree}{os.pathsep}{Path(__file__).parent.parent}"
    return os.environ | {"PYTHONPATH": paths, "CERTREPLAY_REQUIRE_DOCKER": "1"}
