"""The classroom lab: what the lab does in the containers of `docker compose up`.

Five services: `check` looks whether all can begin, `authority` issues the bundles and names the run, `request` makes a
key of alice's own and asks for a certificate for it, `control` gets alice's key and runs what needs it, `follow`
watches all parts, keeps the run on the host and judges it. Each part writes to a volume of its own, in a folder named
after the run; `follow` copies these together into one run directory.
"""

import asyncio
import stat
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path

from attacker.attempts import Destination
from lab import files
from lab.capture.decrypt import decrypted_handshakes, decrypted_logins
from lab.catalogue.cast import (
    ATTACKER,
    AUTHORITY,
    CAREFUL_CLIENT,
    CARELESS_CLIENT,
    CONTROL,
    INTERCEPTOR,
    LAB,
    VICTIM_CLIENT,
    VICTIM_SERVER,
)
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.leaks import INTERCEPTION
from lab.catalogue.plan import KeyType, short_story
from lab.events.log import FILE_NAME, EventLog
from lab.events.run import (
    CAPTURE_FILE,
    INTERCEPTION_FILE,
    KEY_LOG_FILE,
    Folders,
    Run,
    RunError,
    make_run_folder,
    new_run_name,
)
from lab.events.types import CaptureSearched, PartStopped, PositionLeft
from lab.judging.facts import run_started, tried_everywhere
from lab.judging.judgement import Judgement
from lab.judging.verdicts import JudgedRun, judge
from lab.scope import write_scope
from lab.staging import control, pki
from lab.staging.control import ControlTarget
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.errors import BundleError
from lab.tls.versions import TLS12

MARKER = Path("/etc/certreplay-lab")
"""The lab's images carry this file; it belongs to root."""
PUBLIC = Path("/public")
KEYS = Path("/keys")
DATA = Path("/data")
PARTS = Path("/parts")
RUNS = Path("/runs")
OWN_KEY = KEYS / "own" / f"{pki.BY_REQUEST}.pem"
REQUESTS = Path("/requests") / pki.REQUESTS

RUN_NAME_FILE = "run"
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""RFC 1918 section 3."""
SMALLEST_PREFIX = 27
"""Of a network that has a host for each service of compose.yaml: 29 addresses, and those of the network itself."""
HOSTS = (VICTIM_SERVER, VICTIM_CLIENT, CAREFUL_CLIENT, CARELESS_CLIENT)
"""The hosts that the attacker may go to."""
RUN_SECONDS = 120.0
POLL_SECONDS = 0.1
GOOD_FOR = timedelta(days=1)
CHUNK = 1 << 20

FollowWatcher = Callable[[Run, Judgement | None], None]


def check(subnet: str, runs: str) -> None:
    """Refuses, by RunError, a subnet that cannot serve the lab, and a folder for the runs that cannot be written.

    They are what CERTREPLAY_SUBNET and CERTREPLAY_RUNS say; without a subnet the engine chooses one.
    """
    _check_container()
    if subnet:
        check_subnet(subnet)
    try:
        with tempfile.TemporaryFile(dir=RUNS) as file:
            file.write(b"\0")
    except OSError as error:
        reason = f"CERTREPLAY_RUNS={runs}: the runs cannot be kept there ({error.strerror})"
        raise RunError(f"{reason}; let its owner write it, or name another folder") from None


def check_subnet(text: str) -> None:
    """Refuses, by RunError, what is no private IPv4 network that is big enough for a host of each service."""
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise RunError(f"CERTREPLAY_SUBNET={text}: {error}; write a subnet such as 10.99.0.0/24") from None
    if not any(network.subnet_of(one) for one in PRIVATE):
        within = ", ".join(map(str, PRIVATE))
        raise RunError(f"CERTREPLAY_SUBNET={text}: that is not a private network; choose one within {within}")
    if network.prefixlen > SMALLEST_PREFIX:
        raise RunError(f"CERTREPLAY_SUBNET={text}: too small; the lab takes a /{SMALLEST_PREFIX} or more")


def start_run(key_type: KeyType) -> None:
    """Names the run and issues everything, unless an earlier run's bundles are still valid."""
    _check_container()
    folders = (PUBLIC, KEYS / "server", KEYS / "client", KEYS / "shop", KEYS / "archive")
    if any(path.suffix == ".pem" for path in PUBLIC.iterdir()) and not _still_good():
        for path in (path for folder in folders for path in folder.iterdir()):
            path.unlink()
    if not (PUBLIC / pki.CA_FILE).exists():
        issued = pki.issue(*folders[:3], key_type, shop=folders[3], archive=folders[4], rsa_transport=True)
        if REQUESTS.exists():
            pki.answer(issued.authority, REQUESTS)
    name, plan = new_run_name(), short_story(key_type)
    log = EventLog(DATA / name, AUTHORITY)
    log.report(run_started("classroom", name, plan))
    for kind in plan.kinds:
        log.report(pki.issued_event(KEYS / "client", pki.BUNDLES[kind]))
    if REQUESTS.exists():
        log.report(pki.answered_event(REQUESTS))
    log.close()
    write_scope(HOSTS)
    (PUBLIC / RUN_NAME_FILE).write_text(f"{name}\n")


