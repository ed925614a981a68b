"""Mutual TLS as written: OpenSSL, through Python's `ssl`, asks for a certificate and checks chain and proof.

The engine runs OpenSSL between two memory buffers. asyncio's own TLS closes the connection on a failed handshake before
the alert is out; here the alert reaches the wire, and the engine can say which one it was.
"""

import ssl
from collections.abc import Iterator

from lab.tls.alerts import AlertDescription, alert_name
from lab.tls.engine import Closed, Data, EngineEvent, Established, Failed
from victim_server.schemes import EngineFactory, GatewayFiles

READ_SIZE = 1 << 16
ALERT = 21
RECORD_HEADER_LENGTH = 5

SENT_PROTECTED = {
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": AlertDescription.BAD_RECORD_MAC,
    "UNEXPECTED_MESSAGE": AlertDescription.UNEXPECTED_MESSAGE,
    "UNEXPECTED_RECORD": AlertDescription.UNEXPECTED_MESSAGE,
    "DATA_LENGTH_TOO_LONG": AlertDescription.RECORD_OVERFLOW,
    "ENCRYPTED_LENGTH_TOO_LONG": AlertDescription.RECORD_OVERFLOW,
    "WRONG_VERSION_NUMBER": AlertDescription.PROTOCOL_VERSION,
}
"""The alert that OpenSSL sends for a reason, for alerts that are protected and so cannot be read off the record."""


def engines(files: GatewayFiles) -> EngineFactory:
    """See `victim_server.schemes.SchemeModule`."""
    return lambda: OpenSslServer(_context(files))


def _context(files: GatewayFiles) -> ssl.SSLContext:
    """TLS 1.2, a certificate from every client, the lab's own CA and no other, no resumption, no renegotiation.

    Every connection gets a context of its own: OpenSSL keeps its session cache there and `ssl` cannot turn it off, and
    a resumed session (RFC 5246 section 7.3) would let a client in without Certificate and CertificateVerify.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(files.bundle_file)
    context.load_verify_locations(cadata=b"".join(files.authorities))
    context.verify_mode = ssl.CERT_REQUIRED
    context.keylog_filename = str(files.key_log_file)
    return context


class OpenSslServer:
    """The server's end of one connection (`lab.tls.engine.Engine`)."""

    key_log = ""
    """OpenSSL appends to the key log itself."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._to_send = bytearray()
        self._established = False
        self._over = False

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
        self._to_send += self._outgoing.read()
        to_send = bytes(self._to_send)
        self._to_send.clear()
        return to_send

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

    def _failed(self, error: ssl.SSLError) -> Failed:
        """Who ended the connection, with which alert, in OpenSSL's own words."""
        received = _received_alert(error)
        if received is not None:
            return Failed(received, "client", f"the client sent alert {alert_name(received)} ({received})")
        outgoing = self._outgoing.read()
        self._to_send += outgoing
        sent = _sent_alert(outgoing, error)
        return Failed(sent, None if sent is None else "server", describe(error))


def describe(error: ssl.SSLError) -> str:
    """OpenSSL's own text, without Python's prefix and line number: `bad signature`."""
    text = error.reason.replace("_", " ").lower() if error.reason else str(error)
    detail = getattr(error, "verify_message", "")
    return f"{text}: {detail}" if detail else text


def _received_alert(error: ssl.SSLError) -> int | None:
    """The alert that the client sent, where that is what the error says: `TLSV1_ALERT_UNKNOWN_CA` and the like."""
    _, is_alert, name = (error.reason or "").partition("_ALERT_")
    known = AlertDescription.__members__.get(name.replace("CANCELLED", "CANCELED"))
    return known if is_alert else None


def _sent_alert(outgoing: bytes, error: ssl.SSLError) -> int | None:
    """The alert that OpenSSL has just put out, which is its last record; None where it put out none."""
    kinds = list(_records(outgoing))
    if not kinds or kinds[-1][0] != ALERT:
        return None
    fragment = kinds[-1][1]
    if len(fragment) == 2:
        return fragment[1]
    return SENT_PROTECTED.get(error.reason or "")


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and fragment of each record (RFC 5246 section 6.2.1)."""
    while len(data) >= RECORD_HEADER_LENGTH:
        end = RECORD_HEADER_LENGTH + int.from_bytes(data[3:5], "big")
        yield data[0], data[RECORD_HEADER_LENGTH:end]
        data = data[end:]
