"""Playback: sends a client's recorded bytes again, and reads the plaintext of the server's answers."""

from lab.capture.decrypt import PROTECTED
from lab.tls.alerts import AlertDescription, parse_alert
from lab.tls.connection import Step
from lab.tls.engine import Closed, EngineEvent, Failed
from lab.tls.errors import Abort, TlsError
from lab.tls.messages import parse
from lab.tls.records import ContentType, MessageJoiner, Record, RecordReader


class Playback:
    """An engine (`lab.tls.engine.Engine`) that sends everything at once, whatever the server answers.

    It has no keys. It reads the plaintext messages of the server, and the final alert if that is plaintext.
    """

    peer_chain: tuple[bytes, ...] = ()

    def __init__(self, recorded: bytes) -> None:
        self.steps: list[Step] = []
        self._outgoing = recorded
        self._records = RecordReader()
        self._joiner = MessageJoiner()
        self._over = False
        self._protected = False
        self._add_recorded(recorded)

    def receive(self, data: bytes) -> list[EngineEvent]:
        """See `Engine.receive`."""
        events: list[EngineEvent] = []
        try:
            for record in self._records.feed(data):
                if not self._over:
                    events += self._on_record(record)
        except Abort as error:
            if not self._over:  # after its alert a server may say something that is no record
                self._over = True
                events.append(Failed(None, None, str(error)))
        return events

    def data_to_send(self) -> bytes:
        """See `Engine.data_to_send`."""
        outgoing, self._outgoing = self._outgoing, b""
        return outgoing

    def send(self, data: bytes) -> None:
        """See `Engine.send`; without keys it can send nothing."""
        raise TlsError("a recorded client cannot send anything else")

    def close(self) -> None:
        """See `Engine.close`."""

    def give_up(self, reason: str) -> list[EngineEvent]:
        """See `Engine.give_up`; without keys it can send no alert."""
        self._over = True
        return [Failed(None, None, reason)]

    @property
    def ends_protected(self) -> bool:
        """Whether the last thing that the server said is protected: in TLS 1.3 that can be an alert, and only its keys
        show it (RFC 8446 section 5.2)."""
        said = [step for step in self.steps if step.sender == "server"]
        return bool(said) and said[-1].name == PROTECTED

    def _on_record(self, record: Record) -> list[EngineEvent]:
        if record.type == ContentType.ALERT and len(record.fragment) == 2:
            alert = parse_alert(record.fragment)
            self.steps.append(Step("server", f"alert {alert.name}", record.fragment))
            self._over = alert.ends_connection
            if alert.description == AlertDescription.CLOSE_NOTIFY:
                return [Closed()]
            reason = f"the server sent alert {alert.name} ({alert.description})"
            return [Failed(alert.description, "server", reason)] if self._over else []
        if record.type == ContentType.ALERT:  # of TLS 1.2: there the type is in sight (RFC 5246 section 6.2.3)
            self.steps.append(Step("server", PROTECTED, record.fragment))
            self._over = True
            return [Failed(None, "server", "the server sent an alert, which is encrypted")]
        if record.type == ContentType.HANDSHAKE and not self._protected:
            self.steps += [Step("server", parse(raw).name, raw) for raw in self._joiner.feed(record.fragment)]
        elif record.type == ContentType.CHANGE_CIPHER_SPEC:
            self._protected = True
            self.steps.append(Step("server", "ChangeCipherSpec", record.fragment))
        else:
            self.steps.append(Step("server", PROTECTED, record.fragment))
        return []

    def _add_recorded(self, recorded: bytes) -> None:
        """Adds the recorded records as steps, up to the first bytes that are no record."""
        joiner, protected = MessageJoiner(), False
        try:
            for record in RecordReader().feed(recorded):
                if record.type == ContentType.CHANGE_CIPHER_SPEC:
                    protected = True
                    self.steps.append(Step("client", "ChangeCipherSpec", record.fragment))
                elif record.type == ContentType.HANDSHAKE and not protected:
                    self.steps += [Step("client", parse(raw).name, raw) for raw in joiner.feed(record.fragment)]
                else:
                    self.steps.append(Step("client", PROTECTED, record.fragment))
        except Abort:
            pass
