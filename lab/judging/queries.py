"""What the claims ask of a run: its events with their numbers, and its attempts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lab.catalogue.cast import CUSTOMER
from lab.catalogue.moves import STOLEN_KEY, STOLEN_PASSWORD
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.events.types import BundleIssued, Event
from lab.judging.attempts import Tried
from lab.judging.verdicts import JudgedRun

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Numbered(Generic[E]):
    """An event, and its number in the run."""

    number: str
    event: E


class RunQueries:
    """Queries on a judged run, for the claims."""

    def __init__(self, judged: JudgedRun) -> None:
        self.judged = judged
        self.run = judged.run
        self.issued = {found.event.sha256 for found in self.all(BundleIssued)}
        """The fingerprints of alice's certificates."""

    def all(self, kind: type[E], having: Callable[[E], bool] = lambda event: True, part: str = "") -> list[Numbered[E]]:
        """The events of a kind for which `having` holds, of one part or of all."""
        return [
            Numbered(recorded.number, recorded.event)
            for recorded in self.run.events
            if isinstance(recorded.event, kind) and having(recorded.event) and part in ("", recorded.part)
        ]

    def attempts(
        self, *, leak: str = "", scheme: str = "", tls: str = "", move: str = "", customer: str = CUSTOMER
    ) -> list[Tried]:
        """The attacker's attempts with a certificate alone that came to a verdict, narrowed down; empty for any."""

        def wanted(tried: Tried) -> bool:
            event = tried.event
            pairs = ((leak, event.leak), (tls, event.tls), (move, event.move), (customer, event.customer))
            return scheme in ("", tried.gateway.scheme.id) and all(one in ("", other) for one, other in pairs)

        return [tried for tried in self._attempts() if wanted(tried)]

    def controls(self, scheme: str) -> list[Tried]:
        """The attempts with the real key that got in at a scheme."""
        return [
            tried
            for tried in self.judged.attempts.all
            if not tried.event.leak and tried.gateway.scheme.id == scheme and tried.accepted
        ]

    def with_the_key(self, leak: str, scheme: str) -> list[Tried]:
        """The attacker's attempts as alice with her key, which the leak yielded."""
        return [
            one
            for one in self._decided()
            if (one.event.leak, one.gateway.scheme.id, one.event.customer) == (leak, scheme, CUSTOMER)
            and one.event.move == STOLEN_KEY
        ]

    def with_the_password(self, leak: str) -> list[Tried]:
        """The attacker's attempts as alice with what the leak yielded of her password."""
        return [
            one
            for one in self._decided()
            if (one.event.leak, one.event.customer, one.event.move) == (leak, CUSTOMER, STOLEN_PASSWORD)
        ]

    def _attempts(self) -> list[Tried]:
        return [one for one in self._decided() if one.event.move not in (STOLEN_KEY, STOLEN_PASSWORD)]

    def _decided(self) -> list[Tried]:
        return [one for one in self.judged.attempts.all if one.event.leak and one.outcome in (ACCEPTED, REFUSED)]
