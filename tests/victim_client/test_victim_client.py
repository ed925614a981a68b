"""Alice: she logs in as an ordinary client does, says how it went, and doesn't give up."""

import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from lab.catalogue.gateways import GATEWAYS, find_gateway
from lab.events.types import ClientAuthenticated, GatewayListening, LoggedIn, LoginFailed, PartStopped
from lab.staging import pki
from lab.tls.versions import TLS13, VERSIONS
from victim_client.__main__ import EASED_OFF_SECONDS, Habit
from victims import (
    BY_PASSWORD,
    FORWARDED,
    GATEWAY_IDS,
    PATIENCE_SECONDS,
    WAYS_TO_STOP,
    Victims,
    assert_bad_input,
    assert_permission_denied,
    bundle_at,
    events_in,
    known_as,
    run_part,
    start_part,
    stop,
    wait_for_event,
    write_bundle,
)

PASSWORD = "correct horse"


def options(issued: pki.Issued, run: Path, where: str, **changed: str) -> list[str]:
    """Alice's command line; she logs in once, unless told otherwise."""
    given = {
        "bundle": str(issued.client_pem),
        "ca": str(issued.ca_pem),
        "gateway": where,
        "times": "1",
        "every": "0.1",
        "tls": "1.2",
        "folder": str(run),
    }
    return [word for name, value in (given | changed).items() for word in (f"--{name.replace('_', '-')}", value)]


def url_of(victims: Victims, gateway_id: str) -> str:
    return f"{gateway_id}=https://localhost:{victims.port(gateway_id)}"


def test_alice_logs_in_everywhere_in_each_version_and_says_so(victims: Victims, tmp_path: Path) -> None:
    """With the bundle that each gateway takes, and through a proxy's header where that is what it takes."""
    folder = tmp_path / "victim-client"
    command = ["--ca", str(victims.issued.ca_pem), "--times", "2", "--every", "0.05", "--folder", str(folder)]
    command += ["--bundle", str(victims.issued.client_pem), "--forward-certificate", FORWARDED]
    for gateway in GATEWAYS:
        command += ["--gateway", url_of(victims, gateway.id)]
        if gateway.scheme.takes_password:
            command += ["--password-login", f"{gateway.id}={victims.issued.password}"]
        if gateway.scheme.trusts == "pinned":
            command += ["--bundle", f"{gateway.id}={victims.issued.client_self_signed_pem}"]
    done = run_part("victim_client", *command)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    *logins, last = events_in(folder / "events.jsonl")
    for gateway in GATEWAYS:
        url = f"https://localhost:{victims.port(gateway.id)}"
        subject, sha256 = known_as(victims.issued, gateway.id)
        here = [login for login in logins if isinstance(login, LoggedIn) and login.gateway == gateway.id]
        assert [replace(login, connection="") for login in here] == [
            LoggedIn(gateway.id, url, subject, sha256, version, 1000) for version in ("1.2", "1.3") * 2
        ]
    assert len(logins) == 4 * len(GATEWAYS)
    assert last == PartStopped("done")
    # every login is a connection and a handshake of its own, and the gateway names it as she does
    seen = victims.reports.all(ClientAuthenticated)
    assert {event.connection for event in seen} == {event.connection for event in logins if isinstance(event, LoggedIn)}
    assert len({event.connection for event in seen}) == len(seen)
    assert len({(event.gateway, event.peer) for event in seen}) == len(seen) == 4 * len(GATEWAYS)
    key_log = (folder / "keys.log").read_text().splitlines()
    for label in ("CLIENT_RANDOM ", "CLIENT_TRAFFIC_SECRET_0 "):
        assert len({line for line in key_log if line.startswith(label)}) == 2 * len(GATEWAYS)


