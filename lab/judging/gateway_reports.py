"""Gateway reports: what the gateways themselves logged about connections, joined with the other witnesses."""

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple, TypeAlias

from lab.catalogue.outcomes import INCONCLUSIVE, REFUSED, Outcome
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import ClientAuthenticated, ClientRefused
from lab.tls.versions import Version

GatewayReport: TypeAlias = ClientRefused | ClientAuthenticated


class GatewayConnection(NamedTuple):
    """A connection to a gateway as its client knows it.

    `connection` is its name in events, empty if it has none; `local` is the client's address.
    """

    gateway: str
    connection: str
    local: str
    version: Version | None


class GatewayReports:
    """A run's gateway reports by connection.

    A client may not know its connection's name: the server sent no ServerHello, mitmproxy does not tell, or the run is
    of an earlier version. Then the report is found by the client's address, which an earlier connection may have had
    too, and by the time.
    """

    def __init__(self, run: Run) -> None:
        self._named: dict[tuple[str, str], list[Recorded]] = defaultdict(list)
        self._by_name: dict[str, list[Recorded]] = defaultdict(list)
        self._by_address: dict[tuple[str, str], list[Recorded]] = defaultdict(list)
        for recorded in run.events:
            event = recorded.event
            if isinstance(event, ClientRefused | ClientAuthenticated):
                self._named[event.gateway, event.connection].append(recorded)
                self._by_name[event.connection].append(recorded)
                self._by_address[event.gateway, event.peer].append(recorded)

    def named(self, connection: str) -> tuple[Recorded, ...]:
        """The reports on a connection by whatever gateway; none if it has no name."""
        if not connection:
            return ()
        return tuple(self._by_name.get(connection, ()))

    def since(self, began: datetime, on: GatewayConnection) -> tuple[Recorded, ...]:
        """The reports on a connection; if it has no name, the first that can be about one that began then."""
        if on.connection:
            return tuple(self._named.get((on.gateway, on.connection), ()))
        return tuple([one for one in self._about(on) if one.time >= began][:1])

    def nearest(self, when: datetime, on: GatewayConnection) -> tuple[Recorded, ...]:
        """The same; if it has no name, the one that can be about a connection that ended about then."""
        if on.connection:
            return tuple(self._named.get((on.gateway, on.connection), ()))
        return tuple(sorted(self._about(on), key=lambda one: abs(one.time - when))[:1])

    def _about(self, on: GatewayConnection) -> list[Recorded]:
        """A gateway that refuses early does not know the version, nor does mitmproxy when it is refused."""
        reports = self._by_address.get((on.gateway, on.local), ())
        return [one for one in reports if on.version is None or report_in(one).tls in ("", str(on.version))]


def report_in(recorded: Recorded) -> GatewayReport:
    """The report in an event of `GatewayReports`."""
    assert isinstance(recorded.event, ClientRefused | ClientAuthenticated)
    return recorded.event


def decided(outcome: Outcome, report: GatewayReport | None) -> Outcome:
    """The attacker cannot always read how a connection ended; then an alert that the gateway reports decides."""
    alerted = isinstance(report, ClientRefused) and report.alert is not None
    return REFUSED if alerted and outcome == INCONCLUSIVE else outcome


def sentence(report: GatewayReport | None) -> str:
    """A report for people; empty if there is none."""
    if isinstance(report, ClientAuthenticated):
        return f"authenticated the client as {report.subject}; proof: {report.proof}"
    return report.reason if report else ""
