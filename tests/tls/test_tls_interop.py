"""The instrument against TLS stacks that we did not write, OpenSSL and GnuTLS, in both roles.

What was agreed on is read off the peer wherever it says so, in its own words.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.catalogue.plan import KEY_TYPES, KeyType
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.client import Client
from lab.tls.connection import Connection
from lab.tls.engine import Failed
from lab.tls.keys import CIPHER_SUITES, SECP256R1, SECP521R1, X25519, CipherSuite
from lab.tls.messages import CertificateVerify, ServerHello, ServerKeyExchange, parse
from lab.tls.proof import SIGNATURE_SCHEMES, Challenge, Prover, SignatureScheme
from lab.tls.server import Proof
from tls_peers import (
    GNUTLS_ONLY_12,
    NAME,
    Files,
    Identities,
    OpenSslEngine,
    answer_once,
    by_another_key,
    call,
    cases,
    converse,
    gnutls_cli,
    gnutls_serv,
    omitted,
    openssl_context,
    options_line,
    our_client,
    our_server,
    page,
    read_until,
    refusal,
    s_client,
    s_server,
    serving,
    talk,
    write_files,
)


@dataclass(frozen=True)
class Group:
    """A group under everybody's name for it."""

    id: int
    curve: str
    openssl: str
    s_client: str
    gnutls: str


GROUPS = (
    Group(X25519, "X25519", "x25519", "X25519, 253 bits", "X25519"),
    Group(SECP256R1, "prime256v1", "secp256r1", "ECDH, prime256v1, 256 bits", "SECP256R1"),
    Group(SECP521R1, "secp521r1", "secp521r1", "ECDH, secp521r1, 521 bits", "SECP521R1"),
)
GNUTLS_CIPHERS = {
    "AES128-GCM-SHA256": "AES-128-GCM",
    "AES256-GCM-SHA384": "AES-256-GCM",
    "CHACHA20-POLY1305": "CHACHA20-POLY1305",
}
GNUTLS_SIGNATURES = {
    "ecdsa_secp256r1_sha256": "ECDSA-SHA256",
    "ecdsa_secp384r1_sha384": "ECDSA-SHA384",
    "ecdsa_secp521r1_sha512": "ECDSA-SHA512",
    "ed25519": "EdDSA-Ed25519",
    "rsa_pss_rsae_sha256": "RSA-PSS-RSAE-SHA256",
    "rsa_pss_rsae_sha384": "RSA-PSS-RSAE-SHA384",
    "rsa_pss_rsae_sha512": "RSA-PSS-RSAE-SHA512",
    "rsa_pkcs1_sha256": "RSA-SHA256",
    "rsa_pkcs1_sha384": "RSA-SHA384",
    "rsa_pkcs1_sha512": "RSA-SHA512",
}
KEY_FOR: dict[str, KeyType] = {"ECDSA": "p256", "RSA": "rsa", "Ed25519": "ed25519"}

each_suite = pytest.mark.parametrize("suite", CIPHER_SUITES, ids=lambda suite: suite.name)
each_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.gnutls)
SCHEMES = [scheme for scheme in SIGNATURE_SCHEMES if scheme.key in KEY_FOR]
each_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
each_key_type = pytest.mark.parametrize("key_type", KEY_TYPES)


@pytest.fixture
def files(tmp_path: Path, authority: pki.Identity, alice: pki.Identity, bank: pki.Identity) -> Files:
    return write_files(tmp_path, authority, bank, alice)


def server_key(suite: CipherSuite) -> KeyType:
    return "rsa" if suite.signed_with == "RSA" else "p256"


def gnutls_priority(suite: CipherSuite, group: Group) -> str:
    """GnuTLS held to one suite and one group."""
    return f"{GNUTLS_ONLY_12}:-CIPHER-ALL:+{gnutls_cipher(suite)}:-GROUP-ALL:+GROUP-{group.gnutls}"


def gnutls_cipher(suite: CipherSuite) -> str:
    return GNUTLS_CIPHERS[suite.name.split("-", 2)[2]]


def agreed_group(ours: Connection) -> int:
    (exchange,) = [parse(entry.raw) for entry in ours.transcript.entries if entry.raw[0] == ServerKeyExchange.type]
    assert isinstance(exchange, ServerKeyExchange)
    return exchange.group


