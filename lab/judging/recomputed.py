"""What attacker and lab say of the captures, held against the capture files and the key logs themselves."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

from lab.capture.decrypt import PROTECTED, decrypted_handshakes, decrypted_logins
from lab.capture.errors import CaptureFileError
from lab.capture.handshake import Capture, Contact, described
from lab.capture.key_forms import WORDS
from lab.capture.pcap import MAX_FILE
from lab.capture.reader import read_file
from lab.capture.search import find_in_capture
from lab.catalogue.cast import ATTACKER, CAREFUL_CLIENT, CARELESS_CLIENT, INTERCEPTOR, VICTIM_CLIENT
from lab.catalogue.leaks import WIRE
from lab.catalogue.moves import find_move
from lab.catalogue.searches import TRANSCRIPT_HASHES
from lab.events.log import Recorded
from lab.events.parts import CAPTURE_FILE, INTERCEPTION_FILE, KEY_LOG_FILE, RECENT_FILES
from lab.events.run import Run
from lab.events.types import (
    EMBEDDED,
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    Event,
    FileSearched,
    HandshakeDecrypted,
    HandshakeSeen,
    LoggedIn,
    LoginDecrypted,
    MoveTried,
    PositionTaken,
    RunStarted,
    Trouble,
)
from lab.judging.attempts import NAMES_CONNECTIONS
from lab.judging.consistency import ARROW, RELAY
from lab.judging.facts import captured_certificates
from lab.judging.searches import search_for_hashes
from lab.tls.errors import Abort
from lab.tls.messages import serialize
from lab.tls.records import RecordReader
from lab.tls.versions import TLS13, version_name

CERTIFICATE, THE_WORDS = "certificate", b"PRIVATE KEY-----"


def unlike_the_files(run: Run) -> Iterator[str]:
    """Where an event says something else than the files, a sentence each. Earlier runs kept no digest of the file that
    was searched, and no such thing is asked of them."""
    searched = next((one for one in run.events if isinstance(one.event, CaptureSearched)), None)
    if searched is None or searched.version < NAMES_CONNECTIONS:
        return
    if isinstance(searched.event, CaptureSearched) and searched.event.file_sha256:
        try:
            yield from _sightings(run, searched)
            yield from _search(run, searched)
            yield from _readings(run, searched.event.file_octets)
            yield from _hashes(run, searched.event.file_octets)
        except (OSError, CaptureFileError) as error:
            yield f"{CAPTURE_FILE} cannot be read again: {error}"
    yield from _intercepted(run)


def _sightings(run: Run, searched: Recorded) -> Iterator[str]:
    """What the attacker reported of the handshakes on the wire: the first of each kind at each server, and all kinds
    that were over before the search. Once a capture is complete, the attacker goes on in other files."""
    if any(CAPTURE_FILE in trouble.what for trouble in run.all(Trouble)):
        return  # it does not hold everything: it was full, or the disk was
    goes_on = any((run.folders.part(ATTACKER) / name).exists() for name in RECENT_FILES)
    read = read_file(run.folders.capture)
    captures = {(one.client, one.server, _hex(one.server_random)): one for one in read.captures}
    contacts = {(one.client, one.server, _hex(one.server_random)): one for one in read.contacts}
    for recorded in run.events:
        event = recorded.event
        if isinstance(event, CertificateCaptured) and event.leak == WIRE.id:
            capture = captures.get((event.client, event.server, event.server_random))
            shown = _of_capture(capture, event) if capture else None
        elif isinstance(event, HandshakeSeen):
            contact = contacts.get((event.client, event.server, event.server_random))
            shown = _of_contact(contact) if contact else None
        else:
            continue
        if shown is None:
            if goes_on and recorded.time > searched.time:
                continue
            yield f"{CAPTURE_FILE} has no such handshake as {recorded.number} tells of"
        else:
            yield from _different(recorded, shown, CAPTURE_FILE)
    yield from _recordings(run, [*read.captures, *read.contacts], goes_on)
    told = {(one.server, one.tls, bool(one.session)) for one in run.all(HandshakeSeen)}
    taken = {(one.server, one.tls, one.sha256) for one in run.all(CertificateCaptured) if one.leak == WIRE.id}
    over = {
        one.event.connection
        for one in run.events
        if isinstance(one.event, LoggedIn) and one.event.connection and one.time < searched.time
    }
    for one in read.contacts:
        met = one.server, _of_contact(one)["tls"], one.offered is not None
        if _hex(one.server_random) in over and not one.resumed and met not in told:
            what = f"a handshake with {one.server} in TLS {met[1]}"
            yield f"{CAPTURE_FILE} has {what}, and the attacker does not tell of it"
    for own in read.captures:
        sent = own.server, version_name(own.version), sha256(own.chain[0]).hexdigest()
        if _hex(own.server_random) in over and sent not in taken:
            yield f"{CAPTURE_FILE} has a certificate that {own.client} sent, and the attacker does not tell of it"


def _recordings(run: Run, read: Iterable[Capture | Contact], goes_on: bool) -> Iterator[str]:
    """Whether an attempt that sends a recording again sends all that a client sent to this very server."""
    lines = (line.split(ARROW) for taken in run.all(PositionTaken) if taken.kind == RELAY for line in taken.detail)
    ways = {line[0]: line[-1] for line in lines}
    sent: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    for one in read:
        sent[_hex(one.client_random)].append((ways.get(one.server, one.server), _content(one.client_bytes)))
    for recorded in run.events:
        event = recorded.event
        move = find_move(event.move) if isinstance(event, MoveTried) else None
        if not (isinstance(event, MoveTried) and move and move.shape.recorded and event.steps):
            continue
        again = bytes.fromhex("".join(raw for sender, _, raw in event.steps if sender == "client"))
        known = sent.get(again[6:38].hex(), [])
        if not known and not goes_on:
            yield f"{CAPTURE_FILE} does not have the connection that {recorded.number} sends again"
        elif known and (event.server, again) not in known:
            yield f"{CAPTURE_FILE} does not have what {recorded.number} sends again, sent to this server"


def _content(records: bytes) -> bytes:
    """What is in the records, up to the first bytes that are none."""
    found = b""
    with suppress(Abort):
        for record in RecordReader().feed(records):
            found += record.fragment
    return found


def _of_capture(capture: Capture, event: CertificateCaptured) -> Mapping[str, object]:
    """The fields that the wire shows. A session is told of the first capture at a server alone."""
    proof = capture.certificate_verify
    session = capture.ticket or capture.session_id
    return {
        "tls": version_name(capture.version),
        "record": capture.record_header.hex(),
        "message": capture.certificate_message.hex(),
        "proof": serialize(proof).hex() if proof else None,
        "transcript": tuple(entry.raw.hex() for entry in capture.transcript),
        "client_random": _hex(capture.client_random),
        "note": capture.note,
        "session": session.hex() if event.session else "",
    }


def _of_contact(contact: Contact) -> Mapping[str, object]:
    return {
        "tls": version_name(contact.version or 0),
        "server_name": contact.server_name or "",
        "client_random": _hex(contact.client_random),
        "client_records": tuple(described(contact.client_records)),
        "server_records": tuple(described(contact.server_records)),
        "asked": contact.asked,
        "session": contact.offered.identity.hex() if contact.offered else "",
    }


def _search(run: Run, recorded: Recorded) -> Iterator[str]:
    """What the lab's search says, as far as it can be repeated without the keys: a run keeps none."""
    told = recorded.event
    assert isinstance(told, CaptureSearched)
    first = run.first(BundleIssued)
    der = captured_certificates(run).get(first.sha256 if first else "")
    needles = {WORDS: THE_WORDS, **({CERTIFICATE: der} if der else {})}
    found = find_in_capture(run.folders.capture, needles, told.file_octets or MAX_FILE)
    places = [(hit.needle, f"{hit.place}, byte {hit.offset}") for hit in found.hits]
    certificates = tuple(place for needle, place in places if needle == CERTIFICATE)
    again = {
        "connections": found.connections,
        "octets": found.octets,
        "gaps": found.gaps,
        "cut": found.cut,
        "alone": found.alone,
        "certificate_at": certificates if der else told.certificate_at,
    }
    yield from _different(recorded, again, CAPTURE_FILE)
    words = any(needle == WORDS for needle, _ in places)
    if words != any(WORDS in place for place in told.key_at):
        yield f"{recorded.number}: {WORDS} are {'' if words else 'not '}in {CAPTURE_FILE}, and it says otherwise"
    forms: dict[str, list[str]] = {}
    for name in told.key_forms:
        key, _, form = name.partition(", ")
        forms.setdefault(key, []).append(form)
    if len(forms) != told.keys or len(set(map(tuple, forms.values()))) > 1:
        yield f"{recorded.number}: the forms are not the same for each of {told.keys} keys"
    named = [*(told.key_in_bundle or ()), *(place.partition(": ")[0] for place in told.key_at)]
    if strange := sorted(set(named) - set(told.key_forms)):
        yield f"{recorded.number}: it found a form that it did not look for: {strange[0]}"


