"""One attempt: what is reported of it when the server breaks off."""

import asyncio
import contextlib
import json
import os
import re
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, TypeAlias, TypeVar

import pytest

from attacker.attempts import TRANSFER
from attacker.call import read_bundle
from attacker.moves import replay
from attacker.moves.make import MAKERS, Loot, NotApplicable, Script, stolen_key, stolen_password
from attacker.moves.playback import Playback
from attacker.moves.replay import (
    MAX_ANSWER,
    Attempt,
    Response,
    attempt,
    carry_out,
    made,
    not_tried,
    outcome_of,
    pointless,
    through_the_other_door,
    unasked,
)
from lab.address import Address, host_port
from lab.catalogue.cast import CUSTOMER, SERVER_NAME
from lab.catalogue.moves import STOLEN_KEY
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, NOT_ASKED, NOT_RESUMED, REFUSED
from lab.events.types import MoveTried
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys
from lab.tls.alerts import AlertDescription
from lab.tls.bundle import Bundle
from lab.tls.client import Client
from lab.tls.engine import Failed
from lab.tls.errors import CertificateError, TlsError
from lab.tls.flight import honest_flight
from lab.tls.messages import CertificateVerify, ClientHello, parse
from lab.tls.proof import Challenge, Prover, prove_with
from lab.tls.records import ContentType, write_record
from lab.tls.server import Proof, Server
from lab.tls.sessions import Session, SessionStore
from lab.tls.streams import SocketConnection, TlsStream
from lab.tls.versions import TLS12, TLS13, Version
from programs import PATIENCE_SECONDS
from tls_peers import our_client, our_server

T = TypeVar("T")
SESSION = Session(b"id", b"", bytes(48), 0xC02B, extended=True)

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


