"""The attacker's scope: loopback and this run's hosts and nothing else, whatever an address is dressed up as."""

import asyncio
import json
import os
import socket
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from attacker import scope as checks
from attacker.scope import OutOfScope, check_listen, check_loopback, check_target, check_victim, wait_for_hosts
from lab import scope
from lab.process import BadInput
from lab.scope import Interface, read_scope, write_place, write_scope

OWN = Interface("eth0", IPv4Interface("10.77.0.9/24"), "02:42:0a:4d:00:09", "veth")
OTHER = Interface("eth1", IPv4Interface("10.78.0.9/24"), "02:42:0a:4e:00:09", "veth")
HOSTS = {"alices": "10.77.0.2", "bank": "10.77.0.3"}


def is_on(monkeypatch: pytest.MonkeyPatch, *interfaces: Interface) -> None:
    """From now on this machine has these interfaces."""
    monkeypatch.setattr(scope, "interfaces", lambda: interfaces)


@pytest.fixture(autouse=True)
def only_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name that is looked up fails the test; and no run is named on this machine."""
    ask = socket.getaddrinfo

    def answer(host: str, port: object, **options: int) -> list[object]:
        if not options.get("flags", 0) & socket.AI_NUMERICHOST:
            pytest.fail(f"{host} was looked up")
        return list(ask(host, None, **options))

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(scope, "SCOPE_FILE", tmp_path / "scope.json")
    monkeypatch.setattr(scope, "PLACES", tmp_path)


@pytest.fixture
def in_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The attacker's container on 10.77.0.0/24, in a run with the hosts alices and bank; the folder of its scope."""
    write_scope((*HOSTS, "absent"))
    for name, address in HOSTS.items():
        is_on(monkeypatch, Interface("eth0", IPv4Interface(f"{address}/24"), f"02:00:00:00:00:{address[-1:]:>02}", ""))
        write_place(name)
    is_on(monkeypatch, OWN)
    monkeypatch.setattr(socket, "gethostname", lambda: "mallory")
    monkeypatch.setattr(checks, "_writable", lambda: False)
    return tmp_path


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
NAMES = ["example.com", "localhost.example.com", "localhost.", "bank", "", " 127.0.0.1", "127.0.0.1.", "a\0b", "é" * 80]


@pytest.mark.parametrize("host", OUTSIDE + NAMES)
def test_everything_else_is_out_of_scope_and_no_name_is_looked_up(host: str) -> None:
    with pytest.raises(OutOfScope, match=r"out of scope: .*stays on loopback|of IPv6 addresses only ::1"):
        check_target(host, 443)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(OutOfScope, match="is not a port"):
        check_target("127.0.0.1", port)


def test_a_reason_takes_one_line() -> None:
    with pytest.raises(OutOfScope) as error:
        check_target("two\nlines", 443)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("host", ["10.77.0.3", "::ffff:10.77.0.3", "10.77.3", "bank"])
@pytest.mark.usefixtures("in_container")
def test_the_container_may_go_to_the_hosts_of_its_run(host: str) -> None:
    assert check_target(host, 443) == ("10.77.0.3", 443)
    assert check_target("localhost", 443) == ("127.0.0.1", 443)


ELSEWHERE = ["10.77.0.1", "10.77.0.0", "10.77.0.255", "10.77.0.4", "10.77.0.9", "10.78.0.3", "8.8.8.8", "0.0.0.0"]
ELSEWHERE += ["169.254.1.1", "224.0.0.251", "mallory", "victim-server", "example.com", "bank.", "Bank", ""]


@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.usefixtures("in_container")
def test_the_container_may_go_nowhere_else_not_even_on_its_network(host: str) -> None:
    known = r"it is not a host of this run; hosts: alices \(10\.77\.0\.2\), bank \(10\.77\.0\.3\)"
    for check in (lambda: check_target(host, 443), lambda: check_victim(host)):
        with pytest.raises(OutOfScope, match=known):
            check()


@pytest.mark.parametrize(
    ("host", "why"), [("127.0.0.11", "Docker's name server"), ("fd00::3", "of IPv6 addresses only ::1")]
)
@pytest.mark.usefixtures("in_container")
def test_dockers_name_server_and_ipv6_are_not_the_labs(host: str, why: str) -> None:
    with pytest.raises(OutOfScope, match=why):
        check_target(host, 53)


@pytest.mark.usefixtures("in_container")
def test_on_a_second_network_the_container_stays_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    is_on(monkeypatch, OWN, OTHER)
    for host in ("10.77.0.3", "bank", "10.78.0.3"):
        with pytest.raises(OutOfScope, match=r"one network, the run's; this is on eth0 10\.77\.0\.9/24, eth1 10\.78"):
            check_victim(host)
    with pytest.raises(OutOfScope, match="one network"):
        check_listen("mallory", 8443)
    assert check_target("127.0.0.1", 443) == ("127.0.0.1", 443)


@pytest.mark.usefixtures("in_container")
def test_on_a_network_that_is_not_the_runs_it_stays_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    is_on(monkeypatch, OTHER)
    with pytest.raises(OutOfScope, match=r"on eth1 10\.78\.0\.9/24, and the run's hosts are on 10\.77\.0\.0/24"):
        check_victim("bank")
    is_on(monkeypatch)
    with pytest.raises(OutOfScope, match="this is on none"):
        check_victim("bank")


