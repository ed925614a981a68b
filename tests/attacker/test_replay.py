"""One attempt: what is reported of it when the server breaks off."""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable

import pytest

from attacker.attempts import TRANSFER
from attacker.call import read_bundle
from attacker.moves.make import stolen_key
from attacker.moves.replay import Attempt, attempt
from lab.address import Address
from lab.catalogue.cast import CUSTOMER, SERVER_NAME
from lab.catalogue.moves import STOLEN_KEY
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE
from lab.events.types import MoveTried
from lab.staging import pki
from lab.tls.versions import TLS12

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


async def _tried_at(issued: pki.Issued, answers: tuple[bytes, ...]) -> MoveTried:
    """An attempt with alice's key at a server that gives these answers and then closes the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.server_pem)
    context.load_verify_locations(issued.ca_pem)
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(_answering(answers), "127.0.0.1", 0, ssl=context)
    async with server:
        target = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        it = Attempt(STOLEN_KEY, TLS12, target, SERVER_NAME, CUSTOMER, transfer=TRANSFER)
        return await attempt(it, stolen_key(read_bundle(issued.client_pem), TLS12))


def _answering(answers: tuple[bytes, ...]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        await reader.read(1)  # the request that gets no answer
        writer.close()

    return serve
