"""What verdicts.json says, held against the events of the run; and what is said where something is missing."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from doctoring import doctored_run
from handmade import LISTENING, SEEN, STARTED, TRIED, run_of
from handmade import with_fields as changed
from lab.capture.key_forms import WORDS
from lab.catalogue.gateways import find_gateway
from lab.catalogue.leaks import find_leak
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED
from lab.catalogue.plan import short_story
from lab.events.log import Recorded
from lab.events.run import Run, open_run
from lab.events.types import (
    CaptureSearched,
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    Event,
    GatewayListening,
    LoggedIn,
    LoginFailed,
    MoneyMoved,
    MoveTried,
    PositionLeft,
    RunStarted,
    Trouble,
)
from lab.judging.attempts import NAMES_CONNECTIONS
from lab.judging.judgement import Judgement, Verdict
from lab.judging.verdicts import JudgedRun
from lab.tls.alerts import AlertDescription
from lab.tls.messages import CertificateVerify, serialize
from lab.tls.versions import TLS12, TLS13, Version

Change = Callable[[Any], Event | None]
Doctor = Callable[[Callable[[Event], Event | None]], Run]


@pytest.fixture(scope="module")
def run(finished_run: Path) -> Run:
    return open_run(finished_run)


@pytest.fixture(scope="module")
def judgement(run: Run) -> Judgement:
    return JudgedRun(run).judgement


@pytest.fixture
def doctored(finished_run: Path) -> Doctor:
    return partial(doctored_run, finished_run)


def judged(doctored: Doctor, **changes: Change) -> Judgement:
    """The judgement of the run with the events of some types changed; the types by their names."""

    def change(event: Event) -> Event | None:
        by_name = changes.get(type(event).__name__)
        return by_name(event) if by_name else event

    return JudgedRun(doctored(change)).judgement


def with_fields(**fields: object) -> Change:
    def change(event: Any) -> Event:
        changed: Event = dataclasses.replace(event, **fields)
        return changed

    return change


def drop(event: Event) -> None:
    return None


def test_the_head_of_the_verdicts_says_whose_run_it_is_and_what_was_captured(run: Run, judgement: Judgement) -> None:
    started = run.first(RunStarted)
    assert started
    assert (judgement.run, judgement.lab, judgement.student) == (started.run, started.lab, "")
    assert judgement.lab
    assert judgement.events == Counter(one.part for one in run.events)
    captured = {(one.subject, one.sha256, one.tls, one.source) for one in run.all(CertificateCaptured) if one.proof}
    seen = judgement.capture
    assert (seen.subject, seen.sha256, seen.tls, seen.source) in captured
    assert judgement.errors == judgement.contradictions == ()
    assert not judgement.relays


def test_the_controls_are_alices_login_and_her_key_at_each_gateway(judgement: Judgement) -> None:
    found = sorted((one.gateway, one.tls, one.control, one.outcome) for one in judgement.controls)
    gateways = short_story().gateways
    assert found == sorted((one, "1.2", control, ACCEPTED) for one in gateways for control in ("client", "stolen-key"))


def tried_in(run: Run) -> list[tuple[Verdict, MoveTried]]:
    by_number = {one.number: one.event for one in run.events}
    found = [(one, by_number[one.evidence.attempt]) for one in JudgedRun(run).judgement.verdicts]
    assert len(found) == 15
    return [(verdict, event) for verdict, event in found if isinstance(event, MoveTried)]


def test_a_verdicts_evidence_is_what_attacker_and_gateway_reported(run: Run) -> None:
    reports: dict[str, ClientAuthenticated | ClientRefused] = {}
    reports |= {one.connection: one for one in run.all(ClientAuthenticated)}
    reports |= {one.connection: one for one in run.all(ClientRefused)}
    for verdict, event in tried_in(run):
        told, report = verdict.evidence, reports[event.connection]
        assert (verdict.move, verdict.outcome, verdict.tls) == (event.move, event.outcome, event.tls)
        assert (told.attempts, told.deviations, told.unusual, told.note, told.whose) == (1, 0, 0, "", "")
        assert (told.ms, told.stolen, told.header) == (event.milliseconds, event.stolen, "")
        assert [(one.sender, one.name, one.hex) for one in told.messages] == list(event.steps)
        assert not told.began
        assert not told.expected_statuses
        if isinstance(report, ClientRefused):
            assert told.reason == report.reason
            assert told.http is None
            assert told.alert
            assert (told.alert.number, told.alert.sent_by, told.alert_seen_by) == (event.alert, "server", "attacker")
            assert (told.proof_seen, told.transfer) == ("", "")
        else:
            assert told.reason == f"authenticated the client as {report.subject}; proof: {report.proof}"
            assert told.http
            assert (told.http.status, told.http.body) == (event.status, event.body)
            assert (told.alert, told.alert_seen_by, told.proof_seen) == (None, None, report.proof)
            assert told.transfer == f"{event.stolen} moved from alice to mallory"


def test_a_proof_is_compared_where_it_decided_and_nowhere_else(run: Run) -> None:
    for verdict, event in tried_in(run):
        sent = any(name == "CertificateVerify" for sender, name, _ in event.steps if sender == "client")
        gateway = find_gateway(verdict.gateway)
        assert gateway
        decided = event.alert == AlertDescription.DECRYPT_ERROR or not gateway.scheme.checks_proof
        assert bool(verdict.evidence.proof) == (sent and decided)
        if verdict.evidence.proof:
            fits = verdict.evidence.proof.fits_captured, verdict.evidence.proof.fits_server
            assert fits == (verdict.move == "replay-proof", False)


def is_capture(event: Event, seen_at: str) -> bool:
    return isinstance(event, CertificateCaptured) and event.server == seen_at and event.proof is not None


def test_a_proof_is_not_compared_where_something_else_was_refused(doctored: Doctor) -> None:
    def change(event: Event) -> Event:
        if not isinstance(event, MoveTried | ClientRefused) or event.alert != AlertDescription.DECRYPT_ERROR:
            return event
        other: dict[str, Any] = {"alert": AlertDescription.UNKNOWN_CA}
        if isinstance(event, MoveTried):
            other["steps"] = (*event.steps[:-1], ("server", "alert unknown_ca", "0230"))
        return dataclasses.replace(event, **other)

    found = [one for one in JudgedRun(doctored(change)).judgement.verdicts if one.outcome == REFUSED]
    assert any(step.name == "CertificateVerify" for one in found for step in one.evidence.messages)
    assert not [one for one in found if one.evidence.proof]


def test_a_verdict_names_the_events_that_it_rests_on(run: Run) -> None:
    for verdict, event in tried_in(run):
        by = [one for one in run.events if getattr(one.event, "connection", "") == event.connection]
        attempt = [one.number for one in by if one.event == event]
        reports = [one.number for one in by if isinstance(one.event, ClientAuthenticated | ClientRefused)]
        ledger = [one.number for one in by if isinstance(one.event, MoneyMoved)]
        captured = [one.number for one in run.events if is_capture(one.event, event.seen_at)]
        assert list(verdict.evidence.events) == [*captured, *attempt, *reports, *ledger]
        assert len(ledger) == (1 if event.stolen else 0)


OTHER_PROOF = serialize(CertificateVerify(0x0403, b"of another login")).hex()


@pytest.mark.parametrize(
    "worse",
    [
        {"proof": OTHER_PROOF},
        {"proof": OTHER_PROOF, "sha256": "00" * 32},
        {"proof": None},
        {"proof": None, "tls": "1.3"},
        {"sha256": "00" * 32},
        {"tls": "1.3"},
    ],
    ids=str,
)
def test_an_attempt_was_made_of_the_capture_that_is_most_like_it(doctored: Doctor, worse: dict[str, object]) -> None:
    """Whichever the attacker had first. It is that of its proof, or of its certificate, or one with a proof, or one in
    the same version."""
    run = doctored(lambda event: event)
    best = next(one for one in run.events if isinstance(one.event, CertificateCaptured))
    assert isinstance(best.event, CertificateCaptured)
    other = dataclasses.replace(best, sequence=900, event=dataclasses.replace(best.event, **worse))  # type: ignore[arg-type]
    rest = [one for one in run.events if one is not best]
    for both in ([best, other], [other, best]):
        run.events = [*rest, *both]
        by_move = {one.move: one.evidence.events for one in JudgedRun(run).judgement.verdicts if both_in(one, both)}
        assert best.number in by_move["replay-proof"]
        assert other.number not in by_move["replay-proof"]
        if worse != {"proof": OTHER_PROOF}:  # the others show the certificate alone
            assert other.number not in by_move["omit-proof"]


def both_in(verdict: Verdict, captures: list[Recorded]) -> bool:
    return not {one.number for one in captures}.isdisjoint(verdict.evidence.events)


# What is missing, and what is said of it.


def test_a_run_that_nobody_planned_has_no_verdicts(doctored: Doctor) -> None:
    told = judged(doctored, RunStarted=drop)
    assert told.errors[0] == "the run does not say what it set out to try; only the lab can say it"
    assert (told.lab, told.verdicts) == ("", ())


def test_a_plan_of_nothing_that_is_known_has_no_verdicts(doctored: Doctor) -> None:
    told = judged(doctored, RunStarted=with_fields(moves=("from-the-future",)))
    assert (
        "the run set out to try nothing that this version knows; its plan names no move, gateway or leak" in told.errors
    )
    assert not told.verdicts


def test_where_nobody_listens_that_is_said_once(doctored: Doctor) -> None:
    told = judged(doctored, GatewayListening=drop)
    assert "no gateway is listening" in told.errors
    assert not [one for one in told.errors if one.endswith("is not listening") and one != "no gateway is listening"]


def test_a_gateway_that_does_not_listen_is_named(doctored: Doctor) -> None:
    gone = "mtls@openssl"
    told = judged(doctored, GatewayListening=lambda event: None if event.gateway == gone else event)
    assert [one for one in told.errors if "listening" in one] == [f"the gateway {gone} is not listening"]


def test_a_gateway_that_is_not_known_is_told_with_those_that_do_not_listen(doctored: Doctor) -> None:
    renamed = "mtls@openssl"

    def change(event: GatewayListening) -> GatewayListening:
        return dataclasses.replace(event, gateway="a@b") if event.gateway == renamed else event

    told = judged(doctored, GatewayListening=change)
    assert "the run has a gateway that this version does not know: a@b" in told.errors
    assert f"the gateway {renamed} is not listening" in told.errors
    assert {one.gateway for one in told.verdicts} == {*short_story().gateways} - {renamed}


def test_a_strange_move_does_not_make_a_gateway_absent(doctored: Doctor) -> None:
    told = judged(doctored, RunStarted=lambda event: with_fields(moves=(*event.moves, "from-the-future"))(event))
    assert told.errors == ("the run has a move that this version does not know: from-the-future",)
    assert len(told.verdicts) == 15


def test_a_run_on_the_wire_needs_tls_13_too(doctored: Doctor) -> None:
    told = judged(doctored, HandshakeSeen=lambda event: None if event.tls == "1.3" else event)
    assert "alice's login over TLS 1.3 was not seen" in told.errors


@pytest.mark.parametrize("sought", [True, False], ids=["with the wire", "without it"])
def test_nothing_captured_is_told_with_what_was_wanted(doctored: Doctor, sought: bool) -> None:
    leaks = ("wire",) if sought else ("log",)
    told = judged(doctored, RunStarted=with_fields(leaks=leaks), CertificateCaptured=drop, PositionTaken=drop)
    wanted = "captured together with its proof" if sought else "obtained through the leak log"
    assert f"no client certificate was {wanted}" in told.errors
    assert ("alice's login over TLS 1.3 was not seen" in told.errors) is False


def test_what_the_lab_noticed_is_told_where_something_is_missing_and_no_other_parts_troubles(doctored: Doctor) -> None:
    def change(event: Event) -> Event:
        match event:
            case PositionLeft():
                return Trouble("the attacker's")
            case CaptureSearched():
                return Trouble("the lab's")
        return event

    told = JudgedRun(doctored(change)).judgement
    assert told.errors[0] == "the lab's"
    assert "the attacker's" not in told.errors
    noticed = judged(doctored, FileSearched=lambda event: Trouble("it did not matter"))
    assert noticed.errors == ()
    assert noticed.verdicts


def test_of_several_controls_the_first_counts(doctored: Doctor) -> None:
    def change(event: MoveTried) -> MoveTried:
        return dataclasses.replace(event, move="stolen-key", leak="") if event.move == "foreign-key" else event

    run = doctored(lambda event: change(event) if isinstance(event, MoveTried) else event)
    controls = [one for one in JudgedRun(run).judgement.controls if one.control == "stolen-key"]
    assert len(controls) == len(short_story().gateways)


@pytest.mark.parametrize("version", [NAMES_CONNECTIONS - 1, NAMES_CONNECTIONS])
def test_earlier_runs_had_no_move_that_resumes_a_session_in_tls_13(doctored: Doctor, version: int) -> None:
    def change(event: Event) -> Event:
        if not isinstance(event, RunStarted):
            return event
        return dataclasses.replace(event, moves=(*event.moves, "resume-session"), versions=("1.2", "1.3"))

    run = doctored(change)
    run.events = [dataclasses.replace(one, version=version) for one in run.events]
    missing = JudgedRun(run).judgement.errors
    early = version < NAMES_CONNECTIONS
    assert "omit-proof at mtls@openssl, TLS 1.3: not tried" in missing
    assert "resume-session at mtls@openssl, TLS 1.2: not tried" in missing
    assert ("resume-session at mtls@openssl, TLS 1.3: not tried" not in missing) == early


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_move_that_was_not_tried_is_told_with_how_often_it_was_to_be(doctored: Doctor, rounds: int) -> None:
    def change(event: MoveTried) -> MoveTried | None:
        return None if event.move == "omit-proof" else event

    told = judged(doctored, RunStarted=with_fields(rounds=rounds), MoveTried=change)
    times = "" if rounds == 1 else " 2 times"
    assert f"omit-proof at mtls@openssl, TLS 1.2: not tried{times}" in told.errors
    replayed = f"replay-proof at mtls@openssl, TLS 1.2: not tried{times}"
    assert (replayed in told.errors) == (rounds == 2)


def test_of_several_undecided_attempts_the_first_is_told(doctored: Doctor) -> None:
    def change(event: MoveTried) -> MoveTried:
        if event.move == "foreign-key":
            return dataclasses.replace(event, move="omit-proof", round=2, outcome=INCONCLUSIVE, error="the second")
        inconclusive = dataclasses.replace(event, outcome=INCONCLUSIVE, error="the first")
        return inconclusive if event.move == "omit-proof" else event

    told = judged(doctored, MoveTried=change)
    where = "omit-proof at certificate-only@instrument, TLS 1.2"
    said = [one for one in told.errors if one.startswith(where)]
    assert said == [f"{where}: neither accepted nor refused: the first"]


def test_a_control_that_failed_is_told_with_the_reason_of_that_very_gateway(doctored: Doctor) -> None:
    def change(event: LoggedIn) -> Event:
        failed = {"mtls@openssl": "the door is shut", "pinned-mtls@openssl": "another door is shut"}
        reason = failed.get(event.gateway)
        return LoginFailed(event.gateway, event.url, event.tls, reason) if reason else event

    told = judged(doctored, LoggedIn=change, LoginFailed=drop)
    for gateway, reason in (("mtls@openssl", "the door is shut"), ("pinned-mtls@openssl", "another door is shut")):
        assert f"control client at {gateway}, TLS 1.2: alice did not log in: {reason}" in told.errors


def test_a_key_that_did_not_get_in_is_told_with_what_came_back(doctored: Doctor) -> None:
    def change(event: MoveTried) -> MoveTried | None:
        if event.leak:
            return event
        gateway_port = event.server.rpartition(":")[2]
        if gateway_port == port:
            return None
        return dataclasses.replace(event, outcome=REFUSED, alert=40, alert_by="server")

    first = next(iter(doctored(lambda event: event).all(GatewayListening)))
    port = str(first.port)
    told = judged(doctored, MoveTried=change)
    assert f"control stolen-key at {first.gateway}, TLS 1.2: not run" in told.errors
    came = "the real key did not get in: alert handshake_failure (40)"
    assert f"control stolen-key at mtls@openssl, TLS 1.2: {came}" in told.errors


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (drop, "the capture was not searched for alice's key"),
        (with_fields(certificate_at=()), "alice's certificate is not in the capture; the key search proves nothing"),
        (with_fields(key_at=("here", "there")), "alice's key was on the wire: here; there"),
        (
            with_fields(key_in_bundle=()),
            "the keys that were looked for are not in alice's bundles; the key search proves nothing",
        ),
    ],
)
def test_a_search_that_proves_nothing_is_told(doctored: Doctor, change: Change, why: str) -> None:
    told = judged(doctored, CaptureSearched=change)
    assert why in told.errors
    assert not told.verdicts


def test_each_key_has_to_be_found_in_a_bundle_by_its_bytes(doctored: Doctor) -> None:
    """A file's header, in words, is no key; and one key's forms say nothing of the other."""
    searched = doctored(lambda event: event).first(CaptureSearched)
    assert searched
    assert searched.key_in_bundle
    assert searched.keys == 2
    whole = judged(doctored)
    first = [name for name in searched.key_in_bundle if name.startswith("key 1")]
    assert first != list(searched.key_in_bundle)
    in_words = tuple(name for name in searched.key_in_bundle if name.endswith(WORDS))
    assert in_words
    told = judged(doctored, CaptureSearched=with_fields(key_in_bundle=in_words))
    assert "the keys that were looked for are not in alice's bundles; the key search proves nothing" in told.errors
    halved = judged(doctored, CaptureSearched=with_fields(key_in_bundle=tuple(first)))
    assert not whole.errors
    assert "the keys that were looked for are not in alice's bundles; the key search proves nothing" in halved.errors


def test_an_attempt_that_was_not_its_move_is_an_error_and_has_no_verdict(doctored: Doctor) -> None:
    def change(event: MoveTried) -> MoveTried:
        return dataclasses.replace(event, move="replay-proof") if event.move == "omit-proof" else event

    run = doctored(lambda event: change(event) if isinstance(event, MoveTried) else event)
    started = run.first(RunStarted)
    assert started
    planned = dataclasses.replace(started, moves=("replay-proof", "foreign-key"))
    run.events = [dataclasses.replace(one, event=planned) if one.event == started else one for one in run.events]
    told = JudgedRun(run).judgement
    wrong = [one for one in told.errors if "the attempt was not this move" in one]
    assert len(wrong) == 5
    assert {one.move for one in told.verdicts} == {"foreign-key"}


def only_verdict(gateway_id: str, version: Version, *events: Event) -> Verdict:
    """On a run by hand, with one gateway and one move. Its events are of an old version: then nothing checks an
    attempt's bytes."""
    gateway, wire = find_gateway(gateway_id), find_leak("wire")
    assert gateway
    assert wire
    move = next((one.move for one in events if isinstance(one, MoveTried)), "omit-proof")
    started = changed(STARTED, gateways=(gateway.id,), moves=(move,), versions=(str(version),))
    run = run_of(started, changed(LISTENING, gateway=gateway.id), *events)
    run.events = [dataclasses.replace(one, version=NAMES_CONNECTIONS - 1) for one in run.events]
    (verdict,) = JudgedRun(run).verdicts_at(wire, gateway, version)
    return verdict


