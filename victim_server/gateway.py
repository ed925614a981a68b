"""A gateway: terminates TLS, authenticates the client, and forwards HTTP to the bank (RFC 9440's TTRP).

One gateway serves any number of connections up to a limit, each in a task of its own. Nothing that a client does raises
past its task: a client that is refused, too slow, too big or gone is reported or answered, and the gateway goes on.
"""

import asyncio
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import h11
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from lab.address import Address, host_port
from lab.capture.synthetic import SyntheticConnection
from lab.catalogue.cast import NEWCOMERS_NAME
from lab.catalogue.gateways import Gateway
from lab.events.log import Reporter
from lab.events.types import ClientAuthenticated, ClientRefused, Trouble
from lab.tls.errors import CertificateError, TlsError
from lab.tls.listener import Listener, RationedReader, say_goodbye
from lab.tls.streams import ConnectionFailed, TlsStream
from lab.tls.versions import version_name
from victim_server.access_log import AccessLog
from victim_server.authentication import Authentication, CheckChain, CheckPassword, Customer, GatewayEngine
from victim_server.forwarding import Answer, BankFailed, ask_bank, read_client_cert
from victim_server.own_capture import OwnCapture, WatchedEngine
from victim_server.passwords import read_basic

Identify: TypeAlias = Callable[[h11.Request], Customer]
"""Whose request it is. Raises Unacceptable if the gateway cannot authenticate it."""


@dataclass(frozen=True)
class Limits:
    """What a gateway puts up with; times in seconds, sizes in bytes."""

    connections: int = 512
    handshake_seconds: float = 10
    request_seconds: float = 10
    idle_seconds: float = 30
    bank_seconds: float = 10
    linger_seconds: float = 1
    handshake_bytes: int = 1 << 15
    header_bytes: int = 1 << 14
    body_bytes: int = 1 << 16


