"""Claims about keys and passwords, and about who is shown a certificate, settled by a few events made by hand."""

import dataclasses

from claimed import (
    BLIND,
    ISSUED,
    LISTENING,
    MTLS,
    NOT_HER_LOGINS,
    NOT_HERS,
    PINNED,
    PINNED_BLIND,
    SEARCHED,
    file_searched,
    login,
    seen,
    told,
    told_from_the_start,
    tried,
    with_key,
    with_password,
)
from handmade import CLIENT, NAME, SERVER, STARTED, with_fields
from lab.catalogue.cast import BY_REQUEST
from lab.catalogue.outcomes import REFUSED
from lab.catalogue.searches import PASSWORD, TRANSCRIPT_HASHES
from lab.events.types import Event, KeyFound, LoginDecrypted, LoginFailed, PositionLeft
from lab.judging.claims import Holding
from lab.words import counted

HERS = login()


def test_a_certificate_was_shown_to_nobody_else_if_no_leak_of_a_careful_client_has_it() -> None:
    claim, planned = "shown-to-nobody-else", with_fields(STARTED, leaks=("wire", "log", "interception"))
    others = seen(sha256=NOT_HERS), seen("rogue-server"), seen("interception")
    assert told(claim, planned, *NOT_HER_LOGINS, seen()) is None
    assert told(claim, with_fields(STARTED, leaks=("interception",)), HERS, seen("interception")) is None
    assert told(claim, planned, HERS, *others) == (
        *(Holding.HOLDS, "alice logged in, and nobody else had her certificate by the leak wire or log", [HERS], ""),
    )
    had = [seen(note=str(at)) for at in range(3)]
    assert told(claim, planned, HERS, *had, seen("log"), *others) == (
        Holding.FAILS,
        "alice verified every server, and yet others had her certificates: 3 times by the leak wire (a passive "
        "listener reads the plaintext Certificate message of TLS 1.2); 1 time by the leak log (a gateway's access log "
        "has each client's certificate, as PEM in a log line)",
        [*had[:2], seen("log")],
        "",
    )


def test_a_key_can_be_passed_on_if_it_opens_every_gateway_that_checks_the_proof() -> None:
    claim, elsewhere, leaked = "key-can-be-passed-on-too", with_key(BLIND, REFUSED), with_key(MTLS, leak="archive")
    assert told(claim, elsewhere, leaked) is None
    said = (
        "with alice's key {} succeeded where the proof is checked: anybody with the key gets in as alice, so "
        "a client must keep its key secret; its certificate need not be secret there"
    )
    ins, out = [with_key(MTLS), with_key(PINNED)], with_key(PINNED, REFUSED)
    assert told(claim, *ins, elsewhere, leaked) == (Holding.HOLDS, said.format("2 of 2 attempts"), ins, "")
    assert told(claim, *ins, out) == (Holding.FAILS, said.format("2 of 3 attempts"), [*ins, out], "")


# The key on the wire.

NEVER = "key-never-goes-to-the-server"
READ = LoginDecrypted(
    *(CLIENT, SERVER, "1.3", NAME),
    (
        ("client", "ClientHello", 1, True, 0.0),
        ("server", "ServerHello", 1, True, 0.0),
        ("client", "Finished", 1, True, 0.0),
    ),
)


def never_said(keys: str = "1 key", forms: str = "2 forms") -> str:
    return (
        "alice's TLS library was given the key; the search of what mallory had captured by then, 5 connections, for "
        f"{keys} of hers in {forms} finds none, while it finds her certificate. It cannot see into encrypted records"
    )


