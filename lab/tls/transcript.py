"""The transcript: the handshake messages so far, which are hashed and signed."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import HashAlgorithm

from lab.tls import wire
from lab.tls.engine import Party
from lab.tls.keys import digest

MESSAGE_HASH = 254
"""The message type of a hash in the transcript (RFC 8446 section 4.4.1)."""


@dataclass(frozen=True)
class Entry:
    """One handshake message in its bytes on the wire, header included."""

    sender: Party
    raw: bytes


class Transcript:
    """handshake_messages (RFC 5246 section 7.4.8): all sent and received, without record headers and HelloRequests."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, sender: Party, raw: bytes) -> None:
        self.entries.append(Entry(sender, raw))

    def hash_first(self, hash_: HashAlgorithm) -> None:
        """Replaces the first ClientHello by its hash after a HelloRetryRequest (RFC 8446 section 4.4.1)."""
        first = self.entries[0]
        hashed = digest(first.raw, hash_)
        self.entries[0] = Entry(first.sender, wire.number(MESSAGE_HASH, 1) + wire.vector(hashed, 3))

    def content(self) -> bytes:
        """All messages up to and including the last one."""
        return b"".join(entry.raw for entry in self.entries)

    def before_last(self) -> bytes:
        """All messages before the last one, which signs or hashes them."""
        return b"".join(entry.raw for entry in self.entries[:-1])
