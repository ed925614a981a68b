"""Relayed proofs: what their two handshakes have in common, why they differ, and what became of them. Made by hand."""

from dataclasses import replace
from typing import Any

import pytest

from handmade import ATTACKER, CLIENT, LISTENING, OTHER_NAME, SERVER, run_of, with_fields
from lab.catalogue.gateways import find_gateway
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED, Outcome
from lab.events.types import ClientRefused, Event, ProofRelayed, Trouble
from lab.judging.relays import EITHER_SHARE, SERVERS_KEY, Mismatch, RelayedProof, Why, missing_relays, relay_verdict
from lab.judging.verdicts import JudgedRun
from lab.tls import extensions as ext
from lab.tls.messages import (
    Certificate,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    Message,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
    serialize,
)
from lab.tls.messages13 import Certificate13, CertificateEntry
from lab.tls.proof import SCHEME_IDS, challenge12, prove_with
from lab.tls.versions import TLS12, TLS13, Version
from made_up import KEY, certificate_of

ALICE, BANK, SHOP = (Certificate((certificate_of(name),)) for name in ("alice", "bank", "mallory"))
HELLO = ClientHello(b"c" * 32, b"", (0xC02B,), (ext.extended_master_secret(), ext.number_list(10, (23, 29))))
PASSED_ON = replace(HELLO, extensions=(ext.number_list(10, (23,)),))
ANSWER = ServerHello(b"s" * 32, b"", 0xC02B, (ext.extended_master_secret(),))
EXCHANGE = ServerKeyExchange(23, b"point", 0x0403, b"signature")
DONE = ServerHelloDone()
SIGNED: tuple[Message, ...] = (HELLO, ANSWER, SHOP, EXCHANGE, DONE, ALICE, ClientKeyExchange(b"\5mine!"))
CHECKED: tuple[Message, ...] = (
    *(PASSED_ON, replace(ANSWER, extensions=()), BANK, replace(EXCHANGE, point=b"other", signature=b"another")),
    *(DONE, ALICE, ClientKeyExchange(b"\5yours")),
)
ON_PURPOSE = "left out on purpose: with it the two connections could never have the same keys"
REFUSAL = ClientRefused("mtls@openssl", ATTACKER, "1.2", "the proof does not fit", 51, OTHER_NAME)
THERE = replace(LISTENING, gateway="mtls@openssl")


def relay(signed: tuple[Message, ...] = SIGNED, checked: tuple[Message, ...] = CHECKED, **fields: Any) -> ProofRelayed:
    """A proof made over the first of two handshakes of TLS 1.2, and refused in the second."""
    made = prove_with(KEY)(challenge12(b"".join(map(serialize, signed)), SCHEME_IDS))
    assert made
    then, now = (tuple(serialize(one).hex() for one in messages) for messages in (signed, checked))
    event = ProofRelayed(
        *(CLIENT, "127.0.0.1:7443", ATTACKER, SERVER, "1.2", "ECDHE", "alice", "ab" * 32, False, then, now),
        *(serialize(made).hex(), REFUSED, 51, "server", None, None, 0, None, 1.0, OTHER_NAME),
    )
    return with_fields(event, **fields)


def judged(*events: Event) -> list[RelayedProof]:
    return JudgedRun(run_of(THERE, *events)).relayed_proofs


def only(*events: Event) -> RelayedProof:
    (found,) = judged(*events)
    return found


# The two handshakes.


def test_messages_are_alike_and_fields_differ() -> None:
    found = only(relay())
    assert found.alike == ("ServerHelloDone", "the client's Certificate")
    starts = [[sum(len(serialize(one)) for one in messages[:at]) for at in range(7)] for messages in (SIGNED, CHECKED)]
    assert [
        (one.message, one.field, one.signed, one.checked, one.signed_at, one.checked_at) for one in found.mismatches
    ] == [
        ("ClientHello", "extended_master_secret", "", None, 0, 0),
        ("ClientHello", "supported_groups", "00040017001d", "00020017", 0, 0),
        ("ServerHello", "extended_master_secret", "", None, starts[0][1], starts[1][1]),
        ("Certificate", "certificate 1", SHOP.chain[0].hex(), BANK.chain[0].hex(), starts[0][2], starts[1][2]),
        ("ServerKeyExchange", "point", b"point".hex(), b"other".hex(), starts[0][3], starts[1][3]),
        ("ServerKeyExchange", "signature", b"signature".hex(), b"another".hex(), starts[0][3], starts[1][3]),
        ("ClientKeyExchange", "exchange_keys", b"\5mine!".hex(), b"\5yours".hex(), starts[0][6], starts[1][6]),
    ]
    assert found.takes == (EITHER_SHARE,)
    assert (found.reason.fits_captured, found.reason.fits_server) == (True, False)


