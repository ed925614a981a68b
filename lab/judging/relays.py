"""Relayed proofs, judged: what became of each, how far its two handshakes were alike, and why not all the way."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from lab.address import Address
from lab.catalogue.checks import Check
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED
from lab.catalogue.schemes import Scheme, find_scheme
from lab.events.run import Run
from lab.events.types import ClientRefused, GatewayListening, ProofRelayed, Trouble
from lab.judging.gateway_reports import Word, Words, in_words
from lab.judging.proof_comparison import Messages, ProofReason, chain_in, held_against, version_number
from lab.tls import extensions as ext
from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.messages import Certificate, Message
from lab.tls.messages13 import Certificate13, parse

SERVERS_KEY = "the server's private key"
CLIENTS_SHARE = "the private half of the client's key share"
SERVERS_SHARE = "the private half of the server's key share"
ITS_OWN_CHOICE = ""
TRANSPORTING = ("mtls", "pinned-mtls")
"""The schemes whose gateways run OpenSSL, which does RSA key transport if it is told to."""

_EXTENSIONS = {value: name.lower() for name, value in vars(ext).items() if name.isupper() and isinstance(value, int)}
_SHARE, _EXTENDED = _EXTENSIONS[ext.KEY_SHARE], _EXTENSIONS[ext.EXTENDED_MASTER_SECRET]
_GROUPS, _COMPRESS = _EXTENSIONS[ext.SUPPORTED_GROUPS], _EXTENSIONS[ext.COMPRESS_CERTIFICATE]


@dataclass(frozen=True)
class Why:
    """Why something differs in the two handshakes. `takes` is what it would take to make it the same, empty where the
    attacker could and did not want to."""

    takes: str
    reason: str


_FORCED: dict[tuple[str, str], dict[str, Why]] = {
    ("Certificate", ""): {
        "1.2 ECDHE": Why(SERVERS_KEY, "with the real certificate its key would have to sign her ServerKeyExchange"),
        "1.2 RSA": Why(SERVERS_KEY, "what is encrypted to the real certificate's key she could not decrypt"),
        "1.3 ECDHE": Why(SERVERS_KEY, "with the real certificate its key would have to sign her CertificateVerify"),
    },
    ("ServerKeyExchange", "point"): {
        "": Why(SERVERS_SHARE, "the client's keys come from this point, so mallory must have its private half"),
    },
    ("ServerKeyExchange", ""): {
        "": Why(SERVERS_KEY, "it is signed by the certificate's key, over both randoms and the point"),
    },
    ("ClientKeyExchange", ""): {
        "1.2 ECDHE": Why(CLIENTS_SHARE, "the server's keys come from it, so mallory must have its private half"),
        "1.2 RSA": Why(
            SERVERS_KEY,
            "it is the premaster secret under the certificate's key: here mallory's, there the server's",
        ),
    },
    ("ClientHello", _SHARE): {
        "": Why(CLIENTS_SHARE, "the server's keys come from this share, so mallory must have its private half"),
    },
    ("ServerHello", _SHARE): {
        "": Why(SERVERS_SHARE, "the client's keys come from this share, so mallory must have its private half"),
    },
    ("CertificateVerify", ""): {
        "": Why(SERVERS_KEY, "the server's own proof: made by the certificate's key over this very transcript"),
    },
    ("Finished", ""): {
        "": Why(SERVERS_SHARE, "it comes from the connection's keys and from all the messages before it"),
    },
}
"""By message and field, any field where that is empty; then by version and key exchange, any where that is empty."""

_CHOSEN: dict[tuple[str, str], str] = {
    ("ClientHello", _EXTENDED): "left out on purpose: with it the two connections could not have the same keys at all",
    ("ServerHello", _EXTENDED): "left out on purpose: with it the two connections could not have the same keys at all",
    (
        "ClientHello",
        _GROUPS,
    ): "a group is left out whose key share mallory cannot make: a server would ask for it",
}


@dataclass(frozen=True)
class Mismatch:
    """A field in which the two transcripts differ; `signed` and `checked` in hex, None where there is no such thing.

    `signed_at` and `checked_at` are where the field's message begins in each transcript, in bytes.
    """

    message: str
    field: str
    signed: str | None
    checked: str | None
    signed_at: int
    checked_at: int
    why: Why


@dataclass(frozen=True)
class Relay:
    """A relayed proof with everything that is known of it.

    `gateway` is the gateway's own word on it. `alike` names the messages that were the same to the byte, `mismatches`
    all that wasn't; `reason` is the proof held against both transcripts.
    """

    event: ProofRelayed
    scheme: Scheme
    gateway: str
    gateway_alert: int | None
    alike: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]
    reason: ProofReason

    @property
    def outcome(self) -> str:
        """The attacker's word, or the gateway's where the attacker cannot tell."""
        refused = self.gateway_alert is not None and self.event.outcome not in (ACCEPTED, REFUSED)
        return REFUSED if refused else self.event.outcome

    @property
    def alert(self) -> int | None:
        """The server's alert."""
        by_server = self.event.alert_by == "server"
        return self.event.alert if by_server and self.event.alert is not None else self.gateway_alert

    @property
    def expected(self) -> str:
        """What theory has for a proof that was made over another handshake."""
        if not self.scheme.asks_in_tls:
            return NOT_APPLICABLE
        return REFUSED if Check.PROOF_VALID in self.scheme.checks else ACCEPTED

    @property
    def as_expected(self) -> bool:
        """Also the alert, RFC 5246 section 7.4.8 and RFC 8446 section 4.4.3; and why it was refused is shown."""
        if self.outcome != self.expected:
            return False
        if self.expected != REFUSED:
            return True
        shown = self.reason.fits_captured and not self.reason.fits_server and bool(self.takes)
        return shown and self.alert == AlertDescription.DECRYPT_ERROR

    @property
    def takes(self) -> tuple[str, ...]:
        """What it would take to make the two transcripts the same."""
        return tuple(dict.fromkeys(one.why.takes for one in self.mismatches if one.why.takes))


