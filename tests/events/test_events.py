"""The event log: what a part reports is what a reader gets, whatever else stands in the file."""

import dataclasses
import json
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lab.events.log import FILE_NAME, EventLog, Recorded, Tail, from_line, read_events, to_line
from lab.events.types import BY_NAME, Event, LoginFailed, RunStarted, Trouble, UnknownEvent

KINDS = [kind for kind in get_args(Event) if kind is not UnknownEvent]
TIMES = st.datetimes(timezones=st.just(UTC))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def field(kind: Any) -> SearchStrategy[Any]:
    """Values for a field of this type."""
    if isinstance(kind, types.UnionType):
        return st.one_of(*map(field, get_args(kind)))
    values: dict[Any, SearchStrategy[Any]] = {
        str: st.text(max_size=9),
        int: st.integers(),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        type(None): st.none(),
        tuple[str, ...]: st.lists(st.text(max_size=9), max_size=3).map(tuple),
        tuple[tuple[str, str], ...]: st.lists(st.tuples(*[st.text(max_size=9)] * 2), max_size=3).map(tuple),
        tuple[tuple[str, str, str], ...]: st.lists(st.tuples(*[st.text(max_size=9)] * 3), max_size=3).map(tuple),
    }
    return values[kind]


def instances(kind: type) -> SearchStrategy[Any]:
    return st.builds(kind, **{name: field(hint) for name, hint in get_type_hints(kind).items()})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_an_event_is_read_back_as_it_was_written(kind: type, data: st.DataObject) -> None:
    recorded = Recorded("attacker", 7, data.draw(TIMES), data.draw(instances(kind)))
    line = to_line(recorded)
    assert from_line(line) == recorded
    assert line.count("\n") == 1
    assert line.endswith("\n")


def test_a_line_says_who_when_and_what() -> None:
    time = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    line = json.loads(
        to_line(
            Recorded(
                "lab",
                3,
                time,
                RunStarted("embedded", "runs/1", ("mtls@openssl",), ("omit-proof",), ("1.2",), "p256", 1, ("wire",)),
            )
        )
    )
    assert line == {
        "version": 2,
        "part": "lab",
        "sequence": 3,
        "time": "2030-01-02T03:04:05.000006+00:00",
        "type": "run-started",
        "mode": "embedded",
        "run": "runs/1",
        "gateways": ["mtls@openssl"],
        "moves": ["omit-proof"],
        "versions": ["1.2"],
        "key_type": "p256",
        "rounds": 1,
        "leaks": ["wire"],
    }


def line_of(**changes: object) -> str:
    """A line that would be a `Trouble` but for the changes."""
    fields = {"version": 2, "part": "lab", "sequence": 1, "time": "2030-01-02T03:04:05+00:00", "type": "trouble"}
    return json.dumps(fields | {"what": "rain"} | changes)


@pytest.mark.parametrize(
    ("changes", "kind", "fields"),
    [
        ({"type": "earthquake"}, "earthquake", {"what": "rain"}),
        ({"version": 3}, "trouble", {"what": "rain"}),
        ({"version": "1"}, "trouble", {"what": "rain"}),
        ({"severity": 9}, "trouble", {"what": "rain", "severity": 9}),
    ],
    ids=["type", "version", "version's type", "field"],
)
def test_what_is_not_known_is_kept_as_it_stands(
    changes: Mapping[str, object], kind: str, fields: Mapping[str, object]
) -> None:
    assert from_line(line_of(**changes)).event == UnknownEvent(kind, fields)


def test_an_event_that_lacks_a_field_is_kept_as_it_stands() -> None:
    line = json.loads(line_of())
    del line["what"]
    assert from_line(json.dumps(line)).event == UnknownEvent("trouble", {})


def test_an_unknown_event_is_written_as_it_was_read() -> None:
    line = line_of(type="earthquake", depth=[1, 2])
    assert json.loads(to_line(from_line(line))) == json.loads(line) | {"time": "2030-01-02T03:04:05.000000+00:00"}


