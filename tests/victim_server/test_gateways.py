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
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.catalogue.gateways import GATEWAYS, Gateway, find_gateway
from lab.catalogue.implementations import OPENSSL
from lab.catalogue.schemes import ALL_CHECKS, SCHEMES, NameFrom, ProofOf, find_scheme
from lab.events.types import AccountOpened, ClientAuthenticated, ClientRefused, GatewayListening, PartStopped, Trouble
from lab.process import BadInput
from lab.staging import pki
from lab.tls.alerts import FATAL, Alert
from lab.tls.client import Client
from lab.tls.proof import prove_with
from lab.tls.records import ContentType, RecordReader, write_record
from lab.tls.versions import TLS12, TLS13
from programs import wait_until
from victim_server.authentication import authentication_for, served
from victim_server.gateway import GatewayServer, Limits
from victims import (
    FORWARDED,
    GATEWAY_IDS,
    GATEWAYS_IN_TLS,
    PATIENCE_SECONDS,
    ROOT,
    WAYS_TO_STOP,
    Curl,
    Reports,
    Victims,
    alice_at,
    assert_bad_input,
    assert_permission_denied,
    client_cert,
    connect,
    connect_tls,
    curl,
    events_in,
    gateway,
    gateway_files,
    get_account,
    in_a_loop,
    instrument_at,
    own_headers,
    read_all,
    run_curl,
    run_part,
    running_victims,
    start_part,
    stop,
    wait_for_event,
    write_bundle,
)

ACCOUNT = {"customer": "alice", "balance": 1000}
OWN_CODE = [one for one in GATEWAY_IDS if gateway(one).scheme.proof_of is not ProofOf.SOMEBODY]
"""All but those that look at a certificate in another way than mtls does, and do nothing else otherwise."""
every_gateway = pytest.mark.parametrize("gateway_id", OWN_CODE)
every_gateway_in_tls = pytest.mark.parametrize("gateway_id", [one for one in OWN_CODE if one in GATEWAYS_IN_TLS])


def assert_still_serving(victims: Victims, gateway_id: str) -> None:
    answer = curl(victims, gateway_id, "/account")
    assert (answer.status, answer.body) == (200, ACCOUNT)
    assert not victims.reports.all(Trouble)


# --- the headers that say who the client is ---


@every_gateway_in_tls
@pytest.mark.parametrize("header", ["Client-Cert: {}", "client-cert:{}\r\nClient-Cert: {}", "Client-Cert-Chain: {}"])
def test_a_forged_client_cert_changes_nothing(shared: Victims, gateway_id: str, header: str) -> None:
    mallory = shared.issued.mallory
    assert mallory
    bundle = mallory.self_signed_pem if gateway(gateway_id).scheme.trusts == "pinned" else mallory.pem
    alice = client_cert(shared.issued.client).partition(": ")[2]
    options = [word for line in header.replace("{}", alice).split("\r\n") for word in ("--header", line)]
    answer = curl(shared, gateway_id, "/account", *options, bundle=bundle)
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
    assert (event.gateway, event.tls, event.sha256) == (FORWARDED, "1.3", victims.issued.client.sha256)
    assert event.proof == "none received"


def test_without_the_header_there_is_nobody_to_believe_in(victims: Victims) -> None:
    answer = ask_with(victims)
    assert (answer.status, answer.body) == (401, {"error": "the request has no Client-Cert header"})
    (event,) = victims.reports.all(ClientRefused)
    assert (event.gateway, event.reason, event.alert) == (FORWARDED, answer.body["error"], None)


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


@every_gateway
def test_a_client_cannot_have_the_gateways_own_header_dropped(shared: Victims, gateway_id: str) -> None:
    answer = curl(shared, gateway_id, "/account", "--header", "Connection: Client-Cert, close")
    assert answer.body == ACCOUNT


# --- HTTP ---


