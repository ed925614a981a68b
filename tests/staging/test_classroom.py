"""The classroom lab in real containers, end to end: one class for all tests, and a second copy beside it."""

import json
import os
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from engines import TAG
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.leaks import LEAKS
from lab.catalogue.plan import short_story
from lab.events.run import RunError, open_run
from lab.judging.claims import CLAIMS, Holding, settle
from lab.judging.queries import RunQueries
from lab.judging.verdicts import JudgedRun
from lab.staging.classroom import check_subnet
from programs import output_of, tshark, wait_until

ROOT = Path(__file__).parents[2]
NET_ADMIN, NET_RAW = 1 << 12, 1 << 13
SERVED = {one.id: "refused" if one.scheme.checks_proof else "accepted" for one in short_story().served()}
"""The gateways of a class, and what each does with an attempt."""
PINNED = tuple(one.id for one in short_story().served() if one.scheme.trusts == CertificateKind.SELF_SIGNED)
MOVES = short_story().moves
MALLORYS = ("attacker", "rogue-server", "interceptor", "live-relay", "leaked-backup", "leaked-archive")
SECOND_SUBNET = f"10.213.{os.getpid() % 256}.0/24"
BASE = os.environ.get("CERTREPLAY_BASE", "debian:trixie-slim")
MEGABYTE = 10**6
OF_A_CLASS = ("--profile", "leaks")
"""Every service but the gallery's, which are on no network."""
PEM_KEY = "^-----BEGIN ([A-Z]+ )*PRIVATE KEY-----$"


@dataclass(frozen=True)
class Class:
    """One project of compose, where its runs go on the host, and where its page is."""

    engine: docker.DockerClient
    project: str
    runs: Path
    page_port: int
    settings: dict[str, str]

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "-p", self.project, *arguments]
        chosen = {"CERTREPLAY_RUNS": str(self.runs), "CERTREPLAY_TAG": TAG, "CERTREPLAY_PAGE_PORT": str(self.page_port)}
        environment = os.environ | chosen | self.settings
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
        )

    def containers(self, ended: bool = True) -> dict[str, Container]:
        """The containers by service, with those that have ended or without."""
        of_project = f"com.docker.compose.project={self.project}"
        found = self.engine.containers.list(all=ended, filters={"label": of_project})
        return {one.labels["com.docker.compose.service"]: one for one in found}

    def container(self, service: str) -> Container:
        return self.containers()[service]

    def run_in(self, service: str, *command: str) -> tuple[int, str]:
        status, output = self.container(service).exec_run(list(command))
        assert status is not None
        assert isinstance(output, bytes)
        return status, output.decode()

    def address(self, service: str) -> tuple[str, str]:
        """A service's IP and MAC address on the lab's network."""
        (network,) = self.container(service).attrs["NetworkSettings"]["Networks"].values()
        return network["IPAddress"], network["MacAddress"]

    def arp_table(self, service: str) -> dict[str, str]:
        """What a service believes: MAC addresses by IP addresses, incomplete entries left out."""
        _, table = self.run_in(service, "cat", "/proc/net/arp")
        rows = [line.split() for line in table.splitlines()[1:]]
        return {row[0]: row[3] for row in rows if row[2] != "0x0"}

    def status(self, service: str, process: str = "1") -> dict[str, str]:
        """What the kernel says of a process (proc_pid_status(5))."""
        _, status = self.run_in(service, "cat", f"/proc/{process}/status")
        return dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    def believes(self, service: str, about: str, mac: str) -> bool:
        return self.arp_table(service).get(self.address(about)[0]) == mac

    def wait_for_tables(self, client: str, server_at: str, client_at: str) -> None:
        """Waits until the client and the server have these MAC addresses for each other."""
        wait_until(lambda: self.believes(client, "victim-server", server_at), "the client's table")
        wait_until(lambda: self.believes("victim-server", client, client_at), "the server's table")

    def verdicts(self) -> dict[str, Any]:
        wait_until(lambda: any(self.runs.glob("*/verdicts.json")), "verdicts.json", seconds=300)
        found: dict[str, Any] = json.loads(next(self.runs.glob("*/verdicts.json")).read_text())
        return found


def outcomes(verdicts: dict[str, Any], leak: str) -> dict[tuple[str, str], str]:
    """What became of a leak's attempts, by gateway and move."""
    return {(v["gateway"], v["move"]): v["outcome"] for v in verdicts["verdicts"] if v["leak"] == leak}


def balances(verdicts: dict[str, Any], leak: str) -> list[int]:
    """What alice had when a leak's attempts got in, in the order of the verdicts."""
    opened = [v for v in verdicts["verdicts"] if v["leak"] == leak and v["outcome"] == "accepted"]
    return [json.loads(v["evidence"]["http"]["body"])["balance"] for v in opened]


