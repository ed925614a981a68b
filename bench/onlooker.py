"""The attacker's eyes, with a list of all that they saw: `python -m bench.onlooker FOLDER relay PORT...` on loopback,
or `... FOLDER interface NAME FILTER PORT...` on a network.

It is the attacker's own code as far as the captures; what she would do with them is left out. Prints the ports that the
client is to go to, and when its standard input ends or has a line, what it saw.
"""

import asyncio
import json
import sys
from pathlib import Path

from attacker.attempts import Plan
from attacker.leak.wire import CAPTURE_FILE, Eyes
from attacker.position.sniffer import Sniffer
from attacker.position.tcp_relay import Forward, TcpRelay
from attacker.raid import Raid
from lab.capture.handshake import Capture, Contact
from lab.capture.writer import CaptureFile
from lab.events.log import EventLog

HOST = "127.0.0.1"


class Seen(Raid):
    """Takes captures as the raid does, makes nothing of them and counts them."""

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
    raid = Seen(log, folder, "a bench", lambda server: (HOST, 1), Plan(moves=()))
    raid.captures = []
    file = CaptureFile(folder / CAPTURE_FILE, limit_bytes=1 << 40)
    eyes = Eyes(file, raid, log)
    packets = dropped = 0
    if position == "relay":

        def sink(time_ns: int, packet: bytes) -> None:
            nonlocal packets
            packets += 1
            eyes.see(time_ns, packet)

        relay = TcpRelay(sink)
        await relay.start(Forward((HOST, 0), (HOST, int(port))) for port in where)
        print(*(forward.listen[1] for forward in relay.forwards), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await relay.close()
    else:
        name, bpf_filter, *ports = where
        link = Sniffer(name, bpf_filter)
        link.watch(eyes.see)
        print(*ports, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        link.close()
        packets, dropped = link.packets, link.lost
    eyes.close()
    await raid.close()
    with_proof = sum(capture.certificate_verify is not None for capture in raid.captures)
    seen = [f"{capture.client} to {capture.server}" for capture in raid.captures]
    print(json.dumps({"seen": seen, "with_proof": with_proof, "packets": packets, "dropped": dropped}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
