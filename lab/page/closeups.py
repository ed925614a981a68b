"""Everything about one thing, opened on demand: a cell, a connection, an event, a message."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cached_property

from lab.capture.decrypt import ReadHandshake, read_handshakes
from lab.capture.errors import CaptureFileError
from lab.catalogue.cast import VICTIM_CLIENT
from lab.catalogue.gateways import find_gateway
from lab.catalogue.leaks import find_leak
from lab.document import Block, Break, Comparison, Exchange, Heading, Inline, Paragraph, facts
from lab.events import types
from lab.events.log import Recorded
from lab.events.parts import KEY_LOG_FILE
from lab.events.types import (
    CertificateCaptured,
    HandshakeSeen,
    MoveTried,
    type_name,
)
from lab.judging.facts import port_of
from lab.judging.judgement import Sent, Verdict
from lab.judging.verdicts import JudgedRun
from lab.page import ladders
from lab.page.evidence import cell_id, connection_id, event_id, on_a_network
from lab.page.model import (
    Closeup,
    Ladder,
)
from lab.page.transcripts import two_transcripts
from lab.story.explain import DECRYPTED, MESSAGES, explain

MAX_FIELD = 2000
"""How much of an event's field is shown, in characters."""


class Closeups:
    """Finds everything about what has an id, in a judged run."""

    def __init__(self, judged: JudgedRun, messages: ladders.Messages) -> None:
        self._judged = judged
        self._messages = messages
        self._events = {one.number.replace("#", "-"): one for one in judged.run.events}

    @cached_property
    def _handshakes(self) -> Mapping[str, ReadHandshake]:
        """The handshakes in the attacker's capture, by connection; those of TLS 1.3 opened with alice's key log."""
        folders = self._judged.run.folders
        try:
            found = read_handshakes(folders.capture, folders.part(VICTIM_CLIENT) / KEY_LOG_FILE)
        except (CaptureFileError, OSError):
            return {}
        return {one.connection: one for one in found if one.connection}

    def find(self, name: str) -> Closeup | None:
        """What has this id; None if nothing has."""
        kind, _, rest = name.partition("/")
        match kind:
            case "cell":
                verdict = self._verdict(rest.split("/"))
                return self.of_verdict(verdict) if verdict else None
            case "connection" | "event":
                recorded = self._events.get(rest)
                return self._of_event(recorded, kind == "connection") if recorded else None
            case "message":
                message = self._messages.known.get(name)
                return Closeup(name, message.summary or message.message, message=message) if message else None
        return None

    def _verdict(self, parts: list[str]) -> Verdict | None:
        if len(parts) != 4:
            return None
        leak, gateway = find_leak(parts[0]), find_gateway(parts[1])
        for place, version in self._judged.plan.targets():
            if leak in self._judged.leaks and leak and (place, str(version)) == (gateway, parts[2]):
                if self._judged.missing_at(leak, place, version):
                    return None
                return next((v for v in self._judged.verdicts_at(leak, place, version) if v.move == parts[3]), None)
        return None

    def of_verdict(self, verdict: Verdict) -> Closeup:
        """All evidence of a verdict, in the words of `explain`."""
        before: list[Block] = []
        after: list[Block] = []
        shown = before
        for block in explain(verdict):
            if isinstance(block, Exchange):
                shown = after
            elif not isinstance(block, Break | Comparison) and not _is_heading(block, shown is before):
                shown.append(block)
        seen = made_of(self._judged, verdict)
        drawn = two_transcripts(seen, verdict, self._messages) if seen else None
        doubts = [one for one in self._judged.judgement.contradictions if f"({verdict.evidence.attempt})" in one]
        after += [Paragraph(f"FINDING: {doubt}") for doubt in doubts]
        conversations = (
            ladders.of_attempt(verdict.evidence.began, verdict.tls, self._messages, "under the server's other name"),
            ladders.of_attempt(verdict.evidence.messages, verdict.tls, self._messages),
        )
        return Closeup(
            cell_id(verdict),
            f"{verdict.move} at {verdict.gateway}, TLS {verdict.tls}",
            verdict.outcome,
            tuple(before),
            tuple(ladder for ladder in conversations if ladder.rows),
            drawn,
            tuple(after),
        )

    def _of_event(self, recorded: Recorded, as_connection: bool) -> Closeup:
        event = recorded.event
        drawn: tuple[Ladder, ...] = ()
        if isinstance(event, MoveTried):
            drawn = (ladders.of_attempt((Sent(*step) for step in event.steps), event.tls, self._messages),)
        elif isinstance(event, CertificateCaptured | HandshakeSeen) and on_a_network(event):
            on = self._judged.connections.of(event)
            whole = self._handshakes.get(event.server_random)
            if whole:
                opened: tuple[Ladder, ...] = (ladders.of_handshake(whole, self._messages),)
            else:
                opened = (ladders.of_login(on.read),) if on.read else ()
            if isinstance(event, HandshakeSeen):
                drawn = (ladders.of_records(event), *opened)
            else:
                drawn = opened if whole else (ladders.of_capture(event, on.read, self._messages),)
        title = f"{type_name(type(event))}, {recorded.number}"
        told = facts(("when", f"{recorded.time:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"), *_fields(event))
        seen = tuple(one for one in drawn if one.rows)
        return Closeup(
            connection_id(recorded.number) if as_connection else event_id(recorded.number),
            self._conversation(event) or title,
            blocks=() if seen else (told,),
            ladders=seen,
            after=(Heading(title), told) if seen else (),
        )

    def _conversation(self, event: object) -> str:
        """Who spoke with which gateway, of an event that has a conversation; empty for others."""
        if isinstance(event, MoveTried):
            who = f"{event.move} at"
            gateway = self._judged.gateways.get(port_of(event.server))
        elif isinstance(event, CertificateCaptured | HandshakeSeen) and on_a_network(event):
            on = self._judged.connections.of(event)
            who, gateway = "Alice's login at" if on.login else "A connection to", on.gateway
        else:
            return ""
        return f"{who} {gateway.id if gateway else event.server}, TLS {event.tls}"


