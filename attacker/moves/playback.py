"""Playback: a client's recorded bytes, sent again, and what can be read of the server's answers."""

from lab.tls.alerts import AlertDescription, parse_alert
from lab.tls.connection import Step
from lab.tls.engine import Closed, EngineEvent, Failed
from lab.tls.errors import Abort, TlsError
from lab.tls.messages import parse
from lab.tls.records import ContentType, MessageJoiner, Record, RecordReader


class Playback:
    """An engine (`lab.tls.engine.Engine`) that says what it has to say at once, whatever comes.

    It has no keys: of the server's answers it reads what is plaintext, and the alert at the end if that is.
    """

    peer_chain: tuple[bytes, ...] = ()

    def __init__(self, recorded: bytes) -> None:
        self.steps: list[Step] = []
        self._outgoing = recorded
        self._records = RecordReader()
        self._joiner = MessageJoiner()
        self._over = False
        self._protected = False
        self._tell_recorded(recorded)

    def receive(self, data: bytes) -> list[EngineEvent]:
        """See `Engine.receive`."""
        events: list[EngineEvent] = []
        try:
            for record in self._records.feed(data):
                if not self._over:
                    events += self._on_record(record)
        except Abort as error:
            self._over = True
            events.append(Failed(None, None, str(error)))
        return events

    def data_to_send(self) -> bytes:
        """See `Engine.data_to_send`."""
        outgoing, self._outgoing = self._outgoing, b""
        return outgoing

    def send(self, data: bytes) -> None:
        """See `Engine.send`; there are no keys to send anything with."""
        raise TlsError("a recorded client has nothing to add")

    def close(self) -> None:
        """See `Engine.close`."""

    def _on_record(self, record: Record) -> list[EngineEvent]:
        if record.type == ContentType.ALERT and len(record.fragment) == 2:
            alert = parse_alert(record.fragment)
            self.steps.append(Step("server", f"alert {alert.name}", record.fragment))
            self._over = alert.ends_connection
            if alert.description == AlertDescription.CLOSE_NOTIFY:
                return [Closed()]
            reason = f"the server sent alert {alert.name} ({alert.description})"
            return [Failed(alert.description, "server", reason)] if self._over else []
        if record.type == ContentType.HANDSHAKE and not self._protected:
            self.steps += [Step("server", parse(raw).name, raw) for raw in self._joiner.feed(record.fragment)]
        elif record.type == ContentType.CHANGE_CIPHER_SPEC:
            self._protected = True
            self.steps.append(Step("server", "ChangeCipherSpec", record.fragment))
        else:
            self.steps.append(Step("server", "protected record", record.fragment))
        return []

    def _tell_recorded(self, recorded: bytes) -> None:
        """The recorded records, as steps, as far as they are records."""
        joiner, protected = MessageJoiner(), False
        try:
            for record in RecordReader().feed(recorded):
                if record.type == ContentType.CHANGE_CIPHER_SPEC:
                    protected = True
                    self.steps.append(Step("client", "ChangeCipherSpec", record.fragment))
                elif record.type == ContentType.HANDSHAKE and not protected:
                    self.steps += [Step("client", parse(raw).name, raw) for raw in joiner.feed(record.fragment)]
                else:
                    self.steps.append(Step("client", "protected record", record.fragment))
        except Abort:
            pass