@every_gateway
def test_a_transfer_goes_through(victims: Victims, gateway_id: str) -> None:
    options = ("--json", json.dumps({"to": "mallory", "amount": 100}), "--header", "Expect: 100-continue")
    answer = curl(victims, gateway_id, "/transfer", *options)
    assert answer.body == {"customer": "alice", "to": "mallory", "amount": 100, "balance": 900}
    chunked = curl(victims, gateway_id, "/transfer", *options, "--header", "Transfer-Encoding: chunked")
    assert chunked.body["balance"] == 800


@every_gateway
def test_head_has_no_body(shared: Victims, gateway_id: str) -> None:
    assert curl(shared, gateway_id, "/account", "--head").status == 200
    assert curl(shared, gateway_id, "/", "--head").status == 404
    assert_still_serving(shared, gateway_id)


SMUGGLED = b"GET /account HTTP/1.1\r\nHost: smuggled\r\n\r\n"


@every_gateway
@pytest.mark.parametrize(
    "head",
    [
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 0",
        b"POST /transfer HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, name_from",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nContent-Length: +4",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nContent-Length: 4, 5",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nHost: other\r\nContent-Length: 0",
        b"POST /transfer HTTP/1.1\r\nHost: h\r\nX: a\rContent-Length: 0",
    ],
)
def test_a_request_whose_end_is_unclear_is_the_last(shared: Victims, gateway_id: str, head: bytes) -> None:
    """One answer, an error, and the connection ends: what follows is nobody's request (RFC 9112 section 11.2)."""
    with connect_tls(shared, gateway_id) as connection:
        connection.sendall(head + b"\r\n\r\n0\r\n\r\n" + SMUGGLED)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1") == 1, answers
    assert answers.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert b"balance" not in answers
    assert_still_serving(shared, gateway_id)


@every_gateway
def test_a_body_that_is_too_long_is_not_asked_for(shared: Victims, gateway_id: str) -> None:
    with connect_tls(shared, gateway_id) as connection:
        head = b"POST /transfer HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 70000\r\n\r\n"
        connection.sendall(head)
        assert read_all(connection).startswith(b"HTTP/1.1 413")


@every_gateway
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
def test_requests_get_the_answer_they_deserve(
    shared: Victims, gateway_id: str, request_bytes: bytes, status: int
) -> None:
    for header in own_headers(shared.issued, gateway_id):
        request_bytes = request_bytes.replace(b"\r\n", b"\r\n" + header.encode() + b"\r\n", 1)
    with connect_tls(shared, gateway_id) as connection:
        with contextlib.suppress(OSError):  # the gateway need not take all of it
            connection.sendall(request_bytes)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer[:100]
    assert_still_serving(shared, gateway_id)


@pytest.mark.parametrize("kind", GATEWAYS, ids=GATEWAY_IDS)
def test_a_silent_bank_is_a_bad_gateway(issued: pki.Issued, tmp_path: Path, kind: Gateway) -> None:
    reports = Reports()
    listener = socket.create_server(("127.0.0.1", 0))
    key_log = os.open(tmp_path / "keys.log", os.O_WRONLY | os.O_CREAT)

    @contextlib.asynccontextmanager
    async def without_a_bank() -> AsyncIterator[None]:
        authentication = authentication_for(kind, gateway_files(issued, tmp_path))
        server = GatewayServer(kind, authentication, tmp_path / "no-bank.sock", reports, key_log)
        await server.open(listener)
        yield
        await server.close()

    reports.report(GatewayListening(kind.id, "127.0.0.1", listener.getsockname()[1], tuple(map(str, kind.versions))))
    with in_a_loop(without_a_bank):
        answer = curl(Victims(issued, tmp_path, reports), kind.id, "/account")
    os.close(key_log)
    assert answer.status == 502
    assert "bank" in answer.body["error"]
    assert [trouble.what for trouble in reports.all(Trouble)] == [answer.body["error"]]


# --- clients that behave badly ---


