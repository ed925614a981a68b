"""Relayed proofs, judged: what became of each, what its two handshakes have in common, and why they must differ."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from lab.catalogue.gateways import Gateway
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED, Outcome
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import ClientRefused, ProofRelayed, Trouble
from lab.judging.facts import port_of
from lab.judging.gateway_reports import GatewayConnection, GatewayReport, GatewayReports, decided, report_in, sentence
from lab.judging.proof_comparison import (
    EXTENSION_NAMES,
    ProofReason,
    chain_in,
    held_against,
    message_fields,
    pairs,
    whose,
)
from lab.tls import extensions as ext
from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.errors import Abort
from lab.tls.messages import Certificate, Message
from lab.tls.messages13 import parse
from lab.tls.versions import TLS12, Version, find_version

SERVERS_KEY = "the server's private key"
EITHER_SHARE = "the private half of either side's key share"
"""With one of the two and the other side's public half anybody computes the connection's keys."""

_SHARE, _EXTENDED = EXTENSION_NAMES[ext.KEY_SHARE], EXTENSION_NAMES[ext.EXTENDED_MASTER_SECRET]
_GROUPS, _COMPRESS = EXTENSION_NAMES[ext.SUPPORTED_GROUPS], EXTENSION_NAMES[ext.COMPRESS_CERTIFICATE]


@dataclass(frozen=True)
class Why:
    """Why a field differs in the two handshakes.

    `takes` names the private key with which the attacker could leave the field as it was and have the connection's keys
    all the same, None if she could have copied it.
    """

    takes: str | None
    reason: str


_FORCED: dict[tuple[str, str], dict[str, Why]] = {
    ("Certificate", "certificate 1"): {
        "1.2 ECDHE": Why(EITHER_SHARE, "the key in it must sign mallory's own ServerKeyExchange, so it is her own"),
        "1.2 RSA": Why(SERVERS_KEY, "mallory cannot decrypt what is encrypted to the real certificate's key"),
        "1.3 ECDHE": Why(EITHER_SHARE, "the key in it must sign mallory's own handshake, so it is her own"),
    },
    ("ServerKeyExchange", "point"): {
        "": Why(
            EITHER_SHARE,
            "the client's keys come from this point and the client's own; mallory must know the private half of one",
        ),
    },
    ("ServerKeyExchange", ""): {
        "": Why(EITHER_SHARE, "it is signed by the certificate's key, over both randoms and the point"),
    },
    ("ClientKeyExchange", ""): {
        "1.2 ECDHE": Why(
            EITHER_SHARE,
            "the server's keys come from this point and the server's own; mallory must know the private half of one",
        ),
        "1.2 RSA": Why(
            SERVERS_KEY,
            "it is the premaster secret, encrypted to the certificate's key: here mallory's, there the server's",
        ),
    },
    ("ClientHello", _SHARE): {
        "": Why(
            EITHER_SHARE,
            "the server's keys come from this share and the server's own; mallory must know the private half of one",
        ),
    },
    ("ServerHello", _SHARE): {
        "": Why(
            EITHER_SHARE,
            "the client's keys come from this share and the client's own; mallory must know the private half of one",
        ),
    },
    ("CertificateVerify", ""): {
        "": Why(EITHER_SHARE, "the server's own proof, made with the certificate's key over this very transcript"),
    },
    ("Finished", ""): {
        "": Why(EITHER_SHARE, "it is computed from the connection's keys and all earlier messages"),
    },
}
"""By message and field (empty: any field), then by version and key exchange (empty: any)."""

_CHOSEN: dict[tuple[str, str], str] = {
    ("ClientHello", _EXTENDED): "left out on purpose: with it the two connections could never have the same keys",
    ("ServerHello", _EXTENDED): "left out on purpose: with it the two connections could never have the same keys",
    (
        "ClientHello",
        _GROUPS,
    ): "without the groups for which mallory cannot make a key share: a server would ask for one",
}


@dataclass(frozen=True)
class Mismatch:
    """A field in which the two transcripts differ; `signed` and `checked` in hex, None if the field is absent.

    `signed_at` and `checked_at` are the byte offsets of the field's message in each transcript.
    """

    message: str
    field: str
    signed: str | None
    checked: str | None
    signed_at: int
    checked_at: int
    why: Why


@dataclass(frozen=True)
class RelayedProof:
    """A relayed proof with everything that is known of it. `number` is that of its event, `attacker#12`.

    `alike` names the messages that are equal in both handshakes, `mismatches` the fields that differ. `reason` compares
    the proof with both transcripts.
    """

    number: str
    event: ProofRelayed
    gateway: Gateway
    reports: tuple[Recorded, ...]
    alike: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]
    reason: ProofReason

    @property
    def report(self) -> GatewayReport | None:
        """The gateway's report on the connection to it."""
        return report_in(self.reports[0]) if self.reports else None

    @property
    def outcome(self) -> Outcome:
        """What became of it, as far as attacker and gateway can tell."""
        return decided(self.event.outcome, self.report)

    @property
    def alert(self) -> int | None:
        """The server's alert, as the attacker received it or else as the gateway reports it."""
        if self.event.alert is not None and self.event.alert_by == "server":
            return self.event.alert
        return self.report.alert if isinstance(self.report, ClientRefused) else None

    @property
    def expected(self) -> Outcome:
        """What the RFCs predict for a proof that was made over another handshake."""
        if not self.gateway.scheme.asks_in_tls:
            return NOT_APPLICABLE
        return REFUSED if self.gateway.scheme.checks_proof else ACCEPTED

    @property
    def as_expected(self) -> bool:
        """Whether outcome, alert (RFC 5246 section 7.4.8, RFC 8446 section 4.4.3) and reason are as predicted."""
        if self.outcome != self.expected:
            return False
        if self.expected != REFUSED:
            return True
        shown = self.reason.fits_captured and not self.reason.fits_server and bool(self.takes)
        return shown and self.alert == AlertDescription.DECRYPT_ERROR

    @property
    def takes(self) -> tuple[str, ...]:
        """The private keys with one of which the two transcripts could be equal and the attacker have the keys."""
        return tuple(dict.fromkeys(one.why.takes for one in self.mismatches if one.why.takes))


