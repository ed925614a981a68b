"""A run that somebody changed: each change of what a witness says is found, and said in a sentence."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from doctoring import doctored_run
from lab.capture.decrypt import decrypted_logins
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.events.log import FILE_NAME
from lab.events.run import Run, open_run
from lab.events.types import (
    AccountOpened,
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    Event,
    FileSearched,
    GatewayListening,
    HandshakeSeen,
    Intercepted,
    KeyFound,
    LoggedIn,
    LoginDecrypted,
    MoneyMoved,
    MoveTried,
    PasswordFound,
    PositionTaken,
    ProofRelayed,
    RunStarted,
    WentOn,
    type_name,
)
from lab.judging.captures import odd_captures
from lab.judging.consistency import inconsistent
from lab.judging.judgement import Judgement
from lab.judging.recomputed import unlike_the_files
from lab.judging.repeated import ONCE, told_twice
from lab.judging.verdicts import JudgedRun
from lab.staging import pki
from lab.tls.alerts import alert_name

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


def any_of(event: object) -> bool:
    return True


def in_tls13(event: LoginDecrypted) -> bool:
    return event.tls == "1.3"


def longer(event: LoginDecrypted) -> LoginDecrypted:
    """Her certificate is one byte longer."""
    messages = [(*one[:2], one[2] + 1, *one[3:]) if one[1] == "Certificate" else one for one in event.messages]
    return dataclasses.replace(event, messages=tuple(messages))


def in_plaintext(event: LoginDecrypted) -> LoginDecrypted:
    return dataclasses.replace(event, messages=tuple((*one[:3], False, one[4]) for one in event.messages))


def one_way_elsewhere(event: PositionTaken) -> PositionTaken:
    """The relay's first two ways lead to one another's gateways."""
    ways = [line.split(" -> ") for line in event.detail]
    ways[0][1], ways[1][1] = ways[1][1], ways[0][1]
    return dataclasses.replace(event, detail=tuple(" -> ".join(ends) for ends in ways))


def by_the_client(event: MoveTried) -> bool:
    return bool(event.leak) and event.outcome == REFUSED


def control(event: MoveTried) -> bool:
    return not event.leak


FIELD_CASES: tuple[tuple[type, str, object, Callable[[Any], bool], str], ...] = (
    (RunStarted, "mode", "elsewhere", any_of, "there is no mode elsewhere"),
    (RunStarted, "run", "another", any_of, "and the run is another"),
    (RunStarted, "key_type", "rsa", any_of, "keys of the type rsa, and certificates for others"),
    (RunStarted, "student", "s12", any_of, "the certificate names no student, and the run the student s12"),
    (BundleIssued, "subject", "CN=carol", any_of, "has another subject: O=Bank of Example,CN=alice"),
    (BundleIssued, "issuer", "CN=carol", any_of, "has another issuer: "),
    (BundleIssued, "key_type", "ECDSA, secp384r1", any_of, "has another key type: ECDSA, secp256r1"),
    (BundleIssued, "not_after", "2099-01-01T00:00:00+00:00", any_of, "has another not after: "),
    (GatewayListening, "versions", ("1.3",), any_of, "does not serve these versions: 1.3"),
    (GatewayListening, "host", "127.0.0.9", any_of, "and not at 127.0.0.9"),
    (ClientAuthenticated, "gateway", "mtls@nobody", any_of, "no gateway mtls@nobody is listening"),
    (ClientRefused, "gateway", "mtls@nobody", any_of, "no gateway report for this attempt"),
    (ClientAuthenticated, "subject", "CN=bob", any_of, "was authenticated with has another subject: O=Bank of Exam"),
    (MoveTried, "body", '{"customer":"alice","balance":9999}', accepted, "and alice never had more than"),
    (AccountOpened, "balance", 5, lambda one: one.customer == "bob", "does not open all accounts with the same bal"),
    (AccountOpened, "balance", 500, lambda one: one.customer == "mallory", "and she begins with nothing"),
    (AccountOpened, "customer", "eve", lambda one: one.customer == "mallory", "has no account of mallory"),
    (AccountOpened, "customer", "bob", lambda one: one.customer == "carol", "what an earlier account-opened has told"),
    (CertificateCaptured, "leak", "log", any_of, "by the leak log"),
    (CertificateCaptured, "leak", "interception", any_of, "an interceptor's report has more than mitmproxy exposes"),
    (
        CertificateCaptured,
        "server",
        "access.log",
        any_of,
        "no certificate can come from access.log by the leak wire",
    ),
    (
        ClientAuthenticated,
        "proof",
        "received, not checked",
        lambda one: one.proof.endswith(", valid"),
        "cannot have let a client in with this proof",
    ),
    (ClientAuthenticated, "proof", "none received", lambda one: "OpenSSL" in one.proof, "the capture has one"),
    (LoggedIn, "connection", "ab" * 32, any_of, "does not tell of this login"),
    (LoggedIn, "url", "https://localhost:9", any_of, "alice logged in at https://localhost:9, and the capture"),
    (LoggedIn, "resumed", True, lambda one: one.tls == "1.3", "and the capture shows the contrary"),
    (MoveTried, "alert", 51, accepted, "the alert 51 and its sender None do not go together"),
    (MoveTried, "alert_by", "the bank", by_the_client, "its sender the bank do not go together"),
    (MoveTried, "status", 201, accepted, "accepted, and what came back does not say so"),
    (MoveTried, "status", 200, by_the_client, "the attempt ended by HTTP 200 and by the alert"),
    (MoveTried, "body", None, accepted, "an answer has a status and a body"),
    (MoveTried, "error", "the cable was cut", accepted, "why it was neither accepted nor refused: the cable was cut"),
    (MoveTried, "header", "ab", by_the_client, "asks in TLS, and a certificate was sent in a header"),
    (MoveTried, "signed_by", "ab", lambda one: one.leak and one.move == "foreign-key", "none of this move"),
    (MoveTried, "signed_by", "ab", by_the_client, "none of this move"),
    (MoveTried, "seen_at", "127.0.0.1:9", by_the_client, "nothing was found at 127.0.0.1:9 through the leak wire"),
    (MoveTried, "seen_at", "127.0.0.1:9", control, "a control is tried once, with what the lab has"),
    (MoveTried, "round", 2, control, "a control is tried once, with what the lab has"),
    (PositionTaken, "kind", "telepathy", any_of, "there is no position telepathy"),
    (PositionTaken, "detail", ("127.0.0.1:9 -> 127.0.0.1:9",), any_of, "the relay leads to no gateway of this run"),
    (CertificateCaptured, "client", "127.0.0.1:9", any_of, "has no such handshake as"),
    (CertificateCaptured, "record", "1603020386", any_of, "tells: its record"),
    (CertificateCaptured, "note", "nothing to see", any_of, "tells: its note"),
    (CertificateCaptured, "transcript", (), any_of, "tells: its transcript"),
    (CertificateCaptured, "session", "ab", any_of, "tells: its session"),
    (HandshakeSeen, "client_records", ("handshake 1",), any_of, "tells: its client records"),
    (HandshakeSeen, "server_records", (), any_of, "tells: its server records"),
    (HandshakeSeen, "server_name", "example.org", any_of, "tells: its server name"),
    (HandshakeSeen, "client_random", "ab" * 32, any_of, "tells: its client random"),
    (HandshakeSeen, "asked", True, any_of, "tells: its asked"),
    (CaptureSearched, "connections", 99, any_of, "tells: its connections"),
    (CaptureSearched, "octets", 99, any_of, "tells: its octets"),
    (CaptureSearched, "gaps", 99, any_of, "tells: its gaps"),
    (CaptureSearched, "cut", 99, any_of, "tells: its cut"),
    (CaptureSearched, "alone", 99, any_of, "tells: its alone"),
    (CaptureSearched, "certificate_at", ("elsewhere",), any_of, "tells: its certificate at"),
    (CaptureSearched, "keys", 1, any_of, "the forms are not the same for each of 1 keys"),
    (CaptureSearched, "key_forms", ("key 1, scalar", "key 2, scalar"), any_of, "a form that it did not look for"),
    (FileSearched, "sought", ("sha256 of nothing",), any_of, "tells: its sought"),
    (FileSearched, "control_at", (), any_of, "tells: its control at"),
    (LoginDecrypted, "client", "127.0.0.1:9", any_of, "does not show the handshake that"),
    (LoginDecrypted, "tls", "1.2", in_tls13, "does not show the handshake that"),
)


@pytest.mark.parametrize(
    ("kind", "name", "value", "having", "why"), FIELD_CASES, ids=[f"{one[0].__name__}-{one[1]}" for one in FIELD_CASES]
)
def test_a_changed_field_is_found(
    finished_run: Path, kind: type, name: str, value: object, having: Callable[[Any], bool], why: str
) -> None:
    judgement = judged(changed(finished_run, kind, with_field(name, value), having))
    assert not judgement.as_expected
    assert why in told(judgement)


@pytest.mark.parametrize("change", [longer, in_plaintext])
def test_another_reading_of_alices_handshake_is_found(finished_run: Path, change: Change) -> None:
    judgement = judged(changed(finished_run, LoginDecrypted, change, in_tls13))
    assert "read with victim-client/keys.log does not show the handshake that lab#" in told(judgement)


def test_a_handshake_that_was_read_before_its_keys_came_is_no_finding(finished_run: Path, tmp_path: Path) -> None:
    """In a class the lab may copy the key log before the capture."""
    folders = open_run(finished_run).folders
    (tmp_path / "none").touch()
    unread = {one.client: one for one in decrypted_logins(folders.capture, tmp_path / "none")}
    run = changed(finished_run, LoginDecrypted, lambda event: unread[event.client], in_tls13)
    assert not [why for why in unlike_the_files(run) if "lab#" in why or "the lab does not tell" in why]
    without = changed(
        finished_run,
        LoginDecrypted,
        lambda event: dataclasses.replace(unread[event.client], messages=unread[event.client].messages[1:]),
        in_tls13,
    )
    assert any("does not show the handshake that" in why for why in unlike_the_files(without))


def test_a_way_of_the_relay_that_led_elsewhere_is_found(finished_run: Path) -> None:
    judgement = judged(changed(finished_run, PositionTaken, one_way_elsewhere))
    assert "and the gateways tell otherwise" in told(judgement)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (LoginDecrypted, "and the lab does not tell of it"),
        (HandshakeSeen, "and the attacker does not tell of it"),
        (CertificateCaptured, "and the attacker does not tell of it"),
    ],
)
def test_what_the_capture_has_and_nobody_tells_is_found(finished_run: Path, kind: type, why: str) -> None:
    first = open_run(finished_run).first(kind)
    judgement = judged(doctored_run(finished_run, lambda event: None if event == first else event))
    assert why in "\n".join(unlike_the_files(doctored_run(finished_run, lambda e: None if e == first else e)))
    assert not judgement.as_expected


Edit: TypeAlias = Callable[[bytes], bytes]

LOG_CASES: tuple[tuple[str, str, Edit, str], ...] = (
    (
        "the last event dropped",
        "attacker/events.jsonl",
        lambda c: _first_lines(c, -1),
        "the log of attacker has no end",
    ),
    ("several dropped", "attacker/events.jsonl", lambda c: _first_lines(c, -2), "the log of attacker has "),
    (
        "all but one dropped",
        "victim-server/events.jsonl",
        lambda c: _first_lines(c, 1),
        "no gateway is listening",
    ),
    ("garbage", "lab/events.jsonl", lambda c: c + b"garbage\n", "lab/events.jsonl has lines that are no events: line "),
    ("half a line", "lab/events.jsonl", lambda c: c + b'{"version"', "lab/events.jsonl has lines that are no events"),
    (
        "an empty line",
        "attacker/events.jsonl",
        lambda c: b"\n" + c,
        "attacker/events.jsonl has lines that are no event",
    ),
    (
        "a field of another type",
        "attacker/events.jsonl",
        lambda c: c.replace(b'"kind": "relay", "detail": ["', b'"kind": "relay", "detail": [7, "'),
        "the event attacker#1 is damaged: its fields are not those of position-taken",
    ),
    (
        "an earlier time",
        "attacker/events.jsonl",
        lambda c: re.sub(rb'("sequence": 9, "time": ")\d{4}', rb"\g<1>2000", c),
        "the log of attacker goes back in time: event 9 is later than 1",
    ),
    (
        "other keys",
        "victim-client/keys.log",
        lambda c: _other_digits(c),
        "read with victim-client/keys.log does not show",
    ),
    ("no keys", "victim-client/keys.log", lambda c: b"", "read with victim-client/keys.log does not show"),
    (
        "an outcome",
        "verdicts.json",
        lambda c: c.replace(b'"outcome": "refused"', b'"outcome": "accepted"', 1),
        "has other",
    ),
    ("a body", "verdicts.json", lambda c: c.replace(b":900}", b":90}"), "verdicts.json has other verdicts than follow"),
    ("a control", "verdicts.json", lambda c: c.replace(b'"control": "client"', b'"control": "x"', 1), "other controls"),
    ("no JSON", "verdicts.json", lambda c: c[:-9], "verdicts.json is not readable"),
    (
        "another's",
        "verdicts.json",
        lambda c: c.replace(b'"run": "20', b'"run": "19'),
        "verdicts.json is that of the run",
    ),
)


def _first_lines(content: bytes, count: int) -> bytes:
    """The first `count` lines; with a negative count all but the last ones."""
    return b"".join(content.splitlines(keepends=True)[:count])


def _other_digits(content: bytes) -> bytes:
    """Each secret in a key log with another last digit."""
    return b"".join(line[:-1] + (b"0" if line[-1:] != b"0" else b"1") + b"\n" for line in content.splitlines())


@pytest.mark.parametrize(("name", "edit", "why"), [one[1:] for one in LOG_CASES], ids=[one[0] for one in LOG_CASES])
def test_a_changed_file_is_found(finished_run: Path, tmp_path: Path, name: str, edit: Edit, why: str) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    content = (copy / name).read_bytes()
    changed = edit(content)
    assert changed != content
    (copy / name).write_bytes(changed)
    judgement = judged(open_run(copy))
    assert not judgement.as_expected
    assert why in told(judgement)


def in_a_class(event: Event) -> Event:
    return dataclasses.replace(event, mode="classroom") if isinstance(event, RunStarted) else event


def test_in_a_class_the_banks_log_may_have_been_read_before_alices(finished_run: Path) -> None:
    """Her last login is not told by the bank then; an earlier one is."""
    reports = list(open_run(finished_run).all(ClientAuthenticated))
    logins = list(open_run(finished_run).all(LoggedIn))

    def without(login: LoggedIn, later: bool) -> str:
        gone = [one for one in reports if one.connection == login.connection]
        gone += reports[reports.index(gone[0]) :] if later else []
        run = doctored_run(finished_run, lambda event: None if event in gone else in_a_class(event))
        return told(judged(run)) + "\n".join(inconsistent(run))

    assert "does not tell of this login" in without(logins[0], later=False)
    assert "does not tell of this login" not in without(logins[-1], later=True)


def test_in_a_class_a_line_may_be_copied_in_part(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    path = copy / "attacker" / FILE_NAME
    path.write_bytes(path.read_bytes() + b'{"version"')
    assert "attacker/events.jsonl has lines that are no events: line " in told(judged(open_run(copy)))
    assert "has lines that are no events" not in told(judged(doctored_run(copy, in_a_class)))


def test_the_number_of_a_refused_event_is_not_missing(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    path = copy / "attacker" / FILE_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    moved = re.sub(rb'"version": \d', b'"version": 2', lines[1])
    path.write_bytes(b"".join([lines[0], moved, *lines[2:]]))
    findings = told(judged(open_run(copy)))
    assert "the part attacker holds events of the format 2, and the run's is 3; they are left out: number 2" in findings
    assert "has a gap" not in findings


def test_missing_verdicts_are_found(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (copy / "verdicts.json").unlink()
    assert "all parts have stopped, and verdicts.json is missing" in told(judged(open_run(copy)))


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
    *(
        (
            f"one of its {name} twice",
            RunStarted,
            lambda event, name=name: dataclasses.replace(event, **{name: getattr(event, name) * 2}),
            any_of,
            f"the run sets out to try one of its {name} twice",
        )
        for name in ("gateways", "moves", "versions", "leaks")
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


def in_a_file(event: CertificateCaptured) -> CertificateCaptured:
    """The same certificate, found in a log."""
    nothing = dict.fromkeys(("client", "tls", "record", "message", "client_random", "server_random", "session"), "")
    return dataclasses.replace(event, leak="log", server="access.log", proof=None, transcript=(), **nothing)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"subject": "CN=bob"}, "the certificate that was kept has other names"),
        ({"issuer": "CN=bob"}, "the certificate that was kept has other names"),
        ({"tls": "1.3"}, "it was in a file, which has no connection to show"),
        ({"session": "ab"}, "it was in a file, which has no connection to show"),
        ({"proof": "0f00"}, "it has a proof, and no Certificate message before it"),
        ({"client": "127.0.0.1:9"}, "the version of TLS is missing"),
    ],
)
def test_a_certificate_from_a_file_shows_what_a_file_shows(
    finished_run: Path, changes: dict[str, Any], why: str
) -> None:
    run = doctored_run(finished_run, lambda event: event)
    seen = next(one for one in run.events if isinstance(one.event, CertificateCaptured))
    assert isinstance(seen.event, CertificateCaptured)
    run.events.append(dataclasses.replace(seen, event=dataclasses.replace(in_a_file(seen.event), **changes)))
    told = "\n".join(odd_captures(run))
    assert why in told
    assert bool(told) == bool(why)


@pytest.mark.parametrize("kind", ONCE)
def test_what_can_be_told_once_is_told_once(finished_run: Path, kind: type) -> None:
    run = doctored_run(finished_run, lambda event: event)
    captured = next(one for one in run.events if isinstance(one.event, CertificateCaptured))
    assert isinstance(captured.event, CertificateCaptured)
    found = in_a_file(captured.event)
    for event in (KeyFound("log", "access.log", found.subject, found.sha256), PasswordFound("log", "bob", "a", "b")):
        run.events.append(dataclasses.replace(captured, event=event))
    assert list(told_twice(run)) == []
    first = next(one for one in run.events if isinstance(one.event, kind))
    run.events.append(first)
    assert list(told_twice(run)) == [f"{first.number} tells again what an earlier {type_name(kind)} has told"]
    in_class = doctored_run(finished_run, in_a_class)
    in_class.events += [one for one in in_class.events if isinstance(one.event, kind)][:1]
    assert bool(list(told_twice(in_class))) == (kind is LoggedIn)


def test_a_connection_has_one_login(finished_run: Path) -> None:
    run = doctored_run(finished_run, lambda event: event)
    login = next(one for one in run.events if isinstance(one.event, LoggedIn))
    assert isinstance(login.event, LoggedIn)
    run.events.append(dataclasses.replace(login, event=dataclasses.replace(login.event, balance=1)))
    assert list(told_twice(run)) == [f"{login.number} tells again what an earlier logged-in has told"]


@pytest.mark.parametrize(
    ("changes", "also", "why"),
    [
        ({}, (), "the run did not set out to use the leak log"),
        ({"leak": "archive"}, (), "the leak archive yields keys, and none of this certificate was found in access.log"),
        ({}, ({"leak": "database"},), "access.log leaked in more ways than one: database, log"),
        (
            {"leak": "interception", "server": "127.0.0.1:9", "client": "127.0.0.1:8"},
            (),
            "the interceptor does not tell that 127.0.0.1:8 showed 127.0.0.1:9 this certificate",
        ),
    ],
)
def test_a_certificate_comes_with_what_its_leak_yields(
    finished_run: Path, changes: dict[str, Any], also: tuple[dict[str, Any], ...], why: str
) -> None:
    run = doctored_run(finished_run, lambda event: event)
    seen = next(one for one in run.events if isinstance(one.event, CertificateCaptured))
    assert isinstance(seen.event, CertificateCaptured)
    for fields in (changes, *also):
        run.events.append(dataclasses.replace(seen, event=dataclasses.replace(in_a_file(seen.event), **fields)))
    assert why in "\n".join(inconsistent(run))


def test_an_interceptor_keeps_the_certificates_that_it_is_shown(finished_run: Path) -> None:
    run = doctored_run(finished_run, lambda event: event)
    seen = next(one for one in run.events if isinstance(one.event, CertificateCaptured))
    assert isinstance(seen.event, CertificateCaptured)
    ends = "127.0.0.1:8", "127.0.0.1:9"
    run.events.append(dataclasses.replace(seen, event=Intercepted(*ends, "1.3", seen.event.sha256, "")))
    assert "and does not tell that it kept it" in "\n".join(inconsistent(run))


def test_an_interceptor_goes_on_from_each_address_once(finished_run: Path) -> None:
    run = doctored_run(finished_run, lambda event: event)
    seen = next(one for one in run.events if one.part == "attacker")
    port = next(one.port for one in run.all(GatewayListening))
    went_on = WentOn(f"127.0.0.1:{port}", "127.0.0.1:9", "1.2", "")
    run.events += [dataclasses.replace(seen, event=went_on)] * 2
    assert "the interceptor went on from 127.0.0.1:9 2 times" in "\n".join(inconsistent(run))


def test_a_shop_and_alice_tell_the_same_of_her_login(finished_run: Path) -> None:
    for changes, found in (
        ({}, False),
        ({"url": "https://localhost:9"}, True),
        ({"sha256": "ab" * 32}, True),
        ({"gateway": "mtls@openssl"}, True),
    ):
        run = doctored_run(finished_run, lambda event: event)
        seen = next(one for one in run.events if isinstance(one.event, CertificateCaptured))
        login = next(one for one in run.all(LoggedIn))
        assert isinstance(seen.event, CertificateCaptured)
        shown = dataclasses.replace(
            seen.event, leak="rogue-server", server="127.0.0.1:7", sha256=login.sha256, server_random="cd" * 32
        )
        at_the_shop = {"gateway": "shop", "url": "https://localhost:7", "connection": "cd" * 32}
        hers = dataclasses.replace(login, **at_the_shop | changes)  # type: ignore[arg-type]
        run.events += [dataclasses.replace(seen, event=shown), dataclasses.replace(seen, event=hers)]
        assert ("and mallory's shop at 127.0.0.1:7 tells otherwise" in "\n".join(inconsistent(run))) == found


def test_an_attempt_is_made_of_a_certificate_of_the_gateways_kind(finished_run: Path) -> None:
    captured = list(open_run(finished_run).all(CertificateCaptured))
    own, from_ca = (next(one.server for one in captured if (one.subject == one.issuer) is own) for own in (True, False))
    for here, elsewhere in ((own, from_ca), (from_ca, own)):
        run = changed(finished_run, MoveTried, with_field("seen_at", elsewhere), lambda one: one.seen_at == here)  # noqa: B023
        assert re.search(
            rf"no certificate of alice's that \S+ takes was found at {elsewhere}", "".join(inconsistent(run))
        )


@pytest.mark.parametrize("name", ["", "shop", "mtls@instrument, by request"])
def test_alice_logs_in_where_the_gateways_tell_of_it(finished_run: Path, name: str) -> None:
    run = changed(finished_run, LoggedIn, with_field("gateway", name))
    assert f"alice logged in at {name or 'nowhere'}, and the gateways tell otherwise" in "".join(inconsistent(run))


def test_a_first_login_is_not_resumed(finished_run: Path) -> None:
    login = next(one for one in open_run(finished_run).all(LoggedIn))
    hers = dataclasses.replace(login, gateway=f"{login.gateway}, by request", connection="", resumed=True)
    run = changed(finished_run, LoggedIn, lambda event: hers)
    assert "a first login with a certificate cannot have been resumed" in "\n".join(inconsistent(run))


@pytest.mark.parametrize("field", ["", "leak", "file", "subject", "sha256"])
def test_a_key_belongs_to_a_certificate_that_was_found_there(finished_run: Path, field: str) -> None:
    run = doctored_run(finished_run, lambda event: event)
    seen = next(one for one in run.events if isinstance(one.event, CertificateCaptured))
    assert isinstance(seen.event, CertificateCaptured)
    found = in_a_file(seen.event)
    key = KeyFound(found.leak, found.server, found.subject, found.sha256)
    if field:
        key = dataclasses.replace(key, **{field: "ab"})
    run.events += [dataclasses.replace(seen, event=event) for event in (found, key)]
    assert any("no certificate of this key was found in" in why for why in inconsistent(run)) == bool(field)


@pytest.mark.parametrize(
    ("seen_at", "form", "fits"),
    [
        ("register.sqlite", "a salted hash", True),
        ("127.0.0.1:443", "the password itself", True),
        ("register.sqlite", "the password itself", False),
        ("127.0.0.1:443", "a salted hash", False),
        ("127.0.0.1:443", "", False),
    ],
)
def test_what_was_found_of_a_password_has_the_form_that_it_has_there(
    finished_run: Path, seen_at: str, form: str, fits: bool
) -> None:
    run = doctored_run(finished_run, lambda event: event)
    last = next(one for one in reversed(run.events) if one.part == "attacker")
    run.events.append(dataclasses.replace(last, event=PasswordFound("interception", "alice", seen_at, form)))
    assert any("found of a password at" in why for why in inconsistent(run)) != fits


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"reason": "", "tls": "1.2"}, "refused this connection, and the interceptor tells of no failure"),
        ({"local": "127.0.0.1:9"}, "does not tell of this connection"),
        ({"reason": "ssl/tls alert internal error"}, ", and the interceptor was told: ssl/tls alert internal error"),
        ({"tls": "1.2"}, "the interceptor's handshake failed, and it was in TLS 1.2: "),
        ({"server": "127.0.0.1:9"}, "no gateway is listening at 127.0.0.1:9"),
    ],
)
def test_an_interceptor_and_the_gateway_behind_it_tell_the_same(
    finished_run: Path, changes: dict[str, Any], why: str
) -> None:
    run = doctored_run(finished_run, lambda event: event)
    refused = next(one for one in run.events if isinstance(one.event, ClientRefused))
    assert isinstance(refused.event, ClientRefused)
    listening = next(one for one in run.all(GatewayListening) if one.gateway == refused.event.gateway)
    assert refused.event.alert
    alert = alert_name(refused.event.alert).replace("_", " ")
    went_on = WentOn(f"127.0.0.1:{listening.port}", refused.event.peer, "", f"ssl/tls alert {alert}")
    run.events.append(dataclasses.replace(refused, event=dataclasses.replace(went_on, **changes)))
    told = "\n".join(inconsistent(run))
    assert why in told
    assert bool(told) == bool(why)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"status": 200, "body": "alice"}, "ended by HTTP 200 and by the alert 51"),
        ({"body": "alice"}, "an answer has a status and a body"),
        ({"alert_by": None}, "the alert 51 and its sender None do not go together"),
        ({"same_keys": True}, "cannot have the same keys"),
    ],
)
def test_a_relayed_proof_ends_in_one_way(finished_run: Path, changes: dict[str, Any], why: str) -> None:
    run = doctored_run(finished_run, lambda event: event)
    tried = next(one for one in run.events if isinstance(one.event, MoveTried) and one.event.alert == ALERT)
    assert isinstance(tried.event, MoveTried)
    same: dict[str, Any] = {
        field.name: getattr(tried.event, field.name, "") for field in dataclasses.fields(ProofRelayed)
    }
    relayed = ProofRelayed(**same | {"key_exchange": "ECDHE", "same_keys": False})
    run.events.append(dataclasses.replace(tried, event=dataclasses.replace(relayed, **changes)))
    told = "\n".join(inconsistent(run))
    assert why in told
    assert bool(told) == bool(why)


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
