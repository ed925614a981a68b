"""At the gateways: what each did with a move, why an old proof does not fit, and the control."""

from collections.abc import Iterator
from dataclasses import replace

from lab.catalogue.gateways import Gateway
from lab.catalogue.leaks import WIRE
from lab.catalogue.moves import OMIT_PROOF, REPLAY_PROOF, moves_named
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.document import Inline
from lab.events.types import (
    CaptureSearched,
)
from lab.judging.judgement import Verdict
from lab.page import evidence
from lab.page.closeups import made_of
from lab.page.model import (
    Chip,
    Gateways,
    GatewaySide,
    KeyControl,
    Moment,
    Scene,
    Where,
)
from lab.page.networks import STOLEN, network
from lab.page.roles import Target
from lab.page.teaching import Teaching, Tell
from lab.page.transcripts import two_transcripts
from lab.story import acts
from lab.story.evidence import balance_in, came_back, due
from lab.words import listed

_QUESTIONS = {
    OMIT_PROOF: "Mallory shows Alice's certificate, and no proof. What does {gateway} do?",
    REPLAY_PROOF: "This is a genuine signature of Alice's. What does {gateway} do?",
}
_TITLES = {
    ("blind", "not checked"): "{gateway} looks at the certificate, no more.",
    ("blind", "ignored"): "{gateway} checks the proof, and ignores the result.",
    ("no-proof", "checked"): "{gateway} checks a proof too. Mallory has none.",
    ("old-proof", "checked"): "But she recorded Alice's proof, and plays it again.",
}
_MOVES = {"blind": (OMIT_PROOF, REPLAY_PROOF), "no-proof": (OMIT_PROOF,), "old-proof": (REPLAY_PROOF,)}


def attempt_scene(scene: str) -> Tell:
    """The scene of an attempt at a gateway."""

    def tell(given: Teaching) -> Scene | None:
        target = given.roles.blind if scene == "blind" else given.roles.checking
        assert target
        verdict = _verdict(given, target, *_MOVES[scene])
        return _attempt(given, scene, target[0], verdict) if verdict else None

    return tell


def _verdict(given: Teaching, target: Target, *moves: str) -> Verdict | None:
    """The verdict on the first of the moves that got in there, or else on the first of them; None if there is none."""
    found = [one for move in moves for one in _verdicts(given, target) if one.move == move]
    return next((one for one in found if one.outcome == ACCEPTED), next(iter(found), None))


def _verdicts(given: Teaching, target: Target) -> tuple[Verdict, ...]:
    judged, (gateway, version) = given.judged, target
    if gateway not in judged.gateways.values() or judged.missing_at(WIRE, gateway, version):
        return ()
    return tuple(one for one in judged.verdicts_at(WIRE, gateway, version) if one.outcome in (ACCEPTED, REFUSED))


def _attempt(given: Teaching, scene: str, gateway: Gateway, verdict: Verdict) -> Scene:
    name = given.roles.name(gateway)
    drawn = network(given, gateway)
    earlier = given.roles.blind[0] if given.roles.blind and scene != "blind" else None
    known = _verdict(given, given.roles.blind, *_MOVES["blind"]) if given.roles.blind and earlier else None
    before = _balance(known or verdict)
    gained = known.evidence.stolen if known else 0  # the story tells this theft; the run may have more by now
    boxes = tuple(
        replace(box, outcome=verdict.outcome, since=2)
        if box.here
        else replace(box, outcome=known.outcome)
        if known and earlier and box.id == earlier.id
        else box
        for box in drawn.gateways
    )
    drawn = replace(
        drawn,
        mallory=tuple(chip for chip in STOLEN if scene != "no-proof" or chip.kind != "proof"),
        gateways=boxes,
        carried="proof" if verdict.move == REPLAY_PROOF else "certificate",
        balance=before - gained if before is not None else drawn.balance,
        gained=gained,
        stolen=verdict.evidence.stolen,
    )
    said = _TITLES.get((scene, gateway.scheme.proof), "{gateway} is tried.")
    finding = "" if verdict.as_expected else due(verdict)
    question = _QUESTIONS.get(verdict.move, "What does {gateway} do?").format(gateway=name)
    return Scene(
        scene,
        said.format(gateway=name.capitalize()),
        (Moment("", question), Moment(_what_happened(verdict), outcome=verdict.outcome, finding=finding)),
        drawn,
        links=((evidence.cell_id(verdict), f"all evidence: {verdict.move} at {verdict.gateway}"),),
    )


