"""Replay: one attempt to get in with a certificate, from the TCP connection to the outcome.

The same code runs the attacker's moves and the lab's control with the real key; only the script differs.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

import h11

from attacker.moves.headers import Headers, client_cert
from attacker.moves.make import NotApplicable, Script
from attacker.moves.playback import Playback
from attacker.scope import check_target
from lab.address import Address, host_port
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, NOT_ASKED, NOT_RESUMED, REFUSED, Outcome
from lab.events.types import MoveTried
from lab.tls import keys
from lab.tls.alerts import WARNING, Alert, AlertDescription
from lab.tls.client import Client
from lab.tls.connection import Step, server_random
from lab.tls.copied import within_reach
from lab.tls.engine import Failed
from lab.tls.errors import TlsError
from lab.tls.streams import ConnectionFailed, SocketConnection, TlsStream
from lab.tls.versions import Version, version_name

ATTEMPT_SECONDS = 10.0
MAX_ANSWER = 1 << 16

_NO_ANSWER = Failed(None, None, f"no answer within {ATTEMPT_SECONDS:.0f} s")
_CLOSE_NOTIFY = Alert(WARNING, AlertDescription.CLOSE_NOTIFY).serialize()


@dataclass(frozen=True)
class Transfer:
    """What the attacker does once it is in."""

    to: str
    amount: int


@dataclass(frozen=True)
class Attempt:
    """What to try: a move in one version at one server, for which customer's account, and what to do once in."""

    move: str
    version: Version
    target: Address
    server_name: str
    victim: str
    """The customer to impersonate."""
    transfer: Transfer | None = None
    leak: str = ""
    """The leak that gave the certificate, `lab.catalogue.leaks`; empty for the lab's control."""
    seen_at: str = ""
    """Where the certificate was seen: the server's address on the wire, or a file."""
    round: int = 1
    source: str = ""
    """The address of this machine to come from; empty for any."""
    protocols: tuple[bytes, ...] = ()
    """The protocols above TLS to offer (RFC 7301), the most preferred first; none for no offer."""


@dataclass(frozen=True)
class Response:
    """The bank's answer to one request."""

    status: int
    body: str

    @property
    def customer(self) -> str:
        """Whose account the bank opened; empty if it opened none."""
        try:
            fields = json.loads(self.body)
        except (ValueError, RecursionError):
            return ""
        return str(fields.get("customer", "")) if self.status == 200 and isinstance(fields, dict) else ""


@dataclass
class Course:
    """How one connection of an attempt went. `failed` counts only where the conversation came to no end."""

    engine: Client | Playback
    local: str = ""
    failed: Failed = _NO_ANSWER
    completed: bool = False
    """Whether the handshake came to its end, as far as the client can tell."""


Talk: TypeAlias = Callable[[TlsStream], Coroutine[Any, Any, None]]
"""What is said once the handshake is complete."""
Prelude: TypeAlias = Callable[[SocketConnection], Coroutine[Any, Any, None]]
"""What is said before the handshake, as STARTTLS takes it."""


@dataclass
class _AtTheBank:
    """What is said to the bank, and what it answers."""

    it: Attempt
    script: Script
    header: bytes | None = None
    account: Response | None = None
    moved: Response | None = None

    async def talk(self, stream: TlsStream) -> None:
        """Talk, for `carry_out`."""
        it, engine = self.it, stream.engine
        assert isinstance(engine, Client | Playback)
        if pointless(engine, self.script):
            return
        if unasked(engine):
            self.header = self.script.header
        said = next(iter(self.script.spellings), client_cert(self.header) if self.header else ())
        bank = BankClient(stream, it.server_name, said, self.script.authorization)
        self.account = await bank.account()
        if it.transfer and self.account.customer == it.victim:
            self.moved = await bank.transfer(it.transfer)


async def attempt(it: Attempt, script: Script) -> MoveTried:
    """Carries out a script. If it opens the victim's account, reads the account and moves money.

    Whatever goes wrong is in the report; only OutOfScope is raised, before any packet is sent, for a target outside the
    lab.
    """
    began = time.perf_counter()
    bank = _AtTheBank(it, script)
    course = await carry_out(it, script, bank.talk)
    milliseconds = (time.perf_counter() - began) * 1000

    account, failed = bank.account, course.failed
    in_vain = pointless(course.engine, script)
    outcome = outcome_of(account, it.victim, failed)
    if in_vain:
        outcome = NOT_APPLICABLE
    elif not account and not made(course.engine, script):
        outcome = INCONCLUSIVE
    return replace(
        reported(it, script, course),
        outcome=outcome,
        error=in_vain or (_error(account, failed) if outcome == INCONCLUSIVE else None),
        header=bank.header.hex() if bank.header else "",
        alert=None if account else failed.alert,
        alert_by=None if account else failed.sent_by,
        status=account.status if account else None,
        body=account.body if account else None,
        transfer_status=bank.moved.status if bank.moved else None,
        stolen=it.transfer.amount if it.transfer and bank.moved and bank.moved.status == 200 else 0,
        milliseconds=round(milliseconds, 2),
    )


