"""Runs the servers of the gallery on loopback, one after the other, and tries each."""

import asyncio
import contextlib
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from attacker.moves.make import Loot, foreign_key
from attacker.moves.prefix import request_without_handshake
from attacker.moves.replay import Attempt
from attacker.probe.attempt import attempt
from attacker.probe.dialects import DIALECTS, Question
from attacker.probe.orders import Target
from lab.address import Address
from lab.catalogue.gallery import RealServer
from lab.ports import held_ports
from lab.probing.probe import MOVE_IDS, Probed, ProbeFailed, probe
from lab.probing.servers import (
    NotStarted,
    copy_configuration,
    filled,
    is_installed,
    prepare,
    running_process,
    until_it_takes_connections,
)
from lab.staging import pki
from lab.tls.bundle import Bundle
from lab.tls.versions import VERSIONS

MAX_LOG = 1 << 16
PREFIX_SECONDS = 10.0
LOG_SECONDS = 0.5
"""How long a server may take to write a line."""
RATE = 200.0
NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups"
"""Some servers refuse to run as root."""


@dataclass(frozen=True)
class Shown:
    """One server of the gallery: its own words on its version, and what was found; or why it could not be tried."""

    server: RealServer
    version: str = ""
    probed: Probed | None = None
    missing: str = ""
    log: tuple[str, ...] = ()
    """What it wrote when a proof by a foreign key came; empty if nothing."""
    took_prefix: bool | None = None
    """Whether it served a request that came without a handshake; None where that does not show."""


async def show(server: RealServer, more_places: Mapping[str, str] = MappingProxyType({})) -> Shown:
    """Starts a server, tries it, and ends it. `more_places` are what else `@NAME@` stands for."""
    if not is_installed(server):
        return Shown(server, missing=f"not installed (Debian: {' '.join(server.packages)})")
    with tempfile.TemporaryDirectory(prefix="certreplay-gallery-") as folder:
        try:
            async with _running(server, Path(folder), more_places) as subject:
                version = await _version(filled(server.version, subject.places))
                probed = await probe(subject.target, subject.alice, subject.mallory, lambda words: None)
                log = await _log_of_a_foreign_proof(Path(folder), subject)
                took_prefix = await _took_prefix(Path(folder), subject) if server.prints_paths else None
        except (ProbeFailed, NotStarted) as error:
            return Shown(server, missing=str(error))
    return Shown(server, version, probed, log=log, took_prefix=took_prefix)


@dataclass(frozen=True)
class _Subject:
    """A running server, and who is let in there: alice, and the attacker under her own name."""

    target: Target
    alice: Bundle
    mallory: Bundle
    places: Mapping[str, str]
    """What `@NAME@` stands for."""


@contextlib.asynccontextmanager
async def _running(server: RealServer, folder: Path, more_places: Mapping[str, str]) -> AsyncIterator[_Subject]:
    authority, other = (pki.new_authority(path_length=None) for _ in range(2))
    alice, mallory, own = (
        pki.new_client(authority, "alice"),
        pki.new_client(other if server.other_name else authority, "mallory"),
        pki.new_server(authority),
    )
    with contextlib.ExitStack() as stack:
        port, backend = held_ports(stack, 2)
    bundle = own.bundle_pem()
    end = b"-----END PRIVATE KEY-----\n"
    for name, content in (
        ("ca.pem", authority.certificate_pem()),
        ("other-ca.pem", other.certificate_pem()),
        ("server.pem", bundle),
        ("key.pem", bundle[: bundle.index(end) + len(end)]),
    ):
        (folder / name).write_bytes(content)
    as_nobody = NOBODY if os.geteuid() == 0 else ""
    places = {
        "FOLDER": str(folder),
        "PORT": str(port),
        "BACKEND": str(backend),
        "CA": str(folder / "ca.pem"),
        "OTHER_CA": str(folder / "other-ca.pem"),
        "SERVER": str(folder / "server.pem"),
        "KEY": str(folder / "key.pem"),
        "SUBJECT": "".join(f"/{one}" for one in alice.certificate.subject.rfc4514_string().split(",")[::-1]),
        "AS_NOBODY": as_nobody,
    }
    places |= {name: filled(text, places) for name, text in {**more_places, **server.places}.items()}
    copy_configuration(files("victim_server") / "gallery" / server.id, folder, places)
    (folder / "key.pem").chmod(0o600)
    folder.chmod(0o755)
    if as_nobody and "@AS_NOBODY@" in server.command:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
    output = folder / "output"
    if server.prepare:
        await prepare(filled(server.prepare, places), folder, output)
    question = Question(
        f"localhost:{port}", server.path, user=server.user, database=server.user, send=server.send.encode("latin-1")
    )
    speaks = "raw" if server.speaks == "send" else server.speaks
    target = Target(
        Address("127.0.0.1", port),
        "localhost",
        speaks,
        question,
        tuple(VERSIONS),
        MOVE_IDS,
        RATE,
        other_name=server.other_name,
    )
    before = _backend(backend) if "BACKEND" in _placed(server.id) else contextlib.nullcontext()
    async with before, running_process(filled(server.command, places), folder, output) as process:
        await until_it_takes_connections(port, process, output)
        yield _Subject(target, Bundle((alice.der,), alice.key), Bundle((mallory.der,), mallory.key), places)


def _placed(server_id: str) -> str:
    """All of a server's configuration, as it is kept."""
    folder = files("victim_server") / "gallery" / server_id
    return "".join(one.read_text("utf-8") for one in folder.iterdir() if one.is_file()) if folder.is_dir() else ""


async def _version(command: str) -> str:
    """The first line with a digit of what it prints about itself."""
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    lines = output.decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in lines if any(char.isdigit() for char in line)), "")[:80]


@contextlib.asynccontextmanager
async def _backend(port: int) -> AsyncIterator[None]:
    """An HTTP server without TLS, for those that only stand before one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            body = b"the account"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield


async def _took_prefix(folder: Path, subject: _Subject) -> bool:
    """Whether the server says that it served a request that came without a handshake."""
    path = f"/{secrets.token_hex(8)}"
    try:
        async with asyncio.timeout(PREFIX_SECONDS):
            await request_without_handshake(subject.target.address, path)
    except (OSError, TimeoutError):
        raise NotStarted("it took no more connections after the moves") from None
    await asyncio.sleep(LOG_SECONDS)
    return f"served {path}" in (folder / "output").read_text("utf-8", "replace")


async def _log_of_a_foreign_proof(folder: Path, subject: _Subject) -> tuple[str, ...]:
    """What the server writes while nothing but a proof by a foreign key comes, in TLS 1.2."""
    logs = (folder / "output", folder / "server.log")
    before = {path: path.stat().st_size for path in logs if path.exists()}
    chain = subject.alice.chain
    script = foreign_key(Loot(chain, None), subject.target.versions[0])
    target = subject.target
    it = Attempt("foreign-key", target.versions[0], target.address, target.server_name, "alice")
    await attempt(it, script, DIALECTS[target.dialect](target.question))
    await asyncio.sleep(LOG_SECONDS)
    lines: list[str] = []
    for path in logs:
        if path.exists():
            with path.open("rb") as file:
                file.seek(before.get(path, 0))
                lines += file.read(MAX_LOG).decode("utf-8", "replace").splitlines()
    return tuple(line.strip()[:300] for line in lines if line.strip())
