"""The attacker's scope: the lab and nothing else, whatever an address is dressed up as."""

import os
import socket
from pathlib import Path

import pytest

from attacker import scope
from attacker.scope import OutOfScope, check_listen, check_loopback, check_target, check_victim

LAB = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
WITH_A_ROUTER = LAB + "eth0\t00000000\tFE004D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"


@pytest.fixture(autouse=True)
def questions(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The names that can be looked up; any other look-up that would leave this machine fails the test."""
    answers: dict[str, list[str]] = {}
    ask = socket.getaddrinfo

    def answer(host: str, port: object, **options: int) -> list[object]:
        if options.get("flags", 0) & socket.AI_NUMERICHOST:
            return list(ask(host, None, **options))
        if host not in answers:
            pytest.fail(f"{host} was looked up")
        return [(0, 0, 0, "", (address, 0)) for address in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return answers


@pytest.fixture
def in_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The lab's container on 10.77.0.0/24; returns its table of routes."""
    monkeypatch.setattr(scope, "in_lab_container", lambda: True)
    routes, hosts = tmp_path / "route", tmp_path / "hosts"
    routes.write_text(LAB)
    hosts.write_text("127.0.0.1 localhost\n10.77.0.9\tmallory other # 10.77.0.1 router\n8.8.8.8 faraway\n")
    monkeypatch.setattr(scope, "ROUTES", routes)
    monkeypatch.setattr(scope, "HOSTS", hosts)
    monkeypatch.setattr(scope, "_driver", {"eth0": "veth"}.get)
    return routes


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.8.9.10", "127.8.9.10"),
        ("::1", "::1"),
        ("localhost", "127.0.0.1"),
        ("LocalHost", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
    ],
)
def test_loopback_is_in_scope_by_its_plain_address(host: str, address: str) -> None:
    assert check_target(host, 8443) == (address, 8443)


OUTSIDE = [
    "0.0.0.0",
    "0",
    "::",
    "8.8.8.8",
    "134744072",
    "010.8.8.8",
    "::ffff:8.8.8.8",
    "::ffff:10.77.0.3",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
    "10.77.0.3",
    "192.168.0.2",
    "169.254.169.254",
    "fe80::1",
    "fe80::1%1",
    "224.0.0.1",
    "255.255.255.255",
    "fd00::1",
    "128.0.0.1",
    "126.255.255.255",
]


@pytest.mark.parametrize("host", OUTSIDE)
def test_every_other_address_is_out_of_scope(host: str) -> None:
    with pytest.raises(OutOfScope, match=r"out of scope: .*loopback|of IPv6 addresses only ::1"):
        check_target(host, 443)


NAMES = ["example.com", "localhost.example.com", "localhost.", "bank", "", " 127.0.0.1", "127.0.0.1.", "a\0b", "é" * 80]


@pytest.mark.parametrize("host", NAMES)
def test_no_other_name_is_even_looked_up(host: str) -> None:
    with pytest.raises(OutOfScope, match="knows localhost only"):
        check_target(host, 443)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(OutOfScope, match="is not a port"):
        check_target("127.0.0.1", port)


def test_a_reason_takes_one_line() -> None:
    with pytest.raises(OutOfScope) as error:
        check_target("two\nlines", 443)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("host", ["10.77.0.3", "::ffff:10.77.0.3", "10.77.3", "127.0.0.1", "mallory", "Other"])
@pytest.mark.usefixtures("in_container")
def test_the_container_may_go_to_hosts_on_its_own_network(host: str) -> None:
    address, _ = check_target(host, 443)
    assert address in ("10.77.0.3", "10.77.0.9", "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("10.77.0.1", "Docker host's own address"),
        ("10.77.0.0", "not a single host"),
        ("10.77.0.255", "not a single host"),
        ("10.78.0.3", "not on a network that this container is attached to"),
        ("127.0.0.11", "Docker's name server"),
        ("8.8.8.8", "not a private address"),
        ("0.0.0.0", "not a private address"),
        ("169.254.1.1", "not a private address"),
        ("224.0.0.251", "not a private address"),
        ("fd00::3", "of IPv6 addresses only ::1"),
        ("faraway", "not a private address"),
    ],
)
@pytest.mark.usefixtures("in_container")
def test_the_container_may_go_nowhere_else(host: str, why: str) -> None:
    with pytest.raises(OutOfScope, match=why):
        check_target(host, 443)


