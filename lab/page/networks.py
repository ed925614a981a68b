"""Everybody in a picture: alice, mallory in between, the bank with its gateways and the account."""

from lab.catalogue.cast import CUSTOMER
from lab.catalogue.gateways import Gateway
from lab.catalogue.schemes import ProofOf
from lab.events.types import (
    AccountOpened,
    BundleIssued,
    LoggedIn,
)
from lab.judging.verdicts import JudgedRun
from lab.page.model import (
    Chip,
    GatewayBox,
    Network,
)
from lab.page.teaching import Teaching

MAX_GATEWAYS = 3
"""How many gateways the network has room for."""
HERS = (Chip("certificate", "certificate"), Chip("key", "private key"))
STOLEN = (
    Chip("certificate", "certificate", "copy"),
    Chip("proof", "alice's old proof", "copy"),
    Chip("key", "no private key", "none"),
)


def network(given: Teaching, here: Gateway | None = None) -> Network:
    """Everybody, as they are at the start."""
    issued = given.judged.run.first(BundleIssued)
    shown = given.roles.gateways
    first = list(shown[:MAX_GATEWAYS])
    if here and here not in first:
        first[-1] = here
    boxes = tuple(
        GatewayBox(one.id, given.roles.name(one), checks(one), here=one == here) for one in first or shown[:1]
    )
    every = len(given.judged.plan.served())
    return Network(
        HERS, (), "", bundle_file(issued) if issued else "", boxes, every - len(boxes), _opening(given.judged)
    )


def checks(gateway: Gateway) -> str:
    """What a gateway checks, in two or three words."""
    scheme = gateway.scheme
    if scheme.takes_password:
        return "a password"
    if scheme.checks_proof:
        return "certificate and proof" if scheme.proof_of is ProofOf.CUSTOMER else "a proof; not whose it is"
    if scheme.proof == "ignored":
        return "certificate; ignores a wrong proof"
    return "certificate only" if scheme.asks_in_tls else "a header with the certificate"


def _opening(judged: JudgedRun) -> int | None:
    """What alice's account had at first; None if nobody tells."""
    opened = next((one for one in judged.run.all(AccountOpened) if one.customer == CUSTOMER), None)
    told = opened or judged.run.first(LoggedIn)
    return told.balance if told else None


def bundle_file(issued: BundleIssued) -> str:
    return next((name for name in issued.files if name.endswith(".p12")), next(iter(issued.files), "her bundle"))