def _balance(verdict: Verdict) -> int | None:
    """What the bank answered that the account had."""
    answer = balance_in(verdict)
    return answer[1] if answer else None


def _what_happened(verdict: Verdict) -> Inline:
    """What came back, and what follows."""
    told = verdict.evidence
    answer = balance_in(verdict)
    if verdict.outcome == ACCEPTED:
        said = f"HTTP {told.http.status}" if told.http else came_back(verdict)
        said += f": “customer {answer[0]}, balance {answer[1]:,}”" if answer else ""
        gone = f", and {told.stolen:,} are gone" if told.stolen else ""
        return f"{said}. The bank takes her for Alice{gone}."
    if told.alert:
        return f"Alert {told.alert.name}: {_reason(verdict)}."
    return f"{came_back(verdict)}: {_reason(verdict)}."


def _reason(verdict: Verdict) -> str:
    """The gateway's own reason, without the alert that stands before it."""
    alert = verdict.evidence.alert
    reason = verdict.evidence.reason.removeprefix(f"{alert.name}: ") if alert else verdict.evidence.reason
    return reason.rstrip(".") or "it gives no reason"


def why_not(given: Teaching) -> Scene | None:
    """The heart: what alice signed beside what the bank checks."""
    target = given.roles.checking
    verdict = _verdict(given, target, REPLAY_PROOF) if target else None
    seen = made_of(given.judged, verdict) if verdict else None
    drawn = two_transcripts(seen, verdict, given.messages) if seen and verdict else None
    if drawn is None or target is None or verdict is None:
        return None
    differs = next((pair for pair in drawn.pairs if pair.opened), None)
    what = differs.opened.field if differs and differs.opened else "a message"
    random = what == "ServerHello, random"
    fresh = "The bank chose new random bytes, as it does in every handshake." if random else f"They differ: {what}."
    fits_here = drawn.fits[1]
    moments = [
        Moment("Her proof is a signature over all that was said before it, in her own login."),
        Moment("The bank checks it against what was said in Mallory's connection."),
        Moment(fresh),
        Moment("So the two conversations have different hashes, and a signature fits one of them only."),
        Moment(
            "It fits here too: that is a finding, and should not be."
            if fits_here
            else "So the old signature does not fit. A new one takes Alice's private key."
        ),
    ]
    links = [(evidence.cell_id(verdict), f"all evidence: {verdict.move} at {verdict.gateway}")]
    blind = _verdict(given, given.roles.blind, REPLAY_PROOF) if given.roles.blind else None
    proof = blind.evidence.proof if blind else None
    if blind and proof and given.roles.blind and blind.outcome == ACCEPTED and not proof.fits_server:
        at = given.roles.name(given.roles.blind[0])
        looked = "nobody looked" if blind.evidence.proof_seen == "received, not checked" else "it did not matter"
        moments.append(Moment(f"At {at} it does not fit either. There {looked}, and she was let in."))
        links.append((evidence.cell_id(blind), f"the same at {blind.gateway}"))
    title = "Finding: the old proof fits here too." if fits_here else "Alice signed another conversation."
    where: Where = "gateway 2" if given.roles.name(target[0]) == "gateway 2" else "gateway 1"
    return Scene("why-not", title, tuple(moments), drawn, where=where, links=tuple(links))


