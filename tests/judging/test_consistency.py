"""Rules that one event keeps beside the others, each on a few events made by hand."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from handmade import (
    ATTACKER,
    CLIENT,
    LISTENING,
    LOGIN,
    NAME,
    OTHER_NAME,
    REPORT,
    SEEN,
    SERVER,
    STARTED,
    TRIED,
    run_of,
    with_fields,
)
from lab.catalogue.outcomes import INCONCLUSIVE, REFUSED
from lab.events.types import CLASSROOM, Event, HandshakeSeen, LeakSought, LoginDecrypted, PositionTaken, WentOn
from lab.judging.consistency import inconsistent
from lab.tls.server import ProofSeen
from made_up import KEY

CLASS = with_fields(STARTED, mode=CLASSROOM)
OPENSSL = with_fields(LISTENING, gateway="mtls@openssl", port=8442)
RESUMES = with_fields(LISTENING, gateway="resumed-elsewhere@instrument")
EARLIER = with_fields(REPORT, peer=ATTACKER, connection=OTHER_NAME)
"""A report on the attempt's connection."""
UNTOLD = "a gateway authenticated a client on a connection that no client tells of"
UNREPORTED = "mtls@instrument does not tell of this login"
REACHED = "mtls@instrument was reached at 127.0.0.9, and not at 127.0.0.1"
NOT_SERVED = "mtls@instrument does not serve these versions: "
MADE_TWICE = "round 1 of this attempt was made 2 times"
CONTROL = with_fields(TRIED, leak="", seen_at="", move="stolen-key")
TRIED_ONCE = "a control is tried once, with what the lab has"
FOREIGN = with_fields(TRIED, move="foreign-key")
KEY_INFO = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()
NONE_OF_THIS_MOVE = "the key that it says made the proof is none of this move"


def wrong(*events: Event) -> list[str]:
    """What is wrong with these events, without their numbers."""
    return [why.partition(": ")[2] for why in inconsistent(run_of(*events))]


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ((STARTED, LISTENING, REPORT, LOGIN), []),
        ((STARTED, LISTENING, EARLIER, REPORT, LOGIN), [UNTOLD]),
        ((STARTED, LISTENING, REPORT, LOGIN, EARLIER), []),
        ((STARTED, LISTENING, EARLIER), []),
        ((STARTED, LISTENING, OPENSSL, with_fields(EARLIER, gateway="mtls@openssl"), REPORT, LOGIN), []),
        ((STARTED, LISTENING, SEEN, EARLIER, TRIED, REPORT, LOGIN), []),
        ((STARTED, LISTENING, EARLIER, WentOn(SERVER, ATTACKER, "1.3", ""), REPORT, LOGIN), []),
        ((STARTED, LISTENING, EARLIER, WentOn(SERVER, "127.0.0.1:9", "1.3", ""), REPORT, LOGIN), [UNTOLD]),
        ((CLASS, LISTENING, EARLIER, REPORT, LOGIN), []),
        ((LISTENING, EARLIER, REPORT, LOGIN), []),
    ],
)
def test_a_client_tells_of_each_report_before_the_last_login_there(events: tuple[Event, ...], found: list[str]) -> None:
    """In a class each part's log is copied at its own time."""
    assert wrong(*events) == found


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ((STARTED, LISTENING, LOGIN), [UNREPORTED]),
        ((STARTED, LISTENING, REPORT, LOGIN), []),
        ((STARTED, LISTENING, LOGIN, SEEN, EARLIER, TRIED), [UNREPORTED]),
        ((STARTED, LISTENING, SEEN, EARLIER, TRIED, LOGIN), [UNREPORTED]),
        ((CLASS, LISTENING, LOGIN), [UNREPORTED]),
        ((CLASS, LISTENING, LOGIN, EARLIER), [UNREPORTED]),
        ((CLASS, LISTENING, EARLIER, LOGIN), []),
        ((LISTENING, EARLIER, LOGIN), []),
        ((LISTENING, LOGIN, EARLIER), [UNREPORTED]),
    ],
)
def test_a_gateway_tells_of_each_login(events: tuple[Event, ...], found: list[str]) -> None:
    """In a class of each before its last report, and of one at least."""
    assert wrong(*events) == found


