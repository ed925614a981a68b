"""Relayed proofs, told: how far the two handshakes were alike, where they could not be, and what that takes."""

from rich.table import Table
from rich.text import Text

from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.document import Lines, facts
from lab.judging.gateway_reports import sentence
from lab.judging.relays import RelayedProof
from lab.judging.verdicts import JudgedRun
from lab.tls.alerts import alert_name

SHOWN_OCTETS = 32


def tell_relays(judged: JudgedRun, only_strongest: bool = False) -> Lines:
    """A line for each relayed proof, and all about one of each kind that was refused, or about the strongest of them.

    That is one with which both connections had the same keys, if there was such a one.
    """
    found = judged.relayed_proofs
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("relayed to", "TLS", "key exchange", "both sides' keys", "outcome", "evidence"):
        table.add_column(heading)
    for one in found:
        outcome = Text(one.outcome, "bold red" if one.outcome == ACCEPTED else "green")
        if not one.as_expected:
            outcome.append(" (!)", "bold yellow")
        keys = "the same" if one.event.same_keys else "different"
        table.add_row(one.gateway.id, one.event.tls, one.event.key_exchange, keys, outcome, _evidence(one))
    yield table
    refused = [one for one in found if one.outcome == REFUSED]
    kinds = {(one.event.tls, one.event.key_exchange): one for one in reversed(refused)}
    strongest_first = sorted(kinds.values(), key=lambda one: not one.event.same_keys)
    for one in strongest_first[: 1 if only_strongest else None]:
        yield Text()
        yield from tell_relay(one)
    if only_strongest:
        yield Text()


def tell_relay(relay: RelayedProof, all_bytes: bool = False) -> Lines:
    """One relayed proof: what was alike, what wasn't and could not be, and what the signature was made over."""
    event, reason = relay.event, relay.reason
    yield Text(f"Relayed to {relay.gateway.id}, TLS {event.tls}, {event.key_exchange}: {relay.outcome}", "bold")
    yield facts(
        ("alike, to the byte", ", ".join(relay.alike)),
        ("the keys", "the same on both connections" if event.same_keys else "different ones"),
        ("the gateway", sentence(relay.report) or "has not reported"),
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("differs", "in what the client signed", "in what the server checks"):
        table.add_column(heading, overflow="fold")
    for one in relay.mismatches:
        where = f"{one.message}, {one.field}\nfrom byte {one.signed_at} / {one.checked_at}"
        start = 0 if all_bytes else _first_difference(one.signed, one.checked)
        table.add_row(where, *(_octets(value, start, all_bytes) for value in (one.signed, one.checked)))
    table.add_row(reason.hash, reason.captured_hash, reason.server_hash)
    fits = {True: Text("fits", "bold"), False: Text("does not fit", "bold")}
    table.add_row(f"this signature\n({reason.scheme})", fits[reason.fits_captured], fits[reason.fits_server])
    yield table
    for one in relay.mismatches:
        takes = f" It takes {one.why.takes} to make them equal." if one.why.takes else ""
        yield Text(f"{one.message}, {one.field}: {one.why.reason}.{takes}")


def _evidence(relay: RelayedProof) -> str:
    if relay.event.status is not None:
        return f"HTTP {relay.event.status}"
    if relay.alert is not None:
        return f"alert {alert_name(relay.alert)} ({relay.alert})"
    return relay.event.error or ""


def _first_difference(signed: str | None, checked: str | None) -> int:
    """The first byte in which two values in hex differ."""
    one, other = (bytes.fromhex(value or "") for value in (signed, checked))
    return next((at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), 0)


def _octets(content: str | None, start: int, all_bytes: bool) -> str:
    """The bytes from `start` on, all of them or as many as a reader likes to see."""
    if not content:
        return "not there" if content is None else "empty"
    octets = bytes.fromhex(content)
    shown = octets[start:] if all_bytes else octets[start : start + SHOWN_OCTETS]
    if len(shown) == len(octets):
        return shown.hex()
    before = f"after {start} bytes alike: " if start else ""
    return f"{before}{shown.hex()}... ({len(octets)} bytes)"
