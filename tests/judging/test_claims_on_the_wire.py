"""Claims about what is read off the wire, in TLS 1.2 and in TLS 1.3, settled by a few events made by hand."""

import pytest

from claimed import (
    BLIND,
    MTLS,
    NOT_HER_LOGINS,
    NOT_HERS,
    PINNED,
    PINNED_BLIND,
    RELAY,
    SEARCHED,
    decrypted,
    handshake,
    login,
    seen,
    told,
    tried,
)
from handmade import SHA256, with_fields
from lab.catalogue.outcomes import REFUSED
from lab.events.types import Event, Intercepted, PositionTaken
from lab.judging.claims import Holding
from lab.judging.claims.wire import FIRST_HANDSHAKE, IN_TLS12
from lab.staging import pki
from lab.tls.messages import Certificate, serialize
from lab.words import counted
from made_up import certificate_of

NOT_READ = (seen("log"), seen(tls="1.3"), seen(message=""), seen(sha256=NOT_HERS))
"""Nothing of alice's that was in plaintext in TLS 1.2."""
LOGIN12, LOGIN13 = login("1.2"), login("1.3")


def test_a_certificate_in_the_clear_was_read_by_a_listener() -> None:
    claim, first, later = "certificate-in-the-clear", seen(transcript=("01", "0b")), seen(transcript=("0b",))
    assert told(claim, RELAY, first) is None
    assert told(claim, LOGIN12, first) is None
    assert told(claim, RELAY, LOGIN13, *NOT_HER_LOGINS, first) is None
    assert told(claim, PositionTaken("interception", ()), LOGIN12, first) is None
    for position in (RELAY, PositionTaken("arp", ())):
        assert told(claim, position, LOGIN12, *NOT_READ) == (
            *(Holding.FAILS, "alice logged in over TLS 1.2 and no certificate was read", [LOGIN12], ""),
        )
    assert told(claim, RELAY, LOGIN12, first, later, first, *NOT_READ) == (
        Holding.CONDITIONAL,
        "a passive listener read 3 Certificate messages of alice's in plaintext, 2 of them in a connection's first "
        "handshake",
        [first, later, first, LOGIN12],
        FIRST_HANDSHAKE,
    )


# One connection is enough.

ENOUGH = "one-connection-is-enough"
FROM_CA, SELF_SIGNED, LOGGED = seen(), seen(issuer="CN=alice"), seen("log")
WITH_THEM = (tried(BLIND), tried(PINNED_BLIND), tried(PINNED_BLIND, leak="log"))
LOGGED_TOO = (seen("log", note="the second"), seen("log", note="the third"))
HIDDEN = handshake()


def enough_said(
    self_signed: int = 1, log: int = 1, logged: int = 3, kinds: str = "from an authority and self-signed"
) -> str:
    return (
        f"one login each was enough to read alice's certificates ({kinds}); with what one connection showed 1 attempt "
        f"got in where an authority vouches and {self_signed} where the server knows its own self-signed certificates; "
        f"an access log had {counted(logged, 'certificate')}, and with that {counted(log, 'attempt')} got in"
    )


def test_one_connection_is_enough_if_each_kind_of_certificate_was_read_and_opens_an_account() -> None:
    heard = (RELAY, LOGIN12, FROM_CA, SELF_SIGNED, LOGGED, *LOGGED_TOO)
    others = seen("log", sha256=NOT_HERS), handshake("a session"), handshake(tls="1.2"), tried(BLIND, REFUSED)
    evidence = [FROM_CA, SELF_SIGNED, *WITH_THEM[:2], LOGGED, LOGGED_TOO[0], WITH_THEM[2]]

    assert told(ENOUGH, *heard, *WITH_THEM, *others) == (Holding.CONDITIONAL, enough_said(), evidence, IN_TLS12)
    hidden = "; 1 handshake of hers over TLS 1.3, heard as well, showed none"
    assert told(ENOUGH, *heard, *WITH_THEM, HIDDEN) == (
        *(Holding.CONDITIONAL, enough_said() + hidden, [*evidence, HIDDEN], IN_TLS12),
    )
    shown = with_fields(SEARCHED, certificate_at=(f"{HIDDEN.client} to {HIDDEN.server}, byte 1",))
    for in_sight in (seen(tls="1.3"), shown):
        assert told(ENOUGH, *heard, *WITH_THEM, HIDDEN, in_sight) == (
            *(Holding.HOLDS, enough_said(), [*evidence, HIDDEN], ""),
        )


