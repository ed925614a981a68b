"""The house's arrows run one way, and the attacker's code never comes near a victim's key."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("attacker", "victim_client", "victim_server")
SHARED = ("lab.tls", "lab.events", "lab.parts")


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, under their full names."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, level=level, names=names):
                base = ".".join([*package[: len(package) - level + 1], *([module] if module else [])])
                yield from (f"{base if level else module}.{alias.name}" for alias in names)


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_of_the_lab_only_what_is_shared(part: str) -> None:
    for path in files_of(part):
        for module in imported(path):
            assert not within(module, ("lab",)) or within(module, SHARED), f"{path.name} imports {module}"


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_no_other_part(part: str) -> None:
    others = tuple(other for other in PARTS if other != part)
    for path in files_of(part):
        for module in imported(path):
            assert not within(module, others), f"{path.name} imports {module}"


def test_what_is_shared_imports_nothing_of_the_house_but_itself() -> None:
    for path in [*files_of("lab/tls"), ROOT / "lab" / "events.py", ROOT / "lab" / "parts.py"]:
        for module in imported(path):
            ours = within(module, ("lab", *PARTS))
            assert not ours or within(module, SHARED), f"{path.name} imports {module}"


def test_the_instrument_does_no_io_outside_of_its_streams() -> None:
    forbidden = ("socket", "asyncio", "os", "time", "random", "ssl", "pathlib", "subprocess", "threading")
    for path in files_of("lab/tls"):
        if path.name != "streams.py":
            for module in imported(path):
                assert not within(module, forbidden), f"{path.name} imports {module}"


def test_the_attacker_reads_no_bundle_but_those_that_she_is_told_are_hers() -> None:
    for path in files_of("attacker"):
        if path.name != "__main__.py":
            assert "lab.tls.bundle.parse_bundle" not in set(imported(path)), path.name


def test_the_check_finds_an_import() -> None:
    """The rules above would hold of nothing if nothing were found."""
    found = set(imported(ROOT / "attacker" / "replay.py"))
    assert "lab.tls.client.Client" in found
    assert "asyncio" in found
