"""Whatever stands in a run's events, the run is judged and told: an event that makes no sense crashes nothing."""

import asyncio
import dataclasses
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias, get_args

import pytest

from lab.catalogue.cast import LAB, TRIPLE_HANDSHAKE
from lab.catalogue.outcomes import ACCEPTED
from lab.catalogue.plan import full_matrix
from lab.events.log import Recorded, from_line, to_line
from lab.events.run import Run, open_run
from lab.events.types import (
    CertificateCaptured,
    CodeLoaded,
    Event,
    MoneyMoved,
    MoveTried,
    ProofRelayed,
    ProofRenegotiated,
    ServerAnswered,
    TransferRefused,
    Trouble,
    UnknownEvent,
    type_name,
)
from lab.judging.claims import CLAIMS, settle
from lab.judging.queries import RunQueries
from lab.judging.verdicts import JudgedRun
from lab.staging import embedded
from lab.story import acts, explain, matrix
from lab.story.claims import tell_claims
from lab.views import markdown
from programs import mitmproxy

Line: TypeAlias = dict[str, Any]

ENVELOPE = ("version", "part", "sequence", "time", "type")
ROUNDS = 1
"""How many events of each type are damaged, in each of their fields."""
KINDS = [kind for kind in get_args(Event) if kind not in (UnknownEvent, Trouble, ServerAnswered)]
WRONG_TYPES: tuple[object, ...] = (None, True, 7, 0.5, "x", [], ["x"], [["x"]], {}, {"x": 1})
NUMBERS = (-1, 0, 255, 300, 2**63, 10**400, 1e300, -0.5, float("nan"), float("inf"))
TEXTS = ("", "x", "9.9", "1.3", "0b", "0b000000", "00" * 40, "localhost", "[::1", "a:99999", "[::1]:1", "mtls@nginx")
EMPTY_CERTIFICATE = "0b000003000000"
"""A Certificate message of TLS 1.2."""
TIMES = ("1970-01-01T00:00:00+00:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2030-01-01", "now")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with events of every type that runs have: what another's server answered is in none."""
    mitmproxy()
    runs = tmp_path_factory.mktemp("runs")
    leaks = ["wire", "interception", "live-relay", "rogue-server", "log", "archive"]
    gateways = ["certificate-only@instrument", "mtls@openssl", "password@openssl"]
    plan = full_matrix(gateways=gateways, moves=["replay-proof"], leaks=leaks)
    judgement = asyncio.run(embedded.run_embedded(runs, plan, None, lambda run: None))
    assert judgement.as_expected
    return runs / judgement.run


@pytest.fixture(scope="module")
def events(folder: Path) -> list[Recorded]:
    """And a transfer that the bank refused, on the connection of one that it carried out; a student's file; and a
    triple handshake, which is tried apart from runs."""
    events = open_run(folder).events
    last = [recorded for recorded in events if isinstance(recorded.event, MoneyMoved)][-1]
    assert isinstance(last.event, MoneyMoved)
    number = 1 + max(recorded.sequence for recorded in events if recorded.part == last.part)
    refused = TransferRefused(last.event.customer, 409, "insufficient funds", last.event.connection)
    lab = next(recorded for recorded in reversed(events) if recorded.part == LAB)
    loaded = CodeLoaded("move", "half-proof:signature", "move.py", "ab" * 32)
    name = "O=Bank of Example,CN=alice"
    renegotiated = ProofRenegotiated("no-cure", "curl", name, "/private/transfer", name, 200, "0f", ACCEPTED, "")
    return [
        *events,
        Recorded(TRIPLE_HANDSHAKE, 1, lab.time, renegotiated),
        dataclasses.replace(last, sequence=number, event=refused),
        dataclasses.replace(lab, sequence=lab.sequence + 1, event=loaded),
    ]


def run_of(folder: Path, events: list[Recorded]) -> Run:
    run = Run(folder)
    run.events = sorted(events, key=lambda recorded: (recorded.time, recorded.part, recorded.sequence))
    return run


def tell_everything(run: Run) -> str:
    """Judges a run and gives it to every view."""
    judged = JudgedRun(run)
    judgement = judged.judgement
    assert judgement.to_json()
    blocks = [*acts.Teller().update(judged), *acts.tell(judged)]
    blocks += tell_claims(settle(CLAIMS, RunQueries(judged)))
    blocks += [*matrix.tell_matrix(judgement), *matrix.tell_problems(judgement)]
    for verdict in judgement.verdicts:
        blocks += explain.explain(verdict)
    return markdown.text(blocks)