@pytest.mark.parametrize(
    ("versions", "tried", "found"),
    [
        (("1.2",), "1.2", []),
        (("1.2", "1.3"), "1.2", []),
        (("1.2",), "", []),
        (("1.3",), "1.2", [f"{NOT_SERVED}1.3"]),
        (("1.2", "1.2"), "1.2", [f"{NOT_SERVED}1.2, 1.2"]),
        (("1.1", "1.2"), "1.2", [f"{NOT_SERVED}1.1, 1.2"]),
    ],
)
def test_a_gateway_serves_what_it_can_and_what_was_tried(
    versions: tuple[str, ...], tried: str, found: list[str]
) -> None:
    assert wrong(STARTED, with_fields(LISTENING, versions=versions), SEEN, with_fields(TRIED, tls=tried)) == found


def test_what_was_tried_at_another_gateway_says_nothing_of_this_ones_versions() -> None:
    there = with_fields(TRIED, server="127.0.0.1:8442")
    assert wrong(STARTED, with_fields(LISTENING, versions=("1.3",)), SEEN, OPENSSL, there) == []


@pytest.mark.parametrize(
    ("host", "server", "found"),
    [
        ("127.0.0.1", "127.0.0.9:8441", [REACHED]),
        ("127.0.0.1", "127.0.0.9:8442", []),
        ("127.0.0.9", "127.0.0.9:8441", []),
        ("0.0.0.0", "127.0.0.9:8441", []),
    ],
)
def test_a_gateway_listens_where_it_was_reached(host: str, server: str, found: list[str]) -> None:
    listening = with_fields(OPENSSL, host="127.0.0.9")
    assert (
        wrong(STARTED, with_fields(LISTENING, host=host), listening, SEEN, with_fields(TRIED, server=server)) == found
    )


@pytest.mark.parametrize(
    ("listening", "proof", "fits"),
    [
        (LISTENING, ProofSeen.VALID, True),
        (LISTENING, ProofSeen.NONE, False),
        (RESUMES, ProofSeen.VALID, True),
        (RESUMES, ProofSeen.NONE, True),
        (RESUMES, ProofSeen.INVALID, False),
        (OPENSSL, ProofSeen.NONE, True),
    ],
)
def test_a_gateway_lets_nobody_in_with_a_proof_that_it_refuses(listening: Any, proof: str, fits: bool) -> None:
    """A session that began elsewhere needs no new proof; only the instrument tells what it measured."""
    name = listening.gateway
    found = wrong(STARTED, listening, with_fields(REPORT, gateway=name, proof=proof), with_fields(LOGIN, gateway=name))
    assert found == ([] if fits else [f"{name} cannot have let a client in with this proof: {proof}"])