def test_a_message_that_one_handshake_alone_has_differs_in_all_its_fields() -> None:
    for signed, checked, sides in (
        (SIGNED, SIGNED[1:], lambda value: (value, None)),
        (SIGNED[1:], SIGNED, lambda value: (None, value)),
    ):
        found = only(relay(signed, checked))
        random = next(one for one in found.mismatches if one.field == "random")
        assert (random.signed, random.checked) == sides("63" * 32)
        assert (random.signed_at, random.checked_at) == (0, 0)
        assert {one.message for one in found.mismatches} == {"ClientHello"}
        assert "the server's Certificate" in found.alike


def mismatch(before: Message, after: Message, key_exchange: str = "ECDHE", tls: str = "1.2") -> Mismatch:
    """The one field in which two messages differ."""
    hers: Message = ALICE if tls == "1.2" else in_13(ALICE)
    found = only(relay((before, hers), (after, hers), tls=tls, key_exchange=key_exchange))
    (one,) = found.mismatches
    return one


def in_13(message: Certificate) -> Certificate13:
    return Certificate13(tuple(map(CertificateEntry, message.chain)))


def test_why_fields_differ_depends_on_the_version_and_the_key_exchange() -> None:
    exchanges = ClientKeyExchange(b"\1a"), ClientKeyExchange(b"\1b")
    its_key = "the key in it must sign mallory's own ServerKeyExchange, so it is her own"
    for (one, other), key_exchange, takes, why in (
        ((SHOP, BANK), "ECDHE", EITHER_SHARE, its_key),
        ((SHOP, BANK), "RSA", SERVERS_KEY, "mallory cannot decrypt what is encrypted to the real certificate's key"),
        (exchanges, "ECDHE", EITHER_SHARE, "the server's keys come from this point"),
        (exchanges, "RSA", SERVERS_KEY, "it is the premaster secret, encrypted to the certificate's key"),
    ):
        found = mismatch(one, other, key_exchange)
        assert found.why.takes == takes
        assert found.why.reason.startswith(why)
    found = mismatch(in_13(SHOP), in_13(BANK), tls="1.3")
    assert found.why == Why(EITHER_SHARE, "the key in it must sign mallory's own handshake, so it is her own")


def test_why_a_field_differs_that_does_not_depend_on_them() -> None:
    extended, groups = HELLO.extensions or ()
    no_groups = replace(HELLO, extensions=(extended, ext.number_list(10, ())))
    changes: tuple[tuple[Message, Message, str | None, str], ...] = (
        (EXCHANGE, replace(EXCHANGE, point=b"other"), EITHER_SHARE, "the client's keys come from this point"),
        (EXCHANGE, replace(EXCHANGE, group=29), EITHER_SHARE, "it is signed by the certificate's key"),
        (CertificateVerify(1, b""), CertificateVerify(1, b"2"), EITHER_SHARE, "the server's own proof"),
        (Finished(b"1"), Finished(b"2"), EITHER_SHARE, "it is computed from the connection's keys"),
        (HELLO, replace(HELLO, extensions=(groups,)), None, ON_PURPOSE),
        (ANSWER, replace(ANSWER, extensions=()), None, ON_PURPOSE),
        (HELLO, no_groups, None, "without the groups for which mallory cannot make a key share"),
        (HELLO, replace(HELLO, random=b"d" * 32), None, "mallory chose another value; she could have copied it"),
    )
    for one, other, takes, why in changes:
        found = mismatch(one, other)
        assert found.why.takes == takes
        assert found.why.reason.startswith(why)


def test_the_shares_of_tls_13_differ_as_mallory_must_know_one_of_their_halves() -> None:
    hellos = [replace(HELLO, extensions=(ext.key_shares([(23, point)]),)) for point in (b"a", b"b")]
    answers = [replace(ANSWER, extensions=(ext.key_share(23, point),)) for point in (b"a", b"b")]
    for (one, other), whose in ((hellos, "the server"), (answers, "the client")):
        reason = f"{whose}'s keys come from this share and {whose}'s own; mallory must know the private half of one"
        assert mismatch(one, other, tls="1.3").why == Why(EITHER_SHARE, reason)


# What became of it.


def test_a_refusal_because_of_the_proof_is_as_expected() -> None:
    found = only(REFUSAL, relay())
    assert (found.number, found.outcome, found.alert, found.expected) == ("lab#3", REFUSED, 51, REFUSED)
    assert found.report == REFUSAL
    assert found.as_expected
    others: tuple[dict[str, Any], ...] = (
        {"alert": 40},
        {"outcome": ACCEPTED},
        {"outcome": INCONCLUSIVE, "alert": None},
    )
    for fields in others:
        assert not only(relay(**fields)).as_expected
    assert not replace(found, reason=replace(found.reason, fits_server=True)).as_expected
    assert not replace(found, reason=replace(found.reason, fits_captured=False)).as_expected
    assert not replace(found, mismatches=found.mismatches[:3]).as_expected


