"""One verdict with all of its evidence, for a sceptical reader."""

from collections.abc import Iterator, Sequence

from lab.catalogue.gateways import find_gateway
from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE
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
from lab.judging.proof_comparison import WHOLE_MESSAGE, Difference, ProofReason
from lab.story.evidence import came_back, due, unusual
from lab.story.octets import exchange
from lab.story.relays import fits
from lab.story.words import listed

NOT_HER_HELLO = (
    "Alice's own ClientHello would not help: mallory lacks the secret of its key share, and in TLS 1.3 all later keys "
    "depend on it."
)
NO_MESSAGE = "no such message"


def explain(verdict: Verdict) -> Iterator[Block]:
    """What was sent, what came back, what was expected, and whether the proof that decided fits."""
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
        *([("note", evidence.note)] if evidence.note else []),
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
        ("gateway log", evidence.reason),
        *([("the bank", evidence.transfer)] if evidence.transfer else []),
        *([("note", unusual(verdict))] if unusual(verdict) else []),
        ("took", f"{evidence.ms} ms"),
        ("events", ", ".join(evidence.events)),
    )
    if evidence.messages:
        yield Break()
        yield Heading("Messages (decrypted):")
        yield exchange(evidence.messages, verdict.tls)
    if evidence.proof:
        yield Break()
        yield from compare_proof(verdict)


def compare_proof(verdict: Verdict) -> Iterator[Block]:
    """What alice's proof was made over beside what this server checks, and whether the proof that was sent fits.

    Nothing if no proof decided the outcome.
    """
    reason = verdict.evidence.proof
    if reason is None:
        return
    yield Heading(_on_the_proof(verdict.outcome, reason))
    yield from _reason(reason)
    if verdict.tls == "1.3" and reason.difference and reason.difference.message == "ClientHello":
        yield Paragraph(NOT_HER_HELLO)


def _on_the_proof(outcome: str, reason: ProofReason) -> str:
    if reason.fits_server:
        return "The proof fits this handshake:"
    if outcome == ACCEPTED:
        return "The proof does not fit here either, and the gateway did not look at it:"
    return "Why the proof does not fit:"


def _reason(reason: ProofReason) -> Iterator[Block]:
    rows = [Compared(reason.hash, reason.captured_hash, reason.server_hash)]
    difference = reason.difference
    if difference:
        rows.append(Compared(_named(difference), difference.captured or NO_MESSAGE, difference.server or NO_MESSAGE))
    rows.append(Compared("this signature", fits(reason.fits_captured), fits(reason.fits_server)))
    headings = "", "what alice's proof was made over", "what the server checks against"
    yield Comparison(headings, tuple(rows))
    if difference:
        yield Paragraph(_where_they_differ(difference))
        if others := _by_message(reason.differences[1:]):
            yield Paragraph(f"They also differ in {listed(others)}.")
    if not reason.fits_captured and not reason.fits_server:
        made = "mallory changed it, made it with another key, or made it up"
        yield Paragraph(f"This signature fits neither handshake: {made}.")
    key = "the public key in the certificate that was presented with it"
    yield Paragraph(f"The signature ({reason.scheme}) was checked with {key}.")


def _where_they_differ(difference: Difference) -> str:
    if difference.field != WHOLE_MESSAGE:
        return f"The first place where the two differ is {difference.message}, field {difference.field}."
    has, lacks = ("alice's", "this one") if difference.captured else ("this one", "alice's")
    return f"The first place where the two differ is {difference.message}: {has} has it there, and {lacks} does not."


def _by_message(differences: Sequence[Difference]) -> list[str]:
    """The messages with the fields that differ: `ServerKeyExchange (point, signature)`."""
    fields: dict[str, list[str]] = {}
    for one in differences:
        fields.setdefault(one.message, []).extend([one.field] if one.field != WHOLE_MESSAGE else [])
    return [f"{message} ({', '.join(names)})" if names else message for message, names in fields.items()]


def _named(difference: Difference) -> str:
    whole = difference.field == WHOLE_MESSAGE
    return difference.message if whole else f"{difference.message}, {difference.field}"
