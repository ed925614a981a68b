"""What a run still lacks for its verdicts, on runs made by hand."""

import pytest

from handmade import ATTACKER, CLIENT, LISTENING, NAME, SEEN, SERVER, STARTED, TRIED, run_of, with_fields
from lab.catalogue.gateways import find_gateway
from lab.catalogue.leaks import LEAKS
from lab.catalogue.outcomes import INCONCLUSIVE, REFUSED
from lab.events.types import ClientRefused, CodeLoaded, Event, LoginFailed, ProofRelayed, Trouble
from lab.judging.verdicts import JudgedRun
from lab.tls.messages import Certificate, CertificateVerify, serialize
from lab.tls.versions import TLS12
from made_up import certificate_of

STUDENTS = CodeLoaded("client", "client", "client.py", "ab" * 32)
TURNED_DOWN = LoginFailed("mtls@openssl by way of mallory", "https://localhost:1", "1.2", "away")
CONTROLS = (
    "control client at mtls@instrument, TLS 1.2: alice did not log in",
    "control stolen-key at mtls@instrument, TLS 1.2: not run",
)
SHOWN = serialize(Certificate((certificate_of("alice"),))).hex()
PROOF = serialize(CertificateVerify(0x0403, b"made by nobody")).hex()
RELAYED = ProofRelayed(
    *(CLIENT, "127.0.0.1:9000", ATTACKER, SERVER, "1.2", "ECDHE", "alice", "ab" * 32, False, (SHOWN,), (SHOWN,), PROOF),
    *(REFUSED, 51, "server", None, None, 0, None, 1.0, NAME),
)
REFUSAL = ClientRefused(LISTENING.gateway, ATTACKER, "1.2", "the proof does not fit", 51, NAME)


def missing(leak: str, *events: Event) -> list[str]:
    """What a run of one leak and one gateway lacks besides the controls."""
    told = JudgedRun(run_of(with_fields(STARTED, leaks=(leak,)), LISTENING, *events)).missing
    assert [one for one in told if one in CONTROLS] == list(CONTROLS)
    return [one for one in told if one not in CONTROLS]


def obtained(leak: str) -> Event:
    return with_fields(SEEN, leak=leak)


@pytest.mark.parametrize("leak", ["interception", "live-relay"])
def test_a_students_client_that_shows_nothing_must_have_met_mallory(leak: str) -> None:
    never = f"client.py never met mallory in the server's place, through the leak {leak}"
    assert missing(leak, STUDENTS) == [never]
    assert missing(leak, STUDENTS, TURNED_DOWN) == []
    assert missing(leak, STUDENTS, obtained(leak)) == [
        f"omit-proof at mtls@instrument, TLS 1.2, leak {leak}: not tried"
    ]


def test_the_labs_own_client_must_have_shown_a_certificate_and_relayed_a_proof() -> None:
    nothing = "no client certificate was obtained through the leak live-relay"
    no_relay = "relay to mtls@instrument, TLS 1.2: no proof was relayed"
    assert missing("live-relay") == [nothing, no_relay]
    assert missing("live-relay", RELAYED, REFUSAL) == [nothing]


def test_a_leak_that_yielded_nothing_says_what_went_wrong_there() -> None:
    nothing = "no client certificate was obtained through the leak"
    trouble = Trouble("mitmproxy did not start")
    away = LoginFailed("shop", "https://shop.example", "1.2", "no answer")
    refused = LoginFailed(LISTENING.gateway, "https://bank.example", "1.2", "not now")
    assert missing("log", trouble) == [f"{nothing} log"]
    assert missing("interception", away) == [f"{nothing} interception"]
    assert missing("interception", trouble) == [f"{nothing} interception: mitmproxy did not start"]
    told = JudgedRun(run_of(with_fields(STARTED, leaks=("rogue-server",)), LISTENING, refused, away)).missing
    assert told[0] == f"{nothing} rogue-server: https://shop.example: no answer"


def test_nothing_is_missing_where_a_leak_has_no_certificate_for_a_gateway() -> None:
    (database,) = [leak for leak in LEAKS if leak.id == "database"]
    gateway = find_gateway("mtls@instrument")
    assert gateway
    assert gateway.scheme.trusts not in database.certificates
    assert JudgedRun(run_of(STARTED, LISTENING)).missing_at(database, gateway, TLS12) == []


@pytest.mark.parametrize(
    ("came_back", "told"),
    [
        ({"status": 500, "body": ""}, "HTTP 500"),
        ({"status": None, "body": None, "error": "no answer within 10 s"}, "no answer within 10 s"),
        ({"status": None, "body": None, "alert": 40, "alert_by": "server"}, "alert handshake_failure (40)"),
    ],
)
def test_a_control_that_failed_says_what_came_back(came_back: dict[str, object], told: str) -> None:
    control = with_fields(TRIED, leak="", seen_at="", move="stolen-key", outcome=INCONCLUSIVE, **came_back)
    found = JudgedRun(run_of(STARTED, LISTENING, control)).missing
    assert f"control stolen-key at mtls@instrument, TLS 1.2: the real key did not get in: {told}" in found


def test_relays_are_judged_once_nothing_is_missing() -> None:
    judged = JudgedRun(run_of(with_fields(STARTED, leaks=("live-relay",)), LISTENING, RELAYED))
    assert len(judged.relayed_proofs) == 1
    assert judged.missing
    assert judged.judgement.relays == ()
