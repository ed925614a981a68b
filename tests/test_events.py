"""Events: what is written is read back, from files that are still growing, were cut off, or come from the future."""

import json
import typing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab import events
from lab.events import (
    Event,
    EventLog,
    LoginFailed,
    PartStopped,
    Recorded,
    Tail,
    UnknownEvent,
    from_line,
    read_events,
    to_line,
)

VALUES: dict[Any, object] = {
    str: "text",
    int: 7,
    float: 1.5,
    tuple[str, ...]: ("one", "two"),
    str | None: None,
    int | None: 51,
}
KINDS = [kind for kind in typing.get_args(Event) if kind is not UnknownEvent]


def example(kind: Any) -> Event:
    hints = typing.get_type_hints(kind)
    event: Event = kind(**{name: VALUES[hint] for name, hint in hints.items()})
    return event


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_read_back(kind: type) -> None:
    recorded = Recorded("lab", 3, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), example(kind))
    assert from_line(to_line(recorded)) == recorded


def test_an_unknown_event_is_kept_as_it_is() -> None:
    line = '{"version": 1, "part": "x", "sequence": 1, "time": "2026-01-01T00:00:00+00:00", "type": "new", "a": [1]}'
    recorded = from_line(line)
    assert recorded.event == UnknownEvent("new", {"a": [1]})
    assert from_line(to_line(recorded)).event == recorded.event


@pytest.mark.parametrize("change", [{"version": 2}, {"surplus": 1}])
def test_an_event_of_another_version_or_shape_is_unknown(change: dict[str, object]) -> None:
    line = json.loads(to_line(Recorded("lab", 1, datetime.now(UTC), PartStopped("done"))))
    assert isinstance(from_line(json.dumps(line | change)).event, UnknownEvent)


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "{}", '{"version": 1}', "null", '{"version":1,"type":"x","part":"p","sequence":"q","time":5}'],
)
def test_a_line_that_is_no_event_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        from_line(line)


def test_a_log_goes_on_where_an_earlier_process_stopped(tmp_path: Path) -> None:
    for reason in ("first", "second"):
        log = EventLog(tmp_path, "attacker")
        log.report(PartStopped(reason))
        log.close()
    assert [(r.sequence, r.event) for r in read_events(tmp_path / "events.jsonl")] == [
        (1, PartStopped("first")),
        (2, PartStopped("second")),
    ]


def test_a_line_that_is_still_being_written_waits(tmp_path: Path) -> None:
    line = to_line(Recorded("lab", 1, datetime.now(UTC), PartStopped("done")))
    path = tmp_path / events.FILE_NAME
    path.write_text(line[:20])
    tail = Tail(path)
    assert list(tail.new()) == []
    path.write_text(line)
    assert [recorded.event for recorded in tail.new()] == [PartStopped("done")]
    assert list(tail.new()) == []


def test_garbage_between_events_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / events.FILE_NAME
    line = to_line(Recorded("lab", 1, datetime.now(UTC), LoginFailed("mtls", "https://x", "refused")))
    path.write_bytes(line.encode() + b"\xff\xfe garbage\n" + line.encode())
    assert len(list(read_events(path))) == 2


def test_no_file_means_no_events(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / "nothing")) == []
