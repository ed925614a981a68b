"""The instrument against TLS stacks that we did not write: OpenSSL and GnuTLS, in both roles."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import pki
from lab.pki import KEY_TYPES, KeyType
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import Connection
from lab.tls.engine import Closed
from lab.tls.keys import CIPHER_SUITES, SECP256R1, X25519, CipherSuite
from lab.tls.messages import CertificateVerify, ServerKeyExchange, parse
from lab.tls.proof import Challenge, Prover
from lab.tls.server import Proof
from tls_peers import (
    NAME,
    OpenSslEngine,
    answer_once,
    call,
    openssl_context,
    our_client,
    our_server,
    read_until,
    refusal,
    serving,
    talk,
    write_files,
)

GROUPS = {X25519: ((X25519, SECP256R1), None), SECP256R1: ((SECP256R1,), "prime256v1")}
"""What we take and what OpenSSL is held to, so that a group is agreed on; certificates on P-256 must stay possible."""
GNUTLS_ONLY_12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2"


@pytest.fixture(scope="session")
def identities(authority: pki.Identity) -> Callable[[str, KeyType], pki.Identity]:
    """Servers and clients by kind of key, each made once."""
    made: dict[tuple[str, KeyType], pki.Identity] = {}

    def identity(role: str, key_type: KeyType) -> pki.Identity:
        if (role, key_type) not in made:
            new = (
                pki.new_server(authority, key_type)
                if role == "server"
                else pki.new_client(authority, "alice", key_type)
            )
            made[role, key_type] = new
        return made[role, key_type]

    return identity


Identities = Callable[[str, KeyType], pki.Identity]


def server_key(suite: CipherSuite) -> KeyType:
    return "rsa" if suite.signed_with == "RSA" else "p256"


def agreed_group(ours: Connection) -> int:
    (exchange,) = [parse(entry.raw) for entry in ours.transcript.entries if entry.raw[0] == ServerKeyExchange.type]
    assert isinstance(exchange, ServerKeyExchange)
    return exchange.group


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("suite", CIPHER_SUITES, ids=lambda suite: suite.name)
def test_our_client_talks_to_openssl(
    authority: pki.Identity, identities: Identities, suite: CipherSuite, group: int
) -> None:
    alice = identities("client", "p256")
    server = identities("server", server_key(suite))
    our_groups, their_group = GROUPS[group]
    theirs = OpenSslEngine(openssl_context(True, authority, server, suite.name, their_group), server_side=True)
    ours = our_client(alice, suites=(suite,), groups=our_groups)
    assert talk(ours, theirs).established
    assert agreed_group(ours) == group
    assert theirs.tls.cipher()[0] == suite.name  # type: ignore[index]
    assert theirs.peer_chain == (alice.der,)
    ours.send(b"x" * 40_000)
    theirs.send(b"y" * 40_000)
    said = talk(ours, theirs)
    assert said.data("server") == b"x" * 40_000
    assert said.data("client") == b"y" * 40_000
    ours.close()
    assert Closed() in talk(ours, theirs).server


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("suite", CIPHER_SUITES, ids=lambda suite: suite.name)
def test_our_server_talks_to_openssl(
    authority: pki.Identity, identities: Identities, suite: CipherSuite, group: int
) -> None:
    alice = identities("client", "p256")
    server = identities("server", server_key(suite))
    our_groups, their_group = GROUPS[group]
    theirs = OpenSslEngine(openssl_context(False, authority, alice, suite.name, their_group), server_side=False)
    ours = our_server(server, suites=(suite,), groups=our_groups)
    assert talk(theirs, ours).established
    assert agreed_group(ours) == group
    assert theirs.tls.cipher()[0] == suite.name  # type: ignore[index]
    assert ours.peer_chain[0] == alice.der
    assert ours.server_name == NAME
    ours.send(b"x" * 40_000)
    theirs.send(b"y" * 40_000)
    said = talk(theirs, ours)
    assert said.data("client") == b"x" * 40_000
    assert said.data("server") == b"y" * 40_000
    ours.close()
    assert Closed() in talk(theirs, ours).client


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_client_keys_of_every_kind_prove_possession_to_openssl(
    authority: pki.Identity, identities: Identities, key_type: KeyType
) -> None:
    theirs = OpenSslEngine(openssl_context(True, authority, identities("server", "p256")), server_side=True)
    assert talk(our_client(identities("client", key_type)), theirs).established


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_openssl_proves_possession_to_us_with_keys_of_every_kind(
    authority: pki.Identity, identities: Identities, key_type: KeyType
) -> None:
    theirs = OpenSslEngine(openssl_context(False, authority, identities("client", key_type)), server_side=False)
    assert talk(theirs, our_server(identities("server", "p256"))).established


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_servers_with_keys_of_every_kind_are_taken_by_openssl(
    authority: pki.Identity, identities: Identities, key_type: KeyType
) -> None:
    theirs = OpenSslEngine(openssl_context(False, authority, identities("client", "p256")), server_side=False)
    assert talk(theirs, our_server(identities("server", key_type))).established


@pytest.mark.parametrize(
    "scheme", [scheme for scheme in proof.SIGNATURE_SCHEMES if scheme.key == "RSA"], ids=lambda scheme: scheme.name
)
def test_rsa_proofs_with_every_padding_are_taken_by_openssl(
    authority: pki.Identity, identities: Identities, scheme: proof.SignatureScheme
) -> None:
    alice = identities("client", "rsa")

    def prove(challenge: Challenge) -> CertificateVerify:
        return CertificateVerify(scheme.id, proof.sign(alice.key, scheme, challenge.content))

    theirs = OpenSslEngine(openssl_context(True, authority, identities("server", "p256")), server_side=True)
    assert talk(our_client(alice, prove), theirs).established


def test_the_key_log_line_is_the_peers_own(authority: pki.Identity, identities: Identities, tmp_path: Path) -> None:
    context = openssl_context(True, authority, identities("server", "p256"))
    context.keylog_filename = str(tmp_path / "keys.log")
    ours = our_client(identities("client", "p256"))
    assert talk(ours, OpenSslEngine(context, server_side=True)).established
    assert ours.key_log.lower().strip() in (tmp_path / "keys.log").read_text().lower()


def test_both_ways_without_extended_master_secret(authority: pki.Identity, identities: Identities) -> None:
    without = 1 << 0  # SSL_OP_NO_EXTENDED_MASTER_SECRET, OpenSSL 3
    server = openssl_context(True, authority, identities("server", "p256"))
    client = openssl_context(False, authority, identities("client", "p256"))
    server.options |= without
    client.options |= without
    assert talk(our_client(identities("client", "p256")), OpenSslEngine(server, server_side=True)).established
    ours = our_server(identities("server", "p256"))
    assert talk(OpenSslEngine(client, server_side=False), ours).established


# --- proofs that are wrong, against OpenSSL ---


def replayed(identities: Identities, authority: pki.Identity) -> Prover:
    """The proof of an earlier handshake."""
    kept: list[CertificateVerify] = []
    alice = identities("client", "p256")

    def keep(challenge: Challenge) -> CertificateVerify | None:
        answer = proof.prove_with(alice.key)(challenge)
        if answer:
            kept.append(answer)
        return answer

    earlier = OpenSslEngine(openssl_context(True, authority, identities("server", "p256")), server_side=True)
    assert talk(our_client(alice, keep), earlier).established
    return lambda challenge: kept[0]


def wrong_proofs(identities: Identities, authority: pki.Identity) -> dict[str, tuple[Prover, AlertDescription]]:
    """Each with the alert that RFC 5246 sections 7.2.2 and 7.4.8 give for it."""
    own = pki.new_key("p256")
    return {
        "omitted": (lambda challenge: None, AlertDescription.UNEXPECTED_MESSAGE),
        "replayed": (replayed(identities, authority), AlertDescription.DECRYPT_ERROR),
        "by another key": (proof.prove_with(own), AlertDescription.DECRYPT_ERROR),
    }


WRONG = ("omitted", "replayed", "by another key")


@pytest.mark.parametrize("wrong", WRONG)
def test_openssl_refuses_a_wrong_proof_with_the_rfcs_alert(
    authority: pki.Identity, identities: Identities, wrong: str
) -> None:
    prove, alert = wrong_proofs(identities, authority)[wrong]
    theirs = OpenSslEngine(openssl_context(True, authority, identities("server", "p256")), server_side=True)
    failed = talk(our_client(identities("client", "p256"), prove), theirs).failure("client")
    assert (failed.alert, failed.sent_by) == (alert, "server")


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("policy", [Proof.REQUIRED, Proof.NOT_ASKED_FOR], ids=lambda policy: policy.name)
def test_our_server_does_about_a_wrong_proof_what_its_policy_says(
    authority: pki.Identity, identities: Identities, wrong: str, policy: Proof
) -> None:
    prove, alert = wrong_proofs(identities, authority)[wrong]
    said = talk(our_client(identities("client", "p256"), prove), our_server(identities("server", "p256"), policy))
    if policy is Proof.NOT_ASKED_FOR:
        assert said.established
    else:
        failed = said.failure("client")
        assert (failed.alert, failed.sent_by) == (alert, "server")


@pytest.mark.parametrize("wrong", ["replayed", "by another key"])
def test_a_server_that_ignores_proofs_takes_a_wrong_one(
    authority: pki.Identity, identities: Identities, wrong: str
) -> None:
    prove, _ = wrong_proofs(identities, authority)[wrong]
    server = our_server(identities("server", "p256"), Proof.IGNORED)
    assert talk(our_client(identities("client", "p256"), prove), server).established


def test_a_server_that_ignores_proofs_still_wants_one(identities: Identities) -> None:
    server = our_server(identities("server", "p256"), Proof.IGNORED)
    failed = talk(our_client(identities("client", "p256"), lambda challenge: None), server).failure("client")
    assert failed.alert == AlertDescription.UNEXPECTED_MESSAGE


def test_our_server_refuses_an_openssl_client_without_a_certificate(
    authority: pki.Identity, identities: Identities
) -> None:
    theirs = OpenSslEngine(openssl_context(False, authority), server_side=False)
    failed = talk(theirs, our_server(identities("server", "p256"))).failure("server")
    assert (failed.alert, failed.sent_by) == (AlertDescription.HANDSHAKE_FAILURE, "server")


def test_a_server_that_asks_for_no_proof_takes_an_openssl_client_that_sends_one(
    authority: pki.Identity, identities: Identities
) -> None:
    theirs = OpenSslEngine(openssl_context(False, authority, identities("client", "p256")), server_side=False)
    assert talk(theirs, our_server(identities("server", "p256"), Proof.NOT_ASKED_FOR)).established


# --- the programs ---


@pytest.mark.parametrize("client_key", KEY_TYPES)
@pytest.mark.parametrize("server_key_type", ["p256", "rsa"])
def test_our_client_talks_to_openssl_s_server(
    authority: pki.Identity, identities: Identities, tmp_path: Path, server_key_type: KeyType, client_key: KeyType
) -> None:
    alice = identities("client", client_key)
    files = write_files(tmp_path, authority, identities("server", server_key_type), alice)
    command = f"openssl s_server -tls1_2 -accept {{port}} -cert {files.server} -CAfile {files.ca} -Verify 1 -rev"
    with serving(tmp_path / "output", *command.split(), "-verify_return_error") as port:
        assert asyncio.run(call(port, our_client(alice), b"hello\n")) == b"olleh\n"
        printed = read_until(tmp_path / "output", "Ciphersuite")
        assert "alice" in printed
        assert "verify error" not in printed


@pytest.mark.parametrize("client_key", KEY_TYPES)
@pytest.mark.parametrize("suite", ["AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"])
def test_our_client_talks_to_gnutls_serv(
    authority: pki.Identity, identities: Identities, tmp_path: Path, suite: str, client_key: KeyType
) -> None:
    alice = identities("client", client_key)
    files = write_files(tmp_path, authority, identities("server", "p256"), alice)
    command = (
        f"gnutls-serv --echo --port {{port}} --x509certfile {files.server} --x509keyfile {files.server} "
        f"--x509cafile {files.ca} --require-client-cert --verify-client-cert "
        f"--priority {GNUTLS_ONLY_12}:-CIPHER-ALL:+{suite}"
    )
    with serving(tmp_path / "output", *command.split()) as port:
        assert asyncio.run(call(port, our_client(alice), b"hello\n")) == b"hello\n"
        printed = read_until(tmp_path / "output", "extended master secret")
        assert "CN=alice" in printed
        assert suite in printed
        assert "safe renegotiation" in printed


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("stack", ["openssl", "gnutls-serv"])
def test_server_programs_refuse_a_wrong_proof(
    authority: pki.Identity, identities: Identities, tmp_path: Path, stack: str, wrong: str
) -> None:
    files = write_files(tmp_path, authority, identities("server", "p256"), identities("client", "p256"))
    commands = {
        "openssl": f"openssl s_server -tls1_2 -accept {{port}} -cert {files.server} -CAfile {files.ca} -Verify 1 -rev",
        "gnutls-serv": (
            f"gnutls-serv --echo --port {{port}} --x509certfile {files.server} --x509keyfile {files.server} "
            f"--x509cafile {files.ca} --require-client-cert --priority {GNUTLS_ONLY_12}"
        ),
    }
    prove, alert = wrong_proofs(identities, authority)[wrong]
    with serving(tmp_path / "output", *commands[stack].split()) as port:
        failed = asyncio.run(refusal(port, our_client(identities("client", "p256"), prove)))
    assert failed.sent_by == "server"
    assert failed.alert == alert


@pytest.mark.parametrize("client_key", KEY_TYPES)
def test_our_server_talks_to_openssl_s_client(
    authority: pki.Identity, identities: Identities, tmp_path: Path, client_key: KeyType
) -> None:
    files = write_files(tmp_path, authority, identities("server", "p256"), identities("client", client_key))
    command = (
        f"openssl s_client -tls1_2 -connect 127.0.0.1:{{port}} -servername {NAME} -cert {files.client} "
        f"-CAfile {files.ca} -verify_return_error -ign_eof"
    )
    server = our_server(identities("server", "p256"))
    printed = asyncio.run(answer_once(server, *command.split(), line=b"hello\n"))
    assert "\nhello\n" in printed
    assert "Secure Renegotiation IS supported" in printed
    assert "Extended master secret: yes" in printed
    assert "Verify return code: 0 (ok)" in printed
    assert server.server_name == NAME
    assert server.peer_chain[0] == identities("client", client_key).der


@pytest.mark.parametrize("client_key", KEY_TYPES)
@pytest.mark.parametrize("extra", ["", ":%NO_SESSION_HASH", ":%DISABLE_SAFE_RENEGOTIATION"])
def test_our_server_talks_to_gnutls_cli(
    authority: pki.Identity, identities: Identities, tmp_path: Path, client_key: KeyType, extra: str
) -> None:
    files = write_files(tmp_path, authority, identities("server", "p256"), identities("client", client_key))
    command = (
        f"gnutls-cli --port {{port}} --x509cafile {files.ca} --x509certfile {files.client} "
        f"--x509keyfile {files.client} --priority {GNUTLS_ONLY_12}{extra} localhost"
    )
    server = our_server(identities("server", "p256"))
    printed = asyncio.run(answer_once(server, *command.split(), line=b"hello\n"))
    assert "\nhello\n" in printed
    assert "The certificate is trusted" in printed
    options = next(line for line in printed.splitlines() if line.startswith("- Options:"))
    assert ("extended master secret" in options) is ("NO_SESSION_HASH" not in extra)
    assert ("safe renegotiation" in options) is ("DISABLE_SAFE_RENEGOTIATION" not in extra)
    assert server.peer_chain[0] == identities("client", client_key).der


def test_sni_is_what_openssl_reads(authority: pki.Identity, identities: Identities) -> None:
    asked: list[str | None] = []
    context = openssl_context(True, authority, identities("server", "p256"))
    context.sni_callback = lambda tls, name, ctx: asked.append(name)
    assert talk(our_client(identities("client", "p256")), OpenSslEngine(context, server_side=True)).established
    assert asked == [NAME]


def test_a_client_of_tls_13_alone_is_told_the_version(authority: pki.Identity, identities: Identities) -> None:
    context = openssl_context(False, authority, identities("client", "p256"))
    context.maximum_version = context.minimum_version = ssl.TLSVersion.TLSv1_3
    failed = talk(OpenSslEngine(context, server_side=False), our_server(identities("server", "p256"))).failure("server")
    assert failed.alert == AlertDescription.PROTOCOL_VERSION


def test_a_client_that_also_speaks_tls_13_gets_tls_12(authority: pki.Identity, identities: Identities) -> None:
    context = openssl_context(False, authority, identities("client", "p256"))
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    theirs = OpenSslEngine(context, server_side=False)
    assert talk(theirs, our_server(identities("server", "p256"))).established
    assert theirs.tls.version() == "TLSv1.2"


@pytest.mark.parametrize("size", [1, 7])
def test_bytes_may_come_in_pieces_of_any_size(authority: pki.Identity, identities: Identities, size: int) -> None:
    theirs = OpenSslEngine(openssl_context(True, authority, identities("server", "p256")), server_side=True)
    assert talk(our_client(identities("client", "p256")), theirs, cut=size).established


def test_the_order_of_preference_is_the_servers(authority: pki.Identity, identities: Identities) -> None:
    theirs = OpenSslEngine(openssl_context(False, authority, identities("client", "p256")), server_side=False)
    suite = keys.CIPHER_SUITES[2]
    assert talk(theirs, our_server(identities("server", "p256"), suites=(suite, *keys.CIPHER_SUITES))).established
    assert theirs.tls.cipher()[0] == suite.name  # type: ignore[index]
