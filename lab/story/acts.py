"""The story of a run: acts, each a view of the run's events and told once all of them are there."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from lab.capture.search import MAX_HITS
from lab.catalogue.cast import ATTACKER, CUSTOMER
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.checks import Check
from lab.catalogue.gateways import Gateway, find_gateway
from lab.catalogue.leaks import WIRE, Leak, find_leak
from lab.catalogue.moves import STOLEN_KEY, STOLEN_PASSWORD, find_move, moves_named
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED, Outcome
from lab.catalogue.plan import Plan
from lab.catalogue.schemes import ProofOf, find_scheme
from lab.document import (
    Block,
    Break,
    Column,
    Inline,
    Items,
    Paragraph,
    Section,
    Span,
    Table,
    columns,
    facts,
)
from lab.events.run import Run
from lab.events.types import (
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    ClientAuthenticated,
    HandshakeSeen,
    LoginDecrypted,
    MoneyMoved,
    PositionTaken,
    RunStarted,
    UnknownEvent,
)
from lab.judging.connections import ClientConnection
from lab.judging.expectations import expectation
from lab.judging.facts import certificate_in_tls13
from lab.judging.gateway_reports import sentence
from lab.judging.judgement import CLIENT, Control, Judgement, Verdict
from lab.judging.stolen import stolen_files
from lab.judging.verdicts import JudgedRun
from lab.story import shipped, short
from lab.story.evidence import NOTE_ON_NOT_APPLICABLE, balance_in, came_back, due, marked, outcome_span, sent, unusual
from lab.story.explain import compare_proof
from lab.story.leaks import tell_leak
from lab.story.octets import octets
from lab.story.places import with_gateways
from lab.story.short import Brief
from lab.tls.dissect import dissect, dissect_record
from lab.tls.versions import TLS12, Version, find_version
from lab.words import counted, listed

QUESTION = (
    "In mutual TLS the client sends its certificate and then signs the handshake with its private key "
    "(CertificateVerify). Key and certificate are handed out and stored together, so why isn't the certificate enough?"
)

S = TypeVar("S", CertificateCaptured, HandshakeSeen)
Target: TypeAlias = tuple[Gateway, Version]
Tell: TypeAlias = Callable[[JudgedRun, bool], Iterable[Block] | None]
"""What an act tells of a run, None while it cannot yet be told; the flag says whether the run is over."""


@dataclass(frozen=True)
class Act:
    """A part of the story: its heading, what is told, None until the run has got there, and what that comes to."""

    title: str
    tell: Tell
    brief: Brief


class Teller:
    """Tells a run while it goes on, an act at a time, in order, as soon as each can be told, or in short.

    Each act is a Section of its own.
    """

    def __init__(self, in_short: bool = False) -> None:
        self._in_short = in_short
        self._told = 0
        self._acts: tuple[Act, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the story has come to its end."""
        return bool(self._acts) and self._told == len(self._acts)

    def update(self, judged: JudgedRun, over: bool = False) -> list[Block]:
        """What can be told now and was not told before; once the run is `over`, all that is left and can be told."""
        news: list[Block] = []
        started = judged.run.first(RunStarted)
        if started and not self._acts:
            self._acts = acts(judged.plan)
            whose = f", student {started.student}" if started.student else ""
            news = [
                Paragraph(Span(QUESTION, strong=True)),
                Paragraph(f"run {started.run}, {started.mode}{whose}"),
            ]
        for act in self._acts[self._told :]:
            blocks = act.tell(judged, over)
            if blocks is None and not over:
                break
            self._told += 1
            if blocks is not None:
                told = tuple(blocks)
                news.append(
                    short.in_one(act.title, act.brief(judged, told)) if self._in_short else Section(act.title, told)
                )
        return news


def tell(judged: JudgedRun, in_short: bool = False) -> list[Block]:
    """The whole story of a run, as far as it got."""
    return Teller(in_short).update(judged, over=True)


