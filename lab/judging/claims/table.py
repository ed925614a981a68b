"""The claims, and for each the query on a run that settles it."""

from lab.capture.decrypt import certificate_was_sent, is_certificate
from lab.catalogue.cast import CARELESS_CLIENT, CUSTOMER, VICTIM_CLIENT
from lab.catalogue.leaks import DATABASE, INTERCEPTION, LIVE_RELAY, ROGUE_SERVER, WIRE
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.events.types import (
    CaptureSearched,
    CertificateCaptured,
    HandshakeDecrypted,
    HandshakeSeen,
    Intercepted,
    LoggedIn,
    PositionTaken,
)
from lab.judging.attempts import Tried
from lab.judging.claims.claim import Claim, Holding, Settled, numbers
from lab.judging.facts import certificate_in_tls13
from lab.judging.queries import Numbered, RunQueries

QUESTIONER, ANSWER, COMMENT = "the questioner", "an answer", "a comment"

_CHECKING = ("mtls", "pinned-mtls")
"""The schemes that check the proof, as the RFCs have it."""
_BLIND = ("certificate-only", "pinned-certificate-only")
"""The schemes that ask for the certificate only."""


def _in_the_clear(record: RunQueries, tls: str) -> list[Numbered[CertificateCaptured]]:
    """Alice's own certificates, read off the wire in a version."""
    return record.all(
        CertificateCaptured,
        lambda seen: (seen.leak, seen.tls) == (WIRE.id, tls) and bool(seen.message) and seen.sha256 in record.issued,
    )


def _logins(record: RunQueries, *, tls: str = "", scheme: str = "") -> list[Numbered[LoggedIn]]:
    """Alice's own logins; she verifies the server each time."""
    return record.all(
        LoggedIn,
        lambda login: tls in ("", login.tls) and scheme in ("", scheme_of(login.gateway)),
        part=VICTIM_CLIENT,
    )


def scheme_of(gateway: str) -> str:
    """The scheme in a gateway's id."""
    return gateway.partition("@")[0]


def _at(record: RunQueries, schemes: tuple[str, ...], leak: str = "", tls: str = "", move: str = "") -> list[Tried]:
    return [tried for one in schemes for tried in record.attempts(leak=leak, scheme=one, tls=tls, move=move)]


def _accepted(tried: list[Tried]) -> list[Tried]:
    return [one for one in tried if one.accepted]


def _refused(tried: list[Tried]) -> list[Tried]:
    return [one for one in tried if not one.accepted]


def _count(tried: list[Tried]) -> str:
    return f"{len(_accepted(tried))} of {len(tried)} attempts succeeded"


def _both(checking: list[Tried], blind: list[Tried]) -> str:
    return f"where the proof is checked {_count(checking)}, where only the certificate is asked for {_count(blind)}"


def _found_something(searched: CaptureSearched) -> bool:
    """A search that misses what is there proves nothing about the rest."""
    return bool(searched.certificate_at)


def _listened(record: RunQueries) -> bool:
    """Whether an attacker was on the wire; without one, that nothing was read proves nothing."""
    return bool(record.all(PositionTaken, lambda taken: taken.kind in ("relay", "arp")))


def certificate_in_the_clear(record: RunQueries) -> Settled | None:
    logins = _logins(record, tls="1.2")
    if not (logins and _listened(record)):
        return None
    seen = _in_the_clear(record, "1.2")
    if not seen:
        return Settled(Holding.FAILS, "alice logged in over TLS 1.2 and no certificate was read", numbers(logins))
    because = f"a passive listener read {len(seen)} Certificate messages with alice's certificates in plaintext"
    return Settled(Holding.HOLDS, because, numbers(seen, logins))


def server_tls_protects(record: RunQueries) -> Settled | None:
    logins, seen = _logins(record, tls="1.2"), _in_the_clear(record, "1.2")
    if not (logins and _listened(record)):
        return None
    if not seen:
        return Settled(Holding.HOLDS, "alice verified the server, and her certificate was not read", numbers(logins))
    used = _accepted(_at(record, _BLIND, leak=WIRE.id))
    because = "alice verified the server and was let in, but her certificate was read on the way"
    because += f" and opened {_schemes(used)}" if used else ""
    return Settled(Holding.FAILS, because, numbers(seen, logins, used))


