"""One verdict with all of its evidence, for a sceptical reader on a terminal."""

from collections.abc import Iterator

from rich.console import ConsoleRenderable
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.catalogue.gateways import find_gateway
from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import NOT_APPLICABLE
from lab.judging.judgement import Sent, Verdict
from lab.judging.proof_comparison import ProofReason
from lab.story.acts import came_back, due, facts

OCTETS_A_LINE = 24
SHOWN_LINES = 3
NOT_HER_HELLO = (
    "Her own ClientHello would not help: in TLS 1.3 all that follows is under keys that depend on its key share, whose "
    "secret never left her."
)


def explain(verdict: Verdict, all_bytes: bool) -> Iterator[ConsoleRenderable]:
    """What was sent, what came back, what was expected, and where a proof was refused, why it could not fit.

    Of long messages the beginning is shown, or all of them with `all_bytes`.
    """
    move, gateway, evidence = find_move(verdict.move), find_gateway(verdict.gateway), verdict.evidence
    yield Text(f"{verdict.move} at {verdict.gateway}, TLS {verdict.tls}: {verdict.outcome}", "bold")
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
            [("FINDING", f"{evidence.deviations} of {evidence.attempts} attempts deviate")]
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
        yield Text("\nWhat was said (what crossed the wire encrypted is shown as it was before):", "bold")
        yield from _messages(evidence.messages, all_bytes)
    if evidence.proof:
        yield Text("\nWhy the proof does not fit:", "bold")
        yield from _reason(evidence.proof)
        if verdict.tls == "1.3" and evidence.proof.difference and evidence.proof.difference.message == "ClientHello":
            yield Text(NOT_HER_HELLO)


def _messages(messages: tuple[Sent, ...], all_bytes: bool) -> Iterator[ConsoleRenderable]:
    for message in messages:
        arrow = "-->" if message.sender == "client" else "<--"
        yield Text.assemble((f"{arrow} ", "dim"), str(message))
        yield Padding(Text("\n".join(_dump(message.hex, all_bytes)), "cyan", no_wrap=True), (0, 0, 0, 4))


def _dump(content: str, all_bytes: bool) -> Iterator[str]:
    octets = bytes.fromhex(content)
    shown = octets if all_bytes else octets[: SHOWN_LINES * OCTETS_A_LINE]
    for start in range(0, len(shown), OCTETS_A_LINE):
        yield shown[start : start + OCTETS_A_LINE].hex(" ")
    if len(shown) < len(octets):
        yield f"... and {len(octets) - len(shown)} bytes more (--all-bytes)"


def _reason(reason: ProofReason) -> Iterator[ConsoleRenderable]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "what alice's proof was made over", "what the server checks against"):
        table.add_column(heading, overflow="fold")
    table.add_row(reason.hash, reason.captured_hash, reason.server_hash)
    difference = reason.difference
    if difference:
        where = f"{difference.message}, {difference.field}"
        table.add_row(where, difference.captured or "no such message", difference.server or "no such message")
    fits = {True: Text("fits", "bold"), False: Text("does not fit", "bold")}
    table.add_row("this signature", fits[reason.fits_captured], fits[reason.fits_server])
    yield table
    if difference:
        yield Text(f"The first place where the two differ is {difference.message}, field {difference.field}.")
    if not reason.fits_captured and not reason.fits_server:
        yield Text("It fits neither, so it was made with another key, or changed, or never was a signature.")
    yield Text(f"The signature ({reason.scheme}) was checked with the public key that is in the captured certificate.")
