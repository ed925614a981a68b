"""Whether the parts' logs are whole: each line an event, numbered from 1, in order, down to the last."""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

from lab import files
from lab.events.log import FILE_NAME, MAX_FILE, VERSION, Recorded, from_line
from lab.events.run import VERDICTS_FILE, Run
from lab.events.types import BY_NAME, EMBEDDED, MoveTried, PartStopped, ProofRelayed, RunStarted, UnknownEvent
from lab.judging.attempts import NAMES_CONNECTIONS
from lab.judging.judgement import Judgement

SHOWN = 3
"""No more event numbers are told in a sentence."""
_DECIDES = (MoveTried, ProofRelayed)
"""What changes outcomes if it is reported after the verdicts."""
_OUTCOMES = {
    "controls": ("control", "gateway", "tls", "outcome"),
    "verdicts": ("move", "gateway", "tls", "leak", "outcome", "scheme", "implementation", "expected"),
    "relays": (
        *("attempt", "gateway", "tls", "outcome", "alert", "scheme", "implementation", "key_exchange", "same_keys"),
        *("expected", "as_expected"),
    ),
}
_EVIDENCE = (
    *("attempt", "alert", "alert_seen_by", "http", "reason", "ms", "stolen", "messages", "header", "proof_seen"),
    *("events", "attempts", "deviations", "began"),
)
_WORDS = ("transfer", "note", "whose")
"""What is compared with verdicts.json: what was measured. The lab's own words change with its version, so of these only
their presence is compared. How a proof is explained changes too, and which alerts are usual; a proof's bytes do not."""
_CAPTURE = ("subject", "sha256", "tls")


def broken_logs(run: Run) -> Iterator[str]:
    """What is missing or out of place, a sentence each. Earlier, parts shared a name in a class.

    An event that its part may not report is in no view, and its number is taken.
    """
    parts: dict[str, list[Recorded]] = defaultdict(list)
    for recorded in run.events:
        if NAMES_CONNECTIONS <= recorded.version <= VERSION:
            parts[recorded.part].append(recorded)
    refused: dict[str, list[Recorded]] = defaultdict(list)
    for one in run.refused:
        if one.recorded.part == one.folder:
            refused[one.folder].append(one.recorded)
    for part, events in sorted(parts.items()):
        yield from _gaps(part, [*events, *refused[part]])
        yield from _order(part, events)
        yield from _garbled(events)
    if parts:
        yield from _no_events(run)
        yield from _ends(run, parts)


def event_counts(run: Run) -> Mapping[str, int]:
    """How many events each part has reported."""
    return dict(sorted(Counter(recorded.part for recorded in run.events).items()))


def _gaps(part: str, events: list[Recorded]) -> Iterator[str]:
    found = [recorded.sequence for recorded in events]
    there = set(found)
    if missing := sorted(set(range(1, max(found) + 1)) - there)[:SHOWN]:
        yield f"the log of {part} has a gap: event {', '.join(map(str, missing))} is missing"
    if len(found) > len(there):
        twice = min(number for number in there if found.count(number) > 1)
        yield f"the log of {part} has event {twice} more than once"


def _order(part: str, events: list[Recorded]) -> Iterator[str]:
    """They are sorted by their times."""
    for before, after in itertools.pairwise(events):
        if before.sequence > after.sequence:
            yield f"the log of {part} goes back in time: event {before.sequence} is later than {after.sequence}"
            return


def _garbled(events: list[Recorded]) -> Iterator[str]:
    """A type that this version knows, with fields that do not fit it. An unknown type is told, and does not matter."""
    for recorded in events:
        if isinstance(recorded.event, UnknownEvent) and recorded.event.type in BY_NAME:
            yield f"the event {recorded.number} is damaged: its fields are not those of {recorded.event.type}"


def _no_events(run: Run) -> Iterator[str]:
    """Lines that are no events. A last one may still be being written, unless the run has ended; in a class the parts
    go on."""
    started = run.first(RunStarted)
    over = started is not None and started.mode == EMBEDDED and run.folders.verdicts.exists()
    for path in sorted(run.folders.path.glob(f"*/{FILE_NAME}")):
        *lines, rest = files.read(path, MAX_FILE).split(b"\n")
        bad = [number for number, line in enumerate(lines, start=1) if not _is_event(line)]
        if rest and over:
            bad.append(len(lines) + 1)
        if bad:
            some = ", ".join(map(str, bad[:SHOWN])) + (" and more" if bad[SHOWN:] else "")
            yield f"{path.parent.name}/{FILE_NAME} has lines that are no events: line {some}"


