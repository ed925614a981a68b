"""Queries about where the key and the certificate go: who is shown the one, and who has the other."""

from lab.catalogue.cast import BY_REQUEST
from lab.catalogue.leaks import ARCHIVE, DATABASE, LOG, REQUESTS, ROGUE_SERVER, WIRE
from lab.events.types import (
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    GatewayListening,
    KeyFound,
    LoggedIn,
    LoginDecrypted,
    LoginFailed,
    PositionLeft,
)
from lab.judging.attempts import Tried
from lab.judging.claims.claim import Holding, Settled, numbers
from lab.judging.claims.evidence import (
    BLIND,
    CHECKING,
    ON_THE_WIRE,
    accepted,
    at,
    count,
    found_something,
    logins,
    refused,
    scheme_of,
)
from lab.judging.queries import Numbered, RunQueries
from lab.words import counted

CAREFUL_LEAKS = (WIRE, ROGUE_SERVER, LOG, ARCHIVE, DATABASE)
"""The leaks of a client that verifies every server."""


def shown_to_nobody_else(record: RunQueries) -> Settled | None:
    tried = [leak for leak in CAREFUL_LEAKS if leak.id in record.judged.plan.leaks]
    hers = logins(record)
    if not (tried and hers):
        return None
    seen = record.all(CertificateCaptured, lambda one: one.sha256 in record.issued)
    got = {leak: [one for one in seen if one.event.leak == leak.id] for leak in tried}
    if not any(got.values()):
        ways = " or ".join(leak.id for leak in tried)
        because = f"alice logged in, and nobody else had her certificate by the leak {ways}"
        return Settled(Holding.HOLDS, because, numbers(hers))
    had = {leak: counted(len(some), "time") for leak, some in got.items() if some}
    ways = "; ".join(f"{times} by the leak {leak.id} ({leak.how})" for leak, times in had.items())
    because = f"alice verified every server, and yet others had her certificates: {ways}"
    return Settled(Holding.FAILS, because, numbers(*got.values(), each=2))


def key_can_be_passed_on_too(record: RunQueries) -> Settled | None:
    tried = [one for one in record.judged.attempts.all if not one.event.leak and one.gateway.scheme.id in CHECKING]
    if not tried:
        return None
    because = (
        f"with alice's key {count(tried)} where the proof is checked: anybody with the key gets in as alice, so a "
        "client must keep its key secret; its certificate need not be secret there"
    )
    holding = Holding.HOLDS if len(accepted(tried)) == len(tried) else Holding.FAILS
    return Settled(holding, because, numbers(accepted(tried), refused(tried)))


def key_never_goes_to_the_server(record: RunQueries) -> Settled | None:
    hers, searched = logins(record), record.all(CaptureSearched, found_something)
    if not (hers and searched):
        return None
    in_sight = [one for one in searched if one.event.key_at]
    if in_sight:
        return Settled(Holding.FAILS, f"the key was on the wire: {in_sight[0].event.key_at[0]}", numbers(in_sight))
    search = searched[0].event
    keys = search.keys or 1
    read = record.all(LoginDecrypted, lambda login: login.tls == "1.3")
    because = (
        "alice's TLS library was given the key; the search of what mallory had captured by then, "
        f"{counted(search.connections, 'connection')}, for {counted(keys, 'key')} of hers in "
        f"{counted(len(search.key_forms) // keys, 'form')}{'' if keys == 1 else ' each'} finds none, while it finds "
        "her certificate. It cannot see into encrypted records"
    )
    if later := _after_the_capture(record, hers):
        because += f", and {later} of her {counted(len(hers), 'login')} came after that capture"
    if read:
        names = dict.fromkeys(name for one in read for sender, name, *_ in one.event.messages if sender == "client")
        because += (
            f"; in the {counted(len(read), 'handshake')} over TLS 1.3 that the lab decrypted, the client's messages "
            f"were {', '.join(names)}"
        )
    return Settled(Holding.HOLDS, because, numbers(searched, hers, read))


