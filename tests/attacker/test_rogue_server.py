"""The shop: to its customers a correct mutual-TLS server, and what they show it is kept whole."""

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import tls_clients
from attacker.attempts import Destination, Orders
from attacker.call import read_bundle
from attacker.campaign import Campaign
from attacker.leak import rogue_server
from attacker.leak.rogue_server import Shop, ShopLimits, run_shop
from lab.address import Address
from lab.catalogue import cast
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.leaks import ROGUE_SERVER
from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import REFUSED
from lab.events.types import CertificateCaptured, LoggedIn, MoveTried, PositionLeft, PositionTaken, Trouble
from lab.judging.proof_comparison import proof_reason
from lab.staging import pki
from lab.tls import proof
from lab.tls.bundle import Bundle
from lab.tls.engine import Failed
from lab.tls.versions import TLS12, TLS13
from programs import program, wait_until
from tls_peers import our_client, refusal
from victims import (
    Curl,
    Reports,
    assert_bad_input,
    client_context,
    events_in,
    in_a_loop,
    run_curl,
    run_part,
    start_part,
    wait_for_event,
)

PATIENCE_SECONDS = 20
VERSIONS = ("1.2", "1.3")
NUMBERS = {"1.2": TLS12, "1.3": TLS13}
CURL_VERSION = {"1.2": ("--tls-max", "1.2"), "1.3": ("--tlsv1.3",)}
ACCOUNT = b"GET /account HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
ANSWER = {"customer": "alice", "balance": 0}


@dataclass
class Open:
    """A shop that is open."""

    issued: pki.Issued
    port: int
    reports: Reports
    folder: Path

    def url(self, path: str = "/account") -> str:
        return f"https://localhost:{self.port}{path}"

    def kept(self) -> list[CertificateCaptured]:
        return self.reports.all(CertificateCaptured)


@pytest.fixture
def handed_out(tmp_path: Path) -> pki.Issued:
    folders = (tmp_path / "public", tmp_path / "server", tmp_path / "client")
    return pki.issue(*folders, attacker=tmp_path / "attacker", shop=tmp_path / "shop")


@pytest.fixture
def shop(handed_out: pki.Issued, tmp_path: Path) -> Iterator[Open]:
    with open_shop(handed_out, tmp_path / "run") as opened:
        yield opened


def open_shop(issued: pki.Issued, folder: Path, limits: ShopLimits | None = None) -> AbstractContextManager[Open]:
    reports = Reports()

    @asynccontextmanager
    async def running() -> AsyncIterator[Open]:
        it = Shop(bundle_of(issued), campaign(reports, folder), reports, limits)
        _, port = await it.open(Address("127.0.0.1", 0))
        try:
            yield Open(issued, port, reports, folder)
        finally:
            await it.close()

    return in_a_loop(running)


def bundle_of(issued: pki.Issued) -> Bundle:
    assert issued.shop_pem
    return read_bundle(issued.shop_pem)


def campaign(reports: Reports, folder: Path, *kinds: CertificateKind) -> Campaign:
    omit = find_move("omit-proof")
    assert omit
    gateways = [Destination(Address("127.0.0.1", 1), "127.0.0.1", kind) for kind in kinds]
    return Campaign(reports, folder, ROGUE_SERVER, Orders((omit,), (TLS12, TLS13)), gateways, victim="alice")


def curl(shop: Open, version: str, *options: str | Path, path: str = "/account") -> Curl:
    """With the server properly verified."""
    trusted = ("--cacert", str(shop.issued.ca_pem))
    return run_curl(shop.url(path), *trusted, *CURL_VERSION[version], *map(str, options))


def talk(command: Sequence[str], *more: str) -> str:
    """Runs a client program, which sends a request for the account and waits for the shop to hang up; everything that
    it printed. Its standard input stays open: some programs say goodbye at the end of that."""
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, ACCOUNT)
        done = subprocess.run(
            [*command, *more], stdin=read_end, capture_output=True, timeout=PATIENCE_SECONDS, check=False
        )
    finally:
        os.close(read_end)
        os.close(write_end)
    return (done.stdout + done.stderr).decode(errors="replace")


def visit(shop: Open, client: str, version: str, bundle: Path | None = None, *more: str) -> str:
    """Everything that a careful client prints, which sends a request for the account if it gets that far."""
    trusted = shop.issued.ca_pem
    return talk(tls_clients.command(client, shop.port, version, bundle, ca=trusted, verify=cast.SHOP_NAME), *more)


