"""RSA key transport and resumption in TLS 1.2, both roles, against ourselves, OpenSSL and GnuTLS."""

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.client import Client
from lab.tls.connection import Connection
from lab.tls.engine import Failed
from lab.tls.errors import Abort
from lab.tls.keys import CIPHER_SUITES, RSA_TRANSPORT_SUITES, CipherSuite
from lab.tls.messages import ClientHello, ServerHello, parse, serialize
from lab.tls.records import ContentType, write_record
from lab.tls.server import Server
from lab.tls.sessions import MAX_SESSIONS, Session, SessionStore
from lab.tls.streams import ConnectionFailed, TlsStream
from lab.tls.versions import TLS12, TLS13
from programs import program
from tls_peers import (
    GNUTLS_ONLY_12,
    PATIENCE_SECONDS,
    Files,
    Identities,
    OpenSslEngine,
    answer_once,
    call,
    cases,
    gnutls_cli,
    gnutls_serv,
    openssl_context,
    our_client,
    our_server,
    page,
    s_client,
    s_server,
    serving,
    talk,
    write_files,
)

GNUTLS_RSA = f"{GNUTLS_ONLY_12}:-KX-ALL:+RSA"
by_id_or_ticket = pytest.mark.parametrize("tickets", [False, True], ids=["by ID", "by ticket"])
each_transport = pytest.mark.parametrize("suite", RSA_TRANSPORT_SUITES, ids=lambda suite: suite.name)
EXTENDED_OFF = 1 << 0  # SSL_OP_NO_EXTENDED_MASTER_SECRET, OpenSSL 3


@pytest.fixture
def rsa_bank(identities: Identities) -> pki.Identity:
    return identities("server", "rsa")


def messages(ours: Connection) -> list[str]:
    return [step.name for step in ours.steps]


def abbreviated(ours: Connection) -> bool:
    """Whether it was the short handshake, going by what crossed the wire."""
    return "Certificate" not in messages(ours) and messages(ours).count("Finished") == 2


def session_of(client: Client) -> Session:
    assert isinstance(client.session, Session)
    return client.session


# RSA key transport.


@each_transport
def test_rsa_key_transport_with_openssl(
    authority: pki.Identity, alice: pki.Identity, rsa_bank: pki.Identity, tmp_path: Path, suite: CipherSuite
) -> None:
    for_server = openssl_context(True, authority, rsa_bank, suite.name)
    for_client = openssl_context(False, authority, alice, suite.name)
    for_server.keylog_filename = for_client.keylog_filename = str(tmp_path / "keys.log")
    client, server = our_client(alice, suites=(suite,)), our_server(rsa_bank, suites=(suite,))
    theirs = OpenSslEngine(for_server, server_side=True)
    assert talk(client, theirs).established
    assert theirs.peer_chain == (alice.der,)
    assert theirs.tls.cipher()[0] == suite.name  # type: ignore[index]
    assert talk(OpenSslEngine(for_client, server_side=False), server).established
    assert server.peer_chain[0] == alice.der
    assert (server.premaster[:2], len(server.premaster)) == (b"\3\3", 48)
    for ours in (client, server):
        assert "ServerKeyExchange" not in messages(ours)
        assert ours.key_log in (tmp_path / "keys.log").read_text()


@each_transport
def test_rsa_key_transport_with_programs(
    authority: pki.Identity, alice: pki.Identity, rsa_bank: pki.Identity, tmp_path: Path, suite: CipherSuite
) -> None:
    files = write_files(tmp_path, authority, rsa_bank, alice)
    with serving(tmp_path / "openssl", *s_server(files, "-cipher", suite.name)) as port:
        told = asyncio.run(page(port, our_client(alice, suites=(suite,))))
        assert f"TLSv1.2, Cipher is {suite.name}" in told
        assert "Subject: CN=alice, O=Bank of Example" in told
    with serving(tmp_path / "gnutls", *gnutls_serv(files, GNUTLS_RSA)) as port:
        assert asyncio.run(call(port, our_client(alice, suites=(suite,)), b"hello\n")) == b"hello\n"
    for command in (s_client(files, "-cipher", suite.name), gnutls_cli(files, GNUTLS_RSA)):
        server = our_server(rsa_bank, suites=(suite,))
        assert "\nhello\n" in asyncio.run(answer_once(server, *command, line=b"hello\n"))
        assert server.peer_chain[0] == alice.der
        assert "ServerKeyExchange" not in messages(server)


