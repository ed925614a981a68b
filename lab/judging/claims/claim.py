"""What a claim is, and what it means to settle one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from lab.catalogue.leaks import Leak
from lab.catalogue.plan import Plan
from lab.judging.claims.discussion import source
from lab.judging.queries import RunQueries


class Holding(Enum):
    """What an experiment says about a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    CONDITIONAL = "holds under a condition"
    NO_EVIDENCE = "no evidence in this run"


class HasNumber(Protocol):
    """Something that a run recorded."""

    @property
    def number(self) -> str: ...


@dataclass(frozen=True)
class Settled:
    """A claim's verdict in one run: `because` in a sentence, the `condition` where it is one, the evidence's events.

    `evidence` are event numbers, `attacker#12`, in the order in which the sentence needs them.
    """

    holding: Holding
    because: str
    evidence: tuple[str, ...]
    condition: str = ""


@dataclass(frozen=True)
class Claim:
    """One claim. `points` are the points of the discussion that it settles, none for one of the lab's own. `claim` is
    in our own words, `experiment` says what decides.

    `decide` is a query on what a run recorded: None where the run has nothing to say. Of each group of `leaks` and of
    `schemes` it needs at least one; a run whose plan lacks one is not asked, unless something `beyond_the_plan` may
    settle the claim as well.
    """

    id: str
    points: tuple[int, ...]
    claim: str
    experiment: str
    decide: Callable[[RunQueries], Settled | None]
    leaks: tuple[tuple[Leak, ...], ...] = ()
    schemes: tuple[tuple[str, ...], ...] = ()
    beyond_the_plan: bool = False

    @property
    def by(self) -> str:
        """Who makes it, in neutral words."""
        return source(self.points)


def settle(claims: Iterable[Claim], queries: RunQueries) -> list[tuple[Claim, Settled]]:
    """Each claim with its verdict in this run."""
    return [(claim, _settle(claim, queries)) for claim in claims]


def _settle(claim: Claim, queries: RunQueries) -> Settled:
    lacking = list(_lacking(claim, queries.judged.plan))
    settled = claim.decide(queries) if claim.beyond_the_plan or not lacking else None
    because = f"not tried: {', '.join(lacking)}" if lacking else "no events that decide it"
    return settled or Settled(Holding.NO_EVIDENCE, because, ())


def _lacking(claim: Claim, plan: Plan) -> Iterator[str]:
    """What the run's plan lacks for a verdict."""
    for leaks in ([leak.id for leak in group] for group in claim.leaks):
        if not set(leaks).intersection(plan.leaks):
            yield f"the leak {' or '.join(leaks)}"
    tried = {gateway.scheme.id for gateway, _ in plan.targets()}
    for schemes in claim.schemes:
        if not tried.intersection(schemes):
            yield f"the scheme {' or '.join(schemes)}"


def numbers(*evidence: Iterable[HasNumber], each: int = 3) -> tuple[str, ...]:
    """The numbers of the first few of each kind of evidence, each once."""
    found = (one.number for some in evidence for one in list(some)[:each])
    return tuple(dict.fromkeys(found))
