"""The scenes of the short story: each tells one idea of a run, as soon as its evidence is in.

Headlines, predictions and figures are computed from the run. A scene that a run has nothing for is left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from lab.catalogue.cast import CUSTOMER
from lab.catalogue.exhibits import EXHIBITS
from lab.catalogue.gateways import Gateway
from lab.catalogue.leaks import WIRE, Leak
from lab.catalogue.moves import OMIT_PROOF, REPLAY_PROOF, STOLEN_KEY, moves_named
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.plan import Plan
from lab.catalogue.schemes import find_scheme
from lab.document import Inline, spans
from lab.events.types import (
    AccountOpened,
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    KeyFound,
    LoggedIn,
    PositionTaken,
    RunStarted,
)
from lab.judging.connections import ClientConnection
from lab.judging.facts import certificate_in_tls13
from lab.judging.judgement import Verdict
from lab.judging.proof_comparison import chain_in
from lab.judging.verdicts import JudgedRun
from lab.page import evidence, ladders
from lab.page.model import (
    BundleFile,
    Chip,
    Closing,
    GatewayBox,
    Gateways,
    GatewaySide,
    Highlight,
    Highlighted,
    KeyControl,
    Ladders,
    LeakPicture,
    Moment,
    Network,
    Opened,
    Scene,
    Shipped,
    ShippedReleases,
    Words,
)
from lab.page.roles import Target, roles_of
from lab.page.teaching import Teaching
from lab.page.transcripts import two_transcripts
from lab.story import acts, leaks
from lab.story.evidence import balance_in, came_back, due
from lab.story.matrix import tell_problems
from lab.story.words import counted, listed
from lab.tls.der import layout
from lab.tls.errors import Abort
from lab.tls.versions import TLS12

Tell: TypeAlias = Callable[[Teaching], Scene | None]
MAX_GATEWAYS = 3
"""How many gateways the network has room for."""


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
        told += [("blind", _at("blind"))] if roles.blind else []
        told += [("no-proof", _at("no-proof")), ("old-proof", _at("old-proof"))] if roles.checking else []
        told += [("why-not", why_not)] if roles.checking else []
        told += [("gateways", side_by_side)]
        told += [("with-the-key", with_the_key), ("tls13", tls13)]
    told += [(f"leak-{leak}", _leak(leak)) for leak in plan.leaks if leak != WIRE.id]
    told += [("matrix", evidence.matrix), ("claims", evidence.claims), ("ever-real", ever_real), ("answer", closing)]
    told += [("connections", evidence.connections)] if WIRE.id in plan.leaks else []
    told += [("ledger", evidence.ledger)]
    return tuple(SceneMaker(name, tell) for name, tell in told)


# --- what is at stake ---


def why(given: Teaching) -> Scene | None:
    """The question."""
    issued = given.judged.run.first(BundleIssued)
    if issued is None:
        return None
    file = _file(issued)
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


def _file(issued: BundleIssued) -> str:
    return next((name for name in issued.files if name.endswith(".p12")), next(iter(issued.files), "her bundle"))


# --- the network ---

HERS = (Chip("certificate", "certificate"), Chip("key", "private key"))
STOLEN = (
    Chip("certificate", "certificate", "copy"),
    Chip("proof", "alice's old proof", "copy"),
    Chip("key", "no private key", "none"),
)
_BETWEEN = {
    "relay": "Her relay takes Alice's connections and passes every byte on, unchanged. She reads what she can.",
    "arp": "She claims each victim's IP address by ARP. Her kernel passes on what they send, and she reads along.",
}


def network(given: Teaching, here: Gateway | None = None) -> Network:
    """Everybody, as they are at the start."""
    issued = given.judged.run.first(BundleIssued)
    shown = given.roles.gateways
    first = list(shown[:MAX_GATEWAYS])
    if here and here not in first:
        first[-1] = here
    boxes = tuple(
        GatewayBox(one.id, given.roles.name(one), _checks(one), here=one == here) for one in first or shown[:1]
    )
    every = len(given.judged.plan.served())
    return Network(HERS, (), "", _file(issued) if issued else "", boxes, every - len(boxes), _opening(given.judged))


def _checks(gateway: Gateway) -> str:
    """What a gateway checks, in two or three words."""
    scheme = gateway.scheme
    if scheme.takes_password:
        return "a password"
    if scheme.checks_proof:
        return "certificate and proof"
    if scheme.proof == "ignored":
        return "certificate; ignores a wrong proof"
    return "certificate only" if scheme.asks_in_tls else "a header with the certificate"


def _opening(judged: JudgedRun) -> int | None:
    """What alice's account had at first; None if nobody tells."""
    opened = next((one for one in judged.run.all(AccountOpened) if one.customer == CUSTOMER), None)
    told = opened or judged.run.first(LoggedIn)
    return told.balance if told else None


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


