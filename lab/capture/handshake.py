"""One handshake as the wire shows it: two byte streams in, at most one capture out.

In TLS 1.2 everything before ChangeCipherSpec is plaintext (RFC 5246 section 7.3): both hellos, the Certificate messages
and the CertificateVerify. In TLS 1.3 nothing after ServerHello is (RFC 8446 section 2).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from lab.capture.contents import RST, Endpoint, Segment
from lab.capture.side import PlaintextSide
from lab.capture.tcp import TcpSide
from lab.tls import extensions as ext
from lab.tls.errors import Abort
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    NewSessionTicket,
    ServerHello,
    ServerHelloDone,
)
from lab.tls.records import ContentType
from lab.tls.transcript import Entry
from lab.tls.versions import is_tls13, names_scheme

BEGAN_EARLIER = "the handshake began before the capture did"
NO_SERVER = "the server's side of the handshake is not in the capture"
NO_PROOF = "the client sent no proof"
NO_PROOF_YET = "the capture of the handshake ends before the client's proof"
OLD_PROOF = "the proof has the form it had before TLS 1.2, which names no signature scheme"
OLD_HELLO = "the client's hello has the form of SSL 2.0"
MISSING = "bytes are missing in the middle of the handshake"
GARBLED_PROOF = "the client's proof is garbled, so it is not kept"

_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


@dataclass(frozen=True)
class Capture:
    """One handshake in which a client presented a certificate, as the attacker saw it.

    `chain` is in DER, the client's own certificate first. `certificate_message` includes its 4-byte header;
    `record_header` belongs to the record in which the message starts. `client_bytes` is everything that the client sent
    up to its Finished. `messages` are the messages of both sides up to there, the client's first. `transcript` has the
    messages that the proof signs, in order (RFC 5246 section 7.4.8); it is empty if some were not seen. `session_id`
    and `ticket` are what the server gave the client for resumption, empty if it gave nothing. `time_ns` is when the
    connection was first seen. The randoms are None if the capture began too late to have them; then `version` is what
    the client's records say. `server_name` is None if it is not a host name. `note` says what is missing, if anything.
    """

    client: str
    server: str
    version: int | None
    server_name: str | None
    chain: tuple[bytes, ...]
    certificate_message: bytes
    record_header: bytes
    certificate_verify: CertificateVerify | None
    client_random: bytes | None
    server_random: bytes | None
    client_bytes: bytes
    messages: tuple[Entry, ...]
    transcript: tuple[Entry, ...]
    session_id: bytes
    ticket: bytes
    time_ns: int
    note: str
    proof_seen: bool = False
    carrier: str = ""


@dataclass(frozen=True)
class Contact:
    """A handshake from which no client certificate can be read, as in TLS 1.3, where they are encrypted.

    `client_bytes` is what was kept of the client's bytes; each record is given by content type and length. `asked` says
    whether a CertificateRequest was readable, `resumed` whether the server visibly resumed an earlier session of TLS
    1.2. `offered` is the key with which the client would resume a TLS 1.3 session, None where it names none. The other
    fields are as in a Capture.
    """

    client: str
    server: str
    version: int | None
    server_name: str | None
    client_random: bytes
    server_random: bytes | None
    client_bytes: bytes
    client_records: tuple[tuple[int, int], ...]
    server_records: tuple[tuple[int, int], ...]
    asked: bool
    resumed: bool
    time_ns: int
    offered: ext.OfferedPsk | None


class Upshot(Enum):
    """Why there is a client's certificate in a handshake, or none."""

    PRESENTED = "presented"
    TLS13 = "TLS 1.3"
    EMPTY = "empty"
    HOLE_IN_CERTIFICATE = "hole in the certificate"
    GAP = "gap"
    ENDED = "ended"
    CAPTURE_ENDED = "capture ended"
    CLIENT_UNSEEN = "client unseen"
    RESUMED = "resumed"
    RENEGOTIATED = "renegotiated"
    NOT_ASKED = "not asked"


