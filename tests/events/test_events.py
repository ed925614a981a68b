"""The event log: what a part reports is what a reader gets, whatever else stands in the file."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lab.address import Address
from lab.catalogue.outcomes import Outcome
from lab.events import fields
from lab.events.log import FILE_NAME, EventLog, Recorded, Tail, from_line, read_events, to_line
from lab.events.types import (
    BY_NAME,
    ClientRefused,
    Event,
    GatewayListening,
    LoginFailed,
    PartStopped,
    RunStarted,
    Trouble,
    UnknownEvent,
)

KINDS = [kind for kind in get_args(Event) if kind is not UnknownEvent]
TIMES = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
PORTS = st.integers(0, 65535)
FIELDS: dict[Any, SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(),
    bool: st.booleans(),
    type(None): st.none(),
    fields.Empty: st.just(""),
    fields.Hex: st.binary(min_size=1, max_size=9).map(bytes.hex),
    fields.RecordHeader: st.binary(min_size=5, max_size=5).map(bytes.hex),
    fields.HostPort: st.builds(
        lambda host, port: str(Address(host, port)), st.sampled_from(["::1", "a", "1.2"]), PORTS
    ),
    fields.FileName: st.sampled_from(["access.log", "register.db"]),
    fields.Port: PORTS,
    fields.Count: st.integers(0, 2**63),
    fields.AlertNumber: st.integers(0, 255),
    fields.HttpStatus: st.integers(100, 999),
    Outcome: st.sampled_from(Outcome),
    fields.Milliseconds: st.floats(0, 86_400_000),
}
"""Values for a field, by its type."""


def field(hint: Any) -> SearchStrategy[Any]:
    """Values for a field of this type."""
    if hint in FIELDS:
        return FIELDS[hint]
    arguments = get_args(hint)
    if get_origin(hint) is not tuple:
        return st.one_of(*map(field, arguments))
    if arguments[-1] is Ellipsis:
        return st.lists(field(arguments[0]), max_size=3).map(tuple)
    return st.tuples(*map(field, arguments))


def instances(kind: type) -> SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{name: field(hint) for name, hint in hints.items()})


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
        "version": 3,
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
        "one_by_one": False,
        "lab": "",
        "student": "",
    }


def line_of(**changes: object) -> str:
    """A line that would be a `Trouble` but for the changes."""
    envelope = {"version": 3, "part": "lab", "sequence": 1, "time": "2030-01-02T03:04:05+00:00", "type": "trouble"}
    return json.dumps(envelope | {"what": "rain"} | changes)


@pytest.mark.parametrize(
    ("changes", "kind", "kept"),
    [
        ({"type": "earthquake"}, "earthquake", {"what": "rain"}),
        ({"version": 4}, "trouble", {"what": "rain"}),
        ({"version": "1"}, "trouble", {"what": "rain"}),
        ({"severity": 9}, "trouble", {"what": "rain", "severity": 9}),
    ],
    ids=["type", "version", "version's type", "field"],
)
def test_what_is_not_known_is_kept_as_it_stands(
    changes: Mapping[str, object], kind: str, kept: Mapping[str, object]
) -> None:
    assert from_line(line_of(**changes)).event == UnknownEvent(kind, kept)


def test_an_event_that_lacks_a_field_is_kept_as_it_stands() -> None:
    line = json.loads(line_of())
    del line["what"]
    assert from_line(json.dumps(line)).event == UnknownEvent("trouble", {})


REFUSAL = {"gateway": "mtls@openssl", "peer": "127.0.0.1:1", "tls": "1.2", "reason": "no", "alert": 51}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reason", None),
        ("reason", 7),
        ("reason", ["no"]),
        ("alert", "51"),
        ("alert", True),
        ("alert", 51.0),
        ("alert", -1),
        ("alert", 300),
        ("alert", {}),
    ],
)
def test_a_field_that_does_not_fit_makes_an_event_unknown(name: str, value: object) -> None:
    changed = REFUSAL | {name: value}
    recorded = from_line(line_of(type="client-refused", **changed).replace('"what": "rain", ', ""))
    assert recorded.event == UnknownEvent("client-refused", changed)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (fields.Hex, "0"),
        (fields.Hex, "AB"),
        (fields.Hex, "a b"),
        (fields.Hex, ""),
        (fields.RecordHeader, "16030300"),
        (fields.RecordHeader | fields.Empty, "1603"),
        (fields.HostPort, "localhost"),
        (fields.HostPort | None, ""),
        (fields.HostPort | fields.Empty, " "),
        (fields.FileName, "a:1"),
        (Outcome, "perhaps"),
        (fields.HttpStatus, 0),
        (fields.Count, -1),
        (fields.Count, 10**400),
        (fields.Milliseconds, -1),
        (fields.Milliseconds, 10**400),
        (float, float("nan")),
        (float, float("inf")),
        (float, 10**400),
        (float, True),
        (tuple[str, ...], "ab"),
        (tuple[str, ...], [1]),
        (tuple[str, str], ["one"]),
        (tuple[tuple[str, str], ...], [["one", "two"], ["one"]]),
    ],
    ids=lambda one: repr(one)[:20] if isinstance(one, str | int | float) else None,
)
def test_a_value_that_does_not_fit_is_refused(kind: Any, value: object) -> None:
    event = dataclasses.make_dataclass("event", [("field", kind)])
    with pytest.raises((TypeError, ValueError)):
        fields.build(event, {"field": value})


def test_an_int_will_do_for_a_float() -> None:
    event = dataclasses.make_dataclass("event", [("field", float)])
    assert repr(fields.build(event, {"field": 5}).field) == "5.0"


@pytest.mark.parametrize(
    ("old", "event"),
    [
        (
            {"type": "gateway-listening", "scheme": "mtls", "host": "::1", "port": 8441, "versions": ["1.2"]},
            GatewayListening("mtls@openssl", "::1", 8441, ("1.2",)),
        ),
        (
            {"type": "client-refused", "scheme": "ignored-proof", "peer": "", "tls": "", "reason": "no", "alert": None},
            ClientRefused("ignored-proof@instrument", "", "", "no", None),
        ),
        (
            {"type": "login-failed", "scheme": "shop", "url": "", "tls": "", "reason": "no"},
            LoginFailed("shop", "", "", "no"),
        ),
        (
            {"type": "login-failed", "scheme": 7, "url": "", "tls": "", "reason": "no"},
            UnknownEvent("login-failed", {"scheme": 7, "url": "", "tls": "", "reason": "no"}),
        ),
    ],
    ids=["listening", "refused", "an unknown scheme", "no scheme"],
)
def test_an_event_of_version_1_named_a_scheme(old: Mapping[str, object], event: Event) -> None:
    envelope = {"version": 1, "part": "lab", "sequence": 1, "time": "2030-01-02T03:04:05+00:00"}
    assert from_line(json.dumps({**envelope, **old})).event == event


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
    line_of(time="1969-12-31T23:59:59+00:00"),
    line_of(time="0001-01-01T00:00:00+14:00"),
    line_of(part=7),
    line_of(sequence=True),
    line_of(sequence=1.0),
    line_of(what="\ud800"),
    line_of(type=["trouble"]),
    line_of(type=None),
]


@pytest.mark.parametrize("line", GARBAGE, ids=lambda line: line[:60] or "nothing")
def test_what_is_no_event_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        from_line(line)


@given(JSON.map(json.dumps) | st.text(max_size=50))
@example('{"version": 3, "part": {}, "sequence": true, "time": "2030-01-02T03:04:05Z", "type": "trouble", "what": {}}')
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
        file.write('{"version": 3, "part": "la')
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


@given(st.binary(max_size=40).filter(lambda data: b"{" not in data))
@example(b"\xff\xfe")
@example(b"\0\0\0")
@example(b"7\r8")
def test_garbage_between_events_is_passed_over(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(line_of(what="one").encode() + b"\n" + garbage + b"\n" + line_of(what="two").encode() + b"\n")
    assert texts(path) == ["one", "two"]


def test_what_is_too_short_for_an_event_is_not_even_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file can have millions of such lines; each costs as much as an event to parse."""
    shortest = to_line(Recorded("", 1, datetime(2030, 1, 2, tzinfo=UTC), PartStopped("")))
    compact = json.dumps(json.loads(shortest), separators=(",", ":"))
    path = tmp_path / FILE_NAME
    path.write_text("\n" * 100_000 + "{}\n" * 100_000 + compact + "\n" + "0\n" * 100_000 + shortest)
    parsed: list[str] = []

    def parse(line: str) -> Recorded:
        parsed.append(line)
        return from_line(line)

    monkeypatch.setattr("lab.events.log.from_line", parse)
    assert [recorded.event for recorded in Tail(path).new()] == [PartStopped("")] * 2
    assert parsed == [compact, shortest.rstrip("\n")]


def test_every_event_has_a_type_of_its_own() -> None:
    assert len(BY_NAME) == len(KINDS)
    assert all(dataclasses.is_dataclass(kind) for kind in KINDS)
    assert BY_NAME["login-failed"] is LoginFailed