def test_one_connection_is_not_enough_where_something_is_lacking() -> None:
    heard = (RELAY, LOGIN12, FROM_CA, SELF_SIGNED, LOGGED, *LOGGED_TOO)
    for events, because in (
        ((*heard, WITH_THEM[0], WITH_THEM[2]), enough_said(self_signed=0)),
        ((*heard, *WITH_THEM[:2]), enough_said(log=0)),
        ((RELAY, LOGIN12, FROM_CA, LOGGED, *WITH_THEM), enough_said(logged=1, kinds="from an authority")),
        ((RELAY, LOGIN12, SELF_SIGNED, LOGGED, *WITH_THEM), enough_said(logged=1, kinds="self-signed")),
    ):
        found = told(ENOUGH, *events)
        assert found
        assert (found.holding, found.because, found.condition) == (Holding.FAILS, because, "")
    nothing = told(ENOUGH, RELAY, LOGIN12)
    assert nothing
    assert (nothing.holding, nothing.evidence) == (Holding.FAILS, [LOGIN12])
    assert "(none)" in nothing.because
    assert told(ENOUGH, LOGIN12, FROM_CA) is None
    assert told(ENOUGH, RELAY, LOGIN13, FROM_CA) is None


# Who gets the certificate before the server is authenticated.

CAREFUL, CARELESS = decrypted("careful-client"), decrypted("careless-client", "Certificate")
CAREFUL_SENT = decrypted("victim-client", "Certificate")
NOT_TOLD = (
    *(decrypted("careful-client", "Certificate", tls="1.2"), decrypted("", "Certificate")),
    decrypted("careful-client", "Certificate, empty", "Certificate"),
    decrypted("careful-client", "Certificate", server=(("server", "Certificate"), ("server", "Finished"))),
    decrypted("careful-client", "Certificate", server=(("server", "Certificate"), ("server", "CertificateVerify"))),
)
"""Handshakes that say nothing of a client that has a certificate and sees first who the server is."""


def test_the_servers_tls_protects_a_certificate_that_nobody_read() -> None:
    claim, used = "server-tls-protects", tried(BLIND)
    in_13 = "; in TLS 1.3 a client that verifies the server sent it to an interceptor in {} of {}"
    read = "alice verified the server and was let in, but in TLS 1.2 her certificate was read on the way"
    assert told(claim, RELAY, LOGIN12, seen(), CARELESS, *NOT_TOLD) is None
    assert told(claim, RELAY, LOGIN13, seen(), CAREFUL) is None
    assert told(claim, LOGIN12, seen(), CAREFUL) is None
    assert told(claim, RELAY, LOGIN12, CAREFUL, CARELESS) == (
        Holding.HOLDS,
        "alice verified the server, and her certificate was not read" + in_13.format(0, "1 handshake"),
        [LOGIN12, CAREFUL],
        "",
    )
    condition = "TLS 1.3, and a client that verifies the server"
    assert told(claim, RELAY, LOGIN12, seen(), CAREFUL, *NOT_TOLD) == (
        *(Holding.CONDITIONAL, read + in_13.format(0, "1 handshake"), [seen(), LOGIN12, CAREFUL], condition),
    )
    also = tried(PINNED_BLIND), tried(PINNED_BLIND, round=2)
    assert told(claim, RELAY, LOGIN12, seen(), used, *also, tried(BLIND, REFUSED), CAREFUL, CAREFUL_SENT) == (
        Holding.FAILS,
        read + " and opened certificate-only and pinned-certificate-only" + in_13.format(1, "2 handshakes"),
        [seen(), LOGIN12, used, *also, CAREFUL, CAREFUL_SENT],
        "",
    )


