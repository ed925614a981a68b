"""What verdicts.json says: the shape of a run's outcome."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from lab.judging.proof_comparison import ProofReason
from lab.judging.relays import RelayVerdict

VERSION = 1
CLIENT = "client"
"""The control that is alice herself."""


@dataclass(frozen=True)
class Captured:
    """The certificate that the verdicts are about."""

    subject: str
    sha256: str
    tls: str
    source: str


@dataclass(frozen=True)
class Control:
    """A run that must succeed, or the verdicts of its scheme mean nothing."""

    scheme: str
    tls: str
    control: str
    outcome: str


@dataclass(frozen=True)
class SentAlert:
    """An alert: its name and number, and whether client or server sent it."""

    name: str
    number: int
    sent_by: str | None


@dataclass(frozen=True)
class HttpAnswer:
    """The bank's answer."""

    status: int
    body: str | None


@dataclass(frozen=True)
class Sent:
    """Something that crossed the wire in an attempt; its bytes in hex."""

    sender: str
    name: str
    hex: str

    def __str__(self) -> str:
        if self.name.startswith("alert"):
            return f"{self.name} ({int(self.hex[2:4], 16)})"
        octets = len(self.hex) // 2
        return f"{self.name} ({octets} byte{'s' if octets > 1 else ''})"


@dataclass(frozen=True)
class Evidence:
    """What an attempt sent and what came back. `reason` is the gateway's own; `ms` from connect to verdict.

    `alert_seen_by` is `attacker`, or `gateway` for an alert that was protected with keys that the attacker doesn't have
    and is known from the gateway's own report. `clause` is what asks for the refusal, or what lets the move in;
    `proof` is there where a proof was sent and refused. The move was tried `attempts` times; where it did not go the
    same way each time, `deviations` counts the times that were not as expected, and this is of the first of them.
    """

    alert: SentAlert | None
    alert_seen_by: str | None
    http: HttpAnswer | None
    reason: str
    ms: float
    stolen: int
    messages: tuple[Sent, ...]
    clause: str
    expected_alerts: tuple[SentAlert, ...]
    expected_statuses: tuple[int, ...]
    proof: ProofReason | None
    attempts: int
    deviations: int

    def by(self, sender: str) -> tuple[Sent, ...]:
        """The messages of one side."""
        return tuple(message for message in self.messages if message.sender == sender)


@dataclass(frozen=True)
class Verdict:
    """What a scheme did with a move, made of what came by a leak."""

    leak: str
    scheme: str
    tls: str
    move: str
    expected: str
    outcome: str
    evidence: Evidence

    @property
    def as_expected(self) -> bool:
        """Every attempt's outcome is the expected one, and every refusal came with an alert that the RFC has for it."""
        return not self.evidence.deviations


@dataclass(frozen=True)
class Judgement:
    """A run's outcome. `errors` is empty unless a control failed; then there are no verdicts."""

    run: str
    capture: Captured
    controls: tuple[Control, ...]
    verdicts: tuple[Verdict, ...]
    errors: tuple[str, ...] = ()
    relays: tuple[RelayVerdict, ...] = ()
    """The proofs that were passed on while they were fresh, where that was tried."""

    @property
    def as_expected(self) -> bool:
        moves = all(verdict.as_expected for verdict in self.verdicts)
        return not self.errors and moves and all(relay.as_expected for relay in self.relays)

    def to_json(self) -> str:
        """The content of verdicts.json."""
        fields: dict[str, Any] = {"version": VERSION, **dataclasses.asdict(self), "as_expected": self.as_expected}
        for name in ("errors", "relays"):
            if not fields[name]:
                del fields[name]
        return json.dumps(fields, indent=2) + "\n"