def scheme_of_the_proof(ours: Connection) -> int:
    (verify,) = [parse(entry.raw) for entry in ours.transcript.entries if entry.raw[0] == CertificateVerify.type]
    assert isinstance(verify, CertificateVerify)
    return verify.scheme


def answers_extended_master_secret(ours: Connection) -> bool:
    (hello,) = [parse(entry.raw) for entry in ours.transcript.entries if entry.raw[0] == ServerHello.type]
    assert isinstance(hello, ServerHello)
    return ext.find(hello.extensions, ext.EXTENDED_MASTER_SECRET) is not None


def prove_by(identity: pki.Identity, scheme: SignatureScheme) -> Prover:
    """The honest proof, with this very scheme."""
    return lambda challenge: CertificateVerify(scheme.id, proof.sign(identity.key, scheme, challenge.content))


# Python's ssl, without a network.


@pytest.mark.parametrize("closes", ["client", "server"])
@each_group
@each_suite
def test_our_client_talks_to_openssl(
    authority: pki.Identity, identities: Identities, tmp_path: Path, suite: CipherSuite, group: Group, closes: str
) -> None:
    # Held to X25519, OpenSSL takes no client's certificate on P-256.
    alice, server = identities("client", "rsa"), identities("server", server_key(suite))
    context = openssl_context(True, authority, server, suite.name, group.curve)
    context.keylog_filename = str(tmp_path / "keys.log")
    theirs = OpenSslEngine(context, server_side=True)
    ours = our_client(alice, suites=(suite,))
    converse(ours, theirs, closes)
    assert agreed_group(ours) == group.id
    assert theirs.tls.cipher()[0] == suite.name  # type: ignore[index]
    assert theirs.peer_chain == (alice.der,)
    assert ours.key_log in (tmp_path / "keys.log").read_text()


@pytest.mark.parametrize("closes", ["client", "server"])
@each_group
@each_suite
def test_our_server_talks_to_openssl(
    authority: pki.Identity, identities: Identities, tmp_path: Path, suite: CipherSuite, group: Group, closes: str
) -> None:
    alice, server = identities("client", "p256"), identities("server", server_key(suite))
    context = openssl_context(False, authority, alice, suite.name)
    context.keylog_filename = str(tmp_path / "keys.log")
    theirs = OpenSslEngine(context, server_side=False)
    ours = our_server(server, suites=(suite,), groups=(group.id,))
    converse(theirs, ours, closes)
    assert agreed_group(ours) == group.id
    assert theirs.tls.cipher()[0] == suite.name  # type: ignore[index]
    assert ours.peer_chain[0] == alice.der
    assert ours.server_name == NAME
    assert ours.key_log in (tmp_path / "keys.log").read_text()


def test_both_ways_without_extended_master_secret(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity
) -> None:
    without = 1 << 0  # SSL_OP_NO_EXTENDED_MASTER_SECRET, OpenSSL 3
    for_server = openssl_context(True, authority, bank)
    for_client = openssl_context(False, authority, alice)
    for_server.options |= without
    for_client.options |= without
    client, server = our_client(alice), our_server(bank)
    assert talk(client, OpenSslEngine(for_server, server_side=True)).established
    assert talk(OpenSslEngine(for_client, server_side=False), server).established
    assert not answers_extended_master_secret(client)
    assert not answers_extended_master_secret(server)


def test_sni_is_what_openssl_reads(authority: pki.Identity, alice: pki.Identity, bank: pki.Identity) -> None:
    asked: list[str | None] = []
    context = openssl_context(True, authority, bank)
    context.sni_callback = lambda tls, name, ctx: asked.append(name)
    assert talk(our_client(alice), OpenSslEngine(context, server_side=True)).established
    assert asked == [NAME]


def test_the_order_of_preference_is_the_servers(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity
) -> None:
    theirs = OpenSslEngine(openssl_context(False, authority, alice), server_side=False)
    suite = keys.CIPHER_SUITES[2]
    assert talk(theirs, our_server(bank, suites=(suite, *keys.CIPHER_SUITES))).established
    assert theirs.tls.cipher()[0] == suite.name  # type: ignore[index]


# Clients that prove nothing, or the wrong thing.


