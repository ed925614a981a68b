"""What attacker and lab say of captures, held against small captures of real handshakes."""

import ssl
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

import wirecraft
from attacker.leak.wire import seen_of, sighting_of
from handmade import LOGIN, NAME, SEEN, STARTED, run_of, with_fields
from lab.capture.decrypt import PROTECTED, decrypted_handshakes, decrypted_logins
from lab.capture.key_forms import WORDS
from lab.capture.reader import read_file
from lab.capture.search import find_in_capture
from lab.catalogue.cast import ATTACKER, CAREFUL_CLIENT, CARELESS_CLIENT, INTERCEPTOR, VICTIM_CLIENT
from lab.events.parts import CAPTURE_FILE, INTERCEPTION_FILE, KEY_LOG_FILE, RECENT_FILES
from lab.events.run import Run
from lab.events.types import (
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    Event,
    FileSearched,
    HandshakeDecrypted,
    HandshakeSeen,
    LoggedIn,
    LoginDecrypted,
    RunStarted,
    Trouble,
)
from lab.judging.recomputed import unlike_the_files
from lab.judging.searches import search_for_hashes
from lab.staging import pki
from lab.tls.messages import serialize

SERVER = "10.9.0.4:8443"
IN_12, IN_13, RESUMED, LATER = (f"10.9.0.2:{port}" for port in (50001, 50002, 50003, 50004))
"""Alice's addresses: she logs in over TLS 1.2, over TLS 1.3, in a session of the first login, and over TLS 1.3 once the
capture has been searched."""
Change = Callable[[Any], Event | None]


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory, authority: pki.Identity) -> Run:
    """A run of few events whose files are real. The interceptor's capture has the first two handshakes."""
    folder = tmp_path_factory.mktemp("run")
    for part in (ATTACKER, VICTIM_CLIENT, CARELESS_CLIENT, CAREFUL_CLIENT, INTERCEPTOR):
        (folder / part).mkdir()
    capture, key_log = folder / ATTACKER / CAPTURE_FILE, folder / VICTIM_CLIENT / KEY_LOG_FILE
    old, new = (wirecraft.parties(authority, version=one) for one in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
    for who in (old, new):
        who.client.keylog_filename = str(key_log)
    first, session = wirecraft.handshake(old)
    connections = (first, wirecraft.handshake(new)[0], wirecraft.handshake(old, session=session)[0])
    flights = zip((*connections, wirecraft.handshake(new)[0]), (50001, 50002, 50003, 50004), strict=True)
    segments = [wirecraft.alice_to_bank(flight, client=("10.9.0.2", port)) for flight, port in flights]
    before = wirecraft.write(capture, list(chain(*segments[:3]))).read_bytes()
    wirecraft.write(capture, list(chain(*segments)))
    wirecraft.write(folder / ATTACKER / INTERCEPTION_FILE, list(chain(*segments[:2])))

    reading = read_file(capture)
    (own,) = reading.captures
    sighting, (seen, *_) = sighting_of(own), (one for one in reading.contacts if one.client == IN_13)
    captured = with_fields(
        SEEN,
        client=own.client,
        server=own.server,
        sha256=sha256(own.chain[0]).hexdigest(),
        record=sighting.record.hex(),
        message=sighting.message.hex(),
        proof=serialize(own.certificate_verify).hex() if own.certificate_verify else None,
        transcript=tuple(raw.hex() for raw in sighting.transcript),
        client_random=sighting.client_random.hex(),
        server_random=sighting.server_random.hex(),
        note=own.note,
        session=(own.ticket or own.session_id).hex(),
    )
    names = {one.client: (one.server_random or b"").hex() for one in reading.contacts}
    names[own.client] = captured.server_random
    found = find_in_capture(capture, {"certificate": own.chain[0]}, len(before))
    searched = CaptureSearched(
        connections=found.connections,
        octets=found.octets,
        gaps=found.gaps,
        cut=found.cut,
        alone=found.alone,
        certificate_at=tuple(f"{hit.place}, byte {hit.offset}" for hit in found.hits),
        key_forms=("key 1, as it is", "key 1, reversed", "key 2, as it is", "key 2, reversed"),
        key_at=(),
        keys=2,
        key_in_bundle=("key 1, as it is",),
        file_octets=len(before),
        file_sha256=sha256(before).hexdigest(),
    )
    issued = BundleIssued(captured.subject, captured.issuer, captured.sha256, "", "", ())
    logins = [with_fields(LOGIN, connection=names[client]) for client in (IN_12, IN_13, RESUMED)]
    told: list[Event] = [STARTED, issued, captured, seen_of(seen), *logins, searched]
    return run_of(
        *told,
        *decrypted_logins(capture, key_log, len(before)),
        search_for_hashes(capture, run_of(STARTED, issued, captured), len(before)),
        *decrypted_handshakes(folder / ATTACKER / INTERCEPTION_FILE, {VICTIM_CLIENT: key_log}),
        folder=folder,
    )


def changed(heard: Run, **changes: Change) -> Run:
    """The run with the events of some types changed or left out; the types by their names."""
    run = Run(heard.folders.path)
    for one in heard.events:
        change = changes.get(type(one.event).__name__)
        if event := change(one.event) if change else one.event:
            run.events.append(replace(one, event=event))
    return run


def fields(**values: object) -> Change:
    return lambda event: with_fields(event, **values)


def without(client: str) -> Change:
    return lambda event: None if event.client == client else event


def unlike(run: Run) -> str:
    return "\n".join(unlike_the_files(run))


def test_a_run_is_like_its_files(heard: Run) -> None:
    assert unlike(heard) == ""
    assert {type(one.event) for one in heard.events} == {
        *(RunStarted, BundleIssued, CertificateCaptured, HandshakeSeen, LoggedIn, CaptureSearched),
        *(LoginDecrypted, FileSearched, HandshakeDecrypted),
    }


def test_a_run_without_a_digest_of_its_capture_is_not_held_against_it(heard: Run) -> None:
    run = changed(heard, CaptureSearched=fields(file_sha256="", octets=1), HandshakeSeen=fields(asked=True))
    assert unlike(run) == ""
    earlier = changed(heard, CaptureSearched=fields(octets=1), HandshakeDecrypted=fields(tls="1.1"))
    earlier.events = [replace(one, version=2) for one in earlier.events]
    assert unlike(earlier) == ""
    assert unlike(changed(heard, CaptureSearched=lambda event: None, HandshakeDecrypted=fields(tls="1.1"))) == ""


FIELDS: tuple[tuple[str, str, object], ...] = (
    ("CertificateCaptured", "tls", "1.3"),
    ("CertificateCaptured", "record", "1603030001"),
    ("CertificateCaptured", "message", "0b"),
    ("CertificateCaptured", "proof", None),
    ("CertificateCaptured", "proof", "0f"),
    ("CertificateCaptured", "transcript", ()),
    ("CertificateCaptured", "client_random", NAME),
    ("CertificateCaptured", "note", "nothing"),
    ("CertificateCaptured", "session", "ab"),
    ("HandshakeSeen", "tls", "1.2"),
    ("HandshakeSeen", "server_name", "elsewhere"),
    ("HandshakeSeen", "client_random", NAME),
    ("HandshakeSeen", "client_records", ()),
    ("HandshakeSeen", "server_records", ()),
    ("HandshakeSeen", "asked", True),
    ("HandshakeSeen", "session", "ab"),
    ("CaptureSearched", "connections", 9),
    ("CaptureSearched", "octets", 9),
    ("CaptureSearched", "gaps", 9),
    ("CaptureSearched", "cut", 9),
    ("CaptureSearched", "alone", 9),
    ("CaptureSearched", "certificate_at", ()),
    *(("FileSearched", name, ()) for name in ("sought", "control_at")),
    *(("FileSearched", name, ("ab",)) for name in ("found_at",)),
    *(("FileSearched", name, "ab") for name in ("leak", "file", "control")),
)


@pytest.mark.parametrize(("kind", "name", "value"), FIELDS)
def test_each_field_is_as_the_capture_has_it(heard: Run, kind: str, name: str, value: object) -> None:
    number = next(one.number for one in heard.events if type(one.event).__name__ == kind)
    why = f"capture.pcapng does not show what {number} tells: its {name.replace('_', ' ')}"
    assert why in unlike(changed(heard, **{kind: fields(**{name: value})}))


def test_a_session_is_told_of_the_first_capture_alone(heard: Run) -> None:
    assert unlike(changed(heard, CertificateCaptured=fields(session=""))) == ""


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("CertificateCaptured", {"client": IN_13}),
        ("CertificateCaptured", {"server": "10.9.0.4:8444"}),
        ("CertificateCaptured", {"server_random": NAME}),
        ("HandshakeSeen", {"client": IN_12}),
        ("HandshakeSeen", {"server": "10.9.0.4:8444"}),
        ("HandshakeSeen", {"server_random": NAME}),
    ],
)
def test_a_handshake_that_the_attacker_tells_of_is_in_the_capture(
    heard: Run, kind: str, change: dict[str, object]
) -> None:
    """What leaked in another way is not. Once she goes on in other files, only what she saw before the search is."""
    number = next(one.number for one in heard.events if type(one.event).__name__ == kind)
    why = f"capture.pcapng has no such handshake as {number} tells of"
    run = changed(heard, **{kind: fields(**change)})
    late = changed(heard, **{kind: fields(**change)})
    late.events = [replace(one, time=late.events[-1].time) if one.number == number else one for one in late.events]
    assert why in unlike(run)
    assert why in unlike(late)
    recent = heard.folders.part(ATTACKER) / RECENT_FILES[1]
    recent.touch()
    try:
        assert why in unlike(run)
        assert why not in unlike(late)
    finally:
        recent.unlink()
    if kind == "CertificateCaptured":
        assert why not in unlike(changed(heard, CertificateCaptured=fields(leak="rogue-server", **change)))


