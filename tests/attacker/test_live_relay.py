"""The live relay: a careless client's fresh proof, passed on at once into mallory's own handshake with the real server.

Every server is one that we did not write (OpenSSL, behind the bank's gateways or on its own), or the gateways that are
broken on purpose; the clients are the lab's own, curl, OpenSSL's and GnuTLS's. The controls give mallory a private key,
and the very same code gets in.
"""

import asyncio
import contextlib
import io
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import tls_clients
from attacker.leak import live_relay
from attacker.leak.live_relay import Impersonation, LiveRelay, as_it_is, look_alike
from attacker.position.tcp_relay import Forward
from attacker.scope import OutOfScope
from bank_servers import BANK_SERVERS
from event_loops import in_event_loop
from lab.address import Address
from lab.catalogue.cast import CARELESS_CLIENT, VICTIM_CLIENT
from lab.catalogue.gateways import BY_CHOICE
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED
from lab.catalogue.plan import full_matrix
from lab.events.log import EventLog
from lab.events.run import open_run
from lab.events.types import (
    ClientAuthenticated,
    ClientRefused,
    GatewayListening,
    LoggedIn,
    LoginFailed,
    MoneyMoved,
    ProofRelayed,
    Trouble,
)
from lab.judging.relays import EITHER_SHARE, SERVERS_KEY, RelayedProof
from lab.judging.verdicts import JudgedRun
from lab.staging import embedded, pki
from lab.story.relays import tell_relay
from lab.tls import extensions as ext
from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.messages import ClientHello, parse
from lab.views import terminal
from programs import wait_until
from tls_peers import s_server, serving, write_files
from victim_client.login import Credentials, GatewayUrl, load_credentials, log_in, log_key_material
from victims import (
    GATEWAY_IDS,
    GATEWAYS_IN_TLS,
    PATIENCE_SECONDS,
    Reports,
    Victims,
    alice_at,
    assert_bad_input,
    bundle_at,
    in_a_loop,
    running_victims,
    version_named,
)

KINDS = {"1.2": ("1.2", "ECDHE"), "1.2 with RSA key transport": ("1.2", "RSA"), "1.3": ("1.3", "ECDHE")}
NO_EXTENDED_MASTER_SECRET = 1
"""SSL_OP_NO_EXTENDED_MASTER_SECRET, for which Python has no name."""
DECRYPT_ERROR = AlertDescription.DECRYPT_ERROR


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    """The bank, whose OpenSSL gateways do RSA key transport too."""
    folder = tmp_path_factory.mktemp("bank")
    folders = folder / "public", folder / "server", folder / "client"
    issued = pki.issue(*folders, attacker=folder / "attacker", rsa_transport=True)
    with running_victims(issued, folder / "victim-server", balance=1_000_000) as running:
        yield running


class Relaying:
    """A running relay in front of one server, and what it reports."""

    def __init__(self, port: int, reports: Reports) -> None:
        self.port = port
        self.reports = reports

    def relayed(self) -> ProofRelayed:
        return self.reports.wait_for(ProofRelayed)[-1]


@contextlib.contextmanager
def relaying(target: int, impersonation: Impersonation = live_relay.WITHOUT_KEYS) -> Iterator[Relaying]:
    reports = Reports()

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[int]:
        position = LiveRelay("alice", reports, impersonation)
        try:
            (line,) = await position.start([Forward(Address("127.0.0.1", 0), Address("127.0.0.1", target))])
            yield int(line.split()[0].rpartition(":")[2])
        finally:
            await position.close()

    with in_a_loop(running) as port:
        yield Relaying(port, reports)


def careless(bank: Victims, gateway_id: str, exchange: str, forward: bool = False) -> Credentials:
    """Alice, who does not verify the server."""
    ciphers = tls_clients.RSA_TRANSPORT if exchange == "RSA" else None
    return load_credentials(
        bundle_at(bank.issued, gateway_id), None, bank.issued.ca_pem, forward, careless=True, ciphers=ciphers
    )


def log_in_at(port: int, credentials: Credentials, version: str) -> LoggedIn | LoginFailed:
    return log_in(
        GatewayUrl("careless", f"https://localhost:{port}", "localhost", port),
        credentials,
        version_named(version),
    )


