"""What several captures together tell of one person."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import wirecraft
from attacker.capture import read_file
from lab import pki, profiles, sightings
from programs import certreplay

DAY_NS = 86_400 * 10**9


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> sightings.Sighting:
    """One real sighting."""
    path = tmp_path_factory.mktemp("profiles") / "x.pcap"
    flights, _ = wirecraft.handshake(wirecraft.parties(pki.new_authority()))
    wirecraft.write(path, wirecraft.alice_to_bank(flights))
    (capture,) = read_file(path).captures
    return sightings.sighting(path, capture)


def test_two_networks_one_person(seen: sightings.Sighting) -> None:
    at_home = replace(seen, client="192.168.7.20:5000", time="2030-01-01T08:00:00.000+00:00", file="home.pcap")
    at_work = replace(seen, client="10.1.2.3:6000", time="2030-01-01T10:00:00.000+00:00", file="work.pcap")
    (profile,) = profiles.profiles([at_work, at_home])
    assert profile.networks == ("192.168.7.0/24", "10.1.2.0/24")
    assert [one.file for one in profile.sightings] == ["home.pcap", "work.pcap"]
    assert "seen 2 times, between 2030-01-01 08:00:00 and 2030-01-01 10:00:00, on 2 networks" in profile.summary


def test_a_new_certificate_with_the_same_mail_address_is_the_same_person(seen: sightings.Sighting) -> None:
    renewed = replace(seen, sha256="ab" * 32, time="2031-01-01T00:00:00.000+00:00")
    (profile,) = profiles.profiles([renewed, seen])
    assert profile.certificates == (seen.sha256, "ab" * 32)
    assert profile.linked_by == ("alice@bank.example",)


def test_three_certificates_may_be_linked_by_different_names(seen: sightings.Sighting) -> None:
    mail, upn = sightings.Name("e-mail", "a@x.example"), sightings.Name("UPN", "a@corp.example")
    certificates = [
        replace(seen, sha256="01" * 32, identifies=(mail,)),
        replace(seen, sha256="02" * 32, identifies=(upn,)),
        replace(seen, sha256="03" * 32, identifies=(upn, mail)),
    ]
    (profile,) = profiles.profiles(certificates)
    assert len(profile.certificates) == 3
    assert profile.linked_by == ("a@x.example", "a@corp.example")


def test_the_same_common_name_is_not_the_same_person(seen: sightings.Sighting) -> None:
    mails = (sightings.Name("e-mail", f"{name}@bank.example") for name in ("alice", "alice2"))
    certificates = [
        replace(seen, sha256=f"{number:02x}" * 32, identifies=(sightings.Name("CN", "alice"), mail))
        for number, mail in enumerate(mails)
    ]
    assert len(profiles.profiles(certificates)) == 2


@pytest.mark.parametrize(
    ("client", "network"),
    [("192.168.7.20:5000", "192.168.7.0/24"), ("[2001:db8:1:2:3::4]:5000", "2001:db8:1:2::/64")],
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
    (profile,) = json.loads(certreplay("capture", "--profile", "--json", *files).stdout)
    assert len(profile["sightings"]) == 2
    assert profile["summary"].startswith("seen 2 times")