def test_a_capture_that_lacks_packets_is_not_asked_for_handshakes(heard: Run) -> None:
    run = changed(heard, HandshakeSeen=fields(asked=True))
    full = Trouble("capture.pcapng: is full; nothing more is written to it")
    run.events.append(replace(run.events[0], event=full))
    assert unlike(run) == ""
    run.events[-1] = replace(run.events[0], event=Trouble("the server was away"))
    assert "its asked" in unlike(run)


NOT_TOLD = "and the attacker does not tell of it"


@pytest.mark.parametrize(
    ("kind", "client", "what"),
    [
        ("CertificateCaptured", IN_12, f"a certificate that {IN_12} sent"),
        ("HandshakeSeen", IN_13, f"a handshake with {SERVER} in TLS 1.3"),
    ],
)
def test_the_attacker_tells_of_each_login_before_the_search(heard: Run, kind: str, client: str, what: str) -> None:
    """Of the first of its kind at a server; a session of an earlier login is none."""
    seen = next(one.event for one in heard.events if type(one.event).__name__ == kind)
    assert isinstance(seen, CertificateCaptured | HandshakeSeen)
    name = seen.server_random
    why = f"capture.pcapng has {what}, {NOT_TOLD}"
    untold = changed(heard, **{kind: lambda event: None})
    assert unlike(untold).splitlines()[0] == why
    assert unlike(untold).count(NOT_TOLD) == 1
    late = [
        replace(one, time=untold.events[-1].time) if getattr(one.event, "connection", "") == name else one
        for one in untold.events
    ]
    untold.events = [one for one in late if not isinstance(one.event, FileSearched)]
    assert NOT_TOLD not in unlike(untold)
    nameless = changed(heard, **{kind: lambda event: None}, LoggedIn=fields(connection=""), FileSearched=lambda e: None)
    assert NOT_TOLD not in unlike(nameless)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("HandshakeSeen", {"server": "10.9.0.4:8444"}),
        ("HandshakeSeen", {"tls": "1.2"}),
        ("HandshakeSeen", {"session": "ab"}),
        ("CertificateCaptured", {"server": "10.9.0.4:8444"}),
        ("CertificateCaptured", {"tls": "1.3"}),
        ("CertificateCaptured", {"sha256": "ab" * 32}),
        ("CertificateCaptured", {"leak": "rogue-server"}),
    ],
)
def test_another_handshake_does_not_stand_for_it(heard: Run, kind: str, changes: dict[str, object]) -> None:
    assert NOT_TOLD in unlike(changed(heard, **{kind: fields(**changes)}))


