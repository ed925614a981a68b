"""The judge: from a run's events to its verdicts.

A verdict says what a scheme did with a move, beside what theory expects of it (`lab.judging.expectations`). Every
verdict is framed by controls that must succeed: alice herself, and the same replay code with the real key. Where one
fails there are no verdicts, but errors.
"""

from collections.abc import Iterator

from lab.catalogue.leaks import INTERCEPTION, LIVE_RELAY, ROGUE_SERVER, WIRE, find_leak
from lab.catalogue.moves import MOVES, STOLEN_KEY, Move
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED
from lab.catalogue.plan import Plan
from lab.catalogue.schemes import Scheme
from lab.events.run import Run
from lab.events.types import (
    CaptureSearched,
    CertificateCaptured,
    ClientRefused,
    LoggedIn,
    LoginFailed,
    MoveTried,
    Trouble,
)
from lab.judging.attempts import Docket, captured, has_seen_tls13
from lab.judging.expectations import Expectation, expectation
from lab.judging.gateway_reports import in_words
from lab.judging.judgement import CLIENT, Captured, Control, Evidence, HttpAnswer, Judgement, Sent, SentAlert, Verdict
from lab.judging.proof_comparison import ProofReason, presented, proof_reason
from lab.judging.relays import missing_relays, relay_verdicts
from lab.tls.alerts import alert_name


def judge(run: Run) -> Judgement | None:
    """The run's outcome; None as long as something that belongs to it hasn't happened yet."""
    docket = Docket(run)
    return None if missing(docket) else _judgement(docket, ())


def judge_unfinished(run: Run) -> Judgement:
    """The outcome of a run that will not go on: errors, and no verdicts, for what is missing."""
    docket = Docket(run)
    return _judgement(docket, tuple(missing(docket)))


def missing(docket: Docket) -> list[str]:
    """What this run still lacks for its verdicts, a sentence each, with the last thing that was heard of it."""
    lacking: list[str] = []
    for leak in docket.plan.leaks:
        if not captured(docket.run, leak):
            what = "captured together with its proof" if leak == WIRE.id else f"had by the leak {leak}"
            failures = _failures_elsewhere(docket) if leak == ROGUE_SERVER.id else []
            if leak == INTERCEPTION.id:
                failures = [trouble.what for trouble in docket.run.all(Trouble)]
            lacking.append(f"no client certificate was {what}{_because(failures)}")
    if WIRE.id in docket.plan.leaks and not has_seen_tls13(docket.run):
        lacking.append("alice's login over TLS 1.3 was not seen")
    if WIRE.id in docket.plan.leaks:
        lacking += _missing_search(docket.run)
    listening = {scheme.id for scheme in docket.schemes.values()}
    if not listening:
        lacking.append("no gateway is listening")
    for scheme, version in docket.plan.doors():
        if scheme.id in listening:
            lacking += missing_controls(docket, scheme, version)
            for leak in docket.plan.leaks:
                lacking += missing_verdicts(docket, leak, scheme, version)
            if LIVE_RELAY.id in docket.plan.leaks:
                lacking += missing_relays(docket.run, scheme, version)
        elif listening:
            lacking.append(f"the gateway of {scheme.id} is not listening")
    return lacking


def _missing_search(run: Run) -> list[str]:
    """What keeps the search of the capture from saying that alice's key never was on the wire."""
    searched = run.first(CaptureSearched)
    if not searched:
        return ["the capture was not searched for alice's key"]
    if not searched.certificate_at:
        return ["the search of the capture does not even find alice's certificate, which was there"]
    return [f"alice's key was on the wire: {'; '.join(searched.key_at)}"] if searched.key_at else []


def _failures_elsewhere(docket: Docket) -> list[str]:
    """Why alice did not get in at a server that is none of the bank's."""
    schemes = {scheme.id for scheme in docket.schemes.values()}
    return [
        f"{failure.url}: {failure.reason}" for failure in docket.run.all(LoginFailed) if failure.scheme not in schemes
    ]


def missing_controls(docket: Docket, scheme: Scheme, version: str) -> list[str]:
    """What keeps this door's controls from having succeeded."""
    lacking: list[str] = []
    door = f"{scheme.id}, TLS {version}"
    if not any((login.scheme, login.tls) == (scheme.id, version) for login in docket.run.all(LoggedIn)):
        failures = [
            failure.reason
            for failure in docket.run.all(LoginFailed)
            if (failure.scheme, failure.tls) == (scheme.id, version)
        ]
        lacking.append(f"control {CLIENT} at {door}: alice did not log in{_because(failures)}")
    control = next(iter(docket.controls(scheme, version)), None)
    if control is None or control.outcome != ACCEPTED:
        why = "it was not run" if control is None else _what_came_back(control)
        lacking.append(f"control {STOLEN_KEY} at {door}: the real key did not get in: {why}")
    return lacking


def missing_verdicts(docket: Docket, leak: str, scheme: Scheme, version: str) -> list[str]:
    """What keeps this door's moves from having verdicts."""
    lacking: list[str] = []
    if scheme.trusts not in find_leak(leak).certificates:
        return lacking
    door = f"{scheme.id}, TLS {version}" + (f", leak {leak}" if leak != WIRE.id else "")
    for move in planned_moves(docket.plan):
        if version not in move.fails:
            continue
        attempts = docket.attempts(leak, scheme, version, move.id)
        if len(attempts) < docket.plan.rounds:
            times = f" {docket.plan.rounds} times" if docket.plan.rounds > 1 else ""
            lacking.append(f"{move.id} at {door}: not tried{times}")
        for attempt in attempts:
            if attempt.outcome == NOT_APPLICABLE:
                continue
            if not docket.word(attempt):
                lacking.append(f"{move.id} at {door}: the gateway has not said what it did")
                break
            if docket.outcome(attempt) == INCONCLUSIVE:
                lacking.append(f"{move.id} at {door}: neither accepted nor refused: {attempt.error}")
                break
    return lacking