@pytest.mark.parametrize("role", ["ours", "openssl"])
@cases(
    "encrypt",
    {
        "another version": lambda key, premaster: key.encrypt(b"\x03\x02" + premaster[2:], PKCS1v15()),
        "too short": lambda key, premaster: key.encrypt(premaster[:-1], PKCS1v15()),
        "another secret": lambda key, premaster: key.encrypt(premaster[:2] + bytes(46), PKCS1v15()),
        "no padding": lambda key, premaster: bytes(255) + b"\x02",
        "no ciphertext": lambda key, premaster: b"short",
    },
)
def test_a_wrong_premaster_secret_is_noticed_at_finished_only(
    authority: pki.Identity,
    alice: pki.Identity,
    rsa_bank: pki.Identity,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    encrypt: Callable[[rsa.RSAPublicKey, bytes], bytes],
) -> None:
    """RFC 5246 section 7.4.7.1: whoever could tell the cases apart could decrypt (Bleichenbacher's attack)."""
    monkeypatch.setattr(keys, "encrypt_premaster", encrypt)
    context = openssl_context(True, authority, rsa_bank, "AES128-GCM-SHA256")
    server = OpenSslEngine(context, True) if role == "openssl" else our_server(rsa_bank, suites=RSA_TRANSPORT_SUITES)
    failed = talk(our_client(alice, suites=RSA_TRANSPORT_SUITES), server).failure("client")
    expected = {AlertDescription.BAD_RECORD_MAC}
    if role == "openssl" and encrypt(rsa_key(rsa_bank), bytes(48)) == b"short":
        expected = {AlertDescription.DECRYPT_ERROR, AlertDescription.DECODE_ERROR, AlertDescription.BAD_RECORD_MAC}
    assert failed.alert in expected
    assert failed.sent_by == "server"


def rsa_key(identity: pki.Identity) -> rsa.RSAPublicKey:
    key = identity.key.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def test_a_premaster_secret_begins_with_the_version_that_the_client_offered(rsa_bank: pki.Identity) -> None:
    key = rsa_bank.key
    assert isinstance(key, rsa.RSAPrivateKey)
    for offered in (TLS12, 0x0305):
        premaster = offered.to_bytes(2, "big") + os.urandom(46)
        encrypted = keys.encrypt_premaster(key.public_key(), premaster)
        assert keys.decrypt_premaster(key, encrypted, offered, os.urandom) == premaster
        assert keys.decrypt_premaster(key, encrypted, 0x0302, os.urandom) != premaster


def test_a_premaster_secret_is_for_a_large_enough_rsa_key_only(bank: pki.Identity) -> None:
    with pytest.raises(Abort) as caught:
        keys.encrypt_premaster(bank.key.public_key(), bytes(48))
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER


def test_key_transport_serves_where_there_is_no_group_in_common(alice: pki.Identity, rsa_bank: pki.Identity) -> None:
    suites = (*CIPHER_SUITES, *RSA_TRANSPORT_SUITES)
    client = our_client(alice, suites=suites, groups=(keys.X25519,))
    server = our_server(rsa_bank, suites=suites, groups=(keys.SECP256R1,))
    assert talk(client, server).established
    assert "ServerKeyExchange" not in messages(client)


# Resumption, among ourselves.


@by_id_or_ticket
@pytest.mark.parametrize("versions", [(TLS12,), (TLS13, TLS12)], ids=["TLS 1.2", "TLS 1.3 too"])
def test_a_session_is_gone_on_with_again_and_again(
    alice: pki.Identity, bank: pki.Identity, tickets: bool, versions: tuple[int, ...]
) -> None:
    store = SessionStore(os.urandom)
    first = our_client(alice, tickets=tickets)
    assert talk(first, our_server(bank, sessions=store)).established
    assert ("NewSessionTicket" in messages(first)) is tickets
    session = session_of(first)
    assert bool(session.ticket) is tickets
    for _ in range(2):
        client, server = our_client(resume=session, versions=versions), our_server(bank, sessions=store)
        assert talk(client, server).established
        assert client.resumed
        assert server.resumed
        assert abbreviated(client)
        assert server.peer_chain == (alice.der,)
        assert client.peer_chain == (bank.der,)
        assert server.challenge is None
        assert client.key_log == server.key_log != first.key_log
        client.send(b"hello")
        assert talk(client, server).data("server") == b"hello"
        session = session_of(client)