FORMS = "lab#8: the forms are not the same for each of 2 keys"
UNSOUGHT = "lab#8: it found a form that it did not look for: "


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ""),
        ({"key_forms": ("key 1, as it is", "key 2, as it is")}, ""),
        ({"key_forms": ("key 1, as it is", "key 2, as it is", "key 3, as it is")}, FORMS),
        ({"key_forms": ("key 1, as it is", "key 1, reversed", "key 2, as it is")}, FORMS),
        ({"keys": 1}, FORMS.replace("2", "1")),
        ({"key_in_bundle": None}, ""),
        ({"key_in_bundle": ("key 1, in hex",)}, f"{UNSOUGHT}key 1, in hex"),
        ({"key_at": ("key 1, as it is: the file itself, byte 7",)}, ""),
        ({"key_at": ("key 1, in hex: the file itself, byte 7",)}, f"{UNSOUGHT}key 1, in hex"),
        ({"key_in_bundle": ("key 2, x", "key 1, x")}, f"{UNSOUGHT}key 1, x"),
        (
            {"key_at": (f"{WORDS}: the file itself, byte 7",), "key_forms": (WORDS,), "keys": 1, "key_in_bundle": ()},
            f"lab#8: {WORDS} are not in capture.pcapng, and it says otherwise",
        ),
    ],
)
def test_the_search_for_keys_is_the_same_for_each_key(heard: Run, changes: dict[str, object], found: str) -> None:
    """The keys themselves are gone, so it cannot be repeated but for the words around them."""
    assert unlike(changed(heard, CaptureSearched=fields(**changes))) == found


