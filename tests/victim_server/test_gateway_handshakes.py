"""The gateways' handshakes: which clients get in, in which version, and what is on the wire when one does not."""

import contextlib
import http.client
import json
import os
import re
import ssl
import stat
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

import flights
from lab.catalogue import plan
from lab.catalogue.cast import NEWCOMERS_NAME
from lab.catalogue.checks import Check
from lab.catalogue.gateways import GATEWAYS, Gateway
from lab.catalogue.implementations import OPENSSL
from lab.events.types import ClientAuthenticated, ClientRefused, Trouble
from lab.staging import pki
from lab.tls.client import Client
from lab.tls.engine import Established, Failed
from lab.tls.proof import Challenge, PrivateKey, Prover, prove_with
from lab.tls.server import ProofSeen
from lab.tls.versions import TLS12, TLS13
from programs import program
from victim_server import openssl
from victim_server.authentication import GatewayFiles
from victim_server.chain import NOT_ISSUED
from victim_server.gateway import NO_ACCOUNT
from victims import (
    FORWARDED,
    PATIENCE_SECONDS,
    Victims,
    alice_at,
    bundle_at,
    client_context,
    connect,
    connect_tls,
    curl,
    gateway,
    gateway_files,
    get_account,
    instrument_at,
    known_as,
    read_all,
    running_victims,
    shake_hands,
    write_bundle,
)

ACCOUNT = {"customer": "alice", "balance": 1000}
IN_TLS = [one for one in GATEWAYS if one.scheme.asks_in_tls]
"""The gateways that ask for the certificate in TLS."""
OF_A_CA = [one for one in IN_TLS if one.scheme.trusts == "ca" and Check.CHAIN in one.scheme.checks]
PINNED = [one for one in IN_TLS if one.scheme.trusts == "pinned"]
STRICT = [one for one in IN_TLS if one.scheme.checks_proof]
"""The gateways that let a client in only with its key."""
BY_OPENSSL = [one for one in STRICT if one.implementation == OPENSSL]
GULLIBLE = [one for one in IN_TLS if one.scheme.proof == "not checked"]


def in_each_version(gateways: Sequence[Gateway]) -> pytest.MarkDecorator:
    """These gateways, each in each version of TLS that it does."""
    return pytest.mark.parametrize(("gateway_id", "version"), [(g.id, str(v)) for g in gateways for v in g.versions])


