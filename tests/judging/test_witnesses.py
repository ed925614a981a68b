"""Attacker, gateways and ledger tell the same of each attempt: what is said where they do not. By hand-made events."""

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from test_relay_reports import FULL

from handmade import (
    ATTACKER,
    CLIENT,
    LOGIN,
    NAME,
    NOON,
    OTHER_NAME,
    REPORT,
    SEEN,
    SERVER,
    STARTED,
    TRIED,
    run_of,
    with_fields,
)
from lab.catalogue.gateways import find_gateway
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED
from lab.events.log import Recorded
from lab.events.run import RefusedEvent, Run
from lab.events.types import (
    AccountOpened,
    CaptureSearched,
    ClientRefused,
    Event,
    GatewayListening,
    MoneyMoved,
    ProofRelayed,
    TransferRefused,
    Trouble,
)
from lab.judging.proof_comparison import ProofReason
from lab.judging.relays import RelayedProof
from lab.judging.verdicts import JudgedRun
from lab.judging.witnesses import contradictions, refused_events
from lab.tls.messages import Certificate, serialize
from lab.tls.proof import SCHEME_IDS, challenge12, prove_with
from lab.tls.server import ProofSeen
from made_up import KEY, certificate_of

OPEN = "certificate-only@instrument"
PLANNED = with_fields(STARTED, gateways=(OPEN, "password@openssl"))
LISTENING = GatewayListening(OPEN, "127.0.0.1", 8441, ("1.2", "1.3"))
LET_IN = with_fields(REPORT, gateway=OPEN, peer=ATTACKER, tls="1.2", proof=ProofSeen.NONE, connection=OTHER_NAME)
AS_BOB = with_fields(LET_IN, subject="CN=bob")
AS_MALLORY = with_fields(LET_IN, subject="CN=mallory")
TURNED_AWAY = ClientRefused(OPEN, ATTACKER, "1.2", "the proof does not fit", 51, OTHER_NAME)
ALERTED: dict[str, Any] = {"outcome": REFUSED, "status": None, "body": None, "alert": 51, "alert_by": "server"}
CUT_OFF: dict[str, Any] = {"outcome": INCONCLUSIVE, "status": None, "body": None, "error": "the connection ended"}
TOLD_OF_BOB = "the attacker was accepted, and the gateway log says: authenticated the client as CN=bob; proof: "
OPENED = (AccountOpened("alice", 1000), AccountOpened("mallory", 0), AccountOpened("bob", 1000))
ALICE, BOB = certificate_of("alice"), certificate_of("bob")
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
RICH = '{"customer": "alice", "balance": 1000}'
MOVED = MoneyMoved("alice", "mallory", 100, 900, OTHER_NAME)
ROBBED: dict[str, Any] = {"body": RICH, "stolen": 100, "transfer_status": 200}


def told(run: Run, relayed: Iterable[RelayedProof] = ()) -> list[str]:
    """Where the witnesses of a run disagree."""
    judged = JudgedRun(run)
    return list(contradictions(run, judged.plan, judged.attempts.all, relayed, judged.ledger))


def of_the_attempts(*events: Event) -> list[str]:
    """Where the witnesses of an attempt disagree, without its name."""
    named = (re.fullmatch(r"\S+ at \S+, TLS \S+ \(lab#\d+\): (.*)", why) for why in told(run_of(*events)))
    return [found[1] for found in named if found]


