"""The leak `interception`, with the real mitmproxy: who hands over a certificate, and who breaks off before."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from attacker.errors import AttackerError
from attacker.leak import interception
from attacker.position.tcp_relay import Forward, TcpRelay
from event_loops import in_event_loop
from lab.address import Address
from lab.capture.decrypt import certificate_was_sent, decrypted_handshakes
from lab.events.parts import INTERCEPTION_FILE, ONWARD_FILE
from lab.events.run import Run
from lab.events.types import ClientRefused, Intercepted, LoginFailed, MoveTried, PasswordFound, PositionTaken, WentOn
from lab.ports import HOST, held_ports
from lab.staging import pki
from programs import certreplay, mitmproxy, program, wait_until
from victim_client.login import GatewayUrl, load_credentials, log_in, log_key_material
from victims import Victims, assert_bad_input, running_victims, version_named

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
SECONDS = 60.0


@dataclass
class Interceptor:
    """The attacker's process in front of a real gateway."""

    issued: pki.Issued
    victims: Victims
    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"

    def events(self) -> Run:
        run = Run(self.folder.parent)
        run.update()
        return run

    def seen(self, count: int) -> list[Intercepted]:
        """What became of the clients, once there were so many."""
        wait_until(lambda: len(list(self.events().all(Intercepted))) >= count, "a report of mitmproxy's")
        return list(self.events().all(Intercepted))


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[pki.Issued, Victims]]:
    folder = tmp_path_factory.mktemp("victims")
    issued = pki.issue(folder / "public", folder / "server", folder / "client")
    with running_victims(issued, folder / "gateways") as it:
        yield issued, it


@pytest.fixture(scope="module")
def interceptor(victims: tuple[pki.Issued, Victims], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interceptor]:
    """In front of mtls. No client has a certificate for its gateway, so it never ends."""
    mitmproxy()
    issued, gateways = victims
    folder = tmp_path_factory.mktemp("run") / "attacker"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = gateways.port("mtls@openssl")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "attacker", "interception", f"--forward=127.0.0.1:{port}=127.0.0.1:{server}"),
            *("--gateway=self-signed=127.0.0.1:9", "--folder", folder, "--move=omit-proof"),
        ],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    it = Interceptor(issued, gateways, folder, port, process)
    try:
        wait_until(lambda: it.events().first(PositionTaken) or process.poll() is not None, "the interceptor")
        assert process.poll() is None, process.communicate()[1]
        yield it
    finally:
        process.terminate()
        process.wait(SECONDS)


def call_with_curl(it: Interceptor, version: str, key_log: Path, *options: str) -> int:
    """curl's exit status."""
    command = [program("curl"), "-s", "-o", os.devnull, f"--tlsv{version}", "--tls-max", version, "--max-time", "20"]
    command += ["--cert", str(it.issued.client_pem), "--cacert", str(it.issued.ca_pem), *options]
    command.append(f"https://localhost:{it.port}/account")
    environment = os.environ | {"SSLKEYLOGFILE": str(key_log)}
    return subprocess.run(command, env=environment, timeout=SECONDS, check=False).returncode


def call_with_python(it: Interceptor, version: str, key_log: Path) -> str:
    """Why Python's ssl broke off."""
    context = ssl.create_default_context(cafile=it.issued.ca_pem)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.load_cert_chain(it.issued.client_pem)
    context.keylog_filename = str(key_log)
    with (
        socket.create_connection(("127.0.0.1", it.port), 20) as sock,
        pytest.raises(ssl.SSLCertVerificationError) as failed,
    ):
        context.wrap_socket(sock, server_hostname="localhost")
    return failed.value.verify_message


def call_as_alice(it: Interceptor, version: str, key_log: Path, careless: bool) -> str:
    """Why the lab's own client did not get in."""
    credentials = load_credentials(it.issued.client_pem, None, it.issued.ca_pem, careless=careless)
    log_key_material(credentials, key_log)
    gateway = GatewayUrl("mtls@openssl", f"https://localhost:{it.port}", "localhost", it.port)
    outcome = log_in(gateway, credentials, version_named(version))
    assert isinstance(outcome, LoginFailed)
    return outcome.reason


