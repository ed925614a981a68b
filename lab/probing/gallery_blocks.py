"""What the gallery showed, as blocks: a table of all servers, then each with its answers and its own words."""

import re
from collections.abc import Iterator, Sequence

from lab.catalogue.outcomes import REFUSED
from lab.document import Block, Column, Facts, Heading, Inline, Items, Paragraph, Section, Span, Table
from lab.probing.gallery import Shown
from lab.probing.judge import Judged
from lab.words import counted

TELLING = re.compile(r"signature|verif|bad.cert|handshake|error|fail|denied", re.IGNORECASE)
"""Words in a line of a log that say more than that somebody connected."""
MOVES_SHOWN = ("omit-proof", "replay-proof", "foreign-key", "look-alike")
MAX_LINE = 200


def tell(shown: Sequence[Shown]) -> Iterator[Block]:
    """The table, each server, and those that were not tried."""
    tried = [one for one in shown if one.probed]
    columns = (Column("server", "name"), Column("TLS by"), Column("TLS 1.2"), Column("TLS 1.3"), Column("asked by"))
    yield Heading("The gallery")
    if tried:
        yield Table(columns, tuple(_row(one) for one in tried))
    for one in tried:
        yield Section(one.server.id, tuple(_server(one)), "entry")
    for one in shown:
        if one.missing:
            yield Paragraph((Span(f"Not tried: {one.server.id}", "warning"), f": {one.missing}"))
    yield Paragraph(f"{counted(len(tried), 'server')} tried. The control got in at each: the certificate with its key.")


def document(shown: Sequence[Shown]) -> Iterator[Block]:
    """docs/gallery.md."""
    yield Heading("Real servers", 1)
    yield Paragraph("Generated from a run of certreplay gallery --markdown; what it says was measured in that run.")
    yield Paragraph(
        "Each server lets in a client that has the certificate and its key. certreplay try is run on each: the "
        "controls, and every move in both versions. You see which option makes the server check, what it answers in "
        "each case, and what it logs when a proof is wrong. The configurations are in victim_server/gallery. Servers "
        "that are not installed are left out. On Debian these packages have all of them:"
    )
    packages = sorted({package for one in shown for package in one.server.packages})
    yield Items((f"apt-get install {' '.join(packages)}",))
    yield Paragraph(
        "pytest -m gallery runs the servers that the other tests don't need. What a server does by default comes "
        "from its documentation. All else was measured."
    )
    yield from tell(shown)


def _row(one: Shown) -> tuple[Inline, ...]:
    assert one.probed
    by_version = {str(version): _word(judged) for version, judged in one.probed.judged.items()}
    return (one.server.id, one.server.tls, by_version["1.2"], by_version["1.3"], one.server.asks)


def _word(judged: Judged) -> Inline:
    if not judged.spoken:
        return "not spoken"
    if judged.open:
        return Span("OPEN", "accepted")
    if judged.unfit or judged.undecided:
        return Span("no verdict", "warning")
    refused = sum(one.outcome == REFUSED for one in judged.verdicts)
    return Span(f"safe, {refused} refused", "refused")


def _server(one: Shown) -> Iterator[Block]:
    server = one.server
    assert one.probed
    rows: list[tuple[str, Inline]] = [
        ("program", f"{server.title}: {one.version}"),
        ("by default, it says", server.default),
        ("checks with", server.asks),
    ]
    if line := _telling(one.log):
        rows.append(("its log says", line))
    yield Facts(tuple(rows))
    names = ("the key", "no certificate", "a stranger's", "a wrong Finished", *MOVES_SHOWN)
    answers = {version: _answers(judged) for version, judged in one.probed.judged.items() if judged.spoken}
    if answers:
        columns = (Column("what comes"), *(Column(f"TLS {version}") for version in answers))
        yield Table(columns, tuple((name, *(found[name] for found in answers.values())) for name in names))


def _answers(judged: Judged) -> dict[str, Inline]:
    controls = judged.controls
    verdicts = {verdict.move: verdict for verdict in judged.verdicts}
    return {
        "the key": controls.key.answer.kind,
        "no certificate": controls.none.answer.kind,
        "a stranger's": controls.stranger.answer.kind,
        "a wrong Finished": controls.spoiled.answer.kind,
        **{move: verdicts[move].answer.partition(":")[0] or "-" for move in MOVES_SHOWN if move in verdicts},
    }


def _telling(log: Sequence[str]) -> str:
    """The line that says most of a proof that was wrong."""
    found = sorted(log, key=lambda line: -len(set(map(str.lower, TELLING.findall(line)))))
    return found[0][:MAX_LINE] if found and TELLING.search(found[0]) else ""
