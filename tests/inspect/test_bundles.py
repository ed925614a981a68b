"""`certreplay bundle`: what lies in a bundle, what of it crosses the wire, and what never does."""

import contextlib
import io
import json
import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

import wirecraft
from lab.address import Address
from lab.capture.key_forms import key_forms
from lab.capture.synthetic import SyntheticConnection
from lab.capture.writer import CaptureFile
from lab.catalogue import plan
from lab.inspect import bundles
from lab.staging import pki
from lab.tls.bundle import Bundle
from lab.tls.der import layout
from lab.views import terminal
from made_up import KEY, certificate_of
from programs import certreplay, output_of, tshark

DER = pki.new_client(pki.new_authority()).der


class Kept:
    """A real run that kept alice's bundle."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.capture = self.run / "attacker" / "capture.pcapng"
        self.p12 = self.run / "victim-client" / pki.CLIENT_P12
        self.password = self.run / "victim-client" / pki.CLIENT_P12_PASSWORD


@pytest.fixture
def kept(finished_run: Path) -> Kept:
    return Kept(finished_run)


def test_each_part_of_the_certificate_is_where_it_says(kept: Kept) -> None:
    told = certreplay("bundle", kept.p12, "--password-file", kept.password, "--capture", kept.run, "--json")
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout)
    octets = {part["name"]: bytes.fromhex(part["octets"]) for part in said["parts"]}
    content = kept.capture.read_bytes()
    assert {seen["name"] for seen in said["wire"]["seen"]} == octets.keys()
    for seen in said["wire"]["seen"]:
        places = [content[one["at"] : one["at"] + one["octets"]] for one in seen["places"]]
        assert b"".join(places) == octets[seen["name"]], seen
        assert (seen["offset"], seen["packet"]) == (seen["places"][0]["at"], seen["places"][0]["packet"])
        assert seen["times"] >= 1, seen
    assert said["wire"]["key_at"] == []
    assert len(said["wire"]["key_forms"]) >= 8


def test_the_parts_are_in_the_certificate(alice: pki.Identity) -> None:
    names = [part.name for part in bundles.certificate_parts(alice.der)]
    assert names[0] == "certificate"
    assert {"subject", "issuer", "serial number", "public key", "alternative names", "issuer's signature"} < set(names)
    for part in bundles.certificate_parts(alice.der):
        assert part.octets in alice.der
    assert part.says == "over the part that is signed (tbsCertificate)"


@pytest.mark.parametrize("key_type", plan.KEY_TYPES)
def test_a_private_key_is_told_in_words_only(key_type: plan.KeyType) -> None:
    key = pki.new_key(key_type)
    told = " ".join(bundles.key_parts(key))
    assert "bytes" in told
    for form in key_forms(key).values():
        assert form.hex() not in told


def test_on_a_terminal(kept: Kept) -> None:
    told = certreplay("bundle", kept.p12, "--password-file", kept.password, "--capture", kept.capture)
    assert told.returncode == 0, told.stderr
    assert "Never on the wire: the private key\n" in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 140  # the capture's path is as long as it is


def test_xxd_shows_what_is_said_to_be_there(kept: Kept) -> None:
    told = certreplay("bundle", kept.p12).stdout
    match = re.search(r"`xxd -s (\d+) -l (\d+)`", told)
    assert match
    shown = output_of("xxd", "-s", match[1], "-l", match[2], "-p", kept.capture)
    certificate = x509.load_pem_x509_certificate((kept.run / "attacker" / "stolen" / "alice.pem").read_bytes())
    assert bytes.fromhex(shown.replace("\n", "")) == certificate.subject.public_bytes()


def test_tshark_sees_the_certificate_in_the_packet_that_is_named(kept: Kept) -> None:
    packet = json.loads(certreplay("bundle", kept.p12, "--json").stdout)["wire"]["seen"][0]["packet"]
    fields = ("-T", "fields", "-e", "tls.handshake.certificate")
    (seen,) = tshark(kept.capture, "-Y", f"frame.number == {packet}", *fields)
    certificate = x509.load_pem_x509_certificate((kept.run / "attacker" / "stolen" / "alice.pem").read_bytes())
    assert certificate.public_bytes(Encoding.DER).hex() in seen


def test_a_bundle_in_a_run_is_looked_for_in_that_run(kept: Kept) -> None:
    explicit = certreplay("bundle", kept.p12, "--password-file", kept.password, "--capture", kept.run, "--json")
    told = json.loads(certreplay("bundle", kept.p12, "--json").stdout)
    assert {**told["wire"], "capture": ""} == {**json.loads(explicit.stdout)["wire"], "capture": ""}


def test_what_is_kept_is_for_its_owner_alone(kept: Kept) -> None:
    assert {path.stat().st_mode & 0o777 for path in (kept.p12, kept.password)} == {0o600}


def test_without_a_capture_only_the_bundle_is_told(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "alice.p12").write_bytes(kept.p12.read_bytes())
    told = certreplay("bundle", tmp_path / "alice.p12", "--password-file", kept.password)
    assert told.returncode == 0
    assert "private key" in told.stdout
    assert "wire" not in told.stdout


def test_a_bundle_that_has_expired_is_listed(tmp_path: Path) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    alice = pki.new_client(pki.new_authority(now=long_ago), now=long_ago)
    (tmp_path / "alice.pem").write_bytes(alice.bundle_pem())
    told = certreplay("bundle", tmp_path / "alice.pem")
    assert (told.returncode, told.stderr) == (0, "")
    assert " to 2020-01-31 00:00:00 UTC" in told.stdout


@pytest.fixture(scope="module")
def alice(authority: pki.Identity) -> pki.Identity:
    return pki.new_client(authority)


@pytest.fixture
def pem(alice: pki.Identity, tmp_path: Path) -> Path:
    """Her bundle."""
    path = tmp_path / "alice.pem"
    path.write_bytes(alice.bundle_pem())
    return path


def captured(folder: Path, *said: bytes) -> Path:
    """A capture of one connection, in which a client says this."""
    path = folder / "x.pcapng"
    file = CaptureFile(path)

    def write(packet: bytes) -> None:
        file.write(0, packet)

    tcp = SyntheticConnection(Address("127.0.0.1", 1000), Address("127.0.0.1", 2000), write)
    tcp.open()
    for data in said:
        tcp.data(True, data)
    tcp.end(True)
    tcp.end(False)
    file.close()
    return path


def test_a_key_on_the_wire_is_a_finding(alice: pki.Identity, pem: Path, tmp_path: Path) -> None:
    capture = captured(tmp_path, alice.der, alice.bundle_pem())
    told = certreplay("bundle", pem, "--capture", capture)
    assert told.returncode == 1
    assert "FINDING: the private key is on the wire" in told.stdout
    assert "Never" not in told.stdout


def test_a_certificate_that_is_not_there_is_no_evidence(pem: Path, tmp_path: Path) -> None:
    told = certreplay("bundle", pem, "--capture", captured(tmp_path, b"nothing"))
    assert told.returncode == 1
    assert "This certificate is not in the capture, so a search for its key proves nothing." in told.stdout
    assert "The capture holds no TLS handshake" in " ".join(told.stdout.split())
    assert "Never" not in told.stdout


def assert_found(capture: Path, what: bundles.Crossed, times: int) -> None:
    """Every part is where it is said to be."""
    content = capture.read_bytes()
    for seen in what.seen:
        assert b"".join(content[one.at : one.at + one.octets] for one in seen.places) == seen.part.octets, seen
        assert seen.times == times


@pytest.mark.parametrize("cut", [1, 20, 40, 200, 300])
def test_parts_that_packets_cut_are_found_in_pieces(alice: pki.Identity, tmp_path: Path, cut: int) -> None:
    capture = captured(tmp_path, alice.der[:cut], alice.der[cut:])
    what = bundles.crossed(capture, Bundle((alice.der,), alice.key))
    assert_found(capture, what, 1)
    assert [(one.packet, one.octets) for one in what.seen[0].places] == [(4, cut), (6, len(alice.der) - cut)]
    assert any("and on" in line for line in rendered(Bundle((alice.der,), alice.key), what))


def rendered(bundle: Bundle, what: bundles.Crossed) -> list[str]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        terminal.show(bundles.tell_bundle(bundle, what))
    return printed.getvalue().splitlines()


def test_the_first_time_counts_even_if_a_later_one_is_in_one_piece(alice: pki.Identity, tmp_path: Path) -> None:
    capture = captured(tmp_path, alice.der[:200], alice.der[200:], alice.der)
    what = bundles.crossed(capture, Bundle((alice.der,), alice.key))
    assert_found(capture, what, 2)
    assert {one.packet for seen in what.seen for one in seen.places} == {4, 6}


def test_a_self_signed_certificate_has_its_subject_behind_its_issuer(tmp_path: Path) -> None:
    alice = pki.new_self_signed_client()
    capture = captured(tmp_path, alice.der)
    what = bundles.crossed(capture, Bundle((alice.der,), alice.key))
    assert_found(capture, what, 1)
    places = {seen.part.name: seen.places[0].at for seen in what.seen}
    assert places["issuer"] < places["validity"] < places["subject"]


def test_a_small_serial_number_is_where_the_certificate_has_it(tmp_path: Path) -> None:
    der = certificate_of("bob")
    capture = captured(tmp_path, bytes(range(256)), der, bytes(range(256)))
    what = bundles.crossed(capture, Bundle((der,), KEY))
    assert_found(capture, what, 1)
    serial = next(seen for seen in what.seen if seen.part.name == "serial number")
    assert serial.places[0].at == what.seen[0].places[0].at + der.index(b"\x02\x01\x01") + 2


def test_the_further_certificates_of_a_chain_are_looked_for_too(
    authority: pki.Identity, alice: pki.Identity, tmp_path: Path
) -> None:
    bundle = Bundle((alice.der, authority.der), alice.key)
    without, with_it = (bundles.crossed(captured(tmp_path, *said), bundle) for said in ((alice.der,), bundle.chain))
    assert [(one.seen[-1].part.name, one.seen[-1].times) for one in (without, with_it)] == [
        ("certificate 2", 0),
        ("certificate 2", 1),
    ]


def test_a_certificate_outside_of_any_connection_is_told_with_its_packet(alice: pki.Identity, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    packets = [bytes(Ether(type=0x0800) / IP() / UDP() / data) for data in (b"before", alice.der)]
    path.write_bytes(wirecraft.pcap(packets))
    what = bundles.crossed(path, Bundle((alice.der,), alice.key))
    assert_found(path, what, 1)
    assert {one.packet for seen in what.seen for one in seen.places} == {2}


def test_the_bundle_itself_on_the_wire_is_a_finding(kept: Kept, tmp_path: Path) -> None:
    der = json.loads(certreplay("bundle", kept.p12, "--json").stdout)["parts"][0]["octets"]
    capture = captured(tmp_path, bytes.fromhex(der), kept.p12.read_bytes())
    told = certreplay("bundle", kept.p12, "--capture", capture)
    assert told.returncode == 1
    assert bundles.THE_BUNDLE in told.stdout


def test_it_is_said_that_tls_1_3_hides_the_certificate(pem: Path, tmp_path: Path) -> None:
    parties = wirecraft.parties(pki.new_authority(), version=ssl.TLSVersion.TLSv1_3)
    capture = wirecraft.write(tmp_path / "x.pcap", wirecraft.alice_to_bank(wirecraft.handshake(parties)[0]))
    told = certreplay("bundle", pem, "--capture", capture)
    assert told.returncode == 1
    assert "1 handshake is TLS 1.3, which encrypts the Certificate messages" in " ".join(told.stdout.split())


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_certificate_has_a_layout_or_is_an_error(data: st.DataObject) -> None:
    der = bytearray(DER)
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    try:
        layout(bytes(der))
    except ValueError:
        pass


@pytest.mark.parametrize("wrong", ["no such file", "wrong password", "binary password", "garbled", "no capture"])
def test_what_cannot_be_read_is_one_line_and_status_2(kept: Kept, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "garbled.p12").write_bytes(kept.p12.read_bytes()[:100])
    (tmp_path / "password").write_text("wrong")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    calls = {
        "no such file": (tmp_path / "missing.p12",),
        "wrong password": (kept.p12, "--password-file", tmp_path / "password"),
        "binary password": (kept.p12, "--password-file", tmp_path / "binary"),
        "garbled": (tmp_path / "garbled.p12",),
        "no capture": (kept.p12, "--password-file", kept.password, "--capture", tmp_path / "missing.pcapng"),
    }
    told = certreplay("bundle", *calls[wrong])
    assert (told.returncode, told.stderr.count("\n")) == (2, 1), told.stderr
