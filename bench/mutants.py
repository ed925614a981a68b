"""`python -m bench.mutants [PATH...]`: changes one thing in the code that decides, and sees whether a test fails.

A mutant is a module with one change: another comparison, a condition negated, a number off by one, a check left out.
The tests that execute the changed lines run on a copy of the tree. A mutant that they pass survives: either a test is
missing, or the change makes no difference, and then `mutants.toml` says why. Everything follows from the seed.
"""

import argparse
import ast
import random
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn, TypeAlias

from bench.executed import Executed, executed_by
from bench.workshop import Workshop

ROOT = Path(__file__).parent.parent
EXPLAINED = Path(__file__).with_name("mutants.toml")
PATHS = ("lab/tls", "lab/judging", "attacker/moves")
SHORT = 110
"""As many characters of a change are printed."""
BUDGET_SECONDS = 90.0
"""The tests of one mutant take about as long as this at most. Slower ones are not tried."""
LEAST_SECONDS, SLACK = 10.0, 4
"""A test of a mutant may take this many times as long as with the real code, and never less than this."""
KILLED, TIMED_OUT, SURVIVED, IS_EXPLAINED = "killed", "timed out", "survived", "explained"

COVERED_BY: Mapping[str, tuple[str, ...]] = {
    "lab/tls": ("tests/tls/test_*.py", "tests/attacker/test_replay.py", "tests/story/test_octets.py"),
    "lab/judging": ("tests/judging/test_*.py", "tests/story/test_*.py", "tests/attacker/test_live_relay.py"),
    "attacker/moves": (
        *(f"tests/attacker/test_{name}*.py" for name in ("forged", "headers", "make", "p", "re", "student")),
        "tests/exercises/test_code.py",
        "tests/judging/test_matrix.py",
        "tests/probing/test_try.py",
    ),
}
"""The test modules in which the tests of a package's lines are looked for."""
JUDGE = "lab/judging"
"""What is at work once a run is over: its mutants share the runs that their tests make."""

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
    """One change to a module: in which function or constant, at which line, what it was and what it is. `source` is all
    of it.

    `lines` are those of the statement that is changed; None for one that is executed when the module is imported.
    """

    path: str
    function: str
    line: int
    lines: range | None
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
    for function, statement, node, new in _changes(ast.parse(source), "", None):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        text = ast.unparse(new)
        put = text if isinstance(new, ast.stmt) else f"({text})"
        mutated = (data[:begin] + put.encode() + data[end:]).decode()
        yield Mutant(path, function, node.lineno, statement, ast.unparse(node), text, mutated)


def _changes(node: ast.AST, function: str, lines: range | None) -> Iterator[tuple[str, range | None, _Part, _Part]]:
    """For each change the name of its function, or of its constant where an import executes it; the statement's lines;
    what is changed, and what takes its place."""
    inside = lines is not None
    if isinstance(node, ast.stmt) and inside:
        lines = _lines(node)
    yield from ((function, lines, old, new) for old, new in _instead(node))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    elif isinstance(node, ast.Assign | ast.AnnAssign) and not inside:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        function = f"{function}.{ast.unparse(target)}".lstrip(".")
    for name, value in ast.iter_fields(node):
        in_body = name == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in value if isinstance(value, list) else [value]:
            # Types decide nothing, and the parts of an f-string have no place in Python 3.11.
            if isinstance(child, ast.AST) and name not in _UNTOUCHED and not isinstance(child, ast.JoinedStr):
                yield from _changes(child, function, _lines(child) if in_body else lines)


def _lines(node: ast.AST) -> range:
    """Those of a statement without the statements in it, or of an expression."""
    assert isinstance(node, ast.stmt | ast.expr)
    body = getattr(node, "body", None)
    if isinstance(body, list) and body:
        return range(node.lineno, max(node.lineno + 1, body[0].lineno))
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


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
        case ast.Return(ast.expr() as value) if not (isinstance(value, ast.Constant) and not value.value):
            yield node, ast.Return(ast.Constant(None))  # what is false stays so, and the type checker knows the rest
    for test in (getattr(node, "test", None), getattr(node, "guard", None), *getattr(node, "ifs", ())):
        # A comparison and a `not` are changed by themselves, and no test imports what only types need.
        by_itself = isinstance(test, ast.Compare | ast.UnaryOp) or (test and ast.unparse(test) == "TYPE_CHECKING")
        if isinstance(test, ast.expr) and not by_itself:
            yield test, ast.UnaryOp(ast.Not(), test)


def covering(root: Path, path: str) -> tuple[str, ...]:
    """The test modules of a module or package."""
    patterns = next(tests for begin, tests in COVERED_BY.items() if path.startswith(begin))
    return tuple(sorted({file.relative_to(root).as_posix() for one in patterns for file in root.glob(one)}))


