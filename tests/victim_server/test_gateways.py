"""The gateways: what they make of HTTP, what they put up with, and how they are called."""

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.catalogue.checks import Check
from lab.catalogue.schemes import SCHEMES, Scheme, find_scheme
from lab.events.types import ClientAuthenticated, ClientRefused, GatewayListening, PartStopped, Trouble
from lab.process import BadInput
from lab.staging import pki
from lab.tls.client import Client
from lab.tls.proof import prove_with
from lab.tls.records import ContentType, write_record
from victim_server.authentication import authentication_for, served
from victim_server.gateway import Gateway, Limits
from victims import (
    FORWARDED,
    PATIENCE_SECONDS,
    ROOT,
    SCHEME_IDS,
    Curl,
    Reports,
    Victims,
    alice_at,
    client_cert,
    connect,
    connect_tls,
    curl,
    events_in,
    gateway_files,
    get_account,
    in_a_loop,
    instrument_at,
    read_all,
    run_curl,
    run_part,
    running_victims,
    start_part,
    wait_for_event,
    write_bundle,
)

ACCOUNT = {"customer": "alice", "balance": 1000}
every_scheme = pytest.mark.parametrize("scheme", SCHEME_IDS)
schemes_in_tls = pytest.mark.parametrize("scheme", [scheme for scheme in SCHEME_IDS if scheme != FORWARDED])


@pytest.fixture
def impatient_victims(issued: pki.Issued, tmp_path: Path) -> Iterator[Victims]:
    limits = Limits(connections=2, handshake_seconds=0.3, request_seconds=0.3, idle_seconds=0.3, linger_seconds=0.3)
    with running_victims(issued, tmp_path / "run", limits) as running:
        yield running


def assert_still_serving(victims: Victims, scheme: str) -> None:
    answer = curl(victims, scheme, "/account")
    assert (answer.status, answer.body) == (200, ACCOUNT)
    assert not victims.reports.all(Trouble)


# --- the headers that say who the client is ---


@schemes_in_tls
@pytest.mark.parametrize("header", ["Client-Cert: {}", "client-cert:{}\r\nClient-Cert: {}", "Client-Cert-Chain: {}"])
def test_a_forged_client_cert_changes_nothing(shared: Victims, scheme: str, header: str) -> None:
    mallory = shared.issued.mallory
    assert mallory
    bundle = mallory.self_signed_pem if find_scheme(scheme).trusts == "pinned" else mallory.pem
    alice = client_cert(shared.issued.client).partition(": ")[2]
    options = [word for line in header.replace("{}", alice).split("\r\n") for word in ("--header", line)]
    answer = curl(shared, scheme, "/account", *options, bundle=bundle)
    assert (answer.status, answer.body["customer"]) == (200, "mallory")


def ask_with(victims: Victims, *headers: str) -> Curl:
    """A request at the gateway that believes a header, from a client that has no certificate for TLS."""
    url = f"https://localhost:{victims.port(FORWARDED)}/account"
    options = [word for header in headers for word in ("--header", header)]
    return run_curl(url, "--cacert", str(victims.issued.ca_pem), *options)


def test_whoever_forges_a_client_cert_is_its_owner_where_the_header_is_believed(victims: Victims) -> None:
    answer = ask_with(victims, client_cert(victims.issued.client))
    assert answer.body == ACCOUNT
    (event,) = victims.reports.all(ClientAuthenticated)
    assert (event.scheme, event.tls, event.sha256) == (FORWARDED, "1.3", victims.issued.client.sha256)
    assert event.proof == "not asked for"


def test_without_the_header_there_is_nobody_to_believe_in(victims: Victims) -> None:
    answer = ask_with(victims)
    assert (answer.status, answer.body) == (401, {"error": "the request has no Client-Cert header"})
    (event,) = victims.reports.all(ClientRefused)
    assert (event.scheme, event.reason, event.alert) == (FORWARDED, answer.body["error"], None)


@pytest.mark.parametrize(
    "value", ["alice", ":", "::", ":!:", ":AAA:", ":AAAA:", "?1", ":AAAA:;a=1", "{0}, {0}", '"{0}"']
)
def test_a_header_that_holds_no_certificate_is_a_bad_request(victims: Victims, value: str) -> None:
    alice = client_cert(victims.issued.client).partition(": ")[2]
    answer = ask_with(victims, f"Client-Cert: {value.format(alice)}")
    assert answer.status == 400
    assert "Client-Cert" in answer.body["error"]
    assert victims.reports.wait_for(ClientRefused)[0].reason == answer.body["error"]


def test_two_headers_are_a_bad_request(victims: Victims) -> None:
    assert ask_with(victims, *[client_cert(victims.issued.client)] * 2).status == 400


def test_a_header_with_a_strangers_certificate_is_forbidden(victims: Victims) -> None:
    for stranger in (pki.new_client(pki.new_authority("another authority")), victims.issued.client_self_signed):
        answer = ask_with(victims, client_cert(stranger))
        assert answer.status == 403
        assert answer.body["error"].startswith("certificate verify failed: ")
    assert victims.reports.wait_for(ClientRefused, 2)[-1].reason == answer.body["error"]