def planned_moves(plan: Plan) -> list[Move]:
    """The moves of a plan, in the table's order."""
    return [move for move in MOVES if move.id in plan.moves]


def _judgement(docket: Docket, errors: tuple[str, ...]) -> Judgement:
    seen = captured(docket.run, docket.plan.leaks[0])
    capture = Captured(seen.subject, seen.sha256, seen.tls, seen.source) if seen else None
    doors = ((leak, *door) for leak in docket.plan.leaks for door in docket.plan.doors())
    verdicts = () if errors else tuple(verdict for door in doors for verdict in door_verdicts(docket, *door))
    controls, relays = tuple(_controls(docket)), () if errors else relay_verdicts(docket.run)
    return Judgement(docket.run.name, capture or Captured("", "", "", ""), controls, verdicts, errors, relays)


def _controls(docket: Docket) -> Iterator[Control]:
    logins = {(login.scheme, login.tls) for login in docket.run.all(LoggedIn)}
    for scheme, version in docket.plan.doors():
        if (scheme.id, version) in logins:
            yield Control(scheme.id, version, CLIENT, ACCEPTED)
        for attempt in docket.controls(scheme, version)[:1]:
            yield Control(scheme.id, version, STOLEN_KEY, attempt.outcome)


def door_verdicts(docket: Docket, leak: str, scheme: Scheme, version: str) -> Iterator[Verdict]:
    """The verdicts on all planned moves at one door; all of them must have been tried."""
    for move in planned_moves(docket.plan):
        expected = expectation(scheme, version, move, find_leak(leak))
        attempts = docket.attempts(leak, scheme, version, move.id)
        if not attempts:  # there is no such thing here
            yield Verdict(leak, scheme.id, version, move.id, expected.outcome, NOT_APPLICABLE, _nothing(expected))
            continue
        deviating = [tried for tried in attempts if not _is_as_expected(docket, tried, expected)]
        shown = (deviating or attempts)[0]
        evidence = _evidence(docket, shown, expected, len(attempts), len(deviating))
        yield Verdict(leak, scheme.id, version, move.id, expected.outcome, docket.outcome(shown), evidence)


def _is_as_expected(docket: Docket, tried: MoveTried, expected: Expectation) -> bool:
    if docket.outcome(tried) != expected.outcome:
        return False
    if expected.outcome != REFUSED:
        return True
    alert, _ = _alert(docket, tried)
    if expected.alerts:
        return alert is not None and alert.sent_by == "server" and alert.number in expected.alerts
    return alert is None and tried.status in expected.statuses


def _alert(docket: Docket, tried: MoveTried) -> tuple[SentAlert | None, str | None]:
    """The alert that ended an attempt and who saw it; the gateway's own report where the attacker cannot read it."""
    word = docket.word(tried)
    if tried.alert is not None and tried.alert_by == "server":
        return SentAlert(alert_name(tried.alert), tried.alert, "server"), "attacker"
    if tried.status is None and isinstance(word, ClientRefused) and word.alert is not None:
        return SentAlert(alert_name(word.alert), word.alert, "server"), "gateway"
    if tried.alert is not None:
        return SentAlert(alert_name(tried.alert), tried.alert, tried.alert_by), "attacker"
    return None, None


def _evidence(docket: Docket, tried: MoveTried, expected: Expectation, attempts: int, deviations: int) -> Evidence:
    alert, seen_by = _alert(docket, tried)
    outcome = docket.outcome(tried)
    return Evidence(
        alert=alert,
        alert_seen_by=seen_by,
        http=None if tried.status is None else HttpAnswer(tried.status, tried.body),
        reason=in_words(docket.word(tried)) or tried.error or "",
        ms=tried.milliseconds,
        stolen=tried.stolen,
        messages=tuple(Sent(*step) for step in tried.steps),
        clause=expected.reason,
        expected_alerts=tuple(SentAlert(due.label, due, "server") for due in expected.alerts),
        expected_statuses=expected.statuses,
        proof=_proof(docket.run, tried) if outcome == REFUSED else None,
        attempts=attempts,
        deviations=deviations,
    )


def _nothing(expected: Expectation) -> Evidence:
    """The evidence of what cannot be tried."""
    return Evidence(None, None, None, expected.reason, 0.0, 0, (), expected.reason, (), (), None, 0, 0)


def _proof(run: Run, tried: MoveTried) -> ProofReason | None:
    """Held against the sight that the attempt was made of: of the same certificate, rather in the same version."""
    sights = [seen for seen in run.all(CertificateCaptured) if seen.proof and _is_of(seen, tried)]
    shown = presented(tried)
    seen = max(sights, key=lambda seen: (seen.sha256 in shown, seen.tls == tried.tls), default=None)
    return proof_reason(seen, tried) if seen else None


def _is_of(seen: CertificateCaptured, tried: MoveTried) -> bool:
    return (seen.leak, seen.server) == (tried.leak, tried.seen_at)


def _because(reasons: list[str]) -> str:
    return f": {reasons[-1]}" if reasons else ""


def _what_came_back(attempt: MoveTried) -> str:
    if attempt.alert is not None:
        return f"alert {alert_name(attempt.alert)} ({attempt.alert})"
    return attempt.error or f"HTTP {attempt.status}"