def _issued(judged: JudgedRun, over: bool) -> list[Block] | None:
    issued = judged.run.first(BundleIssued)
    if not issued:
        return None
    self_signed = issued.issuer == issued.subject
    how = (
        "The bank made a key and a self-signed certificate for its customer. It handed both out in one file, a bundle, "
        "and keeps the certificate on its list: it pins it."
        if self_signed
        else "The bank issued a key and a certificate to its customer, both in one file, a bundle."
    )
    return [
        Paragraph(how),
        facts(
            ("subject", issued.subject),
            ("issuer", "itself: the certificate is self-signed" if self_signed else issued.issuer),
            ("key", issued.key_type),
            ("sha256", issued.sha256),
            ("bundle", f"{' and '.join(issued.files)}: key and certificate, stored and handed out together"),
        ),
    ]


# The words, each where it comes first.
GATEWAY = (
    "A gateway is a server in front of the bank. It does the handshake, the messages at the start of a connection by "
    "which both sides agree on keys and show who they are, and tells the bank who the client is. The bank has several, "
    "which differ in what they check."
)
PROOF = (
    "Then her proof of possession, the CertificateVerify message. It is a signature with her private key over the "
    "transcript: all messages of this one handshake so far, with the random numbers of both sides:"
)
CONTROL = (
    "A control is an attempt that must succeed: a refusal means something only if what alice keeps secret, her key or "
    "her password, is accepted in the same way."
)

_BETWEEN = {
    "relay": "Mallory's relay takes alice's connections and passes every byte on, both ways, unchanged.",
    "arp": "Mallory claims each victim's IP address by ARP; her kernel forwards what the victims send.",
}
"""The positions on the wire. Other leaks have acts of their own."""


def _position(judged: JudgedRun, over: bool) -> list[Block] | None:
    position = next((taken for taken in judged.run.all(PositionTaken) if taken.kind in _BETWEEN), None)
    named = all(gateway in judged.gateways.values() for gateway, _ in judged.plan.targets())
    if position is None or not (over or named):
        return None
    return [
        Paragraph(GATEWAY),
        Paragraph(_BETWEEN[position.kind]),
        Items(tuple(with_gateways(judged, position.detail))),
    ]


def _wire(judged: JudgedRun, over: bool) -> Iterator[Block] | None:
    shown = told_login(judged, over)
    return _tell_wire(judged.run, *shown) if shown else None


def told_login(judged: JudgedRun, over: bool) -> tuple[CertificateCaptured, ClientConnection] | None:
    """The login whose certificate and proof the story tells; None while there is none."""
    issued = {bundle.sha256 for bundle in judged.run.all(BundleIssued)}
    found = [
        (seen, connection)
        for seen, connection in judged.seen(CertificateCaptured)
        if seen.leak == WIRE.id and seen.proof and seen.sha256 in issued and (over or connection.login)
    ]
    return _at_first_checking(judged, found, over)


def _at_first_checking(
    judged: JudgedRun, found: list[tuple[S, ClientConnection]], over: bool
) -> tuple[S, ClientConnection] | None:
    """What was seen at the plan's first gateway that checks the proof, so that a plan's runs all tell the same story.

    Where nothing was, not even in the end, the first of all.
    """
    at = {one.gateway.id: (seen, one) for seen, one in reversed(found) if one.gateway}
    for gateway in filter(None, map(find_gateway, judged.plan.gateways)):
        if gateway.scheme.proof_of is ProofOf.CUSTOMER:
            if gateway.id in at:
                return at[gateway.id]
            if not over:
                return None
    return next(iter(found), None)


def _login(seen: CertificateCaptured | HandshakeSeen, connection: ClientConnection) -> str:
    who = "Alice logs in" if connection.login else "A client connects"
    where = f" at `{connection.gateway.id}`" if connection.gateway else ""
    return f"{who}{where}, TLS {seen.tls}: {seen.client} to {seen.server}."


def _tell_wire(run: Run, seen: CertificateCaptured, connection: ClientConnection) -> Iterator[Block]:
    yield Paragraph(_login(seen, connection))
    yield Paragraph("Her Certificate message is plaintext:")
    record, message = bytes.fromhex(seen.record), bytes.fromhex(seen.message)
    certificate = dissect(message, TLS12, whole_certificates=True)
    yield octets("Certificate", "client", False, (*dissect_record(record), *certificate))
    yield Paragraph(PROOF)
    yield octets("CertificateVerify", "client", False, dissect(bytes.fromhex(seen.proof or ""), TLS12))
    yield facts(
        ("sha256", f"{seen.sha256}, as in alice's bundle"),
        *(("mallory keeps", kept) for kept in _kept(run, seen.sha256)),
    )