def chosen(root: Path, path: str, limit: int | None, seed: int) -> list[Mutant]:
    """The mutants of a module or of a package's modules; with a limit, a random choice of that size."""
    files = sorted((root / path).rglob("*.py")) if (root / path).is_dir() else [root / path]
    found = [one for file in files for one in mutants(file.relative_to(root).as_posix(), file.read_text())]
    if limit is None or limit >= len(found):
        return found
    picked = random.Random(f"{seed} {path}").sample(range(len(found)), limit)
    return [found[at] for at in sorted(picked)]


def outcome(mutant: Mutant, workshop: Workshop, executed: Executed, budget: float) -> str:
    """What becomes of a mutant. Its quickest tests run, as many as take `budget` seconds in all, and one at least."""
    tests = (executed.with_kept_runs() if workshop.keeps_runs else executed).quickest(mutant.path, mutant.lines, budget)
    if not tests:
        return SURVIVED
    imported = executed.imported(mutant.path, mutant.lines)
    status = workshop.status(mutant.path, mutant.source, _limits(executed, tests), imported)
    return TIMED_OUT if status is None else KILLED if status else SURVIVED


def _limits(executed: Executed, tests: Iterable[str]) -> dict[str, float]:
    """As many seconds as each test may take."""
    return {test: max(LEAST_SECONDS, SLACK * executed.seconds([test])) for test in tests}


def tried(
    root: Path,
    what: Sequence[Mutant],
    executed: Executed,
    jobs: int = 1,
    budget: float = BUDGET_SECONDS,
    reasons: Container[tuple[str, str, str]] = (),
) -> Iterator[tuple[Mutant, str]]:
    """Each mutant with its outcome, as many at once as there are jobs. The order is that of the mutants."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        workshops: SimpleQueue[Workshop] = SimpleQueue()
        for number in range(jobs):
            workshop = stack.enter_context(closing(Workshop(root, Path(folder, str(number)), executed.modules)))
            if what and all(one.path.startswith(JUDGE) for one in what):
                workshop.keep_runs(what[0].path, _limits(executed, executed.one_of_each_fixture()))
            workshops.put(workshop)

        def of(mutant: Mutant) -> tuple[Mutant, str]:
            if mutant.key in reasons:
                return mutant, IS_EXPLAINED
            workshop = workshops.get()
            try:
                return mutant, outcome(mutant, workshop, executed, budget)
            finally:
                workshops.put(workshop)

        yield from pool.map(of, what)


def _inline(text: str) -> str:
    """A change on one line, as code in Markdown."""
    text = " ".join(text.split())
    text = text if len(text) <= SHORT else f"{text[:SHORT]} ..."
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def main() -> NoReturn:
    it = argparse.ArgumentParser(prog="python -m bench.mutants", description=__doc__)
    it.add_argument("path", nargs="*", help=f"modules or packages ({' '.join(PATHS)})")
    it.add_argument("--jobs", type=int, default=1, help="how many are tried at once (%(default)s)")
    it.add_argument("--budget", type=float, default=BUDGET_SECONDS, help="seconds of tests for a mutant (%(default)s)")
    it.add_argument("--limit", type=int, help="at most this many of each path, chosen at random (all)")
    it.add_argument("--seed", type=int, default=1, help="another one chooses others (%(default)s)")
    arguments = it.parse_args()
    survivors: list[Mutant] = []
    reasons = {one.key for one in explained()}
    print("| path | mutants | killed | timed out | explained | survived | seconds |\n|---|---|---|---|---|---|---|")
    for path in arguments.path or PATHS:
        if not (ROOT / path).exists() or not any(path.startswith(begin) for begin in COVERED_BY):
            it.error(f"{path}: no such module, or no row of COVERED_BY has tests for it")
        executed = executed_by(ROOT, covering(ROOT, path))
        began = time.monotonic()
        counts: Counter[str] = Counter()
        picked = chosen(ROOT, path, arguments.limit, arguments.seed)
        for mutant, told in tried(ROOT, picked, executed, arguments.jobs, arguments.budget, reasons):
            counts[told] += 1
            survivors += [mutant] if told == SURVIVED else []
            change = f" {mutant.function}: {_inline(mutant.before)} → {_inline(mutant.after)}" * (told == SURVIVED)
            print(f"{counts.total()} {told}: {mutant.path}:{mutant.line}{change}", file=sys.stderr, flush=True)
        cells = [counts.total(), *(counts[one] for one in (KILLED, TIMED_OUT, IS_EXPLAINED, SURVIVED))]
        print(f"| `{path}` | {' | '.join(map(str, cells))} | {time.monotonic() - began:.0f} |", flush=True)
    for path in dict.fromkeys(one.path for one in survivors):
        print(f"\n### Survivors in {path}\n")
        for one in (one for one in survivors if one.path == path):
            print(f"- line {one.line}, `{one.function or 'module'}`: {_inline(one.before)} → {_inline(one.after)}")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
