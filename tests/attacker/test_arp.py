"""The ARP position, on a LAN of network namespaces: whom it fools, whom it doesn't, and that it heals."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from programs import program, unavailable, wait_until

CLIENT, SERVER, BYSTANDER, ATTACKER = "10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.0.9"
HOSTS = {"client": CLIENT, "server": SERVER, "bystander": BYSTANDER, "attacker": ATTACKER}
DEADLINE_SECONDS = 30
ROOT = Path(__file__).parents[2]
OURS = os.environ | {"PYTHONPATH": str(ROOT)}

ATTACK = """
import asyncio, os, signal, sys
from pathlib import Path
from lab import scope
folder, client, server, find_seconds, crash = sys.argv[1:]
scope.SCOPE_FILE, scope.PLACES = Path(folder, "scope.json"), Path(folder)
from attacker.errors import AttackerError
from attacker.position.watchdog import start_watchdog
watchdog = start_watchdog()
from attacker.position.arp import ArpPosition
from lab.process import stop_signal

async def main():
    stop = stop_signal(tether=False)
    async with ArpPosition(watchdog, client, server, find_seconds=float(find_seconds)) as position:
        print(os.getpid(), *position.describe(), sep="; ", flush=True)
        if crash == "crash":
            await asyncio.to_thread(sys.stdin.readline)
            raise RuntimeError("crashed as told")
        if crash == "midway":
            await asyncio.to_thread(sys.stdin.readline)
            watchdog._pipe.sendall(b'{"interface": "et')
            os.kill(os.getpid(), signal.SIGKILL)
        await position.hold(stop)
    print("healed", *position.healed, flush=True)

try:
    asyncio.run(main())
except AttackerError as error:
    sys.exit(f"attacker: {error}")
"""

PLACE = """
import sys
from pathlib import Path
from lab import scope
scope.SCOPE_FILE, scope.PLACES = Path(sys.argv[1], "scope.json"), Path(sys.argv[1])
if len(sys.argv) == 2:
    scope.write_scope(("client", "server", "absent"))
else:
    scope.write_place(sys.argv[2])
"""

ECHO = """
import socket
listener = socket.create_server(("0.0.0.0", 4433))
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(100))
"""

ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 4433), timeout=10) as connection:
    connection.settimeout(10)
    connection.sendall(b"balance?")
    assert connection.recv(100) == b"balance?"
"""


def ip(*arguments: str) -> str:
    return subprocess.run([program("ip"), *arguments], check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Lan:
    """Hosts, each in a namespace of its own, on one bridge."""

    name: str

    def namespace(self, host: str) -> str:
        return f"{self.name}-{host}"

    def command(self, host: str, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace(host), *arguments]

    def run(self, host: str, *arguments: str) -> str:
        return subprocess.run(self.command(host, *arguments), check=True, capture_output=True, text=True).stdout

    def mac(self, host: str) -> str:
        return ip("-n", self.namespace(host), "-br", "link", "show", "eth0").split()[2]

    def believes(self, host: str, about: str) -> str | None:
        """The MAC address at which `host` sends packets for the IP address `about`."""
        entry = ip("-n", self.namespace(host), "neigh", "show", "to", about, "dev", "eth0").split()
        return entry[entry.index("lladdr") + 1] if "lladdr" in entry else None

    def set(self, host: str, sysctl: str, value: str) -> None:
        self.run(host, "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{sysctl}")

    def build(self) -> None:
        switch = self.namespace("switch")
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "br0", "type", "bridge")
        ip("-n", switch, "link", "set", "br0", "up")
        for host, address in HOSTS.items():
            namespace = self.namespace(host)
            ip("netns", "add", namespace)
            for sysctl, value in {"ip_forward": "1", "conf/all/send_redirects": "0"}.items():
                self.set(host, sysctl, value)
            self.set(host, "conf/default/send_redirects", "0")
            ip("link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", host, "netns", switch)
            ip("-n", switch, "link", "set", host, "master", "br0", "up")
            ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")

    def remove(self) -> None:
        for host in (*HOSTS, "switch"):
            subprocess.run(["ip", "netns", "del", self.namespace(host)], check=False, capture_output=True)


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    built = Lan(f"certreplay-{secrets.token_hex(3)}")
    try:
        try:
            built.build()
        except (OSError, subprocess.CalledProcessError) as error:
            unavailable(f"needs root and network namespaces: {getattr(error, 'stderr', '') or error}")
        with subprocess.Popen(
            built.command("server", sys.executable, "-c", ECHO), stdout=subprocess.PIPE, text=True
        ) as echo:
            assert echo.stdout
            assert echo.stdout.readline() == "listening\n"
            yield built
            echo.kill()
    finally:
        built.remove()