@dataclass(frozen=True)
class RelayVerdict:
    """What a scheme did with a relayed proof, beside what is expected; all of the evidence is in `Relay`.

    `differing` names the fields in which the two transcripts differ, and `takes` what it would take that they don't.
    """

    scheme: str
    tls: str
    key_exchange: str
    same_keys: bool
    expected: str
    outcome: str
    alert: int | None
    reason: str
    differing: tuple[str, ...]
    takes: tuple[str, ...]
    as_expected: bool


def relays(run: Run) -> list[Relay]:
    """All proofs that were relayed in a run, in order; those at servers that are not the run's are left out."""
    return [_relay(event, scheme, word) for event, scheme, word in _relayed(run)]


def relay_verdicts(run: Run) -> tuple[RelayVerdict, ...]:
    """The verdicts on all of them."""
    return tuple(
        RelayVerdict(
            scheme=one.scheme.id,
            tls=one.event.tls,
            key_exchange=one.event.key_exchange,
            same_keys=one.event.same_keys,
            expected=one.expected,
            outcome=one.outcome,
            alert=one.alert,
            reason=one.gateway,
            differing=tuple(f"{difference.message}, {difference.field}" for difference in one.mismatches),
            takes=one.takes,
            as_expected=one.as_expected,
        )
        for one in relays(run)
    )


def missing_relays(run: Run, scheme: Scheme, version: str) -> list[str]:
    """What keeps the relay at this door from having a verdict."""
    if not scheme.asks_in_tls:
        return []
    door = f"{scheme.id}, TLS {version}"
    found = [(event, word) for event, at, word in _relayed(run) if (at, event.tls) == (scheme, version)]
    due = {"ECDHE", "RSA"} if version == "1.2" and scheme.id in TRANSPORTING else {"ECDHE"}
    if not due <= {event.key_exchange for event, _ in found}:
        troubles = [trouble.what for trouble in run.all(Trouble)]
        return [f"relay to {door}: no proof was relayed" + (f": {troubles[-1]}" if troubles else "")]
    if not all(word for _, word in found):
        return [f"relay to {door}: the gateway has not said what it did"]
    return []


def _relayed(run: Run) -> Iterator[tuple[ProofRelayed, Scheme, Word | None]]:
    """Each with the scheme that it was tried at, and the gateway's own word on it."""
    schemes = {gateway.port: find_scheme(gateway.scheme) for gateway in run.all(GatewayListening)}
    words = Words(run)
    for recorded in run.events:
        event = recorded.event
        if isinstance(event, ProofRelayed) and (scheme := schemes.get(Address.parse(event.server).port)):
            yield event, scheme, words.nearest(recorded.time, scheme, event.local, event.tls)