def messages(it: Interceptor, key_log: Path, file: str = INTERCEPTION_FILE) -> list[list[str]]:
    """The handshake messages and alerts of each connection by their numbers and names, as tshark reads them."""
    capture, port = it.folder / file, it.port if file == INTERCEPTION_FILE else it.victims.port("mtls@openssl")
    fields = ("tcp.stream", "tcp.dstport", "tls.handshake.type", "tls.alert_message.desc")
    command = [program("tshark"), "-r", str(capture), "-o", f"tls.keylog_file:{key_log}", "-Y", "tls", "-T", "fields"]
    command += ["-E", "occurrence=a", "-d", f"tcp.port=={port},tls"]
    for field in fields:
        command += ["-e", field]
    told = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    streams: dict[str, list[str]] = {}
    for line in told.splitlines():
        stream, to, kinds, alerts = (line.split("\t") + [""] * 4)[:4]
        sender = "client" if to == str(port) else "server"
        said = [f"{sender} {kind}" for kind in kinds.split(",") if kind]
        said += [f"{sender} alert {alert}" for alert in alerts.split(",") if alert]
        streams.setdefault(stream, []).extend(said)
    return list(streams.values())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", ["curl", "python"])
def test_a_careful_client_breaks_off_before_its_certificate(
    interceptor: Interceptor, tmp_path: Path, client: str, version: str
) -> None:
    before = len(list(interceptor.events().all(Intercepted)))
    key_log = tmp_path / "keys.log"
    if client == "curl":
        assert call_with_curl(interceptor, version, key_log) == 60  # the peer's certificate cannot be authenticated
    else:
        assert "unable to get local issuer certificate" in call_with_python(interceptor, version, key_log)
    seen = interceptor.seen(before + 1)[-1]
    assert (seen.sha256, "unknown ca" in seen.reason) == ("", True), seen
    said = messages(interceptor, key_log)[-1]
    assert "client alert 48" in said  # unknown_ca
    assert "server 13" in said  # the CertificateRequest was there
    assert "client 11" not in said
    assert said.index("client alert 48") == len(said) - 1
    if version == "1.3":
        assert said.index("server 20") < said.index("client alert 48")  # the server's Finished comes first


@pytest.mark.parametrize("version", VERSIONS)
def test_a_careless_client_hands_its_certificate_over(interceptor: Interceptor, tmp_path: Path, version: str) -> None:
    before = len(list(interceptor.events().all(Intercepted)))
    key_log = tmp_path / "keys.log"
    assert call_with_curl(interceptor, version, key_log, "-k") == 0
    seen = interceptor.seen(before + 1)[-1]
    assert (seen.tls, seen.sha256) == (version, sha256(interceptor.issued.client.der).hexdigest())
    said = messages(interceptor, key_log)[-1]
    assert said.index("server 13") < said.index("client 11") < said.index("client 15")
    if version == "1.3":
        assert said.index("server 20") < said.index("client 11")
    pem = (interceptor.folder / "stolen" / "alice.pem").read_text()
    assert pem.count("BEGIN CERTIFICATE") == 1
    assert "PRIVATE KEY" not in pem


def test_the_lab_reads_the_same_order_as_tshark(interceptor: Interceptor, tmp_path: Path) -> None:
    before = len(list(interceptor.events().all(Intercepted)))
    key_log = tmp_path / "keys.log"
    for version in VERSIONS:
        call_with_curl(interceptor, version, key_log, "-k")
        call_with_curl(interceptor, version, key_log)
    interceptor.seen(before + 4)  # by then the capture has curl's last alert
    told = decrypted_handshakes(interceptor.folder / INTERCEPTION_FILE, {"curl": key_log})[-4:]
    assert [(one.tls, certificate_was_sent(one)) for one in told] == [
        ("1.2", True),
        ("1.2", False),
        ("1.3", True),
        ("1.3", False),
    ]
    assert told[3].messages[-2:] == (("server", "Finished"), ("client", "alert unknown_ca"))


