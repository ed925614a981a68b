"""Who plays which part on the page: the run's gateways, by what they do about the proof."""

from dataclasses import dataclass
from typing import TypeAlias

from lab.catalogue.gateways import Gateway
from lab.catalogue.leaks import WIRE
from lab.catalogue.plan import Plan
from lab.catalogue.schemes import ProofOf
from lab.tls.versions import Version

Target: TypeAlias = tuple[Gateway, Version]


@dataclass(frozen=True)
class Roles:
    """The gateways of the story, in the order in which the page numbers them.

    All of them take the plan's main kind of certificate, in TLS, and read off the wire. `blind` does not check the
    proof, `checking` does, and `witness` does too, but is another implementation. Each is None if there is none.
    """

    blind: Target | None = None
    checking: Target | None = None
    witness: Target | None = None
    others: tuple[Gateway, ...] = ()

    @property
    def gateways(self) -> tuple[Gateway, ...]:
        """All of them, numbered in this order."""
        mine = [target[0] for target in (self.blind, self.checking, self.witness) if target]
        return tuple(dict.fromkeys((*mine, *self.others)))

    def name(self, gateway: Gateway) -> str:
        """`gateway 1`, or its id if it has no part."""
        return f"gateway {self.gateways.index(gateway) + 1}" if gateway in self.gateways else gateway.id


def roles_of(plan: Plan) -> Roles:
    """The roles in a run with this plan."""
    if WIRE.id not in plan.leaks or not plan.kinds:
        return Roles()
    targets = [one for one in plan.targets() if one[0].scheme.trusts == plan.kinds[0] and one[0].scheme.asks_in_tls]
    blind = [one for one in targets if not one[0].scheme.checks_proof]
    checking = [one for one in targets if one[0].scheme.proof_of is ProofOf.CUSTOMER]
    unlooked = [one for one in blind if one[0].scheme.proof == "not checked"]
    hidden = next(iter(unlooked or blind), None)
    # the two that differ in least are of one implementation
    alike = [one for one in checking if hidden and one[0].implementation == hidden[0].implementation]
    seeing = next(iter(alike or checking), None)
    witness = next((one for one in checking if seeing and one[0].implementation != seeing[0].implementation), None)
    return Roles(hidden, seeing, witness, tuple(dict.fromkeys(one[0] for one in targets)))