@pytest.mark.parametrize(
    ("changes", "reports", "found"),
    [
        ({}, (LET_IN,), []),
        ({}, (), []),
        ({}, (LET_IN, LET_IN), ["the gateway log has 2 reports on this one connection"]),
        ({}, (AS_BOB,), [f"{TOLD_OF_BOB}none received"]),
        ({"customer": "bob", "body": '{"customer": "bob"}'}, (AS_BOB,), []),
        (
            {},
            (TURNED_AWAY,),
            ["the attacker was accepted, and the gateway log says: the proof does not fit"],
        ),
        ({"status": 401}, (LET_IN,), ["the attacker says accepted, and what came back says refused"]),
        ({"status": 500}, (LET_IN,), ["the attempt was accepted, and what came back does not say so"]),
        ({"body": '{"customer": "bob"}'}, (LET_IN,), ["the attacker says accepted, and what came back says refused"]),
        ({"body": "[1]"}, (LET_IN,), ["the attacker says accepted, and what came back says refused"]),
        ({"body": "alice"}, (LET_IN,), ["the attacker says accepted, and what came back says refused"]),
        ({"outcome": REFUSED, "status": 403}, (AS_MALLORY,), []),
        ({"outcome": REFUSED, "body": '{"customer": "mallory"}'}, (AS_MALLORY,), []),
        (
            {"outcome": REFUSED, "status": 403},
            (LET_IN,),
            [
                "the attacker was refused, and the gateway log says: authenticated the client as CN=alice; "
                "proof: none received"
            ],
        ),
        (ALERTED, (TURNED_AWAY,), []),
        (ALERTED, (with_fields(TURNED_AWAY, alert=None),), []),
        (
            ALERTED,
            (with_fields(TURNED_AWAY, alert=50),),
            ["the attacker received alert 51, and the gateway sent 50"],
        ),
        (CUT_OFF, (TURNED_AWAY,), []),
        (CUT_OFF, (LET_IN,), []),
        (
            CUT_OFF | {"status": 403, "body": ""},
            (AS_MALLORY,),
            ["the attacker says inconclusive, and what came back says refused"],
        ),
        (CUT_OFF, (AS_BOB,), []),
        (CUT_OFF | {"alert": 51, "alert_by": "client"}, (with_fields(TURNED_AWAY, alert=50),), []),
        (
            CUT_OFF | {"alert": 51, "alert_by": "server"},
            (TURNED_AWAY,),
            ["the attacker says inconclusive, and what came back says refused"],
        ),
        (ALERTED | {"outcome": NOT_APPLICABLE}, (TURNED_AWAY,), []),
        (
            {"local": CLIENT},
            (LET_IN,),
            [f"the gateway log has TLS 1.2 with {ATTACKER}, and the attacker TLS 1.2 from {CLIENT}"],
        ),
        (
            {},
            (with_fields(LET_IN, tls="1.3"),),
            [f"the gateway log has TLS 1.3 with {ATTACKER}, and the attacker TLS 1.2 from {ATTACKER}"],
        ),
        (ALERTED, (with_fields(TURNED_AWAY, tls=""),), []),
    ],
)
def test_attacker_and_gateway_tell_the_same(
    changes: dict[str, Any], reports: tuple[Event, ...], found: list[str]
) -> None:
    """The attacker cannot always read how a connection ended, nor the gateway which version it would have had."""
    assert of_the_attempts(PLANNED, LISTENING, *reports, with_fields(TRIED, **changes)) == found


@pytest.mark.parametrize(
    ("changes", "entries", "found"),
    [
        (ROBBED, (MOVED,), []),
        (ROBBED, (), ["the attacker moved 100, and the bank's ledger has 0 for this connection"]),
        ({}, (MOVED,), ["the attacker moved 0, and the bank's ledger has 100 for this connection"]),
        (
            ROBBED,
            (with_fields(MOVED, to="bob"),),
            ["the bank's ledger has a transfer from alice to bob for it (lab#7)"],
        ),
        (
            ROBBED,
            (with_fields(MOVED, customer="bob"),),
            ["the bank's ledger has a transfer from bob to mallory for it (lab#7)"],
        ),
        (
            ROBBED | {"body": RICH.replace("1000", "999")},
            (MOVED,),
            ["the bank told a balance of 999, and its ledger had 1000 (lab#7)"],
        ),
        (
            ROBBED | {"body": RICH.replace("1000", "1001")},
            (MOVED,),
            ["the bank told a balance of 1001, and alice never had more than 1000"],
        ),
        (ROBBED, (with_fields(MOVED, balance=800),), []),
        (ROBBED | {"body": RICH.replace("1000", "true")}, (MOVED,), []),
        (ROBBED | {"body": '{"customer": "alice"}'}, (MOVED,), []),
        ({"transfer_status": 409}, (TransferRefused("alice", 409, "no", OTHER_NAME),), []),
        (
            {"transfer_status": 409},
            (),
            ["the bank answered the transfer with HTTP 409, and its ledger has no refusal"],
        ),
        (
            {"transfer_status": 409},
            (TransferRefused("alice", 403, "no", OTHER_NAME),),
            ["the bank answered the transfer with HTTP 409, and its ledger has (403,)"],
        ),
        (
            ROBBED,
            (MOVED, TransferRefused("alice", 409, "no", OTHER_NAME)),
            ["the bank answered the transfer with HTTP 200, and its ledger has (409,)"],
        ),
    ],
)
def test_attacker_and_ledger_tell_the_same(
    changes: dict[str, Any], entries: tuple[Event, ...], found: list[str]
) -> None:
    """Somebody else can have taken money between the answer and the transfer, so she can have told of more."""
    events = PLANNED, LISTENING, LET_IN, *OPENED, *entries, with_fields(TRIED, **changes)
    assert of_the_attempts(*events) == found
    without = [event for event in events if not isinstance(event, AccountOpened)]
    assert of_the_attempts(*without) == []


