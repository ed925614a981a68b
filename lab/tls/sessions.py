"""TLS 1.2 sessions that can be gone on with, by ID (RFC 5246 section 7.3) or by ticket (RFC 5077)."""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lab.tls import wire
from lab.tls.errors import DecodeError

MAX_SESSIONS = 1024
TICKET_LIFETIME_SECONDS = 7200
MAX_TICKET = (1 << 16) - 1
_NONCE_LENGTH = 12


@dataclass(frozen=True)
class Session:
    """What both sides keep of a handshake. `id` and `ticket` are what the wire shows of it, either may be empty.

    `master` is the master secret, None for whoever saw the session on the wire only. `extended` says that it is bound
    to its handshake (RFC 7627), `peer_chain` holds the DER certificates that the other side presented.
    """

    id: bytes
    ticket: bytes
    master: bytes | None
    suite: int
    extended: bool
    peer_chain: tuple[bytes, ...] = ()


class SessionStore:
    """A server's sessions: those with an ID in memory, the newest so many; those with a ticket in the ticket itself."""

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
        """The session sealed so that only this store can open it (RFC 5077 section 4); empty, which says that there is
        none (section 3.3), where a chain is too long for it."""
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
        """The session that a client offers, by its ticket first (RFC 5077 section 3.4); None for one unknown here."""
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
