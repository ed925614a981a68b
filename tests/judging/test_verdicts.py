"""The judge: verdicts come from events, are framed by controls, and a difference from theory is told, not hidden."""

import contextlib
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from doctoring import doctored_run
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED, Outcome
from lab.catalogue.plan import short_story
from lab.events.run import Run, open_run
from lab.events.types import (
    AccountOpened,
    CaptureSearched,
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
    RunStarted,
    TransferRefused,
    Trouble,
    UnknownEvent,
)
from lab.judging.attempts import CLOCK_SLACK_MS
from lab.judging.judgement import Judgement
from lab.judging.verdicts import JudgedRun, judge
from lab.staging import pki
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
        body = '{"customer":"alice","balance":1000}'
        came = {"outcome": ACCEPTED, "alert": None, "alert_by": None, "status": 200, "body": body}
        return dataclasses.replace(event, steps=event.steps[:-1], **came)  # type: ignore[arg-type]

    run = doctored(when(MoveTried, forge, move="foreign-key"))
    judgement = judge(run)
    assert judgement
    assert not judgement.as_expected
    assert "FINDING" in told(run)
    assert "differs from what the RFCs predict" in told(run)


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
    assert sum("control stolen-key" in error for error in judgement.errors) == 5


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


def nameless(event: Event) -> Event | None:
    """As in runs of earlier versions."""
    if isinstance(event, MoveTried | ClientRefused | ClientAuthenticated | MoneyMoved):
        return dataclasses.replace(event, connection="")
    return None if isinstance(event, AccountOpened) else event


def test_a_report_may_seem_a_little_earlier_than_its_connection(doctored: Doctor) -> None:
    """Two processes say when it was. A report from just before the attempt is taken, one from well before is not.

    Only where connections have no names does that matter.
    """
    run = doctored(nameless)
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
    """The database has self-signed certificates only; the gateways of this run want one from the CA."""

    def change(event: Event) -> Event:
        if isinstance(event, RunStarted):
            return dataclasses.replace(event, gateways=("certificate-only@instrument", "mtls@openssl"))
        return LeakSought("database") if isinstance(event, PositionTaken) else event

    judgement = judge(doctored(change))
    assert judgement
    assert judgement.errors == ()
    assert all(one.as_expected for one in judgement.verdicts)
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
    assert len(refused) == 9
    for verdict in refused:
        section = "7.3" if verdict.move == "omit-proof" else "7.4.8"
        assert verdict.evidence.clause.startswith(f"RFC 5246 section {section}: ")
        assert verdict.evidence.alert in verdict.evidence.expected_alerts


def test_a_gateway_of_a_newer_version_is_named_and_the_others_are_judged(doctored: Doctor) -> None:
    def rename(event: Event) -> Event:
        known = getattr(event, "gateway", "") == "certificate-only@instrument"
        return dataclasses.replace(event, gateway="password@nginx") if known else event  # type: ignore[arg-type]

    run = doctored(rename)
    judgement = judge(run)
    assert judgement
    known = set(short_story().gateways) - {"certificate-only@instrument"}
    assert {verdict.gateway for verdict in judgement.verdicts} == known
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
            proof = "received"
            return ClientAuthenticated(
                event.gateway, event.peer, event.tls, subject, "00" * 32, proof, event.connection
            )
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


def test_a_search_for_a_strangers_key_proves_nothing(doctored: Doctor) -> None:
    """Only the words that introduce any key are then in alice's bundle."""

    def forget(event: CaptureSearched) -> CaptureSearched:
        return dataclasses.replace(event, key_in_bundle=("key 1, the words PRIVATE KEY", "key 2, PKCS#8 in PEM"))

    judgement = JudgedRun(doctored(when(CaptureSearched, forget))).judgement
    assert judgement.verdicts == ()
    assert "the keys that were looked for are not in alice's bundles; the key search proves nothing" in judgement.errors


def test_a_stranger_of_a_report_on_the_same_connection_is_found(doctored: Doctor) -> None:
    """A forged login and a forged transfer for an attempt that came back with decrypt_error."""
    run = doctored(lambda event: event)
    at = next(i for i, one in enumerate(run.events) if isinstance(one.event, ClientRefused) and one.event.alert == 51)
    refused = run.events[at].event
    assert isinstance(refused, ClientRefused)
    forged: list[Event] = [
        ClientAuthenticated(refused.gateway, refused.peer, "1.2", "CN=alice", "00" * 32, "valid", refused.connection),
        MoneyMoved("alice", "mallory", 100, 600, refused.connection),
    ]
    last = max(one.sequence for one in run.events if one.part == "victim-server")
    run.events += [
        dataclasses.replace(run.events[at], sequence=last + number, event=event)
        for number, event in enumerate(forged, start=1)
    ]
    judgement = judge(run)
    assert judgement
    assert not judgement.as_expected
    found = "\n".join(judgement.contradictions)
    assert "the gateway log has 2 reports on this one connection" in found
    assert "the attacker moved 0, and the bank's ledger has 100 for this connection" in found


