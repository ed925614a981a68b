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
MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "lab.tls": ("lab.tls", "lab.printable", "lab.unlock"),
    "lab.events": ("lab.events", "lab.catalogue", "lab.address", "lab.files"),
    "lab.capture": ("lab.capture", "lab.events", "lab.tls", "lab.address", "lab.files"),
    "lab.catalogue": ("lab.catalogue", "lab.tls"),
    "lab.guest": ("lab.guest", "lab.tls", "lab.files"),
    "lab.document": (),
    "lab.files": (),
    "lab.process": ("lab.printable", "lab.files"),
    "lab.scope": ("lab.scope", "lab.process", "lab.files"),
    "lab.address": (),
    "lab.decimals": (),
    "lab.ports": (),
    "lab.printable": (),
    "lab.unlock": (),
    "lab.words": (),
    "lab.judging": (
        *("lab.judging", "lab.files", "lab.words"),
        *("lab.tls", "lab.capture", "lab.catalogue", "lab.events", "lab.address"),
    ),
    "lab.staging": (
        *("lab.staging", "lab.judging", "lab.files", "lab.printable", "lab.guest", *PARTS),
        *("lab.tls", "lab.capture", "lab.catalogue", "lab.events", "lab.address", "lab.ports", "lab.scope"),
        "lab.printable",
    ),
    "lab.story": (
        *("lab.story", "lab.judging", "lab.document", "lab.words"),
        *("lab.tls", "lab.capture", "lab.catalogue", "lab.events", "lab.address"),
    ),
    "lab.inspect": (
        *("lab.inspect", "lab.document", "lab.files"),
        *("lab.tls", "lab.capture", "lab.catalogue", "lab.events", "lab.address"),
    ),
    "lab.probing": (
        *("lab.probing", "lab.judging", "lab.story", "lab.document", "lab.inspect", "lab.views", "lab.exits", *PARTS),
        *("lab.files", "lab.printable", "lab.words"),
        *("lab.tls", "lab.catalogue", "lab.events", "lab.ports", "lab.staging", "lab.address"),
    ),
    "lab.page": (
        *("lab.page", "lab.exercises", "lab.story", "lab.inspect", "lab.judging", "lab.document", "lab.printable"),
        *("lab.tls", "lab.capture", "lab.catalogue", "lab.events", "lab.decimals", "lab.words"),
    ),
    "lab.exercises": (
        *("lab.exercises", "lab.judging", "lab.document", "lab.files", "lab.staging", "lab.guest", "lab.exits"),
        *("lab.ports", "lab.probing", "lab.address", "attacker"),
        *("lab.tls", "lab.capture", "lab.catalogue", "lab.events"),
    ),
    "lab.course": (
        *("lab.course", "lab.exercises", "lab.views", "lab.judging", "lab.document", "lab.exits"),
        *("lab.capture", "lab.catalogue", "lab.events", "lab.files", "lab.printable", "lab.guest"),
    ),
    "lab.views": (
        *("lab.views", "lab.exercises", "lab.page", "lab.story", "lab.document", "lab.events", "lab.printable"),
        *("lab.decimals", "lab.words", "lab.catalogue"),
    ),
    "attacker": (
        *("attacker", "lab.guest", "lab.process", "lab.ports", "lab.printable", "lab.files", "lab.scope"),
        *("lab.tls", "lab.capture", "lab.catalogue", "lab.events", "lab.address"),
    ),
    "victim_client": (
        *("victim_client", "lab.guest", "lab.process", "lab.files", "lab.scope"),
        *("lab.tls", "lab.events", "lab.address"),
    ),
    "victim_server": (
        *("victim_server", "lab.guest", "lab.capture", "lab.process", "lab.files", "lab.printable", "lab.scope"),
        *("lab.tls", "lab.catalogue", "lab.events", "lab.address"),
    ),
}
"""What of this project each package may import."""


def modules() -> list[tuple[str, Path]]:
    """Every module of the project that users run, by name; the gallery's programs are for other interpreters."""
    paths = sorted(path for package in ("lab", *PARTS) for path in (ROOT / package).rglob("*.py"))
    paths = [path for path in paths if not path.is_relative_to(ROOT / "victim_server" / "gallery")]
    return [(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path) for path in paths]


def imported(path: Path, for_types: bool = True) -> Iterator[str]:
    """The modules that a file imports, under their full names, inside functions too; with `for_types`, also those of
    `if TYPE_CHECKING`."""
    package = path.relative_to(ROOT).parent.parts
    tree = ast.parse(path.read_text())
    left_out = {
        below
        for node in ast.walk(tree)
        if not for_types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for below in ast.walk(statement)
    }
    for node in ast.walk(tree):
        match node:
            case _ if node in left_out:
                pass
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, level=level, names=names):
                base = ".".join([*package[: len(package) - level + 1], *([module] if module else [])])
                yield from (f"{base if level else module}.{alias.name}" for alias in names)


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def of(package: str) -> list[tuple[str, Path]]:
    found = [(name, path) for name, path in modules() if within(name, (package,))]
    assert found, f"there is no {package}"
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    for name, path in of(package):
        for module in imported(path):
            ours = within(module, ("lab", *PARTS)) and module != "lab"
            assert not ours or within(module, MAY_IMPORT[package]), f"{name} imports {module}"