def each(gateways: Sequence[Gateway]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("gateway_id", [one.id for one in gateways])


def last_words(request: bytes) -> bytes:
    """The same request, as the connection's last."""
    return request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def s_client(victims: Victims, gateway_id: str, *options: str, bundle: Path | None = None) -> str:
    """OpenSSL's own client, with a bundle or without: what it printed."""
    done = subprocess.run(
        [
            *(program("openssl"), "s_client", "-connect", f"localhost:{victims.port(gateway_id)}", "-ign_eof"),
            *("-CAfile", str(victims.issued.ca_pem), "-verify_return_error"),
            *(("-cert", str(bundle), "-key", str(bundle)) if bundle else ()),
            *options,
        ],
        input=last_words(get_account(victims.issued, gateway_id)),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    return done.stdout.decode(errors="replace")


def alices_s_client(victims: Victims, gateway_id: str, *options: str) -> str:
    """The same with alice's bundle."""
    return s_client(victims, gateway_id, *options, bundle=bundle_at(victims.issued, gateway_id))


# --- the other name, for newcomers ---


def as_newcomer(victims: Victims, gateway_id: str, bundle: Path) -> bytes:
    """The answer to a request for the account under the newcomers' name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(bundle)
    with context.wrap_socket(connect(victims, gateway_id), server_hostname=NEWCOMERS_NAME) as connection:
        connection.sendall(last_words(get_account(victims.issued, gateway_id)))
        return read_all(connection)


@each([one for one in IN_TLS if one.scheme.id in one.implementation.newcomers])
def test_a_newcomer_comes_in_with_any_certificate_and_has_no_account(
    victims: Victims, gateway_id: str, tmp_path: Path
) -> None:
    """Not even alice, who has one under the other name."""
    stranger = write_bundle(pki.new_self_signed_client(), tmp_path / "stranger.pem")
    for number, bundle in enumerate((stranger, victims.issued.client_pem), start=1):
        answer = as_newcomer(victims, gateway_id, bundle)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"balance" not in answer
        assert NO_ACCOUNT in victims.reports.wait_for(ClientRefused, number)[-1].reason
    assert victims.reports.all(ClientAuthenticated) == []


def test_a_newcomer_has_to_prove_the_key_too(victims: Victims, tmp_path: Path) -> None:
    client = Client(
        entropy=os.urandom,
        server_name=NEWCOMERS_NAME,
        chain=(victims.issued.client.der,),
        prove=prove_with(pki.new_key("p256")),
    )
    failed, refused = failure(victims, "resumed-elsewhere@instrument", client)
    assert failed.alert == refused.alert == 51


def test_where_there_is_no_other_name_it_changes_nothing(victims: Victims, tmp_path: Path) -> None:
    answer = as_newcomer(victims, "names-only@instrument", victims.issued.client_pem)
    assert b'"customer":"alice"' in answer.replace(b" ", b"")


# --- clients that are let in ---


@in_each_version(GATEWAYS)
def test_curl_gets_in_with_a_pem_bundle(shared: Victims, gateway_id: str, version: str) -> None:
    assert curl(shared, gateway_id, "/account", f"--tlsv{version}", "--tls-max", version).body == ACCOUNT


@in_each_version(IN_TLS)
def test_curl_gets_in_with_a_pkcs12_bundle(shared: Victims, gateway_id: str, version: str) -> None:
    it = shared.issued
    pinned = gateway(gateway_id).scheme.trusts == "pinned"
    bundle = it.client_self_signed_p12 if pinned else it.client_p12
    password = (it.client_self_signed_p12_password if pinned else it.client_p12_password).read_text().strip()
    options = ("--cert-type", "P12", "--pass", password, f"--tlsv{version}", "--tls-max", version)
    assert curl(shared, gateway_id, "/account", *options, bundle=bundle).body == ACCOUNT


@in_each_version(GATEWAYS)
def test_openssl_s_client_gets_in(shared: Victims, gateway_id: str, version: str) -> None:
    said = alices_s_client(shared, gateway_id, f"-tls{version.replace('.', '_')}", "-quiet")
    assert json.loads(said.rpartition("\n")[2]) == ACCOUNT


@in_each_version(GATEWAYS)
def test_gnutls_gets_in(shared: Victims, gateway_id: str, version: str) -> None:
    bundle = str(bundle_at(shared.issued, gateway_id))
    command = [
        *(program("gnutls-cli"), "--port", str(shared.port(gateway_id)), "--x509cafile", str(shared.issued.ca_pem)),
        *("--x509certfile", bundle, "--x509keyfile", bundle, "--logfile", os.devnull),
        *("--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "localhost"),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        assert client.stdin
        assert client.stdout
        client.stdin.write(last_words(get_account(shared.issued, gateway_id)))
        client.stdin.flush()  # and not closed: gnutls-cli leaves at the end of its input, answer or not
        assert json.dumps(ACCOUNT, separators=(",", ":")).encode() in client.stdout.read()


@each([one for one in GATEWAYS if TLS13 in one.versions])
def test_a_client_that_closes_its_side_behind_its_request_is_answered(shared: Victims, gateway_id: str) -> None:
    """RFC 8446 section 6.1. At the end of its input gnutls-cli sends close_notify and waits for the server's."""
    bundle = str(bundle_at(shared.issued, gateway_id))
    command = [
        *(program("gnutls-cli"), "--port", str(shared.port(gateway_id)), "--x509cafile", str(shared.issued.ca_pem)),
        *("--x509certfile", bundle, "--x509keyfile", bundle, "--logfile", os.devnull),
        *("--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3", "localhost"),
    ]
    request = last_words(get_account(shared.issued, gateway_id))
    said = subprocess.run(command, input=request, capture_output=True, timeout=PATIENCE_SECONDS, check=False).stdout
    assert json.dumps(ACCOUNT, separators=(",", ":")).encode() in said


@pytest.mark.parametrize("key_type", plan.KEY_TYPES)
def test_every_type_of_key_gets_in_everywhere(tmp_path: Path, key_type: plan.KeyType) -> None:
    issued = pki.issue(tmp_path / "p", tmp_path / "s", tmp_path / "c", key_type, passwords=True)
    with running_victims(issued, tmp_path / "run") as victims:
        for one in GATEWAYS:
            for version in map(str, one.versions):
                body = curl(victims, one.id, "/account", f"--tlsv{version}", "--tls-max", version).body
                assert body == ACCOUNT, (one.id, version)


@in_each_version(GATEWAYS)
def test_a_client_is_reported_once_a_connection(victims: Victims, gateway_id: str, version: str) -> None:
    with connect_tls(victims, gateway_id, version=version) as connection:
        address = "{}:{}".format(*connection.getsockname())
        assert connection.version() == f"TLSv{version}"
        for _ in range(3):
            connection.sendall(get_account(victims.issued, gateway_id))
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert json.loads(answer.read()) == ACCOUNT
    subject, sha256 = known_as(victims.issued, gateway_id)
    (event,) = victims.reports.all(ClientAuthenticated)
    assert event == ClientAuthenticated(
        gateway_id, address, version, subject, sha256, proof_seen(gateway(gateway_id)), event.connection
    )
    assert len(event.connection) == 64


def proof_seen(one: Gateway) -> str:
    """What a gateway has to report of the proof of an honest client that sends one if it is asked to."""
    if not one.scheme.asks_in_tls:
        return "none received"
    if one.implementation == OPENSSL:
        return "received, checked by OpenSSL, which completed the handshake"
    seen = ProofSeen.UNCHECKED if one.scheme.proof == "not checked" else ProofSeen.VALID
    return seen.value


@each(GATEWAYS)
def test_a_gateway_settles_on_the_newest_version_that_both_sides_know(shared: Victims, gateway_id: str) -> None:
    with connect_tls(shared, gateway_id) as connection:
        assert connection.version() == f"TLSv{gateway(gateway_id).versions[-1]}"


def test_a_retried_hello_is_no_hindrance(victims: Victims) -> None:
    """TLS 1.3's HelloRetryRequest: the client's key share is for another group than the server takes first."""
    said = alices_s_client(victims, "mtls@openssl", "-tls1_3", "-groups", "P-521:X25519", "-quiet")
    assert json.loads(said.rpartition("\n")[2]) == ACCOUNT
    assert victims.reports.all(ClientAuthenticated)[0].tls == "1.3"


@each(GATEWAYS)
def test_requests_may_come_before_the_answers_do(shared: Victims, gateway_id: str) -> None:
    request = get_account(shared.issued, gateway_id)
    with connect_tls(shared, gateway_id) as connection:
        connection.sendall(request + last_words(request))
        assert read_all(connection).count(b'"balance":1000') == 2


@in_each_version(GATEWAYS)
def test_fifty_clients_at_once_get_in(victims: Victims, gateway_id: str, version: str) -> None:
    def log_in(_: int) -> Any:
        with contextlib.closing(connect_tls(victims, gateway_id, version=version)) as connection:
            connection.sendall(get_account(victims.issued, gateway_id))
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return json.loads(answer.read())

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(log_in, range(50))) == [ACCOUNT] * 50
    assert len(victims.reports.all(ClientAuthenticated)) == 50


@in_each_version(GATEWAYS)
def test_the_session_keys_are_logged_for_the_teacher(
    victims: Victims, gateway_id: str, version: str, tmp_path: Path
) -> None:
    context = client_context(victims.issued, bundle_at(victims.issued, gateway_id), version)
    context.keylog_filename = str(tmp_path / "client-keys.log")
    with context.wrap_socket(connect(victims, gateway_id), server_hostname="localhost") as connection:
        connection.sendall(last_words(get_account(victims.issued, gateway_id)))
        read_all(connection)
    key_log = victims.folder / "keys.log"
    hers = [line for line in (tmp_path / "client-keys.log").read_text().splitlines() if not line.startswith("#")]
    needed = [line for line in hers if not line.startswith("EXPORTER_SECRET ")]  # Wireshark does without it
    assert len(needed) == (1 if version == "1.2" else 4)
    assert set(needed) <= set(key_log.read_text().splitlines())
    assert stat.S_IMODE(key_log.stat().st_mode) == 0o640


# --- resumption ---


def resume(
    victims: Victims, gateway_id: str, version: str, options: int = 0, elsewhere: str | None = None
) -> tuple[bool, Any]:
    """Logs in, then again with the session of the first login; whether that was taken, and the second answer.
    `elsewhere` is the gateway of the second login, if that is another."""
    context = client_context(victims.issued, bundle_at(victims.issued, gateway_id), version)
    context.options |= options
    with context.wrap_socket(connect(victims, gateway_id), server_hostname="localhost") as first:
        first.sendall(last_words(get_account(victims.issued, gateway_id)))
        read_all(first)  # in TLS 1.3 the ticket comes after the handshake
        session = first.session
    target = connect(victims, elsewhere or gateway_id)
    with context.wrap_socket(target, server_hostname="localhost", session=session) as second:
        second.sendall(last_words(get_account(victims.issued, elsewhere or gateway_id)))
        answer = read_all(second)
        return bool(second.session_reused), json.loads(answer.rpartition(b"\r\n")[2])


RESUMING = [(g.id, str(v)) for g in IN_TLS for v in g.versions if g.implementation == OPENSSL or v == TLS12]
"""The instrument goes on with sessions of TLS 1.2 only."""


@pytest.mark.parametrize(("gateway_id", "version"), RESUMING)
@pytest.mark.parametrize("options", [0, ssl.OP_NO_TICKET], ids=["ticket", "session ID"])
def test_a_session_resumes_and_the_client_is_who_it_was(
    victims: Victims, gateway_id: str, version: str, options: int
) -> None:
    assert resume(victims, gateway_id, version, options) == (True, ACCOUNT)
    first, second = victims.reports.wait_for(ClientAuthenticated, 2)
    assert replace(second, peer=first.peer, proof=first.proof, connection=first.connection) == first
    assert second.connection != first.connection
    assert second.proof == "none received"
    assert first.sha256 == alice_at(victims.issued, gateway_id).sha256
    assert not victims.reports.all(Trouble)


@pytest.mark.parametrize(("gateway_id", "version"), RESUMING)
def test_openssl_s_client_resumes_a_session_without_certificate_or_key(
    victims: Victims, gateway_id: str, version: str, tmp_path: Path
) -> None:
    session, protocol = str(tmp_path / "session.pem"), f"-tls{version.replace('.', '_')}"
    assert f"New, TLSv{version}" in alices_s_client(victims, gateway_id, protocol, "-sess_out", session)
    said = s_client(victims, gateway_id, protocol, "-sess_in", session)
    assert f"Reused, TLSv{version}" in said
    assert json.dumps(ACCOUNT, separators=(",", ":")) in said
    first, second = victims.reports.wait_for(ClientAuthenticated, 2)
    assert second.sha256 == first.sha256


@each(IN_TLS)
def test_openssl_s_client_reconnects_with_the_same_session(shared: Victims, gateway_id: str) -> None:
    said = alices_s_client(shared, gateway_id, "-tls1_2", "-reconnect")
    assert len(re.findall(r"^New, TLSv1.2", said, re.MULTILINE)) == 1
    assert len(re.findall(r"^Reused, TLSv1.2", said, re.MULTILINE)) == 5


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("options", [0, ssl.OP_NO_TICKET], ids=["ticket", "session ID"])
@pytest.mark.parametrize(
    ("made_at", "used_at"),
    [
        (FORWARDED, "mtls@openssl"),
        (FORWARDED, "pinned-mtls@openssl"),
        ("certificate-only@instrument", "mtls@openssl"),
        ("mtls@openssl", "certificate-only@instrument"),
    ],
)
def test_a_session_does_not_resume_at_another_gateway(
    victims: Victims, version: str, options: int, made_at: str, used_at: str
) -> None:
    """One that was made without a certificate, or without a proof, would otherwise open the gateway that asks for both.
    The client has alice's certificate from the CA at hand, so the second handshake succeeds where that one counts."""
    if used_at != "pinned-mtls@openssl":
        assert resume(victims, made_at, version, options, elsewhere=used_at) == (False, ACCOUNT)
    else:
        with pytest.raises(ssl.SSLError) as failure:
            resume(victims, made_at, version, options, elsewhere=used_at)
        assert flights.alert_in(failure.value) == 48


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_session_does_not_outlive_its_gateway(issued: pki.Issued, tmp_path: Path, version: str) -> None:
    """A gateway that was started anew has new keys for its tickets."""
    context = client_context(issued, issued.client_pem, version)
    session: ssl.SSLSession | None = None
    for _ in range(2):
        with running_victims(issued, tmp_path / "run") as victims:
            target = connect(victims, "mtls@openssl")
            with context.wrap_socket(target, server_hostname="localhost", session=session) as connection:
                connection.sendall(last_words(get_account(issued, "mtls@openssl")))
                read_all(connection)
                session = connection.session
                assert not connection.session_reused


# --- clients that are not let in: what an independent client reads is what the gateway reports ---


def refusal(
    victims: Victims,
    gateway_id: str,
    version: str | None,
    bundle: Path | None,
    alter: Callable[[flights.Client, bytes], bytes] | None = None,
) -> tuple[int | None, ClientRefused]:
    """The alert that Python's TLS decrypts in a handshake that must fail, and the gateway's own report.

    `alter` gets the client's second flight and gives the one to send instead.
    """
    before = len(victims.reports.all(ClientRefused))
    let_in = len(victims.reports.all(ClientAuthenticated))
    key_log = victims.folder / f"client-{before}.log"

    def altered(flight: bytes) -> bytes:
        assert alter
        return alter(client, flight)

    client = flights.Client(client_context(victims.issued, bundle, version), key_log, altered if alter else None)
    read: int | None = None
    with connect(victims, gateway_id) as connection:
        try:
            client.receive(b"")
            while True:
                connection.sendall(client.data_to_send())
                data = connection.recv(1 << 16)
                if not data:
                    break
                client.receive(data)
        except ssl.SSLError as error:
            read = flights.alert_in(error)
    refused = victims.reports.wait_for(ClientRefused, before + 1)[-1]
    assert refused.gateway == gateway_id
    assert len(victims.reports.all(ClientAuthenticated)) == let_in
    return read, refused


@in_each_version(IN_TLS)
def test_no_certificate(shared: Victims, gateway_id: str, version: str) -> None:
    """handshake_failure in TLS 1.2 (RFC 5246 section 7.4.6), certificate_required in 1.3 (RFC 8446 section 4.4.2.4)."""
    read, refused = refusal(shared, gateway_id, version, None)
    assert read == refused.alert == (40 if version == "1.2" else 116)
    assert refused.tls == version
    assert "certificate" in refused.reason


@dataclass(frozen=True)
class Stranger:
    """A bundle that no gateway of a CA takes, the alert that says so, and the reason that the gateway reports."""

    bundle: Callable[[pki.Issued, Path], Path]
    alert: int
    reason: str


def of_another_authority(issued: pki.Issued, path: Path) -> Path:
    return write_bundle(pki.new_client(pki.new_authority("another authority")), path)


def of_a_namesake(issued: pki.Issued, path: Path) -> Path:
    """An authority with the same name and another key, whose certificate is sent along."""
    namesake = pki.new_authority()
    return write_bundle(pki.new_client(namesake), path, namesake.certificate)


def expired(issued: pki.Issued, path: Path) -> Path:
    return write_bundle(pki.new_client(issued.authority, now=datetime.now(UTC) - timedelta(days=60)), path)


STRANGERS = {
    "of another authority": Stranger(of_another_authority, 48, "unable to get local issuer certificate"),
    "of a namesake of the authority": Stranger(of_a_namesake, 48, ""),
    "self-signed": Stranger(lambda issued, path: issued.client_self_signed_pem, 48, ""),
    "expired": Stranger(expired, 45, "certificate has expired"),
    "a server's": Stranger(lambda issued, path: issued.server_pem, 43, "unsuitable certificate purpose"),
}


@in_each_version(OF_A_CA)
@pytest.mark.parametrize("what", STRANGERS)
def test_a_certificate_that_the_authority_does_not_vouch_for(
    shared: Victims, gateway_id: str, version: str, tmp_path: Path, what: str
) -> None:
    bundle = STRANGERS[what].bundle(shared.issued, tmp_path / "stranger.pem")
    read, refused = refusal(shared, gateway_id, version, bundle)
    assert read == refused.alert == STRANGERS[what].alert
    assert STRANGERS[what].reason in refused.reason


@in_each_version(PINNED)
def test_a_certificate_that_is_not_on_the_list_is_refused(
    shared: Victims, gateway_id: str, version: str, tmp_path: Path
) -> None:
    """One of the same customer that nobody issued, and one from the CA."""
    stranger = write_bundle(pki.new_self_signed_client(), tmp_path / "stranger.pem")
    for bundle in (stranger, shared.issued.client_pem):
        read, refused = refusal(shared, gateway_id, version, bundle)
        assert read == refused.alert == (48 if gateway_id == "pinned-mtls@openssl" else 46)


def look_alike(certificate: x509.Certificate, issuer: PrivateKey | None = None) -> pki.Identity:
    """A certificate that says all that another does, serial number included, of another key and from another one."""
    key = pki.new_key("p256")
    builder = x509.CertificateBuilder(
        issuer_name=certificate.issuer,
        subject_name=certificate.subject,
        public_key=key.public_key(),
        serial_number=certificate.serial_number,
        not_valid_before=certificate.not_valid_before_utc,
        not_valid_after=certificate.not_valid_after_utc,
        extensions=list(certificate.extensions),
    )
    return pki.Identity(builder.sign(issuer or key, hashes.SHA256()), key)


@in_each_version([one for one in IN_TLS if Check.CHAIN in one.scheme.checks])
def test_a_look_alike_is_refused(shared: Victims, gateway_id: str, version: str, tmp_path: Path) -> None:
    forged = look_alike(alice_at(shared.issued, gateway_id).certificate)
    read, refused = refusal(shared, gateway_id, version, write_bundle(forged, tmp_path / "forged.pem"))
    assert read == refused.alert
    assert refused.alert in (42, 46, 48, 51)


@in_each_version(IN_TLS)
def test_a_record_that_was_tampered_with(shared: Victims, gateway_id: str, version: str) -> None:
    def tamper(client: flights.Client, flight: bytes) -> bytes:
        return flights.flip_last_bit(flight)

    read, refused = refusal(shared, gateway_id, version, bundle_at(shared.issued, gateway_id), tamper)
    assert read == refused.alert == 20


@each(BY_OPENSSL)
@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (flights.without(flights.CERTIFICATE_VERIFY), 10),
        (flights.twice(flights.CERTIFICATE_VERIFY), 10),
        (lambda messages: [messages[1], messages[0], messages[2]], 10),
        (flights.damaged(flights.CERTIFICATE_VERIFY), 51),
        (flights.damaged(flights.FINISHED), 51),
    ],
    ids=["no proof", "two proofs", "proof first", "wrong proof", "wrong Finished"],
)
def test_a_deviation_in_tls_13(shared: Victims, gateway_id: str, change: Any, alert: int) -> None:
    """The alert is protected there, so that only the client can read it and the gateway has to know what it said."""

    def rewrite(client: flights.Client, flight: bytes) -> bytes:
        return flights.rewrite(client, change, flight)

    read, refused = refusal(shared, gateway_id, "1.3", bundle_at(shared.issued, gateway_id), rewrite)
    assert read == refused.alert == alert
    assert refused.tls == "1.3"


