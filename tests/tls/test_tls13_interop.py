"""OpenSSL and GnuTLS in both roles: TLS 1.3, and what holds in TLS 1.2 too; `test_tls_interop.py` has its rest."""

import asyncio
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from lab.catalogue import plan
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.client import Client
from lab.tls.connection import Connection, Step
from lab.tls.engine import Failed
from lab.tls.errors import CertificateError
from lab.tls.keys import SECP256R1, SECP521R1, TLS13_SUITES, X25519, CipherSuite
from lab.tls.messages import CertificateVerify, ClientHello, ServerHello, parse
from lab.tls.messages13 import KeyUpdate, NewSessionTicket13, is_retry
from lab.tls.proof import SIGNATURE_SCHEMES, Challenge, Prover
from lab.tls.server import Proof
from lab.tls.streams import TlsStream
from lab.tls.versions import TLS12, TLS13, Version
from programs import program
from tls_peers import (
    GNUTLS_ONLY_13,
    NAME,
    PATIENCE_SECONDS,
    Files,
    Identities,
    OpenSslEngine,
    answer_once,
    by_another_key,
    call,
    commanding,
    converse,
    gnutls_cli,
    gnutls_serv,
    omitted,
    openssl_context,
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

BOTH = (TLS13, TLS12)
each_version = pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
GNUTLS_CIPHERS = {0x1301: "AES-128-GCM", 0x1302: "AES-256-GCM", 0x1303: "CHACHA20-POLY1305"}
SCHEMES13 = [scheme for scheme in SIGNATURE_SCHEMES if scheme.key != "RSA" or scheme.pss]
CLIENT_SCHEMES = {
    "rsa": "rsa_pss_rsae_sha256",
    "p256": "ecdsa_secp256r1_sha256",
    "p384": "ecdsa_secp384r1_sha384",
    "ed25519": "ed25519",
}


@dataclass(frozen=True)
class Group:
    """A group under everybody's name for it, and the other one."""

    id: int
    openssl: str
    s_client: str
    gnutls: str
    other: int


GROUPS = (
    Group(X25519, "X25519", "X25519, 253 bits", "X25519", SECP256R1),
    Group(SECP256R1, "P-256", "ECDH, prime256v1, 256 bits", "SECP256R1", X25519),
    Group(SECP521R1, "P-521", "ECDH, secp521r1, 521 bits", "SECP521R1", X25519),
)

each_suite = pytest.mark.parametrize("suite", TLS13_SUITES, ids=lambda suite: suite.name)
each_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.gnutls)
each_client = pytest.mark.parametrize("kind", CLIENT_SCHEMES)
retried_or_not = pytest.mark.parametrize("retried", [False, True], ids=["at once", "after HelloRetryRequest"])


@pytest.fixture(scope="session")
def clients(authority: pki.Identity, identities: Identities) -> dict[str, pki.Identity]:
    """A client with a key of every kind that TLS 1.3 knows here."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP384R1())
    template = identities("client", "p256").certificate
    certificate = (
        x509.CertificateBuilder(authority.certificate.subject, template.subject, key.public_key(), 384)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(authority.key, hashes.SHA256())
    )
    return {
        "rsa": identities("client", "rsa"),
        "p256": identities("client", "p256"),
        "p384": pki.Identity(certificate, key),
        "ed25519": identities("client", "ed25519"),
    }


@pytest.fixture
def files(tmp_path: Path, authority: pki.Identity, alice: pki.Identity, bank: pki.Identity) -> Files:
    return write_files(tmp_path, authority, bank, alice)


def names(steps: list[Step], sender: str) -> list[str]:
    return [step.name for step in steps if step.sender == sender]


def server_hellos(ours: Connection) -> list[ServerHello]:
    parsed = [parse(step.raw) for step in ours.steps if step.name == ServerHello.name]
    return [hello for hello in parsed if isinstance(hello, ServerHello)]


def was_retried(ours: Connection) -> bool:
    return any(map(is_retry, server_hellos(ours)))


def agreed_group(ours: Connection) -> int:
    share = ext.read_key_share(server_hellos(ours)[-1].extensions)
    assert share
    return share[0]


def scheme_of_the_proof(ours: Connection) -> str:
    (raw,) = [step.raw for step in ours.steps if step.name == CertificateVerify.name and step.sender == "client"]
    verify = parse(raw)
    assert isinstance(verify, CertificateVerify)
    return proof.scheme_name(verify.scheme, TLS13)


def key_updates(ours: Connection, sender: str) -> list[bytes]:
    """What each KeyUpdate of one side holds: 1 where it asks for the other side's."""
    return [step.raw[4:] for step in ours.steps if step.name == KeyUpdate.name and step.sender == sender]


