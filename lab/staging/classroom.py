"""The classroom lab: what the lab does in the containers of `docker compose up`.

Six services: `check` looks whether all can begin, `authority` issues the bundles and names the run, `request` makes a
key of alice's own and asks for a certificate for it, `control` gets alice's key and runs what needs it, `follow`
watches all parts, keeps the run on the host and judges it, `page` shows that in a browser. Each part writes to a volume
of its own, in a folder named after the run; `follow` copies these together into one run directory.
"""

import asyncio
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path

from cryptography import x509

from attacker.attempts import Destination
from lab import files
from lab.capture.decrypt import decrypted_handshakes, decrypted_logins
from lab.capture.errors import CaptureFileError
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
from lab.catalogue.plan import KeyType, Plan, short_story
from lab.catalogue.students import check_student
from lab.events.log import FILE_NAME, EventLog
from lab.events.parts import INTERCEPTION_FILE, KEY_LOG_FILE
from lab.events.run import Folders, Run, RunError, make_run_folder, new_run_name
from lab.events.types import (
    CLASSROOM,
    DONE,
    CaptureSearched,
    HandshakeDecrypted,
    LoginDecrypted,
    PartStopped,
    PositionLeft,
    Trouble,
)
from lab.judging.facts import run_started, student_in, tried_everywhere
from lab.judging.judgement import Judgement
from lab.judging.verdicts import JudgedRun, judge
from lab.printable import printable, say
from lab.scope import write_scope
from lab.staging import control, pki
from lab.staging.control import ControlTarget
from lab.staging.copies import Caps, Copies
from lab.staging.ended import EndedParts
from lab.staging.patience import out_of_time, slowness
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

PREFIX = len("victim-server-1  | ")
"""How many columns `docker compose up` puts before each line: the longest name that it shows, and what it adds."""

ISSUED: Mapping[str, tuple[str, ...]] = {
    "server": (pki.SERVER_PEM, pki.SERVER_RSA_PEM, pki.REGISTER),
    "client": pki.CLIENT_FILES,
    "shop": (pki.SHOP_PEM,),
    "archive": (pki.ARCHIVE,),
}
"""What the authority issues into the folders for keys: each is a volume that can get lost without the others."""
CONTROL_CAPS = Caps(events=4 << 20, file=8 << 20, part=12 << 20)
"""The control keeps its copies in a small file system in memory."""