def no_proof(challenge: Challenge) -> None:
    return None


def failure(victims: Victims, gateway_id: str, client: Client) -> tuple[Failed, ClientRefused]:
    """How a handshake of the instrument fails, and the gateway's report of it."""
    before = len(victims.reports.all(ClientRefused))
    with connect(victims, gateway_id) as connection:
        failed = shake_hands(connection, client)[-1]
    assert isinstance(failed, Failed)
    return failed, victims.reports.wait_for(ClientRefused, before + 1)[-1]


@each(BY_OPENSSL)
@pytest.mark.parametrize(
    ("prove", "alert"), [(prove_with(pki.new_key("p256")), 51), (no_proof, 10)], ids=["wrong proof", "no proof"]
)
def test_a_deviation_in_tls_12(shared: Victims, gateway_id: str, prove: Prover, alert: int) -> None:
    failed, refused = failure(shared, gateway_id, instrument_at(shared, gateway_id, prove))
    assert (failed.alert, failed.sent_by) == (refused.alert, "server") == (alert, "server")
    assert refused.tls == "1.2"
    assert alert == 10 or refused.reason == "bad signature"


@in_each_version(GULLIBLE)
@pytest.mark.parametrize("prove", [no_proof, prove_with(pki.new_key("p256"))], ids=["none", "wrong"])
def test_where_the_proof_does_not_count_the_certificate_is_enough(
    victims: Victims, gateway_id: str, version: str, prove: Prover
) -> None:
    client = instrument_at(victims, gateway_id, prove, version)
    with connect(victims, gateway_id) as connection:
        assert shake_hands(connection, client) == [Established()]
        connection.sendall(client.data_to_send())
        assert victims.reports.wait_for(ClientAuthenticated)[0].tls == version