class Told:
    """mitmproxy's reports, one after the other."""

    def __init__(self, *reports: dict[str, Any]) -> None:
        self._reports = iter(reports)

    async def next(self) -> dict[str, Any] | None:
        return next(self._reports, None)

    def last_output(self) -> str:
        return ""


@in_event_loop
async def test_connections_from_one_port_to_two_servers_are_told_apart() -> None:
    """The system may give one local port to connections to two servers: only both ends together say which it is."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(2)]
        for server in servers:
            server.settimeout(SECONDS)
        beyond, before = TcpRelay(lambda at, packet: None, server_side=True), TcpRelay(lambda at, packet: None)
        await beyond.start([Forward(Address(HOST, 0), Address(*server.getsockname())) for server in servers])
        (port,), expected, reports = held_ports(stack, 1), [], []
        for forward, server in zip(beyond.forwards, servers, strict=True):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((HOST, port))
            await asyncio.to_thread(client.connect, forward.listen)
            connection, relays_end = await asyncio.to_thread(server.accept)
            stack.enter_context(connection)
            expected.append((Address(*relays_end), forward.target))
            reports.append({"what": "server", "local": [HOST, port], "peer": list(forward.listen)})
        while not all(any(beyond.passed(forward)) for forward in beyond.forwards):
            await asyncio.sleep(0.001)
        told = interception.BetweenRelays(Told(*reports), before, beyond)
        got = [(one["local"], one["peer"]) for one in [await told.next(), await told.next()] if one]
        await beyond.close()
    assert got == expected


def test_mitmproxy_cannot_go_on_to_the_real_server(interceptor: Interceptor, tmp_path: Path) -> None:
    call_with_curl(interceptor, "1.3", tmp_path / "keys.log", "-k")
    run = interceptor.events()
    went_on = list(run.all(WentOn))[-1]
    assert "handshake failure" in went_on.reason
    refused = [one for one in interceptor.victims.reports.all(ClientRefused) if one.peer == went_on.local]
    assert [one.reason for one in refused] == ["peer did not return a certificate"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_labs_own_client_sends_its_certificate_only_if_it_is_careless(
    interceptor: Interceptor, tmp_path: Path, version: str
) -> None:
    before = len(list(interceptor.events().all(Intercepted)))
    assert "certificate is not right" in call_as_alice(interceptor, version, tmp_path / "keys.log", careless=False)
    assert interceptor.seen(before + 1)[-1].sha256 == ""
    assert "client 11" not in messages(interceptor, tmp_path / "keys.log")[-1]
    assert "HTTP 502" in call_as_alice(interceptor, version, tmp_path / "keys.log", careless=True)
    alices = sha256(interceptor.issued.client.der).hexdigest()
    assert interceptor.seen(before + 2)[-1].sha256 == alices
    assert "client 11" in messages(interceptor, tmp_path / "keys.log")[-1]


def test_a_report_names_the_connection_as_the_capture_has_it(interceptor: Interceptor, tmp_path: Path) -> None:
    before = len(list(interceptor.events().all(Intercepted)))
    call_with_curl(interceptor, "1.3", tmp_path / "keys.log", "-k")
    seen = interceptor.seen(before + 1)[-1]
    told = decrypted_handshakes(interceptor.folder / INTERCEPTION_FILE, {"curl": tmp_path / "keys.log"})[-1]
    assert (seen.client, seen.server) == (told.client, told.server)
    assert seen.server == f"127.0.0.1:{interceptor.port}"


def test_the_capture_shows_how_the_bank_refuses_the_interceptor(interceptor: Interceptor, tmp_path: Path) -> None:
    before = len(list(interceptor.events().all(WentOn)))
    call_with_curl(interceptor, "1.2", tmp_path / "keys.log", "-k")
    went_on = list(interceptor.events().all(WentOn))[before:]
    assert {one.server for one in went_on} == {f"127.0.0.1:{interceptor.victims.port('mtls@openssl')}"}
    told = decrypted_handshakes(interceptor.folder / ONWARD_FILE, {})
    assert {one.local for one in went_on} <= {one.client for one in told}
    said = messages(interceptor, tmp_path / "none", ONWARD_FILE)[-1]
    assert said.index("server 13") < said.index("client 11"), "asked for a certificate, mitmproxy sends an empty one"
    assert "client 15" not in said
    assert said[-1] == "server alert 40"  # handshake_failure
    assert ("client", "Certificate, empty") in told[-1].messages


@pytest.mark.parametrize("told", [True, False])
def test_mitmproxy_goes_on_to_the_servers_that_it_was_told_of_and_to_no_other(told: bool) -> None:
    mitmproxy()
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        address, (port,) = Address(*server.getsockname()), held_ports(stack, 1)

        async def come() -> None:
            mode = f"--mode=reverse:https://{address}@127.0.0.1:{port}"
            async with interception.running_mitmproxy([mode], [address] if told else [Address("127.0.0.1", 9)]):
                command = [program("curl"), "-sk", "--max-time", "1", f"https://localhost:{port}/"]
                await asyncio.to_thread(subprocess.run, command, timeout=SECONDS, check=False)

        asyncio.run(come())
        server.settimeout(0.1)
        came = False
        with suppress(TimeoutError):
            server.accept()[0].close()
            came = True
        assert came == told


def test_when_mitmproxy_cannot_start_it_says_why() -> None:
    mitmproxy()

    async def start(port: int) -> None:
        async with interception.running_mitmproxy([f"--mode=reverse:https://127.0.0.1:9@127.0.0.1:{port}"], []):
            pass

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AttackerError, match="address already in use"):
        asyncio.run(start(taken.getsockname()[1]))


def test_a_whole_run_goes_as_theory_has_it(tmp_path: Path) -> None:
    mitmproxy()
    told = certreplay("matrix", "--leak", "interception", "--runs", tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "FINDING" not in told.stdout
    (folder,) = tmp_path.iterdir()
    run = Run(folder)
    run.update()
    got = {one.tls for one in run.all(Intercepted) if one.sha256}
    assert got == {"1.2", "1.3"}
    by_password = [one.tls for one in run.all(Intercepted) if not (one.sha256 or one.reason)]
    assert sorted(by_password) == ["1.2", "1.3"]  # the careless client, where she has no certificate to send
    assert [one.customer for one in run.all(PasswordFound)] == ["alice"]
    assert not [one for one in run.all(Intercepted) if one.reason and "unknown ca" not in one.reason]
    assert {one.leak for one in run.all(MoveTried)} == {"interception", ""}
    assert (folder / "attacker" / "stolen" / "alice.pem").exists()
    story = " ".join(certreplay("story", folder).stdout.split())
    assert "TLS 1.2: those before ChangeCipherSpec, which are plaintext; TLS 1.3: decrypted by the lab with" in story


@pytest.mark.parametrize("forward", ["127.0.0.1:0=192.0.2.1:443", "0.0.0.0:0=127.0.0.1:9"])
def test_it_relays_from_loopback_to_the_lab_only(tmp_path: Path, forward: str) -> None:
    mitmproxy()
    options = ("interception", f"--folder={tmp_path}", "--gateway=127.0.0.1:9", f"--forward={forward}")
    assert_bad_input("attacker", options, "is out of scope")


def test_without_mitmproxy_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AttackerError, match="install mitmproxy"):
        interception.find_program()


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_mitmproxy_does_not_outlive_the_attacker(
    victims: tuple[pki.Issued, Victims], tmp_path: Path, how: signal.Signals
) -> None:
    mitmproxy()
    _, gateways = victims
    forward = f"--forward=127.0.0.1:0=127.0.0.1:{gateways.port('mtls@openssl')}"
    command = [sys.executable, "-m", "attacker", "interception", forward, "--gateway=127.0.0.1:9", "--folder"]
    process = subprocess.Popen([*command, str(tmp_path / "attacker")], stdin=subprocess.PIPE)
    run = Run(tmp_path)
    wait_until(lambda: run.update() and run.first(PositionTaken), "the interceptor")
    started = children(process.pid)
    assert started
    process.send_signal(how)
    process.wait(SECONDS)
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in started), "mitmproxy's end")
