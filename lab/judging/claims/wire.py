"""Queries about what is read off the wire, in TLS 1.2 and in TLS 1.3."""

from contextlib import suppress

from lab.capture.decrypt import certificate_was_sent, is_certificate
from lab.catalogue.cast import CARELESS_CLIENT
from lab.catalogue.leaks import INTERCEPTION, LOG, ROGUE_SERVER, WIRE
from lab.events.types import CaptureSearched, CertificateCaptured, HandshakeDecrypted, HandshakeSeen, Intercepted
from lab.judging.claims.claim import Holding, Settled, numbers
from lab.judging.claims.evidence import (
    BLIND,
    CHECKING,
    accepted,
    at,
    both,
    found_something,
    in_the_clear,
    listened,
    logins,
    refused,
    schemes,
)
from lab.judging.facts import certificate_in_tls13
from lab.judging.proof_comparison import chain_in
from lab.judging.queries import Numbered, RunQueries
from lab.tls import proof
from lab.tls.errors import Abort
from lab.tls.messages import Certificate, ClientHello, ClientKeyExchange
from lab.tls.versions import TLS12
from lab.words import counted, listed

FIRST_HANDSHAKE = (
    "in a connection's first handshake; a renegotiated one (RFC 5246 section 7.4.1.1) is encrypted with the keys of "
    "the one before"
)


IN_TLS12 = "TLS 1.2, in a connection's first handshake; TLS 1.3 and a renegotiation encrypt the certificate"


def certificate_in_the_clear(record: RunQueries) -> Settled | None:
    hers = logins(record, tls="1.2")
    if not (hers and listened(record)):
        return None
    seen = in_the_clear(record, "1.2")
    if not seen:
        return Settled(Holding.FAILS, "alice logged in over TLS 1.2 and no certificate was read", numbers(hers))
    first = sum(_types(one.event)[:1] == [ClientHello.type] for one in seen)
    because = (
        f"a passive listener read {counted(len(seen), 'Certificate message')} of alice's in plaintext, {first} of them "
        "in a connection's first handshake"
    )
    return Settled(Holding.CONDITIONAL, because, numbers(seen, hers), FIRST_HANDSHAKE)


def one_connection_is_enough(record: RunQueries) -> Settled | None:
    if not (logins(record, tls="1.2") and listened(record)):
        return None
    read = in_the_clear(record, "1.2")
    logged = record.all(CertificateCaptured, lambda seen: seen.leak == LOG.id and seen.sha256 in record.issued)
    used = [accepted(at(record, (scheme,), leak=WIRE.id)) for scheme in BLIND]
    used_log = accepted(at(record, BLIND, leak=LOG.id))
    kinds = {seen.event.issuer == seen.event.subject for seen in read}
    because = (
        f"one login each was enough to read alice's certificates ({_kinds(kinds)}); with what one connection showed "
        f"{counted(len(used[0]), 'attempt')} got in where an authority vouches and {len(used[1])} where the server "
        f"knows its own self-signed certificates; an access log had {counted(len(logged), 'certificate')}, and with "
        f"that {counted(len(used_log), 'attempt')} got in"
    )
    hidden, in_sight = _full_in_tls13(record), _readable_in_tls13(record)
    if hidden and not in_sight:
        because += f"; {counted(len(hidden), 'handshake')} of hers over TLS 1.3, heard as well, showed none"
    holds = len(kinds) == len(used) and all(used) and used_log
    evidence = numbers(read, *used, logged, used_log, hidden, each=2) or numbers(logins(record, tls="1.2"))
    if not holds:
        return Settled(Holding.FAILS, because, evidence)
    if in_sight:
        return Settled(Holding.HOLDS, because, evidence)
    return Settled(Holding.CONDITIONAL, because, evidence, IN_TLS12)


def _full_in_tls13(record: RunQueries) -> list[Numbered[HandshakeSeen]]:
    """The handshakes over TLS 1.3 that the listener saw; a resumed one has no certificate to hide."""
    return record.all(HandshakeSeen, lambda seen: seen.tls == "1.3" and not seen.session)


