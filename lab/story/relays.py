"""Relayed proofs: where the two handshakes were the same, where they could not be, and the key that it would take."""

from collections.abc import Iterator

from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.document import Block, Break, Column, Compared, Comparison, Heading, Paragraph, Span, Table, columns, facts
from lab.judging.gateway_reports import sentence
from lab.judging.relays import RelayedProof
from lab.judging.verdicts import JudgedRun
from lab.story.evidence import marked, outcome_span
from lab.tls.alerts import alert_name


def tell_relays(judged: JudgedRun) -> Iterator[Block]:
    """A line for each relayed proof, and all about a refused one, if possible with the same keys on both sides."""
    order = {gateway: number for number, gateway in enumerate(judged.plan.served())}
    found = sorted(
        judged.relayed_proofs,
        key=lambda one: (order.get(one.gateway, len(order)), one.event.tls, one.event.key_exchange),
    )
    rows = tuple(
        (
            one.gateway.id,
            one.event.tls,
            one.event.key_exchange,
            "the same" if one.event.same_keys else "different",
            marked(outcome_span(one.outcome, strong=one.outcome == ACCEPTED), one.as_expected),
            _evidence(one),
        )
        for one in found
    )
    headings = columns("TLS", "key exchange", "both sides' keys", "outcome", "evidence")
    yield Table((Column("relayed to", "name"), *headings), rows)
    refused = [one for one in found if one.outcome == REFUSED]
    if refused:
        yield Break()
        yield from tell_relay(max(refused, key=lambda one: one.event.same_keys))
        yield Break()


def tell_relay(relay: RelayedProof) -> Iterator[Block]:
    """One relayed proof: what was the same, what was not and why, and what the signature was made over."""
    event, reason = relay.event, relay.reason
    yield Heading(f"Relayed to {relay.gateway.id}, TLS {event.tls}, {event.key_exchange}: {relay.outcome}")
    yield facts(
        ("identical", ", ".join(relay.alike)),
        ("the keys", "the same on both connections" if event.same_keys else "different"),
        ("the gateway", sentence(relay.report) or "has not reported"),
    )
    differing = (
        Compared(
            f"{one.message}, {one.field}",
            _octets(one.signed),
            _octets(one.checked),
            at=(one.signed_at, one.checked_at),
        )
        for one in relay.mismatches
    )
    yield Comparison(
        ("differs", "in what the client signed", "in what the server checks"),
        (
            *differing,
            Compared(reason.hash, reason.captured_hash, reason.server_hash),
            Compared("this signature", fits(reason.fits_captured), fits(reason.fits_server), f"({reason.scheme})"),
        ),
    )
    for one in relay.mismatches:
        takes = f" With {one.why.takes} she could pass it on as it is and have the keys." if one.why.takes else ""
        yield Paragraph(f"{one.message}, {one.field}: {one.why.reason}.{takes}")


def fits(does: bool) -> Span:
    """Whether a signature is one over a transcript."""
    return Span("fits" if does else "does not fit", strong=True)


def _evidence(relay: RelayedProof) -> str:
    if relay.event.status is not None:
        return f"HTTP {relay.event.status}"
    if relay.alert is not None:
        return f"alert {alert_name(relay.alert)} ({relay.alert})"
    return relay.event.error or ""


def _octets(content: str | None) -> bytes | None:
    return None if content is None else bytes.fromhex(content)
