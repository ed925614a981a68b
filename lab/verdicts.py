"""The judge: from a run's events to its verdicts.

A verdict says what a scheme did with a move, beside what theory expects of it. What is expected follows from two
tables alone, the schemes' and the moves', and was settled before the run. Every verdict is framed by controls that must
succeed: alice herself, and the same replay code with the real key. Where one fails there are no verdicts, but errors.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from attacker.moves import MOVES, Move
from attacker.replay import ACCEPTED, INCONCLUSIVE, REFUSED
from lab.events import (
    BundleIssued,
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    GatewayListening,
    LoggedIn,
    LoginFailed,
    MoveTried,
)
from lab.run import Run
from lab.tls.alerts import alert_name
from victim_server.schemes import Scheme, find_scheme

VERSION = 1
CLIENT = "client"
STOLEN_KEY = "stolen-key"


@dataclass(frozen=True)
class Captured:
    """The certificate that the verdicts are about."""

    subject: str
    sha256: str
    tls: str
    source: str


@dataclass(frozen=True)
class Control:
    """A run that must succeed, or the verdicts of its scheme mean nothing."""

    scheme: str
    tls: str
    control: str
    outcome: str


@dataclass(frozen=True)
class SentAlert:
    """An alert: its name and number, and whether client or server sent it."""

    name: str
    number: int
    sent_by: str | None


@dataclass(frozen=True)
class HttpAnswer:
    """The bank's answer."""

    status: int
    body: str | None


@dataclass(frozen=True)
class Evidence:
    """What an attempt sent and what came back. `reason` is the gateway's own; `ms` from connect to verdict."""

    alert: SentAlert | None
    http: HttpAnswer | None
    reason: str
    ms: float
    stolen: int
    sent: tuple[str, ...]
    received: tuple[str, ...]
    refused_by: str
    expected_alert: SentAlert | None


@dataclass(frozen=True)
class Verdict:
    """What a scheme did with a move."""

    scheme: str
    tls: str
    move: str
    expected: str
    outcome: str
    evidence: Evidence

    @property
    def as_expected(self) -> bool:
        """The outcome is the expected one, and a refusal came with the alert that the RFC gives for it."""
        alert, due = self.evidence.alert, self.evidence.expected_alert
        right_reason = due is None or (alert is not None and alert.number == due.number)
        return self.outcome == self.expected and right_reason


@dataclass(frozen=True)
class Judgement:
    """A run's outcome. `errors` is empty unless a control failed; then there are no verdicts."""

    run: str
    capture: Captured
    controls: tuple[Control, ...]
    verdicts: tuple[Verdict, ...]
    errors: tuple[str, ...] = ()

    @property
    def as_expected(self) -> bool:
        return not self.errors and all(verdict.as_expected for verdict in self.verdicts)

    def to_json(self) -> str:
        """The content of verdicts.json."""
        fields: dict[str, Any] = {"version": VERSION, **dataclasses.asdict(self), "as_expected": self.as_expected}
        if not self.errors:
            del fields["errors"]
        return json.dumps(fields, indent=2) + "\n"


def expected_outcome(scheme: Scheme, move: Move) -> str:
    """What theory expects, from the scheme's declared check alone: no move has the key that a proof takes."""
    return REFUSED if scheme.checks_proof else ACCEPTED


def judge(run: Run) -> Judgement | None:
    """The run's outcome; None as long as something that belongs to it hasn't happened yet."""
    return None if missing(run) else _judgement(run, ())


def judge_unfinished(run: Run) -> Judgement:
    """The outcome of a run that will not go on: errors, and no verdicts, for what is missing."""
    return _judgement(run, tuple(missing(run)))


def missing(run: Run) -> list[str]:
    """What this run still lacks for its verdicts, a sentence each, with the last thing that was heard of it."""
    lacking: list[str] = []
    if not captured(run):
        lacking.append("no client certificate was captured together with its proof")
    schemes = gateway_schemes(run).values()
    if not schemes:
        lacking.append("no gateway is listening")
    for scheme in schemes:
        lacking += missing_controls(run, scheme)
        lacking += missing_verdicts(run, scheme)
    return lacking


def missing_controls(run: Run, scheme: Scheme) -> list[str]:
    """What keeps this scheme's controls from having succeeded."""
    lacking: list[str] = []
    if not any(login.scheme == scheme.id for login in run.all(LoggedIn)):
        failures = [failure.reason for failure in run.all(LoginFailed) if failure.scheme == scheme.id]
        lacking.append(f"control {CLIENT} at {scheme.id}: alice did not log in{_because(failures)}")
    control = next((tried for tried in attempts(run, scheme) if tried.move == STOLEN_KEY), None)
    if control is None or control.outcome != ACCEPTED:
        why = "it was not run" if control is None else _what_came_back(control)
        lacking.append(f"control {STOLEN_KEY} at {scheme.id}: the real key did not get in: {why}")
    return lacking


