"""What a run recorded, for queries: its events with their numbers, and what became of each attempt."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from lab.address import Address
from lab.catalogue.cast import CUSTOMER
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.schemes import Scheme, find_scheme
from lab.events.run import Run
from lab.events.types import BundleIssued, Event, MoveTried
from lab.judging.attempts import Docket

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Found(Generic[E]):
    """An event, and its number in the run: `attacker#12` is the twelfth event of the part `attacker`."""

    number: str
    event: E


@dataclass(frozen=True)
class Tried:
    """An attempt of the attacker's, at which scheme, and what became of it."""

    number: str
    event: MoveTried
    scheme: Scheme
    outcome: str

    @property
    def accepted(self) -> bool:
        return self.outcome == ACCEPTED


class Record:
    """A run's events, for queries."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._docket = Docket(run)
        self.issued = {found.event.sha256 for found in self.all(BundleIssued)}
        """The fingerprints of alice's certificates."""

    def all(self, kind: type[E], having: Callable[[E], bool] = lambda event: True, part: str = "") -> list[Found[E]]:
        """The events of a kind for which `having` holds, of one part or of all."""
        return [
            Found(f"{recorded.part}#{recorded.sequence}", recorded.event)
            for recorded in self.run.events
            if isinstance(recorded.event, kind) and having(recorded.event) and part in ("", recorded.part)
        ]

    def attempts(
        self, *, leak: str = "", scheme: str = "", tls: str = "", move: str = "", customer: str = CUSTOMER
    ) -> list[Tried]:
        """The attacker's attempts that were made and came to a verdict, narrowed down; empty for any."""

        def wanted(tried: Tried) -> bool:
            event = tried.event
            pairs = ((leak, event.leak), (tls, event.tls), (move, event.move), (customer, event.customer))
            return scheme in ("", tried.scheme.id) and all(one in ("", other) for one, other in pairs)

        return [tried for tried in self._attempts() if wanted(tried)]

    def controls(self, scheme: str) -> list[Tried]:
        """The attempts with the real key that got in at a scheme."""
        return [
            tried for tried in self._tried() if not tried.event.leak and tried.scheme.id == scheme and tried.accepted
        ]

    def _attempts(self) -> Iterator[Tried]:
        return (tried for tried in self._tried() if tried.event.leak and tried.outcome in (ACCEPTED, REFUSED))

    def _tried(self) -> Iterator[Tried]:
        for found in self.all(MoveTried):
            scheme = self._docket.schemes.get(Address.parse(found.event.server).port)
            if scheme:
                yield Tried(found.number, found.event, find_scheme(scheme.id), self._docket.outcome(found.event))
