"""`python -m bench.soak [--rounds N] [--seed N] [--classroom]`: kills parts of a lab, and looks what is left.

Each round starts a lab, embedded or in containers, waits for a random time, and sends a random part SIGKILL or SIGSTOP:
the lab itself, or what it started. An embedded lab has to end by itself then, and a class is taken down. Afterwards the
run has to be readable, and there may be no process of the lab, no private key and no poisoned ARP table. The seed is
printed: the same one makes the same choices.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.events.run import RunError, open_run
from lab.judging.verdicts import JudgedRun
from lab.story import acts

ROOT = Path(__file__).parent.parent
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)
PATIENCE_SECONDS = 180.0
LASTS_SECONDS = 2.0
"""How long an embedded lab takes that nobody disturbs, if that was not measured."""
CLASS_LATEST_SECONDS = 20.0
"""A part of a class gets its signal at the latest so long after all have begun."""
CLASS_SERVICES = ("attacker", "victim-client", "victim-server", "control", "lab")
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@dataclass(frozen=True)
class Round:
    """One round: which part got which signal, and when; and what was wrong afterwards."""

    what: str
    wrong: tuple[str, ...]


def _start_embedded(folder: Path) -> "subprocess.Popen[bytes]":
    """A lab with its runs and its temporary files in a folder of their own."""
    (folder / "tmp").mkdir(parents=True)
    return subprocess.Popen(
        [sys.executable, "-m", "lab", "demo", "--runs", str(folder / "runs")],
        env=os.environ | {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def lasting_seconds(folder: Path) -> float:
    """How long an embedded lab takes that nobody disturbs."""
    began = time.monotonic()
    if status := _start_embedded(folder).wait(PATIENCE_SECONDS):
        sys.exit(f"an undisturbed lab ends with status {status}")
    return time.monotonic() - began


def soak_embedded(chance: random.Random, folder: Path, lasts_seconds: float = LASTS_SECONDS) -> Round:
    """One round of an embedded lab, which would last that long."""
    runs, tmp = folder / "runs", folder / "tmp"
    lab = _start_embedded(folder)
    delay_seconds, number = chance.uniform(0, lasts_seconds), chance.choice(SIGNALS)
    choice = chance.random()
    time.sleep(delay_seconds)
    # The lab, its caretaker, or a part; in the order of their numbers, so that the seed decides.
    there = sorted(processes_of(folder))
    victim = there[int(choice * len(there))] if there else lab.pid
    name = "nothing, it had ended" if lab.poll() is not None else _name(victim)
    with suppress(ProcessLookupError):
        os.kill(victim, number)
    wrong: list[str] = []
    if victim == lab.pid and number == signal.SIGSTOP:
        time.sleep(chance.uniform(0, 1))
        lab.kill()  # a person who sees that it hangs
    try:
        lab.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        wrong.append("the lab did not end")
        lab.kill()
    if victim != lab.pid and number == signal.SIGSTOP:
        _wait(lambda: not _alive(victim))
    _wait(lambda: not processes_of(folder))
    wrong += [f"a process is left: {_name(pid)}" for pid in processes_of(folder)]
    for one in processes_of(folder):
        os.kill(one, signal.SIGKILL)
    wrong += [f"a private key is left: {path.relative_to(folder)}" for path in key_files(folder)]
    # Both at once, the lab and its caretaker, is more than one signal; then the next run sweeps.
    wrong += [f"a temporary file is left: {path.name}" for path in tmp.iterdir()]
    wrong += unreadable(runs)
    return Round(f"{number.name} after {delay_seconds:.2f} s: {name}", tuple(wrong))


def soak_classroom(chance: random.Random, folder: Path, project: str, subnet: str) -> Round:
    """One round of a class of this project; its images are there."""
    runs = folder / "runs"
    runs.mkdir(parents=True)

    def compose(*arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"CERTREPLAY_RUNS": str(runs), "CERTREPLAY_SUBNET": subnet}
        command = ["docker", "compose", "-p", project, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    up = compose("up", "--detach", "--no-build")
    wrong = [] if up.returncode == 0 else [f"it did not start: {up.stderr.strip().splitlines()[-1:]}"]
    service, number = chance.choice(CLASS_SERVICES), chance.choice(SIGNALS)
    delay_seconds = chance.uniform(0, CLASS_LATEST_SECONDS)
    time.sleep(delay_seconds)
    container = f"{project}-{service}-1"
    _docker("kill", "--signal", number.name, container)
    if service == "attacker" and number == signal.SIGKILL:
        wrong += _poisoned(project)
    if service == "lab" and number == signal.SIGKILL:
        before = {path.name for path in runs.iterdir()}
        compose("start", "lab")
        _wait(lambda: any(runs.glob("*/verdicts.json")))
        if before and {path.name for path in runs.iterdir()} != before:
            wrong.append("the judge that was started again began another run")
        if not any(runs.glob("*/verdicts.json")):
            wrong.append("the judge that was started again has no verdicts")
    down = compose("--profile", "*", "down", "--volumes", "--timeout", "5")
    if down.returncode:
        wrong.append(f"it could not be taken down: {down.stderr.strip()}")
    left = _docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project}").split()
    wrong += ["a container is left"] if left else []
    wrong += [f"a private key is left: {path.relative_to(folder)}" for path in key_files(folder)]
    wrong += unreadable(runs)
    return Round(f"{number.name} after {delay_seconds:.1f} s: {service}", tuple(wrong))


def _poisoned(project: str) -> list[str]:
    """Whether the victims still believe the attacker a minute after her whole container was killed."""
    macs = {
        service: _docker(
            "inspect",
            "--format",
            "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.MacAddress}}{{end}}",
            f"{project}-{service}-1",
        ).split()
        for service in ("victim-client", "victim-server")
    }
    if not all(len(found) == 2 for found in macs.values()):
        return []

    def wrong() -> list[str]:
        found = []
        for service, other in (("victim-client", "victim-server"), ("victim-server", "victim-client")):
            table = _docker("exec", f"{project}-{service}-1", "cat", "/proc/net/arp")
            rows = [line.split() for line in table.splitlines()[1:]]
            address, mac = macs[other]
            if any(row[0] == address and row[2] != "0x0" and row[3] != mac for row in rows):
                found.append(f"the ARP table of {service} is poisoned")
        return found

    _wait(lambda: not wrong(), seconds=60)
    return wrong()


def unreadable(runs: Path) -> Iterator[str]:
    """What is wrong with the runs in a folder, as far as they got."""
    for run in runs.iterdir() if runs.is_dir() else ():
        try:
            judged = JudgedRun(open_run(run))
            list(acts.tell(judged))
            verdicts = run / "verdicts.json"
            if verdicts.exists():
                json.loads(verdicts.read_text())
        except RunError:
            pass  # it was cut off before its first event
        except Exception as error:  # whatever it is, it is a finding
            yield f"the run cannot be read: {type(error).__name__}: {error}"


def key_files(folder: Path) -> list[Path]:
    """The files below a folder that hold a private key."""
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and PRIVATE_KEY.search(path.read_bytes()):
                found.append(path)
    return found


def processes_of(folder: Path) -> list[int]:
    """The processes that belong to a lab in this folder: its own path is in their command lines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            words = (process / "cmdline").read_bytes()
            if str(folder).encode() in words and state != "Z" and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _name(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return " ".join(Path(word).name for word in words[1:4])
    return "a process that has ended"


def _wait(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout


def main() -> None:
    """The soak; exit status 1 if anything was wrong in any round."""
    it = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.splitlines()[0])
    it.add_argument("--rounds", type=int, default=100, help="how often (%(default)s)")
    it.add_argument("--seed", type=int, default=None, help="makes the choices of an earlier soak again")
    it.add_argument("--classroom", action="store_true", help="in containers; `docker compose build` comes first")
    it.add_argument("--project", default="soak", help="the compose project's name (%(default)s)")
    it.add_argument("--subnet", default="", help="its subnet; one that is free if not given")
    asked = it.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    chance, failed, lasts_seconds = random.Random(seed), 0, LASTS_SECONDS
    if asked.classroom:
        build = ["docker", "compose", "-p", asked.project, "build"]
        subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    else:
        with tempfile.TemporaryDirectory(prefix="soak-") as name:
            lasts_seconds = lasting_seconds(Path(name))
    for number in range(1, asked.rounds + 1):
        with tempfile.TemporaryDirectory(prefix="soak-") as name:
            folder = Path(name)
            one = (
                soak_classroom(chance, folder, asked.project, asked.subnet)
                if asked.classroom
                else soak_embedded(chance, folder, lasts_seconds)
            )
        failed += bool(one.wrong)
        print(f"{number:4} {one.what}: {'; '.join(one.wrong) or 'clean'}", flush=True)
    print(f"{asked.rounds} rounds, {failed} with something wrong")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