@pytest.mark.parametrize("host", ["10.77.0.9", "mallory", "127.0.0.1"])
@pytest.mark.usefixtures("in_container")
def test_the_container_may_be_a_server_on_its_own_network(host: str) -> None:
    assert check_listen(host, 0) in (("10.77.0.9", 0), ("127.0.0.1", 0))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.77.0.1", "192.168.1.2", "faraway"])
@pytest.mark.usefixtures("in_container")
def test_the_container_is_a_server_nowhere_else(host: str) -> None:
    with pytest.raises(OutOfScope):
        check_listen(host, 8443)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.77.0.9", "mallory"])
def test_outside_the_container_it_is_a_server_on_loopback_only(host: str) -> None:
    assert check_listen("localhost", 8443) == ("127.0.0.1", 8443)
    with pytest.raises(OutOfScope):
        check_listen(host, 8443)


def test_a_router_is_not_the_labs(in_container: Path) -> None:
    in_container.write_text(WITH_A_ROUTER)
    with pytest.raises(OutOfScope, match="Docker host's own address"):
        check_target("10.77.0.254", 443)
    assert check_target("10.77.0.3", 443) == ("10.77.0.3", 443)


@pytest.mark.parametrize("driver", ["macvlan", "virtio_net", "bridge", ""])
@pytest.mark.usefixtures("in_container")
def test_on_the_hosts_own_interfaces_it_stays_on_loopback(monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    monkeypatch.setattr(scope, "_driver", {"eth0": driver}.get)
    with pytest.raises(OutOfScope, match="eth0 is an interface of the host's"):
        check_target("10.77.0.3", 443)
    assert check_target("127.0.0.1", 443) == ("127.0.0.1", 443)


def test_without_a_table_of_routes_it_stays_on_loopback(in_container: Path) -> None:
    in_container.unlink()
    with pytest.raises(OutOfScope, match="not on a network"):
        check_target("10.77.0.3", 443)


@pytest.mark.usefixtures("in_container")
def test_the_address_to_use_is_the_one_that_was_checked(questions: dict[str, list[str]]) -> None:
    questions["bank."] = ["10.77.0.3", "10.77.0.4"]
    assert check_target("bank", 8443) == ("10.77.0.3", 8443)


@pytest.mark.usefixtures("in_container")
def test_one_address_outside_puts_the_name_out_of_scope(questions: dict[str, list[str]]) -> None:
    questions["bank."] = ["10.77.0.3", "93.184.216.34"]
    with pytest.raises(OutOfScope, match=r"bank \(93\.184\.216\.34\) is out of scope"):
        check_target("bank", 8443)


@pytest.mark.usefixtures("in_container")
def test_an_arp_victim_is_a_host_on_the_network() -> None:
    assert check_victim("10.77.0.3") == ("10.77.0.3", "eth0")
    with pytest.raises(OutOfScope, match="ARP reaches"):
        check_victim("127.0.0.1")


@pytest.mark.usefixtures("in_container")
def test_the_attacker_listens_on_loopback_only() -> None:
    assert check_loopback("localhost", 0) == ("127.0.0.1", 0)
    with pytest.raises(OutOfScope, match="listens on loopback only"):
        check_loopback("10.77.0.3", 8443)


def test_the_marker_must_be_roots_own_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    monkeypatch.setattr(scope, "MARKER", marker)
    assert not scope.in_lab_container()
    marker.touch(mode=0o644)
    assert scope.in_lab_container() == (marker.stat().st_uid == 0)
    marker.chmod(0o666)
    assert not scope.in_lab_container()
    if os.geteuid() == 0:
        marker.chmod(0o644)
        os.chown(marker, 1, 0)
        assert not scope.in_lab_container()
    marker.unlink()
    marker.symlink_to("/etc/passwd")
    assert not scope.in_lab_container()
