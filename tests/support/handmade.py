"""Runs and outcomes made by hand: a few events, with no folder behind them, and a verdict."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import (
    EMBEDDED,
    CertificateCaptured,
    ClientAuthenticated,
    Event,
    GatewayListening,
    LoggedIn,
    MoveTried,
    RunStarted,
)
from lab.judging.judgement import CapturedCertificate, Evidence, Judgement, Sent, Verdict
from lab.judging.relays import RelayVerdict
from lab.tls.server import ProofSeen

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PORT = 8441
SERVER = f"127.0.0.1:{PORT}"
CLIENT, ATTACKER = "127.0.0.1:40001", "127.0.0.1:40002"
NAME, OTHER_NAME = "ab" * 32, "cd" * 32
"""Of connections."""
SHA256 = "ef" * 32
STARTED = RunStarted(EMBEDDED, "a run", ("mtls@instrument",), ("omit-proof",), ("1.2",), "p256", 1, ("wire",))
LISTENING = GatewayListening("mtls@instrument", "127.0.0.1", PORT, ("1.2", "1.3"))
REPORT = ClientAuthenticated("mtls@instrument", CLIENT, "1.3", "CN=alice", SHA256, ProofSeen.VALID, NAME)
LOGIN = LoggedIn("mtls@instrument", f"https://{SERVER}", "CN=alice", SHA256, "1.3", 1000, NAME)
SEEN = CertificateCaptured(
    *("wire", CLIENT, SERVER, "1.2", "CN=alice", "CN=ca", SHA256, "1603030100", "0b00", None, ()),
    *("ab" * 32, OTHER_NAME, "", ""),
)
TRIED = MoveTried(
    *("wire", "alice", SERVER, ATTACKER, SERVER, "omit-proof", "1.2", 1, ACCEPTED, (), None, None),
    *(200, '{"customer": "alice"}', 0, None, 1.0, OTHER_NAME),
)

SENT = (Sent("client", "ClientHello", "01"), Sent("server", "ServerHello", "0202"), Sent("client", "Finished", "14"))
EVIDENCE = Evidence("attacker#1", None, None, None, "", 1.0, 0, SENT, "", (), (), None, "", "", 1, 0, 0, "", "", ())
VERDICT = Verdict("wire", "mtls@openssl", "mtls", "openssl", "1.2", "omit-proof", REFUSED, REFUSED, EVIDENCE)
RELAY = RelayVerdict(
    *("attacker#2", "mtls@openssl", "mtls", "openssl", "1.2", "ECDHE"),
    same_keys=False,
    expected=REFUSED,
    outcome=REFUSED,
    alert=51,
    reason="",
    differing=(),
    takes=(),
    as_expected=True,
)
JUDGEMENT = Judgement("a run", CapturedCertificate("CN=alice", "ab", "1.2", ""), (), (VERDICT,))

E = TypeVar("E", bound=Event)


def with_fields(event: E, **fields: object) -> E:
    """The event with other fields."""
    return dataclasses.replace(event, **fields)  # type: ignore[arg-type]


def run_of(*events: Event, folder: Path = Path("nowhere")) -> Run:
    """A run of these events, each a second after the one before."""
    run = Run(folder)
    run.events = [Recorded("lab", at, NOON + timedelta(seconds=at), event) for at, event in enumerate(events, 1)]
    return run
