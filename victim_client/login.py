"""One login: a fresh TLS connection with alice's bundle, and a request for her account."""

import base64
import http.client
import json
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab import files
from lab.events.types import LoggedIn, LoginFailed
from lab.guest.kinds import CONTEXT
from lab.guest.loading import GuestError, GuestModule
from lab.process import BadInput
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.errors import BundleError
from lab.tls.messages import ServerHello
from lab.tls.records import ContentType
from lab.tls.versions import VERSIONS, Version

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_LENGTH = 1 << 16
HTTPS_PORT = 443


@dataclass(frozen=True)
class GatewayUrl:
    """A gateway's name and address, and the address of this machine to come from, empty for any."""

    name: str
    url: str
    host: str
    port: int
    source: str = ""


def parse_gateway(text: str) -> GatewayUrl:
    """Reads `mtls@openssl=https://localhost:8441`; BadInput for anything else."""
    name, equals, url = text.partition("=")
    if not (name and equals):
        raise BadInput(f"{text!r} is not GATEWAY=URL; for example mtls@openssl=https://localhost:8441")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        http.client.HTTPConnection((host or "").encode("idna").decode(), port)
    except (ValueError, http.client.InvalidURL) as error:
        raise BadInput(f"{url!r} is not a URL: {error}") from None
    if parts.scheme != "https" or not host or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise BadInput(f"{url!r} is not https://HOST:PORT")
    return GatewayUrl(name, url, host, HTTPS_PORT if port is None else port)


@dataclass(frozen=True)
class Credentials:
    """What alice was handed by the server: her bundle, ready for use, and what it says; or her name and password.

    `contexts` has one for each version of TLS; `headers` go with each request.
    """

    contexts: Mapping[Version, ssl.SSLContext]
    headers: Mapping[str, str]
    subject: str
    sha256: str


def password_credentials(
    name: str, password: str, ca_file: Path, careless: bool = False, code: GuestModule | None = None
) -> Credentials:
    """For logins with name and password (RFC 7617), and without a certificate. Errors as in `load_credentials`."""
    files.check(ca_file)
    return Credentials(
        contexts={version: _new_context(version, ca_file, careless, None, code) for version in VERSIONS},
        headers={"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"},
        subject=f"CN={name}",
        sha256="",
    )


def read_password(file: Path) -> str:
    """The one line in a file; BadInput where it is no text."""
    try:
        return files.read(file).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadInput(f"{file}: holds no password but binary data") from None


def load_credentials(
    bundle_file: Path,
    password: str | None,
    ca_file: Path,
    forward: bool = False,
    careless: bool = False,
    ciphers: str | None = None,
    code: GuestModule | None = None,
) -> Credentials:
    """Reads a bundle, PEM or PKCS#12, and the CA that the server's certificate must come from.

    With `forward` the certificate goes into the Client-Cert header of each request, as a proxy between alice and the
    server would put it there (RFC 9440 section 2.2), and not into the handshake. A `careless` client talks to any
    server, whatever certificate that has; `ciphers` are the TLS 1.2 suites that it offers, in OpenSSL's notation. With
    `code`, a student's file decides how the client verifies the server.
    BadInput says what is wrong with either file, or with these; OSError where a file cannot be read.
    """
    data = files.read(bundle_file)
    try:
        bundle = parse_bundle(data, password, str(bundle_file), datetime.now(UTC))
    except BundleError as error:
        raise BadInput(str(error)) from None
    files.check(ca_file)  # its error, unlike OpenSSL's, names the file
    contexts = {version: _new_context(version, ca_file, careless, ciphers, code) for version in VERSIONS}
    if not forward:
        for context in contexts.values():
            _load_bundle(context, bundle_file, bundle, password, b"-----BEGIN" in data)
    leaf = bundle.chain[0]
    return Credentials(
        contexts=contexts,
        headers={"Client-Cert": f":{base64.b64encode(leaf).decode()}:"} if forward else {},
        subject=x509.load_der_x509_certificate(leaf).subject.rfc4514_string(),
        sha256=sha256(leaf).hexdigest(),
    )


def log_key_material(credentials: Credentials, key_log: Path) -> None:
    """From now on the session keys go to the file too (SSLKEYLOGFILE format), which only its owner can change."""
    os.close(files.open_to_write(key_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640))
    for context in credentials.contexts.values():
        context.keylog_filename = str(key_log)


def log_in(gateway: GatewayUrl, credentials: Credentials, version: Version) -> LoggedIn | LoginFailed:
    """Logs in once, in a full handshake of this version, and says how it went; whatever the other side does, it raises
    nothing."""
    return _log_in(gateway, credentials, _HttpsConnection(gateway, credentials.contexts[version]), version)


def log_in_twice(gateway: GatewayUrl, credentials: Credentials, version: Version) -> Iterator[LoggedIn | LoginFailed]:
    """The same, and then once more with the session that the server gave her, if it gave one."""
    context = credentials.contexts[version]
    first = _HttpsConnection(gateway, context)
    yield _log_in(gateway, credentials, first, version)
    yield _log_in(gateway, credentials, _HttpsConnection(gateway, context, first.session), version)


