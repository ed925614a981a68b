"""The story of a run, told on a terminal: acts, each a view of the run's events and told once all of them are there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from rich.console import Console, ConsoleRenderable
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.capture.search import MAX_HITS
from lab.catalogue.cast import ATTACKER, CUSTOMER
from lab.catalogue.gateways import Gateway
from lab.catalogue.leaks import WIRE, Leak, find_leak
from lab.catalogue.moves import MOVES, STOLEN_KEY
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED
from lab.catalogue.plan import Plan
from lab.catalogue.schemes import find_scheme
from lab.document import Lines
from lab.document import facts as facts
from lab.document import printable as printable
from lab.events.run import Run
from lab.events.types import (
    BundleIssued,
    CaptureSearched,
    ClientAuthenticated,
    HandshakeSeen,
    LoggedIn,
    MoneyMoved,
    PositionTaken,
    RunStarted,
    UnknownEvent,
)
from lab.judging.attempts import captured, port_of
from lab.judging.judgement import CLIENT, Judgement, Verdict
from lab.judging.verdicts import JudgedRun
from lab.story.leaks import tell_leak
from lab.tls.dissect import Field, certificate_fields, proof_fields
from lab.tls.versions import Version

WIDTH = 110
OCTETS_A_LINE = 16
SHOWN_LINES = 3

QUESTION = (
    "In mutual TLS the client sends its certificate and then signs the handshake with its private key "
    "(CertificateVerify). Key and certificate are handed out and stored together, so why isn't the certificate enough?"
)

Tell: TypeAlias = Callable[[JudgedRun, bool], Lines | None]
"""What an act tells of a run, None while it cannot yet be told; the flag says whether the run is over."""


@dataclass(frozen=True)
class Act:
    """A part of the story: its heading, and what is told, None as long as the run hasn't got there."""

    title: str
    tell: Tell


class Teller:
    """Tells a run on a console, an act at a time, in order, as soon as each can be told."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0
        self._acts: tuple[Act, ...] = ()

    def update(self, judged: JudgedRun, over: bool = False) -> bool:
        """Tells the acts that can be told now; once the run is `over`, all that are left and can be.

        True for the one call that comes to the end.
        """
        started = judged.run.first(RunStarted)
        if started and not self._acts:
            self._acts = acts(judged.plan)
            self._print(Text(QUESTION, "bold"), Text(f"run {started.run}, {started.mode}"))
        if self._told == len(self._acts):
            return False
        while self._told < len(self._acts):
            act = self._acts[self._told]
            lines = act.tell(judged, over)
            if lines is None and not over:
                return False
            self._told += 1
            if lines is not None:
                self._print(Text(), Text(act.title, "bold"), *(Padding(line, (0, 0, 0, 2)) for line in lines))
        return True

    def _print(self, *told: ConsoleRenderable) -> None:
        print_trimmed(self._console, *told)


def print_trimmed(console: Console, *told: ConsoleRenderable) -> None:
    """Prints without the blanks that rich fills lines up with, so that what is piped is plain."""
    with console.capture() as captured:
        for one in told:
            console.print(one)
    for line in captured.get().splitlines():
        console.out(line.rstrip(), highlight=False)


def new_console(quiet: bool = False) -> Console:
    """A console as the story wants it: plain when piped, and no wider than a projector shows."""
    console = Console(highlight=False, quiet=quiet)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def _issued(judged: JudgedRun, over: bool) -> Lines | None:
    issued = judged.run.first(BundleIssued)
    return _tell_issued(issued) if issued else None


def _tell_issued(issued: BundleIssued) -> Lines:
    yield Text("The bank made a key and a certificate for its customer and gave her both in one file.")
    yield facts(
        ("subject", issued.subject),
        ("issuer", issued.issuer),
        ("key", issued.key_type),
        ("sha256", issued.sha256),
        ("bundle", f"{' and '.join(issued.files)}: key and certificate, stored and handed out together"),
    )


_BETWEEN = {
    "relay": "Mallory's relay takes alice's connections and passes every byte on, both ways, unchanged.",
    "arp": "Mallory tells each victim by ARP that she is the other; her kernel forwards what they send.",
}
"""The positions on the wire; other leaks have acts of their own."""


def _position(judged: JudgedRun, over: bool) -> Lines | None:
    position = next((taken for taken in judged.run.all(PositionTaken) if taken.kind in _BETWEEN), None)
    return _tell_position(position) if position else None


def _tell_position(position: PositionTaken) -> Lines:
    yield Text(_BETWEEN[position.kind])
    for line in position.detail:
        yield Text(f"  {line}")


def _wire(judged: JudgedRun, over: bool) -> Lines | None:
    run, seen = judged.run, captured(judged.run)
    known = seen and run.first(BundleIssued) and (over or _login_at(run, seen.server))
    return _tell_wire(run) if known else None


def _login_at(run: Run, server: str) -> LoggedIn | None:
    """Alice's login at a server, which tells what she takes it for."""
    return next((login for login in run.all(LoggedIn) if port_of(login.url) == port_of(server)), None)


