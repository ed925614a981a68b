"""Whether the parts' logs are whole, and verdicts.json rests on them: by logs and verdicts made by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handmade import EVIDENCE, JUDGEMENT, NOON, RELAY, STARTED, TRIED, VERDICT, run_of, with_fields
from lab.catalogue.outcomes import ACCEPTED
from lab.events.log import FILE_NAME, Recorded, to_line
from lab.events.run import RefusedEvent, Run
from lab.events.types import (
    CLASSROOM,
    DONE,
    Event,
    PartStopped,
    Trouble,
    UnknownEvent,
)
from lab.judging.judgement import Control, HttpAnswer, SentAlert
from lab.judging.logs import broken_logs, event_counts, other_verdicts, verdicts_file

STOPPED = PartStopped(DONE)
CLASS = with_fields(STARTED, mode=CLASSROOM)
TROUBLE = Trouble("away")


def logs(folder: Path, *events: Event, verdicts: object = None) -> Run:
    """A run of one part, with its log and with verdicts.json."""
    run = run_of(*events, folder=folder)
    (folder / "lab").mkdir(exist_ok=True)
    (folder / "lab" / FILE_NAME).write_text("".join(map(to_line, run.events)))
    if verdicts is not None:
        run.folders.verdicts.write_text(json.dumps(verdicts))
    return run


def broken(run: Run) -> str:
    return "\n".join(broken_logs(run))


VERDICTS = {"run": "a run", "events": {"lab": 2}}


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ((1, 2, 3), ""),
        ((2, 3), "the log of lab has a gap: event 1 is missing"),
        ((1, 3), "the log of lab has a gap: event 2 is missing"),
        ((1, 7), "the log of lab has a gap: event 2, 3, 4 is missing"),
        ((1, 2, 2, 3, 3), "the log of lab has event 2 more than once"),
        ((1, 3, 2), "the log of lab goes back in time: event 3 is later than 2"),
        ((1, 4, 3, 2), "the log of lab goes back in time: event 4 is later than 3"),
    ],
)
def test_the_events_of_a_part_are_numbered_in_order(tmp_path: Path, numbers: tuple[int, ...], found: str) -> None:
    run = run_of(CLASS, *[TROUBLE] * (len(numbers) - 1), folder=tmp_path)
    run.events = [replace(one, sequence=number) for one, number in zip(run.events, numbers, strict=True)]
    assert broken(run) == found
    other = [replace(one, part="attacker", sequence=at) for at, one in enumerate(run.events, 1)]
    assert broken(with_events(run, [*run.events, *other])) == found
    for version in (2, 4):
        assert broken(with_events(run, [replace(one, version=version) for one in run.events])) == ""


def with_events(run: Run, events: list[Recorded]) -> Run:
    changed = Run(run.folders.path)
    changed.events = events
    return changed


def test_the_number_of_an_event_that_was_refused_is_taken(tmp_path: Path) -> None:
    run = run_of(CLASS, TROUBLE, TROUBLE, folder=tmp_path)
    second = run.events.pop(1)
    assert "has a gap" in broken(run)
    run.refused.append(RefusedEvent("lab", "events in the name of another part", replace(second, part="attacker")))
    assert "has a gap" in broken(run)
    run.refused.append(RefusedEvent("lab", "events of the type trouble", second))
    assert broken(run) == ""


def test_an_event_that_this_version_knows_has_its_fields(tmp_path: Path) -> None:
    damaged, unknown = UnknownEvent("trouble", {}), UnknownEvent("time-travelled", {})
    found = "the event lab#2 is damaged: its fields are not those of trouble"
    assert broken(run_of(CLASS, damaged, unknown, folder=tmp_path)) == found


@pytest.mark.parametrize(
    ("started", "more", "over", "found"),
    [
        (STARTED, "", True, ""),
        (STARTED, "garbage\n", True, "line 3"),
        (STARTED, "\n{}\n", True, "line 3, 4"),
        (STARTED, "1\n2\n3\n4\n", True, "line 3, 4, 5 and more"),
        (STARTED, "1\n2\n3\n", True, "line 3, 4, 5"),
        (STARTED, "\udcff\n", True, "line 3"),
        (STARTED, "half a li", True, "line 3"),
        (STARTED, "half a li", False, ""),
        (CLASS, "half a li", True, ""),
        (CLASS, "1\nhalf a li", True, "line 3"),
    ],
)
def test_each_line_of_a_log_is_an_event(tmp_path: Path, started: Event, more: str, over: bool, found: str) -> None:
    """A log that is still written, or copied in a class, may end within a line."""
    run = logs(tmp_path, started, STOPPED if over else TROUBLE, verdicts=VERDICTS if over else None)
    with (tmp_path / "lab" / FILE_NAME).open("ab") as file:
        file.write(more.encode(errors="surrogateescape"))
    assert broken(run) == (f"lab/events.jsonl has lines that are no events: {found}" if found else "")


NO_END = "the log of lab has no end: its last event, lab#2, does not say that the part stopped"


@pytest.mark.parametrize(
    ("events", "verdicts", "found"),
    [
        ((STARTED, STOPPED), VERDICTS, ""),
        ((STARTED, TROUBLE), VERDICTS, NO_END),
        ((STARTED, TROUBLE), None, ""),
        ((STARTED, STOPPED), None, "all parts have stopped, and verdicts.json is missing"),
        ((CLASS, TROUBLE), VERDICTS, ""),
        ((CLASS, STOPPED), None, ""),
        ((TROUBLE, TROUBLE), VERDICTS, ""),
        ((TROUBLE, STOPPED), None, ""),
        (
            (STARTED, STOPPED),
            VERDICTS | {"run": "another"},
            "verdicts.json is that of the run another, and the run is a run",
        ),
        ((STARTED, STOPPED), [], "verdicts.json is not readable"),
        (
            (STARTED, STOPPED),
            VERDICTS | {"events": {"lab": 3}},
            "the log of lab has 2 events, and verdicts.json rests on 3",
        ),
        ((STARTED, STOPPED), VERDICTS | {"events": {"lab": 1}}, ""),
        (
            (STARTED, STOPPED),
            VERDICTS | {"events": {"attacker": 1}},
            "the log of attacker has 0 events, and verdicts.json rests on 1",
        ),
        ((STARTED, STOPPED), VERDICTS | {"events": {"lab": True}}, ""),
        ((STARTED, STOPPED), VERDICTS | {"events": {"lab": "3"}}, ""),
        ((STARTED, STOPPED), VERDICTS | {"events": [3]}, ""),
        ((STARTED, STOPPED), {"run": "a run"}, ""),
    ],
)
def test_a_demo_ends_with_all_parts_stopped_and_its_verdicts(
    tmp_path: Path, events: tuple[Event, ...], verdicts: object, found: str
) -> None:
    """In a class the parts go on."""
    assert broken(logs(tmp_path, *events, verdicts=verdicts)) == found


def test_not_all_parts_have_stopped_while_one_goes_on(tmp_path: Path) -> None:
    run = run_of(STARTED, STOPPED, folder=tmp_path)
    run.events.append(Recorded("attacker", 1, NOON, TROUBLE))
    assert broken(run) == ""
    run.events.append(Recorded("attacker", 2, NOON, STOPPED))
    assert broken(run) == "all parts have stopped, and verdicts.json is missing"


def test_events_are_counted_by_part() -> None:
    run = run_of(STARTED, STOPPED)
    run.events.append(Recorded("attacker", 1, NOON, TROUBLE))
    assert list(event_counts(run).items()) == [("attacker", 1), ("lab", 2)]


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, '{"a": 1}'])
def test_verdicts_that_are_no_object_are_not_read(tmp_path: Path, content: str) -> None:
    run = run_of(folder=tmp_path)
    assert verdicts_file(run) is None
    run.folders.verdicts.write_text(content)
    assert verdicts_file(run) == ({"a": 1} if content == '{"a": 1}' else None)


A_PROOF: Any = {"scheme": "ecdsa", "signature": "ab"}
WHOLE = replace(
    JUDGEMENT,
    controls=(Control("mtls@openssl", "1.2", "client", ACCEPTED), Control("mtls@openssl", "1.3", "client", ACCEPTED)),
    verdicts=(
        VERDICT,
        replace(
            VERDICT, move="replay-proof", evidence=replace(EVIDENCE, alert=SentAlert("decrypt_error", 51, "server"))
        ),
        replace(VERDICT, tls="1.3", evidence=replace(EVIDENCE, http=HttpAnswer(200, "alice"))),
        replace(
            VERDICT,
            move="flipped-proof",
            evidence=replace(EVIDENCE, proof=A_PROOF, transfer="100 moved", note="of TLS 1.2", whose="mallory's"),
        ),
    ),
    relays=(RELAY,),
    events={"lab": 2},
)


def other(folder: Path, verdicts: object, *more: Event, version: int = 3) -> str:
    """What is said of these verdicts, beside those that follow from the events."""
    run = logs(folder, STARTED, STOPPED, *more, verdicts=verdicts)
    run.events = [replace(one, version=version) for one in run.events]
    return "\n".join(other_verdicts(run, WHOLE))


def with_value(path: tuple[str | int, ...], value: object) -> Any:
    """What verdicts.json would say, with another value at one place."""
    told = at = json.loads(WHOLE.to_json())
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return told


OTHER_VERDICTS = "verdicts.json has other verdicts than follow from the events"
LAST_VERDICT = f"{OTHER_VERDICTS}: flipped-proof at mtls@openssl, TLS 1.2"
SECOND_VERDICT = f"{OTHER_VERDICTS}: replay-proof at mtls@openssl, TLS 1.2"
OTHER_CONTROLS = "verdicts.json has other controls than follow from the events"
OTHER_RELAYS = "verdicts.json has other relays than follow from the events"


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        (("run",), "a run", ""),
        (("verdicts", 1, "evidence", "clause"), "other words", ""),
        (("verdicts", 3, "evidence", "proof", "scheme"), "other words", ""),
        (("verdicts", 3, "evidence", "transfer"), "other words", ""),
        (("verdicts", 3, "evidence", "proof", "signature"), "x", LAST_VERDICT),
        (("verdicts", 1, "evidence", "unusual"), 7, ""),
        (("verdicts", 3, "evidence", "proof"), None, LAST_VERDICT),
        *((("verdicts", 3, "evidence", name), "", LAST_VERDICT) for name in ("transfer", "note", "whose")),
        *(
            (("verdicts", 1, name), "x", SECOND_VERDICT)
            for name in ("move", "gateway", "tls", "leak", "outcome", "scheme", "implementation", "expected")
        ),
        *(
            (("verdicts", 1, "evidence", name), "x", SECOND_VERDICT)
            for name in (
                *("attempt", "alert", "http", "reason", "ms", "stolen", "messages"),
                *("header", "proof_seen", "events", "alert_seen_by", "attempts", "deviations", "began"),
            )
        ),
        (("verdicts", 1, "evidence", "alert", "number"), 50, SECOND_VERDICT),
        (("verdicts", 1, "evidence", "messages", 2, "hex"), "15", SECOND_VERDICT),
        (("verdicts", 2, "evidence", "http", "body"), "bob", f"{OTHER_VERDICTS}: omit-proof at mtls@openssl, TLS 1.3"),
        (("verdicts", 1), "garbage", SECOND_VERDICT),
        (("verdicts", 1, "evidence"), "garbage", SECOND_VERDICT),
        (("verdicts",), {}, f"{OTHER_VERDICTS}: omit-proof at mtls@openssl, TLS 1.2"),
        (("controls", 1, "outcome"), "x", f"{OTHER_CONTROLS}: client at mtls@openssl, TLS 1.3"),
        (("controls", 1, "tls"), "x", f"{OTHER_CONTROLS}: client at mtls@openssl, TLS 1.3"),
        *(
            (("relays", 0, name), "x", f"{OTHER_RELAYS}: attacker#2 at mtls@openssl, TLS 1.2")
            for name in (
                *("attempt", "gateway", "tls", "outcome", "alert", "scheme", "implementation"),
                *("key_exchange", "same_keys", "expected", "as_expected"),
            )
        ),
        (("relays", 0, "reason"), "other words", ""),
        (("lab",), "x", "verdicts.json says of lab otherwise than the events"),
        (("student",), "x", "verdicts.json says of student otherwise than the events"),
        (("as_expected",), "x", "verdicts.json says of as_expected otherwise than the events"),
        *(
            (("capture", name), "x", "verdicts.json is about another certificate than the events")
            for name in ("subject", "sha256", "tls")
        ),
        (("capture", "source"), "x", ""),
    ],
)
def test_verdicts_are_those_that_follow_from_the_events(
    tmp_path: Path, path: tuple[str | int, ...], value: object, found: str
) -> None:
    """What was measured, and not the words of another version of the lab."""
    assert other(tmp_path, with_value(path, value)) == found


def test_a_verdict_too_many_is_found(tmp_path: Path) -> None:
    rows = json.loads(WHOLE.to_json())["verdicts"]
    assert other(tmp_path, with_value(("verdicts",), [*rows, rows[0]])) == OTHER_VERDICTS


def test_verdicts_that_rest_on_other_events_are_not_compared(tmp_path: Path) -> None:
    """A later attempt can change them; earlier versions did not say on how many events they rest."""
    changed = with_value(("verdicts",), [])
    assert other(tmp_path, changed, TROUBLE)
    assert other(tmp_path, changed | {"events": {"lab": 3}}, TRIED)
    assert other(tmp_path, changed, TRIED) == ""
    run = logs(tmp_path, STARTED, STOPPED, verdicts=changed)
    run.events.append(Recorded("attacker", 1, NOON, TRIED))
    assert list(other_verdicts(run, WHOLE)) == []
    assert other(tmp_path, changed, version=2) == ""
    assert other(tmp_path, changed | {"events": {}}) == ""
    assert other(tmp_path, None) == ""