class _HttpsConnection(http.client.HTTPSConnection):
    """A connection that offers the session `resume`, if there is one."""

    def __init__(self, gateway: GatewayUrl, context: ssl.SSLContext, resume: ssl.SSLSession | None = None) -> None:
        source = (gateway.source, 0) if gateway.source else None
        super().__init__(gateway.host, gateway.port, timeout=TIMEOUT_SECONDS, context=context, source_address=source)
        self._tls, self._resume = context, resume
        self.session: ssl.SSLSession | None = None
        """The session that the server gave a ticket for."""
        self.resumed = False

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host, session=self._resume)
        self.resumed = bool(self.sock.session_reused)

    def getresponse(self) -> http.client.HTTPResponse:
        """The answer; a ticket of TLS 1.3 has come before it (RFC 8446 section 4.6.1)."""
        tls = self.sock
        answer = super().getresponse()
        if isinstance(tls, ssl.SSLSocket) and tls.session and tls.session.has_ticket:
            self.session = tls.session
        return answer


def _log_in(
    gateway: GatewayUrl, credentials: Credentials, connection: _HttpsConnection, version: Version
) -> LoggedIn | LoginFailed:
    name = ""

    def failed(reason: str) -> LoginFailed:
        return LoginFailed(gateway.name, gateway.url, str(version), reason, name)

    try:
        connection.connect()
        name = _name_of(connection.sock)
        tls = (connection.sock.version() or "").removeprefix("TLSv")
        headers = {"Accept": "application/json", "Connection": "close", **credentials.headers}
        connection.request("GET", "/account", headers=headers)
        answer = connection.getresponse()
        body = answer.read(MAX_ANSWER_LENGTH)
        if answer.status != http.client.OK:
            return failed(f"HTTP {answer.status}: {_error_in(body)}")
        balance = int(json.loads(body)["balance"])
        return LoggedIn(
            *(gateway.name, gateway.url, credentials.subject, credentials.sha256, tls, balance),
            connection=name,
            resumed=connection.resumed,
        )
    except (OSError, http.client.HTTPException) as error:
        return failed(_describe(error))
    except (ValueError, KeyError, TypeError, RecursionError):
        return failed("the answer is not what a bank says about an account")
    finally:
        connection.close()


class _WatchedSocket(ssl.SSLSocket):
    """Alice's end of a connection, with what `_watch` has seen on it."""

    server_random = b""


def _watch(connection: _WatchedSocket, direction: str, version: int, kind: int, message: int, data: bytes) -> None:
    """OpenSSL's message callback: takes the random of the ServerHello, after a HelloRetryRequest that of the last."""
    if kind == ContentType.HANDSHAKE and message == ServerHello.type and direction == "read":
        connection.server_random = data[6:38]


def _name_of(connection: object) -> str:
    """The connection's name in events."""
    return connection.server_random.hex() if isinstance(connection, _WatchedSocket) else ""


def _new_context(
    version: Version, ca_file: Path, careless: bool, ciphers: str | None, code: GuestModule | None
) -> ssl.SSLContext:
    try:
        context = _students_context(code, ca_file) if code else ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise BadInput(f"{ca_file}: holds no readable certificate in PEM; give the CA's") from None
    context.minimum_version = context.maximum_version = ssl.TLSVersion(version)
    context.sslsocket_class = _WatchedSocket
    # Private, but in every CPython since 3.8, and the only way to see a handshake message from Python.
    context._msg_callback = _watch  # type: ignore[attr-defined]
    if careless:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if ciphers:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError:
            raise BadInput(f"--ciphers {ciphers}: OpenSSL knows no such suites") from None
    return context


def _students_context(code: GuestModule, ca_file: Path) -> ssl.SSLContext:
    """A context as a student's file makes it; BadInput, with file and line, where it does not."""
    name, parameters = CONTEXT
    try:
        context = code.function(name, parameters)(str(ca_file))
        if not isinstance(context, ssl.SSLContext):
            raise code.wrong(name, "must give back an ssl.SSLContext")
    except GuestError as error:
        raise BadInput(str(error)) from None
    return context


def _load_bundle(context: ssl.SSLContext, file: Path, bundle: Bundle, password: str | None, is_pem: bool) -> None:
    try:
        if is_pem:
            context.load_cert_chain(file, password=password)
        else:
            load_from_memory(context, bundle)
    except ssl.SSLError as error:
        raise BadInput(f"{file}: OpenSSL cannot use it: {error.reason or error}") from None


def load_from_memory(context: ssl.SSLContext, bundle: Bundle) -> None:
    """`ssl` takes a key from a file only: one that nobody else can read, and that is gone at once."""
    with tempfile.NamedTemporaryFile(prefix="bundle-", suffix=".pem") as file:  # mode 0600
        file.write(bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        for der in bundle.chain:
            file.write(ssl.DER_cert_to_PEM_cert(der).encode())
        file.flush()
        context.load_cert_chain(file.name)


def _error_in(body: bytes) -> str:
    """The `error` in a JSON body, or the body as it is."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return body.decode("utf-8", "replace")


def _describe(error: Exception) -> str:
    """What went wrong, in the system's, OpenSSL's or `http.client`'s own words."""
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not right: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