@pytest.mark.parametrize(("status", "unusual"), [(401, 0), (403, 0), (400, 1)])
def test_a_refusal_in_http_is_as_the_rfcs_have_it_by_its_status(status: int, unusual: int) -> None:
    """RFC 9110 sections 15.5.2 and 15.5.4."""
    refused = changed(TRIED, move="no-certificate", outcome=REFUSED, status=status, body="")
    verdict = only_verdict("forwarded-header@openssl", TLS12, refused)
    assert (verdict.outcome, verdict.evidence.unusual) == (REFUSED, unusual)


@pytest.mark.parametrize(
    ("captured_in", "move", "note"),
    [
        ("1.2", "replay-proof", "the proof was captured in TLS 1.2; this leak yields none of TLS 1.3"),
        ("1.3", "replay-proof", ""),
        ("", "replay-proof", ""),
        ("1.2", "omit-proof", ""),
        (None, "replay-proof", ""),
    ],
)
def test_a_proof_of_another_version_is_told_as_that(captured_in: str | None, move: str, note: str) -> None:
    tried = changed(TRIED, move=move, outcome=REFUSED, status=None, body=None, alert=51, alert_by="server", tls="1.3")
    captured = () if captured_in is None else (changed(SEEN, tls=captured_in),)
    assert only_verdict("mtls@instrument", TLS13, *captured, tried).evidence.note == note


def test_what_was_not_tried_has_no_evidence() -> None:
    verdict = only_verdict("mtls@instrument", TLS12)
    assert verdict.outcome == NOT_APPLICABLE
    told = verdict.evidence
    assert (told.attempt, told.ms, told.stolen, told.attempts, told.deviations, told.unusual) == ("", 0.0, 0, 0, 0, 0)


def test_a_refusal_is_as_the_rfcs_have_it_only_if_the_server_made_it(doctored: Doctor) -> None:
    """Here the attacker itself sent the alert that the server is to send."""

    def by_client(event: MoveTried) -> MoveTried:
        if event.alert != AlertDescription.DECRYPT_ERROR:
            return event
        _, name, raw = event.steps[-1]
        return dataclasses.replace(event, alert_by="client", steps=(*event.steps[:-1], ("client", name, raw)))

    judgement = judged(
        doctored,
        MoveTried=by_client,
        ClientRefused=lambda event: with_fields(alert=None)(event) if event.alert == 51 else event,
    )
    refused = [one for one in judgement.verdicts if one.evidence.alert and one.evidence.alert.number == 51]
    assert refused
    assert {one.conforms for one in refused} == {False}
