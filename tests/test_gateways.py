"""The gateways: whom they let in, what they put on the wire when they don't, and what they put up with."""

import base64
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import stat
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab import pki
from lab.events import ClientAuthenticated, ClientRefused, GatewayListening, PartStopped, Trouble
from lab.tls.client import Client
from lab.tls.engine import EngineEvent, Established, Failed
from lab.tls.proof import Challenge, Prover, prove_with
from programs import program
from victim_server.gateway import Gateway, Limits
from victim_server.schemes import SCHEMES, Scheme, find_scheme
from victims import (
    PATIENCE_SECONDS,
    ROOT,
    SCHEME_IDS,
    Reports,
    Victims,
    curl,
    events_in,
    gateway_files,
    in_a_loop,
    run_part,
    running_victims,
    start_part,
    wait_for_event,
    write_bundle,
)

ACCOUNT = {"customer": "alice", "balance": 1000}
GET_ACCOUNT = b"GET /account HTTP/1.1\r\nHost: localhost\r\n\r\n"
every_scheme = pytest.mark.parametrize("scheme", SCHEME_IDS)
refusing_schemes = pytest.mark.parametrize("scheme", [s.id for s in SCHEMES if s.checks_proof])
gullible_schemes = pytest.mark.parametrize("scheme", [s.id for s in SCHEMES if not s.checks_proof])


@pytest.fixture
def victims(issued: pki.Issued, tmp_path: Path) -> Iterator[Victims]:
    with running_victims(issued, tmp_path / "run") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    """For tests that leave no trace but reports."""
    folder = tmp_path_factory.mktemp("shared")
    issued = pki.issue(folder / "public", folder / "server", folder / "client")
    with running_victims(issued, folder / "run") as running:
        yield running


@pytest.fixture
def impatient_victims(issued: pki.Issued, tmp_path: Path) -> Iterator[Victims]:
    limits = Limits(connections=2, handshake_seconds=0.3, request_seconds=0.3, idle_seconds=0.3, linger_seconds=0.3)
    with running_victims(issued, tmp_path / "run", limits) as running:
        yield running