def logged_by(ours: Connection, path: Path) -> bool:
    """Whether OpenSSL logged the same secrets."""
    assert len(ours.key_log.splitlines()) == 4
    return set(ours.key_log.splitlines()) <= set(path.read_text().splitlines())


# Python's ssl, without a network.


@retried_or_not
@pytest.mark.parametrize("closes", ["client", "server"])
@each_group
@each_suite
def test_our_client_talks_to_openssl(
    authority: pki.Identity,
    identities: Identities,
    bank: pki.Identity,
    tmp_path: Path,
    suite: CipherSuite,
    group: Group,
    closes: str,
    retried: bool,
) -> None:
    alice = identities("client", "rsa")  # held to X25519, OpenSSL takes no client's certificate on P-256
    curve = {X25519: "X25519", SECP256R1: "prime256v1", SECP521R1: "secp521r1"}[group.id]
    context = openssl_context(True, authority, bank, group=curve, versions=(TLS13,))
    context.keylog_filename = str(tmp_path / "keys.log")
    theirs = OpenSslEngine(context, server_side=True)
    shares = (group.other,) if retried else (group.id,)
    ours = our_client(alice, suites=(suite,), versions=(TLS13,), shares=shares)
    converse(ours, theirs, closes)
    assert was_retried(ours) is retried
    assert agreed_group(ours) == group.id
    assert theirs.tls.cipher()[0] == suite.name  # type: ignore[index]
    assert theirs.peer_chain == (alice.der,)
    assert ours.peer_chain[0] == bank.der
    assert logged_by(ours, tmp_path / "keys.log")


@pytest.mark.parametrize("closes", ["client", "server"])
@each_group
@each_suite
def test_our_server_talks_to_openssl(
    authority: pki.Identity,
    alice: pki.Identity,
    bank: pki.Identity,
    tmp_path: Path,
    suite: CipherSuite,
    group: Group,
    closes: str,
) -> None:
    """OpenSSL's first share is of X25519: for another group it has to be asked again."""
    context = openssl_context(False, authority, alice, versions=(TLS13,))
    context.keylog_filename = str(tmp_path / "keys.log")
    theirs = OpenSslEngine(context, server_side=False)
    ours = our_server(bank, suites=(suite,), groups=(group.id,), versions=(TLS13,))
    converse(theirs, ours, closes)
    assert was_retried(ours) is (group.id != X25519)
    assert agreed_group(ours) == group.id
    assert theirs.tls.cipher()[0] == suite.name  # type: ignore[index]
    assert ours.peer_chain[0] == alice.der
    assert ours.server_name == NAME
    assert logged_by(ours, tmp_path / "keys.log")


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("versions", [(TLS12,), BOTH], ids=["1.2", "1.3"])
def test_bytes_may_come_in_pieces_of_any_size(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity, versions: tuple[int, ...], size: int
) -> None:
    theirs = OpenSslEngine(openssl_context(True, authority, bank, versions=versions), server_side=True)
    assert talk(our_client(alice, versions=versions), theirs, cut=size).established
    theirs = OpenSslEngine(openssl_context(False, authority, alice, versions=versions), server_side=False)
    assert talk(theirs, our_server(bank, versions=versions), cut=size).established


