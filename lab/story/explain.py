"""One verdict with all of its evidence, for a sceptical reader."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from cryptography import x509

from lab.catalogue.gateways import Gateway, find_gateway
from lab.catalogue.moves import Move, find_move
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE
from lab.catalogue.shapes import ProofShape
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
from lab.judging.proof_comparison import EXTENSION_NAMES, WHOLE_MESSAGE, Difference, ProofReason
from lab.story.evidence import came_back, due, unusual
from lab.story.octets import PROTECTED, exchange
from lab.story.relays import fits
from lab.tls import extensions as ext
from lab.tls.server import ProofSeen
from lab.words import counted, listed

NOT_HER_HELLO = (
    "Alice's own ClientHello would not help: mallory lacks the secret of its key share, and in TLS 1.3 all later keys "
    "depend on it."
)
NO_KEY_SHARE = (
    "Alice's own ClientHello would not help: it has no key share, and a full handshake of TLS 1.3 takes one (RFC 8446 "
    "section 9.2)."
)
NO_MESSAGE = "no such message"
MESSAGES, DECRYPTED = "Messages:", "Messages (decrypted):"
OTHER_FORM = (
    "What is signed has another form in each version: in TLS 1.2 the messages themselves, in TLS 1.3 64 spaces, a "
    "text, a zero byte and the hash of the messages (RFC 8446 section 4.4.3)."
)


def explain(verdict: Verdict) -> Iterator[Block]:
    """What was sent, what came back, what was expected, and whether the proof that decided fits."""
    move, gateway, evidence = find_move(verdict.move), find_gateway(verdict.gateway), verdict.evidence
    yield Heading(f"{verdict.move} at {verdict.gateway}, TLS {verdict.tls}: {verdict.outcome}")
    yield facts(
        *([("the move", _the_move(move, gateway))] if move else []),
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
            [("FINDING", Span(f"{evidence.deviations} of {counted(evidence.attempts, 'attempt')} deviated", "finding"))]
            if evidence.deviations
            else []
        ),
    )
    if verdict.outcome == NOT_APPLICABLE:
        if not evidence.messages:
            return
        yield Paragraph("A connection showed that there is nothing to test here. What happened on it is no verdict:")
    yield facts(
        ("came back", came_back(verdict)),
        ("on it" if verdict.outcome == NOT_APPLICABLE else "gateway log", evidence.reason),
        *([("whose proof", evidence.whose)] if evidence.whose else []),
        *([("Client-Cert", _certificate(evidence.header))] if gateway and not gateway.scheme.asks_in_tls else []),
        *([("the bank", evidence.transfer)] if evidence.transfer else []),
        *([("note", unusual(verdict))] if unusual(verdict) else []),
        ("took", f"{evidence.ms} ms"),
        ("events", ", ".join(evidence.events)),
    )
    if evidence.began:
        yield Break()
        yield Heading("Messages of the login under the server's other name, where the session began (decrypted):")
        yield exchange(evidence.began, verdict.tls)
    if evidence.messages:
        yield Break()
        shown = exchange(evidence.messages, verdict.tls)
        opened = any(one.encrypted and one.message != PROTECTED for one in shown.messages)
        yield Heading(DECRYPTED if opened else MESSAGES)
        yield shown
    if evidence.proof:
        yield Break()
        yield from compare_proof(verdict)


def compare_proof(verdict: Verdict) -> Iterator[Block]:
    """What alice's proof was made over beside what this server checks, and whether the proof that was sent fits.

    Nothing if no proof decided the outcome.
    """
    reason, move = verdict.evidence.proof, find_move(verdict.move)
    if reason is None:
        return
    yield Heading(on_the_proof(verdict, reason))
    yield from _reason(reason, verdict.tls, move.shape.proof if move else None)
    if verdict.tls == "1.3" and reason.difference and reason.difference.message == "ClientHello":
        lacks = any((one.message, one.field, one.captured) == _NO_SHARE for one in reason.differences)
        yield Paragraph(NO_KEY_SHARE if lacks else NOT_HER_HELLO)


_NO_SHARE = ("ClientHello", EXTENSION_NAMES[ext.KEY_SHARE], "")


def _the_move(move: Move, gateway: Gateway | None) -> str:
    """What is sent, as it is at this gateway."""
    if gateway and not gateway.scheme.asks_in_tls and move.in_header:
        return f"{move.title}; here {move.in_header}"
    return f"{move.title}: {move.sends}"


def _certificate(header: str) -> str:
    """The certificate in the requests' header (RFC 9440 section 2.2), in hex."""
    if not header:
        return "no such header was sent"
    der = bytes.fromhex(header)
    try:
        whose = f"the certificate of {x509.load_der_x509_certificate(der).subject.rfc4514_string()}"
    except ValueError:
        whose = "no readable certificate"
    return f"{whose}, in each HTTP request; {len(der)} bytes in DER, sha256 {sha256(der).hexdigest()}"


