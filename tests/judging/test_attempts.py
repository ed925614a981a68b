"""Attempts and connections, each joined with what the gateways and alice say of it. By hand-made events."""

from dataclasses import replace
from datetime import timedelta

import pytest

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
    TRIED,
    run_of,
    with_fields,
)
from lab.catalogue.gateways import find_gateway
from lab.catalogue.moves import STOLEN_KEY, STOLEN_PASSWORD
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED
from lab.events.types import ClientRefused, Event, GatewayListening, HandshakeSeen, LoginDecrypted, MoveTried
from lab.judging.attempts import Attempts, Tried
from lab.judging.connections import ClientConnection, ConnectionIndex
from lab.judging.facts import listening_gateways
from lab.judging.gateway_reports import GatewayReports
from lab.tls.versions import TLS12, TLS13

MTLS, PASSWORD = find_gateway("mtls@openssl"), find_gateway("password@openssl")
HERE = replace(LISTENING, gateway="mtls@openssl")
THERE = GatewayListening("password@openssl", "127.0.0.1", 9008, ("1.2",))
REFUSAL = ClientRefused("mtls@openssl", ATTACKER, "1.2", "the proof does not fit", 51, OTHER_NAME)
CUT_OFF = with_fields(TRIED, outcome=INCONCLUSIVE, milliseconds=900.0)


def attempts(*events: Event) -> Attempts:
    run = run_of(HERE, THERE, *events)
    return Attempts(run, GatewayReports(run))


def only(*events: Event) -> Tried:
    (found,) = attempts(*events).all
    return found


def test_an_attempt_is_known_by_its_gateway_and_its_version() -> None:
    found = only(TRIED, with_fields(TRIED, server="127.0.0.1:1"), with_fields(TRIED, tls="9.9"), LOGIN)
    assert (found.number, found.event, found.gateway, found.version) == ("lab#3", TRIED, MTLS, TLS12)
    assert (found.reports, found.report, found.outcome, found.accepted) == ((), None, ACCEPTED, True)


def test_the_gateways_report_decides_what_the_attacker_could_not_read() -> None:
    other = replace(REFUSAL, reason="another")
    found = only(REFUSAL, other, replace(REFUSAL, connection=NAME), CUT_OFF)
    assert [one.event for one in found.reports] == [REFUSAL, other]
    assert (found.report, found.outcome, found.accepted) == (REFUSAL, REFUSED, False)
    assert (only(CUT_OFF).outcome, only(CUT_OFF).accepted) == (INCONCLUSIVE, False)


@pytest.mark.parametrize(("earlier_ms", "is_its"), [(0, True), (904, True), (906, False)])
def test_a_report_without_a_name_is_no_earlier_than_its_attempt(earlier_ms: int, is_its: bool) -> None:
    """But for what two clocks may differ by."""
    unnamed = with_fields(CUT_OFF, connection="", milliseconds=900.0)
    run = run_of(HERE, replace(REFUSAL, connection=""), unnamed)
    run.events[1] = replace(run.events[1], time=run.events[2].time - timedelta(milliseconds=earlier_ms))
    (found,) = Attempts(run, GatewayReports(run)).all
    assert bool(found.reports) == is_its


@pytest.mark.parametrize(
    ("fields", "has_reports"),
    [
        ({}, False),
        ({"steps": (("client", "ClientHello", "01"),)}, True),
        ({"outcome": REFUSED}, True),
        ({"move": "omit-proof"}, True),
        ({"move": "from-the-future"}, True),
    ],
    ids=str,
)
def test_where_no_session_began_elsewhere_no_connection_followed_here(
    fields: dict[str, object], has_reports: bool
) -> None:
    tried = with_fields(TRIED, **{"move": "other-door", "outcome": NOT_APPLICABLE} | fields)
    assert bool(only(REFUSAL, tried).reports) == has_reports


def test_attempts_as_alice_are_found_by_leak_gateway_version_and_move() -> None:
    again, control = with_fields(TRIED, round=2), with_fields(TRIED, leak="", move=STOLEN_KEY)
    password = with_fields(TRIED, leak="", move=STOLEN_PASSWORD, server="127.0.0.1:9008")
    others = (
        *(with_fields(TRIED, leak="log"), with_fields(TRIED, tls="1.3"), with_fields(TRIED, customer="bob")),
        *(with_fields(TRIED, move="replay-proof"), with_fields(TRIED, server="127.0.0.1:9008")),
        *(with_fields(control, leak="archive"), with_fields(control, customer="bob")),
    )
    found = attempts(TRIED, again, control, password, *others)
    assert MTLS
    assert PASSWORD
    assert events(found.at("wire", MTLS, TLS12, "omit-proof")) == [TRIED, again]
    assert found.at("wire", MTLS, TLS12, "look-alike") == []
    assert events(found.controls(MTLS, TLS12)) == [control]
    assert events(found.controls(PASSWORD, TLS12)) == [password]
    assert found.controls(MTLS, TLS13) == []
    assert len(found.all) == 4 + len(others)


def events(found: list[Tried]) -> list[MoveTried]:
    return [one.event for one in found]


# Connections that the attacker saw.

HELLO_SEEN = HandshakeSeen(CLIENT, SERVER, "1.3", "", "aa", NAME, (), (), True)
READ = LoginDecrypted(CLIENT, SERVER, "1.3", NAME, ())
AT = replace(REPORT, gateway="mtls@openssl")
HERS = replace(LOGIN, gateway="mtls@openssl")


def connection(*said: Event, seen: Event = HELLO_SEEN) -> ClientConnection:
    run = run_of(HERE, *said)
    assert isinstance(seen, HandshakeSeen | type(SEEN))
    return ConnectionIndex(run, listening_gateways(run), GatewayReports(run)).of(seen)


def test_a_connection_is_joined_with_all_that_is_said_of_it_by_its_name() -> None:
    other = [replace(one, connection=OTHER_NAME) for one in (AT, HERS, READ)]
    assert connection(*other, AT, HERS, READ) == ClientConnection(MTLS, AT, HERS, READ)
    again = replace(AT, subject="CN=bob"), replace(HERS, balance=1), replace(READ, tls="1.2")
    assert connection(AT, HERS, READ, *again) == ClientConnection(MTLS, AT, HERS, READ)
    assert connection(*other) == ClientConnection(MTLS, None, None, None)
    assert connection(*other, seen=with_fields(SEEN, server_random=NAME)).gateway == MTLS


def test_a_connections_gateway_is_the_one_that_reports_it_or_alices_or_that_at_the_port() -> None:
    moved = replace(AT, gateway="password@openssl"), replace(HERS, gateway="password@openssl")
    assert connection(moved[0], HERS).gateway == PASSWORD
    assert connection(moved[1]).gateway == PASSWORD
    assert connection(replace(HERS, gateway="shop")).gateway == MTLS
    assert connection(seen=replace(HELLO_SEEN, server="127.0.0.1:1")).gateway is None


def test_a_connection_without_a_name_has_the_first_login_at_its_port() -> None:
    """In older runs, which name no connections."""
    unnamed, nameless = replace(HERS, connection=""), replace(HELLO_SEEN, server_random="")
    elsewhere = replace(unnamed, url="https://127.0.0.1:1")
    of = (replace(AT, connection=""), replace(READ, connection=""))
    found = connection(*of, elsewhere, unnamed, replace(unnamed, balance=1), HERS, seen=nameless)
    assert found == ClientConnection(MTLS, None, unnamed, None)