def _readable_in_tls13(record: RunQueries) -> tuple[str, ...]:
    """The events that show alice's certificate in plaintext in TLS 1.3."""
    searched = record.all(CaptureSearched, lambda one: bool(certificate_in_tls13(record.run, one)))
    return numbers(in_the_clear(record, "1.3"), searched)


def server_tls_protects(record: RunQueries) -> Settled | None:
    hers, seen = logins(record, tls="1.2"), in_the_clear(record, "1.2")
    careful = [one for one in _in_tls13(record) if one.event.of not in ("", CARELESS_CLIENT)]
    if not (hers and listened(record) and careful):
        return None
    sent = [one for one in careful if certificate_was_sent(one.event)]
    used = accepted(at(record, BLIND, leak=WIRE.id))
    because = "alice verified the server and was let in, but in TLS 1.2 her certificate was read on the way"
    because += f" and opened {schemes(used)}" if used else ""
    if not seen:
        because = "alice verified the server, and her certificate was not read"
    because += (
        "; in TLS 1.3 a client that verifies the server sent it to an interceptor in "
        f"{len(sent)} of {counted(len(careful), 'handshake')}"
    )
    evidence = numbers(seen, hers, used, careful)
    if sent:
        return Settled(Holding.FAILS, because, evidence)
    if seen:
        return Settled(Holding.CONDITIONAL, because, evidence, "TLS 1.3, and a client that verifies the server")
    return Settled(Holding.HOLDS, because, evidence)


def not_encrypted_because_of_rsa(record: RunQueries) -> Settled | None:
    """The order of the messages is in what the proof signs: everything before it, in the order in which it was sent."""
    seen = [one for one in in_the_clear(record, "1.2") if ClientKeyExchange.type in _types(one.event)]
    before = [one for one in seen if _types(one.event).index(ClientKeyExchange.type) > _last_certificate(one.event)]
    without_rsa = [one for one in before if _without_rsa(one.event)]
    if not without_rsa and len(before) == len(seen):
        return None
    because = (
        f"in {len(before)} of {counted(len(seen), 'captured handshake')} the client's Certificate came before "
        f"ClientKeyExchange, so there were no keys yet to encrypt it with; in {len(without_rsa)} of them no RSA key "
        "took part, and it was in plaintext all the same"
    )
    holding = Holding.FAILS if without_rsa and len(before) == len(seen) else Holding.HOLDS
    return Settled(holding, because, numbers(without_rsa, seen))


def tls13_encrypts(record: RunQueries) -> Settled | None:
    hers = logins(record, tls="1.3")
    handshakes = _full_in_tls13(record)
    searched = record.all(CaptureSearched, found_something)
    if not (hers and handshakes and searched):
        return None
    if in_sight := _readable_in_tls13(record):
        return Settled(Holding.FAILS, "a certificate was readable in TLS 1.3", in_sight)
    heard = counted(len(handshakes), "handshake")
    because = f"a passive listener saw {heard} of alice's over TLS 1.3, her certificate in none"
    return Settled(Holding.HOLDS, because, numbers(handshakes, hers, searched))


def tls13_is_unauthenticated(record: RunQueries) -> Settled | None:
    seen = _in_tls13(record)
    careless = [one for one in seen if one.event.of == CARELESS_CLIENT]
    careful = [one for one in seen if one.event.of not in ("", CARELESS_CLIENT)]
    got = record.all(Intercepted, lambda one: one.tls == "1.3" and one.sha256 in record.issued)
    if not (careful and careless):
        return None
    sent = [one for one in seen if certificate_was_sent(one.event)]
    because = (
        "in TLS 1.3 a client that accepts any server sent the certificate to mitmproxy in "
        f"{_of_them(sent, careless)}, and one that verifies it in {_of_them(sent, careful)}, as the server's "
        "Certificate, CertificateVerify and Finished come first"
    )
    evidence = numbers(careful, careless, got)
    if not (sent and got):
        return Settled(Holding.FAILS, because, evidence)
    if any(one in sent for one in careful):
        return Settled(Holding.HOLDS, because, evidence)
    condition = "the client does not verify the server; for one that does, it is false"
    return Settled(Holding.CONDITIONAL, because, evidence, condition)


