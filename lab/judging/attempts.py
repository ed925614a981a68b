"""A run's attempts, each with its gateway, its outcome and what the gateway reported."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from lab.address import port_number
from lab.catalogue.cast import CUSTOMER
from lab.catalogue.gateways import Gateway, find_gateway
from lab.catalogue.leaks import LEAKS, WIRE, find_leak
from lab.catalogue.moves import STOLEN_KEY, find_move
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, REFUSED, Outcome
from lab.catalogue.plan import KEY_TYPES, Plan, short_story
from lab.events.run import Run
from lab.events.types import (
    BundleIssued,
    CertificateCaptured,
    ClientRefused,
    GatewayListening,
    HandshakeSeen,
    LeakSought,
    MoveTried,
    RunStarted,
)
from lab.judging.gateway_reports import GatewayReport, GatewayReports
from lab.tls.versions import TLS13, Version, find_version

CLOCK_SLACK_MS = 5.0
"""How far apart the times of two parts' reports about the same moment may be."""


@dataclass(frozen=True)
class Tried:
    """One attempt. `number` is that of its event: `attacker#12` is line 12 of attacker/events.jsonl."""

    number: str
    event: MoveTried
    gateway: Gateway
    version: Version
    report: GatewayReport | None
    """The gateway's report on this very connection."""

    @property
    def outcome(self) -> Outcome:
        """The attacker cannot always read how a connection ended; then the gateway's report decides."""
        refused = isinstance(self.report, ClientRefused) and self.report.alert is not None
        return REFUSED if refused and self.event.outcome == INCONCLUSIVE else self.event.outcome

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
            report = reports.first_since(began, gateway.id, event.local, version)
            tried = Tried(f"{recorded.part}#{recorded.sequence}", event, gateway, version, report)
            self.all.append(tried)
            if event.customer == CUSTOMER:
                self._as_alice[event.leak, gateway.id, version, event.move].append(tried)

    def at(self, leak: str, gateway: Gateway, version: Version, move: str) -> list[Tried]:
        """The attempts at a gateway to get in as alice, in order."""
        return self._as_alice.get((leak, gateway.id, version, move), [])

    def controls(self, gateway: Gateway, version: Version) -> list[Tried]:
        """The attempts with the real key at a gateway."""
        return self.at("", gateway, version, STOLEN_KEY)


def port_of(address: str) -> int:
    """The port of an address in an event, or of a URL that ends with one; 0 if there is none."""
    return port_number(address.rpartition(":")[2].rstrip("/")) or 0


def plan_of(run: Run) -> Plan:
    """What the run set out to do, the short story if it does not say; and the leaks that joined it since."""
    started = run.first(RunStarted)
    if not started:
        return short_story()
    joined = {sought.leak for sought in run.all(LeakSought)}
    return Plan(
        started.gateways,
        started.moves,
        tuple(filter(None, map(find_version, started.versions))),
        key_type=next((one for one in KEY_TYPES if one == started.key_type), "p256"),
        rounds=started.rounds,
        leaks=tuple(leak.id for leak in LEAKS if leak.id in started.leaks or leak.id in joined),
    )


def run_started(mode: str, name: str, plan: Plan) -> RunStarted:
    """The event that states a plan; `plan_of` reads it back."""
    versions = tuple(map(str, plan.versions))
    return RunStarted(mode, name, plan.gateways, plan.moves, versions, plan.key_type, plan.rounds, plan.leaks)


def captured(run: Run, leak: str = WIRE.id) -> CertificateCaptured | None:
    """The certificate that the attacker worked with: the first one; from the wire, the first with its proof."""
    issued = {bundle.sha256 for bundle in run.all(BundleIssued)}
    found = (seen for seen in run.all(CertificateCaptured) if seen.leak == leak and (seen.proof or leak != WIRE.id))
    return next((seen for seen in found if seen.sha256 in issued or not issued), None)


def listening_gateways(run: Run) -> dict[int, Gateway]:
    """The run's gateways by port, as far as this version knows them."""
    found = ((gateway.port, find_gateway(gateway.gateway)) for gateway in run.all(GatewayListening))
    return {port: gateway for port, gateway in found if gateway}


def unknown_names(run: Run) -> list[tuple[str, str]]:
    """What a run names that this version does not know: the kind and the name."""
    started = run.first(RunStarted)
    named = {("gateway", gateway.gateway) for gateway in run.all(GatewayListening) if not find_gateway(gateway.gateway)}
    if started:
        named |= {("gateway", one) for one in started.gateways if not find_gateway(one)}
        named |= {("move", one) for one in started.moves if not find_move(one)}
        named |= {("version", one) for one in started.versions if not find_version(one)}
        named |= {("leak", one) for one in started.leaks if not find_leak(one)}
    return sorted(named)


def tried_everywhere(run: Run, ports: Iterable[int]) -> bool:
    """Whether the attacker has tried the short story's moves at the gateways on these ports, and seen TLS 1.3."""
    moves = short_story().moves
    tried = {(port_of(attempt.server), attempt.move) for attempt in run.all(MoveTried)}
    return has_seen_tls13(run) and all((port, move) in tried for port in ports for move in moves)


def has_seen_tls13(run: Run) -> bool:
    """Whether the attacker has seen what TLS 1.3 shows of the same client."""
    return any(seen.tls == str(TLS13) for seen in run.all(HandshakeSeen))