def connect(victims: Victims, scheme: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", victims.port(scheme)), PATIENCE_SECONDS)


def connect_tls(victims: Victims, scheme: str, bundle: Path | None = None) -> ssl.SSLSocket:
    """A connection made by Python's own TLS."""
    context = ssl.create_default_context(cafile=victims.issued.ca_pem)
    context.load_cert_chain(bundle or victims.issued.client_pem)
    return context.wrap_socket(connect(victims, scheme), server_hostname="localhost")


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(1 << 16):
        received += data
    return received


def shake_hands(connection: socket.socket, client: Client) -> list[EngineEvent]:
    """Runs the instrument's client until its handshake has succeeded or failed."""
    events: list[EngineEvent] = []
    while not events:
        connection.sendall(client.data_to_send())
        data = connection.recv(1 << 16)
        events = client.receive(data) if data else [Failed(None, None, "closed")]
    return events


def new_client(victims: Victims, prove: Prover | None) -> Client:
    return Client(entropy=os.urandom, server_name="localhost", chain=(victims.issued.client.der,), prove=prove)


def assert_still_serving(victims: Victims, scheme: str) -> None:
    answer = curl(victims, scheme, "/account")
    assert (answer.status, answer.body) == (200, ACCOUNT)
    assert not victims.reports.all(Trouble)


# --- clients that are let in ---


@every_scheme
def test_curl_gets_in_with_a_pem_bundle(shared: Victims, scheme: str) -> None:
    assert curl(shared, scheme, "/account").body == ACCOUNT


@every_scheme
def test_curl_gets_in_with_a_pkcs12_bundle(shared: Victims, scheme: str) -> None:
    password = shared.issued.client_p12_password.read_text().strip()
    options = ("--cert-type", "P12", "--pass", password)
    assert curl(shared, scheme, "/account", *options, bundle=shared.issued.client_p12).body == ACCOUNT


@every_scheme
def test_openssl_s_client_gets_in(shared: Victims, scheme: str) -> None:
    done = subprocess.run(
        [
            *(program("openssl"), "s_client", "-tls1_2", "-quiet", "-connect", f"localhost:{shared.port(scheme)}"),
            *("-CAfile", str(shared.issued.ca_pem), "-verify_return_error"),
            *("-cert", str(shared.issued.client_pem), "-key", str(shared.issued.client_pem)),
        ],
        input=GET_ACCOUNT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    assert json.loads(done.stdout.rpartition(b"\r\n")[2]) == ACCOUNT


@every_scheme
def test_gnutls_gets_in(shared: Victims, scheme: str) -> None:
    bundle = str(shared.issued.client_pem)
    done = subprocess.run(
        [
            *(program("gnutls-cli"), "--port", str(shared.port(scheme)), "--x509cafile", str(shared.issued.ca_pem)),
            *("--x509certfile", bundle, "--x509keyfile", bundle, "--logfile", os.devnull, "localhost"),
        ],
        input=GET_ACCOUNT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    assert json.dumps(ACCOUNT, separators=(",", ":")).encode() in done.stdout


@every_scheme
@pytest.mark.parametrize("key_type", pki.KEY_TYPES)
def test_every_type_of_key_gets_in(tmp_path: Path, scheme: str, key_type: pki.KeyType) -> None:
    issued = pki.issue(tmp_path / "p", tmp_path / "s", tmp_path / "c", key_type)
    with running_victims(issued, tmp_path / "run") as victims:
        assert curl(victims, scheme, "/account").body == ACCOUNT


@every_scheme
def test_a_client_is_reported_once_a_connection(victims: Victims, scheme: str) -> None:
    with connect_tls(victims, scheme) as connection:
        address = "{}:{}".format(*connection.getsockname())
        assert connection.version() == "TLSv1.2"
        for _ in range(3):
            connection.sendall(GET_ACCOUNT)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert json.loads(answer.read()) == ACCOUNT
    client = victims.issued.client
    subject = client.certificate.subject.rfc4514_string()
    proof = find_scheme(scheme).proof
    assert victims.reports.all(ClientAuthenticated) == [
        ClientAuthenticated(scheme, address, subject, client.sha256, proof)
    ]


@every_scheme
def test_requests_may_come_before_the_answers_do(shared: Victims, scheme: str) -> None:
    with connect_tls(shared, scheme) as connection:
        connection.sendall(GET_ACCOUNT + GET_ACCOUNT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert read_all(connection).count(b'"balance":1000') == 2


@every_scheme
def test_fifty_clients_at_once_get_in(victims: Victims, scheme: str) -> None:
    def log_in(_: int) -> Any:
        with contextlib.closing(connect_tls(victims, scheme)) as connection:
            connection.sendall(GET_ACCOUNT)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return json.loads(answer.read())

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(log_in, range(50))) == [ACCOUNT] * 50
    assert len(victims.reports.all(ClientAuthenticated)) == 50


@every_scheme
def test_a_second_login_is_a_full_handshake_too(shared: Victims, scheme: str) -> None:
    done = subprocess.run(
        [
            *(program("openssl"), "s_client", "-tls1_2", "-reconnect", "-connect", f"localhost:{shared.port(scheme)}"),
            *("-cert", str(shared.issued.client_pem), "-key", str(shared.issued.client_pem)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert len(re.findall(r"^New, TLSv1.2", done.stdout, re.MULTILINE)) == 6
    assert "Reused" not in done.stdout


@every_scheme
def test_the_session_keys_are_logged_for_the_teacher(victims: Victims, scheme: str, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=victims.issued.ca_pem)
    context.load_cert_chain(victims.issued.client_pem)
    context.keylog_filename = str(tmp_path / "client-keys.log")
    with context.wrap_socket(connect(victims, scheme), server_hostname="localhost"):
        victims.reports.wait_for(ClientAuthenticated)
    key_log = victims.folder / "keys.log"
    secrets = (tmp_path / "client-keys.log").read_text().splitlines()
    assert next(line for line in secrets if line.startswith("CLIENT_RANDOM")) in key_log.read_text().splitlines()
    assert stat.S_IMODE(key_log.stat().st_mode) == 0o640


# --- clients that are not ---


def refusal(victims: Victims, scheme: str, bundle: Path) -> tuple[str | None, ClientRefused]:
    """What Python's TLS says to a handshake that must fail, and the gateway's own report."""
    with pytest.raises(ssl.SSLError) as failure:
        connect_tls(victims, scheme, bundle)
    assert not victims.reports.all(ClientAuthenticated)
    return failure.value.reason, victims.reports.wait_for(ClientRefused)[0]


@every_scheme
def test_no_certificate_is_a_handshake_failure(victims: Victims, scheme: str) -> None:
    context = ssl.create_default_context(cafile=victims.issued.ca_pem)
    with pytest.raises(ssl.SSLError) as failure:
        context.wrap_socket(connect(victims, scheme), server_hostname="localhost")
    assert failure.value.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    refused = victims.reports.wait_for(ClientRefused)[0]
    assert (refused.scheme, refused.alert) == (scheme, 40)
    assert "certificate" in refused.reason


@every_scheme
def test_another_authority_is_unknown(victims: Victims, scheme: str, tmp_path: Path) -> None:
    stranger = pki.new_client(pki.new_authority("another authority"))
    said, refused = refusal(victims, scheme, write_bundle(stranger, tmp_path / "stranger.pem"))
    assert said == "TLSV1_ALERT_UNKNOWN_CA"
    assert refused.alert == 48
    assert "unable to get local issuer certificate" in refused.reason


@every_scheme
def test_curl_is_told_that_another_authority_is_unknown(victims: Victims, scheme: str, tmp_path: Path) -> None:
    stranger = pki.new_client(pki.new_authority("another authority"))
    answer = curl(victims, scheme, "/account", bundle=write_bundle(stranger, tmp_path / "stranger.pem"))
    assert "alert unknown ca" in answer.stderr
    assert victims.reports.wait_for(ClientRefused)[0].alert == 48


@every_scheme
def test_a_namesake_of_the_authority_is_unknown(victims: Victims, scheme: str, tmp_path: Path) -> None:
    """Same name, another key; its certificate is sent along."""
    namesake = pki.new_authority()
    bundle = write_bundle(pki.new_client(namesake), tmp_path / "namesake.pem", namesake.certificate)
    said, refused = refusal(victims, scheme, bundle)
    assert said == "TLSV1_ALERT_UNKNOWN_CA"
    assert refused.alert == 48


@every_scheme
def test_an_expired_certificate_is_named_so(victims: Victims, scheme: str, tmp_path: Path) -> None:
    expired = pki.new_client(victims.issued.authority, now=datetime.now(UTC) - timedelta(days=60))
    said, refused = refusal(victims, scheme, write_bundle(expired, tmp_path / "expired.pem"))
    assert said == "SSLV3_ALERT_CERTIFICATE_EXPIRED"
    assert refused.alert == 45
    assert "certificate has expired" in refused.reason


@every_scheme
def test_a_server_certificate_is_no_client_certificate(victims: Victims, scheme: str) -> None:
    said, refused = refusal(victims, scheme, victims.issued.server_pem)
    assert said == "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"
    assert refused.alert == 43
    assert "unsuitable certificate purpose" in refused.reason


@every_scheme
def test_bytes_that_are_no_certificate_are_refused_with_an_alert(victims: Victims, scheme: str) -> None:
    client = Client(entropy=os.urandom, chain=(b"no certificate",), prove=lambda challenge: None)
    with connect(victims, scheme) as connection:
        failed = shake_hands(connection, client)[-1]
    assert isinstance(failed, Failed)
    assert failed.sent_by == "server"
    assert victims.reports.wait_for(ClientRefused)[0].alert == failed.alert


@every_scheme
def test_a_client_that_cannot_speak_the_version_is_told_so(victims: Victims, scheme: str) -> None:
    context = ssl.create_default_context(cafile=victims.issued.ca_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(ssl.SSLError) as failure:
        context.wrap_socket(connect(victims, scheme), server_hostname="localhost")
    assert failure.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    assert victims.reports.wait_for(ClientRefused)[0].alert == 70


@every_scheme
def test_an_alert_from_the_client_is_told_apart_from_one_of_the_gateways_own(victims: Victims, scheme: str) -> None:
    context = ssl.create_default_context()  # which does not trust the lab's CA
    with pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(connect(victims, scheme), server_hostname="localhost")
    refused = victims.reports.wait_for(ClientRefused)[0]
    assert refused == ClientRefused(scheme, refused.peer, "the client sent alert unknown_ca (48)", None)


@every_scheme
def test_the_alert_arrives_even_where_the_client_goes_on_sending(victims: Victims, scheme: str) -> None:
    """A server that closes with unread data resets the connection, and the alert may be lost."""
    stranger = pki.new_client(pki.new_authority("another authority"))
    client = Client(entropy=os.urandom, chain=(stranger.der,), prove=prove_with(stranger.key))
    with connect(victims, scheme) as connection:
        while not any(step.name == "ClientKeyExchange" for step in client.steps):
            connection.sendall(client.data_to_send())
            client.receive(connection.recv(1 << 16))
        flight = client.data_to_send()
        certificate_length = 5 + int.from_bytes(flight[3:5], "big")
        connection.sendall(flight[:certificate_length])
        victims.reports.wait_for(ClientRefused)
        connection.sendall(flight[certificate_length:])
        connection.sendall(flight[certificate_length:])
        failed = client.receive(connection.recv(1 << 16))[-1]
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (48, "server")


@refusing_schemes
def test_a_proof_made_with_another_key_is_a_decrypt_error(victims: Victims, scheme: str) -> None:
    with connect(victims, scheme) as connection:
        failed = shake_hands(connection, new_client(victims, prove_with(pki.new_key("p256"))))[-1]
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (51, "server")
    refused = victims.reports.wait_for(ClientRefused)[0]
    assert refused.alert == 51
    assert refused.reason == "bad signature"


@refusing_schemes
def test_a_missing_proof_is_an_unexpected_message(victims: Victims, scheme: str) -> None:
    with connect(victims, scheme) as connection:
        failed = shake_hands(connection, new_client(victims, lambda challenge: None))[-1]
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (10, "server")
    assert victims.reports.wait_for(ClientRefused)[0].alert == 10


def no_proof(challenge: Challenge) -> None:
    return None


@gullible_schemes
@pytest.mark.parametrize("prove", [no_proof, prove_with(pki.new_key("p256"))], ids=["none", "wrong"])
def test_where_the_proof_does_not_count_the_certificate_is_enough(victims: Victims, scheme: str, prove: Prover) -> None:
    with connect(victims, scheme) as connection:
        assert shake_hands(connection, new_client(victims, prove)) == [Established()]
    victims.reports.wait_for(ClientAuthenticated)


# --- the headers that say who the client is ---


@every_scheme
@pytest.mark.parametrize("header", ["Client-Cert: {}", "client-cert:{}\r\nClient-Cert: {}", "Client-Cert-Chain: {}"])
def test_a_forged_client_cert_changes_nothing(shared: Victims, scheme: str, tmp_path: Path, header: str) -> None:
    alice = base64.b64encode(shared.issued.client.der).decode()
    mallory = pki.new_client(shared.issued.authority, "mallory")
    bundle = write_bundle(mallory, tmp_path / "mallory.pem")
    forged = header.replace("{}", f":{alice}:").split("\r\n")
    options = [word for line in forged for word in ("--header", line)]
    answer = curl(shared, scheme, "/account", *options, bundle=bundle)
    assert (answer.status, answer.body) == (401, {"error": "the bank has no customer 'mallory'"})


@every_scheme
def test_a_client_cannot_have_the_gateways_own_header_dropped(shared: Victims, scheme: str) -> None:
    answer = curl(shared, scheme, "/account", "--header", "Connection: Client-Cert, close")
    assert answer.body == ACCOUNT


# --- HTTP ---


@every_scheme
def test_a_transfer_goes_through(victims: Victims, scheme: str) -> None:
    options = ("--json", json.dumps({"to": "mallory", "amount": 100}), "--header", "Expect: 100-continue")
    answer = curl(victims, scheme, "/transfer", *options)
    assert answer.body == {"customer": "alice", "to": "mallory", "amount": 100, "balance": 900}
    chunked = curl(victims, scheme, "/transfer", *options, "--header", "Transfer-Encoding: chunked")
    assert chunked.body["balance"] == 800


@every_scheme
def test_head_has_no_body(shared: Victims, scheme: str) -> None:
    assert curl(shared, scheme, "/account", "--head").status == 200
    assert curl(shared, scheme, "/", "--head").status == 404
    assert_still_serving(shared, scheme)


@every_scheme
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /account HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /account HTTP/1.1\r\nHost: h\r\n" + b"X: " + b"x" * 5_000_000, 431),
        (b"POST /transfer HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, 413),
        (b"POST /transfer HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000, 413),
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET /account HTTP/1.1\r\n\r\n", 400),
        (b"GET /account HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        (b"GET /account HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n", 200),
        (b"GET /account HTTP/1.0\r\n\r\n", 200),
    ],
    ids=lambda value: str(value[:20]) if isinstance(value, bytes) else str(value),
)
def test_requests_get_the_answer_they_deserve(shared: Victims, scheme: str, request_bytes: bytes, status: int) -> None:
    with connect_tls(shared, scheme) as connection:
        with contextlib.suppress(OSError):  # the gateway need not take all of it
            connection.sendall(request_bytes)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer[:100]
    assert_still_serving(shared, scheme)


@pytest.mark.parametrize("scheme", SCHEMES, ids=SCHEME_IDS)
def test_a_silent_bank_is_a_bad_gateway(issued: pki.Issued, tmp_path: Path, scheme: Scheme) -> None:
    reports = Reports()
    listener = socket.create_server(("127.0.0.1", 0))
    key_log = os.open(tmp_path / "keys.log", os.O_WRONLY | os.O_CREAT)

    @contextlib.asynccontextmanager
    async def without_a_bank() -> AsyncIterator[None]:
        engines = scheme.engines(gateway_files(issued, tmp_path))
        gateway = Gateway(scheme, engines, tmp_path / "no-bank.sock", reports, key_log)
        await gateway.open(listener)
        yield
        await gateway.close()

    reports.report(GatewayListening(scheme.id, "127.0.0.1", listener.getsockname()[1], scheme.tls))
    with in_a_loop(without_a_bank):
        answer = curl(Victims(issued, tmp_path, reports), scheme.id, "/account")
    os.close(key_log)
    assert answer.status == 502
    assert "bank" in answer.body["error"]
    assert [trouble.what for trouble in reports.all(Trouble)] == [answer.body["error"]]


# --- clients that behave badly ---


@every_scheme
def test_a_handshake_may_not_take_for_ever(impatient_victims: Victims, scheme: str) -> None:
    hello = Client(entropy=os.urandom).data_to_send()
    with connect(impatient_victims, scheme) as connection:
        connection.sendall(hello[:-1])
        read_all(connection)
    assert impatient_victims.reports.wait_for(ClientRefused)[0].reason == "no complete handshake within 0.3 s"
    assert_still_serving(impatient_victims, scheme)


@every_scheme
@pytest.mark.parametrize(
    "beginning", [b"GET /acc", GET_ACCOUNT[:-2], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"]
)
def test_a_request_may_not_take_for_ever(impatient_victims: Victims, scheme: str, beginning: bytes) -> None:
    with connect_tls(impatient_victims, scheme) as connection:
        connection.sendall(beginning)
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")
    assert_still_serving(impatient_victims, scheme)


@every_scheme
def test_a_silent_client_is_sent_home(impatient_victims: Victims, scheme: str) -> None:
    with connect_tls(impatient_victims, scheme) as connection:
        assert read_all(connection) == b""  # close_notify: Python's TLS raises where it is missing
    assert_still_serving(impatient_victims, scheme)


@every_scheme
def test_more_connections_than_allowed_are_closed_at_once(issued: pki.Issued, tmp_path: Path, scheme: str) -> None:
    with running_victims(issued, tmp_path / "run", Limits(connections=2)) as victims:
        with connect_tls(victims, scheme), connect_tls(victims, scheme), pytest.raises(OSError, match=r".*"):
            connect_tls(victims, scheme)
        while True:  # the gateway notices soon that two have left
            with contextlib.suppress(OSError), connect_tls(victims, scheme):
                break
        assert_still_serving(victims, scheme)


@every_scheme
@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 5,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000,
        b"\x16\x03\x03\x00\x04\x01\x00\x00\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x15\x03\x03\x00\x02\x01\x00",
        b"\x14\x03\x03\x00\x01\x01",
        b"\x17\x03\x03\x00\x01\x01",
        bytes(range(256)) * 300,
    ],
    ids=lambda value: value[:8].hex(),
)
def test_garbage_is_refused_and_reported(shared: Victims, scheme: str, garbage: bytes) -> None:
    before = len(shared.reports.all(ClientRefused))
    with connect(shared, scheme) as connection, contextlib.suppress(OSError):
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    assert shared.reports.wait_for(ClientRefused, before + 1)[-1].scheme == scheme
    assert_still_serving(shared, scheme)


def abort(connection: socket.socket) -> None:
    """Closes with a reset, as a client that crashed or pulled the plug."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@every_scheme
@pytest.mark.parametrize("leave", [socket.socket.close, abort], ids=["closes", "resets"])
def test_a_client_may_vanish_at_every_stage(victims: Victims, scheme: str, leave: Any) -> None:
    for flights in (0, 1, 2):
        client = new_client(victims, prove_with(victims.issued.client.key))
        connection = connect(victims, scheme)
        for _ in range(flights):
            connection.sendall(client.data_to_send())
            if not client.receive(connection.recv(1 << 16)):
                continue
        connection.sendall(client.data_to_send()[:100])
        leave(connection)
    refused = victims.reports.wait_for(ClientRefused, 2)
    assert {event.alert for event in refused} == {None}

    for request in (GET_ACCOUNT[:10], GET_ACCOUNT, GET_ACCOUNT * 200):
        raw = connect_tls(victims, scheme)
        raw.sendall(request)
        leave(raw)
    assert_still_serving(victims, scheme)


@every_scheme
def test_a_connection_on_which_nothing_is_said_is_nobodys(victims: Victims, scheme: str) -> None:
    """A container's health check does this every few seconds."""
    with connect(victims, scheme) as connection:
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    assert_still_serving(victims, scheme)
    assert not victims.reports.all(ClientRefused)


def test_a_gateway_whose_files_are_gone_says_so(victims: Victims) -> None:
    victims.issued.server_pem.unlink()
    with connect(victims, "mtls") as connection, contextlib.suppress(ConnectionResetError):
        assert read_all(connection) == b""
    assert victims.reports.wait_for(Trouble)[0].what.startswith("mtls cannot take 127.0.0.1:")


# --- the part as a process ---


def options(issued: pki.Issued, run: Path, **changed: str) -> list[str]:
    given = {"port": "mtls=0", "bundle": str(issued.server_pem), "ca": str(issued.ca_pem), "folder": str(run)}
    return [word for name, value in (given | changed).items() for word in (f"--{name}", value)]


@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "end of standard input"])
def test_the_part_runs_until_told_to_stop(issued: pki.Issued, tmp_path: Path, way: str) -> None:
    folder = tmp_path / "victim-server"
    part = start_part("victim_server", *options(issued, folder), "--port", "certificate-only=0")
    listening = wait_for_event(part, folder / "events.jsonl", GatewayListening, 2)
    assert [event.scheme for event in listening] == ["mtls", "certificate-only"]
    reports = Reports()
    for event in listening:
        reports.report(event)
        assert curl(Victims(issued, folder, reports), event.scheme, "/account").body == ACCOUNT
    check = run_part("victim_server", "--check", "127.0.0.1", *(str(event.port) for event in listening))
    assert (check.returncode, check.stderr) == (0, "")
    if way == "end of standard input":
        output = part.communicate(timeout=PATIENCE_SECONDS)
    else:
        part.send_signal(getattr(__import__("signal"), way))
        part.wait(PATIENCE_SECONDS)
        output = part.communicate()
    assert (part.returncode, output) == (0, ("", ""))
    events = events_in(folder / "events.jsonl")
    assert events[-1] == PartStopped("told to stop")
    assert len([event for event in events if isinstance(event, ClientAuthenticated)]) == 2
    check = run_part("victim_server", "--check", "127.0.0.1", str(listening[0].port))
    assert check.returncode == 1
    assert len(check.stderr.splitlines()) == 1


def test_the_part_goes_on_where_an_earlier_one_stopped(issued: pki.Issued, tmp_path: Path) -> None:
    for _ in range(2):
        part = start_part("victim_server", *options(issued, tmp_path / "run"))
        wait_for_event(part, tmp_path / "run" / "events.jsonl", GatewayListening)
        part.communicate(timeout=PATIENCE_SECONDS)
    kinds = [type(event) for event in events_in(tmp_path / "run" / "events.jsonl")]
    assert kinds == [GatewayListening, PartStopped] * 2


def test_bad_input_is_one_line_and_leaves_nothing_behind(issued: pki.Issued, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    empty, wrong, expired = tmp_path / "empty.pem", tmp_path / "wrong.pem", tmp_path / "expired.pem"
    empty.touch()
    wrong.write_bytes(pki.new_server(issued.authority).bundle_pem().split(b"-----BEGIN CERT")[0])
    wrong.write_bytes(wrong.read_bytes() + issued.server.certificate_pem())
    long_ago = datetime.now(UTC) - timedelta(days=60)
    write_bundle(pki.new_server(issued.authority, now=long_ago), expired)
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    cases: list[tuple[dict[str, str], str]] = [
        ({"port": "no-such=1"}, "no-such"),
        ({"port": "mtls"}, "SCHEME=PORT"),
        ({"port": "mtls=x"}, "port"),
        ({"port": "mtls=65536"}, "port"),
        ({"port": f"mtls={port}"}, f"mtls cannot listen on 127.0.0.1:{port}: Address already in use"),
        ({"host": "no such host"}, "mtls cannot listen on"),
        ({"bundle": str(tmp_path / "missing.pem")}, "missing.pem: No such file or directory"),
        ({"bundle": str(tmp_path)}, "Is a directory"),
        ({"bundle": str(empty)}, "empty.pem"),
        ({"bundle": str(wrong)}, "wrong.pem: the key does not belong to the certificate"),
        ({"bundle": str(expired)}, "expired.pem: the certificate expired"),
        ({"bundle": str(issued.client_p12)}, "not PEM"),
        ({"ca": str(tmp_path / "missing.pem")}, "missing.pem: No such file or directory"),
        ({"ca": str(empty)}, "empty.pem: holds no readable certificate"),
        ({"opening-balance": "much"}, "--opening-balance"),
        ({"opening-balance": "-1"}, "--opening-balance"),
        ({"nonsense": "1"}, "--nonsense"),
        ({"folder": str(empty / "below")}, "empty.pem"),
    ]
    with taken:
        for changed, expected in cases:
            done = run_part("victim_server", *options(issued, folder, **changed))
            assert done.returncode == 2, (changed, done)
            assert len(done.stderr.splitlines()) == 1, (changed, done.stderr)
            assert done.stderr.startswith("victim-server: "), done.stderr
            assert expected in done.stderr
            assert done.stdout == ""
    assert not folder.exists()


def test_an_option_that_is_missing_is_named() -> None:
    done = run_part("victim_server", "--port", "mtls=0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--bundle is missing" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_bad_input(issued: pki.Issued, tmp_path: Path) -> None:
    tmp_path.joinpath("locked").mkdir(mode=0o500)
    done = run_part("victim_server", *options(issued, tmp_path / "locked" / "run"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Permission denied" in done.stderr


# --- the table ---


def test_reading_the_table_is_cheap() -> None:
    """No server, no cryptography: whoever prints the table need not have them."""
    heavy = ("uvicorn", "starlette", "h11", "OpenSSL", "cryptography")
    code = f"import sys, victim_server.schemes; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_every_scheme_has_its_own_name_and_says_what_it_is() -> None:
    assert len(set(SCHEME_IDS)) == len(SCHEMES)
    for scheme in SCHEMES:
        assert all((scheme.asks_for, scheme.checks, scheme.stands_for))
        assert find_scheme(scheme.id) is scheme
