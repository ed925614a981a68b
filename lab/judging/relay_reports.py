"""Whether the report of a relayed proof fits its messages, and the report of the certificate that came with it."""

from collections import Counter
from collections.abc import Iterator, Sequence

from lab.catalogue.leaks import LIVE_RELAY
from lab.catalogue.outcomes import NOT_APPLICABLE
from lab.events.run import Run
from lab.events.types import CertificateCaptured, ProofRelayed
from lab.judging.attempts import NAMES_CONNECTIONS
from lab.tls.errors import Abort
from lab.tls.messages import ClientHello, Message, ServerHello
from lab.tls.messages13 import parse
from lab.tls.versions import TLS12, TLS13, find_version

_STATUS = 22
"""CertificateStatus (RFC 6066 section 8), which a server may send or not."""
_FIRST, _LAST = ("ClientHello", "ServerHello"), ("CertificateRequest", "ServerHelloDone", "Certificate")
_BEFORE_THE_PROOF = {
    (TLS12, "ECDHE"): (*_FIRST, "Certificate", "ServerKeyExchange", *_LAST, "ClientKeyExchange"),
    (TLS12, "RSA"): (*_FIRST, "Certificate", *_LAST, "ClientKeyExchange"),
    (TLS13, "ECDHE"): (
        *(*_FIRST, "EncryptedExtensions", "CertificateRequest", "Certificate", "CertificateVerify", "Finished"),
        "Certificate",
    ),
}
"""RFC 5246 section 7.3, RFC 8446 section 2, by version and key exchange, from the last ClientHello on."""


def odd_relays(run: Run) -> Iterator[str]:
    """Where such a report contradicts itself or another, a sentence each, after the event's number."""
    told = [one for one in run.events if isinstance(one.event, ProofRelayed) and one.version >= NAMES_CONNECTIONS]
    times = Counter(one.event.client_random for one in told if isinstance(one.event, ProofRelayed))
    captures = {one.client_random: one for one in run.all(CertificateCaptured) if one.leak == LIVE_RELAY.id}
    for recorded in told:
        event = recorded.event
        assert isinstance(event, ProofRelayed)
        try:
            yield from (f"{recorded.number}: {why}" for why in _odd(event, captures.get(event.client_random)))
        except (Abort, ValueError) as error:
            yield f"{recorded.number}: its messages are not readable: {error}"
        if times[event.client_random] > 1:
            yield f"{recorded.number}: the proof of one connection was relayed {times[event.client_random]} times"


def _odd(event: ProofRelayed, seen: CertificateCaptured | None) -> Iterator[str]:
    version = find_version(event.tls)
    due = _BEFORE_THE_PROOF.get((version, event.key_exchange)) if version else None
    if version is None or due is None:
        yield f"there is no proof in TLS {event.tls} after a key exchange by {event.key_exchange}"
        return
    for what, raws in (("the client signed", event.signed), ("the server checks", event.checked)):
        messages = _from_the_last_hello([parse(bytes.fromhex(raw), version) for raw in raws])
        names = tuple(message.name for message in messages if message.type != _STATUS)
        asked = what == "the client signed" or event.outcome != NOT_APPLICABLE
        if names != due if asked else names[:2] != _FIRST:
            yield f"what {what} is {', '.join(names) or 'nothing'}, and not {', '.join(due)}"
            continue
        hello, answer = messages[:2]
        assert isinstance(hello, ClientHello)
        assert isinstance(answer, ServerHello)
        if hello.random.hex() != event.client_random:
            yield f"what {what} begins with the ClientHello of another connection"
        if what == "the server checks" and answer.random.hex() != event.connection:
            yield f"what {what} has the ServerHello of another connection"
    if seen:
        theirs = seen.client, seen.server, seen.tls, seen.transcript, seen.proof
        if theirs != (event.client, event.listening, event.tls, event.signed, event.proof):
            yield "the report of the certificate that came with it says otherwise"


def _from_the_last_hello(messages: Sequence[Message]) -> Sequence[Message]:
    """Without a first ClientHello, or its hash, and the server's request for another (RFC 8446 section 4.4.1)."""
    hellos = [at for at, message in enumerate(messages) if isinstance(message, ClientHello)]
    return messages[hellos[-1] :] if hellos else messages
