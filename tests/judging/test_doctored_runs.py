"""A run that somebody changed: each change of what a witness says is found, and said in a sentence."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from doctoring import doctored_run
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.events.log import FILE_NAME
from lab.events.run import Run, open_run
from lab.events.types import (
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    Event,
    LoggedIn,
    MoneyMoved,
    MoveTried,
    RunStarted,
)
from lab.judging.judgement import Judgement
from lab.judging.verdicts import JudgedRun
from lab.staging import pki

Change: TypeAlias = Callable[[Any], Event]

ALERT, ANOTHER = 51, 50


def judged(run: Run) -> Judgement:
    return JudgedRun(run).judgement


def told(judgement: Judgement) -> str:
    return "\n".join((*judgement.errors, *judgement.contradictions))


def changed(finished: Path, kind: type, change: Change, having: Callable[[Any], bool] = lambda event: True) -> Run:
    """The run with the first event of that kind changed that is of interest."""
    done: list[Event] = []

    def apply(event: Event) -> Event:
        if done or not isinstance(event, kind) or not having(event):
            return event
        done.append(event)
        return change(event)

    run = doctored_run(finished, apply)
    assert done
    return run


def with_field(name: str, value: object) -> Change:
    return lambda event: dataclasses.replace(event, **{name: value})


def accepted(event: MoveTried) -> bool:
    return bool(event.leak) and event.outcome == ACCEPTED


def refused(event: MoveTried) -> bool:
    return event.alert == ALERT and event.move == "replay-proof"


def step(at: int, change: Callable[[str], str]) -> Change:
    """Changes the bytes of a step of an attempt."""

    def apply(event: MoveTried) -> MoveTried:
        steps = list(event.steps)
        sender, name, raw = steps[at]
        steps[at] = (sender, name, change(raw))
        return dataclasses.replace(event, steps=tuple(steps))

    return apply


def other_server_random(event: MoveTried) -> MoveTried:
    at = next(at for at, one in enumerate(event.steps) if one[:2] == ("server", "ServerHello"))
    changed: MoveTried = step(at, lambda raw: raw[:12] + "ab" * 32 + raw[76:])(event)  # type: ignore[assignment]
    return changed


def alert_added(event: MoveTried) -> MoveTried:
    return dataclasses.replace(event, steps=(*event.steps, ("server", "alert decrypt_error", "0233")))


def garbage(event: CertificateCaptured) -> CertificateCaptured:
    assert event.proof
    return dataclasses.replace(event, proof=event.proof[:-8] + "00" * 4)


CASES: tuple[tuple[str, type, Change, Callable[[Any], bool], str], ...] = (
    ("another ServerHello", MoveTried, other_server_random, accepted, "its ServerHello is that of another connection"),
    ("an alert more", MoveTried, alert_added, accepted, "it reports the server's alert None, and its bytes have"),
    ("another alert byte", MoveTried, step(-1, lambda raw: "0232"), refused, "it reports the server's alert 51, and"),
    ("no account", MoveTried, with_field("status", 401), accepted, "the attacker says accepted, and what came back"),
    ("bob's account", MoveTried, with_field("body", '{"customer":"bob","balance":5}'), accepted, "what came back says"),
    (
        "a smaller balance",
        MoveTried,
        with_field("body", '{"customer":"alice","balance":5}'),
        accepted,
        "the bank told a balance of 5, and its ledger had",
    ),
    ("an unplanned round", MoveTried, with_field("round", 7), accepted, "the run did not set out to try this"),
    (
        "a proof that was not sent",
        ClientAuthenticated,
        with_field("proof", "received, checked by the instrument, valid"),
        lambda event: event.proof == "none received",
        "the gateway log says of the proof: received, checked by the instrument, valid; but no proof was sent",
    ),
    ("to bob", MoneyMoved, with_field("to", "bob"), lambda event: True, "a transfer from alice to bob for it"),
    ("another peer", ClientRefused, with_field("peer", "127.0.0.1:9"), lambda event: True, "TLS 1.2 with 127.0.0.1:9"),
    ("another version", ClientRefused, with_field("tls", "1.3"), lambda event: True, "the gateway log has TLS 1.3"),
    (
        "another certificate",
        LoggedIn,
        with_field("sha256", "00" * 32),
        lambda event: True,
        "the customer and the gateway tell of different certificates",
    ),
    ("a garbled proof", CertificateCaptured, garbage, lambda one: bool(one.proof), "does not fit its own transcript"),
    (
        "another fingerprint",
        CertificateCaptured,
        with_field("subject", "CN=carol"),
        lambda one: bool(one.message),
        "its message has another certificate",
    ),
    (
        "another random",
        CertificateCaptured,
        with_field("client_random", "ab" * 32),
        lambda one: bool(one.transcript),
        "its transcript has another ClientHello",
    ),
    (
        "a move less in the plan",
        RunStarted,
        with_field("moves", ("omit-proof", "replay-proof")),
        lambda event: True,
        "the run did not set out to try this",
    ),
    (
        "a gateway less in the plan",
        RunStarted,
        lambda event: dataclasses.replace(event, gateways=event.gateways[:-1]),
        lambda event: True,
        "the run did not set out to try this",
    ),
)


@pytest.mark.parametrize(("kind", "change", "having", "why"), [one[1:] for one in CASES], ids=[one[0] for one in CASES])
def test_a_change_is_found(
    finished_run: Path, kind: type, change: Change, having: Callable[[Any], bool], why: str
) -> None:
    judgement = judged(changed(finished_run, kind, change, having))
    assert not judgement.as_expected
    assert why in told(judgement)


def test_the_certificate_that_a_gateway_reports_is_the_one_that_was_sent(finished_run: Path) -> None:
    names = {event.connection for event in open_run(finished_run).all(MoveTried) if accepted(event)}
    run = changed(finished_run, ClientAuthenticated, with_field("sha256", "00" * 32), lambda e: e.connection in names)
    assert f"the gateway log has the certificate {'00' * 32}, and " in told(judged(run))


@pytest.mark.parametrize("outcome", [ACCEPTED, REFUSED])
def test_the_bytes_of_two_attempts_cannot_be_exchanged(finished_run: Path, outcome: str) -> None:
    """Of the same move, at two gateways."""
    found = [one for one in open_run(finished_run).all(MoveTried) if one.leak and one.move == "omit-proof"]
    first = next(one for one in found if one.outcome == ACCEPTED)
    second = next(one for one in found if one.outcome == outcome and one != first)
    steps = {first.connection: second.steps, second.connection: first.steps}

    def exchange(event: Event) -> Event:
        if isinstance(event, MoveTried) and event.connection in steps:
            return dataclasses.replace(event, steps=steps[event.connection])
        return event

    judgement = judged(doctored_run(finished_run, exchange))
    assert not judgement.as_expected
    assert told(judgement).count("its ServerHello is that of another connection") == 2


def test_two_transfers_that_changed_their_connections_are_found(finished_run: Path) -> None:
    first, second = list(open_run(finished_run).all(MoneyMoved))[:2]
    names = {first.connection: second.connection, second.connection: first.connection}

    def exchange(event: Event) -> Event:
        if isinstance(event, MoneyMoved) and event.connection in names:
            return dataclasses.replace(event, connection=names[event.connection])
        return event

    assert "the bank told a balance of 900, and its ledger had 1000" in told(
        judged(doctored_run(finished_run, exchange))
    )


def test_a_private_key_among_the_stolen_files_is_found(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (copy / "attacker" / "stolen" / "more.pem").write_bytes(pki.new_self_signed_client("nobody").bundle_pem())
    judgement = judged(open_run(copy))
    assert not judgement.as_expected
    assert "attacker/stolen/more.pem: holds a private key" in told(judgement)


def test_a_capture_file_that_is_not_the_one_that_was_searched_is_found(finished_run: Path, tmp_path: Path) -> None:
    """One that has grown since then is."""
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    capture = open_run(copy).folders.capture
    content = capture.read_bytes()
    capture.write_bytes(content + b"more")
    assert judged(open_run(copy)).as_expected
    capture.write_bytes(content[:99] + bytes((content[99] ^ 1,)) + content[100:])
    assert "capture.pcapng is not the file that was searched" in told(judged(open_run(copy)))
    capture.write_bytes(content[:99])
    assert "capture.pcapng is not the file that was searched" in told(judged(open_run(copy)))
    capture.unlink()
    assert "capture.pcapng, which was searched, cannot be read: No such file" in told(judged(open_run(copy)))


def test_nothing_is_found_where_nothing_was_changed(finished_run: Path) -> None:
    assert told(judged(open_run(finished_run))) == ""
    assert all((finished_run / part / FILE_NAME).exists() for part in ("attacker", "victim-server", "victim-client"))


def test_in_earlier_runs_several_parts_could_have_one_name(finished_run: Path) -> None:
    run = open_run(finished_run)
    run.events = [dataclasses.replace(one, version=2, sequence=one.sequence // 2) for one in run.events]
    assert told(judged(run)) == ""
