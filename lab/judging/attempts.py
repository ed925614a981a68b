"""A run's attempts, each with its gateway, its outcome and what the gateway reported."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

from lab.catalogue.cast import CUSTOMER
from lab.catalogue.gateways import Gateway
from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, Outcome
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import MoveTried
from lab.judging.facts import listening_gateways, port_of
from lab.judging.gateway_reports import GatewayConnection, GatewayReport, GatewayReports, decided, report_in
from lab.tls.versions import Version, find_version

NAMES_CONNECTIONS = 3
"""The version of events from which on they name connections and keep the bytes of every attempt."""
CLOCK_SLACK_MS = 5.0
"""How far apart the times of two parts' reports about the same moment may be."""


@dataclass(frozen=True)
class Tried:
    """One attempt, by the number of its event."""

    number: str
    event: MoveTried
    gateway: Gateway
    version: Version
    reports: tuple[Recorded, ...]
    """What the gateway reported on this very connection; one report, unless somebody changed its log."""
    recorded_in: int
    """The version of the format in which it was reported."""

    @property
    def report(self) -> GatewayReport | None:
        """The gateway's report."""
        return report_in(self.reports[0]) if self.reports else None

    @property
    def outcome(self) -> Outcome:
        """What became of it, as far as attacker and gateway can tell."""
        return decided(self.event.outcome, self.report)

    @property
    def accepted(self) -> bool:
        return self.outcome == ACCEPTED


class Attempts:
    """A run's attempts at the gateways that this version knows, in order."""

    def __init__(self, run: Run, reports: GatewayReports) -> None:
        gateways = listening_gateways(run)
        self.all: list[Tried] = []
        self._as_alice: dict[tuple[str, str, Version, str], list[Tried]] = defaultdict(list)
        for recorded in run.events:
            event = recorded.event
            if not isinstance(event, MoveTried):
                continue
            gateway, version = gateways.get(port_of(event.server)), find_version(event.tls)
            if gateway is None or version is None:
                continue
            began = recorded.time - timedelta(milliseconds=event.milliseconds + CLOCK_SLACK_MS)
            connection = GatewayConnection(gateway.id, event.connection, event.local, version)
            found = () if _ended_elsewhere(event) else reports.since(began, connection)
            tried = Tried(recorded.number, event, gateway, version, found, recorded.version)
            self.all.append(tried)
            if event.customer == CUSTOMER:
                self._as_alice[event.leak, gateway.id, version, event.move].append(tried)

    def at(self, leak: str, gateway: Gateway, version: Version, move: str) -> list[Tried]:
        """The attempts at a gateway to get in as alice, in order."""
        return self._as_alice.get((leak, gateway.id, version, move), [])

    def controls(self, gateway: Gateway, version: Version) -> list[Tried]:
        """The attempts with the real key at a gateway, or with the password where it takes that."""
        return self.at("", gateway, version, gateway.scheme.control)


def _ended_elsewhere(event: MoveTried) -> bool:
    """Whether no session began under the other name: `local` made that login, and no connection followed it here."""
    move = find_move(event.move)
    return bool(move and move.shape.elsewhere) and event.outcome == NOT_APPLICABLE and not event.steps
