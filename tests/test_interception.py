"""The leak `interception`, with the real mitmproxy: who hands over a certificate, and who breaks off before."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from attacker import interception
from attacker.errors import AttackerError
from attacker.packets import host_port
from lab.events import (
    FILE_NAME,
    ClientAuthenticated,
    ClientRefused,
    Intercepted,
    LoginFailed,
    PositionTaken,
    WentOn,
)
from lab.run import open_run
from lab.stages import free_ports
from programs import certreplay, mitmdump, program
from victim_client.login import GatewayUrl, load_credentials, log_in, log_key_material
from victims import (
    PATIENCE_SECONDS,
    ROOT,
    Victims,
    client_context,
    events_in,
    run_curl,
    run_part,
    start_part,
    wait_for_event,
)

VERSIONS = ("1.2", "1.3")
NOBODY = "--victim=nobody"
"""With nobody to wait for, the interceptor goes on until it is told to stop."""
CERTIFICATE, UNKNOWN_CA, HANDSHAKE_FAILURE = "11", "48", 40
SERVERS_FLIGHT = {"1.2": ["2", "11", "12", "13", "14"], "1.3": ["2", "8", "13", "11", "15", "20"]}
"""Up to ServerHelloDone, or the server's Finished: the types of its handshake messages, in their order."""


@dataclass
class Interceptor:
    """A running one in the place of the gateway of `mtls`, and the key logs of those whom it answers."""

    victims: Victims
    folder: Path
    port: int
    process: "subprocess.Popen[str]"
    temporary: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def reports(self, kind: type[Intercepted] | type[WentOn], count: int) -> list[Intercepted | WentOn]:
        return list(wait_for_event(self.process, self.folder / FILE_NAME, kind, count))

    def next_of(self, come: Callable[[], object]) -> Intercepted:
        """What it reports of the client that `come` sends."""
        before = sum(isinstance(event, Intercepted) for event in events_in(self.folder / FILE_NAME))
        come()
        report = self.reports(Intercepted, before + 1)[before]
        assert isinstance(report, Intercepted)
        return report


@pytest.fixture(scope="module")
def interceptor(shared: Victims, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interceptor]:
    mitmdump()
    folder, temporary = tmp_path_factory.mktemp("interceptor"), tmp_path_factory.mktemp("temporary")
    (port,) = free_ports(1)
    process = start_interceptor(folder, temporary, port, shared.port("mtls"))
    try:
        wait_for_event(process, folder / FILE_NAME, PositionTaken)
        yield Interceptor(shared, folder, port, process, temporary)
    finally:
        end(process)


def start_interceptor(folder: Path, temporary: Path, listen: int, gateway: int) -> "subprocess.Popen[str]":
    door = f"127.0.0.1:{gateway}"
    options = (f"--door={door}", f"--forward=127.0.0.1:{listen}={door}", f"--folder={folder}", NOBODY)
    with environment(TMPDIR=str(temporary), HOME=str(temporary)):
        return start_part("attacker", "interception", *options)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Processes that are started within have these, too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    process.communicate(timeout=PATIENCE_SECONDS)


# The clients: each gets where to go, the version to speak and the file for its session keys.


def alice(at: Interceptor, version: str, keys: Path, careless: bool = False) -> None:
    issued = at.victims.issued
    credentials = load_credentials(issued.client_pem, None, issued.ca_pem, careless=careless)
    log_key_material(credentials, keys)
    outcome = log_in(GatewayUrl("mtls", at.url, "localhost", at.port), credentials, version)
    assert isinstance(outcome, LoginFailed)


def careless_alice(at: Interceptor, version: str, keys: Path) -> None:
    alice(at, version, keys, careless=True)