def _after_the_capture(record: RunQueries, hers: list[Numbered[LoggedIn]]) -> int:
    """How many of alice's logins came when mallory had left the wire, or when her capture had been searched."""
    order = {recorded.number: place for place, recorded in enumerate(record.run.events)}
    ends = numbers(record.all(PositionLeft, lambda one: one.kind in ON_THE_WIRE), record.all(CaptureSearched))
    return sum(order[one.number] > min(map(order.__getitem__, ends)) for one in hers)


def issuer_has_the_key(record: RunQueries) -> Settled | None:
    """The same leak twice: of an issuer that made the keys, and of one that signed requests."""
    made, asked = at_checking(record, ARCHIVE.id), at_checking(record, REQUESTS.id)
    found = record.all(KeyFound)
    keys = {leak: [one for one in found if one.event.leak == leak] for leak in (ARCHIVE.id, REQUESTS.id)}
    own = record.all(LoggedIn, lambda one: one.gateway.endswith(BY_REQUEST))
    blind = accepted(at(record, BLIND, leak=REQUESTS.id))
    if not (made and asked and own and blind):
        return None
    because = (
        f"an issuer that made alice's keys and kept what it handed out had {counted(len(keys[ARCHIVE.id]), 'key')} to "
        f"lose: with that {count(made)} where the proof is checked; where alice made the key and sent a request, what "
        f"the issuer kept has {counted(len(keys[REQUESTS.id]), 'key')}, and with that {count(asked)} there, while "
        "alice is let in with hers"
    )
    evidence = numbers(keys[ARCHIVE.id], accepted(made), keys[REQUESTS.id], refused(asked), own)
    if accepted(asked):
        return Settled(Holding.HOLDS, because, evidence)
    if accepted(made):
        condition = "the issuer made it, and did not delete it; one that signs a request never has it"
        return Settled(Holding.CONDITIONAL, because, evidence, condition)
    return Settled(Holding.FAILS, because, evidence)


def at_checking(record: RunQueries, leak: str) -> list[Tried]:
    """The attempts where the proof is checked: with the key where the leak gave it, without it where it did not."""
    with_key = [one for scheme in CHECKING for one in record.with_the_key(leak, scheme)]
    return with_key or at(record, CHECKING, leak=leak)


def server_needs_no_keys(record: RunQueries) -> Settled | None:
    """A gateway that was listening before a certificate existed cannot have known the key in it."""
    listening = record.all(GatewayListening, lambda one: scheme_of(one.gateway) in CHECKING)
    late = record.all(BundleIssued)[-1:]
    order = {recorded.number: place for place, recorded in enumerate(record.run.events)}
    if not (listening and late and all(order[one.number] < order[late[0].number] for one in listening)):
        return None
    sha256 = late[0].event.sha256
    ins = [one for one in logins(record, scheme=CHECKING[0]) if one.event.sha256 == sha256]
    failed = record.all(LoginFailed, lambda one: one.gateway.endswith(BY_REQUEST))
    outs = {scheme: [one for one in failed if scheme_of(one.event.gateway) == scheme] for scheme in CHECKING}
    if not (ins or outs[CHECKING[0]]):
        return None
    because = (
        f"the gateways were listening before alice's last certificate was issued; {CHECKING[0]}, which knows the "
        f"authority alone, let her in with it {counted(len(ins), 'time')} and refused her "
        f"{counted(len(outs[CHECKING[0]]), 'time')}; {CHECKING[1]}, which goes by a list, refused her "
        f"{counted(len(outs[CHECKING[1]]), 'time')}"
    )
    holds = ins and not outs[CHECKING[0]]
    evidence = numbers(listening, late, ins, *outs.values())
    return Settled(Holding.HOLDS if holds else Holding.FAILS, because, evidence)