@by_id_or_ticket
def test_whoever_lacks_the_master_secret_gets_nowhere_and_hears_no_more_than_an_alert(
    alice: pki.Identity, bank: pki.Identity, tickets: bool
) -> None:
    store = SessionStore(os.urandom)
    first = our_client(alice, tickets=tickets)
    assert talk(first, our_server(bank, sessions=store)).established
    thief, server = our_client(resume=replace(session_of(first), master=None)), our_server(bank, sessions=store)
    said = talk(thief, server)
    assert said.failure("server").alert == AlertDescription.BAD_RECORD_MAC
    assert said.failure("server").sent_by == "server"
    assert said.client == [Failed(None, "server", "the server sent an alert under keys that this client doesn't have")]
    assert thief.resumed
    assert thief.receive(write_record(ContentType.ALERT, b"again")) == []


@by_id_or_ticket
def test_a_session_that_is_not_known_here_leads_to_a_full_handshake(
    alice: pki.Identity, bank: pki.Identity, tickets: bool
) -> None:
    first = our_client(alice, tickets=tickets)
    assert talk(first, our_server(bank, sessions=SessionStore(os.urandom))).established
    for other in (SessionStore(os.urandom), None):
        client, server = our_client(alice, resume=session_of(first)), our_server(bank, sessions=other)
        assert talk(client, server).established
        assert not client.resumed
        assert not server.resumed
        assert server.peer_chain == (alice.der,)


def test_a_session_without_a_certificate_is_no_good_where_one_is_asked_for(
    alice: pki.Identity, bank: pki.Identity
) -> None:
    store = SessionStore(os.urandom)
    first = our_client()
    assert talk(first, our_server(bank, policy=None, sessions=store)).established
    client, server = our_client(alice, resume=session_of(first)), our_server(bank, sessions=store)
    assert talk(client, server).established
    assert not client.resumed
    assert server.peer_chain == (alice.der,)


def test_a_session_whose_suite_is_not_offered_again_leads_to_a_full_handshake(
    alice: pki.Identity, bank: pki.Identity
) -> None:
    """RFC 5246 section 7.4.1.2: the list holds at least the suite of the session to resume. This one does not."""
    store = SessionStore(os.urandom)
    offered, kept_with = CIPHER_SUITES[0], CIPHER_SUITES[1]
    kept = Session(bytes(32), b"", bytes(48), kept_with.id, True, (alice.der,))
    store.keep(kept)
    for suites, resumed in (((kept_with,), True), ((offered,), False)):
        server = our_server(bank, sessions=store)
        hello = our_client(resume=kept, suites=suites).data_to_send()
        assert server.receive(hello) == []
        assert server.resumed is resumed
        (answer,) = [step.raw for step in server.steps if step.name == "ServerHello"]
        chosen = parse(answer)
        assert isinstance(chosen, ServerHello)
        assert chosen.cipher_suite == suites[0].id


@pytest.mark.parametrize(
    ("bound", "offered", "expected"),
    [
        (True, True, "resumed"),
        (True, False, AlertDescription.ILLEGAL_PARAMETER),
        (False, True, "full"),
        (False, False, "resumed"),
    ],
)
def test_a_session_is_as_bound_to_its_handshake_as_before_or_not_gone_on_with(
    alice: pki.Identity, bank: pki.Identity, bound: bool, offered: bool, expected: object
) -> None:
    """RFC 7627 section 5.3, the server's part."""
    store = SessionStore(os.urandom)
    suite = CIPHER_SUITES[0]
    kept = Session(bytes(32), b"", bytes(48), suite.id, bound, (alice.der,))
    store.keep(kept)
    server = our_server(bank, sessions=store)
    hello = parse(our_client(resume=kept, suites=(suite,)).transcript.entries[0].raw)
    assert isinstance(hello, ClientHello)
    lacking = () if offered else (ext.EXTENDED_MASTER_SECRET,)
    extensions = tuple(extension for extension in hello.extensions or () if extension.type not in lacking)
    raw = serialize(replace(hello, extensions=extensions))
    events = server.receive(b"\x16\x03\x03" + len(raw).to_bytes(2, "big") + raw)
    if isinstance(expected, AlertDescription):
        (failed,) = events
        assert isinstance(failed, Failed)
        assert failed.alert == expected
    else:
        assert events == []
        assert server.resumed is (expected == "resumed")


