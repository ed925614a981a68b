"""HTTP/2 (RFC 9113): one GET on one connection, bounded whatever the server sends."""

from collections.abc import Sequence
from contextlib import suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from attacker.probe.answers import Ending, ServerAnswer, answered
from attacker.probe.lines import MAX_ANSWER, AnswerReader, DialectError, EndOfLine, Line, clean
from lab.tls.errors import TlsError

H2 = b"h2"
"""Its name in ALPN (section 3.2)."""
MAX_FRAME = 1 << 14
"""What a server may send unless it is told otherwise (section 4.2)."""
MAX_IDLE_FRAMES = 200
"""How many frames may come that bring nothing of the answer's content: pings, settings, window updates."""

_STREAM = 1
_GOAWAY = 7
_LEFT_OUT = ("host", "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade")
"""Fields that HTTP/2 says in another way (section 8.3.1) or forbids (section 8.2.2)."""


async def get(line: Line, path: str, headers: Sequence[tuple[str, str]]) -> ServerAnswer:
    """GET of a path: the status, or the error code by which the server ends the stream or the connection instead.

    DialectError for what is no HTTP/2, or too much of it; EndOfLine where nothing was answered.
    """
    connection = _connection()
    fields = [(name.lower(), value) for name, value in headers if name.lower() not in _LEFT_OUT]
    pseudo = {":method": "GET", ":scheme": "https", ":authority": _host(headers), ":path": path}
    connection.initiate_connection()
    connection.send_headers(_STREAM, [*pseudo.items(), *fields], end_stream=True)
    await _write(line, connection)

    reader, status, body, idle = AnswerReader(line), "", bytearray(), 0
    while len(body) <= MAX_ANSWER:
        try:
            frame = await _frame(reader)
        except (EndOfLine, OSError, TlsError):
            if status:
                break  # it is cut off, and says enough
            raise
        try:
            events = [] if _is_goodbye(frame) else connection.receive_data(frame)
        except ProtocolError as error:
            raise DialectError(f"the answer is not HTTP/2: {clean(str(error).encode())}") from None
        idle += 1
        for event in events:
            match event:
                case ResponseReceived():
                    status = clean(dict(event.headers or ()).get(b":status", b""))
                case DataReceived():
                    body += event.data or b""
                    idle -= bool(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length or 0, _STREAM)
                case StreamEnded():
                    return _answer(status, body)
                case StreamReset(remote_reset=False):
                    raise DialectError(f"the answer is not HTTP/2: {_name(event.error_code)} on the stream")
                case StreamReset():
                    return _ended("RST_STREAM", event.error_code)
                case ConnectionTerminated():
                    return _ended("GOAWAY", event.error_code, clean(event.additional_data or b""))
        if idle > MAX_IDLE_FRAMES:
            raise DialectError(f"more than {MAX_IDLE_FRAMES} frames of HTTP/2 with nothing of an answer in them")
        await _write(line, connection)
    return _answer(status, body)


def _connection() -> H2Connection:
    """Our end, which takes no pushed streams."""
    connection = H2Connection(H2Configuration(client_side=True))
    values = {
        SettingCodes.ENABLE_PUSH: 0,
        SettingCodes.MAX_CONCURRENT_STREAMS: 1,
        SettingCodes.MAX_HEADER_LIST_SIZE: H2Connection.DEFAULT_MAX_HEADER_LIST_SIZE,
    }
    connection.local_settings = Settings(client=True, initial_values=values)
    return connection


async def _write(line: Line, connection: H2Connection) -> None:
    """Sends what there is. Where the connection has ended, what came before its end can still be read."""
    with suppress(OSError, TlsError):
        await line.write(connection.data_to_send())


async def _frame(reader: AnswerReader) -> bytes:
    """The next frame (section 4.1)."""
    head = await reader.exactly(9)
    length = int.from_bytes(head[:3], "big")
    if length > MAX_FRAME:
        raise DialectError(f"the answer is not HTTP/2: a frame of {length} bytes, and at most {MAX_FRAME} may come")
    return head + await reader.exactly(length)


def _is_goodbye(frame: bytes) -> bool:
    """Whether it is a GOAWAY that lets this stream go on (section 6.8); to the library each one ends the connection."""
    last, code = int.from_bytes(frame[9:13], "big"), frame[13:17]
    return frame[3] == _GOAWAY and last >= _STREAM and code == bytes(4)


def _answer(status: str, body: bytearray) -> ServerAnswer:
    return answered(f"HTTP {status}", "over HTTP/2", bytes(body[:MAX_ANSWER]))


def _ended(by: str, code: ErrorCodes | int | None, words: str = "") -> ServerAnswer:
    """No answer: an error code ends the stream or the connection."""
    if code == ErrorCodes.HTTP_1_1_REQUIRED:
        words = words or "offer no HTTP/2, by --alpn http/1.1"
    return ServerAnswer(Ending.CLOSED, f"HTTP/2 {by} {_name(code)}", words)


def _host(headers: Sequence[tuple[str, str]]) -> str:
    return next(value for name, value in headers if name.lower() == "host")


def _name(code: ErrorCodes | int | None) -> str:
    """An error code (section 7) as the RFC has it."""
    return code.name if isinstance(code, ErrorCodes) else f"{code}"