@in_each_version([gateway("ignored-proof@instrument")])
def test_where_the_check_is_dropped_a_wrong_proof_is_enough_and_none_is_not(
    victims: Victims, gateway_id: str, version: str
) -> None:
    client = instrument_at(victims, gateway_id, prove_with(pki.new_key("p256")), version)
    with connect(victims, gateway_id) as connection:
        assert shake_hands(connection, client) == [Established()]
        connection.sendall(client.data_to_send())
        assert victims.reports.wait_for(ClientAuthenticated)[0].proof == ProofSeen.INVALID
    client = instrument_at(victims, gateway_id, no_proof, version)
    with connect(victims, gateway_id) as connection:
        events = shake_hands(connection, client)
        while not isinstance(events[-1], Failed):  # in TLS 1.3 the client is done before the server has looked
            connection.sendall(client.data_to_send())
            events = client.receive(connection.recv(1 << 16)) or events
    assert events[-1].alert == victims.reports.wait_for(ClientRefused)[0].alert == 10


@each(IN_TLS)
def test_bytes_that_are_no_certificate_are_refused_with_an_alert(shared: Victims, gateway_id: str) -> None:
    client = Client(entropy=os.urandom, chain=(b"no certificate",), prove=no_proof)
    failed, refused = failure(shared, gateway_id, client)
    assert failed.sent_by == "server"
    assert refused.alert == failed.alert


