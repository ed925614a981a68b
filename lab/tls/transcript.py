"""The transcript: the handshake messages so far, which is what gets hashed and what gets signed."""

from dataclasses import dataclass

from lab.tls.engine import Party


@dataclass(frozen=True)
class Entry:
    """One handshake message as it was on the wire, header included."""

    sender: Party
    raw: bytes


class Transcript:
    """handshake_messages (RFC 5246 section 7.4.8): all sent and received, without record headers and HelloRequests."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, sender: Party, raw: bytes) -> None:
        self.entries.append(Entry(sender, raw))

    def content(self) -> bytes:
        """All messages up to and including the last one."""
        return b"".join(entry.raw for entry in self.entries)

    def before_last(self) -> bytes:
        """All messages up to but not including the last one: what that one signs or hashes."""
        return b"".join(entry.raw for entry in self.entries[:-1])
