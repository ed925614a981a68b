"""The evidence of a verdict in words, the same in every view of it."""

import re
from http import HTTPStatus

from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED, Outcome
from lab.document import Meaning, Span
from lab.judging.judgement import Verdict
from lab.tls.messages import Finished

NOTE_ON_NOT_APPLICABLE = "n/a: not applicable; `certreplay explain` gives the reason."

_MEANINGS: dict[Outcome, Meaning] = {
    ACCEPTED: "accepted",
    REFUSED: "refused",
    NOT_APPLICABLE: "aside",
    INCONCLUSIVE: "warning",
}


def came_back(verdict: Verdict) -> str:
    """The answer that the attacker got."""
    evidence = verdict.evidence
    if evidence.http:
        return f"HTTP {evidence.http.status} {evidence.http.body}"
    if evidence.alert:
        unseen = ", which the attacker cannot decrypt" if evidence.alert_seen_by == "gateway" else ""
        return f"alert {evidence.alert.name} ({evidence.alert.number}), sent by the {evidence.alert.sent_by}{unseen}"
    finished = any(one.name == Finished.name for one in evidence.by("server"))
    if verdict.outcome == NOT_APPLICABLE and finished:
        return "a complete handshake; no request was sent"
    return "no alert and no HTTP answer" if evidence.by("server") else "nothing"


_BALANCE = re.compile(r'\{"customer":"(\w+)","balance":(-?\d+)\}')


def balance_in(verdict: Verdict) -> tuple[str, int] | None:
    """Customer and balance in the bank's answer, if it is one that tells them."""
    http = verdict.evidence.http
    told = _BALANCE.fullmatch((http and http.body) or "")
    return (told[1], int(told[2])) if told else None


def let_in_as(verdict: Verdict) -> str:
    """Under whose name an attempt was let in that was refused as alice; empty if it was let in under none."""
    told = balance_in(verdict)
    return told[0] if told and verdict.outcome == REFUSED else ""


def sent(verdict: Verdict) -> str:
    """What the attacker sent: the messages, and the certificate in the HTTP requests if there was one."""
    header = len(verdict.evidence.header) // 2
    messages = list(map(str, verdict.evidence.by("client")))
    return ", ".join([*messages, *([f"and over HTTP Client-Cert ({header} bytes in DER)"] if header else [])])


def due(verdict: Verdict) -> str:
    """What the RFCs predict, as far as the evidence tells it."""
    by = _conforming(verdict)
    if verdict.expected == REFUSED and by == AS_MALLORY:
        return f"not authenticated as alice: {by}"
    return f"{verdict.expected}, by {by}" if by else verdict.expected


AS_MALLORY = "let in as mallory (HTTP 200)"
"""How a server that conforms answers a move with the attacker's own certificate and a valid proof."""


def _conforming(verdict: Verdict) -> str:
    """The answers that the RFCs have for a refusal."""
    by = [f"alert {due.name} ({due.number})" for due in verdict.evidence.expected_alerts]
    by += [AS_MALLORY if status == HTTPStatus.OK else f"HTTP {status}" for status in verdict.evidence.expected_statuses]
    return " or ".join(by)


def unusual(verdict: Verdict) -> str:
    """What is to be said of a refusal that the RFCs do not have in this form; empty if there is nothing."""
    if verdict.conforms or not verdict.as_expected:
        return ""
    return f"safe, but not as the RFCs have it: {came_back(verdict)}, and not {_conforming(verdict)}"


def outcome_span(outcome: Outcome, words: str = "", strong: bool = False) -> Span:
    """An outcome, in these words if they are given."""
    return Span(words or outcome, _MEANINGS[outcome], strong)


def marked(span: Span, as_expected: bool) -> tuple[Span, ...]:
    """A cell of a table, marked where it is a finding."""
    return (span,) if as_expected else (span, Span(" (!)", "finding"))
