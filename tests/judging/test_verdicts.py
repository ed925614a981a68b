"""The judge: verdicts come from events, are framed by controls, and a difference from theory is told, not hidden."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from doctoring import doctored_run
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED, Outcome
from lab.events.run import Run
from lab.events.types import (
    ClientAuthenticated,
    ClientRefused,
    Event,
    LeakSought,
    LoggedIn,
    LoginFailed,
    MoneyMoved,
    MoveTried,
    PositionLeft,
    PositionTaken,
    Trouble,
    UnknownEvent,
)
from lab.judging.attempts import CLOCK_SLACK_MS
from lab.judging.verdicts import JudgedRun, judge
from lab.story.acts import tell
from lab.views import terminal

Doctor = Callable[[Callable[[Event], Event | None]], Run]


@pytest.fixture
def doctored(finished_run: Path) -> Doctor:
    """A real run with its events passed through a function, which may change or drop them."""
    return partial(doctored_run, finished_run)


def when(kind: type, change: Callable[[Any], Event | None], **fields: object) -> Callable[[Event], Event | None]:
    """Applies `change` to the events of a type that have these fields, and leaves the others as they are."""

    def apply(event: Event) -> Event | None:
        fits = isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())
        return change(event) if fits else event

    return apply


def drop(event: Event) -> None:
    return None


def told(run: Run) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        terminal.show(tell(JudgedRun(run)))
    return printed.getvalue()


def test_a_run_that_nobody_touched_is_as_expected(doctored: Doctor) -> None:
    judgement = judge(doctored(lambda event: event))
    assert judgement
    assert judgement.as_expected


def test_an_accepted_forgery_at_mtls_is_a_finding(doctored: Doctor) -> None:
    def forge(event: MoveTried) -> MoveTried:
        if not event.alert:
            return event
        return dataclasses.replace(event, outcome=ACCEPTED, alert=None, alert_by=None, status=200, body="{}")

    run = doctored(when(MoveTried, forge, move="foreign-key"))
    judgement = judge(run)
    assert judgement
    assert not judgement.as_expected
    assert "FINDING" in told(run)
    assert "differs from what the RFCs predict" in told(run)


def test_a_refusal_with_another_alert_than_the_rfcs_is_a_finding(doctored: Doctor) -> None:
    judgement = judge(doctored(when(MoveTried, lambda event: dataclasses.replace(event, alert=40), alert=51)))
    assert judgement
    assert not judgement.as_expected


@pytest.mark.parametrize("gateway", ["mtls@openssl", "certificate-only@instrument"])
def test_without_alices_own_login_there_are_no_verdicts(doctored: Doctor, gateway: str) -> None:
    run = doctored(when(LoggedIn, drop, gateway=gateway))
    assert judge(run) is None
    judgement = JudgedRun(run).judgement
    assert judgement.verdicts == ()
    assert any(f"control client at {gateway}" in error for error in judgement.errors)
    assert not judgement.as_expected
    assert json.loads(judgement.to_json())["errors"]


@pytest.mark.parametrize("outcome", [REFUSED, INCONCLUSIVE])
def test_without_the_stolen_key_getting_in_there_are_no_verdicts(doctored: Doctor, outcome: Outcome) -> None:
    change = when(MoveTried, lambda event: dataclasses.replace(event, outcome=outcome), move="stolen-key")
    judgement = JudgedRun(doctored(change)).judgement
    assert judgement.verdicts == ()
    assert sum("control stolen-key" in error for error in judgement.errors) == 3


def test_an_attempt_that_was_neither_let_in_nor_refused_is_no_verdict(doctored: Doctor) -> None:
    def lose(event: MoveTried) -> MoveTried:
        return dataclasses.replace(event, outcome=INCONCLUSIVE, error="connection refused")

    run = doctored(when(MoveTried, lose, move="omit-proof"))
    assert judge(run) is None
    lacking = list(JudgedRun(run).missing)
    assert (
        "omit-proof at certificate-only@instrument, TLS 1.2: neither accepted nor refused: connection refused"
        in lacking
    )
    assert not any("omit-proof at mtls" in one for one in lacking), "the gateway itself said that it refused"


def test_a_refusal_that_the_gateway_knows_nothing_of_is_no_verdict(doctored: Doctor) -> None:
    assert judge(doctored(when(ClientRefused, drop))) is None


def test_a_report_on_an_earlier_connection_of_the_same_peer_is_not_taken(doctored: Doctor) -> None:
    """The earlier connection ended the other way, so that its report would show."""
    run = doctored(lambda event: event)
    untouched = judge(run)
    assert untouched
    earlier = []
    for recorded in run.events:
        event = recorded.event
        if isinstance(event, ClientRefused):
            event = ClientAuthenticated(event.gateway, event.peer, "1.2", "CN=earlier", "", "checked")
        elif isinstance(event, ClientAuthenticated):
            event = ClientRefused(event.gateway, event.peer, event.tls, "an earlier refusal", 40)
        else:
            continue
        before = recorded.time - timedelta(minutes=1)
        earlier.append(dataclasses.replace(recorded, time=before, event=event))
    assert len(earlier) >= len(untouched.verdicts)
    run.events = [*earlier, *run.events]
    judgement = judge(run)
    assert judgement
    assert judgement.verdicts == untouched.verdicts


def test_a_report_may_seem_a_little_earlier_than_its_connection(doctored: Doctor) -> None:
    """Two processes say when it was. A report from just before the attempt is taken, one from well before is not."""
    run = doctored(lambda event: event)
    untouched = judge(run)
    assert untouched
    began = {
        event.local: recorded.time - timedelta(milliseconds=event.milliseconds)
        for recorded in run.events
        if isinstance(event := recorded.event, MoveTried)
    }
    events = run.events
    for early, slack in ((False, 0.9), (True, 1.1)):
        moved = [
            dataclasses.replace(one, time=began[event.peer] - timedelta(milliseconds=slack * CLOCK_SLACK_MS))
            if isinstance(event := one.event, ClientRefused | ClientAuthenticated) and event.peer in began
            else one
            for one in events
        ]
        assert moved != events
        run.events = moved
        judgement = judge(run)
        assert judgement is None if early else judgement and judgement.verdicts == untouched.verdicts


@pytest.mark.parametrize(
    ("leak", "why"), [("interception", "mitmdump broke"), ("rogue-server", "https://shop.example: the shop is closed")]
)
def test_a_leak_that_was_sought_and_came_to_nothing_is_an_error_and_says_why(
    doctored: Doctor, leak: str, why: str
) -> None:
    """Two things went wrong in this run, and each leak has its own."""

    def change(event: Event) -> Event:
        match event:
            case PositionTaken():
                return LeakSought(leak)
            case PositionLeft():
                return Trouble("mitmdump broke")
            case MoneyMoved():
                return LoginFailed("", "https://shop.example", "1.2", "the shop is closed")
        return event

    run = doctored(change)
    assert judge(run) is None
    judgement = JudgedRun(run).judgement
    assert not judgement.as_expected
    assert f"no client certificate was obtained through the leak {leak}: {why}" in judgement.errors


def test_nothing_is_demanded_of_a_leak_whose_certificates_no_gateway_of_the_run_accepts(doctored: Doctor) -> None:
    """The database has self-signed certificates only; the short story's gateways want one from the CA."""
    judgement = judge(doctored(when(PositionTaken, lambda event: LeakSought("database"))))
    assert judgement
    assert judgement.errors == ()
    assert judgement.as_expected
    assert {one.outcome for one in judgement.verdicts if one.leak == "database"} == {NOT_APPLICABLE}