def contradictions_of(doctored: Doctor, change: Callable[[Event], Event | None]) -> str:
    judgement = judge(doctored(change))
    assert judgement
    assert not judgement.as_expected
    return "\n".join(judgement.contradictions)


def test_a_ledger_that_does_not_add_up_is_found(doctored: Doctor) -> None:
    def richer(event: MoneyMoved) -> MoneyMoved:
        return dataclasses.replace(event, balance=event.balance + 1)

    assert "the bank's ledger does not add up: alice had 1000, 100 went, and 901 is left" in contradictions_of(
        doctored, when(MoneyMoved, richer, balance=900)
    )
    assert "the bank told alice a balance of 5, which her account never had" in contradictions_of(
        doctored, when(LoggedIn, lambda event: dataclasses.replace(event, balance=5))
    )


def test_a_transfer_on_a_connection_that_nobody_attacked_on_is_found(doctored: Doctor) -> None:
    told = contradictions_of(doctored, when(MoneyMoved, lambda event: dataclasses.replace(event, connection="ab" * 32)))
    assert "the bank's ledger has an order on a connection that no attempt was made on: victim-server#" in told


def otherwise(judgement: Judgement) -> Judgement:
    """The judgement of a run that went otherwise, but for its verdicts.json, which is that of the real run."""
    told = (one for one in judgement.contradictions if not one.startswith("verdicts.json has other verdicts"))
    return dataclasses.replace(judgement, contradictions=tuple(told))


def test_a_bank_that_refused_a_transfer_is_told_as_that(doctored: Doctor) -> None:
    """Another story than the ledger's is a contradiction, too."""

    def refuse(event: Event) -> Event:
        if isinstance(event, MoveTried) and event.stolen and event.move != "stolen-key":
            return dataclasses.replace(event, stolen=0, transfer_status=409)
        if isinstance(event, MoneyMoved):
            return TransferRefused(event.customer, 409, "insufficient funds: the balance is 0", event.connection)
        if isinstance(event, LoggedIn):
            return dataclasses.replace(event, balance=1000)
        return event

    run = doctored(refuse)
    judgement = judge(run)
    assert judgement
    assert otherwise(judgement).as_expected
    assert "the bank refused the transfer: HTTP 409" in " ".join(told(run).split())
    assert "the bank answered the transfer with HTTP 200, and its ledger has " in contradictions_of(
        doctored, lambda event: refuse(event) if isinstance(event, MoneyMoved) else event
    )


def test_an_event_that_is_missing_or_there_twice_is_found(doctored: Doctor) -> None:
    run = doctored(lambda event: event)
    lost = next(one for one in run.events if isinstance(one.event, PositionTaken))
    run.events = [one for one in run.events if one is not lost]
    judgement = judge(run)
    assert judgement
    left = sum(one.part == lost.part for one in run.events)
    assert judgement.contradictions == (
        f"the log of {lost.part} has a gap: event {lost.sequence} is missing",
        f"the log of {lost.part} has {left} events, and verdicts.json rests on {left + 1}",
    )
    run.events = sorted([*run.events, lost, lost], key=lambda one: (one.time, one.part, one.sequence))
    judgement = judge(run)
    assert judgement
    assert judgement.contradictions == (f"the log of {lost.part} has event {lost.sequence} more than once",)


def test_a_file_in_stolen_that_is_not_what_was_captured_is_found(finished_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    kept = copy / "attacker" / "stolen" / "alice.pem"
    stranger = pki.new_client(pki.new_authority(), "alice").certificate_pem()
    kept.write_bytes(stranger)
    judgement = judge(open_run(copy))
    assert judgement
    assert not judgement.as_expected
    told = "\n".join(judgement.contradictions)
    assert "attacker/stolen/alice.pem: holds a certificate that attacker did not report: " in told
    assert "attacker reported a certificate that is in none of its files in stolen: " in told
    kept.write_text("no certificate")
    judgement = judge(open_run(copy))
    assert judgement
    assert "attacker/stolen/alice.pem: holds no readable certificate" in judgement.contradictions


def test_a_refusal_that_the_rfcs_have_otherwise_is_safe_and_noted(doctored: Doctor) -> None:
    def handshake_failure(event: Event) -> Event:
        if isinstance(event, MoveTried) and event.alert == 51:
            steps = (*event.steps[:-1], ("server", "alert handshake_failure", "0228"))
            return dataclasses.replace(event, alert=40, steps=steps)
        if isinstance(event, ClientRefused) and event.alert == 51:
            return dataclasses.replace(event, alert=40)
        return event

    run = doctored(handshake_failure)
    judgement = judge(run)
    assert judgement
    assert otherwise(judgement).as_expected
    unusual = {(verdict.gateway, verdict.move) for verdict in judgement.verdicts if not verdict.conforms}
    assert unusual == {
        (gateway, move)
        for gateway in ("pinned-mtls@instrument", "pinned-mtls@openssl", "mtls@openssl")
        for move in ("replay-proof", "foreign-key")
    }
    assert "safe, but not as the RFCs have it: alert handshake_failure (40)" in " ".join(told(run).split())
