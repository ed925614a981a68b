"""What a run sets out to do, as data: which schemes, moves and versions, with which keys, how often."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from lab.catalogue.leaks import LEAKS, WIRE, Leak, find_leak
from lab.catalogue.moves import MOVES
from lab.catalogue.schemes import SCHEMES, VERSIONS, Scheme, find_scheme

KeyType = Literal["p256", "rsa", "ed25519", "p384"]
KEY_TYPES: tuple[KeyType, ...] = get_args(KeyType)


class PlanError(Exception):
    """A plan that cannot be carried out; the text says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """One run's plan. `versions` are those in which the moves are tried; alice logs in with every one.

    `rounds` is how often each move is tried everywhere, and all of it once for each of the `leaks`.
    """

    schemes: tuple[str, ...]
    moves: tuple[str, ...]
    versions: tuple[str, ...]
    key_type: KeyType = "p256"
    rounds: int = 1
    leaks: tuple[str, ...] = (WIRE.id,)

    def doors(self) -> Iterator[tuple[Scheme, str]]:
        """Each scheme in each version that is to be tried there."""
        for scheme in map(find_scheme, self.schemes):
            for version in self.versions:
                if version in scheme.versions:
                    yield scheme, version

    def __len__(self) -> int:
        """How many reports of attempts there will be."""
        return sum(self.attempts(find_leak(leak)) for leak in self.leaks)

    def attempts(self, leak: Leak) -> int:
        """How many reports of attempts there will be with what comes by one leak."""
        moves = [move for move in MOVES if move.id in self.moves]
        doors = [version for scheme, version in self.doors() if scheme.trusts in leak.certificates]
        return self.rounds * sum(version in move.fails for version in doors for move in moves)


def short_story(key_type: KeyType = "p256") -> Plan:
    """What the question's answer needs, and no more."""
    return Plan(("mtls", "certificate-only"), ("omit-proof", "replay-proof", "foreign-key"), ("1.2",), key_type)


def full_matrix(
    schemes: Iterable[str] = (),
    moves: Iterable[str] = (),
    versions: Iterable[str] = (),
    key_type: KeyType = "p256",
    rounds: int = 1,
    leaks: Iterable[str] = (WIRE.id,),
) -> Plan:
    """Everything, or what is chosen of it; PlanError for a choice that there isn't."""
    plan = Plan(
        _chosen("scheme", tuple(schemes), tuple(scheme.id for scheme in SCHEMES)),
        _chosen("move", tuple(moves), tuple(move.id for move in MOVES)),
        _chosen("version", tuple(versions), VERSIONS),
        key_type,
        rounds,
        _chosen("leak", tuple(leaks), tuple(leak.id for leak in LEAKS)),
    )
    chosen = [find_scheme(scheme) for scheme in plan.schemes]
    showing = [scheme.id for scheme in SCHEMES if scheme.asks_in_tls and scheme.trusts == "ca"]
    if not all(scheme.asks_in_tls for scheme in chosen) and not any(scheme.id in showing for scheme in chosen):
        hidden = next(scheme.id for scheme in chosen if not scheme.asks_in_tls)
        reason = (
            f"{hidden} never shows the wire the certificate that it takes; choose one of {', '.join(showing)} with it"
        )
        raise PlanError(reason)
    return plan


def everything(key_type: KeyType = "p256") -> Plan:
    """Every move, everywhere, with what comes by every leak."""
    return full_matrix(key_type=key_type, leaks=())


def key_types(wanted: Iterable[str]) -> tuple[KeyType, ...]:
    """The kinds of keys of these names; PlanError for one that there isn't."""
    chosen = _chosen("key type", tuple(wanted), KEY_TYPES)
    return tuple(one for one in KEY_TYPES if one in chosen)


def _chosen(what: str, wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    for one in wanted:
        if one not in known:
            raise PlanError(f"there is no {what} {one!r}; there are {', '.join(known)}")
    return tuple(one for one in known if one in wanted) or known
