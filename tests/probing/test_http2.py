"""`certreplay try` where the server speaks HTTP/2: real ones, one that drops the proof, and hostile ones."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
)

from attacker.probe import http2
from attacker.probe.answers import ServerAnswer
from attacker.probe.lines import MAX_ANSWER, DialectError, EndOfLine
from bank_servers import HTTP2_ALONE
from lab.probing.probe import MOVE_IDS
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls.alerts import AlertDescription
from lab.tls.bundle import parse_bundle
from lab.tls.errors import CertificateError
from lab.tls.messages import Message, ServerHello
from lab.tls.messages13 import EncryptedExtensions
from lab.tls.server import ClientAuth, Proof, Server
from lab.tls.streams import ConnectionFailed, TlsStream
from lab.tls.versions import TLS12, TLS13
from tls_peers import Files, serving, write_files
from trying import NO_PROOF_NEEDED, outcomes, tried

BOTH = ("1.2", "1.3")
HEADERS = (("Host", "localhost"), ("Connection", "close"), ("X_Upper", "1"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    authority = pki.new_authority()
    server, client = pki.new_server(authority), pki.new_client(authority, "alice")
    return write_files(tmp_path_factory.mktemp("files"), authority, server, client)


# --- real servers ---


@pytest.mark.parametrize(
    ("name", "nobody"),
    [
        ("required", ("alert handshake_failure (40)", "alert certificate_required (116)")),
        ("optional", ("HTTP 403",) * 2),
    ],
)
def test_a_server_that_speaks_http2_alone_is_safe(
    name: str, nobody: tuple[str, str], files: Files, tmp_path: Path
) -> None:
    with serving(tmp_path / "output", *HTTP2_ALONE[name](files, tmp_path, BOTH)) as port:
        status, report = tried(port, files.client)
    assert status == 0, report
    for version, answer in zip(report["versions"], nobody, strict=True):
        assert version["controls"]["key"] == {"kind": "HTTP 200", "words": "over HTTP/2"}
        assert version["controls"]["none"]["kind"] == answer
        found = outcomes(report, version["tls"])
        assert found.keys() == set(MOVE_IDS)
        assert all(found[move] == "refused" for move in NO_PROOF_NEEDED)


def test_a_server_that_speaks_http2_alone_and_takes_any_certificate_is_found_out(files: Files, tmp_path: Path) -> None:
    with serving(tmp_path / "output", *HTTP2_ALONE["any"](files, tmp_path, BOTH)) as port:
        status, report = tried(port, files.client, "--move", "omit-proof")
    assert status == 1, report
    assert {one["id"] for one in report["findings"]} == {"stranger"}
    assert outcomes(report, "1.2") == outcomes(report, "1.3") == {"omit-proof": "refused"}


# --- a server that drops the proof ---


class DroppingServer(Server):
    """The instrument's server, which looks at the certificate alone, and whose server above TLS chose `h2`."""

    def send_message(self, message: Message, in_transcript: bool = True) -> None:
        chosen = ext.protocols((http2.H2,))
        if isinstance(message, EncryptedExtensions):
            message = EncryptedExtensions((chosen,))
        elif isinstance(message, ServerHello) and self.version == TLS12:
            message = replace(message, extensions=(*(message.extensions or ()), chosen))
        super().send_message(message, in_transcript)


Speak = Callable[[TlsStream], Coroutine[Any, Any, None]]


async def serve_http2(stream: TlsStream) -> None:
    """200 to every request, as the field's own library has it."""
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    await stream.write(connection.data_to_send())
    while data := await stream.read():
        for event in connection.receive_data(data):
            if isinstance(event, RequestReceived):
                assert event.stream_id
                connection.send_headers(event.stream_id, [(":status", "200")])
                connection.send_data(event.stream_id, b"the account", end_stream=True)
        await stream.write(connection.data_to_send())


