"""The matrix as tables: moves by gateways, one table for each version; what a run found, and what the RFCs predict."""

from collections.abc import Iterator, Mapping
from itertools import product

from lab.catalogue.gateways import BY_CHOICE, GATEWAYS, find_gateway, gateways_named
from lab.catalogue.leaks import LEAKS, WIRE
from lab.catalogue.moves import (
    HERSELF,
    LAB_MOVES,
    OTHER_DOOR,
    STOLEN_KEY,
    STOLEN_PASSWORD,
    WITH_THE_KEY,
    Move,
    moves_named,
)
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED, Outcome
from lab.catalogue.schemes import SCHEMES, ProofOf, Scheme
from lab.document import Block, Break, Column, Heading, Inline, Paragraph, Section, Span, Table, columns, facts
from lab.judging.expectations import expectation
from lab.judging.judgement import Control, Judgement, Verdict
from lab.story.evidence import NOTE_ON_NOT_APPLICABLE, came_back, due, marked, outcome_span, unusual
from lab.tls.versions import TLS12, TLS13, VERSIONS, Version
from lab.words import counted, listed

NOTE_ON_TLS13 = (
    "In TLS 1.3 the wire shows no certificate and no proof. Alice's certificate and her proof in these attempts are "
    "those that were captured when she logged in over TLS 1.2. Only replay-flight and resume-session send what was "
    "seen over TLS 1.3."
)

NO_VERDICT = Span("error", "warning")
"""Where an attempt was not its move; the errors say why."""

GROUPS: Mapping[ProofOf, tuple[str, str]] = {
    ProofOf.CUSTOMER: ("gateways that check the proof", "a gateway that checks the proof"),
    ProofOf.NOBODY: ("gateways that do not", "a gateway that does not check the proof"),
    ProofOf.SOMEBODY: (
        "gateways that check a proof, but not that it belongs to the name that they let in",
        "a gateway that checks a proof, but not that it belongs to the name that it lets in",
    ),
}
"""The groups of gateways, in this order, each with what it is called, and one of it."""

_WORDS = {ACCEPTED: Span("ACCEPTED", "accepted", strong=True), NOT_APPLICABLE: Span("n/a", "aside")}
_EXPECTED = {ACCEPTED: Span(ACCEPTED, strong=True), NOT_APPLICABLE: Span("n/a")}


def tell_matrix(judgement: Judgement) -> Iterator[Block]:
    """For each leak and version that was tried, a table of each group of gateways."""
    tried = {(verdict.leak, verdict.tls) for verdict in judgement.verdicts}
    for leak, version in product(LEAKS, map(str, VERSIONS)):
        if (leak.id, version) not in tried:
            continue
        heading = f"TLS {version}" if leak == WIRE else f"{leak.title} ({leak.id}), TLS {version}"
        cells = {(v.move, v.gateway): v for v in judgement.verdicts if (v.leak, v.tls) == (leak.id, version)}
        there = gateways_named({of for _, of in cells})
        for group, (title, _) in GROUPS.items():
            if gateways := [gateway.id for gateway in there if gateway.scheme.proof_of is group]:
                yield Break()
                yield Heading(f"{heading}, {title}")
                yield _matrix(cells, gateways)
    if any(verdict.outcome == NOT_APPLICABLE for verdict in judgement.verdicts):
        yield Break()
        yield Paragraph(NOTE_ON_NOT_APPLICABLE)


def _matrix(cells: Mapping[tuple[str, str], Verdict], gateways: list[str]) -> Table:
    rows: list[tuple[Inline, ...]] = []
    for move in moves_named({of for of, _ in cells}):
        row = [cells.get((move.id, gateway)) for gateway in gateways]
        rows.append((move.id, *(_cell(verdict) if verdict else NO_VERDICT for verdict in row)))
    return Table((Column("move", "name"), *(Column(gateway, "outcome") for gateway in gateways)), tuple(rows))


def _cell(verdict: Verdict) -> Inline:
    return marked(_WORDS.get(verdict.outcome, outcome_span(verdict.outcome)), verdict.as_expected)


def tell_lessons(judgement: Judgement) -> Iterator[Block]:
    """What can be learned from a matrix: what opened which gateways, what it rests on, where the versions differ."""
    if not judgement.verdicts:
        return
    yield Break()
    yield Heading("What follows")
    opened = (sentence for group in GROUPS for sentence in _opened(judgement, group))
    yield from map(Paragraph, (*opened, *_rests_on(judgement)))
    if differences := _differences(judgement):
        yield Break()
        yield Heading("Where TLS 1.2 and TLS 1.3 differ")
        yield from differences


