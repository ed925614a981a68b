"""What mallory tells of one connection of alice's: a line of JSON."""

import json
from dataclasses import asdict, dataclass, field
from typing import TypeAlias

from lab.tls.alerts import Alert
from lab.tls.engine import Failed

Pair: TypeAlias = tuple[str, str]
"""A value on alice's side and the same on the bank's, in hex."""


@dataclass
class ConnectionReport:
    """One connection of alice's to mallory, and mallory's to the bank.

    `shared` are values of the handshake in both sides' form, by their names in the RFC. `request` is the path that
    mallory asked the bank for, empty if she did not get so far. `renegotiated` are the messages of the renegotiated
    handshake that she passed on, as far as she could read them, and `proof` is its CertificateVerify, in hex.
    `replaced` tells whether she took an extension out of alice's hello, and wrote both Finished messages herself.
    `passed_on` says that both sides of the renegotiation changed their keys. `alert` and `alert_by` are an alert and
    who sent it; `ended` says what was wrong.
    """

    resumed: bool = False
    shared: dict[str, Pair] = field(default_factory=dict)
    replaced: bool = False
    request: str = ""
    renegotiated: list[str] = field(default_factory=list)
    proof: str = ""
    passed_on: bool = False
    alert: str = ""
    alert_by: str = ""
    ended: str = ""

    def fail(self, failed: Failed) -> None:
        """Takes over how a connection failed."""
        self.alert = "" if failed.alert is None else Alert(2, failed.alert).name
        self.alert_by, self.ended = failed.sent_by or "", failed.reason

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "ConnectionReport":
        """Reads it back."""
        fields = json.loads(line)
        return cls(**{**fields, "shared": {name: (one, other) for name, (one, other) in fields["shared"].items()}})