# --- what the wire shows ---


def _shown_login(given: Teaching) -> tuple[CertificateCaptured, ClientConnection, str] | None:
    """The login that the story tells, with the number of the attacker's event."""
    found = acts.told_login(given.judged, given.over)
    if found is None:
        return None
    seen, connection = found
    number = next(one.number for one in given.judged.run.events if one.event is seen)
    return seen, connection, number


def login(given: Teaching) -> Scene | None:
    """Alice logs in, message by message."""
    shown = _shown_login(given)
    if shown is None:
        return None
    seen, connection, number = shown
    ladder = ladders.of_capture(seen, connection.read, given.messages)
    client = [one.name for one in ladder.rows if one.sender == "client"]
    rows = []
    step, done = 1, False
    for one in ladder.rows:
        if one.mark == "certificate":
            step = 3
        elif one.mark == "proof":
            step = 4
        elif step == 4 or done:
            step, done = 5, True
        elif one.sender == "server" and one.name != "ServerHello" and step < 2:
            step = 2
        rows.append(replace(one, since=step))
    said = [
        "Both say hello, each with random bytes that are new in every handshake.",
        "The bank shows its certificate, and asks for hers.",
        "Alice shows her certificate. Anyone on the way can read it.",
        "Then a proof: with her private key she signs everything said so far.",
        "Only now the encryption starts.",
    ][: max((one.since for one in rows), default=1)]
    proof = "CertificateVerify" in client
    title = "Alice shows her certificate, then a proof." if proof else "Alice shows her certificate."
    at = f" at {connection.gateway.id}" if connection.gateway else ""
    return Scene(
        "login",
        title,
        tuple(map(Moment, said)),
        Ladders((replace(ladder, rows=tuple(rows)),)),
        where="wire",
        links=((evidence.connection_id(number), f"this login{at}, TLS {seen.tls}"),),
    )


def certificate(given: Teaching) -> Scene | None:
    """The certificate, byte by byte."""
    shown = _shown_login(given)
    if shown is None:
        return None
    seen, _, _ = shown
    raw = bytes.fromhex(seen.message)
    highlights = tuple(_highlights(raw, seen))
    whole = next(
        (one for one in ladders.captured_messages(seen) if (one.sender, one.message) == ("client", "Certificate")), None
    )
    signer = "her own signature" if seen.issuer == seen.subject else "the authority's signature"
    return Scene(
        "certificate",
        "Mallory has Alice's certificate. It holds no secret.",
        (
            Moment(f"This is what crossed the wire: {len(raw)} bytes, and every one is made to be shown."),
            Moment(f"Her name, her public key, {signer} under both. The private key is not in here."),
        ),
        Highlighted(raw, highlights, "private key", given.messages.add(whole) if whole else ""),
    )


def _highlights(message: bytes, seen: CertificateCaptured) -> Iterator[Highlight]:
    """The four fields that matter first; none if the certificate is unreadable."""
    try:
        der = chain_in(message, TLS12)[0]
        places, read = layout(der), x509.load_der_x509_certificate(der)
        algorithm = read.signature_hash_algorithm
    except (Abort, ValueError, UnsupportedAlgorithm):
        return
    start = message.index(der)
    itself = seen.issuer == seen.subject
    key = read.public_key()
    kind = getattr(getattr(key, "curve", None), "name", "") or type(key).__name__.strip("_").removesuffix("PublicKey")
    hashed = f"with {algorithm.name}" if algorithm else ""
    for place, name, value, sentence in (
        (
            places.issuer,
            "issuer",
            seen.issuer,
            "Alice herself; the bank has it on its list." if itself else "Who vouches for it.",
        ),
        (places.subject, "subject", seen.subject, "Who this is."),
        (places.public_key, "public key", kind, "The public half. The private half is never sent."),
        (
            places.signature,
            "signature",
            hashed,
            "Made with the certificate's own key." if itself else "The issuer's seal over all of the above.",
        ),
    ):
        yield Highlight(start + place.start, place.stop - place.start, name, value, sentence)


