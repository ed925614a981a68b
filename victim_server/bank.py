"""The bank: a small HTTP application that believes the gateway in front of it.

`GET /account` tells the customer's name and balance, and `POST /transfer` moves money. Who the customer is, the gateway
says in the `Client-Cert` header (RFC 9440 section 2.2), by the common name of that certificate's subject, or in the
`Remote-User` header, by the name to which a password belongs. Anybody who could reach the bank directly could write
these headers, so the bank listens on a Unix domain socket in a directory of its own.
"""

import asyncio
import contextlib
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from lab.catalogue.cast import CUSTOMER, MALLORY, OPENING_BALANCE
from lab.events.log import Reporter
from lab.events.types import AccountOpened, MoneyMoved, TransferRefused
from lab.process import BadInput
from victim_server.forwarding import CONNECTION, REMOTE_USER, read_client_cert

MAX_AMOUNT = 1_000_000
MAX_NAME_LENGTH = 64
SOCKET_NAME = "bank.sock"
BACKLOG = 512


class Refused(HTTPException):
    """A request that the bank does not carry out; becomes a JSON body `{"error": ...}`."""


class Accounts:
    """Who has how much: mallory nothing yet, alice and everybody else the opening balance.

    Nothing here waits, so in one event loop each call happens as a whole.
    """

    def __init__(self, opening_balance: int = OPENING_BALANCE, customers: Iterable[str] = ()) -> None:
        self._balances = dict.fromkeys((CUSTOMER, *customers), opening_balance) | {MALLORY: 0}

    def all(self) -> Mapping[str, int]:
        """Each customer's balance."""
        return dict(self._balances)

    def balance(self, customer: str) -> int:
        """Refused (401) if the certificate's subject is no customer."""
        if customer not in self._balances:
            raise Refused(401, f"the bank has no customer {customer!r}")
        return self._balances[customer]

    def transfer(self, customer: str, to: str, amount: int) -> int:
        """Moves money, to another bank where `to` is no customer of this one; returns the customer's new balance."""
        balance = self.balance(customer)
        if to == customer:
            raise Refused(400, "a transfer needs two accounts")
        if amount > balance:
            raise Refused(409, f"insufficient funds: the balance is {balance}")
        self._balances[customer] = balance - amount
        if to in self._balances:
            self._balances[to] += amount
        return self._balances[customer]


def customer_of(request: Request) -> str:
    """The customer that the gateway vouches for; Refused (401) where it vouches for nobody."""
    if REMOTE_USER.decode() in request.headers:
        return request.headers[REMOTE_USER.decode()]
    try:
        certificate = read_client_cert(request.headers.raw)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME) if certificate else []
    except ValueError as error:
        raise Refused(401, str(error)) from None
    if certificate is None:
        raise Refused(401, "no client certificate")
    if len(names) != 1:
        raise Refused(401, "the certificate's subject does not have exactly one common name")
    return str(names[0].value)


def create_app(accounts: Accounts, reporter: Reporter) -> Starlette:
    """The bank as an ASGI application; every answer is JSON. Its ledger goes to the reporter."""

    for customer, balance in accounts.all().items():
        reporter.report(AccountOpened(customer, balance))

    async def account(request: Request) -> JSONResponse:
        customer = customer_of(request)
        return JSONResponse({"customer": customer, "balance": accounts.balance(customer)})

    async def transfer(request: Request) -> JSONResponse:
        customer = customer_of(request)
        accounts.balance(customer)
        connection = request.headers.get(CONNECTION.decode(), "")
        try:
            to, amount = _read_order(await request.body())
            moved = MoneyMoved(customer, to, amount, accounts.transfer(customer, to, amount), connection)
        except Refused as refused:
            reporter.report(TransferRefused(customer, refused.status_code, refused.detail, connection))
            raise
        reporter.report(moved)
        return JSONResponse(
            {"customer": moved.customer, "to": moved.to, "amount": moved.amount, "balance": moved.balance}
        )

    return Starlette(
        routes=[Route("/account", account), Route("/transfer", transfer, methods=["POST"])],
        exception_handlers={HTTPException: _say_error},
    )


@contextlib.asynccontextmanager
async def serve(app: Starlette) -> AsyncIterator[Path]:
    """Runs the bank until the block ends; yields the path of its Unix domain socket, which only this user reaches."""
    folder = Path(tempfile.mkdtemp(prefix="bank-"))  # mode 0700
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path = folder / SOCKET_NAME
        try:
            listener.bind(str(path))
        except OSError as error:
            raise BadInput(f"{path}: no socket there ({error}); set TMPDIR to a folder with a short name") from None
        listener.listen(BACKLOG)
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield path
        finally:
            server.stop()
            await running
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers of its own: the part has them. It ends at once when it is told to.

    Uvicorn looks ten times a second whether it is to end, and then gives its clients another tenth.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        ticking = asyncio.create_task(super().main_loop())
        await self._stopped.wait()
        ticking.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Its only clients are the gateways, which are closed by now."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _read_order(body: bytes) -> tuple[str, int]:
    """Recipient and amount from the body of a transfer; Refused (400) says which of them is wrong."""
    try:
        order: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(order, dict):
        raise Refused(400, 'the body is not a JSON object with "to" and "amount"')
    to, amount = order.get("to"), order.get("amount")
    if not isinstance(to, str) or not to.isprintable() or not 0 < len(to) <= MAX_NAME_LENGTH:
        raise Refused(400, f'"to" is not a name of 1 to {MAX_NAME_LENGTH} characters')
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount <= MAX_AMOUNT:
        raise Refused(400, f'"amount" is not a whole number from 1 to {MAX_AMOUNT}')
    return to, amount


async def _say_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
