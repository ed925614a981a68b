"""The verdicts by difference, without any server: what each combination of controls and answers amounts to."""

from dataclasses import replace

import pytest

from attacker.moves.replay import Attempt, not_tried
from attacker.probe.answers import HANDSHAKE, Ending, ServerAnswer, answered
from attacker.probe.prefixed import DROPPED, TAKEN
from lab.address import Address
from lab.catalogue.moves import PREFIX
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED, Outcome
from lab.events.types import MoveTried
from lab.probing.judge import Answered, Attempted, Controls, judge, status
from lab.tls.versions import TLS12, TLS13, Version

IN = answered("HTTP 200", "OK", b"alice's account")
OUT = answered("HTTP 403", "Forbidden", b"no")
HANDSHAKE_FAILURE = ServerAnswer(Ending.ALERT, "alert handshake_failure (40)")
DECRYPT_ERROR = ServerAnswer(Ending.ALERT, "alert decrypt_error (51)")
UNKNOWN_CA = ServerAnswer(Ending.ALERT, "alert unknown_ca (48)")
PROTOCOL_VERSION = ServerAnswer(Ending.ALERT, "alert protocol_version (70)")
CLOSED = ServerAnswer(Ending.CLOSED, "closed without a word")
SILENT = ServerAnswer(Ending.SILENT, "silence", "no answer within 10 s")
GARBAGE = ServerAnswer(Ending.UNREADABLE, "another answer", "it is not HTTP")
AWAY = ServerAnswer(Ending.FAILED, "failed", "Connection refused")

USUAL = Controls(
    (IN, IN), Answered(IN), Answered(HANDSHAKE_FAILURE), Answered(UNKNOWN_CA), Answered(DECRYPT_ERROR), Answered(IN)
)


def event(move: str) -> MoveTried:
    return not_tried(Attempt(move, TLS12, Address("127.0.0.1", 1), "localhost", "alice"), None)


def attempted(
    answer: ServerAnswer | None,
    move: str = "omit-proof",
    made: bool = True,
    departure: str = "",
    attempts: int = 1,
) -> Attempted:
    return Attempted(replace(event(move), outcome=INCONCLUSIVE), answer, made, departure=departure, attempts=attempts)


def outcome(controls: Controls, one: Attempted) -> Outcome:
    (verdict,) = judge(TLS12, controls, [one]).verdicts
    return verdict.outcome


@pytest.mark.parametrize(
    ("answer", "due"),
    [
        (IN, ACCEPTED),
        (answered("HTTP 200", "OK", b"another account"), ACCEPTED),
        (HANDSHAKE_FAILURE, REFUSED),
        (ServerAnswer(Ending.ALERT, "alert decrypt_error (51)"), REFUSED),
        (CLOSED, INCONCLUSIVE),
        (SILENT, INCONCLUSIVE),
        (GARBAGE, INCONCLUSIVE),
        (AWAY, INCONCLUSIVE),
        (OUT, INCONCLUSIVE),
        (answered("HTTP 503", "Busy"), INCONCLUSIVE),
        (answered("HTTP 421", "Misdirected Request"), REFUSED),
    ],
)
def test_an_answer_counts_by_whose_it_is_like(answer: ServerAnswer, due: Outcome) -> None:
    assert outcome(USUAL, attempted(answer)) == due


@pytest.mark.parametrize(
    ("answer", "local", "due"),
    [
        (answered(TAKEN, "250 ok"), "127.0.0.1:1", ACCEPTED),
        (answered(DROPPED), "127.0.0.1:1", REFUSED),
        (CLOSED, "127.0.0.1:1", REFUSED),
        (AWAY, "127.0.0.1:1", REFUSED),
        (AWAY, "", INCONCLUSIVE),
    ],
)
def test_a_command_before_the_handshake_counts_where_it_is_answered(
    answer: ServerAnswer, local: str, due: Outcome
) -> None:
    it = Attempted(replace(event(PREFIX), outcome=INCONCLUSIVE, local=local), answer, True, completed=False)
    assert outcome(USUAL, it) == due


def test_what_strangers_get_is_a_refusal_whatever_it_is() -> None:
    for answer in (
        CLOSED,
        OUT,
        SILENT,
        GARBAGE,
        answered("PostgreSQL 28000", "no"),
        answered("HTTP 400", "Bad Request"),
    ):
        assert outcome(replace(USUAL, stranger=Answered(answer)), attempted(answer)) == REFUSED
        assert outcome(replace(USUAL, none=Answered(answer)), attempted(answer)) == REFUSED
        assert outcome(replace(USUAL, spoiled=Answered(answer)), attempted(answer)) == REFUSED


def test_where_only_the_content_tells_who_one_is_it_decides() -> None:
    nobody = answered("HTTP 200", "OK", b"who are you?")
    controls = replace(USUAL, none=Answered(nobody))
    assert outcome(controls, attempted(IN)) == ACCEPTED
    assert outcome(controls, attempted(nobody)) == REFUSED
    assert outcome(controls, attempted(answered("HTTP 200", "OK", b"what is this?"))) == INCONCLUSIVE


