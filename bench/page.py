"""The page: when its first scene is there, what it weighs, whether the disc moves smoothly, how soon a cell opens."""

import asyncio
import contextlib
import gzip
import os
import pty
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from playwright.sync_api import Browser, Page

from bench.pictures import SIZES, chromium
from bench.report import Aim, ReportSection, ReportTable, machine
from lab.events.run import open_run
from lab.judging.verdicts import JudgedRun
from lab.page.address import HOST, bind
from lab.page.director import Director, tell_page
from lab.page.following import Following
from lab.page.rendering import MODULES, asset, render_page
from lab.page.report import render_report
from lab.page.server import PageServer

ROUNDS, QUICK_ROUNDS = 10, 2
CELLS, QUICK_CELLS = 30, 5
FIRST_SCENE_MS, FRAME_MS, CELL_MS = 1000, 50, 100
PAGE_BYTES, WHOLE_PAGE_BYTES, REPORT_BYTES = 100_000, 700_000, 250_000
ATTEMPTS_REPEAT = 5
"""Five rounds of the matrix are more than 1,000 attempts."""
CERTREPLAY = str(Path(sys.executable).parent / "certreplay")

FRAMES = """
(async () => {
  const frames = [];
  let last = performance.now();
  const end = last + 1100;
  document.getElementById("next").click();
  while (performance.now() < end) {
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return frames.slice(1);
})()
"""
OPEN_A_CELL = """
async (cell) => {
  const title = () => document.querySelector("#closeup.now h2")?.textContent ?? "";
  const before = title();
  const began = performance.now();
  location.hash = cell;
  while (title() === before || !title()) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}
"""


def run(quick: bool) -> ReportSection:
    """The bench."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        first = [_first_scene_ms(browser, folder / "demos") for _ in range(rounds)]
        demo = tell_page(JudgedRun(open_run(max((folder / "demos").iterdir()))))
        frames = [frame for _ in range(rounds) for frame in _frames_ms(browser, demo, folder)]
        many = _matrix(folder / "matrix", 1 if quick else ATTEMPTS_REPEAT)
        everything = tell_page(JudgedRun(open_run(many)))
        attempts = sum(one.evidence.attempts for one in JudgedRun(open_run(many)).judgement.verdicts)
        cells = _cells_ms(browser, many, everything, QUICK_CELLS if quick else CELLS)
    weights = {
        "page of a demo, gzipped": (page_bytes(demo), PAGE_BYTES),
        "page of the whole matrix, gzipped": (page_bytes(everything), WHOLE_PAGE_BYTES),
        "report of a demo": (len(render_report(demo).encode()), REPORT_BYTES),
    }
    times = {
        "a demo's begin to its first scene on the screen": (first, FIRST_SCENE_MS),
        "a frame while the disc moves": (frames, FRAME_MS),
        f"a cell's evidence, in a run of {attempts:,} attempts": (cells, CELL_MS),
    }
    aims = [
        *(_aim(what, of / 1000, most / 1000, "kB") for what, (of, most) in weights.items()),
        *(_aim(what, max(of), most, "ms") for what, (of, most) in times.items()),
    ]
    return ReportSection(
        f"{rounds} demos. {machine(f'Chromium {browser.version}')}",
        (
            ReportTable(("what", "kB"), tuple((what, f"{of / 1000:.1f}") for what, (of, _) in weights.items())),
            ReportTable(
                ("what", "median, ms", "longest, ms"),
                tuple((what, f"{statistics.median(of):.0f}", f"{max(of):.0f}") for what, (of, _) in times.items()),
            ),
        ),
        tuple(aims),
    )


def _aim(what: str, measured: float, most: float, unit: str) -> Aim:
    return Aim(f"{what}: at most {most:g} {unit}", f"{measured:.0f} {unit}", measured <= most)


def page_bytes(told: Director) -> int:
    """What a browser gets before it has asked for any evidence, gzipped as the server does."""
    parts = [render_page(told.page), *(asset(one) for one in ("page.css", *MODULES))]
    return sum(len(gzip.compress(one.encode(), 9)) for one in parts)


def _first_scene_ms(browser: Browser, runs: Path) -> float:
    """From the start of `certreplay demo --page`, which takes a terminal, to the first headline in a browser."""
    page = browser.new_page()
    ours, its = pty.openpty()
    began = time.monotonic()
    demo = subprocess.Popen([CERTREPLAY, "demo", "--page", f"--runs={runs}"], stdout=its, stderr=its)
    os.close(its)
    told = ""
    while not (found := re.search(r"The page is at (http://\S+)\s", told)):
        told += os.read(ours, 1 << 12).decode(errors="replace")
    page.goto(found[1])
    page.locator(".scene.now[data-steps] h2").wait_for()
    took = time.monotonic() - began
    while "until you press Ctrl-C" not in told:
        told += os.read(ours, 1 << 12).decode(errors="replace")
    page.close()
    demo.send_signal(signal.SIGINT)
    demo.wait()
    os.close(ours)
    return took * 1000


def _frames_ms(browser: Browser, told: Director, folder: Path) -> Sequence[float]:
    """The times between frames while the disc goes to a gateway."""
    report = folder / "report.html"
    report.write_text(render_report(told))
    page = _window(browser)
    page.goto(f"{report.as_uri()}#blind")
    page.wait_for_timeout(300)
    frames: list[float] = page.evaluate(FRAMES)
    page.close()
    return frames


def _window(browser: Browser) -> Page:
    width, height = SIZES[0]
    return browser.new_page(viewport={"width": width, "height": height})


def _matrix(runs: Path, repeat: int) -> Path:
    subprocess.run(
        [CERTREPLAY, "matrix", f"--repeat={repeat}", f"--runs={runs}"], check=True, stdout=subprocess.DEVNULL
    )
    return max(runs.iterdir())


def _cells_ms(browser: Browser, run: Path, told: Director, most: int) -> Sequence[float]:
    """From going to a cell's address to its headline, each cell once."""
    cells = sorted(set(re.findall(r'href="(#cell/[^"]+)"', render_page(told.page))))
    step = max(len(cells) // most, 1)
    page = _window(browser)
    with _served(run) as server:
        page.goto(server.address.url())
        page.locator("#matrix").wait_for(state="attached")
        found: list[float] = [page.evaluate(OPEN_A_CELL, cell) for cell in cells[::step]]
        page.close()
    return found


@contextlib.contextmanager
def _served(run: Path) -> Iterator[PageServer]:
    """The page of a run, served in a thread."""
    bound, address = bind(HOST, None)
    server = PageServer(Following(lambda: run), address)
    loop = asyncio.new_event_loop()
    serving = loop.create_task(server.serve(bound))

    def work() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield server
    loop.call_soon_threadsafe(serving.cancel)
    thread.join()
