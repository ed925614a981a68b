"""Gateways that run OpenSSL, through Python's `ssl`.

The engine runs OpenSSL between two memory buffers. asyncio's own TLS closes the connection on a failed handshake before
the alert is out; here the alert reaches the wire, and the engine can say which one it was, even where it was protected.
"""

import ssl
from dataclasses import replace

from lab.catalogue.implementations import RSA_TRANSPORT
from lab.tls.alerts import FATAL, AlertDescription, alert_name
from lab.tls.engine import Closed, Data, EngineEvent, Established, Failed
from lab.tls.messages import CertificateVerify, ServerHello
from lab.tls.records import MAX_PROTECTED, RECORD_HEADER_LENGTH, ContentType
from victim_server.authentication import Authentication, GatewayFiles
from victim_server.chain import NOT_ISSUED, ChainCheck
from victim_server.passwords import PasswordCheck

READ_SIZE = 1 << 16


def authentication(scheme: str, files: GatewayFiles) -> Authentication:
    """How OpenSSL serves a scheme. One context serves all connections of a gateway."""
    match scheme:
        case "mtls":
            context = client_context(files, files.authorities)
            return Authentication(lambda: OpenSslServer(context))
        case "pinned-mtls":
            context, issued = client_context(files, files.issued), frozenset(files.issued)
            return Authentication(lambda: OpenSslServer(context, issued))
        case "forwarded-header":
            context = server_context(files)
            return Authentication(lambda: OpenSslServer(context), ChainCheck(files.authorities))
        case "password":
            context = server_context(files)
            return Authentication(lambda: OpenSslServer(context), check_password=PasswordCheck(files.passwords))
    raise KeyError(scheme)


