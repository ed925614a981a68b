"""Runs an exhibit and the release that is mended, on loopback, and tries both."""

import asyncio
import contextlib
import platform
import secrets
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lab.catalogue.exhibits import AMD64, JAVA, BrokenRelease
from lab.catalogue.moves import PREFIX
from lab.catalogue.outcomes import ACCEPTED
from lab.document import Block, Column, Facts, Heading, Inline, Paragraph, Section, Span, Table
from lab.probing.gallery import Shown, show
from lab.probing.judge import status
from lab.story import shipped
from lab.words import listed

WARNING = (
    "These releases have the bugs that they had. They run on loopback, for a moment, from a temporary folder or in a "
    "container. Docker keeps their images, named certreplay-exhibit. Use them for nothing else."
)

WITHOUT_TLS = "none"
"""The version in which a request comes that has no handshake."""
WHEELS = (
    *("--only-binary", ":all:", "--implementation", "cp"),
    *("--platform", "manylinux1_x86_64", "--platform", "manylinux_2_17_x86_64", "--platform", "any"),
)
"""A wheel is unpacked whichever Python it was made for: some hold no Python at all."""


@dataclass(frozen=True)
class ReleasePair:
    """An exhibit with what was found of it and of the mended release; `missing` says why it was not tried."""

    exhibit: BrokenRelease
    shipped: Shown | None = None
    mended: Shown | None = None
    missing: str = ""

    @property
    def as_written(self) -> bool:
        """Whether the release takes what it is said to take, and the mended one nothing."""
        return not self.missing and accepted(self.shipped) == expected(self.exhibit) and accepted(self.mended) == set()


def expected(exhibit: BrokenRelease) -> set[tuple[str, str]]:
    """The moves that get in, with their versions, as the catalogue has it."""
    found = {(str(version), move) for version, moves in exhibit.takes.items() for move in moves}
    return found | ({(WITHOUT_TLS, PREFIX)} if exhibit.takes_prefix else set())


def accepted(shown: Shown | None) -> set[tuple[str, str]] | None:
    """The moves that got in, with their versions; None if there was no verdict."""
    if not shown or not shown.probed or status(shown.probed.judged) == 2:
        return None
    verdicts = (one for judged in shown.probed.judged.values() for one in judged.verdicts)
    found = {(one.tls, one.move) for one in verdicts if one.outcome == ACCEPTED}
    return found | ({(WITHOUT_TLS, PREFIX)} if shown.took_prefix else set())


async def try_exhibit(exhibit: BrokenRelease, tell: Callable[[str], object]) -> ReleasePair:
    """Installs both releases for the moment, and tries them."""
    if platform.machine() not in AMD64:
        return ReleasePair(exhibit, missing=f"it runs on {AMD64[0]}, and this is {platform.machine()}")
    found: list[Shown] = []
    for requirement in filter(None, (exhibit.shipped, exhibit.mended)):
        tell(f"{exhibit.id}: installing {requirement}")
        async with _installed(exhibit.base, requirement) as places:
            if isinstance(places, str):
                return ReleasePair(exhibit, missing=f"{requirement} cannot be installed: {places}")
            tell(f"{exhibit.id}: trying {requirement}")
            found.append(await show(exhibit.server, places))
    if exhibit.mended_server:
        tell(f"{exhibit.id}: trying {exhibit.mended_server.id}")
        found.append(await show(exhibit.mended_server))
    for shown in found:
        if shown.missing:
            return ReleasePair(exhibit, missing=f"{shown.server.title}: {shown.missing}")
    shipped, mended = found
    return ReleasePair(exhibit, shipped, mended)