def _kept(run: Run, fingerprint: str) -> Iterator[str]:
    """The attacker's file with this certificate, and what it holds. Any file with a private key is told, too."""
    for file in stolen_files(run, ATTACKER):
        if file.keys or fingerprint in file.fingerprints:
            kept = counted(len(file.fingerprints), "certificate")
            yield f"{file.name}: {kept}, {file.keys or 'no'} private key{'s' if file.keys > 1 else ''}"


def _tls13(judged: JudgedRun, over: bool) -> Iterator[Block] | None:
    shown = told_tls13(judged, over)
    return _tell_tls13(*shown) if shown else None


def told_tls13(judged: JudgedRun, over: bool) -> tuple[HandshakeSeen, ClientConnection] | None:
    """The login over TLS 1.3 that the story tells; None while there is none."""
    found = [
        (seen, connection)
        for seen, connection in judged.seen(HandshakeSeen)
        if seen.tls == "1.3"
        and not seen.session
        and (over or (connection.report and connection.login and connection.read))
    ]
    return _at_first_checking(judged, found, over)


def _tell_tls13(seen: HandshakeSeen, connection: ClientConnection) -> Iterator[Block]:
    yield Paragraph(f"{_login(seen, connection)} The wire shows no certificate and no proof. Among what it shows:")
    yield facts(
        ("ClientHello", f"random {seen.client_random}"),
        ("ServerHello", f"random {seen.server_random}"),
        ("the client's records", ", ".join(seen.client_records)),
        ("the server's", ", ".join(seen.server_records)),
    )
    if connection.read:
        yield Paragraph("The lab reads the same records with alice's own session keys, which mallory does not have:")
        yield _messages(connection.read)
    report = connection.report
    if isinstance(report, ClientAuthenticated):
        yield Paragraph(
            "After the hellos every record is application_data, which is encrypted; only change_cipher_spec, a fixed "
            "byte, is not. The Certificate and the proof are in there. The gateway reports of this very connection:"
        )
        by = "" if report.peer == seen.client else ", which is mallory's relay, on alice's behalf"
        yield facts(
            ("client", f"{report.peer}{by}"),
            ("gateway log", sentence(report)),
            ("sha256", report.sha256),
        )


def _messages(login: LoginDecrypted) -> Table:
    """The messages of a handshake, and how they crossed the wire."""
    rows = tuple(
        (sender, name, str(octets), "encrypted" if encrypted else "in plaintext")
        for sender, name, octets, encrypted, _ in login.messages
    )
    return Table((Column("from"), Column("message", "name"), Column("bytes", "number"), Column("on the wire")), rows)


def _gateway(gateway: Gateway, version: Version, with_proof: bool) -> Tell:
    def tell(judged: JudgedRun, over: bool) -> Iterator[Block] | None:
        return _tell_gateway(judged, gateway, version, with_proof) if _is_tried(judged, gateway, version) else None

    return tell


def _is_tried(judged: JudgedRun, gateway: Gateway, version: Version) -> bool:
    return gateway in judged.gateways.values() and not judged.missing_at(WIRE, gateway, version)


def _tell_gateway(judged: JudgedRun, gateway: Gateway, version: Version, with_proof: bool) -> Iterator[Block]:
    """Each move; `with_proof` shows also why alice's own proof, which was replayed, does not fit."""
    scheme = gateway.scheme
    yield facts(
        ("asks for", scheme.asks_for), ("checks", scheme.verifies), ("implementation", gateway.implementation.title)
    )
    verdicts = judged.verdicts_at(WIRE, gateway, version)
    titles = {move.id: move.title for move in moves_named({one.move for one in verdicts})}
    hers = next((one for one in verdicts if one.evidence.proof and one.evidence.proof.fits_captured), None)
    for verdict in verdicts:
        title = (Span(f"{verdict.move}: ", strong=True), f"{titles[verdict.move]}.")
        compared = compare_proof(verdict) if with_proof and verdict is hers else ()
        yield Section(title, (facts(*_attempt(verdict)), *compared), "point")


