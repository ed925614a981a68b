"""The gateways' access log: nginx's own lines, and no name or request can break one."""

import contextlib
import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attacker.leak.files import certificates_in
from lab.events.types import GatewayListening
from lab.staging import pki
from made_up import certificate_of
from programs import program, wait_until
from tls_peers import read_until, takes_connections
from victim_server.access_log import AccessLog
from victims import run_curl, start_part, wait_for_event

ALICE = pki.new_self_signed_client()
FILE_NAME = "access.log"
PEER = "127.0.0.1:50000"

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ }}
http {{
  log_format as_ours
    '$remote_addr:$remote_port [$time_local] "$request" $status "$ssl_client_s_dn" $ssl_client_escaped_cert';
  log_format raw '$remote_addr "$request" "$ssl_client_raw_cert"';
  log_format json escape=json '{{"request": "$request", "certificate": "$ssl_client_raw_cert"}}';
  access_log {folder}/as_ours.log as_ours;
  access_log {folder}/raw.log raw;
  access_log {folder}/json.log json;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {server}; ssl_certificate_key {server};
    ssl_client_certificate {ca}; ssl_verify_client on;
    location / {{ return 200 '{{}}'; }}
  }}
}}
"""


def written(folder: Path, *certificates: bytes, request: str = "GET /account") -> list[str]:
    log = AccessLog(folder / FILE_NAME)
    for certificate in certificates:
        log.write(PEER, request, 200, certificate)
    log.close()
    return lines_of(folder / FILE_NAME)


def lines_of(path: Path) -> list[str]:
    return path.read_bytes().decode("ascii").split("\n")[:-1]


@contextlib.contextmanager
def nginx(folder: Path, issued: pki.Issued) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    configuration = NGINX.format(folder=folder, port=port, server=issued.server_pem, ca=issued.ca_pem)
    (folder / "nginx.conf").write_text(configuration)
    call = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: takes_connections(port) or process.poll() is not None, "nginx")
            assert process.poll() is None, process.stderr and process.stderr.read()
            yield port
        finally:
            process.kill()


def test_a_line_is_nginxs_own(issued: pki.Issued, tmp_path: Path) -> None:
    """The same request by the same client, at nginx and at a gateway: but for port, time and version the same line."""
    certificate = ("--cacert", str(issued.ca_pem), "--cert", str(issued.client_pem))
    with nginx(tmp_path / "nginx", issued) as port:
        assert run_curl(f"https://localhost:{port}/account", *certificate).status == 200
        (theirs,) = read_until(tmp_path / "nginx" / "as_ours.log", "\n").splitlines()
    gateway = start_part(
        "victim_server",
        *("--port=mtls@openssl=0", f"--bundle={issued.server_pem}", f"--ca={issued.ca_pem}"),
        f"--access-log={tmp_path / FILE_NAME}",
        f"--folder={tmp_path / 'gateway'}",
    )
    try:
        (listening,) = wait_for_event(gateway, tmp_path / "gateway" / "events.jsonl", GatewayListening)
        assert run_curl(f"https://localhost:{listening.port}/account", *certificate).status == 200
    finally:
        gateway.kill()
        gateway.communicate()
    (ours,) = lines_of(tmp_path / FILE_NAME)
    assert comparable(ours) == comparable(theirs.replace(" HTTP/1.1", ""))
    assert list(certificates_in(tmp_path / FILE_NAME)) == [issued.client.der]


def comparable(line: str) -> tuple[str, str]:
    """What comes before the port, and what comes after the time."""
    address, _, rest = line.partition(":")
    time_, _, after = rest.partition("] ")
    parsed = time.strptime(time_.partition("[")[2], "%d/%b/%Y:%H:%M:%S %z")
    assert abs(time.time() - time.mktime(parsed)) < 24 * 3600
    return address, after


@pytest.mark.parametrize("log", ["as_ours", "raw", "json"])
def test_whatever_nginx_is_told_to_log_the_certificate_is_found(issued: pki.Issued, tmp_path: Path, log: str) -> None:
    certificate = ("--cacert", str(issued.ca_pem), "--cert", str(issued.client_pem))
    with nginx(tmp_path / "nginx", issued) as port:
        assert run_curl(f"https://localhost:{port}/account", *certificate).status == 200
        read_until(tmp_path / "nginx" / f"{log}.log", "\n")
    assert list(certificates_in(tmp_path / "nginx" / f"{log}.log")) == [issued.client.der]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16))
@example('alice" 200 "O=Bank of Example,CN=mallory')
@example("alice\n127.0.0.1 forged")
@example("alice\r\nforged")
@example("\\x22\x00\x1b[2J\x85\u2028")
@settings(max_examples=60)
def test_no_name_breaks_a_line(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("log")
    certificate = certificate_of(name)
    (line,) = written(folder, certificate)
    assert line.isprintable()
    assert line.count('"') == 4
    assert line.split('"')[1] == "GET /account"
    assert line.rpartition(" ")[2].startswith("-----BEGIN%20CERTIFICATE-----%0A")
    assert list(certificates_in(folder / FILE_NAME)) == [certificate]


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_no_request_breaks_a_line(tmp_path_factory: pytest.TempPathFactory, request_: str) -> None:
    (line,) = written(tmp_path_factory.mktemp("log"), ALICE.der, request=request_)
    assert line.isprintable()
    assert line.count('"') == 4


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        written(tmp_path, ALICE.der)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    assert len(written(tmp_path, ALICE.der)) == 1
    assert len(written(tmp_path, ALICE.der)) == 2


def test_it_stops_at_its_limit_with_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("victim_server.access_log.MAX_OCTETS", 3000)
    lines = written(tmp_path, *[ALICE.der] * 10)
    path = tmp_path / FILE_NAME
    assert 0 < len(lines) < 10
    assert all(line.endswith("-----END%20CERTIFICATE-----%0A") for line in lines)
    assert path.stat().st_size <= 3000
    assert written(tmp_path, ALICE.der) == lines


def test_a_log_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        AccessLog(tmp_path / FILE_NAME)
