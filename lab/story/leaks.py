"""The story's acts about the leaks off the wire: how the certificate got out, what mallory has, and what it opens."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import TypeAlias

from lab.capture.decrypt import alerts_of_client
from lab.catalogue.cast import CARELESS_CLIENT, CUSTOMER
from lab.catalogue.gateways import Gateway
from lab.catalogue.leaks import INTERCEPTION, LIVE_RELAY, ROGUE_SERVER, Leak
from lab.catalogue.moves import STOLEN_PASSWORD
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE
from lab.document import Block, Inline, Paragraph, Section, Span, facts
from lab.events.run import Run
from lab.events.types import (
    BundleIssued,
    CertificateCaptured,
    HandshakeDecrypted,
    Intercepted,
    KeyFound,
    LoggedIn,
    MoveTried,
    PasswordFound,
    PositionTaken,
    WentOn,
)
from lab.judging.attempts import Tried
from lab.judging.facts import port_of
from lab.judging.gateway_reports import GatewayConnection, report_in, sentence
from lab.judging.stolen import stolen_files
from lab.judging.verdicts import JudgedRun
from lab.story.evidence import let_in_as
from lab.story.places import with_gateways
from lab.story.relays import tell_relays
from lab.tls.versions import Version, find_version
from lab.words import counted, listed

MAX_NAMES = 10


Target: TypeAlias = tuple[Gateway, Version]


def tell_leak(judged: JudgedRun, leak: Leak) -> Iterator[Block] | None:
    """The act about one leak; None until it is over."""
    seen = [one for one in judged.run.all(CertificateCaptured) if one.leak == leak.id]
    targets = targets_of(judged, leak)
    over = judged.gateways and not any(judged.missing_at(leak, *target) for target in targets)
    return _tell(judged, leak, seen, targets) if seen and over else None


def targets_of(judged: JudgedRun, leak: Leak) -> list[Target]:
    """The gateways at which something was tried with what a leak yielded, in each version."""
    return [
        target
        for target in judged.plan.targets()
        if target[0].scheme.trusts in leak.certificates or _by_password(judged, leak, *target)
    ]


def _tell(judged: JudgedRun, leak: Leak, seen: list[CertificateCaptured], targets: list[Target]) -> Iterator[Block]:
    run = judged.run
    yield Paragraph(f"{leak.how[0].upper()}{leak.how[1:]}.")
    taken = [one for one in run.all(PositionTaken) if one.kind == leak.id]
    logins = _logins(run, seen) if leak == ROGUE_SERVER else ()
    yield facts(
        *(("mallory is", line) for one in taken for line in with_gateways(judged, one.detail)),
        *logins,
        *_had(run, seen),
    )
    if leak == INTERCEPTION:
        if versions := sorted({one.tls for one in _decrypted(run)} & set(_READ)):
            how = "; ".join(f"TLS {tls}: {_READ[tls]}" for tls in versions)
            yield Paragraph(f"Messages of its clients, in order ({how}):")
            yield facts(*_in_order(run))
        yield Paragraph("Then mitmproxy tried to connect to the real servers:")
        yield facts(*_went_on(judged))
    if leak == LIVE_RELAY:
        yield Paragraph("Mallory relayed alice's proofs while they were fresh:")
        yield from tell_relays(judged)
    at_each = facts(*((f"{one.id}, TLS {version}", opened(judged, leak, one, version)) for one, version in targets))
    yield Section("At the gateways:", (at_each,), "point")
    if others := _others(run, leak):
        accounts = f"account of {others[0]} was" if len(others) == 1 else f"accounts of {listed(others)} were"
        more = f"The {accounts} opened too."
        yield Paragraph(Span(more, "accepted", strong=True))


def _in_order(run: Run) -> Iterator[tuple[str, str]]:
    """Each course of a handshake with the interceptor, once. Its capture has others: from before it came, and after."""
    ways = dict.fromkeys((one.tls, one.messages, _verifies(one)) for one in _decrypted(run))
    for tls, messages, verifies in sorted(ways, key=lambda way: (way[0], not way[2])):
        parts = (f"{side}: {', '.join(name for _, name in names)}" for side, names in groupby(messages, _sender))
        yield f"{'verifies' if verifies else 'does not verify'}, TLS {tls}", "; ".join(parts)


def _decrypted(run: Run) -> Iterator[HandshakeDecrypted]:
    answered = {(one.client, one.server) for one in run.all(Intercepted)}
    return (one for one in run.all(HandshakeDecrypted) if (one.client, one.server) in answered)


_READ = {
    "1.2": "those before ChangeCipherSpec, which are plaintext",
    "1.3": "decrypted by the lab with the session keys that they logged",
}


def _verifies(one: HandshakeDecrypted) -> bool:
    """Whether this client verifies the server: its part says so, or else its alert, which only such a client sends."""
    return one.of != CARELESS_CLIENT if one.of else any(alerts_of_client(one))


def _sender(message: tuple[str, str]) -> str:
    return message[0]


def _went_on(judged: JudgedRun) -> Iterator[tuple[str, str]]:
    """The first result at each gateway, as mitmproxy and the gateway report it, in the plan's order."""
    found: dict[str, str] = {}
    for recorded in judged.run.events:
        one = recorded.event
        if not isinstance(one, WentOn):
            continue
        gateway = judged.gateways.get(port_of(one.server))
        if gateway and gateway.id not in found:
            on = GatewayConnection(gateway.id, "", one.local, find_version(one.tls))
            report = next(map(report_in, judged.reports.nearest(recorded.time, on)), None)
            found[gateway.id] = f"{one.reason or 'connected'}; the gateway reports: {sentence(report) or 'nothing'}"
    yield from ((gateway.id, found[gateway.id]) for gateway in judged.plan.served() if gateway.id in found)


