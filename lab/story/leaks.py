"""The story's acts about the leaks other than the wire's: how it got out, what mallory has, what that opens."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby

from rich.text import Text

from lab.address import Address
from lab.capture.decrypt import alerts_of_client
from lab.catalogue.cast import CARELESS_CLIENT, CUSTOMER
from lab.catalogue.leaks import INTERCEPTION, LIVE_RELAY, ROGUE_SERVER, Leak
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE
from lab.catalogue.schemes import Scheme
from lab.document import Lines, facts
from lab.events.run import Run
from lab.events.types import CertificateCaptured, HandshakeDecrypted, LoggedIn, MoveTried, PositionTaken, WentOn
from lab.judging.attempts import Docket
from lab.judging.gateway_reports import Words, in_words
from lab.judging.verdicts import door_verdicts, missing_verdicts
from lab.story.relays import tell_relays

MAX_NAMES = 10


def tell_leak(run: Run, leak: Leak) -> Lines | None:
    """The act about one leak; None as long as it isn't over."""
    docket = Docket(run)
    seen = [one for one in run.all(CertificateCaptured) if one.leak == leak.id]
    doors = [(scheme, version) for scheme, version in docket.plan.doors() if scheme.trusts in leak.certificates]
    over = docket.schemes and not any(missing_verdicts(docket, leak.id, *door) for door in doors)
    return _tell(docket, leak, seen, doors) if seen and over else None


def _tell(docket: Docket, leak: Leak, seen: list[CertificateCaptured], doors: list[tuple[Scheme, str]]) -> Lines:
    yield Text(f"{leak.how[0].upper()}{leak.how[1:]}.")
    taken = [one for one in docket.run.all(PositionTaken) if one.kind == leak.id]
    logins = _logins(docket.run, seen) if leak == ROGUE_SERVER else ()
    yield facts(*(("mallory is", line) for one in taken for line in one.detail), *logins, *_had(docket.run, seen))
    if leak == INTERCEPTION:
        yield Text("What its clients said, in order (the lab looks inside with the session keys that they logged):")
        yield facts(*_in_order(docket.run))
        yield Text("Then mitmproxy tried to go on to the real servers:")
        yield facts(*_went_on(docket))
    if leak == LIVE_RELAY:
        yield Text("What became of her proofs, passed on while they were fresh:")
        yield from tell_relays(docket.run, only_strongest=True)
    yield Text("What that opens:")
    yield facts(*((f"  {door[0].id}, TLS {door[1]}", _opened(docket, leak, *door)) for door in doors))
    if others := _others(docket, leak):
        yield Text(f"And not alice's account alone, but those of {', '.join(others)} as well.", "bold red")


def _in_order(run: Run) -> Iterator[tuple[str, Text]]:
    """Each way in which a handshake went, once."""
    ways = dict.fromkeys((one.tls, one.messages, _verifies(one)) for one in run.all(HandshakeDecrypted))
    for tls, messages, verifies in sorted(ways, key=lambda way: (way[0], not way[2])):
        parts = (f"{side}: {', '.join(name for _, name in names)}" for side, names in groupby(messages, _sender))
        yield f"{'verifies' if verifies else 'does not verify'}, TLS {tls}", Text("; ".join(parts))


def _verifies(one: HandshakeDecrypted) -> bool:
    """By the part that it is; where no keys tell, by whether it broke off, as only who verifies does."""
    return one.of != CARELESS_CLIENT if one.of else any(alerts_of_client(one))


def _sender(message: tuple[str, str]) -> str:
    return message[0]


def _went_on(docket: Docket) -> Iterator[tuple[str, str]]:
    """What became of it at each gateway, in mitmproxy's words and in the gateway's own."""
    words = Words(docket.run)
    seen: set[str] = set()
    for recorded in docket.run.events:
        one = recorded.event
        if not isinstance(one, WentOn):
            continue
        scheme = docket.schemes.get(Address.parse(one.server).port)
        if scheme and scheme.id not in seen:
            seen.add(scheme.id)
            said = in_words(words.nearest(recorded.time, scheme, one.local, one.tls)) or "nothing"
            yield scheme.id, f"{one.reason or 'connected'}; the gateway says: {said}"


def _logins(run: Run, seen: list[CertificateCaptured]) -> Iterator[tuple[str, str]]:
    """Where alice logged in and was seen by the one whom she logged in at."""
    ports = {one.address.port for one in seen if one.address}
    logins = [login for login in run.all(LoggedIn) if Address.of_url(login.url).port in ports]
    for url in dict.fromkeys(login.url for login in logins):
        versions = sorted({login.tls for login in logins if login.url == url})
        yield "alice sees", f"{url}: its certificate is right, and she is logged in (TLS {' and '.join(versions)})"


def _had(run: Run, seen: list[CertificateCaptured]) -> Iterator[tuple[str, str]]:
    """Each certificate once, and what came with it; what lies in the attacker's folders tells of keys."""
    stolen = (path.read_bytes() for path in run.folders.path.glob("*/stolen/*"))
    key = "A PRIVATE KEY" if any(b"PRIVATE KEY-----" in content for content in stolen) else "no key"
    versions: dict[tuple[str, str, bool], set[str]] = defaultdict(set)
    for one in seen:
        versions[one.subject, one.issuer, bool(one.proof)].add(one.tls)
    without = "no proof, as mitmproxy hands none on" if seen[0].leak == INTERCEPTION.id else "no proof"
    for (subject, issuer, proof), tls in list(versions.items())[:MAX_NAMES]:
        sort = "self-signed" if issuer == subject else f"from {issuer}"
        what = f"a proof (TLS {' and '.join(sorted(tls))})" if proof else without
        yield "mallory has", f"the certificate of {subject}, {sort}; {what}; {key}"
    if len(versions) > MAX_NAMES:
        yield "", f"and {len(versions) - MAX_NAMES} more"


def _opened(docket: Docket, leak: Leak, scheme: Scheme, version: str) -> Text:
    tried = [one for one in door_verdicts(docket, leak.id, scheme, version) if one.outcome != NOT_APPLICABLE]
    opened = [one.move for one in tried if one.outcome == ACCEPTED]
    text = Text(f"opened by {', '.join(opened)}", "red") if opened else Text(f"nothing: {len(tried)} refusals", "green")
    odd = [one.move for one in tried if not one.as_expected]
    return text.append(f"  FINDING: {', '.join(odd)}", "bold yellow") if odd else text


def _others(docket: Docket, leak: Leak) -> list[str]:
    """Other customers whose accounts were opened too."""
    return sorted(
        {
            tried.customer
            for tried in docket.run.all(MoveTried)
            if tried.leak == leak.id and tried.outcome == ACCEPTED and tried.customer != CUSTOMER
        }
    )