@dataclass(frozen=True)
class WrongProof:
    """A proof that is none, and the alert that RFC 5246 sections 7.2.2 and 7.4.8 give for it."""

    id: str
    alert: AlertDescription
    make: Callable[[pki.Identity, pki.Identity, pki.Identity], Prover]
    """From the certificate's owner, somebody else with a key of the same kind, and a server to prove oneself to."""


def replayed(alice: pki.Identity, mallory: pki.Identity, server: pki.Identity) -> Prover:
    """The proof that the owner gave in an earlier handshake with the same server."""
    earlier = our_client(alice)
    assert talk(earlier, our_server(server)).established
    (proven,) = [parse(entry.raw) for entry in earlier.transcript.entries if entry.raw[0] == CertificateVerify.type]
    assert isinstance(proven, CertificateVerify)
    return lambda challenge: proven


def of_another_kind(alice: pki.Identity, mallory: pki.Identity, server: pki.Identity) -> Prover:
    """The owner's own, honest signature, under the name of a scheme that her key cannot be used with."""
    other = next(s for s in SIGNATURE_SCHEMES if s.key != proof.key_kind(alice.key) and s.key != "Ed25519")

    def prove(challenge: Challenge) -> CertificateVerify:
        honest = proof.prove_with(alice.key)(challenge)
        assert honest
        return CertificateVerify(other.id, honest.signature)

    return prove


WRONG = (
    WrongProof("omitted", AlertDescription.UNEXPECTED_MESSAGE, omitted),
    WrongProof("replayed", AlertDescription.DECRYPT_ERROR, replayed),
    WrongProof("by another key", AlertDescription.DECRYPT_ERROR, by_another_key),
    WrongProof("of another kind", AlertDescription.ILLEGAL_PARAMETER, of_another_kind),
)
each_wrong = pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.id)


Liar = Callable[[WrongProof, KeyType, KeyType], Client]


@pytest.fixture
def liar(identities: Identities) -> Liar:
    """A client with alice's certificate and a wrong proof, for a server with such a key."""

    def client(wrong: WrongProof, key_type: KeyType, server_key_type: KeyType) -> Client:
        alice, mallory = identities("client", key_type), identities("another client", key_type)
        return our_client(alice, wrong.make(alice, mallory, identities("server", server_key_type)))

    return client


@pytest.mark.parametrize("server_key_type", ["p256", "rsa"])
@each_key_type
@each_wrong
def test_openssl_refuses_a_wrong_proof_with_the_rfcs_alert(
    authority: pki.Identity,
    identities: Identities,
    liar: Liar,
    wrong: WrongProof,
    key_type: KeyType,
    server_key_type: KeyType,
) -> None:
    theirs = OpenSslEngine(openssl_context(True, authority, identities("server", server_key_type)), server_side=True)
    failed = talk(liar(wrong, key_type, server_key_type), theirs).failure("client")
    assert (failed.alert, failed.sent_by) == (wrong.alert, "server")


@each_key_type
@each_wrong
def test_our_server_refuses_a_wrong_proof_with_the_rfcs_alert(
    liar: Liar, wrong: WrongProof, key_type: KeyType, bank: pki.Identity
) -> None:
    failed = talk(liar(wrong, key_type, "p256"), our_server(bank)).failure("client")
    assert (failed.alert, failed.sent_by) == (wrong.alert, "server")


@each_key_type
@each_wrong
def test_a_server_that_asks_for_no_proof_takes_whatever_comes(
    identities: Identities, liar: Liar, wrong: WrongProof, key_type: KeyType, bank: pki.Identity
) -> None:
    server = our_server(bank, Proof.NOT_CHECKED)
    assert talk(liar(wrong, key_type, "p256"), server).established
    assert server.peer_chain == (identities("client", key_type).der,)


@each_key_type
@each_wrong
def test_a_server_that_ignores_proofs_wants_one_and_takes_any(
    liar: Liar, wrong: WrongProof, key_type: KeyType, bank: pki.Identity
) -> None:
    said = talk(liar(wrong, key_type, "p256"), our_server(bank, Proof.IGNORED))
    if wrong.make is omitted:
        assert said.failure("client").alert == AlertDescription.UNEXPECTED_MESSAGE
    else:
        assert said.established


def test_a_server_that_asks_for_no_proof_takes_an_openssl_client_that_sends_one(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity
) -> None:
    theirs = OpenSslEngine(openssl_context(False, authority, alice), server_side=False)
    ours = our_server(bank, Proof.NOT_CHECKED)
    assert talk(theirs, ours).established
    assert scheme_of_the_proof(ours)