@pytest.mark.parametrize(
    ("driver", "what"),
    [
        *((driver, "eth0 is an interface of the host's") for driver in ("macvlan", "virtio_net", "bridge")),
        ("", "eth0 is of a kind that this system does not name"),
    ],
)
@pytest.mark.usefixtures("in_container")
def test_on_other_interfaces_it_stays_on_loopback(monkeypatch: pytest.MonkeyPatch, driver: str, what: str) -> None:
    is_on(monkeypatch, Interface(OWN.name, OWN.address, OWN.mac, driver))
    with pytest.raises(OutOfScope, match=what):
        check_target("10.77.0.3", 443)
    assert check_target("127.0.0.1", 443) == ("127.0.0.1", 443)


@pytest.mark.usefixtures("in_container")
def test_a_new_run_begins_without_the_places_of_the_last_one() -> None:
    write_scope(HOSTS)
    with pytest.raises(OutOfScope, match="'bank' is out of scope: it has not said where it is in this run"):
        check_target("bank", 443)
    with pytest.raises(OutOfScope, match="not a host of this run; hosts: there is none yet"):
        check_target("10.77.0.3", 443)


def test_a_host_that_the_authority_did_not_name_is_none(in_container: Path) -> None:
    place = json.loads((in_container / "bank.json").read_text())
    (in_container / "stranger.json").write_text(json.dumps(place | {"address": "10.77.0.4/24"}))
    for host in ("stranger", "10.77.0.4"):
        with pytest.raises(OutOfScope, match="not a host of this run"):
            check_target(host, 443)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"nonce": 1}', '{"address": 1}', "null"])
def test_a_place_that_cannot_be_read_is_none(in_container: Path, text: str) -> None:
    (in_container / "bank.json").write_text(text)
    with pytest.raises(OutOfScope, match="it has not said where it is"):
        check_target("bank", 443)
    for name in ("address", "mac"):
        place = json.loads((in_container / "alices.json").read_text())
        (in_container / "bank.json").write_text(json.dumps(place | {name: 5 if name == "mac" else "here"}))
        with pytest.raises(OutOfScope, match="it has not said where it is"):
            check_target("bank", 443)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"nonce": "x"}', '{"hosts": ["bank"]}'])
def test_without_a_readable_scope_there_is_loopback_only(in_container: Path, text: str) -> None:
    (in_container / "scope.json").write_text(text)
    with pytest.raises(OutOfScope, match="stays on loopback"):
        check_target("bank", 443)


def test_a_scope_that_this_process_can_write_is_none(in_container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_writable", lambda: any(os.access(path, os.W_OK) for path in (in_container,)))
    with pytest.raises(OutOfScope, match="nobody may set a limit for herself"):
        check_target("bank", 443)


@pytest.mark.parametrize("host", ["10.77.0.9", "mallory", "127.0.0.1"])
@pytest.mark.usefixtures("in_container")
def test_the_container_may_be_a_server_at_its_own_address(host: str) -> None:
    assert check_listen(host, 0) in (("10.77.0.9", 0), ("127.0.0.1", 0))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.77.0.1", "10.77.0.3", "bank", "192.168.1.2", "faraway", "::"])
@pytest.mark.usefixtures("in_container")
def test_the_container_is_a_server_nowhere_else(host: str) -> None:
    with pytest.raises(OutOfScope, match="loopback and at its own address"):
        check_listen(host, 8443)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.77.0.9", "mallory"])
def test_outside_the_container_it_is_a_server_on_loopback_only(host: str) -> None:
    assert check_listen("localhost", 8443) == ("127.0.0.1", 8443)
    with pytest.raises(OutOfScope):
        check_listen(host, 8443)


@pytest.mark.usefixtures("in_container")
def test_an_arp_victim_is_a_host_of_the_run() -> None:
    victim = check_victim("10.77.0.3")
    assert (victim.host.name, str(victim.host.ip), victim.interface) == ("bank", "10.77.0.3", OWN)
    assert victim == check_victim("bank")
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(OutOfScope, match="not a host of this run"):
            check_victim(host)


@pytest.mark.usefixtures("in_container")
def test_the_relay_listens_on_loopback_only() -> None:
    assert check_loopback("localhost", 0) == ("127.0.0.1", 0)
    with pytest.raises(OutOfScope, match="listens on loopback only"):
        check_loopback("10.77.0.3", 8443)


@pytest.mark.usefixtures("in_container")
def test_a_host_that_comes_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> None:
        waiting = asyncio.create_task(wait_for_hosts(("bank", "absent"), 60))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        is_on(monkeypatch, OTHER)
        write_place("absent")
        await waiting
        await wait_for_hosts(("nobody", "10.77.0.200"), 60)

    asyncio.run(wait())
    found = read_scope()
    assert found
    assert set(found.hosts) == {*HOSTS, "absent"}


def test_a_host_on_several_networks_or_none_has_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    write_scope(HOSTS)
    for places, said in (((OWN, OTHER), "eth0 10.77.0.9/24, eth1 10.78.0.9/24"), ((), "none")):
        is_on(monkeypatch, *places)
        with pytest.raises(BadInput, match=f"bank: .* this one is on {said}"):
            write_place("bank")


def test_a_host_without_a_run_has_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    is_on(monkeypatch, OWN)
    with pytest.raises(BadInput, match="no authority has named a run here"):
        write_place("bank")


def test_the_interfaces_of_this_machine_are_found() -> None:
    """Without loopback, which has a look at /proc as its control."""
    found = {one.name for one in scope.interfaces()}
    listed = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
    assert found <= listed - {"lo"}