# --- what its customers see ---


@pytest.mark.parametrize("version", VERSIONS)
def test_curl_verifies_the_shop_and_is_served(shop: Open, version: str) -> None:
    answer = curl(shop, version, "--cert", shop.issued.client_pem)
    assert (answer.exit_status, answer.status, answer.body) == (0, 200, ANSWER), answer.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("client", "trusts"), [("openssl", "Verify return code: 0 (ok)"), ("gnutls-cli", "The certificate is trusted")]
)
def test_other_clients_verify_the_shop_and_are_served(shop: Open, client: str, trusts: str, version: str) -> None:
    printed = visit(shop, client, version, shop.issued.client_pem)
    assert trusts in printed
    assert '{"customer": "alice", "balance": 0}' in printed


@pytest.mark.parametrize("version", VERSIONS)
def test_it_takes_a_self_signed_certificate_too(shop: Open, version: str) -> None:
    answer = curl(shop, version, "--cert", shop.issued.client_self_signed_pem)
    assert (answer.status, answer.body) == (200, ANSWER)


def test_openssl_takes_the_shops_certificate_for_a_server_of_its_names(handed_out: pki.Issued) -> None:
    assert handed_out.shop_pem
    for name in ("shop.example", "rogue-server", "localhost"):
        call = f"verify -x509_strict -purpose sslserver -verify_hostname {name} -CAfile {handed_out.ca_pem}".split()
        words = [program("openssl"), *call, str(handed_out.shop_pem)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.endswith(": OK\n"), done.stderr
    assert handed_out.shop_pem.stat().st_mode & 0o077 == 0


def test_it_is_not_the_bank(shop: Open) -> None:
    command = tls_clients.command(
        "openssl", shop.port, "1.3", shop.issued.client_pem, ca=shop.issued.ca_pem, verify=cast.SERVER_NAME
    )
    assert "hostname mismatch" in talk(command).lower()
    assert shop.kept() == []


def test_other_pages_are_not_there(shop: Open) -> None:
    answer = curl(shop, "1.3", "--cert", shop.issued.client_pem, path="/transfer")
    assert (answer.status, answer.body) == (404, {"error": "there is no such page"})


@pytest.mark.parametrize(("version", "alert"), [("1.2", 40), ("1.3", 116)])
def test_without_a_certificate_nobody_is_served(shop: Open, version: str, alert: int) -> None:
    """RFC 5246 section 7.4.6: handshake_failure; RFC 8446 section 4.4.2.4: certificate_required."""
    assert f"SSL alert number {alert}" in visit(shop, "openssl", version)
    assert curl(shop, version).status == 0
    assert f"[{alert}]" in visit(shop, "gnutls-cli", version)
    assert shop.kept() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_proof_is_refused_and_nothing_kept(shop: Open, version: str) -> None:
    """RFC 5246 section 7.4.8, RFC 8446 section 4.4.3: a thief cannot pass for alice at the shop either."""
    foreign = proof.prove_with(ec.generate_private_key(ec.SECP256R1()))
    client = our_client(shop.issued.client, foreign, versions=(NUMBERS[version],))
    assert asyncio.run(refusal(shop.port, client)) == Failed(51, "server", "the server sent alert decrypt_error (51)")
    assert shop.kept() == []


# --- what it keeps ---


def python_logs_in(shop: Open, version: str, bundle: Path | None = None) -> bytes:
    context = client_context(shop.issued, bundle or shop.issued.client_pem, version)
    address = ("127.0.0.1", shop.port)
    with (
        socket.create_connection(address, PATIENCE_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as tls,
    ):
        tls.sendall(ACCOUNT)
        answer = b""
        while more := tls.recv(1 << 16):
            answer += more
        return answer


@pytest.mark.parametrize("version", VERSIONS)
def test_it_keeps_certificate_proof_and_what_the_proof_was_made_over(shop: Open, version: str) -> None:
    python_logs_in(shop, version)
    (kept,) = shop.reports.wait_for(CertificateCaptured)
    assert (kept.leak, kept.tls, kept.server) == ("rogue-server", version, f"127.0.0.1:{shop.port}")
    assert kept.sha256 == shop.issued.client.sha256
    assert_proven(kept)
    stolen = shop.folder / "stolen" / "alice.pem"
    wait_until(lambda: stolen.exists() and stolen.read_bytes() == shop.issued.client.certificate_pem(), "alice.pem")


def test_it_keeps_the_same_of_a_handshake_with_a_retry(shop: Open) -> None:
    """RFC 8446 section 4.1.4: a HelloRetryRequest, because the first key share is of a group that is not had here."""
    printed = visit(shop, "openssl", "1.3", shop.issued.client_pem, "-groups", "X448:P-256")
    assert "HTTP/1.1 200" in printed
    (kept,) = shop.reports.wait_for(CertificateCaptured)
    assert [bytes.fromhex(raw)[0] for raw in kept.transcript][:4] == [1, 2, 1, 2]
    assert_proven(kept)
    hello, answered = (bytes.fromhex(kept.transcript[i]) for i in (0, 3))
    assert kept.client_random == hello[6:38].hex()
    assert kept.server_random == answered[6:38].hex()


def assert_proven(kept: CertificateCaptured) -> None:
    """The same code that explains refusals finds that the proof fits what was kept."""
    sent = (*kept.transcript, kept.proof or "")
    own = (kept.message, kept.proof)
    steps = tuple(("client" if raw in own else "server", "a message", raw) for raw in sent)
    reason = proof_reason(kept, tried(kept.tls, steps))
    assert reason
    assert reason.difference is None
    assert reason.fits_captured
    assert reason.fits_server


def tried(tls: str, steps: tuple[tuple[str, str, str], ...]) -> MoveTried:
    nothing = {"alert": None, "alert_by": None, "status": None, "body": None, "stolen": 0, "error": None}
    return MoveTried(
        leak="rogue-server",
        customer="alice",
        server="",
        local="",
        seen_at="",
        move="replay-proof",
        tls=tls,
        round=1,
        outcome=REFUSED,
        steps=steps,
        milliseconds=0.0,
        **nothing,  # type: ignore[arg-type]
    )


def test_a_customer_that_leaves_without_a_word_has_shown_it_all_the_same(shop: Open) -> None:
    context = client_context(shop.issued, shop.issued.client_pem, "1.2")
    with socket.create_connection(("127.0.0.1", shop.port), PATIENCE_SECONDS) as connection:
        context.wrap_socket(connection, server_hostname="localhost").close()
    assert shop.reports.wait_for(CertificateCaptured)


# --- what it puts up with ---


@contextmanager
def impatient_shop(issued: pki.Issued, folder: Path) -> Iterator[Open]:
    """A shop with little time for each client, which still serves customers in the end."""
    with open_shop(issued, folder, ShopLimits(seconds=1.0, linger_seconds=0.2)) as shop:
        yield shop
        assert b"200" in python_logs_in(shop, "1.3")
        assert shop.reports.all(Trouble) == []


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(3000),
        b"\x16\x03\x01\x00\x01\x01" * 20_000,
        b"\x15\x03\x03\x00\x02\x01\x00" * 20_000,
    ],
    ids=["nothing", "half a header", "no TLS", "noise", "crumbs", "alerts"],
)
def test_whatever_comes_it_goes_on(handed_out: pki.Issued, tmp_path: Path, sent: bytes) -> None:
    with (
        impatient_shop(handed_out, tmp_path / "run") as shop,
        socket.create_connection(("127.0.0.1", shop.port), PATIENCE_SECONDS) as connection,
        suppress(ConnectionError),
    ):
        connection.sendall(sent)
        while connection.recv(1 << 16):
            pass


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /account HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000,
        b"HEAD /account",
    ],
    ids=["no HTTP", "no host", "a long header", "half a request"],
)
def test_a_request_that_is_none_is_let_go(handed_out: pki.Issued, tmp_path: Path, request_: bytes) -> None:
    with impatient_shop(handed_out, tmp_path / "run") as shop:
        context = client_context(shop.issued, shop.issued.client_pem, "1.2")
        with socket.create_connection(("127.0.0.1", shop.port), PATIENCE_SECONDS) as connection:
            tls = context.wrap_socket(connection, server_hostname="localhost")
            with suppress(ConnectionError):  # it need not read a request to its end
                tls.sendall(request_)
                assert tls.recv(1 << 16) == b""


