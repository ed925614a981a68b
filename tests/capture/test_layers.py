"""Whatever carries a login on its way, it is read, as tshark reads it too."""

import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

import wirecraft
from lab.capture import fragments as fragments_module
from lab.capture.contents import Content, EapFrame, Segment, Unread
from lab.capture.fragments import Fragments
from lab.capture.layers import ENCRYPTED_WIFI, FRAGMENT, LINK_TYPES, MAX_LAYERS, NO_TLS, TOO_DEEP, TOO_SHORT, peel
from lab.capture.packets import contents, segment
from lab.capture.reader import Reading, read_file
from lab.staging import pki
from programs import output_of
from wirecraft import ETHERNET, RAW_IP, Link

MACS = bytes.fromhex("020000000004020000000002")
SNAP = b"\xaa\xaa\x03\0\0\0"
OUTER = IP(src="192.0.2.1", dst="192.0.2.2")


def kind_of(packet: bytes) -> bytes:
    return b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"


def ether(packet: bytes) -> bytes:
    return MACS + kind_of(packet) + packet


def in_udp(port: int, payload: bytes) -> bytes:
    return bytes(OUTER / UDP(sport=40_000, dport=port) / payload)


def in_gre(head: bytes, payload: bytes) -> bytes:
    return bytes(IP(src="192.0.2.1", dst="192.0.2.2", proto=47) / (head + payload))


def radiotap(frame: bytes, flags: int = 0) -> bytes:
    return struct.pack("<BxHIB", 0, 9, 2, flags) + frame


def wifi(packet: bytes, *, to_ap: bool = True, qos: bool = True, protected: bool = False) -> bytes:
    control = bytes([0x88 if qos else 0x08, (1 if to_ap else 2) | (0x40 if protected else 0)])
    addresses = MACS[6:] + MACS[:6] + MACS[6:]
    return control + b"\0\0" + addresses + b"\x10\0" + b"\0\0" * qos + SNAP + kind_of(packet) + packet


def aggregated(packet: bytes) -> bytes:
    body = SNAP + kind_of(packet) + packet
    part = MACS + len(body).to_bytes(2, "big") + body
    head = b"\x88\x01\0\0" + MACS[6:] + MACS[:6] + MACS[6:] + b"\x10\0" + b"\x80\0"
    return head + part + bytes(-len(part) % 4) + part