def relay_at(
    bank: Victims, gateway_id: str, kind: str, impersonation: Impersonation = live_relay.WITHOUT_KEYS
) -> ProofRelayed:
    """What comes of alice's careless login at mallory's, in the place of a gateway of the bank."""
    version, exchange = KINDS[kind]
    with relaying(bank.port(gateway_id), impersonation) as relay:
        log_in_at(relay.port, careless(bank, gateway_id, exchange), version)
        found = relay.relayed()
    assert (found.tls, found.key_exchange) == (version, exchange)
    return found


def gateway_report(bank: Victims, relayed: ProofRelayed) -> ClientRefused | ClientAuthenticated:
    """The gateway's report on the relay's connection, once it is there."""

    def found() -> list[ClientRefused | ClientAuthenticated]:
        reports: list[ClientRefused | ClientAuthenticated] = [*bank.reports.all(ClientRefused)]
        reports += bank.reports.all(ClientAuthenticated)
        return [one for one in reports if (one.peer, one.tls) == (relayed.local, relayed.tls)]

    wait_until(found, f"a report on {relayed.local}")
    return found()[-1]


def shown(bank: Victims, tmp_path: Path, *events: ProofRelayed) -> list[RelayedProof]:
    """Relays as the lab reads them off a run."""
    for relayed in events:
        if relayed.outcome in (ACCEPTED, REFUSED):
            gateway_report(bank, relayed)
    banks = EventLog(tmp_path / "run" / "victim-server", "victim-server")
    for kind in (GatewayListening, ClientRefused, ClientAuthenticated):
        for event in bank.reports.all(kind):
            banks.report(event)
    banks.close()
    log = EventLog(tmp_path / "run" / "attacker", "attacker")
    for relayed in events:
        log.report(relayed)
    log.close()
    return JudgedRun(open_run(tmp_path / "run")).relayed_proofs