def _is_heading(block: Block, early: bool) -> bool:
    """Whether it is one of the headings that the page has in its own way."""
    return isinstance(block, Heading) and (early or block.text in (MESSAGES, DECRYPTED))


def made_of(judged: JudgedRun, verdict: Verdict) -> CertificateCaptured | None:
    """The capture that an attempt was made of, which its evidence names first."""
    first = next(iter(verdict.evidence.events), "")
    captured = (one for one in judged.run.events if isinstance(one.event, CertificateCaptured))
    found = next((one.event for one in captured if one.number == first), None)
    return found if isinstance(found, CertificateCaptured) else None


SHOWN: tuple[type, ...] = (
    types.RunStarted,
    types.BundleIssued,
    types.CaptureSearched,
    types.FileSearched,
    types.GatewayListening,
    types.ClientAuthenticated,
    types.ClientRefused,
    types.AccountOpened,
    types.MoneyMoved,
    types.TransferRefused,
    types.LoggedIn,
    types.LoginFailed,
    types.LeakSought,
    types.PositionTaken,
    types.PositionLeft,
    types.CertificateCaptured,
    types.HandshakeSeen,
    types.MoveTried,
    types.Intercepted,
    types.WentOn,
    types.HandshakeDecrypted,
    types.LoginDecrypted,
    types.ProofRelayed,
    types.KeyFound,
    types.PasswordFound,
)
"""The events whose fields may be shown. None of them holds a key; what a part says in its own words may name files."""
DRAWN = ("steps", "elsewhere", "transcript", "messages", "client_records", "server_records", "signed", "checked")
"""The fields that a ladder shows better, or that are long."""


def _fields(event: object) -> Iterator[tuple[str, Inline]]:
    """The fields of an event that may be shown."""
    if not isinstance(event, SHOWN):
        yield "", "what this event says is not shown"
        return
    for field in dataclasses.fields(event):  # type: ignore[arg-type]
        value = getattr(event, field.name)
        if field.name in DRAWN or value is None or value in ("", ()):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        shown = text if len(text) <= MAX_FIELD else f"{text[:MAX_FIELD]}… ({len(text):,} characters)"
        yield field.name.replace("_", " "), shown
