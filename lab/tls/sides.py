"""What a side and its version's handshake need of each other.

`Client` and `Server` settle the version and hand over to the handshake of that version. Each knows the other by the
protocols here alone, so that the modules of the versions import neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec, Step
from lab.tls.engine import Party
from lab.tls.flight import Flight
from lab.tls.keys import CipherSuite, Entropy, KeyShare
from lab.tls.messages import CertificateRequest, CertificateVerify, Message
from lab.tls.messages13 import CertificateRequest13
from lab.tls.model import Model
from lab.tls.proof import Challenge, PrivateKey
from lab.tls.records import Protection
from lab.tls.sessions import Session, Session13, SessionStore
from lab.tls.transcript import Transcript
from lab.tls.versions import Version


class VersionHandshake(Protocol):
    """One version's handshake after the hellos."""

    def advance(self, message: Message | ChangeCipherSpec) -> None:
        """See `Connection._advance`."""
        ...


class ClientHandshake(VersionHandshake, Protocol):
    """A client's."""

    def speak(self, flight: Flight) -> None:
        """Sends the flight: it is the client's turn."""
        ...


class Side(Protocol):
    """What both roles offer to a handshake; `Connection` has all of it, with its documentation."""

    transcript: Transcript
    steps: list[Step]
    peer_chain: tuple[bytes, ...]
    challenge: Challenge | None
    resumed: bool
    key_log: str

    @property
    def role(self) -> Party: ...
    @property
    def peer(self) -> Party: ...
    @property
    def may_write(self) -> bool: ...
    def send_message(self, message: Message, in_transcript: bool = True) -> None: ...
    def send_change_cipher_spec(self) -> None: ...
    def write_with(self, protection: Protection) -> None: ...
    def read_with(self, protection: Protection, or_alert: Protection | None = None) -> None: ...
    def read_nothing(self) -> None: ...
    def establish(self) -> None: ...


class ClientSide(Side, Protocol):
    """What a client offers besides; see `Client`."""

    request: CertificateRequest | CertificateRequest13 | None
    session: Session | Session13 | None
    protocol: bytes

    def take_turn(self) -> None: ...


class ServerSide(Side, Protocol):
    """What a server offers besides; see `Server`."""

    entropy: Entropy
    chain: tuple[bytes, ...]
    key: PrivateKey
    groups: tuple[int, ...]
    schemes: tuple[int, ...]
    sessions: SessionStore | None
    model: Model | None
    premaster: bytes

    @property
    def authorities(self) -> tuple[bytes, ...] | None: ...
    @property
    def proof_may_be_missing(self) -> bool: ...
    def take_chain(self, chain: tuple[bytes, ...], none_presented: AlertDescription) -> None: ...
    def check_proof(self, answer: CertificateVerify) -> None: ...
    def skip_early_data(self, up_to: int = ...) -> None: ...


@dataclass(frozen=True)
class Offer:
    """What a client offers in its ClientHello, and what it was set up with: see `Client`.

    `random` is the client's; `suites` has each suite under its number. `protocols` are those that are spoken above TLS.
    """

    entropy: Entropy
    random: bytes
    versions: tuple[Version, ...]
    suites: Mapping[int, CipherSuite]
    groups: tuple[int, ...]
    schemes: tuple[int, ...]
    shares: tuple[KeyShare, ...]
    check_chain: Callable[[tuple[bytes, ...]], None] | None
    resume: Session | Session13 | None
    protocols: tuple[bytes, ...]
