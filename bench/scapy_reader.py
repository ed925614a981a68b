"""`python -m bench.scapy_reader FILE SECONDS`: the client certificates that scapy finds in a capture in that time."""

import hashlib
import json
import os
import sys
import time
from typing import Any

from scapy.config import conf
from scapy.layers.inet import TCP
from scapy.layers.tls.all import TLS, TLSCertificate
from scapy.packet import bind_bottom_up
from scapy.sendrecv import sniff
from scapy.sessions import TCPSession

from bench.forge import SERVER


def main(file: str, limit_seconds: float) -> None:
    """Prints what was found, how far in the file that was, and how long it took, as JSON."""
    conf.tls_session_enable = True
    for port in ("sport", "dport"):
        bind_bottom_up(TCP, TLS, {port: SERVER[1]})
    found: list[str] = []
    began = time.perf_counter()

    def look(packet: Any) -> None:
        if packet.dport == SERVER[1] and TLSCertificate in packet and packet[TLSCertificate].certs:
            leaf = packet[TLSCertificate].certs[0][1]
            found.append(hashlib.sha256(leaf.der).hexdigest())

    octets = os.stat(file).st_size
    capture = open(file, "rb")  # noqa: SIM115  scapy closes it

    def is_time_up(_: Any) -> bool:
        nonlocal octets
        time_is_up = time.perf_counter() - began > limit_seconds
        if time_is_up:
            octets = capture.tell()
        return time_is_up

    sniff(offline=capture, session=TCPSession, prn=look, store=False, stop_filter=is_time_up)
    print(json.dumps({"found": found, "octets": octets, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
