"""A report of a relayed proof fits its own messages and the report of the certificate. Made by hand."""

from dataclasses import replace
from typing import Any

import pytest
from test_relays import ANSWER, CHECKED, HELLO, SIGNED, relay

from handmade import OTHER_NAME, run_of
from lab.catalogue.outcomes import NOT_APPLICABLE
from lab.events.types import CertificateCaptured, ProofRelayed
from lab.judging.relay_reports import odd_relays
from lab.tls.messages import CertificateRequest, Message, serialize

ASKED = CertificateRequest((64,), (0x0403,))
HERS, THEIRS = (b"c" * 32).hex(), OTHER_NAME


def with_request(messages: tuple[Message, ...], random: str = "") -> tuple[Message, ...]:
    hello, answer, certificate, exchange, *rest = messages
    if random:
        answer = replace(ANSWER, random=bytes.fromhex(random))
    return (hello, answer, certificate, exchange, ASKED, *rest)


def relayed(**fields: Any) -> ProofRelayed:
    return relay(with_request(SIGNED), with_request(CHECKED, THEIRS), client_random=HERS, **fields)


def seen(event: ProofRelayed) -> CertificateCaptured:
    return CertificateCaptured(
        *("live-relay", event.client, event.listening, event.tls, "CN=alice", "CN=alice", "ab" * 32, "", "0b"),
        *(event.proof, event.signed, event.client_random, "cd" * 32, "", ""),
    )


def hexes(*messages: Message) -> tuple[str, ...]:
    return tuple(serialize(message).hex() for message in messages)


FULL = relayed()
CUT, LATE, NO_EXCHANGE = FULL.checked[:-1], FULL.checked[1:], FULL.checked[:3] + FULL.checked[4:]
STAPLED = (*FULL.checked[:3], "1600000101", *FULL.checked[3:])
"""With a CertificateStatus (RFC 6066 section 8)."""
SWAPPED = (*FULL.checked[:4], FULL.checked[5], FULL.checked[4], *FULL.checked[6:])


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, ""),
        ({"checked": ()}, "what the server checks is nothing, and not ClientHello"),
        ({"checked": CUT}, "what the server checks is ClientHello, "),
        ({"checked": LATE}, "what the server checks is ServerHello, "),
        ({"checked": SWAPPED}, "what the server checks is ClientHello, "),
        ({"checked": NO_EXCHANGE}, "what the server checks is ClientHello, "),
        ({"checked": FULL.signed}, "what the server checks has the ServerHello of another connection"),
        ({"connection": "00" * 32}, "what the server checks has the ServerHello of another connection"),
        ({"client_random": "00" * 32}, "what the client signed begins with the ClientHello of another connection"),
        ({"signed": ()}, "what the client signed is nothing, and not ClientHello"),
        ({"signed": FULL.checked}, "the report of the certificate that came with it says otherwise"),
        ({"client": "127.0.0.1:9"}, "the report of the certificate that came with it says otherwise"),
        ({"listening": "127.0.0.1:9"}, "the report of the certificate that came with it says otherwise"),
        ({"proof": "0f0000"}, "the report of the certificate that came with it says otherwise"),
        ({"key_exchange": "RSA"}, "what the client signed is ClientHello, "),
        ({"tls": "1.1"}, "there is no proof in TLS 1.1 after a key exchange by ECDHE"),
        ({"tls": "1.3", "key_exchange": "RSA"}, "there is no proof in TLS 1.3 after a key exchange by RSA"),
        ({"key_exchange": "DHE"}, "there is no proof in TLS 1.2 after a key exchange by DHE"),
        ({"checked": STAPLED}, ""),
        ({"outcome": NOT_APPLICABLE, "checked": FULL.checked[:4]}, ""),
        ({"checked": ("ff",)}, "its messages are not readable"),
        ({"outcome": NOT_APPLICABLE, "checked": hexes(HELLO, replace(ANSWER, random=bytes.fromhex(THEIRS)))}, ""),
    ],
    ids=lambda one: "" if isinstance(one, dict) else one,
)
def test_a_relayed_proof_is_reported_as_it_was(fields: dict[str, Any], why: str) -> None:
    told = "\n".join(odd_relays(run_of(replace(FULL, **fields), seen(FULL))))
    assert why in told
    assert bool(told) == bool(why)


def test_one_connection_is_relayed_once() -> None:
    told = list(odd_relays(run_of(FULL, FULL)))
    assert len(told) == 2
    assert "the proof of one connection was relayed 2 times" in told[0]