# --- at the gateways ---

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


def _at(scene: str) -> Tell:
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


# --- why it does not fit ---


def why_not(given: Teaching) -> Scene | None:
    """The heart: what alice signed beside what the bank checks."""
    target = given.roles.checking
    verdict = _verdict(given, target, REPLAY_PROOF) if target else None
    seen = evidence.made_of(given.judged, verdict) if verdict else None
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
    return Scene("why-not", title, tuple(moments), drawn, where="gateway 2", links=tuple(links))


# --- gateways side by side ---


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
            tuple(evidence.cell(one) for move in moves for one in verdicts if one.move == move),
        )
        for (gateway, _), verdicts in found.items()
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
        its, others = ([one.outcome for one in found[target]] for target in (roles.witness, roles.checking))
        same = its == others
        so = "does the same" if same else "does not do the same"
        yield Moment(f"{roles.name(gateway).capitalize()} is {gateway.implementation.title}: other code, and it {so}.")


# --- the control ---


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
            Moment(f"The lab searched all {searched.octets:,} bytes that Mallory recorded. Alice's key is {key} in it.")
        )
    title = "With Alice's key the same program gets in." if accepted else "Even with Alice's key it was refused."
    return Scene(
        "with-the-key",
        title,
        tuple(said),
        KeyControl(drawn, facts),
        links=((evidence.event_id(tried.number), "the control, message by message"),),
    )


# --- TLS 1.3 and the other leaks ---


def tls13(given: Teaching) -> Scene | None:
    """What the wire shows of TLS 1.3, and what alice's own keys show."""
    found = acts.told_tls13(given.judged, given.over)
    if found is None:
        return None
    seen, connection = found
    number = next(one.number for one in given.judged.run.events if one.event is seen)
    drawn = [replace(ladders.of_records(seen), until=1 if connection.read else 0)]
    said = ["Everything after the hellos is encrypted. No certificate, no proof: the wire shows sizes, no more."]
    if connection.read:
        drawn.append(replace(ladders.of_login(connection.read), since=2))
        said.append("The same, opened with Alice's own key log, which Mallory does not have. The certificate is there.")
    later = [leak.title for leak in given.judged.leaks if leak != WIRE]
    if later:
        said.append(
            f"It still gets out in other ways: {listed([title[0].lower() + title[1:] for title in later[:4]])}."
        )
    else:
        said.append("A careless client, a shop, a log, a register can still give it away.")
    searched = given.judged.run.first(CaptureSearched)
    in_sight = bool(searched and certificate_in_tls13(given.judged.run, searched))
    title = "Finding: her certificate in TLS 1.3." if in_sight else "TLS 1.3 hides the certificate on the wire."
    at = f" at {connection.gateway.id}" if connection.gateway else ""
    links = ((evidence.connection_id(number), f"this login{at}, TLS {seen.tls}"),)
    return Scene("tls13", title, tuple(map(Moment, said)), Ladders(tuple(drawn)), links=links)


_PLACES = {
    "interception": "an interceptor in the bank's place",
    "live-relay": "mallory, a server to Alice",
    "rogue-server": "a shop that Alice uses",
    "database": "the bank's list of certificates",
    "log": "a gateway's access log",
    "archive": "the bank's copies of the bundles",
    "requests": "the bank's copies of requests",
}
"""Where each leak happens, in a few words."""


def _leak(name: str) -> Tell:
    def tell(given: Teaching) -> Scene | None:
        leak = next((one for one in given.judged.leaks if one.id == name), None)
        blocks = leaks.tell_leak(given.judged, leak) if leak else None
        if leak is None or blocks is None:
            return None
        _, *act = blocks
        drawn = LeakPicture(
            _PLACES.get(name, leak.title), tuple(_loot(given, leak)), tuple(_openings(given, leak)), tuple(act)
        )
        return Scene(f"leak-{name}", f"{leak.title}.", (Moment(f"{leak.how[0].upper()}{leak.how[1:]}."),), drawn)

    return tell