@dataclass(frozen=True)
class RelayVerdict:
    """What a gateway did with a relayed proof, beside what is expected; all of the evidence is in `RelayedProof`.

    `differing` names the fields in which the two transcripts differ, `takes` the private keys with one of which they
    could be equal and the attacker have the keys.
    """

    attempt: str
    gateway: str
    scheme: str
    implementation: str
    tls: str
    key_exchange: str
    same_keys: bool
    expected: Outcome
    outcome: Outcome
    alert: int | None
    reason: str
    differing: tuple[str, ...]
    takes: tuple[str, ...]
    as_expected: bool


def relayed_proofs(run: Run, gateways: Mapping[int, Gateway], reports: GatewayReports) -> list[RelayedProof]:
    """The proofs that were relayed to the gateways of a run, in order, without those that have unreadable messages."""
    found: list[RelayedProof] = []
    for recorded in run.events:
        event = recorded.event
        gateway = gateways.get(port_of(event.server)) if isinstance(event, ProofRelayed) else None
        version = find_version(event.tls) if isinstance(event, ProofRelayed) else None
        if gateway and version and isinstance(event, ProofRelayed):
            on = GatewayConnection(gateway.id, event.connection, event.local, version)
            found_reports = reports.nearest(recorded.time, on)
            with suppress(Abort):
                found.append(_relayed_proof(recorded.number, event, gateway, version, found_reports))
    return found


