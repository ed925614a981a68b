"""The certificate's owner, who logs in with OpenSSL through the attacker's relay: the control that all rests on."""

import asyncio
import re
import ssl

from attacker.probe.answers import NO_TLS, Ending, ServerAnswer, alerted, closed
from attacker.probe.attempt import Questioning
from attacker.probe.dialects import Dialect
from attacker.probe.lines import Line
from attacker.probe.orders import Target
from lab.address import Address
from lab.tls.alerts import AlertDescription
from lab.tls.bundle import Bundle
from lab.tls.streams import SocketConnection
from lab.tls.versions import Version
from victim_client.login import load_from_memory

LOGIN_SECONDS = 15.0
READ_SIZE = 1 << 14
OP_LEGACY_SERVER_CONNECT = 0x4
"""Old servers know no renegotiation_info (RFC 5746), and OpenSSL 3 does not go on without it; `ssl` names it from 3.12
on."""


_ALERT = re.compile(r"(?:TLSV1|TLSV13|SSLV3)_(?:ALERT_)?([A-Z_]*[A-Z])")


class OpenSslLine(Line):
    """OpenSSL's end of one connection, as a Line."""

    def __init__(self, connection: SocketConnection, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, out: ssl.MemoryBIO):
        self._connection = connection
        self._tls, self._incoming, self._outgoing = tls, incoming, out

    async def shake_hands(self) -> None:
        """The handshake; OSError (with ssl.SSLError) if it fails."""
        while True:
            try:
                self._tls.do_handshake()
                await self._flush()
                return
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()

    @property
    def protocol(self) -> bytes:
        return (self._tls.selected_alpn_protocol() or "").encode()

    async def read(self) -> bytes:
        while True:
            try:
                return self._tls.read(READ_SIZE)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLZeroReturnError:
                return b""

    async def write(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    async def _fill(self) -> None:
        if data := await self._connection.read(READ_SIZE):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            self._connection.write(data)
            await self._connection.drain()


def _answer_in(error: ssl.SSLError) -> ServerAnswer:
    """What OpenSSL says: the alert that came, or what it found wrong itself. `ssl` has no names for some of its
    reasons; these are in the text alone."""
    reason = (error.reason or str(error)).upper().replace(" ", "_")
    found = _ALERT.search(reason)
    if found and found[1] in AlertDescription.__members__:
        return alerted(AlertDescription[found[1]])
    return ServerAnswer(Ending.FAILED, "failed", reason.replace("_", " ").lower())


class Owner:
    """Logs in as the owner, in one version, as often as asked; a later login resumes the session of the first."""

    def __init__(self, bundle: Bundle, version: Version, target: Target, dialect: Dialect) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # What is in question is what the server checks, not who the server is.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.options |= OP_LEGACY_SERVER_CONNECT
        context.minimum_version = context.maximum_version = ssl.TLSVersion(version)
        load_from_memory(context, bundle)
        if target.protocols:
            context.set_alpn_protocols([name.decode() for name in target.protocols])
        self._context = context
        self._server_name = target.server_name
        self._dialect = dialect
        self._session: ssl.SSLSession | None = None

    async def log_in(self, address: Address) -> ServerAnswer:
        """One login; whatever goes wrong is in the answer."""
        exchange = Questioning(self._dialect)
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                connection = await SocketConnection.open(address)
                try:
                    await exchange.prelude(connection)
                    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                    tls = self._context.wrap_bio(
                        incoming, outgoing, server_hostname=self._server_name, session=self._session
                    )
                    line = OpenSslLine(connection, tls, incoming, outgoing)
                    await line.shake_hands()
                    await exchange.ask(line)
                    self._session = tls.session or self._session
                finally:
                    connection.close()
        except TimeoutError:
            return exchange.said or ServerAnswer(Ending.SILENT, "silence", f"no answer within {LOGIN_SECONDS:g} s")
        except ssl.SSLEOFError:
            return closed("the peer closed the connection without close_notify")
        except ssl.SSLError as error:
            return _answer_in(error)
        except (ConnectionResetError, BrokenPipeError) as error:
            return closed(error.strerror or str(error))
        except OSError as error:
            return ServerAnswer(Ending.FAILED, "failed", error.strerror or str(error))
        except Exception as error:  # the dialect's own
            words = exchange.refused_to_begin or str(error) or type(error).__name__
            return ServerAnswer(Ending.FAILED, NO_TLS if exchange.refused_to_begin else "failed", words)
        return exchange.said or ServerAnswer(Ending.SILENT, "silence")
