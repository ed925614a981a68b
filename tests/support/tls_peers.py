"""TLS peers that we did not write, and a way to let two engines talk without a network."""

import _ssl
import asyncio
import contextlib
import ctypes
import os
import random
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from lab.catalogue.plan import KeyType
from lab.staging import pki
from lab.tls import proof
from lab.tls.client import Client
from lab.tls.client13 import ClientHandshake13
from lab.tls.connection import Connection
from lab.tls.engine import Closed, Data, Engine, EngineEvent, Established, Failed
from lab.tls.proof import Prover
from lab.tls.server import ClientAuth, Proof, Server
from lab.tls.server13 import ServerHandshake13
from lab.tls.streams import ConnectionFailed, TlsStream
from lab.tls.versions import TLS12
from programs import PATIENCE_SECONDS as PATIENCE_SECONDS
from programs import program, wait_until

NAME = "bank.example"
GNUTLS_ONLY_12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
GNUTLS_ONLY_13 = "NORMAL:-VERS-ALL:+VERS-TLS1.3"

_SET_GROUPS_LIST = 92
"""OpenSSL's SSL_CTRL_SET_GROUPS_LIST (SSL_CTX_set1_groups_list(3))."""

Identities = Callable[[str, KeyType], pki.Identity]
"""Servers and clients by their role and kind of key."""


def cases(names: str | tuple[str, ...], table: Mapping[str, object]) -> pytest.MarkDecorator:
    """Runs a test for each case of a table, which has the cases by what they are called."""
    return pytest.mark.parametrize(names, list(table.values()), ids=list(table))


def accept_any(chain: tuple[bytes, ...]) -> None:
    """A chain check that has no objection."""


def our_client(identity: pki.Identity | None = None, prove: Prover | None = None, **options: object) -> Client:
    """The instrument's client, honest unless told otherwise."""
    chain = (identity.der,) if identity else ()
    honest = proof.prove_with(identity.key) if identity else None
    return Client(entropy=os.urandom, server_name=NAME, chain=chain, prove=prove or honest, **options)  # type: ignore[arg-type]


def our_server(
    identity: pki.Identity, policy: Proof | None = Proof.REQUIRED, check: object = accept_any, **options: object
) -> Server:
    """The instrument's server; without a policy it asks for no certificate."""
    auth = ClientAuth(check, policy) if policy else None  # type: ignore[arg-type]
    return Server(entropy=os.urandom, chain=(identity.der,), key=identity.key, client_auth=auth, **options)  # type: ignore[arg-type]


def update_keys(engine: Connection, request: bool = False) -> None:
    """A KeyUpdate of the engine's own accord (RFC 8446 section 4.6.3), which the lab itself never sends."""
    assert isinstance(engine, Client | Server)
    handshake = engine._handshake
    assert isinstance(handshake, ClientHandshake13 | ServerHandshake13)
    assert handshake.keys
    handshake.keys.update(request)


@dataclass(frozen=True)
class Talk:
    """What each of two engines reported."""

    client: list[EngineEvent]
    server: list[EngineEvent]

    @property
    def established(self) -> bool:
        return Established() in self.client and Established() in self.server

    def failure(self, party: str) -> Failed:
        (found,) = [event for event in getattr(self, party) if isinstance(event, Failed)]
        return found

    def data(self, party: str) -> bytes:
        return b"".join(event.data for event in getattr(self, party) if isinstance(event, Data))


def talk(client: Engine, server: Engine, cut: int | None = None) -> Talk:
    """Passes bytes between two engines until neither has more to say; `cut` gives them out so many at a time."""
    seen = Talk([], [])
    while True:
        from_client, from_server = client.data_to_send(), server.data_to_send()
        if not from_client and not from_server:
            return seen
        for piece in pieces(from_client, cut):
            seen.server.extend(server.receive(piece))
        for piece in pieces(from_server, cut):
            seen.client.extend(client.receive(piece))


def converse(client: Engine, server: Engine, closes: str) -> None:
    """A handshake, data both ways, and the end that one of them gives it."""
    assert talk(client, server).established
    client.send(b"x" * 40_000)
    server.send(b"y" * 40_000)
    said = talk(client, server)
    assert said.data("server") == b"x" * 40_000
    assert said.data("client") == b"y" * 40_000
    (client if closes == "client" else server).close()
    said = talk(client, server)
    assert Closed() in (said.server if closes == "client" else said.client)


def omitted(alice: pki.Identity, mallory: pki.Identity, server: pki.Identity) -> Prover:
    """No proof at all."""
    return lambda challenge: None