def test_content_that_changes_for_the_owner_too_decides_nothing() -> None:
    other = answered("HTTP 200", "OK", b"alice's account, a second later")
    controls = replace(USUAL, again=Answered(other), none=Answered(answered("HTTP 200", "OK", b"who are you?")))
    assert "as it answers the owner" in judge(TLS12, controls, []).unfit


def all_of_us(answer: ServerAnswer, owner: ServerAnswer) -> Controls:
    """The same answer to each client of the lab's own."""
    same = Answered(answer)
    return Controls((owner,), key=same, none=same, stranger=same, spoiled=same, again=same)


@pytest.mark.parametrize(
    ("controls", "why"),
    [
        (all_of_us(CLOSED, CLOSED), "it ends every connection (closed without a word), also the owner's"),
        (all_of_us(CLOSED, UNKNOWN_CA), "does not get in with OpenSSL (alert unknown_ca (48))"),
        (replace(USUAL, owner=(CLOSED,)), "does not get in with OpenSSL (closed without a word)"),
        (all_of_us(HANDSHAKE_FAILURE, HANDSHAKE_FAILURE), "it does not speak the version, which --tls can leave out"),
        (all_of_us(HANDSHAKE_FAILURE, IN), "refuses every client of the lab's own (alert handshake_failure (40))"),
        (replace(USUAL, owner=(HANDSHAKE_FAILURE,)), "does not get in with OpenSSL (alert handshake_failure (40))"),
        (replace(USUAL, key=Answered(OUT), again=Answered(OUT), none=Answered(OUT)), "as it answers the owner"),
        (replace(USUAL, key=Answered(UNKNOWN_CA)), "the owner's key does not get in"),
        (replace(USUAL, owner=(GARBAGE,)), "does not get in with OpenSSL (another answer: it is not HTTP)"),
        (replace(USUAL, key=Answered(GARBAGE), again=Answered(GARBAGE)), "the owner's key does not get in"),
        (replace(USUAL, key=Answered(IN, asked=False)), "does not ask for a certificate"),
        (replace(USUAL, again=Answered(AWAY)), "the owner got in before and not after"),
        (replace(USUAL, spoiled=Answered(IN)), "whose Finished is wrong"),
        (replace(USUAL, none=Answered(IN)), "answers a client without a certificate as it answers the owner"),
    ],
)
def test_without_its_controls_nothing_is_said(controls: Controls, why: str) -> None:
    judged = judge(TLS12, controls, [attempted(HANDSHAKE_FAILURE), attempted(IN)])
    assert why in judged.unfit
    assert {verdict.outcome for verdict in judged.verdicts} == {INCONCLUSIVE}
    assert not judged.open
    assert status({TLS12: judged}) == 2


def test_a_version_that_the_server_lacks_is_left_out() -> None:
    controls = replace(USUAL, owner=(PROTOCOL_VERSION,), key=Answered(PROTOCOL_VERSION))
    judged = judge(TLS12, controls, [])
    assert not judged.spoken
    assert status({TLS12: judged}) == 2  # and no other version is left


@pytest.mark.parametrize(
    ("move", "due"),
    [
        ("omit-proof", True),
        ("flipped-proof", True),
        ("stolen-leaf-first", True),
        ("no-certificate", False),
        ("look-alike", False),
        ("self-issued", False),
        ("own-leaf-first", False),
        ("early-finished", False),
        ("replay-flight", False),
    ],
)
def test_which_refusals_are_for_want_of_the_key(move: str, due: bool) -> None:
    assert judge(TLS12, USUAL, [attempted(HANDSHAKE_FAILURE, move)]).asked_for_the_key is due
    assert judge(TLS12, USUAL, [attempted(IN, move)]).asked_for_the_key is False


def test_a_made_up_certificate_is_a_finding_where_strangers_get_none() -> None:
    strangers = replace(USUAL, stranger=Answered(IN))
    for move, also in (("look-alike", False), ("self-issued", False), ("omit-proof", True)):
        assert [one.move for one in judge(TLS12, USUAL, [attempted(IN, move)]).accepted] == [move]
        assert [one.move for one in judge(TLS12, strangers, [attempted(IN, move)]).accepted] == [move] * also


def test_any_certificate_is_a_finding_of_its_own() -> None:
    judged = judge(TLS12, replace(USUAL, stranger=Answered(IN)), [attempted(IN, "look-alike"), attempted(OUT)])
    assert judged.stranger_in
    assert judged.open
    assert judged.accepted == ()  # a look-alike is one of the strangers
    assert status({TLS12: judged}) == 1


def test_a_move_that_was_not_sent_or_not_itself_is_no_verdict() -> None:
    assert outcome(USUAL, attempted(HANDSHAKE_FAILURE, made=False)) == INCONCLUSIVE
    assert outcome(USUAL, attempted(HANDSHAKE_FAILURE, departure="its proof is another")) == INCONCLUSIVE
    assert outcome(USUAL, attempted(IN, departure="its proof is another")) == INCONCLUSIVE
    assert outcome(USUAL, attempted(None)) == NOT_APPLICABLE