def _logins(run: Run, seen: list[CertificateCaptured]) -> Iterator[tuple[str, str]]:
    """Alice's logins over the connections on which a server kept her certificate.

    Older runs do not name connections: there, all her logins at that server.
    """
    names = {one.server_random for one in seen if one.client}
    ports = {port_of(one.server) for one in seen if one.client}
    logins = [
        one for one in run.all(LoggedIn) if (one.connection in names if one.connection else port_of(one.url) in ports)
    ]
    for url in dict.fromkeys(login.url for login in logins):
        versions = sorted({login.tls for login in logins if login.url == url})
        yield "alice sees", f"{url}: its certificate is valid, and she is logged in (TLS {' and '.join(versions)})"


def _had(run: Run, seen: list[CertificateCaptured]) -> Iterator[tuple[str, str]]:
    """Each certificate once, and what came with it. Other keys than those reported would be in the attacker's
    folders."""
    no_key = "A PRIVATE KEY" if any(file.keys for file in stolen_files(run)) else "no key"
    with_key = {one.sha256 for one in run.all(KeyFound) if one.leak == seen[0].leak}
    versions: dict[tuple[str, str, bool, str], set[str]] = defaultdict(set)
    issued = [bundle.sha256 for bundle in run.all(BundleIssued)]
    for one in sorted(seen, key=lambda one: issued.index(one.sha256) if one.sha256 in issued else len(issued)):
        key = "and its private key" if one.sha256 in with_key else no_key
        versions[one.subject, one.issuer, bool(one.proof), key].add(one.tls)
    without = "no proof (mitmproxy does not expose it)" if seen[0].leak == INTERCEPTION.id else "no proof"
    for (subject, issuer, proof, key), tls in list(versions.items())[:MAX_NAMES]:
        sort = "self-signed" if issuer == subject else f"from {issuer}"
        what = f"a proof (TLS {' and '.join(sorted(tls))})" if proof else without
        yield "mallory has", f"the certificate of {subject}, {sort}; {what}; {key}"
    if len(versions) > MAX_NAMES:
        yield "", f"and {len(versions) - MAX_NAMES} more"


def _by_password(judged: JudgedRun, leak: Leak, gateway: Gateway, version: Version) -> list[Tried]:
    """The attempts as alice with what the leak yielded of her password."""
    return judged.attempts.at(leak.id, gateway, version, STOLEN_PASSWORD)


def opened(judged: JudgedRun, leak: Leak, gateway: Gateway, version: Version) -> Inline:
    """What a leak's loot opened there, in a few words with their meaning."""
    if by_password := _by_password(judged, leak, gateway, version):
        found = next((one.form for one in judged.run.all(PasswordFound) if one.leak == leak.id), "what was found of it")
        opened_so = any(one.accepted for one in by_password)
        return Span(f"opened by {found}", "accepted") if opened_so else Span(f"not opened by {found}", "refused")
    tried = [one for one in judged.verdicts_at(leak, gateway, version) if one.outcome != NOT_APPLICABLE]
    moves = [one.move for one in tried if one.outcome == ACCEPTED]
    names = Counter(map(let_in_as, tried))
    refused = names.pop("", 0)
    counts = [counted(refused, "refusal")] if refused or not names else []
    counts += [f"let in as {name} {counted(times, 'time')}" for name, times in names.items()]
    text = (
        Span(f"opened by {', '.join(moves)}", "accepted")
        if moves
        else Span(f"not opened: {', '.join(counts)}", "refused")
    )
    odd = [one.move for one in tried if not one.as_expected]
    return (text, Span(f"  FINDING: {', '.join(odd)}", "finding")) if odd else text


def _others(run: Run, leak: Leak) -> list[str]:
    """The other customers whose accounts were opened."""
    return sorted(
        {
            tried.customer
            for tried in run.all(MoveTried)
            if tried.leak == leak.id and tried.outcome == ACCEPTED and tried.customer != CUSTOMER
        }
    )