async def through_the_other_door(it: Attempt, script: Script) -> Script:
    """The script with the session that its login under another name of the server gives; NotApplicable without one.

    A script without such a login stays as it is. OutOfScope as in `attempt`.
    """
    if script.elsewhere is None:
        return script
    bank = _AtTheBank(replace(it, transfer=None), script.elsewhere)
    course = await carry_out(it, script.elsewhere, bank.talk)
    session = course.engine.session if isinstance(course.engine, Client) else None
    in_vain = ""
    if not course.completed:
        in_vain = course.failed.reason
    elif unasked(course.engine):
        in_vain = NOT_ASKED
    elif session is None:
        in_vain = "it gives no session"
    elif bank.account and bank.account.customer:
        in_vain = "it opens an account by itself, so it is no other door"
    if in_vain:
        raise NotApplicable(f"no session begins at {script.elsewhere.server_name}: {in_vain}", course.local)
    return replace(script, resume=session, began=tuple(_reported(course.engine.steps)))


def reported(it: Attempt, script: Script, course: Course) -> MoveTried:
    """The report of an attempt as far as the handshake goes, without an outcome."""
    return replace(
        not_tried(it, None),
        local=course.local,
        outcome=INCONCLUSIVE,
        steps=tuple((s.sender, s.name, s.raw.hex()) for s in _reported(course.engine.steps)),
        connection=server_random(course.engine.steps).hex(),
        signed_by=script.signed_by.hex(),
        elsewhere=tuple((s.sender, s.name, s.raw.hex()) for s in script.began),
        said_in=tuple(name for headers in script.spellings[:1] for name, _ in headers),
        alert=course.failed.alert,
        alert_by=course.failed.sent_by,
    )


async def carry_out(it: Attempt, script: Script, talk: Talk, prelude: Prelude | None = None) -> Course:
    """Carries out a script at a server of any kind, with what is said before and after the handshake.

    A copied ClientHello is sent as it is. If the server chooses something in it that the instrument cannot do, a second
    connection leaves all of that out, and its course is the one that counts. Only OutOfScope is raised, before any
    packet is sent; everything else that goes wrong is in the course.
    """
    address = check_target(*it.target)
    try:
        course = await _one_connection(it, script, address, talk, prelude)
        if script.hello and isinstance(course.engine, Client) and course.engine.out_of_reach:
            hello = within_reach(script.hello, (it.version,), it.protocols)
            course = await _one_connection(it, replace(script, hello=hello), address, talk, prelude)
    except Exception as error:  # a captured ClientHello that cannot be read, before there is a connection
        return Course(Playback(b""), failed=broken_off(error))
    return course


async def _one_connection(
    it: Attempt, script: Script, address: tuple[str, int], talk: Talk, prelude: Prelude | None
) -> Course:
    """From the TCP handshake to the end of the conversation."""
    course = Course(engine := _engine(it, script))
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            connection = await SocketConnection.open(address, it.source)
            course.local = host_port(connection.socket.getsockname())
            stream = TlsStream(engine, connection, connection)
            try:
                if prelude:
                    await prelude(connection)
                await stream.handshake()
                course.completed = True
                await talk(stream)
            finally:
                await stream.close()
    except TimeoutError:
        pass
    except OSError as error:
        course.failed = Failed(None, None, f"{host_port(address)}: {error.strerror or error}")
    except Exception as error:
        course.failed = broken_off(error)
    return course


def broken_off(error: Exception) -> Failed:
    """What an exception says of the connection that it ended, in one line."""
    if isinstance(error, ConnectionFailed):
        return error.failed
    if isinstance(error, h11.ProtocolError):
        return Failed(None, None, f"the answer is not HTTP: {error}")
    if isinstance(error, TlsError):
        return Failed(None, None, str(error))
    what = " ".join(str(error).split())
    return Failed(None, None, f"{type(error).__name__}: {what}" if what else type(error).__name__)


def not_tried(it: Attempt, reason: str | None) -> MoveTried:
    """The report of a move that cannot be made."""
    return MoveTried(
        leak=it.leak,
        customer=it.victim,
        server=str(it.target),
        local="",
        seen_at=it.seen_at,
        move=it.move,
        tls=version_name(it.version),
        round=it.round,
        outcome=NOT_APPLICABLE,
        steps=(),
        alert=None,
        alert_by=None,
        status=None,
        body=None,
        stolen=0,
        error=reason,
        milliseconds=0.0,
    )