@every_gateway
def test_a_client_that_dawdles_is_sent_home(issued: pki.Issued, tmp_path: Path, gateway_id: str) -> None:
    """In its handshake, in a request, and between two. All at the same time, as each takes all of its time."""
    limits = Limits(handshake_seconds=1, request_seconds=1, idle_seconds=1, linger_seconds=0.3)
    with running_victims(issued, tmp_path / "run", limits) as victims, contextlib.ExitStack() as opened:
        in_its_hello = opened.enter_context(connect(victims, gateway_id))
        in_its_hello.sendall(Client(entropy=os.urandom).data_to_send()[:-1])
        in_a_request = []
        for beginning in BEGINNINGS:
            in_a_request.append(opened.enter_context(connect_tls(victims, gateway_id)))
            in_a_request[-1].sendall(beginning)
        silent = opened.enter_context(connect_tls(victims, gateway_id))
        read_all(in_its_hello)
        for connection in in_a_request:
            assert read_all(connection).startswith(b"HTTP/1.1 408 ")
        assert read_all(silent) == b""  # close_notify: Python's TLS raises where it is missing
        (refused,) = victims.reports.wait_for(ClientRefused)
        assert refused.reason == "no complete handshake within 1 s"
        assert_still_serving(victims, gateway_id)


def last_record(received: bytes) -> tuple[int, bytes]:
    """Its type and its fragment."""
    *_, last = RecordReader().feed(received)
    return last.type, last.fragment


BEGINNINGS = (
    b"GET /acc",
    b"GET /account HTTP/1.1\r\nHost: h\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
)


@every_gateway
def test_a_handshake_may_not_be_endless(victims: Victims, gateway_id: str) -> None:
    """Records of a byte each cost the gateway more than the client. It says so with a fatal alert."""
    with connect(victims, gateway_id) as connection:
        connection.sendall(write_record(ContentType.HANDSHAKE, b"\x01\x01\xff\x00"))
        for _ in range(6):
            connection.sendall(write_record(ContentType.HANDSHAKE, b"\0") * 1000)
        connection.shutdown(socket.SHUT_WR)
        kind, fragment = last_record(read_all(connection))
    (refused,) = victims.reports.wait_for(ClientRefused)
    assert refused.reason == "no complete handshake within 32768 bytes"
    assert (kind, fragment) == (ContentType.ALERT, Alert(FATAL, refused.alert or 0).serialize())
    assert_still_serving(victims, gateway_id)


@every_gateway
def test_more_connections_than_allowed_are_closed_at_once(issued: pki.Issued, tmp_path: Path, gateway_id: str) -> None:
    with running_victims(issued, tmp_path / "run", Limits(connections=2)) as victims:
        with connect_tls(victims, gateway_id), connect_tls(victims, gateway_id), pytest.raises(OSError, match=r".*"):
            connect_tls(victims, gateway_id)

        def has_room() -> bool:
            with contextlib.suppress(OSError), connect_tls(victims, gateway_id):
                return True
            return False

        wait_until(has_room, "the gateway to notice that two have left")
        assert_still_serving(victims, gateway_id)


@pytest.mark.parametrize(("said", "source"), [(b"", "127.0.0.1"), (b"", "127.0.0.2"), (b"\x16\x03\x01", "127.0.0.2")])
@pytest.mark.parametrize("gateway_id", ["mtls@openssl", "certificate-only@instrument"])
def test_idle_connections_shut_nobody_out(
    issued: pki.Issued, tmp_path: Path, gateway_id: str, said: bytes, source: str
) -> None:
    """More of them than there is room for, from one host, which opens a new one for each that it loses."""
    with running_victims(issued, tmp_path / "run", Limits(connections=16)) as victims, contextlib.ExitStack() as held:

        def hold() -> None:
            connection = held.enter_context(connect(victims, gateway_id, source))
            connection.sendall(said)

        for _ in range(20):
            hold()
        for _ in range(10):
            assert_still_serving(victims, gateway_id)
            hold()


