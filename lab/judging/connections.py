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


def connection_of(
    seen: CertificateCaptured | HandshakeSeen, run: Run, gateways: Mapping[int, Gateway], reports: GatewayReports
) -> ClientConnection:
    """The connection that the attacker saw."""
    name = seen.server_random
    report = next(map(report_in, reports.named(name)), None)
    login = next((one for one in run.all(LoggedIn) if one.connection == name), None) if name else None
    if login is None:  # in older runs, which name no connections, the first one at that server
        logins = (one for one in run.all(LoggedIn) if not one.connection)
        login = next((one for one in logins if port_of(one.url) == port_of(seen.server)), None)
    at = find_gateway(report.gateway if report else login.gateway if login else "")
    read = next((one for one in run.all(LoginDecrypted) if one.connection == name), None) if name else None
    return ClientConnection(at or gateways.get(port_of(seen.server)), report, login, read)
