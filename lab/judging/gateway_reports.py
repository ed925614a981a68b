"""What the gateways themselves said of connections: who was taken for whom, who was refused and why."""

from collections import defaultdict
from datetime import datetime

from lab.catalogue.schemes import Scheme
from lab.events.run import Run
from lab.events.types import ClientAuthenticated, ClientRefused

Word = ClientRefused | ClientAuthenticated


class Words:
    """A run's words by gateway and peer; a peer's address may have been another connection's before."""

    def __init__(self, run: Run) -> None:
        self._said: dict[tuple[str, str], list[tuple[datetime, Word]]] = defaultdict(list)
        for recorded in run.events:
            if isinstance(recorded.event, Word):
                self._said[recorded.event.scheme, recorded.event.peer].append((recorded.time, recorded.event))

    def first_since(self, began: datetime, scheme: Scheme, peer: str, version: str) -> Word | None:
        """The first that can be about a connection that began then."""
        return next((word for time, word in self._about(scheme, peer, version) if time >= began), None)

    def nearest(self, when: datetime, scheme: Scheme, peer: str, version: str) -> Word | None:
        """The one about a connection that ended about then."""
        said = self._about(scheme, peer, version)
        return min(said, key=lambda one: abs(one[0] - when), default=(when, None))[1]

    def _about(self, scheme: Scheme, peer: str, version: str) -> list[tuple[datetime, Word]]:
        """A gateway may not know the version when it refuses."""
        said = self._said.get((scheme.id, peer), ())
        return [(time, word) for time, word in said if word.tls in ("", version)]


def in_words(word: Word | None) -> str:
    """A word as a sentence; empty where there is none."""
    if isinstance(word, ClientAuthenticated):
        return f"took the client for {word.subject}; proof: {word.proof}"
    return word.reason if word else ""