def test_more_customers_than_it_has_room_for_are_turned_away(handed_out: pki.Issued, tmp_path: Path) -> None:
    with open_shop(handed_out, tmp_path / "run", ShopLimits(connections=2, seconds=PATIENCE_SECONDS)) as shop:
        address = ("127.0.0.1", shop.port)
        waiting = [socket.create_connection(address, PATIENCE_SECONDS) for _ in range(5)]
        wait_until(lambda: sum(map(is_over, waiting)) == 3, "three to be turned away")
        for connection in waiting:
            connection.close()


def is_over(connection: socket.socket) -> bool:
    """Whether the other end has closed it, as far as is known now."""
    connection.setblocking(False)
    try:
        return connection.recv(1 << 10) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# --- how long it is open ---


async def until_closed(
    issued: pki.Issued, folder: Path, visit: Callable[[Open], object], *kinds: CertificateKind
) -> Reports:
    """Keeps a shop until it closes by itself, with visitors; what it reported. TimeoutError if it stays open."""
    reports = Reports()
    keeping = asyncio.create_task(
        run_shop(Address("127.0.0.1", 0), bundle_of(issued), campaign(reports, folder, *kinds), reports)
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (positions := reports.all(PositionTaken)):
            await asyncio.sleep(0.01)
        port = int(positions[0].detail[0].partition(",")[2].partition(":")[2].split(",")[0])
        await asyncio.to_thread(visit, Open(issued, port, reports, folder))
        await keeping
    return reports


def test_it_closes_once_it_has_all_that_it_can_use(
    handed_out: pki.Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rogue_server, "GRACE_SECONDS", 10 * PATIENCE_SECONDS)

    def visit(shop: Open) -> None:
        for file in (shop.issued.client_pem, shop.issued.client_self_signed_pem):
            for version in VERSIONS:
                assert b"200" in python_logs_in(shop, version, file)

    reports = asyncio.run(
        until_closed(handed_out, tmp_path / "run", visit, CertificateKind.FROM_CA, CertificateKind.SELF_SIGNED)
    )
    assert len(reports.all(CertificateCaptured)) == 4
    assert len(reports.all(PositionLeft)) == 1


def test_it_does_not_wait_for_ever_for_the_other_version(
    handed_out: pki.Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rogue_server, "GRACE_SECONDS", 0.3)
    reports = asyncio.run(
        until_closed(handed_out, tmp_path / "run", lambda shop: python_logs_in(shop, "1.2"), CertificateKind.FROM_CA)
    )
    assert [one.tls for one in reports.all(CertificateCaptured)] == ["1.2"]


# --- as a part ---


def call(handed_out: pki.Issued, folder: Path, listen: str, *more: str) -> list[str]:
    options = [f"--listen={listen}", f"--shop-bundle={handed_out.shop_pem}", f"--folder={folder}"]
    return ["rogue-server", "--gateway=127.0.0.1:9", *options, *more]


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        *((f"{host}:0", "out of scope") for host in ("0.0.0.0", "192.0.2.1", "shop.example", "[::]")),
        *((address, "give HOST:PORT") for address in ("8443", "localhost:", "localhost:https", "localhost:99999")),
    ],
)
def test_it_opens_at_an_address_on_loopback_only(handed_out: pki.Issued, tmp_path: Path, listen: str, why: str) -> None:
    assert_bad_input("attacker", call(handed_out, tmp_path / "run", listen), why)