@pytest.mark.parametrize("gateway_id", GATEWAY_IDS)
def test_alice_logs_in_at_every_gateway_in_tls_12(victims: Victims, tmp_path: Path, gateway_id: str) -> None:
    how = {
        FORWARDED: ("--forward-certificate", gateway_id),
        BY_PASSWORD: ("--password-login", f"{gateway_id}={victims.issued.password}"),
    }.get(gateway_id, ())
    bundle = str(bundle_at(victims.issued, gateway_id))
    command = options(victims.issued, tmp_path / "run", url_of(victims, gateway_id), bundle=bundle)
    assert run_part("victim_client", *command, *how).returncode == 0
    assert victims.reports.all(ClientAuthenticated)[0].tls == "1.2"


def test_versions_are_tried_in_the_order_given(victims: Victims, tmp_path: Path) -> None:
    command = options(victims.issued, tmp_path / "run", url_of(victims, "mtls@openssl"), tls="1.3")
    assert run_part("victim_client", *command, "--tls", "1.2").returncode == 0
    logins = [event for event in events_in(tmp_path / "run" / "events.jsonl") if isinstance(event, LoggedIn)]
    assert [login.tls for login in logins] == ["1.3", "1.2"]


@pytest.mark.parametrize("gateway_id", GATEWAY_IDS)
def test_alice_comes_again_and_resumes_the_session_if_the_server_gives_a_ticket(
    victims: Victims, tmp_path: Path, gateway_id: str
) -> None:
    """In TLS 1.3 only; the gateway takes her for who she was in the full handshake."""
    how = {
        FORWARDED: ("--forward-certificate", gateway_id),
        BY_PASSWORD: ("--password-login", f"{gateway_id}={victims.issued.password}"),
    }.get(gateway_id, ())
    bundle = str(bundle_at(victims.issued, gateway_id))
    command = options(victims.issued, tmp_path / "run", url_of(victims, gateway_id), bundle=bundle)
    assert run_part("victim_client", *command, "--tls", "1.3", "--resume", *how).returncode == 0
    logins = [event for event in events_in(tmp_path / "run" / "events.jsonl") if isinstance(event, LoggedIn)]
    gateway = find_gateway(gateway_id)
    assert gateway
    resumes = TLS13 in gateway.implementation.resumes
    assert [(login.tls, login.resumed) for login in logins] == [("1.2", False), ("1.3", False), ("1.3", resumes)]
    assert len({login.connection for login in logins}) == 3
    reports = victims.reports.all(ClientAuthenticated)
    assert [report.connection for report in reports] == [login.connection for login in logins]
    assert len({(report.subject, report.sha256) for report in reports}) == 1
    if gateway.scheme.asks_in_tls:
        assert (reports[2].proof == "none received") == resumes


def test_alice_logs_in_again_though_the_first_login_failed(victims: Victims, tmp_path: Path) -> None:
    """So that each login in TLS 1.3 is two connections, whatever became of the first."""
    command = options(victims.issued, tmp_path / "run", url_of(victims, "mtls@openssl"), tls="1.3")
    forwarded = ("--forward-certificate", "mtls@openssl")
    assert run_part("victim_client", *command, "--resume", *forwarded).returncode == 1
    *failures, _ = events_in(tmp_path / "run" / "events.jsonl")
    assert [type(one) for one in failures] == [LoginFailed, LoginFailed]


def test_a_certificate_that_goes_in_the_header_does_not_go_in_the_handshake(victims: Victims, tmp_path: Path) -> None:
    command = options(victims.issued, tmp_path / "run", url_of(victims, "mtls@openssl"), tls="1.3")
    assert run_part("victim_client", *command, "--forward-certificate", "mtls@openssl").returncode == 1
    (failure,) = [event for event in events_in(tmp_path / "run" / "events.jsonl") if isinstance(event, LoginFailed)]
    assert (failure.tls, failure.reason) == ("1.3", "tlsv13 alert certificate required")


