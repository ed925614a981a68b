"""Real peers with TLS in something else than TCP: FreeRADIUS, OpenSSL's DTLS and OpenVPN; tshark is the oracle."""

import contextlib
import itertools
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

import wirecraft
from lab.capture.contents import Segment, Unread
from lab.capture.fragments import Fragments
from lab.capture.handshake import Capture
from lab.capture.openvpn import CLIENT_RESET, SERVER_RESET, find_hmac
from lab.capture.packets import contents
from lab.capture.reader import read_file
from lab.capture.tally import DTLS_BEGAN_EARLIER, OPENVPN_ENCRYPTED, QUIC
from lab.capture.tracker import Tracker, is_quic
from lab.staging import pki
from programs import output_of, program, wait_until
from recording import SERVER, TcpRelay, UdpRelay, datagram, free_port, settle
from wirecraft import RAW_IP, Flight

STATION = "02:00:00:00:00:01"


@dataclass(frozen=True)
class Files:
    """Alice's and the server's certificates and keys, as files."""

    folder: Path
    ca: Path
    alice: Path
    server: Path
    certificate: bytes


@pytest.fixture(scope="module")
def files(authority: pki.Identity, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("peers")
    folder.chmod(0o755)
    alice = pki.new_client(authority, "alice", "p256")
    made = Files(folder, folder / "ca.pem", folder / "alice.pem", folder / "server.pem", alice.der)
    made.ca.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    made.alice.write_bytes(alice.bundle_pem())
    made.server.write_bytes(pki.new_server(authority, "p256").bundle_pem())
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wire.pcap"


@contextlib.contextmanager
def running(log: Path, *call: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A program, with its output in a file."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program(str(call[0])), *call[1:]], stdout=output, stderr=output, stdin=subprocess.PIPE
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def says(log: Path, words: str) -> bool:
    return words in log.read_text("utf-8", "replace")


def sole(path: Path) -> Capture:
    reading = read_file(path)
    assert reading.problem is None
    (found,) = reading.captures
    assert reading.tally.not_read() == ()
    return found


def assert_read(found: Capture, certificate: bytes) -> None:
    assert found.chain[0] == certificate
    assert (found.proof_seen, found.note) == (True, "")


def seen_by_tshark(path: Path, *options: str) -> str:
    fields = ("-Y", "tls.handshake.type == 15", "-T", "fields", "-e", "tls.handshake.certificate")
    return output_of("tshark", "-r", path, *options, *fields).replace(":", "")


RADIUSD = """
name = radiusd
run_dir = {folder}
libdir = /usr/lib/freeradius
pidfile = {folder}/pid
logdir = {folder}
client loopback {{
    ipaddr = 127.0.0.1
    secret = together
}}
modules {{
    eap {{
        default_eap_type = tls
        tls-config lab {{
            private_key_file = {server}
            certificate_file = {server}
            ca_file = {ca}
            tls_min_version = "1.2"
            tls_max_version = "1.2"
            fragment_size = 600
        }}
        tls {{
            tls = lab
        }}
    }}
}}
server default {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {port}
    }}
    authorize {{
        eap
    }}
    authenticate {{
        eap
    }}
}}
"""
NETWORK = """
network={{
    key_mgmt=IEEE8021X
    eap=TLS
    identity="alice@bank.example"
    ca_cert="{ca}"
    client_cert="{alice}"
    private_key="{alice}"
    phase1="tls_disable_tlsv1_3=1"
    fragment_size=300
}}
"""


@pytest.fixture(scope="module")
def radius(files: Files) -> list[Flight]:
    """A login to Wi-Fi, between the access point and its RADIUS server."""
    port = free_port()
    folder = files.folder / "radius"
    folder.mkdir(exist_ok=True)
    (folder / "radiusd.conf").write_text(RADIUSD.format(folder=folder, port=port, server=files.server, ca=files.ca))
    (folder / "dictionary").write_text("$INCLUDE /usr/share/freeradius/dictionary\n")
    network = folder / "network.conf"
    network.write_text(NETWORK.format(ca=files.ca, alice=files.alice))
    log = folder / "log"
    with running(log, "freeradius", "-f", "-l", "stdout", "-x", "-d", folder), UdpRelay(port) as relay:
        wait_until(lambda: says(log, "Ready to process requests"), lambda: log.read_text("utf-8", "replace"))
        output_of("eapol_test", "-c", network, "-a", "127.0.0.1", "-p", str(relay.port), "-s", "together", "-t", "20")
        return list(relay.seen)


def test_a_login_to_wifi_is_read_out_of_radius(radius: list[Flight], files: Files, path: Path) -> None:
    path.write_bytes(wirecraft.pcap([datagram(one) for one in radius], RAW_IP.number))
    found = sole(path)
    assert_read(found, files.certificate)
    assert (found.client, found.server) == (STATION, f"{SERVER[0]}:{SERVER[1]}")
    assert found.carrier == "EAP-TLS in RADIUS, by way of 10.9.0.2"
    assert files.certificate.hex() in seen_by_tshark(path, "-d", f"udp.port=={SERVER[1]},radius")


def eap_in(radius: list[Flight]) -> list[tuple[bool, bytes]]:
    """The EAP packets, each with whether the station sent it."""
    packets = []
    for from_client, data in radius:
        at, packet = 20, b""
        while at < len(data):
            if data[at] == 79:
                packet += data[at + 2 : at + data[at + 1]]
            at += data[at + 1]
        packets.append((from_client, packet))
    return packets


def on_air(radius: list[Flight], group: bool = False) -> list[bytes]:
    """The same login in frames of IEEE 802.1X, between station and access point."""
    station, access_point = bytes.fromhex("020000000001"), bytes.fromhex("0200000000aa")
    everyone = bytes.fromhex("0180c2000003")
    frames = []
    for from_station, packet in eap_in(radius):
        source, to = (station, access_point) if from_station else (access_point, station)
        frames.append(
            (everyone if group else to) + source + b"\x88\x8e\x02\0" + len(packet).to_bytes(2, "big") + packet
        )
    return frames


@pytest.mark.parametrize("group", [False, True], ids=["between two addresses", "to the group address"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_login_to_wifi_is_read_off_the_air(
    radius: list[Flight], files: Files, path: Path, group: bool, times: int
) -> None:
    path.write_bytes(wirecraft.pcap([frame for frame in on_air(radius, group) for _ in range(times)]))
    found = sole(path)
    assert_read(found, files.certificate)
    assert (found.client, found.server, found.carrier) == (STATION, "02:00:00:00:00:aa", "EAP-TLS in 802.1X")
    seen = output_of(
        "tshark", "-r", path, "-Y", "tls.handshake.type == 15", "-T", "fields", "-e", "tls.handshake.certificate"
    )
    assert files.certificate.hex() in seen.replace(":", "")


def test_radius_packets_that_are_sent_again_change_nothing(radius: list[Flight], files: Files, path: Path) -> None:
    path.write_bytes(wirecraft.pcap([datagram(one) for one in radius for _ in range(3)], RAW_IP.number))
    assert_read(sole(path), files.certificate)


def test_a_lost_eap_packet_is_told_and_hides_nothing_else(radius: list[Flight], files: Files, path: Path) -> None:
    """Without any one packet the certificate is found, or it is told that it has a hole."""
    for lost in range(3, len(radius) - 1):
        rest = [one for number, one in enumerate(on_air(radius)) if number != lost]
        path.write_bytes(wirecraft.pcap(rest))
        reading = read_file(path)
        if reading.captures:
            assert reading.captures[0].chain[0] == files.certificate
        else:
            assert "missing in the middle" in reading.reason or "has a hole" in reading.reason


def dtls(files: Files, *options: str) -> UdpRelay:
    """A login over DTLS 1.2 between OpenSSL's client and server."""
    port = free_port()
    server: tuple[str | Path, ...] = (
        "s_server",
        "-dtls1_2",
        "-accept",
        f"127.0.0.1:{port}",
        "-cert",
        files.server,
        "-CAfile",
        files.ca,
        "-Verify",
        "1",
        "-mtu",
        "400",
    )
    log, client_log = files.folder / "dtls.log", files.folder / "dtls-client.log"
    with running(log, "openssl", *server) as serving, UdpRelay(port) as relay:
        wait_until(lambda: says(log, "ACCEPT"), "the server")
        client: tuple[str | Path, ...] = (
            "s_client",
            "-dtls1_2",
            "-connect",
            f"127.0.0.1:{relay.port}",
            "-cert",
            files.alice,
            *options,
        )
        with running(client_log, "openssl", *client):
            wait_until(lambda: says(client_log, "Verify return code"), lambda: client_log.read_text())
            settle(relay)
        assert serving.poll() is None
    return relay


def test_a_login_over_dtls_is_read(files: Files, path: Path) -> None:
    relay = dtls(files)
    found = sole(relay.write(path))
    assert_read(found, files.certificate)
    assert (found.client, found.server, found.version) == ("10.9.0.2:50123", "10.9.0.4:4444", 0xFEFD)
    fields = ("-Y", "dtls.handshake.type == 15", "-T", "fields", "-e", "dtls.handshake.certificate")
    assert files.certificate.hex() in output_of("tshark", "-r", path, *fields).replace(":", "")
    flights = [list(of) for _, of in itertools.groupby(relay.seen, key=lambda one: one.from_client)]
    mixed = [datagram(one) for flight in flights for one in flight[::-1] * 2]
    path.write_bytes(wirecraft.pcap(mixed, RAW_IP.number))
    assert_read(sole(path), files.certificate)


def test_dtls_behind_the_headers_of_capwap_and_turn_is_read(files: Files, path: Path) -> None:
    seen = dtls(files).seen
    capwap = [b"\1\0\0\0" for _ in seen]
    turn = [b"\x40\0" + len(one.data).to_bytes(2, "big") for one in seen]
    for heads in (capwap, turn):
        wrapped = [Flight(one.from_client, head + one.data) for head, one in zip(heads, seen, strict=True)]
        path.write_bytes(wirecraft.pcap(map(datagram, wrapped), RAW_IP.number))
        assert_read(sole(path), files.certificate)


def test_dtls_without_its_start_is_told(path: Path) -> None:
    encrypted = b"\x17\xfe\xfd\0\1" + bytes(6) + b"\0\x20" + bytes(32)
    path.write_bytes(wirecraft.pcap([datagram(Flight(True, encrypted))] * 3, RAW_IP.number))
    reading = read_file(path)
    assert [one.kind for one in reading.tally.not_read()] == [DTLS_BEGAN_EARLIER]
    assert "1 DTLS connection began before the capture did" in reading.reason


VPN = ("--dev", "null", "--ifconfig-noexec", "--tls-version-max", "1.2", "--verb", "3", "--cipher", "AES-256-GCM")


def vpn(files: Files, tcp: bool, *options: str | Path) -> UdpRelay | TcpRelay:
    """A login with OpenVPN."""
    port = free_port(socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    log, client_log = files.folder / "vpn.log", files.folder / "vpn-client.log"

    def end(name: str, bundle: Path) -> tuple[str | Path, ...]:
        direction = {"server": "0", "client": "1"}[name]
        mine = tuple(direction if one == "DIRECTION" else one for one in options)
        proto = f"tcp-{name}" if tcp else "udp"
        return ("openvpn", *VPN, "--proto", proto, "--ca", files.ca, "--cert", bundle, "--key", bundle, *mine)

    server = (
        *end("server", files.server),
        "--tls-server",
        "--dh",
        "none",
        "--local",
        "127.0.0.1",
        "--lport",
        str(port),
    )
    relay: UdpRelay | TcpRelay = TcpRelay(port) if tcp else UdpRelay(port)
    with running(log, *server):
        wait_until(lambda: says(log, "link local (bound)") or says(log, "Listening for"), lambda: log.read_text())
        with relay:
            client = (*end("client", files.alice), "--tls-client", "--nobind", "--remote", "127.0.0.1", str(relay.port))
            with running(client_log, *client):
                wait_until(
                    lambda: says(log, "Peer Connection Initiated"), lambda: log.read_text() + client_log.read_text()
                )
                settle(relay)
    return relay


@pytest.fixture(scope="module")
def ta_key(files: Files) -> Path:
    key = files.folder / "ta.key"
    output_of("openvpn", "--genkey", "tls-auth", key)
    return key


@pytest.mark.parametrize("octet", range(10))
@pytest.mark.parametrize("hmac", [0, 16, 20, 28, 32, 48, 64])
def test_no_byte_of_an_hmac_is_taken_for_a_count_of_acknowledgements(hmac: int, octet: int) -> None:
    """With a byte of 2 at its place, an HMAC of SHA-256 looked like one of MD5, and two acknowledgements."""
    session, number = bytes((octet,)) * 8, bytes(4)
    auth = bytes((octet,)) * hmac + (bytes((0, 0, 0, 1)) + b"time" if hmac else b"")
    assert find_hmac(bytes((CLIENT_RESET << 3,)) + session + auth + b"\0" + number) == hmac
    assert find_hmac(bytes((SERVER_RESET << 3,)) + session + auth + b"\1" + number + session + number) == hmac


@pytest.mark.parametrize("auth", [None, "SHA1", "SHA256", "SHA512"])
@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
def test_a_login_with_openvpn_is_read(files: Files, ta_key: Path, path: Path, tcp: bool, auth: str | None) -> None:
    options = ("--auth", auth, "--tls-auth", ta_key, "DIRECTION") if auth else ()
    relay = vpn(files, tcp, *options)
    found = sole(relay.write(path))
    assert_read(found, files.certificate)
    assert found.carrier == f"OpenVPN over {'TCP' if tcp else 'UDP'}"
    if not auth:
        decode = ("-d", f"{'tcp' if tcp else 'udp'}.port=={SERVER[1]},openvpn")
        assert files.certificate.hex() in seen_by_tshark(path, *decode)


@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
def test_openvpn_that_encrypts_its_handshake_is_told(files: Files, ta_key: Path, path: Path, tcp: bool) -> None:
    reading = read_file(vpn(files, tcp, "--tls-crypt", ta_key).write(path))
    assert reading.captures == ()
    assert {one.kind: one.count for one in reading.tally.not_read()} == {OPENVPN_ENCRYPTED: 1}
    assert "tls-crypt" in reading.reason


def test_openvpn_packets_out_of_order_and_twice_give_the_same(files: Files, path: Path) -> None:
    relay = vpn(files, False)
    first, *rest = map(datagram, relay.seen)
    path.write_bytes(wirecraft.pcap([first, *[one for one in rest[::-1] for _ in range(2)]], RAW_IP.number))
    assert read_file(path).captures[0].chain[0] == files.certificate


PRELOGIN = bytes.fromhex("000006000601000c0001ff0e000000000000")
"""Two options of a PRELOGIN message: a version, and the word that everything has to be encrypted."""


def in_tds(kind: int, content: bytes, size: int = 600) -> bytes:
    """Packets of TDS, of which only the last ends the message."""
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(
        bytes((kind, piece is pieces[-1])) + (8 + len(piece)).to_bytes(2, "big") + b"\0\0\1\0" + piece
        for piece in pieces
    )


@pytest.mark.parametrize("answers", [0x04, 0x12], ids=["in responses", "in PRELOGIN messages"])
def test_a_login_inside_the_packets_of_tds_is_read(
    files: Files, authority: pki.Identity, path: Path, answers: int
) -> None:
    who = wirecraft.parties(authority)
    flights, _ = wirecraft.handshake(who)
    wrapped = [Flight(True, in_tds(0x12, PRELOGIN)), Flight(False, in_tds(0x04, PRELOGIN))]
    wrapped += [Flight(one.from_client, in_tds(0x12 if one.from_client else answers, one.data)) for one in flights]
    wrapped.append(Flight(True, b"\x17\3\3\0\x20" + bytes(32)))
    wirecraft.write(path, wirecraft.alice_to_bank(wrapped))
    found = sole(path)
    assert (found.chain[0], found.carrier) == (who.certificate, "TDS")
    assert found.certificate_verify


def test_what_only_begins_like_tds_is_not_lost(authority: pki.Identity, path: Path) -> None:
    who = wirecraft.parties(authority)
    flights, _ = wirecraft.handshake(who)
    wirecraft.write(path, wirecraft.alice_to_bank([Flight(True, in_tds(0x12, PRELOGIN)), *flights]))
    assert sole(path).chain[0] == who.certificate


def test_quic_is_told(path: Path) -> None:
    initial = b"\xc3\0\0\0\1\x08abcdefgh\0\0" + bytes(1200)
    path.write_bytes(wirecraft.pcap([datagram(Flight(True, initial))] * 3, RAW_IP.number))
    reading = read_file(path)
    assert {one.kind: one.count for one in reading.tally.not_read()} == {QUIC: 1}
    assert "1 QUIC connection, which encrypts the Certificate messages" in reading.reason


@pytest.mark.parametrize("payload", [b"", b"\xc0", b"\x80\0\1\2\3\4\5\6", b"GET / HTTP/1.1"])
def test_other_datagrams_are_no_quic(payload: bytes) -> None:
    assert not is_quic(payload)


@given(st.data())
def test_damaged_datagrams_never_raise(radius: list[Flight], data: st.DataObject) -> None:
    tracker, waiting = Tracker(), Fragments()
    for one in radius:
        content = bytearray(one.data)
        for _ in range(data.draw(st.integers(0, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        for seen in contents(RAW_IP.number, datagram(Flight(one.from_client, bytes(content))), waiting):
            if not isinstance(seen, Segment | Unread):
                tracker.take(7, seen)
    tracker.finish()


DATAGRAMS = st.binary(max_size=60) | st.sampled_from(
    [
        b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x0c\x0b\0\0\x01\0\0\0\0\0\0\0\1",
        b"\x38" + bytes(13),
        b"\x20" + bytes(8) + b"\0\0\0\0\1\x16\3\3\0\1\x0b",
    ]
)


@given(st.lists(st.tuples(st.booleans(), DATAGRAMS), max_size=12))
def test_arbitrary_datagrams_never_raise(sent: list[tuple[bool, bytes]]) -> None:
    tracker = Tracker()
    for from_client, payload in sent:
        for seen in contents(RAW_IP.number, datagram(Flight(from_client, payload)), Fragments()):
            if not isinstance(seen, Segment | Unread):
                tracker.take(7, seen)
    tracker.finish()
