"""An attempt that was not its move is no verdict but an error, whatever its outcome."""

import asyncio
import dataclasses
import itertools
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hollow import (
    Change,
    changed,
    doubled,
    first_only,
    left_out,
    like_it_but,
    like_it_but_signed_by_another_key,
    no_ticket,
    of_nobody,
    other_bit,
    other_random,
    other_session,
    other_signature,
    other_ticket,
    reversed_,
    second_proof,
    some_signature,
    unlike_its_name,
    with_chain,
    with_event,
    with_proof,
    with_ticket,
)
from lab.catalogue.cast import NEWCOMERS_NAME
from lab.catalogue.moves import LAB_MOVES, OTHER_DOOR, STOLEN_KEY
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.plan import KeyType, full_matrix
from lab.events.log import Recorded
from lab.events.run import Run, open_run
from lab.judging.attempts import Tried
from lab.judging.facts import common_name, read_certificate
from lab.judging.hellos import odd_hellos
from lab.judging.proof_comparison import certificates_in, challenge_of, handshake_messages, up_to_the_proof
from lab.judging.recomputed import unlike_the_files
from lab.judging.shapes import Known, departure, known, presented, proof_fits
from lab.judging.verdicts import JudgedRun
from lab.staging import embedded, pki
from lab.story.matrix import tell_matrix
from lab.tls import extensions as ext
from lab.tls import proof
from lab.tls.messages import (
    Certificate,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    Message,
    NewSessionTicket,
    serialize,
)
from lab.tls.messages13 import Certificate13, CertificateEntry, NewSessionTicket13, parse
from lab.tls.versions import TLS12, TLS13, VERSIONS, Version
from lab.views.markdown import text

GATEWAYS = (
    *("mtls@instrument", "pinned-mtls@openssl", "certificate-only@instrument", "forwarded-header@openssl"),
    "resumed-elsewhere@instrument",
)

