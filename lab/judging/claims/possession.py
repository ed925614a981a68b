"""Queries about what a certificate opens without its key, and about the proof that takes the key."""

from collections.abc import Iterator

from lab.catalogue.cast import CUSTOMER
from lab.catalogue.leaks import DATABASE, ROGUE_SERVER, WIRE
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.searches import TRANSCRIPT_HASHES
from lab.events.types import CaptureSearched, CertificateCaptured, FileSearched, LoggedIn, ProofRenegotiated
from lab.judging.attempts import Tried
from lab.judging.claims.claim import Holding, Settled, numbers
from lab.judging.claims.evidence import (
    BLIND,
    CHECKING,
    NOT_WHOSE,
    accepted,
    at,
    both,
    count,
    found_something,
    in_the_clear,
    logins,
    refused,
)
from lab.judging.facts import port_of
from lab.judging.own_proof import own_proof
from lab.judging.queries import Numbered, RunQueries
from lab.judging.relays import RelayedProof
from lab.words import counted

FIRST_HANDSHAKE_AND_HASH = (
    "in a connection's first handshake, with a collision-resistant hash; in a renegotiated one mallory could, unless "
    "both sides have the extended master secret (RFC 7627), or the server renegotiates nothing, as here; certreplay "
    "triple-handshake tries it"
)
RENEGOTIATED = (
    "in TLS 1.2 with RSA key transport, at a server that asks for the certificate in a renegotiated handshake, where "
    "client or server lacks the extended master secret (RFC 7627)"
)

OF_THAT_NAME = (
    "the certificate whose key made the proof is the one with the name, and its issuer's signature is checked, or the "
    "server knows the certificate itself"
)


def checking_adds_nothing(record: RunQueries) -> Settled | None:
    checked, unchecked = at(record, CHECKING, leak=WIRE.id), at(record, BLIND, leak=WIRE.id)
    searched = record.all(CaptureSearched, found_something)
    controls = [control for scheme in CHECKING for control in record.controls(scheme)]
    if not (checked and unchecked and searched and controls):
        return None
    in_sight = [one for one in searched if one.event.key_at]
    if accepted(checked) or in_sight or not accepted(unchecked):
        because = both(checked, unchecked)
        because += "; the key itself was in the capture" if in_sight else ""
        return Settled(Holding.HOLDS, because, numbers(accepted(checked), in_sight, unchecked))
    because = (
        "they are stored together but do not travel together: the certificate was found in what mallory captured, the "
        f"key was not; {both(checked, unchecked)}"
    )
    return Settled(Holding.FAILS, because, numbers(searched, refused(checked), accepted(unchecked), controls))


def only_the_issuer_is_fooled(record: RunQueries) -> Settled | None:
    pinned = at(record, ("pinned-certificate-only",), leak=ROGUE_SERVER.id)
    others = at(record, ("certificate-only",), leak=ROGUE_SERVER.id)
    if not (pinned and others):
        return None
    fooled, issuer = accepted(others), accepted(pinned)
    if not fooled:
        return Settled(Holding.HOLDS, "what was shown to one server opened no other", numbers(others, issuer))
    if not issuer:
        because = "a certificate from an authority, shown to a shop, opened the bank; one that the bank issued did not"
        return Settled(Holding.FAILS, because, numbers(fooled, pinned))
    because = (
        "a certificate from an authority, shown to a shop, opened the bank; so did one of the bank's own, "
        f"at the gateway that accepts no other ({count(pinned)} there)"
    )
    condition = "no other server accepts the certificate, as it is self-signed and only its issuer pins it"
    return Settled(Holding.CONDITIONAL, because, numbers(fooled, issuer), condition)


def every_server_could_impersonate(record: RunQueries) -> Settled | None:
    blind, checking = (at(record, schemes, leak=ROGUE_SERVER.id) for schemes in (BLIND, CHECKING))
    if not (blind and checking):
        return None
    because = both(checking, blind)
    evidence = numbers(accepted(blind), refused(checking), accepted(checking))
    if accepted(blind) and accepted(checking):
        return Settled(Holding.HOLDS, because, evidence)
    if accepted(blind):
        return Settled(Holding.CONDITIONAL, because, evidence, "the server does not check the proof of possession")
    return Settled(Holding.FAILS, because, evidence)