def checking_adds_nothing(record: RunQueries) -> Settled | None:
    checked, unchecked = _at(record, _CHECKING, leak=WIRE.id), _at(record, _BLIND, leak=WIRE.id)
    searched = record.all(CaptureSearched, _found_something)
    controls = [control for scheme in _CHECKING for control in record.controls(scheme)]
    if not (checked and unchecked and searched and controls):
        return None
    in_sight = [one for one in searched if one.event.key_at]
    if _accepted(checked) or in_sight or not _accepted(unchecked):
        because = _both(checked, unchecked)
        because += "; the key itself was in the capture" if in_sight else ""
        return Settled(Holding.HOLDS, because, numbers(_accepted(checked), in_sight, unchecked))
    because = (
        "they are stored together but do not travel together: the certificate crossed the wire, the key did not; "
        f"{_both(checked, unchecked)}"
    )
    return Settled(Holding.FAILS, because, numbers(searched, _refused(checked), _accepted(unchecked), controls))


def only_the_issuer_is_fooled(record: RunQueries) -> Settled | None:
    pinned = _at(record, ("pinned-certificate-only",), leak=ROGUE_SERVER.id)
    others = _at(record, ("certificate-only",), leak=ROGUE_SERVER.id)
    if not (pinned and others):
        return None
    fooled, issuer = _accepted(others), _accepted(pinned)
    if not fooled:
        return Settled(Holding.HOLDS, "what was shown to one server opened no other", numbers(others, issuer))
    if not issuer:
        because = "a certificate from an authority, shown to a shop, opened the bank; one that the bank issued did not"
        return Settled(Holding.FAILS, because, numbers(fooled, pinned))
    because = (
        "a certificate from an authority, shown to a shop, opened the bank; so did one of the bank's own, "
        f"at the gateway that accepts no other ({_count(pinned)} there)"
    )
    condition = "works only at its issuer, the very server it must not fool"
    return Settled(Holding.CONDITIONAL, because, numbers(fooled, issuer), condition)


def every_server_could_impersonate(record: RunQueries) -> Settled | None:
    blind, checking = (_at(record, schemes, leak=ROGUE_SERVER.id) for schemes in (_BLIND, _CHECKING))
    if not (blind and checking):
        return None
    because = _both(checking, blind)
    evidence = numbers(_accepted(blind), _refused(checking), _accepted(checking))
    if _accepted(blind) and _accepted(checking):
        return Settled(Holding.HOLDS, because, evidence)
    if _accepted(blind):
        return Settled(Holding.CONDITIONAL, because, evidence, "the server asks for no proof of possession")
    return Settled(Holding.FAILS, because, evidence)


def privacy_but_not_identity(record: RunQueries) -> Settled | None:
    checking, blind = _at(record, _CHECKING), _at(record, _BLIND)
    seen = record.all(CertificateCaptured, lambda seen: seen.sha256 in record.issued and CUSTOMER in seen.subject)
    if not (checking and blind and seen):
        return None
    leaks = sorted({one.event.leak for one in checking})
    with_leaks = f"with the {'leak' if len(leaks) == 1 else 'leaks'} {', '.join(leaks)}"
    because = f"it shows the name {seen[0].event.subject} to every reader; {with_leaks}, {_both(checking, blind)}"
    evidence = numbers(seen, _refused(checking), _accepted(blind), _accepted(checking))
    if _accepted(checking):
        return Settled(Holding.FAILS, because, evidence)
    if _accepted(blind):
        return Settled(Holding.CONDITIONAL, because, evidence, "every server that knows it checks the proof")
    return Settled(Holding.HOLDS, because, evidence)


def database_is_a_liability(record: RunQueries) -> Settled | None:
    names = sorted({seen.event.subject for seen in record.all(CertificateCaptured, lambda s: s.leak == DATABASE.id)})
    blind = record.attempts(leak=DATABASE.id, scheme="pinned-certificate-only", move="omit-proof", customer="")
    checking = record.attempts(leak=DATABASE.id, scheme="pinned-mtls", customer="")
    if not (names and blind and checking):
        return None
    fallen = {one.event.customer for one in _accepted(blind)}
    because = (
        f"of {len(names)} customers in the leaked register {len(fallen)} were compromised where only the certificate "
        f"is asked for; with the same register {_count(checking)} where the proof is checked"
    )
    evidence = numbers(_accepted(blind), _refused(checking), _accepted(checking), each=4)
    return Settled(Holding.HOLDS if fallen and not _accepted(checking) else Holding.FAILS, because, evidence)


