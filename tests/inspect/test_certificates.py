"""Whatever a client presented is listed with whom it identifies, in words that no terminal obeys."""

import json
import os
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

import wirecraft
from lab.capture.handshake import Capture
from lab.capture.reader import read_file
from lab.inspect.certificates import UNREADABLE, Name, SeenCertificate, seen_certificate, write_pem
from lab.staging import pki
from lab.tls.messages import Certificate, ServerHello, serialize
from lab.tls.records import ContentType, write_record
from made_up import certificate, certificate_of
from programs import CERTREPLAY, certreplay, output_of
from wirecraft import Flight

UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")


def presented(path: Path, *chains: tuple[bytes, ...]) -> Path:
    """A capture file with a handshake for each chain, as far as the client's Certificate."""
    segments = []
    for number, chain in enumerate(chains):
        hello = serialize(ServerHello(bytes(32), b"", 0xC02B, ()))
        flights = [
            Flight(False, write_record(ContentType.HANDSHAKE, hello)),
            Flight(True, write_record(ContentType.HANDSHAKE, serialize(Certificate(chain)))),
        ]
        segments += wirecraft.alice_to_bank(flights, client=("10.9.0.2", 50_000 + number))
    return wirecraft.write(path, segments)


def see(path: Path, der: bytes) -> SeenCertificate:
    (capture,) = read_file(presented(path, (der,))).captures
    return seen_certificate(path, capture)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wire.pcap"


def test_every_subject_attribute_that_identifies_is_told(path: Path) -> None:
    attributes = [
        (NameOID.COUNTRY_NAME, "DE"),
        (NameOID.ORGANIZATION_NAME, "Bank"),
        (NameOID.COMMON_NAME, "alice"),
        (NameOID.EMAIL_ADDRESS, "alice@bank.example"),
        (NameOID.USER_ID, "u17"),
        (NameOID.SERIAL_NUMBER, "device 4711"),
        (NameOID.COMMON_NAME, "alice the second"),
    ]
    seen = see(path, certificate(attributes, serial=0x586E4))
    assert seen.identifies == (
        Name("CN", "alice"),
        Name("emailAddress", "alice@bank.example"),
        Name("UID", "u17"),
        Name("serialNumber", "device 4711"),
        Name("CN", "alice the second"),
    )
    assert seen.subject.endswith("UID=u17,emailAddress=alice@bank.example,CN=alice,O=Bank,C=DE")
    assert (seen.issuer, seen.serial) == (seen.subject, "0586e4")
    assert (seen.not_before, seen.not_after) == ("2026-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (x509.RFC822Name("a@b.example"), Name("e-mail", "a@b.example")),
        (x509.DNSName("laptop.example"), Name("DNS", "laptop.example")),
        (x509.IPAddress(ip_address("fd00::7")), Name("IP", "fd00::7")),
        (x509.UniformResourceIdentifier("spiffe://b/alice"), Name("URI", "spiffe://b/alice")),
        (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), Name("registered ID", "1.2.3")),
        (x509.DirectoryName(x509.Name([])), Name("directory", "")),
        (x509.OtherName(UPN, b"\x0c\x07alice@b"), Name("UPN", "alice@b")),
        (x509.OtherName(UPN, b"\x0c\x81\x90" + b"a" * 144), Name("UPN", "a" * 144)),
        (x509.OtherName(UPN, b"\x1e\x04\0a\0b"), Name("UPN", "ab")),
        (x509.OtherName(UPN, b"\x0c\x01\xff"), Name("UPN", "0c01ff")),
        (x509.OtherName(UPN, b"\x30\x00"), Name("UPN", "3000")),
        (x509.OtherName(x509.ObjectIdentifier("1.2.9"), b"\x05\x00"), Name("other name", "1.2.9: 0500")),
    ],
    ids=lambda value: value.kind if isinstance(value, Name) else None,
)
def test_every_alternative_name_is_told(path: Path, name: x509.GeneralName, told: Name) -> None:
    seen = see(path, certificate([], name))
    assert seen.identifies == (told,)


def test_what_is_no_certificate_is_listed_as_unreadable(path: Path) -> None:
    seen = see(path, b"no certificate")
    assert {seen.subject, seen.issuer, seen.serial, seen.not_before, seen.not_after} == {UNREADABLE}
    assert seen.identifies == ()


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_certificate_is_listed(path: Path, captured: Capture, data: st.DataObject) -> None:
    der = bytearray(captured.chain[0])
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    damaged = Capture(**{**vars(captured), "chain": (bytes(der),)})
    assert seen_certificate(path, damaged).client == captured.client


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    path = tmp_path_factory.mktemp("capture") / "wire.pcap"
    names = (x509.RFC822Name("a@b.example"), x509.DNSName("b.example"), x509.OtherName(UPN, b"\x0c\x03a@b"))
    der = certificate([(NameOID.COMMON_NAME, "alice"), (NameOID.USER_ID, "u17")], *names)
    (capture,) = read_file(presented(path, (der,))).captures
    return capture


def test_certificates_are_written_once_each_with_their_chains(tmp_path: Path, path: Path) -> None:
    one, other = certificate_of("alice"), certificate_of("bob")
    captures = read_file(presented(path, (one, other), (b"junk",), (one, other))).captures
    written = write_pem(tmp_path / "pem", (capture.chain for capture in captures))
    assert len(written) == 2
    assert "alice" in output_of("openssl", "x509", "-in", written[0], "-noout", "-subject")
    assert x509.load_pem_x509_certificates(written[0].read_bytes())[1].public_bytes(Encoding.DER) == other


def test_a_bad_file_among_good_ones_is_one_line_and_hides_nothing(tmp_path: Path, path: Path) -> None:
    presented(path, (certificate_of("alice"),))
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(b"no capture")
    done = certreplay("capture", bad, path, tmp_path / "none.pcap", path)
    assert done.returncode == 2
    assert [line.partition(": ")[2].partition(": ")[0] for line in done.stderr.splitlines()] == [
        str(bad),
        str(tmp_path / "none.pcap"),
    ]
    assert done.stdout.count("CN=alice") == 2  # the subject and the issuer of one certificate
    assert done.stdout.count("10.9.0.2:50000 to 10.9.0.4:8443") == 2


def test_names_can_neither_command_the_terminal_nor_the_layout(path: Path) -> None:
    name = "\x1b]0;owned\x07[/bold] [red]mallory\u202e\r\n"
    presented(path, (certificate([(NameOID.COMMON_NAME, name)], x509.OtherName(UPN, b"\x0c\x04\x1b[2J")),))
    done = certreplay("capture", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "[/bold] [red]mallory???" in done.stdout
    assert all(character.isprintable() or character == "\n" for character in done.stdout)
    (seen,) = json.loads(certreplay("capture", path, "--json").stdout)["certificates"]
    assert seen["identifies"][0] == {"kind": "CN", "value": name}


def test_a_terminal_of_80_columns_has_room_for_every_line(path: Path, authority: pki.Identity) -> None:
    flights, _ = wirecraft.handshake(wirecraft.parties(authority))
    wirecraft.write(path, wirecraft.alice_to_bank(flights))
    main, terminal = os.openpty()
    command = [CERTREPLAY, "capture", path.name]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=terminal, env=environment, cwd=path.parent)
    os.close(terminal)
    shown = b""
    try:
        while data := os.read(main, 1 << 16):
            shown += data
    except OSError:  # how Linux says that nobody has the terminal open any more
        pass
    os.close(main)
    assert process.wait(60) == 0
    lines = shown.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(len(line.split()[-1]) == 64 for line in lines if line.strip())  # the fingerprint stands in one piece
