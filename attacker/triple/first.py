"""The first handshake: two connections with the same master secret, one to alice and one to the bank."""

import asyncio
from dataclasses import replace

from attacker.leak.mirror import RSA, key_exchange, messages_of, mirror_client, mirror_server
from attacker.triple.reports import ConnectionReport
from lab.address import Address
from lab.tls import extensions as ext
from lab.tls import keys
from lab.tls.bundle import Bundle
from lab.tls.client import Client
from lab.tls.engine import Failed
from lab.tls.flight import Flight, SendCertificate, SendChangeCipherSpec, SendFinished, SendKeyExchange, SendProof
from lab.tls.messages import CertificateVerify, ClientHello, Finished, ServerHello
from lab.tls.server import Server
from lab.tls.sessions import Session
from lab.tls.streams import ConnectionFailed, TlsStream

LEFT_OUT = (
    ext.EXTENDED_MASTER_SECRET,  # it would bind the master secret to the server's certificate
    ext.SESSION_TICKET,  # a session ID is the same for both, a ticket is for one
    ext.SUPPORTED_VERSIONS,
    ext.KEY_SHARE,
    ext.PSK_KEY_EXCHANGE_MODES,
    ext.POST_HANDSHAKE_AUTH,
)
"""What mallory leaves out of alice's hello to the bank."""
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nWelcome\n"
"""What her server answers."""


def downgraded(hello: ClientHello) -> ClientHello:
    """Alice's hello, in TLS 1.2 and with RSA key transport, and without what would keep the two connections apart."""
    kept = {suite.id for suite in keys.RSA_TRANSPORT_SUITES} | {keys.RENEGOTIATION_SCSV}
    return replace(
        hello,
        session_id=b"",
        cipher_suites=tuple(suite for suite in hello.cipher_suites if suite in kept),
        extensions=tuple(one for one in hello.extensions or () if one.type not in LEFT_OUT),
    )


async def join(
    hello: ClientHello,
    received: bytes,
    alice: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    bank: Address,
    own: Bundle,
    report: ConnectionReport,
) -> Session:
    """Both handshakes; the session, which both sides may resume. ConnectionFailed or OSError if it comes to none.

    A bank that asks for a certificate in this handshake gets alice's, with the proof that she made for mallory's own.
    """
    wanted = downgraded(hello)
    if not set(wanted.cipher_suites) - {keys.RENEGOTIATION_SCSV}:
        raise ConnectionFailed(Failed(None, None, "alice offers no RSA key transport that mallory knows"))
    client = mirror_client(wanted)
    real = TlsStream(client, *await asyncio.open_connection(*bank))
    try:
        await real.until(lambda: client.is_its_turn)
        server = mirror_server(client, own, asks=client.request is not None)
        victim = TlsStream(server, *alice)
        await victim.take(server.receive(received))
        await victim.handshake()
        await real.take(client.go_on(_flight(client, server)))
        await real.handshake()
        report.shared = _shared(client, server)
        session = client.session
        if not isinstance(session, Session) or not session.id:
            raise ConnectionFailed(Failed(None, None, "the bank gave no session with an ID, so nothing can be resumed"))
        await victim.read()
        await victim.write(PAGE)
        await victim.close()
    finally:
        await real.close()
    return session


def _flight(client: Client, server: Server) -> Flight:
    """What alice has sent, for the bank."""
    assert key_exchange(client) == RSA
    proofs = [one for one in messages_of(server, "client") if isinstance(one, CertificateVerify)]
    return (
        SendCertificate(server.peer_chain),
        SendKeyExchange(server.premaster),
        SendProof(lambda challenge: proofs[0] if proofs else None),
        SendChangeCipherSpec(),
        SendFinished(),
    )


def _shared(client: Client, server: Server) -> dict[str, tuple[str, str]]:
    """What the two connections have in common, and their Finished messages, which differ."""
    one, other = _values(server), _values(client)
    return {name: (one[name], other[name]) for name in one}


def _values(engine: Client | Server) -> dict[str, str]:
    sent = {sender: list(messages_of(engine, sender)) for sender in ("client", "server")}
    (hello,) = (one for one in sent["client"] if isinstance(one, ClientHello))
    (answer,) = (one for one in sent["server"] if isinstance(one, ServerHello))
    found = {
        "client_random": hello.random.hex(),
        "server_random": answer.random.hex(),
        "session_id": answer.session_id.hex(),
        "master_secret": engine.key_log.split()[-1],
    }
    for sender, messages in sent.items():
        (finished,) = (one for one in messages if isinstance(one, Finished))
        found[f"{sender} verify_data"] = finished.verify_data.hex()
    return found
