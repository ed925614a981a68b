"""What several captures together tell of one person."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import wirecraft
from lab.capture.reader import read_file
from lab.inspect import captures, certificates, profiles
from lab.staging import pki
from programs import certreplay, output_of, tshark


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> certificates.SeenCertificate:
    """One real sighting."""
    path = tmp_path_factory.mktemp("profiles") / "x.pcap"
    flights, _ = wirecraft.handshake(wirecraft.parties(pki.new_authority()))
    wirecraft.write(path, wirecraft.alice_to_bank(flights))
    (capture,) = read_file(path).captures
    return certificates.seen_certificate(path, capture)


def another(seen: certificates.SeenCertificate, number: int, **what: Any) -> certificates.SeenCertificate:
    """A sighting of another certificate, with another key, in another handshake."""
    octets = f"{number:02x}" * 32
    return replace(seen, **{"sha256": octets, "public_key": octets, "client_random": octets, **what})


def test_two_networks_one_person(seen: certificates.SeenCertificate) -> None:
    home, work = "2030-01-01T08:00:00.000+00:00", "2030-01-01T10:00:00.000+00:00"
    at_home = replace(seen, client="192.168.7.20:5000", client_random="01", time=home, file="home.pcap")
    at_work = replace(seen, client="10.1.2.3:6000", client_random="02", time=work, file="work.pcap")
    (profile,) = profiles.profiles([at_work, at_home])
    assert profile.networks == ("192.168.7.0/24", "10.1.2.0/24")
    assert [one.file for one in profile.sightings] == ["home.pcap", "work.pcap"]
    assert "seen 2 times, between 2030-01-01 08:00:00 and 2030-01-01 10:00:00 UTC, on 2 networks" in profile.summary


def test_a_new_certificate_with_the_same_mail_address_is_the_same_person(seen: certificates.SeenCertificate) -> None:
    renewed = another(seen, 0xAB, time="2031-01-01T00:00:00.000+00:00")
    (profile,) = profiles.profiles([renewed, seen])
    assert profile.certificates == (seen.sha256, "ab" * 32)
    assert profile.linked_by == ("alice@bank.example",)


def test_three_certificates_may_be_linked_by_different_names(seen: certificates.SeenCertificate) -> None:
    mail, upn = certificates.Name("e-mail", "a@x.example"), certificates.Name("UPN", "a@corp.example")
    three = [
        another(seen, 1, identifies=(mail,)),
        another(seen, 2, identifies=(upn,)),
        another(seen, 3, identifies=(upn, mail)),
    ]
    (profile,) = profiles.profiles(three)
    assert len(profile.certificates) == 3
    assert profile.linked_by == ("a@x.example", "a@corp.example")


def test_the_same_common_name_is_not_the_same_person(seen: certificates.SeenCertificate) -> None:
    mails = (certificates.Name("e-mail", f"{name}@bank.example") for name in ("alice", "alice2"))
    several = [
        another(seen, number, identifies=(certificates.Name("CN", "alice"), mail)) for number, mail in enumerate(mails)
    ]
    assert len(profiles.profiles(several)) == 2


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.168.7.20:5000", "192.168.7.0/24"),
        ("[2001:db8:1:2:3::4]:5000", "2001:db8:1:2::/64"),
        ("02:00:00:00:00:01", "02:00:00:00:00:01"),
    ],
)
def test_an_address_belongs_to_a_network(client: str, network: str) -> None:
    assert profiles.network_of(client) == network


def test_the_command_sums_up_several_captures(tmp_path: Path) -> None:
    parties = wirecraft.parties(pki.new_authority())
    files = [
        wirecraft.write(tmp_path / name, wirecraft.alice_to_bank(wirecraft.handshake(parties)[0]))
        for name in ("home.pcap", "work.pcap")
    ]
    told = certreplay("capture", "--profile", *files)
    assert told.returncode == 0, told.stderr
    assert "alice@bank.example" in told.stdout
    assert "seen 2 times" in told.stdout
    assert "home.pcap" in told.stdout
    (profile,) = json.loads(certreplay("capture", "--profile", "--json", *files).stdout)["profiles"]
    assert len(profile["sightings"]) == 2
    assert profile["summary"].startswith("seen 2 times")


@pytest.mark.parametrize(("handshakes", "characters"), [(2, 1 << 20), (100, 60)])
def test_what_is_kept_to_be_sorted_is_bounded_and_the_rest_is_counted(
    seen: certificates.SeenCertificate, monkeypatch: pytest.MonkeyPatch, handshakes: int, characters: int
) -> None:
    monkeypatch.setattr(captures, "MAX_KEPT", handshakes)
    monkeypatch.setattr(captures, "MAX_KEPT_TEXT", characters)
    short = another(seen, 0, subject="CN=a", issuer="CN=the issuer", identifies=())
    kept = captures.Kept()
    assert list(kept.tell()) == []
    for _ in range(5):
        kept.add(short)
    assert (len(kept.seen), kept.left_out) == ((2, 3) if handshakes == 2 else (3, 2))
    assert f"{kept.left_out} more handshakes" in str(list(kept.tell()))


def test_a_certificate_with_other_names_for_the_same_key_is_the_same_person(seen: certificates.SeenCertificate) -> None:
    renamed = another(seen, 1, public_key=seen.public_key, identifies=())
    (profile,) = profiles.profiles([seen, renamed])
    assert profile.linked_by == (profiles.SAME_KEY,)


@pytest.mark.parametrize("kind", ["serialNumber", "UID"])
def test_what_an_issuer_numbers_is_not_what_another_one_does(seen: certificates.SeenCertificate, kind: str) -> None:
    names = (certificates.Name(kind, "17"),)
    one, other = (another(seen, number, identifies=names, issuer=f"CN={number}") for number in (1, 2))
    assert len(profiles.profiles([one, other])) == 2
    assert len(profiles.profiles([one, replace(other, issuer=one.issuer)])) == 1


def test_an_empty_name_is_nobodys(seen: certificates.SeenCertificate) -> None:
    several = [another(seen, number, identifies=(certificates.Name("e-mail", ""),)) for number in (1, 2)]
    assert len(profiles.profiles(several)) == 2


def test_a_handshake_that_two_captures_have_counts_once(tmp_path: Path) -> None:
    path = network(tmp_path / "x.pcap", wirecraft.parties(pki.new_authority()), "10.0.1.7")
    (tmp_path / "copy.pcap").write_bytes(path.read_bytes())
    (profile,) = json.loads(certreplay("capture", "--profile", "--json", path, tmp_path / "copy.pcap").stdout)[
        "profiles"
    ]
    assert profile["summary"].startswith("seen once, at 2026-01-01 12:00:00 UTC")


def network(path: Path, parties: wirecraft.Parties, client: str, bank: str = "10.9.0.4", times: int = 1) -> Path:
    """A capture of logins from one address, of as many handshakes as that."""
    segments = []
    for number in range(times):
        flights, _ = wirecraft.handshake(parties)
        segments += wirecraft.alice_to_bank(flights, client=(client, 50_000 + number), server=(bank, 8443 + number))
    return wirecraft.write(path, segments)


def test_who_moves_between_networks_is_followed(tmp_path: Path) -> None:
    alice = wirecraft.parties(pki.new_authority())
    bob = wirecraft.parties(pki.new_authority(), name="bob")
    files = [
        network(tmp_path / "cafe.pcap", alice, "10.0.1.7", times=3),
        network(tmp_path / "home.pcap", alice, "192.168.7.20"),
        network(tmp_path / "bob.pcap", bob, "192.168.7.21"),
    ]
    told = json.loads(certreplay("capture", "--profile", "--json", *files).stdout)["profiles"]
    of = {profile["subjects"][0]: profile for profile in told}
    assert set(of) == {"O=Bank of Example,CN=alice", "O=Bank of Example,CN=bob"}
    followed = of["O=Bank of Example,CN=alice"]
    assert set(followed["networks"]) == {"10.0.1.0/24", "192.168.7.0/24"}
    assert set(followed["servers"]) == {f"bank.example:{port}" for port in (8443, 8444, 8445)}
    assert followed["summary"].startswith("seen 4 times, at 2026-01-01 12:00:00 UTC, on 2 networks")


def test_a_capture_that_other_programs_wrote_of_real_logins(finished_run: Path, tmp_path: Path) -> None:
    """The packets of a run, written anew by editcap in the other format and an hour later."""
    capture, later = finished_run / "attacker" / "capture.pcapng", tmp_path / "later.pcap"
    output_of("editcap", "-F", "pcap", "-t", "3600", capture, later)
    one, moved = (json.loads(certreplay("capture", "--json", file).stdout)["certificates"] for file in (capture, later))
    times = [[datetime.fromisoformat(it["time"]) for it in seen] for seen in (one, moved)]
    assert {after - before for before, after in zip(*times, strict=True)} == {timedelta(hours=1)}
    (profile,) = json.loads(certreplay("capture", "--profile", "--json", later).stdout)["profiles"]
    seen = tshark(later, "-Y", "tls.handshake.type == 15", "-T", "fields", "-e", "ip.src", "-e", "tcp.srcport")
    assert {line.replace("\t", ":") for line in seen} == {one["client"] for one in profile["sightings"]}
