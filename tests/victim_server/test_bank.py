"""The bank: who it takes a request to be from, what it does for them, and where it can be reached."""

import asyncio
import base64
import contextlib
import http.client
import json
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette

from lab.events.types import MoneyMoved
from lab.staging import pki
from made_up import certificate
from victim_server import bank
from victims import Reports, in_a_loop


class Teller:
    """Puts requests to the bank, without a network, as a gateway that authenticated `certificate` would."""

    def __init__(self, certificate: x509.Certificate | None, opening_balance: int = 1000) -> None:
        self.reports = Reports()
        self.app = bank.create_app(bank.Accounts(opening_balance), self.reports)
        self.headers: list[tuple[bytes, bytes]] = []
        if certificate:
            self.headers = [(b"client-cert", byte_sequence(certificate.public_bytes(Encoding.DER)))]

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(call(self.app, method, path, self.headers, content))


async def call(
    app: Starlette, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, Any]:
    """One request to an ASGI application: the answer's status and JSON."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def byte_sequence(data: bytes) -> bytes:
    """RFC 8941 section 3.3.5."""
    return b":" + base64.b64encode(data) + b":"


@pytest.fixture
def alice(authority: pki.Identity) -> x509.Certificate:
    return pki.new_client(authority).certificate


def test_alice_sees_her_balance(alice: x509.Certificate) -> None:
    assert Teller(alice).ask("GET", "/account") == (200, {"customer": "alice", "balance": 1000})


def test_the_opening_balance_can_be_chosen(alice: x509.Certificate) -> None:
    assert Teller(alice, 5).ask("GET", "/account") == (200, {"customer": "alice", "balance": 5})


def test_a_transfer_moves_money_and_is_reported(alice: x509.Certificate) -> None:
    teller = Teller(alice)
    answer = teller.ask("POST", "/transfer", {"to": "mallory", "amount": 100})
    assert answer == (200, {"customer": "alice", "to": "mallory", "amount": 100, "balance": 900})
    assert teller.ask("GET", "/account")[1]["balance"] == 900
    assert teller.reports.all(MoneyMoved) == [MoneyMoved("alice", "mallory", 100, 900)]


def test_nobody_spends_more_than_there_is(alice: x509.Certificate) -> None:
    teller = Teller(alice)
    status, answer = teller.ask("POST", "/transfer", {"to": "mallory", "amount": 1001})
    assert status == 409
    assert "insufficient funds" in answer["error"]
    assert teller.ask("POST", "/transfer", {"to": "mallory", "amount": 1000})[0] == 200
    assert teller.reports.all(MoneyMoved) == [MoneyMoved("alice", "mallory", 1000, 0)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[" * 50_000,
        b"[]",
        b'{"to": "mallory"}',
        b'{"amount": 1}',
        b'{"to": "mallory", "amount": ' + b"9" * 5000 + b"}",
        {"to": "mallory", "amount": 0},
        {"to": "mallory", "amount": -100},
        {"to": "mallory", "amount": 1.5},
        {"to": "mallory", "amount": "100"},
        {"to": "mallory", "amount": True},
        {"to": "mallory", "amount": 1_000_001},
        {"to": "", "amount": 1},
        {"to": "m" * 65, "amount": 1},
        {"to": "mal\nlory", "amount": 1},
        {"to": 7, "amount": 1},
        {"to": "alice", "amount": 1},
    ],
)
def test_a_wrong_order_is_refused_and_moves_nothing(alice: x509.Certificate, body: Any) -> None:
    teller = Teller(alice)
    status, answer = teller.ask("POST", "/transfer", body)
    assert status == 400
    assert answer["error"]
    assert teller.ask("GET", "/account")[1]["balance"] == 1000
    assert not teller.reports.all(MoneyMoved)


@pytest.mark.parametrize(("method", "path"), [("GET", "/account"), ("POST", "/transfer")])
def test_without_a_certificate_there_is_no_customer(method: str, path: str) -> None:
    assert Teller(None).ask(method, path, {"to": "mallory", "amount": 1}) == (401, {"error": "no client certificate"})


@pytest.mark.parametrize("value", [b"", b"alice", b":", b"::", b":!:", b":AAA:", b":AAAA:", b"?1", b":AAAA:;a=1"])
def test_a_malformed_client_cert_is_nobody(value: bytes) -> None:
    teller = Teller(None)
    teller.headers = [(b"client-cert", value)]
    assert teller.ask("GET", "/account")[0] == 401


def test_two_client_certs_are_nobody(alice: x509.Certificate) -> None:
    teller = Teller(alice)
    teller.headers *= 2
    assert teller.ask("GET", "/account")[0] == 401


def test_mallory_is_a_customer_too_and_sees_her_own_account(alice: x509.Certificate, authority: pki.Identity) -> None:
    teller = Teller(alice)
    teller.ask("POST", "/transfer", {"to": "mallory", "amount": 100})
    mallory = pki.new_client(authority, "mallory").certificate
    teller.headers = [(b"client-cert", byte_sequence(mallory.public_bytes(Encoding.DER)))]
    assert teller.ask("GET", "/account") == (200, {"customer": "mallory", "balance": 100})


def test_a_certificate_of_no_customer_is_refused(authority: pki.Identity) -> None:
    status, answer = Teller(pki.new_client(authority, "bob").certificate).ask("GET", "/account")
    assert (status, answer) == (401, {"error": "the bank has no customer 'bob'"})


def test_a_certificate_without_a_common_name_is_refused() -> None:
    nameless = x509.load_der_x509_certificate(certificate([]))
    assert Teller(nameless).ask("GET", "/account")[0] == 401


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("DELETE", "/account", 405)])
def test_other_requests_get_an_error_in_json(alice: x509.Certificate, method: str, path: str, status: int) -> None:
    answered, answer = Teller(alice).ask(method, path)
    assert answered == status
    assert answer["error"]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix domain socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("bank")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def test_the_bank_is_served_where_only_its_own_user_gets_and_only_as_long_as_asked(alice: x509.Certificate) -> None:
    teller = Teller(alice)
    with in_a_loop(lambda: bank.serve(teller.app)) as path:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        connection = UnixConnection(path)
        connection.request("GET", "/account", headers={"Client-Cert": teller.headers[0][1].decode()})
        assert json.loads(connection.getresponse().read()) == {"customer": "alice", "balance": 1000}
        connection.close()
    assert not path.parent.exists()


def test_transfers_at_the_same_time_lose_no_money(alice: x509.Certificate) -> None:
    teller = Teller(alice)
    with in_a_loop(lambda: bank.serve(teller.app)) as path:

        def transfer(_: int) -> int:
            with contextlib.closing(UnixConnection(path)) as connection:
                order = json.dumps({"to": "mallory", "amount": 30})
                connection.request("POST", "/transfer", order, {"Client-Cert": teller.headers[0][1].decode()})
                return connection.getresponse().status

        with ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(transfer, range(40)))
    assert (statuses.count(200), statuses.count(409)) == (33, 7)
    assert min(event.balance for event in teller.reports.all(MoneyMoved)) == 10
