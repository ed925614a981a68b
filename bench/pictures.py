"""`python -m bench.pictures [RUN...] [--to FOLDER] [--write]`: pictures of every scene, as Chromium shows them.

Without a RUN it makes a demo's. Each scene is shown at its last step, at the three sizes that the page is made for, and
in dark colours on the first. Where a gateway is asked about, the question is a picture of its own. `--write` also
makes the README's pictures anew, in docs/pictures.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from lab.catalogue.plan import short_story
from lab.events.run import open_run
from lab.judging.verdicts import JudgedRun
from lab.page.director import tell_page
from lab.page.model import Scene
from lab.page.report import render_report
from lab.staging import embedded

SIZES = ((1280, 720), (1920, 1080), (390, 844))
SMALL = (640, 360)
IN_README = ("blind", "why-not", "matrix")
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. It needs no sandbox for pages of our own."""
    path = shutil.which("chromium")
    if path is None:
        sys.exit("chromium is missing (Debian: chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Browser, report: Path, size: tuple[int, int], dark: bool = False, scale: float = 1) -> Page:
    """A report in a window of this size, in which nothing moves."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        device_scale_factor=scale,
    )
    page = context.new_page()
    page.goto(report.as_uri())
    return page


def moments(scene: Scene) -> Iterator[tuple[str, int]]:
    """The steps that have pictures: those that ask, and the last."""
    for number, step in enumerate(scene.steps, start=1):
        if step.question or number == len(scene.steps):
            yield f"{scene.id}{'-asked' if step.question else ''}", number


def photograph(browser: Browser, report: Path, scenes: Sequence[Scene], folder: Path) -> int:
    """Takes all pictures of a report; how many they are."""
    taken = 0
    for size, dark in (*((size, False) for size in SIZES), (SIZES[0], True)):
        to = folder / f"{size[0]}x{size[1]}{'-dark' if dark else ''}"
        to.mkdir(parents=True, exist_ok=True)
        page = opened(browser, report, size, dark)
        for number, scene in enumerate(scenes, start=1):
            for name, step in moments(scene):
                page.goto(f"{report.as_uri()}#{scene.id}.{step}")
                page.screenshot(path=to / f"{number:02}-{name}.png")
                taken += 1
        page.context.close()
    return taken


def write_small(browser: Browser, report: Path, scenes: Sequence[Scene]) -> None:
    """The README's pictures: the page on a laptop, half as big."""
    page = opened(browser, report, SIZES[0], scale=SMALL[0] / SIZES[0][0])
    for scene in scenes:
        if scene.id in IN_README:
            page.goto(f"{report.as_uri()}#{scene.id}.{len(scene.steps)}")
            page.screenshot(path=PICTURES / f"{scene.id}.png")
    page.context.close()


def main() -> None:
    """Makes the pictures."""
    it = argparse.ArgumentParser(prog="python -m bench.pictures", description=__doc__)
    it.add_argument("run", nargs="*", type=Path, help="a run's folder; a new demo if none is given")
    it.add_argument("--to", type=Path, default=Path("pictures"), help="where they go (%(default)s)")
    it.add_argument("--write", action="store_true", help="make the README's pictures anew, too")
    asked = it.parse_args()
    with tempfile.TemporaryDirectory() as place:
        runs = asked.run or [_demo(Path(place))]
        with chromium() as browser:
            for run in runs:
                director = tell_page(JudgedRun(open_run(run)))
                report = Path(place) / "report.html"
                report.write_text(render_report(director))
                to = asked.to / run.name if asked.run else asked.to
                print(f"{to}: {photograph(browser, report, director.page.scenes, to)} pictures", flush=True)
                if asked.write:
                    write_small(browser, report, director.page.scenes)


def _demo(place: Path) -> Path:
    judgement = asyncio.run(embedded.run_embedded(place, short_story(), None, lambda run: None, keep_bundle=False))
    return place / judgement.run


if __name__ == "__main__":
    main()
