"""What the parts of the lab report: typed events."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

# --- the lab ---


@dataclass(frozen=True)
class RunStarted:
    """`mode` is embedded or classroom; the rest is what the run sets out to do (`lab.catalogue.plan.Plan`)."""

    mode: str
    run: str
    gateways: tuple[str, ...]
    moves: tuple[str, ...]
    versions: tuple[str, ...]
    key_type: str
    rounds: int
    leaks: tuple[str, ...]


@dataclass(frozen=True)
class BundleIssued:
    """A key and its certificate were made. `sha256` is the certificate's fingerprint, `files` where they lie."""

    subject: str
    issuer: str
    sha256: str
    key_type: str
    not_after: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class CaptureSearched:
    """Everything that the attacker captured was searched for the certificate and for its private key.

    `certificate_at` and `key_at` are the places where they were found, so many at most; `key_forms` are the encodings
    of the key that were looked for. Something cut in two would not be found at `gaps`, places where a connection lacks
    bytes or has contradicting ones; in `cut` packets, which were not kept as a whole; across `alone` packets, which
    belong to no TCP connection.
    """

    connections: int
    octets: int
    gaps: int
    cut: int
    alone: int
    certificate_at: tuple[str, ...]
    key_forms: tuple[str, ...]
    key_at: tuple[str, ...]


# --- the victims ---


@dataclass(frozen=True)
class GatewayListening:
    """A gateway accepts connections. `gateway` is its id, for example `mtls@openssl`; `versions` are those of TLS."""

    gateway: str
    host: str
    port: int
    versions: tuple[str, ...]


@dataclass(frozen=True)
class ClientAuthenticated:
    """A gateway took a client for the certificate's subject. `peer` is host:port as the gateway saw it, `tls` the
    connection's version."""

    gateway: str
    peer: str
    tls: str
    subject: str
    sha256: str
    proof: str


@dataclass(frozen=True)
class ClientRefused:
    """A gateway turned a client away, as a rule during the handshake; `alert` is the number that it sent, if it sent
    one. `tls` is empty where no version was settled."""

    gateway: str
    peer: str
    tls: str
    reason: str
    alert: int | None


@dataclass(frozen=True)
class MoneyMoved:
    """The bank carried out a transfer that it believed came from `customer`."""

    customer: str
    to: str
    amount: int
    balance: int


@dataclass(frozen=True)
class LoggedIn:
    """Alice logged in at `url` and the bank told her her balance; `sha256` is of the certificate she used."""

    gateway: str
    url: str
    subject: str
    sha256: str
    tls: str
    balance: int


@dataclass(frozen=True)
class LoginFailed:
    """Alice did not get in; `tls` is the version that she tried."""

    gateway: str
    url: str
    tls: str
    reason: str


# --- the attacker ---


@dataclass(frozen=True)
class LeakSought:
    """The attacker set out to come by a certificate this way; from here on it belongs to the run."""

    leak: str


@dataclass(frozen=True)
class PositionTaken:
    """The attacker is between client and server: `kind` is relay or arp, `detail` says how, a line each."""

    kind: str
    detail: tuple[str, ...]


@dataclass(frozen=True)
class PositionLeft:
    """The attacker let go; `healed` names the hosts whose ARP tables it put right again."""

    kind: str
    healed: tuple[str, ...]


@dataclass(frozen=True)
class CertificateCaptured:
    """A client's certificate came into the attacker's hands.

    `leak` is how (`lab.catalogue.leaks`); where no wire gave it away, what a wire would show is empty. `message` is the
    handshake message and `record` the five-byte header of the record it began in; `proof` is the CertificateVerify that
    followed, None where there was none, and `transcript` has the messages that it signed, empty where some were not
    seen. All hex.
    """

    leak: str
    client: str
    server: str
    tls: str
    subject: str
    issuer: str
    sha256: str
    record: str
    message: str
    proof: str | None
    transcript: tuple[str, ...]
    client_random: str
    server_random: str
    source: str
    note: str


@dataclass(frozen=True)
class HandshakeSeen:
    """A handshake was seen in which no client certificate can be read.

    `client_records` and `server_records` are the records as the wire shows them, `handshake 512`: type and length;
    `asked` says whether a CertificateRequest could be read.
    """

    client: str
    server: str
    tls: str
    server_name: str
    client_random: str
    server_random: str
    client_records: tuple[str, ...]
    server_records: tuple[str, ...]
    asked: bool