@contextlib.asynccontextmanager
async def _installed(base: str, requirement: str) -> AsyncIterator[Mapping[str, str] | str]:
    """Installs a release: what `@NAME@` stands for in how its server is run, or why it could not be installed."""
    if base:
        tag = f"certreplay-exhibit:{sha256(f'{base} {requirement}'.encode()).hexdigest()[:12]}"
        recipe = (
            f"FROM {base}\nRUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "
            f"--no-install-recommends --allow-downgrades {requirement} >/dev/null && rm -rf /var/lib/apt/lists/*\n"
        )
        problem = await _done("docker", "build", "--quiet", "--tag", tag, "-", told=recipe)
        label = f"certreplay-exhibit={secrets.token_hex(4)}"
        run = f"docker run --rm --init --label {label} --network host --volume @FOLDER@:@FOLDER@:ro {tag}"
        try:
            yield problem or {"IN_CONTAINER": run}
        finally:
            await _done("sh", "-c", f"docker ps --quiet --filter label={label} | xargs --no-run-if-empty docker kill")
        return
    with tempfile.TemporaryDirectory(prefix="certreplay-exhibit-") as folder:
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        if not (problem := await _done(*pip, "download", "--no-deps", *WHEELS, "--dest", folder, *requirement.split())):
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        yield problem or {"RUNTIME": folder, "PYTHON": sys.executable}


async def _done(*command: str, told: str = "") -> str:
    """Runs a command, with this on its standard input: what it said last where it failed, empty where it did not."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    _, errors = await process.communicate(told.encode())
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return (lines[-1] if lines else f"status {process.returncode}") if process.returncode else ""


def tell_exhibits(pairs: Sequence[ReleasePair]) -> Iterator[Block]:
    """Was this ever real? Each exhibit with what it took, beside the mended release."""
    yield Heading(shipped.QUESTION)
    yield Paragraph(Span(WARNING, "warning"))
    for pair in pairs:
        yield Section(pair.exhibit.title, tuple(_pair(pair)), "entry")


def exhibits_document(pairs: Sequence[ReleasePair]) -> Iterator[Block]:
    """docs/exhibits.md."""
    yield Heading("Releases that shipped without the check", 1)
    yield Paragraph("Generated from a run of certreplay exhibits --markdown; what it says was measured in that run.")
    packages = " ".join(JAVA.packages)
    yield Paragraph(
        f"They need an amd64 processor; Java's need a Java compiler and Bouncy Castle (Debian: {packages}), those of "
        "Debian 11 need Docker. pytest -m gallery runs them all."
    )
    yield from tell_exhibits(pairs)


def _pair(pair: ReleasePair) -> Iterator[Block]:
    exhibit = pair.exhibit
    if pair.missing:
        yield Paragraph((Span("Not tried", "warning"), f": {pair.missing}"))
        return
    assert pair.shipped
    assert pair.mended
    yield Paragraph(exhibit.story)
    rows: list[tuple[str, Inline]] = [
        ("shipped", _named(exhibit.shipped, pair.shipped)),
        ("mended", _named(exhibit.mended, pair.mended)),
    ]
    if exhibit.cases:
        rows.append(("known as", listed(exhibit.cases)))
    yield Facts(tuple(rows))
    columns = (
        Column("TLS"),
        Column("move", "name"),
        Column("shipped", "outcome"),
        Column("mended", "outcome"),
    )
    yield Table(columns, tuple(_rows(pair)))
    if not pair.as_written:
        yield Paragraph((Span("FINDING: ", "finding", strong=True), "this is not what the catalogue says of it."))


def _named(requirement: str, shown: Shown) -> str:
    """A release: what pip calls it, or the server that has it, with what it says of its version."""
    name = requirement.partition(" ")[0]
    return f"{name if '==' in name else shown.server.title}: {shown.version}"


def _rows(pair: ReleasePair) -> Iterator[tuple[Inline, ...]]:
    took, takes_still = accepted(pair.shipped) or set(), accepted(pair.mended) or set()
    for tls, move in sorted(took | takes_still | expected(pair.exhibit)):
        yield tls, move, _word((tls, move) in took), _word((tls, move) in takes_still)


def _word(is_in: bool) -> Span:
    return Span("ACCEPTED", "accepted") if is_in else Span("refused", "refused")
