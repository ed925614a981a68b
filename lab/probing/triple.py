"""Carries out the triple handshake on loopback: alice is curl, the bank is Apache, mallory a process of her own.

Whether it worked is read in Apache's own log: who the bank took the client for when it served mallory's request.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from attacker.triple.reports import ConnectionReport
from lab.catalogue.cast import CUSTOMER, SERVER_NAME, SHOP_NAME
from lab.catalogue.gallery import find_server
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, REFUSED, Outcome
from lab.catalogue.triple import WITHOUT_EXTENSION, Peers
from lab.events.types import ProofRenegotiated
from lab.ports import HOST, held_ports
from lab.probing.servers import (
    NotStarted,
    copy_configuration,
    filled,
    is_installed,
    running_process,
    until_it_takes_connections,
)
from lab.staging import pki

ACCOUNT, TRANSFER = "/private/account", "/private/transfer"
FOLDER = "triple-handshake"
"""Where the bank's configuration is, in the gallery."""
SECONDS = 20.0
LOG_SECONDS = 2.0
"""How long Apache may take to write a line."""
BRIEF_SECONDS = 0.3
"""The same, where the client got no answer: there may be no line."""
MAX_LINE = 200
SERVED = 200
_LINE = re.compile(r"(?P<subject>.*)\|(?P<status>[0-9]{3})\|(?P<path>/\S*)")
_RELEASE = re.compile(r"curl [0-9.]+|(?:Apache|\w+SSL|GnuTLS|mbedTLS)/[0-9.]+\w*")
_ERROR = re.compile(r"\[ssl:error\].*?(AH[0-9]+: .*)|SSL Library Error: (.*)")


@dataclass(frozen=True)
class Served:
    """A line of the bank's log: the client's name, empty for nobody, the HTTP status, and the path with its query."""

    subject: str
    status: int
    path: str


@dataclass(frozen=True)
class TripleTried:
    """One pair of peers with what was found; `missing` says why it was not tried.

    `control` is what the bank wrote when alice came herself, `stranger` when a client without a certificate asked for
    what mallory wants, and `request` when mallory did, None if it served no such request. `reports` are mallory's.
    `alice_got` is the last line of what alice's client got from the shop, and `alice_said` its error. `log` is what
    else the bank wrote about TLS that went wrong.
    """

    peers: Peers
    missing: str = ""
    versions: str = ""
    control: Served | None = None
    stranger: Served | None = None
    request: Served | None = None
    reports: tuple[ConnectionReport, ...] = ()
    alice_got: str = ""
    alice_said: str = ""
    log: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """What the bank did with mallory's request. Inconclusive unless alice gets in and a stranger does not, and
        also where mallory got no further though neither side sent an alert."""
        control, stranger = self.control, self.stranger
        if not control or control.status != SERVED or CUSTOMER not in control.subject:
            return INCONCLUSIVE
        if stranger and stranger.status == SERVED:
            return INCONCLUSIVE
        asked = self.request
        if asked and asked.status == SERVED and asked.subject == control.subject:
            return ACCEPTED
        return REFUSED if self.last and self.last.alert else INCONCLUSIVE

    @property
    def as_written(self) -> bool:
        """Whether it is what the catalogue expects."""
        return not self.missing and self.outcome is self.peers.expected

    @property
    def event(self) -> ProofRenegotiated:
        """What a run may note of it."""
        last, request = self.last, self.request
        return ProofRenegotiated(
            peers=self.peers.id,
            programs=self.versions,
            control=self.control.subject if self.control else "",
            request=request.path if request else "",
            subject=request.subject if request else "",
            status=request.status if request else None,
            proof=last.proof if last else "",
            outcome=self.outcome,
            ended=last.ended if last else "",
        )

    @property
    def last(self) -> ConnectionReport | None:
        """Mallory's report on the connection on which she got furthest."""
        return max(self.reports, key=lambda one: (one.resumed, one.passed_on), default=None)


async def try_peers(peers: Peers) -> TripleTried:
    """Starts the bank and mallory, has alice visit mallory's shop, and ends all of it."""
    apache = find_server("apache2")
    assert apache
    for program, is_there in (("curl", bool(shutil.which("curl"))), ("apache2", is_installed(apache))):
        if not is_there:
            return TripleTried(peers, missing=f"not installed (Debian: {program})")
    with tempfile.TemporaryDirectory(prefix="certreplay-triple-") as name:
        try:
            async with asyncio.timeout(SECONDS):
                return await _try(peers, Path(name), apache.places["MODULES"])
        except NotStarted as error:
            return TripleTried(peers, missing=str(error))
        except TimeoutError:
            return TripleTried(peers, missing=f"not done within {SECONDS:.0f} s")


