"""Forges captures: real OpenSSL handshakes, cut into TCP segments, wrapped in any link layer, written to any format."""

import ssl
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether

from lab.capture.packets import ACK, FIN, SYN, Endpoint, Segment
from lab.catalogue import cast, plan
from lab.staging import pki

NOON_NS = 1_767_268_800 * 10**9
RANGE = 1 << 32
MSS = 1448


class Flight(NamedTuple):
    """What one side sent in one go."""

    from_client: bool
    data: bytes


@dataclass(frozen=True)
class Parties:
    """The contexts of a bank and of alice, and alice's certificate."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    certificate: bytes


def parties(
    authority: pki.Identity,
    *,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    asks: bool = True,
    presents: bool = True,
    key_type: plan.KeyType = "p256",
    name: str = cast.CUSTOMER,
) -> Parties:
    """A bank that asks for a certificate, and an alice who has one."""
    alice = pki.new_client(authority, name, key_type)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        context.minimum_version = context.maximum_version = version
        if version < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_verify_locations(cadata=authority.certificate.public_bytes(Encoding.PEM).decode())
    _load(server, pki.new_server(authority, key_type).bundle_pem())
    if presents:
        _load(client, alice.bundle_pem())
    if asks:
        server.verify_mode = ssl.CERT_OPTIONAL
    return Parties(server, client, alice.der)


def _load(context: ssl.SSLContext, bundle: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(bundle)
        file.flush()
        context.load_cert_chain(file.name)


class _End:
    """One end of a TLS connection without a network."""

    def __init__(self, context: ssl.SSLContext, **how: Any) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **how)


def handshake(
    who: Parties, *, data: bytes = b"GET /account HTTP/1.1\r\n\r\n", session: ssl.SSLSession | None = None
) -> tuple[list[Flight], ssl.SSLSession | None]:
    """A handshake between two OpenSSLs, some data each way and close_notify; the bytes, and the session to resume."""
    server = _End(who.server, server_side=True)
    client = _End(who.client, server_hostname=cast.SERVER_NAME, session=session)
    flights: list[Flight] = []

    def turn(end: _End, step: Callable[[], object]) -> None:
        try:
            step()
        except ssl.SSLWantReadError:
            pass
        sent = end.outgoing.read()
        if sent:
            flights.append(Flight(end is client, sent))
            (server if end is client else client).incoming.write(sent)

    for _ in range(2):
        turn(client, client.tls.do_handshake)
        turn(server, server.tls.do_handshake)
    turn(client, client.tls.do_handshake)
    turn(client, lambda: client.tls.write(data))
    turn(server, lambda: server.tls.write(server.tls.read(1 << 16)))
    turn(client, lambda: client.tls.read(1 << 16))
    ticket = client.tls.session
    turn(client, client.tls.unwrap)
    turn(server, server.tls.unwrap)
    return flights, ticket


def alice_to_bank(
    flights: Iterable[Flight],
    *,
    client: tuple[str, int] = ("10.9.0.2", 50123),
    server: tuple[str, int] = ("10.9.0.4", 8443),
    size: int = MSS,
    starts: tuple[int, int] = (1_000, 70_000),
    opening: bool = True,
    closing: bool = True,
) -> list[Segment]:
    """The segments of a connection: SYNs, data in pieces of at most `size`, FINs. Acknowledgements carry nothing here.

    `starts` are the sequence numbers of the client's and the server's SYN.
    """
    ends = {True: endpoint(*client), False: endpoint(*server)}
    following = {True: (starts[0] + 1) % RANGE, False: (starts[1] + 1) % RANGE}

    def one(from_client: bool, sequence: int, flags: int, payload: bytes = b"") -> Segment:
        return Segment(ends[from_client], ends[not from_client], sequence % RANGE, flags, payload)

    segments = [one(True, starts[0], SYN), one(False, starts[1], SYN | ACK)] if opening else []
    for from_client, data in flights:
        for at in range(0, len(data), size):
            payload = data[at : at + size]
            segments.append(one(from_client, following[from_client], ACK, payload))
            following[from_client] += len(payload)
    if closing:
        segments += [one(side, following[side], FIN | ACK) for side in (True, False)]
    return segments


def endpoint(host: str, port: int) -> Endpoint:
    return Endpoint(ip_address(host).packed, port)


def packet(segment: Segment) -> bytes:
    """A segment in IPv4 or IPv6, from the IP header on."""
    source, destination = (str(ip_address(end.host)) for end in (segment.source, segment.destination))
    network = IP if len(segment.source.host) == 4 else IPv6
    tcp = TCP(sport=segment.source.port, dport=segment.destination.port, seq=segment.sequence, flags=segment.flags)
    return bytes(network(src=source, dst=destination) / tcp / segment.payload)


class Link(NamedTuple):
    """A way to put an IP packet on a link: the link type's number, and what stands around the packet."""

    name: str
    number: int
    wrap: Callable[[bytes], bytes]