def _tell_wire(run: Run) -> Lines:
    seen, issued = captured(run), run.first(BundleIssued)
    assert seen
    assert issued
    login = _login_at(run, seen.server)
    where = f" at `{login.gateway}`" if login else ""
    yield Text(f"Alice logs in{where}, TLS {seen.tls}: {seen.client} to {seen.server}.")
    yield Text("Her Certificate message is plaintext:")
    yield _dump(certificate_fields(bytes.fromhex(seen.record), bytes.fromhex(seen.message)))
    yield Text("Then her proof, made with the private key over this one handshake:")
    yield _dump(proof_fields(bytes.fromhex(seen.proof or "")))
    same = seen.sha256 == issued.sha256
    yield facts(
        ("sha256 of the captured certificate", seen.sha256),
        ("sha256 of alice's certificate", f"{issued.sha256}, {'the same' if same else 'ANOTHER ONE'}"),
        *(("mallory keeps", kept) for kept in _kept(run)),
    )


def _kept(run: Run) -> Iterator[str]:
    """What lies in the attacker's folder of stolen things, counted by its PEM labels (RFC 7468)."""
    for path in sorted((run.folders.part(ATTACKER) / "stolen").glob("*")):
        content = path.read_bytes()
        certificates, keys = content.count(b"-----BEGIN CERTIFICATE-----"), content.count(b"PRIVATE KEY-----")
        yield f"{path.relative_to(run.folders.path)}: {certificates} certificate, {keys or 'no'} private key"


def _tls13(judged: JudgedRun, over: bool) -> Lines | None:
    run = judged.run
    seen = next((one for one in run.all(HandshakeSeen) if one.tls == "1.3"), None)
    return _tell_tls13(run, seen) if seen and _login13(run) else None


def _login13(run: Run) -> ClientAuthenticated | None:
    return next((one for one in run.all(ClientAuthenticated) if one.tls == "1.3"), None)


def _tell_tls13(run: Run, seen: HandshakeSeen) -> Lines:
    login = _login13(run)
    assert login
    yield Text(f"The same client, TLS 1.3: {seen.client} to {seen.server}. This is all that the wire shows:")
    yield facts(
        ("ClientHello", f"random {seen.client_random}"),
        ("ServerHello", f"random {seen.server_random}"),
        ("alice's records", ", ".join(seen.client_records)),
        ("the server's", ", ".join(seen.server_records)),
    )
    yield Text("Behind the hellos everything is application_data, the Certificate and its proof too:")
    yield facts(
        ("the gateway's word", f"it took the client for {login.subject}"),
        ("by the certificate", login.sha256),
    )


def _gateway(gateway: Gateway, version: Version) -> Tell:
    def tell(judged: JudgedRun, over: bool) -> Lines | None:
        there = gateway in judged.gateways.values() and not judged.missing_at(WIRE.id, gateway, version)
        return _tell_gateway(judged, gateway, version) if there else None

    return tell


def _tell_gateway(judged: JudgedRun, gateway: Gateway, version: Version) -> Lines:
    scheme = gateway.scheme
    yield facts(
        ("asks for", scheme.asks_for), ("checks", scheme.verifies), ("implementation", gateway.implementation.title)
    )
    titles = {move.id: move.title for move in MOVES}
    for verdict in judged.verdicts_at(WIRE.id, gateway, version):
        yield Text.assemble((f"{verdict.move}: ", "bold"), f"{titles[verdict.move]}.")
        if verdict.outcome == NOT_APPLICABLE:
            yield facts(("  not applicable", verdict.evidence.reason))
            continue
        yield facts(
            ("  sent", ", ".join(map(str, verdict.evidence.by("client")))),
            ("  came back", came_back(verdict)),
            ("  gateway", verdict.evidence.reason),
            ("  outcome", _outcome(verdict)),
        )


