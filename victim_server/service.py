"""The bank and its gateways as one running part."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from lab.catalogue.cast import OPENING_BALANCE, VICTIM_SERVER
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.gateways import Gateway
from lab.events.log import EventLog, Reporter
from lab.events.parts import KEY_LOG_FILE
from lab.events.types import TOLD_TO_STOP, GatewayListening, PartStopped, Trouble
from lab.files import open_to_write, read
from lab.process import BadInput, stop_signal
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.errors import BundleError
from lab.tls.listener import BACKLOG
from lab.tls.versions import VERSIONS, Version
from victim_server import bank, register
from victim_server.access_log import AccessLog
from victim_server.authentication import GatewayFiles, authentication_for, served
from victim_server.gateway import GatewayServer, Limits
from victim_server.own_capture import OwnCapture


@dataclass(frozen=True)
class Settings:
    """What the part is called with.

    `ports` has the port of each gateway, 0 for any free one. `register_file` is the bank's
    register of the customers whose self-signed certificates it issued, which the pinned schemes need. `versions` are
    the versions of TLS that the gateways serve, each as far as it can; with `rsa_transport_file`, a bundle with an RSA
    key, those that run OpenSSL do RSA key transport too. With `access_log_file` they keep an access log there, the
    clients' certificates and all. `student_code` is as in `GatewayFiles`.
    The gateways write all that they hear and say to `capture_file`, if there is one.
    """

    host: str
    ports: tuple[tuple[Gateway, int], ...]
    bundle_file: Path
    ca_file: Path
    folder: Path
    register_file: Path | None = None
    access_log_file: Path | None = None
    versions: tuple[Version, ...] = VERSIONS
    opening_balance: int = OPENING_BALANCE
    rsa_transport_file: Path | None = None
    student_code: Mapping[str, Path] = field(default_factory=dict)
    capture_file: Path | None = None
    limits: Limits = field(default_factory=Limits)


async def serve(settings: Settings, tether: bool) -> int:
    """Runs until told to stop; the exit status. BadInput or OSError, before anything is written, for bad settings."""
    stopped = stop_signal(tether)
    _raise_file_limit()
    for gateway, _ in settings.ports:
        served(gateway, settings.versions)
        if gateway.scheme.trusts == CertificateKind.SELF_SIGNED and settings.register_file is None:
            raise BadInput(f"{gateway.id} needs --register FILE, the customers whose certificates the server issued")
        if gateway.scheme.takes_password and settings.register_file is None:
            raise BadInput(f"{gateway.id} needs --register FILE, the customers who have passwords")
    entries = register.read(settings.register_file) if settings.register_file else ()
    files = GatewayFiles(
        bundle_file=settings.bundle_file,
        bundle=_read_bundle(settings.bundle_file),
        authorities=_read_certificates(settings.ca_file, "the CA's"),
        issued=tuple(entry.certificate for entry in entries),
        key_log_file=settings.folder / KEY_LOG_FILE,
        rsa_transport_file=_rsa_bundle(settings.rsa_transport_file),
        passwords=register.read_passwords(settings.register_file) if settings.register_file else {},
        student_code=settings.student_code,
    )
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(listen(settings.host, gateway, port)) for gateway, port in settings.ports]
        log = EventLog(settings.folder, VICTIM_SERVER)
        opened.callback(log.close)
        asyncio.get_running_loop().set_exception_handler(lambda _, context: log.report(_trouble(context)))
        customers = tuple(entry.name for entry in entries)
        async with running(settings, files, customers, listeners, log):
            await stopped.wait()
        log.report(PartStopped(TOLD_TO_STOP))
    return 0


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    files: GatewayFiles,
    customers: Iterable[str],
    listeners: list[socket.socket],
    reporter: Reporter,
) -> AsyncIterator[None]:
    """Bank and gateways, one a listener, as long as the block lasts."""
    key_log = open_to_write(files.key_log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    servers: list[GatewayServer] = []
    requests_log = AccessLog(settings.access_log_file) if settings.access_log_file else None
    capture = OwnCapture(settings.capture_file, reporter) if settings.capture_file else None
    try:
        app = bank.create_app(bank.Accounts(settings.opening_balance, customers), reporter)
        async with bank.serve(app) as bank_socket:
            for (gateway, _), listener in zip(settings.ports, listeners, strict=True):
                versions = served(gateway, settings.versions)
                how = authentication_for(gateway, replace(files, versions=versions))
                server = GatewayServer(
                    gateway, how, bank_socket, reporter, key_log, settings.limits, requests_log, capture
                )
                servers.append(server)
                await server.open(listener)
                host, port = listener.getsockname()[:2]
                reporter.report(GatewayListening(gateway.id, host, port, tuple(map(str, versions))))
            try:
                yield
            finally:
                await asyncio.gather(*(server.close() for server in servers))
    finally:
        os.close(key_log)
        for file in (requests_log, capture):
            if file:
                file.close()


def _rsa_bundle(path: Path | None) -> Path | None:
    """The same path, of a bundle that will do for RSA key transport."""
    if path and not isinstance(_read_bundle(path).key, rsa.RSAPrivateKey):
        raise BadInput(f"{path}: RSA key transport takes a bundle with an RSA key")
    return path


def _read_bundle(path: Path) -> Bundle:
    data = read(path)
    if b"-----BEGIN" not in data:
        raise BadInput(f"{path}: not PEM; the server's own bundle has to be")
    try:
        return parse_bundle(data, None, str(path), datetime.now(UTC))
    except BundleError as error:
        raise BadInput(str(error)) from None


def _read_certificates(path: Path, whose: str) -> tuple[bytes, ...]:
    try:
        certificates = x509.load_pem_x509_certificates(read(path))
    except ValueError:
        raise BadInput(f"{path}: holds no readable certificate in PEM; give {whose}") from None
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def listen(host: str, gateway: Gateway, port: int) -> socket.socket:
    """A listening socket; BadInput, which names the gateway, if the address is not free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = os.strerror(error.errno or 0)  # the error's own text has the address again
        raise BadInput(
            f"{gateway.id} cannot listen on {host}:{port}: {why}; free it, or choose another with --port"
        ) from None


def _raise_file_limit() -> None:
    """Many connections need many file descriptors; systems start a process with few and let it ask for more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _trouble(context: dict[str, Any]) -> Trouble:
    """What asyncio would otherwise print on stderr."""
    error = context.get("exception")
    return Trouble(f"{context.get('message')}" + (f": {type(error).__name__}: {error}" if error else ""))
