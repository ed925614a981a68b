"""Many labs on one host: for each student a project of compose, with networks, a page and runs of her own.

A file beside the runs says what each student has, so that a roster can change and everybody keeps what is hers. The
images are built once. Labs are started one every few seconds, some at a time.
"""

import asyncio
import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from lab import files
from lab.catalogue.students import StudentError, check_student
from lab.course import subnets
from lab.course.errors import CourseError
from lab.events.log import FILE_NAME
from lab.events.run import VERDICTS_FILE
from lab.exercises import progress as kept
from lab.exercises.exercise import ExerciseError

CLASS_FILE = "class.json"
VERSION = 1
AT_ONCE = 4
"""Projects that compose works on at a time."""
UP_SECONDS = 300
STUCK_SECONDS = 180
"""A run that has had no verdicts for so long is stuck."""
PAGE, NOT_UP = "page", "not up"
MAX_PORT = 65535
LAST_WORDS = 300


@dataclass(frozen=True)
class OneLab:
    """What one student's lab has of its own."""

    student: str
    subnet: str
    page_subnet: str
    page_port: int


@dataclass(frozen=True)
class Class:
    """A class: the name that its projects begin with, its /20, where its runs are, and its labs."""

    name: str
    network: str
    runs: Path
    compose: Path
    labs: tuple[OneLab, ...]

    def project(self, one: OneLab) -> str:
        return f"{self.name}-{one.student}"

    def lab(self, student: str) -> OneLab:
        """A student's lab; CourseError if she has none."""
        for one in self.labs:
            if one.student == student:
                return one
        known = ", ".join(one.student for one in self.labs)
        raise CourseError(f"the class in {self.runs / CLASS_FILE} has no student {student}; it has {known}")

    async def call(self, one: OneLab, *arguments: str) -> tuple[int, str]:
        """Calls compose for a student's project; its exit status, and what it said last."""
        environment = os.environ | {
            "CERTREPLAY_RUNS": str((self.runs / one.student).resolve()),
            "CERTREPLAY_STUDENT": one.student,
            "CERTREPLAY_SUBNET": one.subnet,
            "CERTREPLAY_PAGE_SUBNET": one.page_subnet,
            "CERTREPLAY_PAGE_PORT": str(one.page_port),
        }
        environment.pop("CERTREPLAY_ONCE", None)
        return await _run(
            "docker", "compose", "-f", str(self.compose), "-p", self.project(one), *arguments, env=environment
        )


def load(runs: Path, compose: Path) -> Class:
    """The class that was started with these runs; CourseError if there is none, or none that can be read."""
    path = runs / CLASS_FILE
    try:
        content = json.loads(files.read(path))
        if content["version"] != VERSION:
            raise ValueError("another version")
        labs = tuple(OneLab(**{str(name): value for name, value in one.items()}) for one in content["labs"])
        for one in labs:
            check_student(one.student)
        return Class(content["name"], content["network"], runs, compose, labs)
    except FileNotFoundError:
        raise CourseError(f"{runs}: no class was started there; `certreplay class up` starts one") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CourseError(f"{path}: holds no class that this version can read ({error})") from None


async def prepare(
    students: Sequence[str], runs: Path, compose: Path, name: str, network: str, first_port: int
) -> Class:
    """The class with a lab for each of these students, written to its file; those of before keep what they had.

    CourseError where it cannot be: no engine, no free network, too many students, no free ports.
    """
    await _check_engine(compose)
    try:
        check_student(name)
    except StudentError:
        raise CourseError(
            f"--name {name}: a class has a name as a student has: lower-case letters, digits, `-` and `_`"
        ) from None
    before = load(runs, compose) if (runs / CLASS_FILE).exists() else None
    if before and before.name != name:
        raise CourseError(f"{runs}: holds the class {before.name}; give --name {before.name}, or other --runs")
    if before and network not in ("", before.network):
        raise CourseError(f"--network {network}: the class has {before.network}; take it down first")
    labs = {one.student: one for one in before.labs} if before else {}
    taken = await _taken({before.project(one) for one in before.labs} if before else set())
    chosen = subnets.choose(taken, network or (before.network if before else ""))
    free = subnets.split(chosen, (IPv4Network(one.subnet) for one in labs.values()))
    ports = (port for port in range(first_port, MAX_PORT + 1) if port not in {one.page_port for one in labs.values()})
    for student in students:
        if student not in labs:
            networks, port = next(free, None), next(ports, None)
            if networks is None:
                raise CourseError(
                    f"a class has room for {subnets.MOST_LABS} labs; start another with --name and --runs"
                )
            if port is None:
                raise CourseError(f"--first-port {first_port}: there are too few ports above it; choose a lower one")
            labs[student] = OneLab(student, str(networks[0]), str(networks[1]), port)
    it = Class(name, str(chosen), runs, compose, tuple(labs.values()))
    files.make_folder(runs)
    save(it)
    return it