class Handshake:
    """The two sides of one conversation. `carrier` says what carries it, where that is not TCP itself."""

    def __init__(self, one: PlaintextSide, other: PlaintextSide, time_ns: int, carrier: str = "") -> None:
        self._sides = (one, other)
        self._time_ns = time_ns
        self._told = False
        self._carrier = carrier
        self.counted = 0
        """Its memory in bytes, when that was last asked for."""
        self.over = False
        """Whether nothing more can be learned from it."""

    def read(self, from_one: bool, data: bytes) -> "Capture | Contact | None":
        """Takes the next bytes of either side; returns the capture or the contact once it is complete."""
        self._sides[0 if from_one else 1].read(data)
        one, other = self._sides
        return self._progress((one.over or one.ended) and (other.over or other.ended))

    def _progress(self, over: bool) -> "Capture | Contact | None":
        """What is complete now. The conversation is over, or is watched on until both sides were watched enough."""
        complete = over or self._complete()
        found = self.end() if complete and not self._told else None
        if complete:
            one, other = self._sides
            closed = (one.closing and other.closing) or (one.watched and other.watched)
            self.over = closed or not self._worth_watching()
        return found

    def _worth_watching(self) -> bool:
        """Whether a second handshake, in which the server asks for a certificate, may follow."""
        one, other = self._sides
        return (
            one.changed_cipher
            and other.changed_cipher
            and not is_tls13(self.version())
            and not one.sent(CertificateRequest)
            and not other.sent(CertificateRequest)
        )

    def end(self) -> "Capture | Contact | None":
        """What was read so far; None if there is nothing, or if it was returned before."""
        if self._told:
            return None
        for side in self._sides:
            side.finish()
        parties = self.parties()
        if not parties:
            return None
        client, server = parties
        self._told = self.over = True
        found = client.first(Certificate)
        if not found or not found[0].chain:
            return self._contact(client, server)
        certificate, raw, header = found
        client_hello, server_hello = client.first(ClientHello), server.first(ServerHello)
        version = self.version() or int.from_bytes(header[1:3], "big")
        proof = client.first(CertificateVerify) if names_scheme(version) else None
        return Capture(
            client=str(client.endpoint),
            server=str(server.endpoint),
            version=version,
            server_name=_server_name(client_hello[0]) if client_hello else None,
            chain=certificate.chain,
            certificate_message=raw,
            record_header=header,
            certificate_verify=proof[0] if proof else None,
            client_random=client_hello[0].random if client_hello else None,
            server_random=server_hello[0].random if server_hello else None,
            client_bytes=bytes(client.raw),
            messages=tuple(_entries(client, server)),
            transcript=tuple(_signed(client, server)),
            session_id=server_hello[0].session_id if server_hello else b"",
            ticket=_ticket(server),
            time_ns=self._time_ns,
            note="; ".join(_notes(client, server, version, proof is not None)),
            proof_seen=proof is not None or (not names_scheme(version) and client.sent(CertificateVerify)),
            carrier=self._carrier or client.carrier,
        )

    @property
    def resumed(self) -> bool:
        """Whether the server resumed an earlier session, without certificates (RFC 5246 section 7.3)."""
        parties = self.parties()
        if not parties or is_tls13(self.version()):
            return False
        client, server = parties
        if client.sent(ClientKeyExchange) or server.sent(ServerHelloDone) or server.sent(Certificate):
            return False
        return server.changed_cipher and server.sent(ServerHello)

    def upshot(self) -> Upshot | None:
        """Why there is a client's certificate, or none; None where no handshake message was seen."""
        parties = self.parties()
        if not parties or not (parties[0].messages or parties[1].messages or parties[0].holed or parties[1].holed):
            return None
        client, server = parties
        presented = client.first(Certificate)
        asked = server.sent(CertificateRequest)
        answered = client.sent(ClientKeyExchange) or client.changed_cipher
        if presented:
            return Upshot.PRESENTED if presented[0].chain else Upshot.EMPTY
        if is_tls13(self.version()):
            return Upshot.TLS13
        if Certificate.type in client.holed or (client.gaps and client.sent(CertificateVerify)):
            return Upshot.HOLE_IN_CERTIFICATE
        if self.resumed or (client.changed_cipher and not client.sent(ClientKeyExchange) and not client.gaps):
            return Upshot.RENEGOTIATED if client.later_handshakes or server.later_handshakes else Upshot.RESUMED
        if answered and not client.gaps and not asked:
            return Upshot.RENEGOTIATED if client.later_handshakes or server.later_handshakes else Upshot.NOT_ASKED
        if client.gaps or server.gaps:
            return Upshot.GAP
        if not client.messages and server.changed_cipher:
            return Upshot.CLIENT_UNSEEN
        return Upshot.ENDED if client.closing or server.closing else Upshot.CAPTURE_ENDED

    def _contact(self, client: PlaintextSide, server: PlaintextSide) -> Contact | None:
        client_hello, server_hello = client.first(ClientHello), server.first(ServerHello)
        if not client_hello:
            return None
        return Contact(
            client=str(client.endpoint),
            server=str(server.endpoint),
            version=self.version(),
            server_name=_server_name(client_hello[0]),
            client_random=client_hello[0].random,
            server_random=server_hello[0].random if server_hello else None,
            client_bytes=bytes(client.raw),
            client_records=client.records(),
            server_records=server.records(),
            asked=server.sent(CertificateRequest),
            resumed=self.resumed,
            time_ns=self._time_ns,
            offered=_offered_psk(client_hello[0]),
        )

    def parties(self) -> tuple[PlaintextSide, PlaintextSide] | None:
        """Client and server, told apart by their messages or their SYNs; None if neither was seen."""
        one, other = self._sides
        if one.role == "client" or other.role == "server":
            return one, other
        if other.role == "client" or one.role == "server":
            return other, one
        return None

    def version(self) -> int | None:
        """The version that the server chose; None until then."""
        parties = self.parties()
        hello = parties[1].first(ServerHello) if parties else None
        if parties and (draft := _early_draft(parties[1])):
            return draft
        if not hello:
            return None
        try:
            return ext.selected_version(hello[0].extensions) or hello[0].version
        except Abort:
            return hello[0].version

    @property
    def speaks_tls(self) -> bool:
        """Whether whole TLS records were read."""
        return any(side.speaks_tls for side in self._sides)

    @property
    def hidden(self) -> bool:
        """Whether its handshake is encrypted as a whole."""
        return False

    @property
    def ssl2(self) -> bool:
        """Whether it is SSL 2.0, which is not read."""
        return any(side.ssl2 for side in self._sides)

    @property
    def octets(self) -> int:
        """The approximate memory in use, in bytes."""
        return sum(side.octets for side in self._sides)

    def _complete(self) -> bool:
        """Whether the client's part is complete, and the server's up to its answer.

        On a live link the two directions may arrive in either order.
        """
        parties = self.parties()
        if not parties:
            return False
        client, server = parties
        return client.ended or (client.over and (server.ended or server.over or server.changed_cipher))


