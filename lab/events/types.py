"""What the parts of the lab report: typed events, a dataclass for each.

The types of the fields say what they may hold (`lab.events.fields`); the reader of a file checks it. Addresses are
host:port, bytes are hex, `tls` is a version as `lab.tls.versions.version_name` writes it. `sha256` is always the
fingerprint of a certificate, and `subject` and `issuer` are its names as RFC 4514 writes them.

`connection` names one TLS connection in every part's events: the random of its ServerHello, which is fresh in every
handshake, passes every relay unchanged, and is plaintext for all who see the connection (RFC 5246 section 7.4.1.3, RFC
8446 section 4.1.3). It is empty where the server sent none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lab.catalogue.outcomes import Outcome
from lab.events.fields import (
    AlertNumber,
    Count,
    Empty,
    FileName,
    Hex,
    HostPort,
    HttpStatus,
    Milliseconds,
    Port,
    RecordHeader,
)

# --- the lab ---


EMBEDDED, CLASSROOM = "embedded", "classroom"


@dataclass(frozen=True)
class RunStarted:
    """A run began.

    `mode` is EMBEDDED or CLASSROOM, `run` the name of the run's directory, and `lab` says whose run it is: the compose
    project, or the folder in which an embedded lab keeps its runs. The rest is what the run sets out to do, and for
    which student, as `lab.catalogue.plan.Plan` has it.
    """

    mode: str
    run: str
    gateways: tuple[str, ...]
    moves: tuple[str, ...]
    versions: tuple[str, ...]
    key_type: str
    rounds: Count
    leaks: tuple[str, ...]
    one_by_one: bool = False
    lab: str = ""
    student: str = ""


@dataclass(frozen=True)
class CodeLoaded:
    """The run takes a file of a student's.

    `what` is scheme, move or client; `name` is the gateway that the file serves, the move that it makes, or `client`.
    `file` is its name, and `digest` the SHA-256 of its content.
    """

    what: str
    name: str
    file: FileName
    digest: Hex


@dataclass(frozen=True)
class BundleIssued:
    """The lab issued a certificate to a customer, for a private key that it made or that she made herself.

    `key_type` is the kind of key for people, `not_after` the end of the certificate's validity, and `files` are the
    names of the files that hold both; there are none if only she has the key.
    """

    subject: str
    issuer: str
    sha256: Hex
    key_type: str
    not_after: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class CaptureSearched:
    """The lab searched the attacker's capture for the customer's certificate and for her private key.

    `connections` and `octets` are how many TCP connections and bytes were searched. `certificate_at` and `key_at` are
    the places where they were found, up to a limit; `key_forms` are the encodings of the `keys` keys that were looked
    for. The same was first looked for in the customer's bundles; `key_in_bundle` are the encodings that were found
    there, which is the control. A match that is split is not found. That can happen at `gaps`, places where a
    connection lacks bytes or has contradicting ones; in `cut` packets, which were not captured whole; and across
    `alone` packets, which belong to no TCP connection.
    """

    connections: Count
    octets: Count
    gaps: Count
    cut: Count
    alone: Count
    certificate_at: tuple[str, ...]
    key_forms: tuple[str, ...]
    key_at: tuple[str, ...]
    keys: Count = 1
    key_in_bundle: tuple[str, ...] | None = None
    """None in runs of earlier versions, which had no such control."""
    file_octets: Count = 0
    file_sha256: Hex | Empty = ""
    """The SHA-256 of the capture file's first `file_octets` bytes, which were all that there was to search."""


@dataclass(frozen=True)
class FileSearched:
    """The lab searched a file that leaks, or could have, for `what` (`lab.catalogue.searches`).

    `leak` says which leak it is. `sought` names each of the byte sequences that should not be in the file, and
    `found_at` the places where one was found, up to a limit. `control` are bytes that have to be in there, and
    `control_at` the places of these: a search that misses them proves nothing.
    """

    leak: str
    file: FileName
    what: str
    sought: tuple[str, ...]
    found_at: tuple[str, ...]
    control: str
    control_at: tuple[str, ...]


# --- the victims ---


@dataclass(frozen=True)
class GatewayListening:
    """A gateway accepts connections. `gateway` is its id, for example `mtls@openssl`; `versions` are those of TLS."""

    gateway: str
    host: str
    port: Port
    versions: tuple[str, ...]