def privacy_but_not_identity(record: RunQueries) -> Settled | None:
    checking, blind = at(record, CHECKING), at(record, BLIND)
    seen = record.all(CertificateCaptured, lambda seen: seen.sha256 in record.issued and CUSTOMER in seen.subject)
    if not (checking and blind and seen):
        return None
    leaks = sorted({one.event.leak for one in checking})
    with_leaks = f"with the {'leak' if len(leaks) == 1 else 'leaks'} {', '.join(leaks)}"
    because = f"it shows the name {seen[0].event.subject} to every reader; {with_leaks}, {both(checking, blind)}"
    evidence = numbers(seen, refused(checking), accepted(blind), accepted(checking))
    if accepted(checking):
        return Settled(Holding.FAILS, because, evidence)
    if accepted(blind):
        return Settled(Holding.CONDITIONAL, because, evidence, "every server that accepts it checks the proof")
    return Settled(Holding.HOLDS, because, evidence)


def database_is_a_liability(record: RunQueries) -> Settled | None:
    names = sorted({seen.event.subject for seen in record.all(CertificateCaptured, lambda s: s.leak == DATABASE.id)})
    blind = record.attempts(leak=DATABASE.id, scheme="pinned-certificate-only", move="omit-proof", customer="")
    checking = record.attempts(leak=DATABASE.id, scheme="pinned-mtls", customer="")
    if not (names and blind and checking):
        return None
    fallen = {one.event.customer for one in accepted(blind)}
    because = (
        f"the leaked register has {counted(len(names), 'customer')}, and opened {counted(len(fallen), 'account')} "
        f"where only the certificate is checked; with the same register {count(checking)} where the proof is checked"
    )
    evidence = numbers(accepted(blind), refused(checking), accepted(checking), each=4)
    return Settled(Holding.HOLDS if fallen and not accepted(checking) else Holding.FAILS, because, evidence)


def any_proof_is_enough(record: RunQueries) -> Settled | None:
    checking, loose = at(record, CHECKING), at(record, NOT_WHOSE)
    controls = [control for scheme in NOT_WHOSE for control in record.controls(scheme)]
    if not (checking and loose and controls):
        return None
    opened: dict[str, list[Tried]] = {}
    for one in accepted(loose):
        opened.setdefault(f"{one.event.move} at {one.gateway.scheme.id}", []).append(one)
    because = (
        f"where a proof is checked, but not that it belongs to the name, {count(loose)}"
        + (f" ({', '.join(sorted(opened))})" if opened else "")
        + f"; where it has to belong to the name, {count(checking)}"
    )
    evidence = numbers(*opened.values(), refused(checking), accepted(checking), each=2)
    if accepted(checking):
        return Settled(Holding.FAILS, because, evidence)
    if opened:
        return Settled(Holding.CONDITIONAL, because, evidence, OF_THAT_NAME)
    return Settled(Holding.HOLDS, because, evidence)


def proof_can_be_passed_on(record: RunQueries) -> Settled | None:
    relayed = [
        one
        for one in record.judged.relayed_proofs
        if one.gateway.scheme.id in CHECKING and one.outcome in (ACCEPTED, REFUSED)
    ]
    tried = record.all(ProofRenegotiated, lambda one: one.outcome in (ACCEPTED, REFUSED))
    if not (relayed or tried):
        return None
    got_in = [one for one in relayed if one.outcome == ACCEPTED]
    through = _through_mallory(record) if relayed else []
    taken = [one for one in tried if one.event.outcome == ACCEPTED]
    because = "; ".join((*_of_relays(relayed, got_in, through), *_of_triple_handshakes(tried, taken)))
    evidence = numbers(got_in or relayed, through, taken or tried)
    if got_in:
        return Settled(Holding.HOLDS, because, evidence)
    if taken:
        return Settled(Holding.CONDITIONAL, because, evidence, RENEGOTIATED)
    return Settled(Holding.FAILS, because, evidence, FIRST_HANDSHAKE_AND_HASH)