@each_version
@pytest.mark.parametrize("key_type", plan.KEY_TYPES)
def test_servers_with_keys_of_every_kind_are_taken_by_openssl_and_the_other_way_round(
    authority: pki.Identity, identities: Identities, alice: pki.Identity, key_type: plan.KeyType, version: Version
) -> None:
    bank = identities("server", key_type)
    theirs = OpenSslEngine(openssl_context(False, authority, alice, versions=(version,)), server_side=False)
    assert talk(theirs, our_server(bank, versions=(version,))).established
    theirs = OpenSslEngine(openssl_context(True, authority, bank, versions=(version,)), server_side=True)
    assert talk(our_client(alice, versions=(version,)), theirs).established


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        (BOTH, BOTH, "TLSv1.3"),
        (BOTH, (TLS12,), "TLSv1.2"),
        (BOTH, (TLS13,), "TLSv1.3"),
        ((TLS12,), BOTH, "TLSv1.2"),
        ((TLS13,), BOTH, "TLSv1.3"),
    ],
    ids=lambda value: value if isinstance(value, str) else " and ".join(hex(version) for version in value),
)
@pytest.mark.parametrize("role", ["client", "server"])
def test_the_best_version_that_both_have_is_agreed_on(
    authority: pki.Identity,
    alice: pki.Identity,
    bank: pki.Identity,
    role: str,
    ours: tuple[int, ...],
    theirs: tuple[int, ...],
    agreed: str,
) -> None:
    if role == "client":
        engine = OpenSslEngine(openssl_context(True, authority, bank, versions=theirs), server_side=True)
        assert talk(our_client(alice, versions=ours), engine).established
    else:
        engine = OpenSslEngine(openssl_context(False, authority, alice, versions=theirs), server_side=False)
        assert talk(engine, our_server(bank, versions=ours)).established
    assert engine.tls.version() == agreed


@pytest.mark.parametrize(("ours", "theirs"), [((TLS13,), (TLS12,)), ((TLS12,), (TLS13,))], ids=["1.3", "1.2"])
def test_without_a_version_in_common_everybody_is_told_so(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity, ours: tuple[int, ...], theirs: tuple[int, ...]
) -> None:
    engine = OpenSslEngine(openssl_context(True, authority, bank, versions=theirs), server_side=True)
    told = talk(our_client(alice, versions=ours), engine).failure("client")
    assert (told.alert, told.sent_by) == (AlertDescription.PROTOCOL_VERSION, "server")
    engine = OpenSslEngine(openssl_context(False, authority, alice, versions=theirs), server_side=False)
    told = talk(engine, our_server(bank, versions=ours)).failure("server")
    assert (told.alert, told.sent_by) == (AlertDescription.PROTOCOL_VERSION, "server")


def test_tickets_are_taken(authority: pki.Identity, alice: pki.Identity, bank: pki.Identity) -> None:
    context = openssl_context(True, authority, bank, versions=(TLS13,))
    client = our_client(alice, versions=(TLS13,), tickets=True)
    assert talk(client, OpenSslEngine(context, server_side=True)).established
    assert names(client.steps, "server")[-2:] == [NewSessionTicket13.name] * 2


def test_a_client_of_both_versions_refuses_a_downgrade(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity
) -> None:
    """As for a man in the middle who takes supported_versions out of the ClientHello: the random tells."""
    theirs = OpenSslEngine(openssl_context(True, authority, bank, versions=BOTH), server_side=True)
    ours = our_client(alice, versions=BOTH)
    narrow = our_client(alice, versions=(TLS12,))
    theirs.receive(narrow.data_to_send())
    (failed,) = ours.receive(theirs.data_to_send())
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (AlertDescription.ILLEGAL_PARAMETER, "client")
    assert "downgrade sentinel" in failed.reason


def test_our_server_tells_openssl_that_somebody_brought_the_version_down(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity
) -> None:
    theirs = OpenSslEngine(openssl_context(False, authority, alice, versions=BOTH), server_side=False)
    narrow = OpenSslEngine(openssl_context(False, authority, alice, versions=(TLS12,)), server_side=False)
    ours = our_server(bank, versions=BOTH)
    ours.receive(narrow.data_to_send())
    (failed,) = [event for event in theirs.receive(ours.data_to_send()) if isinstance(event, Failed)]
    assert "inappropriate fallback" in failed.reason.lower() or "downgrade" in failed.reason.lower()


# Proofs.


def replayed(alice: pki.Identity, mallory: pki.Identity, bank: pki.Identity) -> Prover:
    """The proof that the owner gave in an earlier handshake with the same server."""
    earlier = our_client(alice, versions=(TLS13,))
    assert talk(earlier, our_server(bank, versions=(TLS13,))).established
    (raw,) = [s.raw for s in earlier.steps if s.name == CertificateVerify.name and s.sender == "client"]
    proven = parse(raw)
    assert isinstance(proven, CertificateVerify)
    return lambda challenge: proven


