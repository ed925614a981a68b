"""Sessions to resume: in TLS 1.2 by ID (RFC 5246 section 7.3) or ticket (RFC 5077), in TLS 1.3 by ticket."""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lab.tls import wire
from lab.tls.errors import DecodeError
from lab.tls.keys import CipherSuite

MAX_SESSIONS = 1024
TICKET_LIFETIME_SECONDS = 7200
MAX_TICKET = (1 << 16) - 1
_NONCE_LENGTH = 12


@dataclass(frozen=True)
class Session:
    """What a side keeps of a handshake. `id` and `ticket` are visible on the wire; either may be empty.

    `master` is the master secret, None for an observer who saw only the wire. `extended` says that it is bound to the
    handshake (RFC 7627). `peer_chain` has the DER certificates that the peer presented.
    """

    id: bytes
    ticket: bytes
    master: bytes | None
    suite: int
    extended: bool
    peer_chain: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Session13:
    """What a client keeps of a TLS 1.3 handshake to resume its session (RFC 8446 section 4.6.1).

    `ticket` is what the server gave it, encrypted on the wire, and `secret` the pre-shared key that belongs to it.
    `age_add` hides the ticket's age. `peer_chain` has the DER certificates of the server.
    """

    ticket: bytes
    age_add: int
    secret: bytes
    suite: CipherSuite
    peer_chain: tuple[bytes, ...] = ()


class SessionStore:
    """A server's sessions: the newest MAX_SESSIONS with an ID are in memory; a ticket contains its session."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._tickets = AESGCM(entropy(16))
        self._by_id: dict[bytes, Session] = {}

    def keep(self, session: Session) -> None:
        """Remembers a session under its ID."""
        self._by_id[session.id] = session
        while len(self._by_id) > MAX_SESSIONS:
            del self._by_id[next(iter(self._by_id))]

    def ticket(self, session: Session) -> bytes:
        """The session, encrypted so that only this store can read it (RFC 5077 section 4). Empty, which means no ticket
        (section 3.3), if the chain is too long."""
        assert session.master
        content = (
            wire.vector(session.master, 1)
            + wire.number(session.suite, 2)
            + wire.number(session.extended, 1)
            + wire.vectors(session.peer_chain, 3, 3)
        )
        nonce = self._entropy(_NONCE_LENGTH)
        sealed = nonce + self._tickets.encrypt(nonce, content, None)
        return sealed if len(sealed) <= MAX_TICKET else b""

    def find(self, session_id: bytes, ticket: bytes) -> Session | None:
        """The session that a client offers, by ticket first (RFC 5077 section 3.4); None if it is not known."""
        if ticket:
            return self._open(session_id, ticket)
        return self._by_id.get(session_id)

    def _open(self, session_id: bytes, ticket: bytes) -> Session | None:
        nonce, sealed = ticket[:_NONCE_LENGTH], ticket[_NONCE_LENGTH:]
        try:
            reader = wire.Reader(self._tickets.decrypt(nonce, sealed, None), "ticket")
            return Session(
                session_id,
                ticket,
                reader.vector(1, "master"),
                reader.number(2, "suite"),
                bool(reader.number(1, "extended")),
                reader.vectors(3, 3, "peer_chain"),
            )
        except (InvalidTag, ValueError, DecodeError):
            return None
