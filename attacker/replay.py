"""Replay: one attempt to get past a gateway with a certificate, from the TCP connection to the verdict.

The same code runs the attacker's moves and the lab's control with the real key; only the prover differs.
"""

import asyncio
import json
import os
import time
from dataclasses import dataclass

import h11

from attacker.packets import host_port
from attacker.scope import check_target
from lab.events import MoveTried
from lab.tls.alerts import WARNING, Alert, AlertDescription
from lab.tls.client import Client
from lab.tls.connection import Step
from lab.tls.engine import Failed, Party
from lab.tls.proof import Prover
from lab.tls.streams import ConnectionFailed, TlsStream

ATTEMPT_SECONDS = 10.0
MAX_ANSWER = 1 << 16

_CLOSE_NOTIFY = Alert(WARNING, AlertDescription.CLOSE_NOTIFY).serialize()

ACCEPTED = "accepted"
REFUSED = "refused"
INCONCLUSIVE = "inconclusive"
"""Neither let in nor refused: the server was away, say. Such an attempt proves nothing and is never a verdict."""


@dataclass(frozen=True)
class Transfer:
    """What the attacker does once it is in."""

    to: str
    amount: int


@dataclass(frozen=True)
class Answer:
    """The bank's answer to one request."""

    status: int
    body: str


async def attempt(
    move_id: str,
    target: tuple[str, int],
    server_name: str,
    chain: tuple[bytes, ...],
    prove: Prover,
    transfer: Transfer | None,
) -> MoveTried:
    """Presents `chain` at `target`, proves with `prove`, and if that opens the account, reads it and moves money.

    OutOfScope, before any packet leaves, for a target that isn't the lab's.
    """
    address = check_target(*target)
    began = time.perf_counter()
    client = Client(entropy=os.urandom, server_name=server_name, chain=chain, prove=prove)
    local = ""
    account: Answer | None = None
    moved: Answer | None = None
    failed = Failed(None, None, f"no answer within {ATTEMPT_SECONDS:.0f} s")
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            reader, writer = await asyncio.open_connection(*address)
            local = host_port(writer.get_extra_info("sockname"))
            stream = TlsStream(client, reader, writer)
            try:
                await stream.handshake()
                http = h11.Connection(h11.CLIENT)
                account = await _request(stream, http, server_name, "GET", "/account")
                if account.status == 200 and transfer:
                    order = json.dumps({"to": transfer.to, "amount": transfer.amount})
                    moved = await _request(stream, http, server_name, "POST", "/transfer", order)
            except ConnectionFailed as error:
                failed = error.failed
            except h11.ProtocolError as error:
                failed = Failed(None, None, f"the answer is not HTTP: {error}")
            finally:
                await stream.close()
    except TimeoutError:
        pass
    except OSError as error:
        failed = Failed(None, None, f"{host_port(address)}: {error.strerror or error}")
    milliseconds = (time.perf_counter() - began) * 1000

    outcome = _outcome(account, failed)
    return MoveTried(
        server=host_port(target),
        local=local,
        move=move_id,
        tls="1.2",
        outcome=outcome,
        sent=_steps(client, "client"),
        received=_steps(client, "server"),
        alert=None if account else failed.alert,
        alert_by=None if account else failed.sent_by,
        status=account.status if account else None,
        body=account.body if account else None,
        stolen=transfer.amount if transfer and moved and moved.status == 200 else 0,
        error=_error(account, failed) if outcome == INCONCLUSIVE else None,
        milliseconds=round(milliseconds, 2),
    )


def _outcome(account: Answer | None, failed: Failed) -> str:
    """Accepted is an account that was opened; refused is the server's own alert or HTTP's word for it."""
    if account:
        return {200: ACCEPTED, 401: REFUSED, 403: REFUSED}.get(account.status, INCONCLUSIVE)
    return REFUSED if failed.alert is not None and failed.sent_by == "server" else INCONCLUSIVE


def _error(account: Answer | None, failed: Failed) -> str:
    return f"HTTP {account.status}: {account.body}" if account else failed.reason


def _steps(client: Client, sender: Party) -> tuple[str, ...]:
    return tuple(_described(step) for step in client.steps if step.sender == sender and step.raw != _CLOSE_NOTIFY)


def _described(step: Step) -> str:
    if step.name.startswith("alert"):
        return f"{step.name} ({step.raw[1]})"
    return f"{step.name} ({len(step.raw)} byte{'s' if len(step.raw) > 1 else ''})"


async def _request(
    stream: TlsStream, http: h11.Connection, host: str, method: str, path: str, body: str | None = None
) -> Answer:
    """One request on a connection that stays open for the next; ConnectionFailed or h11.ProtocolError otherwise."""
    if http.our_state is h11.DONE:
        http.start_next_cycle()
    content = (body or "").encode()
    headers = [("Host", host), ("User-Agent", "mallory"), ("Content-Length", str(len(content)))]
    if body is not None:
        headers.append(("Content-Type", "application/json"))
    outgoing = http.send(h11.Request(method=method, target=path, headers=headers)) or b""
    outgoing += http.send(h11.Data(data=content)) or b""
    outgoing += http.send(h11.EndOfMessage()) or b""
    await stream.write(outgoing)

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
                return Answer(status, received.decode("utf-8", "replace"))
            case h11.NEED_DATA:
                http.receive_data(await stream.read())
            case h11.ConnectionClosed():
                raise h11.RemoteProtocolError("the connection ended before the answer did")
