"""`certreplay try` at real servers: those that check the proof, those that don't, and those that are of no use."""

import contextlib
import http.server
import itertools
import json
import socket
import ssl
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Container, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from attacker.probe.dialects import Question
from attacker.probe.orders import Order, Target
from bank_servers import BANK_SERVERS, BY_THE_NAME, LATER, PROXY_FIRST
from lab.address import Address
from lab.probing.probe import MOVE_IDS
from lab.staging import pki
from lab.tls.versions import TLS12, TLS13
from programs import certreplay
from tls_peers import GNUTLS_ONLY_13, Files, gnutls_serv, s_server, serving, write_files
from trying import NO_PROOF_NEEDED, listening, outcomes, tried
from victims import Victims, bundle_at, running_victims

PECULIAR = ("nginx with HTTP/2", "openssl, CBC first", "openssl, X448 first")
"""What the gallery's servers don't show."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    authority = pki.new_authority()
    server, client = pki.new_server(authority), pki.new_client(authority, "alice")
    bob = pki.new_client(authority, "bob")
    (folder / "bob.pem").write_bytes(bob.bundle_pem())
    return write_files(folder, authority, server, client)


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    folder = tmp_path_factory.mktemp("victims")
    issued = pki.issue(folder / "public", folder / "server", folder / "client")
    with running_victims(issued, folder / "run") as running:
        yield running


@pytest.mark.parametrize("name", PECULIAR)
def test_a_real_server_that_checks_the_proof_is_safe(name: str, files: Files, tmp_path: Path) -> None:
    command = BANK_SERVERS[name](files, tmp_path, ("1.2", "1.3"))
    bob = files.client.with_name("bob.pem")
    with serving(tmp_path / "output", *command) as port:
        status, report = tried(port, files.client, "--other-bundle", bob, "--path", "/account", "--name", "localhost")
    assert status == 0, report
    for tls in ("1.2", "1.3"):
        found = outcomes(report, tls)
        assert found.keys() == set(MOVE_IDS)
        assert found["replay-proof"] == "refused"
        assert set(found.values()) <= {"refused", "not applicable"}
        assert sum(one == "refused" for one in found.values()) >= 13
    assert report["findings"] == []


@pytest.mark.parametrize("gateway", ["certificate-only@instrument", "pinned-certificate-only@instrument"])
def test_a_server_that_drops_the_proof_is_found_out(gateway: str, victims: Victims) -> None:
    port = victims.port(gateway)
    status, report = tried(port, bundle_at(victims.issued, gateway), "--path", "/account")
    assert status == 1
    for tls in ("1.2", "1.3"):
        accepted = {move for move, verdict in outcomes(report, tls).items() if verdict == "accepted"}
        assert accepted >= NO_PROOF_NEEDED
        assert "look-alike" not in accepted
    assert {one["id"] for one in report["findings"]} >= NO_PROOF_NEEDED


def test_a_server_that_takes_any_certificate_is_found_out(files: Files, tmp_path: Path) -> None:
    command = [word for word in s_server(files, "-tls1_3") if word != "-verify_return_error"]
    with serving(tmp_path / "output", *command) as port:
        status, report = tried(port, files.client)
    assert status == 1
    assert {one["id"] for one in report["findings"]} == {"stranger"}


@pytest.mark.parametrize("name", BY_THE_NAME)
def test_a_server_that_looks_at_the_name_alone_is_found_out(name: str, files: Files, tmp_path: Path) -> None:
    """Anybody can make such a certificate. One that names alice's issuer has a wrong signature, which OpenSSL notices
    even where nobody asked it to."""
    command = BY_THE_NAME[name](files, tmp_path, ("1.2", "1.3"))
    bob = files.client.with_name("bob.pem")
    with serving(tmp_path / "output", *command) as port:
        status, report = tried(port, files.client, "--other-bundle", bob, "--path", "/account", "--name", "localhost")
    assert status == 1, report
    found = {(one["id"], one["tls"]) for one in report["findings"]}
    assert {("self-issued", "1.2"), ("self-issued", "1.3")} <= found
    assert {move for move, _ in found} <= {"self-issued", "look-alike"}


NOT_FOR_THE_KEY = ("no-certificate", "self-issued", "early-finished", "replay-flight")


@pytest.mark.parametrize(
    ("moves", "due", "says"),
    [
        (("replay-proof",), 2, "No verdict."),
        (
            ("no-certificate", "self-issued", "early-finished", "replay-flight"),
            0,
            "Whether it checks possession of the key was not tried.",
        ),
        (("no-certificate", "omit-proof"), 0, "checks possession of the key: it let the owner in, and nobody"),
    ],
    ids=["nothing that can be made", "nothing that asks for the key", "one that asks for it"],
)
def test_a_server_is_safe_only_as_far_as_it_was_tried(
    moves: tuple[str, ...], due: int, says: str, files: Files, tmp_path: Path
) -> None:
    options = [word for move in moves for word in ("--move", move)]
    command = [word for word in s_server(files) if word != "-tls1_2"]
    with serving(tmp_path / "output", *command, "-tls1_3") as port:
        told = certreplay("try", f"localhost:{port}", "--bundle", files.client, *options)
    assert told.returncode == due, told.stdout + told.stderr
    assert says in " ".join(told.stdout.split())


def test_a_version_that_no_client_gets_anywhere_in_is_said_to_be_none_of_ours(files: Files, tmp_path: Path) -> None:
    """GnuTLS without TLS 1.3 answers handshake_failure, where others say protocol_version."""
    command = gnutls_serv(files, "NORMAL:-VERS-TLS1.3")
    command[command.index("--echo")] = "--http"
    with serving(tmp_path / "output", *command) as port:
        status, report = tried(port, files.client, "--path", "/")
    assert status == 2
    told = {one["tls"]: one["unfit"] for one in report["versions"]}
    assert told["1.2"] == ""
    assert "does not speak the version, which --tls can leave out" in told["1.3"]


def trusting(files: Files, authority: Path, mode: ssl.VerifyMode = ssl.CERT_REQUIRED) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server)
    context.load_verify_locations(authority)
    context.verify_mode = mode
    return context


@contextlib.contextmanager
def https(context: ssl.SSLContext, header: tuple[str, str] = ("", ""), silent_to: Container[int] = ()) -> Iterator[int]:
    """An HTTPS server that opens to a client with a certificate, and to a request with this header, written so. Of the
    others it gives no answer to those of these numbers, the first being 1."""
    others = itertools.count(1)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert isinstance(self.connection, ssl.SSLSocket)
            is_in = bool(self.connection.getpeercert()) or header in self.headers.items()
            if not is_in and next(others) in silent_to:
                self.close_connection = True
                return
            body = b"the account" if is_in else b"no"
            self.send_response(200 if is_in else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("name", "value", "is_open"),
    [
        ("X-SSL-Client-Verify", "SUCCESS", True),
        ("X_SSL_CLIENT_VERIFY", "SUCCESS", True),
        ("client-cert", "", False),
    ],
)
def test_a_server_that_believes_a_header_is_found_out_in_whichever_spelling(
    name: str, value: str, is_open: bool, files: Files
) -> None:
    with https(trusting(files, files.ca, ssl.CERT_OPTIONAL), (name, value)) as port:
        status, report = tried(port, files.client)
    assert status == is_open, report
    assert {one["id"] for one in report["findings"]} == ({"verify-header"} if is_open else set())
    for tls in ("1.2", "1.3"):
        assert outcomes(report, tls)["verify-header"] == ("accepted" if is_open else "refused")


@pytest.mark.parametrize(
    ("silent_to", "answer"),
    [({2}, "HTTP 403: Forbidden"), (range(2, 9), "closed without a word")],
    ids=["once", "always"],
)
def test_an_attempt_without_an_answer_is_made_again(silent_to: Container[int], answer: str, files: Files) -> None:
    with https(trusting(files, files.ca, ssl.CERT_OPTIONAL), silent_to=silent_to) as port:
        status, report = tried(port, files.client, "--tls", "1.2", "--move", "no-certificate")
    assert status == 0, report
    (check,) = report["versions"][0]["checks"]
    assert check["verdict"] == "refused"
    assert check["answer"].startswith(answer)
    assert check["reason"].startswith("no answer" if answer.startswith("closed") else "")


@pytest.mark.parametrize("shares_sessions", [True, False], ids=["one port, two names", "two ports"])
def test_a_session_from_another_door_opens_a_server_that_shares_its_sessions(
    shares_sessions: bool, files: Files, tmp_path: Path
) -> None:
    """OpenSSL as it is: sessions belong to the context that a connection began with, and trust to the one that the
    server name leads to."""
    others = pki.new_authority()
    (tmp_path / "others.pem").write_bytes(others.certificate_pem())
    (tmp_path / "mallory.pem").write_bytes(pki.new_client(others, "mallory").bundle_pem())
    here, there = trusting(files, files.ca), trusting(files, tmp_path / "others.pem")
    if shares_sessions:

        def choose(tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            if name == "others.example":
                tls.context = there

        here.sni_callback = choose
    options = ("--other-bundle", tmp_path / "mallory.pem", "--move", "other-door", "--other-name")
    with https(here) as port, https(there) as second:
        door = "others.example" if shares_sessions else f"others.example:{second}"
        status, report = tried(port, files.client, *options, door)
        _, without = tried(port, files.client, "--move", "other-door")
        _, shut = tried(port, files.client, *options, f"others.example:{port}" if not shares_sessions else "elsewhere")
    assert status == shares_sessions, report
    for tls in ("1.2", "1.3"):
        assert outcomes(report, tls) == {"other-door": "accepted" if shares_sessions else "refused"}
        assert outcomes(without, tls) == outcomes(shut, tls) == {"other-door": "not applicable"}
    assert "give --other-name" in without["versions"][0]["checks"][0]["reason"]
    assert "does not get in at the other door" in shut["versions"][0]["checks"][0]["reason"]


def test_without_headers_in_the_protocol_there_is_nothing_to_believe(files: Files, tmp_path: Path) -> None:
    with serving(tmp_path / "output", *s_server(files)) as port:
        _, report = tried(port, files.client, "--raw", "--tls", "1.2", "--move", "verify-header")
    (check,) = report["versions"][0]["checks"]
    assert (check["verdict"], check["reason"]) == ("not applicable", "this protocol has no headers")


def test_without_a_working_bundle_there_is_no_verdict(files: Files, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(pki.new_self_signed_client("eve").bundle_pem())
    with serving(tmp_path / "output", *s_server(files)) as port:
        status, report = tried(port, stranger)
    assert status == 2
    (version,) = [one for one in report["versions"] if one["spoken"]]
    assert "does not get in with OpenSSL" in version["unfit"]


def test_a_server_that_asks_for_no_certificate_is_no_subject(files: Files, tmp_path: Path) -> None:
    command = f"openssl s_server -accept {{port}} -cert {files.server} -www".split()
    with serving(tmp_path / "output", *command) as port:
        status, report = tried(port, files.client)
    assert status == 2
    assert all("does not ask for a certificate" in one["unfit"] for one in report["versions"])


@pytest.mark.parametrize("above", LATER)
def test_a_server_that_asks_for_a_certificate_later_gets_no_verdict(above: str, files: Files, tmp_path: Path) -> None:
    """By renegotiation in TLS 1.2, after the handshake in TLS 1.3."""
    with serving(tmp_path / "output", *LATER[above](files, tmp_path, ("1.2", "1.3"))) as port:
        status, report = tried(port, files.client, "--path", "/account", "--move", "omit-proof")
    assert status == 2
    assert all("asking later, by renegotiation" in one["unfit"] for one in report["versions"])


def test_a_server_that_insists_on_a_protocol_is_spoken_to_where_it_is_named(files: Files, tmp_path: Path) -> None:
    command = [*gnutls_serv(files, GNUTLS_ONLY_13), "--alpn", "mqtt", "--alpn-fatal"]
    options = ("--tls", "1.3", "--move", "omit-proof")
    with serving(tmp_path / "output", *command) as port:
        assert tried(port, files.client, *options, "--send", "hello\\n", "--alpn", "mqtt")[0] == 0
        status, report = tried(port, files.client, *options)
    assert status == 2
    (version,) = report["versions"]
    assert "alert no_application_protocol (120): name the protocol that it speaks, by --alpn" in version["unfit"]
    assert version["controls"]["owner"] == version["controls"]["key"]


def test_a_server_behind_a_load_balancer_is_told_from_one_that_refuses(files: Files, tmp_path: Path) -> None:
    command = PROXY_FIRST(files, tmp_path, ("1.2", "1.3"))
    with serving(tmp_path / "output", *command) as port:
        status, report = tried(port, files.client, "--move", "omit-proof")
    assert status == 2
    assert all("without the PROXY protocol" in one["unfit"] for one in report["versions"])


def speak_smtp(connection: socket.socket, context: ssl.SSLContext, keeps: bool) -> None:
    """SMTP for those who have a certificate; what came behind STARTTLS in plaintext is kept, or dropped."""
    buffer, line = b"", connection
    connection.sendall(b"220 here\r\n")
    while data := line.recv(4096):
        buffer += data
        while b"\r\n" in buffer:
            command, _, buffer = buffer.partition(b"\r\n")
            if command == b"STARTTLS":
                connection.sendall(b"220 go\r\n")
                buffer = buffer if keeps else b""
                line = context.wrap_socket(connection, server_side=True)
            elif command.startswith(b"MAIL"):
                known = isinstance(line, ssl.SSLSocket) and line.getpeercert()
                line.sendall(b"250 ok\r\n" if known else b"530 no\r\n")
            else:
                line.sendall(b"250 ok\r\n")
    line.close()


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "dropped"])
def test_a_command_before_the_handshake_counts_where_it_is_kept(keeps: bool, files: Files) -> None:
    context = trusting(files, files.ca, ssl.CERT_OPTIONAL)
    with listening(lambda connection: speak_smtp(connection, context, keeps)) as port:
        status, report = tried(port, files.client, "--starttls", "smtp", "--move", "prefix", "--at-once", "1")
    assert status == keeps, report
    for tls in ("1.2", "1.3"):
        assert outcomes(report, tls) == {"prefix": "accepted" if keeps else "refused"}


# --- servers that are none, or not for long ---


ONE_LOGIN_AND_THE_CONTROLS = 7
"""Connections before the first move in one version."""


@pytest.mark.parametrize(
    ("lost", "outcome", "due"),
    [(2, "refused", 0), (4, "inconclusive", 2)],
    ids=["restarts", "is away for long"],
)
def test_a_server_that_restarts_in_between(lost: int, outcome: str, due: int, files: Files) -> None:
    context, connections = trusting(files, files.ca), itertools.count(1)

    def serve(connection: socket.socket) -> None:
        if not 0 < next(connections) - ONE_LOGIN_AND_THE_CONTROLS <= lost:
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(4096)
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    options = ("--tls", "1.2", "--at-once", "1", "--move", "omit-proof", "--move", "foreign-key")
    with listening(serve) as port:
        status, report = tried(port, files.client, *options)
    assert status == due, report
    assert outcomes(report, "1.2") == {"omit-proof": outcome, "foreign-key": outcome}


@pytest.mark.parametrize(
    "serve",
    [
        lambda connection: None,
        lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        lambda connection: connection.sendall(bytes(1 << 16)),
        lambda connection: connection.sendall(b"\x16\x03\x03\xff\xff" + bytes(1 << 12)),
    ],
    ids=["closes", "speaks HTTP", "zeros", "a record too long"],
)
def test_what_is_no_tls_server_is_said_in_one_line(
    serve: Callable[[socket.socket], object], files: Files, tmp_path: Path
) -> None:
    with listening(serve) as port:
        done = certreplay("try", f"localhost:{port}", "--bundle", files.client, "--tls", "1.2")
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr


def test_nobody_there_is_said_in_one_line(files: Files) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = certreplay("try", f"localhost:{port}", "--bundle", files.client)
    assert done.returncode == 2
    assert done.stderr == f"certreplay: localhost:{port}: Connection refused; does the server run?\n"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (("example.com:443",), "ssh -L"),
        (("192.0.2.1:443",), "kubectl port-forward"),
        (("localhost",), "give HOST:PORT"),
        (("localhost:0",), "give HOST:PORT"),
        (("localhost:1", "--starttls", "gopher"), "give one of smtp"),
        (("localhost:1", "--starttls", "smtp", "--raw"), "give one of --starttls"),
        (("localhost:1", "--move", "stolen-key"), "it takes the key"),
        (("localhost:1", "--move", "no-such"), "give one of no-certificate"),
        (("localhost:1", "--other-name", "b.example"), "give --other-bundle too"),
        (("localhost:1", "--tls", "1.1"), "give 1.2 or 1.3"),
        (("localhost:1", "--rate", "0"), "--rate"),
        (("localhost:1", "--rate", "nan"), "--rate"),
        (("localhost:1", "--at-once", "0"), "--at-once"),
        (("localhost:1", "--at-once", "100000"), "--at-once"),
        (("localhost:1", "--path", "a b"), "--path"),
        (("localhost:1", "--header", "no colon"), "--header"),
        (("localhost:1", "--header", "a b: c"), "--header"),
        (("localhost:1", "--alpn", ""), "--alpn"),
        (("localhost:1", "--alpn", "a" * 256), "--alpn"),
        (("localhost:1", "--alpn", "h\xfc"), "--alpn"),
        (("localhost:1", "--baseline", "/proc/version"), "no baseline"),
    ],
)
def test_a_wrong_call_is_said_in_one_line(call: tuple[str, ...], says: str, files: Files) -> None:
    done = certreplay("try", *call, "--bundle", files.client)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


# --- reports ---


def test_the_reports_of_a_server_that_is_not_safe(victims: Victims, tmp_path: Path) -> None:
    gateway = "certificate-only@instrument"
    port = victims.port(gateway)
    bundle = bundle_at(victims.issued, gateway)
    junit, sarif, baseline = tmp_path / "out.xml", tmp_path / "out.sarif", tmp_path / "baseline.json"
    options = ("--path", "/account", "--tls", "1.2", "--junit", junit, "--sarif", sarif)
    status, report = tried(port, bundle, *options, "--write-baseline", baseline)
    assert status == 1
    suites = ET.fromstring(junit.read_text())
    failed = {case.get("name") for case in suites.iter("testcase") if case.find("failure") is not None}
    assert failed == {one["id"] for one in report["findings"]}
    log = json.loads(sarif.read_text())
    results = log["runs"][0]["results"]
    assert {one["ruleId"] for one in results} == failed
    assert all(log["runs"][0]["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"] for one in results)
    first = {one["partialFingerprints"]["certreplay/v1"] for one in results}

    status, report = tried(port, bundle, *options, "--baseline", baseline)
    assert status == 0
    assert all(one["accepted_in_baseline"] for one in report["findings"])
    again = json.loads(sarif.read_text())["runs"][0]["results"]
    assert {one["partialFingerprints"]["certreplay/v1"] for one in again} == first
    assert all(one["suppressions"] for one in again)


def test_a_clean_server_has_no_result(files: Files, tmp_path: Path) -> None:
    sarif, junit = tmp_path / "out.sarif", tmp_path / "out.xml"
    with serving(tmp_path / "output", *s_server(files)) as port:
        status, _ = tried(port, files.client, "--tls", "1.2", "--sarif", sarif, "--junit", junit)
    assert status == 0
    assert json.loads(sarif.read_text())["runs"][0]["results"] == []
    cases = list(ET.fromstring(junit.read_text()).iter("testcase"))
    assert len(cases) == len(MOVE_IDS) + 2
    assert not any(case.find("failure") is not None or case.find("error") is not None for case in cases)


def test_the_process_that_attacks_never_gets_the_key() -> None:
    alice = pki.new_client(pki.new_authority(), "alice")
    question = Question("localhost", headers=(("X-One", "1"),), send=b"\xff\n")
    chain = (alice.certificate.public_bytes(Encoding.DER),)
    target = Target(Address("127.0.0.1", 1), "localhost", "http", question, (TLS12, TLS13), ("omit-proof",))
    order = Order(target, "alice", chain)
    line = order.to_json()
    der = alice.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert "PRIVATE KEY" not in line
    assert der.hex() not in line
    assert Order.from_json(line) == order