@pytest.mark.parametrize(
    ("tls", "senders", "resumed", "found"),
    [
        ("1.3", ("server", "client"), False, []),
        ("1.3", (), True, []),
        ("1.3", (), False, ["the login was not resumed, and the capture shows the contrary"]),
        ("1.3", ("server",), False, ["the login was not resumed, and the capture shows the contrary"]),
        ("1.3", ("server",), True, []),
        ("1.3", ("server", "client"), True, ["the login was resumed, and the capture shows the contrary"]),
        ("1.2", (), False, []),
    ],
)
def test_a_login_was_resumed_if_the_capture_shows_no_certificate_of_hers(
    tls: str, senders: tuple[str, ...], resumed: bool, found: list[str]
) -> None:
    """In TLS 1.2 the capture does not tell."""
    proof = ProofSeen.NONE if "client" not in senders else "received, checked by OpenSSL"
    names = (("client", "ChangeCipherSpec"), ("client", "Finished"), *((one, "Certificate") for one in senders))
    names += (("client", "CertificateVerify"),) if "client" in senders else ()
    read = LoginDecrypted(CLIENT, "127.0.0.1:8442", tls, NAME, tuple((*name, 4, True, 1.0) for name in names))
    report = with_fields(REPORT, gateway="mtls@openssl", tls=tls, proof=proof)
    login = with_fields(LOGIN, gateway="mtls@openssl", url="https://127.0.0.1:8442", tls=tls, resumed=resumed)
    assert wrong(STARTED, OPENSSL, report, login, read) == found


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ((TRIED,), []),
        ((TRIED, TRIED), [MADE_TWICE, MADE_TWICE]),
        ((TRIED, with_fields(TRIED, round=2)), []),
        ((CONTROL,), []),
        ((with_fields(CONTROL, round=2),), [TRIED_ONCE]),
        ((with_fields(CONTROL, seen_at=SERVER),), [TRIED_ONCE]),
        ((FOREIGN,), []),
        ((with_fields(FOREIGN, signed_by=KEY_INFO),), []),
        ((with_fields(FOREIGN, signed_by="ab"),), [NONE_OF_THIS_MOVE]),
        ((with_fields(TRIED, signed_by=KEY_INFO),), [NONE_OF_THIS_MOVE]),
        ((with_fields(TRIED, move="a move of tomorrow", signed_by=KEY_INFO),), [NONE_OF_THIS_MOVE]),
    ],
)
def test_an_attempt_is_made_once_a_round_and_with_a_key_of_its_move(
    events: tuple[Event, ...], found: list[str]
) -> None:
    assert wrong(STARTED, LISTENING, SEEN, *events) == found


def test_an_attempt_that_was_neither_accepted_nor_refused_says_why() -> None:
    refused = {"outcome": REFUSED, "status": 401, "body": ""}
    away = {"outcome": INCONCLUSIVE, "status": None, "body": None, "error": "the server was away"}
    assert wrong(STARTED, LISTENING, SEEN, with_fields(TRIED, **refused), with_fields(TRIED, round=2, **away)) == []
    assert wrong(STARTED, LISTENING, SEEN, with_fields(TRIED, **refused, error="the server was away")) == [
        "the attempt was refused, and it says why it was neither accepted nor refused: the server was away"
    ]


RELAYED = "127.0.0.1:7001"
RELAY = PositionTaken("relay", (f"{RELAYED} -> {SERVER}", "127.0.0.1:7002 -> 127.0.0.1:8442"))
THERE = with_fields(SEEN, server=RELAYED, server_random=NAME)
HIDDEN = HandshakeSeen(CLIENT, RELAYED, "1.3", "", "", NAME, (), (), asked=False)
AT_OPENSSL = with_fields(REPORT, gateway="mtls@openssl")
OTHERWISE = f"what was sent to {RELAYED} went to mtls@instrument, and the gateways tell otherwise"
NOWHERE = "what was sent to 127.0.0.1:7003 went to nowhere, and the gateways tell otherwise"


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ((THERE, HIDDEN, REPORT), []),
        ((THERE, HIDDEN), []),
        ((THERE, AT_OPENSSL), [OTHERWISE]),
        ((HIDDEN, AT_OPENSSL), [OTHERWISE]),
        ((with_fields(THERE, server="127.0.0.1:7002"), AT_OPENSSL), []),
        ((with_fields(THERE, server="127.0.0.1:7003"),), [NOWHERE]),
        ((with_fields(HIDDEN, server="127.0.0.1:7003"),), [NOWHERE]),
        ((LeakSought("rogue-server"), with_fields(THERE, leak="rogue-server", server="127.0.0.1:7003")), []),
    ],
)
def test_the_relay_leads_where_the_gateways_tell_of_it(events: tuple[Event, ...], found: list[str]) -> None:
    """What leaked in another way did not pass it."""
    assert wrong(STARTED, LISTENING, OPENSSL, RELAY, *events) == found