def in_class(engine: docker.DockerClient, name: str, runs: Path, **settings: str) -> Iterator[Class]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        it = Class(engine, f"certreplay-{name}-{os.getpid()}", runs, free.getsockname()[1], settings)
    try:
        yield it
    finally:
        it.compose("down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="module")
def classroom(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Class]:
    """A class that goes on after its verdicts, as it does in front of students."""
    for it in in_class(engine, "test", tmp_path_factory.mktemp("runs"), CERTREPLAY_WIDTH="110", NO_COLOR="1"):
        it.runs.chmod(0o755)  # for the page
        built = it.compose(*OF_A_CLASS, "build")
        assert built.returncode == 0, built.stderr
        up = it.compose("up", "--build", "--detach")
        assert up.returncode == 0, up.stderr
        it.verdicts()
        yield it


def test_the_verdicts_are_as_expected(classroom: Class) -> None:
    verdicts = classroom.verdicts()
    assert verdicts["as_expected"] is True, verdicts.get("contradictions")
    assert outcomes(verdicts, "wire") == {(gateway, move): does for gateway, does in SERVED.items() for move in MOVES}
    assert {c["outcome"] for c in verdicts["controls"]} == {"accepted"}
    assert len(verdicts["controls"]) == 2 * len(SERVED)
    assert "ARP" in verdicts["capture"]["source"]
    assert balances(verdicts, "wire") == [5000, 4900, 4800, 4700, 4600, 4500]


def test_what_is_said_of_the_tls_13_login_is_of_that_connection(classroom: Class) -> None:
    """Nothing translates addresses here: alice, the attacker and the gateway know the connection by the same one."""
    classroom.verdicts()
    (run,) = classroom.runs.iterdir()
    told = " ".join(classroom.container("lab").logs().decode().partition(". Over TLS 1.3")[2].split())
    client = re.findall(r"Alice logs in at `pinned-mtls@instrument`, TLS 1.3: (\S+) to", told)
    assert client
    assert f"client {client[0]} gateway log authenticated the client as O=Bank of Example,CN=alice" in told
    of_attacker = reported(run, "attacker")
    (seen,) = [one for one in of_attacker if one["type"] == "handshake-seen" and one["client"] == client[0]]
    (login,) = [one for one in reported(run, "victim-client") if one.get("connection") == seen["server_random"]]
    of_server = [one for one in reported(run, "victim-server") if one["type"] == "client-authenticated"]
    (report,) = [one for one in of_server if one["peer"] == client[0]]
    assert (login["tls"], login["gateway"]) == (report["tls"], report["gateway"]) == ("1.3", "pinned-mtls@instrument")
    assert report["sha256"] in told


def test_both_victims_are_really_poisoned(classroom: Class) -> None:
    _, mallory = classroom.address("attacker")
    classroom.wait_for_tables("victim-client", mallory, mallory)


def test_the_attacker_holds_one_capability(classroom: Class) -> None:
    settings = classroom.container("attacker").attrs["HostConfig"]
    assert settings["CapDrop"] == ["ALL"]
    assert [capability.removeprefix("CAP_") for capability in settings["CapAdd"]] == ["NET_RAW"]
    assert settings["Privileged"] is False
    assert settings["ReadonlyRootfs"] is True
    fields = classroom.status("attacker")
    for capabilities in ("CapEff", "CapPrm", "CapBnd"):
        assert int(fields[capabilities], 16) == NET_RAW
    assert fields["NoNewPrivs"] == "1"


def held(container: Container) -> list[tuple[str, int, int]]:
    """The processes of a container, without those that somebody started in it later: the name of each, its effective
    and its bounding capabilities (proc_pid_status(5))."""
    top = container.top()
    found = []
    for row in top["Processes"]:
        status = Path(f"/proc/{row[top['Titles'].index('PID')]}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        found.append((fields["Name"], int(fields["CapEff"], 16), int(fields["CapBnd"], 16)))
    assert found, container.name
    return found


def test_no_process_holds_a_capability_but_the_attackers(classroom: Class) -> None:
    """The judge neither, which reads what others wrote; here it works for root, who owns the folder of the runs."""
    running = classroom.containers(ended=False)
    assert {"attacker", "lab", "victim-client", "victim-server"} <= running.keys()
    for service, container in running.items():
        most = NET_RAW if service == "attacker" else 0
        for name, effective, bounding in held(container):
            assert (effective, bounding) == (most, most), f"{service}: {name}"


@pytest.mark.parametrize("service", ["victim-client", "victim-server"])
def test_the_victims_hold_no_capability_and_are_not_root(classroom: Class, service: str) -> None:
    fields = classroom.status(service)
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert "0" not in fields["Uid"].split()


def test_the_attackers_container_holds_no_private_key(classroom: Class) -> None:
    places = ("/data", "/public", "/keys", "/tmp", "/opt", "/etc", "/home", "/root", "/run", "/var")
    _, found = classroom.run_in("attacker", "grep", "-rEsl", PEM_KEY, *places)
    assert found == ""
    mounted = {mount["Destination"] for mount in classroom.container("attacker").attrs["Mounts"]}
    assert mounted == {"/data", "/public", "/scope"}


@pytest.fixture
def strangers(classroom: Class) -> Iterator[tuple[str, list[str]]]:
    """Another network with two hosts on it, which have nothing to do with the lab: its name and their addresses."""
    image = classroom.container("victim-server").image
    assert image
    name = f"{classroom.project}-strangers"
    network = classroom.engine.networks.create(name, driver="bridge", internal=True)
    hosts: list[Container] = []
    try:
        for _ in range(2):
            of_no_project = {"com.docker.compose.project": ""}
            hosts.append(
                classroom.engine.containers.run(
                    image, ["sleep", "600"], network=name, detach=True, labels=of_no_project
                )
            )
            hosts[-1].reload()
        yield (
            name,
            [host.attrs["NetworkSettings"]["Networks"][name]["IPAddress"] for host in hosts],
        )
    finally:
        for host in hosts:
            host.remove(force=True)
        network.remove()


def refused(it: Class, service: str, *arguments: str) -> str:
    """What the attacker says when it refuses a call in a service's container: one line, with status 2."""
    status, output = it.run_in(service, "python", "-m", "attacker", *arguments, "--folder", "/tmp/refused")
    assert status == 2, output
    assert output.count("\n") == 1
    return output


def test_on_a_second_network_the_attacker_does_nothing(classroom: Class, strangers: tuple[str, list[str]]) -> None:
    """`docker network connect` puts it there; then neither the strangers nor the lab's own hosts are tried."""
    name, (client, server) = strangers
    network, attacker = classroom.engine.networks.get(name), classroom.container("attacker")
    network.connect(attacker)
    try:
        for hosts in ((client, server), ("victim-client", "victim-server")):
            said = refused(classroom, "attacker", "arp", "--client", hosts[0], "--server", hosts[1])
            assert "out of scope: the attacker works on one network, the run's; this is on eth0 " in said
        said = refused(classroom, "attacker", "relay", "--forward", f"127.0.0.1:0={server}:443")
        assert said.startswith(f"attacker: {server} is out of scope: ")
        assert not {client, server} & classroom.arp_table("attacker").keys()
    finally:
        network.disconnect(attacker)


def test_a_stranger_on_the_labs_network_is_no_victim(classroom: Class, strangers: tuple[str, list[str]]) -> None:
    lan = classroom.engine.networks.get(f"{classroom.project}_lan")
    _, (address, _) = strangers
    (stranger,) = (
        one
        for one in classroom.engine.containers.list(filters={"network": strangers[0]})
        if address in json.dumps(one.attrs["NetworkSettings"])
    )
    lan.connect(stranger, aliases=["victim-client"])
    try:
        stranger.reload()
        here = stranger.attrs["NetworkSettings"]["Networks"][lan.name]["IPAddress"]
        said = refused(classroom, "attacker", "arp", "--client", here, "--server", "victim-server")
        client, server = (f"{one} ({classroom.address(one)[0]})" for one in ("victim-client", "victim-server"))
        assert said == (f"attacker: {here} is out of scope: it is not a host of this run; hosts: {server}, {client}\n")
    finally:
        lan.disconnect(stranger)


def test_the_attacker_cannot_write_its_own_scope(classroom: Class) -> None:
    for place in ("/public/scope.json", "/public/more", "/scope/victim-server.json", "/scope/more"):
        status, output = classroom.run_in("attacker", "sh", "-c", f"echo > {place}")
        assert status != 0
        assert "Read-only file system" in output


@pytest.mark.parametrize(
    ("subnet", "why"),
    [
        (
            "203.0.113.0/24",
            "that is not a private network; choose one within 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16",
        ),
        ("10.0.0.0/7", "that is not a private network"),
        ("10.99.0.5/24", "10.99.0.5/24 has host bits set; write a subnet such as 10.99.0.0/24"),
        ("10.99.0.0/29", "too small; the lab takes a /28 or more"),
        ("10.99.0.0", "too small"),
        ("fd00:1::/64", "write a subnet such as 10.99.0.0/24"),
        ("banana", "write a subnet such as 10.99.0.0/24"),
    ],
)
def test_a_subnet_that_cannot_serve_the_lab_is_refused(subnet: str, why: str) -> None:
    with pytest.raises(RunError, match=re.escape(why)) as refusal:
        check_subnet(subnet)
    assert str(refusal.value).startswith(f"CERTREPLAY_SUBNET={subnet}: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("subnet", ["10.99.0.0/28", "10.0.0.0/8", "172.31.255.0/24", "192.168.0.0/16"])
def test_a_private_subnet_that_is_big_enough_is_taken(subnet: str) -> None:
    check_subnet(subnet)


def test_what_cannot_work_is_said_in_one_line_before_anything_starts(classroom: Class, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    os.chown(closed, 12345, 12345)
    closed.chmod(0o555)
    check = ("run", "--rm", "--no-deps", "--no-TTY", "check")
    for settings, runs, why in (
        (
            {"CERTREPLAY_SUBNET": "203.0.113.0/24"},
            classroom.runs,
            "CERTREPLAY_SUBNET=203.0.113.0/24: that is not a pri",
        ),
        ({}, closed, f"CERTREPLAY_RUNS={closed}: the runs cannot be kept there (Permission denied); let its owner wr"),
    ):
        done = replace(classroom, settings=settings, runs=runs).compose(*check)
        assert done.returncode == 2
        (line,) = (line for line in done.stderr.splitlines() if "CERTREPLAY" in line)
        assert line.startswith(f"certreplay: {why}")
    assert classroom.compose(*check).returncode == 0

    found = json.loads(classroom.compose(*OF_A_CLASS, "config", "--format", "json").stdout)["services"]
    after: dict[str, set[str]] = {name: set(service.get("depends_on", {})) for name, service in found.items()}
    assert found["authority"]["depends_on"]["check"]["condition"] == "service_completed_successfully"
    ready = {"check"}
    while more := {name for name, needs in after.items() if needs & ready} - ready:
        ready |= more
    assert ready == set(found)


def test_a_plain_up_shows_what_cannot_work(engine: docker.DockerClient, tmp_path: Path) -> None:
    subnet = f"10.215.{os.getpid() % 256}.0/29"
    for it in in_class(engine, "small", tmp_path, CERTREPLAY_SUBNET=subnet):
        up = it.compose("up", "--build")
        assert up.returncode == 1
        assert f" | certreplay: CERTREPLAY_SUBNET={subnet}: too small; the lab takes a /28 or more\n" in up.stderr
        assert {name for name, one in it.containers().items() if one.status != "created"} == {"check"}
    assert not list(tmp_path.iterdir())


def test_a_bank_that_is_killed_in_mid_run_is_named_at_once(engine: docker.DockerClient, tmp_path: Path) -> None:
    """Nobody attacks it here, so that the verdicts never come."""
    for it in in_class(engine, "killed", tmp_path):
        up = it.compose("up", "--build", "--detach", "victim-client", "lab")
        assert up.returncode == 0, up.stderr
        it.container("victim-server").kill()
        why = "victim-server: ended before the verdicts: it was killed or broke off"
        assert it.verdicts()["errors"][0].startswith(why)
        assert f"certreplay: {why}" in it.container("lab").logs().decode()


def test_the_search_for_keys_finds_the_victims_own(classroom: Class) -> None:
    """The control of the test above."""
    status, found = classroom.run_in("victim-client", "grep", "-rEsl", PEM_KEY, "/keys")
    assert status == 0
    assert sorted(found.split()) == ["/keys/client/alice-self-signed.pem", "/keys/client/alice.pem"]


@pytest.mark.parametrize(("image", "most"), [("victim-client", 70), ("victim-server", 70), ("attacker", 120)])
def test_an_image_adds_little_to_its_base(classroom: Class, image: str, most: int) -> None:
    """In megabytes: with a base of 80, at most 150 for a victim and 200 for the attacker."""
    size = {name: classroom.engine.images.get(name).attrs["Size"] for name in (f"certreplay-{image}:{TAG}", BASE)}
    assert size[f"certreplay-{image}:{TAG}"] - size[BASE] < most * MEGABYTE


PROBE = """
import asyncio, json, sys

async def answers(address):
    try:
        async with asyncio.timeout(3):
            _, writer = await asyncio.open_connection(address, int(sys.argv[1]))
            writer.close()
            return True
    except OSError:
        return False

async def main():
    found = await asyncio.gather(*map(answers, sys.argv[2:]))
    print(json.dumps([one for one, answered in zip(sys.argv[2:], found) if answered]))

asyncio.run(main())
"""
"""Prints which of the addresses answer at the port."""


@pytest.fixture
def of_the_host(classroom: Class) -> Iterator[list[str]]:
    """A port at which a service of the host listens on every address, and these addresses: the host's own in IPv4 and
    IPv6, and the one that an engine gives a bridge."""
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1000)
    with listener:
        links = json.loads(output_of("ip", "-json", "address"))
        found = [
            address["local"] + ("%eth0" if address["scope"] == "link" else "")
            for link in links
            for address in link["addr_info"]
            if address["scope"] != "host"
        ]
        (name,) = classroom.container("attacker").attrs["NetworkSettings"]["Networks"]
        (pool,) = classroom.engine.networks.get(name).attrs["IPAM"]["Config"]
        found.append(str(next(ip_network(pool["Subnet"]).hosts())))
        yield [str(listener.getsockname()[1]), *found]


def test_the_page_shows_the_run_and_can_do_nothing_else(classroom: Class) -> None:
    """At the address that it prints before there are verdicts, on the host's loopback, from a network of its own."""
    page = classroom.container("page")
    (told,) = page.logs(timestamps=True).decode().splitlines()
    when, _, said = told.partition(" The page is at ")
    assert said.startswith(f"http://127.0.0.1:{classroom.page_port}/?token=")
    (verdicts,) = classroom.runs.glob("*/verdicts.json")
    assert datetime.fromisoformat(when).timestamp() < verdicts.stat().st_mtime

    def shown() -> str:
        with urllib.request.urlopen(said) as answer:
            return str(answer.read().decode())

    assert f'data-run="{verdicts.parent.name}"' in shown()
    wait_until(lambda: "Where the proof is checked, no move gets in." in shown(), "the scene that needs the verdicts")

    made = page.attrs
    ways = [{"HostIp": "127.0.0.1", "HostPort": str(classroom.page_port)}]
    assert made["NetworkSettings"]["Ports"] == {"8440/tcp": ways}
    assert {(one["Destination"], one["RW"]) for one in made["Mounts"]} == {("/runs", False), ("/public", False)}
    assert (made["HostConfig"]["CapAdd"], made["HostConfig"]["ReadonlyRootfs"]) == (None, True)
    fields = classroom.status("page")
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert "0" not in fields["Uid"].split()
    (name,) = made["NetworkSettings"]["Networks"]
    assert list(classroom.engine.networks.get(name).attrs["Containers"]) == [page.id]

    connect = ["python", "-c", "import socket, sys; socket.create_connection((sys.argv[1], sys.argv[2]), 3)"]
    assert classroom.run_in("page", *connect, "127.0.0.1", "8440")[0] == 0
    for service, address, port in (
        ("page", classroom.address("victim-server")[0], "8441"),
        ("attacker", classroom.address("page")[0], "8440"),
    ):
        status, output = classroom.run_in(service, *connect, address, port)
        assert status == 1, service
        assert any(why in output.lower() for why in ("timed out", "unreachable", "no route")), output


ALONE = ("--rm", "--no-deps", "--no-TTY")
"""How a container of a service is run by itself."""


def services(it: Class) -> list[str]:
    """Every service of a class."""
    return it.compose(*OF_A_CLASS, "config", "--services").stdout.split()


def test_no_service_reaches_the_host(classroom: Class, of_the_host: list[str]) -> None:
    """A container of each service, with its networks and its capabilities. Docker's own network is the control.

    The page alone does reach the host, which publishes its port (docs/containment.md).
    """
    image = classroom.container("victim-server").image
    assert image
    probe = ["-c", PROBE, *of_the_host]
    of_no_project = {"com.docker.compose.project": ""}
    control = json.loads(classroom.engine.containers.run(image, ["python", *probe], remove=True, labels=of_no_project))
    assert len(control) > 1, "what listens on the host answers"

    def reached(service: str) -> list[str]:
        done = classroom.compose("run", *ALONE, "--entrypoint", "python", service, *probe)
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout.splitlines()[-1])
        return found

    everyone = [service for service in services(classroom) if service != "page"]
    assert len(everyone) > 15
    with ThreadPoolExecutor(4) as pool:
        assert dict(zip(everyone, pool.map(reached, everyone), strict=True)) == {service: [] for service in everyone}


def test_the_host_has_no_address_on_the_network_and_no_route_to_it(classroom: Class) -> None:
    (name,) = classroom.container("attacker").attrs["NetworkSettings"]["Networks"]
    network = classroom.engine.networks.get(name)
    assert network.attrs["Internal"] is True
    assert network.attrs["EnableIPv6"] is False
    (bridge,) = json.loads(output_of("ip", "-json", "address", "show", "dev", f"br-{network.short_id}"))
    assert [one["local"] for one in bridge["addr_info"] if one["family"] == "inet"] == []
    assert json.loads(output_of("ip", "-json", "route", "show", "dev", f"br-{network.short_id}")) == []


def test_a_subnet_of_the_hosts_lan_takes_nothing_from_it(engine: docker.DockerClient, tmp_path: Path) -> None:
    """A pair of virtual interfaces is that LAN here."""
    lan = f"10.214.{os.getpid() % 256}"
    cable = f"cr{os.getpid() % 100000}"
    output_of("ip", "link", "add", cable, "type", "veth", "peer", "name", f"{cable}x")
    try:
        output_of("ip", "address", "add", f"{lan}.5/24", "dev", cable)
        output_of("ip", "link", "set", cable, "up")
        asked = [("ip", "route", "get", f"{lan}.{host}") for host in (1, 2, 9)]
        before = [output_of(*question) for question in asked]
        for it in in_class(engine, "overlap", tmp_path, CERTREPLAY_SUBNET=f"{lan}.0/24"):
            made = it.compose("run", *ALONE, "--entrypoint", "true", "victim-client")
            assert made.returncode == 0, made.stderr
            (network,) = engine.networks.list(names=[f"{it.project}_lan"])
            assert network.attrs["IPAM"]["Config"][0]["Subnet"] == f"{lan}.0/24"
            assert [output_of(*question) for question in asked] == before
    finally:
        output_of("ip", "link", "delete", cable)


def test_no_service_asks_a_name_server_outside(classroom: Class) -> None:
    """Docker answers with the names of the lab itself; it passes on no other question."""
    for service, container in classroom.containers().items():
        assert container.attrs["HostConfig"]["Dns"] == ["127.0.0.1"], service
    look_up = "import socket, sys; socket.getaddrinfo(sys.argv[1], 443)"
    assert classroom.run_in("victim-client", "python", "-c", look_up, "victim-server")[0] == 0
    status, output = classroom.run_in("victim-client", "python", "-c", look_up, "example.com")
    assert status == 1
    assert "gaierror" in output


def test_the_network_has_no_way_out(classroom: Class) -> None:
    image = classroom.container("victim-server").image
    assert image
    of_no_project = {"com.docker.compose.project": ""}
    serve = ["python", "-m", "http.server", "8000"]
    outside = classroom.engine.containers.run(image, serve, detach=True, labels=of_no_project)
    try:
        outside.reload()
        address = outside.attrs["NetworkSettings"]["IPAddress"]
        call = ["python", "-c", f"import socket; socket.create_connection(('{address}', 8000), 3)"]
        wait_until(lambda: outside.exec_run(call)[0] == 0, "the server outside")
        neighbour = classroom.engine.containers.run(image, call, remove=True, labels=of_no_project)
        assert neighbour == b""
        with ThreadPoolExecutor() as pool:  # each takes its three seconds
            parts = ("attacker", "victim-client", "victim-server", "page")
            for status, output in pool.map(lambda part: classroom.run_in(part, *call), parts):
                assert status == 1, output
                assert any(why in output.lower() for why in ("timed out", "unreachable", "no route")), output
    finally:
        outside.remove(force=True)


def test_the_run_lies_on_the_host_and_belongs_to_whoever_owns_its_folder(classroom: Class) -> None:
    classroom.verdicts()
    (run,) = classroom.runs.iterdir()
    stolen = ("attacker/stolen/alice-self-signed.pem", "attacker/stolen/alice.pem")
    for name in (*stolen, "attacker/capture.pcapng", "victim-client/keys.log", "verdicts.json"):
        assert (run / name).stat().st_uid == classroom.runs.stat().st_uid


def test_tshark_decrypts_what_was_sniffed(classroom: Class) -> None:
    (run,) = classroom.runs.iterdir()
    classroom.verdicts()
    keys = f"tls.keylog_file:{run}/victim-client/keys.log"
    requests = tshark(run / "attacker" / "capture.pcapng", "-o", keys, "-Y", "http.request")
    assert any("GET /account" in request for request in requests)


def test_the_story_is_told_and_the_lab_goes_on(classroom: Class) -> None:
    told = classroom.container("lab").logs().decode()
    assert "So why isn't the certificate enough?" in told
    assert "press Ctrl-C to stop it" in told
    assert classroom.container("lab").status == "running"


@pytest.fixture(scope="module")
def second(classroom: Class, engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Class]:
    """A copy beside the first, with a shop, on a subnet of its own; it ended by itself."""
    settings = {"CERTREPLAY_ONCE": "1", "CERTREPLAY_SUBNET": SECOND_SUBNET, "COMPOSE_PROFILES": "rogue"}
    settings["CERTREPLAY_STUDENT"] = "s07"
    runs = tmp_path_factory.mktemp("runs")
    os.chown(runs, 12345, 12345)
    for it in in_class(engine, "second", runs, **settings):
        ended = it.compose("up", "--build", "--exit-code-from", "lab")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        yield it


def test_a_second_copy_runs_beside_it_and_ends_with_the_verdicts_status(classroom: Class, second: Class) -> None:
    assert second.verdicts()["as_expected"] is True
    (network,) = second.engine.networks.list(names=[f"{second.project}_lan"])
    assert network.attrs["IPAM"]["Config"][0]["Subnet"] == SECOND_SUBNET
    for service in ("victim-client", "attacker"):
        images = [one.container(service).image for one in (classroom, second)]
        layers = [image.attrs["RootFS"]["Layers"] for image in images if image]
        assert layers[0] == layers[1]  # compose labels each image with its project
    assert classroom.container("lab").status == "running"
    (run,) = second.runs.iterdir()
    assert {path.stat().st_uid for path in (run, *run.rglob("*"))} == {12345}


def test_the_story_has_colours_and_fits_80_columns_beside_composes_prefix(second: Class) -> None:
    told = second.container("lab").logs().decode()
    assert re.search("\x1b\\[[0-9;]*31maccepted", told)
    plain = re.sub("\x1b\\[[0-9;]*m", "", told)
    assert 40 < max(map(len, plain.splitlines())) <= 80 - len("victim-server-1  | ")


def test_a_students_class_names_him_in_alices_certificates(second: Class) -> None:
    verdicts = second.verdicts()
    assert verdicts["student"] == "s07"
    assert verdicts["capture"]["subject"] == "OU=s07,O=Bank of Example,CN=alice"


def test_a_shop_tries_at_the_bank_what_alice_showed_it(second: Class) -> None:
    shown = outcomes(second.verdicts(), "rogue-server")
    assert {(gateway, outcome) for (gateway, _), outcome in shown.items()} == set(SERVED.items())
    (run,) = second.runs.iterdir()
    for name in ("alice.pem", "alice-self-signed.pem"):
        assert (run / "rogue-server" / "stolen" / name).read_text().count("BEGIN") == 1
    shop = second.container("rogue-server").attrs
    assert shop["HostConfig"]["CapDrop"] == ["ALL"]
    assert not shop["HostConfig"]["CapAdd"]
    assert shop["HostConfig"]["ReadonlyRootfs"] is True
    assert shop["Config"]["User"] == "lab"
    assert {mount["Destination"] for mount in shop["Mounts"]} == {"/data", "/public", "/scope", "/keys/shop"}


INTERCEPTED = ("careful-client", "careless-client")


@pytest.fixture(scope="module")
def intercepted(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Class]:
    """A class with all there is, every leak beside the attacker. It goes on after its verdicts."""
    for it in in_class(engine, "inter", tmp_path_factory.mktemp("runs"), COMPOSE_PROFILES="leaks"):
        up = it.compose("up", "--build", "--detach")
        assert up.returncode == 0, up.stderr
        it.verdicts()
        yield it


def reported(run: Path, part: str) -> list[dict[str, Any]]:
    """A part's events, as far as they have been copied."""
    return [
        json.loads(line)
        for line in (run / part / "events.jsonl").read_text().splitlines(keepends=True)
        if line[-1] == "\n"
    ]


def handshakes_seen(it: Class, client: str) -> dict[str, list[tuple[bool, bool]]]:
    """The handshakes of a client with the interceptor, as tshark reads them with that client's keys, by version of TLS:
    whether the server's Certificate was there, and whether the client's was, with a certificate in it.

    The capture may also have handshakes from just before it came and just after it left; it did not report those, and
    they do not count. This fails where there are not several handshakes of each version.
    """
    (run,) = it.runs.iterdir()
    address, _ = it.address(client)
    answered = {one["client"] for one in reported(run, "interceptor") if one["type"] == "intercepted"}
    of_tls = ("tls.handshake.type", "tls.handshake.ciphersuite", "tls.handshake.certificate")
    fields = ("tcp.stream", "ip.src", "tcp.srcport", *of_tls)
    options = ["-o", f"tls.keylog_file:{run}/{client}/keys.log", "-Y", f"ip.addr == {address} && tls.handshake"]
    options += ["-T", "fields", *[word for field in fields for word in ("-e", field)]]
    rows = [line.split("\t") for line in tshark(run / "interceptor" / "interception.pcapng", *options)]
    found: dict[str, list[tuple[bool, bool]]] = {"1.2": [], "1.3": []}
    for stream in dict.fromkeys(row[0] for row in rows if f"{row[1]}:{row[2]}" in answered):
        of_stream = [row for row in rows if row[0] == stream]
        chosen = next(row[4] for row in of_stream if row[1] != address and "2" in row[3].split(","))
        version = "1.3" if chosen.startswith("0x13") else "1.2"
        sent = {mine: any(row[5] for row in of_stream if (row[1] == address) is mine) for mine in (True, False)}
        found[version].append((sent[False], sent[True]))
    assert min(map(len, found.values())) >= 2, found
    return found


def test_an_interceptor_tries_at_the_bank_what_careless_alice_handed_it(intercepted: Class) -> None:
    verdicts = intercepted.verdicts()
    assert verdicts["as_expected"] is True, verdicts.get("contradictions")
    assert {verdict["leak"] for verdict in verdicts["verdicts"]} == {leak.id for leak in LEAKS}
    assert balances(verdicts, "wire") == [5000, 4900, 4800, 4700, 4600, 4500]
    assert {v["evidence"]["stolen"] for v in verdicts["verdicts"] if v["outcome"] == "accepted"} == {100}
    assert outcomes(verdicts, "interception") == {
        (gateway, move): "not applicable" if move == "replay-proof" else does
        for gateway, does in SERVED.items()
        for move in MOVES
    }
    (run,) = intercepted.runs.iterdir()
    assert (run / "interceptor" / "stolen" / "alice.pem").read_text().count("BEGIN") == 1


def test_a_careless_clients_fresh_proofs_are_relayed_and_do_not_fit(intercepted: Class) -> None:
    verdicts = intercepted.verdicts()
    relayed = {(one["gateway"], one["key_exchange"]): one["outcome"] for one in verdicts["relays"]}
    openssl = {(gateway, "RSA"): "refused" for gateway in SERVED if gateway.endswith("@openssl")}
    assert relayed == {(gateway, "ECDHE"): does for gateway, does in SERVED.items()} | openssl
    assert {one["same_keys"] for one in verdicts["relays"] if one["key_exchange"] == "RSA"} == {True}
    shown = outcomes(verdicts, "live-relay")
    assert {(gateway, outcome) for (gateway, _), outcome in shown.items()} == set(SERVED.items())
    (run,) = intercepted.runs.iterdir()
    logins = [one for one in reported(run, "relayed-client") if one["type"] in ("logged-in", "login-failed")]
    assert {login["gateway"] for login in logins} == {f"{gateway}, relayed" for gateway in SERVED}


def test_the_banks_backup_opens_what_asks_for_the_certificate_alone(intercepted: Class) -> None:
    verdicts = intercepted.verdicts()
    log = {
        (gateway, move): "not applicable" if move == "replay-proof" else does
        for gateway, does in SERVED.items()
        for move in MOVES
    }
    assert outcomes(verdicts, "log") == log
    for (gateway, move), outcome in outcomes(verdicts, "database").items():
        assert outcome == (log[gateway, move] if gateway in PINNED else "not applicable")
    (run,) = intercepted.runs.iterdir()
    kept = {path.name for path in (run / "leaked-backup" / "stolen").iterdir()}
    customers = (f"{name}-self-signed.pem" for name in ("alice", "bob", "carol"))
    assert kept == {"alice.pem", "alice-2.pem", *customers}  # the second is from the certificate request


def test_with_the_issuers_copies_mallory_is_alice_and_with_its_requests_she_is_not(intercepted: Class) -> None:
    verdicts = intercepted.verdicts()
    without = {
        (gateway, move): "not applicable" if move == "replay-proof" else does
        for gateway, does in SERVED.items()
        for move in MOVES
    }
    with_key = {(gateway, "stolen-key"): "accepted" for gateway in SERVED}
    assert outcomes(verdicts, "archive") == without | with_key
    assert outcomes(verdicts, "requests") == {
        (gateway, move): "not applicable" if gateway in PINNED else does for (gateway, move), does in without.items()
    }
    assert {verdict["leak"] for verdict in verdicts["verdicts"] if verdict["move"] == "stolen-key"} == {"archive"}
    (run,) = intercepted.runs.iterdir()
    found = {part: [one for one in reported(run, part) if one["type"] == "key-found"] for part in MALLORYS}
    assert {one["sha256"] for one in found.pop("leaked-archive")} >= issued_to_alice(run)
    assert not any(found.values())
    settled = {claim.id: one.holding for claim, one in settle(CLAIMS, RunQueries(JudgedRun(open_run(run))))}
    assert settled["issuer-has-the-key"] == Holding.CONDITIONAL
    for path in run.rglob("*"):
        assert not path.is_file() or not re.search(PEM_KEY.encode(), path.read_bytes(), re.MULTILINE), path


def issued_to_alice(run: Path) -> set[str]:
    """The certificates in her bundles."""
    issued = [one for one in reported(run, "authority") if one["type"] == "bundle-issued"]
    return {one["sha256"] for one in issued if one["files"]}


def test_alice_is_let_in_with_the_key_that_she_made(intercepted: Class) -> None:
    intercepted.verdicts()
    (run,) = intercepted.runs.iterdir()
    (asked,) = [one for one in reported(run, "authority") if one["type"] == "bundle-issued" and not one["files"]]
    logins = [one for one in reported(run, "own-key-client") if one["type"] in ("logged-in", "login-failed")]
    assert {(one["type"], one["gateway"], one["tls"], one["sha256"]) for one in logins} == {
        ("logged-in", f"{gateway}, by request", tls, asked["sha256"])
        for gateway in SERVED.keys() - set(PINNED)
        for tls in ("1.2", "1.3")
    }
    (stolen,) = [one for one in reported(run, "leaked-backup") if one.get("leak") == "requests" and one.get("sha256")]
    assert stolen["sha256"] == asked["sha256"]
    assert intercepted.container("own-key-client").attrs["State"]["ExitCode"] == 0


READERS = {
    "issuer-archive": {"authority": True, "leaked-archive": False},
    "own-key": {"requesting-client": True, "own-key-client": False},
    "requests": {"requesting-client": True, "authority": True, "own-key-client": False, "leaked-backup": False},
}
"""Who mounts what the issuer keeps, and what alice has for herself; true for those who can write it."""
KEYS_KEPT = {"issuer-archive": 4, "own-key": 1, "requests": 0}
"""How many private keys are in there; the archive has those of alice's two bundles, and bob's and carol's."""


@pytest.mark.parametrize("volume", READERS)
def test_a_volume_with_keys_is_mounted_where_it_is_needed_only(intercepted: Class, volume: str) -> None:
    name = f"{intercepted.project}_{volume}"
    mounted = {
        service: mount["RW"]
        for service, container in intercepted.containers().items()
        for mount in container.attrs["Mounts"]
        if mount.get("Name") == name
    }
    assert mounted == READERS[volume]
    image = intercepted.container("leaked-archive").image
    assert image
    found = intercepted.engine.containers.run(
        image,
        ["sh", "-c", f"cat /kept/* | grep -cE '{PEM_KEY}' || true"],
        volumes={name: {"bind": "/kept", "mode": "ro"}},
        labels={"com.docker.compose.project": ""},
        remove=True,
    )
    assert int(found) == KEYS_KEPT[volume]


def test_the_backup_has_the_register_and_the_log_and_no_key(intercepted: Class) -> None:
    """And nobody but the bank can write it."""
    (run,) = intercepted.runs.iterdir()
    image = intercepted.container("leaked-backup").image
    assert image
    volume = {f"{intercepted.project}_bank-backup": {"bind": "/backup", "mode": "ro"}}
    look = (
        f"cd /backup; find . -type f | sort; grep -rEsl '{PEM_KEY}' . || echo no key; grep -c CERTIFICATE */access.log"
    )
    found = intercepted.engine.containers.run(
        image, ["sh", "-c", look], volumes=volume, labels={"com.docker.compose.project": ""}, remove=True
    )
    *files, keys, lines = found.decode().split("\n")[:-1]
    assert files == [f"./{run.name}/access.log", f"./{run.name}/customers.sqlite"]
    assert keys == "no key"
    assert int(lines) > 0
    for service, container in intercepted.containers().items():
        for mount in container.attrs["Mounts"]:
            if mount["Destination"] == "/backup":
                assert mount["RW"] == (service == "victim-server"), service


@pytest.mark.parametrize(
    ("service", "mounts"),
    [("live-relay", set()), ("leaked-backup", {"/backup", "/requests"}), ("leaked-archive", {"/keys/archive"})],
)
def test_the_leaks_that_need_no_capability_have_none_and_read_their_file_alone(
    intercepted: Class, service: str, mounts: set[str]
) -> None:
    attributes = intercepted.container(service).attrs
    assert attributes["Config"]["User"] == "lab"
    assert not attributes["HostConfig"]["CapAdd"]
    assert {mount["Destination"] for mount in attributes["Mounts"]} == {"/data", "/public", "/scope"} | mounts
    assert attributes["State"]["ExitCode"] == 0


def test_the_leaks_are_told(intercepted: Class) -> None:
    printed = re.sub(r"\x1b\[[0-9;]*m", "", intercepted.container("lab").logs().decode())
    told = " ".join(printed.split())
    for leak in LEAKS[1:]:
        assert re.search(rf"^\d+\. {leak.title}$", printed, re.MULTILINE)
    assert re.search(r"a shop at \S+, which accepts any certificate and checks its proof", told)
    assert "The accounts of bob and carol were opened too." in told


def test_who_is_intercepted_is_no_control(intercepted: Class) -> None:
    controls = intercepted.verdicts()["controls"]
    assert {control["gateway"] for control in controls} == SERVED.keys()
    (run,) = intercepted.runs.iterdir()
    for client in INTERCEPTED:
        logins = [one for one in reported(run, client) if one["type"] in ("logged-in", "login-failed")]
        who = client.removesuffix("-client")
        assert {login["gateway"] for login in logins} == {f"{gateway}, {who}" for gateway in SERVED}


def test_careful_alice_breaks_off_before_she_has_sent_a_certificate(intercepted: Class) -> None:
    for version, handshakes in handshakes_seen(intercepted, "careful-client").items():
        assert set(handshakes) == {(True, False)}, version


def test_careless_alice_hands_her_certificate_over_in_both_versions(intercepted: Class) -> None:
    """The control of the test above: what isn't there can be seen where it is."""
    for version, handshakes in handshakes_seen(intercepted, "careless-client").items():
        assert set(handshakes) == {(True, True)}, version


def test_mitmproxy_cannot_go_on_to_the_bank(intercepted: Class) -> None:
    (run,) = intercepted.runs.iterdir()
    went_on = [one for one in reported(run, "interceptor") if one["type"] == "went-on"]
    assert {one["server"].rpartition(":")[2] for one in went_on} == {f"844{number}" for number in range(1, 6)}
    assert all(one["reason"] for one in went_on)
    refused = {one["peer"] for one in reported(run, "victim-server") if one["type"] == "client-refused"}
    assert {one["local"] for one in went_on} <= refused
    handed = [one for one in reported(run, "interceptor") if one["type"] == "intercepted" and one["sha256"]]
    assert {one["tls"] for one in handed} == {"1.2", "1.3"}


def test_the_clients_get_in_again_when_the_interceptor_has_left(intercepted: Class) -> None:
    (run,) = intercepted.runs.iterdir()
    (left,) = [one for one in reported(run, "interceptor") if one["type"] == "position-left"]
    healed = {intercepted.address(service)[0] for service in (*INTERCEPTED, "victim-server")}
    assert set(left["healed"]) == healed
    _, server = intercepted.address("victim-server")

    def is_in(client: str) -> bool:
        since = [one for one in reported(run, client) if one["time"] > left["time"]]
        return {one["tls"] for one in since if one["type"] == "logged-in"} == {"1.2", "1.3"}

    for client in INTERCEPTED:
        wait_until(partial(intercepted.believes, client, "victim-server", server), "the client's healed table")
        wait_until(partial(is_in, client), "the client's logins")


def test_the_interceptor_alone_holds_what_a_redirection_takes(intercepted: Class) -> None:
    for service, container in intercepted.containers().items():
        settings = container.attrs["HostConfig"]
        added = {capability.removeprefix("CAP_") for capability in settings["CapAdd"] or ()}
        expected = {
            "interceptor": {"NET_RAW", "NET_ADMIN"},
            "attacker": {"NET_RAW"},
            "check": {"SETUID", "SETGID", "SETPCAP"},
            "lab": {"SETUID", "SETGID", "SETPCAP"},
        }
        assert added == expected.get(service, set()), service
        assert settings["CapDrop"] == ["ALL"], service
        assert settings["Privileged"] is False, service
        assert settings["ReadonlyRootfs"] is True, service
        assert any(option.startswith("no-new-privileges") for option in settings["SecurityOpt"]), service
    fields = intercepted.status("interceptor")
    for capabilities in ("CapEff", "CapPrm", "CapBnd"):
        assert int(fields[capabilities], 16) == NET_RAW | NET_ADMIN
    assert fields["NoNewPrivs"] == "1"


def test_no_process_of_the_leaks_holds_a_capability_but_the_attackers(intercepted: Class) -> None:
    """The interceptor's first process heals, its second one has given up what it held."""
    running = intercepted.containers(ended=False)
    assert {"attacker", "interceptor", "careful-client", "careless-client", "lab"} <= running.keys()
    most = {"attacker": NET_RAW, "interceptor": NET_RAW | NET_ADMIN}
    for service, container in running.items():
        for name, effective, bounding in held(container):
            assert bounding == most.get(service, 0), f"{service}: {name}"
            assert effective in (0, bounding), f"{service}: {name}"


def test_an_image_holds_nothing_that_only_its_making_took(intercepted: Class) -> None:
    names = ("pip", "ensurepip", "*.whl", "*.deb", "*_InRelease", "*_Packages*")
    search = ["find", "/", "-xdev", *" -o ".join(f"-name {name}" for name in names).split()]
    for service in ("victim-client", "victim-server", "attacker", "interceptor", "lab"):
        _, found = intercepted.run_in(service, *search)
        assert [line for line in found.splitlines() if "Permission denied" not in line] == [], service


def test_every_container_has_its_limits_and_none_is_asked_for_its_health(intercepted: Class) -> None:
    for service, container in intercepted.containers().items():
        settings = container.attrs["HostConfig"]
        assert settings["NanoCpus"] == 10**9, service
        assert settings["PidsLimit"] == 64, service
        assert settings["Memory"] == settings["MemorySwap"] == 512 << 20, service
        assert settings["ShmSize"] == 1 << 20, service
        assert settings["LogConfig"]["Type"] == "json-file", service
        assert settings["LogConfig"]["Config"] == {"max-size": "4m", "max-file": "2"}, service
        limits = {one["Name"]: one["Hard"] for one in settings["Ulimits"]}
        assert limits == {"core": 0, "nofile": 4096, "fsize": 256 << 20}, service
        assert "Healthcheck" not in container.attrs["Config"], service


def test_the_interceptor_tries_its_moves_without_any_capability(intercepted: Class) -> None:
    """Its guard, which is the container's first process, keeps what it heals with."""
    _, found = intercepted.run_in("interceptor", "sh", "-c", "grep -lE '^PPid:.1$' /proc/[0-9]*/status")
    (interceptor,) = (path.split("/")[2] for path in found.split())
    fields = intercepted.status("interceptor", interceptor)
    for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(fields[capabilities], 16) == 0


def test_the_interceptor_is_stopped_in_the_middle_and_heals(intercepted: Class) -> None:
    """Its clients are not there to come by, so that it goes on waiting for them, mitmproxy and all."""
    _, client = intercepted.address("careful-client")
    _, server = intercepted.address("victim-server")
    for service in INTERCEPTED:
        intercepted.container(service).kill("SIGSTOP")  # the kernel still answers for them
    intercepted.container("interceptor").restart(timeout=60)
    _, mallory = intercepted.address("interceptor")
    intercepted.wait_for_tables("careful-client", mallory, mallory)

    redirection = ("interceptor", "nft", "list", "ruleset")
    wait_until(lambda: "redirect to :8080" in intercepted.run_in(*redirection)[1], "the redirection to mitmproxy")
    _, found = intercepted.run_in("interceptor", "sh", "-c", "grep -l '^mitmdump' /proc/[0-9]*/comm")
    (mitmproxy,) = (path.split("/")[2] for path in found.split())
    fields = intercepted.status("interceptor", mitmproxy)
    for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(fields[capabilities], 16) == 0
    places = ("/data", "/public", "/keys", "/opt", "/etc", "/home", "/root", "/run", "/var", "/tmp")
    _, found = intercepted.run_in("interceptor", "grep", "-rEslI", PEM_KEY, *places)
    (own,) = found.split()
    assert own.startswith("/tmp/mitmproxy-")
    assert own.endswith("/mitmproxy-ca.pem")
    mounted = {mount["Destination"] for mount in intercepted.container("interceptor").attrs["Mounts"]}
    assert mounted == {"/data", "/public", "/scope"}

    assert stop(intercepted, "interceptor") == {"interceptor": 0}
    intercepted.wait_for_tables("careful-client", server, client)


def test_killing_the_attacker_outright_heals_both_tables(classroom: Class) -> None:
    _, client = classroom.address("victim-client")
    _, server = classroom.address("victim-server")
    script = "for p in /proc/[0-9]*; do grep -q '^PPid:.1$' $p/status 2>/dev/null && kill -9 ${p#/proc/}; done"
    classroom.run_in("attacker", "sh", "-c", script)
    wait_until(lambda: classroom.container("attacker").status == "exited", "the attacker's end")
    assert classroom.container("attacker").wait()["StatusCode"] == 137
    classroom.wait_for_tables("victim-client", server, client)


def attack_again(it: Class) -> None:
    """Starts the attacker, if it has ended, and waits until it is between the victims."""
    assert it.compose("up", "--detach", "--no-deps", "attacker").returncode == 0
    _, mallory = it.address("attacker")
    it.wait_for_tables("victim-client", mallory, mallory)


def stop(it: Class, *services: str) -> dict[str, int]:
    """Stops services, or all, as a user does; the exit status of each that was running.

    A service that takes longer than its `stop_grace_period` is killed, and its status is 137.
    """
    running = it.containers(ended=False)
    stopped = it.compose("stop", *services)
    assert stopped.returncode == 0, stopped.stderr
    return {service: running[service].wait()["StatusCode"] for service in services or running}


def test_stopping_the_attacker_heals_both_tables(classroom: Class) -> None:
    attack_again(classroom)
    _, client = classroom.address("victim-client")
    _, server = classroom.address("victim-server")
    assert stop(classroom, "attacker") == {"attacker": 0}
    classroom.wait_for_tables("victim-client", server, client)


def test_everything_stops_by_itself_when_told(classroom: Class) -> None:
    attack_again(classroom)
    assert stop(classroom) == dict.fromkeys(("attacker", "victim-client", "victim-server", "lab", "page"), 0)
