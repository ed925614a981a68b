"""What is said of a capture is so: nothing is passed over in silence, and a lost packet hides nothing else."""

import json
import ssl
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

import wirecraft
from lab.capture.contents import Segment
from lab.capture.handshake import MISSING, OLD_HELLO, OLD_PROOF, Upshot
from lab.capture.layers import NO_TLS
from lab.capture.reader import Reading, read_file
from lab.capture.tally import BEGAN_EARLIER, CUT, SSL2
from lab.staging import pki
from lab.tls.records import RecordReader, write_record
from programs import certreplay, tshark
from wirecraft import ETHERNET, Flight, alice_to_bank

MACSEC = bytes(12) + b"\x88\xe5" + bytes(40)


def login(authority: pki.Identity, **how: bool | ssl.TLSVersion) -> tuple[list[Flight], bytes]:
    who = wirecraft.parties(authority, **how)  # type: ignore[arg-type]
    return wirecraft.handshake(who)[0], who.certificate


@pytest.fixture(scope="module")
def alice(authority: pki.Identity) -> tuple[list[Flight], bytes]:
    return login(authority)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wire.pcap"


def reading(path: Path, segments: Sequence[Segment]) -> Reading:
    return read_file(wirecraft.write(path, segments))


def not_read(of: Reading) -> dict[str, int]:
    return {one.kind: one.count for one in of.tally.not_read()}


def frames(segments: Sequence[Segment]) -> list[bytes]:
    return [ETHERNET.wrap(wirecraft.packet(one)) for one in segments]


def test_everything_that_is_not_read_is_told_beside_a_login_that_is(
    alice: tuple[list[Flight], bytes], authority: pki.Identity, path: Path
) -> None:
    modern, _ = login(authority, version=ssl.TLSVersion.TLSv1_3)
    later = alice_to_bank(alice[0][4:], client=("10.9.0.7", 7), opening=False)
    packets = frames([*alice_to_bank(alice[0]), *alice_to_bank(modern, client=("10.9.0.3", 5)), *later])
    path.write_bytes(wirecraft.pcap([*packets, MACSEC, MACSEC]))
    of = read_file(path)
    assert not_read(of) == {"TLS 1.3": 1, "EtherType 0x88e5": 2, BEGAN_EARLIER: 1}
    told = certreplay("capture", path)
    assert (told.returncode, told.stderr) == (0, "")
    words = " ".join(told.stdout.split())
    for one in of.tally.not_read():
        assert one.says in words
    assert "2 packets carry MACsec, which is not read" in words
    as_json = json.loads(certreplay("capture", path, "--json").stdout)
    (file,) = as_json["files"]
    assert len(as_json["certificates"]) == file["certificates"] == 1
    assert {one["kind"]: one["count"] for one in file["not_read"]} == not_read(of)
    assert (file["reason"], file["problem"], file["packets"]) == ("", "", len(packets) + 2)


def test_of_a_file_that_was_read_whole_nothing_else_is_told(alice: tuple[list[Flight], bytes], path: Path) -> None:
    assert not_read(reading(path, alice_to_bank(alice[0]))) == {}
    assert "not read" not in certreplay("capture", path).stdout


def test_one_packet_cut_short_does_not_stand_in_for_the_reason(authority: pki.Identity, path: Path) -> None:
    quiet, _ = login(authority, asks=False)
    packets = frames(alice_to_bank(quiet))
    cut = frames(alice_to_bank([Flight(True, bytes(900))], client=("10.9.0.9", 9)))[2]
    file = wirecraft.pcap(packets) + struct.pack("<IIII", 0, 0, 90, len(cut)) + cut[:90]
    path.write_bytes(file)
    of = read_file(path)
    assert "the server did not ask its client for one" in of.reason
    assert "cut short" not in of.reason
    assert not_read(of) == {CUT: 1}


def test_a_capture_without_a_client_certificate_is_an_answer(authority: pki.Identity, path: Path) -> None:
    reading(path, alice_to_bank(login(authority, asks=False)[0]))
    for options in ((), ("--profile",), ("--json",), ("--profile", "--json")):
        told = certreplay("capture", path, *options)
        assert (told.returncode, told.stderr) == (0, "")
        assert "the server did not ask its client for one" in " ".join(told.stdout.split())


