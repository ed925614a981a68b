"""The mutation run: which mutants it makes, and what it says of them. `python -m bench.mutants` does it for real."""

from pathlib import Path

import pytest

from bench import mutants
from bench.executed import Executed, executed_by
from bench.mutants import IS_EXPLAINED, KILLED, SURVIVED, TIMED_OUT, Mutant, chosen, covering, explained, tried
from programs import PATIENCE_SECONDS

MODULE = '''"""A module."""

LIMIT: int = 3


class Door:
    """A door."""

    def opens(self, key: int, known: list[int]) -> bool:
        """Whether it opens."""
        if not known:
            raise ValueError(f"no {1} is known")
        self.tried = key
        known.append(key)
        return key in known and 0 < key < LIMIT

    def waits(self, seconds: int) -> str:
        while seconds:
            seconds -= 1
        return "done" if self else "never"
'''
TESTS = """from package.door import LIMIT, Door


def test_it_opens() -> None:
    assert Door().opens(2, [2])


def test_it_waits() -> None:
    assert Door().waits(2) == "done"
"""

SHARED = """import subprocess
import sys

import pytest

from package.door import Door


@pytest.fixture(scope="session")
def opened():
    return Door().opens(2, [2])


def test_one(opened) -> None:
    assert opened


def test_two(opened) -> None:
    assert opened


def test_process() -> None:
    subprocess.run([sys.executable, "-c", "from package.door import Door; Door().waits(2)"], check=True)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one module and its tests."""
    root = tmp_path / "project"
    (root / "package").mkdir(parents=True)
    (root / "package" / "door.py").write_text(MODULE)
    (root / "test_door.py").write_text(TESTS)
    return root


def made(source: str) -> list[tuple[str, str, str]]:
    return [(one.function, one.before, one.after) for one in mutants.mutants("package/door.py", source)]


def one_that(after: str, function: str = "Door.opens") -> Mutant:
    found = mutants.mutants("package/door.py", MODULE)
    return next(one for one in found if (one.function, one.after) == (function, after))


def test_a_mutant_is_one_change_and_types_and_texts_stay() -> None:
    assert made(MODULE) == [
        ("LIMIT", "3", "4"),
        ("Door.opens", "not known", "known"),
        ("Door.opens", "raise ValueError(f'no {1} is known')", "pass"),
        ("Door.opens", "self.tried = key", "pass"),
        ("Door.opens", "known.append(key)", "pass"),
        ("Door.opens", "return key in known and 0 < key < LIMIT", "return None"),
        ("Door.opens", "key in known and 0 < key < LIMIT", "key in known or 0 < key < LIMIT"),
        ("Door.opens", "key in known", "key not in known"),
        ("Door.opens", "0 < key < LIMIT", "0 <= key < LIMIT"),
        ("Door.opens", "0 < key < LIMIT", "0 < key <= LIMIT"),
        ("Door.opens", "0", "1"),
        ("Door.waits", "seconds", "not seconds"),
        ("Door.waits", "seconds -= 1", "pass"),
        ("Door.waits", "1", "2"),
        ("Door.waits", "return 'done' if self else 'never'", "return None"),
        ("Door.waits", "self", "not self"),
    ]


def test_a_mutants_source_differs_in_that_place_alone() -> None:
    changed = one_that("0 < key <= LIMIT").source
    assert changed == MODULE.replace("0 < key < LIMIT", "(0 < key <= LIMIT)")
    assert one_that("pass").source == MODULE.replace('raise ValueError(f"no {1} is known")', "pass")


def test_what_stands_above_it_does_not_change_a_mutants_key() -> None:
    above = "# Café, two lines more.\nOTHER = 'ü'\n" + MODULE
    assert [one.key for one in mutants.mutants("m.py", above)] == [one.key for one in mutants.mutants("m.py", MODULE)]
    assert all("Café" in one.source and "'ü'" in one.source for one in mutants.mutants("m.py", above))