def test_the_gateways_alert_counts_where_the_attacker_received_none() -> None:
    unread: dict[str, Any] = {"outcome": INCONCLUSIVE, "alert": None, "alert_by": None}
    found = only(REFUSAL, relay(**unread))
    assert (found.outcome, found.alert, found.as_expected) == (REFUSED, 51, True)
    assert only(REFUSAL, relay(alert=40)).alert == 40
    assert only(REFUSAL, relay(alert=40, alert_by="client")).alert == 51
    assert only(relay(alert=40, alert_by="client")).alert is None
    assert only(relay(**unread)).alert is None


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [
        ("mtls@openssl", REFUSED),
        ("certificate-only@instrument", ACCEPTED),
        ("forwarded-header@openssl", NOT_APPLICABLE),
    ],
)
def test_what_is_expected_depends_on_what_the_gateway_checks(gateway: str, expected: Outcome) -> None:
    for outcome in (REFUSED, ACCEPTED, NOT_APPLICABLE):
        run = run_of(replace(LISTENING, gateway=gateway), relay(outcome=outcome))
        (found,) = JudgedRun(run).relayed_proofs
        assert found.expected == expected
        assert found.as_expected == (outcome == expected)


def test_a_relays_verdict_has_what_is_known_of_it() -> None:
    found = only(REFUSAL, relay(same_keys=True))
    verdict = relay_verdict(found)
    assert (verdict.attempt, verdict.gateway, verdict.scheme) == ("lab#3", "mtls@openssl", "mtls")
    assert (verdict.implementation, verdict.tls, verdict.key_exchange) == ("openssl", "1.2", "ECDHE")
    assert (verdict.same_keys, verdict.expected, verdict.outcome, verdict.alert) == (True, REFUSED, REFUSED, 51)
    assert (verdict.reason, verdict.takes, verdict.as_expected) == ("the proof does not fit", (EITHER_SHARE,), True)
    assert verdict.differing[:2] == ("ClientHello, extended_master_secret", "ClientHello, supported_groups")
    assert len(verdict.differing) == 7


def test_a_relay_that_cannot_be_judged_is_left_out() -> None:
    assert judged(relay(tls="9.9"), relay(server="127.0.0.1:1"), Trouble("none")) == []
    unreadable = relay(proof="0f00000100"), relay(signed=(HELLO, Certificate(()))), relay(signed=(HELLO, ANSWER))
    assert judged(*unreadable) == []
    assert [one.number for one in judged(*unreadable, relay())] == ["lab#5"]


def test_a_proof_is_checked_by_the_last_certificate_before_it() -> None:
    """The client's; the server's came before."""
    assert only(relay()).reason.fits_captured
    other = Certificate((BANK.chain[0], *SHOP.chain))
    assert only(relay(signed=(HELLO, other, ALICE))).reason.fits_captured


# What is missing.


def lacking(*events: Event, gateway: str = "mtls@openssl", version: Version = TLS12) -> list[str]:
    run = run_of(THERE, *events)
    there = find_gateway(gateway)
    assert there
    return missing_relays(run, JudgedRun(run).relayed_proofs, there, version)


def test_a_relay_is_missing_until_both_key_exchanges_were_tried() -> None:
    by_rsa = relay(key_exchange="RSA")
    none = "relay to mtls@openssl, TLS 1.2: no proof was relayed"
    assert lacking(REFUSAL, relay(), by_rsa) == []
    assert lacking(REFUSAL, relay()) == [none]
    assert lacking(REFUSAL, by_rsa) == [none]
    assert lacking(REFUSAL, relay(tls="1.1"), Trouble("first"), Trouble("last")) == [f"{none}: last"]
    assert lacking(relay(), by_rsa) == ["relay to mtls@openssl, TLS 1.2: no gateway report for this attempt"]
    assert lacking(REFUSAL, relay(), by_rsa, gateway="mtls@instrument") == [
        "relay to mtls@instrument, TLS 1.2: no proof was relayed"
    ]
    assert lacking(REFUSAL, relay(), by_rsa, version=TLS13) == ["relay to mtls@openssl, TLS 1.3: no proof was relayed"]
    assert lacking(gateway="forwarded-header@openssl") == []


def test_neither_tls_13_nor_the_instrument_has_rsa_key_transport() -> None:
    with_13, hers = replace(REFUSAL, tls="1.3"), (HELLO, in_13(ALICE))
    assert lacking(with_13, relay(hers, hers, tls="1.3"), version=TLS13) == []
    listening = replace(LISTENING, gateway="mtls@instrument")
    run = run_of(listening, replace(REFUSAL, gateway="mtls@instrument"), relay())
    instrument = find_gateway("mtls@instrument")
    assert instrument
    assert missing_relays(run, JudgedRun(run).relayed_proofs, instrument, TLS12) == []
