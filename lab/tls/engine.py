"""What a TLS engine is, whoever wrote it: bytes in, events and bytes out.

`lab.tls.client.Client` and `lab.tls.server.Server` are engines; so is the gateways' wrapper around OpenSSL. Whatever
moves bytes (`lab.tls.streams`) needs to know no more than this.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Party: TypeAlias = Literal["client", "server"]


@dataclass(frozen=True)
class Established:
    """The handshake is complete: both Finished messages were right. Application data may flow."""


@dataclass(frozen=True)
class Data:
    """Application data, decrypted."""

    data: bytes


@dataclass(frozen=True)
class Closed:
    """The peer said close_notify: nothing more will come."""


@dataclass(frozen=True)
class Failed:
    """The connection is over. `alert` is the alert's number and `sent_by` who sent it, both None where none was sent;
    `alert` alone is None where it came under keys that this side doesn't have.

    `reason` is the engine's own words, for people.
    """

    alert: int | None
    sent_by: Party | None
    reason: str


EngineEvent: TypeAlias = Established | Data | Closed | Failed


class Engine(Protocol):
    """One end of one TLS connection, without its socket."""

    def receive(self, data: bytes) -> list[EngineEvent]:
        """Takes bytes from the wire; the events they caused, in order. After Failed or Closed, data is ignored."""
        ...

    def data_to_send(self) -> bytes:
        """All bytes that are to go on the wire now, each given out once. Ask at the start and after every call."""
        ...

    def send(self, data: bytes) -> None:
        """Queues application data; only after Established."""
        ...

    def close(self) -> None:
        """Queues close_notify."""
        ...

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """The DER certificates that the peer presented, its own first; empty where there were none (yet)."""
        ...
