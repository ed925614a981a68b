"""From a gateway to the bank: the client's request, with a header that says who the client is.

That is its certificate (RFC 9440), or the name of a customer who gave her password.
"""

import asyncio
import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import h11
from cryptography import x509

from victim_server.authentication import Customer

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

CLIENT_CERT = b"client-cert"
CONNECTION = b"tls-connection"
"""Names the client's connection to the bank as events do; this lab's own header."""
REMOTE_USER = b"remote-user"
"""The name of a customer who gave her password."""
FROM_THE_GATEWAY_ALONE = frozenset({CLIENT_CERT, b"client-cert-chain", REMOTE_USER, CONNECTION})  # RFC 9440 section 4
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that are between a client and the next hop (RFC 9110 section 7.6.1)."""
MAX_ANSWER_LENGTH = 1 << 20
READ_SIZE = 1 << 16

_BYTE_SEQUENCE = re.compile(rb":([A-Za-z0-9+/]*={0,2}):")  # RFC 8941 section 3.3.5


class BankFailed(Exception):
    """The bank did not answer, or not in a way that can be passed on."""


@dataclass(frozen=True)
class Answer:
    """What the bank said; the headers are those that go on to the client."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def ask_bank(bank: Path, request: h11.Request, body: bytes, customer: Customer | None, connection: str) -> Answer:
    """Puts a client's request to the bank at its Unix domain socket.

    `customer` is who this gateway takes the client for, and `connection` names the client's connection
    (`lab.events.types`). BankFailed where there is no answer.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(bank)
    except OSError as error:
        raise BankFailed(f"the bank cannot be reached: {error.strerror}") from None
    try:
        http = h11.Connection(h11.CLIENT)
        headers = [*headers_to_bank(request.headers, customer), (b"content-length", b"%d" % len(body))]
        headers.append((CONNECTION, connection.encode()))
        forwarded = h11.Request(method=request.method, target=request.target, headers=headers)
        writer.write(b"".join(http.send(event) or b"" for event in (forwarded, h11.Data(body), h11.EndOfMessage())))
        await writer.drain()
        return await _read_answer(http, reader)
    except (OSError, h11.RemoteProtocolError) as error:
        raise BankFailed(f"the bank's answer is broken: {error}") from None
    finally:
        writer.close()


def read_client_cert(headers: Headers) -> x509.Certificate | None:
    """The certificate in the Client-Cert header (RFC 9440 section 2.2); None where there is no such header.

    The names of the headers are in lower case. ValueError, with words for people, where it isn't what it should be.
    """
    values = [value for name, value in headers if name == CLIENT_CERT]
    if not values:
        return None
    sequence = _BYTE_SEQUENCE.fullmatch(values[0].strip())
    if len(values) > 1 or not sequence:
        raise ValueError("Client-Cert is not one byte sequence (RFC 9440)")
    try:
        return x509.load_der_x509_certificate(base64.b64decode(sequence[1], validate=True))
    except (ValueError, x509.InvalidVersion):
        raise ValueError("Client-Cert holds no certificate") from None


def headers_to_bank(headers: Headers, customer: Customer | None) -> list[tuple[bytes, bytes]]:
    """The client's headers, except those that are not its to set and its password, and Client-Cert (RFC 9440 section
    2.2) or Remote-User."""
    not_kept = FROM_THE_GATEWAY_ALONE | {b"content-length", b"authorization"}
    # Servers that turn header names into variables take Client_Cert for Client-Cert.
    kept = [(name, value) for name, value in _end_to_end(headers) if name.replace(b"_", b"-") not in not_kept]
    if not any(name == b"host" for name, _ in kept):
        kept.append((b"host", b"bank"))  # RFC 9112 section 3.2: only HTTP/1.0 may do without
    kept.append((b"connection", b"close"))
    if isinstance(customer, bytes):
        kept.append((CLIENT_CERT, b":" + base64.b64encode(customer) + b":"))
    elif customer is not None:
        kept.append((REMOTE_USER, customer.encode()))
    return kept


async def _read_answer(http: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(READ_SIZE))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_ANSWER_LENGTH:
                raise BankFailed(f"the bank's answer is longer than {MAX_ANSWER_LENGTH} bytes")
        elif isinstance(event, h11.EndOfMessage):
            assert head
            headers = _end_to_end(head.headers)
            if not any(name == b"content-length" for name, _ in headers):
                headers.append((b"content-length", b"%d" % len(body)))
            return Answer(head.status_code, head.reason, headers, bytes(body))
        elif isinstance(event, h11.ConnectionClosed):
            raise BankFailed("the bank closed the connection without an answer")


def _end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Everything but the hop-by-hop headers, which Connection may add to."""
    named = {option.strip().lower() for name, value in headers if name == b"connection" for option in value.split(b",")}
    dropped = HOP_BY_HOP | named
    return [(name, value) for name, value in headers if name not in dropped]