def _is_event(line: bytes) -> bool:
    try:
        from_line(line.decode())
    except ValueError:
        return False
    return True


def _ends(run: Run, parts: Mapping[str, list[Recorded]]) -> Iterator[str]:
    """Whether events are missing at a log's end. An embedded run ends before its verdicts are written, and each part's
    last event is that it stopped; in a class the parts go on. The verdicts say how many events they rest on."""
    started = run.first(RunStarted)
    ended = {part for part, events in parts.items() if isinstance(events[-1].event, PartStopped)}
    file = run.folders.verdicts
    told = verdicts_file(run)
    if started and told and told.get("run") != started.run:
        yield f"{VERDICTS_FILE} is that of the run {told.get('run')}, and the run is {started.run}"
    if started and started.mode == EMBEDDED:
        if file.exists():
            for part in sorted(parts.keys() - ended):
                last = parts[part][-1].number
                yield f"the log of {part} has no end: its last event, {last}, does not say that the part stopped"
        elif ended == parts.keys():
            yield f"all parts have stopped, and {VERDICTS_FILE} is missing"
    if told is None and file.exists():
        yield f"{VERDICTS_FILE} is not readable"
    for part, count in _counts(told).items():
        if (found := len(parts.get(part, ()))) < count:
            yield f"the log of {part} has {found} events, and {VERDICTS_FILE} rests on {count}"


def verdicts_file(run: Run) -> dict[str, Any] | None:
    """What verdicts.json says; None if there is none, or no readable one."""
    try:
        told = json.loads(files.read(run.folders.verdicts, files.LARGE))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _counts(told: Mapping[str, Any] | None) -> dict[str, int]:
    counts = (told or {}).get("events")
    return {part: n for part, n in counts.items() if type(n) is int} if isinstance(counts, dict) else {}


def other_verdicts(run: Run, judgement: Judgement) -> Iterator[str]:
    """Where verdicts.json has another outcome than the events that it rests on. Later ones can change outcomes."""
    told = verdicts_file(run)
    counts = _counts(told)
    later = (one for one in run.events if one.sequence > counts.get(one.part, 0))
    early = any(one.version < NAMES_CONNECTIONS for one in run.events)
    if early or not counts or not told or any(isinstance(one.event, _DECIDES) for one in later):
        return
    for kind, names in _OUTCOMES.items():
        rows = told.get(kind, [])
        their_rows = [_fields(row, names) for row in rows] if isinstance(rows, list) else []
        our_rows = [_fields(vars(row), names) for row in getattr(judgement, kind)]
        if their_rows != our_rows:
            odd = next((f": {row[0]} at {row[1]}, TLS {row[2]}" for row in our_rows if row not in their_rows), "")
            yield f"{VERDICTS_FILE} has other {kind} than follow from the events{odd}"
    ours: dict[str, object] = {"lab": judgement.lab, "student": judgement.student}
    if not told.get("contradictions"):
        ours["as_expected"] = judgement.as_expected
    for name, value in ours.items():
        if told.get(name, "") != value:
            yield f"{VERDICTS_FILE} says of {name} otherwise than the events"
    if _some(told.get("capture"), _CAPTURE) != _some(_plain(judgement.capture), _CAPTURE):
        yield f"{VERDICTS_FILE} is about another certificate than the events"


def _fields(row: object, names: tuple[str, ...]) -> list[object]:
    """Some fields of a row, and of its evidence, as verdicts.json has them."""
    fields = row if isinstance(row, dict) else {}
    evidence = _plain(fields.get("evidence"))
    measured = evidence if isinstance(evidence, dict) else {}
    said = (bool(measured.get(name)) for name in _WORDS)
    shown = (
        *map(fields.get, names),
        *map(measured.get, _EVIDENCE),
        *said,
        *_some(measured.get("proof"), ("signature",)),
    )
    return [_plain(one) for one in shown]


def _some(fields: object, names: tuple[str, ...]) -> list[object]:
    """Some of the fields of an object in JSON, None for each that it does not have."""
    return [fields.get(name) if isinstance(fields, dict) else None for name in names]


def _plain(value: object) -> object:
    """A dataclass's fields, and what JSON makes of a tuple."""
    if is_dataclass(value):
        return {name: _plain(one) for name, one in vars(value).items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