def test_a_session_is_not_gone_on_with_under_a_suite_that_the_client_does_not_list(
    alice: pki.Identity, bank: pki.Identity
) -> None:
    """RFC 5246 section 7.4.1.2: a client that resumes lists the session's suite; the server chooses from the list."""
    store = SessionStore(os.urandom)
    kept = Session(bytes(32), b"", bytes(48), CIPHER_SUITES[0].id, True, (alice.der,))
    store.keep(kept)
    client, server = our_client(alice, resume=kept, suites=CIPHER_SUITES[1:2]), our_server(bank, sessions=store)
    assert talk(client, server).established
    assert not server.resumed
    assert server.peer_chain == (alice.der,)


@pytest.mark.parametrize("bound", [True, False])
def test_a_client_refuses_to_go_on_with_a_session_otherwise_bound(
    alice: pki.Identity, bank: pki.Identity, bound: bool
) -> None:
    """RFC 7627 section 5.3, the client's part."""
    suite = CIPHER_SUITES[0]
    session = Session(bytes(32), b"", bytes(48), suite.id, bound)
    client = our_client(resume=session)
    answers = () if bound else (ext.extended_master_secret(),)
    raw = serialize(ServerHello(bytes(32), session.id, suite.id, answers))
    (failed,) = client.receive(b"\x16\x03\x03" + len(raw).to_bytes(2, "big") + raw)
    assert isinstance(failed, Failed)
    assert (failed.alert, failed.sent_by) == (AlertDescription.ILLEGAL_PARAMETER, "client")


def test_a_client_refuses_to_go_on_under_another_suite() -> None:
    session = Session(bytes(32), b"", bytes(48), CIPHER_SUITES[0].id, True)
    client = our_client(resume=session)
    raw = serialize(ServerHello(bytes(32), session.id, CIPHER_SUITES[1].id, (ext.extended_master_secret(),)))
    (failed,) = client.receive(b"\x16\x03\x03" + len(raw).to_bytes(2, "big") + raw)
    assert isinstance(failed, Failed)
    assert failed.alert == AlertDescription.ILLEGAL_PARAMETER


# What a server keeps.


def test_a_ticket_is_read_by_its_own_store_alone(alice: pki.Identity) -> None:
    store, other = SessionStore(os.urandom), SessionStore(os.urandom)
    session = Session(b"", b"", bytes(range(48)), 0xC02B, True, (alice.der, b"issuer"))
    ticket = store.ticket(session)
    assert store.find(b"id", ticket) == replace(session, id=b"id", ticket=ticket)
    assert other.find(b"", ticket) is None
    assert store.find(b"", ticket[:-1] + bytes([ticket[-1] ^ 1])) is None
    assert store.find(b"", b"?") is None
    assert session.master
    assert session.master not in ticket


def test_a_session_with_a_ticket_that_is_no_good_is_not_found_by_its_id_either(alice: pki.Identity) -> None:
    """RFC 5077 section 3.4."""
    store = SessionStore(os.urandom)
    store.keep(Session(b"id", b"", bytes(48), 0xC02B, True))
    assert store.find(b"id", b"") is not None
    assert store.find(b"id", b"some ticket") is None


def test_a_chain_too_long_for_a_ticket_makes_an_empty_one(alice: pki.Identity, bank: pki.Identity) -> None:
    """RFC 5077 section 3.3."""
    chain, prove = (alice.der, bytes(70_000)), proof.prove_with(alice.key)
    long = Client(entropy=os.urandom, chain=chain, prove=prove, tickets=True)
    server = our_server(bank, sessions=SessionStore(os.urandom))
    assert talk(long, server).established
    (ticket,) = [step.raw for step in long.steps if step.name == "NewSessionTicket"]
    assert ticket[-2:] == b"\0\0"
    assert long.session is None


@pytest.mark.parametrize("over", [0, 1])
def test_a_ticket_may_be_as_long_as_its_field(over: int) -> None:
    store = SessionStore(os.urandom)
    around = len(store.ticket(Session(b"", b"", bytes(48), 0xC02B, True, (b"",))))
    longest = bytes((1 << 16) - 1 - around + over)
    assert len(store.ticket(Session(b"", b"", bytes(48), 0xC02B, True, (longest,)))) == (0 if over else 0xFFFF)


@pytest.mark.parametrize("kept", [True, False], ids=["sessions", "no sessions"])
def test_a_server_names_a_session_that_it_will_know_and_no_other(
    alice: pki.Identity, bank: pki.Identity, kept: bool
) -> None:
    server = our_server(bank, sessions=SessionStore(os.urandom) if kept else None)
    assert talk(our_client(alice), server).established
    (hello,) = (parse(step.raw) for step in server.steps if step.name == ServerHello.name)
    assert isinstance(hello, ServerHello)
    assert len(hello.session_id) == (32 if kept else 0)