def test_a_server_that_says_goodbye_instead_of_an_answer_is_told_as_that(
    alice: pki.Identity, bank: pki.Identity
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = TlsStream(our_server(bank), reader, writer)
        await stream.handshake()
        await stream.read()
        await stream.close()

    tried = asyncio.run(_tried_with_key(alice, TLS12, serve))
    assert (tried.outcome, tried.error) == (INCONCLUSIVE, "the server closed the connection without an answer")


@pytest.mark.parametrize("said", [b"220 mail.example ESMTP\r\n", b"hello", OPENED[:20]])
def test_a_server_that_says_something_else_is_not_told_as_saying_nothing(
    alice: pki.Identity, bank: pki.Identity, said: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = TlsStream(our_server(bank), reader, writer)
        await stream.handshake()
        await stream.read()
        await stream.write(said)
        await stream.close()

    tried = asyncio.run(_tried_with_key(alice, TLS12, serve))
    assert tried.outcome == INCONCLUSIVE
    assert tried.error
    assert tried.error.startswith("the answer is not HTTP: ")


def test_an_answer_may_end_with_the_connection(alice: pki.Identity, bank: pki.Identity) -> None:
    """RFC 9112 section 6.3: without a length."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = TlsStream(our_server(bank), reader, writer)
        await stream.handshake()
        await stream.read()
        await stream.write(f"HTTP/1.0 200 OK\r\n\r\n{ACCOUNT}".encode())
        await stream.close()

    tried = asyncio.run(_tried_with_key(alice, TLS12, serve))
    assert (tried.outcome, tried.status, tried.body) == (ACCEPTED, 200, ACCOUNT)


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


# What is reported of a conversation with the instrument's own server.


@dataclass
class Bank:
    """A server of one kind, which answers each request in the same way, and what it heard."""

    make: Callable[[], Server]
    answer: bytes = OPENED
    peers: list[str] = field(default_factory=list)
    served: int = 0
    goodbyes: int = 0
    """How many clients said close_notify in the end."""
    requests: list[bytes] = field(default_factory=list)
    before: bytes = b""
    """What clients say before the handshake."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(host_port(writer.get_extra_info("peername")))
        stream = TlsStream(self.make(), reader, writer)
        with contextlib.suppress(TlsError, asyncio.IncompleteReadError):
            if self.before:
                assert await reader.readexactly(len(self.before)) == self.before
            await stream.handshake()
            while request := await stream.read():
                self.requests.append(request)
                await stream.write(self.answer)
            self.goodbyes += 1
        with contextlib.suppress(TlsError):
            await stream.close()
        self.served += 1

    def tried(self, use: Callable[[Attempt], Coroutine[Any, Any, T]], version: Version = TLS12) -> T:
        """What becomes of an attempt at this server."""

        async def run() -> T:
            async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
                target = Address("127.0.0.1", server.sockets[0].getsockname()[1])
                tried = await use(Attempt(STOLEN_KEY, version, target, SERVER_NAME, CUSTOMER))
                while self.served < len(self.peers):  # until it has heard what the client says in the end
                    await asyncio.sleep(0.001)
                return tried

        return asyncio.run(asyncio.wait_for(run(), PATIENCE_SECONDS))


def with_key_of(alice: pki.Identity, version: Version = TLS12) -> Script:
    return stolen_key(Bundle((alice.der,), alice.key), version)


def test_a_certificate_goes_into_a_header_where_it_is_not_asked_for(alice: pki.Identity, bank: pki.Identity) -> None:
    """RFC 9440."""
    for policy in (Proof.REQUIRED, None):
        at = Bank(lambda policy=policy: our_server(bank, policy))  # type: ignore[misc]
        report = at.tried(lambda it: attempt(it, with_key_of(alice)))
        assert report.outcome == ACCEPTED
        assert report.header == ("" if policy else alice.der.hex())
        assert (b"client-cert: :" in at.requests[0].lower()) is (policy is None)
        assert (report.alert, report.alert_by) == (None, None)
        assert report.local == at.peers[0]
        assert at.goodbyes == 1


def test_a_header_is_reported_in_the_first_of_its_spellings(alice: pki.Identity, bank: pki.Identity) -> None:
    script = MAKERS["verify-header"](Loot((alice.der,), None), TLS12)
    report = Bank(lambda: our_server(bank, None)).tried(lambda it: attempt(it, script))
    assert len(script.spellings) > 1
    assert report.said_in == tuple(name for name, _ in script.spellings[0])


def test_a_hello_of_the_attackers_own_offers_the_usual_suites(alice: pki.Identity, bank: pki.Identity) -> None:
    report = Bank(lambda: our_server(bank)).tried(lambda it: attempt(it, with_key_of(alice)))
    hello = parse(bytes.fromhex(report.steps[0][2]))
    assert isinstance(hello, ClientHello)
    offered = set(hello.cipher_suites) - {keys.RENEGOTIATION_SCSV}
    assert offered == {suite.id for suite in keys.DEFAULT_SUITES if suite.version == TLS12}


def test_a_password_goes_with_each_request(bank: pki.Identity) -> None:
    at = Bank(lambda: our_server(bank, None))
    report = at.tried(lambda it: attempt(replace(it, transfer=TRANSFER), stolen_password(CUSTOMER, "secret", TLS12)))
    assert report.outcome == ACCEPTED
    assert len(at.requests) == 2
    assert all(b"\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n" in request for request in at.requests)
    assert at.requests[1].endswith(json.dumps({"to": TRANSFER.to, "amount": TRANSFER.amount}).encode())


@pytest.mark.parametrize(
    ("status", "customer", "outcome"),
    [
        (200, CUSTOMER, ACCEPTED),
        (200, "mallory", REFUSED),
        (401, "", REFUSED),
        (402, "", INCONCLUSIVE),
        (403, "", REFUSED),
        (404, "", INCONCLUSIVE),
    ],
)
def test_what_the_banks_answer_means(status: int, customer: str, outcome: str) -> None:
    account = Response(status, json.dumps({"customer": customer}))
    assert outcome_of(account, CUSTOMER, Failed(51, "server", "does not count beside an answer")) == outcome


@pytest.mark.parametrize(
    ("failed", "outcome"),
    [
        (Failed(51, "server", ""), REFUSED),
        (Failed(51, "client", ""), INCONCLUSIVE),
        (Failed(0, "server", ""), INCONCLUSIVE),
        (Failed(None, "server", ""), INCONCLUSIVE),
        (Failed(None, None, ""), INCONCLUSIVE),
    ],
)
def test_what_an_end_without_an_answer_means(failed: Failed, outcome: str) -> None:
    assert outcome_of(None, CUSTOMER, failed) == outcome


def client(**state: object) -> Client:
    """A client that has got so far."""
    it = our_client()
    for name, value in ({"version": TLS12, "peer_chain": (b"the bank's",)} | state).items():
        setattr(it, name, value)
    return it


@pytest.mark.parametrize(
    ("state", "script", "why"),
    [
        ({}, Script(), NOT_ASKED),
        ({}, Script(header=b""), ""),
        ({"request": "a CertificateRequest"}, Script(), ""),
        ({"version": None}, Script(), ""),
        ({"peer_chain": ()}, Script(), ""),
        ({"peer_chain": (), "resumed": True}, Script(), NOT_ASKED),
        ({}, Script(resume=SESSION), NOT_RESUMED),
        ({"resumed": True}, Script(resume=SESSION), ""),
        ({"resumed": True, "peer_chain": ()}, Script(resume=SESSION), ""),
        ({}, Script(resume=SESSION, unresumed_counts=True), ""),
    ],
)
def test_what_tested_nothing_says_why(state: dict[str, object], script: Script, why: str) -> None:
    assert pointless(client(**state), script) == why
    assert pointless(Playback(b"recorded"), script) == ""


@pytest.mark.parametrize(
    ("state", "asked_nothing"),
    [({}, True), ({"request": "a CertificateRequest"}, False), ({"version": None}, False)],
)
def test_a_server_that_has_answered_and_asks_for_no_certificate(state: dict[str, object], asked_nothing: bool) -> None:
    assert unasked(client(**state)) is asked_nothing
    assert not unasked(Playback(b"recorded"))


def test_a_move_was_made_once_its_own_message_was_sent() -> None:
    assert not made(client(), Script())
    assert made(client(is_its_turn=True), Script())
    assert made(client(), Script(resume=SESSION))
    assert made(Playback(b"recorded"), Script())


def test_a_refusal_is_reported_with_its_alert(alice: pki.Identity, bank: pki.Identity) -> None:
    def refuse(chain: object) -> None:
        raise CertificateError(AlertDescription.UNKNOWN_CA, "nobody knows it")

    report = Bank(lambda: our_server(bank, check=refuse)).tried(lambda it: attempt(it, with_key_of(alice)))
    assert (report.outcome, report.alert, report.alert_by) == (REFUSED, 48, "server")
    assert (report.status, report.body, report.stolen, report.error) == (None, None, 0, None)


def test_a_server_that_refuses_the_hello_has_not_seen_the_move(alice: pki.Identity, bank: pki.Identity) -> None:
    at = Bank(lambda: our_server(bank, versions=(TLS13,)))
    report = at.tried(lambda it: attempt(it, with_key_of(alice)))
    assert (report.outcome, report.alert, report.alert_by) == (INCONCLUSIVE, 70, "server")


def test_what_is_said_before_the_handshake_comes_before_it(alice: pki.Identity, bank: pki.Identity) -> None:
    async def prelude(connection: SocketConnection) -> None:
        connection.write(b"STARTTLS\r\n")
        await connection.drain()

    async def talk(stream: TlsStream) -> None:
        """Nothing."""

    at = Bank(lambda: our_server(bank), before=b"STARTTLS\r\n")
    course = at.tried(lambda it: carry_out(it, with_key_of(alice), talk, prelude))
    assert (course.completed, course.local) == (True, at.peers[0])


def test_a_recording_is_played_back_byte_by_byte() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readexactly(8))
        writer.write(bytes.fromhex("15030300020233"))  # decrypt_error
        writer.close()

    async def run() -> MoveTried:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            target = Address("127.0.0.1", server.sockets[0].getsockname()[1])
            it = Attempt("replay-flight", TLS12, target, SERVER_NAME, CUSTOMER)
            return await attempt(it, Script(recorded=b"recorded"))

    report = asyncio.run(run())
    assert heard == [b"recorded"]
    assert (report.outcome, report.alert) == (REFUSED, 51)


def test_a_server_that_is_away_is_named_with_the_systems_words(alice: pki.Identity) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        target = Address(*unused.getsockname())
        it = Attempt(STOLEN_KEY, TLS12, target, SERVER_NAME, CUSTOMER)
        report = asyncio.run(attempt(it, with_key_of(alice)))
    assert (report.outcome, report.error, report.local) == (INCONCLUSIVE, f"{target}: Connection refused", "")


def test_how_long_an_attempt_took_is_told_to_the_hundredth_of_a_millisecond(
    monkeypatch: pytest.MonkeyPatch, alice: pki.Identity, bank: pki.Identity
) -> None:
    monkeypatch.setattr(replay, "time", SimpleNamespace(perf_counter=iter([10.0, 10.0123456]).__next__))
    report = Bank(lambda: our_server(bank)).tried(lambda it: attempt(it, with_key_of(alice)))
    assert report.milliseconds == 12.35


def test_an_attempt_is_the_first_of_its_kind_unless_told_otherwise() -> None:
    it = Attempt(STOLEN_KEY, TLS12, Address("127.0.0.1", 9), SERVER_NAME, CUSTOMER)
    assert not_tried(it, "why").round == 1


def test_what_was_not_tried_cost_nothing_and_brought_nothing() -> None:
    it = Attempt(
        STOLEN_KEY, TLS12, Address("127.0.0.1", 9), SERVER_NAME, CUSTOMER, leak="wire", seen_at="here", round=3
    )
    report = not_tried(it, "why")
    assert (report.outcome, report.error) == (NOT_APPLICABLE, "why")
    assert (report.stolen, report.milliseconds, report.steps, report.local) == (0, 0.0, (), "")
    assert (report.leak, report.seen_at, report.round, report.server) == ("wire", "here", 3, "127.0.0.1:9")


def at_another_door(alice: pki.Identity, version: Version) -> Script:
    login = replace(with_key_of(alice, version), tickets=True, server_name="other.example")
    return Script(honest_flight(version, (), None), elsewhere=login)


def test_a_script_without_another_door_stays_as_it_is(alice: pki.Identity, bank: pki.Identity) -> None:
    script = with_key_of(alice)
    at = Bank(lambda: our_server(bank))
    assert at.tried(lambda it: through_the_other_door(it, script)) is script
    assert at.peers == []


def test_the_session_of_the_other_door_is_taken_along(alice: pki.Identity, bank: pki.Identity) -> None:
    engines: list[Server] = []

    def make() -> Server:
        engines.append(our_server(bank, sessions=SessionStore(os.urandom)))
        return engines[-1]

    at = Bank(make, answer=answer("404 Not Found", ""))
    script = at.tried(lambda it: through_the_other_door(it, at_another_door(alice, TLS12)))
    assert [one.server_name for one in engines] == ["other.example"]
    assert script.resume
    names = [step.name for step in script.began]
    assert names[:2] == ["ClientHello", "ServerHello"]
    assert names.count("NewSessionTicket") == 1


def test_where_no_session_begins_the_other_door_is_not_tried(alice: pki.Identity, bank: pki.Identity) -> None:
    def refuse(chain: object) -> None:
        raise CertificateError(AlertDescription.UNKNOWN_CA, "nobody knows it")

    def with_sessions(policy: Proof | None = Proof.REQUIRED, **options: Any) -> Server:
        return our_server(bank, policy, sessions=SessionStore(os.urandom), **options)

    doors = {
        "the server sent alert unknown_ca (48)": Bank(lambda: with_sessions(check=refuse)),
        NOT_ASKED: Bank(lambda: with_sessions(None)),
        "it gives no session": Bank(lambda: our_server(bank)),
        "it opens an account by itself, so it is no other door": Bank(with_sessions),
    }
    for why, at in doors.items():
        with pytest.raises(NotApplicable) as caught:
            at.tried(lambda it: through_the_other_door(it, at_another_door(alice, TLS12)))
        assert str(caught.value) == f"no session begins at other.example: {why}"
        assert caught.value.local == at.peers[0]
