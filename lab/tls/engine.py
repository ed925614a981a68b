"""The interface of a TLS engine: bytes in, events and bytes out.

`lab.tls.client.Client` and `lab.tls.server.Server` are engines, and so is the gateways' wrapper around OpenSSL. The
code that moves bytes (`lab.tls.streams`) uses this interface alone.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Party: TypeAlias = Literal["client", "server"]


@dataclass(frozen=True)
class Established:
    """The handshake is complete, and application data may follow."""


@dataclass(frozen=True)
class Data:
    """Application data, decrypted."""

    data: bytes


@dataclass(frozen=True)
class Closed:
    """The peer sent close_notify: nothing more will come.

    In TLS 1.3 this side may go on sending (RFC 8446 section 6.1). In TLS 1.2 it may not: its own close_notify is the
    answer, and pending data is discarded (RFC 5246 section 7.2.1)."""


@dataclass(frozen=True)
class Failed:
    """The connection is over. `alert` is the number of the alert and `sent_by` its sender; both are None if there was
    none. `alert` alone is None if this side could not decrypt the alert.

    `reason` says why, for people.
    """

    alert: int | None
    sent_by: Party | None
    reason: str


EngineEvent: TypeAlias = Established | Data | Closed | Failed


class Engine(Protocol):
    """One end of one TLS connection, without its socket."""

    def receive(self, data: bytes) -> list[EngineEvent]:
        """Takes bytes from the wire; the events that follow, in order. Ignores data after Failed or Closed."""
        ...

    def data_to_send(self) -> bytes:
        """The bytes to send now, each returned once. Ask at the start and after every call."""
        ...

    def send(self, data: bytes) -> None:
        """Queues application data; only after Established."""
        ...

    def close(self) -> None:
        """Queues close_notify."""
        ...

    def give_up(self, reason: str) -> list[EngineEvent]:
        """Queues a fatal alert, for a reason that is not the peer's mistake; the events that follow."""
        ...

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """The DER certificates that the peer presented, its own first; empty if there are none (yet)."""
        ...
