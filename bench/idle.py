"""A class that nobody uses: how long it takes to its verdicts, and what it costs from then on.

It waits until the attacker's capture is complete and alice has eased off, then looks at every container for a while.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from bench.report import Aim, ReportSection, ReportTable, machine
from lab.capture.writer import RECENT_BYTES
from lab.events.parts import CAPTURE_FILE, RECENT_FILES

ROOT = Path(__file__).parent.parent
PROJECT = "certreplay-bench"
SETTLE_SECONDS, LOOK_SECONDS = 240.0, 300.0
"""By then alice logs in every 20 seconds, and it is two minutes since the attacker's last attempt."""
QUICK_SECONDS = 5.0
PATIENCE_SECONDS = 300.0
MOST_OF_A_CORE = 0.01


@dataclass(frozen=True)
class Look:
    """A class at one moment: processor time by service, in seconds, and the bytes that the run keeps."""

    at: float
    processor_seconds: Mapping[str, float]
    capture_octets: int
    recent_octets: int
    """Of captures that keep the newest packets only."""
    run_octets: int


def run(quick: bool) -> ReportSection:
    """The bench. Without a Docker engine it is left out."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return ReportSection(f"Left out: no Docker engine answers. {machine()}", ())
    settle, look = (QUICK_SECONDS, QUICK_SECONDS) if quick else (SETTLE_SECONDS, LOOK_SECONDS)
    with _class() as (runs, to_verdicts):
        time.sleep(settle)
        before = _look(runs)
        time.sleep(look)
        after = _look(runs)
    seconds = after.at - before.at
    parts = {name: (used - before.processor_seconds[name]) / seconds for name, used in after.processor_seconds.items()}
    rows = [(name, f"{100 * part:.2f}") for name, part in sorted(parts.items())]
    rows.append(("all", f"{100 * sum(parts.values()):.2f}"))
    most_recent = RECENT_BYTES * len(RECENT_FILES)
    sizes = [
        (what, f"{now / 1e6:.2f}", f"{3600 / seconds * (now - then) / 1e6:.2f}")
        for what, now, then in (
            ("the capture", after.capture_octets, before.capture_octets),
            ("recent packets", after.recent_octets, before.recent_octets),
            ("the whole run", after.run_octets, before.run_octets),
        )
    ]
    return ReportSection(
        f"From `docker compose up` to the verdicts: {to_verdicts:.1f} s. The class then stood for {settle:.0f} s "
        f"before it was looked at for {seconds:.0f} s. {machine()}",
        (
            ReportTable(("container", "% of a processor"), tuple(rows)),
            ReportTable(("kept on the host", "MB", "more in an hour, MB"), tuple(sizes)),
        ),
        (
            Aim(
                "an idle lab takes less than 1 % of a processor",
                f"{100 * sum(parts.values()):.2f} %",
                sum(parts.values()) < MOST_OF_A_CORE,
            ),
            Aim(
                f"the capture no longer grows, and recent packets take {most_recent / 1e6:.1f} MB at most",
                f"{after.capture_octets - before.capture_octets:,} bytes more, {after.recent_octets / 1e6:.2f} MB",
                after.capture_octets == before.capture_octets and after.recent_octets <= most_recent,
            ),
        ),
    )


@contextmanager
def _class() -> Iterator[tuple[Path, float]]:
    """A class with its verdicts: the folder of its runs, and how many seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)

        def compose(*arguments: str) -> None:
            command = ["docker", "compose", "-p", PROJECT, *arguments]
            environment = os.environ | {"CERTREPLAY_RUNS": str(runs)}
            subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)

        compose("build")
        try:
            began = time.monotonic()
            compose("up", "--detach", "--no-build")
            while not any(runs.glob("*/verdicts.json")):
                if time.monotonic() - began > PATIENCE_SECONDS:
                    raise TimeoutError("no verdicts came")
                time.sleep(0.05)
            yield runs, time.monotonic() - began
        finally:
            compose("down", "--volumes", "--timeout", "5")


def _look(runs: Path) -> Look:
    used: dict[str, float] = {}
    for one in docker.from_env().containers.list(filters={"label": f"com.docker.compose.project={PROJECT}"}):
        stats = one.stats(stream=False)
        assert isinstance(stats, dict)
        used[one.labels["com.docker.compose.service"]] = stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
    files = [path for path in runs.rglob("*") if path.is_file()]
    capture = [path for path in files if path.name == CAPTURE_FILE]
    recent = [path for path in files if path.name in RECENT_FILES]
    return Look(time.monotonic(), used, *(sum(map(_size, some)) for some in (capture, recent, files)))


def _size(path: Path) -> int:
    return path.stat().st_size
