"""A run with a student's client: what it must prevent, and what is said where it did not."""

import pytest

from handmade import SEEN, run_of, with_fields
from lab.catalogue.leaks import LEAKS
from lab.events.types import CodeLoaded, Event, LoginFailed
from lab.judging.student_client import careless, met_mallory, students_client, yields_nothing

LOADED = CodeLoaded("client", "client", "client.py", "ab" * 32)
OTHER_FILE = CodeLoaded("move", "half-proof", "move.py", "ab" * 32)
INTERCEPTED, RELAYED = (with_fields(SEEN, leak=leak) for leak in ("interception", "live-relay"))


def test_a_students_client_prevents_what_an_impostor_gets() -> None:
    run = run_of(OTHER_FILE, LOADED)
    assert students_client(run) == "client.py"
    assert {leak.id for leak in LEAKS if yields_nothing(run, leak)} == {"interception", "live-relay"}


def test_the_labs_own_client_prevents_nothing() -> None:
    run = run_of(OTHER_FILE, INTERCEPTED)
    assert students_client(run) == ""
    assert not any(yields_nothing(run, leak) for leak in LEAKS)
    assert list(careless(run)) == []


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ((), []),
        ((SEEN,), []),
        ((INTERCEPTED,), ["interception, in TLS 1.2"]),
        (
            (with_fields(INTERCEPTED, tls="1.3"), INTERCEPTED, INTERCEPTED, RELAYED),
            ["interception, in TLS 1.2 and TLS 1.3", "live-relay, in TLS 1.2"],
        ),
    ],
)
def test_a_careless_client_is_told_of(events: tuple[Event, ...], found: list[str]) -> None:
    """What is read off the wire was shown to the right server."""
    shown = "client.py showed alice's certificate to mallory through the leak "
    assert list(careless(run_of(LOADED, *events))) == [shown + one for one in found]


@pytest.mark.parametrize(("gateway", "met"), [("mtls@openssl by way of mallory", True), ("mtls@openssl", False)])
def test_a_client_has_met_mallory_where_it_turned_her_down(gateway: str, met: bool) -> None:
    failed = LoginFailed("mtls@openssl", "https://localhost:1", "1.2", "away")
    assert met_mallory(run_of(LOADED, failed, with_fields(failed, gateway=gateway))) == met
    assert not met_mallory(run_of(LOADED))