def test_the_words_around_a_key_are_looked_for_again(heard: Run, tmp_path: Path) -> None:
    (tmp_path / ATTACKER).mkdir()
    capture = tmp_path / ATTACKER / CAPTURE_FILE
    capture.write_bytes(wirecraft.pcap([b"-----BEGIN PRIVATE KEY-----"]))
    size = capture.stat().st_size
    searched = CaptureSearched(0, 0, 0, 0, 1, (), (), (), 0, (), size, "ab" * 32)
    assert unlike(run_of(searched, folder=tmp_path)) == (f"lab#1: {WORDS} are in capture.pcapng, and it says otherwise")
    at = with_fields(searched, key_forms=(WORDS,), key_at=(f"{WORDS}: the file itself, byte 7",), keys=1)
    assert unlike(run_of(at, folder=tmp_path)) == ""


def test_a_certificate_that_nobody_captured_is_not_looked_for_again(heard: Run) -> None:
    run = changed(heard, BundleIssued=fields(sha256="ab" * 32), CaptureSearched=fields(certificate_at=("anywhere",)))
    assert unlike(run) == ""
    assert unlike(changed(heard, BundleIssued=lambda event: None)) == ""


def test_a_capture_that_is_gone_cannot_be_read_again(heard: Run, tmp_path: Path) -> None:
    run = run_of(*(one.event for one in heard.events), folder=tmp_path)
    assert "capture.pcapng cannot be read again: " in unlike(run)
    assert "interception.pcapng cannot be read again: " in unlike(run)


def readings(heard: Run) -> dict[str, LoginDecrypted]:
    """All of alice's handshakes as they read today, by her address."""
    folders = heard.folders
    read = decrypted_logins(folders.capture, folders.part(VICTIM_CLIENT) / KEY_LOG_FILE)
    return {one.client: one for one in read}


def with_reading(heard: Run, told: LoginDecrypted) -> str:
    """What is said if the lab also tells this of a handshake, or this instead of what it tells of it."""
    run = changed(heard, LoginDecrypted=without(told.client))
    run.events.append(replace(run.events[-1], event=told))
    return unlike(run)


@pytest.mark.parametrize("client", [IN_12, IN_13, RESUMED])
def test_the_lab_tells_of_each_handshake_before_the_search(heard: Run, client: str) -> None:
    due = f"capture.pcapng has a handshake of {client} with {SERVER}, and the lab does not tell of it"
    assert unlike(changed(heard, LoginDecrypted=without(client))) == due
    part = with_fields(readings(heard)[client], messages=readings(heard)[client].messages[:-1])
    assert "does not show the handshake that" in with_reading(heard, part)
    assert due in with_reading(heard, part)


def test_the_lab_tells_of_a_handshake_once(heard: Run) -> None:
    run = changed(heard)
    run.events.append(next(one for one in run.events if isinstance(one.event, LoginDecrypted)))
    assert "does not show the handshake that" in unlike(run)


