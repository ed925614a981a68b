"""A run's events, sorted for the judge and for everybody who asks what became of an attempt."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

from lab.address import Address
from lab.catalogue.cast import CUSTOMER
from lab.catalogue.leaks import LEAKS, WIRE
from lab.catalogue.moves import STOLEN_KEY
from lab.catalogue.outcomes import INCONCLUSIVE, REFUSED
from lab.catalogue.plan import Plan, short_story
from lab.catalogue.schemes import Scheme, find_scheme
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
from lab.judging.gateway_reports import Word, Words

CLOCK_SLACK_MS = 5.0
"""How much the parts' clocks and their reports' times may be apart."""


class Docket:
    """A run's events, sorted for the judge: attempts by door and move, each with the gateway's word on it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.plan = plan_of(run)
        self.schemes = gateway_schemes(run)
        self._attempts: dict[tuple[str, str, str, str], list[MoveTried]] = defaultdict(list)
        self._words: dict[int, Word | None] = {}
        words = Words(run)
        for recorded in run.events:
            tried = recorded.event
            scheme = self.schemes.get(Address.parse(tried.server).port) if isinstance(tried, MoveTried) else None
            if scheme and isinstance(tried, MoveTried):
                if tried.customer == CUSTOMER:
                    self._attempts[tried.leak, scheme.id, tried.tls, tried.move].append(tried)
                began = recorded.time - timedelta(milliseconds=tried.milliseconds + CLOCK_SLACK_MS)
                self._words[id(tried)] = words.first_since(began, scheme, tried.local, tried.tls)

    def attempts(self, leak: str, scheme: Scheme, version: str, move: str) -> list[MoveTried]:
        """The attempts at a door to come in as alice, in order."""
        return self._attempts.get((leak, scheme.id, version, move), [])

    def controls(self, scheme: Scheme, version: str) -> list[MoveTried]:
        """The attempts with the real key at a door."""
        return self.attempts("", scheme, version, STOLEN_KEY)

    def word(self, tried: MoveTried) -> Word | None:
        """What the gateway itself reported of this very connection; None as long as it hasn't."""
        return self._words.get(id(tried))

    def outcome(self, tried: MoveTried) -> str:
        """What became of an attempt. The attacker may not be able to read how a connection ended; the gateway knows."""
        word = self.word(tried)
        refused = isinstance(word, ClientRefused) and word.alert is not None
        return REFUSED if refused and tried.outcome == INCONCLUSIVE else tried.outcome


def plan_of(run: Run) -> Plan:
    """What the run set out to do, the short story where it doesn't say; and the leaks that joined it since."""
    started = run.first(RunStarted)
    if not started:
        return short_story()
    joined = {sought.leak for sought in run.all(LeakSought)}
    leaks = tuple(leak.id for leak in LEAKS if leak.id in started.leaks or leak.id in joined)
    return Plan(started.schemes, started.moves, started.versions, rounds=started.rounds, leaks=leaks)


def captured(run: Run, leak: str = WIRE.id) -> CertificateCaptured | None:
    """The certificate that the attacker worked with: the first one, from the wire the first with its proof."""
    issued = {bundle.sha256 for bundle in run.all(BundleIssued)}
    sights = (seen for seen in run.all(CertificateCaptured) if seen.leak == leak and (seen.proof or leak != WIRE.id))
    return next((seen for seen in sights if seen.sha256 in issued or not issued), None)


def gateway_schemes(run: Run) -> dict[int, Scheme]:
    """The schemes that were there to be tried, by port."""
    return {gateway.port: find_scheme(gateway.scheme) for gateway in run.all(GatewayListening)}


def tried_everywhere(run: Run, ports: Iterable[int]) -> bool:
    """Whether the attacker has tried the short story's moves at the gateways on these ports, and seen TLS 1.3."""
    moves = short_story().moves
    tried = {(Address.parse(attempt.server).port, attempt.move) for attempt in run.all(MoveTried)}
    return has_seen_tls13(run) and all((port, move) in tried for port in ports for move in moves)


def has_seen_tls13(run: Run) -> bool:
    """Whether the attacker has seen what TLS 1.3 shows of the same client."""
    return any(seen.tls == "1.3" for seen in run.all(HandshakeSeen))
