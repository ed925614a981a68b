"""Conversations as ladders: who said what, how long it was, and whether anyone on the way could read it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Literal

from lab.capture.decrypt import ReadHandshake
from lab.decimals import decimal
from lab.document import Octets
from lab.events.types import CertificateCaptured, HandshakeSeen, LoginDecrypted
from lab.judging.judgement import Sent
from lab.page.model import Ladder, Mark, Row
from lab.story.octets import exchange
from lab.tls.errors import Abort
from lab.tls.messages13 import parse
from lab.tls.versions import TLS12, TLS13, Version, find_version, version_name

Sender = Literal["client", "server"]

GISTS = {
    "ClientHello": "hello, my random bytes",
    "ServerHello": "hello, my random bytes",
    "EncryptedExtensions": "settings",
    "Certificate": "who I am",
    "ServerKeyExchange": "my key share",
    "CertificateRequest": "and yours?",
    "ServerHelloDone": "your turn",
    "ClientKeyExchange": "my key share",
    "ChangeCipherSpec": "now I encrypt",
    "Finished": "checksum of it all",
    "protected record": "encrypted",
    "NewSessionTicket": "a ticket",
}
"""Each message in a few words."""
PROOFS = {"client": "the proof, signed", "server": "my proof"}
CLIENT_HELLO, SERVER_HELLO_DONE, CERTIFICATE = 1, 14, 11
OF_SERVERS = (0, 2, 4, 6, 8, 12, 13, SERVER_HELLO_DONE, 22)
"""The types of messages that servers send (RFC 5246 section 7.4, RFC 8446 section 4)."""


class Messages:
    """The messages that the page can show byte by byte, by their ids."""

    def __init__(self) -> None:
        self.known: dict[str, Octets] = {}

    def add(self, message: Octets) -> str:
        """Its id, the same for equal bytes."""
        name = sha256(f"{message.message} {message.fields} {message.encrypted}".encode()).hexdigest()[:12]
        self.known[f"message/{name}"] = message
        return f"message/{name}"


def gist(name: str, sender: str) -> str:
    """A message in a few words; empty if there are none."""
    return PROOFS[sender] if name == "CertificateVerify" else GISTS.get(name, "")


def mark(name: str, sender: str) -> Mark:
    """What makes a message stand out."""
    if name.startswith("alert"):
        return "alert"
    if sender == "client" and name in ("Certificate", "CertificateVerify"):
        return "certificate" if name == "Certificate" else "proof"
    return ""


def rows(messages: Iterable[Octets], store: Messages) -> Iterator[Row]:
    """A row for each message."""
    for one in messages:
        yield row(one.sender, one.message, len(one.octets), one.encrypted, store.add(one))


def row(sender: str, name: str, octets: int | None, encrypted: bool, evidence: str = "") -> Row:
    side: Sender = "client" if sender == "client" else "server"
    return Row(side, name, gist(name, side), octets, encrypted, mark(name, side), evidence=evidence)


def of_attempt(messages: Iterable[Sent], tls: str, store: Messages, middle: str = "on the wire") -> Ladder:
    """An attempt of mallory's, which she can read as she has its keys."""
    return Ladder("mallory", middle, tuple(rows(exchange(messages, tls).messages, store)))


def captured_messages(seen: CertificateCaptured) -> tuple[Octets, ...]:
    """What mallory read of a handshake: its messages up to the client's proof; none if she did not see them all."""
    version = find_version(seen.tls) or TLS12
    sent = [Sent(sender, name, raw.hex()) for sender, name, raw in with_senders(seen.transcript, version)]
    if sent and seen.proof:
        sent.append(Sent("client", "CertificateVerify", seen.proof))
    return exchange(sent, seen.tls).messages


def with_senders(transcript: Iterable[str], version: Version) -> Iterator[tuple[Sender, str, bytes]]:
    """The messages of a transcript in hex, each with its sender and name.

    In TLS 1.2 the server's first flight ends with ServerHelloDone; its Certificate is in there (RFC 5246 section 7.3).
    In TLS 1.3 its Certificate is the first (RFC 8446 section 2).
    """
    certificates = 0
    for raw in map(bytes.fromhex, transcript):
        kind = raw[0] if raw else -1
        certificates += kind == CERTIFICATE
        servers = kind in OF_SERVERS or (kind == CERTIFICATE and certificates == 1)
        if version != TLS12 and kind in (15, 20):  # until the client's Certificate all proofs are the server's
            servers = certificates < 2
        yield "server" if servers else "client", message_name(raw, version), raw


def message_name(raw: bytes, version: Version) -> str:
    """The name of a handshake message; of an unreadable one its type."""
    try:
        return parse(raw, version).name
    except Abort:
        return f"message of type {raw[0]}" if raw else "empty message"


def of_capture(seen: CertificateCaptured, read: LoginDecrypted | None, store: Messages) -> Ladder:
    """A login in which the certificate could be read.

    Up to the proof it is as mallory read it, byte by byte; what follows is as the lab read it with alice's keys, if it
    has.
    """
    shown = list(rows(captured_messages(seen), store))
    after = list(read.messages) if read else []
    known = [(one.sender, one.name) for one in shown]
    for place, (sender, name, octets, encrypted, _) in enumerate(after):
        if place >= len(known) or known[place] != (sender, name):
            shown.append(row(sender, name, octets, encrypted))
    return Ladder("alice", "mallory reads along", tuple(shown))


def of_login(read: LoginDecrypted) -> Ladder:
    """A login as the lab read it with alice's keys."""
    of = (row(sender, name, octets, encrypted) for sender, name, octets, encrypted, _ in read.messages)
    return Ladder("alice", "with alice's key log", tuple(of))


def of_handshake(read: ReadHandshake, store: Messages) -> Ladder:
    """A handshake in the capture, byte by byte; what was encrypted as alice's key log opens it."""
    version = version_name(read.version)
    sent = (Sent(one.sender, one.name, one.raw.hex()) for one in read.messages)
    shown = exchange(sent, version).messages
    known = (replace(one, encrypted=message.encrypted) for one, message in zip(shown, read.messages, strict=True))
    middle = "with alice's key log" if version == str(TLS13) else "mallory reads along"
    return Ladder("alice", middle, tuple(rows(known, store)))


HELLOS = {"client": "ClientHello", "server": "ServerHello"}


def of_records(seen: HandshakeSeen) -> Ladder:
    """What the wire shows of a handshake in which it shows no certificate: records, by type and length.

    The events have each side's records in order, not how they interleave: after the client's first flight come the
    server's, then the client's others.
    """
    client, server = (
        [_record(side, place, text) for place, text in enumerate(texts)]
        for side, texts in (("client", seen.client_records), ("server", seen.server_records))
    )
    return Ladder("alice", "what the wire shows", (*client[:1], *server, *client[1:]))


def _record(sender: str, place: int, text: str) -> Row:
    name, _, length = text.rpartition(" ")
    octets = decimal(length)
    if name == "handshake" and place == 0:
        return row(sender, HELLOS[sender], octets, False)
    sealed = name == "application_data"
    side: Sender = "client" if sender == "client" else "server"
    return Row(side, name or text, "what is it?" if sealed else "", octets, sealed)
