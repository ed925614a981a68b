"""An attempt that was not its move is no verdict but an error, whatever its outcome."""

import asyncio
import dataclasses
import os
import re
from collections.abc import Callable
from typing import TypeAlias

import pytest

from attacker.moves.make import look_alike_certificate
from lab.catalogue.moves import MOVES, STOLEN_KEY
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.plan import full_matrix
from lab.events.run import Run, open_run
from lab.judging.attempts import Tried
from lab.judging.shapes import Known, departure, known
from lab.judging.verdicts import JudgedRun
from lab.staging import embedded, pki
from lab.story.matrix import tell_matrix
from lab.tls import extensions as ext
from lab.tls.messages import Certificate, CertificateVerify, ClientHello, Message, serialize
from lab.tls.messages13 import Certificate13, CertificateEntry, parse
from lab.tls.versions import TLS12, VERSIONS
from lab.views.markdown import text

GATEWAYS = ("mtls@instrument", "pinned-mtls@openssl", "certificate-only@instrument", "forwarded-header@openssl")

IN_12_ALONE = (("mtls@instrument", TLS12), ("certificate-only@instrument", TLS12))
"""Where sessions are resumed in TLS 1.2 and not in TLS 1.3."""

Change: TypeAlias = Callable[[Message], Message | None]


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
    assert {tried.event.move for tried in attempts} == {move.id for move in MOVES} | {STOLEN_KEY}
    assert [departure(tried, there) for tried in attempts if departure(tried, there)] == []


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_no_attempt_passes_for_another_move(attempts: list[Tried], there: Known, gateway: str) -> None:
    """Not even at a gateway that accepts both alike."""
    here = [tried for tried in attempts if tried.gateway.id == gateway and tried.event.leak]
    moves = {tried.event.move for tried in here}
    assert len(moves) >= 3
    for tried in here:
        for other in moves - {tried.event.move}:
            renamed = dataclasses.replace(tried, event=dataclasses.replace(tried.event, move=other))
            assert departure(renamed, there), f"{tried.event.move} as {other}, TLS {tried.version}"


def test_the_control_is_no_control_without_the_right_signature(attempts: list[Tried], there: Known) -> None:
    control = next(tried for tried in attempts if tried.event.move == STOLEN_KEY and tried.version == TLS12)
    assert departure(changed(control, CertificateVerify, other_signature), there) == (
        "its proof is not a signature over this handshake by the key of the first certificate"
    )


def changed(tried: Tried, kind: type[Message], change: Change, last: bool = True) -> Tried:
    """The attempt with the client's message of that kind changed, or left out."""
    names = [(at, step) for at, step in enumerate(tried.event.steps) if step[:2] == ("client", str(kind.name))]
    at, (sender, name, raw) = names[-1 if last else 0]
    message = change(parse(bytes.fromhex(raw), tried.version))
    steps = list(tried.event.steps)
    steps[at : at + 1] = [(sender, name, serialize(message).hex())] if message else []
    return dataclasses.replace(tried, event=dataclasses.replace(tried.event, steps=tuple(steps)))


def other_signature(message: Message) -> Message:
    assert isinstance(message, CertificateVerify)
    return dataclasses.replace(message, signature=message.signature[:-4] + os.urandom(4))


def other_bit(message: Message) -> Message:
    assert isinstance(message, CertificateVerify)
    return dataclasses.replace(message, signature=bytes((message.signature[0] ^ 2,)) + message.signature[1:])


def some_signature(message: Message) -> Message:
    assert isinstance(message, CertificateVerify)
    return dataclasses.replace(message, signature=b"\1" * max(1, len(message.signature)))


def other_random(message: Message) -> Message:
    assert isinstance(message, ClientHello)
    return dataclasses.replace(message, random=os.urandom(32))


def other_session(message: Message) -> Message:
    assert isinstance(message, ClientHello)
    return dataclasses.replace(message, session_id=os.urandom(32), extensions=())


def other_ticket(message: Message) -> Message:
    """Another ticket in TLS 1.3, none in TLS 1.2."""
    assert isinstance(message, ClientHello)
    psk = ext.read_pre_shared_key(message.extensions)
    if psk is None:
        return other_session(message)
    other = ext.pre_shared_key(dataclasses.replace(psk, identity=os.urandom(len(psk.identity))))
    return dataclasses.replace(message, extensions=(*(message.extensions or ())[:-1], other))


