"""The keys of a TLS 1.3 connection, for either role: its epochs, and how one follows another."""

from lab.tls import schedule
from lab.tls.alerts import AlertDescription
from lab.tls.engine import Party
from lab.tls.errors import Abort
from lab.tls.keys import CipherSuite
from lab.tls.messages13 import KeyUpdate
from lab.tls.records import Protection13
from lab.tls.schedule import Schedule
from lab.tls.sides import Side

MAX_KEY_UPDATES = 64
"""More from one peer are refused: each costs work and carries no data."""


class Keys13:
    """The keys of one connection (RFC 8446 section 7), and their use in it.

    Create it when the transcript ends with ServerHello: then the handshake secrets of both sides follow. `psk` is the
    pre-shared key, empty for none.
    """

    def __init__(
        self, connection: Side, suite: CipherSuite, shared_secret: bytes, client_random: bytes, psk: bytes = b""
    ) -> None:
        self._connection = connection
        self._suite = suite
        self._client_random = client_random
        self._schedule = Schedule(suite, shared_secret, psk)
        self._handshake = self._schedule.handshake_secrets(connection.transcript.content())
        self._current = dict(self._handshake)
        self._updates = 0
        self._reading: Protection13 | None = None

    def write(self) -> None:
        """Protects what this side writes with its current key."""
        self._connection.write_with(self._protection(self._connection.role))

    def read(self, or_alert_before: bool = False) -> None:
        """Opens what the peer writes with its current key, and with `or_alert_before` an alert under the key before."""
        before = self._reading if or_alert_before else None
        self._reading = self._protection(self._connection.peer)
        self._connection.read_with(self._reading, before)

    def to_application(self) -> None:
        """Moves to the application secrets; the transcript ends with the server's Finished."""
        application = self._schedule.application_secrets(self._connection.transcript.content())
        self._current = dict(application)
        self._connection.key_log = schedule.key_log_lines(self._client_random, self._handshake, application)

    def resumption_secret(self) -> bytes:
        """What the pre-shared keys of tickets come from; the transcript ends with the client's Finished."""
        return self._schedule.resumption_secret(self._connection.transcript.content())

    def verify_data(self, sender: Party, transcript: bytes) -> bytes:
        """The content of the sender's Finished."""
        return schedule.verify_data(self._handshake[sender], transcript, self._suite)

    def update(self, request: bool) -> None:
        """Sends KeyUpdate and writes under the next key (RFC 8446 section 4.6.3)."""
        self._connection.send_message(KeyUpdate(request), in_transcript=False)
        self._next(self._connection.role)
        self.write()

    def on_update(self, message: KeyUpdate) -> None:
        """Follows the KeyUpdate of the peer, and answers with one if the peer asks for it."""
        self._updates += 1
        if self._updates > MAX_KEY_UPDATES:
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, f"more than {MAX_KEY_UPDATES} KeyUpdates")
        self._next(self._connection.peer)
        self.read()
        if message.requested and self._connection.may_write:
            self.update(request=False)

    def _next(self, party: Party) -> None:
        self._current[party] = schedule.next_secret(self._current[party], self._suite)

    def _protection(self, party: Party) -> Protection13:
        return Protection13(self._suite, schedule.traffic_key(self._current[party], self._suite))
