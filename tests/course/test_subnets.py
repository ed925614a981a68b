"""The subnets of a class overlap neither the host's routes nor Docker's networks."""

import json
from ipaddress import IPv4Network

import pytest

from lab.course.errors import CourseError
from lab.course.subnets import MOST_LABS, choose, docker_networks_of, routes_of, split

ROUTES = json.dumps(
    [
        {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
        {"dst": "10.128.0.0/20", "dev": "tun0"},
        {"dst": "10.9.9.9", "dev": "tun0"},
        {"dst": "0.0.0.0/0", "dev": "eth1"},
        {"type": "unreachable", "dst": "10.128.16.0/24"},
        {"dst": "fd00::/64", "dev": "eth0"},
    ]
)
NETWORKS = json.dumps(
    [
        {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}, "Labels": {}},
        {"Name": "none", "IPAM": {"Config": None}, "Labels": None},
        {
            "Name": "class-s07_lan",
            "IPAM": {"Config": [{"Subnet": "10.128.32.0/28"}, {"Subnet": "fd00:1::/64"}]},
            "Labels": {"com.docker.compose.project": "class-s07"},
        },
    ]
)


def test_the_routes_of_the_host_are_read_but_for_the_default_ones() -> None:
    assert [str(network) for network, _ in routes_of(ROUTES)] == ["10.128.0.0/20", "10.9.9.9/32", "10.128.16.0/24"]
    assert next(routes_of(ROUTES))[1] == "the host's route to 10.128.0.0/20 by tun0"


def test_dockers_networks_are_read_with_their_projects() -> None:
    found = [(str(network), project) for network, _, project in docker_networks_of(NETWORKS)]
    assert found == [("172.17.0.0/16", ""), ("10.128.32.0/28", "class-s07")]


def test_a_network_is_chosen_that_overlaps_nothing() -> None:
    taken = [*routes_of(ROUTES), *((network, name) for network, name, _ in docker_networks_of(NETWORKS))]
    chosen = choose(taken)
    assert str(chosen) == "10.128.48.0/20"
    assert not any(chosen.overlaps(network) for network, _ in taken)


def test_where_a_vpn_has_all_of_one_private_network_another_is_taken() -> None:
    assert choose([(IPv4Network("10.0.0.0/8"), "a VPN")]).subnet_of(IPv4Network("172.16.0.0/12"))
    everything = [(IPv4Network(one), "x") for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
    with pytest.raises(CourseError, match="no private /20 is free"):
        choose(everything)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("10.128.0.0/20", "overlaps the host's route to 10.128.0.0/20 by tun0"),
        ("10.1.2.0/20", "has host bits set"),
        ("10.1.0.0/16", "is no private /20"),
        ("203.0.112.0/20", "is no private /20"),
        ("fd00::/20", "write one such as 10.231.0.0/20"),
        ("banana", "write one such as 10.231.0.0/20"),
    ],
)
def test_a_network_that_cannot_be_had_is_refused_with_its_reason(wanted: str, why: str) -> None:
    with pytest.raises(CourseError, match=why) as refused:
        choose(list(routes_of(ROUTES)), wanted)
    assert str(refused.value).startswith(f"--network {wanted}: ")


def test_every_lab_gets_networks_of_its_own() -> None:
    network = IPv4Network("10.231.0.0/20")
    labs = list(split(network))
    assert len(labs) == MOST_LABS == 128
    every = [one for lab in labs for one in lab]
    assert all(one.prefixlen == 28 and one.subnet_of(network) for one in every)
    assert len(set(every)) == len(every)
    assert next(split(network, [labs[0][0]])) == labs[1]