@dataclass(frozen=True)
class MoveTried:
    """One attempt to get in with a certificate that is not one's own; a control reports its attempts the same way.

    `steps` is what crossed the wire, in order: sender, name and hex of each message, ChangeCipherSpec and alert; rounds
    after the first go without. `leak` is how the certificate came into the attacker's hands, empty for a control, and
    `customer` whose it is. `alert` is the alert that ended the attempt, with `alert_by` (`server` or `client`);
    `status` and `body` are the HTTP answer where it got that far; `error` says what happened where it was neither let
    in nor refused, or why there was nothing to try. `local` is the attempt's own address, host:port, and `seen_at` the
    server at which the certificate was seen, as its CertificateCaptured has it.
    """

    leak: str
    customer: str
    server: str
    local: str
    seen_at: str
    move: str
    tls: str
    round: int
    outcome: str
    steps: tuple[tuple[str, str, str], ...]
    alert: int | None
    alert_by: str | None
    status: int | None
    body: str | None
    stolen: int
    error: str | None
    milliseconds: float


@dataclass(frozen=True)
class Intercepted:
    """An interceptor answered a client in a server's place, under the address that the client knows as `server`.

    `sha256` is of the certificate that the client handed over, empty where it sent none; `reason` says why it broke off
    where it did, in the interceptor's words. `tls` is empty where the handshake came to nothing.
    """

    client: str
    server: str
    tls: str
    sha256: str
    reason: str


@dataclass(frozen=True)
class WentOn:
    """An interceptor tried to go on to the real server, from its own address `local`; `reason` says why it could not,
    in its own words. The server's are in its ClientRefused with this `local` as the peer.
    """

    server: str
    local: str
    tls: str
    reason: str


@dataclass(frozen=True)
class HandshakeDecrypted:
    """The lab looked into a handshake with the victims' session keys, which the attacker doesn't have.

    `messages` are the sender and the name of each handshake message and alert, in the order in which they crossed the
    wire. `of` is the part that logged the keys, empty where none did: in TLS 1.2 they are no use before the end.
    """

    client: str
    server: str
    tls: str
    messages: tuple[tuple[str, str], ...]
    of: str = ""


@dataclass(frozen=True)
class ProofRelayed:
    """A client's fresh Certificate and CertificateVerify were passed on, while she waited, into the attacker's own
    handshake with the real server.

    `client` is who took the attacker for the server at `listening`, and `local` the attacker's own address towards the
    real `server`, host:port all. `key_exchange` is ECDHE or RSA (key transport); `same_keys` says whether both
    connections came to have the same secrets, so that `client_random` stands in both ends' key logs with the same.
    `signed` has the messages that the client made her `proof` over and `checked` those that the real server checks it
    against, as far as each handshake got before the CertificateVerify; all hex. The outcome and what follows it is as
    `MoveTried` has it.
    """

    client: str
    listening: str
    local: str
    server: str
    tls: str
    key_exchange: str
    customer: str
    client_random: str
    same_keys: bool
    signed: tuple[str, ...]
    checked: tuple[str, ...]
    proof: str
    outcome: str
    alert: int | None
    alert_by: str | None
    status: int | None
    body: str | None
    stolen: int
    error: str | None
    milliseconds: float


# --- every part ---


@dataclass(frozen=True)
class Trouble:
    """Something did not go as it should; `what` is for people."""

    what: str


@dataclass(frozen=True)
class PartStopped:
    """The part's last event."""

    reason: str


@dataclass(frozen=True)
class UnknownEvent:
    """A line from a newer or stranger version: shown, never a crash."""

    type: str
    fields: Mapping[str, Any]


Event: TypeAlias = (
    RunStarted
    | BundleIssued
    | CaptureSearched
    | GatewayListening
    | ClientAuthenticated
    | ClientRefused
    | MoneyMoved
    | LoggedIn
    | LoginFailed
    | LeakSought
    | PositionTaken
    | PositionLeft
    | CertificateCaptured
    | HandshakeSeen
    | MoveTried
    | Intercepted
    | WentOn
    | HandshakeDecrypted
    | ProofRelayed
    | Trouble
    | PartStopped
    | UnknownEvent
)


def type_name(kind: type) -> str:
    """`MoveTried` is `move-tried` in a file."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


BY_NAME: Mapping[str, type] = {type_name(kind): kind for kind in Event.__args__ if kind is not UnknownEvent}
