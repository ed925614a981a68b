"""What verdicts.json says: the shape of a run's outcome."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.catalogue.outcomes import Outcome
from lab.judging.proof_comparison import ProofReason
from lab.judging.relays import RelayVerdict

VERSION = 3
ALERT_LENGTH = 2
CLIENT = "client"
"""The control that is alice herself."""


@dataclass(frozen=True)
class CapturedCertificate:
    """The certificate that the verdicts are about."""

    subject: str
    sha256: str
    tls: str
    source: str


@dataclass(frozen=True)
class Control:
    """A login that must succeed, or the verdicts of its gateway mean nothing."""

    gateway: str
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
        octets = len(self.hex) // 2
        if self.name.startswith("alert") and octets == ALERT_LENGTH:
            return f"{self.name} ({int(self.hex[2:], 16)})"
        return f"{self.name} ({octets} byte{'s' if octets > 1 else ''})"


@dataclass(frozen=True)
class Evidence:
    """What an attempt sent and what came back. `attempt` is the number of its event, `attacker#12`.

    `reason` is the gateway's own; `ms` is the time from connecting to the outcome. `alert_seen_by` is `attacker`, or
    `gateway` for an alert that was encrypted with keys that the attacker does not have and that the gateway's report
    names. `clause` is what requires the refusal, or what lets the move in. `proof` is there if a proof was sent and
    decided the outcome: it was refused as not valid, or the gateway let the client in whether it is or not.
    `proof_seen` is what a gateway that let the client in reports of it. `header` is the certificate in the requests'
    Client-Cert header, in DER and hex, empty if there was none. The move was tried `attempts` times;
    `deviations` counts those whose outcome was not the expected one, and the evidence is that of the first such
    attempt. `unusual` counts refusals by another alert or answer than the RFCs have: the server is safe, and does not
    conform. `transfer` says what became of the order to move money, empty if there was none. `note` says what an
    attempt was made of, if that is not what it seems. `whose` says whose key made the proof and whose name was taken,
    where the gateway let the client in and checks a proof, but not that it belongs to the name. `began` is what crossed
    the wire in the login in which the session began that was offered, under another name of the server. `events` are
    the numbers of the events on which all of this rests.
    """

    attempt: str

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
    proof_seen: str
    header: str
    attempts: int
    deviations: int
    unusual: int
    transfer: str
    note: str
    events: tuple[str, ...]
    whose: str = ""
    began: tuple[Sent, ...] = ()

    def by(self, sender: str) -> tuple[Sent, ...]:
        """The messages of one side."""
        return tuple(message for message in self.messages if message.sender == sender)


@dataclass(frozen=True)
class Verdict:
    """What a gateway did with a move that was made of what a leak yielded. `gateway` is `scheme@implementation`."""

    leak: str
    gateway: str
    scheme: str
    implementation: str
    tls: str
    move: str
    expected: Outcome
    outcome: Outcome
    evidence: Evidence

    @property
    def as_expected(self) -> bool:
        """Every attempt's outcome is the expected one."""
        return not self.evidence.deviations

    @property
    def conforms(self) -> bool:
        """Every refusal came with an alert or answer that the RFCs have for it."""
        return not self.evidence.unusual


@dataclass(frozen=True)
class Judgement:
    """A run's outcome.

    `errors` say what is missing: if a control or an attempt is, there are no verdicts. A gateway, move, version or leak
    that this version does not know is an error too, beside the verdicts on the others.
    """

    run: str
    capture: CapturedCertificate
    controls: tuple[Control, ...]
    verdicts: tuple[Verdict, ...]
    errors: tuple[str, ...] = ()
    relays: tuple[RelayVerdict, ...] = ()
    """The proofs that were relayed while they were fresh, if that was tried."""
    contradictions: tuple[str, ...] = ()
    """Where the attacker, the gateways and the bank's ledger disagree, or one of them with itself."""
    lab: str = ""
    """Whose run it is: the compose project, or the folder with an embedded lab's runs; empty in earlier runs."""
    student: str = ""
    """Whose run it is, if a student is named."""
    events: Mapping[str, int] = field(default_factory=dict)
    """How many events of each part it rests on."""

    @property
    def as_expected(self) -> bool:
        moves = bool(self.verdicts) and all(verdict.as_expected for verdict in self.verdicts)
        told = not (self.errors or self.contradictions)
        return told and moves and all(relay.as_expected for relay in self.relays)

    def as_dict(self) -> dict[str, Any]:
        """The content of verdicts.json."""
        fields: dict[str, Any] = {"version": VERSION, **dataclasses.asdict(self), "as_expected": self.as_expected}
        for name in ("errors", "relays", "contradictions", "student", "events"):
            if not fields[name]:
                del fields[name]
        return fields

    def to_json(self) -> str:
        """verdicts.json."""
        return json.dumps(self.as_dict(), indent=2) + "\n"