@each(OF_A_CA)
def test_curl_is_told_that_another_authority_is_unknown(victims: Victims, gateway_id: str, tmp_path: Path) -> None:
    stranger = of_another_authority(victims.issued, tmp_path / "stranger.pem")
    answer = curl(victims, gateway_id, "/account", bundle=stranger)
    assert "alert unknown ca" in answer.stderr
    assert victims.reports.wait_for(ClientRefused)[0].alert == 48


@each(GATEWAYS)
def test_an_alert_from_the_client_is_told_apart_from_one_of_the_gateways_own(victims: Victims, gateway_id: str) -> None:
    context = ssl.create_default_context()  # which does not trust the lab's CA
    with pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(connect(victims, gateway_id), server_hostname="localhost")
    refused = victims.reports.wait_for(ClientRefused)[0]
    version = str(gateway(gateway_id).versions[-1])
    reason = "the client sent alert unknown_ca (48)"
    assert refused == ClientRefused(gateway_id, refused.peer, version, reason, None, refused.connection)


@each(OF_A_CA)
def test_the_alert_arrives_even_where_the_client_goes_on_sending(victims: Victims, gateway_id: str) -> None:
    """A server that closes with unread data resets the connection, and the alert may be lost."""
    stranger = pki.new_client(pki.new_authority("another authority"))
    client = Client(entropy=os.urandom, chain=(stranger.der,), prove=prove_with(stranger.key))
    with connect(victims, gateway_id) as connection:
        while not any(step.name == "ClientKeyExchange" for step in client.steps):
            connection.sendall(client.data_to_send())
            client.receive(connection.recv(1 << 16))
        flight = client.data_to_send()
        certificate_length = 5 + int.from_bytes(flight[3:5], "big")
        connection.sendall(flight[:certificate_length])
        victims.reports.wait_for(ClientRefused)
        connection.sendall(flight[certificate_length:])
        connection.sendall(flight[certificate_length:])
        failed = client.receive(connection.recv(1 << 16))[-1]
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (48, "server")