def nflog(packet: bytes) -> bytes:
    def attribute(kind: int, value: bytes) -> bytes:
        return struct.pack("<HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)

    family = 2 if packet[0] >> 4 == 4 else 10
    return bytes([family, 0, 0, 0]) + attribute(1, b"\x08\0\1\0") + attribute(10, b"in\0") + attribute(9, packet)


def pbb(packet: bytes) -> bytes:
    return MACS + b"\x88\xe7" + b"\0\0\0\7" + ether(packet)


def ppp_kind(packet: bytes) -> bytes:
    return b"\0\x21" if packet[0] >> 4 == 4 else b"\0\x57"


def pppoe(packet: bytes) -> bytes:
    body = ppp_kind(packet) + packet
    return MACS + b"\x88\x64\x11\0\0\7" + len(body).to_bytes(2, "big") + body


def gtp(packet: bytes, flags: int = 0x30, optional: bytes = b"") -> bytes:
    return in_udp(
        2152, bytes([flags, 255]) + (len(optional) + len(packet)).to_bytes(2, "big") + b"\0\0\0\7" + optional + packet
    )


def vxlan(packet: bytes) -> bytes:
    return in_udp(4789, b"\x08\0\0\0\0\0\7\0" + ether(packet))


def pptp(frame: bytes) -> bytes:
    return in_gre(b"\x30\1\x88\x0b" + len(frame).to_bytes(2, "big") + b"\0\7\0\0\0\1", frame)


def number_of(packet: bytes) -> int:
    return 4 if packet[0] >> 4 == 4 else 41


def e(data: bytes) -> bytes:
    """The outer IP packet on Ethernet."""
    return ether(data)


CARRIERS: tuple[Link, ...] = (
    Link("Cisco's tag", 1, lambda p: MACS + b"\x89\x09\x01\x01\x00\x01\x00\x05" + kind_of(p) + p),
    Link("Cisco's tag in a VLAN", 1, lambda p: MACS + b"\x81\0\0\7\x89\x09\x01\x01\x00\x01\x00\x05" + kind_of(p) + p),
    Link("MPLS", 1, lambda p: MACS + b"\x88\x47" + b"\0\1\0\x40" + b"\0\2\1\x40" + p),
    Link("Ethernet over MPLS", 1, lambda p: MACS + b"\x88\x47" + b"\0\2\1\x40" + b"\0\0\0\0" + ether(p)),
    Link("PPPoE", 1, pppoe),
    Link("IEEE 802.1ah", 1, pbb),
    Link("LLC and SNAP", 1, lambda p: MACS + (len(p) + 8).to_bytes(2, "big") + SNAP + kind_of(p) + p),
    Link("VXLAN", 1, lambda p: e(vxlan(p))),
    Link("VXLAN on another port", 1, lambda p: e(in_udp(14789, vxlan(p)[28:]))),
    Link("TZSP with Ethernet", 1, lambda p: e(in_udp(37008, b"\1\0\0\1\0\x0d\2ab\1" + ether(p)))),
    Link("TZSP with Wi-Fi", 1, lambda p: e(in_udp(37008, b"\1\0\0\x12\1" + wifi(p)))),
    Link("GENEVE", 1, lambda p: e(in_udp(6081, b"\0\0\x65\x58\0\0\7\0" + ether(p)))),
    Link("GENEVE with options", 1, lambda p: e(in_udp(6081, b"\x02\0\x65\x58\0\0\7\0" + b"\1\2\0\1abcd" + ether(p)))),
    Link("GRE", 1, lambda p: e(in_gre(b"\0\0" + kind_of(p), p))),
    Link("GRE with a key", 1, lambda p: e(in_gre(b"\x20\0" + kind_of(p) + b"\0\0\0\7", p))),
    Link("Ethernet over GRE", 1, lambda p: e(in_gre(b"\0\0\x65\x58", ether(p)))),
    Link("PPTP", 1, lambda p: e(pptp(b"\xff\3" + ppp_kind(p) + p))),
    Link("ERSPAN II", 1, lambda p: e(in_gre(b"\x10\0\x88\xbe\0\0\0\1", b"\x10\7\0\7\0\0\0\0" + ether(p)))),
    Link("ERSPAN I", 1, lambda p: e(in_gre(b"\0\0\x88\xbe", ether(p)))),
    Link("GTP-U", 1, lambda p: e(gtp(p))),
    Link("GTP-U with an extension", 1, lambda p: e(gtp(p, 0x34, b"\0\0\0\x85\1\0\7\0"))),
    Link("IP in IP", 1, lambda p: e(bytes(IP(src="192.0.2.1", dst="192.0.2.2", proto=number_of(p)) / p))),
    Link("IP in IPv6", 1, lambda p: e(bytes(IPv6(src="fd00::1", dst="fd00::9", nh=number_of(p)) / p))),
    Link("VXLAN in GRE in a VLAN", 1, lambda p: MACS + b"\x81\0\0\7\x08\0" + in_gre(b"\0\0\x08\0", vxlan(p))),
    Link("PPP", 9, lambda p: b"\xff\3" + ppp_kind(p) + p),
    Link("PPP, compressed header", 9, lambda p: ppp_kind(p)[1:] + p),
    Link("PPP in HDLC framing", 50, lambda p: b"\xff\3" + ppp_kind(p) + p),
    Link("PPP with direction", 204, lambda p: b"\1\xff\3" + ppp_kind(p) + p),
    Link("Cisco HDLC", 104, lambda p: b"\x0f\0" + kind_of(p) + p),
    Link("frame relay", 107, lambda p: b"\x18\x41\3" + (b"\xcc" if p[0] >> 4 == 4 else b"\x8e") + p),
    Link("NFLOG", 239, nflog),
    Link("Wi-Fi", 105, wifi),
    Link("Wi-Fi from the access point", 105, lambda p: wifi(p, to_ap=False, qos=False)),
    Link("Wi-Fi with radiotap", 127, lambda p: radiotap(wifi(p))),
    Link("Wi-Fi with a padded header", 127, lambda p: radiotap(wifi(p)[:26] + b"\0\0" + wifi(p)[26:], 0x20)),
    Link("Wi-Fi, aggregated", 105, aggregated),
    Link("Wi-Fi with PPI", 192, lambda p: struct.pack("<BBHI", 0, 0, 8, 105) + wifi(p)),
    Link("ATM", 100, lambda p: SNAP + kind_of(p) + p),
)  # fmt: skip


TSHARK_OPTIONS = {
    "VXLAN on another port": ("-d", "udp.port==14789,vxlan"),
    "Ethernet over MPLS": ("-d", "mpls.label==32,pwethcw"),
}


@pytest.fixture(scope="module")
def flights(authority: pki.Identity) -> tuple[list[wirecraft.Flight], bytes]:
    who = wirecraft.parties(authority)
    return wirecraft.handshake(who)[0], who.certificate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wire.pcap"


def login(flights: Sequence[wirecraft.Flight], family: str = "IPv4") -> list[Segment]:
    ends = ("10.9.0.2", "10.9.0.4") if family == "IPv4" else ("fd00::2", "fd00::4")
    return wirecraft.alice_to_bank(flights, client=(ends[0], 50123), server=(ends[1], 8443))


def certificates(reading: Reading) -> list[bytes]:
    assert reading.problem is None
    assert all(one.certificate_verify for one in reading.captures)
    return [one.chain[0] for one in reading.captures]


def told(reading: Reading) -> dict[str, int]:
    """What was not read, by kind."""
    return {one.kind: one.count for one in reading.tally.not_read()}


def seen_by_tshark(path: Path, *options: str) -> str:
    fields = ("-Y", "tls.handshake.type == 15", "-T", "fields", "-e", "tls.handshake.certificate")
    return output_of("tshark", "-r", path, "-n", *options, *fields).replace(":", "")


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("carrier", CARRIERS, ids=lambda carrier: carrier.name)
def test_a_login_is_read_out_of_what_carries_it(
    flights: tuple[list[wirecraft.Flight], bytes], path: Path, carrier: Link, family: str
) -> None:
    sent, certificate = flights
    reading = read_file(wirecraft.write(path, login(sent, family), carrier))
    assert certificates(reading) == [certificate]
    assert told(reading) == {}
    if family == "IPv4":
        assert certificate.hex() in seen_by_tshark(path, *TSHARK_OPTIONS.get(carrier.name, ()))


FORMATS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip, two members": lambda data: gzip.compress(data[:999]) + gzip.compress(data[999:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "xz, two streams": lambda data: lzma.compress(data[:999]) + bytes(4) + lzma.compress(data[999:]),
    "zstd": zstandard.compress,
    "zstd, two frames": lambda data: zstandard.compress(data[:999]) + zstandard.compress(data[999:]),
    "lz4": lz4.frame.compress,
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_compressed_file_gives_the_same(flights: tuple[list[wirecraft.Flight], bytes], path: Path, form: str) -> None:
    sent, certificate = flights
    path.write_bytes(FORMATS[form](wirecraft.write(path, login(sent)).read_bytes()))
    assert certificates(read_file(path)) == [certificate]


@pytest.mark.parametrize("form", FORMATS)
def test_a_compressed_file_that_is_damaged_says_so(
    flights: tuple[list[wirecraft.Flight], bytes], path: Path, form: str
) -> None:
    whole = FORMATS[form](wirecraft.write(path, login(flights[0])).read_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    assert "decompress" in str(read_file(path).problem) or "breaks off" in str(read_file(path).problem)


@pytest.mark.parametrize("form", ["zstd", "xz"])
def test_a_file_that_asks_for_too_much_memory_is_refused(path: Path, form: str) -> None:
    if form == "xz":
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
        path.write_bytes(lzma.compress(wirecraft.pcap([]), filters=filters))
    else:
        parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        path.write_bytes(compressor.compress(wirecraft.pcap([bytes(100)] * 9)) + compressor.flush())
    assert "cannot be decompressed" in str(read_file(path).problem)


def snoop(packets: Sequence[bytes]) -> bytes:
    file = b"snoop\0\0\0" + struct.pack(">II", 2, 4)
    for packet in packets:
        padding = bytes(-len(packet) % 4)
        record = 24 + len(packet) + len(padding)
        file += struct.pack(">IIIIII", len(packet), len(packet), record, 0, 1_767_268_800, 5) + packet + padding
    return file


def modified(packets: Sequence[bytes]) -> bytes:
    file = struct.pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 1 << 16, 1)
    for packet in packets:
        file += struct.pack("<IIIIIHBx", 1_767_268_800, 5, len(packet), len(packet), 2, 8, 0) + packet
    return file


@pytest.mark.parametrize("form", [snoop, modified])
def test_other_formats_of_files_are_read_as_tshark_reads_them(
    flights: tuple[list[wirecraft.Flight], bytes], path: Path, form: Callable[[Sequence[bytes]], bytes]
) -> None:
    sent, certificate = flights
    path.write_bytes(form([ETHERNET.wrap(wirecraft.packet(one)) for one in login(sent)]))
    reading = read_file(path)
    assert certificates(reading) == [certificate]
    assert reading.captures[0].time_ns == 1_767_268_800 * 10**9 + 5000
    assert certificate.hex() in seen_by_tshark(path)
    path.write_bytes(path.read_bytes()[:-7])
    assert "breaks off" in str(read_file(path).problem)


def fragmented(packet: bytes, size: int = 400) -> list[bytes]:
    """An IP packet in fragments, the first of them last."""
    version = IP if packet[0] >> 4 == 4 else IPv6
    whole = version(packet)
    if version is IP:
        whole.id = zlib.crc32(packet) & 0xFFFF
        header, data = packet[:20], packet[20:]
        parts = []
        for at in range(0, len(data), size):
            one = IP(header)
            one.id, one.flags, one.frag = whole.id, "MF" if at + size < len(data) else 0, at // 8
            one.len = one.chksum = None
            parts.append(bytes(one / data[at : at + size]))
        return parts[::-1]
    header, data, number = packet[:40], packet[40:], zlib.crc32(packet)
    parts = []
    for at in range(0, len(data), size):
        piece = struct.pack("!BBHI", header[6], 0, at | (at + size < len(data)), number) + data[at : at + size]
        parts.append(header[:4] + len(piece).to_bytes(2, "big") + b"\x2c" + header[7:] + piece)
    return parts[::-1]


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_fragments_in_any_order_and_twice_are_put_together(
    flights: tuple[list[wirecraft.Flight], bytes], path: Path, family: str
) -> None:
    sent, certificate = flights
    packets = [piece for one in login(sent, family) for piece in fragmented(wirecraft.packet(one)) * 2]
    path.write_bytes(wirecraft.pcap(packets, RAW_IP.number))
    reading = read_file(path)
    assert certificates(reading) == [certificate]
    assert told(reading) == {}
    assert certificate.hex() in seen_by_tshark(path)


def test_a_fragment_that_is_missing_is_told(flights: tuple[list[wirecraft.Flight], bytes], path: Path) -> None:
    big = [one for segment in login(flights[0]) if len(one := wirecraft.packet(segment)) > 900]
    others = [piece for one in big for piece in fragmented(one)[1:]]
    path.write_bytes(wirecraft.pcap(others, RAW_IP.number))
    reading = read_file(path)
    assert told(reading)[FRAGMENT] == len(others)
    assert f"{len(others)} packets are IP fragments whose other parts are missing" in reading.reason


def test_where_fragments_overlap_the_bytes_that_came_first_count() -> None:
    waiting = Fragments()
    assert waiting.add("key", 0, True, b"abcdefgh") is None
    assert waiting.add("key", 4, True, b"XXXXijkl") is None
    assert waiting.add("key", 12, False, b"end") == b"abcdefghijklend"


def test_fragments_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments_module, "MAX_OCTETS", 10_000)
    waiting = Fragments()
    for number in range(1_000):
        waiting.add(number, 8, True, bytes(100))
        assert waiting._octets <= 10_000
    assert waiting.unfinished == 1_000