def test_all_money_that_went_was_taken_by_an_attempt() -> None:
    robbed = with_fields(TRIED, **ROBBED)
    whole = told(run_of(PLANNED, LISTENING, LET_IN, *OPENED, MOVED, robbed))
    assert not [why for why in whole if "ledger" in why]
    assert "the attempts moved 0, and the bank's ledger has transfers of 100" in told(run_of(PLANNED, *OPENED, MOVED))
    assert "the attempts moved 100, and the bank's ledger has transfers of 0" in told(
        run_of(PLANNED, LISTENING, robbed)
    )
    order = "the bank's ledger has an order on a connection that no attempt was made on: "
    refused = TransferRefused("alice", 409, "no", NAME)
    assert f"{order}lab#5" in told(run_of(PLANNED, *OPENED, with_fields(MOVED, connection=NAME), robbed))
    assert f"{order}lab#5, lab#6" in told(run_of(PLANNED, *OPENED, refused, refused))
    assert f"{order}one without a connection" in told(run_of(PLANNED, *OPENED, with_fields(refused, connection="")))
    assert not [why for why in told(run_of(PLANNED, refused)) if why.startswith(order)]
    assert any(
        "does not add up" in why for why in told(run_of(PLANNED, *OPENED, with_fields(MOVED, balance=5), robbed))
    )


def relayed(number: str, event: ProofRelayed, *reports: Event) -> RelayedProof:
    gateway = find_gateway(OPEN)
    assert gateway
    reason = ProofReason("", "", "", "", "", "", (), True, False, "1.2", "", True)
    recorded = tuple(Recorded("victim-server", 1, NOON, report) for report in reports)
    return RelayedProof(number, event, gateway, recorded, (), (), reason)


def test_the_witnesses_of_a_relayed_proof_tell_the_same() -> None:
    accepted: dict[str, Any] = {"outcome": ACCEPTED, "alert": None, "alert_by": None, "status": 200, "body": RICH}
    proof = replace(FULL, stolen=100, **accepted)
    events = PLANNED, LISTENING, *OPENED, MOVED, proof
    assert told(run_of(*events), [relayed("lab#7", proof, LET_IN)]) == []
    one = relayed("lab#7", proof, LET_IN)
    unsigned = replace(one, reason=replace(one.reason, fits_captured=False))
    why = "the client's proof does not fit what it is said to have signed"
    assert told(run_of(*events), [unsigned]) == [f"the proof relayed to {OPEN}, TLS 1.2 (lab#7): {why}"]
    assert told(run_of(*events), [relayed("lab#7", proof, AS_BOB)]) == [
        f"the proof relayed to {OPEN}, TLS 1.2 (lab#7): {TOLD_OF_BOB}none received"
    ]


SHOWN = serialize(Certificate((ALICE,)))
PROOF = prove_with(KEY)(challenge12(SHOWN, SCHEME_IDS))
assert PROOF
SENT = ("client", "Certificate", SHOWN.hex())
FITS = ("client", "CertificateVerify", serialize(PROOF).hex())
DOES_NOT_FIT = ("client", "CertificateVerify", serialize(replace(PROOF, signature=bytes(8))).hex())
HERS, NOT_HERS = sha256(ALICE).hexdigest(), sha256(BOB).hexdigest()
IN_HEADER = "forwarded-header@openssl"


