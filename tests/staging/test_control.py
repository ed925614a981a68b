"""The lab's searches: what must not be in a capture or a file is found where it is put in, and not where it is not."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from attacker.position.tcp_relay import Forward, TcpRelay
from lab.address import Address
from lab.capture.writer import CaptureFile
from lab.catalogue.leaks import DATABASE
from lab.catalogue.searches import TRANSCRIPT_HASHES
from lab.events.parts import CAPTURE_FILE
from lab.events.run import Run, open_run
from lab.events.types import CertificateCaptured, FileSearched
from lab.judging.own_proof import own_proof
from lab.judging.searches import search_for_hashes
from lab.staging import control, pki
from victim_server import register
from victims import Victims, run_curl

ANY_PORT = Address("127.0.0.1", 0)


@contextlib.asynccontextmanager
async def captured(file: Path, port: int) -> AsyncIterator[int]:
    """A port that leads to another one, by way of a relay that writes a capture."""
    capture = CaptureFile(file)
    relay = TcpRelay(capture.write)
    await relay.start([Forward(ANY_PORT, Address("127.0.0.1", port))])
    try:
        yield relay.forwards[0].listen.port
    finally:
        await relay.close()
        capture.close()


def test_curl_is_given_the_key_and_does_not_pass_it_on(victims: Victims, tmp_path: Path) -> None:
    issued, file = victims.issued, tmp_path / CAPTURE_FILE

    async def log_in() -> None:
        async with captured(file, victims.port("mtls@openssl")) as port:
            with_key = ("--cacert", str(issued.ca_pem), "--cert", str(issued.client_pem), "--tls-max", "1.2")
            answer = await asyncio.to_thread(run_curl, f"https://localhost:{port}/account", *with_key)
            assert answer.body["customer"] == "alice"

    asyncio.run(log_in())
    searched = control.search_capture(file, issued.client_pem)
    assert searched.certificate_at
    assert searched.key_at == ()


def test_a_key_that_curl_does_pass_on_is_found(issued: pki.Issued, tmp_path: Path) -> None:
    """The control: the same file, uploaded without TLS."""
    file = tmp_path / CAPTURE_FILE

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"-----END CERTIFICATE-----")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def upload() -> None:
        server = await asyncio.start_server(answer, *ANY_PORT)
        async with server, captured(file, server.sockets[0].getsockname()[1]) as port:
            data = ("--data-binary", f"@{issued.client_pem}")
            assert (await asyncio.to_thread(run_curl, f"http://localhost:{port}/", *data)).status == 200

    asyncio.run(upload())
    searched = control.search_capture(file, issued.client_pem)
    assert any("PKCS#8 in PEM" in place for place in searched.key_at)


def with_a_packet(finished_run: Path, tmp_path: Path, octets: bytes) -> Path:
    """A copy of a run's capture with one packet more."""
    copy = tmp_path / CAPTURE_FILE
    shutil.copy(open_run(finished_run).folders.capture, copy)
    file = CaptureFile(copy)
    file.write(time.time_ns(), bytes(14) + octets)
    file.close()
    return copy


def test_a_hash_in_the_capture_is_found(finished_run: Path, tmp_path: Path) -> None:
    run: Run = open_run(finished_run)
    (told,) = [one for one in run.all(FileSearched) if one.what == TRANSCRIPT_HASHES]
    assert told.control_at
    assert told.sought
    assert told.found_at == ()
    proofs = [one for seen in run.all(CertificateCaptured) if (one := own_proof(seen))]
    assert len(proofs) == len(told.sought)
    copy = with_a_packet(finished_run, tmp_path, b"x" + bytes.fromhex(proofs[0].captured_hash) + b"x")
    (place,) = search_for_hashes(copy, run).found_at
    assert place.startswith(told.sought[0])


@pytest.mark.parametrize("form", [lambda word: word, lambda word: word.encode().hex()])
def test_a_password_in_a_file_is_found(tmp_path: Path, issued: pki.Issued, form: object) -> None:
    assert issued.password
    password = issued.password.read_text().strip()
    certificates = (issued.client.der, issued.client_self_signed.der)
    searched = control.search_for_password(DATABASE, issued.register, password, certificates)
    assert searched.found_at == ()
    assert [place.partition(":")[0] for place in searched.control_at] == ["certificate 2 as PEM"]
    assert callable(form)
    careless = tmp_path / "careless.sqlite"
    entry = register.Customer("alice", issued.client_self_signed.der)
    register.create(careless, [entry, register.Customer(form(password), issued.client.der)])
    assert len(control.search_for_password(DATABASE, careless, password, certificates).found_at) == 1