IN_12_ALONE = tuple((f"{scheme}@instrument", TLS12) for scheme in ("mtls", "certificate-only", "resumed-elsewhere"))
"""Where sessions are resumed in TLS 1.2 and not in TLS 1.3."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs = tmp_path_factory.mktemp("runs")
    judgement = asyncio.run(embedded.run_embedded(runs, full_matrix(gateways=GATEWAYS), None, lambda run: None))
    assert judgement.as_expected
    return open_run(runs / judgement.run)


@pytest.fixture(scope="module")
def there(run: Run) -> Known:
    return known(run)


@pytest.fixture(scope="module")
def attempts(run: Run) -> list[Tried]:
    """Those that came to an outcome."""
    return [tried for tried in JudgedRun(run).attempts.all if tried.outcome in (ACCEPTED, REFUSED)]


def test_every_attempt_was_its_move(attempts: list[Tried], there: Known) -> None:
    assert {tried.event.move for tried in attempts} == {move.id for move in LAB_MOVES}
    assert [departure(tried, there) for tried in attempts if departure(tried, there)] == []


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_no_attempt_passes_for_another_move(attempts: list[Tried], there: Known, gateway: str) -> None:
    """Not even at a gateway that accepts both alike."""
    here = [tried for tried in attempts if tried.gateway.id == gateway and tried.event.leak]
    moves = {tried.event.move for tried in here}
    assert len(moves) >= 3
    for tried in here:
        for other in moves - {tried.event.move}:
            assert departure(with_event(tried, move=other), there), (
                f"{tried.event.move} as {other}, TLS {tried.version}"
            )


def test_the_control_is_no_control_without_the_right_signature(attempts: list[Tried], there: Known) -> None:
    control = one_of(attempts, STOLEN_KEY)
    assert departure(changed(control, CertificateVerify, other_signature), there) == (
        "its proof is not a signature over this handshake by the key of the first certificate"
    )


NO_COPY = "certificate 1 in a Certificate message is not a copy of"
NOT_ITS_SESSION = "it did not offer the session that began under the server's other name"
HOLLOW: tuple[tuple[str, type[Message], Change, str], ...] = (
    ("no-certificate", Certificate, with_chain(of_nobody), "a Certificate message has 1 certificates, and not 0"),
    ("omit-proof", Certificate, with_chain(of_nobody), "certificate 1 in a Certificate message is not the"),
    ("omit-proof", Certificate, left_out, "it sent ClientHello, "),
    ("omit-proof", Certificate, unlike_its_name, "it sent 0 Certificate messages, and not 1"),
    ("omit-proof", Finished, second_proof, "it sent 1 proofs, and not 0"),
    ("replay-proof", CertificateVerify, unlike_its_name, "it sent 0 proofs, and not 1"),
    ("replay-proof", CertificateVerify, other_signature, "its proof is not the captured proof, byte for byte"),
    ("replay-proof", CertificateVerify, other_bit, "its proof is not the captured proof, byte for byte"),
    ("relabelled-proof", CertificateVerify, other_bit, "its proof is not the captured signature under another scheme"),
    ("relabelled-proof", CertificateVerify, with_proof(scheme=0), "its proof is not the captured signature under"),
    ("relabelled-proof", CertificateVerify, with_proof(scheme=0x0804), "its proof is not the captured signature under"),
    ("empty-proof", CertificateVerify, with_proof(scheme=0x0804), "its proof is not a signature without any bytes"),
    ("zero-proof", CertificateVerify, with_proof(scheme=0x0804), "its proof is not a signature of zeros"),
    ("zero-proof", CertificateVerify, with_proof(signature=b"\0"), "its proof is not a signature of zeros"),
    ("zero-proof", CertificateVerify, with_proof(signature=bytes(64)), "its proof is not a signature of zeros"),
    ("look-alike", Certificate, with_chain(like_it_but(longer=timedelta(days=1))), NO_COPY),
    ("look-alike", Certificate, with_chain(like_it_but(key_type="p384")), NO_COPY),
    ("look-alike", Certificate, with_chain(like_it_but(key_type="rsa")), NO_COPY),
    ("flipped-proof", CertificateVerify, other_bit, "its proof is not the captured proof with the last bit"),
    ("foreign-key", CertificateVerify, other_signature, "its proof is not a signature over this handshake by a key"),
    ("foreign-key", ClientHello, other_random, "its proof is not a signature over this handshake by a key"),
    ("empty-proof", CertificateVerify, some_signature, "its proof is not a signature without any bytes"),
    ("zero-proof", CertificateVerify, some_signature, "its proof is not a signature of zeros"),
    ("look-alike", Certificate, with_chain(of_nobody), NO_COPY),
    ("look-alike", Certificate, with_chain(like_it_but_signed_by_another_key), NO_COPY),
    ("look-alike", Certificate, with_chain(like_it_but(serial_number=1)), NO_COPY),
    ("look-alike", Certificate, with_chain(like_it_but(extensions=1)), NO_COPY),
    (
        "look-alike",
        CertificateVerify,
        other_signature,
        "its proof is not a signature over this handshake by the",
    ),
    ("own-leaf-first", Certificate, with_chain(first_only), "a Certificate message has 1 certificates, and not 2"),
    (
        "own-leaf-first",
        Certificate,
        with_chain(doubled),
        "certificate 2 in a Certificate message is not the customer's",
    ),
    (
        "own-leaf-first",
        CertificateVerify,
        other_signature,
        "its proof is not a signature over this handshake by the key",
    ),
    ("stolen-leaf-first", Certificate, with_chain(reversed_), "certificate 1 in a Certificate message is not the"),
    (
        "stolen-leaf-first",
        CertificateVerify,
        other_signature,
        "its proof is not a signature over this handshake by the",
    ),
    ("early-proof", CertificateVerify, other_signature, "its proof is not the captured proof, byte for byte"),
    ("early-finished", Certificate, with_chain(of_nobody), "certificate 1 in a Certificate message is not the"),
    ("second-certificate", Certificate, with_chain(of_nobody), "certificate 1 in a Certificate message is not the"),
    (
        "second-certificate",
        CertificateVerify,
        other_signature,
        "its proof is not a signature over this handshake by the",
    ),
    ("replay-flight", ClientHello, other_random, "it does not begin with a ClientHello of the customer"),
    ("replay-flight", ClientHello, left_out, "it sent no ClientHello"),
    ("resume-session", ClientHello, other_session, "it offered no session that was captured"),
    ("resume-session", ClientHello, other_ticket, "it offered no session that was captured"),
    (OTHER_DOOR, ClientHello, other_session, NOT_ITS_SESSION),
    (OTHER_DOOR, ClientHello, with_ticket(lambda ticket: os.urandom(len(ticket))), NOT_ITS_SESSION),
    (OTHER_DOOR, ClientHello, with_ticket(lambda ticket: ticket[:20]), NOT_ITS_SESSION),
    (OTHER_DOOR, ClientHello, with_ticket(lambda ticket: b""), NOT_ITS_SESSION),
    (OTHER_DOOR, Finished, left_out, "it sent ClientHello, "),
)


@pytest.mark.parametrize(("move", "kind", "change", "why"), HOLLOW, ids=[f"{one[0]}-{one[3][:40]}" for one in HOLLOW])
def test_a_hollow_attempt_is_found(
    attempts: list[Tried], there: Known, move: str, kind: type[Message], change: Change, why: str
) -> None:
    here = [one for one in attempts if one.event.move == move and one.gateway.scheme.asks_in_tls]
    assert here
    for tried in here:
        assert departure(changed(tried, kind, change), there).startswith(why), tried.version


def one_of(attempts: list[Tried], move: str, version: Version = TLS12, gateway: str = "mtls@instrument") -> Tried:
    """The first attempt with that move there."""
    return next(one for one in attempts if (one.event.move, one.version, one.gateway.id) == (move, version, gateway))


def leaf_of(tried: Tried) -> bytes:
    """The first certificate in its first Certificate message."""
    raw = next(
        bytes.fromhex(raw) for sender, name, raw in tried.event.steps if (sender, name) == ("client", "Certificate")
    )
    return certificates_in(raw, tried.version)[0]


def test_an_attempt_without_a_hello_is_told_with_all_that_it_sent(attempts: list[Tried], there: Known) -> None:
    hollow = changed(one_of(attempts, "early-finished"), ClientHello, left_out)
    assert departure(hollow, there).startswith("it sent Certificate, ChangeCipherSpec, Finished, and not ClientHello, ")


def test_an_attempt_that_cannot_be_read_is_told_with_the_reason(attempts: list[Tried], there: Known) -> None:
    tried = one_of(attempts, "replay-proof")
    steps = tuple((by, name, raw[:-2] if name == "CertificateVerify" else raw) for by, name, raw in tried.event.steps)
    why = departure(with_event(tried, steps=steps), there)
    assert re.match(r"its messages are not readable: .* is cut off, 1 bytes short$", why)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"connection": "00" * 32}, "its ServerHello is that of another connection"),
        ({"alert": 255}, "it reports the server's alert 255, and its bytes have another"),
        ({"alert_by": "client"}, "it reports the server's alert None, and its bytes have another"),
    ],
    ids=str,
)
def test_an_attempt_has_the_bytes_of_what_it_reports(
    attempts: list[Tried], there: Known, fields: dict[str, Any], why: str
) -> None:
    for tried in attempts:
        if "connection" in fields or tried.event.alert is not None:
            assert departure(with_event(tried, **fields), there) == why


def test_a_recording_in_tls_12_shows_her_certificate_and_her_proof(attempts: list[Tried], there: Known) -> None:
    recording = one_of(attempts, "replay-flight")
    for kind, change, why in (
        (Certificate, with_chain(of_nobody), "certificate 1 in a Certificate message is not the customer's"),
        (CertificateVerify, other_signature, "its proof is not the captured proof"),
        (CertificateVerify, left_out, "it sent 0 proofs, and not 1"),
    ):
        assert departure(changed(recording, kind, change), there).startswith(why)


def test_a_students_proof_is_one_that_no_other_move_sends(attempts: list[Tried], there: Known) -> None:
    replayed, mine = one_of(attempts, "replay-proof"), "mine:signature"
    known_already = with_event(replayed, move=mine)
    assert departure(known_already, there) == "its proof is the captured proof, byte for byte: that is no new move"
    assert departure(changed(known_already, CertificateVerify, other_signature), there) == ""
    valid = with_event(one_of(attempts, STOLEN_KEY), move=mine, leak="wire", seen_at=replayed.event.seen_at)
    assert departure(valid, there) == (
        "its proof is a signature over this handshake by the key of the first certificate: that is no new move"
    )


@pytest.mark.parametrize("move", ["omit-proof", "replay-proof", "foreign-key", "early-finished", "stolen-leaf-first"])
def test_an_attempt_shows_the_certificate_that_was_seen_where_it_says(
    attempts: list[Tried], there: Known, move: str
) -> None:
    """And not another of alice's."""
    for here, elsewhere in itertools.permutations(("mtls@instrument", "pinned-mtls@openssl")):
        tried, other = (one_of(attempts, "omit-proof", gateway=gateway) for gateway in (here, elsewhere))
        hers = with_chain(lambda chain, other=other: (leaf_of(other), *chain[1:]))  # type: ignore[misc]
        tried = one_of(attempts, move, gateway=here)
        why = "certificate 1 in a Certificate message is not the customer's certificate"
        assert departure(changed(tried, Certificate, hers), there) == why
        seen_elsewhere = with_event(tried, seen_at=other.event.seen_at)
        assert departure(seen_elsewhere, there) == why