def said_of_clients(careless: int, sent: int, careful: int, leaked: int) -> str:
    return (
        f"in TLS 1.3 a client that accepts any server sent the certificate to mitmproxy in {sent} of "
        f"{counted(careless, 'handshake')}, and one that verifies it in {leaked} of {counted(careful, 'handshake')}, "
        "as the server's Certificate, CertificateVerify and Finished come first"
    )


def test_a_client_that_verifies_no_server_sends_its_certificate_in_tls_13_to_anybody() -> None:
    claim, got = "tls13-is-unauthenticated", Intercepted("127.0.0.2:1", "127.0.0.1:1", "1.3", SHA256, "")
    not_got = with_fields(got, tls="1.2"), with_fields(got, sha256=NOT_HERS), with_fields(got, sha256="")
    careless_but_silent = decrypted("careless-client")
    assert told(claim, CARELESS, got, *NOT_TOLD) is None
    assert told(claim, CAREFUL, got) is None
    assert told(claim, CAREFUL, CARELESS, careless_but_silent, got, *not_got, *NOT_TOLD) == (
        Holding.CONDITIONAL,
        said_of_clients(2, 1, 1, 0),
        [CAREFUL, CARELESS, careless_but_silent, got],
        "the client does not verify the server; for one that does, it is false",
    )
    for events in ((CARELESS, *not_got), (careless_but_silent, got)):
        found = told(claim, CAREFUL, *events)
        assert found
        assert (found.holding, found.condition) == (Holding.FAILS, "")
    assert told(claim, CAREFUL, CAREFUL_SENT, CARELESS, got) == (
        *(Holding.HOLDS, said_of_clients(1, 1, 2, 1), [CAREFUL, CAREFUL_SENT, CARELESS, got], ""),
    )


# TLS 1.3.


def test_tls_13_encrypts_what_no_listener_read() -> None:
    claim = "tls13-encrypts"
    searched = with_fields(SEARCHED, certificate_at=("in TLS 1.2",))
    hers = (LOGIN13, HIDDEN, searched)
    for lacking in range(3):
        assert told(claim, LOGIN12, handshake("a session"), *hers[:lacking], *hers[lacking + 1 :]) is None
    assert told(claim, LOGIN13, HIDDEN, with_fields(SEARCHED, certificate_at=())) is None
    assert told(claim, *hers, LOGIN12, *NOT_HER_LOGINS, handshake("a session")) == (
        Holding.HOLDS,
        "a passive listener saw 1 handshake of alice's over TLS 1.3, her certificate in none",
        [HIDDEN, LOGIN13, searched],
        "",
    )
    shown = with_fields(SEARCHED, certificate_at=(f"{HIDDEN.client} to {HIDDEN.server}, byte 1",))
    for in_sight in (seen(tls="1.3"), shown):
        assert told(claim, *hers, in_sight) == (
            *(Holding.FAILS, "a certificate was readable in TLS 1.3", [in_sight], ""),
        )


def test_in_tls_13_it_still_matters_who_has_a_certificate() -> None:
    claim, got = "tls13-makes-it-irrelevant", Intercepted("127.0.0.2:1", "127.0.0.1:1", "1.3", SHA256, "")
    shown = seen("rogue-server", "1.3")
    blind = tried(BLIND, leak="interception", tls="1.3"), tried(BLIND, leak="rogue-server", tls="1.3")
    checking = tuple(tried(MTLS, REFUSED, leak, tls="1.3") for leak in ("interception", "rogue-server"))
    others: tuple[Event, ...] = (
        *(with_fields(got, tls="1.2"), with_fields(got, sha256=NOT_HERS), seen("rogue-server"), seen("log", "1.3")),
        *(tried(one, leak="wire", tls="1.3") for one in (BLIND, MTLS)),
        *(tried(one, leak="interception") for one in (BLIND, MTLS)),
    )
    said = (
        "certificates also leaked in TLS 1.3: {}; in TLS 1.3, where the proof is checked 0 of 2 attempts succeeded, "
        "where the certificate alone is checked {} succeeded"
    )
    assert told(claim, *blind, *checking, *others) is None
    assert told(claim, got, shown, *checking, *others) is None
    assert told(claim, got, shown, *blind, *others) is None
    assert told(claim, got, shown, *blind, *checking, *others) == (
        *(
            Holding.FAILS,
            said.format("1 time to an interceptor and 1 time to a shop", "2 of 2 attempts"),
            [got, shown, *blind, *checking],
            "",
        ),
    )
    shut = tried(BLIND, REFUSED, "rogue-server", tls="1.3")
    for one, whom in ((got, "an interceptor"), (shown, "a shop")):
        assert told(claim, one, shut, *checking) == (
            *(Holding.HOLDS, said.format(f"1 time to {whom}", "0 of 1 attempt"), [one, *checking], ""),
        )