def _readings(run: Run, searched: int) -> Iterator[str]:
    """What the lab read of alice's handshakes with her session keys, after the search.

    What ended before the search was read whole, or without its keys: in a class the copy of the key log may be older
    than that of the capture. Of a later handshake the lab may have read a part.
    """
    key_log = run.folders.part(VICTIM_CLIENT) / KEY_LOG_FILE
    capture = run.folders.capture
    now = then = decrypted_logins(capture, key_log, searched)
    if capture.stat().st_size > searched:
        now = decrypted_logins(capture, key_log, growing=True)
    due = [login for login in then if login in now]
    for recorded in run.events:
        told = recorded.event
        if not isinstance(told, LoginDecrypted):
            continue
        parts = (one for one in now if (one not in then and _is_part(told, one)) or _is_unread(told, one))
        login = told if told in due else next(parts, None)
        if login is None:
            what = f"{CAPTURE_FILE} read with {VICTIM_CLIENT}/{KEY_LOG_FILE}"
            yield f"{what} does not show the handshake that {recorded.number} tells of"
        elif login in due:
            due.remove(login)
    for missing in due:
        ends = f"{missing.client} with {missing.server}"
        yield f"{CAPTURE_FILE} has a handshake of {ends}, and the lab does not tell of it"


def _is_part(told: LoginDecrypted, login: LoginDecrypted) -> bool:
    """Whether it is the beginning of a handshake, but for last records that could not be read yet."""
    read = list(told.messages)
    while read and read[-1][1] == PROTECTED:
        read.pop()
    ends = told.client, told.server
    return (
        ends == (login.client, login.server)
        and told.connection in ("", login.connection)
        and tuple(read) == login.messages[: len(read)]
    )