@pytest.mark.parametrize("move", ["replay-proof", "relabelled-proof", "flipped-proof"])
def test_a_captured_proof_comes_with_its_own_hello_and_from_where_the_attempt_says(
    attempts: list[Tried], there: Known, move: str
) -> None:
    tried, other = one_of(attempts, move), one_of(attempts, move, gateway="certificate-only@instrument")
    assert tried.event.seen_at != other.event.seen_at
    assert departure(changed(tried, ClientHello, other_random), there) == "its ClientHello is not the captured one"
    theirs = next(raw for sender, name, raw in other.event.steps if (sender, name) == ("client", "CertificateVerify"))
    anothers = changed(tried, CertificateVerify, lambda message: parse(bytes.fromhex(theirs), TLS12))
    assert departure(anothers, there).startswith("its proof is not the captured ")


@pytest.mark.parametrize("key_type", ["p384", "rsa", "ed25519"])
def test_a_foreign_key_is_of_the_same_kind(attempts: list[Tried], there: Known, key_type: KeyType) -> None:
    tried, key = one_of(attempts, "foreign-key"), pki.new_key(key_type)
    before, _ = up_to_the_proof(handshake_messages(tried.event.steps), TLS12)
    made = proof.prove_with(key)(challenge_of([raw for _, raw in before], TLS12))
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    other = with_event(changed(tried, CertificateVerify, lambda message: made), signed_by=public.hex())
    assert departure(other, there).startswith("its proof is not a signature over this handshake by a key that is in no")