# The programs.


@each_group
@each_suite
def test_openssl_s_server_says_what_our_client_agreed_on(
    authority: pki.Identity, identities: Identities, tmp_path: Path, suite: CipherSuite, group: Group
) -> None:
    alice = identities("client", "rsa")
    files = write_files(tmp_path, authority, identities("server", server_key(suite)), alice)
    ours = our_client(alice, suites=(suite,))
    with serving(tmp_path / "output", *s_server(files, "-named_curve", group.curve)) as port:
        told = asyncio.run(page(port, ours))
    assert f"TLSv1.2, Cipher is {suite.name}" in told
    assert f"Shared groups: {group.openssl}" in told
    assert "Secure Renegotiation IS supported" in told
    assert "Extended master secret: yes" in told
    assert "Subject: CN=alice, O=Bank of Example" in told
    assert "Verify return code: 0 (ok)" in told
    assert f"Master-Key: {ours.key_log.split()[2].upper()}" in told
    assert agreed_group(ours) == group.id


@each_scheme
def test_openssl_s_server_says_how_possession_was_proved(
    authority: pki.Identity, identities: Identities, tmp_path: Path, scheme: SignatureScheme, bank: pki.Identity
) -> None:
    alice = identities("client", KEY_FOR[scheme.key])
    files = write_files(tmp_path, authority, bank, alice)
    with serving(tmp_path / "output", *s_server(files)) as port:
        told = asyncio.run(page(port, our_client(alice, prove_by(alice, scheme))))
    kind = "ed25519" if scheme.key == "Ed25519" else f"{scheme.key}{'-PSS' if scheme.pss else ''}"
    assert f"Peer signature type: {kind}\n" in told
    assert scheme.hash is None or f"Peer signing digest: {scheme.hash.name.upper()}\n" in told


@each_group
@each_suite
def test_gnutls_serv_says_what_our_client_agreed_on(
    authority: pki.Identity,
    identities: Identities,
    tmp_path: Path,
    suite: CipherSuite,
    group: Group,
    alice: pki.Identity,
) -> None:
    files = write_files(tmp_path, authority, identities("server", server_key(suite)), alice)
    ours = our_client(alice, suites=(suite,))
    with serving(tmp_path / "output", *gnutls_serv(files, gnutls_priority(suite, group))) as port:
        assert asyncio.run(call(port, ours, b"hello\n")) == b"hello\n"
        printed = read_until(tmp_path / "output", "- Options:")
    assert f"- Key Exchange: ECDHE-{suite.signed_with}" in printed
    assert f"- Cipher: {gnutls_cipher(suite)}" in printed
    assert f"- Using curve: {group.gnutls}" in printed
    assert f"- Given server name[1]: {NAME}" in printed
    assert "Subject: O=Bank of Example,CN=alice" in printed
    assert "- Options: extended master secret, safe renegotiation," in printed


@each_scheme
def test_gnutls_serv_says_how_possession_was_proved(
    authority: pki.Identity, identities: Identities, tmp_path: Path, scheme: SignatureScheme, bank: pki.Identity
) -> None:
    alice = identities("client", KEY_FOR[scheme.key])
    files = write_files(tmp_path, authority, bank, alice)
    with serving(tmp_path / "output", *gnutls_serv(files)) as port:
        asyncio.run(call(port, our_client(alice, prove_by(alice, scheme)), b"hello\n"))
        printed = read_until(tmp_path / "output", "- Options:")
    assert f"- Client Signature: {GNUTLS_SIGNATURES[scheme.name]}\n" in printed


@pytest.mark.parametrize("lacking", ["%NO_SESSION_HASH", "%DISABLE_SAFE_RENEGOTIATION"])
def test_our_client_takes_a_gnutls_serv_that_lacks_an_extension(
    tmp_path: Path, lacking: str, files: Files, alice: pki.Identity
) -> None:
    with serving(tmp_path / "output", *gnutls_serv(files, f"{GNUTLS_ONLY_12}:{lacking}")) as port:
        assert asyncio.run(call(port, our_client(alice), b"hello\n")) == b"hello\n"
        options = options_line(read_until(tmp_path / "output", "- Channel bindings"))
    assert ("extended master secret" in options) is (lacking != "%NO_SESSION_HASH")
    assert ("safe renegotiation" in options) is (lacking != "%DISABLE_SAFE_RENEGOTIATION")


