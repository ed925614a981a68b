"""Runs an exhibit and the release that is mended, on loopback, and tries both."""

import asyncio
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.catalogue.exhibits import AMD64, JAVA, BrokenRelease
from lab.catalogue.outcomes import ACCEPTED
from lab.document import Block, Column, Facts, Heading, Inline, Paragraph, Section, Span, Table
from lab.probing.gallery import Shown, show
from lab.probing.judge import status
from lab.story.words import listed

WARNING = (
    "These releases have the bugs that they had. They are installed into a temporary folder, run on loopback, and are "
    "gone afterwards. Use them for nothing else."
)


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
    return {(str(version), move) for version, moves in exhibit.takes.items() for move in moves}


def accepted(shown: Shown | None) -> set[tuple[str, str]] | None:
    """The moves that got in, with their versions; None if there was no verdict."""
    if not shown or not shown.probed or status(shown.probed.judged) == 2:
        return None
    verdicts = (one for judged in shown.probed.judged.values() for one in judged.verdicts)
    return {(one.tls, one.move) for one in verdicts if one.outcome == ACCEPTED}


async def try_exhibit(exhibit: BrokenRelease, tell: Callable[[str], object]) -> ReleasePair:
    """Installs both releases for the moment, and tries them."""
    if platform.machine() not in AMD64:
        return ReleasePair(exhibit, missing=f"it runs on {AMD64[0]}, and this is {platform.machine()}")
    found: list[Shown] = []
    for requirement in (exhibit.shipped, exhibit.mended):
        with tempfile.TemporaryDirectory(prefix="certreplay-exhibit-") as folder:
            tell(f"{exhibit.id}: installing {requirement}")
            if problem := await _install(requirement, Path(folder)):
                return ReleasePair(exhibit, missing=f"pip cannot install {requirement}: {problem}")
            tell(f"{exhibit.id}: trying {requirement}")
            shown = await show(JAVA, {"RUNTIME": folder})
            if shown.missing:
                return ReleasePair(exhibit, missing=f"{requirement}: {shown.missing}")
            found.append(shown)
    shipped, mended = found
    return ReleasePair(exhibit, shipped, mended)


async def _install(requirement: str, folder: Path) -> str:
    """Puts a package into a folder of its own; what pip says last where it can't."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"),
        *("--target", str(folder), requirement),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return (lines[-1] if lines else f"status {process.returncode}") if process.returncode else ""


def tell_exhibits(pairs: Sequence[ReleasePair]) -> Iterator[Block]:
    """Was this ever real? Each exhibit with what it took, beside the mended release."""
    yield Heading("Was this ever real?")
    yield Paragraph(Span(WARNING, "warning"))
    for pair in pairs:
        yield Section(pair.exhibit.title, tuple(_pair(pair)), "entry")


def exhibits_document(pairs: Sequence[ReleasePair]) -> Iterator[Block]:
    """docs/exhibits.md."""
    yield Heading("Releases that shipped without the check", 1)
    yield Paragraph("Generated from a run of certreplay exhibits --markdown; what it says was measured in that run.")
    packages = " ".join(JAVA.packages)
    yield Paragraph(f"They need a Java compiler and Bouncy Castle (Debian: {packages}) and an amd64 processor.")
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
        ("shipped", f"{exhibit.shipped}: {pair.shipped.version}"),
        ("mended", f"{exhibit.mended}: {pair.mended.version}"),
    ]
    if exhibit.cases:
        rows.append(("known as", listed(exhibit.cases)))
    yield Facts(tuple(rows))
    columns = (
        Column("TLS"),
        Column("move", "name"),
        Column(exhibit.shipped.partition("==")[2], "outcome"),
        Column(exhibit.mended.partition("==")[2], "outcome"),
    )
    yield Table(columns, tuple(_rows(pair)))
    if not pair.as_written:
        yield Paragraph((Span("FINDING: ", "finding", strong=True), "this is not what the catalogue says of it."))


def _rows(pair: ReleasePair) -> Iterator[tuple[Inline, ...]]:
    took, takes_still = accepted(pair.shipped) or set(), accepted(pair.mended) or set()
    for tls, move in sorted(took | takes_still | expected(pair.exhibit)):
        yield tls, move, _word((tls, move) in took), _word((tls, move) in takes_still)


def _word(is_in: bool) -> Span:
    return Span("ACCEPTED", "accepted") if is_in else Span("refused", "refused")
