"""The scenes of the short story: each tells one idea of a run, as soon as its evidence is in.

Headlines, predictions and figures are computed from the run. A scene that a run has nothing for is left out.
"""

from dataclasses import dataclass, replace
from typing import Literal

from lab.catalogue.exhibits import EXHIBITS
from lab.catalogue.leaks import WIRE
from lab.catalogue.moves import STOLEN_KEY
from lab.catalogue.outcomes import ACCEPTED
from lab.catalogue.plan import Plan
from lab.document import Block, Inline, Paragraph
from lab.events.types import (
    BundleIssued,
    CaptureSearched,
    PositionTaken,
    RunStarted,
)
from lab.judging.judgement import Verdict
from lab.page import evidence
from lab.page.attempt_scenes import attempt_scene, side_by_side, why_not, with_the_key
from lab.page.leak_scenes import leak_scene
from lab.page.model import (
    BundleFile,
    Closing,
    Moment,
    Scene,
    Shipped,
    ShippedReleases,
    Words,
)
from lab.page.networks import bundle_file, network
from lab.page.roles import roles_of
from lab.page.teaching import Teaching, Tell
from lab.page.wire_scenes import certificate, login, tls13
from lab.story import acts, shipped
from lab.story.matrix import tell_problems
from lab.words import counted, listed

MAX_PROBLEMS = 100
"""How many findings and the like are listed."""


@dataclass(frozen=True)
class SceneMaker:
    """A scene to come. `tell` gives None as long as the run hasn't got there."""

    id: str
    tell: Tell


def makers(plan: Plan) -> tuple[SceneMaker, ...]:
    """The scenes of a run with this plan, in order."""
    roles = roles_of(plan)
    told: list[tuple[str, Tell]] = [("why", why)]
    if WIRE.id in plan.leaks:
        told += [("between", between), ("login", login), ("certificate", certificate)]
        told += [("blind", attempt_scene("blind"))] if roles.blind else []
        told += (
            [("no-proof", attempt_scene("no-proof")), ("old-proof", attempt_scene("old-proof"))]
            if roles.checking
            else []
        )
        told += [("why-not", why_not)] if roles.checking else []
        told += [("gateways", side_by_side)]
        told += [("with-the-key", with_the_key), ("tls13", tls13)]
    told += [(f"leak-{leak}", leak_scene(leak)) for leak in plan.leaks if leak != WIRE.id]
    told += [("matrix", evidence.matrix), ("claims", evidence.claims), ("ever-real", ever_real), ("answer", closing)]
    told += [("connections", evidence.connections)] if WIRE.id in plan.leaks else []
    told += [("ledger", evidence.ledger)]
    return tuple(SceneMaker(name, tell) for name, tell in told)


def why(given: Teaching) -> Scene | None:
    """The question."""
    issued = given.judged.run.first(BundleIssued)
    if issued is None:
        return None
    file = bundle_file(issued)
    itself = issued.issuer == issued.subject
    return Scene(
        "why",
        "Why isn't the certificate enough?",
        (
            Moment(f"The bank gives Alice one file, {file}. A certificate and a private key are in it."),
            Moment("To log in, she shows the certificate. Then she must also sign with the key."),
            Moment("They come in one file. So why must she use both?"),
        ),
        BundleFile(file, issued.subject, "itself: self-signed" if itself else issued.issuer, issued.key_type),
        where="alice",
    )


_BETWEEN = {
    "relay": "Her relay takes Alice's connections and passes every byte on, unchanged. She reads what she can.",
    "arp": "She claims each victim's IP address by ARP. Her kernel passes on what they send, and she reads along.",
}


def between(given: Teaching) -> Scene | None:
    """Mallory comes in between."""
    judged = given.judged
    taken = next((one for one in judged.run.all(PositionTaken) if one.kind in _BETWEEN), None)
    named = all(gateway in judged.gateways.values() for gateway, _ in judged.plan.targets())
    if taken is None or not (named or given.over):
        return None
    kinds = len(given.judged.plan.served())
    several = f"The bank has {counted(kinds, 'gateway')}, servers in front of it that differ in what they check."
    drawn = replace(network(given), says="passes everything on and reads along")
    moments = Moment(_BETWEEN[taken.kind]), Moment(several if kinds > 1 else "The bank has one gateway.")
    return Scene("between", "Mallory sits between Alice and her bank.", moments, drawn)


def ever_real(given: Teaching) -> Scene | None:
    """Releases that shipped without the check: not from the run, which says so."""
    if not given.over or not given.judged.judgement.verdicts:
        return None
    releases = tuple(Shipped(one.title, one.story, one.moves, one.mended_in, one.cases) for one in EXHIBITS)
    said = (
        Moment(f"Yes. {shipped.how_many()}"),
        Moment(f"{shipped.IN_THIS_RUN} It shows what such a fault opens, at gateways of its own."),
    )
    return Scene("ever-real", shipped.QUESTION, said, ShippedReleases(releases, shipped.COMMAND))


def closing(given: Teaching) -> Scene | None:
    """The answer."""
    if not given.over:
        return None
    judged = given.judged
    judgement = judged.judgement
    problems = _first(tuple(tell_problems(judgement)))
    if not judgement.verdicts:
        started = judged.run.first(RunStarted)
        name = started.run if started else judged.run.name
        said = Moment(f"The run {name} has no verdicts. This is what it lacks for them.")
        return Scene("answer", "This run broke off, and decides nothing.", (said,), Words(problems))
    refused = acts.refused_for_want_of_the_key(judgement)
    accepted = [one for one in judgement.verdicts if one.outcome == ACCEPTED and one.move != STOLEN_KEY]
    by_others = [one for one in accepted if one.evidence.whose]
    by_others_proof = [one for one in by_others if not one.evidence.began]
    begun_elsewhere = [one for one in by_others if one.evidence.began]
    opened = [one for one in accepted if not one.evidence.whose]
    points: list[tuple[Literal["certificate", "proof", "key"], Inline]] = []
    if opened:
        where = _where(opened)
        points.append(("certificate", f"Every server that asks for it gets it. Without her key it opened {where}."))
    if refused:
        times = counted(len(refused), "time")
        points.append(("proof", f"A proof fits one handshake only. Where it is checked she was refused {times}."))
    if by_others_proof:
        points.append(("proof", f"A proof by Mallory's own key opened {_where(by_others_proof)}."))
    if begun_elsewhere:
        session = "A session that Mallory began under another name of the server"
        points.append(("proof", f"{session} opened {_where(begun_elsewhere)}."))
    searched = judged.run.first(CaptureSearched)
    if searched and not searched.key_at:
        points.append(
            ("key", "Her key was not found in what Mallory recorded. Every full handshake needs a new signature by it.")
        )
    title = "The certificate is not a secret. The key is."
    if not judgement.as_expected:
        title = "This run has findings: look into them."
    elif not (opened and refused):
        title = "What this run shows."
    return Scene("answer", title, (Moment(""),), Closing(tuple(points), acts.answer(judgement), problems))


def _first(problems: tuple[Block, ...]) -> tuple[Block, ...]:
    """As many as somebody will read, and how many there are besides."""
    more = len(problems) - MAX_PROBLEMS
    if more <= 0:
        return problems
    return *problems[:MAX_PROBLEMS], Paragraph(f"And {more:,} more; `certreplay verdicts` has all.")


def _where(verdicts: list[Verdict]) -> str:
    return listed(list(dict.fromkeys(one.gateway for one in verdicts)))