def tls13_encrypts(record: RunQueries) -> Settled | None:
    logins = _logins(record, tls="1.3")
    handshakes = record.all(HandshakeSeen, lambda seen: seen.tls == "1.3")
    searched = record.all(CaptureSearched, _found_something)
    if not (logins and handshakes and searched):
        return None
    in_sight = [one for one in searched if certificate_in_tls13(record.run, one.event)]
    read = _in_the_clear(record, "1.3")
    if read or in_sight:
        return Settled(Holding.FAILS, "a certificate was readable in TLS 1.3", numbers(read, in_sight))
    because = f"a passive listener saw {len(handshakes)} of alice's handshakes over TLS 1.3, her certificate in none"
    return Settled(Holding.HOLDS, because, numbers(handshakes, logins, searched))


def tls13_is_unauthenticated(record: RunQueries) -> Settled | None:
    seen = record.all(HandshakeDecrypted, lambda one: one.tls == "1.3" and _server_comes_first(one))
    careless = [one for one in seen if one.event.of == CARELESS_CLIENT]
    careful = [one for one in seen if one.event.of not in ("", CARELESS_CLIENT)]
    got = record.all(Intercepted, lambda one: one.tls == "1.3" and one.sha256 in record.issued)
    if not (careful and careless):
        return None
    sent = [one for one in seen if certificate_was_sent(one.event)]
    because = (
        f"of {len(careless)} clients that accept any server {len([one for one in careless if one in sent])} sent the "
        f"certificate to mitmproxy in TLS 1.3; of {len(careful)} that verified it "
        f"{len([one for one in careful if one in sent])} did, as the server's Certificate, CertificateVerify and "
        "Finished come first"
    )
    evidence = numbers(careful, careless, got)
    if not (sent and got):
        return Settled(Holding.FAILS, because, evidence)
    if any(one in sent for one in careful):
        return Settled(Holding.HOLDS, because, evidence)
    return Settled(Holding.CONDITIONAL, because, evidence, "the client does not verify the server")


def tls13_makes_it_irrelevant(record: RunQueries) -> Settled | None:
    got = record.all(Intercepted, lambda one: one.tls == "1.3" and one.sha256 in record.issued)
    shown = record.all(CertificateCaptured, lambda one: (one.leak, one.tls) == (ROGUE_SERVER.id, "1.3"))
    blind = [one for leak in (INTERCEPTION, ROGUE_SERVER) for one in _at(record, _BLIND, leak=leak.id, tls="1.3")]
    checking = [one for leak in (INTERCEPTION, ROGUE_SERVER) for one in _at(record, _CHECKING, leak=leak.id, tls="1.3")]
    if not ((got or shown) and blind and checking):
        return None
    because = (
        f"certificates also leaked in TLS 1.3: {len(got)} to an interceptor and {len(shown)} to a shop; "
        f"in TLS 1.3, {_both(checking, blind)}"
    )
    evidence = numbers(got, shown, _accepted(blind), _refused(checking))
    return Settled(Holding.FAILS if _accepted(blind) else Holding.HOLDS, because, evidence)


def proof_can_be_passed_on(record: RunQueries) -> Settled | None:
    relayed = [
        one
        for one in record.judged.relayed_proofs
        if one.gateway.scheme.id in _CHECKING and one.outcome in (ACCEPTED, REFUSED)
    ]
    if not relayed:
        return None
    got_in = [one for one in relayed if one.outcome == ACCEPTED]
    same_keys = sum(one.event.same_keys for one in relayed)
    takes = {one.event.key_exchange: sorted(one.takes) for one in relayed if one.takes}
    because = (
        f"of {len(relayed)} fresh proofs that a careless client made and mallory passed on at once, {len(got_in)} got "
        "in where proofs are checked"
    )
    because += f", though {same_keys} times both connections had the very same keys" if same_keys else ""
    if takes:
        needed = (f"with {exchange} {_all_of(keys)}" for exchange, keys in sorted(takes.items()))
        because += f"; to make the two transcripts equal, mallory would need {'; '.join(needed)}"
    evidence = numbers(got_in or relayed)
    return Settled(Holding.HOLDS if got_in else Holding.FAILS, because, evidence)


def self_signed_is_useless(record: RunQueries) -> Settled | None:
    logins, tried = _logins(record, scheme="pinned-mtls"), _at(record, ("pinned-mtls",))
    controls = record.controls("pinned-mtls")
    if not (logins and tried and controls):
        return None
    if got_in := _accepted(tried):
        return Settled(Holding.HOLDS, f"{_count(tried)} with a stolen self-signed certificate", numbers(got_in))
    because = f"the server knows the certificates that it issued: alice is let in, and {_count(tried)} without her key"
    return Settled(Holding.FAILS, because, numbers(logins, _refused(tried), controls))