def test_the_key_never_goes_to_the_server_if_a_search_that_finds_the_certificate_does_not_find_it() -> None:
    assert told(NEVER, SEARCHED, *NOT_HER_LOGINS) is None
    assert told(NEVER, HERS, with_fields(SEARCHED, certificate_at=())) is None
    assert told(NEVER, HERS, SEARCHED, with_fields(READ, tls="1.2")) == (
        *(Holding.HOLDS, never_said(), [SEARCHED, HERS], ""),
    )
    four_forms = with_fields(SEARCHED, keys=2, key_forms=("der", "pem", "raw", "hex"))
    assert told(NEVER, HERS, four_forms, READ, READ) == (
        Holding.HOLDS,
        never_said("2 keys", "2 forms each")
        + "; in the 2 handshakes over TLS 1.3 that the lab decrypted, the client's "
        "messages were ClientHello, Finished",
        [four_forms, HERS, READ, READ],
        "",
    )
    assert told(NEVER, HERS, PositionLeft("relay", ()), HERS, SEARCHED, HERS) == (
        *(
            Holding.HOLDS,
            never_said() + ", and 2 of her 3 logins came after that capture",
            [SEARCHED, HERS, HERS, HERS],
        ),
        "",
    )
    without_a_number = with_fields(SEARCHED, keys=0)
    assert told(NEVER, HERS, without_a_number) == (Holding.HOLDS, never_said(), [without_a_number, HERS], "")
    found = with_fields(SEARCHED, key_at=("byte 7", "byte 9"))
    assert told(NEVER, HERS, SEARCHED, found) == (Holding.FAILS, "the key was on the wire: byte 7", [found], "")


# The issuer.

ISSUER = "issuer-has-the-key"
FROM_ARCHIVE = KeyFound("archive", "a file", "CN=alice", ISSUED.sha256)
MADE, ASKED = with_key(MTLS, leak="archive"), tried(MTLS, REFUSED, "requests")
BY_HERSELF, OPEN = login(gateway=MTLS + BY_REQUEST), tried(BLIND, leak="requests")


def issuer_said(made: str, requested: str = "0 of 1 attempt", keys: tuple[int, int] = (1, 0)) -> str:
    return (
        f"an issuer that made alice's keys and kept what it handed out had {counted(keys[0], 'key')} to lose: with "
        f"that {made} succeeded where the proof is checked; where alice made the key and sent a request, what the "
        f"issuer kept has {counted(keys[1], 'key')}, and with that {requested} succeeded there, while alice is let in "
        "with hers"
    )


def test_an_issuer_had_the_key_if_it_made_it() -> None:
    everything = (FROM_ARCHIVE, MADE, ASKED, BY_HERSELF, OPEN)
    for lacking in everything[1:]:
        rest = (HERS, tried(BLIND, REFUSED, "requests"), *(one for one in everything if one != lacking))
        assert told(ISSUER, *rest) is None
    other = tried(MTLS, leak="archive"), tried(PINNED, leak="wire"), with_key(BLIND, leak="archive")
    assert told(ISSUER, *everything, *other) == (
        Holding.CONDITIONAL,
        issuer_said("1 of 1 attempt"),
        [FROM_ARCHIVE, MADE, ASKED, BY_HERSELF],
        "the issuer made it, and did not delete it; one that signs a request never has it",
    )
    shut = with_key(PINNED, REFUSED, "archive")
    assert told(ISSUER, FROM_ARCHIVE, shut, ASKED, BY_HERSELF, OPEN) == (
        *(Holding.FAILS, issuer_said("0 of 1 attempt"), [FROM_ARCHIVE, ASKED, BY_HERSELF], ""),
    )
    kept, got_in = dataclasses.replace(FROM_ARCHIVE, leak="requests"), with_key(MTLS, leak="requests")
    assert told(ISSUER, *everything, kept, got_in) == (
        *(
            Holding.HOLDS,
            issuer_said("1 of 1 attempt", "1 of 1 attempt", (1, 1)),
            [FROM_ARCHIVE, MADE, kept, BY_HERSELF],
            "",
        ),
    )


NO_KEYS = "server-needs-no-keys"
LATE = with_fields(ISSUED, sha256="1a" * 32)
CHECKING = LISTENING[:3]


