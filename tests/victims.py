"""Helpers for the tests of the victims: the bank and its gateways in this process, and the parts as processes."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lab import pki
from lab.events import Event, GatewayListening, read_events
from lab.tls.bundle import Bundle
from programs import program
from victim_server import service
from victim_server.gateway import Limits
from victim_server.schemes import SCHEMES, GatewayFiles

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 30.0
SCHEME_IDS = [scheme.id for scheme in SCHEMES]

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

    def port(self, scheme: str) -> int:
        return next(event.port for event in self.reports.all(GatewayListening) if event.scheme == scheme)


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
def running_victims(issued: pki.Issued, folder: Path, limits: Limits | None = None) -> Iterator[Victims]:
    """The bank behind a gateway of every scheme, on free ports."""
    folder.mkdir(exist_ok=True)
    victims = Victims(issued, folder)
    settings = service.Settings(
        host="127.0.0.1",
        ports=tuple((scheme, 0) for scheme in SCHEMES),
        bundle_file=issued.server_pem,
        ca_file=issued.ca_pem,
        folder=folder,
        limits=limits or Limits(),
    )
    files = gateway_files(issued, folder)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with contextlib.ExitStack() as opened:
            listeners = [opened.enter_context(service.listen("127.0.0.1", *row)) for row in settings.ports]
            async with service.running(settings, files, listeners, victims.reports):
                yield

    with in_a_loop(running):
        yield victims


def gateway_files(issued: pki.Issued, folder: Path) -> GatewayFiles:
    return GatewayFiles(
        issued.server_pem,
        Bundle((issued.server.der,), issued.server.key),
        (issued.authority.der,),
        folder / service.KEY_LOG_NAME,
    )


def write_bundle(identity: pki.Identity, path: Path, *more: x509.Certificate) -> Path:
    """Key and certificate, and perhaps more of the chain, in PEM."""
    path.write_bytes(identity.bundle_pem() + b"".join(certificate.public_bytes(Encoding.PEM) for certificate in more))
    return path


@dataclass(frozen=True)
class Curl:
    """What curl brought back."""

    exit_status: int
    status: int
    body: Any
    stderr: str


def curl(victims: Victims, scheme: str, path: str, *options: str, bundle: Path | None = None) -> Curl:
    """A request with alice's bundle, or another one, at a scheme's gateway."""
    url = f"https://localhost:{victims.port(scheme)}{path}"
    certificate = ("--cert", str(bundle or victims.issued.client_pem))
    return run_curl(url, "--cacert", str(victims.issued.ca_pem), *certificate, *options)


def run_curl(url: str, *options: str) -> Curl:
    command = [
        program("curl"),
        "--silent",
        "--show-error",
        "--max-time",
        "20",
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


def start_part(module: str, *options: str) -> subprocess.Popen[str]:
    """A part as a process, tethered to this one."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *options, "--tether"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_part(
    module: str, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A part as a process, until it ends by itself; `environment` is added to this process's own."""
    return subprocess.run(
        [sys.executable, "-m", module, *options],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def wait_for_event(process: subprocess.Popen[str], file: Path, kind: type[E], count: int = 1) -> list[E]:
    """The events of a kind in a part's file, once there are at least so many; fails when the part ends first."""
    while True:
        ended = process.poll() is not None
        found: list[E] = [event for event in events_in(file) if isinstance(event, kind)]
        if len(found) >= count:
            return found
        if ended:
            raise AssertionError(f"the part ended with {process.returncode}: {process.communicate()[1]}")
        threading.Event().wait(0.01)


def events_in(file: Path) -> list[Event]:
    return [recorded.event for recorded in read_events(file)]