Steps: TypeAlias = tuple[tuple[str, str, str], ...]


def with_the_last_byte_turned(steps: Steps) -> Steps:
    at = max(at for at, (sender, _, _) in enumerate(steps) if sender == "client")
    sender, name, raw = steps[at]
    return (*steps[:at], (sender, name, raw[:-1] + ("0" if raw[-1] != "0" else "1")), *steps[at + 1 :])


def without_the_last(steps: Steps) -> Steps:
    at = max(at for at, (sender, _, _) in enumerate(steps) if sender == "client")
    return (*steps[:at], *steps[at + 1 :])


def with_one_more(steps: Steps) -> Steps:
    return (*steps, ("client", "protected record", "ff"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("gateway", ["mtls@instrument", "forwarded-header@openssl"])
@pytest.mark.parametrize("change", [with_the_last_byte_turned, without_the_last, with_one_more])
def test_a_recording_is_all_that_a_client_sent_to_this_server(
    run: Run, attempts: list[Tried], version: Version, gateway: str, change: Callable[[Steps], Steps]
) -> None:
    tried = one_of(attempts, "replay-flight", version, gateway)
    why = f"capture.pcapng does not have what {tried.number} sends again, sent to this server"
    other = one_of(attempts, "replay-flight", version, "pinned-mtls@openssl")
    fields = {"steps": change(tried.event.steps)}, {"steps": other.event.steps}
    assert why not in "".join(unlike_the_files(run))
    for changes in fields:
        assert why in "".join(unlike_the_files(with_one_changed(run, tried, changes)))


def with_one_changed(run: Run, tried: Tried, changes: dict[str, Any]) -> Run:
    doctored = Run(run.folders.path)
    event = dataclasses.replace(tried.event, **changes)
    doctored.events = [
        dataclasses.replace(one, event=event) if one.number == tried.number else one for one in run.events
    ]
    return doctored


def test_each_attempt_has_a_hello_of_its_own_for_the_bank(run: Run, attempts: list[Tried], there: Known) -> None:
    assert list(odd_hellos(run, attempts)) == []
    first, second = one_of(attempts, "omit-proof"), one_of(attempts, "foreign-key")
    hellos = [step for step in first.event.steps if step[:2] == ("client", "ClientHello")]
    steps = tuple(hellos[0] if step[:2] == ("client", "ClientHello") else step for step in second.event.steps)
    same = [with_event(one, steps=steps) if one == second else one for one in attempts]
    assert len(told := list(odd_hellos(run, same))) == 1
    assert "the ClientHello of attacker#" in told[0]
    captured = changed(first, ClientHello, lambda hello: dataclasses.replace(hello, random=hers(there)))  # type: ignore[type-var]
    assert list(odd_hellos(run, [captured])) == [
        f"the ClientHello of {first.number} has the random of a captured hello"
    ]
    random = bytes.fromhex(min(there.seen))
    overheard = changed(first, ClientHello, lambda hello: dataclasses.replace(hello, random=random))  # type: ignore[type-var]
    assert list(odd_hellos(run, [overheard])) == [
        f"the ClientHello of {first.number} has the random of a hello that was seen"
    ]
    named = changed(first, ClientHello, with_name("elsewhere.example"))
    why = f"{first.number} asked for the server elsewhere.example, which is not the bank's"
    assert list(odd_hellos(run, [named])) == [why]
    copied = changed(one_of(attempts, "replay-proof"), ClientHello, with_name("shop.example"))
    assert list(odd_hellos(run, [copied])) == [], "alice may have sent it to a shop"
    other_door = one_of(attempts, OTHER_DOOR)
    assert len(list(odd_hellos(run, [changed(other_door, ClientHello, with_name("localhost"), "elsewhere")]))) == 1
    assert len(list(odd_hellos(run, [changed(other_door, ClientHello, with_name(NEWCOMERS_NAME))]))) == 1


def hers(there: Known) -> bytes:
    return bytes.fromhex(there.captured[0].client_random)


def with_name(name: str) -> Change:
    def apply(message: Message) -> Message:
        assert isinstance(message, ClientHello)
        others = (one for one in message.extensions or () if one.type != ext.SERVER_NAME)
        return dataclasses.replace(message, extensions=(ext.server_name(name), *others))

    return apply


# A session that began under another name of the server.


def test_a_session_that_began_elsewhere_is_one_move_alone(attempts: list[Tried], there: Known) -> None:
    why = "its session began under another name, or did not, and this move is otherwise"
    other = one_of(attempts, OTHER_DOOR)
    assert departure(with_event(other, elsewhere=()), there) == why
    assert departure(with_event(one_of(attempts, "omit-proof"), elsewhere=other.event.elsewhere), there) == why


BEGUN_OTHERWISE: tuple[tuple[str, type[Message], Change, str], ...] = (
    ("client", Certificate, with_chain(of_nobody), NO_COPY),
    ("client", Certificate, left_out, "it sent 0 Certificate messages, and not 1"),
    ("client", CertificateVerify, other_signature, "its proof is not a signature over this handshake by the key of"),
    ("client", CertificateVerify, left_out, "it sent 0 proofs, and not 1"),
    ("server", NewSessionTicket, left_out, NOT_ITS_SESSION),
)


@pytest.mark.parametrize("gateway", ["mtls@instrument", "resumed-elsewhere@instrument"])
@pytest.mark.parametrize(("by", "kind", "change", "why"), BEGUN_OTHERWISE, ids=lambda one: getattr(one, "name", ""))
def test_a_session_begins_elsewhere_with_a_copy_of_the_certificate_and_a_proof(
    attempts: list[Tried], there: Known, gateway: str, by: str, kind: type[Message], change: Change, why: str
) -> None:
    """Whether the gateway resumes it or not."""
    other = one_of(attempts, OTHER_DOOR, gateway=gateway)
    assert departure(changed(other, kind, change, "elsewhere", by), there).startswith(why)


def test_what_only_the_client_says_is_no_ticket(attempts: list[Tried], there: Known) -> None:
    other = one_of(attempts, OTHER_DOOR)
    turned = tuple(
        ("client" if name == "NewSessionTicket" else by, name, raw) for by, name, raw in other.event.elsewhere
    )
    assert departure(with_event(other, elsewhere=turned), there) == NOT_ITS_SESSION


def test_a_ticket_without_any_bytes_is_none(attempts: list[Tried], there: Known) -> None:
    """So a server says that it gives none (RFC 5077 section 3.3)."""
    none_given = changed(one_of(attempts, OTHER_DOOR), NewSessionTicket, no_ticket, "elsewhere", "server")
    assert departure(changed(none_given, ClientHello, with_ticket(lambda ticket: b"")), there) == NOT_ITS_SESSION


def test_a_session_that_is_not_resumed_goes_on_without_a_certificate(attempts: list[Tried], there: Known) -> None:
    """Where the server forgets it, a full handshake follows."""
    full = one_of(attempts, OTHER_DOOR)
    for kind, change, why in (
        (Certificate, with_chain(of_nobody), "a Certificate message has 1 certificates, and not 0"),
        (ClientKeyExchange, left_out, "it sent ClientHello, Certificate, ChangeCipherSpec, Finished, and not "),
    ):
        assert departure(changed(full, kind, change), there).startswith(why)


def test_a_session_of_tls_13_is_offered_by_its_ticket(attempts: list[Tried], there: Known) -> None:
    """No gateway of the lab gives one under another name; so this attempt is put together here."""
    login = one_of(attempts, "look-alike", TLS13)
    given = ("server", "NewSessionTicket", serialize(NewSessionTicket13(7200, 0, b"\0", b"the ticket")).hex())
    sent = [step for step in login.event.steps if step[1] in ("ClientHello", "ServerHello", "Finished")]

    def offering(identity: bytes) -> Tried:
        def offer(message: Message) -> Message:
            assert isinstance(message, ClientHello)
            psk = ext.pre_shared_key(ext.OfferedPsk(identity, 0, b"\0" * 32))
            return dataclasses.replace(message, extensions=(*(message.extensions or ()), psk))

        steps, began = tuple(sent), (*login.event.steps, given)
        event = {"move": OTHER_DOOR, "steps": steps, "elsewhere": began, "alert": None, "alert_by": None}
        return changed(with_event(login, **event), ClientHello, offer)

    assert departure(offering(b"the ticket"), there) == ""
    assert departure(offering(b"another"), there) == NOT_ITS_SESSION


# What else is read from an attempt's bytes.


def test_an_attempt_is_made_of_what_its_own_leak_yielded_of_its_own_customer(
    attempts: list[Tried], there: Known
) -> None:
    event = one_of(attempts, "omit-proof").event
    hers = there.of(event)
    assert hers
    others = (dataclasses.replace(hers[0], leak="log"), dataclasses.replace(hers[0], subject="CN=bob"))
    assert dataclasses.replace(there, captured=(*others, *hers)).of(event) == hers


@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_that_came_first_was_presented(attempts: list[Tried], version: Version) -> None:
    for move, names in {
        "no-certificate": [],
        "omit-proof": ["alice"],
        "own-leaf-first": ["mallory"],
        "stolen-leaf-first": ["alice"],
        "second-certificate": ["mallory", "alice"],
    }.items():
        assert names_presented(one_of(attempts, move, version)) == names
    for move, names in {"no-certificate": [], "omit-proof": ["alice"]}.items():
        assert names_presented(one_of(attempts, move, version, "forwarded-header@openssl")) == names


def names_presented(tried: Tried) -> list[str]:
    run = Run(Path("nowhere"))
    run.events = [Recorded("attacker", 1, datetime.now(UTC), tried.event)]
    return [common_name(read_certificate(der).subject.rfc4514_string()) for der in presented(run)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_proof_fits_if_the_first_certificates_key_made_it_over_this_handshake(
    attempts: list[Tried], version: Version
) -> None:
    for move, fits in {
        "no-certificate": None,
        "omit-proof": None,
        "replay-proof": False,
        "foreign-key": False,
        "stolen-leaf-first": False,
        "own-leaf-first": True,
        "look-alike": True,
        STOLEN_KEY: True,
    }.items():
        assert proof_fits(one_of(attempts, move, version).event) is fits, move


def test_a_proof_fits_nothing_that_cannot_be_read(attempts: list[Tried]) -> None:
    control = one_of(attempts, STOLEN_KEY)
    for kind, change in ((Certificate, with_chain(lambda chain: ())), (Certificate, left_out)):
        assert proof_fits(changed(control, kind, change).event) is False
    steps = tuple((by, name, raw[:-2] if name == "CertificateVerify" else raw) for by, name, raw in control.event.steps)
    assert proof_fits(with_event(control, steps=steps).event) is False


def test_a_copy_is_held_against_what_its_model_was_seen_to_be(attempts: list[Tried], there: Known) -> None:
    """That is its message, in its own version of TLS, or else what was kept; without that only the names count."""
    tried = one_of(attempts, "look-alike")
    seen = next(one for one in there.of(tried.event) if one.server == tried.event.seen_at)
    der = certificates_in(bytes.fromhex(seen.message), TLS12)[0]
    in_13 = dataclasses.replace(seen, tls="1.3", message=serialize(Certificate13((CertificateEntry(der),))).hex())
    in_a_file = dataclasses.replace(seen, tls="", message="")
    other = changed(tried, Certificate, with_chain(like_it_but(serial_number=1)))
    kept = dataclasses.replace(there, captured=(in_a_file,))
    assert (departure(tried, kept), departure(other, kept)[: len(NO_COPY)]) == ("", NO_COPY)
    for capture, why in ((seen, NO_COPY), (in_13, NO_COPY), (in_a_file, "its proof is not a signature over this")):
        known = dataclasses.replace(there, captured=(capture,), certificates={})
        assert departure(tried, known) == ""
        assert departure(other, known).startswith(why)
    empty = dataclasses.replace(seen, message=serialize(Certificate(())).hex())
    assert departure(tried, dataclasses.replace(there, captured=(empty,))).startswith(NO_COPY)
    assert departure(tried, dataclasses.replace(there, captured=(empty, seen))) == ""


def test_a_namesake_has_the_customers_name_and_issued_itself(attempts: list[Tried], there: Known) -> None:
    tried = with_event(one_of(attempts, "look-alike"), move="self-issued")
    own = pki.new_self_signed_client("alice")
    no_namesake = "certificate 1 in a Certificate message is not a certificate with the customer's name"
    assert departure(tried, there).startswith(no_namesake)
    renamed = changed(tried, Certificate, with_chain(lambda _: (own.der,)))
    assert departure(renamed, there).startswith("its proof is not")
    bobs = pki.new_self_signed_client("bob")
    assert departure(changed(tried, Certificate, with_chain(lambda _: (bobs.der,))), there).startswith(no_namesake)


def test_a_session_is_resumed_in_both_versions(attempts: list[Tried]) -> None:
    resumed = {(one.gateway.id, one.version) for one in attempts if one.event.move == "resume-session"}
    assert resumed == {*(("pinned-mtls@openssl", version) for version in VERSIONS), *IN_12_ALONE}


def test_a_header_of_somebody_else_is_found(attempts: list[Tried], there: Known) -> None:
    here = [tried for tried in attempts if not tried.gateway.scheme.asks_in_tls]
    nobody = pki.new_self_signed_client("nobody").der.hex()
    for move, header in (
        ("no-certificate", nobody),
        ("omit-proof", nobody),
        ("omit-proof", ""),
        ("look-alike", nobody),
    ):
        tried = next(one for one in here if one.event.move == move)
        assert "the Client-Cert header" in departure(with_event(tried, header=header), there)


def test_a_foreign_key_that_is_the_certificates_own_is_no_foreign_key(attempts: list[Tried], there: Known) -> None:
    """The control's proof under the name of the move."""
    control = one_of(attempts, STOLEN_KEY)
    move = next(tried for tried in attempts if tried.event.move == "foreign-key" and tried.gateway == control.gateway)
    own = read_certificate(leaf_of(control)).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for signed_by in ("", own.hex()):
        seen_at = move.event.seen_at
        renamed = with_event(control, move="foreign-key", leak="wire", seen_at=seen_at, signed_by=signed_by)
        assert departure(renamed, there).startswith("its proof is not a signature over")


@pytest.mark.parametrize("gateway", ["mtls@instrument", "resumed-elsewhere@instrument"])
def test_an_attempt_that_was_not_its_move_is_an_error_and_no_verdict(
    run: Run, attempts: list[Tried], gateway: str
) -> None:
    """Also at a gateway that has a table to itself."""
    hollow = next(one for one in attempts if (one.event.move, one.gateway.id) == ("foreign-key", gateway))
    other = changed(hollow, CertificateVerify, other_signature).event
    doctored = Run(run.folders.path)
    doctored.events = [
        dataclasses.replace(one, event=other) if one.number == hollow.number else one for one in run.events
    ]
    judgement = JudgedRun(doctored).judgement
    assert not judgement.as_expected
    where = f"{hollow.gateway.id}, TLS {hollow.version} ({hollow.number})"
    assert judgement.errors == (
        f"foreign-key at {where}: the attempt was not this move: its proof is not a signature over this handshake by a "
        "key that is in none of the certificates",
    )
    cells = {(one.move, one.gateway, one.tls) for one in judgement.verdicts}
    assert ("foreign-key", hollow.gateway.id, str(hollow.version)) not in cells
    assert len(cells) == len(JudgedRun(run).judgement.verdicts) - 1
    rows = re.findall(r"(?m)^.*foreign-key.*$", text(tell_matrix(judgement)))
    assert any("error" in row for row in rows)  # in the table of that gateway and version


def test_a_run_of_an_earlier_version_did_not_record_what_this_takes(run: Run, attempts: list[Tried]) -> None:
    hollow = next(tried for tried in attempts if tried.event.move == "foreign-key")
    other = changed(hollow, CertificateVerify, other_signature).event
    doctored = Run(run.folders.path)
    doctored.events = [
        dataclasses.replace(one, event=other, version=2) if one.number == hollow.number else one for one in run.events
    ]
    assert JudgedRun(doctored).judgement.errors == ()
