"""The story in short: what each act comes to, in a sentence or two and without a byte."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from lab.catalogue.cast import ATTACKER
from lab.catalogue.gateways import Gateway
from lab.catalogue.leaks import WIRE, Leak
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED
from lab.document import Block, Inline, Items, Paragraph, Section, Span, spans
from lab.events.types import BundleIssued, CaptureSearched
from lab.judging.judgement import Verdict
from lab.judging.stolen import stolen_files
from lab.judging.verdicts import JudgedRun
from lab.story.evidence import came_back, due, let_in_as, outcome_span
from lab.tls.versions import Version
from lab.words import counted, listed

MAX_NAMED = 6
"""Where more moves were tried they are counted."""

Brief: TypeAlias = Callable[[JudgedRun, Sequence[Block]], Inline]
"""What an act comes to, of a run and of the act as it is told in full."""


def issued(judged: JudgedRun, told: Sequence[Block]) -> Inline:
    """What alice has."""
    bundle = judged.run.first(BundleIssued)
    sort = "a self-signed" if bundle and bundle.issuer == bundle.subject else "a"
    return f"the bank gave alice a key and {sort} certificate, in one file."


def last_sentence(judged: JudgedRun, told: Sequence[Block]) -> Inline:
    """An act's last paragraph."""
    return next((block.text for block in reversed(told) if isinstance(block, Paragraph)), "")


def other_kind(judged: JudgedRun, told: Sequence[Block]) -> Inline:
    """Whether it is the same with another kind of certificate, without saying the title again."""
    words = spans(last_sentence(judged, told))
    _, it_is, rest = words[0].text.partition(" it is ") if words else ("", "", "")
    return (Span(f"{it_is.lstrip()}{rest}", words[0].meaning), *words[1:]) if rest else words


def wire(judged: JudgedRun, told: Sequence[Block]) -> Inline:
    """What mallory has now."""
    files = tuple(stolen_files(judged.run, ATTACKER))
    certificates, keys = sum(len(one.fingerprints) for one in files), sum(one.keys for one in files)
    kept = f"{counted(certificates, 'certificate')}, {counted(keys, 'private key') if keys else 'no private key'}"
    return f"alice's Certificate message and her proof are plaintext in TLS 1.2. Mallory keeps {kept}."


def tls13(judged: JudgedRun, told: Sequence[Block]) -> Inline:
    """What she does not see."""
    return "the wire shows neither certificate nor proof; after the hellos every record is encrypted."


def gateway(at: Gateway, version: Version) -> Brief:
    """Which moves a gateway let in, and which it refused."""
    return lambda judged, told: tuple(_by_outcome(judged.verdicts_at(WIRE, at, version)))


def leak(of: Leak) -> Brief:
    """Which gateways were opened by what leaked."""
    return lambda judged, told: _opened(one for one in judged.judgement.verdicts if one.leak == of.id)


def _opened(found: Iterable[Verdict]) -> Inline:
    verdicts = list(found)
    opened = dict.fromkeys(one.gateway for one in verdicts if one.outcome == ACCEPTED)
    refused = dict.fromkeys(one.gateway for one in verdicts if one.outcome == REFUSED and one.gateway not in opened)
    parts: list[Inline] = []
    if opened:
        parts.append((Span("opened", "accepted"), f" {listed(list(opened))}"))
    if refused:
        parts.append((Span("not", "refused"), f" {listed(list(refused))}"))
    return (*_joined(parts, ", "), ".") if parts else "no verdicts."


def controls(judged: JudgedRun, told: Sequence[Block]) -> Inline:
    """Whether what must succeed did, and whether alice's key was found in what mallory captured."""
    found = judged.judgement.controls
    failed = [f"{one.control} at {one.gateway}, TLS {one.tls}" for one in found if one.outcome != ACCEPTED]
    said = f"{len(found) - len(failed)} of {counted(len(found), 'login')} that must succeed did."
    words: list[str | Span] = [said if not failed else Span(f"{said} Not {listed(failed)}.", "finding")]
    if searched := judged.run.first(CaptureSearched):
        key = Span("FOUND", "finding") if searched.key_at else "not found"
        words += [" Alice's key in all that mallory had captured by then: ", key, "."]
    return tuple(words)


def verdicts(judged: JudgedRun, told: Sequence[Block]) -> Inline:
    """The act without its table."""
    said: list[Inline] = []
    for block in told:
        if isinstance(block, Paragraph):
            said.append(block.text)
        elif isinstance(block, Items):
            said += [(item, ".") if isinstance(item, str) else item for item in block.items]
    return _joined(said, " ")


def _by_outcome(verdicts: Sequence[Verdict]) -> Iterator[str | Span]:
    groups: dict[tuple[str, str, str, bool], list[Verdict]] = {}
    for one in verdicts:
        refused = one.outcome == REFUSED and not let_in_as(one) and len(verdicts) <= MAX_NAMED
        answer = came_back(one).partition(", sent by")[0] if refused else ""
        groups.setdefault((one.outcome, let_in_as(one), answer, one.as_expected), []).append(one)
    for number, ((_, name, answer, as_expected), alike) in enumerate(groups.items()):
        yield "; " if number else ""
        words = "n/a" if alike[0].outcome == NOT_APPLICABLE else f"let in as {name}:" if name else ""
        yield outcome_span(alike[0].outcome, words)
        moves = [one.move for one in alike]
        yield f" {listed(moves) if len(verdicts) <= MAX_NAMED else counted(len(moves), 'move')}"
        yield f" by {answer}" if answer.startswith(("alert", "HTTP")) else ""
        if not as_expected:
            yield Span(f" FINDING: expected {due(alike[0])}", "finding")
    yield "."


def _joined(texts: Sequence[Inline], between: str) -> tuple[str | Span, ...]:
    pieces: list[str | Span] = []
    for text in texts:
        pieces += [between] if pieces else []
        pieces += spans(text)
    return tuple(pieces)


def in_one(title: str, words: Inline) -> Section:
    """An act in short."""
    return Section(title, (Paragraph(words),), "brief")