def python(at: Interceptor, version: str, keys: Path) -> None:
    context = client_context(at.victims.issued, at.victims.issued.client_pem, version)
    context.keylog_filename = str(keys)
    with (
        socket.create_connection(("127.0.0.1", at.port), PATIENCE_SECONDS) as connection,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(connection, server_hostname="localhost")


def curl(at: Interceptor, version: str, keys: Path) -> None:
    done = _curl(at, version, keys, "--cacert", str(at.victims.issued.ca_pem))
    assert done == 60, "curl: peer certificate cannot be authenticated"


def careless_curl(at: Interceptor, version: str, keys: Path) -> None:
    assert _curl(at, version, keys, "--insecure") == 0


def _curl(at: Interceptor, version: str, keys: Path, *options: str) -> int:
    options += (f"--tlsv{version}", "--tls-max", version, "--cert", str(at.victims.issued.client_pem))
    with environment(SSLKEYLOGFILE=str(keys)):
        return run_curl(f"{at.url}/account", *options).exit_status


Client = Callable[[Interceptor, str, Path], None]
CAREFUL: list[Client] = [alice, python, curl]
CARELESS: list[Client] = [careless_alice, careless_curl]


def conversation(capture: Path, client: str, keys: Path) -> list[tuple[str, str, str]]:
    """What tshark reads of a client's connection, in order: who sent it, `message` or `alert`, and its number."""
    port = client.rpartition(":")[2]
    fields = ("tcp.srcport", "tls.handshake.type", "tls.alert_message.desc")
    command = [
        program("tshark"),
        "-r",
        str(capture),
        "-o",
        f"tls.keylog_file:{keys}",
        "-Y",
        f"tls && tcp.port == {port}",
    ]
    command += ["-T", "fields", *(word for field in fields for word in ("-e", field))]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    found = []
    for line in lines:
        source, messages, alerts = line.split("\t")
        sender = "client" if source == port else "server"
        found += [(sender, "message", number) for number in messages.split(",") if number]
        found += [(sender, "alert", number) for number in alerts.split(",") if number]
    return found


def sent_by(sender: str, found: list[tuple[str, str, str]], what: str = "message") -> list[str]:
    return [number for who, kind, number in found if (who, kind) == (sender, what)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", CAREFUL, ids=lambda client: client.__name__)
def test_a_client_that_verifies_breaks_off_before_its_certificate(
    interceptor: Interceptor, client: Client, version: str, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.log"
    report = interceptor.next_of(lambda: client(interceptor, version, keys))
    assert report.sha256 == ""
    assert "unknown ca" in report.reason
    found = conversation(interceptor.folder / interception.CAPTURE_FILE, report.client, keys)
    assert sent_by("client", found) == ["1"], "a ClientHello and no other message"
    assert sent_by("server", found) == SERVERS_FLIGHT[version]
    assert found[-1] == ("client", "alert", UNKNOWN_CA), "after all that the server had to say"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", CARELESS, ids=lambda client: client.__name__)
def test_a_client_that_does_not_verify_hands_it_over(
    interceptor: Interceptor, client: Client, version: str, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.log"
    report = interceptor.next_of(lambda: client(interceptor, version, keys))
    assert report.tls == version
    assert report.sha256 == sha256(interceptor.victims.issued.client.der).hexdigest()
    found = conversation(interceptor.folder / interception.CAPTURE_FILE, report.client, keys)
    assert CERTIFICATE in sent_by("client", found), "the same reading finds it where it is"
    assert ("client", "alert", UNKNOWN_CA) not in found


def test_the_bank_refuses_the_interceptor_who_has_no_proof(interceptor: Interceptor, tmp_path: Path) -> None:
    interceptor.next_of(lambda: careless_alice(interceptor, "1.3", tmp_path / "keys.log"))
    going_on = interceptor.reports(WentOn, 1)
    peers = {refusal.peer: refusal for refusal in interceptor.victims.reports.wait_for(ClientRefused, len(going_on))}
    for one in going_on:
        assert isinstance(one, WentOn)
        assert "handshake failure" in one.reason
        assert peers[one.local].alert == HANDSHAKE_FAILURE
        assert peers[one.local].reason == "peer did not return a certificate"
    authenticated = {event.peer for event in interceptor.victims.reports.all(ClientAuthenticated)}
    assert not authenticated & {one.local for one in going_on if isinstance(one, WentOn)}


def test_the_capture_shows_how_the_bank_refuses_the_interceptor(interceptor: Interceptor, tmp_path: Path) -> None:
    interceptor.next_of(lambda: careless_alice(interceptor, "1.2", tmp_path / "keys.log"))
    one = interceptor.reports(WentOn, 1)[-1]
    assert isinstance(one, WentOn)
    assert one.server == f"127.0.0.1:{interceptor.victims.port('mtls')}"
    found = conversation(interceptor.folder / interception.CAPTURE_FILE, one.local, tmp_path / "none.log")
    assert sent_by("server", found)[:5] == SERVERS_FLIGHT["1.2"], "the bank asks mitmproxy for a certificate"
    assert sent_by("client", found)[:2] == ["1", CERTIFICATE], "it has none, and says so"
    assert found[-1] == ("server", "alert", str(HANDSHAKE_FAILURE))


@pytest.mark.parametrize("told", [True, False])
def test_mitmproxy_goes_on_to_the_servers_that_it_was_told_of_and_no_other(told: bool) -> None:
    program_file = mitmdump()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        (port,) = free_ports(1)

        async def come() -> None:
            mode = f"--mode=reverse:https://{host_port(address)}@127.0.0.1:{port}"
            servers = [address] if told else [("127.0.0.1", 9)]
            async with interception.running_mitmproxy(program_file, [mode], servers):
                url = f"https://localhost:{port}/"
                await asyncio.to_thread(lambda: run_curl(url, "--insecure", "--max-time", "1"))

        asyncio.run(come())
        server.settimeout(0.1)
        try:
            server.accept()[0].close()
        except TimeoutError:
            came = False
        else:
            came = True
        assert came == told


def test_the_lab_judges_all_of_it_as_expected(tmp_path: Path) -> None:
    mitmdump()
    done = certreplay("matrix", "--leak", "interception", "--runs", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    (judgement,) = json.loads(done.stdout)
    assert judgement["as_expected"]
    outcomes = {(v["scheme"], v["tls"], v["move"]): v["outcome"] for v in judgement["verdicts"]}
    for version in VERSIONS:
        assert outcomes["certificate-only", version, "omit-proof"] == "accepted"
        assert {outcome for (scheme, tls, _), outcome in outcomes.items() if (scheme, tls) == ("mtls", version)} <= {
            "refused",
            "not applicable",
        }
    run = open_run(next(tmp_path.iterdir()))
    handed_over = {(one.tls, one.sha256) for one in run.all(Intercepted) if one.sha256}
    assert {tls for tls, _ in handed_over} == set(VERSIONS)
    assert any(not one.sha256 for one in run.all(Intercepted)), "a careful client came, too"


def processes_with(mark: str) -> list[int]:
    """The processes whose command line has `mark` in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (process / "cmdline").read_bytes() and process.name != str(os.getpid()):
                found.append(int(process.name))
    return found


def wait_until_gone(mark: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while processes_with(mark):
        assert time.monotonic() < deadline, f"still running: {processes_with(mark)}"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_mitmproxy_ends_with_the_attacker_however_she_ends(
    shared: Victims, tmp_path: Path, how: signal.Signals
) -> None:
    mitmdump()
    (port,) = free_ports(1)
    process = start_interceptor(tmp_path / "attacker", tmp_path, port, shared.port("mtls"))
    try:
        wait_for_event(process, tmp_path / "attacker" / FILE_NAME, PositionTaken)
        mark = f"confdir={tmp_path}"
        assert processes_with(mark)
        process.send_signal(how)
        process.wait(PATIENCE_SECONDS)
        wait_until_gone(mark)
    finally:
        end(process)


def test_its_authority_is_gone_with_the_run_and_never_in_the_users_home(shared: Victims, tmp_path: Path) -> None:
    mitmdump()
    home = tmp_path / "home"
    home.mkdir()
    (port,) = free_ports(1)
    process = start_interceptor(tmp_path / "attacker", home, port, shared.port("mtls"))
    try:
        wait_for_event(process, tmp_path / "attacker" / FILE_NAME, PositionTaken)
        assert [file.parent.parent for file in home.rglob("mitmproxy-ca.pem")] == [home], "in a folder of the run's own"
        assert not (home / ".mitmproxy").exists()
    finally:
        end(process)
    assert list(home.iterdir()) == []


def test_no_server_outside_of_the_lab_is_intercepted(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    forward = f"--forward=127.0.0.1:{port}=192.0.2.1:443"
    door = "--door=192.0.2.1:443"
    done = run_part("attacker", "interception", door, forward, f"--folder={tmp_path}", NOBODY)
    assert done.returncode == 2
    assert "192.0.2.1 is out of scope" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_listens_on_loopback_only(shared: Victims, tmp_path: Path) -> None:
    door = f"127.0.0.1:{shared.port('mtls')}"
    forward = f"--forward=0.0.0.0:0={door}"
    done = run_part("attacker", "interception", f"--door={door}", forward, f"--folder={tmp_path}", NOBODY)
    assert done.returncode == 2
    assert "out of scope" in done.stderr


def test_a_missing_mitmproxy_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AttackerError, match=r"make \.venv/mitmproxy"):
        interception.find_program()


def test_what_runs_inside_mitmproxy_needs_nothing_else_of_ours() -> None:
    words = (ROOT / "attacker" / "interception_addon.py").read_text().split()
    assert not {"attacker", "lab", "lab.tls"} & set(words)