def by_another_key(alice: pki.Identity, mallory: pki.Identity, server: pki.Identity) -> Prover:
    return proof.prove_with(mallory.key)


def pieces(data: bytes, size: int | None) -> list[bytes]:
    if size is None:
        return [data] if data else []
    return [data[start : start + size] for start in range(0, len(data), size)]


class OpenSslEngine:
    """OpenSSL, through Python's ssl, as an engine without a socket. A client may offer a `session`."""

    def __init__(self, context: ssl.SSLContext, server_side: bool, session: ssl.SSLSession | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else NAME
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side, name, session)
        self.sent: list[bytes] = []
        """What was given out, in the pieces that were asked for."""
        self._established = False
        self._over = False
        self._early: list[EngineEvent] = [] if server_side else self._step()

    def receive(self, data: bytes) -> list[EngineEvent]:
        if self._over:
            return []
        self._incoming.write(data)
        return self._step()

    def _step(self) -> list[EngineEvent]:
        events: list[EngineEvent] = []
        try:
            if not self._established:
                self.tls.do_handshake()
                self._established = True
                events.append(Established())
            while data := self.tls.read(1 << 16):
                events.append(Data(data))
            events.append(Closed())
            self._over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            events.append(Closed())
            self._over = True
        except ssl.SSLError as error:
            events.append(Failed(None, None, str(error)))
            self._over = True
        return events

    def data_to_send(self) -> bytes:
        self.sent.append(self._outgoing.read())
        return self.sent[-1]

    def send(self, data: bytes) -> None:
        self.tls.write(data)

    def close(self) -> None:
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()

    def give_up(self, reason: str) -> list[EngineEvent]:
        self._over = True
        return [Failed(None, None, reason)]

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        der = self.tls.getpeercert(binary_form=True)
        return (der,) if der else ()


def openssl_context(
    server_side: bool,
    authority: pki.Identity,
    identity: pki.Identity | None = None,
    ciphers: str | None = None,
    group: str | None = None,
    versions: tuple[int, ...] = (TLS12,),
) -> ssl.SSLContext:
    """A context for these versions that checks its peer against `authority` and presents `identity`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion(min(versions))
    context.maximum_version = ssl.TLSVersion(max(versions))
    context.load_verify_locations(cadata=authority.certificate.public_bytes(Encoding.PEM).decode())
    context.verify_mode = ssl.CERT_REQUIRED
    if ciphers:
        context.set_ciphers(ciphers)
    if group:
        _only_group(context, group)
    if identity:
        with tempfile.NamedTemporaryFile() as file:
            file.write(identity.bundle_pem())
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _only_group(context: ssl.SSLContext, group: str) -> None:
    """Restricts a context to one group. The first releases of CPython 3.11 (3.11.2 of Debian 12 among them) know no
    X25519 here, though the OpenSSL beneath them does, and is then told itself."""
    try:
        context.set_ecdh_curve(group)
    except ssl.SSLError:
        told = ctypes.CDLL(_ssl.__file__).SSL_CTX_ctrl
        told.argtypes, told.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p), ctypes.c_long
        inner = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)  # PySSLContext begins with its SSL_CTX
        assert told(inner, _SET_GROUPS_LIST, 0, group.encode()) == 1


@dataclass(frozen=True)
class Files:
    """An authority, a server and a client as files for programs."""

    ca: Path
    server: Path
    client: Path


def write_files(folder: Path, authority: pki.Identity, server: pki.Identity, client: pki.Identity) -> Files:
    files = Files(folder / "ca.pem", folder / "server.pem", folder / "client.pem")
    files.ca.write_bytes(authority.certificate_pem())
    files.server.write_bytes(server.bundle_pem())
    files.client.write_bytes(client.bundle_pem())
    return files


def s_server(files: Files, *options: str) -> list[str]:
    """openssl s_server, TLS 1.2 unless told otherwise, which wants a valid certificate and serves a page about it."""
    command = f"openssl s_server -accept {{port}} -cert {files.server} -CAfile {files.ca} -Verify 1"
    return [*command.split(), "-verify_return_error", "-www", *with_version(options)]


def gnutls_serv(files: Files, priority: str = GNUTLS_ONLY_12) -> list[str]:
    """gnutls-serv, which wants a valid certificate, sends back what it gets and prints what was agreed on."""
    command = (
        f"gnutls-serv --echo --port {{port}} --x509certfile {files.server} --x509keyfile {files.server} "
        f"--x509cafile {files.ca} --require-client-cert --verify-client-cert --priority {priority}"
    )
    return command.split()


def s_client(files: Files, *options: str) -> list[str]:
    """openssl s_client, TLS 1.2 unless told otherwise, with alice's certificate."""
    command = f"openssl s_client -connect 127.0.0.1:{{port}} -servername {NAME} -CAfile {files.ca}"
    return [*command.split(), "-verify_return_error", "-ign_eof", "-cert", str(files.client), *with_version(options)]