def on_the_proof(verdict: Verdict, reason: ProofReason) -> str:
    """What became of a proof that decided an attempt, as a heading."""
    if reason.fits_server:
        return "The proof fits this handshake:"
    if verdict.outcome == ACCEPTED:
        did = _WITH_A_WRONG_PROOF.get(verdict.evidence.proof_seen, "let the client in all the same")
        return f"The proof does not fit here either, and the gateway {did}:"
    return "Why the proof does not fit:"


_WITH_A_WRONG_PROOF: dict[str, str] = {
    ProofSeen.UNCHECKED: "did not look at it",
    ProofSeen.INVALID: "checked it and ignored the result",
}


def _reason(reason: ProofReason, tls: str, shape: ProofShape | None) -> Iterator[Block]:
    both = reason.hash if reason.hash == reason.signed_by else f"{reason.signed_by} (left), {reason.hash} (right)"
    rows = [Compared(both, reason.captured_hash, reason.server_hash)]
    difference = reason.difference
    if difference:
        rows.append(Compared(_named(difference), difference.captured or NO_MESSAGE, difference.server or NO_MESSAGE))
    rows.append(Compared("this signature", fits(reason.fits_captured), fits(reason.fits_server)))
    headings = "", "what alice's proof was made over", "what the server checks against"
    yield Comparison(headings, tuple(rows))
    if reason.made_in != tls:
        yield Paragraph(OTHER_FORM)
    if difference:
        yield Paragraph(_where_they_differ(difference))
        if others := _by_message(reason.differences[1:]):
            yield Paragraph(f"They also differ in {listed(others)}.")
    if not reason.fits_captured and not reason.fits_server:
        is_ = f": it is {shape.value}" if shape else ""
        if reason.fits_as_made:
            under = f"Under the one that alice signed with, {reason.made_as}, it fits hers."
            yield Paragraph(f"Under this scheme the signature fits neither handshake{is_}. {under}")
        else:
            yield Paragraph(f"With this key the signature fits neither handshake{is_}.")
    key = "the public key in the certificate that was presented with it"
    yield Paragraph(f"The signature ({reason.scheme}) was checked with {key}.")


def _where_they_differ(difference: Difference) -> str:
    if difference.field != WHOLE_MESSAGE:
        return f"The first field that differs is {difference.message}, {difference.field}."
    has, lacks = ("alice's", "this one") if difference.captured else ("this one", "alice's")
    return f"The first message that differs is {difference.message}: {has} has it there, and {lacks} does not."


def _by_message(differences: Sequence[Difference]) -> list[str]:
    """The messages with the fields that differ: `ServerKeyExchange (point, signature)`."""
    fields: dict[str, list[str]] = {}
    for one in differences:
        fields.setdefault(one.message, []).extend([one.field] if one.field != WHOLE_MESSAGE else [])
    return [f"{message} ({', '.join(names)})" if names else message for message, names in fields.items()]


def _named(difference: Difference) -> str:
    whole = difference.field == WHOLE_MESSAGE
    return difference.message if whole else f"{difference.message}, {difference.field}"
