"""What the RFCs predict for a move at a gateway, from the catalogue's tables alone, before anything is tried."""

from dataclasses import dataclass

from lab.catalogue.checks import Check
from lab.catalogue.gateways import Gateway
from lab.catalogue.leaks import WIRE, Leak, LootKind
from lab.catalogue.moves import HERSELF, HERSELF_UNCHECKED, NOT_FOR_SUCH_A_KEY, WITH_THE_KEY, Move
from lab.catalogue.outcomes import ACCEPTED, NO_OTHER_NAME, NOT_APPLICABLE, NOT_ASKED, REFUSED, Outcome
from lab.catalogue.shapes import AS_CAPTURED, Leaf
from lab.tls.alerts import AlertDescription
from lab.tls.versions import Version

NO_PASSWORD = "this server wants a name and a password (RFC 7617, RFC 9110 section 11.6.2), and the attempt sent none"
IN_HEADER = {
    Check.CERTIFICATE_PRESENT: "this server wants a certificate in the Client-Cert header (RFC 9440 section 2.2), and "
    "the attempt sent none",
    Check.CHAIN: "no issuer that this server trusts signed the certificate in the Client-Cert header (RFC 5280 section "
    "6); equal names count for nothing",
}
"""What refuses a move at a server that takes the certificate from a header."""


@dataclass(frozen=True)
class Expectation:
    """`reason` is the clause that requires the refusal, what lets the move in, or why there is nothing to try.

    A refusal that conforms to the RFCs comes with one of these `alerts`, or, if there are none, with one of these HTTP
    `statuses`; `check` is the check that fails. A server that refuses in another way is safe too.
    """

    outcome: Outcome
    reason: str
    alerts: tuple[AlertDescription, ...] = ()
    statuses: tuple[int, ...] = ()
    check: Check | None = None


def expectation(
    gateway: Gateway, version: Version, move: Move, leak: Leak = WIRE, scheme_suits: bool = True
) -> Expectation:
    """What is expected of a gateway in a version when it is presented with a move made of what a leak yields.

    All of it comes from the gateway's scheme, but whether there are sessions to resume. `scheme_suits` says whether the
    captured proof is in a signature scheme that is for its key in this version.
    """
    scheme = gateway.scheme
    if scheme.trusts not in leak.certificates:
        return Expectation(NOT_APPLICABLE, "no certificate that this server accepts leaks this way")
    if not scheme.asks_in_tls and not move.in_header:
        return Expectation(NOT_APPLICABLE, NOT_ASKED)
    if lacking := move.needs - leak.gives:
        return Expectation(NOT_APPLICABLE, f"this leak yields no {min(kind.value for kind in lacking)}")
    resumes = LootKind.SESSION in move.needs or bool(move.shape.elsewhere)
    if resumes and version not in gateway.implementation.resumes:
        return Expectation(NOT_APPLICABLE, f"this server gives no sessions to resume in TLS {version}")
    if move.shape.elsewhere and scheme.id not in gateway.implementation.newcomers:
        return Expectation(NOT_APPLICABLE, NO_OTHER_NAME)
    for failure in move.fails[version]:
        if failure.check is Check.PROOF_VALID and move.shape.proof in AS_CAPTURED and not scheme_suits:
            (failure,) = NOT_FOR_SUCH_A_KEY[version]
        if failure.check is Check.CERTIFICATE_PRESENT and not scheme.asks_in_tls and move.shape.in_header:
            continue
        if failure.check in scheme.checks:
            if not scheme.asks_in_tls and failure.check in IN_HEADER:
                return Expectation(REFUSED, IN_HEADER[failure.check], statuses=(401, 403), check=failure.check)
            return Expectation(REFUSED, failure.clause, failure.alerts, check=failure.check)
    if scheme.takes_password:
        return Expectation(REFUSED, NO_PASSWORD, statuses=(401,), check=Check.PASSWORD)
    if scheme.name_from.among(next(iter(move.shape.certificates), ())) is Leaf.MALLORYS:
        return Expectation(REFUSED, HERSELF if scheme.checks_proof else HERSELF_UNCHECKED, statuses=(200,))
    return Expectation(
        ACCEPTED, WITH_THE_KEY if move.with_key and Check.PROOF_PRESENT in scheme.checks else scheme.fault
    )