@dataclass(frozen=True)
class ClientAuthenticated:
    """A gateway authenticated a client.

    `peer` is the client's address as the gateway saw it. `subject` and `sha256` are of the certificate, and `proof`
    says for people what was measured of the proof of possession in this handshake. `sha256` is empty for a client with
    a password.
    """

    gateway: str
    peer: str
    tls: str
    subject: str
    sha256: Hex | Empty
    proof: str
    connection: Hex | Empty = ""


@dataclass(frozen=True)
class ClientRefused:
    """A gateway refused a client, usually during the handshake.

    `peer` is the client's address as the gateway saw it, and `tls` is empty where no version was negotiated. `reason`
    is for people. `alert` is the alert that the gateway sent, None where it sent none.
    """

    gateway: str
    peer: str
    tls: str
    reason: str
    alert: AlertNumber | None
    connection: Hex | Empty = ""


@dataclass(frozen=True)
class AccountOpened:
    """The bank opened an account for `customer`, with this `balance`."""

    customer: str
    balance: int


@dataclass(frozen=True)
class MoneyMoved:
    """The bank moved `amount` from `customer` to the account `to`; `balance` is what `customer` has left.

    `connection` is the client's, as the gateway that passed the order on named it.
    """

    customer: str
    to: str
    amount: int
    balance: int
    connection: Hex | Empty = ""


@dataclass(frozen=True)
class TransferRefused:
    """The bank did not carry out an order of `customer` and answered with `status`; `reason` is for people."""

    customer: str
    status: HttpStatus
    reason: str
    connection: Hex | Empty = ""


@dataclass(frozen=True)
class LoggedIn:
    """The customer logged in at `url`, with the certificate `sha256`, and the bank told her the balance.

    `sha256` is empty for a login with a password. `resumed` says that she resumed the session of an earlier login: then
    she showed that certificate, and her proof, in that one (RFC 8446 section 2.2).
    """

    gateway: str
    url: str
    subject: str
    sha256: Hex | Empty
    tls: str
    balance: int
    connection: Hex | Empty = ""
    resumed: bool = False


@dataclass(frozen=True)
class LoginFailed:
    """The customer could not log in at `url`; `tls` is the version that she tried, and `reason` is for people."""

    gateway: str
    url: str
    tls: str
    reason: str
    connection: Hex | Empty = ""


# --- the attacker ---


@dataclass(frozen=True)
class LeakSought:
    """The attacker started this leak; from here on it belongs to the run."""

    leak: str


@dataclass(frozen=True)
class PositionTaken:
    """The attacker is between client and server.

    `kind` is `relay`, `arp`, or the leak that needs the position; `detail` says how, a line each.
    """

    kind: str
    detail: tuple[str, ...]


@dataclass(frozen=True)
class PositionLeft:
    """The attacker gave up the position; `healed` names the hosts whose ARP tables were put right again."""

    kind: str
    healed: tuple[str, ...]


@dataclass(frozen=True)
class CertificateCaptured:
    """The attacker obtained a client's certificate.

    `leak` is how, an id of `lab.catalogue.leaks`. `server` is where the certificate was seen: the address of a server,
    or the name of the file that leaked. What only a network shows is empty for a file: `client`, `tls`, `record`,
    `message` and the randoms. `record` is the five-byte header of the record in which the Certificate `message`
    begins. `proof` is the CertificateVerify that followed, None where there was none, and `transcript` has the messages
    that it signed, empty where some were not seen. `session` is what the wire shows of the session that the connection
    began, a ticket or else a session ID. `source` and `note` are for people. `server_random` names the connection.
    """

    leak: str
    client: HostPort | Empty
    server: HostPort | FileName
    tls: str
    subject: str
    issuer: str
    sha256: Hex
    record: RecordHeader | Empty
    message: Hex | Empty
    proof: Hex | None
    transcript: tuple[Hex, ...]
    client_random: Hex | Empty
    server_random: Hex | Empty
    source: str
    note: str
    session: Hex | Empty = ""


@dataclass(frozen=True)
class HandshakeSeen:
    """The attacker saw a handshake in which no client certificate can be read.

    `server_name` is the name that the client asked for, and `client_random` and `server_random` are those of the
    hellos; each is empty where it was not seen. `client_records` and `server_records` are the records as the wire shows
    them, type and length: `handshake 512`. `asked` says whether a CertificateRequest was read. `session` is the ticket
    that the client offered to resume a TLS 1.3 session with, empty where it offered none.
    """

    client: HostPort
    server: HostPort
    tls: str
    server_name: str
    client_random: Hex | Empty
    server_random: Hex | Empty
    client_records: tuple[str, ...]
    server_records: tuple[str, ...]
    asked: bool
    session: Hex | Empty = ""


