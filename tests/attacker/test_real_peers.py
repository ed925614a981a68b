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
from lab.catalogue.outcomes import INCONCLUSIVE, NOT_APPLICABLE, NOT_RESUMED, REFUSED
from lab.events.types import MoveTried
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls.alerts import AlertDescription
from lab.tls.bundle import Bundle
from lab.tls.copied import within_reach
from lab.tls.extensions import OfferedPsk
from lab.tls.messages import ClientHello, parse
from lab.tls.records import RECORD_HEADER_LENGTH
from lab.tls.streams import TlsStream
from lab.tls.versions import TLS12, TLS13, Version
from tls_peers import (
    NAME,
    PATIENCE_SECONDS,
    Files,
    OpenSslEngine,
    openssl_context,
    our_server,
    page,
    s_server,
    serving,
    write_files,
)

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


def ticket_shown_at(port: int, authority: pki.Identity, alice: pki.Identity) -> tuple[OfferedPsk | None, bool]:
    """The ticket that alice offers when she comes again, None if she got none, and whether it resumes her session."""
    context = openssl_context(False, authority, alice, versions=(TLS13,))
    first = OpenSslEngine(context, server_side=False)
    asyncio.run(page(port, first))
    again = OpenSslEngine(context, False, first.tls.session)
    asyncio.run(page(port, again))
    hello = parse(again.sent[0][RECORD_HEADER_LENGTH:])
    assert isinstance(hello, ClientHello)
    return ext.read_pre_shared_key(hello.extensions), bool(again.tls.session_reused)


@pytest.mark.parametrize("server", [one for one in BANK_SERVERS if one != "erlang"])  # which gives none unless told
def test_a_ticket_that_alice_showed_is_no_good_to_somebody_else(
    tmp_path: Path, files: Files, authority: pki.Identity, alice: pki.Identity, server: str
) -> None:
    """Where it has just resumed her session, the server aborts (RFC 8446 section 4.2.11)."""
    with serving(tmp_path / "output", *BANK_SERVERS[server](files, tmp_path, ["1.3"])) as port:
        ticket, resumed = ticket_shown_at(port, authority, alice)
        it = tried(port, "resume-session", TLS13, Loot((alice.der,), None, ticket=ticket))
    assert resumed
    assert (it.outcome, it.alert_by, it.status) == (REFUSED, "server", None), it
    assert it.alert in (AlertDescription.ILLEGAL_PARAMETER, AlertDescription.DECRYPT_ERROR)
    assert [name for sender, name, _ in it.steps if sender == "client"] == ["ClientHello"]


def test_a_ticket_that_a_server_does_not_know_tries_nothing(
    tmp_path: Path, files: Files, authority: pki.Identity, alice: pki.Identity
) -> None:
    """It goes on with a full handshake, in which it asks for a certificate."""
    command = BANK_SERVERS["openssl"](files, tmp_path, ["1.3"])
    with serving(tmp_path / "output", *command) as port:
        ticket, _ = ticket_shown_at(port, authority, alice)
    with serving(tmp_path / "output", *command) as port:  # with new keys for its tickets
        it = tried(port, "resume-session", TLS13, Loot((alice.der,), None, ticket=ticket))
    assert (it.outcome, it.error) == (NOT_APPLICABLE, NOT_RESUMED)
    assert ("server", "CertificateRequest") in [step[:2] for step in it.steps]


@pytest.mark.parametrize("move", ["omit-proof", "early-proof", "early-finished"])
def test_erlangs_refusal_under_the_handshake_keys_is_read(
    tmp_path: Path, files: Files, bank: pki.Identity, move: str
) -> None:
    """Its Finished is out, and after it comes an alert under the keys before (RFC 8446 section 4.4.4)."""
    loot = login_of("curl", TLS13, files, bank)
    with serving(tmp_path / "output", *BANK_SERVERS["erlang"](files, tmp_path, ["1.3"])) as port:
        it = tried(port, move, TLS13, loot)
    assert (it.outcome, it.alert, it.alert_by) == (REFUSED, AlertDescription.UNEXPECTED_MESSAGE, "server")