def protected(messages: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((one[0], PROTECTED, *one[2:]) for one in messages)


def test_of_a_handshake_after_the_search_the_lab_may_tell_a_part(heard: Run) -> None:
    """It reads a file that grows. Its last records can be such as it had no keys for yet."""
    whole = readings(heard)[LATER]
    messages = whole.messages
    cut = "does not show the handshake that"
    for told, found in (
        (whole, False),
        (with_fields(whole, messages=messages[:3]), False),
        (with_fields(whole, messages=()), False),
        (with_fields(whole, messages=messages[:3], connection=""), False),
        (with_fields(whole, messages=(*messages[:3], *protected(messages[3:5]))), False),
        (with_fields(whole, messages=protected(messages[3:5])), False),
        (with_fields(whole, messages=messages[:3], connection=NAME), True),
        (with_fields(whole, messages=messages[:3], server="10.9.0.4:8444"), True),
        (with_fields(whole, messages=messages[1:3]), True),
        (with_fields(whole, messages=(*protected(messages[:1]), *messages[1:3])), True),
    ):
        assert (cut in with_reading(heard, told)) == found, told


def test_a_capture_that_grows_may_end_within_a_packet(heard: Run, tmp_path: Path) -> None:
    run = run_of(*(one.event for one in heard.events), folder=Path(copytree(heard.folders.path, tmp_path / "run")))
    capture = run.folders.capture
    with capture.open("ab") as file:
        file.truncate(capture.stat().st_size - 1)
    assert unlike(run) == ""


def test_a_handshake_of_tls13_may_have_been_read_before_its_keys_came(heard: Run) -> None:
    """In a class the copy of the key log may be older than that of the capture."""
    whole = readings(heard)[IN_13]
    plain = [one for one in whole.messages if not one[3]]
    hidden = protected(tuple(one for one in whole.messages if one[3]))
    cut, due = "does not show the handshake that", "and the lab does not tell of it"
    unread = with_fields(whole, messages=(*plain, *hidden))
    assert with_reading(heard, unread) == ""
    assert cut in with_reading(heard, with_fields(unread, tls="1.2"))
    assert cut in with_reading(heard, with_fields(unread, messages=tuple(plain)))
    assert cut in with_reading(heard, with_fields(unread, messages=unread.messages[1:]))
    in_12 = readings(heard)[IN_12]
    plain = [one for one in in_12.messages if not one[3]]
    hidden = protected(tuple(one for one in in_12.messages if one[3]))
    found = with_reading(heard, with_fields(in_12, messages=(*plain, *hidden)))
    assert cut in found
    assert due in found


def test_the_interceptors_handshakes_are_those_of_its_capture(heard: Run) -> None:
    read = [one for one in heard.events if isinstance(one.event, HandshakeDecrypted)]
    other = "interception.pcapng read with the victims' key logs has no such handshake as "
    assert len(read) == 2
    assert unlike(changed(heard, HandshakeDecrypted=without(IN_12))) == (
        "interception.pcapng has 2 handshakes, and the lab tells of 1"
    )
    assert unlike(changed(heard, HandshakeDecrypted=fields(tls="1.1"))) == "\n".join(
        f"{other}{one.number} tells of" for one in read
    )
    assert unlike(changed(heard, HandshakeDecrypted=lambda event: None)) == ""
    assert unlike(changed(heard, RunStarted=lambda event: None, HandshakeDecrypted=fields(tls="1.1"))) == ""


def test_in_a_class_the_interceptor_has_its_own_folder(heard: Run, tmp_path: Path) -> None:
    """And the careful client its own key log."""
    run = run_of(*(one.event for one in changed(heard, RunStarted=fields(mode="classroom")).events), folder=tmp_path)
    for part in (ATTACKER, INTERCEPTOR, VICTIM_CLIENT, CAREFUL_CLIENT):
        (tmp_path / part).mkdir()
    for mine, part, name in (
        (ATTACKER, ATTACKER, CAPTURE_FILE),
        (VICTIM_CLIENT, VICTIM_CLIENT, KEY_LOG_FILE),
        (INTERCEPTOR, ATTACKER, INTERCEPTION_FILE),
        (CAREFUL_CLIENT, VICTIM_CLIENT, KEY_LOG_FILE),
    ):
        (tmp_path / mine / name).write_bytes((heard.folders.part(part) / name).read_bytes())
    assert "no such handshake" in unlike(run)  # they are told to be read with the keys of the client of a demo
    theirs = {CAREFUL_CLIENT: tmp_path / CAREFUL_CLIENT / KEY_LOG_FILE}
    read = decrypted_handshakes(tmp_path / INTERCEPTOR / INTERCEPTION_FILE, theirs)
    run.events = [one for one in run.events if not isinstance(one.event, HandshakeDecrypted)]
    run.events += [replace(run.events[-1], event=one) for one in read]
    assert unlike(run) == ""
