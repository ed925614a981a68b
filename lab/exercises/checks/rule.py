"""Exercise 10: a rule that fires on attacks and not on alice, tried on a run that the student has not seen."""

import json
import secrets
import shutil
import subprocess
from pathlib import Path

from lab import files
from lab.catalogue.outcomes import REFUSED
from lab.catalogue.plan import full_matrix
from lab.events.parts import CAPTURE_FILE, KEY_LOG_FILE
from lab.events.types import ClientAuthenticated, LoggedIn, MoveTried
from lab.exercises.exercise import Checked, ExerciseError
from lab.exercises.trial import trial
from lab.guest.loading import GuestError
from lab.judging.verdicts import JudgedRun
from lab.ports import Hosts, own_hosts

WHY = (
    "Each refusal shows at the server, whatever the move was: the handshake ends by a fatal alert, and alice's never "
    "do. So a rule needs to know no attack, only what a login looks like."
)
UNSEEN = (
    *("no-certificate", "relabelled-proof", "flipped-proof", "empty-proof", "zero-proof"),
    *("look-alike", "stolen-leaf-first", "early-proof", "early-finished", "second-certificate"),
)
"""Moves that are not in a demo."""
SECONDS = 60.0
LONGEST_RULE = 4096


def check(file: Path) -> Checked:
    """GuestError, with file and line, where the program cannot read the rule; ExerciseError where it is missing."""
    number, program, rule = _rule(file)
    if shutil.which(program) is None:
        raise ExerciseError(f"{program} is not installed: install it (Debian: apt-get install {program})")
    plan = full_matrix(gateways=("mtls@openssl", "mtls@instrument", "pinned-mtls@instrument"), moves=UNSEEN)
    hosts = _strange_hosts()
    with trial(plan, hosts=hosts) as judged:
        if not judged.judgement.as_expected:
            raise ExerciseError("the run to try the rule on did not go as it must: try again")
        return _judged(judged, fires_on(judged.run.folders.part("victim-server"), file, number, program, rule))


def _rule(file: Path) -> tuple[int, str, str]:
    """The number of the rule's line, its program, and the rule."""
    try:
        lines = files.read(file).decode().splitlines()
    except UnicodeDecodeError:
        raise GuestError(f"{file}: is no text") from None
    found = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()[:1] not in ("", "#")]
    if len(found) != 1:
        raise GuestError(f"{file}: holds {len(found)} rules; write one line, `tshark FILTER` or `jq PROGRAM`")
    ((number, line),) = found
    program, _, rule = line.partition(" ")
    if program not in ("tshark", "jq") or not rule.strip() or len(line) > LONGEST_RULE:
        raise GuestError(f"{file}, line {number}: the rule is `tshark FILTER` or `jq PROGRAM`, and this is neither")
    return number, program, rule.strip()


def _strange_hosts() -> Hosts:
    """Other addresses than in any run that the student has seen, where a machine has more than one."""
    if own_hosts() == Hosts():
        return Hosts()
    alice, mallory = secrets.SystemRandom().sample(range(10, 250), 2)
    return Hosts(f"127.0.1.{alice}", f"127.0.1.{mallory}")


def fires_on(folder: Path, file: Path, number: int, program: str, rule: str) -> set[str]:
    """The clients' ends, host:port, of the connections on which the rule fires."""
    if program == "jq":
        said = _said(file, number, ["jq", "-c", rule, str(folder / "events.jsonl")])
        return {_peer(line, file, number) for line in said.splitlines() if line.strip()}
    capture, keys = folder / CAPTURE_FILE, folder / KEY_LOG_FILE
    fields = [word for name in ("ip.src", "tcp.srcport", "ip.dst", "tcp.dstport") for word in ("-e", name)]
    call = ["tshark", "-r", str(capture), "-o", f"tls.keylog_file:{keys}", "-Y", rule, "-T", "fields", *fields]
    rows = [line.split("\t") for line in _said(file, number, call).splitlines()]
    return {f"{row[at]}:{row[at + 1]}" for row in rows if len(row) == 4 for at in (0, 2)}


def _said(file: Path, number: int, call: list[str]) -> str:
    """What the program prints."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(  # noqa: S603 - tshark and jq, without a shell
            call, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise GuestError(f"{file}, line {number}: {call[0]} does not come to an end within {SECONDS:g} s") from None
    if done.returncode:
        lines = [
            line.removeprefix(f"{call[0]}: ") for line in done.stderr.splitlines() if "Running as user" not in line
        ]
        raise GuestError(f"{file}, line {number}: {call[0]} says: {' '.join(lines).strip()}")
    return done.stdout


def _peer(line: str, file: Path, number: int) -> str:
    try:
        return str(json.loads(line)["peer"])
    except (ValueError, LookupError, TypeError):
        what = "print the events that the rule fires on, whole, as `select(...)` does"
        raise GuestError(f"{file}, line {number}: this prints what is no event with a client: {what}") from None


def _judged(judged: JudgedRun, fires: set[str]) -> Checked:
    attacks = {one.local: one.move for one in judged.run.all(MoveTried) if one.leak and one.outcome == REFUSED}
    logins = _logins(judged)
    if not (attacks and logins):
        raise ExerciseError("the run to try the rule on has no attacks or no logins: try again")
    false, missed = fires & logins, [move for local, move in attacks.items() if local not in fires]
    if false and not missed:
        return Checked(
            False,
            f"It fires on all {len(attacks)} attempts, and on {len(false)} of alice's {len(logins)} connections: a "
            "rule that accuses customers is soon turned off. What does alice never see?",
        )
    if false:
        return Checked(False, f"It fires on {len(false)} of alice's {len(logins)} connections. Look at one of hers.")
    if len(missed) == len(attacks):
        return Checked(
            False,
            f"It fires on none of the {len(attacks)} attempts. Addresses and ports are others in each run: a rule must "
            "look at what mallory does, not at where she is.",
        )
    if missed:
        moves = ", ".join(dict.fromkeys(missed))
        return Checked(
            False,
            f"It misses {len(missed)} of {len(attacks)} attempts, of the moves {moves}. What do all refusals have in "
            "common, in both versions?",
        )
    return Checked(
        True,
        f"{WHY} Yours fired on all {len(attacks)} attempts of {len(set(attacks.values()))} moves, none of them in a "
        f"demo, and on none of alice's {len(logins)} connections.",
    )


def _logins(judged: JudgedRun) -> set[str]:
    """Alice's ends of her connections, as the gateways report them."""
    hers = {one.connection for one in judged.run.all(LoggedIn)}
    return {one.peer for one in judged.run.all(ClientAuthenticated) if one.connection in hers}