def with_version(options: tuple[str, ...]) -> tuple[str, ...]:
    """openssl takes one version at most."""
    return options if "-tls1_3" in options else ("-tls1_2", *options)


def gnutls_cli(files: Files, priority: str = GNUTLS_ONLY_12) -> list[str]:
    """gnutls-cli with alice's certificate."""
    command = (
        f"gnutls-cli --port {{port}} --x509cafile {files.ca} --x509certfile {files.client} "
        f"--x509keyfile {files.client} --priority {priority} localhost"
    )
    return command.split()


def options_line(printed: str) -> str:
    """What GnuTLS says about the extensions."""
    return next((line for line in printed.splitlines() if line.startswith("- Options:")), "")


@contextlib.contextmanager
def serving(output: Path, *command: str) -> Iterator[int]:
    """Runs a server program, `{port}` in its call filled in, and gives its port once it takes connections."""
    with commanding(output, *command) as (port, _):
        yield port


@contextlib.contextmanager
def commanding(output: Path, *command: str) -> Iterator[tuple[int, Callable[[str], None]]]:
    """The same, with a function that types a line at the program."""

    def say(line: str) -> None:
        assert process.stdin
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()

    port = unused_port()
    call = [program(command[0]), *(word.format(port=port) for word in command[1:])]
    with (
        output.open("wb") as file,
        subprocess.Popen(call, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True) as process,
    ):
        try:
            wait_until(lambda: takes_connections(port) or process.poll() is not None, command[0])
            assert process.poll() is None, output.read_text()
            yield port, say
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its workers


def unused_port() -> int:
    """One below those that clients get (ip_local_port_range), so that no test beside this one takes it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def read_until(path: Path, text: str) -> str:
    """What a program has printed, once `text` is in it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while text not in (printed := path.read_text(errors="replace")):
        assert time.monotonic() < deadline, f"waited in vain for {text!r} in:\n{printed}"
        time.sleep(0.01)
    return printed


async def call(port: int, client: Engine, line: bytes) -> bytes:
    """Connects, sends one line and gives the line that comes back; ConnectionFailed where it doesn't get that far."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stream = TlsStream(client, reader, writer)
        try:
            await stream.handshake()
            await stream.write(line)
            answer = b""
            while not answer.endswith(b"\n"):
                answer += await stream.read()
            return answer
        finally:
            await stream.close()


async def page(port: int, client: Engine) -> str:
    """Asks an HTTP server for its page and reads until the server says that it is done."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stream = TlsStream(client, reader, writer)
        try:
            await stream.handshake()
            await stream.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while more := await stream.read():
                answer += more
            return answer.decode()
        finally:
            await stream.close()


async def refusal(port: int, client: Client) -> Failed:
    """How a server that must not let the client in ends the connection."""
    try:
        answer = await call(port, client, b"let me in\n")
    except ConnectionFailed as error:
        return error.failed
    raise AssertionError(f"the server let the client in: {answer!r}")


async def echo(stream: TlsStream, program_input: asyncio.StreamWriter) -> None:
    """Sends back the first thing that comes."""
    await stream.write(await stream.read())


async def answer_once(
    server: Server,
    *command: str,
    line: bytes,
    answer: Callable[[TlsStream, asyncio.StreamWriter], Awaitable[None]] = echo,
) -> str:
    """Runs a client program against `server`, which answers as `answer` has it; gives what the program printed.

    `{port}` in the call is filled in; `line` is the program's standard input, which stays open until the end.
    """
    served = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = TlsStream(server, reader, writer)
        try:
            await stream.handshake()
            assert process.stdin
            await answer(stream, process.stdin)
        except ConnectionFailed:
            pass
        finally:
            await stream.close()
            if not served.done():
                served.set_result(None)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, asyncio.timeout(PATIENCE_SECONDS):
        process = await asyncio.create_subprocess_exec(
            program(command[0]),
            *(word.format(port=port) for word in command[1:]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(line)
            await process.stdin.drain()
            await served
            process.stdin.close()
            return (await process.stdout.read()).decode(errors="replace")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()