def test_a_server_with_one_suite_goes_on_with_its_sessions(alice: pki.Identity, bank: pki.Identity) -> None:
    store, suites = SessionStore(os.urandom), CIPHER_SUITES[:1]
    first = our_client(alice)
    assert talk(first, our_server(bank, sessions=store, suites=suites)).established
    again = our_client(alice, resume=session_of(first))
    assert talk(again, our_server(bank, sessions=store, suites=suites)).established
    assert again.resumed


def test_the_newest_sessions_are_kept() -> None:
    store = SessionStore(os.urandom)
    ids = [number.to_bytes(4, "big") for number in range(MAX_SESSIONS + 1)]
    for id_ in ids:
        store.keep(Session(id_, b"", bytes(48), 0xC02B, True))
    assert store.find(ids[0], b"") is None
    assert store.find(ids[1], b"") is not None


# Resumption with OpenSSL and GnuTLS.


def openssl_server(authority: pki.Identity, bank: pki.Identity, tickets: bool) -> ssl.SSLContext:
    context = openssl_context(True, authority, bank)
    if not tickets:
        context.options |= ssl.OP_NO_TICKET
    return context


def session_at_openssl(context: ssl.SSLContext, alice: pki.Identity, tickets: bool) -> Session:
    """A session that ended well: OpenSSL forgets the ID of any other."""
    client, server = our_client(alice, tickets=tickets), OpenSslEngine(context, server_side=True)
    assert talk(client, server).established
    client.close()
    talk(client, server)
    server.close()
    return session_of(client)


@by_id_or_ticket
@pytest.mark.parametrize("extended", [True, False], ids=["extended master secret", "plain master secret"])
def test_our_client_goes_on_with_a_session_at_openssl(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity, tickets: bool, extended: bool
) -> None:
    context = openssl_server(authority, bank, tickets)
    if not extended:
        context.options |= EXTENDED_OFF
    session = session_at_openssl(context, alice, tickets)
    assert session.extended is extended
    for _ in range(2):
        theirs, again = OpenSslEngine(context, server_side=True), our_client(resume=session)
        assert talk(again, theirs).established
        assert again.resumed
        assert theirs.tls.session_reused
        assert abbreviated(again)
        assert theirs.peer_chain == (alice.der,)
        again.send(b"hello")
        assert talk(again, theirs).data("server") == b"hello"
        again.close()
        talk(again, theirs)
        theirs.close()
        session = session_of(again)


@by_id_or_ticket
def test_openssl_refuses_whoever_lacks_the_master_secret(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity, tickets: bool
) -> None:
    context = openssl_server(authority, bank, tickets)
    thief = our_client(resume=replace(session_at_openssl(context, alice, tickets), master=None))
    said = talk(thief, OpenSslEngine(context, server_side=True))
    assert thief.resumed
    assert "bad record mac" in said.failure("server").reason
    assert (said.failure("client").alert, said.failure("client").sent_by) == (None, "server")


@by_id_or_ticket
@pytest.mark.parametrize("extended", [True, False], ids=["extended master secret", "plain master secret"])
def test_openssl_goes_on_with_a_session_at_our_server(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity, tickets: bool, extended: bool
) -> None:
    context = openssl_context(False, authority, alice)
    if not tickets:
        context.options |= ssl.OP_NO_TICKET
    if not extended:
        context.options |= EXTENDED_OFF
    store = SessionStore(os.urandom)
    session: ssl.SSLSession | None = None
    for number in range(3):
        theirs, server = ResumingEngine(context, session), our_server(bank, sessions=store)
        assert talk(theirs, server).established
        assert theirs.tls.session_reused is server.resumed is (number > 0)
        assert server.peer_chain[0] == alice.der
        session = theirs.tls.session


class ResumingEngine(OpenSslEngine):
    """OpenSSL's client with a session to go on with."""

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
        self._session = session
        super().__init__(context, server_side=False)

    def _step(self) -> Any:
        if self._session:
            self.tls.session, self._session = self._session, None
        return super()._step()