def test_layers_may_be_nested_only_so_deep(flights: tuple[list[wirecraft.Flight], bytes]) -> None:
    inner = wirecraft.packet(login(flights[0])[2])
    for _ in range(MAX_LAYERS + 1):
        inner = bytes(IP(src="192.0.2.1", dst="192.0.2.2", proto=4) / inner)
    assert peel(RAW_IP.number, inner, None) == [Unread(TOO_DEEP)]


def test_encrypted_wifi_is_told(flights: tuple[list[wirecraft.Flight], bytes], path: Path) -> None:
    sent, certificate = flights
    packets = [wirecraft.packet(one) for one in login(sent)]
    path.write_bytes(wirecraft.pcap([wifi(packets[3], protected=True), *map(wifi, packets)], 105))
    reading = read_file(path)
    assert certificates(reading) == [certificate]
    assert told(reading) == {ENCRYPTED_WIFI: 1}


@pytest.mark.parametrize(
    ("link", "data", "kind"),
    [
        (1, MACS + b"\x88\xe5" + bytes(40), "EtherType 0x88e5"),
        (1, MACS + b"\x08\x06" + bytes(28), NO_TLS),
        (101, bytes(IP(proto=50) / bytes(40)), "IP protocol 50"),
        (101, bytes(IP(proto=132) / bytes(40)), "IP protocol 132"),
        (101, bytes(IP(proto=1) / bytes(8)), NO_TLS),
        (101, bytes(IP(proto=47) / b"\0\0\x12\x34abc"), "GRE protocol 0x1234"),
        (9, b"\xff\3\0\x3dabc", "PPP protocol 0x003d"),
        (147, b"anything", "link type 147"),
        (101, b"\x45\0", TOO_SHORT),
    ],
)
def test_what_is_not_read_has_a_name(link: int, data: bytes, kind: str) -> None:
    assert peel(link, data, None) == [Unread(kind)]


