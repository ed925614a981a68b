"""A gateway's word belongs to its own connection, also where the port was another's before."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab.catalogue.schemes import find_scheme
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import ClientAuthenticated, ClientRefused
from lab.judging.gateway_reports import Words, in_words

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PEER = "127.0.0.1:40000"
MTLS = find_scheme("mtls")
ALICE = ClientAuthenticated("mtls", PEER, "1.2", "CN=alice", "00", "valid")
REFUSED = ClientRefused("mtls", PEER, "1.2", "the proof does not fit", 51)
UNSETTLED = ClientRefused("mtls", PEER, "", "no version in common", 70)


def words(*said: tuple[float, ClientAuthenticated | ClientRefused]) -> Words:
    """What was said so many seconds after noon."""
    run = Run(Path("nowhere"))
    run.events = [
        Recorded("victim-server", number, NOON + timedelta(seconds=seconds), word)
        for number, (seconds, word) in enumerate(said)
    ]
    return Words(run)


def test_the_first_word_since_a_connection_began_is_about_it() -> None:
    said = words((0, ALICE), (10, REFUSED))
    assert said.first_since(NOON, MTLS, PEER, "1.2") is ALICE
    assert said.first_since(NOON + timedelta(seconds=1), MTLS, PEER, "1.2") is REFUSED
    assert said.first_since(NOON + timedelta(seconds=11), MTLS, PEER, "1.2") is None


def test_the_nearest_word_is_about_a_connection_that_ended_then() -> None:
    for first, second in ((ALICE, REFUSED), (REFUSED, ALICE)):
        said = words((0, first), (10, second))
        assert said.nearest(NOON + timedelta(seconds=0.1), MTLS, PEER, "1.2") is first
        assert said.nearest(NOON + timedelta(seconds=9.9), MTLS, PEER, "1.2") is second


def test_a_word_is_about_one_gateway_one_peer_and_one_version() -> None:
    said = words((0, REFUSED))
    assert said.nearest(NOON, find_scheme("pinned-mtls"), PEER, "1.2") is None
    assert said.nearest(NOON, MTLS, "127.0.0.1:40001", "1.2") is None
    assert said.nearest(NOON, MTLS, PEER, "1.3") is None
    assert words((0, UNSETTLED)).nearest(NOON, MTLS, PEER, "1.3") is UNSETTLED


def test_words_as_sentences() -> None:
    assert in_words(REFUSED) == "the proof does not fit"
    assert in_words(ALICE) == "took the client for CN=alice; proof: valid"
    assert in_words(None) == ""
