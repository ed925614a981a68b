"""Rules that one event of a run has to keep, by itself or beside what others tell of the same thing.

Each rule is a row of `RULES`: the kind of event, and what is wrong with one, a sentence each. What compares whole
accounts of an attempt is in `lab.judging.witnesses`, what compares events with files in `lab.judging.recomputed`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from lab.address import find_address
from lab.capture.decrypt import CCS, is_certificate
from lab.catalogue.cast import BY_REQUEST
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.checks import Check
from lab.catalogue.gateways import Gateway, find_gateway
from lab.catalogue.leaks import INTERCEPTION, LEAKS, ROGUE_SERVER, WIRE, LootKind, find_leak
from lab.catalogue.moves import STOLEN_PASSWORD, find_move
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.plan import Plan
from lab.catalogue.shapes import ProofShape
from lab.events.run import Run
from lab.events.types import (
    CLASSROOM,
    EMBEDDED,
    PASSWORD,
    PASSWORD_HASH,
    BundleIssued,
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    GatewayListening,
    HandshakeSeen,
    Intercepted,
    KeyFound,
    LoggedIn,
    LoginDecrypted,
    LoginFailed,
    MoveTried,
    PasswordFound,
    PositionTaken,
    ProofRelayed,
    RunStarted,
    WentOn,
)
from lab.judging.attempts import NAMES_CONNECTIONS
from lab.judging.facts import (
    captured_certificates,
    common_name,
    listening_gateways,
    plan_of,
    port_of,
    read_certificate,
    student_in,
)
from lab.tls.alerts import alert_name
from lab.tls.messages import CertificateVerify, Finished
from lab.tls.proof import PublicKey, key_words
from lab.tls.server import ProofSeen
from lab.tls.versions import TLS12, TLS13

MODES = (EMBEDDED, CLASSROOM)
RELAY, ARP = "relay", "arp"
INSTRUMENT = "instrument"
ECDHE = "ECDHE"
ARROW = " -> "


def inconsistent(run: Run) -> Iterator[str]:
    """What is wrong with single events, each named by its number. Earlier versions said less, and are let be."""
    told = Told(run)
    for recorded in run.events:
        if (rule := RULES.get(type(recorded.event))) and recorded.version >= NAMES_CONNECTIONS:
            yield from (f"{recorded.number}: {why}" for why in rule(recorded.event, told))


class Told:
    """What a run tells, as the rules need it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.gateways = listening_gateways(run)
        self.started = run.first(RunStarted)
        self._kinds: dict[type[Any], list[Any]] = defaultdict(list)
        for recorded in run.events:
            self._kinds[type(recorded.event)].append(recorded.event)

    def all(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return self._kinds[kind]

    @cached_property
    def certificates(self) -> Mapping[str, x509.Certificate]:
        """The certificates in captured messages, by fingerprint."""
        found: dict[str, x509.Certificate] = {}
        for fingerprint, der in captured_certificates(self.run).items():
            with suppress(ValueError):
                found[fingerprint] = read_certificate(der)
        return found

    @cached_property
    def reports(self) -> Mapping[str, list[ClientAuthenticated]]:
        """Who was authenticated, by connection."""
        found: dict[str, list[ClientAuthenticated]] = defaultdict(list)
        for report in self.run.all(ClientAuthenticated):
            found[report.connection].append(report)
        return found

    @cached_property
    def read(self) -> Mapping[str, LoginDecrypted]:
        """What the lab read of the client's side to its end, by connection."""
        last = {str(TLS12): CCS, str(TLS13): Finished.name}
        whole = (one for one in self.run.all(LoginDecrypted) if ("client", last.get(one.tls)) in _names(one))
        return {one.connection: one for one in whole if one.connection}

    @cached_property
    def places(self) -> frozenset[tuple[str, str]]:
        """Where the attacker found something, with the leak."""
        seen = {(one.leak, one.server) for one in self.run.all(CertificateCaptured)}
        found = {(one.leak, one.seen_at) for one in self.run.all(PasswordFound)}
        keys = {(one.leak, one.file) for one in self.run.all(KeyFound)}
        return frozenset(seen | found | keys)

    @cached_property
    def kinds(self) -> frozenset[tuple[str, str, str, CertificateKind]]:
        """Whose certificates of which kind were found where, with the leak."""
        kind = {True: CertificateKind.SELF_SIGNED, False: CertificateKind.FROM_CA}
        return frozenset(
            (one.leak, one.server, common_name(one.subject), kind[one.subject == one.issuer])
            for one in self.run.all(CertificateCaptured)
        )

    @cached_property
    def subjects(self) -> Mapping[str, set[str]]:
        """The subjects of issued and captured certificates, by fingerprint."""
        found: dict[str, set[str]] = defaultdict(set)
        for recorded in self.run.events:
            one = recorded.event
            if isinstance(one, BundleIssued | CertificateCaptured):
                found[one.sha256].add(one.subject)
        return found

    @cached_property
    def shops(self) -> Mapping[str, CertificateCaptured]:
        """The certificates that were shown to mallory's shop, by connection."""
        shown = (one for one in self.run.all(CertificateCaptured) if one.leak == ROGUE_SERVER.id)
        return {one.server_random: one for one in shown if one.server_random}

    @cached_property
    def files(self) -> Mapping[str, set[str]]:
        """By file, the leaks in which it leaked."""
        found: dict[str, set[str]] = defaultdict(set)
        for one in self.run.all(CertificateCaptured):
            found[one.server].add(one.leak)
        return found

    @cached_property
    def went_on(self) -> Counter[str]:
        """How often an interceptor went on from each of its addresses."""
        return Counter(one.local for one in self.run.all(WentOn))

    @cached_property
    def plan(self) -> Plan:
        """What the run set out to do."""
        return plan_of(self.run)

    @property
    def embedded(self) -> bool:
        """Whether the run is over once there are verdicts; in a class the parts go on, and start again."""
        return self.started is not None and self.started.mode == EMBEDDED

    @cached_property
    def untold(self) -> frozenset[str]:
        """The connections on which a gateway authenticated a client, and no client tells of them. The last ones at each
        gateway do not count: a client can be stopped before it has told."""
        named: set[str] = set()
        last: dict[str, datetime] = {}
        for recorded in self.run.events:
            event = recorded.event
            if isinstance(event, MoveTried | ProofRelayed | WentOn):
                named.add(event.local)
            if isinstance(event, MoveTried | ProofRelayed | LoggedIn | LoginFailed):
                named.add(event.connection)
            if isinstance(event, LoggedIn):
                last[event.gateway] = recorded.time
        reports = ((recorded, recorded.event) for recorded in self.run.events)
        return frozenset(
            report.connection
            for recorded, report in reports
            if isinstance(report, ClientAuthenticated)
            and not {report.connection, report.peer} & named
            and recorded.time < last.get(report.gateway, recorded.time)
        )

    @cached_property
    def unreported(self) -> frozenset[str]:
        """The connections of logins that no gateway tells of. In a class the last ones do not count: the bank's log may
        have been read before alice's."""
        last = max((one.time for one in self.run.events if isinstance(one.event, ClientAuthenticated)), default=None)
        return frozenset(
            one.event.connection
            for one in self.run.events
            if isinstance(one.event, LoggedIn)
            and all(report.gateway != one.event.gateway for report in self.reports.get(one.event.connection, ()))
            and (self.embedded or last is None or one.time < last)
        )

    @cached_property
    def rounds(self) -> Mapping[tuple[object, ...], int]:
        """How often each attempt was made."""
        found: dict[tuple[object, ...], int] = defaultdict(int)
        for one in self.run.all(MoveTried):
            found[_attempt(one)] += 1
        return found


def _names(read: LoginDecrypted) -> set[tuple[str, str]]:
    """Sender and name of each message."""
    return {message[:2] for message in read.messages}


def _attempt(event: MoveTried) -> tuple[object, ...]:
    return event.leak, event.seen_at, event.customer, event.server, event.tls, event.move, event.round


def _started(event: RunStarted, told: Told) -> Iterator[str]:
    if event.mode not in MODES:
        yield f"there is no mode {event.mode}"
    if event != told.started:
        yield "the run began twice"
    for name in ("gateways", "moves", "versions", "leaks"):
        if len(set(getattr(event, name))) < len(getattr(event, name)):
            yield f"the run sets out to try one of its {name} twice"
    words = {"p256": "ECDSA, secp256r1", "p384": "ECDSA, secp384r1", "ed25519": "Ed25519"}.get(event.key_type, "RSA, ")
    if any(not issued.key_type.startswith(words) for issued in told.all(BundleIssued)):
        yield f"the run has keys of the type {event.key_type}, and certificates for others"


def _issued(event: BundleIssued, told: Told) -> Iterator[str]:
    certificate = told.certificates.get(event.sha256)
    if certificate is None:
        return
    shown = {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "key_type": key_words(certificate.public_key()),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }
    for name, value in shown.items():
        if getattr(event, name) != value:
            yield f"the certificate that was issued has another {name.replace('_', ' ')}: {value}"
    whose, named = told.started.student if told.started else "", student_in(certificate)
    if whose != named:
        yield f"the certificate names {called(named)}, and the run {called(whose)}"


def called(student: str) -> str:
    """A student in a sentence."""
    return f"the student {student}" if student else "no student"


def _listening(event: GatewayListening, told: Told) -> Iterator[str]:
    if gateway := find_gateway(event.gateway):
        able = {str(version) for version in gateway.versions}
        tried = {one.tls for one in told.all(MoveTried) if port_of(one.server) == event.port}
        versions = set(event.versions)
        if len(versions) < len(event.versions) or not versions <= able or not tried & able <= versions:
            yield f"{event.gateway} does not serve these versions: {', '.join(event.versions)}"
    hosts = {find_address(one.server) for one in told.all(MoveTried)}
    here = {address.host for address in hosts if address and address.port == event.port}
    if here and event.host not in (*here, "0.0.0.0", "::"):  # noqa: S104 - a container's gateways listen everywhere
        yield f"{event.gateway} was reached at {min(here)}, and not at {event.host}"


def _authenticated(event: ClientAuthenticated, told: Told) -> Iterator[str]:
    gateway = find_gateway(event.gateway)
    yield from _known_gateway(event.gateway, told)
    if told.embedded and event.connection in told.untold:
        yield "a gateway authenticated a client on a connection that no client tells of"
    if gateway and gateway.implementation.id == INSTRUMENT and gateway.scheme.asks_in_tls:
        allowed = [ProofSeen.VALID] if gateway.scheme.checks_proof else list(ProofSeen)
        if Check.SESSION not in gateway.scheme.checks:
            allowed.append(ProofSeen.NONE)  # it was checked, if at all, where the session began
        if event.proof not in map(str, allowed):
            yield f"{event.gateway} cannot have let a client in with this proof: {event.proof}"
    subjects = told.subjects.get(event.sha256, {event.subject})
    if event.subject not in subjects:
        yield f"the certificate that the client was authenticated with has another subject: {min(subjects)}"
    if read := told.read.get(event.connection):
        proven = ("client", CertificateVerify.name) in _names(read)
        if proven == event.proof.startswith(ProofSeen.NONE):
            yield f"the gateway log says of the proof: {event.proof}; the capture has {'one' if proven else 'none'}"


def _refused(event: ClientRefused, told: Told) -> Iterator[str]:
    yield from _known_gateway(event.gateway, told)


def _known_gateway(name: str, told: Told) -> Iterator[str]:
    if name not in {one.gateway for one in told.all(GatewayListening)}:
        yield f"no gateway {name} is listening"


def _logged_in(event: LoggedIn, told: Told) -> Iterator[str]:
    where = event.gateway.partition(",")[0]
    if any(report.gateway != where for report in told.reports.get(event.connection, ())):
        yield f"alice logged in at {event.gateway or 'nowhere'}, and the gateways tell otherwise"
    shop = told.shops.get(event.connection)
    if shop and (find_gateway(where) or (port_of(shop.server), shop.sha256) != (port_of(event.url), event.sha256)):
        yield f"alice logged in at {event.url}, and mallory's shop at {shop.server} tells otherwise"
    if event.resumed and event.gateway.endswith(BY_REQUEST) and told.embedded:
        yield "a first login with a certificate cannot have been resumed"
    gateway = find_gateway(event.gateway)
    if gateway is None:
        return  # a shop of the attacker's, or one that this version does not know
    if event.connection and event.connection in told.unreported:
        yield f"{event.gateway} does not tell of this login"
    if read := told.read.get(event.connection):
        if port_of(read.server) != port_of(event.url):
            yield f"alice logged in at {event.url}, and the capture has this connection with {read.server}"
        shown = any(sender == "client" and is_certificate(name) for sender, name in _names(read))
        if gateway.scheme.asks_in_tls and read.tls == str(TLS13) and shown == event.resumed:
            yield f"the login was {'' if event.resumed else 'not '}resumed, and the capture shows the contrary"


def _tried(event: MoveTried, told: Told) -> Iterator[str]:
    gateway, move = told.gateways.get(port_of(event.server)), find_move(event.move)
    if told.rounds[_attempt(event)] > 1:
        yield f"round {event.round} of this attempt was made {told.rounds[_attempt(event)]} times"
    if event.leak and (event.leak, event.seen_at) not in told.places:
        yield f"nothing was found at {event.seen_at} through the leak {event.leak}"
    elif event.leak and gateway and event.move != STOLEN_PASSWORD:
        kind = gateway.scheme.trusts
        if (event.leak, event.seen_at, event.customer, kind) not in told.kinds:
            yield f"no certificate of {event.customer}'s that {gateway.id} takes was found at {event.seen_at}"
    if not event.leak and (event.seen_at or event.round != 1):
        yield "a control is tried once, with what the lab has"
    yield from _ended(event)
    if event.header and gateway and gateway.scheme.asks_in_tls:
        yield f"{gateway.id} asks in TLS, and a certificate was sent in a header"
    if event.signed_by and not (move and move.shape.proof is ProofShape.BY_FOREIGN_KEY and _is_key(event.signed_by)):
        yield "the key that it says made the proof is none of this move"


def _relayed(event: ProofRelayed, told: Told) -> Iterator[str]:
    yield from _ended(event)
    if event.same_keys and event.key_exchange == ECDHE:
        yield "two connections with keys agreed on by ECDHE cannot have the same keys"


def _ended(event: MoveTried | ProofRelayed) -> Iterator[str]:
    """Alert, answer and error must fit each other and the outcome."""
    if event.alert_by not in ("client", "server", *((None,) if event.alert is None else ())):
        yield f"the alert {event.alert} and its sender {event.alert_by} do not go together"
    if event.status is not None and event.alert is not None:
        yield f"the attempt ended by HTTP {event.status} and by the alert {event.alert}"
    if (event.status is None) != (event.body is None):
        yield "an answer has a status and a body"
    if event.outcome in (ACCEPTED, REFUSED) and event.error is not None:
        yield f"the attempt was {event.outcome}, and it says why it was neither accepted nor refused: {event.error}"


def _went_on(event: WentOn, told: Told) -> Iterator[str]:
    gateway = told.gateways.get(port_of(event.server))
    if gateway is None:
        yield f"no gateway is listening at {event.server}"
        return
    here = (gateway.id, event.local)
    alerts = [one.alert for one in told.all(ClientRefused) if (one.gateway, one.peer) == here]
    refused = bool(alerts)
    if refused and not event.reason:
        yield f"{gateway.id} refused this connection, and the interceptor tells of no failure"
    sent = [alert_name(alert).replace("_", " ") for alert in alerts if alert is not None]
    if sent and "alert" in event.reason and not any(re.search(rf"\balert {name}(;|$)", event.reason) for name in sent):
        yield f"{gateway.id} sent alert {sent[0]}, and the interceptor was told: {event.reason}"
    if event.reason and event.tls:
        yield f"the interceptor's handshake failed, and it was in TLS {event.tls}: {event.reason}"
    if told.went_on[event.local] > 1 and told.embedded:
        yield f"the interceptor went on from {event.local} {told.went_on[event.local]} times"
    if not refused and "alert" in event.reason:
        yield f"the interceptor was refused by an alert, and {gateway.id} does not tell of this connection"


def _is_key(octets: str) -> bool:
    try:
        return isinstance(load_der_public_key(bytes.fromhex(octets)), PublicKey)
    except ValueError:
        return False


def _captured(event: CertificateCaptured, told: Told) -> Iterator[str]:
    leak = find_leak(event.leak)
    if leak and LootKind.KEY in leak.gives:
        keys = ((one.leak, one.file, one.sha256) for one in told.all(KeyFound))
        if (event.leak, event.server, event.sha256) not in keys:
            yield f"the leak {event.leak} yields keys, and none of this certificate was found in {event.server}"
    if leak and told.started and told.plan.leaks and event.leak not in told.plan.leaks:
        yield f"the run did not set out to use the leak {event.leak}"
    if leak and not event.client and len(told.files[event.server]) > 1:
        yield f"{event.server} leaked in more ways than one: {', '.join(sorted(told.files[event.server]))}"
    if event.leak == INTERCEPTION.id:
        met = ((one.client, one.server, one.tls, one.sha256) for one in told.all(Intercepted))
        if (event.client, event.server, event.tls, event.sha256) not in met:
            yield f"the interceptor does not tell that {event.client} showed {event.server} this certificate"


def _intercepted(event: Intercepted, told: Told) -> Iterator[str]:
    taken = {one.sha256 for one in told.all(CertificateCaptured) if one.leak == INTERCEPTION.id}
    hers = {one.sha256 for one in told.all(BundleIssued)}
    if event.sha256 in hers - taken:
        yield f"the interceptor was shown the certificate {event.sha256}, and does not tell that it kept it"


def _key_found(event: KeyFound, told: Told) -> Iterator[str]:
    found = ((one.leak, one.server, one.subject, one.sha256) for one in told.all(CertificateCaptured))
    if (event.leak, event.file, event.subject, event.sha256) not in found:
        yield f"no certificate of this key was found in {event.file} through the leak {event.leak}"


def _password_found(event: PasswordFound, told: Told) -> Iterator[str]:
    if event.form != (PASSWORD if find_address(event.seen_at) else PASSWORD_HASH):
        yield f"what was found of a password at {event.seen_at} cannot be {event.form or 'nothing'}"


def _taken(event: PositionTaken, told: Told) -> Iterator[str]:
    if event.kind not in (RELAY, ARP, *(leak.id for leak in LEAKS)):
        yield f"there is no position {event.kind}"
    if len(set(event.detail)) < len(event.detail):
        yield "it names one way twice"
    if event.kind != RELAY:
        return
    forwards = [tuple(line.split(ARROW)) for line in event.detail]
    if any(len(ends) != 2 or told.gateways.get(port_of(ends[1])) is None for ends in forwards):
        yield "the relay leads to no gateway of this run"
        return
    ways: dict[int, Gateway] = {port_of(ends[0]): told.gateways[port_of(ends[1])] for ends in forwards}
    wire = [one for one in told.all(CertificateCaptured) if one.leak == WIRE.id]
    for seen in (*wire, *told.all(HandshakeSeen)):
        reports = told.reports.get(seen.server_random, ())
        gateway = ways.get(port_of(seen.server))
        if gateway is None or any(report.gateway != gateway.id for report in reports):
            where = gateway.id if gateway else "nowhere"
            yield f"what was sent to {seen.server} went to {where}, and the gateways tell otherwise"
            return


RULES: Mapping[type[Any], Callable[[Any, Told], Iterator[str]]] = {
    RunStarted: _started,
    BundleIssued: _issued,
    GatewayListening: _listening,
    ClientAuthenticated: _authenticated,
    ClientRefused: _refused,
    LoggedIn: _logged_in,
    MoveTried: _tried,
    ProofRelayed: _relayed,
    WentOn: _went_on,
    CertificateCaptured: _captured,
    Intercepted: _intercepted,
    KeyFound: _key_found,
    PasswordFound: _password_found,
    PositionTaken: _taken,
}
