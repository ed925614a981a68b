"""Gateway reports: what the gateways themselves logged about connections, joined with the other witnesses."""

from collections import defaultdict
from datetime import datetime
from typing import TypeAlias

from lab.catalogue.outcomes import INCONCLUSIVE, REFUSED, Outcome
from lab.events.run import Run
from lab.events.types import ClientAuthenticated, ClientRefused
from lab.tls.versions import Version

GatewayReport: TypeAlias = ClientRefused | ClientAuthenticated


class GatewayReports:
    """A run's gateway reports by gateway and peer. An earlier connection may have had the same peer address."""

    def __init__(self, run: Run) -> None:
        self._reports: dict[tuple[str, str], list[tuple[datetime, GatewayReport]]] = defaultdict(list)
        for recorded in run.events:
            if isinstance(recorded.event, ClientRefused | ClientAuthenticated):
                self._reports[recorded.event.gateway, recorded.event.peer].append((recorded.time, recorded.event))

    def first_since(self, began: datetime, gateway: str, peer: str, version: Version | None) -> GatewayReport | None:
        """The first report that can be about a connection that began then."""
        return next((report for time, report in self._about(gateway, peer, version) if time >= began), None)

    def nearest(self, when: datetime, gateway: str, peer: str, version: Version | None) -> GatewayReport | None:
        """The report about a connection that ended about then."""
        reports = self._about(gateway, peer, version)
        return min(reports, key=lambda one: abs(one[0] - when), default=(when, None))[1]

    def _about(self, gateway: str, peer: str, version: Version | None) -> list[tuple[datetime, GatewayReport]]:
        """A gateway that refuses early does not know the version, nor does mitmproxy when it is refused."""
        reports = self._reports.get((gateway, peer), ())
        return [(time, one) for time, one in reports if version is None or one.tls in ("", str(version))]


def decided(outcome: Outcome, report: GatewayReport | None) -> Outcome:
    """The attacker cannot always read how a connection ended; then an alert that the gateway reports decides."""
    alerted = isinstance(report, ClientRefused) and report.alert is not None
    return REFUSED if alerted and outcome == INCONCLUSIVE else outcome


def sentence(report: GatewayReport | None) -> str:
    """A report for people; empty if there is none."""
    if isinstance(report, ClientAuthenticated):
        return f"authenticated the client as {report.subject}; proof: {report.proof}"
    return report.reason if report else ""