def test_an_unknown_event_is_told_and_does_not_matter(doctored: Doctor) -> None:
    run = doctored(when(PositionTaken, lambda event: UnknownEvent("from-the-future", {"detail": 1})))
    judgement = judge(run)
    assert judgement
    assert judgement.as_expected
    assert "from-the-future" in told(run)


def test_a_verdict_names_the_clause_and_the_alert_to_expect(doctored: Doctor) -> None:
    judgement = judge(doctored(lambda event: event))
    assert judgement
    refused = [verdict for verdict in judgement.verdicts if verdict.outcome == "refused"]
    assert len(refused) == 6
    for verdict in refused:
        assert verdict.evidence.clause.startswith("RFC 5246 section 7.4.8")
        assert verdict.evidence.alert in verdict.evidence.expected_alerts


def test_a_gateway_of_a_newer_version_is_named_and_the_others_are_judged(doctored: Doctor) -> None:
    def rename(event: Event) -> Event:
        known = getattr(event, "gateway", "") == "certificate-only@instrument"
        return dataclasses.replace(event, gateway="password@nginx") if known else event  # type: ignore[arg-type]

    run = doctored(rename)
    judgement = judge(run)
    assert judgement
    assert {verdict.gateway for verdict in judgement.verdicts} == {"mtls@openssl", "mtls@instrument"}
    assert not judgement.as_expected
    assert any("password@nginx" in error for error in judgement.errors)
    assert "password@nginx" in told(run)


def test_the_witnesses_of_an_untouched_run_agree(doctored: Doctor) -> None:
    judgement = judge(doctored(lambda event: event))
    assert judgement
    assert judgement.contradictions == ()


def test_a_forged_login_and_a_forged_transfer_are_found(doctored: Doctor) -> None:
    """A changed gateway log says that the refused attacker came in, and a changed ledger that she took more."""

    def forge(event: Event) -> Event:
        if isinstance(event, ClientRefused) and event.gateway == "mtls@openssl" and event.alert == 51:
            subject = "O=Bank of Example,CN=alice"
            return ClientAuthenticated(event.gateway, event.peer, event.tls, subject, "00" * 32, "checked")
        return dataclasses.replace(event, amount=2 * event.amount) if isinstance(event, MoneyMoved) else event

    run = doctored(forge)
    judgement = judge(run)
    assert judgement
    assert not judgement.as_expected
    found = "\n".join(judgement.contradictions)
    assert "replay-proof at mtls@openssl, TLS 1.2 (attacker#" in found
    assert "the attacker was refused, and the gateway log says: " in found
    assert "the bank's ledger has transfers of " in found
    assert "FINDING" in told(run)
    assert "this run decides nothing" in " ".join(told(run).split())


def test_another_alert_than_the_attacker_received_is_found(doctored: Doctor) -> None:
    def forge(event: ClientRefused) -> ClientRefused:
        return dataclasses.replace(event, alert=48)

    judgement = judge(doctored(when(ClientRefused, forge, gateway="mtls@openssl", alert=51)))
    assert judgement
    assert not judgement.as_expected
    assert any("received alert 51, and the gateway sent 48" in one for one in judgement.contradictions)
