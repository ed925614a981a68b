"""One attempt: what is reported of it when the server breaks off."""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from attacker.attempts import TRANSFER
from attacker.call import read_bundle
from attacker.moves.make import Script, stolen_key
from attacker.moves.replay import MAX_ANSWER, Attempt, attempt
from lab.address import Address
from lab.catalogue.cast import CUSTOMER, SERVER_NAME
from lab.catalogue.moves import STOLEN_KEY
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, REFUSED
from lab.events.types import MoveTried
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls.errors import TlsError
from lab.tls.flight import honest_flight
from lab.tls.messages import CertificateVerify, ClientHello
from lab.tls.proof import Challenge, Prover, prove_with
from lab.tls.records import ContentType, write_record
from lab.tls.server import Server
from lab.tls.streams import TlsStream
from lab.tls.versions import TLS12, TLS13, Version
from tls_peers import our_server

ACCOUNT = json.dumps({"customer": CUSTOMER, "balance": 1000})
OPENED = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ACCOUNT)}\r\n\r\n{ACCOUNT}".encode()


@pytest.mark.parametrize("answers", [(OPENED,), (OPENED, b"no HTTP\r\n\r\n")], ids=["closes", "talks nonsense"])
def test_an_account_that_was_opened_counts_though_no_transfer_follows(
    issued: pki.Issued, answers: tuple[bytes, ...]
) -> None:
    began = time.perf_counter()
    tried = asyncio.run(_tried_at(issued, answers))
    assert (tried.outcome, tried.status, tried.stolen) == (ACCEPTED, 200, 0)
    assert 0 < tried.milliseconds <= (time.perf_counter() - began) * 1000


def test_no_answer_at_all_is_inconclusive(issued: pki.Issued) -> None:
    tried = asyncio.run(_tried_at(issued, ()))
    assert (tried.outcome, tried.status) == (INCONCLUSIVE, None)