def _loot(given: Teaching, leak: Leak) -> Iterator[Chip]:
    """What mallory has by a leak."""
    seen = [one for one in given.judged.run.all(CertificateCaptured) if one.leak == leak.id]
    whose = len({one.subject for one in seen})
    yield Chip("certificate", "certificate" if whose < 2 else f"{whose} customers' certificates", "copy")
    proof = any(one.proof for one in seen)
    yield Chip("proof", "a proof", "copy") if proof else Chip("proof", "no proof", "none")
    key = any(one.leak == leak.id for one in given.judged.run.all(KeyFound))
    yield Chip("key", "private key", "copy") if key else Chip("key", "no private key", "none")


def _openings(given: Teaching, leak: Leak) -> Iterator[Opened]:
    """What that opened, gateway by gateway: in the version in which something got in, or else in the first."""
    found: dict[Gateway, Inline] = {}
    for gateway, version in leaks.targets_of(given.judged, leak):
        told = leaks.opened(given.judged, leak, gateway, version)
        if gateway not in found or (_meaning(told) == "accepted" != _meaning(found[gateway])):
            found[gateway] = told
    for gateway, told in found.items():
        result = ACCEPTED if _meaning(told) == "accepted" else REFUSED
        yield Opened(GatewayBox(gateway.id, given.roles.name(gateway), _checks(gateway), result), told)


def _meaning(text: Inline) -> str:
    return spans(text)[0].meaning


# --- outside of the lab ---


def ever_real(given: Teaching) -> Scene | None:
    """Releases that shipped without the check: not from the run, which says so."""
    if not given.over or not given.judged.judgement.verdicts:
        return None
    shipped = tuple(
        Shipped(
            one.title,
            one.story,
            tuple(sorted({move for moves in one.takes.values() for move in moves})),
            one.mended.partition("==")[2],
            one.cases,
        )
        for one in EXHIBITS
    )
    said = (
        Moment(f"Yes. {counted(len(shipped), 'release')} are known here that shipped so, and were mended later."),
        Moment("This run tried none of them. It shows what such a fault opens, at gateways of its own."),
    )
    return Scene("ever-real", "Was this ever real?", said, ShippedReleases(shipped, "certreplay exhibits"))


# --- the end ---


def closing(given: Teaching) -> Scene | None:
    """The answer."""
    if not given.over:
        return None
    judged = given.judged
    judgement = judged.judgement
    problems = tuple(tell_problems(judgement))
    if not judgement.verdicts:
        started = judged.run.first(RunStarted)
        name = started.run if started else judged.run.name
        said = Moment(f"The run {name} has no verdicts. This is what it lacks for them.")
        return Scene("answer", "This run broke off, and decides nothing.", (said,), Words(problems))
    refused = [one for one in judgement.verdicts if one.outcome == REFUSED and _checked(one)]
    opened = [one for one in judgement.verdicts if one.outcome == ACCEPTED and one.move != STOLEN_KEY]
    points: list[tuple[Literal["certificate", "proof", "key"], Inline]] = []
    if opened:
        where = listed(list(dict.fromkeys(one.gateway for one in opened)))
        points.append(("certificate", f"Every server that asks for it gets it. Without her key it opened {where}."))
    if refused:
        times = counted(len(refused), "time")
        points.append(("proof", f"A proof fits one handshake only. Where it is checked she was refused {times}."))
    searched = judged.run.first(CaptureSearched)
    if searched and not searched.key_at:
        points.append(
            ("key", "Her key is not in what Mallory recorded. Every full handshake needs a new signature by it.")
        )
    title = "The certificate is not a secret. The key is."
    if not judgement.as_expected:
        title = "This run has findings: look into them."
    elif not (opened and refused):
        title = "What this run shows."
    return Scene("answer", title, (Moment(""),), Closing(tuple(points), acts.answer(judgement), problems))


def _checked(verdict: Verdict) -> bool:
    found = find_scheme(verdict.scheme)
    return bool(found and found.checks_proof)