def test_every_module_has_its_place() -> None:
    placed = (*MAY_IMPORT, "lab.cli", "lab.commands", "lab.exits", "lab.__main__")
    for name, _ in modules():
        assert name == "lab" or within(name, placed), f"{name} is in no package that this test knows"


@pytest.mark.parametrize("package", ["lab.document", "lab.story", "lab.inspect"])
def test_what_is_said_knows_nothing_of_how_it_is_shown(package: str) -> None:
    for name, path in of(package):
        assert not any(within(module, ("rich", "typer")) for module in imported(path)), name


def test_blocks_are_cheap_to_import() -> None:
    assert {module.partition(".")[0] for module in imported(ROOT / "lab" / "document.py")} == {"dataclasses", "typing"}


def test_the_attacker_knows_no_schemes_and_no_gateways_of_the_catalogue() -> None:
    known = tuple(f"lab.catalogue.{name}" for name in ("certificates", "leaks", "moves", "outcomes"))
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
    """Its command lines read them; all other modules have only the type."""
    for name, path in of("attacker"):
        bundles = {
            module for module in imported(path) if "bundle" in module.split(".")[-2:] or "parse_bundle" in module
        }
        reads = name in ("attacker.call", "attacker.probe.__main__", "attacker.triple.__main__")
        assert (bundles <= {"lab.tls.bundle.Bundle"}) != reads, f"{name} imports {bundles}"


@pytest.mark.parametrize("module", ["lab.capture.reader", "lab.capture.search", "lab.capture.writer"])
def test_reading_a_capture_loads_nothing_of_the_upper_packages(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT).stdout)
    allowed = ("lab.capture", "lab.events", "lab.tls", "lab.address", "lab.files", "lab.printable", "lab.unlock")
    assert not [name for name in loaded if within(name, ("lab",)) and name != "lab" and not within(name, allowed)]
    assert not [name for name in loaded if within(name, ("rich", "asyncio", "ssl", "typer", "h11", *PARTS))]


IMAGES = {"victim-client": "victim_client", "victim-server": "victim_server", "rogue-server": "attacker"}
"""The images, by their stage in the Dockerfile, that hold one part each."""


def copied(stage: str) -> set[str]:
    """What an image has of this project: the paths that its stage copies, and those that it is built on."""
    parents: dict[str, str] = {}
    sources: dict[str, set[str]] = {}
    name = ""
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        match line.split():
            case ["FROM", parent, "AS", name]:
                parents[name], sources[name] = parent, set()
            case ["COPY", *paths, destination] if not paths[0].startswith("--from"):
                for path in paths:
                    lands = destination + Path(path).name if destination.endswith("/") else destination
                    assert lands.removeprefix("./") == path, f"{line}: {path} is elsewhere in the image"
                sources[name].update(paths)
    found = set(sources[stage])
    while stage := parents.get(stage, ""):
        found |= sources.get(stage, set())
    return found


def needed(package: str) -> set[str]:
    """The modules that a package needs at run time, its own included: what it imports, and what that imports."""
    paths = dict(modules())
    found: set[str] = set()
    ahead = [name for name, _ in of(package)]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += [one for path in imported(paths[name], for_types=False) if (one := module_of(path, set(paths)))]
            ahead += [parent for parent in (name.rpartition(".")[0],) if parent]
    return found


@pytest.mark.parametrize("stage", [*IMAGES, "attacker"])
def test_an_image_has_what_its_part_imports_and_no_more(stage: str) -> None:
    paths = dict(modules())
    files = {name: paths[name].relative_to(ROOT) for name in needed(IMAGES.get(stage, stage))}
    sources = {source for source in copied(stage) if within(Path(source).parts[0], ("lab", *PARTS))}
    for name, file in files.items():
        assert any(file.is_relative_to(source) for source in sources), f"the image {stage} lacks {name}"
    for source in sources:
        assert any(file.is_relative_to(source) for file in files.values()), f"the image {stage} needs no {source}"


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_loads_is_what_it_is_found_to_need(part: str) -> None:
    """The control of the test above."""
    code = f"import json, sys, {part}.__main__; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT).stdout)
    ours = {name for name in loaded if within(name, ("lab", *PARTS))}
    assert len(ours) > 10
    assert ours <= needed(part)


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