def save(it: Class) -> None:
    content = {"version": VERSION, "name": it.name, "network": it.network, "labs": [asdict(one) for one in it.labs]}
    files.write(it.runs / CLASS_FILE, json.dumps(content, indent=2) + "\n")


async def _check_engine(compose: Path) -> None:
    if not compose.is_file():
        raise CourseError(f"{compose}: no such file; call this in certreplay's checkout, or name its compose.yaml")
    status, said = await _run("docker", "compose", "version")
    if status:
        raise CourseError(f"`docker compose` does not work: {said}")
    status, said = await _run("docker", "info", "--format", "{{.ServerVersion}}")
    if status:
        raise CourseError(f"no Docker engine answers: {said}")


async def _taken(own: set[str]) -> list[tuple[IPv4Network, str]]:
    """The networks of host and engine, without those of our own projects, and their routes."""
    status, routes = await _run("ip", "-json", "route", "show", "table", "all")
    if status:
        raise CourseError(f"`ip route` does not work: {routes}")
    names = await _docker_says("network", "ls", "--quiet")
    found = await _docker_says("network", "inspect", *names.split())
    networks = list(subnets.docker_networks_of(found))
    ours = [network for network, _, project in networks if project in own]
    others = [(network, name) for network, name, project in networks if project not in own]
    return others + [
        (network, name)
        for network, name in subnets.routes_of(routes)
        if not any(network.subnet_of(one) for one in ours)
    ]


async def _docker_says(*arguments: str) -> str:
    """What Docker prints; CourseError if it fails."""
    status, said = await _run("docker", *arguments)
    if status:
        raise CourseError(f"`docker {' '.join(arguments[:2])}` does not work: {said}")
    return said


async def build(it: Class) -> None:
    """Builds the images once, for all. CourseError with compose's last words if that fails."""
    status, said = await it.call(it.labs[0], "build", "--quiet")
    if status:
        raise CourseError(f"the images cannot be built: {said}")


Done = Callable[[OneLab, int, str], None]
"""Told of each lab when compose is done with it: its exit status, and its last words."""


async def start(it: Class, labs: Iterable[OneLab], every_seconds: float, done: Done) -> None:
    """Starts labs, one every few seconds, and returns when compose is done with all."""

    async def bring_up(one: OneLab, delay: float) -> None:
        await asyncio.sleep(delay)
        async with at_once:
            (it.runs / one.student).mkdir(exist_ok=True)
            call = it.call(one, "up", "--detach", "--no-build", "--remove-orphans")
            done(one, *await _within(call, UP_SECONDS))

    at_once = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(bring_up(one, number * every_seconds) for number, one in enumerate(labs)))


async def stop(it: Class, labs: Iterable[OneLab], done: Done) -> None:
    """Takes labs down, with their volumes and all that is left of them; the runs stay."""

    async def take_down(one: OneLab) -> None:
        async with at_once:
            call = it.call(one, "down", "--volumes", "--remove-orphans", "--timeout", "5")
            done(one, *await _within(call, UP_SECONDS))

    at_once = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*map(take_down, labs))


async def halt(it: Class, one: OneLab) -> None:
    """Stops a lab's containers, which keep their volumes; CourseError if that fails."""
    status, said = await it.call(one, "stop", "--timeout", "5")
    if status:
        raise CourseError(f"{one.student}: {said}")