class TcpHandshake(Handshake):
    """The two sides of one TCP connection."""

    def __init__(self, first: Segment, time_ns: int) -> None:
        self._one, self._other = TcpSide(first, True), TcpSide(first, False)
        self._source, self._destination = first.source, first.destination
        super().__init__(self._one, self._other, time_ns)

    def continued_by(self, opening: Segment) -> bool:
        """Whether this SYN belongs to this connection, not to a new one on the same ports."""
        return self._side(opening).continues(opening.sequence)

    def feed(self, segment: Segment) -> "Capture | Contact | None":
        """Takes a segment of either side; returns the capture or the contact once it is complete."""
        self._side(segment).feed(segment)
        one, other = self._one, self._other
        if segment.flags & RST:
            one.closing = other.closing = True
        return self._progress(
            (one.closing and other.closing) or ((one.over or one.ended) and (other.over or other.ended))
        )

    @property
    def hidden(self) -> bool:
        return self._one.hidden or self._other.hidden

    @property
    def openings(self) -> tuple[tuple[Endpoint, int | None], ...]:
        """For each side its endpoint and the sequence number of its SYN."""
        one, other = self._one, self._other
        return (self._source, one.opening), (self._destination, other.opening)

    def _side(self, segment: Segment) -> TcpSide:
        return self._one if segment.source == self._source else self._other


def _early_draft(server: PlaintextSide) -> int | None:
    """The version in a ServerHello of the early drafts of TLS 1.3, which has another form (draft 21, section 4.1.3)."""
    for _, raw in server.messages:
        if raw[0] == ServerHello.type and raw[4:5] == b"\x7f":
            return int.from_bytes(raw[4:6], "big")
    return None


def described(records: Iterable[tuple[int, int]]) -> Iterator[str]:
    """A Contact's records as events have them: `handshake 512`."""
    names = {int(kind): kind.name.lower() for kind in ContentType}
    return (f"{names.get(kind, kind)} {length}" for kind, length in records)


def _entries(client: PlaintextSide, server: PlaintextSide) -> Iterator[Entry]:
    """The client's messages, then the server's up to ServerHelloDone, which the client's Certificate answers."""
    for _, raw in client.messages:
        yield Entry("client", raw)
    for _, raw in server.messages:
        yield Entry("server", raw)
        if raw[0] == ServerHelloDone.type:
            return


def _signed(client: PlaintextSide, server: PlaintextSide) -> Iterator[Entry]:
    """The messages before the client's CertificateVerify, if all of them were seen."""
    gaps = client.gaps or server.gaps or client.rewritten
    if gaps or not (client.sent(ClientHello) and server.sent(ServerHello) and server.sent(ServerHelloDone)):
        return
    (_, hello), *rest = client.messages
    yield Entry("client", hello)
    yield from (entry for entry in _entries(client, server) if entry.sender == "server")
    for _, raw in rest:
        if raw[0] == CertificateVerify.type:
            return
        yield Entry("client", raw)


def _ticket(server: PlaintextSide) -> bytes:
    """The ticket in the server's NewSessionTicket, which TLS 1.2 sends in plaintext (RFC 5077 section 3.3)."""
    found = server.first(NewSessionTicket)
    return found[0].ticket if found else b""


def _notes(client: PlaintextSide, server: PlaintextSide, version: int, proof: bool) -> Iterator[str]:
    if client.old_hello:
        yield OLD_HELLO
    if client.gaps:
        yield MISSING
    elif not client.sent(ClientHello):
        yield BEGAN_EARLIER
    if client.sent(ClientHello) and not server.sent(ServerHello):
        yield MISSING if server.gaps and not client.gaps else NO_SERVER
    if proof:
        return
    if client.sent(CertificateVerify):
        yield GARBLED_PROOF if names_scheme(version) else OLD_PROOF
    elif not client.gaps:
        yield NO_PROOF if client.changed_cipher else NO_PROOF_YET


def _offered_psk(hello: ClientHello) -> ext.OfferedPsk | None:
    try:
        return ext.read_pre_shared_key(hello.extensions)
    except Abort:
        return None


def _server_name(hello: ClientHello) -> str | None:
    try:
        name = ext.read_server_name(hello.extensions)
    except Abort:
        return None
    return name if name and len(name) <= 253 and _HOST_NAME.fullmatch(name) else None
