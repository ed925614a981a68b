"""A gateway report belongs to its own connection, even if the same port was used before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab.catalogue import outcomes
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import ClientAuthenticated, ClientRefused, Event
from lab.judging.gateway_reports import GatewayConnection, GatewayReports, decided, sentence
from lab.tls.versions import TLS12, TLS13, Version

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PEER = "127.0.0.1:40000"
MTLS = "mtls@openssl"
ALICE = ClientAuthenticated("mtls@openssl", PEER, "1.2", "CN=alice", "00", "valid")
REFUSED = ClientRefused("mtls@openssl", PEER, "1.2", "the proof does not fit", 51)
UNSETTLED = ClientRefused("mtls@openssl", PEER, "", "no version in common", 70)


def reports(*said: tuple[float, ClientAuthenticated | ClientRefused]) -> GatewayReports:
    """These reports, each at a number of seconds after noon."""
    run = Run(Path("nowhere"))
    run.events = [
        Recorded("victim-server", number, NOON + timedelta(seconds=seconds), word)
        for number, (seconds, word) in enumerate(said)
    ]
    return GatewayReports(run)


def on(
    gateway: str = MTLS, local: str = PEER, version: Version | None = TLS12, connection: str = ""
) -> GatewayConnection:
    return GatewayConnection(gateway, connection, local, version)


def events(found: tuple[Recorded, ...]) -> list[Event]:
    return [recorded.event for recorded in found]


def test_the_first_report_since_a_connection_began_is_about_it() -> None:
    said = reports((0, ALICE), (10, REFUSED))
    assert events(said.since(NOON, on())) == [ALICE]
    assert events(said.since(NOON + timedelta(seconds=1), on())) == [REFUSED]
    assert events(said.since(NOON + timedelta(seconds=11), on())) == []


def test_the_nearest_report_is_about_a_connection_that_ended_then() -> None:
    for first, second in ((ALICE, REFUSED), (REFUSED, ALICE)):
        said = reports((0, first), (10, second))
        assert events(said.nearest(NOON + timedelta(seconds=0.1), on())) == [first]
        assert events(said.nearest(NOON + timedelta(seconds=9.9), on())) == [second]


def test_a_report_is_about_one_gateway_one_peer_and_one_version() -> None:
    said = reports((0, REFUSED))
    assert not said.nearest(NOON, on("pinned-mtls@openssl"))
    assert not said.nearest(NOON, on(local="127.0.0.1:40001"))
    assert not said.nearest(NOON, on(version=TLS13))
    assert events(reports((0, UNSETTLED)).nearest(NOON, on(version=TLS13))) == [UNSETTLED]
    assert events(said.nearest(NOON, on(version=None))) == [REFUSED]


def test_a_connection_with_a_name_has_the_reports_that_name_it_and_no_others() -> None:
    named = replace(REFUSED, connection="ab")
    said = reports((0, ALICE), (1, named), (2, replace(ALICE, connection="cd")))
    for find in (said.since, said.nearest):
        assert events(find(NOON + timedelta(seconds=9), on(connection="ab"))) == [named]
        assert not find(NOON, on("pinned-mtls@openssl", connection="ab"))


def test_the_reports_on_a_connection_are_found_by_its_name_alone() -> None:
    first, second = replace(REFUSED, connection="ab"), replace(ALICE, gateway="mtls@instrument", connection="ab")
    said = reports((0, ALICE), (1, first), (2, second))
    assert events(said.named("ab")) == [first, second]
    assert said.named("cd") == ()
    assert said.named("") == ()


def test_an_alert_that_the_gateway_reports_decides_what_the_attacker_cannot_tell() -> None:
    silent = replace(REFUSED, alert=None)
    assert decided(INCONCLUSIVE, REFUSED) == outcomes.REFUSED
    for report in (silent, ALICE, None):
        assert decided(INCONCLUSIVE, report) == INCONCLUSIVE
    for outcome in (ACCEPTED, outcomes.REFUSED):
        for any_report in (REFUSED, silent, ALICE, None):
            assert decided(outcome, any_report) == outcome


def test_reports_as_sentences() -> None:
    assert sentence(REFUSED) == "the proof does not fit"
    assert sentence(ALICE) == "authenticated the client as CN=alice; proof: valid"
    assert sentence(None) == ""