def _is_unread(told: LoginDecrypted, login: LoginDecrypted) -> bool:
    """Whether it is that handshake of TLS 1.3 as it reads without keys."""
    plain = tuple(one for one in told.messages if one[1] != PROTECTED)
    return (
        plain != told.messages
        and replace(told, messages=plain) == replace(login, messages=tuple(one for one in login.messages if not one[3]))
        and told.tls == str(TLS13)
    )


def _hashes(run: Run, searched: int) -> Iterator[str]:
    """The search for what alice's proofs sign."""
    told = [one for one in run.events if isinstance(one.event, FileSearched) and one.event.what == TRANSCRIPT_HASHES]
    again = search_for_hashes(run.folders.capture, run, searched)
    for recorded in told:
        due = {field.name: getattr(again, field.name) for field in fields(again)}
        yield from _different(recorded, due, CAPTURE_FILE)


def _intercepted(run: Run) -> Iterator[str]:
    """What the lab read in the interceptor's capture."""
    told = [one for one in run.events if isinstance(one.event, HandshakeDecrypted)]
    started = run.first(RunStarted)
    if not told or not started:
        return
    part, careful = (ATTACKER, VICTIM_CLIENT) if started.mode == EMBEDDED else (INTERCEPTOR, CAREFUL_CLIENT)
    capture = run.folders.part(part) / INTERCEPTION_FILE
    key_logs = {client: run.folders.part(client) / KEY_LOG_FILE for client in (careful, CARELESS_CLIENT)}
    try:
        again = decrypted_handshakes(capture, key_logs)
    except (OSError, CaptureFileError) as error:
        yield f"{INTERCEPTION_FILE} cannot be read again: {error}"
        return
    left = Counter(again)
    for recorded in told:
        left[recorded.event] -= 1  # type: ignore[index]
        if left[recorded.event] < 0:  # type: ignore[index]
            what = f"{INTERCEPTION_FILE} read with the victims' key logs"
            yield f"{what} has no such handshake as {recorded.number} tells of"
    lost = len(again) - len(told)
    if lost > 0:
        yield f"{INTERCEPTION_FILE} has {len(again)} handshakes, and the lab tells of {len(told)}"


def _different(recorded: Recorded, due: Mapping[str, object], what: str) -> Iterator[str]:
    event: Event = recorded.event
    for name, value in due.items():
        told: Any = getattr(event, name)
        if told != value:
            yield f"{what} does not show what {recorded.number} tells: its {name.replace('_', ' ')}"


def _hex(octets: bytes | None) -> str:
    return (octets or b"").hex()