@pytest.mark.parametrize(
    ("steps", "sha", "proof", "found"),
    [
        ((SENT,), HERS, ProofSeen.NONE, ""),
        ((SENT,), NOT_HERS, ProofSeen.NONE, f"has the certificate {NOT_HERS}, and {HERS} was sent"),
        ((SENT, FITS), HERS, ProofSeen.VALID, ""),
        ((SENT, FITS), HERS, ProofSeen.UNCHECKED, ""),
        ((SENT, FITS), HERS, ProofSeen.INVALID, f"{ProofSeen.INVALID}; but a proof that fits was sent"),
        ((SENT, FITS), HERS, ProofSeen.NONE, f"{ProofSeen.NONE}; but a proof that fits was sent"),
        ((SENT, DOES_NOT_FIT), HERS, ProofSeen.INVALID, ""),
        ((SENT, DOES_NOT_FIT), HERS, ProofSeen.UNCHECKED, ""),
        ((SENT, DOES_NOT_FIT), HERS, ProofSeen.VALID, f"{ProofSeen.VALID}; but a proof that does not fit was sent"),
        ((SENT,), HERS, ProofSeen.VALID, f"{ProofSeen.VALID}; but no proof was sent"),
        ((SENT,), HERS, ProofSeen.UNCHECKED, f"{ProofSeen.UNCHECKED}; but no proof was sent"),
    ],
    ids=map(str, range(11)),  # fingerprints differ from process to process
)
def test_a_gateway_tells_of_the_certificate_and_the_proof_that_were_sent(
    steps: tuple[tuple[str, str, str], ...], sha: str, proof: str, found: str
) -> None:
    report = with_fields(LET_IN, sha256=sha, proof=proof)
    told = "\n".join(of_the_attempts(PLANNED, LISTENING, report, with_fields(TRIED, steps=steps)))
    assert found in told
    assert bool(told) == bool(found)


@pytest.mark.parametrize(
    ("header", "sha", "steps", "found"),
    [
        (ALICE.hex(), HERS, (), ""),
        (ALICE.hex(), NOT_HERS, (), f"has the certificate {NOT_HERS}, and another was in the header"),
        (ALICE.hex(), HERS, (SENT, FITS), ""),
    ],
    ids=map(str, range(3)),
)
def test_a_gateway_that_asks_for_a_header_tells_of_that_one(
    header: str, sha: str, steps: tuple[tuple[str, str, str], ...], found: str
) -> None:
    """Whatever was sent in TLS."""
    plan = with_fields(PLANNED, gateways=(IN_HEADER,))
    report = with_fields(LET_IN, gateway=IN_HEADER, sha256=sha)
    tried = with_fields(TRIED, header=header, steps=steps)
    told = "\n".join(of_the_attempts(plan, with_fields(LISTENING, gateway=IN_HEADER), report, tried))
    assert found in told
    assert bool(told) == bool(found)


@pytest.mark.parametrize(
    ("changes", "planned"),
    [
        ({}, True),
        ({"leak": "log"}, False),
        ({"leak": "a leak of tomorrow"}, False),
        ({"move": "replay-proof"}, False),
        ({"round": 2}, False),
        ({"tls": "1.3"}, False),
        ({"customer": "bob"}, True),
        ({"customer": "bob", "move": "replay-proof"}, False),
        ({"move": "stolen-password"}, False),
        ({"move": "stolen-password", "server": "127.0.0.1:8442"}, True),
        ({"server": "127.0.0.1:8443"}, False),
        ({"leak": "", "round": 2}, True),
        ({"leak": "", "move": "stolen-key", "tls": "1.3"}, True),
    ],
)
def test_a_run_tries_what_it_set_out_to_try(changes: dict[str, Any], planned: bool) -> None:
    """And controls; and it tries at a gateway with passwords what it has of them."""
    ports = ((OPEN, 8441), ("password@openssl", 8442), ("mtls@openssl", 8443))
    listening = [with_fields(LISTENING, gateway=name, port=port) for name, port in ports]
    found = of_the_attempts(PLANNED, *listening, with_fields(TRIED, connection="", **changes))
    assert ("the run did not set out to try this" in found) != planned


def test_what_is_tried_as_another_customer_is_planned_whatever_the_moves_are() -> None:
    plan = with_fields(PLANNED, moves=("replay-proof",))
    not_planned = ["the run did not set out to try this"]
    bobs = with_fields(TRIED, customer="bob", body='{"customer": "bob"}')
    assert of_the_attempts(plan, LISTENING, bobs) == []
    assert of_the_attempts(plan, LISTENING, TRIED) == not_planned
    assert of_the_attempts(with_fields(plan, leaks=("log",)), LISTENING, bobs) == not_planned


