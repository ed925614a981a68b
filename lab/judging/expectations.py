"""What theory expects of a move at a scheme, from their two tables alone: settled before anything is tried."""

from dataclasses import dataclass

from lab.catalogue.checks import Check
from lab.catalogue.leaks import WIRE, Leak
from lab.catalogue.moves import Move
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, NOT_ASKED, REFUSED
from lab.catalogue.schemes import Scheme
from lab.tls.alerts import AlertDescription


@dataclass(frozen=True)
class Expectation:
    """`reason` is the clause that asks for the refusal, what lets the move in, or why there is nothing to try.

    A refusal comes with one of these `alerts`, or where there are none with one of these HTTP `statuses`.
    """

    outcome: str
    reason: str
    alerts: tuple[AlertDescription, ...] = ()
    statuses: tuple[int, ...] = ()


HERSELF = (
    "RFC 5246 section 7.4.2, RFC 8446 section 4.4.2: the sender's own certificate comes first, and the proof is by its "
    "key; so mallory is let in as mallory, and alice's account stays shut"
)


def expectation(scheme: Scheme, version: str, move: Move, leak: Leak = WIRE) -> Expectation:
    """What is expected of a scheme in a version (1.2, 1.3) presented with a move made of what came by a leak."""
    if scheme.trusts not in leak.certificates:
        return Expectation(NOT_APPLICABLE, "no certificate that this server takes leaks this way")
    if version not in move.fails:
        return Expectation(NOT_APPLICABLE, move.impossible[version])
    if not scheme.asks_in_tls and not move.in_header:
        return Expectation(NOT_APPLICABLE, NOT_ASKED)
    if lacking := move.needs - leak.gives:
        return Expectation(
            NOT_APPLICABLE, f"from this leak the attacker has no {min(spoil.value for spoil in lacking)}"
        )
    if move.as_herself:
        return Expectation(REFUSED, HERSELF, statuses=(200,))
    for failure in move.fails[version]:
        if failure.check in scheme.checks:
            if not scheme.asks_in_tls and failure.check in (Check.CERTIFICATE_PRESENT, Check.CHAIN):
                return Expectation(REFUSED, f"{failure.check.value}, here in the header", statuses=(401, 403))
            return Expectation(REFUSED, failure.clause, failure.alerts)
    return Expectation(ACCEPTED, scheme.fault)
