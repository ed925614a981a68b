"""What a probe found, as blocks for people."""

from collections.abc import Iterator

from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED
from lab.document import Block, Column, Facts, Inline, Items, Paragraph, Section, Span, Table
from lab.probing.checks import CHECKS, STRANGER
from lab.probing.judge import Judged, MoveVerdict, shows_a_made_up_one, status
from lab.probing.probe import Probed
from lab.words import counted

NOT_TRIED = (
    "Not tried: asking for the certificate later (renegotiation, TLS 1.3 post-handshake), and DTLS and QUIC (HTTP/3)."
)


def tell(probed: Probed) -> Iterator[Block]:
    """The controls, the moves and what follows, for each version; then the verdict."""
    for judged in probed.judged.values():
        yield Section(f"TLS {judged.version}", tuple(_version(judged)))
    yield Section("What follows", tuple(_conclusion(probed)))


def _version(judged: Judged) -> Iterator[Block]:
    if not judged.spoken:
        yield Paragraph("The server does not speak this version.")
        return
    controls = judged.controls
    rows: list[tuple[str, Inline]] = [
        ("the owner, with OpenSSL", controls.owner[0].text),
        ("the same key, with our instrument", controls.key.answer.text),
        ("no certificate", controls.none.answer.text),
        ("a stranger's certificate", controls.stranger.answer.text),
        ("the same key, a wrong Finished", controls.spoiled.answer.text),
    ]
    if controls.other:
        rows.append(("the attacker's own bundle", controls.other.answer.text))
    rows.append(("the same key, at the end", controls.again.answer.text))
    yield Section("The controls: what this server answers to", (Facts(tuple(rows)),), "point")
    for note in judged.notes:
        yield Paragraph(Span(f"Note: {note}.", "warning"))
    if judged.unfit:
        yield Paragraph((Span("No verdict: ", "warning", strong=True), f"{judged.unfit}."))
        return
    if judged.stranger_in:
        yield Paragraph((Span("FINDING: ", "finding", strong=True), f"{STRANGER.family}. {STRANGER.cure}"))
    table = tuple(_row(verdict) for verdict in judged.verdicts if verdict.outcome != NOT_APPLICABLE)
    columns = (Column("move", "name"), Column("outcome", "outcome"), Column("what came back"))
    yield Section("With the certificate, without its key", (Table(columns, table),), "point")
    if left := [verdict for verdict in judged.verdicts if verdict.outcome == NOT_APPLICABLE]:
        yield Items(tuple(f"not applicable: {verdict.move}: {verdict.reason}" for verdict in left))


def _row(verdict: MoveVerdict) -> tuple[Inline, ...]:
    meanings = {ACCEPTED: "accepted", REFUSED: "refused", INCONCLUSIVE: "warning"}
    word = "ACCEPTED" if verdict.outcome == ACCEPTED else str(verdict.outcome)
    said = f"{verdict.answer}; {verdict.reason}" if verdict.answer and verdict.reason else verdict.answer
    return verdict.move, Span(word, meanings[verdict.outcome]), said or verdict.reason  # type: ignore[arg-type]


def _conclusion(probed: Probed) -> Iterator[Block]:
    spoken = [one for one in probed.judged.values() if one.spoken]
    refused = sum(len(one.refused) for one in spoken)
    where = str(probed.target.address)
    accepted = [verdict for one in spoken for verdict in one.accepted]
    for verdict in accepted:
        move, check = find_move(verdict.move), CHECKS[verdict.move]
        cases = f" As in {', '.join(check.cases)}." if check.cases else ""
        sends = f"She sent {move.sends}. " if move else ""
        yield Paragraph(
            (
                Span(f"FINDING: {verdict.move}, TLS {verdict.tls}: ", "finding", strong=True),
                f"{check.family}. {sends}What to do: {check.cure}{cases}",
            )
        )
    match status(probed.judged):
        case 0:
            words = f"it let the owner in, and nobody without her key in {counted(refused, 'attempt')}."
            if any(one.asked_for_the_key for one in spoken):
                words = f"{where} checks possession of the key: {words}"
            else:
                words = f"As far as {where} was tried, {words} Whether it checks possession of the key was not tried."
            yield Paragraph((Span("Safe. ", "refused", strong=True), words))
        case 1:
            words = f"{where} lets in a client that has the certificate of {probed.customer} and not its key."
            if accepted and all(shows_a_made_up_one(verdict.move) for verdict in accepted):
                words = f"{where} lets in anybody who makes a certificate in the name of {probed.customer}."
            if not accepted:
                words = f"{where} lets in any client with a certificate, even one that nobody issued."
            yield Paragraph((Span("Not safe. ", "accepted", strong=True), words))
        case _:
            words = f"Nothing can be said of {where} as a whole; the reasons are above."
            yield Paragraph((Span("No verdict. ", "warning", strong=True), words))
    yield Paragraph(NOT_TRIED)