@dataclass(frozen=True)
class Attack:
    """A running attacker; `watchdog` is the process that was started, `pid` the one that poisons."""

    watchdog: subprocess.Popen[str]
    pid: int
    description: str

    def end(self) -> tuple[int, str, str]:
        output, errors = self.watchdog.communicate(timeout=DEADLINE_SECONDS)
        return self.watchdog.returncode, output, errors


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def scope_folder(lan: Lan, tmp_path: Path) -> Path:
    """A run's scope, which names the client and the server; nobody may write it but nobody."""
    folder = tmp_path / "scope"
    folder.mkdir(mode=0o755)
    subprocess.run([sys.executable, "-c", PLACE, folder], check=True, env=OURS)
    for host in ("client", "server"):
        subprocess.run(lan.command(host, sys.executable, "-c", PLACE, str(folder), host), check=True, env=OURS)
    for path in (folder, *folder.iterdir()):
        os.chown(path, 65534, 65534)
    return folder


@pytest.fixture
def start(lan: Lan, scope_folder: Path, started: list[subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Starts the attacker with the one capability that it has in its container."""

    def start(client: str = CLIENT, server: str = SERVER, find: float = 30, crash: str = "") -> subprocess.Popen[str]:
        least = [program("setpriv"), "--bounding-set", "-all,+net_raw", "--no-new-privs"]
        arguments = [sys.executable, "-c", ATTACK, str(scope_folder), client, server, str(find), crash]
        process = subprocess.Popen(
            lan.command("attacker", *least, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=OURS,
        )
        started.append(process)
        return process

    return start


@pytest.fixture
def attack(lan: Lan, start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Attack]:
    """Starts the attacker and waits until it is between its victims."""

    def attack(crash: str = "") -> Attack:
        lan.run("client", sys.executable, "-c", ASK, SERVER)
        eventually(lambda: is_healthy(lan))
        watchdog = start(crash=crash)
        assert watchdog.stdout
        line = watchdog.stdout.readline()
        if not line:
            pytest.fail(f"the attacker ended at once: {watchdog.communicate()[1]}")
        pid, _, description = line.partition("; ")
        eventually(lambda: lan.believes("client", SERVER) == lan.believes("server", CLIENT) == lan.mac("attacker"))
        return Attack(watchdog, int(pid), description)

    return attack


def eventually(condition: Callable[[], bool]) -> None:
    wait_until(condition, "the network", DEADLINE_SECONDS)


def is_healthy(lan: Lan) -> bool:
    """Nothing waits for this after an attack: in time the victims would recover without having been healed."""
    beliefs = lan.believes("client", SERVER), lan.believes("server", CLIENT)
    return beliefs == (lan.mac("server"), lan.mac("client"))


def forwarded(lan: Lan) -> int:
    names, values = (line.split() for line in lan.run("attacker", "cat", "/proc/net/snmp").splitlines()[:2])
    return int(dict(zip(names, values, strict=True))["ForwDatagrams"])


def test_the_victims_traffic_goes_through_the_attacker(lan: Lan, attack: Callable[..., Attack]) -> None:
    running = attack()
    before = forwarded(lan)
    lan.run("client", sys.executable, "-c", ASK, SERVER)
    there_and_back = forwarded(lan) - before
    running.watchdog.terminate()
    assert there_and_back >= 8
    assert f"{CLIENT} sends packets for {SERVER} to {lan.mac('attacker')}" in running.description


def test_only_the_two_victims_are_fooled(lan: Lan, attack: Callable[..., Attack]) -> None:
    lan.run("bystander", sys.executable, "-c", ASK, SERVER)
    running = attack()
    lan.run("bystander", sys.executable, "-c", ASK, SERVER)
    beliefs = lan.believes("bystander", SERVER), lan.believes("server", BYSTANDER)
    running.watchdog.terminate()
    assert beliefs == (lan.mac("server"), lan.mac("bystander"))


def test_a_victim_that_forgets_and_asks_again_is_fooled_again(lan: Lan, attack: Callable[..., Attack]) -> None:
    running = attack()
    ip("-n", lan.namespace("client"), "neigh", "flush", "dev", "eth0")
    lan.run("client", sys.executable, "-c", ASK, SERVER)
    eventually(lambda: lan.believes("client", SERVER) == lan.believes("server", CLIENT) == lan.mac("attacker"))
    running.watchdog.terminate()


def test_sigterm_heals(lan: Lan, attack: Callable[..., Attack]) -> None:
    running = attack()
    running.watchdog.terminate()
    status, output, errors = running.end()
    assert is_healthy(lan)
    assert (status, output, errors) == (0, f"healed {CLIENT} {SERVER}\n", "")


def test_ctrl_c_heals(lan: Lan, attack: Callable[..., Attack]) -> None:
    running = attack()
    running.watchdog.send_signal(signal.SIGINT)
    status, _, errors = running.end()
    assert is_healthy(lan)
    assert (status, errors) == (0, "")


def test_a_crash_heals(lan: Lan, attack: Callable[..., Attack]) -> None:
    running = attack("crash")
    assert running.watchdog.stdin
    running.watchdog.stdin.write("\n")
    running.watchdog.stdin.flush()
    status, _, errors = running.end()
    assert is_healthy(lan)
    assert status == 1
    assert "crashed as told" in errors


def test_the_guard_heals_when_the_attacker_is_killed_outright(lan: Lan, attack: Callable[..., Attack]) -> None:
    running = attack()
    os.kill(running.pid, signal.SIGKILL)
    status, _, errors = running.end()
    assert is_healthy(lan)
    assert (status, errors) == (128 + signal.SIGKILL, "")


def test_the_guard_heals_when_the_attacker_dies_in_the_middle_of_a_word(
    lan: Lan, attack: Callable[..., Attack]
) -> None:
    running = attack("midway")
    assert running.watchdog.stdin
    running.watchdog.stdin.write("\n")
    running.watchdog.stdin.flush()
    status, _, errors = running.end()
    assert is_healthy(lan)
    assert (status, errors) == (128 + signal.SIGKILL, "")


def test_the_attacker_heals_and_ends_when_its_guard_is_killed(lan: Lan, attack: Callable[..., Attack]) -> None:
    running = attack()
    running.watchdog.kill()
    _, _, errors = running.end()
    assert is_healthy(lan)
    assert errors.strip() == f"attacker: the position between {CLIENT} and {SERVER} is lost: the watchdog has ended"


def test_the_guard_ends_an_attacker_that_does_not_end_when_told(lan: Lan, attack: Callable[..., Attack]) -> None:
    running = attack()
    os.kill(running.pid, signal.SIGSTOP)
    running.watchdog.terminate()
    status, _, _ = running.end()
    assert is_healthy(lan)
    assert status == 128 + signal.SIGKILL


def test_no_position_where_a_host_does_not_answer(lan: Lan, start: Callable[..., subprocess.Popen[str]]) -> None:
    ip("-n", lan.namespace("server"), "link", "set", "eth0", "down")
    try:
        attacker = start(find=1)
        _, errors = attacker.communicate(timeout=DEADLINE_SECONDS)
    finally:
        ip("-n", lan.namespace("server"), "link", "set", "eth0", "up")
    wanted = f"attacker: {SERVER} did not answer on eth0 within 1 s: is the host running?\n"
    assert (attacker.returncode, errors) == (1, wanted)


def test_no_position_where_the_kernel_would_not_pass_packets_on(
    lan: Lan, start: Callable[..., subprocess.Popen[str]]
) -> None:
    lan.set("attacker", "ip_forward", "0")
    try:
        attacker = start()
        _, errors = attacker.communicate(timeout=DEADLINE_SECONDS)
    finally:
        lan.set("attacker", "ip_forward", "1")
    assert attacker.returncode == 1
    assert "the ARP position needs net.ipv4.ip_forward=1" in errors


def test_the_attacker_holds_its_position_in_spite_of_redirects_and_says_so(
    lan: Lan, attack: Callable[..., Attack]
) -> None:
    lan.set("attacker", "conf/eth0/send_redirects", "1")
    try:
        running = attack()
        before = forwarded(lan)
        for _ in range(5):
            lan.run("client", sys.executable, "-c", ASK, SERVER)
        there_and_back = forwarded(lan) - before
        running.watchdog.terminate()
    finally:
        lan.set("attacker", "conf/eth0/send_redirects", "0")
    assert there_and_back >= 5 * 8
    assert "net.ipv4.conf.eth0.send_redirects is on" in running.description


HEARS = """
import socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind(("eth0", 0))
print("listening", flush=True)
link.settimeout(float(sys.argv[1]))
try:
    while True:
        print(link.recv(100)[:42].hex(), flush=True)
except TimeoutError:
    pass
"""
"""Prints the frames that arrive, until none does for a while."""


IPV6 = "86dd"
"""Its EtherType (RFC 2464 section 3)."""


def frames_of(lan: Lan, attacker: subprocess.Popen[str], hearing: "subprocess.Popen[str]") -> tuple[str, list[str]]:
    """What the attacker says when it ends, and those of the heard frames that it sent. Its kernel's own in IPv6
    come in any case."""
    _, errors = attacker.communicate(timeout=DEADLINE_SECONDS)
    heard, _ = hearing.communicate(timeout=DEADLINE_SECONDS)
    own = lan.mac("attacker").replace(":", "")
    return errors, [frame for frame in heard.splitlines() if frame[12:24] == own and frame[24:28] != IPV6]


@pytest.fixture
def hear(lan: Lan) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Listens to everything that reaches a host."""
    hearing: list[subprocess.Popen[str]] = []

    def hear(host: str) -> subprocess.Popen[str]:
        command = lan.command(host, sys.executable, "-c", HEARS, "2")
        hearing.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert hearing[-1].stdout
        assert hearing[-1].stdout.readline() == "listening\n"
        return hearing[-1]

    yield hear
    for process in hearing:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("victim", [BYSTANDER, "10.77.0.1", "10.77.0.200", "10.77.0.255", "10.78.0.3", "192.0.2.3"])
def test_a_stranger_on_the_network_is_no_victim_and_hears_nothing(
    lan: Lan, start: Callable[..., subprocess.Popen[str]], hear: Callable[[str], subprocess.Popen[str]], victim: str
) -> None:
    hearing = hear("bystander")
    errors, frames = frames_of(lan, start(server=victim), hearing)
    hosts = f"client ({CLIENT}), server ({SERVER})"
    assert errors == f"attacker: {victim} is out of scope: it is not a host of this run; hosts: {hosts}\n"
    assert frames == []


def test_a_host_that_has_not_said_where_it_is_is_no_victim(start: Callable[..., subprocess.Popen[str]]) -> None:
    _, errors = start(server="absent").communicate(timeout=DEADLINE_SECONDS)
    assert errors == "attacker: 'absent' is out of scope: it has not said where it is in this run\n"


def test_a_stranger_with_a_victims_address_is_not_poisoned(
    lan: Lan, start: Callable[..., subprocess.Popen[str]], hear: Callable[[str], subprocess.Popen[str]]
) -> None:
    """The network was changed for another one, on which somebody has the same address."""
    ip("-n", lan.namespace("server"), "link", "set", "eth0", "down")
    ip("-n", lan.namespace("bystander"), "addr", "add", f"{SERVER}/24", "dev", "eth0")
    try:
        hearing = hear("bystander")
        errors, frames = frames_of(lan, start(find=1), hearing)
        believed = lan.believes("bystander", CLIENT)
    finally:
        ip("-n", lan.namespace("bystander"), "addr", "del", f"{SERVER}/24", "dev", "eth0")
        ip("-n", lan.namespace("server"), "link", "set", "eth0", "up")
    assert errors == f"attacker: {SERVER} did not answer on eth0 within 1 s: is the host running?\n"
    assert believed != lan.mac("attacker")
    broadcast = "ff" * 6
    assert [frame for frame in frames if frame.startswith(broadcast)] == []


@pytest.mark.parametrize("kind", ["veth", "macvlan"])
def test_no_position_on_a_second_network(
    lan: Lan, start: Callable[..., subprocess.Popen[str]], hear: Callable[[str], subprocess.Popen[str]], kind: str
) -> None:
    attackers = lan.namespace("attacker")
    more = ["link", "eth0", "type", "macvlan"] if kind == "macvlan" else ["type", "veth", "peer", "name", "eth2"]
    ip("-n", attackers, "link", "add", "eth1", *more)
    try:
        ip("-n", attackers, "addr", "add", "10.79.0.9/24", "dev", "eth1")
        ip("-n", attackers, "link", "set", "eth1", "up")
        hearing = hear("server")
        errors, frames = frames_of(lan, start(), hearing)
    finally:
        ip("-n", attackers, "link", "del", "eth1")
    networks = "eth0 10.77.0.9/24, eth1 10.79.0.9/24"
    why = f"the attacker works on one network, the run's; this is on {networks}"
    assert errors == f"attacker: {CLIENT} is out of scope: {why}\n"
    assert frames == []