def request_certificate(key_type: KeyType) -> None:
    """Makes alice a key that nobody else gets, and a request for the authority, unless she has both."""
    _check_container()
    if not (OWN_KEY.exists() and REQUESTS.exists()):
        for file in (OWN_KEY, REQUESTS):
            file.unlink(missing_ok=True)
        pki.request(OWN_KEY, REQUESTS, key_type)


async def run_control(gateways: Sequence[Destination]) -> None:
    """Waits until the attacker has tried everything or the time is up; then tries the stolen key and searches."""
    _check_container()
    name = await _attacked([one.address.port for one in gateways])
    bundles = {kind: _bundle(kind, datetime.now(UTC)) for kind in short_story().kinds}
    log = EventLog(DATA / name, CONTROL)
    targets = (ControlTarget(one.address, TLS12, bundles[one.takes]) for one in gateways)
    for tried in await control.try_stolen_key(targets):
        log.report(tried)
    capture = PARTS / ATTACKER / name / CAPTURE_FILE
    if capture.exists():
        log.report(control.search_capture(capture, *map(_bundle_file, bundles)))
    log.report(PartStopped("done"))
    log.close()


async def _attacked(ports: list[int]) -> str:
    """The run's name, once everything has been tried there or the time is up; then the judge says what is missing.

    If a new run begins meanwhile, this container was left over from the earlier one and takes up the new run.
    """
    now = asyncio.get_running_loop().time
    name = _run_name()
    attacks, deadline = Run(PARTS / ATTACKER, parts=name), now() + RUN_SECONDS / 2
    while not tried_everywhere(attacks, ports) and now() < deadline:
        if _run_name() != name:
            return await _attacked(ports)
        attacks.update()
        await asyncio.sleep(POLL_SECONDS)
    return name


async def follow(stop: asyncio.Event, once: bool, watch: FollowWatcher) -> Judgement:
    """Copies, watches and judges the run until told to stop, or with `once` until there is a judgement."""
    _check_container()
    name = _run_name()
    path = RUNS / name
    folders = Folders(path) if path.is_dir() else make_run_folder(RUNS, name, "CERTREPLAY_RUNS")
    log = EventLog(folders.part(LAB), LAB)
    copies = Copies(PARTS, folders)
    run = Run(folders.path)
    judgement: Judgement | None = None
    looked_inside = read_logins = False
    deadline = asyncio.get_running_loop().time() + RUN_SECONDS
    while not stop.is_set():
        copies.update()
        if judgement is None and run.update():
            if not looked_inside and any(left.kind == INTERCEPTION.id for left in run.all(PositionLeft)):
                copies.update()  # its capture was complete before it reported that it left
                _look_inside(folders, log)
                looked_inside = True
                run.update()
            if not read_logins and run.first(CaptureSearched):  # alice has logged in everywhere by now
                copies.update()
                _read_logins(folders, log)
                read_logins = True
                run.update()
            judgement = judge(run)
        if judgement is None and asyncio.get_running_loop().time() > deadline:
            judgement = JudgedRun(run).judgement
        watch(run, judgement)
        if judgement and not folders.verdicts.exists():
            unfinished = folders.verdicts.with_suffix(".part")
            unfinished.write_text(judgement.to_json())
            unfinished.replace(folders.verdicts)  # others wait for the file, and find it whole
        if judgement and once:
            break
        try:
            await asyncio.wait_for(stop.wait(), POLL_SECONDS)
        except TimeoutError:
            pass
    copies.update()
    over = "the verdicts are in" if judgement and judgement.verdicts else "there will be no verdicts"
    log.report(PartStopped(over if judgement else "told to stop before the verdicts were in"))
    log.close()
    run.update()
    return judgement or JudgedRun(run).judgement