@contextlib.contextmanager
def dropping(files: Files, speak: Speak) -> Iterator[int]:
    """Such a server, which then speaks like this, on a thread of its own."""
    own = parse_bundle(files.server.read_bytes(), None, "the server's", None)
    known = parse_bundle(files.client.read_bytes(), None, "alice's", None).chain[0]

    def check(chain: tuple[bytes, ...]) -> None:
        if chain[0] != known:
            raise CertificateError(AlertDescription.CERTIFICATE_UNKNOWN, "not alice's")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        auth = ClientAuth(check, Proof.NOT_CHECKED)
        server = DroppingServer(
            entropy=os.urandom, chain=own.chain, key=own.key, client_auth=auth, versions=(TLS13, TLS12)
        )
        stream = TlsStream(server, reader, writer)
        with contextlib.suppress(ConnectionFailed, OSError):
            await stream.handshake()
            await speak(stream)
        await stream.close()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listener = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, "127.0.0.1", 0), loop).result()
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(listener.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_a_server_that_drops_the_proof_is_found_out_over_http2(files: Files) -> None:
    with dropping(files, serve_http2) as port:
        status, report = tried(port, files.client)
    assert status == 1
    for version in report["versions"]:
        assert version["controls"]["key"] == {"kind": "HTTP 200", "words": "over HTTP/2"}
        accepted = {move for move, verdict in outcomes(report, version["tls"]).items() if verdict == "accepted"}
        assert accepted >= NO_PROOF_NEEDED
        assert "look-alike" not in accepted


# --- what comes back on one stream ---


def headers(*fields: tuple[str, str], ends: bool = False, flags: tuple[str, ...] = ("END_HEADERS",)) -> HeadersFrame:
    return HeadersFrame(1, Encoder().encode(fields), flags=(*flags, *(("END_STREAM",) if ends else ())))


ANSWER = (headers((":status", "200")), DataFrame(1, b"hello", flags=("END_STREAM",)))


class Said:
    """A Line on which this has been said; then it ends, or goes on for ever."""

    protocol = http2.H2

    def __init__(self, *frames: Frame | bytes, then: bytes = b"") -> None:
        self._said = [one if isinstance(one, bytes) else one.serialize() for one in frames]
        self._then = then
        self.read_octets = 0
        self.written = b""

    async def read(self) -> bytes:
        data = self._said.pop(0) if self._said else self._then
        self.read_octets += len(data)
        return data

    async def write(self, data: bytes) -> None:
        self.written += data


def asked(line: Said) -> ServerAnswer:
    return asyncio.run(http2.get(line, "/account", HEADERS))


GOODBYE = GoAwayFrame(0, last_stream_id=1)
ANSWERS: dict[str, tuple[tuple[Frame, ...], str]] = {
    "a status": (ANSWER, "HTTP 200"),
    "without content": ((headers((":status", "403"), ends=True),), "HTTP 403"),
    "early hints first": ((headers((":status", "103")), *ANSWER), "HTTP 200"),
    "trailers": ((*ANSWER[:1], headers(("x", "y"), ends=True)), "HTTP 200"),
    "goodbye first": ((GOODBYE, *ANSWER), "HTTP 200"),
    "a ping first": ((SettingsFrame(0), PingFrame(0, b"12345678"), *ANSWER), "HTTP 200"),
    "cut off": (ANSWER[:1], "HTTP 200"),
    "misdirected": ((headers((":status", "421"), ends=True),), "HTTP 421"),
    "a reset": ((RstStreamFrame(1, 13),), "HTTP/2 RST_STREAM HTTP_1_1_REQUIRED: offer no HTTP/2, by --alpn http/1.1"),
    "a reset of an unknown kind": ((RstStreamFrame(1, 77),), "HTTP/2 RST_STREAM 77"),
    "the end": ((GoAwayFrame(0, 0, 11, b"calm\ndown"),), "HTTP/2 GOAWAY ENHANCE_YOUR_CALM: calm down"),
    "the end before it was looked at": ((GoAwayFrame(0, 0, 0),), "HTTP/2 GOAWAY NO_ERROR"),
}


@pytest.mark.parametrize("frames", [frames for frames, _ in ANSWERS.values()], ids=list(ANSWERS))
def test_an_answer_over_http2(frames: tuple[Frame, ...], request: pytest.FixtureRequest) -> None:
    _, kind = ANSWERS[request.node.callspec.id]
    assert asked(Said(*frames)).text.removesuffix(": over HTTP/2") == kind


def test_the_request_over_http2_has_the_host_and_no_field_of_one_connection() -> None:
    line = Said(*ANSWER)
    assert asked(line).content
    server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    (event,) = [one for one in server.receive_data(line.written) if isinstance(one, RequestReceived)]
    fields = {":method": "GET", ":scheme": "https", ":authority": "localhost", ":path": "/account", "x_upper": "1"}
    assert {str(name): str(value) for name, value in event.headers or ()} == fields
    assert not server.remote_settings.enable_push


def test_content_over_http2_that_is_too_long_is_cut_at_the_same_byte() -> None:
    some, more = DataFrame(1, bytes(16384)).serialize(), DataFrame(1, bytes(16001)).serialize()
    line = Said(ANSWER[0], then=some)
    assert asked(line) == asked(Said(ANSWER[0], then=more))
    assert line.read_octets < 2 * MAX_ANSWER


BOMB = Encoder().encode([("a", "b" * 4000)]) + b"\xbe" * 16000
"""Compressed to 20 KB, it is a header list of 64 MB (RFC 7541)."""
HOSTILE: dict[str, tuple[Said, str]] = {
    "pings": (Said(then=PingFrame(0, b"12345678").serialize()), "nothing of an answer"),
    "settings": (Said(then=SettingsFrame(0, {4: 1000}).serialize()), "nothing of an answer"),
    "huge settings": (Said(SettingsFrame(0, dict.fromkeys(range(7, 3000), 1))), "a frame of 17958 bytes"),
    "goodbyes": (Said(then=GOODBYE.serialize()), "nothing of an answer"),
    "half a goodbye": (Said(b"\0\0\4\7\0\0\0\0\0\0\0\0\1"), "not HTTP/2"),
    "empty data": (Said(ANSWER[0], then=DataFrame(1, b"").serialize()), "nothing of an answer"),
    "hints": (Said(then=headers((":status", "103")).serialize()), "nothing of an answer"),
    "continuations": (
        Said(headers((":status", "200"), flags=()), then=ContinuationFrame(1, b"").serialize()),
        "Too many continuation frames",
    ),
    "a header bomb": (
        Said(HeadersFrame(1, BOMB[:16000]), ContinuationFrame(1, BOMB[16000:], flags=("END_HEADERS",))),
        "not HTTP/2",
    ),
    "a push": (Said(PushPromiseFrame(1, 2, BOMB[:0], flags=("END_HEADERS",))), "not HTTP/2"),
    "another stream": (Said(DataFrame(3, b"x")), "not HTTP/2"),
    "HTTP/1.1": (Said(b"HTTP/1.1 400 Bad Request\r\n\r\n", then=b"x"), "a frame of 4740180 bytes"),
    "no compression": (Said(HeadersFrame(1, b"\xff" * 40, flags=("END_HEADERS",))), "not HTTP/2"),
    "content alone": (Said(DataFrame(1, b"x", flags=("END_STREAM",))), "not HTTP/2"),
}


@pytest.mark.parametrize(("line", "says"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_http2_or_too_much_of_it_is_one_reason(line: Said, says: str) -> None:
    with pytest.raises(DialectError, match=says) as raised:
        asked(line)
    assert "\n" not in str(raised.value)
    assert line.read_octets < MAX_ANSWER


def test_nothing_at_all_over_http2_is_an_end() -> None:
    with pytest.raises(EndOfLine):
        asked(Said(SettingsFrame(0)))


def test_an_alert_after_each_request_is_the_same_to_either_client(files: Files) -> None:
    async def refuse(stream: TlsStream) -> None:
        await stream.read()
        with contextlib.suppress(ConnectionFailed):
            await stream.take(stream.engine.give_up("not today"))

    with dropping(files, refuse) as port:
        status, report = tried(port, files.client, "--move", "omit-proof")
    assert status == 2
    for version in report["versions"]:
        assert "does not get in with OpenSSL (alert internal_error (80))" in version["unfit"]
        assert version["controls"]["owner"] == version["controls"]["key"]


def test_a_hostile_server_gets_no_verdict(files: Files) -> None:
    async def ping(stream: TlsStream) -> None:
        while True:
            await stream.write(PingFrame(0, b"12345678").serialize() * 100)

    with dropping(files, ping) as port:
        status, report = tried(port, files.client, "--move", "omit-proof", "--move", "look-alike")
    assert status == 2
    assert all("nothing of an answer" in version["unfit"] for version in report["versions"])