async def _try(peers: Peers, folder: Path, modules: str) -> TripleTried:
    authority = pki.new_authority()
    bank, shop = pki.new_server(authority, "rsa"), pki.new_shop(authority, "rsa")
    (folder / "ca.pem").write_bytes(authority.certificate_pem())
    (folder / "server.pem").write_bytes(bank.bundle_pem())
    (folder / "alice.pem").write_bytes(pki.new_client(authority).bundle_pem())
    (folder / "openssl.cnf").write_text(_settings(peers.alice_extends))
    with contextlib.ExitStack() as stack:
        (port,) = held_ports(stack, 1)
    extension = () if peers.bank_extends else (f"SSLOpenSSLConfCmd {WITHOUT_EXTENSION.replace(' =', '')}",)
    places = {
        "FOLDER": str(folder),
        "PORT": str(port),
        "CA": str(folder / "ca.pem"),
        "SERVER": str(folder / "server.pem"),
        "MODULES": modules,
        "DIRECTIVES": "\n".join((*peers.directives, *extension)),
    }
    copy_configuration(_configuration(), folder, places)
    alice = _Alice(peers, folder)
    command = filled("exec apache2 -X -d @FOLDER@ -f @FOLDER@/apache2.conf", places)
    output = folder / "output"
    async with running_process(command, folder, output) as process:
        await until_it_takes_connections(port, process, output)
        await alice.visit(SERVER_NAME, port, ACCOUNT)
        answer = await alice.ask_without_certificate(port, TRANSFER)
        control = await _served(folder, ACCOUNT)
        stranger = await _served(folder, TRANSFER, BRIEF_SECONDS if answer.error else LOG_SECONDS)
        before = len(_errors(folder))
        async with _mallory(port, shop) as (shop_port, reports):
            words = await alice.visit(SHOP_NAME, shop_port, "/", "/")
        asked = next((one.request for one in reports if one.request), "")
        request = await _served(folder, asked) if asked else None
        log = tuple(dict.fromkeys(_errors(folder)[before:]))
    return TripleTried(
        peers,
        versions=await _versions(),
        control=control,
        stranger=stranger,
        request=request,
        reports=tuple(reports),
        alice_got=words.output,
        alice_said=words.error,
        log=log,
    )


def _configuration() -> Traversable:
    return files("victim_server") / "gallery" / FOLDER


def _settings(extends: bool) -> str:
    """A configuration of OpenSSL for alice, its own defaults except for the extension."""
    option = "" if extends else f"{WITHOUT_EXTENSION}\n"
    return f"openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = defaults\n[defaults]\n{option}"


class _Alice:
    """Alice's client, an unmodified one. She verifies every server and its name."""

    def __init__(self, peers: Peers, folder: Path) -> None:
        self._checks_again = peers.checks_again
        self._authorities = str(folder / "ca.pem")
        self._bundle = str(folder / "alice.pem")
        self._environment = {**os.environ, "OPENSSL_CONF": str(folder / "openssl.cnf")}

    async def visit(self, name: str, port: int, *paths: str) -> "_LastWords":
        """Gets each path on a connection of its own; curl and Python's ssl resume the session."""
        if self._checks_again:
            plain = (sys.executable, "-m", "victim_client.plain", self._authorities, self._bundle, str(port), name)
            return await self._run(*plain, *paths)
        return await self._curl(name, port, *paths, options=("--cert", self._bundle))

    async def ask_without_certificate(self, port: int, path: str) -> "_LastWords":
        """As a stranger would."""
        return await self._curl(SERVER_NAME, port, path)

    async def _curl(self, name: str, port: int, *paths: str, options: tuple[str, ...] = ()) -> "_LastWords":
        urls = (f"https://{name}:{port}{path}" for path in paths)
        there = ("--resolve", f"{name}:{port}:{HOST}", "--noproxy", "*", "--header", "Connection: close")
        quiet = ("--disable", "--silent", "--show-error")
        return await self._run("curl", *quiet, *there, "--cacert", self._authorities, *options, *urls)

    async def _run(self, *command: str) -> "_LastWords":
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        try:
            output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        return _LastWords(_last_line(output), _last_line(errors))


@dataclass(frozen=True)
class _LastWords:
    """The last line that a client wrote, and its last error; empty for none."""

    output: str
    error: str


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:MAX_LINE] if lines else ""


@contextlib.asynccontextmanager
async def _mallory(port: int, shop: pki.Identity) -> AsyncIterator[tuple[int, list[ConnectionReport]]]:
    """Mallory's process with her own server's bundle: her port, and her reports, which are complete at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "attacker.triple"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=1 << 20,
    )
    assert process.stdin
    assert process.stdout
    reports: list[ConnectionReport] = []
    try:
        order = {"address": [HOST, port], "host": SERVER_NAME, "bundle": shop.bundle_pem().decode()}
        process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await process.stdout.readline()
        if not line:
            raise NotStarted("mallory's server did not start")
        yield int(line), reports
        process.stdin.close()
        while line := await process.stdout.readline():
            reports.append(ConnectionReport.from_json(line.decode()))
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _served(folder: Path, path: str, seconds: float = LOG_SECONDS) -> Served | None:
    """What the bank's log says of the request for this path; None if nothing."""
    log = folder / "access.log"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
                for found in filter(None, map(_LINE.fullmatch, lines)):
                    if found["path"] == path:
                        subject = "" if found["subject"] == "-" else found["subject"]
                        return Served(subject, int(found["status"]), path)
                await asyncio.sleep(0.02)
    return None


def _errors(folder: Path) -> list[str]:
    """What the bank wrote about TLS that went wrong, without its time and its process."""
    log = folder / "server.log"
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return [found[1] or found[2] for found in map(_ERROR.search, lines) if found]


async def _versions() -> str:
    """The releases of alice's and the bank's programs, as they say them."""
    said = []
    for program, option in (("curl", "--version"), ("apache2", "-v")):
        process = await asyncio.create_subprocess_exec(program, option, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        said += _RELEASE.findall(output.decode("utf-8", "replace").partition("\n")[0])
    return ", ".join(said)