def answer(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("status", "stolen"), [("200 OK", TRANSFER.amount), ("403 Forbidden", 0), ("201 Created", 0), ("500 Oops", 0)]
)
def test_money_is_stolen_where_the_transfer_is_answered_with_200(issued: pki.Issued, status: str, stolen: int) -> None:
    requests: list[bytes] = []
    tried = asyncio.run(_tried_at(issued, (OPENED, answer(status, "{}")), requests))
    assert (tried.outcome, tried.status) == (ACCEPTED, 200)
    assert (tried.transfer_status, tried.stolen) == (int(status[:3]), stolen)
    heads = [request.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n") for request in requests]
    assert [lines[0] for lines in heads] == ["get /account http/1.1", "post /transfer http/1.1"]
    assert all(f"host: {SERVER_NAME}" in lines for lines in heads)
    body = requests[1].partition(b"\r\n\r\n")[2]
    assert json.loads(body) == {"to": TRANSFER.to, "amount": TRANSFER.amount}
    assert "content-type: application/json" in heads[1]
    assert f"content-length: {len(body)}" in heads[1]
    assert "content-length: 0" in heads[0]
    assert not [line for line in heads[0] if line.startswith(("content-type", "authorization"))]


@pytest.mark.parametrize("account", [{"customer": "mallory"}, {"balance": 7}, {"customer": ""}, ["alice"], "alice"])
def test_no_money_is_asked_for_from_an_account_that_is_not_alices(issued: pki.Issued, account: object) -> None:
    requests: list[bytes] = []
    tried = asyncio.run(_tried_at(issued, (answer("200 OK", json.dumps(account)), OPENED), requests))
    assert (tried.outcome, tried.transfer_status, tried.stolen) == (REFUSED, None, 0)
    assert len(requests) == 1


def test_an_account_that_is_not_opened_with_200_is_not_opened(issued: pki.Issued) -> None:
    requests: list[bytes] = []
    tried = asyncio.run(_tried_at(issued, (answer("403 Forbidden", ACCOUNT), OPENED), requests))
    assert (tried.outcome, tried.status, len(requests)) == (REFUSED, 403, 1)


@pytest.mark.parametrize(("more", "outcome"), [(0, ACCEPTED), (1, INCONCLUSIVE)])
def test_an_answer_that_is_too_long_is_inconclusive(issued: pki.Issued, more: int, outcome: str) -> None:
    body = ACCOUNT.ljust(MAX_ANSWER + more)
    tried = asyncio.run(_tried_at(issued, (answer("200 OK", body),)))
    assert tried.outcome == outcome
    if more:
        assert tried.error
        assert f"an answer of more than {MAX_ANSWER} bytes" in tried.error


def test_half_an_answer_is_inconclusive(issued: pki.Issued) -> None:
    tried = asyncio.run(_tried_at(issued, (OPENED[:-3],)))
    assert (tried.outcome, tried.status) == (INCONCLUSIVE, None)


async def _tried_at(issued: pki.Issued, answers: tuple[bytes, ...], requests: list[bytes] | None = None) -> MoveTried:
    """An attempt with alice's key at a server that gives these answers and then closes the connection. What it was
    asked before each answer goes to `requests`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.server_pem)
    context.load_verify_locations(issued.ca_pem)
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(_answering(answers, requests), "127.0.0.1", 0, ssl=context)
    async with server:
        target = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        it = Attempt(STOLEN_KEY, TLS12, target, SERVER_NAME, CUSTOMER, transfer=TRANSFER)
        return await attempt(it, stolen_key(read_bundle(issued.client_pem), TLS12))


def _answering(
    answers: tuple[bytes, ...], requests: list[bytes] | None
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
            except asyncio.IncompleteReadError:
                break  # nothing more is asked
            if requests is not None:
                requests.append(head + body)
            writer.write(answer)
        await reader.read(1)  # the request that gets no answer
        writer.close()

    return serve


Break: TypeAlias = Callable[[Server, asyncio.StreamWriter], object]
"""Breaks a connection off; what the engine has to send is sent before."""


def closes(engine: Server, writer: asyncio.StreamWriter) -> None:
    writer.close()


def resets(engine: Server, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


def says_goodbye(engine: Server, writer: asyncio.StreamWriter) -> None:
    """close_notify, right behind what else there was to send."""
    engine.close()
    writer.write(engine.data_to_send())
    writer.close()


def talks_nonsense(engine: Server, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


def sends_a_garbled_record(engine: Server, writer: asyncio.StreamWriter) -> None:
    writer.write(write_record(ContentType.APPLICATION_DATA, bytes(40)))
    writer.close()


def sends_half_a_record(engine: Server, writer: asyncio.StreamWriter) -> None:
    writer.write(write_record(ContentType.HANDSHAKE, bytes(40))[:9])
    writer.close()


def sends_no_http(engine: Server, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(TlsError):
        engine.send(b"220 bank ready\r\n\xff\0")
    writer.write(engine.data_to_send())
    writer.close()


BREAKS = (closes, resets, says_goodbye, talks_nonsense, sends_a_garbled_record, sends_half_a_record, sends_no_http)


@pytest.mark.parametrize("break_off", BREAKS, ids=lambda break_off: break_off.__name__)
@pytest.mark.parametrize(
    ("version", "flights"), [*((TLS12, flights) for flights in range(4)), *((TLS13, flights) for flights in range(3))]
)
def test_a_server_that_breaks_off_anywhere_makes_an_attempt_inconclusive_and_not_lost(
    alice: pki.Identity, bank: pki.Identity, version: Version, flights: int, break_off: Break
) -> None:
    """The server breaks off after this number of its flights. The first has its Certificate; in TLS 1.2 a second has
    its Finished. After the last flight it reads the request first."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine = our_server(bank, versions=(version,))
        for _ in range(flights):
            engine.receive(await reader.read(1 << 16))
            writer.write(engine.data_to_send())
        break_off(engine, writer)

    tried = asyncio.run(_tried_with_key(alice, version, serve))
    assert (tried.outcome, tried.status) == (INCONCLUSIVE, None)
    assert tried.error
    assert len(tried.error.splitlines()) == 1


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
def test_an_error_of_the_attackers_own_makes_an_attempt_inconclusive_and_not_lost(
    alice: pki.Identity, bank: pki.Identity, version: Version
) -> None:
    def broken(challenge: Challenge) -> CertificateVerify:
        raise ValueError("no signature today,\nand none tomorrow")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = TlsStream(our_server(bank, versions=(version,)), reader, writer)
        with contextlib.suppress(TlsError):
            await stream.handshake()
        await stream.close()

    tried = asyncio.run(_tried_with_key(alice, version, serve, broken))
    assert tried.outcome == INCONCLUSIVE
    assert tried.error == "ValueError: no signature today, and none tomorrow"


def test_an_unreadable_hello_makes_an_attempt_inconclusive_and_not_lost(alice: pki.Identity) -> None:
    garbled = ext.Extension(ext.SIGNATURE_ALGORITHMS, b"\0\x03abc")
    hello = ClientHello(bytes(32), b"", (0xC02B,), (garbled,))
    it = Attempt(STOLEN_KEY, TLS12, Address("127.0.0.1", 1), SERVER_NAME, CUSTOMER)
    tried = asyncio.run(attempt(it, Script(honest_flight(TLS12, (alice.der,), None), hello=hello)))
    assert tried.outcome == INCONCLUSIVE
    assert tried.error == "extension 13: list has 3 bytes, not a multiple of 2"


def test_an_answer_too_deep_to_read_opens_no_account_and_loses_no_attempt(issued: pki.Issued) -> None:
    deep = b"[" * 50_000
    tried = asyncio.run(_tried_at(issued, (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(deep) + deep,)))
    assert (tried.outcome, tried.status) == (REFUSED, 200)


async def _tried_with_key(
    alice: pki.Identity,
    version: Version,
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    prove: Prover | None = None,
) -> MoveTried:
    """An attempt with alice's key, or another proof, at this server."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        target = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        it = Attempt(STOLEN_KEY, version, target, SERVER_NAME, CUSTOMER, transfer=TRANSFER)
        return await attempt(it, Script(honest_flight(version, (alice.der,), prove or prove_with(alice.key))))