def _attempt(verdict: Verdict) -> Iterator[tuple[str, Inline]]:
    if verdict.outcome == NOT_APPLICABLE:
        yield "not applicable", verdict.evidence.clause if verdict.as_expected else verdict.evidence.reason
        return
    yield "sent", sent(verdict)
    yield "came back", came_back(verdict)
    yield "gateway", verdict.evidence.reason
    transfer = f", and {verdict.evidence.transfer}" if verdict.evidence.transfer else ""
    outcome = outcome_span(verdict.outcome, f"{verdict.outcome}{transfer}", strong=True)
    finding = Span(f"  FINDING: expected {due(verdict)}", "finding")
    yield "outcome", outcome if verdict.as_expected else (outcome, finding)
    for note in filter(None, (verdict.evidence.note, unusual(verdict))):
        yield "note", note


_KINDS = {
    CertificateKind.FROM_CA: "certificates from an authority",
    CertificateKind.SELF_SIGNED: "self-signed certificates that the server pins",
}


def _other_kind(kind: CertificateKind, targets: list[Target]) -> Tell:
    """The gateways that take another kind of certificate than the plan's main one, in short."""

    def tell(judged: JudgedRun, over: bool) -> Iterator[Block] | None:
        tried = [target for target in targets if _is_tried(judged, *target)]
        return _tell_other_kind(judged, kind, tried) if len(tried) == len(targets) or (over and tried) else None

    return tell


def _tell_other_kind(judged: JudgedRun, kind: CertificateKind, targets: list[Target]) -> Iterator[Block]:
    verdicts = [verdict for target in targets for verdict in judged.verdicts_at(WIRE, *target)]
    self_signed = kind == CertificateKind.SELF_SIGNED
    bundle = next((one for one in judged.run.all(BundleIssued) if (one.issuer == one.subject) == self_signed), None)
    if bundle:
        sort = "is self-signed" if self_signed else f"was issued by {bundle.issuer}"
        yield Paragraph(f"Alice has another bundle, whose certificate {sort}. The same moves with that one:")
    yield verdict_table(verdicts)
    main = list(_of_main_kind(judged))
    pairs = [(one, other) for one in verdicts for other in main if _alike(one, other)]
    odd = dict.fromkeys(
        f"{one.move} at {one.gateway}, TLS {one.tls}" for one, other in pairs if one.outcome != other.outcome
    )
    same = {(one.gateway, one.tls, one.move) for one, _ in pairs}
    if odd:
        yield Paragraph(Span(f"With {_KINDS[kind]} it is not the same: {', '.join(odd)}.", "finding"))
    elif pairs:
        gateways = listed(list(dict.fromkeys(other.gateway for _, other in pairs)))
        outcomes = "the outcome is that" if len(same) == 1 else f"all {len(same)} outcomes are those"
        yield Paragraph(f"With {_KINDS[kind]} it is the same: {outcomes} of {gateways}.")


def _of_main_kind(judged: JudgedRun) -> Iterator[Verdict]:
    for gateway, version in judged.plan.targets():
        if gateway.scheme.trusts == judged.plan.kinds[0] and _is_tried(judged, gateway, version):
            yield from judged.verdicts_at(WIRE, gateway, version)


def _alike(one: Verdict, other: Verdict) -> bool:
    """Whether two verdicts are on the same move at schemes that differ in the kind of certificate alone.

    Implementations differ in whether there is a session to resume, and so does what is expected of them then.
    """
    scheme, its = find_scheme(one.scheme), find_scheme(other.scheme)
    if scheme is None or its is None:
        return False
    same = (scheme.asks_for, scheme.checks, scheme.name_from) == (its.asks_for, its.checks, its.name_from)
    return same and (one.tls, one.move, one.expected) == (other.tls, other.move, other.expected)


def _leak(leak: Leak) -> Tell:
    return lambda judged, over: tell_leak(judged, leak)


def _controls(judged: JudgedRun, over: bool) -> Iterator[Block] | None:
    return _tell_controls(judged.run, judged.judgement) if over else None