def test_the_same_seed_chooses_the_same_mutants(project: Path) -> None:
    one, same, other = (chosen(project, "package", 6, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == len({mutant.source for mutant in one}) == 6


@pytest.fixture
def executed(project: Path, tmp_path: Path) -> Executed:
    """What the project's tests execute."""
    return executed_by(project, ["test_door.py"], tmp_path / "cache")


def outcomes(project: Path, executed: Executed, *what: Mutant) -> list[str]:
    return [told for _, told in tried(project, what, executed)]


def test_the_tests_decide_and_the_project_stays_as_it_is(
    project: Path, executed: Executed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "LEAST_SECONDS", PATIENCE_SECONDS)
    several = one_that("key not in known"), one_that("0 <= key < LIMIT"), one_that("1")
    told = outcomes(project, executed, *several)
    assert told == [KILLED, SURVIVED, SURVIVED], "of each mutant nothing is left for the next"
    monkeypatch.setattr(mutants, "LEAST_SECONDS", 3.0)
    monkeypatch.setattr(mutants, "SLACK", 0)
    assert outcomes(project, executed, one_that("pass", "Door.waits")) == [TIMED_OUT]
    assert (project / "package" / "door.py").read_text() == MODULE
    assert {path.name for path in project.rglob("*.py")} == {"door.py", "test_door.py"}


def test_an_explained_mutant_is_not_tried(project: Path, executed: Executed) -> None:
    mutant = one_that("key not in known")
    assert [told for _, told in tried(project, [mutant], executed, reasons={mutant.key})] == [IS_EXPLAINED]


def test_only_the_tests_that_execute_the_statement_are_asked(executed: Executed) -> None:
    opens, waits = one_that("key not in known"), one_that("pass", "Door.waits")
    assert executed.quickest(opens.path, opens.lines, 60) == ["test_door.py::test_it_opens"]
    assert executed.quickest(waits.path, waits.lines, 60) == ["test_door.py::test_it_waits"]
    (limit,) = (one for one in mutants.mutants("package/door.py", MODULE) if one.function == "LIMIT")
    assert len(executed.quickest(limit.path, limit.lines, 60)) == 2, "what an import executes concerns all"
    assert len(executed.quickest(limit.path, limit.lines, 0)) == 1


def test_what_a_shared_fixture_and_a_started_process_execute_counts_for_the_tests(
    project: Path, tmp_path: Path
) -> None:
    (project / "test_door.py").write_text(SHARED)
    executed = executed_by(project, ["test_door.py"], tmp_path / "cache")
    opens, waits = one_that("key not in known"), one_that("pass", "Door.waits")
    names = [f"test_door.py::test_{name}" for name in ("one", "two")]
    assert sorted(executed.quickest(opens.path, opens.lines, 60)) == names
    assert executed.quickest(waits.path, waits.lines, 60) == ["test_door.py::test_process"]


def test_what_was_measured_is_kept_until_the_code_changes(
    project: Path, tmp_path: Path, executed: Executed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.executed._measure", None)
    assert executed_by(project, ["test_door.py"], tmp_path / "cache") == executed
    (project / "package" / "door.py").write_text(MODULE + "\n")
    with pytest.raises(TypeError):
        executed_by(project, ["test_door.py"], tmp_path / "cache")


def test_where_the_tests_fail_anyway_no_mutant_is_killed(project: Path, tmp_path: Path) -> None:
    (project / "test_door.py").write_text("def test_nothing() -> None:\n    assert False\n")
    with pytest.raises(RuntimeError, match=r"fail without any change: test_door\.py"):
        executed_by(project, ["test_door.py"], tmp_path / "cache")


def test_every_module_has_tests_that_are_there() -> None:
    for path in mutants.PATHS:
        for file in (mutants.ROOT / path).rglob("*.py"):
            assert covering(mutants.ROOT, file.relative_to(mutants.ROOT).as_posix())


def test_an_explained_mutant_is_one_that_can_be_made() -> None:
    paths = {one.path for one in explained()}
    made = {mutant.key for path in paths for mutant in chosen(mutants.ROOT, path, None, 1)}
    for one in explained():
        assert one.why
        assert one.key in made, one