@each(BY_OPENSSL)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_context_that_lets_a_client_without_a_certificate_pass_is_noticed(
    issued: pki.Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gateway_id: str, version: str
) -> None:
    """CERT_OPTIONAL instead of CERT_REQUIRED: OpenSSL completes the handshake, and the gateway refuses the client."""

    def lax(files: GatewayFiles, trusted: tuple[bytes, ...]) -> ssl.SSLContext:
        context = strict(files, trusted)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    strict = openssl.client_context
    monkeypatch.setattr(openssl, "client_context", lax)
    with running_victims(issued, tmp_path / "run") as victims:
        context = client_context(issued, None, version)
        connection = connect(victims, gateway_id)
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_hostname="localhost") as tls:
            tls.sendall(get_account(issued, gateway_id))
            assert read_all(tls) == b""
        (refused,) = victims.reports.wait_for(ClientRefused)
        assert refused.reason in (NOT_ISSUED, "the handshake was completed without a client certificate")
        assert not victims.reports.all(Trouble)
        assert not victims.reports.all(ClientAuthenticated)
        assert curl(victims, gateway_id, "/account").body == ACCOUNT


# --- the list of pinned-mtls ---


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_list_with_a_ca_on_it_does_not_let_in_what_that_ca_issued(
    issued: pki.Issued, tmp_path: Path, version: str
) -> None:
    """OpenSSL would take alice's certificate then; the exact comparison does not, and nothing that the client could
    use leaves the gateway: no Finished in TLS 1.2, no ticket in 1.3."""
    files = replace(gateway_files(issued, tmp_path), issued=(issued.authority.der,))
    server = openssl.authentication("pinned-mtls", files).engines()
    client = flights.Client(client_context(issued, issued.client_pem, version), tmp_path / "client.log")
    events = []
    client.receive(b"")
    while to_server := client.data_to_send():
        events += server.receive(to_server)
        to_client = server.data_to_send()
        if events:
            assert to_client == b""
            break
        client.receive(to_client)
    assert events == [Failed(None, None, NOT_ISSUED)]
    server.close()
    assert server.data_to_send() == b""
    assert not (client.tls.session and client.tls.session.has_ticket)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_what_a_listed_certificate_issued_is_not_on_the_list(shared: Victims, version: str, tmp_path: Path) -> None:
    forged = pki.new_client(shared.issued.client_self_signed, "alice")
    bundle = write_bundle(forged, tmp_path / "forged.pem", shared.issued.client_self_signed.certificate)
    read, refused = refusal(shared, "pinned-mtls@openssl", version, bundle)
    assert read == refused.alert
    assert refused.alert is not None


def test_a_listed_certificate_without_its_key_is_not_enough(shared: Victims) -> None:
    """What separates pinned-mtls from a password."""
    client = instrument_at(shared, "pinned-mtls@openssl", prove_with(pki.new_key("p256")))
    failed, refused = failure(shared, "pinned-mtls@openssl", client)
    assert refused.alert == failed.alert == 51


def test_the_pinned_gateway_names_no_authorities(shared: Victims) -> None:
    """Whose certificates it has is nobody's business; OpenSSL's client prints the list where there is one."""
    for one in PINNED:
        assert "No client certificate CA names sent" in alices_s_client(shared, one.id, "-tls1_2")
