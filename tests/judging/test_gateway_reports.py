"""A gateway report belongs to its own connection, even if the same port was used before."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import ClientAuthenticated, ClientRefused
from lab.judging.gateway_reports import GatewayReports, sentence
from lab.tls.versions import TLS12, TLS13

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


def test_the_first_report_since_a_connection_began_is_about_it() -> None:
    said = reports((0, ALICE), (10, REFUSED))
    assert said.first_since(NOON, MTLS, PEER, TLS12) is ALICE
    assert said.first_since(NOON + timedelta(seconds=1), MTLS, PEER, TLS12) is REFUSED
    assert said.first_since(NOON + timedelta(seconds=11), MTLS, PEER, TLS12) is None


def test_the_nearest_report_is_about_a_connection_that_ended_then() -> None:
    for first, second in ((ALICE, REFUSED), (REFUSED, ALICE)):
        said = reports((0, first), (10, second))
        assert said.nearest(NOON + timedelta(seconds=0.1), MTLS, PEER, TLS12) is first
        assert said.nearest(NOON + timedelta(seconds=9.9), MTLS, PEER, TLS12) is second


def test_a_report_is_about_one_gateway_one_peer_and_one_version() -> None:
    said = reports((0, REFUSED))
    assert said.nearest(NOON, "pinned-mtls@openssl", PEER, TLS12) is None
    assert said.nearest(NOON, MTLS, "127.0.0.1:40001", TLS12) is None
    assert said.nearest(NOON, MTLS, PEER, TLS13) is None
    assert reports((0, UNSETTLED)).nearest(NOON, MTLS, PEER, TLS13) is UNSETTLED
    assert said.nearest(NOON, MTLS, PEER, None) is REFUSED


def test_reports_as_sentences() -> None:
    assert sentence(REFUSED) == "the proof does not fit"
    assert sentence(ALICE) == "authenticated the client as CN=alice; proof: valid"
    assert sentence(None) == ""