def _tell_controls(run: Run, judgement: Judgement) -> Iterator[Block]:
    yield Paragraph(CONTROL)
    who = {
        CLIENT: "alice herself",
        STOLEN_KEY: "attack code with alice's key",
        STOLEN_PASSWORD: "attack code with alice's password",
    }
    rows = [
        (
            who[one.control] if _uses_a_secret(one) else "attack code with her certificate in a header",
            f"{one.gateway}, TLS {one.tls}",
            one.outcome,
        )
        for one in judgement.controls
    ]
    yield Table(columns("", "", ""), tuple(rows))
    searched = run.first(CaptureSearched)
    if searched:
        octets = f"{counted(searched.octets, 'byte')} in {counted(searched.connections, 'connection')}"
        yield Paragraph(
            f"The lab searched all that mallory had captured by then: {octets}, and each packet on its own."
        )
        yield facts(*search_facts(run, searched))


def search_facts(run: Run, searched: CaptureSearched) -> Iterator[tuple[str, str]]:
    """What the lab found in the attacker's capture, and what it did not."""
    yield "alice's certificate", _certificate_found(searched)
    yield "her certificate in TLS 1.3", _found_in_tls13(run, searched)
    yield _keys_sought(searched), f"FOUND: {'; '.join(searched.key_at)}" if searched.key_at else "not found"
    yield from _in_her_bundle(searched)
    yield from _unsearched(searched)


def _uses_a_secret(control: Control) -> bool:
    """All but the control with the key do, and that one wherever the server asks for a certificate in TLS."""
    gateway = find_gateway(control.gateway)
    return control.control != STOLEN_KEY or gateway is None or gateway.scheme.asks_in_tls


def _keys_sought(searched: CaptureSearched) -> str:
    """How many keys, and how many encodings of each."""
    each = len(searched.key_forms) // (searched.keys or 1)
    return f"{'her key' if searched.keys == 1 else f'{searched.keys} keys of hers'}, in {each} encodings" + (
        "" if searched.keys == 1 else " each"
    )


def _in_her_bundle(searched: CaptureSearched) -> Iterator[tuple[str, str]]:
    """The control of the search: the same needles, in the files that hold the keys."""
    if searched.key_in_bundle is not None:
        forms = dict.fromkeys(name.partition(", ")[2] for name in searched.key_in_bundle)
        yield "the same search in her bundle", f"found as {', '.join(forms)}" if forms else "NOT FOUND"


def _certificate_found(searched: CaptureSearched) -> str:
    if not searched.certificate_at:
        return "NOT FOUND"
    hits = len(searched.certificate_at)
    times = counted(hits, "time") + (" or more" if hits >= MAX_HITS else "")
    return f"found {times}, first in {searched.certificate_at[0]}"


def _found_in_tls13(run: Run, searched: CaptureSearched) -> str:
    """Whether the certificate is in sight in a connection that was seen to be TLS 1.3."""
    found = certificate_in_tls13(run, searched)
    return f"FOUND: {'; '.join(found)}" if found else "not found"


def _unsearched(searched: CaptureSearched) -> Iterator[tuple[str, str]]:
    """What a search cannot find: bytes that are encrypted, not in the capture, or not in one piece."""
    counts = (
        (searched.gaps, "gap", ""),
        (searched.cut, "packet", " cut short"),
        (searched.alone, "packet", " of no connection"),
    )
    places = ", ".join(f"{counted(count, what)}{which}" for count, what, which in counts if count)
    yield "blind spots", "what is in encrypted records" + (f"; matches split across {places}" if places else "")


def _verdicts(judged: JudgedRun, over: bool) -> Iterator[Block] | None:
    return _tell_verdicts(judged.run, judged.judgement) if over else None