@pytest.mark.parametrize("server", [s_server, gnutls_serv])
@each_wrong
def test_server_programs_refuse_a_wrong_proof_with_the_rfcs_alert(
    liar: Liar, tmp_path: Path, server: Callable[[Files], list[str]], wrong: WrongProof, files: Files
) -> None:
    with serving(tmp_path / "output", *server(files)) as port:
        assert asyncio.run(refusal(port, liar(wrong, "p256", "p256"))) == Failed(
            wrong.alert, "server", f"the server sent alert {wrong.alert.label} ({wrong.alert})"
        )


# RFC 5246 section 7.4.8 wants a scheme that was offered and names no alert; RFC 8446 section 4.4.3, for the same in
# TLS 1.3, has illegal_parameter. The stacks tell cases apart that the RFCs don't.
@cases(
    ("stack", "scheme", "alert"),
    {
        "openssl, unknown": ("openssl", 0xFE00, AlertDescription.ILLEGAL_PARAMETER),
        "openssl, not offered": ("openssl", 0x0503, AlertDescription.HANDSHAKE_FAILURE),
        "gnutls, unknown": ("gnutls", 0xFE00, AlertDescription.HANDSHAKE_FAILURE),
        "gnutls, not offered": ("gnutls", 0x0503, AlertDescription.HANDSHAKE_FAILURE),
    },
)
def test_server_programs_refuse_a_scheme_that_they_did_not_offer(
    tmp_path: Path, stack: str, scheme: int, alert: AlertDescription, files: Files, alice: pki.Identity
) -> None:
    offering_sha256_alone = {
        "openssl": s_server(files, "-client_sigalgs", "ECDSA+SHA256"),
        "gnutls": gnutls_serv(files, f"{GNUTLS_ONLY_12}:-SIGN-ALL:+SIGN-ECDSA-SHA256"),
    }

    def prove(challenge: Challenge) -> CertificateVerify:
        assert challenge.schemes == (0x0403,)
        signed_as = next((row for row in SIGNATURE_SCHEMES if row.id == scheme), SIGNATURE_SCHEMES[0])
        return CertificateVerify(scheme, proof.sign(alice.key, signed_as, challenge.content))

    with serving(tmp_path / "output", *offering_sha256_alone[stack]) as port:
        failed = asyncio.run(refusal(port, our_client(alice, prove)))
    assert (failed.alert, failed.sent_by) == (alert, "server")


@pytest.mark.parametrize(
    ("server", "alert"),
    [
        (s_server, AlertDescription.HANDSHAKE_FAILURE),  # RFC 5246 section 7.4.6
        (gnutls_serv, AlertDescription.DECODE_ERROR),  # what GnuTLS 3.7 sends instead
    ],
)
def test_server_programs_refuse_a_client_without_a_certificate(
    tmp_path: Path, server: Callable[[Files], list[str]], alert: AlertDescription, files: Files
) -> None:
    with serving(tmp_path / "output", *server(files)) as port:
        failed = asyncio.run(refusal(port, our_client()))
    assert (failed.alert, failed.sent_by) == (alert, "server")


@each_group
@each_suite
def test_openssl_s_client_says_what_our_server_agreed_on(
    authority: pki.Identity,
    identities: Identities,
    tmp_path: Path,
    suite: CipherSuite,
    group: Group,
    alice: pki.Identity,
) -> None:
    files = write_files(tmp_path, authority, identities("server", server_key(suite)), alice)
    server = our_server(identities("server", server_key(suite)), suites=(suite,), groups=(group.id,))
    printed = asyncio.run(answer_once(server, *s_client(files), line=b"hello\n"))
    assert "\nhello\n" in printed
    assert f"TLSv1.2, Cipher is {suite.name}" in printed
    assert f"Server Temp Key: {group.s_client}" in printed
    assert "Secure Renegotiation IS supported" in printed
    assert "Extended master secret: yes" in printed
    assert "Verify return code: 0 (ok)" in printed
    assert f"Master-Key: {server.key_log.split()[2].upper()}" in printed
    assert server.server_name == NAME
    assert server.peer_chain[0] == alice.der