GARBAGE = [
    "",
    "rain",
    "7",
    "[]",
    "{}",
    "[" * 100_000,
    line_of(sequence="first"),
    line_of(sequence=None),
    line_of(sequence=float("inf")),
    line_of(time="yesterday"),
    line_of(time=5),
    line_of(time="2030-01-02T03:04:05"),
    line_of(type=["trouble"]),
    line_of(type=None),
]


@pytest.mark.parametrize("line", GARBAGE, ids=lambda line: line[:60] or "nothing")
def test_what_is_no_event_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        from_line(line)


@given(JSON.map(json.dumps) | st.text(max_size=50))
@example('{"version": 2, "part": {}, "sequence": true, "time": "2030-01-02T03:04:05Z", "type": "trouble", "what": {}}')
def test_any_line_is_an_event_or_a_value_error(line: str) -> None:
    try:
        recorded = from_line(line)
    except ValueError:
        return
    assert recorded.time.tzinfo


@given(st.fixed_dictionaries(dict.fromkeys(("version", "part", "sequence", "time", "type"), JSON | st.just(1))))
def test_any_envelope_is_an_event_or_a_value_error(envelope: dict[str, object]) -> None:
    try:
        recorded = from_line(json.dumps(envelope))
    except ValueError:
        return
    assert recorded.time.tzinfo


# The file.


def texts(path: Path) -> list[str]:
    return [recorded.event.what for recorded in read_events(path) if isinstance(recorded.event, Trouble)]


def test_what_is_reported_is_on_disk_at_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "lab", "lab")
    log.report(Trouble("one"))
    log.report(Trouble("two"))
    found = list(read_events(tmp_path / "lab" / FILE_NAME))
    assert [(recorded.part, recorded.sequence) for recorded in found] == [("lab", 1), ("lab", 2)]
    assert found[0].time <= found[1].time
    log.close()


def test_a_part_that_starts_again_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        log = EventLog(tmp_path, "lab")
        log.report(Trouble(text))
        log.close()
    assert [recorded.sequence for recorded in read_events(tmp_path / FILE_NAME)] == [1, 2, 3]


def test_a_part_that_was_cut_off_within_a_line_goes_on_in_a_line_of_its_own(tmp_path: Path) -> None:
    log = EventLog(tmp_path, "lab")
    log.report(Trouble("one"))
    log.close()
    path = tmp_path / FILE_NAME
    with path.open("a") as file:
        file.write('{"version": 2, "part": "la')
    log = EventLog(tmp_path, "lab")
    log.report(Trouble("two"))
    log.close()
    assert texts(path) == ["one", "two"]


def test_there_are_no_events_where_there_is_no_file(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / FILE_NAME)) == []
    assert list(Tail(tmp_path / FILE_NAME).new()) == []


def test_a_last_line_that_is_cut_off_waits_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    tail = Tail(path)
    whole = line_of(what="schön") + "\n"
    octets = json.dumps(json.loads(whole), ensure_ascii=False).encode() + b"\n"
    for cut in range(len(octets)):
        path.write_bytes(octets[:cut])
        assert list(tail.new()) == []
    path.write_bytes(octets)
    (recorded,) = tail.new()
    assert recorded.event == Trouble("schön")
    assert list(tail.new()) == []


def test_a_tail_yields_only_what_is_new(tmp_path: Path) -> None:
    log, tail = EventLog(tmp_path, "lab"), Tail(tmp_path / FILE_NAME)
    for text in ("one", "two"):
        log.report(Trouble(text))
        assert [recorded.event for recorded in tail.new()] == [Trouble(text)]
    log.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40).filter(lambda data: b"{" not in data))
@example(b"\xff\xfe")
@example(b"\0\0\0")
@example(b"7\r8")
def test_garbage_between_events_is_passed_over(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(line_of(what="one").encode() + b"\n" + garbage + b"\n" + line_of(what="two").encode() + b"\n")
    assert texts(path) == ["one", "two"]


def test_every_event_has_a_type_of_its_own() -> None:
    assert len(BY_NAME) == len(KINDS)
    assert all(dataclasses.is_dataclass(kind) for kind in KINDS)
    assert BY_NAME["login-failed"] is LoginFailed