@dataclass(frozen=True)
class MoveTried:
    """The attacker tried a move at a gateway once. The lab reports its controls the same way.

    What was tried: `leak` is how the certificate leaked, empty for a control. `customer` is its owner, and `seen_at`
    is where it was seen, as its CertificateCaptured has it in `server`. `move` was tried at `server`, from the address
    `local`, which is empty where there was no connection. `round` counts from 1.

    What happened: `outcome` is one of `lab.catalogue.outcomes`. `steps` is what crossed the wire, in order: sender,
    name and hex of each message, ChangeCipherSpec and alert. `elsewhere` is the same of the login under another name of
    the server, in which the session began that was offered, empty where none did. `header` is the certificate that went
    into the Client-Cert header of the requests, empty where none did. `said_in` are the names of the headers that say
    in its requests who the client is, if it comes to a request, empty where that is Client-Cert alone. `signed_by` is
    the public key (SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7) of the key that made the proof, if it is one of the
    attacker's own. `alert` is the alert that ended the attempt, and `alert_by` is who sent it, `server` or `client`.
    `status` and `body` are the bank's HTTP answer, and `transfer_status` belongs to its answer to the order to move
    money. Each is None where there was none. `stolen` is the amount that was moved. `error` says why an attempt was
    neither accepted nor refused, or why there was nothing to try. It took `milliseconds`.
    """

    leak: str
    customer: str
    server: HostPort
    local: HostPort | Empty
    seen_at: str
    move: str
    tls: str
    round: Count
    outcome: Outcome
    steps: tuple[tuple[str, str, Hex], ...]
    alert: AlertNumber | None
    alert_by: str | None
    status: HttpStatus | None
    body: str | None
    stolen: int
    error: str | None
    milliseconds: Milliseconds
    connection: Hex | Empty = ""
    header: Hex | Empty = ""
    signed_by: Hex | Empty = ""
    transfer_status: HttpStatus | None = None
    said_in: tuple[str, ...] = ()
    elsewhere: tuple[tuple[str, str, Hex], ...] = ()


@dataclass(frozen=True)
class ServerAnswered:
    """What a server that is not the bank's answered to an attempt; it follows the attempt's MoveTried.

    `ending`, `kind`, `words` and `content` are as in a ServerAnswer of `attacker.probe.answers`. `asked` tells whether
    the server asked for a certificate, `made` whether the move was sent: a server that refuses the ClientHello has not
    seen it. `completed` tells whether the handshake came to its end for the attacker, and `attempts` how often it was
    made: again where the one before may have ended by an accident.
    """

    move: str
    tls: str
    round: Count
    ending: str
    kind: str
    words: str
    content: Hex | Empty
    asked: bool
    made: bool
    completed: bool
    attempts: Count = 1


@dataclass(frozen=True)
class Intercepted:
    """An interceptor answered a client in a server's place, at the address `server` that the client connected to.

    `tls` is empty where the handshake failed. `sha256` is of the certificate that the client sent, empty where it sent
    none. `reason` says in the interceptor's words why it broke off, empty where it did not.
    """

    client: HostPort
    server: HostPort
    tls: str
    sha256: Hex | Empty
    reason: str


@dataclass(frozen=True)
class WentOn:
    """An interceptor connected to the real `server`, from its own address `local`.

    `reason` says in its words why that failed, empty where it did not. The gateway's own report is the ClientRefused
    with this `local` as the peer.
    """

    server: HostPort
    local: HostPort
    tls: str
    reason: str


@dataclass(frozen=True)
class HandshakeDecrypted:
    """The lab decrypted a handshake with the victims' session keys. The attacker does not have them.

    `messages` are sender and name of each handshake message and alert, in the order in which they crossed the wire. The
    name of a Certificate without certificates ends in `, empty`; CompressedCertificate (RFC 8879) names its algorithm.
    `of` is the part that logged the keys, empty where none did: in TLS 1.2 a handshake is readable without them.
    """

    client: HostPort
    server: HostPort
    tls: str
    messages: tuple[tuple[str, str], ...]
    of: str = ""