def tls13_makes_it_irrelevant(record: RunQueries) -> Settled | None:
    got = record.all(Intercepted, lambda one: one.tls == "1.3" and one.sha256 in record.issued)
    shown = record.all(CertificateCaptured, lambda one: (one.leak, one.tls) == (ROGUE_SERVER.id, "1.3"))
    blind = [one for leak in (INTERCEPTION, ROGUE_SERVER) for one in at(record, BLIND, leak=leak.id, tls="1.3")]
    checking = [one for leak in (INTERCEPTION, ROGUE_SERVER) for one in at(record, CHECKING, leak=leak.id, tls="1.3")]
    if not ((got or shown) and blind and checking):
        return None
    times = {"an interceptor": len(got), "a shop": len(shown)}
    leaked = [f"{counted(often, 'time')} to {whom}" for whom, often in times.items() if often]
    because = f"certificates also leaked in TLS 1.3: {listed(leaked)}; in TLS 1.3, {both(checking, blind)}"
    evidence = numbers(got, shown, accepted(blind), refused(checking))
    return Settled(Holding.FAILS if accepted(blind) else Holding.HOLDS, because, evidence)


def tls13_needs_the_proof(record: RunQueries) -> Settled | None:
    blind, checking = at(record, BLIND, tls="1.3"), at(record, CHECKING, tls="1.3")
    if not (blind and checking):
        return None
    because = f"in TLS 1.3, {both(checking, blind)}"
    evidence = numbers(accepted(blind), refused(checking), accepted(checking))
    if accepted(checking) or not accepted(blind):
        return Settled(Holding.FAILS, because, evidence)
    because += ": the key exchange alone kept nobody out who made her own handshake"
    return Settled(Holding.HOLDS, because, evidence)


def _of_them(sent: list[Numbered[HandshakeDecrypted]], handshakes: list[Numbered[HandshakeDecrypted]]) -> str:
    return f"{sum(one in sent for one in handshakes)} of {counted(len(handshakes), 'handshake')}"


def _in_tls13(record: RunQueries) -> list[Numbered[HandshakeDecrypted]]:
    """The handshakes with an interceptor that can tell what a client does before it has seen who the server is.

    Those of a client that has no certificate to send, as it logs in with a password, tell nothing.
    """
    return record.all(
        HandshakeDecrypted,
        lambda one: (
            one.tls == "1.3" and _server_comes_first(one) and ("client", "Certificate, empty") not in one.messages
        ),
    )


def _server_comes_first(handshake: HandshakeDecrypted) -> bool:
    """Whether all that authenticates the server was seen before anything that authenticates the client."""
    authenticating = [
        sender
        for sender, name in handshake.messages
        if is_certificate(name) or name in ("CertificateVerify", "Finished")
    ]
    return authenticating[:3] == ["server"] * 3


def _kinds(self_signed: set[bool]) -> str:
    names = {False: "from an authority", True: "self-signed"}
    return " and ".join(names[one] for one in sorted(self_signed)) or "none"


def _types(seen: CertificateCaptured) -> list[int]:
    """The handshake messages that the proof signs, by type (RFC 5246 section 7.4), in order."""
    return [int(raw[:2], 16) for raw in seen.transcript]


def _last_certificate(seen: CertificateCaptured) -> int:
    """The place of the client's Certificate message, the last one; behind all of them if there is none."""
    types = _types(seen)
    return max((at for at, type_ in enumerate(types) if type_ == Certificate.type), default=len(types))


def _without_rsa(seen: CertificateCaptured) -> bool:
    """Whether neither side's certificate has an RSA key; then nothing there is encrypted or signed by RSA."""
    with suppress(Abort):
        messages = map(bytes.fromhex, seen.transcript)
        keys = [proof.public_key(chain_in(one, TLS12)[0]) for one in messages if one[0] == Certificate.type]
        return len(keys) > 1 and not any(proof.key_kind(key).startswith("RSA") for key in keys)
    return False
