"""What the claims ask of a run."""

from typing import Any

import pytest

from handmade import LISTENING, LOGIN, SHA256, STARTED, TRIED, run_of, with_fields
from lab.catalogue.outcomes import INCONCLUSIVE, NOT_APPLICABLE, REFUSED
from lab.events.types import BundleIssued, LoggedIn
from lab.judging.attempts import Tried
from lab.judging.queries import RunQueries
from lab.judging.verdicts import JudgedRun

OTHER = "127.0.0.1:8442"
ATTEMPTS: dict[str, dict[str, Any]] = {
    "as planned": {},
    "refused": {"outcome": REFUSED},
    "in TLS 1.3": {"tls": "1.3"},
    "from a log": {"leak": "log"},
    "another move": {"move": "replay-proof"},
    "at a pinning gateway": {"server": OTHER},
    "as bob": {"customer": "bob"},
    "with the key": {"move": "stolen-key"},
    "with the key as bob": {"move": "stolen-key", "customer": "bob"},
    "with the key from a log": {"move": "stolen-key", "leak": "log"},
    "with the key, pinned": {"move": "stolen-key", "server": OTHER},
    "with the password": {"move": "stolen-password"},
    "with the password as bob": {"move": "stolen-password", "customer": "bob"},
    "with the password from a log": {"move": "stolen-password", "leak": "log"},
    "nothing to try": {"outcome": NOT_APPLICABLE},
    "the server was away": {"outcome": INCONCLUSIVE},
    "a control": {"leak": "", "move": "stolen-key"},
    "a control that failed": {"leak": "", "move": "stolen-key", "outcome": REFUSED},
    "a pinned control": {"leak": "", "move": "stolen-key", "server": OTHER},
}
"""Each by what it is that no other is."""
USUAL = ("as planned", "refused", "in TLS 1.3", "from a log", "another move", "at a pinning gateway")


@pytest.fixture(scope="module")
def queries() -> RunQueries:
    tried = [with_fields(TRIED, **fields, body=name) for name, fields in ATTEMPTS.items()]
    pinned = with_fields(LISTENING, gateway="pinned-mtls@instrument", port=8442)
    issued = BundleIssued("CN=alice", "CN=ca", SHA256, "", "", ())
    there = with_fields(LOGIN, balance=5)
    return RunQueries(JudgedRun(run_of(STARTED, LISTENING, pinned, issued, LOGIN, there, *tried)))


def names(found: list[Tried]) -> list[str | None]:
    return [one.event.body for one in found]


def test_events_are_found_with_their_numbers(queries: RunQueries) -> None:
    assert queries.issued == {SHA256}
    assert [(one.number, one.event.balance) for one in queries.all(LoggedIn)] == [("lab#5", 1000), ("lab#6", 5)]
    assert [one.number for one in queries.all(LoggedIn, lambda event: event.balance < 9)] == ["lab#6"]
    assert len(queries.all(LoggedIn, part="lab")) == 2
    assert queries.all(LoggedIn, part="attacker") == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, USUAL),
        ({"customer": ""}, (*USUAL, "as bob")),
        ({"customer": "bob"}, ("as bob",)),
        ({"leak": "log"}, ("from a log",)),
        ({"scheme": "pinned-mtls"}, ("at a pinning gateway",)),
        ({"tls": "1.3"}, ("in TLS 1.3",)),
        ({"move": "replay-proof"}, ("another move",)),
        ({"move": "replay-proof", "tls": "1.3"}, ()),
    ],
)
def test_attempts_with_a_certificate_alone_are_narrowed_down(
    queries: RunQueries, wanted: dict[str, str], found: tuple[str, ...]
) -> None:
    assert names(queries.attempts(**wanted)) == list(found)


def test_attempts_with_more_than_a_certificate_are_found_apart(queries: RunQueries) -> None:
    assert names(queries.controls("mtls")) == ["a control"]
    assert names(queries.controls("pinned-mtls")) == ["a pinned control"]
    assert names(queries.with_the_key("wire", "mtls")) == ["with the key"]
    assert names(queries.with_the_key("log", "mtls")) == ["with the key from a log"]
    assert names(queries.with_the_key("wire", "pinned-mtls")) == ["with the key, pinned"]
    assert names(queries.with_the_password("wire")) == ["with the password"]
    assert names(queries.with_the_password("log")) == ["with the password from a log"]
