"""The leak `wire`: a position between client and server, and everything that is seen from there."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from attacker.attempts import Plan
from attacker.position.tcp_relay import Forward, TcpRelay
from attacker.position.watchdog import Watchdog
from attacker.raid import Raid
from lab.address import host_port
from lab.capture.handshake import Capture, Contact
from lab.capture.packets import segment
from lab.capture.reader import Tracker
from lab.capture.writer import ETHERNET, CaptureFile
from lab.events.log import EventLog, Reporter
from lab.events.types import PositionLeft, PositionTaken, Trouble

CAPTURE_FILE = "capture.pcapng"


class Eyes:
    """Everything that the attacker sees: written to the capture file first, then read like any other capture."""

    def __init__(self, file: CaptureFile, raid: Raid, reporter: Reporter) -> None:
        self._file = file
        self._raid = raid
        self._reporter = reporter
        self._tracker = Tracker()
        self._writing = True

    def see(self, time_ns: int, packet: bytes) -> None:
        """One packet, with the time it was seen in ns since 1970."""
        if self._writing:
            self._writing = self._write(time_ns, packet)
        seen = segment(ETHERNET, packet)
        if seen:
            self._tell(self._tracker.feed(time_ns, seen))

    def close(self) -> None:
        """Nothing more will be seen."""
        self._tell(self._tracker.finish())

    def _tell(self, found: Iterable[Capture | Contact]) -> None:
        for one in found:
            if isinstance(one, Capture):
                self._raid.take(one)
            else:
                self._raid.meet(one)

    def _write(self, time_ns: int, packet: bytes) -> bool:
        """Whether there is room for more."""
        try:
            if self._file.write(time_ns, packet):
                return True
            reason = "is full"
        except OSError as error:
            reason = str(error.strerror)
        self._reporter.report(Trouble(f"{CAPTURE_FILE}: {reason}; from here on nothing is written to it"))
        return False


async def relay(forwards: list[Forward], plan: Plan, log: EventLog, folder: Path, stop: asyncio.Event) -> None:
    """The position on loopback."""
    relayed: dict[str, tuple[str, int]] = {}
    raid = Raid(log, folder, "a TCP relay on loopback", relayed.__getitem__, plan)
    file = CaptureFile(folder / CAPTURE_FILE)
    eyes = Eyes(file, raid, log)
    position = TcpRelay(eyes.see)
    try:
        await position.start(forwards)
        relayed |= {host_port(forward.listen): forward.target for forward in position.forwards}
        log.report(PositionTaken("relay", position.describe()))
        await stop.wait()
    finally:
        eyes.close()
        await raid.close()
        await position.close()
        file.close()
    log.report(PositionLeft("relay", ()))


async def arp(
    watchdog: Watchdog, client: str, server: str, plan: Plan, log: EventLog, folder: Path, stop: asyncio.Event
) -> None:
    """The position on the lab's network."""
    from attacker.position.arp import ArpPosition  # these two need scapy, and the relay need not wait for it
    from attacker.position.sniffer import Sniffer

    position = ArpPosition(watchdog, client, server)
    raid = Raid(log, folder, f"{position.interface}, after ARP spoofing", as_seen, plan)
    file = CaptureFile(folder / CAPTURE_FILE)
    link = Sniffer(position.interface, position.bpf_filter())
    eyes = Eyes(file, raid, log)
    link.watch(eyes.see)
    try:
        async with position:
            log.report(PositionTaken("arp", position.describe()))
            await position.hold(stop)
    finally:
        link.close()
        if link.lost:
            lost = f"{link.lost} of {link.packets} packets were lost: they came faster than they were read"
            log.report(Trouble(lost))
        eyes.close()
        await raid.close()
        file.close()
    log.report(PositionLeft("arp", position.healed))


def as_seen(server: str) -> tuple[str, int]:
    """On the network the attacker reaches a server under the very address that the victim does."""
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)