def _look_inside(folders: Folders, log: EventLog) -> None:
    """Reports what the interceptor's clients sent, decrypted with keys that the attacker does not have."""
    key_logs = {client: folders.part(client) / KEY_LOG_FILE for client in (CAREFUL_CLIENT, CARELESS_CLIENT)}
    for handshake in decrypted_handshakes(folders.part(INTERCEPTOR) / INTERCEPTION_FILE, key_logs):
        log.report(handshake)


def _read_logins(folders: Folders, log: EventLog) -> None:
    """Reports alice's logins message by message, decrypted with her own keys."""
    for login in decrypted_logins(folders.capture, folders.part(VICTIM_CLIENT) / KEY_LOG_FILE):
        log.report(login)


class Copies:
    """Copies of the parts' files, kept up to date. The files only grow, so only new bytes are copied.

    A part's events come last: what they speak of is there by then.
    """

    def __init__(self, parts: Path, folders: Folders) -> None:
        self._parts = parts
        self._folders = folders

    def update(self) -> None:
        """Copies the new bytes."""
        for part in sorted(self._parts.iterdir()):
            source = part / self._folders.path.name
            files = (path for path in source.rglob("*") if path.is_file())
            for path in sorted(files, key=lambda path: (path.name == FILE_NAME, path)):
                self._copy(path, self._folders.part(part.name) / path.relative_to(source))

    def _copy(self, source: Path, target: Path) -> None:
        done = target.stat().st_size if target.exists() else 0
        if source.stat().st_size <= done:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as reading, target.open("ab") as writing:
            reading.seek(done)
            while chunk := reading.read(CHUNK):
                writing.write(chunk)


def _check_container() -> None:
    """These services own their folders only in the lab's containers; elsewhere they refuse to run."""
    try:
        marker = MARKER.lstat()
    except OSError:
        marker = None
    if not marker or not stat.S_ISREG(marker.st_mode) or marker.st_uid != 0:
        raise RunError("`certreplay classroom` is for the containers in compose.yaml; call `docker compose up`")


def _run_name() -> str:
    return files.read(PUBLIC / RUN_NAME_FILE).decode().strip()


def _still_good() -> bool:
    """Whether alice's bundles exist and are valid for another day, all that the server needs is there, and what the
    bank keeps of its customers: copies of their bundles, and an answer to each request."""
    try:
        for kind in CertificateKind:
            _bundle(kind, datetime.now(UTC) + GOOD_FOR)
    except (OSError, BundleError):
        return False
    needed = (KEYS / "server" / pki.SERVER_RSA_PEM, KEYS / "archive" / pki.ARCHIVE)
    return all(file.exists() for file in needed) and (not REQUESTS.exists() or pki.is_answered(REQUESTS))


def _bundle_file(kind: CertificateKind) -> Path:
    return KEYS / "client" / f"{pki.BUNDLES[kind]}.pem"


def _bundle(kind: CertificateKind, when: datetime) -> Bundle:
    """One of alice's bundles; BundleError if it is not valid then, OSError if it cannot be read."""
    path = _bundle_file(kind)
    return parse_bundle(files.read(path), None, str(path), when)