def relay_verdict(one: RelayedProof) -> RelayVerdict:
    """The verdict on a relayed proof."""
    return RelayVerdict(
        attempt=one.number,
        gateway=one.gateway.id,
        scheme=one.gateway.scheme.id,
        implementation=one.gateway.implementation.id,
        tls=one.event.tls,
        key_exchange=one.event.key_exchange,
        same_keys=one.event.same_keys,
        expected=one.expected,
        outcome=one.outcome,
        alert=one.alert,
        reason=sentence(one.report),
        differing=tuple(f"{difference.message}, {difference.field}" for difference in one.mismatches),
        takes=one.takes,
        as_expected=one.as_expected,
    )


def missing_relays(run: Run, relayed: list[RelayedProof], gateway: Gateway, version: Version) -> list[str]:
    """What keeps the relay to this gateway from having a verdict."""
    if not gateway.scheme.asks_in_tls:
        return []
    where = f"{gateway.id}, TLS {version}"
    here = [one for one in relayed if (one.gateway, one.event.tls) == (gateway, str(version))]
    both = version == TLS12 and gateway.implementation.rsa_key_transport
    if not ({"ECDHE", "RSA"} if both else {"ECDHE"}) <= {one.event.key_exchange for one in here}:
        troubles = [trouble.what for trouble in run.all(Trouble)]
        return [f"relay to {where}: no proof was relayed" + (f": {troubles[-1]}" if troubles else "")]
    if not all(one.report for one in here):
        return [f"relay to {where}: no gateway report for this attempt"]
    return []


def _relayed_proof(
    number: str, event: ProofRelayed, gateway: Gateway, version: Version, reports: tuple[Recorded, ...]
) -> RelayedProof:
    """Abort if a message is unreadable."""
    signed, checked = ([bytes.fromhex(raw) for raw in raws] for raws in (event.signed, event.checked))
    alike, mismatches = _compare(signed, checked, event, version)
    certificate = next((raw for raw in reversed(signed) if raw[0] == Certificate.type), b"")
    key = proof.public_key(chain_in(certificate, version)[0])
    held = held_against(key, bytes.fromhex(event.proof), (signed, version), (checked, version))
    return RelayedProof(number, event, gateway, reports, alike, mismatches, held)


def _compare(
    signed: list[bytes], checked: list[bytes], event: ProofRelayed, version: Version
) -> tuple[tuple[str, ...], tuple[Mismatch, ...]]:
    """The messages that are equal, and the fields that differ."""
    alike: list[str] = []
    mismatches: list[Mismatch] = []
    for left, right in pairs([raw[0] for raw in signed], [raw[0] for raw in checked]):
        ours, theirs = (_read(raws, at, version) for raws, at in ((signed, left), (checked, right)))
        present = ours or theirs
        assert present
        if left is not None and right is not None and signed[left] == checked[right]:
            alike.append(whose(present.name, [raw[0] for raw in signed], left))
            continue
        one, other = (message_fields(message) if message else {} for message in (ours, theirs))
        places = _start(signed, left), _start(checked, right)
        for field in dict.fromkeys((*one, *other)):
            if one.get(field) != other.get(field):
                why = _why(present.name, field, event)
                mismatches.append(Mismatch(present.name, field, one.get(field), other.get(field), *places, why))
    return tuple(alike), tuple(mismatches)


def _read(raws: list[bytes], at: int | None, version: Version) -> Message | None:
    return None if at is None else parse(raws[at], version)


def _start(raws: list[bytes], at: int | None) -> int:
    return sum(map(len, raws[:at])) if at is not None else 0


def _why(message: str, field: str, event: ProofRelayed) -> Why:
    kind = f"{event.tls} {event.key_exchange}"
    for name in (field, ""):
        reasons = _FORCED.get((message, name), {})
        if why := reasons.get(kind) or reasons.get(""):
            return why
    reason = _CHOSEN.get((message, field), "mallory chose another value; she could have copied it")
    return Why(None, reason)
