"""A recorded client: it says what was recorded, and hears what the server makes of it."""

import pytest

from attacker.moves.playback import Playback
from attacker.moves.replay import Course
from attacker.probe.answers import Ending, answer_to
from lab.tls.alerts import AlertDescription
from lab.tls.engine import Closed, EngineEvent, Failed
from lab.tls.errors import TlsError
from lab.tls.messages import ServerHello, ServerHelloDone, serialize
from lab.tls.records import ContentType, write_record
from tls_peers import our_client

HELLO = our_client().data_to_send()
FINISHED = write_record(ContentType.HANDSHAKE, b"protected")
CHANGE_CIPHER_SPEC = write_record(ContentType.CHANGE_CIPHER_SPEC, b"\x01")


def heard(*records: tuple[int, bytes]) -> tuple[list[EngineEvent], list[tuple[str, str]]]:
    playback = Playback(HELLO)
    events = playback.receive(b"".join(write_record(kind, fragment) for kind, fragment in records))
    return events, [(step.sender, step.name) for step in playback.steps if step.sender == "server"]


def test_it_says_all_that_was_recorded_and_nothing_else() -> None:
    recorded = HELLO + CHANGE_CIPHER_SPEC + FINISHED
    playback = Playback(recorded)
    assert (playback.data_to_send(), playback.data_to_send()) == (recorded, b"")
    sent = ["ClientHello", "ChangeCipherSpec", "protected record"]
    assert [(step.sender, step.name) for step in playback.steps] == [("client", name) for name in sent]
    with pytest.raises(TlsError):
        playback.send(b"more")


def test_what_follows_a_record_that_is_none_is_no_step() -> None:
    assert [step.name for step in Playback(HELLO + b"no record" + HELLO).steps] == ["ClientHello"]


def test_the_servers_messages_are_steps_until_it_protects_them() -> None:
    messages = serialize(ServerHello(bytes(32), b"", 0xC02B, ())) + serialize(ServerHelloDone())
    sealed = serialize(ServerHelloDone())
    events, steps = heard(
        (ContentType.HANDSHAKE, messages), (ContentType.CHANGE_CIPHER_SPEC, b"\x01"), (ContentType.HANDSHAKE, sealed)
    )
    assert events == []
    names = ["ServerHello", "ServerHelloDone", "ChangeCipherSpec", "protected record"]
    assert steps == [("server", name) for name in names]


def test_a_fatal_alert_ends_it() -> None:
    events, steps = heard((ContentType.ALERT, b"\x02\x14"), (ContentType.ALERT, b"\x02\x33"))
    (failed,) = events
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (AlertDescription.BAD_RECORD_MAC, "server")
    assert steps == [("server", "alert bad_record_mac")]


def test_a_warning_does_not_end_it_and_a_close_does() -> None:
    events, steps = heard((ContentType.ALERT, b"\x01\x5a"), (ContentType.ALERT, b"\x01\x00"))
    assert [type(event) for event in events] == [Closed]
    assert steps == [("server", "alert user_canceled"), ("server", "alert close_notify")]


def test_a_server_that_does_not_speak_tls_ends_it_without_an_alert() -> None:
    (failed,) = Playback(HELLO).receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (None, None)


def test_what_follows_an_alert_is_not_looked_at() -> None:
    """MariaDB says in its own protocol what was wrong, after the alert and without TLS."""
    playback = Playback(HELLO)
    alert = bytes.fromhex("15 03 03 00 02 02 33")
    (failed,) = playback.receive(alert + b"\x16\0\0\x02\xff an error of its own")
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (51, "server")
    assert playback.receive(b"and more") == []


def test_a_protected_alert_of_tls12_ends_it_with_an_alert_that_is_not_known() -> None:
    (failed,), steps = heard((ContentType.CHANGE_CIPHER_SPEC, b"\x01"), (ContentType.ALERT, bytes(26)))
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (None, "server")
    assert steps == [("server", "ChangeCipherSpec"), ("server", "protected record")]


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (HELLO, "closed without a word"),
        (write_record(ContentType.APPLICATION_DATA, bytes(19)), "closed after an encrypted record"),
    ],
)
def test_a_server_that_closes_after_a_protected_record_may_have_sent_an_alert(last: bytes, kind: str) -> None:
    """RFC 8446 section 5.2: its type is encrypted, too."""
    playback = Playback(HELLO)
    playback.receive(last)
    (failed,) = playback.give_up("the peer closed the connection without close_notify")
    assert isinstance(failed, Failed)
    answer = answer_to(Course(playback, "127.0.0.1:1", failed), None)
    assert (answer.ending, answer.kind) == (Ending.CLOSED, kind)


@pytest.mark.parametrize(
    "last", [write_record(ContentType.ALERT, b"an encrypted alert"), b"no record at all"], ids=["an alert", "no record"]
)
def test_nothing_is_heard_after_the_end_even_if_it_comes_later(last: bytes) -> None:
    playback = Playback(HELLO)
    assert len(playback.receive(last)) == 1
    known = list(playback.steps)
    assert playback.receive(write_record(ContentType.ALERT, b"\x02\x33")) == []
    assert playback.receive(b"no record either") == []
    assert playback.steps == known


def test_nothing_is_heard_after_it_was_given_up() -> None:
    playback = Playback(HELLO)
    assert playback.give_up("too long") == [Failed(None, None, "too long")]
    assert playback.receive(write_record(ContentType.ALERT, b"\x02\x33")) == []