def _tell_verdicts(run: Run, judgement: Judgement) -> Iterator[Block]:
    if judgement.errors:
        lacking = "There are no verdicts, because the run lacks:"
        yield Paragraph(Span("Not judged:" if judgement.verdicts else lacking, "warning", strong=True))
        yield Items(judgement.errors)
    if not judgement.verdicts:
        return
    yield verdict_table(judgement.verdicts)
    if any(verdict.outcome == NOT_APPLICABLE for verdict in judgement.verdicts):
        yield Paragraph(NOTE_ON_NOT_APPLICABLE)
    moved = [transfer for transfer in run.all(MoneyMoved) if transfer.customer == CUSTOMER]
    if moved:
        lost = sum(transfer.amount for transfer in moved)
        yield Paragraph(f"Alice's account at the bank: {moved[0].balance + moved[0].amount} before, {lost} gone.")
    strange = sorted({event.type for event in run.all(UnknownEvent)})
    if strange:
        unknown = f"The run has events that this version does not know: {', '.join(strange)}."
        yield Paragraph(Span(unknown, "warning"))
    for contradiction in judgement.contradictions:
        yield Paragraph(Span(f"FINDING: {contradiction}", "finding"))
    yield Break()
    yield facts((shipped.QUESTION, shipped.the_first()))
    yield Break()
    yield Paragraph(Span(answer(judgement), strong=True))


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each move at each gateway, for each leak and version."""
    leaks = len({verdict.leak for verdict in verdicts}) > 1
    versions = len({verdict.tls for verdict in verdicts}) > 1
    where = [heading for heading, several in (("leak", leaks), ("TLS", versions)) if several]
    rows: list[tuple[Inline, ...]] = []
    for verdict in verdicts:
        at = *([verdict.leak] if leaks else []), *([verdict.tls] if versions else [])
        outcome = marked(outcome_span(verdict.outcome, _briefly(verdict.outcome)), verdict.as_expected)
        rows.append((*at, verdict.gateway, verdict.move, _briefly(verdict.expected), outcome, _in_short(verdict)))
    names = (Column(heading, "name") for heading in (*where, "gateway", "move"))
    outcomes = (Column(heading, "outcome") for heading in ("expected", "outcome"))
    return Table((*names, *outcomes, Column("evidence")), tuple(rows))


def _briefly(outcome: Outcome) -> str:
    return "n/a" if outcome == NOT_APPLICABLE else outcome


def _in_short(verdict: Verdict) -> str:
    alert = verdict.evidence.alert
    short = alert and alert.sent_by == "server"
    if verdict.outcome == NOT_APPLICABLE:
        return verdict.evidence.clause if verdict.as_expected else verdict.evidence.reason
    if alert and short:
        return f"alert {alert.name} ({alert.number})"
    told = balance_in(verdict)
    return f"HTTP 200, {told[0]} has {told[1]}" if told else came_back(verdict)


def answer(judgement: Judgement) -> str:
    """The closing sentences, from what was measured."""
    odd = [f"{v.move} at {v.gateway}, TLS {v.tls}" for v in judgement.verdicts if not v.as_expected]
    odd += [f"a proof relayed to {v.gateway}, TLS {v.tls}" for v in judgement.relays if not v.as_expected]
    if odd:
        return f"Finding: differs from what the RFCs predict: {', '.join(odd)}."
    if judgement.contradictions:
        return "Finding: the attacker, the gateways and the bank's ledger do not agree, so this run decides nothing."
    without = [v for v in judgement.verdicts if v.outcome == ACCEPTED and v.move != STOLEN_KEY]
    opened = dict.fromkeys(v.gateway for v in without)
    with_key = [v for v in judgement.verdicts if v.outcome == ACCEPTED and v not in without]
    held = refused_for_want_of_the_key(judgement)
    by_others = [v for v in without if _proof_of(v) is ProofOf.SOMEBODY]
    opened = dict.fromkeys(gateway for gateway in opened if gateway not in {v.gateway for v in by_others})
    on_the_wire = {v.leak for v in judgement.verdicts} == {WIRE.id}
    crossed, key = (
        ("crossed the wire", "was not found on the wire") if on_the_wire else ("got out", "was not in what leaked")
    )
    kinds = {found.scheme.trusts for found in map(find_gateway, opened) if found}
    which = "those" if len(kinds) > 1 else "the one"
    said = f"{which} that {crossed} opened {listed(list(opened)) or 'nothing here'}"
    also = "".join(f" {sentence}" for sentence in _opened_by_others(by_others))
    if with_key:
        checking = dict.fromkeys(v.gateway for v in with_key if _proof_of(v) is not ProofOf.NOBODY)
        where = f": where it did, it opened {listed(list(checking))}" if checking else ""
        key = f"is what must not get out{where}"
    if not held:
        checked = any(_proof_of(v) is ProofOf.CUSTOMER for v in judgement.verdicts)
        none = "no refusal was for want of her key" if checked else "no gateway that checks whose proof it is was tried"
        hers = f" Alice's key {key}." if with_key else ""
        return f"The certificate isn't a secret: {said}; {none}.{hers}{also}"
    times = "once" if len(held) == 1 else f"{len(held)} times"
    refusals = f"{listed(list(dict.fromkeys(v.gateway for v in held)))} refused {times}"
    return (
        f"So why isn't the certificate enough? Because it isn't a secret: {said}. Alice's key {key}. Every full "
        f"handshake needs a new signature by it. That is why {refusals}{' without it' if with_key else ''}.{also}"
    )


def refused_for_want_of_the_key(judgement: Judgement) -> list[Verdict]:
    """Refusals for a proof that is missing or not valid, by gateways that check it and let nobody in without the key.

    What is refused for its certificate, its order or its keys is refused for no want of alice's key.
    """
    opened = {v.gateway for v in judgement.verdicts if v.outcome == ACCEPTED and v.move != STOLEN_KEY}
    refused = [v for v in judgement.verdicts if v.outcome == REFUSED and v.gateway not in opened]
    return [v for v in refused if _proof_of(v) is ProofOf.CUSTOMER and _rests_on_the_proof(v)]


def _rests_on_the_proof(verdict: Verdict) -> bool:
    """Whether the check that refuses the move at this gateway is one of the proof."""
    gateway, move, leak = find_gateway(verdict.gateway), find_move(verdict.move), find_leak(verdict.leak)
    version = find_version(verdict.tls)
    if not (gateway and version and move and leak):
        return False
    return expectation(gateway, version, move, leak).check in (Check.PROOF_PRESENT, Check.PROOF_VALID)


def _opened_by_others(accepted: list[Verdict]) -> Iterator[str]:
    """What opened gateways where a proof is checked, but not that it belongs to the name."""
    for began_elsewhere, words in _BY_OTHERS.items():
        if found := dict.fromkeys(v.gateway for v in accepted if bool(v.evidence.began) == began_elsewhere):
            yield words.format(listed(list(found)))


_BY_OTHERS = {
    False: "Not any proof will do: one by mallory's own key opened {}, where a proof is checked, but not that it "
    "belongs to the name.",
    True: "Not any session will do: one that mallory began under another name of the server, with a proof by her own "
    "key, opened {}, where no new proof was asked for.",
}
"""By whether the attempt resumed a session that began under another name."""


def _proof_of(verdict: Verdict) -> ProofOf | None:
    scheme = find_scheme(verdict.scheme)
    return scheme.proof_of if scheme else None


_TOLD_IN_ORDER = (ProofOf.NOBODY, ProofOf.SOMEBODY, ProofOf.CUSTOMER)


def acts(plan: Plan) -> tuple[Act, ...]:
    """The acts of a run with this plan, numbered; the gateways that ask for less come first.

    Those that take the main kind of certificate are told in full.
    """
    told: list[tuple[str, Tell, Brief]] = [("Issued", _issued, short.issued)]
    if WIRE.id in plan.leaks and plan.kinds:
        targets = sorted(plan.targets(), key=lambda target: _TOLD_IN_ORDER.index(target[0].scheme.proof_of))
        main, *others = ([one for one in targets if one[0].scheme.trusts == kind] for kind in plan.kinds)
        checking = next((target for target in main if target[0].scheme.proof_of is ProofOf.CUSTOMER), None)
        told += [("In between", _position, short.last_sentence), ("On the wire", _wire, short.wire)]
        told += [
            (
                f"At the gateway `{one.id}`, TLS {version}",
                _gateway(one, version, (one, version) == checking),
                short.gateway(one, version),
            )
            for one, version in main
        ]
        told += [
            (f"With {_KINDS[kind]}", _other_kind(kind, of_kind), short.other_kind)
            for kind, of_kind in zip(plan.kinds[1:], others, strict=True)
        ]
        told += [("Over TLS 1.3", _tls13, short.tls13)]
    leaks = [leak for leak in map(find_leak, plan.leaks) if leak and leak != WIRE]
    told += [(leak.title, _leak(leak), short.leak(leak)) for leak in leaks]
    told += [("Controls", _controls, short.controls), ("Verdicts", _verdicts, short.verdicts)]
    return tuple(Act(f"{number}. {title}", tell, brief) for number, (title, tell, brief) in enumerate(told, start=1))