def test_a_damaged_file_is_told_beside_what_was_found(alice: tuple[list[Flight], bytes], path: Path) -> None:
    whole = wirecraft.write(path, alice_to_bank(alice[0])).read_bytes()
    (path.parent / "damaged.pcap").write_bytes(whole[:-5])
    told = certreplay("capture", path, path.parent / "damaged.pcap")
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert "damaged.pcap: breaks off" in told.stderr
    assert told.stdout.count("seen in") == 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_proof_of_the_old_form_is_a_proof(authority: pki.Identity, path: Path, version: ssl.TLSVersion) -> None:
    flights, _ = login(authority, version=version)
    (found,) = reading(path, alice_to_bank(flights)).captures
    assert (found.proof_seen, found.certificate_verify, found.note) == (True, None, OLD_PROOF)
    told = certreplay("capture", path).stdout
    assert "with a proof" in told
    assert json.loads(certreplay("capture", path, "--json").stdout)["certificates"][0]["proof"] is True


def ends_with(flights: Sequence[Flight], *more: Flight) -> list[Flight]:
    """The handshake alone, and what follows."""
    return [*flights[:4], *more]


def test_a_second_encrypted_handshake_is_told(authority: pki.Identity, path: Path) -> None:
    """As IIS asks for a certificate: when the client has said what it wants."""
    flights, _ = login(authority, asks=False)
    request = flights[4]
    hidden = write_record(22, bytes(100))
    of = reading(path, alice_to_bank(ends_with(flights, request, Flight(False, hidden), Flight(True, hidden * 3))))
    assert of.tally.upshots == {Upshot.RENEGOTIATED: 1}
    assert "a second, encrypted handshake, in which the server may have asked" in of.reason
    plain = reading(path, alice_to_bank(flights))
    assert plain.tally.upshots == {Upshot.NOT_ASKED: 1}


def test_a_draft_of_tls13_is_tls13(authority: pki.Identity, path: Path) -> None:
    flights, _ = login(authority, version=ssl.TLSVersion.TLSv1_3)
    draft = [Flight(one.from_client, one.data.replace(b"\0\x2b\0\2\3\4", b"\0\x2b\0\2\x7f\x1c", 1)) for one in flights]
    assert draft != flights
    of = reading(path, alice_to_bank(draft))
    assert of.tally.upshots == {Upshot.TLS13: 1}
    assert of.contacts[0].version == 0x7F1C


def old_hello(flights: Sequence[Flight]) -> list[Flight]:
    """The client's hello in the form of SSL 2.0, with the same random."""
    random = flights[0].data[11:43]
    body = b"\x01\x03\x03" + struct.pack("!HHH", 3, 0, 32) + b"\0\0\x2f" + random
    return [Flight(True, struct.pack("!H", 0x8000 | len(body)) + body), *flights[1:]]


@pytest.mark.parametrize("size", [7, 1448])
def test_a_hello_in_the_form_of_ssl2_is_a_hello(alice: tuple[list[Flight], bytes], path: Path, size: int) -> None:
    flights, certificate = alice
    (found,) = reading(path, alice_to_bank(old_hello(flights), size=size)).captures
    assert (found.chain[0], found.note) == (certificate, OLD_HELLO)
    assert found.client_random == flights[0].data[11:43]
    assert found.proof_seen


def test_ssl2_itself_is_told(path: Path) -> None:
    body = b"\x01\x00\x02" + struct.pack("!HHH", 3, 0, 16) + b"\1\0\x80" + bytes(16)
    hello = struct.pack("!H", 0x8000 | len(body)) + body
    of = reading(path, alice_to_bank([Flight(True, hello), Flight(False, b"\x80\x0b\x04" + bytes(10))]))
    assert not_read(of) == {SSL2: 1}


PREFACES = {
    "PROXY, version 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n",
    "PROXY, version 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
    "CONNECT": b"CONNECT bank.example:443 HTTP/1.1\r\nHost: bank.example\r\n\r\n",
}


@pytest.mark.parametrize("preface", PREFACES)
def test_a_header_before_the_hello_in_the_same_segment_is_no_late_beginning(
    alice: tuple[list[Flight], bytes], path: Path, preface: str
) -> None:
    flights, certificate = alice
    first = Flight(True, PREFACES[preface] + flights[0].data)
    (found,) = reading(path, alice_to_bank([first, *flights[1:]])).captures
    assert (found.chain[0], found.note, found.server_name) == (certificate, "", "bank.example")


def test_ssl3_is_called_by_its_name(alice: tuple[list[Flight], bytes], path: Path) -> None:
    flights, _ = alice
    hello = flights[1].data.replace(b"\x03\x03", b"\x03\x00", 2)
    reading(path, alice_to_bank([flights[0], Flight(False, hello), *flights[2:]]))
    told = certreplay("capture", path).stdout
    assert "SSL 3.0" in told
    assert "0x0300" not in told
    assert "TLS SSL" not in told