def test_one_failure_in_one_version_is_a_failure(issued: pki.Issued, tmp_path: Path) -> None:
    server = start_part(
        "victim_server", "--port", "mtls@openssl=0", "--tls", "1.2", *server_files(issued, tmp_path / "server")
    )
    (listening,) = wait_for_event(server, tmp_path / "server" / "events.jsonl", GatewayListening)
    command = options(issued, tmp_path / "run", f"mtls@openssl=https://localhost:{listening.port}", tls="1.3")
    assert run_part("victim_client", *command, "--tls", "1.2").returncode == 1
    failed, logged_in, _ = events_in(tmp_path / "run" / "events.jsonl")
    assert isinstance(failed, LoginFailed)
    assert (failed.tls, failed.reason) == ("1.3", "tlsv1 alert protocol version")
    assert isinstance(logged_in, LoggedIn)
    server.communicate(timeout=PATIENCE_SECONDS)


def pkcs12(issued: pki.Issued, folder: Path) -> Path:
    path = folder / "bundle.p12"
    path.write_bytes(issued.client.bundle_p12(PASSWORD))
    return path


def encrypted_pem(issued: pki.Issued, folder: Path) -> Path:
    path = folder / "bundle.pem"
    protection = BestAvailableEncryption(PASSWORD.encode())
    key = issued.client.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    path.write_bytes(issued.client.certificate_pem() + key)
    return path


