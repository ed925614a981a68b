"""What the judge knows of a run besides its attempts: its plan, its gateways, what was captured."""

from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from lab.address import port_number
from lab.catalogue.gateways import Gateway, find_gateway
from lab.catalogue.leaks import LEAKS, WIRE, find_leak
from lab.catalogue.moves import find_move
from lab.catalogue.plan import KEY_TYPES, Plan, short_story
from lab.events.run import Run
from lab.events.types import (
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    GatewayListening,
    HandshakeSeen,
    LeakSought,
    MoveTried,
    RunStarted,
)
from lab.judging.proof_comparison import chain_in
from lab.tls.errors import Abort
from lab.tls.versions import TLS13, find_version


def port_of(address: str) -> int:
    """The port of an address in an event, or of a URL that ends with one; 0 if there is none."""
    return port_number(address.rpartition(":")[2].rstrip("/")) or 0


def plan_of(run: Run) -> Plan:
    """What the run set out to do, the short story if it does not say; and the leaks that joined it since."""
    started = run.first(RunStarted)
    if not started:
        return short_story()
    joined = {sought.leak for sought in run.all(LeakSought)}
    return Plan(
        started.gateways,
        started.moves,
        tuple(filter(None, map(find_version, started.versions))),
        key_type=next((one for one in KEY_TYPES if one == started.key_type), "p256"),
        rounds=started.rounds,
        leaks=tuple(leak.id for leak in LEAKS if leak.id in started.leaks or leak.id in joined),
        one_by_one=started.one_by_one,
        student=started.student,
    )


def run_started(mode: str, name: str, plan: Plan, lab: str) -> RunStarted:
    """The event that states a plan; `plan_of` reads it back."""
    versions = tuple(map(str, plan.versions))
    return RunStarted(
        mode,
        name,
        plan.gateways,
        plan.moves,
        versions,
        plan.key_type,
        plan.rounds,
        plan.leaks,
        plan.one_by_one,
        lab,
        plan.student,
    )


def captured(run: Run, leak: str = WIRE.id) -> CertificateCaptured | None:
    """The certificate that the attacker worked with: alice's main one, if it was seen, as it was first seen.

    From the wire it came with its proof.
    """
    issued = [bundle.sha256 for bundle in run.all(BundleIssued)]
    found = [seen for seen in run.all(CertificateCaptured) if seen.leak == leak and (seen.proof or leak != WIRE.id)]
    ours = [seen for seen in found if seen.sha256 in issued]
    return min(ours, key=lambda seen: issued.index(seen.sha256), default=None if issued else next(iter(found), None))


def captured_certificates(run: Run) -> dict[str, bytes]:
    """The certificates of customers in captured messages, in DER, by their fingerprints."""
    found: dict[str, bytes] = {}
    for seen in run.all(CertificateCaptured):
        version = find_version(seen.tls)
        if seen.message and version:
            with suppress(Abort, ValueError):
                leaf = chain_in(bytes.fromhex(seen.message), version)[0]
                found[sha256(leaf).hexdigest()] = leaf
    return found


def read_certificate(der: bytes) -> x509.Certificate:
    """A certificate in DER; ValueError for what is none, whatever is wrong with it."""
    try:
        return x509.load_der_x509_certificate(der)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from None


def listening_gateways(run: Run) -> dict[int, Gateway]:
    """The run's gateways by port, as far as this version knows them."""
    found = ((gateway.port, find_gateway(gateway.gateway)) for gateway in run.all(GatewayListening))
    return {port: gateway for port, gateway in found if gateway}


def unknown_names(run: Run) -> list[tuple[str, str]]:
    """What a run names that this version does not know: the kind and the name."""
    started = run.first(RunStarted)
    named = {("gateway", gateway.gateway) for gateway in run.all(GatewayListening) if not find_gateway(gateway.gateway)}
    if started:
        named |= {("gateway", one) for one in started.gateways if not find_gateway(one)}
        named |= {("move", one) for one in started.moves if not find_move(one)}
        named |= {("version", one) for one in started.versions if not find_version(one)}
        named |= {("leak", one) for one in started.leaks if not find_leak(one)}
    return sorted(named)


def tried_everywhere(run: Run, ports: Iterable[int]) -> bool:
    """Whether the attacker has tried the short story's moves at the gateways on these ports, and seen TLS 1.3."""
    moves = short_story().moves
    tried = {(port_of(attempt.server), attempt.move) for attempt in run.all(MoveTried)}
    return has_seen_tls13(run) and all((port, move) in tried for port in ports for move in moves)


def certificate_in_tls13(run: Run, searched: CaptureSearched) -> list[str]:
    """Where a search found alice's certificate in a connection that was seen to be TLS 1.3."""
    hidden = [f"{seen.client} to {seen.server}," for seen in run.all(HandshakeSeen) if seen.tls == str(TLS13)]
    return [place for place in searched.certificate_at if place.startswith(tuple(hidden))]


def has_seen_tls13(run: Run) -> bool:
    """Whether the attacker has seen what TLS 1.3 shows of the same client."""
    return any(seen.tls == str(TLS13) for seen in run.all(HandshakeSeen))


@lru_cache(maxsize=1024)
def common_name(subject: str) -> str:
    """The common name in a subject as events have it (RFC 4514); empty if there is none."""
    try:
        return _in_name(x509.Name.from_rfc4514_string(subject), NameOID.COMMON_NAME)
    except ValueError:
        return ""


def student_in(certificate: x509.Certificate) -> str:
    """The student named in one of alice's certificates, as `lab.staging.pki` puts it there; empty if there is none."""
    return _in_name(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME)


def _in_name(name: x509.Name, attribute: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(attribute)
    return str(found[0].value) if found else ""