@each_scheme
def test_openssl_s_client_proves_possession_to_our_server_with_every_scheme(
    authority: pki.Identity, identities: Identities, tmp_path: Path, scheme: SignatureScheme, bank: pki.Identity
) -> None:
    alice, server = identities("client", KEY_FOR[scheme.key]), our_server(bank)
    files = write_files(tmp_path, authority, bank, alice)
    command = s_client(files, "-client_sigalgs", scheme.name)
    assert "\nhello\n" in asyncio.run(answer_once(server, *command, line=b"hello\n"))
    assert scheme_of_the_proof(server) == scheme.id
    assert server.peer_chain[0] == alice.der


@each_group
@each_suite
def test_gnutls_cli_says_what_our_server_agreed_on(
    authority: pki.Identity,
    identities: Identities,
    tmp_path: Path,
    suite: CipherSuite,
    group: Group,
    alice: pki.Identity,
) -> None:
    files = write_files(tmp_path, authority, identities("server", server_key(suite)), alice)
    server = our_server(identities("server", server_key(suite)), suites=(suite,), groups=(group.id,))
    printed = asyncio.run(answer_once(server, *gnutls_cli(files), line=b"hello\n"))
    assert "\nhello\n" in printed
    assert f"-(ECDHE-{group.gnutls})-(" in printed
    assert f")-({gnutls_cipher(suite)})\n" in printed
    assert "- Options: extended master secret, safe renegotiation," in printed
    assert "The certificate is trusted" in printed
    assert server.peer_chain[0] == alice.der


@pytest.mark.parametrize("scheme", ["ecdsa_secp256r1_sha256", "ed25519", "rsa_pss_rsae_sha256", "rsa_pkcs1_sha256"])
def test_gnutls_cli_proves_possession_to_our_server(
    authority: pki.Identity, identities: Identities, tmp_path: Path, scheme: str, bank: pki.Identity
) -> None:
    wanted = next(s for s in SIGNATURE_SCHEMES if s.name == scheme)
    alice, server = identities("client", KEY_FOR[wanted.key]), our_server(bank)
    files = write_files(tmp_path, authority, bank, alice)
    signatures = f"-SIGN-ALL:+SIGN-ECDSA-SHA256:+SIGN-{GNUTLS_SIGNATURES[scheme].upper()}"
    command = gnutls_cli(files, f"{GNUTLS_ONLY_12}:{signatures}")
    assert "\nhello\n" in asyncio.run(answer_once(server, *command, line=b"hello\n"))
    assert scheme_of_the_proof(server) == wanted.id
    assert server.peer_chain[0] == alice.der


@pytest.mark.parametrize("lacking", ["%NO_SESSION_HASH", "%DISABLE_SAFE_RENEGOTIATION"])
def test_our_server_takes_a_gnutls_cli_that_lacks_an_extension(lacking: str, files: Files, bank: pki.Identity) -> None:
    server = our_server(bank)
    command = gnutls_cli(files, f"{GNUTLS_ONLY_12}:{lacking}")
    printed = asyncio.run(answer_once(server, *command, line=b"hello\n"))
    assert "\nhello\n" in printed
    assert ("extended master secret" in options_line(printed)) is (lacking != "%NO_SESSION_HASH")
    assert ("safe renegotiation" in options_line(printed)) is (lacking != "%DISABLE_SAFE_RENEGOTIATION")


@pytest.mark.parametrize(
    ("client", "words"), [(s_client, "SSL alert number 40"), (gnutls_cli, "Received alert [40]: Handshake failed")]
)
def test_client_programs_without_a_certificate_are_told_handshake_failure(
    client: Callable[[Files], list[str]], words: str, files: Files, bank: pki.Identity
) -> None:
    command = client(files)
    for option in ("-cert", "--x509certfile", "--x509keyfile"):
        if option in command:
            del command[command.index(option) : command.index(option) + 2]
    assert words in asyncio.run(answer_once(our_server(bank), *command, line=b"hello\n"))


def test_openssl_s_client_is_told_that_there_is_no_renegotiation(files: Files, bank: pki.Identity) -> None:
    """RFC 5246 section 7.2.2: the warning leaves it to the client what to do, and OpenSSL ends the connection."""
    command = [word for word in s_client(files) if word != "-ign_eof"]
    printed = asyncio.run(answer_once(our_server(bank), *command, line=b"R\n"))
    assert "RENEGOTIATING" in printed
    assert ":no renegotiation:" in printed
