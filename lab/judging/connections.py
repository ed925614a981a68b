"""A client's connection as each witness reports it, joined by its addresses.

The attacker and alice know it by alice's own address. So does the gateway, unless a TCP relay stood in between: then
the gateway sees the relay's address, and the relay reports which connections belong together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lab.catalogue.gateways import Gateway, find_gateway
from lab.events.run import Run
from lab.events.types import CertificateCaptured, ConnectionRelayed, HandshakeSeen, LoggedIn
from lab.judging.facts import port_of
from lab.judging.gateway_reports import GatewayReport, GatewayReports
from lab.tls.versions import find_version


@dataclass(frozen=True)
class ClientConnection:
    """What is known of one connection: the gateway at its end, that gateway's report, and alice's login over it.

    Each is None if nobody reported it.
    """

    gateway: Gateway | None
    report: GatewayReport | None
    login: LoggedIn | None


def connection_of(
    seen: CertificateCaptured | HandshakeSeen,
    when: datetime,
    run: Run,
    gateways: Mapping[int, Gateway],
    reports: GatewayReports,
) -> ClientConnection:
    """The connection that the attacker saw, and reported at that time."""
    peer, server = seen.client, seen.server
    for recorded in run.events:
        one = recorded.event
        if isinstance(one, ConnectionRelayed) and one.client == seen.client and recorded.time <= when:
            peer, server = one.local, one.server
    login = _login(seen, when, run)
    gateway = gateways.get(port_of(server)) or (find_gateway(login.gateway) if login else None)
    report = reports.nearest(when, gateway.id, peer, find_version(seen.tls)) if gateway else None
    return ClientConnection(gateway, report, login)


def _login(seen: CertificateCaptured | HandshakeSeen, when: datetime, run: Run) -> LoggedIn | None:
    """Alice's login from that address; in older runs, which lack her address, the first one at that server."""
    logins = [(one.time, one.event) for one in run.events if isinstance(one.event, LoggedIn)]
    hers = [one for one in logins if one[1].local and one[1].local == seen.client]
    if hers:
        return min(hers, key=lambda one: abs(one[0] - when))[1]
    return next((one for _, one in logins if not one.local and port_of(one.url) == port_of(seen.server)), None)