def test_in_tls_13_too_only_the_proof_keeps_somebody_out() -> None:
    claim, blind, checking = "tls13-needs-the-proof", tried(BLIND, tls="1.3"), tried(PINNED, REFUSED, tls="1.3")
    got_in, shut, other = tried(MTLS, tls="1.3"), tried(BLIND, REFUSED, tls="1.3"), (tried(BLIND), tried(MTLS))
    said = "in TLS 1.3, where the proof is checked {} succeeded, where the certificate alone is checked {} succeeded"
    alone = ": the key exchange alone kept nobody out who made her own handshake"
    assert told(claim, blind, *other) is None
    assert told(claim, checking, *other) is None
    for events, holding, counts, evidence in (
        ((blind, checking, *other), Holding.HOLDS, ("0 of 1 attempt", "1 of 1 attempt"), [blind, checking]),
        ((shut, checking), Holding.FAILS, ("0 of 1 attempt", "0 of 1 attempt"), [checking]),
        ((blind, got_in), Holding.FAILS, ("1 of 1 attempt", "1 of 1 attempt"), [blind, got_in]),
    ):
        because = said.format(*counts) + (alone if holding is Holding.HOLDS else "")
        assert told(claim, *events) == (holding, because, evidence, "")


# Why TLS 1.2 does not encrypt it.

P256 = serialize(Certificate((certificate_of("alice"),))).hex()
RSA = serialize(Certificate((pki.new_self_signed_client("bank", "rsa").der,))).hex()
HELLOS, EXCHANGE = ("01", "02"), "10"


@pytest.mark.parametrize(
    ("transcripts", "holding", "counts"),
    [
        ([(*HELLOS, P256, P256, EXCHANGE)], Holding.FAILS, (1, 1, 1)),
        ([(*HELLOS, P256, P256, EXCHANGE), (*HELLOS, RSA, P256, EXCHANGE)], Holding.FAILS, (2, 2, 1)),
        ([(*HELLOS, P256, EXCHANGE, P256)], Holding.HOLDS, (0, 1, 0)),
        ([(*HELLOS, P256, P256, EXCHANGE), (*HELLOS, P256, EXCHANGE, P256)], Holding.HOLDS, (1, 2, 1)),
        ([(*HELLOS, EXCHANGE)], Holding.HOLDS, (0, 1, 0)),
        ([(*HELLOS, RSA, P256, EXCHANGE)], None, ()),
        ([(*HELLOS, P256, RSA, EXCHANGE)], None, ()),
        ([(*HELLOS, P256, EXCHANGE)], None, ()),
        ([(*HELLOS, "0bff", P256, EXCHANGE)], None, ()),
        ([(*HELLOS, P256, P256)], None, ()),
        ([()], None, ()),
    ],
)
def test_it_is_not_encrypted_as_there_are_no_keys_yet(
    transcripts: list[tuple[str, ...]], holding: Holding | None, counts: tuple[int, ...]
) -> None:
    """Whether RSA takes part or not; that it does says nothing."""
    captures: list[Event] = [seen(transcript=transcript) for transcript in transcripts]
    found = told("not-encrypted-because-of-rsa", *captures, *NOT_READ)
    if holding is None:
        assert found is None
        return
    before, all_, without_rsa = counts
    assert found == (
        holding,
        f"in {before} of {counted(all_, 'captured handshake')} the client's Certificate came before "
        f"ClientKeyExchange, so there were no keys yet to encrypt it with; in {without_rsa} of them no RSA key "
        "took part, and it was in plaintext all the same",
        captures,
        "",
    )