class GatewayServer:
    """One gateway on one listening socket, in front of the bank at its Unix domain socket.

    `key_log` is an open file descriptor for the session keys.
    """

    def __init__(
        self,
        gateway: Gateway,
        authentication: Authentication,
        bank: Path,
        reporter: Reporter,
        key_log: int,
        limits: Limits | None = None,
        access_log: AccessLog | None = None,
        capture: OwnCapture | None = None,
    ) -> None:
        self._gateway = gateway
        self._authentication = authentication
        self._bank = bank
        self._reporter = reporter
        self._key_log = key_log
        self._limits = limits or Limits()
        self._access_log = access_log
        self._capture = capture
        self._listener = Listener(self._serve, self._limits.connections, self._limits.handshake_bytes)

    async def open(self, listening: socket.socket) -> None:
        """Starts taking connections."""
        await self._listener.open(listening)

    async def close(self) -> None:
        """Stops, whatever connections there are."""
        await self._listener.close()

    async def _serve(self, reader: RationedReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from accept to close."""
        peer = _address(writer.get_extra_info("peername"))
        engine = self._authentication.engines()
        packets = self._packets(writer)
        if packets:
            engine = WatchedEngine(engine, packets)
        try:
            stream = TlsStream(engine, reader, writer)
            if await self._shake_hands(stream, engine, reader, peer) and (identify := self._identify(engine, peer)):
                connection = engine.server_random.hex()
                conversation = Conversation(stream, identify, connection, self._bank, self._reporter, self._limits)
                if self._access_log:
                    conversation.log = partial(self._access_log.write, peer)
                await conversation.run()
            await say_goodbye(engine, reader, writer, self._limits.linger_seconds)
        except (TlsError, OSError, TimeoutError):
            pass  # the client is gone, or takes nothing more
        except Exception as error:
            self._reporter.report(Trouble(f"{self._gateway.id}, with {peer}: {type(error).__name__}: {error}"))
        finally:
            if packets:
                packets.end(from_client=False)
                packets.end(from_client=True)

    def _packets(self, writer: asyncio.StreamWriter) -> SyntheticConnection | None:
        """Where the bytes of a new connection go, if there is a capture; a client that has left already has none."""
        peer, own = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        if self._capture is None or not peer or not own:
            return None
        return self._capture.connection(Address(*peer[:2]), Address(*own[:2]))

    async def _shake_hands(self, stream: TlsStream, engine: GatewayEngine, reader: RationedReader, peer: str) -> bool:
        """The handshake; whether it came to its end. One on which nothing was ever said is nobody's, and not
        reported."""
        alert: int | None = None
        try:
            async with asyncio.timeout(self._limits.handshake_seconds):
                await stream.handshake()
            reader.lift_limit()
            return True
        except ConnectionFailed as error:
            reason = error.failed.reason
            alert = error.failed.alert if error.failed.sent_by == "server" else None
        except TimeoutError:
            reason = f"no complete handshake within {self._limits.handshake_seconds:g} s"
        finally:
            if engine.key_log:
                os.write(self._key_log, engine.key_log.encode())
        reader.lift_limit()
        if reader.received:
            self._reporter.report(self._refused(engine, peer, reason, alert))
        return False

    def _identify(self, engine: GatewayEngine, peer: str) -> Identify | None:
        """Who a connection's client is: the handshake has said so once and for all, or each request does. None, and
        reported as refused, if a handshake that had to say so let a client without a certificate pass."""

        def authenticated(customer: Customer) -> ClientAuthenticated:
            return self._authenticated(engine, peer, customer)

        def refused(reason: str) -> ClientRefused:
            return self._refused(engine, peer, reason, None)

        how = self._authentication
        if how.check_forwarded:
            return ByRequest(partial(forwarded, how.check_forwarded), authenticated, refused, self._reporter)
        if how.check_password:
            return ByRequest(partial(by_password, how.check_password), authenticated, refused, self._reporter)
        if how.newcomers and engine.server_name == NEWCOMERS_NAME and engine.peer_chain:
            self._reporter.report(refused(f"{NO_ACCOUNT}; proof: {engine.proof}"))
            return newcomer
        if not engine.peer_chain:
            self._reporter.report(refused("the handshake was completed without a client certificate"))
            return None
        certificate = how.customer(engine.peer_chain)
        self._reporter.report(authenticated(certificate))
        return lambda request: certificate

    def _authenticated(self, engine: GatewayEngine, peer: str, customer: Customer) -> ClientAuthenticated:
        subject, sha256 = f"CN={customer!s}", ""
        if isinstance(customer, bytes):
            certificate = x509.load_der_x509_certificate(customer)
            subject, sha256 = certificate.subject.rfc4514_string(), certificate.fingerprint(SHA256()).hex()
        return ClientAuthenticated(
            gateway=self._gateway.id,
            peer=peer,
            tls=_version(engine),
            subject=subject,
            sha256=sha256,
            proof=engine.proof,
            connection=engine.server_random.hex(),
        )

    def _refused(self, engine: GatewayEngine, peer: str, reason: str, alert: int | None) -> ClientRefused:
        return ClientRefused(self._gateway.id, peer, _version(engine), reason, alert, engine.server_random.hex())


NO_ACCOUNT = "newcomers may come in here, and have no account"
BASIC = b'Basic realm="bank", charset="UTF-8"'


class Unacceptable(Exception):
    """A request that the gateway answers itself, and the connection ends with it.

    `challenge` says how a client could authenticate itself (RFC 9110 section 11.6.1), where there is a way.
    """

    def __init__(self, status: int, reason: str, challenge: bytes = b"") -> None:
        super().__init__(reason)
        self.status = status
        self.challenge = challenge


class ByRequest:
    """Identify, by what a check finds in each request.

    What becomes of a connection's client is reported once, and again whenever it changes.
    """

    def __init__(
        self,
        check: Identify,
        authenticated: Callable[[Customer], ClientAuthenticated],
        refused: Callable[[str], ClientRefused],
        reporter: Reporter,
    ) -> None:
        self._check = check
        self._authenticated = authenticated
        self._refused = refused
        self._reporter = reporter
        self._reported: ClientAuthenticated | ClientRefused | None = None

    def __call__(self, request: h11.Request) -> Customer:
        try:
            customer = self._check(request)
        except Unacceptable as error:
            self._report(self._refused(str(error)))
            raise
        self._report(self._authenticated(customer))
        return customer

    def _report(self, event: ClientAuthenticated | ClientRefused) -> None:
        if event != self._reported:
            self._reported = event
            self._reporter.report(event)


def newcomer(request: h11.Request) -> Customer:
    """Nobody: a client that came under the newcomers' name."""
    raise Unacceptable(403, NO_ACCOUNT)


def forwarded(check: CheckChain, request: h11.Request) -> bytes:
    """The certificate in the Client-Cert header (RFC 9440), which any client can write."""
    try:
        certificate = read_client_cert(request.headers)
    except ValueError as error:
        raise Unacceptable(400, str(error)) from None
    if certificate is None:
        raise Unacceptable(401, "the request has no Client-Cert header")
    der = certificate.public_bytes(Encoding.DER)
    try:
        check((der,))
    except CertificateError as error:
        raise Unacceptable(403, str(error)) from None
    return der


def by_password(check: CheckPassword, request: h11.Request) -> str:
    """The name in the Authorization header (RFC 7617), if the password is right."""
    try:
        given = read_basic(request.headers)
    except ValueError as error:
        raise Unacceptable(400, str(error)) from None
    if given is None:
        raise Unacceptable(401, "the request has no Authorization header", BASIC)
    if not check(*given):
        raise Unacceptable(401, "name and password do not belong together", BASIC)
    return given[0]


class Conversation:
    """HTTP/1.1 with one (RFC 9112), one request after the other, as many as it likes."""

    def __init__(
        self, stream: TlsStream, identify: Identify, connection: str, bank: Path, reporter: Reporter, limits: Limits
    ) -> None:
        self._stream = stream
        self._identify = identify
        self._connection = connection
        self._bank = bank
        self._reporter = reporter
        self._limits = limits
        self.log: Callable[[str, int, Customer], object] | None = None
        """Told of each request that the bank answered: method and target, status, and who the client is."""
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._method = b""

    async def run(self) -> None:
        """Until the client is done, says something unacceptable, or is silent for too long."""
        try:
            while await self._request_begins():
                request, body = await self._read_request()
                await self._send(await self._ask_bank(request, body))
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    return
                self._http.start_next_cycle()
                self._method = b""
        except Unacceptable as error:
            await self._send_error(error)
        except h11.RemoteProtocolError as error:
            await self._send_error(Unacceptable(error.error_status_hint, str(error)))

    async def _request_begins(self) -> bool:
        """Waits for the first bytes of a request; False when the client is done or silent for too long."""
        if self._http.trailing_data[0]:
            return True
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                data = await self._stream.read()
        except TimeoutError:
            return False
        self._http.receive_data(data)
        return bool(data)

    async def _read_request(self) -> tuple[h11.Request, bytes]:
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                request = await self._read_head()
            async with asyncio.timeout(self._limits.request_seconds):
                return request, await self._read_body()
        except TimeoutError:
            raise Unacceptable(408, "the request took too long") from None

    async def _read_head(self) -> h11.Request:
        request = await self._next_event()
        if not isinstance(request, h11.Request):
            raise ConnectionResetError("the client left in the middle of a request")
        self._method = request.method
        if sum(len(name) + len(value) for name, value in request.headers) > self._limits.header_bytes:
            raise Unacceptable(431, f"the headers are longer than {self._limits.header_bytes} bytes")
        names = {name for name, _ in request.headers}
        if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
            # RFC 9112 section 6.1: somebody in between may see another end of this request
            raise Unacceptable(400, "Transfer-Encoding with Content-Length, or in HTTP/1.0: the body's end is unclear")
        if any(name == b"content-length" and int(value) > self._limits.body_bytes for name, value in request.headers):
            raise self._too_long()
        if request.method == b"CONNECT":
            raise Unacceptable(501, "this gateway has one bank behind it and connects to nothing else")
        return request

    async def _read_body(self) -> bytes:
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > self._limits.body_bytes:
                raise self._too_long()
        return bytes(body)

    def _too_long(self) -> Unacceptable:
        return Unacceptable(413, f"the body is longer than {self._limits.body_bytes} bytes")

    async def _next_event(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
                await self._stream.write(self._http.send(go_on) or b"")
            self._http.receive_data(await self._stream.read())
        assert isinstance(event, h11.Event)
        return event

    async def _ask_bank(self, request: h11.Request, body: bytes) -> Answer:
        customer = self._identify(request)
        try:
            async with asyncio.timeout(self._limits.bank_seconds):
                answer = await ask_bank(self._bank, request, body, customer, self._connection)
            if self.log:
                self.log(f"{request.method.decode()} {request.target.decode('latin-1')}", answer.status, customer)
            return answer
        except TimeoutError:
            problem = f"the bank did not answer within {self._limits.bank_seconds:g} s"
        except BankFailed as error:
            problem = str(error)
        self._reporter.report(Trouble(problem))
        raise Unacceptable(502, problem)

    async def _send_error(self, error: Unacceptable) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        if error.challenge:
            headers.append((b"www-authenticate", error.challenge))
        body = json.dumps({"error": str(error)}).encode()
        headers.append((b"content-length", b"%d" % len(body)))
        await self._send(Answer(error.status, b"", headers, body))

    async def _send(self, answer: Answer) -> None:
        head = h11.Response(status_code=answer.status, reason=answer.reason, headers=answer.headers)
        body = b"" if self._method == b"HEAD" else answer.body
        events = (head, h11.Data(body), h11.EndOfMessage())
        async with asyncio.timeout(self._limits.request_seconds):
            await self._stream.write(b"".join(self._http.send(event) or b"" for event in events))


def _version(engine: GatewayEngine) -> str:
    """As events have it: empty where none is settled."""
    return version_name(engine.version) if engine.version else ""


def _address(peername: tuple[str, int] | None) -> str:
    """host:port; the socket of a client that has left already has no peer."""
    return host_port(peername) if peername else "a client that has left"