def with_chain(change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> Change:
    def apply(message: Message) -> Message:
        assert isinstance(message, Certificate | Certificate13)
        chain = change(message.chain)
        if isinstance(message, Certificate):
            return Certificate(chain)
        return dataclasses.replace(message, entries=tuple(CertificateEntry(der, ()) for der in chain))

    return apply


def of_nobody(chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return (pki.new_self_signed_client("nobody").der,)


def like_it_but_signed_by_another_key(chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A copy of the copy for a new key; the last byte of its signature is wrong."""
    copy = look_alike_certificate(chain[0], pki.new_key("p256"))
    return (copy[:-1] + bytes((copy[-1] ^ 1,)),)


def first_only(chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return chain[:1]


def reversed_(chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return chain[1::-1]


def doubled(chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return chain[:1] * 2


HOLLOW: tuple[tuple[str, type[Message], Change, str], ...] = (
    ("no-certificate", Certificate, with_chain(of_nobody), "a Certificate message has 1 certificates, and not 0"),
    ("omit-proof", Certificate, with_chain(of_nobody), "certificate 1 in a Certificate message is not the"),
    ("omit-proof", Certificate, lambda message: None, "it sent ClientHello, "),
    ("replay-proof", CertificateVerify, other_signature, "its proof is not the captured proof, byte for byte"),
    ("replay-proof", CertificateVerify, other_bit, "its proof is not the captured proof, byte for byte"),
    ("relabelled-proof", CertificateVerify, other_bit, "its proof is not the captured signature under another scheme"),
    ("flipped-proof", CertificateVerify, other_bit, "its proof is not the captured proof with the last bit"),
    ("foreign-key", CertificateVerify, other_signature, "its proof is not a signature over this handshake by a key"),
    ("foreign-key", ClientHello, other_random, "its proof is not a signature over this handshake by a key"),
    ("empty-proof", CertificateVerify, some_signature, "its proof is not a signature without any bytes"),
    ("zero-proof", CertificateVerify, some_signature, "its proof is not a signature of zeros"),
    ("look-alike", Certificate, with_chain(of_nobody), "certificate 1 in a Certificate message is not a copy of"),
    (
        "look-alike",
        Certificate,
        with_chain(like_it_but_signed_by_another_key),
        "certificate 1 in a Certificate message is not a copy of",
    ),
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
    ("resume-session", ClientHello, other_session, "it offered no session that was captured"),
    ("resume-session", ClientHello, other_ticket, "it offered no session that was captured"),
)


@pytest.mark.parametrize(("move", "kind", "change", "why"), HOLLOW, ids=[f"{one[0]}-{one[3][:40]}" for one in HOLLOW])
def test_a_hollow_attempt_is_found(
    attempts: list[Tried], there: Known, move: str, kind: type[Message], change: Change, why: str
) -> None:
    here = [one for one in attempts if one.event.move == move and one.gateway.scheme.asks_in_tls]
    assert here
    for tried in here:
        assert departure(changed(tried, kind, change), there).startswith(why), tried.version


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
        event = dataclasses.replace(tried.event, header=header)
        assert "the Client-Cert header" in departure(dataclasses.replace(tried, event=event), there)


def test_a_foreign_key_that_is_the_certificates_own_is_no_foreign_key(attempts: list[Tried], there: Known) -> None:
    """The control's proof under the name of the move."""
    control = next(tried for tried in attempts if tried.event.move == STOLEN_KEY and tried.version == TLS12)
    move = next(tried for tried in attempts if tried.event.move == "foreign-key" and tried.gateway == control.gateway)
    event = dataclasses.replace(control.event, move="foreign-key", leak="wire", seen_at=move.event.seen_at)
    assert departure(dataclasses.replace(control, event=event), there).startswith("its proof is not a signature over")


def test_an_attempt_that_was_not_its_move_is_an_error_and_no_verdict(run: Run, attempts: list[Tried]) -> None:
    hollow = next(tried for tried in attempts if tried.event.move == "foreign-key")
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
