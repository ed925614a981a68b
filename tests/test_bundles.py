"""`certreplay bundle`: what lies in a bundle, what of it crosses the wire, and what never does."""

import asyncio
import json
from pathlib import Path

import pytest

from attacker.synthetic import Conversation
from attacker.wire_file import CaptureFile
from lab import bundles, embedded, pki
from lab.control import key_forms
from lab.plan import short_story
from lab.tls.bundle import Bundle
from programs import certreplay


class Kept:
    """A real run that kept alice's bundle."""

    def __init__(self, folder: Path) -> None:
        judgement = asyncio.run(embedded.run_embedded(folder, short_story(), None, lambda run: None, keep_bundle=True))
        self.run = folder / judgement.run
        self.capture = self.run / "attacker" / "capture.pcapng"
        self.p12 = self.run / "victim-client" / pki.CLIENT_P12
        self.password = self.run / "victim-client" / pki.CLIENT_P12_PASSWORD


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("runs"))


def test_each_part_of_the_certificate_is_where_it_says(kept: Kept) -> None:
    told = certreplay("bundle", kept.p12, "--password-file", kept.password, "--capture", kept.run, "--json")
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout)
    octets = {part["name"]: bytes.fromhex(part["octets"]) for part in said["parts"]}
    content = kept.capture.read_bytes()
    assert {seen["name"] for seen in said["wire"]["seen"]} == octets.keys()
    for seen in said["wire"]["seen"]:
        part = octets[seen["name"]]
        assert content[seen["offset"] :].startswith(part if seen["whole"] else part[: bundles.HEAD]), seen
        assert seen["times"] >= 1, seen
    assert said["wire"]["key_at"] == []
    assert len(said["wire"]["key_forms"]) >= 8


def test_the_parts_are_in_the_certificate(kept: Kept) -> None:
    issued = pki.new_client(pki.new_authority())
    names = [part.name for part in bundles.certificate_parts(issued.der)]
    assert names[0] == "certificate"
    assert {"subject", "issuer", "serial number", "public key", "alternative names", "issuer's signature"} < set(names)
    for part in bundles.certificate_parts(issued.der):
        assert part.octets in issued.der


@pytest.mark.parametrize("key_type", pki.KEY_TYPES)
def test_a_private_key_is_told_in_words_only(key_type: pki.KeyType) -> None:
    key = pki.new_key(key_type)
    told = " ".join(bundles.key_parts(key))
    assert "secret" in told
    for form in key_forms(key).values():
        assert form.hex() not in told


def test_on_a_terminal(kept: Kept) -> None:
    told = certreplay("bundle", kept.p12, "--password-file", kept.password, "--capture", kept.capture)
    assert told.returncode == 0, told.stderr
    assert "Never on the wire: the private key." in told.stdout
    assert "0x" in told.stdout


def test_without_a_capture_only_the_bundle_is_told(kept: Kept) -> None:
    told = certreplay("bundle", kept.p12, "--password-file", kept.password)
    assert told.returncode == 0
    assert "private key" in told.stdout
    assert "wire" not in told.stdout


def captured(folder: Path, *said: bytes) -> Path:
    """A capture of one connection, in which a client says this."""
    path = folder / "x.pcapng"
    file = CaptureFile(path)

    def write(packet: bytes) -> None:
        file.write(0, packet)

    tcp = Conversation(("127.0.0.1", 1000), ("127.0.0.1", 2000), write)
    tcp.open()
    for data in said:
        tcp.data(True, data)
    tcp.end(True)
    tcp.end(False)
    file.close()
    return path


def test_a_key_on_the_wire_is_a_finding(tmp_path: Path) -> None:
    alice = pki.new_client(pki.new_authority())
    (tmp_path / "alice.pem").write_bytes(alice.bundle_pem())
    capture = captured(tmp_path, alice.der, alice.bundle_pem())
    told = certreplay("bundle", tmp_path / "alice.pem", "--capture", capture)
    assert told.returncode == 1
    assert "FINDING: the private key was found" in told.stdout


def test_a_certificate_that_is_not_there_is_no_evidence(tmp_path: Path) -> None:
    alice = pki.new_client(pki.new_authority())
    (tmp_path / "alice.pem").write_bytes(alice.bundle_pem())
    told = certreplay("bundle", tmp_path / "alice.pem", "--capture", captured(tmp_path, b"nothing"))
    assert told.returncode == 1
    assert "NOWHERE" in told.stdout


def test_parts_that_packets_cut_are_found_where_they_begin(tmp_path: Path) -> None:
    alice = pki.new_client(pki.new_authority())
    halves = alice.der[:200], alice.der[200:]
    what = bundles.crossed(captured(tmp_path, *halves), Bundle((alice.der,), alice.key))
    whole = what.seen[0]
    assert whole.place
    assert not whole.place.whole
    assert whole.times == 1
    assert all(seen.place and seen.times for seen in what.seen)


@pytest.mark.parametrize("wrong", ["no such file", "wrong password", "garbled", "no capture"])
def test_what_cannot_be_read_is_one_line_and_status_2(kept: Kept, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "garbled.p12").write_bytes(kept.p12.read_bytes()[:100])
    (tmp_path / "password").write_text("wrong")
    calls = {
        "no such file": (tmp_path / "missing.p12",),
        "wrong password": (kept.p12, "--password-file", tmp_path / "password"),
        "garbled": (tmp_path / "garbled.p12",),
        "no capture": (kept.p12, "--password-file", kept.password, "--capture", tmp_path / "missing.pcapng"),
    }
    told = certreplay("bundle", *calls[wrong])
    assert (told.returncode, told.stderr.count("\n")) == (2, 1), told.stderr