def test_under_whose_name_the_attackers_own_certificate_got_in() -> None:
    bobs = answered("HTTP 200", "OK", b"bob's account")
    named = replace(USUAL, other=Answered(bobs))
    assert outcome(named, attempted(bobs, "own-leaf-first")) == REFUSED
    assert outcome(named, attempted(IN, "own-leaf-first")) == ACCEPTED
    assert outcome(replace(USUAL, other=Answered(IN)), attempted(IN, "own-leaf-first")) == NOT_APPLICABLE
    assert outcome(replace(USUAL, other=Answered(OUT)), attempted(IN, "own-leaf-first")) == ACCEPTED
    assert outcome(named, attempted(IN, "stolen-leaf-first")) == ACCEPTED
    greeted = replace(named, none=Answered(answered("HTTP 200", "OK", b"nobody's account")))
    assert outcome(greeted, attempted(bobs, "own-leaf-first")) == REFUSED
    assert outcome(greeted, attempted(IN, "own-leaf-first")) == ACCEPTED


def test_a_handshake_that_the_server_ends_is_refused() -> None:
    assert outcome(USUAL, replace(attempted(CLOSED), completed=False)) == REFUSED
    assert outcome(USUAL, attempted(CLOSED)) == INCONCLUSIVE


def test_a_connection_that_is_ended_twice_without_an_answer_is_refused() -> None:
    assert outcome(USUAL, attempted(CLOSED, attempts=2)) == REFUSED
    assert outcome(USUAL, attempted(IN, attempts=2)) == ACCEPTED
    assert outcome(USUAL, attempted(GARBAGE, attempts=2)) == INCONCLUSIVE
    assert outcome(USUAL, attempted(AWAY, attempts=2)) == INCONCLUSIVE
    assert outcome(replace(USUAL, again=Answered(CLOSED)), attempted(CLOSED, attempts=2)) == INCONCLUSIVE


def test_a_recording_that_gets_no_answer_is_refused_where_the_owner_gets_one() -> None:
    assert outcome(USUAL, attempted(SILENT, "replay-flight")) == REFUSED
    quiet = answered(HANDSHAKE)
    silent = replace(USUAL, owner=(quiet,), key=Answered(quiet), again=Answered(quiet))
    assert outcome(silent, attempted(SILENT, "replay-flight")) == INCONCLUSIVE


def test_a_status_is_safe_only_where_all_is_decided() -> None:
    assert status({TLS12: judge(TLS12, USUAL, [attempted(HANDSHAKE_FAILURE)])}) == 0
    assert status({TLS12: judge(TLS12, USUAL, [attempted(SILENT)])}) == 2
    assert status({TLS12: judge(TLS12, USUAL, [attempted(SILENT), attempted(IN)])}) == 1
    refused = judge(TLS12, USUAL, [attempted(HANDSHAKE_FAILURE)])
    assert status({TLS12: refused, TLS13: judge(TLS13, all_of_us(CLOSED, CLOSED), [])}) == 2
    assert status({TLS12: judge(TLS12, USUAL, [])}) == 2, "nothing was tried"
    lacking = judge(TLS13, all_of_us(PROTOCOL_VERSION, PROTOCOL_VERSION), [])
    assert status({TLS12: refused, TLS13: lacking}) == 0
    assert not lacking.open


def test_what_differs_among_the_owners_logins_is_noted() -> None:
    assert judge(TLS12, replace(USUAL, other=Answered(OUT)), []).notes == ()
    assert judge(TLS12, replace(USUAL, other=Answered(UNKNOWN_CA)), []).notes == (
        "the attacker's own bundle does not get in (alert unknown_ca (48)): moves with it show less",
    )
    assert judge(TLS12, replace(USUAL, owner=(OUT,)), []).notes == (
        f"OpenSSL and the instrument, both with the key, got different answers: {OUT.text}; {IN.text}",
    )


@pytest.mark.parametrize(
    ("version", "move", "notes"),
    [
        (TLS13, "replay-proof", 1),
        (TLS13, "flipped-proof", 1),
        (TLS13, "foreign-key", 0),
        (TLS12, "replay-proof", 0),
    ],
)
def test_a_proof_of_tls_12_that_is_sent_in_tls_13_is_told_as_that(version: Version, move: str, notes: int) -> None:
    found = judge(version, USUAL, [attempted(DECRYPT_ERROR, move)]).notes
    what = "the wire shows no proof of TLS 1.3, so these moves send the one that the owner made in TLS 1.2"
    assert found == (f"{what}: {move}",) * notes


def test_a_proof_that_was_not_sent_needs_no_word() -> None:
    without = replace(event("replay-proof"), outcome=NOT_APPLICABLE, error="no proof was captured")
    assert not judge(TLS13, USUAL, [Attempted(without, None, False)]).notes
