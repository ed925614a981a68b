"""`python -m bench.mutants [PATH...]`: changes one thing in the code that decides, and sees whether a test fails.

A mutant is a module with one change: another comparison, a condition negated, a number off by one, a check left out.
The tests that cover the module run on a copy of the tree. A mutant that they pass survives: either a test is missing,
or the change makes no difference, and then `mutants.toml` says why. Everything follows from the seed.
"""

import argparse
import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn, TypeAlias

ROOT = Path(__file__).parent.parent
EXPLAINED = Path(__file__).with_name("mutants.toml")
PATHS = ("lab/tls", "lab/judging", "attacker/moves")
SHORT = 110
"""As many characters of a change are printed."""
LEAST_SECONDS, SLACK = 20.0, 4
"""A mutant's tests may take this many times as long as those of the real code, and never less than this."""
LEFT_OUT = (".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", "runs", "*.egg-info")
KILLED, TIMED_OUT, SURVIVED, IS_EXPLAINED = "killed", "timed out", "survived", "explained"

_ENGINE = "messages tls_messages tls13_messages tls_records tls_states proof tls_sessions tls_flights tls_handshake"
_TLS = tuple(f"tests/tls/test_{name}.py" for name in (*_ENGINE.split()[1:], "tls13_handshake", "tls_relaying"))
_JUDGED = ("tests/judging/test_gateway_reports.py", "tests/judging/test_verdicts.py", "tests/judging/test_matrix.py")
COVERED_BY: Mapping[str, tuple[str, ...]] = {
    "lab/tls/bundle.py": ("tests/tls/test_bundle.py",),
    "lab/tls/dissect.py": ("tests/story/test_octets.py", "tests/tls/test_dissect.py"),
    "lab/tls/streams.py": ("tests/tls/test_streams.py", "tests/attacker/test_replay.py"),
    "lab/tls/listener.py": ("tests/tls/test_listener.py", "tests/tls/test_streams.py"),
    "lab/tls": (*_TLS, "tests/tls/test_tls_interop.py", "tests/tls/test_tls13_interop.py"),
    "lab/judging/claims": ("tests/judging/test_claims.py",),
    "lab/judging/queries.py": ("tests/judging/test_claims.py",),
    "lab/judging/relays.py": ("tests/judging/test_claims.py", "tests/attacker/test_live_relay.py"),
    "lab/judging": (*_JUDGED, "tests/judging/test_damaged_runs.py"),
    "attacker/moves": ("tests/attacker/test_make.py", "tests/attacker/test_replay.py", "tests/judging/test_matrix.py"),
}
"""Which tests cover a module, the quick ones first: the first row that its path begins with."""

_Part: TypeAlias = ast.expr | ast.stmt
_UNTOUCHED = ("annotation", "returns", "decorator_list", "pattern")
_SWAPPED = (
    *((ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn), (ast.Lt, ast.LtE), (ast.Gt, ast.GtE)),
    *((ast.Add, ast.Sub), (ast.Mult, ast.FloorDiv), (ast.LShift, ast.RShift), (ast.BitAnd, ast.BitOr)),
    (ast.And, ast.Or),
)
_OTHER: Mapping[type[ast.AST], Callable[[], Any]] = {one: other for a, b in _SWAPPED for one, other in ((a, b), (b, a))}


@dataclass(frozen=True)
class Mutant:
    """One change to a module: in which function, at which line, what it was and what it is. `source` is all of it."""

    path: str
    function: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is known by when its line has moved."""
        return self.path, self.function, f"{self.before} -> {self.after}"


@dataclass(frozen=True)
class Explained:
    """A mutant that makes no difference, and why; a row of `mutants.toml`."""

    path: str
    function: str
    change: str
    why: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.path, self.function, self.change


def explained(file: Path = EXPLAINED) -> tuple[Explained, ...]:
    """The survivors that need no test."""
    return tuple(Explained(**row) for row in tomllib.loads(file.read_text()).get("explained", []))


def mutants(path: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in its order."""
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    data = source.encode()
    for function, node, new in _changes(ast.parse(source), ""):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        text = ast.unparse(new)
        put = text if isinstance(new, ast.stmt) else f"({text})"
        mutated = (data[:begin] + put.encode() + data[end:]).decode()
        yield Mutant(path, function, node.lineno, ast.unparse(node), text, mutated)


def _changes(node: ast.AST, function: str) -> Iterator[tuple[str, _Part, _Part]]:
    """For each possible change the function's name, what is changed, and what takes its place."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    yield from ((function, old, new) for old, new in _instead(node))
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            # Types decide nothing, and the parts of an f-string have no place in Python 3.11.
            if isinstance(child, ast.AST) and name not in _UNTOUCHED and not isinstance(child, ast.JoinedStr):
                yield from _changes(child, function)


def _instead(node: ast.AST) -> Iterator[tuple[_Part, _Part]]:
    """What may be changed in a node itself: what it was, and what takes its place."""
    match node:
        case ast.Compare(left, operators, right):
            for at, operator in enumerate(operators):
                changed = [*operators[:at], _OTHER[type(operator)](), *operators[at + 1 :]]
                yield node, ast.Compare(left, changed, right)
        case ast.BoolOp(both, values):
            yield node, ast.BoolOp(_OTHER[type(both)](), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield node, operand
        case ast.BinOp(left, operator, right) if type(operator) in _OTHER:
            yield node, ast.BinOp(left, _OTHER[type(operator)](), right)
        case ast.Constant(bool() as value):
            yield node, ast.Constant(not value)
        case ast.Constant(int() as value):
            yield node, ast.Constant(value + 1)
        case ast.Raise() | ast.AugAssign() | ast.Continue() | ast.Break() | ast.Delete():
            yield node, ast.Pass()
        case ast.Expr(ast.Call() | ast.Await()) | ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield node, ast.Pass()
        case ast.Return(ast.expr() as value) if ast.unparse(value) != "None":
            yield node, ast.Return(ast.Constant(None))
    for test in (getattr(node, "test", None), getattr(node, "guard", None), *getattr(node, "ifs", ())):
        # A comparison and a `not` are changed by themselves, and no test imports what only types need.
        by_itself = isinstance(test, ast.Compare | ast.UnaryOp) or (test and ast.unparse(test) == "TYPE_CHECKING")
        if isinstance(test, ast.expr) and not by_itself:
            yield test, ast.UnaryOp(ast.Not(), test)


def covering(path: str) -> tuple[str, ...]:
    """The tests that cover a module."""
    return next(tests for begin, tests in COVERED_BY.items() if path.startswith(begin))


def chosen(root: Path, path: str, limit: int | None, seed: int) -> list[Mutant]:
    """The mutants of a module or of a package's modules; with a limit, a random choice of that size."""
    files = sorted((root / path).rglob("*.py")) if (root / path).is_dir() else [root / path]
    found = [one for file in files for one in mutants(file.relative_to(root).as_posix(), file.read_text())]
    if limit is None or limit >= len(found):
        return found
    picked = random.Random(f"{seed} {path}").sample(range(len(found)), limit)
    return [found[at] for at in sorted(picked)]


