"""What both roles do alike: records in and out, protection, alerts, application data, the transcript.

`Client` and `Server` add the hellos, which settle the version, and leave the rest to the handshake of that version:
`states.py` has which message may come in which state, the handshake what then happens. A connection never raises for
what its peer does; it answers with an alert and a `Failed` event.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lab.tls import records
from lab.tls.alerts import FATAL, WARNING, Alert, AlertDescription, parse_alert
from lab.tls.engine import Closed, Data, EngineEvent, Established, Failed, Party
from lab.tls.errors import Abort, TlsError
from lab.tls.messages import ClientHello, HelloRequest, Message, ServerHello, serialize
from lab.tls.messages13 import KeyUpdate, NewSessionTicket13, parse
from lab.tls.proof import Challenge
from lab.tls.records import ContentType, Protection
from lab.tls.transcript import Transcript
from lab.tls.versions import TLS12, TLS13, Version

_AFTER_THE_HANDSHAKE = (NewSessionTicket13, KeyUpdate)
"""What is in no transcript, though a server may send it before the client has spoken (RFC 8446 section 4.6)."""
MAX_WARNINGS = 4
MAX_STEPS = 256
"""No more steps are kept: the peer may send tickets and key updates for as long as a TLS 1.3 connection lasts."""
MAX_EARLY_DATA = 1 << 16
"""Bytes of early data that are skipped; what follows them must be readable."""


@dataclass(frozen=True)
class ChangeCipherSpec:
    """RFC 5246 section 7.1: a record of its own type with a fixed place among the handshake messages."""

    name = "ChangeCipherSpec"


@dataclass(frozen=True)
class Step:
    """One message, ChangeCipherSpec or alert of the handshake, whole and without its protection."""

    sender: Party
    name: str
    raw: bytes


def server_random(steps: Iterable[Step]) -> bytes:
    """The random of the ServerHello, the last one after a HelloRetryRequest; empty where there is none.

    It is fresh in every handshake and plaintext, so it names a connection to everybody who sees it.
    """
    return next((step.raw[6:38] for step in reversed([*steps]) if step.name == ServerHello.name), b"")


class Connection(ABC):
    """One end of a TLS connection without its socket (`lab.tls.engine.Engine`)."""

    role: Party
    peer: Party

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.steps: list[Step] = []
        """All steps of the handshake and every alert, sent or received, in order."""
        self.peer_chain: tuple[bytes, ...] = ()
        self.challenge: Challenge | None = None
        """What the client's proof must sign in this handshake, once that is settled."""
        self.resumed = False
        """Whether this connection resumes an earlier session."""
        self.key_log = ""
        """The connection's lines for an SSLKEYLOGFILE, once there are keys."""
        self._reader = records.RecordReader()
        self._joiner = records.MessageJoiner()
        self.version: Version | None = None
        """The protocol version, once it is settled."""
        self.ignores_change_cipher_spec = False
        """Whether this is or may become TLS 1.3, which ignores them (RFC 8446 section 5)."""
        self._read: Protection | None = None
        self._read_before: Protection | None = None
        self._read_any = False
        self._write: Protection | None = None
        self._outgoing = bytearray()
        self._events: list[EngineEvent] = []
        self._established = False
        self._over = False
        self._said_close = False
        self._heard_close = False
        self._deaf = False
        self._early_data_left = self._warnings = self._empty_records = 0

    # --- the engine's interface ---

    def receive(self, data: bytes) -> list[EngineEvent]:
        """See `Engine.receive`."""
        return self._react(lambda: self._read_records(data))

    def data_to_send(self) -> bytes:
        """See `Engine.data_to_send`."""
        outgoing = bytes(self._outgoing)
        self._outgoing.clear()
        return outgoing

    def send(self, data: bytes) -> None:
        """See `Engine.send`; TlsError before the handshake is complete or after the end."""
        if not self._established or not self.may_write:
            raise TlsError("application data can be sent only while the connection is established")
        for fragment in records.fragments(data):
            self._write_record(ContentType.APPLICATION_DATA, fragment)

    def close(self) -> None:
        """See `Engine.close`."""
        if self.may_write:
            self._said_close = True
            self._send_alert(WARNING, AlertDescription.CLOSE_NOTIFY)

    @property
    def server_random(self) -> bytes:
        """See the function `server_random`."""
        return server_random(self.steps)

    def give_up(self, reason: str) -> list[EngineEvent]:
        """See `Engine.give_up`; the alert is internal_error."""

        def abort() -> None:
            raise Abort(AlertDescription.INTERNAL_ERROR, reason)

        return self._react(abort)

    # --- for the handshakes ---

    @abstractmethod
    def _advance(self, message: Message | ChangeCipherSpec) -> None:
        """Takes a message, which is already the last of the transcript; Abort if the handshake cannot go on."""

    def send_message(self, message: Message, in_transcript: bool = True) -> None:
        """Sends a handshake message under the current keys."""
        raw = serialize(message)
        if in_transcript:
            self.transcript.add(self.role, raw)
        self._note(self.role, message.name, raw)
        for fragment in records.fragments(raw):
            self._write_record(ContentType.HANDSHAKE, fragment)

    def send_change_cipher_spec(self) -> None:
        """Sends ChangeCipherSpec, always without protection."""
        self._note(self.role, ChangeCipherSpec.name, b"\x01")
        self._outgoing += records.write_record(ContentType.CHANGE_CIPHER_SPEC, b"\x01")

    def write_with(self, protection: Protection) -> None:
        """Protects everything that is sent from now on."""
        self._write = protection

    def read_with(self, protection: Protection, or_alert: Protection | None = None) -> None:
        """Opens everything that is received from now on; Abort if a message has begun under the old keys.

        `or_alert` opens the next record if `protection` does not, and if it is an alert.
        """
        if self._joiner.pending:  # RFC 8446 section 5.1
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "a handshake message spans a change of keys")
        self._read, self._read_before = protection, or_alert

    def read_nothing(self) -> None:
        """Stops reading: the peer uses keys that this side doesn't have. Only the type of an alert's record shows."""
        self._deaf = True

    def skip_early_data(self, up_to: int = MAX_EARLY_DATA) -> None:
        """Skips records that cannot be opened, `up_to` bytes of them: early data (RFC 8446 section 4.2.10)."""
        self._early_data_left = up_to

    @property
    def may_write(self) -> bool:
        """Whether this side may still send; nothing follows its close_notify."""
        return not self._over and not self._said_close

    def establish(self) -> None:
        """Reports that the handshake is complete, as far as this side can tell."""
        self._established = True
        self._events.append(Established())

    def _send_alert(self, level: int, description: int) -> None:
        alert = Alert(level, description)
        self._note(self.role, f"alert {alert.name}", alert.serialize())
        self._write_record(ContentType.ALERT, alert.serialize())

    def _note(self, sender: Party, name: str, raw: bytes) -> None:
        if len(self.steps) < MAX_STEPS or name.startswith("alert"):
            self.steps.append(Step(sender, name, raw))

    def _react(self, act: Callable[[], None]) -> list[EngineEvent]:
        """Acts unless the connection is over, and returns the events that followed."""
        if self._over:
            return []
        try:
            act()
        except Abort as error:
            self._fail(error.alert, str(error))
        except TlsError as error:
            self._fail(AlertDescription.INTERNAL_ERROR, str(error))
        events, self._events = self._events, []
        return events

    # --- records ---

    def _read_records(self, data: bytes) -> None:
        if self._heard_close:
            return
        for record in self._reader.feed(data):
            self._on_record(record)
            if self._over or self._heard_close:
                break

    def _write_record(self, kind: int, fragment: bytes) -> None:
        if self._write:
            kind, fragment = self._write.seal(kind, fragment)
        self._outgoing += records.write_record(kind, fragment)

    def _on_record(self, record: records.Record) -> None:
        if self._deaf:
            self._hear_an_alert_at_most(record)
            return
        if record.type == ContentType.CHANGE_CIPHER_SPEC and self.ignores_change_cipher_spec:
            self._ignore_change_cipher_spec(record.fragment)
            return
        opened = self._opened(record)
        if opened is None:
            return
        kind, fragment = opened
        if len(fragment) > records.MAX_PLAINTEXT:
            raise Abort(AlertDescription.RECORD_OVERFLOW, f"a plaintext record of {len(fragment)} bytes")
        self._empty_records = 0 if fragment else self._empty_records + 1
        if self._empty_records > records.MAX_EMPTY_RECORDS:
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "too many empty records in a row")
        if self.version == TLS13:
            self._check_content(kind, fragment)
        if kind not in (ContentType.HANDSHAKE, ContentType.ALERT):
            self._check_uninterrupted()
        match kind:
            case ContentType.HANDSHAKE:
                self._on_handshake(fragment)
            case ContentType.CHANGE_CIPHER_SPEC:
                if fragment != b"\x01":
                    raise Abort(AlertDescription.DECODE_ERROR, "a ChangeCipherSpec that isn't the byte 1")
                self._note(self.peer, ChangeCipherSpec.name, fragment)
                self._advance(ChangeCipherSpec())
            case ContentType.ALERT:
                self._on_alert(parse_alert(fragment))
            case ContentType.APPLICATION_DATA:
                if not self._established:
                    raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "application data before the handshake's end")
                if fragment:
                    self._events.append(Data(fragment))

    def _check_content(self, kind: int, fragment: bytes) -> None:
        """What TLS 1.3 forbids with and without protection (RFC 8446 sections 5 and 5.4)."""
        if kind == ContentType.CHANGE_CIPHER_SPEC:
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "a ChangeCipherSpec under protection")
        if kind == ContentType.ALERT and not fragment:
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "an empty alert record")

    def _check_uninterrupted(self) -> None:
        """RFC 8446 section 5.1: no record of another type may interrupt a message."""
        if self._joiner.pending:
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "another record interrupts a handshake message")

    def _hear_an_alert_at_most(self, record: records.Record) -> None:
        if record.type == ContentType.ALERT:
            self._over = True
            reason = f"the {self.peer} sent an alert under keys that this {self.role} doesn't have"
            self._events.append(Failed(None, self.peer, reason))

    def _opened(self, record: records.Record) -> tuple[int, bytes] | None:
        """The record's real type and plaintext; None for early data."""
        if self._early_data_left > 0 and record.type == ContentType.APPLICATION_DATA:
            return self._opened_unless_early(record)
        if self._read is None:
            return record.type, record.fragment
        if self.version == TLS13:
            if record.type == ContentType.ALERT and not self._read_any:
                return record.type, record.fragment  # the peer failed before it had keys
        elif record.version != TLS12:  # RFC 5246 section 6.2.1
            raise Abort(AlertDescription.PROTOCOL_VERSION, f"a record of version 0x{record.version:04x}")
        before, self._read_before = self._read_before, None
        try:
            opened = self._read.open(record.type, record.fragment)
        except Abort:
            if (alert := _alert_under(before, record)) is None:
                raise
            opened = alert
        self._read_any = True
        return opened

    def _opened_unless_early(self, record: records.Record) -> tuple[int, bytes] | None:
        """RFC 8446 section 4.2.10: the first record that can be opened ends the early data."""
        if self._read:
            try:
                opened = self._read.open(record.type, record.fragment)
            except Abort as error:
                if error.alert != AlertDescription.BAD_RECORD_MAC:
                    raise
            else:
                self._early_data_left = 0
                self._read_any = True
                return opened
        self._early_data_left -= len(record.fragment)
        return None

    def _ignore_change_cipher_spec(self, fragment: bytes) -> None:
        """RFC 8446 section 5: ignored during the handshake, if it is exactly the byte 1; an error at any other time."""
        self._check_uninterrupted()
        if fragment != b"\x01" or self._established:
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "a ChangeCipherSpec that TLS 1.3 doesn't allow")
        self._note(self.peer, ChangeCipherSpec.name, fragment)
        self._count_warning()

    def _on_handshake(self, fragment: bytes) -> None:
        if not fragment:
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "an empty handshake record (RFC 5246 section 6.2.1)")
        for raw in self._joiner.feed(fragment):
            message = parse(raw, self.version or TLS12)
            self._note(self.peer, message.name, raw)
            if self._asks_to_renegotiate(message):
                self._decline_renegotiation()
                continue
            if not (self._established or isinstance(message, _AFTER_THE_HANDSHAKE)):
                self.transcript.add(self.peer, raw)
            self._advance(message)

    def _asks_to_renegotiate(self, message: Message) -> bool:
        """A server asks with HelloRequest, a client with another ClientHello (RFC 5246 section 7.4.1)."""
        if self.version == TLS13:
            return False
        if self.role == "client":
            return isinstance(message, HelloRequest)
        return self._established and isinstance(message, ClientHello)

    def _decline_renegotiation(self) -> None:
        """RFC 5246 section 7.2.2: answered with the warning no_renegotiation; during a handshake it is ignored."""
        self._count_warning()
        if self._established:
            self._send_alert(WARNING, AlertDescription.NO_RENEGOTIATION)

    def _on_alert(self, alert: Alert) -> None:
        self._note(self.peer, f"alert {alert.name}", alert.serialize())
        if self._goes_on_after(alert):
            self._count_warning()
        elif alert.description == AlertDescription.CLOSE_NOTIFY and self._established:
            if self.version == TLS13:
                self._heard_close = True  # RFC 8446 section 6.1: this has no effect on what this side sends
            else:
                self.close()  # RFC 5246 section 7.2.1: close_notify answers close_notify
                self._over = True
            self._events.append(Closed())
        else:
            self._over = True
            reason = f"the {self.peer} sent alert {alert.name} ({alert.description})"
            self._events.append(Failed(alert.description, self.peer, reason))

    def _goes_on_after(self, alert: Alert) -> bool:
        """RFC 8446 section 6: TLS 1.3 ignores the level, and every alert but user_canceled ends the connection."""
        if self.version == TLS13:
            return alert.description == AlertDescription.USER_CANCELED
        return not alert.ends_connection

    def _count_warning(self) -> None:
        self._warnings += 1
        if self._warnings > MAX_WARNINGS:
            raise Abort(
                AlertDescription.UNEXPECTED_MESSAGE,
                "too many warning alerts, ChangeCipherSpecs or requests to renegotiate",
            )

    def _fail(self, alert: int, reason: str) -> None:
        self._send_alert(FATAL, alert)
        self._over = True
        self._events.append(Failed(alert, self.role, reason))


def _alert_under(protection: Protection | None, record: records.Record) -> tuple[int, bytes] | None:
    """The record's type and plaintext if it is an alert under these keys."""
    try:
        opened = protection and protection.open(record.type, record.fragment)
    except Abort:
        return None
    return opened if opened and opened[0] == ContentType.ALERT else None
