"""Three witnesses of each attempt: the attacker, the gateway's report, and the bank's ledger. They have to agree."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

from lab.catalogue.cast import CUSTOMER, MALLORY
from lab.catalogue.gateways import find_gateway
from lab.catalogue.leaks import find_leak
from lab.catalogue.moves import STOLEN_PASSWORD, moves_for
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED, Outcome
from lab.catalogue.plan import Plan
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import (
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    LoggedIn,
    MoneyMoved,
    MoveTried,
    ProofRelayed,
)
from lab.judging.attempts import NAMES_CONNECTIONS, Tried
from lab.judging.captures import odd_captures, odd_file
from lab.judging.consistency import inconsistent
from lab.judging.facts import common_name
from lab.judging.gateway_reports import sentence
from lab.judging.hellos import odd_hellos
from lab.judging.ledger import Ledger
from lab.judging.logs import broken_logs
from lab.judging.proof_comparison import handshake_messages
from lab.judging.recomputed import unlike_the_files
from lab.judging.relay_reports import odd_relays
from lab.judging.relays import RelayedProof
from lab.judging.repeated import told_twice
from lab.judging.shapes import proof_fits
from lab.judging.stolen import stolen_files
from lab.judging.whose_proof import named_certificate
from lab.tls.messages import ServerHello


def contradictions(
    run: Run, plan: Plan, attempts: Sequence[Tried], relayed: Iterable[RelayedProof], ledger: Ledger
) -> tuple[str, ...]:
    """Where the witnesses of a finished run disagree, a sentence each. An attempt is named by its event's number."""
    told: list[str] = []
    events: list[MoveTried | ProofRelayed] = []
    for tried in attempts:
        where = f"{tried.event.move} at {tried.gateway.id}, TLS {tried.version} ({tried.number})"
        told += [f"{where}: {why}" for why in _disagreement(tried, ledger)]
        if tried.recorded_in >= NAMES_CONNECTIONS:
            told += [f"{where}: {why}" for why in (*_about_the_handshake(tried), *_not_planned(tried, plan))]
        events.append(tried.event)
    for one in relayed:
        where = f"the proof relayed to {one.gateway.id}, TLS {one.event.tls} ({one.number})"
        told += [f"{where}: {why}" for why in _disagreement(one, ledger)]
        if not one.reason.fits_captured:
            told.append(f"{where}: the client's proof does not fit what it is said to have signed")
        events.append(one.event)
    told += _on_the_money(run, events, ledger)
    told += _logins(run)
    told += _begun_elsewhere(run, attempts)
    told += odd_hellos(run, attempts)
    told += odd_relays(run)
    told += odd_captures(run)
    told += odd_file(run)
    told += inconsistent(run)
    told += told_twice(run)
    told += broken_logs(run)
    told += unlike_the_files(run)
    told += _kept_files(run)
    return tuple(told)