def test_who_a_connection_belongs_to_is_reported_again_only_when_it_changes(victims: Victims) -> None:
    alice = get_account(victims.issued, FORWARDED)
    bob = pki.new_client(victims.issued.authority, "bob")
    as_bob = alice.replace(client_cert(victims.issued.client).encode(), client_cert(bob).encode())
    with connect_tls(victims, FORWARDED) as connection:
        for request in (alice, alice, as_bob, alice):
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            answer.read()
    seen = [event.subject for event in victims.reports.all(ClientAuthenticated)]
    assert [subject.rpartition("CN=")[2] for subject in seen] == ["alice", "bob", "alice"]


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
    if scheme == FORWARDED:
        header = client_cert(shared.issued.client).encode()
        request_bytes = request_bytes.replace(b"\r\n", b"\r\n" + header + b"\r\n", 1)
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
        authentication = authentication_for(scheme, gateway_files(issued, tmp_path))
        gateway = Gateway(scheme, authentication, tmp_path / "no-bank.sock", reports, key_log)
        await gateway.open(listener)
        yield
        await gateway.close()

    reports.report(GatewayListening(scheme.id, "127.0.0.1", listener.getsockname()[1], scheme.versions))
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
def test_a_handshake_may_not_be_endless(victims: Victims, scheme: str) -> None:
    """Records of a byte each cost the gateway more than the client."""
    with connect(victims, scheme) as connection, contextlib.suppress(OSError):
        connection.sendall(write_record(ContentType.HANDSHAKE, b"\x01\x01\xff\x00"))
        for _ in range(64):
            connection.sendall(write_record(ContentType.HANDSHAKE, b"\0") * 1000)
        read_all(connection)
    assert victims.reports.wait_for(ClientRefused)[0].reason == "no complete handshake within 32768 bytes"
    assert_still_serving(victims, scheme)


@every_scheme
@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /acc",
        b"GET /account HTTP/1.1\r\nHost: h\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
    ],
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
        client = instrument_at(victims, scheme, prove_with(alice_at(victims.issued, scheme).key))
        connection = connect(victims, scheme)
        for _ in range(flights):
            connection.sendall(client.data_to_send())
            if not client.receive(connection.recv(1 << 16)):
                continue
        connection.sendall(client.data_to_send()[:50])
        leave(connection)
    refused = victims.reports.wait_for(ClientRefused, 2)
    assert {event.alert for event in refused} == {None}

    request = get_account(victims.issued, scheme)
    for sent in (request[:10], request, request * 200):
        raw = connect_tls(victims, scheme)
        raw.sendall(sent)
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


# --- the part as a process ---


def options(files: pki.Issued, run: Path, **changed: str) -> list[str]:
    given = {"port": "mtls=0", "bundle": str(files.server_pem), "ca": str(files.ca_pem), "folder": str(run)}
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


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_versions_to_serve_can_be_chosen(issued: pki.Issued, tmp_path: Path, version: str) -> None:
    events = tmp_path / "run" / "events.jsonl"
    part = start_part("victim_server", *options(issued, events.parent, tls=version))
    (listening,) = wait_for_event(part, events, GatewayListening)
    assert listening.versions == (version,)
    reports = Reports()
    reports.report(listening)
    victims = Victims(issued, events.parent, reports)
    with connect_tls(victims, "mtls") as connection:
        assert connection.version() == f"TLSv{version}"
    other = "1.3" if version == "1.2" else "1.2"
    with pytest.raises(ssl.SSLError) as failure:
        connect_tls(victims, "mtls", version=other)
    assert failure.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    (refused,) = wait_for_event(part, events, ClientRefused)
    assert (refused.tls, refused.alert) == ("", 70)
    part.communicate(timeout=PATIENCE_SECONDS)


def test_a_version_that_a_scheme_cannot_do_is_bad_input() -> None:
    old = replace(find_scheme("mtls"), versions=("1.2",))
    assert served(old, ("1.3", "1.2")) == ("1.2",)
    with pytest.raises(BadInput, match=re.escape("mtls cannot do TLS 1.3; it does TLS 1.2")):
        served(old, ("1.3",))


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
        ({"register": str(tmp_path / "missing.sqlite")}, "missing.sqlite: No such file or directory"),
        ({"register": str(empty)}, "empty.pem: is no register of customers"),
        ({"register": str(wrong)}, "wrong.pem: is no register of customers"),
        ({"port": "pinned-mtls=0"}, "pinned-mtls needs --register FILE"),
        ({"port": "pinned-certificate-only=0"}, "pinned-certificate-only needs --register FILE"),
        ({"tls": "1.1"}, "--tls"),
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
    code = f"import sys, lab.catalogue.schemes; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_every_scheme_has_its_own_name_and_says_what_it_is() -> None:
    assert len(set(SCHEME_IDS)) == len(SCHEMES)
    for scheme in SCHEMES:
        assert all((scheme.asks_for, scheme.verifies, scheme.stands_for))
        assert find_scheme(scheme.id) is scheme


def test_a_scheme_has_a_fault_exactly_where_it_leaves_out_a_check() -> None:
    for scheme in SCHEMES:
        assert bool(scheme.fault) == (scheme.checks != frozenset(Check)), scheme.id
        assert scheme.checks_proof == (scheme.proof == "checked"), scheme.id