def test_a_port_that_is_taken(handed_out: pki.Issued, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert_bad_input("attacker", call(handed_out, tmp_path / "run", address), f"another program uses {address}: ")


def test_a_bundle_that_is_none(handed_out: pki.Issued, tmp_path: Path) -> None:
    options = call(handed_out, tmp_path / "run", "127.0.0.1:0", f"--shop-bundle={handed_out.ca_pem}")
    assert_bad_input("attacker", options, "holds no private key")


def test_alice_as_she_is_logs_in_there(handed_out: pki.Issued, tmp_path: Path) -> None:
    """The unchanged client, which verifies the server, as two parts really run."""
    process = start_part("attacker", *call(handed_out, tmp_path / "run", "localhost:0", "--tls=1.2", "--tls=1.3"))
    try:
        (taken,) = wait_for_event(process, tmp_path / "run" / "events.jsonl", PositionTaken)
        port = taken.detail[0].partition("127.0.0.1:")[2].split(",")[0]
        bundle = (f"--bundle={handed_out.client_pem}", f"--ca={handed_out.ca_pem}", f"--folder={tmp_path / 'alice'}")
        done = run_part("victim_client", f"--gateway=shop=https://localhost:{port}", *bundle, "--times=1")
        assert (done.returncode, done.stderr) == (0, "")
        logins = [event for event in events_in(tmp_path / "alice" / "events.jsonl") if isinstance(event, LoggedIn)]
        assert {(login.tls, login.balance) for login in logins} == {("1.2", 0), ("1.3", 0)}
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()