def test_a_server_needs_no_keys_if_it_lets_in_a_certificate_that_came_after_it_began() -> None:
    hers, failed = login(sha256=LATE.sha256), LoginFailed(MTLS + BY_REQUEST, "", "1.2", "unknown ca")
    on_the_list = LoginFailed(PINNED + BY_REQUEST, "", "1.2", "unknown ca")
    others = (HERS, login(gateway=BLIND, sha256=LATE.sha256), LoginFailed(MTLS, "", "1.2", "nobody listens"))
    said = (
        "the gateways were listening before alice's last certificate was issued; mtls, which knows the authority "
        "alone, let her in with it {} and refused her {}; pinned-mtls, which goes by a list, refused her {}"
    )
    evidence = [*CHECKING, LATE]
    assert told_from_the_start(NO_KEYS, ISSUED, *LISTENING, LATE, hers, on_the_list, *others) == (
        *(Holding.HOLDS, said.format("1 time", "0 times", "1 time"), [*evidence, hers, on_the_list], ""),
    )
    assert told_from_the_start(NO_KEYS, ISSUED, *LISTENING, LATE, hers, failed, *others) == (
        *(Holding.FAILS, said.format("1 time", "1 time", "0 times"), [*evidence, hers, failed], ""),
    )
    assert told_from_the_start(NO_KEYS, *LISTENING, LATE, failed) == (
        *(Holding.FAILS, said.format("0 times", "1 time", "0 times"), [*evidence, failed], ""),
    )
    without: tuple[tuple[Event, ...], ...] = (
        (LATE, hers),
        (*LISTENING, login(sha256=LATE.sha256)),
        (LATE, *LISTENING, hers),
        (*LISTENING[:2], LATE, *LISTENING[2:], hers),
        (*LISTENING, LATE, on_the_list, *others),
    )
    for events in without:
        assert told_from_the_start(NO_KEYS, *events) is None


# A password.

SAME = "same-as-a-password"
OPENED = tried(PINNED_BLIND, leak="database"), tried(BLIND, leak="log"), tried(BLIND, leak="wire")
UNFOUND = {leak: file_searched(leak, PASSWORD) for leak in ("database", "log", "wire")}
FOUND = {leak: with_fields(one, found_at=("byte 1",)) for leak, one in UNFOUND.items()}
WORSE = "the certificate used alone is worse than a password"


def test_a_certificate_is_worse_than_a_password_where_it_alone_got_out() -> None:
    got_out = "the certificate got out and opened an account, and the password did neither"
    others = tried(BLIND, leak="log", move="replay-proof"), file_searched("log", TRANSCRIPT_HASHES, found_at=("there",))
    assert told(SAME, UNFOUND["log"], OPENED[1], *others) == (
        *(Holding.FAILS, f"by log {got_out}", [UNFOUND["log"], OPENED[1]], WORSE),
    )
    in_vain = with_password(REFUSED, "database"), with_password(REFUSED, "database", round=2)
    more = [tried(PINNED_BLIND, leak="database", round=round_) for round_ in (2, 3)]
    assert told(SAME, UNFOUND["database"], OPENED[0], *more, *in_vain, FOUND["wire"], OPENED[2]) == (
        Holding.FAILS,
        f"by database {got_out}; by wire both did; the hashes in the register were tried as passwords, 2 times in vain",
        [UNFOUND["database"], *in_vain, OPENED[0], more[0]],
        WORSE,
    )


def test_a_certificate_is_no_worse_where_the_password_got_out_too() -> None:
    used = with_password(leak="log")
    assert told(SAME, FOUND["wire"], OPENED[2], UNFOUND["log"], used, OPENED[1]) == (
        *(Holding.HOLDS, "by wire, log both did", [used], ""),
    )
    shut = tried(BLIND, REFUSED, "wire")
    assert told(SAME, FOUND["wire"], shut, UNFOUND["log"], OPENED[1]) == (
        Holding.FAILS,
        "by log the certificate got out and opened an account, and the password did neither; by wire the password did, "
        "and the certificate did not",
        [UNFOUND["log"], OPENED[1]],
        "",
    )
    assert told(SAME, FOUND["wire"], shut) == (
        *(Holding.FAILS, "by wire the password did, and the certificate did not", [], ""),
    )
    assert told(SAME, UNFOUND["wire"], shut) == (Holding.HOLDS, "neither got out", [], "")


def test_a_search_that_finds_nothing_at_all_compares_nothing() -> None:
    missed = with_fields(UNFOUND["log"], control_at=())
    assert told(SAME, missed, OPENED[1]) is None
    assert told(SAME, UNFOUND["log"], OPENED[2]) is None
    assert told(SAME, with_password(), OPENED[2]) is None  # nowhere was it looked for
    assert told(SAME, missed, with_password(REFUSED, "log"), OPENED[1]) is not None
    assert told(SAME, file_searched("archive", PASSWORD), tried(BLIND, leak="archive")) is None  # none is in there