class Workshop:
    """A copy of the tree in which mutants are tried one after the other."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = folder / "tree"
        shutil.copytree(root, self._root, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        self._seconds: dict[tuple[str, ...], float] = {}

    def outcome(self, mutant: Mutant, tests: tuple[str, ...]) -> str:
        """What the tests make of a mutant; RuntimeError if the real code fails them."""
        file = self._root / mutant.path
        source = file.read_text()
        if tests not in self._seconds:
            began = time.monotonic()
            if self._run(tests, None) != 0:
                raise RuntimeError(f"the tests fail without any change: {' '.join(tests)}")
            self._seconds[tests] = time.monotonic() - began
        try:
            self._write(file, mutant.source)
            status = self._run(tests, max(LEAST_SECONDS, SLACK * self._seconds[tests]))
        finally:
            self._write(file, source)
        return TIMED_OUT if status is None else KILLED if status else SURVIVED

    def _write(self, file: Path, source: str) -> None:
        """Also forgets the compiled module, whose time and size may be those of the next."""
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        file.write_text(source)

    def _run(self, tests: tuple[str, ...], seconds: float | None) -> int | None:
        """The status of pytest, which ends at the first failure; None if it took too long, and was ended."""
        options = ("-x", "-q", "--no-header", "-p", "no:xdist", "-p", "no:cacheprovider")
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self._root,
            # A test that is skipped for want of a program would let everything pass.
            env=os.environ | {"PYTHONPATH": str(self._root), "CERTREPLAY_REQUIRE_DOCKER": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with all that it started: the group is its own
                process.wait()


def tried(root: Path, what: Iterable[Mutant], jobs: int) -> Iterator[tuple[Mutant, str]]:
    """Each mutant with its outcome, as many at once as there are jobs. The order is that of the mutants."""
    reasons = {one.key for one in explained()}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        workshops: SimpleQueue[Workshop] = SimpleQueue()
        for number in range(jobs):
            workshops.put(Workshop(root, Path(folder, str(number))))

        def outcome(mutant: Mutant) -> tuple[Mutant, str]:
            if mutant.key in reasons:
                return mutant, IS_EXPLAINED
            workshop = workshops.get()
            try:
                return mutant, workshop.outcome(mutant, covering(mutant.path))
            finally:
                workshops.put(workshop)

        yield from pool.map(outcome, what)


def _inline(text: str) -> str:
    """A change on one line, as code in Markdown."""
    text = " ".join(text.split())
    text = text if len(text) <= SHORT else f"{text[:SHORT]} ..."
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def main() -> NoReturn:
    it = argparse.ArgumentParser(prog="python -m bench.mutants", description=__doc__)
    it.add_argument("path", nargs="*", help=f"modules or packages ({' '.join(PATHS)})")
    it.add_argument("--jobs", type=int, default=1, help="how many are tried at once (%(default)s)")
    it.add_argument("--limit", type=int, help="at most this many of each path, chosen at random (all)")
    it.add_argument("--seed", type=int, default=1, help="another one chooses others (%(default)s)")
    arguments = it.parse_args()
    survivors: list[Mutant] = []
    print("| path | mutants | killed | timed out | explained | survived | seconds |\n|---|---|---|---|---|---|---|")
    for path in arguments.path or PATHS:
        if not (ROOT / path).exists() or not any(path.startswith(begin) for begin in COVERED_BY):
            it.error(f"{path}: no such module, or no row of COVERED_BY has tests for it")
        began = time.monotonic()
        counts: Counter[str] = Counter()
        for mutant, outcome in tried(ROOT, chosen(ROOT, path, arguments.limit, arguments.seed), arguments.jobs):
            counts[outcome] += 1
            survivors += [mutant] if outcome == SURVIVED else []
            print(f"{counts.total()} {outcome}: {mutant.path}:{mutant.line}", file=sys.stderr, flush=True)
        cells = [counts.total(), *(counts[one] for one in (KILLED, TIMED_OUT, IS_EXPLAINED, SURVIVED))]
        print(f"| `{path}` | {' | '.join(map(str, cells))} | {time.monotonic() - began:.0f} |", flush=True)
    for path in dict.fromkeys(one.path for one in survivors):
        print(f"\n### Survivors in {path}\n")
        for one in (one for one in survivors if one.path == path):
            print(f"- line {one.line}, `{one.function or 'module'}`: {_inline(one.before)} → {_inline(one.after)}")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