RUN_NAME_FILE = "run"
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""RFC 1918 section 3."""
SMALLEST_PREFIX = 28
"""Of a network that has a host for each service: 13 addresses. With every leak there is one more; then take a /27."""
HOSTS = (VICTIM_SERVER, VICTIM_CLIENT, CAREFUL_CLIENT, CARELESS_CLIENT)
"""The hosts that the attacker may go to."""
RUN_SECONDS = 120.0
POLL_SECONDS = 0.1
LATER_POLL_SECONDS = 5.0
"""Once there are verdicts nobody waits for more."""
GOOD_FOR = timedelta(days=1)

FollowWatcher = Callable[[Run, Judgement | None], None]


def check(subnet: str, runs: str, student: str) -> None:
    """Refuses, by RunError, a subnet that cannot serve the lab, and a folder for the runs that cannot be written;
    by StudentError a student's name that cannot be one.

    They are what CERTREPLAY_SUBNET, CERTREPLAY_RUNS and CERTREPLAY_STUDENT say; without a subnet the engine chooses
    one.
    """
    _check_container()
    if student:
        check_student(student)
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


def start_run(plan: Plan, project: str) -> None:
    """Names the run and issues everything, unless an earlier run's bundles are still valid.

    While a part of an earlier run lives, that run goes on: each holds a shared lock on the file with the run's name.
    """
    _check_container()
    with (PUBLIC / RUN_NAME_FILE).open("a") as named:
        try:
            fcntl.flock(named, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"the run {_run_name()} goes on: parts of it are running")
            return
        _issue(plan)
        name = new_run_name()
        log = EventLog(DATA / name, AUTHORITY)
        log.report(run_started(CLASSROOM, name, plan, project))
        for kind in plan.kinds:
            log.report(pki.issued_event(KEYS / "client", pki.BUNDLES[kind]))
        if REQUESTS.exists():
            log.report(pki.answered_event(REQUESTS))
        log.report(PartStopped(DONE))
        log.close()
        write_scope(HOSTS)
        named.truncate(0)
        named.write(f"{name}\n")


def _issue(plan: Plan) -> None:
    """Issues everything anew if anything is missing, not valid for another day, or another student's: it belongs
    together."""
    if _still_good(plan.student):
        return
    server, client, shop, archive = (KEYS / name for name in ISSUED)
    for path in (path for folder in (server, client, shop, archive) for path in folder.iterdir()):
        path.unlink()
    (PUBLIC / pki.CA_FILE).unlink(missing_ok=True)
    issued = pki.issue(
        *(PUBLIC, server, client, plan.key_type),
        shop=shop,
        archive=archive,
        rsa_transport=True,
        student=plan.student,
    )
    if REQUESTS.exists():
        pki.answer(issued.authority, REQUESTS, plan.student)


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
    name = _run_name()
    with tempfile.TemporaryDirectory() as seen:
        attacks = Run(Path(seen) / name)
        copies = Copies(PARTS, name, attacks.folders.path, (ATTACKER,), CONTROL_CAPS)
        left_out = await _attacked(attacks, copies, [one.address.port for one in gateways])
        bundles = {kind: _bundle(kind, datetime.now(UTC)) for kind in short_story().kinds}
        log = EventLog(DATA / name, CONTROL)
        for what in left_out:
            log.report(Trouble(what))
        targets = (ControlTarget(one.address, TLS12, bundles[one.takes]) for one in gateways)
        for tried in await control.try_stolen_key(targets):
            log.report(tried)
        copies.update()
        if attacks.folders.capture.exists():
            with _whatever_she_wrote(log):
                log.report(control.search_capture(attacks.folders.capture, *map(_bundle_file, bundles)))
        log.report(PartStopped(DONE))
        log.close()


async def _attacked(attacks: Run, copies: Copies, ports: list[int]) -> list[str]:
    """Returns once everything has been tried at these ports or the time is up; then the judge says what is missing.
    What was left out of the copies is returned."""
    now = asyncio.get_running_loop().time
    deadline = now() + RUN_SECONDS / 2 * slowness()
    left_out = copies.update()
    while not tried_everywhere(attacks, ports) and now() < deadline:
        attacks.update()
        await asyncio.sleep(POLL_SECONDS)
        left_out += copies.update()
    return left_out


async def follow(stop: asyncio.Event, once: bool, watch: FollowWatcher) -> Judgement:
    """Copies, watches and judges the run until told to stop, or with `once` until there is a judgement.

    It can be started again at any time, and goes on with the same run.
    """
    _check_container()
    in_run = os.open(PUBLIC / RUN_NAME_FILE, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(in_run, fcntl.LOCK_SH)  # until the process ends
    name = _run_name()
    folders = make_run_folder(RUNS, name, lambda folders: _has_begun(name, folders), "CERTREPLAY_RUNS")
    copies = Copies(PARTS, name, folders.path)
    left_out = copies.update()
    log = EventLog(folders.part(LAB), LAB)
    run = Run(folders.path)
    ended = EndedParts(run, copies)
    judgement: Judgement | None = None
    looked_inside = read_logins = written = False
    now, most = asyncio.get_running_loop().time, RUN_SECONDS * slowness()
    deadline = now() + most

    def tell(what: str) -> None:
        log.report(Trouble(what))
        say(f"certreplay: {printable(what)}", error=True)

    while not stop.is_set():
        for what in (*left_out, *copies.update()):
            tell(what)
        left_out = []
        if judgement is None and run.update():
            if not looked_inside and any(left.kind == INTERCEPTION.id for left in run.all(PositionLeft)):
                copies.update()  # its capture was complete before it reported that it left
                with _whatever_she_wrote(log):
                    _look_inside(run, log)
                looked_inside = True
                run.update()
            if not read_logins and run.first(CaptureSearched):  # alice has logged in everywhere by now
                copies.update()
                with _whatever_she_wrote(log):
                    _read_logins(run, log)
                read_logins = True
                run.update()
            judgement = judge(run)
        if judgement is None and (ended.update() or now() > deadline):
            for what in ended.told():
                tell(what)
            if now() > deadline:
                tell(out_of_time(most))
            run.update()
            judgement = JudgedRun(run).judgement
        if not written:
            watch(run, judgement)
        if judgement and not written:
            unfinished = folders.verdicts.with_suffix(".part")
            unfinished.write_text(judgement.to_json())
            unfinished.replace(folders.verdicts)  # others wait for the file, and find it whole
            written = True
        if judgement and once:
            break
        try:
            await asyncio.wait_for(stop.wait(), POLL_SECONDS if judgement is None else LATER_POLL_SECONDS)
        except TimeoutError:
            pass
    copies.update()
    if judgement is None:
        for what in ended.told(killed=True):
            tell(what)
    over = "the verdicts are in" if judgement and judgement.verdicts else "there will be no verdicts"
    log.report(PartStopped(over if judgement else "told to stop before the verdicts were in"))
    log.close()
    run.update()
    return judgement or JudgedRun(run).judgement


def run_to_show() -> Path | None:
    """The folder of the run that goes on; None as long as there is none, or none that may be read."""
    folder = RUNS / _run_name()
    return folder if os.access(folder, os.R_OK | os.X_OK) else None


def why_not_shown() -> str:
    """What keeps the page from reading the runs, and what to do; empty if nothing does."""
    _check_container()
    if os.access(RUNS, os.R_OK | os.X_OK):
        return ""
    return "the page cannot read the folder for the runs, as only its owner may; with `chmod go+rx` it can"


@contextmanager
def _whatever_she_wrote(log: EventLog) -> Iterator[None]:
    """Mallory's capture may be no capture, or missing; that is reported, and the lab goes on."""
    try:
        yield
    except (CaptureFileError, OSError) as error:
        log.report(Trouble(str(error)))
        say(f"certreplay: {printable(str(error))}", error=True)