def _relay(event: ProofRelayed, scheme: Scheme, word: Word | None) -> Relay:
    version = version_number(event.tls)
    signed, checked = ([bytes.fromhex(raw) for raw in raws] for raws in (event.signed, event.checked))
    alike, mismatches = _compare(signed, checked, event)
    *_, certificate = (raw for raw in signed if raw[0] == Certificate.type)
    key = proof.public_key(chain_in(certificate, version)[0])
    held = held_against(
        key, bytes.fromhex(event.proof), (_unattributed(signed), version), (_unattributed(checked), version)
    )
    alert = word.alert if isinstance(word, ClientRefused) else None
    return Relay(event, scheme, in_words(word), alert, alike, mismatches, held)


def _unattributed(raws: list[bytes]) -> Messages:
    return [("", raw) for raw in raws]


def _compare(
    signed: list[bytes], checked: list[bytes], event: ProofRelayed
) -> tuple[tuple[str, ...], tuple[Mismatch, ...]]:
    """The messages that are the same, and all fields that aren't."""
    alike: list[str] = []
    mismatches: list[Mismatch] = []
    for left, right in _pairs(signed, checked):
        ours, theirs = (_read(raws, at, event) for raws, at in ((signed, left), (checked, right)))
        present = ours or theirs
        assert present
        if left is not None and right is not None and signed[left] == checked[right]:
            alike.append(_whose(present, signed, left))
            continue
        one, other = (parts(message) if message else {} for message in (ours, theirs))
        places = _start(signed, left), _start(checked, right)
        for field in dict.fromkeys((*one, *other)):
            if one.get(field) != other.get(field):
                why = _why(present.name, field, event)
                mismatches.append(Mismatch(present.name, field, one.get(field), other.get(field), *places, why))
    return tuple(alike), tuple(mismatches)


def _whose(message: Message, raws: list[bytes], at: int) -> str:
    """Its name, and of the two Certificate messages whose it is: the server's comes first."""
    if message.type != Certificate.type:
        return message.name
    first = next(place for place, raw in enumerate(raws) if raw[0] == Certificate.type)
    return f"the {'server' if at == first else 'client'}'s {message.name}"


def _pairs(signed: list[bytes], checked: list[bytes]) -> Iterator[tuple[int | None, int | None]]:
    """The places of the messages that belong together, by their types; None where one has no counterpart."""
    types = [[raw[0] for raw in raws] for raws in (signed, checked)]
    matcher = SequenceMatcher(None, types[0], types[1], autojunk=False)
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        if i_end - i == j_end - j and types[0][i:i_end] == types[1][j:j_end]:
            yield from zip(range(i, i_end), range(j, j_end), strict=True)
        else:
            yield from ((at, None) for at in range(i, i_end))
            yield from ((None, at) for at in range(j, j_end))


def _read(raws: list[bytes], at: int | None, event: ProofRelayed) -> Message | None:
    return None if at is None else parse(raws[at], version_number(event.tls))


def _start(raws: list[bytes], at: int | None) -> int:
    return sum(map(len, raws[:at])) if at is not None else 0


def parts(message: Message) -> dict[str, str]:
    """What a message consists of, by name, in hex; certificates and extensions one by one."""
    if isinstance(message, Certificate | Certificate13):
        return {f"certificate {number}": der.hex() for number, der in enumerate(message.chain, start=1)}
    found: dict[str, str] = {}
    for field in dataclasses.fields(message):  # type: ignore[arg-type]
        value = getattr(message, field.name)
        if field.name == "extensions":
            for extension in value or ():
                found[_EXTENSIONS.get(extension.type, f"extension {extension.type}")] = extension.data.hex()
        elif isinstance(value, bytes):
            found[field.name] = value.hex()
        elif isinstance(value, int):
            found[field.name] = f"{value:04x}"
        else:
            found[field.name] = "".join(f"{one:04x}" if isinstance(one, int) else one.hex() for one in value)
    return found


def _why(message: str, field: str, event: ProofRelayed) -> Why:
    kind = f"{event.tls} {event.key_exchange}"
    for name in (field, ""):
        reasons = _FORCED.get((message, name), {})
        if why := reasons.get(kind) or reasons.get(""):
            return why
    reason = _CHOSEN.get((message, field), "mallory said something else here, and need not have")
    return Why(ITS_OWN_CHOICE, reason)