def _all_of(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"all of {', '.join(keys)}"


def _server_comes_first(handshake: HandshakeDecrypted) -> bool:
    """Whether all that authenticates the server was seen before anything that authenticates the client."""
    authenticating = [
        sender
        for sender, name in handshake.messages
        if is_certificate(name) or name in ("CertificateVerify", "Finished")
    ]
    return authenticating[:3] == ["server"] * 3


def _schemes(tried: list[Tried]) -> str:
    return " and ".join(dict.fromkeys(one.gateway.scheme.id for one in tried))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "certificate-in-the-clear",
        ANSWER,
        "In TLS 1.2 the client's Certificate message is not encrypted.",
        "A passive listener on alice's way to the bank reads what she sends.",
        certificate_in_the_clear,
        leaks=(WIRE,),
    ),
    Claim(
        "server-tls-protects",
        QUESTIONER,
        "The server authenticates itself by TLS, so a man in the middle never gets to see the client's certificate.",
        "Alice verifies the bank in every login; does the listener have her certificate nevertheless?",
        server_tls_protects,
        leaks=(WIRE,),
    ),
    Claim(
        "checking-adds-nothing",
        QUESTIONER,
        "Key and certificate are stored together: a thief of one has the other, so checking the key adds nothing.",
        "Is the key anywhere in the capture that has the certificate? What opens with the certificate alone?",
        checking_adds_nothing,
        leaks=(WIRE,),
        schemes=(_CHECKING, _BLIND),
    ),
    Claim(
        "only-the-issuer-is-fooled",
        COMMENT,
        "Nobody but the server that issued the certificate could be fooled with it.",
        "A shop keeps what alice shows it, and tries it at gateways that trust an authority and at the issuer's own.",
        only_the_issuer_is_fooled,
        leaks=(ROGUE_SERVER,),
        schemes=(_BLIND[:1], _BLIND[1:]),
    ),
    Claim(
        "every-server-could-impersonate",
        ANSWER,
        "Every server that was ever shown the certificate could impersonate its owner.",
        "A shop that alice properly verified keeps what she showed and tries it at the bank.",
        every_server_could_impersonate,
        leaks=(ROGUE_SERVER,),
        schemes=(_CHECKING, _BLIND),
    ),
    Claim(
        "privacy-but-not-identity",
        ANSWER,
        "A leaked certificate costs its owner privacy, but not her identity.",
        "Every leak and every move, where the proof is checked and where only the certificate is asked for.",
        privacy_but_not_identity,
        schemes=(_CHECKING, _BLIND),
    ),
    Claim(
        "database-is-a-liability",
        ANSWER,
        "Certificates used as passwords make the server's list of them a liability, like passwords in the clear.",
        "The bank's register leaks; every customer in it is tried where only the certificate is asked for and where "
        "the proof is checked.",
        database_is_a_liability,
        leaks=(DATABASE,),
        schemes=(_BLIND[1:], _CHECKING[1:]),
    ),
    Claim(
        "tls13-encrypts",
        COMMENT,
        "TLS 1.3 encrypts the client's Certificate.",
        "The same client over TLS 1.3, and a search of the whole capture for her certificate.",
        tls13_encrypts,
        leaks=(WIRE,),
    ),
    Claim(
        "tls13-is-unauthenticated",
        COMMENT,
        "In TLS 1.3 that encryption is not authenticated yet, so a man in the middle can still get the certificate.",
        "mitmproxy in the bank's place, asking a careful client and a careless one for their certificates.",
        tls13_is_unauthenticated,
        leaks=(INTERCEPTION,),
    ),
    Claim(
        "tls13-makes-it-irrelevant",
        COMMENT,
        "With TLS 1.3 the question is irrelevant.",
        "What leaks in TLS 1.3, to an interceptor and to a shop, and what it opens.",
        tls13_makes_it_irrelevant,
        leaks=(INTERCEPTION, ROGUE_SERVER),
        schemes=(_CHECKING, _BLIND),
    ),
    Claim(
        "proof-can-be-passed-on",
        COMMENT,
        "A man in the middle could pass the proof on while it is fresh, so checking it does not help against him.",
        "A careless client's fresh proof goes into mallory's own handshake, also where both sides share all keys.",
        proof_can_be_passed_on,
        leaks=(LIVE_RELAY,),
        schemes=(_CHECKING,),
    ),
    Claim(
        "self-signed-is-useless",
        COMMENT,
        "Authenticating clients with self-signed certificates is useless: no authority vouches for them.",
        "The bank knows the self-signed certificates that it issued, and checks the proof.",
        self_signed_is_useless,
        schemes=(_CHECKING[1:],),
    ),
)
