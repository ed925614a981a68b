"""Mallory among programs that we did not write: proofs that real clients made, at real servers.

Every server takes alice's certificate with a proof and lets her in; what a move with her captured proof meets there is
the server's own refusal. Nothing that a client offers and the instrument cannot do gets in the way.
"""

import asyncio
from pathlib import Path

import pytest

import tls_clients
from attacker.leak.rogue_server import loot_of
from attacker.moves.make import MAKERS, Loot, stolen_key
from attacker.moves.replay import Attempt, attempt
from bank_servers import BANK_SERVERS
from lab.address import Address
from lab.catalogue.moves import STOLEN_KEY
from lab.catalogue.outcomes import INCONCLUSIVE, REFUSED
from lab.events.types import MoveTried
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls.alerts import AlertDescription
from lab.tls.bundle import Bundle
from lab.tls.copied import within_reach
from lab.tls.messages import parse
from lab.tls.streams import TlsStream
from lab.tls.versions import TLS12, TLS13, Version
from tls_peers import NAME, PATIENCE_SECONDS, Files, our_server, s_server, serving, write_files

MOVES = ("replay-proof", "relabelled-proof", "flipped-proof")


def login_of(client: str, version: Version, files: Files, bank: pki.Identity, *more: str) -> Loot:
    """What a real client's login in this version shows the server that it came to."""

    async def log_in() -> Loot:
        seen = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            engine = our_server(bank, versions=(version,))
            stream = TlsStream(engine, reader, writer)
            await stream.handshake()
            seen.set_result(loot_of(engine, "", "")[0])
            await stream.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE_SECONDS):
            port = server.sockets[0].getsockname()[1]
            command = [*tls_clients.command(client, port, str(version), files.client), *more]
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            loot: Loot = await seen
            await process.wait()
            return loot

    return asyncio.run(log_in())


def tried(port: int, move: str, version: Version, loot: Loot) -> MoveTried:
    it = Attempt(move, version, Address("127.0.0.1", port), NAME, "alice")
    return asyncio.run(attempt(it, MAKERS[move](loot, version)))


@pytest.fixture
def files(tmp_path: Path, authority: pki.Identity, alice: pki.Identity, bank: pki.Identity) -> Files:
    return write_files(tmp_path, authority, bank, alice)


def assert_refused(port: int, version: Version, loot: Loot, alice: pki.Identity) -> None:
    """What alice's own key opens, her captured proof does not: the server says so, with an alert of its own."""
    it = Attempt(STOLEN_KEY, version, Address("127.0.0.1", port), NAME, "alice")
    control = asyncio.run(attempt(it, stolen_key(Bundle((alice.der,), alice.key), version)))
    assert control.status == 200, control
    for move in MOVES:
        refused = tried(port, move, version, loot)
        assert (refused.outcome, refused.alert_by, refused.status) == (REFUSED, "server", None), refused
        assert ("client", "CertificateVerify") in [step[:2] for step in refused.steps]


@pytest.mark.parametrize("server", BANK_SERVERS)
@pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
def test_a_captured_proof_of_curls_is_refused_by_real_servers(
    tmp_path: Path, files: Files, alice: pki.Identity, bank: pki.Identity, server: str, version: Version
) -> None:
    loot = login_of("curl", version, files, bank)
    command = BANK_SERVERS[server](files, tmp_path, [str(version)])
    with serving(tmp_path / "output", *command) as port:
        assert_refused(port, version, loot, alice)


@pytest.mark.parametrize("server", BANK_SERVERS)
def test_a_hello_that_offers_tls_13_too_is_replayed_in_tls_12_where_both_are_served(
    tmp_path: Path, files: Files, alice: pki.Identity, bank: pki.Identity, server: str
) -> None:
    loot = login_of("curl", TLS12, files, bank, "--tls-max", "1.3")
    assert loot.hello
    assert TLS13 in (ext.read_versions(loot.hello.extensions) or ())
    with serving(tmp_path / "output", *BANK_SERVERS[server](files, tmp_path, ["1.2", "1.3"])) as port:
        assert_refused(port, TLS12, loot, alice)


@pytest.mark.parametrize("client", ["openssl", "gnutls-cli"])
@pytest.mark.parametrize("server", ["nginx", "gnutls"])
def test_a_captured_proof_of_another_clients_is_refused_too(
    tmp_path: Path, files: Files, alice: pki.Identity, bank: pki.Identity, client: str, server: str
) -> None:
    loot = login_of(client, TLS12, files, bank)
    with serving(tmp_path / "output", *BANK_SERVERS[server](files, tmp_path, ["1.2"])) as port:
        assert_refused(port, TLS12, loot, alice)


def test_a_copied_hello_is_byte_for_byte_the_clients_if_the_server_chooses_what_the_lab_can_do(
    tmp_path: Path, files: Files, bank: pki.Identity
) -> None:
    loot = login_of("curl", TLS12, files, bank)
    assert loot.hello
    sent = {}
    for server in ("nginx", "nginx with HTTP/2", "openssl, CBC first"):
        with serving(tmp_path / "output", *BANK_SERVERS[server](files, tmp_path, ["1.2"])) as port:
            sent[server] = parse(bytes.fromhex(tried(port, "replay-proof", TLS12, loot).steps[0][2]))
    assert sent["nginx"] == loot.hello
    assert sent["nginx with HTTP/2"] == sent["openssl, CBC first"] == within_reach(loot.hello, (TLS12,))
    assert ext.find(within_reach(loot.hello, (TLS12,)).extensions, ext.ALPN) is None


def test_a_server_that_refuses_the_hello_itself_has_not_refused_the_proof(
    tmp_path: Path, files: Files, bank: pki.Identity
) -> None:
    """No suite is left that both can do, so the proof was never sent."""
    loot = login_of("curl", TLS12, files, bank)
    command = [*s_server(files, "-cipher", "ECDHE-ECDSA-AES256-SHA384"), "-serverpref"]
    with serving(tmp_path / "output", *command) as port:
        it = tried(port, "replay-proof", TLS12, loot)
    assert (it.outcome, it.alert, it.alert_by) == (INCONCLUSIVE, AlertDescription.HANDSHAKE_FAILURE, "server")
    assert it.error == "the server sent alert handshake_failure (40)"


@pytest.mark.parametrize("move", ["omit-proof", "early-proof", "early-finished"])
def test_erlangs_refusal_under_the_handshake_keys_is_read(
    tmp_path: Path, files: Files, bank: pki.Identity, move: str
) -> None:
    """Its Finished is out, and after it comes an alert under the keys before (RFC 8446 section 4.4.4)."""
    loot = login_of("curl", TLS13, files, bank)
    with serving(tmp_path / "output", *BANK_SERVERS["erlang"](files, tmp_path, ["1.3"])) as port:
        it = tried(port, move, TLS13, loot)
    assert (it.outcome, it.alert, it.alert_by) == (REFUSED, AlertDescription.UNEXPECTED_MESSAGE, "server")