def _of_relays(
    relayed: list[RelayedProof], got_in: list[RelayedProof], through: list[Numbered[LoggedIn]]
) -> Iterator[str]:
    """What became of the proofs that were relayed into a first handshake."""
    if not relayed:
        return
    same_keys = sum(one.event.same_keys for one in relayed)
    takes = {one.event.key_exchange: " and ".join(one.takes) for one in relayed if one.takes}
    although = f", though {counted(same_keys, 'time')} both connections had the very same keys" if same_keys else ""
    yield (
        f"of {counted(len(relayed), 'fresh proof')} that a careless client made and mallory passed on at once, "
        f"{len(got_in)} got in where proofs are checked{although}"
    )
    if takes:
        needed = (f"with {exchange} {keys}" for exchange, keys in sorted(takes.items()))
        yield f"to pass on every message as it is and have the keys, mallory would need {', '.join(needed)}"
    if through:
        yield (
            "where she relayed every byte as it was, without any such key, the proof fitted "
            f"({counted(len(through), 'login')} where it is checked), but both ends had keys and she had none"
        )


def _of_triple_handshakes(
    tried: list[Numbered[ProofRenegotiated]], taken: list[Numbered[ProofRenegotiated]]
) -> Iterator[str]:
    """What became of the proofs that were passed on in a renegotiated handshake."""
    if tried:
        shut = dict.fromkeys(one.event.peers for one in tried if one not in taken)
        yield (
            f"by the triple handshake {len(taken)} of {len(tried)} got in between peers that the lab did not write"
            + (f", and none with {', '.join(shut)}" if shut else "")
        )


def _through_mallory(record: RunQueries) -> list[Numbered[LoggedIn]]:
    """Alice's logins where proofs are checked, at the ports where mallory's relay read her certificate."""
    read_at = {port_of(one.event.server) for one in in_the_clear(record, "1.2")}
    return [
        one
        for scheme in CHECKING
        for one in logins(record, tls="1.2", scheme=scheme)
        if port_of(one.event.url) in read_at
    ]


def client_sends_a_hash(record: RunQueries) -> Settled | None:
    """Each captured proof is checked by the key in the certificate, over the transcript, and searched for its hash."""
    proofs = record.all(CertificateCaptured, lambda seen: seen.sha256 in record.issued and bool(seen.proof))
    searched = record.all(FileSearched, lambda one: one.what == TRANSCRIPT_HASHES and bool(one.control_at))
    compared = [(one, compared) for one in proofs if (compared := own_proof(one.event))]
    signatures = [one for one, compared in compared if compared.fits_captured]
    hashes = [one for one, compared in compared if compared.captured_hash in (one.event.proof or "")]
    in_sight = [one for one in searched if one.event.found_at]
    if hashes or in_sight:
        because = f"the hash of the handshake is in {len(hashes)} of {counted(len(compared), 'proof')}"
        because += "; it was in the capture" if in_sight else ""
        return Settled(Holding.HOLDS, because, numbers(hashes, in_sight))
    if not (compared and searched) or len(signatures) < len(compared):
        return None
    sought = sum(len(one.event.sought) for one in searched)
    because = (
        f"{counted(len(signatures), 'captured proof')}: each is a signature over the handshake, valid by the "
        f"certificate's key, and has no hash in it; the capture was searched for {sought} of the hashes that were "
        "signed, and has none: the server computes the hash itself"
    )
    return Settled(Holding.FAILS, because, numbers(signatures, searched))


def needed_with_its_own_issuer(record: RunQueries) -> Settled | None:
    """Only gateways of the same implementations are compared, so that they differ in nothing else."""
    blind = at(record, BLIND[1:])
    same = {one.gateway.implementation for one in blind}
    checking = [one for one in at(record, CHECKING[1:]) if one.gateway.implementation in same]
    controls = [one for one in record.controls(CHECKING[1]) if one.gateway.implementation in same]
    if not (blind and checking and controls):
        return None
    because = f"with the self-signed certificates that the server itself issued, {both(checking, blind)}"
    evidence = numbers(accepted(blind), refused(checking), accepted(checking), controls)
    holds = accepted(blind) and not accepted(checking)
    return Settled(Holding.HOLDS if holds else Holding.FAILS, because, evidence)


def self_signed_is_useless(record: RunQueries) -> Settled | None:
    hers, tried = logins(record, scheme="pinned-mtls"), at(record, ("pinned-mtls",))
    controls = record.controls("pinned-mtls")
    if not (hers and tried and controls):
        return None
    if got_in := accepted(tried):
        return Settled(Holding.HOLDS, f"{count(tried)} with a stolen self-signed certificate", numbers(got_in))
    because = f"the server knows the certificates that it issued: alice is let in, and {count(tried)} without her key"
    return Settled(Holding.FAILS, because, numbers(hers, refused(tried), controls))