def server_context(files: GatewayFiles) -> ssl.SSLContext:
    """The gateway's own side: its key and chain, its versions, tickets and session IDs, no renegotiation.

    One context serves all of a gateway's connections. OpenSSL keeps its sessions and the keys of its tickets there, so
    that a session resumes at the gateway that it was made with and at no other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion(min(files.versions))
    context.maximum_version = ssl.TLSVersion(max(files.versions))
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(files.bundle_file)
    if files.rsa_transport_file:
        context.load_cert_chain(files.rsa_transport_file)
        usual = (suite["name"] for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3")
        context.set_ciphers(":".join((*usual, RSA_TRANSPORT)))
    context.keylog_filename = str(files.key_log_file)
    context.sslobject_class = _Watched
    # Private, but in every CPython since 3.8, and the only way to see an alert before it is protected.
    context._msg_callback = _watch  # type: ignore[attr-defined]
    return context


def client_context(files: GatewayFiles, trusted: tuple[bytes, ...]) -> ssl.SSLContext:
    """The same, and every client needs a certificate that leads to one of these, in DER, and the proof for it.

    A client that resumes a session is who it was in the full handshake: OpenSSL keeps its certificate in the session
    (RFC 5246 section 7.3, RFC 8446 section 2.2).
    """
    context = server_context(files)
    context.load_verify_locations(cadata=b"".join(trusted))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class OpenSslServer:
    """The server's end of one connection (`lab.tls.engine.Engine`).

    With `issued`, DER certificates, the client's own has to be one of them.
    """

    server_name = None
    """These gateways have one name."""
    key_log = ""
    """OpenSSL appends to the key log itself."""

    def __init__(self, context: ssl.SSLContext, issued: frozenset[bytes] | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        assert isinstance(tls, _Watched)
        self._tls = tls
        self._issued = issued
        self._established = False
        self._over = False

    @property
    def version(self) -> int | None:
        """See `GatewayEngine.version`."""
        return self._tls.settled

    @property
    def server_random(self) -> bytes:
        """See `GatewayEngine.server_random`."""
        return self._tls.server_random

    @property
    def proof(self) -> str:
        """See `GatewayEngine.proof`."""
        if not self._tls.received_proof:
            return "none received"
        return f"received, checked by OpenSSL, which {'completed' if self._established else 'ended'} the handshake"

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """The client's own certificate, once its chain and its proof are right; `ssl` gives out no more of it."""
        if not self._established:
            return ()
        leaf = self._tls.getpeercert(binary_form=True)
        return (leaf,) if leaf else ()

    def receive(self, data: bytes) -> list[EngineEvent]:
        """See `Engine.receive`."""
        if self._over or not data:
            return []
        self._incoming.write(data)
        events: list[EngineEvent] = []
        try:
            if not self._established:
                self._tls.do_handshake()
                self._established = True
                if not self._is_issued():
                    return [self._turn_away()]
                events.append(Established())
            while decrypted := self._tls.read(READ_SIZE):
                events.append(Data(decrypted))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._over = True
            events.append(Closed())
        except ssl.SSLError as error:
            self._over = True
            events.append(self._failed(error))
        return events

    def data_to_send(self) -> bytes:
        """See `Engine.data_to_send`."""
        return self._outgoing.read()

    def send(self, data: bytes) -> None:
        """See `Engine.send`."""
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[self._tls.write(remaining) :]

    def close(self) -> None:
        """See `Engine.close`."""
        if not self._established or self._over:
            return
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # close_notify is out; the client's own is not waited for

    def give_up(self, reason: str) -> list[EngineEvent]:
        """See `Engine.give_up`. `ssl` sends no alert on demand, but OpenSSL answers what is no record with one.

        These bytes end whatever record has begun, and another cannot begin with them.
        """
        events = self.receive(bytes(RECORD_HEADER_LENGTH + MAX_PROTECTED))
        sent = [one for one in events if isinstance(one, Failed)] or [Failed(None, None, reason)]
        return [replace(one, reason=reason) for one in sent]

    def _is_issued(self) -> bool:
        """Whether the certificate is on the list, where there is one.

        With a store of self-signed certificates OpenSSL takes exactly those, and refuses others with an alert of its
        own; only if there were a CA's certificate on the list would it take what that CA issued, and this stop it.
        """
        return self._issued is None or not self._issued.isdisjoint(self.peer_chain)

    def _turn_away(self) -> Failed:
        """Too late for an alert, as `ssl` has none to give out, but not for silence: the last flight stays here, and
        with it the server's Finished in TLS 1.2 and the tickets in TLS 1.3."""
        self._over = True
        self._outgoing.read()
        return Failed(None, None, NOT_ISSUED)

    def _failed(self, error: ssl.SSLError) -> Failed:
        """Who ended the connection, with which alert, in OpenSSL's own words."""
        sent, received = self._tls.alert_sent, self._tls.alert_received
        if sent is None and received is not None:
            return Failed(received, "client", f"the client sent alert {alert_name(received)} ({received})")
        return Failed(sent, None if sent is None else "server", describe(error))


class _Watched(ssl.SSLObject):
    """OpenSSL's end of a connection, and what `_watch` has seen on it."""

    settled: int | None = None
    """The version, once the ServerHello is out."""
    server_random = b""
    received_proof = False
    alert_sent: int | None = None
    alert_received: int | None = None


def _watch(connection: _Watched, direction: str, version: int, kind: int, message: int, data: bytes) -> None:
    """OpenSSL's message callback: gets everything that is read or written as it is before or after protection."""
    if kind == ContentType.ALERT and direction == "write" and data[0] == FATAL:
        connection.alert_sent = data[1]
    elif kind == ContentType.ALERT and direction == "read" and data[1] != AlertDescription.CLOSE_NOTIFY:
        connection.alert_received = data[1]
    elif kind == ContentType.HANDSHAKE and message == ServerHello.type and direction == "write":
        connection.settled, connection.server_random = int(version), data[6:38]
    elif kind == ContentType.HANDSHAKE and message == CertificateVerify.type and direction == "read":
        connection.received_proof = True


def describe(error: ssl.SSLError) -> str:
    """OpenSSL's own text, without Python's prefix and line number: `bad signature`."""
    text = error.reason.replace("_", " ").lower() if error.reason else str(error)
    detail = getattr(error, "verify_message", "")
    return f"{text}: {detail}" if detail else text
