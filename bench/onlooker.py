"""The attacker's wiretap, with a list of everything that it saw.

`python -m bench.onlooker FOLDER relay PORT...` on loopback, or `... FOLDER interface NAME FILTER PORT...` on a network.
It is the attacker's own code as far as the captures; what she would do with them is left out. Prints the ports that the
client is to go to, and when its standard input ends or has a line, what it saw.
"""

import asyncio
import json
import sys
from pathlib import Path

from attacker.attempts import Orders
from attacker.campaign import Campaign
from attacker.leak.wire import Wiretap
from attacker.position.sniffer import Sniffer
from attacker.position.tcp_relay import Forward, TcpRelay
from lab.address import Address
from lab.capture.handshake import Capture, Contact
from lab.capture.writer import CaptureFile, RecentPackets
from lab.catalogue.leaks import WIRE
from lab.events.log import EventLog
from lab.events.parts import CAPTURE_FILE, RECENT_FILES

HOST = "127.0.0.1"


class CountingWiretap(Wiretap):
    """Counts the captures."""

    captures: list[Capture]

    def take(self, capture: Capture) -> None:
        self.captures.append(capture)
        super().take(capture)

    def meet(self, contact: Contact) -> None:
        pass  # what was missed of it shows in the numbers


async def main(folder: Path, position: str, *where: str) -> None:
    """Watches until it is told to stop."""
    folder.mkdir()
    log = EventLog(folder, "attacker")
    campaign = Campaign(log, folder, WIRE, Orders(moves=()), source="a bench")
    file = CaptureFile(folder / CAPTURE_FILE, limit_bytes=1 << 40)
    wiretap = CountingWiretap(
        file, RecentPackets([folder / name for name in RECENT_FILES]), campaign, log, lambda server: Address(HOST, 1)
    )
    wiretap.captures = []
    packets = dropped = 0
    if position == "relay":

        def sink(time_ns: int, packet: bytes) -> None:
            nonlocal packets
            packets += 1
            wiretap.see(time_ns, packet)

        relay = TcpRelay(sink)
        await relay.start(Forward(Address(HOST, 0), Address(HOST, int(port))) for port in where)
        print(*(forward.listen[1] for forward in relay.forwards), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await relay.close()
    else:
        name, bpf_filter, *ports = where
        sniffer = Sniffer(name, bpf_filter)
        sniffer.watch(wiretap.see)
        print(*ports, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        sniffer.close()
        packets, dropped = sniffer.packets, sniffer.lost
    wiretap.close()
    await campaign.close()
    with_proof = sum(capture.certificate_verify is not None for capture in wiretap.captures)
    seen = [f"{capture.client} to {capture.server}" for capture in wiretap.captures]
    print(json.dumps({"seen": seen, "with_proof": with_proof, "packets": packets, "dropped": dropped}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