async def serve_several(sessions: SessionStore, bank: pki.Identity, *command: str) -> tuple[list[Server], str]:
    """Runs a client program that connects several times; gives all its servers and what it printed."""
    servers: list[Server] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        servers.append(our_server(bank, sessions=sessions))
        stream = TlsStream(servers[-1], reader, writer)
        try:
            await stream.handshake()
            while data := await stream.read():
                await stream.write(data)
        except ConnectionFailed:
            pass
        finally:
            await stream.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, asyncio.timeout(PATIENCE_SECONDS):
        process = await asyncio.create_subprocess_exec(
            program(command[0]),
            *(word.format(port=port) for word in command[1:]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate(b"")
    return servers, printed.decode(errors="replace")


@pytest.fixture
def files(tmp_path: Path, authority: pki.Identity, alice: pki.Identity, bank: pki.Identity) -> Files:
    return write_files(tmp_path, authority, bank, alice)


@by_id_or_ticket
def test_openssl_s_client_reconnects_to_our_server(
    bank: pki.Identity, alice: pki.Identity, files: Files, tickets: bool
) -> None:
    options = [] if tickets else ["-no_ticket"]
    command = [word for word in s_client(files, "-reconnect", *options) if word != "-ign_eof"]
    servers, printed = asyncio.run(serve_several(SessionStore(os.urandom), bank, *command))
    assert [server.resumed for server in servers] == [False, True, True, True, True, True]
    assert all(server.peer_chain[0] == alice.der for server in servers)
    assert printed.count("Reused, TLSv1.2") == 5


@cases(
    "priority",
    {
        "ticket": "",
        "ID": ":%NO_TICKETS",
        "plain secret": ":%NO_SESSION_HASH",
    },
)
def test_gnutls_cli_resumes_at_our_server(bank: pki.Identity, alice: pki.Identity, files: Files, priority: str) -> None:
    command = gnutls_cli(files, GNUTLS_ONLY_12 + priority)
    servers, printed = asyncio.run(serve_several(SessionStore(os.urandom), bank, *command, "--resume"))
    assert [server.resumed for server in servers] == [False, True]
    assert servers[1].peer_chain[0] == alice.der
    assert "This is a resumed session" in printed


@by_id_or_ticket
def test_our_client_resumes_at_server_programs(
    bank: pki.Identity, alice: pki.Identity, files: Files, tmp_path: Path, tickets: bool
) -> None:
    with serving(tmp_path / "openssl", *s_server(files, *([] if tickets else ["-no_ticket"]))) as port:
        first = our_client(alice, tickets=tickets)
        assert "New, TLSv1.2" in asyncio.run(page(port, first))
        again = our_client(resume=session_of(first))
        assert "Reused, TLSv1.2" in asyncio.run(page(port, again))
        assert again.resumed
    with serving(tmp_path / "gnutls", *gnutls_serv(files), *([] if tickets else ["--noticket"])) as port:
        first = our_client(alice, tickets=tickets)
        assert asyncio.run(call(port, first, b"hello\n")) == b"hello\n"
        again = our_client(resume=session_of(first))
        assert asyncio.run(call(port, again, b"hello\n")) == b"hello\n"
        assert again.resumed


def test_a_session_that_openssl_wrote_down_is_gone_on_with(
    bank: pki.Identity, alice: pki.Identity, files: Files, tmp_path: Path
) -> None:
    store, path = SessionStore(os.urandom), str(tmp_path / "session.pem")
    servers = [our_server(bank, sessions=store) for _ in range(2)]
    for server, option in zip(servers, ("-sess_out", "-sess_in"), strict=True):
        printed = asyncio.run(answer_once(server, *s_client(files, option, path), line=b"hello\n"))
        assert "\nhello\n" in printed
    assert [server.resumed for server in servers] == [False, True]
    assert "Reused, TLSv1.2" in printed


def test_an_engine_without_the_keys_hears_an_alert_and_nothing_else() -> None:
    deaf = our_client()
    deaf.read_nothing()
    for kind in (ContentType.HANDSHAKE, ContentType.APPLICATION_DATA, ContentType.CHANGE_CIPHER_SPEC):
        assert deaf.receive(write_record(kind, b"unreadable")) == []
    reason = "the server sent an alert under keys that this client doesn't have"
    assert deaf.receive(write_record(ContentType.ALERT, b"unreadable")) == [Failed(None, "server", reason)]


def test_a_client_does_no_more_than_it_is_asked_to() -> None:
    client = our_client()
    (step,) = client.steps
    hello = parse(step.raw)
    assert isinstance(hello, ClientHello)
    assert ext.find(hello.extensions, ext.SESSION_TICKET) is None
    assert (client.key_log, client.session, client.resumed, client.is_its_turn) == ("", None, False, False)