def forget(it: Class, students: Iterable[str]) -> None:
    """Takes labs that are down out of the class's file; the file goes with the last one."""
    gone = set(students)
    left = tuple(one for one in it.labs if one.student not in gone)
    if left:
        save(Class(it.name, it.network, it.runs, it.compose, left))
    else:
        (it.runs / CLASS_FILE).unlink(missing_ok=True)


@dataclass(frozen=True)
class LabState:
    """How a student's lab is, in a word and with a reason; her newest run, how many exercises she has done, her page.

    `state` is `not up`, `starting`, `worked`, `findings`, `stuck` or `stopped`.
    """

    student: str
    state: str
    why: str
    containers: int
    run: str
    exercises: int
    page: str


async def states(it: Class) -> tuple[LabState, ...]:
    """The state of each lab."""
    status, listed = await _run(
        *("docker", "ps", "--all", "--no-trunc", "--format", "{{json .}}"),
        *("--filter", "label=com.docker.compose.project"),
    )
    if status:
        raise CourseError(f"no Docker engine answers: {listed}")
    containers: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in listed.splitlines():
        one = json.loads(line)
        labels = dict(label.partition("=")[::2] for label in one.get("Labels", "").split(","))
        one["service"] = labels.get("com.docker.compose.service", "")
        containers[labels.get("com.docker.compose.project", "")].append(one)
    return tuple([await _state(it, one, containers[it.project(one)]) for one in it.labs])


async def _state(it: Class, one: OneLab, containers: Sequence[Mapping[str, Any]]) -> LabState:
    folder = it.runs / one.student
    run = max((path.parent.parent for path in folder.glob(f"*/*/{FILE_NAME}")), default=None)
    running = [found for found in containers if found["State"] == "running"]
    state, why = _judged(run, containers, running)
    page = ""
    if any(found["service"] == PAGE for found in running):
        _, logged = await it.call(one, "logs", "--no-log-prefix", "--no-color", PAGE)
        page = next((word for word in logged.split() if word.startswith("http://")), "")
    return LabState(one.student, state, why, len(running), run.name if run else "", _exercises(folder), page)


def _judged(
    run: Path | None, containers: Sequence[Mapping[str, Any]], running: Sequence[Mapping[str, Any]]
) -> tuple[str, str]:
    if not containers:
        return NOT_UP, ""
    if failed := [one for one in containers if one["State"] == "exited" and not one["Status"].startswith("Exited (0)")]:
        names = ", ".join(f"{one['service']} ({one['Status']})" for one in failed)
        return ("stuck" if running else "stopped"), names
    if not running:
        return "stopped", ""
    verdicts = run / VERDICTS_FILE if run else None
    if verdicts and verdicts.exists():
        try:
            expected = json.loads(files.read(verdicts, files.LARGE))["as_expected"]
        except (OSError, ValueError, LookupError, TypeError):
            return "findings", f"{verdicts} is not readable"
        return ("worked", "") if expected else ("findings", "certreplay verdicts shows them")
    if run and time.time() - run.stat().st_mtime > STUCK_SECONDS:
        return "stuck", f"no verdicts for {STUCK_SECONDS} seconds"
    return "starting", ""


def _exercises(folder: Path) -> int:
    try:
        return len(kept.load(folder).done)
    except (ExerciseError, OSError):
        return 0


async def _within(call: Awaitable[tuple[int, str]], seconds: float) -> tuple[int, str]:
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError:
        return 1, f"compose was not done in {seconds:g} seconds"


async def _run(*command: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """A program's exit status and output; if it fails, the last of what it said on standard error, in one line."""
    path = shutil.which(command[0])
    if path is None:
        raise CourseError(f"`{command[0]}` is not installed, and a class needs it")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        path, *command[1:], stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=env
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if not process.returncode:
        return 0, output.decode(errors="replace").strip()
    return process.returncode, " ".join((errors or output).decode(errors="replace").split())[-LAST_WORDS:]