def _kind(ip_packet: bytes) -> int:
    return 0x0800 if ip_packet[0] >> 4 == 4 else 0x86DD


def _ether(kind: int) -> Any:
    return Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:04", type=kind)


def _tagged(ip_packet: bytes) -> bytes:
    return bytes(_ether(0x8100) / Dot1Q(vlan=7, type=_kind(ip_packet)) / ip_packet)


def _twice_tagged(ip_packet: bytes) -> bytes:
    return bytes(_ether(0x88A8) / Dot1AD(vlan=3, type=0x8100) / Dot1Q(vlan=7, type=_kind(ip_packet)) / ip_packet)


def _cooked_and_tagged(ip_packet: bytes) -> bytes:
    return bytes(CookedLinux(proto=0x8100) / Dot1Q(vlan=7, type=_kind(ip_packet)) / ip_packet)


def _cooked_v2_and_tagged(ip_packet: bytes) -> bytes:
    return bytes(CookedLinuxV2(proto=0x8100) / Dot1Q(vlan=7, type=_kind(ip_packet)) / ip_packet)


def _padded(ip_packet: bytes) -> bytes:
    return bytes(_ether(_kind(ip_packet)) / ip_packet) + b"\xa5" * 18


ETHERNET = Link("Ethernet", 1, lambda ip_packet: bytes(_ether(_kind(ip_packet)) / ip_packet))
RAW_IP = Link("raw IP", 101, bytes)
LINKS = (
    ETHERNET,
    Link("Ethernet with padding", 1, _padded),
    Link("one VLAN tag", 1, _tagged),
    Link("two VLAN tags", 1, _twice_tagged),
    Link("Linux cooked", 113, lambda ip_packet: bytes(CookedLinux(proto=_kind(ip_packet)) / ip_packet)),
    Link("Linux cooked with a VLAN tag", 113, _cooked_and_tagged),
    Link("Linux cooked v2", 276, lambda ip_packet: bytes(CookedLinuxV2(proto=_kind(ip_packet)) / ip_packet)),
    Link("Linux cooked v2 with a VLAN tag", 276, _cooked_v2_and_tagged),
    RAW_IP,
    Link("BSD loopback", 0, lambda ip_packet: struct.pack("<I", 2 if ip_packet[0] >> 4 == 4 else 30) + ip_packet),
)


def pcap(
    packets: Iterable[bytes], link: int = 1, *, order: str = "<", nanoseconds: bool = False, keep: int = 1 << 18
) -> bytes:
    """A pcap file, a packet a millisecond from noon on; it keeps the first `keep` bytes of each."""
    fraction = 1 if nanoseconds else 1000
    file = struct.pack(f"{order}IHHiIII", 0xA1B23C4D if nanoseconds else 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, link)
    for data, time_ns in zip(packets, _times(), strict=False):
        seconds, rest = divmod(time_ns, 10**9)
        kept = data[:keep]
        file += struct.pack(f"{order}IIII", seconds, rest // fraction, len(kept), len(data)) + kept
    return file


def pcapng(packets: Iterable[bytes], link: int = 1, *, order: str = "<", resolution: int = 9) -> bytes:
    """A pcapng file with one section and one interface, its clock in units of 10**-resolution seconds."""
    clock = struct.pack(f"{order}HHB3xHH", 9, 1, resolution, 0, 0)
    file = section(order) + block(1, struct.pack(f"{order}HHI", link, 0, 0) + clock, order)
    for data, time_ns in zip(packets, _times(), strict=False):
        ticks = time_ns // 10 ** (9 - resolution)
        head = struct.pack(f"{order}IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
        file += block(6, head + data, order)
    return file


def section(order: str = "<") -> bytes:
    """A pcapng section header."""
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block, its body padded."""
    body += bytes(-len(body) % 4)
    length = struct.pack(f"{order}I", 12 + len(body))
    return struct.pack(f"{order}I", kind) + length + body + length


def _times() -> Iterator[int]:
    return count(NOON_NS, 10**6)


def write(path: Path, segments: Sequence[Segment], link: Link = ETHERNET) -> Path:
    """A pcap file with these segments."""
    path.write_bytes(pcap((link.wrap(packet(segment)) for segment in segments), link.number))
    return path
