"""Helpers for the tests of the victims: the bank and its gateways in this process, and the parts as processes."""

import asyncio
import base64
import contextlib
import importlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lab import process
from lab.catalogue.cast import OPENING_BALANCE
from lab.catalogue.gateways import GATEWAYS, Gateway, find_gateway
from lab.events.log import read_events
from lab.events.parts import KEY_LOG_FILE
from lab.events.types import Event, GatewayListening
from lab.staging import pki
from lab.tls.bundle import Bundle
from lab.tls.client import Client
from lab.tls.engine import EngineEvent, Failed
from lab.tls.proof import Prover
from lab.tls.versions import Version, find_version
from programs import PATIENCE_SECONDS as PATIENCE_SECONDS
from programs import called, program, wait_until
from victim_server import register, service
from victim_server.authentication import GatewayFiles
from victim_server.gateway import Limits

ROOT = Path(__file__).resolve().parents[2]
GATEWAY_IDS = [gateway.id for gateway in GATEWAYS]
TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
FORWARDED = "forwarded-header@openssl"
BY_PASSWORD = "password@openssl"
"""The gateways that ask for nothing in TLS."""
GATEWAYS_IN_TLS = [gateway.id for gateway in GATEWAYS if gateway.scheme.asks_in_tls]

T = TypeVar("T")
E = TypeVar("E", bound=Event)