def came_back(verdict: Verdict) -> str:
    evidence = verdict.evidence
    if evidence.http:
        return f"HTTP {evidence.http.status} {evidence.http.body}"
    if evidence.alert:
        unseen = ", which only it can read" if evidence.alert_seen_by == "gateway" else ""
        return f"alert {evidence.alert.name} ({evidence.alert.number}), sent by the {evidence.alert.sent_by}{unseen}"
    return "nothing"


def _outcome(verdict: Verdict) -> Text:
    words = str(verdict.outcome)
    if verdict.evidence.stolen:
        words += f", and {verdict.evidence.stolen} moved from alice to mallory"
    text = Text.assemble((words, "bold red" if verdict.outcome == ACCEPTED else "bold green"))
    if not verdict.as_expected:
        text.append(f"  FINDING: expected {due(verdict)}", "bold yellow")
    return text


def due(verdict: Verdict) -> str:
    """What theory has, as far as the evidence tells it."""
    by = [f"alert {due.name} ({due.number})" for due in verdict.evidence.expected_alerts]
    by += [f"HTTP {status}" for status in verdict.evidence.expected_statuses]
    return f"{verdict.expected}, by {' or '.join(by)}" if by else verdict.expected


def _leak(leak: Leak) -> Tell:
    return lambda judged, over: tell_leak(judged, leak)


def _controls(judged: JudgedRun, over: bool) -> Lines | None:
    return _tell_controls(judged.run, judged.judgement) if over else None


def _tell_controls(run: Run, judgement: Judgement) -> Lines:
    yield Text("A refusal means something only if the right key gets in by the same way.")
    who = {CLIENT: "alice herself", STOLEN_KEY: "this replay, with her key"}
    table = Table.grid(padding=(0, 2, 0, 0))
    for control in judgement.controls:
        table.add_row(who[control.control], f"{control.gateway}, TLS {control.tls}", control.outcome)
    yield table
    searched = run.first(CaptureSearched)
    if searched:
        key = "nowhere" if not searched.key_at else f"FOUND: {'; '.join(searched.key_at)}"
        octets = f"{searched.octets:,} bytes in {searched.connections} connections"
        yield Text(f"Everything that mallory captured, {octets} and each packet on its own, was searched:")
        yield facts(
            (
                "alice's certificate",
                f"found {_times(len(searched.certificate_at))}, first in {searched.certificate_at[0]}",
            )
            if searched.certificate_at
            else ("alice's certificate", "NOT FOUND"),
            ("the same, over TLS 1.3", _found_in_tls13(run, searched)),
            (f"her key, in {len(searched.key_forms)} encodings", key),
            *_unsearched(searched),
        )


def _found_in_tls13(run: Run, searched: CaptureSearched) -> str:
    """Whether the certificate is in sight in a connection that was seen to be TLS 1.3."""
    hidden = [f"{seen.client} to {seen.server}" for seen in run.all(HandshakeSeen) if seen.tls == "1.3"]
    found = [place for place in searched.certificate_at if place.startswith(tuple(hidden))]
    return f"FOUND: {'; '.join(found)}" if found else "nowhere"


def _times(hits: int) -> str:
    return f"{hits:,} times" + (" or more" if hits >= MAX_HITS else "")


def _unsearched(searched: CaptureSearched) -> Iterator[tuple[str, str]]:
    """What a search cannot see: something that is not whole in the capture, or not in one piece."""
    counts = (
        (searched.gaps, "gaps"),
        (searched.cut, "packets cut short"),
        (searched.alone, "packets of no connection"),
    )
    if places := ", ".join(f"{count:,} {what}" for count, what in counts if count):
        yield "cut in two, if there", f"would not be found at {places}"


def _verdicts(judged: JudgedRun, over: bool) -> Lines | None:
    return _tell_verdicts(judged.run, judged.judgement) if over else None


def _tell_verdicts(run: Run, judgement: Judgement) -> Lines:
    if judgement.errors:
        yield Text("There are no verdicts, because the run lacks what would make them mean something:", "bold yellow")
        for error in judgement.errors:
            yield Text(f"  {error}")
        return
    yield verdict_table(judgement)
    moved = [transfer for transfer in run.all(MoneyMoved) if transfer.customer == CUSTOMER]
    if moved:
        lost = sum(transfer.amount for transfer in moved)
        yield Text(f"Alice's account at the bank: {moved[0].balance + moved[0].amount} before, {lost} gone.")
    strange = sorted({event.type for event in run.all(UnknownEvent)})
    if strange:
        yield Text(f"The run has events that this version doesn't know: {', '.join(strange)}.", "yellow")
    yield Text()
    yield Text(_answer(judgement), "bold")