def test_the_gateways_tell_of_the_login_in_which_a_session_began() -> None:
    """By the random of its ServerHello, at the gateway where the session was offered."""
    hello, client = (f"{kind}0000260303{random}0011223344" for kind, random in (("02", NAME), ("01", "00" * 32)))
    tried = with_fields(TRIED, elsewhere=(("client", "ClientHello", client), ("server", "ServerHello", hello)))
    began = with_fields(TURNED_AWAY, connection=NAME)
    lacking = "the gateway log does not have the login in which the session of "

    def found(*reports: Event) -> list[str]:
        return [why for why in told(run_of(PLANNED, LISTENING, *reports, tried)) if why.startswith(lacking)]

    assert found(began) == []
    assert found(TURNED_AWAY) == [f"{lacking}lab#4 began"]
    assert found(with_fields(began, gateway="mtls@openssl")) == [f"{lacking}lab#4 began"]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"subject": "CN=bob"}, False),
        ({"sha256": "00" * 32}, False),
        ({"tls": "1.2"}, False),
        ({"gateway": "a shop"}, True),
        ({"connection": OTHER_NAME, "tls": "1.2"}, True),
    ],
)
def test_customer_and_gateway_tell_the_same_of_a_login(changes: dict[str, Any], same: bool) -> None:
    found = told(run_of(PLANNED, LISTENING, REPORT, with_fields(LOGIN, **changes)))
    why = "the customer and the gateway tell of different certificates, names or versions"
    assert (f"a login at mtls@instrument (lab#4): {why}" in found) != same


def pem(certificate: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{b64encode(certificate).decode()}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a.pem": pem(ALICE)}, []),
        ({"a.pem": pem(ALICE) * 2}, []),
        ({}, [f"lab reported a certificate that is in none of its files in stolen: {sha256(ALICE).hexdigest()}"]),
        (
            {"a.pem": pem(ALICE), "b.pem": pem(BOB)},
            [f"lab/stolen/b.pem: holds a certificate that lab did not report: {sha256(BOB).hexdigest()}"],
        ),
        ({"a.pem": pem(ALICE), "b.pem": ""}, ["lab/stolen/b.pem: holds no readable certificate"]),
        ({"a.pem": pem(ALICE) + KEY_PEM}, ["lab/stolen/a.pem: holds a private key"]),
    ],
)
def test_the_files_of_a_thief_hold_the_certificates_that_she_reports(
    tmp_path: Path, files: dict[str, str], found: list[str]
) -> None:
    for name, content in files.items():
        (tmp_path / "lab" / "stolen").mkdir(parents=True, exist_ok=True)
        (tmp_path / "lab" / "stolen" / name).write_text(content)
    seen = with_fields(SEEN, sha256=sha256(ALICE).hexdigest())
    run = run_of(PLANNED, seen, folder=tmp_path)
    assert [why for why in told(run) if "stolen" in why] == found
    run.events = [replace(one, version=2) for one in run.events]
    assert not [why for why in told(run) if "stolen" in why]


def test_files_logs_and_single_events_are_witnesses_too() -> None:
    searched = CaptureSearched(1, 1, 0, 0, 0, (), (), (), file_octets=1, file_sha256="ab" * 32)
    in_a_file = with_fields(SEEN, client="", message="")
    run = run_of(PLANNED, with_fields(PLANNED, rounds=2), LISTENING, searched, in_a_file)
    del run.events[2]
    found = "\n".join(told(run))
    for why in (
        f"captured from {SERVER} (lab#5): it was in a file, which has no connection to show",
        "capture.pcapng, which was searched, cannot be read: No such file or directory",
        "lab#2: the run began twice",
        "the log of lab has a gap: event 3 is missing",
        "capture.pcapng has no such handshake as lab#5 tells of",
    ):
        assert why in found


def test_what_a_folder_may_not_hold_is_told_once_for_each_kind() -> None:
    def refused(folder: str, *numbers: int, why: str = "events in the name of another part") -> list[RefusedEvent]:
        return [RefusedEvent(folder, why, Recorded("lab", number, NOON, Trouble(""))) for number in numbers]

    run = run_of()
    run.refused = [*refused("attacker", 2, 3, 5), *refused("lab", 1, 2, 3, 4), *refused("lab", 7, why="lies")]
    assert refused_events(run) == (
        "the part attacker holds events in the name of another part; they are left out: number 2, 3, 5",
        "the part lab holds events in the name of another part; they are left out: number 1, 2, 3 and 1 more",
        "the part lab holds lies; they are left out: number 7",
    )