@every_gateway
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
def test_garbage_is_refused_and_reported(shared: Victims, gateway_id: str, garbage: bytes) -> None:
    before = len(shared.reports.all(ClientRefused))
    with connect(shared, gateway_id) as connection, contextlib.suppress(OSError):
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    assert shared.reports.wait_for(ClientRefused, before + 1)[-1].gateway == gateway_id
    assert_still_serving(shared, gateway_id)


def abort(connection: socket.socket) -> None:
    """Closes with a reset, as a client that crashed or pulled the plug."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@every_gateway
@pytest.mark.parametrize("leave", [socket.socket.close, abort], ids=["closes", "resets"])
def test_a_client_may_vanish_at_every_stage(victims: Victims, gateway_id: str, leave: Any) -> None:
    for flights in (0, 1, 2):
        client = instrument_at(victims, gateway_id, prove_with(alice_at(victims.issued, gateway_id).key))
        connection = connect(victims, gateway_id)
        for _ in range(flights):
            connection.sendall(client.data_to_send())
            if not client.receive(connection.recv(1 << 16)):
                continue
        connection.sendall(client.data_to_send()[:50])
        leave(connection)
    refused = victims.reports.wait_for(ClientRefused, 2)
    assert {event.alert for event in refused} == {None}

    request = get_account(victims.issued, gateway_id)
    for sent in (request[:10], request, request * 200):
        raw = connect_tls(victims, gateway_id)
        raw.sendall(sent)
        leave(raw)
    assert_still_serving(victims, gateway_id)


@every_gateway
def test_a_connection_on_which_nothing_is_said_is_nobodys(victims: Victims, gateway_id: str) -> None:
    """A container's health check does this every few seconds."""
    with connect(victims, gateway_id) as connection:
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    assert_still_serving(victims, gateway_id)
    assert not victims.reports.all(ClientRefused)


# --- the part as a process ---


def options(files: pki.Issued, run: Path, **changed: str) -> list[str]:
    given = {"port": "mtls@openssl=0", "bundle": str(files.server_pem), "ca": str(files.ca_pem), "folder": str(run)}
    return [word for name, value in (given | changed).items() for word in (f"--{name}", value)]


@pytest.mark.parametrize("way", WAYS_TO_STOP)
def test_the_part_runs_until_told_to_stop(issued: pki.Issued, tmp_path: Path, way: str) -> None:
    folder = tmp_path / "victim-server"
    part = start_part("victim_server", *options(issued, folder), "--port", "certificate-only@instrument=0")
    listening = wait_for_event(part, folder / "events.jsonl", GatewayListening, 2)
    assert [event.gateway for event in listening] == ["mtls@openssl", "certificate-only@instrument"]
    reports = Reports()
    for event in listening:
        reports.report(event)
        assert curl(Victims(issued, folder, reports), event.gateway, "/account").body == ACCOUNT
    assert stop(part, way) == (0, "", "")
    events = events_in(folder / "events.jsonl")
    assert events[-1] == PartStopped("told to stop")
    assert len([event for event in events if isinstance(event, ClientAuthenticated)]) == 2


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_versions_to_serve_can_be_chosen(issued: pki.Issued, tmp_path: Path, version: str) -> None:
    events = tmp_path / "run" / "events.jsonl"
    part = start_part("victim_server", *options(issued, events.parent, tls=version))
    (listening,) = wait_for_event(part, events, GatewayListening)
    assert listening.versions == (version,)
    reports = Reports()
    reports.report(listening)
    victims = Victims(issued, events.parent, reports)
    with connect_tls(victims, "mtls@openssl") as connection:
        assert connection.version() == f"TLSv{version}"
    other = "1.3" if version == "1.2" else "1.2"
    with pytest.raises(ssl.SSLError) as failure:
        connect_tls(victims, "mtls@openssl", version=other)
    assert failure.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    (refused,) = wait_for_event(part, events, ClientRefused)
    assert (refused.tls, refused.alert) == ("", 70)
    part.communicate(timeout=PATIENCE_SECONDS)