@given(st.sampled_from(sorted(LINK_TYPES)), st.binary(max_size=120))
def test_arbitrary_bytes_never_raise_and_always_give_something(link: int, data: bytes) -> None:
    found: list[Content] = contents(link, data, Fragments())
    assert all(isinstance(one, tuple) for one in found)
    segment(link, data)


@given(st.sampled_from(CARRIERS), st.data())
def test_a_damaged_carrier_never_raises(
    flights: tuple[list[wirecraft.Flight], bytes], carrier: Link, data: st.DataObject
) -> None:
    packet = bytearray(carrier.wrap(wirecraft.packet(login(flights[0])[2])))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, min(len(packet), 120) - 1))] = data.draw(st.integers(0, 255))
    contents(carrier.number, bytes(packet[: data.draw(st.integers(0, len(packet)))]), Fragments())


def test_an_eap_packet_is_told_from_the_rest() -> None:
    packet = b"\x02\x07\0\x06\x0d\0"
    frame = MACS + b"\x88\x8e\x01\0\0\x06" + packet + bytes(40)
    (found,) = peel(1, frame, None)
    assert isinstance(found, EapFrame)
    assert (str(found.source), str(found.destination), found.packet) == (
        "02:00:00:00:00:02",
        "02:00:00:00:00:04",
        packet,
    )