def missing_verdicts(run: Run, scheme: Scheme) -> list[str]:
    """What keeps this scheme's moves from having verdicts."""
    lacking: list[str] = []
    tried = {attempt.move: attempt for attempt in attempts(run, scheme)}
    for move in MOVES:
        attempt = tried.get(move.id)
        if attempt is None:
            lacking.append(f"{move.id} at {scheme.id}: not tried")
        elif attempt.outcome == INCONCLUSIVE:
            lacking.append(f"{move.id} at {scheme.id}: neither accepted nor refused: {attempt.error}")
        elif not _gateways_word(run, scheme, attempt):
            lacking.append(f"{move.id} at {scheme.id}: the gateway has not said what it did")
    return lacking


def tried_everywhere(run: Run, ports: Iterable[int]) -> bool:
    """Whether the attacker has tried every move at the gateways on these ports, and there are any."""
    moves = {move.id for move in MOVES}
    tried = {(_port(attempt), attempt.move) for attempt in run.all(MoveTried)}
    return all((port, move) in tried for port in ports for move in moves)


def _judgement(run: Run, errors: tuple[str, ...]) -> Judgement:
    seen = captured(run)
    capture = Captured(seen.subject, seen.sha256, seen.tls, seen.source) if seen else None
    return Judgement(
        run.name,
        capture or Captured("", "", "", ""),
        tuple(_controls(run)),
        () if errors else tuple(v for scheme in gateway_schemes(run).values() for v in scheme_verdicts(run, scheme)),
        errors,
    )


def _controls(run: Run) -> Iterator[Control]:
    for scheme in gateway_schemes(run).values():
        for login in run.all(LoggedIn):
            if login.scheme == scheme.id:
                yield Control(scheme.id, login.tls, CLIENT, ACCEPTED)
                break
        for attempt in attempts(run, scheme):
            if attempt.move == STOLEN_KEY:
                yield Control(scheme.id, attempt.tls, STOLEN_KEY, attempt.outcome)


def scheme_verdicts(run: Run, scheme: Scheme) -> Iterator[Verdict]:
    """The verdicts on all moves at one scheme; all of them must have been tried."""
    tried = {attempt.move: attempt for attempt in attempts(run, scheme)}
    for move in MOVES:
        attempt = tried[move.id]
        expected = expected_outcome(scheme, move)
        evidence = _evidence(run, scheme, move, attempt, expected)
        yield Verdict(scheme.id, attempt.tls, move.id, expected, attempt.outcome, evidence)


def _evidence(run: Run, scheme: Scheme, move: Move, attempt: MoveTried, expected: str) -> Evidence:
    due = SentAlert(move.alert.label, move.alert, "server") if expected == REFUSED else None
    return Evidence(
        alert=None if attempt.alert is None else SentAlert(alert_name(attempt.alert), attempt.alert, attempt.alert_by),
        http=None if attempt.status is None else HttpAnswer(attempt.status, attempt.body),
        reason=_gateways_word(run, scheme, attempt),
        ms=attempt.milliseconds,
        stolen=attempt.stolen,
        sent=attempt.sent,
        received=attempt.received,
        refused_by=move.refused_by,
        expected_alert=due,
    )


def captured(run: Run) -> CertificateCaptured | None:
    """The certificate that the attacker worked with: the first one that came with its proof."""
    issued = {bundle.sha256 for bundle in run.all(BundleIssued)}
    return next((c for c in run.all(CertificateCaptured) if c.proof and (c.sha256 in issued or not issued)), None)


def gateway_schemes(run: Run) -> dict[int, Scheme]:
    """The schemes that were there to be tried, by port."""
    return {gateway.port: find_scheme(gateway.scheme) for gateway in run.all(GatewayListening)}


def attempts(run: Run, scheme: Scheme) -> Iterator[MoveTried]:
    """The attempts at one scheme's gateway; a gateway is known by its port, its host has several names."""
    ports = {port for port, known in gateway_schemes(run).items() if known.id == scheme.id}
    return (attempt for attempt in run.all(MoveTried) if _port(attempt) in ports)


def _gateways_word(run: Run, scheme: Scheme, attempt: MoveTried) -> str:
    """What the gateway itself reported of this very connection; empty as long as it hasn't."""
    for refused in run.all(ClientRefused):
        if refused.scheme == scheme.id and refused.peer == attempt.local:
            return refused.reason
    for accepted in run.all(ClientAuthenticated):
        if accepted.scheme == scheme.id and accepted.peer == attempt.local:
            return f"took the client for {accepted.subject}; proof: {accepted.proof}"
    return ""


def _because(reasons: list[str]) -> str:
    return f": {reasons[-1]}" if reasons else ""


def _what_came_back(attempt: MoveTried) -> str:
    if attempt.alert is not None:
        return f"alert {alert_name(attempt.alert)} ({attempt.alert})"
    return attempt.error or f"HTTP {attempt.status}"


def _port(attempt: MoveTried) -> int:
    return int(attempt.server.rpartition(":")[2])
