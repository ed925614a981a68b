"""What the attacker saw while the certificate's owner logged in through her relay."""

from dataclasses import replace
from pathlib import Path

from attacker.collected import Collected
from attacker.leak.wire import loot_of, seen_of, sighting_of
from attacker.moves.make import Loot
from lab.capture.handshake import Capture, Contact
from lab.capture.packets import segment
from lab.capture.reader import Tracker
from lab.capture.writer import ETHERNET
from lab.catalogue.leaks import WIRE
from lab.events.log import Reporter
from lab.tls.bundle import Bundle
from lab.tls.extensions import OfferedPsk
from lab.tls.versions import TLS12, TLS13


class Overheard:
    """Takes the relay's packets, and reports each certificate and each other handshake that is in them."""

    def __init__(self, reporter: Reporter, folder: Path) -> None:
        self._reporter = reporter
        self._collected = Collected(reporter, folder, WIRE.id, "a TCP relay on loopback")
        self._tracker = Tracker()
        self._loot: Loot | None = None
        self._recorded: dict[int, bytes] = {}
        self._ticket: OfferedPsk | None = None

    def see(self, time_ns: int, packet: bytes) -> None:
        """One packet, with the time it was seen in ns since 1970."""
        if seen := segment(ETHERNET, packet):
            self._take(self._tracker.feed(time_ns, seen))

    def close(self) -> None:
        """There are no more packets."""
        self._take(self._tracker.finish())

    def loot(self, chain: tuple[bytes, ...], own: Bundle | None) -> Loot:
        """What there is to make moves of. `chain` is the certificate where the wire did not show it: it is no secret.
        `own` is the attacker's own bundle."""
        loot = self._loot or Loot(chain, None)
        return replace(loot, recorded=self._recorded, ticket=self._ticket, own=own)

    def _take(self, found: list[Capture | Contact]) -> None:
        for one in found:
            if isinstance(one, Contact):
                self._meet(one)
            elif one.certificate_verify and not self._loot:
                self._collected.add(one.chain[0], replace(sighting_of(one), session=one.ticket or one.session_id))
                self._loot = replace(loot_of(one), seen_at=one.server)
                self._recorded[TLS12] = one.client_bytes

    def _meet(self, contact: Contact) -> None:
        if contact.version is None or contact.resumed:
            return
        if contact.version == TLS13:
            self._ticket = self._ticket or contact.offered
            self._recorded.setdefault(TLS13, contact.client_bytes)
        self._reporter.report(seen_of(contact))