def as_in_tls_12(alice: pki.Identity, mallory: pki.Identity, bank: pki.Identity) -> Prover:
    """The transcript itself is signed, without its prefix."""

    def prove(challenge: Challenge) -> CertificateVerify:
        signature = proof.sign(alice.key, SIGNATURE_SCHEMES[0], challenge.transcript)
        return CertificateVerify(SIGNATURE_SCHEMES[0].id, signature)

    return prove


def in_a_scheme_for_another_curve(alice: pki.Identity, mallory: pki.Identity, bank: pki.Identity) -> Prover:
    """In TLS 1.2 the owner's key could be used so."""
    scheme = next(scheme for scheme in SIGNATURE_SCHEMES if scheme.name == "ecdsa_secp384r1_sha384")
    return lambda challenge: CertificateVerify(scheme.id, proof.sign(alice.key, scheme, challenge.content))


WRONG = (
    (omitted, AlertDescription.UNEXPECTED_MESSAGE),
    (replayed, AlertDescription.DECRYPT_ERROR),
    (by_another_key, AlertDescription.DECRYPT_ERROR),
    (as_in_tls_12, AlertDescription.DECRYPT_ERROR),
    (in_a_scheme_for_another_curve, AlertDescription.ILLEGAL_PARAMETER),
)
each_wrong = pytest.mark.parametrize(("wrong", "alert"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
Wrong = Callable[[pki.Identity, pki.Identity, pki.Identity], Prover]


@pytest.fixture
def liar(identities: Identities, alice: pki.Identity, bank: pki.Identity) -> Callable[[Wrong], Client]:
    """A client with alice's certificate and a wrong proof."""
    mallory = identities("another client", "p256")
    return lambda wrong: our_client(alice, wrong(alice, mallory, bank), versions=(TLS13,))


@pytest.fixture(params=["ours", "openssl", "s_server", "gnutls-serv"])
def refused(
    request: pytest.FixtureRequest, authority: pki.Identity, bank: pki.Identity, files: Files, tmp_path: Path
) -> Callable[[Client], Failed]:
    """How a server refuses a client: ours, OpenSSL's in this process, and the programs."""

    def refuse(client: Client) -> Failed:
        if request.param in ("ours", "openssl"):
            context = openssl_context(True, authority, bank, versions=(TLS13,))
            peer = OpenSslEngine(context, True) if request.param == "openssl" else our_server(bank, versions=(TLS13,))
            return talk(client, peer).failure("client")
        call = s_server(files, "-tls1_3") if request.param == "s_server" else gnutls_serv(files, GNUTLS_ONLY_13)
        with serving(tmp_path / "output", *call) as port:
            return asyncio.run(refusal(port, client))

    return refuse


@each_wrong
def test_a_wrong_proof_is_refused_with_the_rfcs_alert_once_the_client_thinks_it_is_in(
    refused: Callable[[Client], Failed], liar: Callable[[Wrong], Client], wrong: Wrong, alert: AlertDescription
) -> None:
    failed = refused(liar(wrong))
    assert (failed.alert, failed.sent_by) == (alert, "server")


@each_wrong
@pytest.mark.parametrize("policy", [Proof.IGNORED, Proof.NOT_CHECKED], ids=lambda policy: policy.name)
def test_a_server_that_does_not_look_at_proofs_takes_any(
    bank: pki.Identity, alice: pki.Identity, liar: Callable[[Wrong], Client], policy: Proof, wrong: Wrong, alert: int
) -> None:
    server = our_server(bank, policy, versions=(TLS13,))
    said = talk(liar(wrong), server)
    if wrong is omitted and policy is Proof.IGNORED:
        assert said.failure("client").alert == AlertDescription.UNEXPECTED_MESSAGE
    else:
        assert said.established
        assert server.peer_chain == (alice.der,)


def test_a_client_without_a_certificate_is_told_that_one_is_required(refused: Callable[[Client], Failed]) -> None:
    failed = refused(our_client(versions=(TLS13,)))
    assert (failed.alert, failed.sent_by) == (AlertDescription.CERTIFICATE_REQUIRED, "server")


@each_version
def test_openssl_without_a_certificate_is_told_that_one_is_required(
    authority: pki.Identity, bank: pki.Identity, version: Version
) -> None:
    theirs = OpenSslEngine(openssl_context(False, authority, versions=(version,)), server_side=False)
    failed = talk(theirs, our_server(bank, versions=(version,))).failure("server")
    required = {TLS12: AlertDescription.HANDSHAKE_FAILURE, TLS13: AlertDescription.CERTIFICATE_REQUIRED}
    assert (failed.alert, failed.sent_by) == (required[version], "server")


def test_what_our_client_refuses_is_heard_by_openssl_under_protection(
    authority: pki.Identity, bank: pki.Identity, alice: pki.Identity
) -> None:
    """RFC 8446 section 6: alerts after the ServerHello are protected."""
    theirs = OpenSslEngine(openssl_context(True, authority, bank, versions=(TLS13,)), server_side=True)

    def nobody(chain: tuple[bytes, ...]) -> None:
        raise CertificateError(AlertDescription.UNKNOWN_CA, "nobody is known here")

    ours = our_client(alice, versions=(TLS13,), check_chain=nobody)
    assert "unknown ca" in talk(ours, theirs).failure("server").reason


# The programs.


@retried_or_not
@each_group
@each_suite
def test_openssl_s_server_says_what_our_client_agreed_on(
    alice: pki.Identity, files: Files, tmp_path: Path, suite: CipherSuite, group: Group, retried: bool
) -> None:
    ours = our_client(alice, versions=(TLS13,), suites=(suite,), shares=(group.other,) if retried else (group.id,))
    groups = f"{group.openssl}" if retried else "X25519:P-256:P-521"
    with serving(
        tmp_path / "output", *s_server(files, "-tls1_3", "-groups", groups, "-client_sigalgs", SIGALGS)
    ) as port:
        told = asyncio.run(page(port, ours))
    assert f"TLSv1.3, Cipher is {suite.name}" in told
    assert "Subject: CN=alice, O=Bank of Example" in told
    assert "Verify return code: 0 (ok)" in told
    assert was_retried(ours) is retried
    assert agreed_group(ours) == group.id


SIGALGS = ":".join(scheme.name for scheme in SCHEMES13)


@each_client
def test_server_programs_say_how_possession_was_proved(
    authority: pki.Identity, clients: dict[str, pki.Identity], bank: pki.Identity, tmp_path: Path, kind: str
) -> None:
    alice = clients[kind]
    files = write_files(tmp_path, authority, bank, alice)
    ours = our_client(alice, versions=(TLS13,))
    with serving(tmp_path / "output", *s_server(files, "-tls1_3")) as port:
        told = asyncio.run(page(port, ours))
    signed = {"rsa": "RSA-PSS", "p256": "ECDSA", "p384": "ECDSA", "ed25519": "ed25519"}[kind]
    assert f"Peer signature type: {signed}\n" in told
    assert scheme_of_the_proof(ours) == CLIENT_SCHEMES[kind]
    ours = our_client(alice, versions=(TLS13,))
    with serving(tmp_path / "output", *gnutls_serv(files, GNUTLS_ONLY_13)) as port:
        assert asyncio.run(call(port, ours, b"hello\n")) == b"hello\n"
    assert scheme_of_the_proof(ours) == CLIENT_SCHEMES[kind]


@each_client
def test_client_programs_prove_possession_to_our_server(
    authority: pki.Identity, clients: dict[str, pki.Identity], bank: pki.Identity, tmp_path: Path, kind: str
) -> None:
    files = write_files(tmp_path, authority, bank, clients[kind])
    for command in (s_client(files, "-tls1_3"), gnutls_cli(files, GNUTLS_ONLY_13)):
        server = our_server(bank, versions=(TLS13,))
        assert "\nhello\n" in asyncio.run(answer_once(server, *command, line=b"hello\n"))
        assert scheme_of_the_proof(server) == CLIENT_SCHEMES[kind]
        assert server.peer_chain[0] == clients[kind].der


@retried_or_not
@each_group
@each_suite
def test_gnutls_serv_says_what_our_client_agreed_on(
    alice: pki.Identity, files: Files, tmp_path: Path, suite: CipherSuite, group: Group, retried: bool
) -> None:
    ours = our_client(alice, versions=(TLS13,), suites=(suite,), shares=(group.other,) if retried else (group.id,))
    priority = f"{GNUTLS_ONLY_13}:-GROUP-ALL:+GROUP-{group.gnutls}"
    with serving(tmp_path / "output", *gnutls_serv(files, priority)) as port:
        assert asyncio.run(call(port, ours, b"hello\n")) == b"hello\n"
        printed = read_until(tmp_path / "output", "- Options:")
    assert f"- Description: (TLS1.3)-(ECDHE-{group.gnutls})-(" in printed.replace("-X.509", "")
    assert f"- Cipher: {GNUTLS_CIPHERS[suite.id]}" in printed or f"-({GNUTLS_CIPHERS[suite.id]})" in printed
    assert "Subject: O=Bank of Example,CN=alice" in printed
    assert was_retried(ours) is retried


@each_group
@each_suite
def test_client_programs_say_what_our_server_agreed_on(
    bank: pki.Identity, alice: pki.Identity, files: Files, suite: CipherSuite, group: Group
) -> None:
    """Both send a share of X25519 or of P-256 first and have to be asked again for another."""
    for command in (s_client(files, "-tls1_3", "-groups", "X25519:P-256:P-521"), gnutls_cli(files, GNUTLS_ONLY_13)):
        server = our_server(bank, versions=(TLS13,), suites=(suite,), groups=(group.id,))
        printed = asyncio.run(answer_once(server, *command, line=b"hello\n"))
        assert "\nhello\n" in printed
        if "s_client" in command:
            assert f"TLSv1.3, Cipher is {suite.name}" in printed
            assert f"Server Temp Key: {group.s_client}" in printed
            assert was_retried(server) is (group.id != X25519)
        else:
            assert f"-(ECDHE-{group.gnutls})-(" in printed
            assert f")-({GNUTLS_CIPHERS[suite.id]})\n" in printed
        assert server.peer_chain[0] == alice.der


@pytest.mark.parametrize("priority", ["+GROUP-SECP256R1:+GROUP-X25519", "+GROUP-X25519:+GROUP-SECP256R1"])
@each_group
def test_gnutls_cli_is_asked_again_for_a_group_that_it_sent_no_share_of(
    bank: pki.Identity, files: Files, group: Group, priority: str
) -> None:
    server = our_server(bank, versions=(TLS13,), groups=(group.id,))
    command = gnutls_cli(files, f"{GNUTLS_ONLY_13}:-GROUP-ALL:{priority}:+GROUP-SECP521R1:%DISABLE_TLS13_COMPAT_MODE")
    command += ["--single-key-share"]
    assert "\nhello\n" in asyncio.run(answer_once(server, *command, line=b"hello\n"))
    assert was_retried(server) is not priority.startswith(f"+GROUP-{group.gnutls}")
    assert agreed_group(server) == group.id


@pytest.mark.parametrize("compatible", [True, False], ids=["for middleboxes", "-no_middlebox"])
def test_change_cipher_spec_is_sent_and_taken_for_middleboxes_alone(
    bank: pki.Identity, alice: pki.Identity, files: Files, tmp_path: Path, compatible: bool
) -> None:
    option = [] if compatible else ["-no_middlebox"]
    server = our_server(bank, versions=(TLS13,))
    printed = asyncio.run(answer_once(server, *s_client(files, "-tls1_3", *option), line=b"hello\n"))
    assert "\nhello\n" in printed
    assert ("ChangeCipherSpec" in names(server.steps, "server")) is compatible
    assert ("ChangeCipherSpec" in names(server.steps, "client")) is compatible
    client = our_client(alice, versions=(TLS13,))
    with serving(tmp_path / "output", *s_server(files, "-tls1_3", *option)) as port:
        assert "Verify return code: 0 (ok)" in asyncio.run(page(port, client))
    assert ("ChangeCipherSpec" in names(client.steps, "server")) is compatible


@each_version
def test_messages_that_openssl_cuts_into_small_records_are_joined(
    authority: pki.Identity, identities: Identities, tmp_path: Path, version: Version
) -> None:
    alice, bank = identities("client", "rsa"), identities("server", "rsa")
    assert min(len(alice.der), len(bank.der)) > 512
    files = write_files(tmp_path, authority, bank, alice)
    small = ("-max_send_frag", "512", *(["-tls1_3"] if version == TLS13 else []))
    with serving(tmp_path / "output", *s_server(files, *small)) as port:
        assert "Verify return code: 0 (ok)" in asyncio.run(page(port, our_client(alice, versions=(version,))))
    server = our_server(bank, versions=(version,))
    assert "\nhello\n" in asyncio.run(answer_once(server, *s_client(files, *small), line=b"hello\n"))


# New keys.


async def read_line(stream: TlsStream) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += await stream.read()
    return line


@pytest.mark.parametrize(("command", "asks"), [("k", False), ("K", True)], ids=["alone", "with ours"])
def test_our_server_follows_the_keys_of_openssl_s_client(
    bank: pki.Identity, files: Files, command: str, asks: bool
) -> None:
    server = our_server(bank, versions=(TLS13,))

    async def answer(stream: TlsStream, typed: asyncio.StreamWriter) -> None:
        await read_line(stream)
        typed.write(f"{command}\n".encode())
        reading = asyncio.ensure_future(read_line(stream))
        while not key_updates(server, "client"):
            await asyncio.sleep(0.01)
        typed.write(b"two\n")
        await stream.write(b"heard " + await reading)

    call = [word for word in s_client(files, "-tls1_3") if word != "-ign_eof"]
    printed = asyncio.run(answer_once(server, *call, line=b"one\n", answer=answer))
    assert "KEYUPDATE" in printed
    assert "heard two\n" in printed
    assert key_updates(server, "client") == [bytes([asks])]
    assert key_updates(server, "server") == ([b"\0"] if asks else [])


@pytest.mark.parametrize(("command", "asks"), [("k", False), ("K", True)], ids=["alone", "with ours"])
def test_our_client_follows_the_keys_of_openssl_s_server(
    alice: pki.Identity, files: Files, tmp_path: Path, command: str, asks: bool
) -> None:
    client = our_client(alice, versions=(TLS13,))

    async def listening(port: int, say: Callable[[str], None]) -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS):
            stream = TlsStream(client, *await asyncio.open_connection("127.0.0.1", port))
            await stream.handshake()
            await stream.write(b"one\n")
            reading = asyncio.ensure_future(read_line(stream))
            read_until(tmp_path / "output", "one\n")
            say(command)
            while not key_updates(client, "server"):
                await asyncio.sleep(0.01)
            say("two")
            heard = await reading
            await stream.write(b"three\n")
            await asyncio.to_thread(read_until, tmp_path / "output", "three\n")
            await stream.close()
            return heard

    call = [word for word in s_server(files, "-tls1_3") if word != "-www"]
    with commanding(tmp_path / "output", *call) as (port, say):
        assert asyncio.run(listening(port, say)) == b"two\n"
    assert key_updates(client, "server") == [bytes([asks])]
    assert key_updates(client, "client") == ([b"\0"] if asks else [])


# What a client brings along from another server.


@pytest.fixture
def session(files: Files, tmp_path: Path) -> Path:
    """A session of openssl s_client's with some other server, good for early data."""
    path = tmp_path / "session.pem"
    server = [word for word in s_server(files, "-tls1_3", "-early_data") if word != "-www"]
    client = [word for word in s_client(files, "-tls1_3", "-sess_out", str(path)) if word != "-ign_eof"]
    with serving(tmp_path / "other", *server) as port:
        command = [program("openssl"), *(word.format(port=port) for word in client[1:])]
        path.touch()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            read_until(path, "-----END")
            process.communicate(b"Q\n", PATIENCE_SECONDS)
    return path


@each_group
@pytest.mark.parametrize("early", [False, True], ids=["a ticket", "early data"])
def test_a_client_that_offers_a_session_of_another_server_gets_a_full_handshake(
    bank: pki.Identity, alice: pki.Identity, files: Files, tmp_path: Path, session: Path, group: Group, early: bool
) -> None:
    """RFC 8446 section 4.2.10: early data that the server doesn't take is passed over, with and without a retry."""
    data = tmp_path / "early"
    data.write_bytes(b"too early" * 100)
    server = our_server(bank, versions=(TLS13,), groups=(group.id,))
    options = ["-sess_in", str(session), *(["-early_data", str(data)] if early else [])]
    printed = asyncio.run(answer_once(server, *s_client(files, "-tls1_3", *options), line=b"hello\n"))
    hello = parse(server.steps[0].raw)
    assert isinstance(hello, ClientHello)
    assert ext.find(hello.extensions, ext.PRE_SHARED_KEY) is not None
    assert (ext.find(hello.extensions, ext.EARLY_DATA) is not None) is early
    assert "\nhello\n" in printed
    assert "New, TLSv1.3" in printed
    assert ("Early data was rejected" in printed) is early
    assert server.peer_chain[0] == alice.der
