"""One verdict with all of its evidence, for a sceptical reader."""

from collections.abc import Iterator

from lab.catalogue.gateways import find_gateway
from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import NOT_APPLICABLE
from lab.document import (
    Block,
    Break,
    Compared,
    Comparison,
    Heading,
    Paragraph,
    Span,
    facts,
)
from lab.judging.judgement import Verdict
from lab.judging.proof_comparison import ProofReason
from lab.story.evidence import came_back, due
from lab.story.octets import exchange
from lab.story.relays import fits

NOT_HER_HELLO = (
    "Sending her own ClientHello would not help: in TLS 1.3 the keys for all that follows depend on its key share, and "
    "the secret of that share never left her."
)
NO_MESSAGE = "no such message"


def explain(verdict: Verdict) -> Iterator[Block]:
    """What was sent, what came back, what was expected, and why a refused proof does not fit."""
    move, gateway, evidence = find_move(verdict.move), find_gateway(verdict.gateway), verdict.evidence
    yield Heading(f"{verdict.move} at {verdict.gateway}, TLS {verdict.tls}: {verdict.outcome}")
    yield facts(
        *([("the move", f"{move.title}: {move.sends}")] if move else []),
        *(
            [
                ("the scheme", f"asks for {gateway.scheme.asks_for}; checks {gateway.scheme.verifies}"),
                ("implemented by", gateway.implementation.title),
            ]
            if gateway
            else []
        ),
        ("expected", due(verdict)),
        ("because", evidence.clause),
        *(
            [("FINDING", Span(f"{evidence.deviations} of {evidence.attempts} attempts deviate", "finding"))]
            if evidence.deviations
            else []
        ),
    )
    if verdict.outcome == NOT_APPLICABLE:
        return
    yield facts(
        ("came back", came_back(verdict)),
        ("the gateway's reason", evidence.reason),
        ("took", f"{evidence.ms} ms"),
    )
    if evidence.messages:
        yield Break()
        yield Heading("Messages (decrypted):")
        yield exchange(evidence.messages, verdict.tls)
    if evidence.proof:
        yield Break()
        yield Heading("Why the proof does not fit:")
        yield from _reason(evidence.proof)
        if verdict.tls == "1.3" and evidence.proof.difference and evidence.proof.difference.message == "ClientHello":
            yield Paragraph(NOT_HER_HELLO)


def _reason(reason: ProofReason) -> Iterator[Block]:
    rows = [Compared(reason.hash, reason.captured_hash, reason.server_hash)]
    difference = reason.difference
    if difference:
        where = f"{difference.message}, {difference.field}"
        rows.append(Compared(where, difference.captured or NO_MESSAGE, difference.server or NO_MESSAGE))
    rows.append(Compared("this signature", fits(reason.fits_captured), fits(reason.fits_server)))
    headings = "", "what alice's proof was made over", "what the server checks against"
    yield Comparison(headings, tuple(rows))
    if difference:
        yield Paragraph(f"The first place where the two differ is {difference.message}, field {difference.field}.")
    if not reason.fits_captured and not reason.fits_server:
        yield Paragraph("It fits neither: it was made with another key, or was changed, or was never a signature.")
    checked = f"The signature ({reason.scheme}) was checked with the public key that is in the captured certificate."
    yield Paragraph(checked)
