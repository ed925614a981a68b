"""The house's arrows run one way: ground below, roof above, and the parts know nothing of each other."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("attacker", "victim_client", "victim_server")
GROUND = (
    *("lab.tls", "lab.capture", "lab.catalogue", "lab.events"),
    *("lab.document", "lab.process", "lab.address", "lab.ports"),
)
MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "lab.tls": ("lab.tls",),
    "lab.events": ("lab.events", "lab.catalogue", "lab.tls", "lab.address"),
    "lab.capture": ("lab.capture", "lab.events", "lab.tls", "lab.address"),
    "lab.catalogue": ("lab.catalogue", "lab.tls", "lab.address", "lab.process"),
    "lab.document": ("lab.document",),
    "lab.process": ("lab.process",),
    "lab.address": ("lab.address",),
    "lab.ports": ("lab.ports",),
    "lab.judging": ("lab.judging", *GROUND),
    "lab.staging": ("lab.staging", "lab.judging", *GROUND, *PARTS),
    "lab.story": ("lab.story", "lab.judging", *GROUND),
    "lab.inspect": ("lab.inspect", *GROUND),
    "lab.views": ("lab.views", "lab.story", "lab.document", "lab.events"),
    "attacker": ("attacker", *GROUND),
    "victim_client": ("victim_client", *GROUND),
    "victim_server": ("victim_server", *GROUND),
}
"""What of this project each package may import."""


def modules() -> list[tuple[str, Path]]:
    """Every module of the project that users run, by name."""
    paths = sorted(path for package in ("lab", *PARTS) for path in (ROOT / package).rglob("*.py"))
    return [(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path) for path in paths]


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, under their full names, those of `if TYPE_CHECKING` too."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, level=level, names=names):
                base = ".".join([*package[: len(package) - level + 1], *([module] if module else [])])
                yield from (f"{base if level else module}.{alias.name}" for alias in names)


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def of(package: str) -> list[tuple[str, Path]]:
    return [(name, path) for name, path in modules() if within(name, (package,))]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    for name, path in of(package):
        for module in imported(path):
            ours = within(module, ("lab", *PARTS)) and module != "lab"
            assert not ours or within(module, MAY_IMPORT[package]), f"{name} imports {module}"


def test_every_module_has_its_place() -> None:
    placed = (*MAY_IMPORT, "lab.cli", "lab.exits", "lab.__main__")
    for name, _ in modules():
        assert name == "lab" or within(name, placed), f"{name} stands in no package of the house"


@pytest.mark.parametrize("package", ["lab.document", "lab.story", "lab.inspect"])
def test_what_is_said_knows_nothing_of_how_it_is_shown(package: str) -> None:
    for name, path in of(package):
        assert not any(within(module, ("rich", "typer")) for module in imported(path)), name


def test_blocks_are_cheap_to_import() -> None:
    assert {module.partition(".")[0] for module in imported(ROOT / "lab" / "document.py")} == {"dataclasses", "typing"}


def test_the_attacker_knows_of_the_catalogue_only_moves_leaks_and_outcomes() -> None:
    known = ("lab.catalogue.moves", "lab.catalogue.leaks", "lab.catalogue.outcomes")
    for name, path in of("attacker"):
        for module in imported(path):
            assert not within(module, ("lab.catalogue",)) or within(module, known), f"{name} imports {module}"


def test_nothing_imports_in_a_circle() -> None:
    names = {name for name, _ in modules()}
    arrows = {name: {target for one in imported(path) if (target := module_of(one, names))} for name, path in modules()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for target in sorted(arrows[name] - {name}):
                visit(target, (*way, name))
            done.add(name)

    for name in sorted(names):
        visit(name, ())


def module_of(full_name: str, names: set[str]) -> str | None:
    """The module that `from module import name`, as one dotted name, refers to."""
    if full_name in names:
        return full_name
    module = full_name.rpartition(".")[0]
    return module if module in names else None


def test_the_instrument_does_no_io_outside_of_its_streams_and_its_listener() -> None:
    forbidden = ("socket", "asyncio", "os", "time", "random", "ssl", "pathlib", "subprocess", "threading")
    for name, path in of("lab.tls"):
        if path.name not in ("streams.py", "listener.py"):
            for module in imported(path):
                assert not within(module, forbidden), f"{name} imports {module}"


def test_the_attacker_reads_no_bundle_but_those_that_she_is_told_are_hers() -> None:
    for name, path in of("attacker"):
        if path.name != "call.py":
            assert "lab.tls.bundle.parse_bundle" not in set(imported(path)), name


@pytest.mark.parametrize("module", ["lab.capture.reader", "lab.capture.search", "lab.capture.writer"])
def test_reading_a_capture_loads_neither_the_roof_nor_what_only_the_roof_needs(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT).stdout)
    allowed = ("lab.capture", "lab.events", "lab.tls", "lab.address")
    assert not [name for name in loaded if within(name, ("lab",)) and name != "lab" and not within(name, allowed)]
    assert not [name for name in loaded if within(name, ("rich", "asyncio", "ssl", "typer", "h11", *PARTS))]


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for name, path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    assert {one: where for one, where in places.items() if len(where) > 1} == {}


def test_the_check_finds_an_import() -> None:
    """The rules above would hold of nothing if nothing were found."""
    found = set(imported(ROOT / "attacker" / "moves" / "replay.py"))
    assert "lab.tls.client.Client" in found
    assert "asyncio" in found