def verdict_table(judgement: Judgement) -> Table:
    """The moves by the schemes; and by the leaks and the versions, where there were several."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    leaks = len({verdict.leak for verdict in judgement.verdicts}) > 1
    versions = len({verdict.tls for verdict in judgement.verdicts}) > 1
    where = [heading for heading, several in (("leak", leaks), ("TLS", versions)) if several]
    for heading in (*where, "gateway", "move", "expected", "outcome", "evidence"):
        table.add_column(heading)
    for verdict in judgement.verdicts:
        row = verdict.gateway, verdict.move, verdict.expected, _outcome_word(verdict), _in_short(verdict)
        table.add_row(*([verdict.leak] if leaks else []), *([verdict.tls] if versions else []), *row)
    return table


def _in_short(verdict: Verdict) -> str:
    alert = verdict.evidence.alert
    short = alert and alert.sent_by == "server"
    return f"alert {alert.name} ({alert.number})" if alert and short else came_back(verdict)


def _outcome_word(verdict: Verdict) -> Text:
    text = Text(verdict.outcome, "red" if verdict.outcome == ACCEPTED else "green")
    return text if verdict.as_expected else text.append(" (!)", "bold yellow")


def _answer(judgement: Judgement) -> str:
    """One closing sentence, out of what was measured."""
    if not judgement.as_expected:
        odd = [f"{v.move} at {v.gateway}, TLS {v.tls}" for v in judgement.verdicts if not v.as_expected]
        return f"This run did not go as theory has it ({', '.join(odd)}): that is a finding, look into it."
    opened = {v.gateway for v in judgement.verdicts if v.outcome == ACCEPTED}
    # Whom a server takes for mallory, it has refused as alice, but not for want of her key.
    refused = [v for v in judgement.verdicts if v.outcome == REFUSED and v.gateway not in opened]
    held = [v for v in refused if (scheme := find_scheme(v.scheme)) and scheme.checks_proof and not v.evidence.http]
    on_the_wire = {v.leak for v in judgement.verdicts} == {WIRE.id}
    crossed, never = ("crossed the wire", "crossed it") if on_the_wire else ("got out", "did")
    said = f"the one that {crossed} opened {', '.join(sorted(opened)) or 'nothing here'}"
    if not held:
        return f"The certificate isn't a secret: {said}; no door was tried here that only alice's key keeps shut."
    refusals = "the refusal" if len(held) == 1 else f"the {len(held)} refusals"
    return (
        f"So why isn't the certificate enough? Because it isn't a secret: {said}, and {refusals} at "
        f"{', '.join(sorted({v.gateway for v in held}))} {'rests' if len(held) == 1 else 'rest'} on the one thing that "
        f"never {never}, alice's key, which must sign every handshake anew."
    )


def _dump(fields: Iterator[Field]) -> Padding:
    """Bytes and what they mean, side by side; of a long field the beginning."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="cyan")
    table.add_column()
    for field in fields:
        lines = [field.octets[i : i + OCTETS_A_LINE] for i in range(0, len(field.octets), OCTETS_A_LINE)]
        for number, line in enumerate(lines[:SHOWN_LINES]):
            table.add_row(line.hex(" "), "" if number else field.meaning)
        if left := sum(map(len, lines[SHOWN_LINES:])):
            table.add_row(f"... and {left} bytes more", "")
    return Padding(table, (0, 0, 0, 2))


def acts(plan: Plan) -> tuple[Act, ...]:
    """The acts of a run with this plan, numbered; the gateways that ask for less come first."""
    told: list[tuple[str, Tell]] = [("Issued", _issued)]
    if WIRE.id in plan.leaks:
        targets = sorted(plan.targets(), key=lambda target: target[0].scheme.checks_proof)
        told += [
            ("In between", _position),
            ("On the wire", _wire),
            *((f"At the gateway `{one.id}`, TLS {version}", _gateway(one, version)) for one, version in targets),
            ("Over TLS 1.3", _tls13),
        ]
    leaks = [leak for leak in map(find_leak, plan.leaks) if leak and leak != WIRE]
    told += [(leak.title, _leak(leak)) for leak in leaks]
    told += [("Controls", _controls), ("Verdicts", _verdicts)]
    return tuple(Act(f"{number}. {title}", tell) for number, (title, tell) in enumerate(told, start=1))