@dataclass(frozen=True)
class LoginDecrypted:
    """The lab read a handshake of the customer in the attacker's capture, with her session keys if it takes them.

    `messages` has, for each message, ChangeCipherSpec and alert in the order in which they crossed the wire: sender,
    name, length in bytes without records and their protection, whether it was encrypted there, and the time in
    milliseconds since the connection's first packet. A record that no key opens is a `protected record`.
    """

    client: HostPort
    server: HostPort
    tls: str
    connection: Hex | Empty
    messages: tuple[tuple[str, str, Count, bool, Milliseconds], ...]


@dataclass(frozen=True)
class ProofRelayed:
    """The attacker passed a client's fresh Certificate and CertificateVerify on, into a handshake with the real server.

    `client` is the client that connected to the attacker at `listening`. `local` is the attacker's own address towards
    the real `server`. `key_exchange` is ECDHE, or RSA for key transport. `customer` is the certificate's owner.
    `same_keys` says whether both connections have the same secrets; then both ends' key logs have the same line for
    `client_random`. `signed` has the messages that the client made its `proof` over, and `checked` the messages that
    the server checks it against, as far as each handshake got before the CertificateVerify. The outcome and all that
    follows is as `MoveTried` has it.
    """

    client: HostPort
    listening: HostPort
    local: HostPort
    server: HostPort
    tls: str
    key_exchange: str
    customer: str
    client_random: Hex
    same_keys: bool
    signed: tuple[Hex, ...]
    checked: tuple[Hex, ...]
    proof: Hex
    outcome: Outcome
    alert: AlertNumber | None
    alert_by: str | None
    status: HttpStatus | None
    body: str | None
    stolen: int
    error: str | None
    milliseconds: Milliseconds
    connection: Hex | Empty = ""


@dataclass(frozen=True)
class ProofRenegotiated:
    """The triple handshake was tried: a fresh proof was passed on, in a renegotiated handshake, or not.

    Client and server are not the lab's own: `peers` says how they are set up (`lab.catalogue.triple`), and `programs`
    what they are. `control` is the name that the server's log has beside the client's own request, and `subject` the
    one beside the attacker's `request`, which it answered with `status`; None if the log has no such request. `proof`
    is the client's CertificateVerify, as far as it came. `ended` says what was in the attacker's way.
    """

    peers: str
    programs: str
    control: str
    request: str
    subject: str
    status: HttpStatus | None
    proof: Hex | Empty
    outcome: Outcome
    ended: str


@dataclass(frozen=True)
class KeyFound:
    """The attacker found the private key of a certificate, `sha256`, in the `file` that leaked. She keeps it in memory
    alone."""

    leak: str
    file: FileName
    subject: str
    sha256: Hex


PASSWORD, PASSWORD_HASH = "the password itself", "a salted hash"
"""What is found of a password: a server that she logs in to has the first, a file the second."""


@dataclass(frozen=True)
class PasswordFound:
    """The attacker found a customer's password, or what a file has of it; `form` says which, and `seen_at` where.

    She keeps it in memory alone; it is in no event.
    """

    leak: str
    customer: str
    seen_at: HostPort | FileName
    form: str


# --- every part ---


@dataclass(frozen=True)
class Trouble:
    """Something went wrong; `what` is for people."""

    what: str


DONE, TOLD_TO_STOP = "done", "told to stop"
"""Why a part stops."""


@dataclass(frozen=True)
class PartStopped:
    """The part's last event, with the reason for people."""

    reason: str


@dataclass(frozen=True)
class UnknownEvent:
    """A line that is no event of this version: an unknown type, or fields that do not fit. It is shown as it stands."""

    type: str
    fields: Mapping[str, Any]


Event: TypeAlias = (
    RunStarted
    | CodeLoaded
    | BundleIssued
    | CaptureSearched
    | FileSearched
    | GatewayListening
    | ClientAuthenticated
    | ClientRefused
    | AccountOpened
    | MoneyMoved
    | TransferRefused
    | LoggedIn
    | LoginFailed
    | LeakSought
    | PositionTaken
    | PositionLeft
    | CertificateCaptured
    | HandshakeSeen
    | MoveTried
    | ServerAnswered
    | Intercepted
    | WentOn
    | HandshakeDecrypted
    | LoginDecrypted
    | ProofRelayed
    | ProofRenegotiated
    | KeyFound
    | PasswordFound
    | Trouble
    | PartStopped
    | UnknownEvent
)


def type_name(kind: type) -> str:
    """`MoveTried` is `move-tried` in a file."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


BY_NAME: Mapping[str, type] = {type_name(kind): kind for kind in Event.__args__ if kind is not UnknownEvent}
