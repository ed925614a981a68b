"""What a TLS 1.3 connection's keys come to, for either role: its epochs, and the way from one to the next."""

from lab.tls import schedule
from lab.tls.alerts import AlertDescription
from lab.tls.connection import Connection
from lab.tls.engine import Party
from lab.tls.errors import Abort
from lab.tls.keys import CipherSuite
from lab.tls.messages13 import KeyUpdate
from lab.tls.records import Protection13
from lab.tls.schedule import Schedule, TrafficSecrets

MAX_KEY_UPDATES = 64
"""More from one peer are refused: each costs new keys on both sides and moves nothing."""


class Keys13:
    """The keys of one connection (RFC 8446 section 7), which it puts to use there.

    Made when the transcript ends with ServerHello: from then on both sides' handshake secrets hold.
    """

    def __init__(self, connection: Connection, suite: CipherSuite, shared_secret: bytes, client_random: bytes) -> None:
        self._connection = connection
        self._suite = suite
        self._client_random = client_random
        self._schedule = Schedule(suite, shared_secret)
        self._handshake = self._schedule.handshake_secrets(connection.transcript.content())
        self._current = _by_party(self._handshake)
        self._updates = 0

    def write(self) -> None:
        """This side writes under its keys of the moment."""
        self._connection.write_with(self._protection(self._connection.role))

    def read(self) -> None:
        """The peer writes under its keys of the moment."""
        self._connection.read_with(self._protection(self._connection.peer))

    def to_application(self) -> None:
        """The transcript ends with the server's Finished: the next epoch's keys are known."""
        application = self._schedule.application_secrets(self._connection.transcript.content())
        self._current = _by_party(application)
        self._connection.key_log = schedule.key_log_lines(self._client_random, self._handshake, application)

    def verify_data(self, sender: Party, transcript: bytes) -> bytes:
        """What the sender's Finished holds."""
        secret = self._handshake.client if sender == "client" else self._handshake.server
        return schedule.verify_data(secret, transcript, self._suite)

    def update(self, request: bool) -> None:
        """This side goes on under new keys (RFC 8446 section 4.6.3)."""
        self._connection.send_message(KeyUpdate(request), in_transcript=False)
        self._next(self._connection.role)
        self.write()

    def on_update(self, message: KeyUpdate) -> None:
        """So does the peer, and this side too if it is asked to."""
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


def _by_party(secrets: TrafficSecrets) -> dict[Party, bytes]:
    return {"client": secrets.client, "server": secrets.server}