def _opened(judgement: Judgement, group: ProofOf) -> Iterator[str]:
    """Which moves opened a gateway of a group."""
    there = gateways_named({v.gateway for v in judgement.verdicts})
    of_group = {gateway.id for gateway in there if gateway.scheme.proof_of is group}
    tried = [v for v in judgement.verdicts if v.gateway in of_group and v.outcome in (ACCEPTED, REFUSED)]
    if not tried:
        return
    moves = dict.fromkeys(v.move for v in tried)
    opened = dict.fromkeys(v.move for v in tried if v.outcome == ACCEPTED)
    _, what = GROUPS[group]
    attempts, gateways = sum(v.evidence.attempts for v in tried), len({v.gateway for v in tried})
    which = f": {listed(list(opened))}" if opened else ""
    yield (
        f"{len(opened) or 'None'} of {counted(len(moves), 'move')} opened {what}{which}. There "
        f"{'was' if attempts == 1 else 'were'} {counted(attempts, 'attempt')} at {counted(gateways, 'such gateway')}."
    )


def _rests_on(judgement: Judgement) -> Iterator[str]:
    """The controls with what alice keeps secret, and with her certificate where no secret is asked for."""
    tried = [(one, found) for one in judgement.controls if (found := find_gateway(one.gateway))]
    key, header, password = (
        [one for one, gateway in tried if one.control == control and gateway.scheme.asks_in_tls == in_tls]
        for control, in_tls in ((STOLEN_KEY, True), (STOLEN_KEY, False), (STOLEN_PASSWORD, False))
    )
    if key:
        yield (
            f"The same attack code with alice's key got in {_times(key)}, once in each version at each gateway that "
            "asks for a certificate in TLS. Without this control the refusals would mean nothing."
        )
    if password:
        yield f"With alice's password it got in {_times(password)} at {_at(password)}."
    if header:
        yield (
            f"With her certificate in the Client-Cert header it got in {_times(header)} at {_at(header)}; no key is "
            "used there."
        )


def _times(controls: list[Control]) -> str:
    return f"{sum(one.outcome == ACCEPTED for one in controls)} of {counted(len(controls), 'time')}"


def _at(controls: list[Control]) -> str:
    return listed(list(dict.fromkeys(one.gateway for one in controls)))


def _differences(judgement: Judgement) -> list[Section]:
    """For each move the gateways at which it does not go the same way in both versions, and why."""
    cells = {(v.leak, v.move, v.gateway, v.tls): v for v in judgement.verdicts}
    sends = {move.id: move.sends for move in moves_named({v.move for v in judgement.verdicts})}
    found: dict[tuple[str, str, tuple[tuple[str, Inline], ...]], list[str]] = {}
    for (leak, move, gateway, tls), old in cells.items():
        new = cells.get((leak, move, gateway, str(TLS13)))
        if tls != str(TLS12) or new is None or (old.outcome, old.expected) == (new.outcome, new.expected):
            continue
        why = tuple((f"TLS {one.tls}", f"{one.outcome}: {one.evidence.clause}") for one in (old, new))
        title = move if leak == WIRE.id else f"{move} ({leak})"
        found.setdefault((title, sends[move], why), []).append(gateway)
    return [
        Section(title, (facts(("at", ", ".join(gateways)), ("sends", what), *why),), "point")
        for (title, what, why), gateways in found.items()
    ]


def tell_problems(judgement: Judgement) -> Iterator[Block]:
    """What a run lacks for its verdicts, where its witnesses disagree, and what the RFCs did not predict."""
    for error in judgement.errors:
        yield Paragraph(Span(error, "warning"))
    for finding in (*judgement.contradictions, *findings(judgement)):
        yield Paragraph(Span(f"FINDING: {finding}", "finding"))
    notes: dict[str, list[Verdict]] = {}
    for verdict in judgement.verdicts:
        if told := unusual(verdict):
            notes.setdefault(f"{verdict.move} at {verdict.gateway}: {told}", []).append(verdict)
    for note, of in notes.items():
        versions, leaks = (list(dict.fromkeys(names)) for names in ((v.tls for v in of), (v.leak for v in of)))
        by = "" if leaks == [WIRE.id] else f", with the certificates from the leaks {listed(leaks)}"
        yield Paragraph(f"Note: {note}. Seen in TLS {listed(versions)}{by}.")


def findings(judgement: Judgement) -> list[str]:
    """What differs from what the RFCs predict, a line each."""
    return [
        f"{v.move} at {_where(v)}: {v.outcome} ({came_back(v)}; {v.evidence.reason}); expected {due(v)}"
        + (f"; {v.evidence.deviations} of {v.evidence.attempts} attempts" if v.evidence.attempts > 1 else "")
        for v in judgement.verdicts
        if not v.as_expected
    ] + [
        f"a fresh proof relayed to {v.gateway}, TLS {v.tls}, {v.key_exchange}: {v.outcome} ({v.reason}); "
        f"expected {v.expected}"
        for v in judgement.relays
        if not v.as_expected
    ]


