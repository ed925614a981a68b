"""A connection that the attacker saw, as the other witnesses report it, joined by its name (`lab.events.types`)."""

from collections.abc import Mapping
from dataclasses import dataclass

from lab.catalogue.gateways import Gateway, find_gateway
from lab.events.run import Run
from lab.events.types import CertificateCaptured, HandshakeSeen, LoggedIn, LoginDecrypted
from lab.judging.facts import port_of
from lab.judging.gateway_reports import GatewayReport, GatewayReports, report_in


@dataclass(frozen=True)
class ClientConnection:
    """What is known of one connection: the gateway at its end, that gateway's report, alice's login over it, and its
    messages as the lab read them with her keys.

    Each is None if nobody reported it.
    """

    gateway: Gateway | None
    report: GatewayReport | None
    login: LoggedIn | None
    read: LoginDecrypted | None


class ConnectionIndex:
    """The connections of a run, found by their names."""

    def __init__(self, run: Run, gateways: Mapping[int, Gateway], reports: GatewayReports) -> None:
        self._gateways, self._reports = gateways, reports
        self._logins: dict[str, LoggedIn] = {}
        self._unnamed: dict[int, LoggedIn] = {}
        self._read: dict[str, LoginDecrypted] = {}
        for login in run.all(LoggedIn):
            if login.connection:
                self._logins.setdefault(login.connection, login)
            else:
                self._unnamed.setdefault(port_of(login.url), login)
        for read in run.all(LoginDecrypted):
            self._read.setdefault(read.connection, read)

    def of(self, seen: CertificateCaptured | HandshakeSeen) -> ClientConnection:
        """The connection that the attacker saw."""
        name, port = seen.server_random, port_of(seen.server)
        report = next(map(report_in, self._reports.named(name)), None)
        # in older runs, which name no connections, the first one at that server
        login = self._logins.get(name) or self._unnamed.get(port)
        at = find_gateway(report.gateway if report else login.gateway if login else "")
        return ClientConnection(at or self._gateways.get(port), report, login, self._read.get(name) if name else None)