class Reports:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = threading.Condition()

    def report(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def all(self, kind: type[E]) -> list[E]:
        with self._changed:
            return [event for event in self._events if isinstance(event, kind)]

    def wait_for(self, kind: type[E], count: int = 1) -> list[E]:
        """The events of a kind, once there are at least so many."""
        with self._changed:
            enough = self._changed.wait_for(
                lambda: sum(isinstance(event, kind) for event in self._events) >= count, PATIENCE_SECONDS
            )
            assert enough, f"fewer than {count} {kind.__name__} in {self._events}"
        return self.all(kind)


@dataclass
class Victims:
    """The running bank and gateways."""

    issued: pki.Issued
    folder: Path
    reports: Reports = field(default_factory=Reports)

    def port(self, gateway_id: str) -> int:
        return next(event.port for event in self.reports.all(GatewayListening) if event.gateway == gateway_id)


@contextlib.contextmanager
def in_a_loop(manager: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Holds an asynchronous context manager open in an event loop of its own, in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE_SECONDS)

    stop: asyncio.Event
    entered: asyncio.Future[T]

    async def hold() -> None:
        try:
            async with manager() as value:
                entered.set_result(value)
                await stop.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    async def start() -> asyncio.Task[None]:
        nonlocal stop, entered
        stop, entered = asyncio.Event(), loop.create_future()
        return loop.create_task(hold())

    async def wait_until_entered() -> T:
        return await entered

    async def finish(holding: asyncio.Task[None]) -> None:
        stop.set()
        await holding

    try:
        holding = run(start())
        value = run(wait_until_entered())
        try:
            yield value
        finally:
            run(finish(holding))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def running_victims(
    issued: pki.Issued, folder: Path, limits: Limits | None = None, balance: int = OPENING_BALANCE
) -> Iterator[Victims]:
    """The bank behind every gateway, on free ports."""
    folder.mkdir(exist_ok=True)
    victims = Victims(issued, folder)
    settings = service.Settings(
        host="127.0.0.1",
        ports=tuple((gateway, 0) for gateway in GATEWAYS),
        bundle_file=issued.server_pem,
        ca_file=issued.ca_pem,
        register_file=issued.register,
        folder=folder,
        limits=limits or Limits(),
        opening_balance=balance,
    )
    files = gateway_files(issued, folder)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with contextlib.ExitStack() as opened:
            listeners = [opened.enter_context(service.listen("127.0.0.1", *row)) for row in settings.ports]
            async with service.running(settings, files, (), listeners, victims.reports):
                yield

    with in_a_loop(running):
        yield victims


def gateway_files(issued: pki.Issued, folder: Path) -> GatewayFiles:
    on_the_list = (issued.client_self_signed, *([issued.mallory.self_signed] if issued.mallory else []))
    return GatewayFiles(
        bundle_file=issued.server_pem,
        bundle=Bundle((issued.server.der,), issued.server.key),
        authorities=(issued.authority.der,),
        issued=tuple(identity.der for identity in on_the_list),
        key_log_file=folder / KEY_LOG_FILE,
        rsa_transport_file=issued.server_rsa_pem,
        passwords=register.read_passwords(issued.register),
    )


def gateway(gateway_id: str) -> Gateway:
    """The gateway with that id, which there has to be."""
    found = find_gateway(gateway_id)
    assert found, gateway_id
    return found


def version_named(name: str) -> Version:
    """The version with that name, which there has to be."""
    found = find_version(name)
    assert found, name
    return found


def alice_at(issued: pki.Issued, gateway_id: str) -> pki.Identity:
    """Alice, with the certificate that the gateway takes."""
    return issued.client_self_signed if gateway(gateway_id).scheme.trusts == "pinned" else issued.client


def known_as(issued: pki.Issued, gateway_id: str) -> tuple[str, str]:
    """Her name and her certificate's fingerprint there, empty where she gives a password instead."""
    if gateway_id == BY_PASSWORD:
        return "CN=alice", ""
    alice = alice_at(issued, gateway_id)
    return alice.certificate.subject.rfc4514_string(), alice.sha256


def bundle_at(issued: pki.Issued, gateway_id: str) -> Path:
    """The file that she was given it in."""
    return issued.client_self_signed_pem if gateway(gateway_id).scheme.trusts == "pinned" else issued.client_pem


def client_cert(identity: pki.Identity) -> str:
    """The header that a proxy would add for this client (RFC 9440)."""
    return f"Client-Cert: :{base64.b64encode(identity.der).decode()}:"


def basic(issued: pki.Issued) -> str:
    """The header with alice's name and password (RFC 7617)."""
    assert issued.password
    return f"Authorization: Basic {base64.b64encode(f'alice:{issued.password.read_text().strip()}'.encode()).decode()}"


def own_headers(issued: pki.Issued, gateway_id: str) -> list[str]:
    """The headers that say who alice is, at a gateway that does not ask in TLS."""
    if gateway_id == BY_PASSWORD:
        return [basic(issued)]
    return [client_cert(issued.client)] if gateway_id == FORWARDED else []


def write_bundle(identity: pki.Identity, path: Path, *more: x509.Certificate) -> Path:
    """Key and certificate, and perhaps more of the chain, in PEM."""
    path.write_bytes(identity.bundle_pem() + b"".join(certificate.public_bytes(Encoding.PEM) for certificate in more))
    return path


def get_account(issued: pki.Issued, gateway_id: str, *more: str) -> bytes:
    """The request for alice's account, as it is to be put to this gateway."""
    headers = ["Host: localhost", *own_headers(issued, gateway_id), *more]
    return "\r\n".join(["GET /account HTTP/1.1", *headers, "", ""]).encode()


def connect(victims: Victims, gateway_id: str, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", victims.port(gateway_id)), PATIENCE_SECONDS, (source, 0))


def client_context(issued: pki.Issued, bundle: Path | None, version: str | None = None) -> ssl.SSLContext:
    """Python's own TLS, in one version or in any."""
    context = ssl.create_default_context(cafile=issued.ca_pem)
    if bundle:
        context.load_cert_chain(bundle)
    if version:
        context.minimum_version = context.maximum_version = TLS_VERSIONS[version]
    return context


def connect_tls(
    victims: Victims,
    gateway_id: str,
    bundle: Path | None = None,
    version: str | None = None,
) -> ssl.SSLSocket:
    """A connection made by Python's own TLS, with alice's bundle unless told otherwise."""
    context = client_context(victims.issued, bundle or bundle_at(victims.issued, gateway_id), version)
    return context.wrap_socket(connect(victims, gateway_id), server_hostname="localhost")


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(1 << 16):
        received += data
    return received


def shake_hands(connection: socket.socket, client: Client) -> list[EngineEvent]:
    """Runs the instrument's client until its handshake has succeeded or failed."""
    events: list[EngineEvent] = []
    while not events:
        connection.sendall(client.data_to_send())
        data = connection.recv(1 << 16)
        events = client.receive(data) if data else [Failed(None, None, "closed")]
    return events


def instrument_at(victims: Victims, gateway_id: str, prove: Prover | None, version: str = "1.2") -> Client:
    """The instrument's client with the certificate that the gateway takes of alice."""
    chain = (alice_at(victims.issued, gateway_id).der,)
    versions = (int(TLS_VERSIONS[version]),)
    return Client(entropy=os.urandom, server_name="localhost", chain=chain, prove=prove, versions=versions)


@dataclass(frozen=True)
class Curl:
    """What curl brought back."""

    exit_status: int
    status: int
    body: Any
    stderr: str


def curl(victims: Victims, gateway_id: str, path: str, *options: str, bundle: Path | None = None) -> Curl:
    """A request with alice's bundle, or another one, at a gateway; as a proxy's header where that is asked for."""
    url = f"https://localhost:{victims.port(gateway_id)}{path}"
    certificate: tuple[str, ...] = ("--cert", str(bundle or bundle_at(victims.issued, gateway_id)))
    if bundle is None and (headers := own_headers(victims.issued, gateway_id)):
        certificate = ("--header", *headers)
    return run_curl(url, "--cacert", str(victims.issued.ca_pem), *certificate, *options)


def run_curl(url: str, *options: str) -> Curl:
    command = [
        program("curl"),
        "--silent",
        "--show-error",
        "--max-time",
        str(PATIENCE_SECONDS - 5),
        "--write-out",
        r"\n%{http_code}",
        *options,
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    body, _, status = done.stdout.rpartition("\n")
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = body
    return Curl(done.returncode, int(status or 0), parsed, done.stderr)


def start_part(module: str, *options: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """A part as a process, tethered to this one; `environment` adds to this process's own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *options, "--tether"],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


WAYS_TO_STOP = ("SIGTERM", "SIGINT", "end of standard input")


def stop(part: subprocess.Popen[str], way: str) -> tuple[int, str, str]:
    """Tells a part to stop: its exit status, and what it printed on standard output and on standard error."""
    if way != "end of standard input":
        part.send_signal(getattr(signal, way))
        part.wait(PATIENCE_SECONDS)
    output = part.communicate(timeout=PATIENCE_SECONDS)
    return part.returncode, *output


def run_part(
    module: str, *options: str, environment: Mapping[str, str] | None = None, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """A part as a process, until it ends by itself; `environment` is added to this process's own, and the words in
    `before` stand before the command."""
    return subprocess.run(
        [*before, sys.executable, "-m", module, *options],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def assert_bad_input(module: str, options: Sequence[str], expected: str) -> None:
    """A part that is called so, in this process, ends with status 2 and one line that says what is wrong."""
    name = module.replace("_", "-")
    part = importlib.import_module(f"{module}.__main__")
    done = called(getattr(part, "run", lambda: process.run_part(name, part.main)), *options)
    _assert_refused(name, options, done, expected)


def assert_permission_denied(module: str, options: Sequence[str]) -> None:
    """The same where the permissions of a file forbid it, for root too."""
    bound_by_them = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    before = [program(bound_by_them[0]), *bound_by_them[1:]] if os.geteuid() == 0 else []
    _assert_refused(module.replace("_", "-"), options, run_part(module, *options, before=before), "Permission denied")


def _assert_refused(name: str, options: Sequence[str], done: subprocess.CompletedProcess[str], expected: str) -> None:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), (options, done)
    assert done.stderr.startswith(f"{name}: ")
    assert expected in done.stderr


def wait_for_event(process: subprocess.Popen[str], file: Path, kind: type[E], count: int = 1) -> list[E]:
    """The events of a kind in a part's file, once there are at least so many; fails when the part ends first."""
    found: list[E] = []

    def reported() -> bool:
        ended = process.poll() is not None
        found[:] = [event for event in events_in(file) if isinstance(event, kind)]
        assert len(found) >= count or not ended, f"it ended with {process.returncode}: {process.communicate()[1]}"
        return len(found) >= count

    wait_until(reported, lambda: f"{kind.__name__}: {len(found)} of {count}")
    return found


def events_in(file: Path) -> list[Event]:
    return [recorded.event for recorded in read_events(file)]