def _where(verdict: Verdict) -> str:
    leak = "" if verdict.leak == WIRE.id else f", by the leak {verdict.leak}"
    return f"{verdict.gateway}, TLS {verdict.tls}{leak}"


def expected_document() -> Iterator[Block]:
    """docs/matrix.md."""
    yield Heading("Schemes, gateways, moves, and what the RFCs predict", 1)
    yield Paragraph(
        "Generated by `python -m lab.views.markdown` from the catalogue; a test fails when it is stale. "
        "What a run found is in its verdicts.json, and `certreplay matrix` prints it."
    )
    yield Section("Schemes", (_schemes(),))
    what = (
        "A gateway is a scheme served by an implementation. What is expected of it comes from its scheme, and of the "
        "implementation only whether it gives its clients sessions to resume, and whether it serves another name as "
        f"well. A run has {listed([one.id for one in BY_CHOICE])} only if it is chosen, and `{OTHER_DOOR}` with it."
    )
    yield Section("Gateways", (Paragraph(what), _gateways()))
    control = (
        f"`{STOLEN_KEY}` is the control: the proof made with the real key, which must get in at every gateway that "
        f"asks for a certificate in TLS. Where a password is asked for instead, the control is `{STOLEN_PASSWORD}`. "
        f"`{STOLEN_KEY}` is a move too where a leak yields the key; the tables are for a leak that does not."
    )
    other_scheme = (
        "In TLS 1.3 `replay-proof` and `flipped-proof` may be refused like `relabelled-proof`: where alice signed in "
        "TLS 1.2, in a scheme that TLS 1.3 does not have for her key, such as ECDSA with SHA-256 for a key on P-384."
    )
    yield Section("Moves", (_moves(), Paragraph(other_scheme), Paragraph(control)))
    for version in VERSIONS:
        yield Section(f"What is expected in TLS {version}", (_expected(version),))
    yield Paragraph("`refused` means not authenticated as alice. `n/a` has its reason in the run's verdicts.")


def _schemes() -> Table:
    rows = tuple((s.id, s.asks_for, s.verifies, s.name_from.value, s.stands_for, s.fault or "none") for s in SCHEMES)
    names = columns("asks for", "checks", "takes the name from", "stands for", "fault")
    return Table((Column("scheme", "name"), *names), rows)


def _gateways() -> Table:
    names = (Column("gateway", "name"), Column("scheme", "name"), *columns("implementation", "sessions to resume"))
    rows = ((one.id, one.scheme.id, one.implementation) for one in GATEWAYS)
    return Table(
        names, tuple((*ids, it.title, listed([f"TLS {version}" for version in it.resumes])) for *ids, it in rows)
    )


def _moves() -> Table:
    refusals = (f"what refuses it in TLS {version}" for version in VERSIONS)
    rows = tuple((m.id, m.sends, *(_refusal(m, version) for version in VERSIONS)) for m in LAB_MOVES)
    return Table((Column("move", "name"), *columns("what is sent", *refusals)), rows)


def _refusal(move: Move, version: Version) -> str:
    if move.as_herself:
        return HERSELF
    if move.with_key:
        return f"nothing: {WITH_THE_KEY}"
    return "; or ".join(
        f"{failure.clause}: {' or '.join(f'`{alert.label}`' for alert in failure.alerts)}"
        for failure in move.fails[version]
    )


def _expected(version: Version) -> Table:
    heads = (Column("move", "name"), *(Column(scheme.id, "outcome") for scheme in SCHEMES))
    return Table(
        heads, tuple((move.id, *(_expected_of(scheme, version, move) for scheme in SCHEMES)) for move in LAB_MOVES)
    )


def _expected_of(scheme: Scheme, version: Version, move: Move) -> Inline:
    """One outcome if it is that of all gateways of a scheme, or else each with its implementations."""
    of: dict[Outcome, list[str]] = {}
    for gateway in GATEWAYS:
        if gateway.scheme == scheme:
            of.setdefault(expectation(gateway, version, move).outcome, []).append(gateway.implementation.id)
    if len(of) == 1:
        (outcome,) = of
        return _EXPECTED.get(outcome, outcome)
    words = {outcome: "n/a" if outcome == NOT_APPLICABLE else outcome for outcome in of}
    return "; ".join(f"{words[outcome]} at {listed(where)}" for outcome, where in of.items())