@pytest.mark.parametrize("make", [pkcs12, encrypted_pem])
@pytest.mark.parametrize("gateway_id", ["mtls@openssl", "certificate-only@instrument"])
def test_a_bundle_may_have_a_password(
    victims: Victims, tmp_path: Path, gateway_id: str, make: Callable[[pki.Issued, Path], Path]
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    bundle = str(make(victims.issued, tmp_path))
    command = options(victims.issued, tmp_path / "run", url_of(victims, gateway_id), bundle=bundle)
    done = run_part(
        "victim_client", *command, "--password-file", str(password_file), environment={"TMPDIR": str(temporary)}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(events_in(tmp_path / "run" / "events.jsonl")[0], LoggedIn)
    assert not list(temporary.iterdir())


def test_a_noted_login_is_no_gateways_own(victims: Victims, tmp_path: Path) -> None:
    """The bundle is still the one that is for the gateway."""
    where = url_of(victims, "pinned-mtls@openssl")
    bundle = f"pinned-mtls@openssl={victims.issued.client_self_signed_pem}"
    done = run_part("victim_client", *options(victims.issued, tmp_path, where, bundle=bundle, note="relayed"))
    assert (done.returncode, done.stderr) == (0, "")
    logged_in, _ = events_in(tmp_path / "events.jsonl")
    assert isinstance(logged_in, LoggedIn)
    assert logged_in.gateway == "pinned-mtls@openssl, relayed"
    assert logged_in.sha256 == victims.issued.client_self_signed.sha256


def test_the_session_keys_are_logged_for_the_teacher(victims: Victims, tmp_path: Path) -> None:
    run_part("victim_client", *options(victims.issued, tmp_path / "run", url_of(victims, "mtls@openssl")))
    hers, theirs = tmp_path / "run" / "keys.log", victims.folder / "keys.log"
    assert stat.S_IMODE(hers.stat().st_mode) == 0o640
    secrets = [line for line in hers.read_text().splitlines() if line.startswith("CLIENT_RANDOM")]
    assert len(secrets) == 1
    assert secrets[0] in theirs.read_text().splitlines()


def server_files(issued: pki.Issued, folder: Path) -> tuple[str, ...]:
    return ("--bundle", str(issued.server_pem), "--ca", str(issued.ca_pem), "--folder", str(folder))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def only_failure(folder: Path) -> str:
    failures = [event for event in events_in(folder / "events.jsonl") if isinstance(event, LoginFailed)]
    assert len(failures) == 1
    return failures[0].reason


def test_a_login_that_fails_is_reported_and_the_exit_status_says_so(issued: pki.Issued, tmp_path: Path) -> None:
    nobody = f"mtls@openssl=https://localhost:{free_port()}"
    done = run_part("victim_client", *options(issued, tmp_path / "run", nobody))
    assert (done.returncode, done.stderr) == (1, "")
    assert only_failure(tmp_path / "run") == "Connection refused"


def test_alice_keeps_trying_until_the_server_is_there(issued: pki.Issued, tmp_path: Path) -> None:
    port, events = free_port(), tmp_path / "alice" / "events.jsonl"
    alice = start_part(
        "victim_client",
        *options(issued, events.parent, f"mtls@openssl=https://localhost:{port}", times="0", every="3600"),
    )
    wait_for_event(alice, events, LoginFailed, 2)
    server = start_part("victim_server", "--port", f"mtls@openssl={port}", *server_files(issued, tmp_path / "server"))
    wait_for_event(alice, events, LoggedIn)
    for part in (alice, server):
        part.communicate(timeout=PATIENCE_SECONDS)
        assert part.returncode == 0


def test_alice_does_not_talk_to_a_server_that_she_does_not_know(victims: Victims, tmp_path: Path) -> None:
    other_ca = tmp_path / "other.pem"
    other_ca.write_bytes(pki.new_authority("another authority").certificate_pem())
    command = options(victims.issued, tmp_path / "run", url_of(victims, "mtls@openssl"), ca=str(other_ca))
    assert run_part("victim_client", *command).returncode == 1
    assert only_failure(tmp_path / "run").startswith("the server's certificate is not right: ")


@pytest.mark.parametrize("gateway_id", ["mtls@openssl", "certificate-only@instrument"])
def test_alice_passes_on_why_the_gateway_refused_her(victims: Victims, tmp_path: Path, gateway_id: str) -> None:
    stranger = write_bundle(pki.new_client(pki.new_authority("another authority")), tmp_path / "stranger.pem")
    command = options(victims.issued, tmp_path / "run", url_of(victims, gateway_id), bundle=str(stranger))
    assert run_part("victim_client", *command).returncode == 1
    assert only_failure(tmp_path / "run") == "tlsv1 alert unknown ca"


def test_alice_passes_on_why_the_bank_refused_her(victims: Victims, tmp_path: Path) -> None:
    bob = write_bundle(pki.new_client(victims.issued.authority, "bob"), tmp_path / "bob.pem")
    command = options(victims.issued, tmp_path / "run", url_of(victims, "mtls@openssl"), bundle=str(bob))
    assert run_part("victim_client", *command).returncode == 1
    assert only_failure(tmp_path / "run") == "HTTP 401: the bank has no customer 'bob'"


@pytest.mark.parametrize("way", WAYS_TO_STOP)
def test_alice_stops_when_told_even_while_a_server_lets_her_wait(issued: pki.Issued, tmp_path: Path, way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mtls@openssl=https://127.0.0.1:{silent.getsockname()[1]}"
        alice = start_part("victim_client", *options(issued, tmp_path / "run", url, times="0"))
        connection, _ = silent.accept()
        assert stop(alice, way) == (0, "", "")
        connection.close()
    assert events_in(tmp_path / "run" / "events.jsonl") == [PartStopped("told to stop")]


def test_bad_input_is_one_line_and_leaves_nothing_behind(issued: pki.Issued, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    wrong, expired, empty = tmp_path / "wrong.pem", tmp_path / "expired.pem", tmp_path / "empty.pem"
    wrong.write_bytes(pki.new_client(issued.authority).bundle_pem().split(b"-----BEGIN CERT")[0])
    wrong.write_bytes(wrong.read_bytes() + issued.client.certificate_pem())
    write_bundle(pki.new_client(issued.authority, now=datetime.now(UTC) - timedelta(days=60)), expired)
    empty.touch()
    locked = encrypted_pem(issued, tmp_path)
    cases: list[tuple[dict[str, str], str]] = [
        ({"bundle": str(issued.client_p12)}, "alice.p12: the password is wrong or missing"),
        ({"bundle": str(issued.client_p12), "password-file": str(issued.ca_pem)}, "alice.p12: the password is wrong"),
        ({"bundle": str(locked)}, "bundle.pem: the key is encrypted; give its password"),
        ({"bundle": str(wrong)}, "wrong.pem: the key does not belong to the certificate"),
        ({"bundle": str(expired)}, "expired.pem: the certificate expired"),
        ({"bundle": str(empty)}, "empty.pem: "),
        ({"bundle": str(issued.ca_pem)}, "ca.pem: holds no private key"),
        ({"bundle": str(tmp_path / "missing.pem")}, "missing.pem: No such file or directory"),
        ({"password-file": str(issued.client_p12)}, "alice.p12: holds no password"),
        ({"password-file": str(tmp_path / "missing")}, "missing: No such file or directory"),
        ({"ca": str(empty)}, "empty.pem: holds no readable certificate"),
        ({"ca": str(issued.client_p12)}, "alice.p12: holds no readable certificate"),
        ({"ca": str(tmp_path / "missing.pem")}, "missing.pem: No such file or directory"),
        ({"gateway": "mtls@openssl=http://localhost:1"}, "is not https://HOST:PORT"),
        ({"gateway": "mtls@openssl=https://localhost:1/account"}, "is not https://HOST:PORT"),
        ({"gateway": "mtls@openssl=https://localhost:70000"}, "is not a URL"),
        ({"gateway": "mtls@openssl=https://local host"}, "is not a URL"),
        ({"gateway": "https://localhost"}, "is not GATEWAY=URL"),
        ({"bundle": f"mtls@openssl={issued.client_p12}"}, "alice.p12: the password is wrong or missing"),
        (
            {"gateway": "other=https://localhost:1", "bundle": f"mtls@openssl={issued.client_pem}"},
            "No such file or directory",
        ),
        ({"tls": "1.1"}, "--tls"),
        (
            {"forward-certificate": "forwarded-header@openssl"},
            "--forward-certificate forwarded-header@openssl: there is no --gateway",
        ),
        ({"every": "0"}, "--every"),
        ({"every": "nan"}, "--every"),
        ({"ease-off": "nan"}, "--ease-off"),
        ({"ease-off": "1.1"}, "--ease-off"),
        ({"times": "-1"}, "--times"),
        ({"nonsense": "1"}, "--nonsense"),
        ({"folder": str(empty / "below")}, "empty.pem"),
    ]
    for changed, expected in cases:
        command = options(issued, folder, "mtls@openssl=https://localhost:1", **changed)
        assert_bad_input("victim_client", command, expected)
    assert not folder.exists()


def test_a_gateway_without_a_bundle_is_bad_input(issued: pki.Issued, tmp_path: Path) -> None:
    command = options(
        issued, tmp_path / "run", "mtls@openssl=https://localhost:1", bundle=f"mtls@openssl={issued.client_pem}"
    )
    command += ["--gateway", "pinned-mtls@openssl=https://localhost:2"]
    assert_bad_input("victim_client", command, "there is none for pinned-mtls")


def test_a_bundle_that_cannot_be_read_is_bad_input(issued: pki.Issued, tmp_path: Path) -> None:
    issued.client_pem.chmod(0)
    assert_permission_denied("victim_client", options(issued, tmp_path / "run", "mtls@openssl=https://localhost:1"))


def test_alice_eases_off_in_proportion_to_the_time_since_her_first_login() -> None:
    habit = Habit(2, 0, VERSIONS, ease_off=0.2)
    waits = {since: habit.pause_seconds(since) for since in (0, 9, 20, 60, 1000)}
    assert waits == {0: 2, 9: 2, 20: 4, 60: 12, 1000: EASED_OFF_SECONDS}
    assert replace(habit, ease_off=0).pause_seconds(1000) == 2