# --- refused where the proof is checked ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gateway_id", ["mtls@openssl", "pinned-mtls@openssl"])
def test_a_fresh_proof_is_refused_where_proofs_are_checked(bank: Victims, gateway_id: str, kind: str) -> None:
    relayed = relay_at(bank, gateway_id, kind)
    assert relayed.outcome == REFUSED
    assert (relayed.alert, relayed.alert_by) == (DECRYPT_ERROR, "server")
    assert relayed.status is None
    report = gateway_report(bank, relayed)
    assert isinstance(report, ClientRefused)
    assert (report.gateway, report.tls, report.reason, report.alert) == (
        gateway_id,
        relayed.tls,
        "bad signature",
        DECRYPT_ERROR,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gateway_id", ["mtls@openssl", "pinned-mtls@openssl"])
def test_the_fresh_proof_is_right_and_of_another_handshake(
    bank: Victims, tmp_path: Path, gateway_id: str, kind: str
) -> None:
    """It is the very signature that alice made, over the very handshake that she saw, and no other."""
    (relay,) = shown(bank, tmp_path, relay_at(bank, gateway_id, kind))
    assert relay.reason.fits_captured
    assert not relay.reason.fits_server
    assert relay.reason.captured_hash != relay.reason.server_hash
    assert relay.takes
    assert relay.as_expected


def test_with_rsa_key_transport_both_connections_have_the_same_keys(bank: Victims) -> None:
    assert relay_at(bank, "mtls@openssl", "1.2 with RSA key transport").same_keys
    assert not relay_at(bank, "mtls@openssl", "1.2").same_keys
    assert not relay_at(bank, "mtls@openssl", "1.3").same_keys


# --- what differs ---


DIFFERING = {
    "1.2": {
        ("Certificate", "certificate 1"),
        ("ServerKeyExchange", "point"),
        ("ServerKeyExchange", "signature"),
        ("ClientKeyExchange", "exchange_keys"),
    },
    "1.2 with RSA key transport": {
        ("ClientHello", "extended_master_secret"),
        ("Certificate", "certificate 1"),
        ("ClientKeyExchange", "exchange_keys"),
    },
    "1.3": {
        ("ClientHello", "key_share"),
        ("ServerHello", "key_share"),
        ("Certificate", "certificate 1"),
        ("CertificateVerify", "signature"),
        ("Finished", "verify_data"),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_differs_but_what_takes_a_key(bank: Victims, tmp_path: Path, kind: str) -> None:
    (relay,) = shown(bank, tmp_path, relay_at(bank, "mtls@openssl", kind))
    assert {(one.message, one.field) for one in relay.mismatches} == DIFFERING[kind]
    chosen = {one.field for one in relay.mismatches if not one.why.takes}
    assert chosen <= {"extended_master_secret"}
    assert relay.takes == ((SERVERS_KEY,) if "RSA" in kind else (EITHER_SHARE,))
    assert {"CertificateRequest", "the client's Certificate"} <= set(relay.alike)
    assert "the server's Certificate" not in relay.alike
    for one in relay.mismatches:
        assert one.signed != one.checked
        assert one.why.reason


def test_the_bytes_are_where_they_are_said_to_be(bank: Victims, tmp_path: Path) -> None:
    (relay,) = shown(bank, tmp_path, relay_at(bank, "mtls@openssl", "1.2"))
    signed, checked = (bytes.fromhex("".join(raws)) for raws in (relay.event.signed, relay.event.checked))
    assert signed != checked
    for one in relay.mismatches:
        assert one.signed
        assert one.checked
        assert bytes.fromhex(one.signed) in signed[one.signed_at :]
        assert bytes.fromhex(one.checked) in checked[one.checked_at :]


def test_the_reasons_can_be_told(bank: Victims, tmp_path: Path) -> None:
    found = [relay_at(bank, "mtls@openssl", kind) for kind in KINDS]
    shown(bank, tmp_path, *found)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for relay in JudgedRun(open_run(tmp_path / "run")).relayed_proofs:
            terminal.show(tell_relay(relay))
    told = printed.getvalue()
    assert told.count("Relayed to mtls") == len(KINDS)
    assert "the same on both connections" in told
    assert "after " in told
    assert SERVERS_KEY in told
    assert EITHER_SHARE in told
    assert "bad signature" in told


# --- the controls: with a key the very same code gets in ---


def server_bundle(bank: Victims, chain: tuple[bytes, ...]) -> Bundle:
    """The certificate that the real server has just shown, with its private key."""
    for file in (bank.issued.server_pem, bank.issued.server_rsa_pem):
        assert file
        der = ssl.PEM_cert_to_DER_cert("-----BEGIN CERTIFICATE" + file.read_text().split("-----BEGIN CERTIFICATE")[1])
        if der == chain[0]:
            return Bundle(chain, parse_bundle(file.read_bytes(), None, str(file), datetime.now(UTC)).key)
    raise AssertionError("the server showed a certificate that is none of its own")


def with_servers_key(bank: Victims) -> Impersonation:
    return Impersonation(lambda chain: server_bundle(bank, chain), as_it_is)


def with_clients_key(bank: Victims, gateway_id: str) -> Impersonation:
    return Impersonation(look_alike, lambda captured: proof.prove_with(alice_at(bank.issued, gateway_id).key))


def without_extension(credentials: Credentials) -> Credentials:
    """The same client, without extended_master_secret, as clients were before RFC 7627."""
    for context in credentials.contexts.values():
        context.options |= NO_EXTENDED_MASTER_SECRET
    return credentials


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gateway_id", ["mtls@openssl", "pinned-mtls@openssl"])
def test_with_alices_key_the_same_relay_gets_in(bank: Victims, gateway_id: str, kind: str) -> None:
    relayed = relay_at(bank, gateway_id, kind, with_clients_key(bank, gateway_id))
    assert relayed.outcome == ACCEPTED
    assert relayed.status == 200
    assert relayed.same_keys == (KINDS[kind][1] == "RSA")


def test_both_ends_key_logs_have_the_same_line(bank: Victims, tmp_path: Path) -> None:
    """Measured at the victims, not at mallory: alice's OpenSSL and the bank's wrote the same master secret down.

    The server's OpenSSL writes it once it has sent its Finished, so alice's key is lent to let it come to that.
    """
    credentials = careless(bank, "mtls@openssl", "RSA")
    log_key_material(credentials, tmp_path / "keys.log")
    with relaying(bank.port("mtls@openssl"), with_clients_key(bank, "mtls@openssl")) as relay:
        log_in_at(relay.port, credentials, "1.2")
        relayed = relay.relayed()
    assert relayed.outcome == ACCEPTED
    (line,) = [one for one in (tmp_path / "keys.log").read_text().splitlines() if one.startswith("CLIENT_RANDOM")]
    assert line.split()[1] == relayed.client_random
    assert line in (bank.folder / "keys.log").read_text().splitlines()


def test_a_client_without_the_extension_gives_the_same_hello(bank: Victims, tmp_path: Path) -> None:
    """Then the two transcripts differ in the server's certificate and in what is encrypted to it, and nothing else."""
    with relaying(bank.port("mtls@openssl")) as relay:
        log_in_at(relay.port, without_extension(careless(bank, "mtls@openssl", "RSA")), "1.2")
        relayed = relay.relayed()
    (found,) = shown(bank, tmp_path, relayed)
    assert (relayed.outcome, relayed.same_keys) == (REFUSED, True)
    assert {(one.message, one.field) for one in found.mismatches} == {
        ("Certificate", "certificate 1"),
        ("ClientKeyExchange", "exchange_keys"),
    }
    assert found.takes == (SERVERS_KEY,)


def test_with_the_servers_key_alices_own_proof_fits(bank: Victims, tmp_path: Path) -> None:
    """The mechanism works: where the transcripts are the same, the relayed proof is accepted as it is."""
    with relaying(bank.port("mtls@openssl"), with_servers_key(bank)) as relay:
        log_in_at(relay.port, without_extension(careless(bank, "mtls@openssl", "RSA")), "1.2")
        relayed = relay.relayed()
    (found,) = shown(bank, tmp_path, relayed)
    assert relayed.signed == relayed.checked
    assert found.mismatches == ()
    assert found.reason.fits_server
    assert (relayed.outcome, relayed.status, relayed.same_keys) == (ACCEPTED, 200, True)


def test_one_extension_left_out_is_enough_for_a_refusal(bank: Victims, tmp_path: Path) -> None:
    """Even with the server's key: a signature over all messages forgives no byte."""
    (found,) = shown(
        bank, tmp_path, relay_at(bank, "mtls@openssl", "1.2 with RSA key transport", with_servers_key(bank))
    )
    assert [(one.message, one.field) for one in found.mismatches] == [("ClientHello", "extended_master_secret")]
    assert (found.outcome, found.alert) == (REFUSED, DECRYPT_ERROR)


@pytest.mark.parametrize("kind", ["1.2", "1.3"])
def test_where_keys_are_ephemeral_the_servers_key_is_not_enough(bank: Victims, tmp_path: Path, kind: str) -> None:
    (found,) = shown(bank, tmp_path, relay_at(bank, "mtls@openssl", kind, with_servers_key(bank)))
    assert (found.outcome, found.alert) == (REFUSED, DECRYPT_ERROR)
    assert "the server's Certificate" in found.alike
    assert {(one.message, one.field) for one in found.mismatches} == DIFFERING[kind] - {
        ("Certificate", "certificate 1")
    }


# --- where it gets in ---


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(
    "gateway_id", ["certificate-only@instrument", "pinned-certificate-only@instrument", "ignored-proof@instrument"]
)
def test_where_the_proof_is_not_checked_the_relay_simply_gets_in(bank: Victims, gateway_id: str, version: str) -> None:
    before = len(bank.reports.all(MoneyMoved))
    relayed = relay_at(bank, gateway_id, version)
    assert (relayed.outcome, relayed.status, relayed.stolen) == (ACCEPTED, 200, 100)
    assert '"customer":"alice"' in (relayed.body or "")
    assert len(bank.reports.wait_for(MoneyMoved, before + 1)) == before + 1


def test_a_server_that_asks_for_nothing_gets_nothing(bank: Victims, tmp_path: Path) -> None:
    (found,) = shown(bank, tmp_path, relay_at(bank, "forwarded-header@openssl", "1.2"))
    assert found.outcome == NOT_APPLICABLE
    assert found.event.error
    assert found.as_expected


# --- other clients ---


def run_client(name: str, bank: Victims, port: int, kind: str, *more: str) -> None:
    version, exchange = KINDS[kind]
    bundle = bank.issued.client_pem
    command = tls_clients.command(name, port, version, bundle, rsa_transport=exchange == "RSA")
    subprocess.run([*command, *more], input=b"Q\n", capture_output=True, timeout=PATIENCE_SECONDS, check=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", tls_clients.CLIENTS)
def test_it_makes_no_difference_whose_client_is_careless(bank: Victims, tmp_path: Path, client: str, kind: str) -> None:
    with relaying(bank.port("mtls@openssl")) as relay:
        run_client(client, bank, relay.port, kind)
        relayed = relay.relayed()
    assert (relayed.tls, relayed.key_exchange) == KINDS[kind]
    assert relayed.same_keys == (relayed.key_exchange == "RSA")
    (found,) = shown(bank, tmp_path, relayed)
    assert found.as_expected
    assert found.reason.fits_captured
    assert {(one.message, one.field) for one in found.mismatches} >= DIFFERING[kind] - {
        ("ClientHello", "extended_master_secret")
    }


@pytest.mark.parametrize("client", tls_clients.CLIENTS)
def test_any_careless_client_loses_its_account_where_no_proof_is_asked_for(bank: Victims, client: str) -> None:
    with relaying(bank.port("certificate-only@instrument")) as relay:
        run_client(client, bank, relay.port, "1.2")
        assert relay.relayed().outcome == ACCEPTED


def test_curl_at_its_ease_offers_both_versions_and_is_relayed_in_one(bank: Victims) -> None:
    with relaying(bank.port("mtls@openssl")) as relay:
        run_client("curl", bank, relay.port, "1.3", "--tlsv1.2")
        relayed = relay.relayed()
    assert (relayed.tls, relayed.outcome, relayed.alert) == ("1.3", REFUSED, DECRYPT_ERROR)


def relayed_to_s_server(bank: Victims, tmp_path: Path, servers_groups: str, clients_groups: str) -> Relaying:
    """A careless OpenSSL client's connection in TLS 1.3, relayed to another OpenSSL, with these groups."""
    files = write_files(tmp_path, bank.issued.authority, bank.issued.server, bank.issued.client)
    server = s_server(files, "-tls1_3", "-groups", servers_groups)
    with serving(tmp_path / "s_server", *server) as port, relaying(port) as relay:
        run_client("openssl", bank, relay.port, "1.3", "-groups", clients_groups)
        relayed = relay.relayed()
    assert (relayed.outcome, relayed.alert) == (REFUSED, DECRYPT_ERROR)
    return relay


def test_a_server_that_asks_for_another_key_share_is_no_way_in(bank: Victims, tmp_path: Path) -> None:
    """HelloRetryRequest, on both connections."""
    relayed = relayed_to_s_server(bank, tmp_path, "X25519", "P-256:X25519").relayed()
    assert bytes.fromhex(relayed.signed[0])[0] == 254  # the first hello's hash (RFC 8446 section 4.4.1)
    port = int(relayed.server.rpartition(":")[2])
    log = EventLog(tmp_path / "run" / "victim-server", "victim-server")
    log.report(GatewayListening("mtls@openssl", "127.0.0.1", port, ("1.3",)))
    log.close()
    log = EventLog(tmp_path / "run" / "attacker", "attacker")
    log.report(relayed)
    log.close()
    (found,) = JudgedRun(open_run(tmp_path / "run")).relayed_proofs
    assert found.reason.fits_captured
    assert not found.reason.fits_server


def test_a_group_that_the_instrument_does_not_have_is_left_to_the_client(bank: Victims, tmp_path: Path) -> None:
    """Like X25519MLKEM768, which OpenSSL 3.5 sends a key share of and asks for wherever it is offered."""
    relayed = relayed_to_s_server(bank, tmp_path, "X448:X25519", "X448:X25519").relayed()
    hello = parse(bytes.fromhex(relayed.checked[0]))
    assert isinstance(hello, ClientHello)
    assert ext.read_number_list(hello.extensions, ext.SUPPORTED_GROUPS) == (29,)


@pytest.mark.parametrize("server", BANK_SERVERS)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curls_fresh_proof_is_relayed_to_real_servers_and_refused(
    bank: Victims, tmp_path: Path, server: str, version: str
) -> None:
    """Whatever else curl offers and the server chooses: HTTP/2, suites and groups that the instrument cannot do."""
    files = write_files(tmp_path, bank.issued.authority, bank.issued.server, bank.issued.client)
    command = BANK_SERVERS[server](files, tmp_path, [version])
    with serving(tmp_path / "output", *command) as port, relaying(port) as relay:
        run_client("curl", bank, relay.port, version)
        relayed = relay.relayed()
    assert (relayed.tls, relayed.outcome, relayed.alert_by) == (version, REFUSED, "server")
    assert relayed.proof
    assert not relay.reports.all(Trouble)


# --- clients that give nothing ---


def test_a_client_that_verifies_proves_nothing_to_mallory(bank: Victims) -> None:
    verifying = load_credentials(bank.issued.client_pem, None, bank.issued.ca_pem)
    with relaying(bank.port("mtls@openssl")) as relay:
        outcome = log_in_at(relay.port, verifying, "1.2")
        (trouble,) = relay.reports.wait_for(Trouble)
        assert relay.reports.all(ProofRelayed) == []
    assert isinstance(outcome, LoginFailed)
    assert "certificate is not right" in outcome.reason
    assert "the client sent alert" in trouble.what


def test_a_client_without_a_certificate_gives_none(bank: Victims) -> None:
    with relaying(bank.port("mtls@openssl")) as relay:
        command = tls_clients.command("openssl", relay.port, "1.2")
        subprocess.run(command, input=b"Q\n", capture_output=True, timeout=PATIENCE_SECONDS, check=False)
        (trouble,) = relay.reports.wait_for(Trouble)
    assert "presented no certificate" in trouble.what


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00"])
def test_what_is_no_client_is_reported_and_the_relay_goes_on(bank: Victims, said: bytes) -> None:
    with relaying(bank.port("certificate-only@instrument")) as relay:
        with socket.create_connection(("127.0.0.1", relay.port), PATIENCE_SECONDS) as connection:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            relay.reports.wait_for(Trouble)
        log_in_at(relay.port, careless(bank, "certificate-only@instrument", "ECDHE"), "1.2")
        assert relay.relayed().outcome == ACCEPTED


def test_a_client_that_says_nothing_is_left_after_a_while(bank: Victims, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_relay, "RELAY_SECONDS", 0.1)
    with (
        relaying(bank.port("mtls@openssl")) as relay,
        socket.create_connection(("127.0.0.1", relay.port), PATIENCE_SECONDS),
    ):
        (trouble,) = relay.reports.wait_for(Trouble)
    assert "took too long" in trouble.what


def test_a_server_that_is_away_is_reported(bank: Victims) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with relaying(port) as relay:
        log_in_at(relay.port, careless(bank, "mtls@openssl", "ECDHE"), "1.2")
        (trouble,) = relay.reports.wait_for(Trouble)
    assert "was not relayed" in trouble.what


@pytest.mark.parametrize(
    ("listen", "target"),
    [(Address("127.0.0.1", 0), Address("192.0.2.1", 443)), (Address("0.0.0.0", 0), Address("127.0.0.1", 443))],
)
@in_event_loop
async def test_it_relays_from_loopback_to_the_lab_only(listen: Address, target: Address) -> None:
    with pytest.raises(OutOfScope, match="out of scope"):
        await LiveRelay("alice", Reports()).start([Forward(listen, target)])


# --- the victims' options ---


def test_rsa_key_transport_is_off_unless_asked_for(tmp_path: Path) -> None:
    issued = pki.issue(tmp_path / "public", tmp_path / "server", tmp_path / "client")
    assert issued.server_rsa_pem is None
    with running_victims(issued, tmp_path / "victim-server") as victims:
        outcome = log_in_at(victims.port("mtls@openssl"), careless(victims, "mtls@openssl", "RSA"), "1.2")
    assert isinstance(outcome, LoginFailed)
    assert "handshake failure" in outcome.reason


def test_with_rsa_key_transport_the_rest_is_as_it_was(bank: Victims) -> None:
    verifying = load_credentials(bank.issued.client_pem, None, bank.issued.ca_pem)
    for version in ("1.2", "1.3"):
        assert isinstance(log_in_at(bank.port("mtls@openssl"), verifying, version), LoggedIn)
    assert isinstance(log_in_at(bank.port("mtls@openssl"), careless(bank, "mtls@openssl", "RSA"), "1.2"), LoggedIn)


def test_an_rsa_server_needs_no_second_bundle(tmp_path: Path) -> None:
    folders = tmp_path / "public", tmp_path / "server", tmp_path / "client"
    issued = pki.issue(*folders, "rsa", rsa_transport=True)
    assert issued.server_rsa_pem == issued.server_pem


def test_only_a_careless_client_chooses_its_cipher_suites(tmp_path: Path) -> None:
    call = ("--bundle=alice.pem", "--ca=ca.pem", "--gateway=mtls=https://localhost:1", f"--folder={tmp_path}")
    options = (*call, f"--ciphers={tls_clients.RSA_TRANSPORT}")
    assert_bad_input("victim_client", options, "--ciphers is for --careless clients only")


def test_rsa_key_transport_takes_an_rsa_key(bank: Victims, tmp_path: Path) -> None:
    issued = bank.issued
    call = ("--port=mtls@openssl=0", f"--bundle={issued.server_pem}", f"--ca={issued.ca_pem}", f"--folder={tmp_path}")
    options = (*call, f"--rsa-transport={issued.server_pem}")
    assert_bad_input("victim_server", options, "takes a bundle with an RSA key")


# --- the whole stage ---

LEFT_OUT = {one.id for one in BY_CHOICE}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    judgement = asyncio.run(embedded.run_embedded(runs, full_matrix(leaks=["live-relay"]), None, lambda run: None))
    assert judgement.errors == ()
    assert [verdict for verdict in judgement.verdicts if not verdict.as_expected] == []
    return runs / judgement.run


def test_the_stage_relays_at_every_gateway_that_asks(judged: Path) -> None:
    found = JudgedRun(open_run(judged)).relayed_proofs
    gateways = {(one.gateway.id, one.event.tls, one.event.key_exchange) for one in found}
    asking = set(GATEWAYS_IN_TLS) - LEFT_OUT
    with_ecdhe = {(gateway_id, version, "ECDHE") for gateway_id in asking for version in ("1.2", "1.3")}
    assert gateways == with_ecdhe | {("mtls@openssl", "1.2", "RSA"), ("pinned-mtls@openssl", "1.2", "RSA")}
    assert all(one.as_expected for one in found)
    assert all(one.gateway for one in found)


def test_the_careless_logins_are_told_apart_from_alices_own(judged: Path) -> None:
    run = open_run(judged)
    own = [recorded.event for recorded in run.events if recorded.part == VICTIM_CLIENT]
    assert {event.gateway for event in own if isinstance(event, LoggedIn)} == set(GATEWAY_IDS) - LEFT_OUT
    for part in (CARELESS_CLIENT, f"{CARELESS_CLIENT}-rsa"):
        logins = [recorded.event for recorded in run.events if recorded.part == part]
        assert not any(isinstance(event, LoggedIn) for event in logins)
        names = {event.gateway for event in logins if isinstance(event, LoginFailed)}
        assert names
        assert not names & set(GATEWAY_IDS)
        assert "CLIENT_RANDOM" in (judged / part / "keys.log").read_text()


def test_a_captured_hello_is_the_clients_own(judged: Path) -> None:
    """What mallory signed nothing of: in TLS 1.2 with ephemeral keys her hello is the client's to the byte."""
    found = next(
        one
        for one in JudgedRun(open_run(judged)).relayed_proofs
        if (one.event.tls, one.event.key_exchange) == ("1.2", "ECDHE")
    )
    assert found.event.signed[0] == found.event.checked[0]
    hello = parse(bytes.fromhex(found.event.signed[0]))
    assert isinstance(hello, ClientHello)
    assert hello.random.hex() == found.event.client_random


def test_a_proof_that_got_in_would_be_a_finding(judged: Path) -> None:
    found = next(one for one in JudgedRun(open_run(judged)).relayed_proofs if one.gateway.id == "mtls@openssl")
    assert not replace(found, event=replace(found.event, outcome=ACCEPTED)).as_expected