def side_by_side(given: Teaching) -> Scene | None:
    """The gateways with a part, move by move."""
    roles = given.roles
    targets = [target for target in (roles.blind, roles.checking, roles.witness) if target]
    found = {target: _verdicts(given, target) for target in targets}
    if not targets or not (all(found.values()) or (given.over and any(found.values()))):
        return None
    moves = list(dict.fromkeys(one.move for verdicts in found.values() for one in verdicts))
    titles = {move.id: move.title for move in moves_named(moves)}
    sides = tuple(
        GatewaySide(
            roles.name(gateway),
            gateway.id,
            gateway.scheme.asks_for,
            gateway.scheme.verifies,
            gateway.scheme.proof,
            gateway.implementation.title,
            tuple(evidence.cell(by_move[move]) if move in by_move else None for move in moves),
        )
        for (gateway, _), verdicts in found.items()
        for by_move in ({one.move: one for one in verdicts},)
    )
    number = {1: "one gateway", 2: "two gateways", 3: "three gateways"}[len(sides)]
    drawn = Gateways(tuple((move, titles.get(move, "")) for move in moves), sides)
    return Scene("gateways", f"One stolen certificate, {number}.", tuple(_compared(given, found)), drawn)


def _compared(given: Teaching, found: dict[Target, tuple[Verdict, ...]]) -> Iterator[Moment]:
    roles = given.roles
    outcomes = {roles.name(gateway): {one.outcome for one in of} for (gateway, _), of in found.items()}
    opened = [name for name, of in outcomes.items() if ACCEPTED in of]
    shut = [name for name, of in outcomes.items() if of == {REFUSED}]
    untried = [name for name, of in outcomes.items() if not of]
    words = [
        f"{listed(opened)} let her in" if opened else "",
        f"{listed(shut)} refused every time" if shut else "",
        f"of {listed(untried)} this run has no verdict" if untried else "",
    ]
    said = "; ".join(filter(None, words))
    yield Moment(f"{said[:1].upper()}{said[1:]}.")
    if roles.blind and roles.checking and roles.blind[0].implementation == roles.checking[0].implementation:
        one, other = roles.name(roles.blind[0]), roles.name(roles.checking[0])
        yield Moment(f"{one.capitalize()} and {other} are the same code. One argument differs: is the proof checked?")
    if roles.witness and roles.checking and found[roles.witness] and found[roles.checking]:
        gateway = roles.witness[0]
        its, others = ({one.move: one.outcome for one in found[target]} for target in (roles.witness, roles.checking))
        same = all(its[move] == others[move] for move in its.keys() & others.keys())
        so = "does the same" if same else "does not do the same"
        yield Moment(f"{roles.name(gateway).capitalize()} is {gateway.implementation.title}: other code, and it {so}.")


def with_the_key(given: Teaching) -> Scene | None:
    """The same program with alice's key, and the search for that key."""
    judged, target = given.judged, given.roles.checking or given.roles.blind
    searched = judged.run.first(CaptureSearched)
    if target is None or (searched is None and not given.over):
        return None
    gateway, version = target
    tried = next(iter(judged.attempts.controls(gateway, version)), None)
    if tried is None:
        return None
    accepted = tried.accepted
    boxes = network(given, gateway)
    drawn = replace(
        boxes,
        mallory=(Chip("certificate", "certificate", "copy"), Chip("key", "alice's key", "copy")),
        says="the lab runs her program with the key",
        gateways=tuple(replace(box, outcome=tried.outcome, since=2) for box in boxes.gateways if box.here),
        more=0,
        carried="key",
        balance=None,
    )
    name = given.roles.name(gateway)
    said = [
        Moment(f"The control: the lab runs Mallory's own program at {name}, with Alice's key.", ""),
        Moment(
            "It signs this very handshake, and gets in. So the refusals were about the key, not the program."
            if accepted
            else "It was refused too, so the refusals prove nothing.",
            outcome=tried.outcome,
        ),
    ]
    facts = tuple(acts.search_facts(judged.run, searched)) if searched else ()
    if searched:
        key = "FOUND" if searched.key_at else "nowhere"
        said.append(
            Moment(
                f"The lab searched all {searched.octets:,} bytes that Mallory had recorded by then. "
                f"Alice's key is {key} in them."
            )
        )
    title = "With Alice's key the same program gets in." if accepted else "Even with Alice's key it was refused."
    return Scene(
        "with-the-key",
        title,
        tuple(said),
        KeyControl(drawn, facts),
        links=((evidence.event_id(tried.number), "the control, message by message"),),
    )
