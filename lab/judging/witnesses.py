"""Three witnesses of each attempt: the attacker, the gateway's report, and the bank's ledger. They have to agree."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.events.run import Run
from lab.events.types import (
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    MoneyMoved,
    MoveTried,
    ProofRelayed,
)
from lab.judging.attempts import Tried
from lab.judging.facts import common_name
from lab.judging.gateway_reports import sentence
from lab.judging.ledger import Ledger
from lab.judging.relays import RelayedProof

MAX_STOLEN = 1 << 24
"""The most bytes of a file in `stolen` that are read."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


def contradictions(
    run: Run, attempts: Iterable[Tried], relayed: Iterable[RelayedProof], ledger: Ledger
) -> tuple[str, ...]:
    """Where the witnesses of a finished run disagree, a sentence each."""
    told: list[str] = []
    events: list[MoveTried | ProofRelayed] = []
    for tried in attempts:
        where = f"{tried.event.move} at {tried.gateway.id}, TLS {tried.version} ({tried.number})"
        told += [f"{where}: {why}" for why in _disagreement(tried, ledger)]
        events.append(tried.event)
    for one in relayed:
        where = f"the proof relayed to {one.gateway.id}, TLS {one.event.tls} ({one.number})"
        told += [f"{where}: {why}" for why in _disagreement(one, ledger)]
        events.append(one.event)
    told += _on_the_money(run, events, ledger)
    told += _gaps(run)
    told += _kept_files(run)
    return tuple(told)


def _disagreement(one: Tried | RelayedProof, ledger: Ledger) -> Iterator[str]:
    """Where the accounts of one connection differ."""
    event, report, outcome = one.event, one.report, one.outcome
    if len(one.reports) > 1:
        yield f"the gateway log has {len(one.reports)} reports on this one connection"
    as_customer = isinstance(report, ClientAuthenticated) and common_name(report.subject) == event.customer
    alert = event.alert if event.alert_by == "server" else None
    if report and outcome in (ACCEPTED, REFUSED) and as_customer != (outcome == ACCEPTED):
        yield f"the attacker was {outcome}, and the gateway log says: {sentence(report)}"
    elif isinstance(report, ClientRefused) and None not in (alert, report.alert) and alert != report.alert:
        yield f"the attacker received alert {alert}, and the gateway sent {report.alert}"
    if ledger.kept:
        moved = ledger.moved_on(event.connection)
        if moved != event.stolen:
            yield f"the attacker moved {event.stolen}, and the bank's ledger has {moved} for this connection"
        status = event.transfer_status if isinstance(event, MoveTried) else None
        refused = ledger.refused_on(event.connection)
        if status is not None and refused != (() if status == 200 else (status,)):
            yield f"the bank answered the transfer with HTTP {status}, and its ledger has {refused or 'no refusal'}"


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


def _gaps(run: Run) -> Iterator[str]:
    """Whether each part's events are all there: they are numbered from 1."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for recorded in run.events:
        numbers[recorded.part].append(recorded.sequence)
    for part, found in sorted(numbers.items()):
        there = set(found)
        if missing := sorted(set(range(1, max(found) + 1)) - there)[:3]:
            yield f"the log of {part} has a gap: event {', '.join(map(str, missing))} is missing"
        if len(found) > len(there):
            twice = min(number for number in there if found.count(number) > 1)
            yield f"the log of {part} has event {twice} more than once"


def _kept_files(run: Run) -> Iterator[str]:
    """Whether the certificates that the attackers keep in their files are those that they reported."""
    reported: dict[str, set[str]] = defaultdict(set)
    for recorded in run.events:
        if isinstance(recorded.event, CertificateCaptured):
            reported[recorded.part].add(recorded.event.sha256)
    for part, captured in sorted(reported.items()):
        kept: set[str] = set()
        for path in sorted((run.folders.part(part) / "stolen").glob("*.pem")):
            name = path.relative_to(run.folders.path)
            try:
                found = set(_fingerprints(path.read_bytes()[:MAX_STOLEN]))
            except (OSError, ValueError):
                yield f"{name}: holds no readable certificate"
                continue
            kept |= found
            if strange := found - captured:
                yield f"{name}: holds a certificate that {part} did not report: {min(strange)}"
        if lost := captured - kept:
            yield f"{part} reported a certificate that is in none of its files in stolen: {min(lost)}"


def _fingerprints(pem: bytes) -> Iterator[str]:
    """The fingerprints of the certificates in a file; ValueError if there is none, or an unreadable one."""
    blocks = _PEM.findall(pem)
    if not blocks:
        raise ValueError("no certificate")
    for block in blocks:
        yield sha256(x509.load_pem_x509_certificate(block).public_bytes(Encoding.DER)).hexdigest()