def _has_begun(name: str, folders: Folders) -> bool:
    """Whether a run directory is this run's, and not that of another lab's run of the same name: it has what our
    authority reported, which names certificates that nobody else has."""
    try:
        theirs = (folders.part(AUTHORITY) / FILE_NAME).read_bytes()
        return bool(theirs) and (PARTS / AUTHORITY / name / FILE_NAME).read_bytes().startswith(theirs)
    except OSError:
        return False


def _look_inside(run: Run, log: EventLog) -> None:
    """Reports what the interceptor's clients sent, decrypted with keys that the attacker does not have."""
    folders, known = run.folders, {(one.client, one.server) for one in run.all(HandshakeDecrypted)}
    key_logs = {client: folders.part(client) / KEY_LOG_FILE for client in (CAREFUL_CLIENT, CARELESS_CLIENT)}
    for handshake in decrypted_handshakes(folders.part(INTERCEPTOR) / INTERCEPTION_FILE, key_logs):
        if (handshake.client, handshake.server) not in known:
            log.report(handshake)


def _read_logins(run: Run, log: EventLog) -> None:
    """Reports alice's logins message by message, decrypted with her own keys."""
    folders, known = run.folders, {(one.client, one.server) for one in run.all(LoginDecrypted)}
    for login in decrypted_logins(folders.capture, folders.part(VICTIM_CLIENT) / KEY_LOG_FILE):
        if (login.client, login.server) not in known:
            log.report(login)


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


def _still_good(student: str) -> bool:
    """Whether all that was issued is there, and alice's bundles are this student's and valid for another day; and
    whether the bank has answered her request, if there is one."""
    try:
        for kind in CertificateKind:
            bundle = _bundle(kind, datetime.now(UTC) + GOOD_FOR)
            if student_in(x509.load_der_x509_certificate(bundle.chain[0])) != student:
                return False
    except (OSError, BundleError):
        return False
    files = (KEYS / folder / name for folder, names in ISSUED.items() for name in names)
    there = all(file.exists() for file in (PUBLIC / pki.CA_FILE, *files))
    return there and (not REQUESTS.exists() or pki.is_answered(REQUESTS))


def _bundle_file(kind: CertificateKind) -> Path:
    return KEYS / "client" / f"{pki.BUNDLES[kind]}.pem"


def _bundle(kind: CertificateKind, when: datetime) -> Bundle:
    """One of alice's bundles; BundleError if it is not valid then, OSError if it cannot be read."""
    path = _bundle_file(kind)
    return parse_bundle(files.read(path), None, str(path), when)