def test_a_version_that_a_gateway_cannot_do_is_bad_input() -> None:
    old = Gateway(gateway("mtls@openssl").scheme, replace(OPENSSL, versions=(TLS12,)))
    assert served(old, (TLS13, TLS12)) == (TLS12,)
    with pytest.raises(BadInput, match=re.escape("mtls@openssl cannot do TLS 1.3; it does TLS 1.2")):
        served(old, (TLS13,))


def test_the_part_goes_on_where_an_earlier_one_stopped(issued: pki.Issued, tmp_path: Path) -> None:
    for _ in range(2):
        part = start_part("victim_server", *options(issued, tmp_path / "run"))
        wait_for_event(part, tmp_path / "run" / "events.jsonl", GatewayListening)
        part.communicate(timeout=PATIENCE_SECONDS)
    kinds = [type(event) for event in events_in(tmp_path / "run" / "events.jsonl")]
    assert [kind for kind in kinds if kind is not AccountOpened] == [GatewayListening, PartStopped] * 2


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
        ({"port": "mtls@openssl"}, "GATEWAY=PORT"),
        ({"port": "mtls@openssl=x"}, "port"),
        ({"port": "mtls@openssl=65536"}, "port"),
        ({"port": f"mtls@openssl={port}"}, f"mtls@openssl cannot listen on 127.0.0.1:{port}: Address already in use"),
        ({"host": "no such host"}, "mtls@openssl cannot listen on"),
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
        ({"port": "pinned-mtls@openssl=0"}, "pinned-mtls@openssl needs --register FILE"),
        ({"port": "pinned-certificate-only@instrument=0"}, "pinned-certificate-only@instrument needs --register FILE"),
        ({"tls": "1.1"}, "--tls"),
        ({"opening-balance": "much"}, "--opening-balance"),
        ({"opening-balance": "-1"}, "--opening-balance"),
        ({"nonsense": "1"}, "--nonsense"),
        ({"folder": str(empty / "below")}, "empty.pem"),
    ]
    with taken:
        for changed, expected in cases:
            assert_bad_input("victim_server", options(issued, folder, **changed), expected)
    assert not folder.exists()


def test_an_option_that_is_missing_is_named() -> None:
    done = run_part("victim_server", "--port", "mtls@openssl=0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--bundle" in done.stderr


def test_a_folder_that_cannot_be_written_is_bad_input(issued: pki.Issued, tmp_path: Path) -> None:
    tmp_path.joinpath("locked").mkdir(mode=0o500)
    assert_permission_denied("victim_server", options(issued, tmp_path / "locked" / "run"))


# --- the table ---


def test_reading_the_table_is_cheap() -> None:
    """No server, no cryptography: a program that prints the table need not have them."""
    heavy = ("uvicorn", "starlette", "h11", "OpenSSL", "cryptography")
    code = f"import sys, lab.catalogue.schemes; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_every_gateway_has_its_own_name_and_says_what_it_is() -> None:
    assert len(set(GATEWAY_IDS)) == len(GATEWAYS)
    for one in GATEWAYS:
        assert all((one.scheme.asks_for, one.scheme.verifies, one.scheme.stands_for, one.implementation.title))
        assert find_gateway(one.id) is one
        assert find_scheme(one.scheme.id) is one.scheme
    assert {one.scheme for one in GATEWAYS} == set(SCHEMES)
    assert (find_gateway("mtls"), find_scheme("nginx-mtls")) == (None, None)


@pytest.mark.parametrize("kind", GATEWAYS, ids=GATEWAY_IDS)
def test_every_gateway_can_be_served(issued: pki.Issued, tmp_path: Path, kind: Gateway) -> None:
    assert authentication_for(kind, gateway_files(issued, tmp_path)).engines()


def test_a_scheme_has_a_fault_exactly_where_it_leaves_out_a_check() -> None:
    for scheme in SCHEMES:
        everything = scheme.checks == ALL_CHECKS and scheme.name_from is NameFrom.FIRST
        assert bool(scheme.fault) != everything, scheme.id
        assert (scheme.proof_of is ProofOf.CUSTOMER) == everything, scheme.id
