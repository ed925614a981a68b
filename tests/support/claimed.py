"""Claims settled by a few events made by hand: the bank's gateways are there, and alice's certificate is issued."""

import dataclasses
from typing import NamedTuple

from handmade import ATTACKER, LOGIN, SEEN, SHA256, TRIED, run_of, with_fields
from lab.catalogue.cast import VICTIM_CLIENT
from lab.catalogue.moves import STOLEN_KEY, STOLEN_PASSWORD
from lab.catalogue.outcomes import ACCEPTED, Outcome
from lab.events.types import (
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    Event,
    FileSearched,
    GatewayListening,
    HandshakeDecrypted,
    HandshakeSeen,
    LoggedIn,
    MoveTried,
    PositionTaken,
)
from lab.judging.claims import CLAIMS, Holding
from lab.judging.queries import RunQueries
from lab.judging.relays import RelayedProof
from lab.judging.verdicts import JudgedRun

PORTS = {
    "mtls@openssl": 9001,
    "pinned-mtls@openssl": 9002,
    "pinned-mtls@instrument": 9003,
    "certificate-only@instrument": 9004,
    "pinned-certificate-only@instrument": 9005,
    "names-only@instrument": 9006,
    "any-certificate-of-the-chain@instrument": 9007,
    "password@openssl": 9008,
}
MTLS, PINNED = "mtls@openssl", "pinned-mtls@instrument"
BLIND, PINNED_BLIND = "certificate-only@instrument", "pinned-certificate-only@instrument"
NAMES_ONLY, ANY_OF_CHAIN = "names-only@instrument", "any-certificate-of-the-chain@instrument"
PASSWORD = "password@openssl"
ISSUED = BundleIssued("CN=alice", "CN=ca", SHA256, "p256", "", ("alice.pem",))
LISTENING = tuple(GatewayListening(gateway, "127.0.0.1", port, ("1.2", "1.3")) for gateway, port in PORTS.items())
RELAY = PositionTaken("relay", ())
SEARCHED = CaptureSearched(5, 1000, 0, 0, 0, ("here",), ("der", "pem"), ())
NOT_HERS = "00" * 32
"""The fingerprint of a certificate that nobody issued to alice."""


class Told(NamedTuple):
    """A claim's verdict with its evidence as events."""

    holding: Holding
    because: str
    evidence: list[Event]
    condition: str = ""


def told(claim: str, *events: Event, relayed: tuple[RelayedProof, ...] = ()) -> Told | None:
    """What the events settle of a claim: they follow those of the gateways, and of a certificate that was issued."""
    return told_from_the_start(claim, *LISTENING, ISSUED, *events, relayed=relayed)


def told_from_the_start(claim: str, *events: Event, relayed: tuple[RelayedProof, ...] = ()) -> Told | None:
    """The same of these events alone. Alice's logins are hers, unless `LAB_LOGIN` is in their address."""
    run = run_of(*events)
    for at, one in enumerate(run.events):
        if isinstance(one.event, LoggedIn) and LAB_LOGIN not in one.event.url:
            run.events[at] = dataclasses.replace(one, part=VICTIM_CLIENT)
    by_number = {one.number: one.event for one in run.events} | {one.number: one.event for one in relayed}
    judged = JudgedRun(run)
    judged.__dict__["relayed_proofs"] = list(relayed)
    (decide,) = (one.decide for one in CLAIMS if one.id == claim)
    settled = decide(RunQueries(judged))
    if settled is None:
        return None
    evidence = [by_number[number] for number in settled.evidence]
    return Told(settled.holding, settled.because, evidence, settled.condition)


LAB_LOGIN = "control.example"


def login(tls: str = "1.2", gateway: str = MTLS, **fields: object) -> LoggedIn:
    url = f"https://127.0.0.1:{PORTS.get(gateway, 9001)}"
    return with_fields(LOGIN, tls=tls, gateway=gateway, **{"url": url} | fields)


NOT_HER_LOGINS = (
    *(login(tls, resumed=True) for tls in ("1.2", "1.3")),
    *(login(tls, sha256="") for tls in ("1.2", "1.3")),
    *(login(tls, url=f"https://{LAB_LOGIN}") for tls in ("1.2", "1.3")),
)
"""Those without her certificate in the handshake, and those of somebody else."""


def seen(leak: str = "wire", tls: str = "1.2", **fields: object) -> CertificateCaptured:
    return with_fields(SEEN, leak=leak, tls=tls, **fields)


def tried(gateway: str, outcome: Outcome = ACCEPTED, leak: str = "wire", **fields: object) -> MoveTried:
    """An attempt to get in as alice."""
    server = f"127.0.0.1:{PORTS[gateway]}"
    return with_fields(TRIED, server=server, local=ATTACKER, outcome=outcome, leak=leak, **fields)


def with_key(gateway: str, outcome: Outcome = ACCEPTED, leak: str = "", **fields: object) -> MoveTried:
    """The control, or the same with a key that leaked."""
    return tried(gateway, outcome, leak, move=STOLEN_KEY, **fields)


def with_password(outcome: Outcome = ACCEPTED, leak: str = "wire", **fields: object) -> MoveTried:
    return tried(PASSWORD, outcome, leak, move=STOLEN_PASSWORD, **fields)


def handshake(session: str = "", tls: str = "1.3") -> HandshakeSeen:
    return HandshakeSeen("127.0.0.2:1", "127.0.0.1:9001", tls, "", "aa", "bb", (), (), True, session)


SERVER_FIRST = (("server", "Certificate"), ("server", "CertificateVerify"), ("server", "Finished"))


def decrypted(
    of: str, *messages: str, tls: str = "1.3", server: tuple[tuple[str, str], ...] = SERVER_FIRST
) -> HandshakeDecrypted:
    """A handshake with an interceptor: the server's messages, then these of the client's."""
    sent = tuple(("client", one) for one in messages)
    return HandshakeDecrypted("127.0.0.2:1", "127.0.0.1:1", tls, (("client", "ClientHello"), *server, *sent), of)


def file_searched(leak: str, what: str, **fields: object) -> FileSearched:
    """A search that found nothing but its control."""
    return with_fields(FileSearched(leak, "a file", what, ("one",), (), "a name", ("byte 1",)), **fields)
