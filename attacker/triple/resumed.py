"""The second handshake, which resumes the session, and the third, which renegotiates: mallory passes both on.

Each record is opened with the keys of the one connection and sealed with those of the other. They are the same keys,
but mallory writes a request of her own and keeps alice's, so that the numbers of the records differ.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

from attacker.leak.mirror import read_first
from attacker.triple.reports import ConnectionReport
from lab.address import Address
from lab.tls import extensions as ext
from lab.tls import keys
from lab.tls.alerts import AlertDescription, parse_alert
from lab.tls.engine import Failed, Party
from lab.tls.messages import (
    CertificateVerify,
    ClientHello,
    Finished,
    HelloRequest,
    Message,
    ServerHello,
    parse,
    serialize,
)
from lab.tls.records import ContentType, MessageJoiner, Protection, Record, RecordReader, write_record
from lab.tls.secrets12 import Secrets12
from lab.tls.sessions import Session
from lab.tls.streams import READ_SIZE, ConnectionFailed

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SUITES = {suite.id: suite for suite in keys.RSA_TRANSPORT_SUITES}


class _Way:
    """One direction: what `sender` writes, on its way to the other party."""

    def __init__(self, sender: Party, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sender = sender
        self.reader, self.writer = reader, writer
        self.records, self.joiner = RecordReader(), MessageJoiner()
        self.opening: Protection | None = None
        self.sealing: Protection | None = None
        self.is_dark = False
        """Whether it uses keys that mallory does not have."""

    def opened(self, record: Record) -> tuple[int, bytes]:
        return self.opening.open(record.type, record.fragment) if self.opening else (record.type, record.fragment)

    def sealed(self, kind: int, content: bytes) -> bytes:
        """The record for the other party."""
        fragment = self.sealing.seal(kind, content)[1] if self.sealing else content
        return write_record(kind, fragment)


class ResumedRelay:
    """Alice's resumed connection to mallory, and mallory's to the bank, in which she writes `request`."""

    def __init__(self, hello: ClientHello, session: Session, request: bytes, report: ConnectionReport) -> None:
        self._hello = hello
        self._session = session
        self._request = request
        self._report = report
        self._finished = 0
        self._transcripts = {"alice": b"", "bank": b""}
        """This handshake's messages as each has them; without a change to alice's hello they are the same."""
        self._signed = b""
        """The renegotiated handshake up to the proof, which signs it."""
        self._keys: Mapping[Party, Protection] = {}
        self._same_keys: Mapping[Party, Protection] = {}
        self._suite: keys.CipherSuite

    async def carry_out(self, alice: Streams, bank: Address) -> None:
        """Relays until one side ends. ConnectionFailed or OSError if the bank does not resume the session."""
        self._report.resumed = True
        real, received = await self._reach(bank)
        up, down = _Way("client", alice[0], real[1]), _Way("server", real[0], alice[1])
        try:
            both = [asyncio.ensure_future(self._carry(*each)) for each in ((up, b""), (down, received))]
            _, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if left:  # what is still under way may say why
                await asyncio.wait(left, timeout=0.5)
            for one in both:
                one.cancel()
            errors = [one for one in await asyncio.gather(*both, return_exceptions=True) if isinstance(one, Exception)]
        finally:
            real[1].close()
        self._report.passed_on = up.is_dark and down.is_dark
        if not (self._report.passed_on or self._report.ended):
            self._report.ended = str(errors[0]) if errors else "one side closed the connection"

    async def _reach(self, bank: Address) -> tuple[Streams, bytes]:
        """A connection on which the bank resumes the session, and its first bytes there.

        Where it does not, because alice offers the extended master secret and the session has none (RFC 7627 section
        5.3), mallory tries again without that extension. Then the two transcripts differ.
        """
        kept = tuple(one for one in self._hello.extensions or () if one.type != ext.EXTENDED_MASTER_SECRET)
        for sent in (self._hello, replace(self._hello, extensions=kept)):
            reader, writer = await asyncio.open_connection(*bank)
            writer.write(write_record(ContentType.HANDSHAKE, serialize(sent)))
            answer, received = await read_first(reader)
            if isinstance(answer, ServerHello) and answer.session_id == self._session.id:
                self._report.replaced = sent != self._hello
                self._transcripts = {"alice": serialize(self._hello), "bank": serialize(sent)}
                return (reader, writer), received
            writer.close()
        raise ConnectionFailed(Failed(None, None, "the bank does not resume the session"))

    async def _carry(self, way: _Way, data: bytes) -> None:
        while data or (data := await way.reader.read(READ_SIZE)):
            for record in way.records.feed(data):
                way.writer.write(self._passed_on(way, record))
            await way.writer.drain()
            data = b""
        way.writer.write_eof()

    def _passed_on(self, way: _Way, record: Record) -> bytes:
        """What becomes of a record on its way."""
        if way.is_dark:
            return write_record(record.type, record.fragment, record.version)
        kind, content = way.opened(record)
        if kind == ContentType.CHANGE_CIPHER_SPEC:
            sealed = way.sealed(kind, content)
            if way.opening:
                way.is_dark = True
            else:
                way.opening, way.sealing = self._keys[way.sender], self._same_keys[way.sender]
            return sealed
        if kind == ContentType.HANDSHAKE:
            return b"".join(self._message(way, raw) for raw in way.joiner.feed(content))
        if kind == ContentType.ALERT:
            self._note_alert(way, content)
        if kind == ContentType.APPLICATION_DATA:
            return b""  # alice's request was for mallory's server; what the bank answers mallory is not for alice
        return way.sealed(kind, content)

    def _note_alert(self, way: _Way, content: bytes) -> None:
        alert = parse_alert(content)
        if alert.description != AlertDescription.CLOSE_NOTIFY and not self._report.alert:
            self._report.alert, self._report.alert_by = alert.name, way.sender
            self._report.ended = f"the {way.sender} sent alert {alert.name} ({alert.description})"

    def _message(self, way: _Way, raw: bytes) -> bytes:
        message = parse(raw)
        if self._finished == 2:
            self._note_renegotiation(message, raw)
            return way.sealed(ContentType.HANDSHAKE, raw)
        if isinstance(message, ServerHello):
            self._derive_keys(message)
        if not isinstance(message, Finished):
            self._transcripts = {party: before + raw for party, before in self._transcripts.items()}
            return way.sealed(ContentType.HANDSHAKE, raw)
        return self._passed_finished(way, message)

    def _derive_keys(self, answer: ServerHello) -> None:
        self._suite = SUITES[answer.cipher_suite]
        self._keys, self._same_keys = (
            Secrets12(self._session.master or b"", self._hello.random, answer.random, self._suite).protections
            for _ in range(2)
        )
        self._report.shared = {
            "client_random": (self._hello.random.hex(),) * 2,
            "server_random": (answer.random.hex(),) * 2,
            "session_id": (self._hello.session_id.hex(), answer.session_id.hex()),
        }

    def _passed_finished(self, way: _Way, message: Finished) -> bytes:
        """The sender's own Finished if it is what the other side expects, as it is where both transcripts are the same;
        else one that mallory makes, who has the master secret."""
        master = self._session.master or b""
        sender, receiver = ("alice", "bank") if way.sender == "client" else ("bank", "alice")
        expected = Finished(keys.verify_data(master, way.sender, self._transcripts[receiver], self._suite))
        by = {sender: message, receiver: expected}
        made = by["alice"].verify_data.hex(), by["bank"].verify_data.hex()
        self._report.shared[f"{way.sender} verify_data"] = made
        self._transcripts = {party: before + serialize(by[party]) for party, before in self._transcripts.items()}
        self._finished += 1
        passed = way.sealed(ContentType.HANDSHAKE, serialize(expected))
        if way.sender == "client":
            passed += way.sealed(ContentType.APPLICATION_DATA, self._request)
            self._report.request = self._request.split()[1].decode()
        return passed

    def _note_renegotiation(self, message: Message, raw: bytes) -> None:
        self._report.renegotiated.append(message.name)
        if isinstance(message, HelloRequest):
            return
        if isinstance(message, ClientHello | ServerHello):
            value = ext.find(message.extensions, ext.RENEGOTIATION_INFO) or b""
            self._report.shared[f"{message.name} renegotiation_info"] = (value[1:].hex(),) * 2
        if isinstance(message, CertificateVerify):
            self._report.proof = raw.hex()
            self._report.shared["handshake_messages, SHA-256"] = (sha256(self._signed).hexdigest(),) * 2
        self._signed += raw
