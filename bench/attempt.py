"""One attempt, from connect to verdict: the whole mutual handshake and the bank's answer, beside three other clients.

All of them present the same certificate with its real key to the same server and ask for the same account. What can be
read once (keys, certificates, contexts) was read before. Nobody checks the server's chain, as the attacker doesn't.
"""

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attacker.moves.make import stolen_key
from attacker.moves.replay import Attempt, attempt
from bench.peers import ACCOUNT, HOST, REQUEST, Files, issue, openssl_server
from bench.report import Aim, ReportSection, ReportTable, machine, program_version
from bench.timing import Timing, side_by_side
from lab.address import Address
from lab.catalogue.cast import CUSTOMER, SERVER_NAME
from lab.catalogue.outcomes import ACCEPTED
from lab.tls.versions import TLS12, TLS13, Version, version_name

ROUNDS, QUICK_ROUNDS = 100, 10
AT_MOST_OPENSSL, AHEAD_OF_OTHERS = 1.3, 3.0
CERTREPLAY, OPENSSL, TLSLITE, SCAPY = "certreplay", "Python's `ssl` (OpenSSL)", "tlslite-ng", "scapy's automaton"
READ_SIZE = 1 << 16

Contender = Callable[[], None]


def run(quick: bool) -> ReportSection:
    """The bench."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    rows: list[tuple[str, ...]] = []
    aims: list[Aim] = []
    with tempfile.TemporaryDirectory() as folder:
        files = issue(Path(folder))
        for tls in (TLS12, TLS13):
            with openssl_server(files) as port, contenders(files, tls, port) as clients:
                times = side_by_side(clients, rounds)
            rows += [_row(tls, name, timing, times) for name, timing in times.items()]
            aims += _aims(tls, times)
    heads = ("client", "TLS", "median, ms", "spread, ms", "beside OpenSSL", "beside certreplay")
    tools = (f"tlslite-ng {version('tlslite-ng')}", f"scapy {version('scapy')}", program_version("openssl", "version"))
    conditions = f"{rounds} rounds, P-256 keys, TCP_NODELAY everywhere. {machine(*tools[:2], f'server: {tools[2]}')}"
    return ReportSection(conditions, (ReportTable(heads, tuple(rows)),), tuple(aims))


def _row(tls: Version, name: str, timing: Timing, times: dict[str, Timing]) -> tuple[str, ...]:
    beside = (f"{timing.median / times[other].median:.2f}" for other in (OPENSSL, CERTREPLAY))
    return name, version_name(tls), *timing.in_ms(), *beside


def _aims(tls: Version, times: dict[str, Timing]) -> Iterator[Aim]:
    label, ours = f"TLS {version_name(tls)}", times[CERTREPLAY].median
    beside = ours / times[OPENSSL].median
    yield Aim(
        f"{label}, at most {AT_MOST_OPENSSL:g} times OpenSSL's own time",
        f"{beside:.2f} times",
        beside <= AT_MOST_OPENSSL,
    )
    for other in (TLSLITE, SCAPY):
        ahead = times[other].median / ours
        what = f"{label}, ahead of {other} by {AHEAD_OF_OTHERS:g} times"
        yield Aim(what, f"by {ahead:.1f} times", ahead >= AHEAD_OF_OTHERS)


@contextmanager
def contenders(files: Files, tls: Version, port: int) -> Iterator[dict[str, Contender]]:
    """Every client as a function that makes one attempt, and raises where it isn't let in."""
    with asyncio.Runner() as loop:
        yield {
            CERTREPLAY: _certreplay(loop, files, tls, port),
            OPENSSL: _openssl(files, tls, port),
            TLSLITE: _tlslite(files, tls, port),
            SCAPY: _scapy(files, tls, port),
        }


def _certreplay(loop: asyncio.Runner, files: Files, tls: Version, port: int) -> Contender:
    script = stolen_key(files.alice, tls)
    it = Attempt("stolen-key", tls, Address(HOST, port), SERVER_NAME, CUSTOMER)
    run = loop.get_loop().run_until_complete  # `Runner.run` sets a signal handler every time; the attacker does so once

    def go() -> None:
        tried = run(attempt(it, script))
        _check(tried.outcome == ACCEPTED, CERTREPLAY, tried)

    return go


def _openssl(files: Files, tls: Version, port: int) -> Contender:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion(tls)
    context.load_cert_chain(files.bundle)

    def go() -> None:
        with _connect(port) as plain, context.wrap_socket(plain, server_hostname=SERVER_NAME) as connection:
            connection.sendall(REQUEST)
            received = connection.recv(READ_SIZE)
            _check(received.endswith(ACCOUNT), OPENSSL, received)

    return go


def _tlslite(files: Files, tls: Version, port: int) -> Contender:
    from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey

    chain = X509CertChain()
    chain.parsePemList(files.certificate.read_text())
    key = parsePEMKey(files.key.read_text(), private=True)
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = (tls >> 8, tls & 0xFF)
    settings.certificate_compression_send = []  # 0.8.2 compresses though OpenSSL did not ask for it

    def go() -> None:
        with _connect(port) as plain:
            connection = TLSConnection(plain)
            connection.handshakeClientCert(chain, key, settings=settings, serverName=SERVER_NAME)
            connection.write(REQUEST)
            received = bytes(connection.read(max=READ_SIZE, min=1))
            connection.close()
            _check(received.endswith(ACCOUNT), TLSLITE, received)

    return go


def _scapy(files: Files, tls: Version, port: int) -> Contender:
    from scapy.layers.tls.all import (
        TLS_Ext_SignatureAlgorithms,
        TLS_Ext_SupportedGroups,
        TLS_Ext_SupportedPointFormat,
        TLSClientHello,
    )
    from scapy.layers.tls.automaton_cli import TLSClientAutomaton

    schemes = ["sha256+ecdsa", "sha256+rsaepss", "sha256+rsa"]

    class Automaton(TLSClientAutomaton):  # type: ignore[misc]
        """The automaton tells only a terminal what it received, and leaves Nagle's algorithm on."""

        said: tuple[str, ...] = ()

        def vprint(self, text: str = "") -> None:
            self.said += (text,)

        def flush_records(self) -> None:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().flush_records()

    def hello() -> Any:
        """Its own hello for TLS 1.2 offers no cipher suite for an ECDSA key."""
        groups = TLS_Ext_SupportedGroups(groups=["x25519", "secp256r1"])
        offered = [groups, TLS_Ext_SupportedPointFormat(), TLS_Ext_SignatureAlgorithms(sig_algs=schemes)]
        return TLSClientHello(ciphers=[0xC02B], ext=offered)

    def go() -> None:
        client = Automaton(
            server=HOST,
            dport=port,
            server_name=SERVER_NAME,
            version="tls12" if tls == TLS12 else "tls13",
            mycert=str(files.certificate),
            mykey=str(files.key),
            client_hello=hello() if tls == TLS12 else None,
            supported_signature_algorithms=schemes,
            data=[REQUEST, b"quit"],
        )
        client.run()
        client.stop()
        client.destroy()
        _check(any(ACCOUNT.decode() in line for line in client.said), SCAPY, client.said)

    return go


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _check(let_in: bool, client: str, said: object) -> None:
    if not let_in:
        raise RuntimeError(f"{client} was not let in: {said}")