@pytest.mark.parametrize("size", [100, 500, 1448])
def test_without_any_one_segment_the_certificate_is_found_or_its_hole_is_told(
    alice: tuple[list[Flight], bytes], path: Path, size: int
) -> None:
    """tshark finds a Certificate that is whole; so do we, and where it is not whole, we say so."""
    flights, certificate = alice
    segments = alice_to_bank(flights, size=size)
    first = next(at for at, one in enumerate(segments) if _overlaps(one, flights, certificate))
    for lost in range(2, len(segments) - 2):
        of = reading(path, segments[:lost] + segments[lost + 1 :])
        gone = segments[lost]
        in_certificate = gone.source.port == 50123 and _overlaps(gone, flights, certificate)
        if of.captures:
            assert of.captures[0].chain[0] == certificate
            assert not in_certificate
        else:
            assert in_certificate, f"lost {lost}: {of.reason}"
            assert of.tally.upshots.keys() <= {Upshot.HOLE_IN_CERTIFICATE, Upshot.GAP}
            if lost == first + 1:
                assert of.tally.upshots == {Upshot.HOLE_IN_CERTIFICATE: 1}


def _overlaps(segment: Segment, flights: Sequence[Flight], certificate: bytes) -> bool:
    """Whether a client's segment has a part of its Certificate record."""
    if segment.source.port != 50123 or not segment.payload:
        return False
    stream = b"".join(one.data for one in flights if one.from_client)
    record = stream.index(certificate) - 15
    end = record + 5 + int.from_bytes(stream[record + 3 : record + 5], "big")
    start = segment.sequence - 1_001
    return start < end and start + len(segment.payload) > record


def test_a_lost_hello_is_told_and_no_late_beginning(alice: tuple[list[Flight], bytes], path: Path) -> None:
    flights, certificate = alice
    segments = alice_to_bank(flights)
    (found,) = reading(path, segments[:2] + segments[3:]).captures
    assert (found.chain[0], found.note, found.client_random) == (certificate, MISSING, None)
    assert found.proof_seen
    assert "the name asked was not seen" in " ".join(certreplay("capture", path).stdout.split())
    (seen,) = tshark(path, "-Y", "tls.handshake.type == 15", "-T", "fields", "-e", "tls.handshake.certificate")
    assert certificate.hex() in seen


def test_a_message_that_is_whole_in_a_record_that_is_not_is_read(alice: tuple[list[Flight], bytes], path: Path) -> None:
    """Windows puts Certificate, ClientKeyExchange and CertificateVerify into one record."""
    flights, certificate = alice
    records = list(RecordReader().feed(flights[2].data))
    together = write_record(22, b"".join(one.fragment for one in records if one.type == 22))
    cut = together[:-20]
    of = reading(path, alice_to_bank([*flights[:2], Flight(True, cut)]))
    assert of.captures[0].chain[0] == certificate


def test_a_connection_that_ended_is_no_reason_to_capture_for_longer(
    alice: tuple[list[Flight], bytes], path: Path
) -> None:
    of = reading(path, alice_to_bank(alice[0][:2]))
    assert "1 connection ended before the client could send one" in of.reason
    assert "for longer" not in of.reason


def test_a_client_whose_side_is_missing_is_told(alice: tuple[list[Flight], bytes], path: Path) -> None:
    of = reading(path, [one for one in alice_to_bank(alice[0]) if one.source.port != 50123])
    assert not_read(of) == {"client unseen": 1}
    assert "capture both directions" in of.reason


def test_what_carries_no_tls_is_no_secret(path: Path) -> None:
    talk = [Flight(True, b"GET / HTTP/1.1\r\n\r\n"), Flight(False, b"HTTP/1.1 204 No Content\r\n\r\n")]
    of = reading(path, alice_to_bank(talk))
    assert not_read(of) == {}
    assert of.tally.unread == {NO_TLS: 1}


def test_a_profile_of_one_moment_has_no_between(alice: tuple[list[Flight], bytes], path: Path) -> None:
    both = [*alice_to_bank(alice[0]), *alice_to_bank(alice[0], client=("10.9.0.2", 5), starts=(5, 6))]
    path.write_bytes(wirecraft.pcap(frames(both)))
    told = " ".join(certreplay("capture", "--profile", path).stdout.split())
    assert "seen 2 times, at 2026-01-01 12:00:00 UTC" in told
    assert "between" not in told
