"""Three witnesses of each attempt: the attacker, the gateway's report, and the bank's ledger. They have to agree."""

from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.x509.oid import NameOID

from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.events.run import Run
from lab.events.types import ClientAuthenticated, ClientRefused, MoneyMoved
from lab.judging.attempts import Tried
from lab.judging.gateway_reports import GatewayReport, sentence
from lab.judging.relays import RelayedProof


def contradictions(run: Run, attempts: Iterable[Tried], relayed: Iterable[RelayedProof]) -> tuple[str, ...]:
    """Where the witnesses of a finished run disagree, a sentence each."""
    stolen = 0
    told: list[str] = []
    for tried in attempts:
        event = tried.event
        stolen += event.stolen
        where = f"{event.move} at {tried.gateway.id}, TLS {tried.version} ({tried.number})"
        alert = event.alert if event.alert_by == "server" else None
        told += [f"{where}: {why}" for why in _disagreement(event.customer, tried.outcome, alert, tried.report)]
    for one in relayed:
        stolen += one.event.stolen
        where = f"the proof relayed to {one.gateway.id}, TLS {one.event.tls} ({one.number})"
        alert = one.event.alert if one.event.alert_by == "server" else None
        told += [f"{where}: {why}" for why in _disagreement(one.event.customer, one.outcome, alert, one.report)]
    moved = sum(transfer.amount for transfer in run.all(MoneyMoved))
    if moved != stolen:
        told.append(f"the attempts moved {stolen}, and the bank's ledger has transfers of {moved}")
    return tuple(told)


def _disagreement(customer: str, outcome: str, alert: int | None, report: GatewayReport | None) -> Iterator[str]:
    """Whether the attacker's and the gateway's account of one connection differ."""
    as_customer = isinstance(report, ClientAuthenticated) and _common_name(report.subject) == customer
    if report and outcome in (ACCEPTED, REFUSED) and as_customer != (outcome == ACCEPTED):
        yield f"the attacker was {outcome}, and the gateway log says: {sentence(report)}"
    elif isinstance(report, ClientRefused) and None not in (alert, report.alert) and alert != report.alert:
        yield f"the attacker received alert {alert}, and the gateway sent {report.alert}"


def _common_name(subject: str) -> str:
    try:
        names = x509.Name.from_rfc4514_string(subject).get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ""
    return str(names[0].value) if names else ""
