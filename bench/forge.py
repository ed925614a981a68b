"""Makes the capture file: real OpenSSL handshakes, each client with a certificate of its own, and bulk data between."""

import os
import random
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from lab.address import Address
from lab.capture.synthetic import SyntheticConnection
from lab.capture.writer import CaptureFile
from lab.catalogue import cast
from lab.staging import pki

BULK_BYTES = 98_000
"""What the server sends behind each handshake."""
AT_ONCE = 20
SERVER = Address("10.9.0.4", 8443)

_PIECE = 1 << 14
_HOSTILE_SEGMENTS = 8000
_NOON_NS, _PACKET_NS = 1_767_268_800 * 10**9, 20_000
_CLIENTS_A_HOST = 1000
_SEED = 8446


def forge_hostile(path: Path, connections: int) -> None:
    """Writes a pcap file of connections in which every second byte is missing, about 470 kB each."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101))
        for number in range(connections):
            source = struct.pack("!I", (10 << 24) + number)
            for at in range(_HOSTILE_SEGMENTS):
                payload = bytes((0x16, number % 250, at % 250)) if at else b""
                head = struct.pack("!BxHHHBBH", 0x45, 40 + len(payload), 0, 0, 64, 6, 0) + source + b"\xc0\0\2\1"
                flags, sequence = (0x18, 1 + 4 * at) if at else (2, 0)
                head += struct.pack("!HHIIBBHHH", 40_000, 443, sequence, 0, 0x50, flags, 1000, 0, 0)
                length = len(head) + len(payload)
                file.write(struct.pack("<IIII", 1_767_268_800, 0, length, length) + head + payload)


def forge(path: Path, handshakes: int) -> set[str]:
    """Writes a pcapng file with `handshakes` mutual handshakes in TLS 1.2; the SHA-256 of every client's certificate.

    About 100 kB a handshake. Several connections are open at any time, and take turns at random.
    """
    authority = pki.new_authority()
    server = _context(ssl.PROTOCOL_TLS_SERVER, pki.new_server(authority))
    server.load_verify_locations(cadata=authority.certificate_pem().decode())
    server.verify_mode = ssl.CERT_REQUIRED
    file = CaptureFile(path, limit_bytes=1 << 40)
    times = count(_NOON_NS, _PACKET_NS)
    issued: set[str] = set()

    def emit(packet: bytes) -> None:
        file.write(next(times), packet)

    def connections() -> Iterator[Iterator[None]]:
        for number in range(handshakes):
            identity = pki.new_client(authority, f"client {number}")
            issued.add(identity.sha256)
            host, port = divmod(number, _CLIENTS_A_HOST)
            client = Address(f"10.9.1.{host + 1}", 20_000 + port)
            conversation = SyntheticConnection(client, SERVER, emit)
            yield _connection(conversation, server, _context(ssl.PROTOCOL_TLS_CLIENT, identity))

    try:
        _take_turns(connections())
    finally:
        file.close()
    return issued


def _take_turns(connections: Iterator[Iterator[None]]) -> None:
    turns = random.Random(_SEED)
    going = list(islice(connections, AT_ONCE))
    while going:
        chosen = turns.randrange(len(going))
        if next(going[chosen], going) is going:  # this one is over
            going[chosen : chosen + 1] = [one for one in [next(connections, None)] if one]


def _context(side: int, identity: pki.Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    if side == ssl.PROTOCOL_TLS_CLIENT:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with tempfile.NamedTemporaryFile() as bundle:
        bundle.write(identity.bundle_pem())
        bundle.flush()
        context.load_cert_chain(bundle.name)
    return context


class _End:
    """One end of a TLS connection without a network."""

    def __init__(self, context: ssl.SSLContext, **how: Any) -> None:
        self.incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self._outgoing, **how)

    def sent_by(self, step: Callable[[], object]) -> bytes:
        """What a step has this end send."""
        try:
            step()
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()


def _connection(conversation: SyntheticConnection, server: ssl.SSLContext, client: ssl.SSLContext) -> Iterator[None]:
    """One connection from SYN to FIN, a flight or a piece of the bulk data at a time."""
    alice, bank = _End(client, server_hostname=cast.SERVER_NAME), _End(server, server_side=True)
    conversation.open()
    for sender, receiver in ((alice, bank), (bank, alice)) * 2:
        flight = sender.sent_by(sender.tls.do_handshake)
        receiver.incoming.write(flight)
        conversation.data(sender is alice, flight)
        yield
    for at in range(0, BULK_BYTES, _PIECE):
        piece = os.urandom(min(_PIECE, BULK_BYTES - at))
        conversation.data(False, bank.sent_by(lambda piece=piece: bank.tls.write(piece)))  # type: ignore[misc]
        yield
    conversation.end(from_client=True)
    conversation.end(from_client=False)