def _engine(it: Attempt, script: Script) -> Client | Playback:
    if script.recorded:
        return Playback(script.recorded)
    return Client(
        entropy=os.urandom,
        server_name=script.server_name or it.server_name,
        versions=(it.version,),
        suites=keys.ALL_SUITES if script.hello else keys.DEFAULT_SUITES,
        flight=script.flight,
        hello=script.hello,
        resume=script.resume,
        tickets=script.tickets,
        protocols=it.protocols,
    )


def made(engine: Client | Playback, script: Script) -> bool:
    """Whether the move was sent: a server that refuses the ClientHello has not seen it. The moves that resume a session
    or play back a recording begin with that message."""
    return isinstance(engine, Playback) or script.resume is not None or engine.is_its_turn


def unasked(engine: Client | Playback) -> bool:
    """Whether the server has answered and did not ask for a certificate."""
    return isinstance(engine, Client) and engine.version is not None and engine.request is None


def pointless(engine: Client | Playback, script: Script) -> str:
    """Why the attempt tested nothing; empty if it tested something."""
    if isinstance(engine, Playback) or engine.version is None or (not engine.peer_chain and not engine.resumed):
        return ""
    if script.resume:
        return "" if engine.resumed or script.unresumed_counts else NOT_RESUMED
    return NOT_ASKED if engine.request is None and script.header is None else ""


def outcome_of(account: Response | None, victim: str, failed: Failed) -> Outcome:
    """Accepted if the bank opened the victim's account; refused if the server sent an error alert or HTTP 401 or 403,
    or if the bank opened another account."""
    if account is None:
        error = failed.sent_by == "server" and failed.alert not in (None, AlertDescription.CLOSE_NOTIFY)
        return REFUSED if error else INCONCLUSIVE
    if account.status == 200:
        return ACCEPTED if account.customer == victim else REFUSED
    return REFUSED if account.status in (401, 403) else INCONCLUSIVE


def _error(account: Response | None, failed: Failed) -> str:
    return f"HTTP {account.status}: {account.body}" if account else failed.reason


def _reported(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.raw != _CLOSE_NOTIFY]


@lru_cache(maxsize=64)  # attempts differ in TLS, hardly in HTTP
def _request(method: str, path: str, headers: tuple[tuple[str, str], ...]) -> h11.Request:
    return h11.Request(method=method, target=path, headers=list(headers))


class BankClient:
    """The bank's API on one connection that stays open, with `said` in the headers of each request, and with or without
    an Authorization header (RFC 9110 section 11.6.2).

    ConnectionFailed or h11.ProtocolError if there is no answer.
    """

    def __init__(self, stream: TlsStream, host: str, said: Headers = (), authorization: str = "") -> None:
        self._stream = stream
        self._headers = [("Host", host), ("User-Agent", "mallory"), *said]
        if authorization:
            self._headers.append(("Authorization", authorization))
        self._http = h11.Connection(h11.CLIENT)

    async def account(self) -> Response:
        """Asks for the account."""
        return await self._request("GET", "/account")

    async def transfer(self, transfer: Transfer) -> Response:
        """Moves money from the account."""
        return await self._request("POST", "/transfer", json.dumps({"to": transfer.to, "amount": transfer.amount}))

    async def _request(self, method: str, path: str, body: str | None = None) -> Response:
        http = self._http
        if http.our_state is h11.DONE:
            http.start_next_cycle()
        content = (body or "").encode()
        headers = [*self._headers, ("Content-Length", str(len(content)))]
        if body is not None:
            headers.append(("Content-Type", "application/json"))
        outgoing = http.send(_request(method, path, tuple(headers))) or b""
        if content:
            outgoing += http.send(h11.Data(data=content)) or b""
        http.send(h11.EndOfMessage())  # no bytes: the length was said before
        await self._stream.write(outgoing)

        status, received = 0, bytearray()
        while True:
            event = http.next_event()
            match event:
                case h11.Response():
                    status = event.status_code
                case h11.Data():
                    received += event.data
                    if len(received) > MAX_ANSWER:
                        raise h11.RemoteProtocolError(f"an answer of more than {MAX_ANSWER} bytes")
                case h11.EndOfMessage():
                    return Response(status, received.decode("utf-8", "replace"))
                case h11.NEED_DATA:
                    more = await self._stream.read()
                    if not (more or status or http.trailing_data[0]):  # that is what has come of an answer's head
                        raise ConnectionFailed(Failed(None, None, "the server closed the connection without an answer"))
                    http.receive_data(more)