def check(folder: Path, events: list[Recorded], what: str) -> None:
    try:
        tell_everything(run_of(folder, events))
    except Exception as error:
        error.add_note(f"the damage: {what}")
        raise


def read(line: Line) -> list[Recorded]:
    """The event in a line, as the reader of a run has it."""
    try:
        return [from_line(json.dumps(line))]
    except ValueError:
        return []


def damaged(value: object, rng: random.Random) -> object:
    """A value of the same type that makes no sense, or not the same."""
    if isinstance(value, list):
        if not value or rng.random() < 0.2:
            return value[1:]
        at = rng.randrange(len(value))
        return [*value[:at], damaged(value[at], rng), *value[at + 1 :]]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice(NUMBERS)
    if isinstance(value, str) and len(value) > 20 and rng.random() < 0.7:
        return _damaged_hex(value, rng)
    return rng.choice(TEXTS)


def _damaged_hex(text: str, rng: random.Random) -> str:
    """A byte changed, or cut off there; the first bytes of a message say what it is."""
    at = 2 * rng.randrange(rng.choice((4, 8, len(text) // 2)))
    return text[:at] + rng.choice((f"{rng.randrange(256):02x}{text[at + 2 :]}", "", "zz"))


def damages(line: Line, rng: random.Random) -> Iterator[tuple[str, Line]]:
    """Damaged copies of a line: each field in turn, of another value, of another type, or missing; a field more."""
    for name in [name for name in line if name not in ENVELOPE]:
        yield name, line | {name: damaged(line[name], rng)}
        yield name, line | {name: rng.choice(WRONG_TYPES)}
        yield name, {key: value for key, value in line.items() if key != name}
    yield "one more", line | {"one more": 1}


@pytest.mark.parametrize("kind", KINDS, ids=type_name)
def test_a_damaged_event_crashes_nothing(folder: Path, events: list[Recorded], kind: type) -> None:
    rng = random.Random(type_name(kind))
    places = [at for at, recorded in enumerate(events) if isinstance(recorded.event, kind)]
    assert places
    told: set[tuple[int, Event]] = set()
    for _ in range(ROUNDS):
        at = rng.choice(places)
        for field, line in damages(json.loads(to_line(events[at])), rng):
            for recorded in read(line):
                known = not isinstance(recorded.event, UnknownEvent)
                if known and (at, recorded.event) not in told:  # unknown events are alike; one is below
                    told.add((at, recorded.event))
                    check(folder, [*events[:at], recorded, *events[at + 1 :]], f"{type_name(kind)}.{field}: {line}")


@pytest.mark.parametrize("kind", [CertificateCaptured, MoveTried, ProofRelayed], ids=type_name)
def test_a_certificate_message_without_certificates_crashes_nothing(
    folder: Path, events: list[Recorded], kind: type
) -> None:
    """It can be read, and every message of its kind is one here."""
    emptied = [
        from_line(re.sub('"0b00[0-9a-f]{40,}"', f'"{EMPTY_CERTIFICATE}"', to_line(one)))
        if isinstance(one.event, kind)
        else one
        for one in events
    ]
    assert sum(one != other for one, other in zip(emptied, events, strict=True)) > 1
    check(folder, emptied, f"{type_name(kind)} without certificates")


@pytest.mark.parametrize("kind", KINDS, ids=type_name)
def test_missing_and_doubled_events_crash_nothing(folder: Path, events: list[Recorded], kind: type) -> None:
    these = [recorded for recorded in events if isinstance(recorded.event, kind)]
    others = [recorded for recorded in events if not isinstance(recorded.event, kind)]
    unknown = [Recorded(one.part, one.sequence, one.time, UnknownEvent(type_name(kind), {})) for one in these]
    check(folder, others + these[1:], "the first one missing")
    check(folder, others + unknown, "all unknown")
    check(folder, events + these, "all doubled")


@pytest.mark.parametrize("field", ENVELOPE)
def test_a_damaged_envelope_crashes_nothing(folder: Path, events: list[Recorded], field: str) -> None:
    rng = random.Random(field)
    for value in (*WRONG_TYPES, *TIMES, 3, 1):
        at = rng.randrange(len(events))
        line = json.loads(to_line(events[at])) | {field: value}
        check(folder, [*events[:at], *read(line), *events[at + 1 :]], str(line))


def test_an_undamaged_run_has_all_its_verdicts(folder: Path, events: list[Recorded]) -> None:
    """What is above would say nothing of a run that the views have nothing to tell of."""
    judgement = JudgedRun(run_of(folder, events)).judgement
    assert judgement.verdicts
    assert judgement.relays
    assert not judgement.errors