def refused_events(run: Run) -> tuple[str, ...]:
    """What the folders of a run hold and may not, a sentence for each kind. None of it was believed."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in run.refused:
        found[one.folder, one.why].append(str(one.recorded.sequence))
    return tuple(
        f"the part {folder} holds {why}; they are left out: number {', '.join(numbers[:3])}"
        + (f" and {len(numbers) - 3} more" if numbers[3:] else "")
        for (folder, why), numbers in found.items()
    )


def _disagreement(one: Tried | RelayedProof, ledger: Ledger) -> Iterator[str]:
    """Where the accounts of one connection differ."""
    event, report, outcome = one.event, one.report, one.outcome
    if len(one.reports) > 1:
        yield f"the gateway log has {len(one.reports)} reports on this one connection"
    if (shown := _shown_outcome(event)) not in (event.outcome, None) and event.outcome != NOT_APPLICABLE:
        yield f"the attacker says {event.outcome}, and what came back says {shown}"
    elif event.outcome == ACCEPTED and shown is None:
        yield "the attempt was accepted, and what came back does not say so"
    as_customer = isinstance(report, ClientAuthenticated) and common_name(report.subject) == event.customer
    alert = event.alert if event.alert_by == "server" else None
    if report and outcome in (ACCEPTED, REFUSED) and as_customer != (outcome == ACCEPTED):
        yield f"the attacker was {outcome}, and the gateway log says: {sentence(report)}"
    elif isinstance(report, ClientRefused) and None not in (alert, report.alert) and alert != report.alert:
        yield f"the attacker received alert {alert}, and the gateway sent {report.alert}"
    if report and report.connection and (report.peer, report.tls or event.tls) != (event.local, event.tls):
        theirs = f"the gateway log has TLS {report.tls} with {report.peer}"
        yield f"{theirs}, and the attacker TLS {event.tls} from {event.local}"
    if ledger.kept:
        yield from _about_the_money(event, ledger)


def _shown_outcome(event: MoveTried | ProofRelayed) -> Outcome | None:
    """The outcome that alert and HTTP answer show; None if they show none."""
    if event.status is None:
        return REFUSED if event.alert is not None and event.alert_by == "server" else None
    if event.status == 200:
        return ACCEPTED if _account(event)[0] == event.customer else REFUSED
    return REFUSED if event.status in (401, 403) else None


def _account(event: MoveTried | ProofRelayed) -> tuple[str, int | None]:
    """Whose account the bank opened, and the balance that it told; empty and None where it told none."""
    try:
        fields = json.loads(event.body or "")
    except (ValueError, RecursionError):
        return "", None
    if not isinstance(fields, dict):
        return "", None
    balance = fields.get("balance")
    return str(fields.get("customer", "")), balance if type(balance) is int else None


def _about_the_money(event: MoveTried | ProofRelayed, ledger: Ledger) -> Iterator[str]:
    moved = ledger.moved_on(event.connection)
    if moved != event.stolen:
        yield f"the attacker moved {event.stolen}, and the bank's ledger has {moved} for this connection"
    status = event.transfer_status if isinstance(event, MoveTried) else None
    refused = ledger.refused_on(event.connection)
    if status is not None and refused != (() if status == 200 else (status,)):
        yield f"the bank answered the transfer with HTTP {status}, and its ledger has {refused or 'no refusal'}"
    _, balance = _account(event)
    for recorded in ledger.on(event.connection):
        entry = recorded.event
        if not isinstance(entry, MoneyMoved):
            continue
        if (entry.customer, entry.to) != (event.customer, MALLORY):
            yield f"the bank's ledger has a transfer from {entry.customer} to {entry.to} for it ({recorded.number})"
        if balance is not None and balance < entry.balance + entry.amount:
            had = entry.balance + entry.amount
            yield f"the bank told a balance of {balance}, and its ledger had {had} ({recorded.number})"
    opened = ledger.opened.get(event.customer)
    if event.outcome == ACCEPTED and balance is not None and opened is not None and balance > opened:
        yield f"the bank told a balance of {balance}, and {event.customer} never had more than {opened}"


def _about_the_handshake(tried: Tried) -> Iterator[str]:
    """Whether the gateway saw the certificate and the proof that were sent, and took the name from where it does."""
    report, event = tried.report, tried.event
    if not isinstance(report, ClientAuthenticated):
        return
    shown, fits = named_certificate(event, tried.gateway.scheme.name_from), proof_fits(event)
    if tried.gateway.scheme.asks_in_tls and shown and report.sha256 != shown:
        yield f"the gateway log has the certificate {report.sha256}, and {shown} was sent"
    if event.header and report.sha256 != sha256(bytes.fromhex(event.header)).hexdigest():
        yield f"the gateway log has the certificate {report.sha256}, and another was in the header"
    said = "received" if tried.gateway.scheme.asks_in_tls and fits is not None else "none received"
    valid = report.proof.endswith(", valid") if "instrument, " in report.proof else fits
    if not report.proof.startswith(said) or valid != fits:
        proof = "no proof" if fits is None else f"a proof that {'fits' if fits else 'does not fit'}"
        yield f"the gateway log says of the proof: {report.proof}; but {proof} was sent"


def _not_planned(tried: Tried, plan: Plan) -> Iterator[str]:
    """Whether the run set out to try it."""
    event = tried.event
    if not event.leak:
        return  # a control
    leak = find_leak(event.leak)
    planned = {move.id for move in moves_for(leak, plan.moves)} if leak and event.leak in plan.leaks else set()
    if planned and event.customer != CUSTOMER:
        planned.add("omit-proof")
    if planned and tried.gateway.scheme.takes_password:
        planned.add(STOLEN_PASSWORD)
    there = (tried.gateway, tried.version) in plan.targets()
    if not there or event.move not in planned or event.round > plan.rounds:
        yield "the run did not set out to try this"


def _begun_elsewhere(run: Run, attempts: Iterable[Tried]) -> Iterator[str]:
    """Whether the gateways tell of each login under another name in which a session began that was offered."""
    reports = {(one.gateway, one.connection) for one in run.all(ClientRefused)}
    for tried in attempts:
        hellos = (raw for _, raw in handshake_messages(tried.event.elsewhere) if raw[0] == ServerHello.type)
        if any((tried.gateway.id, raw[6:38].hex()) not in reports for raw in hellos):
            yield f"the gateway log does not have the login in which the session of {tried.number} began"


def _logins(run: Run) -> Iterator[str]:
    """Whether alice and the gateways tell the same of her logins."""
    reports = {one.connection: one for one in run.all(ClientAuthenticated) if one.connection}
    for recorded in run.events:
        login = recorded.event
        if isinstance(login, LoggedIn) and (report := reports.get(login.connection)) and find_gateway(login.gateway):
            hers, theirs = ((one.subject, one.sha256, one.tls) for one in (login, report))
            if hers != theirs:
                where = f"a login at {report.gateway} ({recorded.number})"
                yield f"{where}: the customer and the gateway tell of different certificates, names or versions"


def _on_the_money(run: Run, events: Iterable[MoveTried | ProofRelayed], ledger: Ledger) -> Iterator[str]:
    """Whether all money that went was taken by somebody, and the ledger adds up."""
    events = list(events)
    moved, stolen = sum(transfer.amount for transfer in run.all(MoneyMoved)), sum(event.stolen for event in events)
    if moved != stolen:
        yield f"the attempts moved {stolen}, and the bank's ledger has transfers of {moved}"
    if ledger.kept:
        for connection in sorted(ledger.connections - {event.connection for event in events}):
            numbers = ", ".join(entry.number for entry in ledger.on(connection)) or "one without a connection"
            yield f"the bank's ledger has an order on a connection that no attempt was made on: {numbers}"
        yield from ledger.errors()


def _of_this_version(run: Run) -> Iterator[Recorded]:
    """The events that say enough to be held against each other."""
    return (recorded for recorded in run.events if recorded.version >= NAMES_CONNECTIONS)


def _kept_files(run: Run) -> Iterator[str]:
    """Whether the certificates that the attackers keep in their files are those that they reported."""
    reported: dict[str, set[str]] = defaultdict(set)
    for recorded in _of_this_version(run):
        if isinstance(recorded.event, CertificateCaptured):
            reported[recorded.part].add(recorded.event.sha256)
    for part, captured in sorted(reported.items()):
        kept: set[str] = set()
        for file in stolen_files(run, part):
            if file.keys:
                yield f"{file.name}: holds a private key"
            found = set(filter(None, file.fingerprints))
            if not found:
                yield f"{file.name}: holds no readable certificate"
            elif strange := found - captured:
                yield f"{file.name}: holds a certificate that {part} did not report: {min(strange)}"
            kept |= found
        if lost := captured - kept:
            yield f"{part} reported a certificate that is in none of its files in stolen: {min(lost)}"
