"""A ticket of TLS 1.3 that another client showed, offered without the session's key (RFC 8446 section 4.2.11)."""

import asyncio
import os
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys
from lab.tls.alerts import AlertDescription
from lab.tls.client import Client
from lab.tls.errors import DecodeError
from lab.tls.extensions import Extension, OfferedPsk
from lab.tls.messages import ClientHello, parse
from lab.tls.sessions import Session13
from lab.tls.versions import TLS13
from tls13_script import GROUP, OTHER_GROUP, ScriptedServer13
from tls_peers import (
    GNUTLS_ONLY_13,
    Files,
    OpenSslEngine,
    call,
    cases,
    gnutls_serv,
    openssl_context,
    our_client,
    our_server,
    page,
    refusal,
    s_server,
    serving,
    talk,
    write_files,
)

TICKET = OfferedPsk(b"a ticket", 7, bytes(32))
BINDERS = {
    "a guess": lambda ticket: os.urandom(len(ticket.binder)),
    "the one that was seen": lambda ticket: ticket.binder,
}


def hello_of(client: Client) -> ClientHello:
    (step, *_) = client.steps
    hello = parse(step.raw)
    assert isinstance(hello, ClientHello)
    return hello


def offered_by(engine: OpenSslEngine) -> OfferedPsk:
    """What OpenSSL's client offers in its hello, the first record that it sends."""
    hello = parse(engine.sent[0][5:])
    assert isinstance(hello, ClientHello)
    ticket = ext.read_pre_shared_key(hello.extensions)
    assert ticket
    return ticket


@pytest.fixture
def at_bank(authority: pki.Identity, bank: pki.Identity) -> ssl.SSLContext:
    return openssl_context(True, authority, bank, versions=(TLS13,))


@pytest.fixture
def hers(authority: pki.Identity, alice: pki.Identity) -> ssl.SSLContext:
    return openssl_context(False, authority, alice, versions=(TLS13,))


@pytest.fixture
def files(tmp_path: Path, authority: pki.Identity, alice: pki.Identity, bank: pki.Identity) -> Files:
    return write_files(tmp_path, authority, bank, alice)


def shown_at(at_bank: ssl.SSLContext, hers: ssl.SSLContext, alice: pki.Identity) -> OfferedPsk:
    """The ticket that alice offers when she comes again, and that does resume her session."""
    first = OpenSslEngine(hers, server_side=False)
    assert talk(first, OpenSslEngine(at_bank, server_side=True)).established
    again, theirs = OpenSslEngine(hers, False, first.tls.session), OpenSslEngine(at_bank, server_side=True)
    assert talk(again, theirs).established
    assert theirs.tls.session_reused
    assert theirs.peer_chain == (alice.der,)
    return offered_by(again)


@cases("binder", BINDERS)
def test_openssl_refuses_a_ticket_whose_binder_does_not_fit(
    at_bank: ssl.SSLContext, hers: ssl.SSLContext, alice: pki.Identity, binder: object
) -> None:
    """Nor does the binder fit that alice sent with it: it was made over her own hello."""
    assert callable(binder)
    ticket = shown_at(at_bank, hers, alice)
    thief = our_client(versions=(TLS13,), resume=replace(ticket, binder=binder(ticket)))
    said = talk(thief, OpenSslEngine(at_bank, server_side=True))
    assert "binder does not verify" in said.failure("server").reason
    assert (said.failure("client").alert, said.failure("client").sent_by) == (47, "server")
    assert [step.name for step in thief.steps] == ["ClientHello", "alert illegal_parameter"]


@cases("binder", BINDERS)
def test_server_programs_refuse_it_too(files: Files, hers: ssl.SSLContext, tmp_path: Path, binder: object) -> None:
    """Each has just resumed the session for alice herself."""
    assert callable(binder)
    with serving(tmp_path / "openssl", *s_server(files, "-tls1_3")) as port:
        first = OpenSslEngine(hers, server_side=False)
        assert "New, TLSv1.3" in asyncio.run(page(port, first))
        again = OpenSslEngine(hers, False, first.tls.session)
        assert "Reused, TLSv1.3" in asyncio.run(page(port, again))
        ticket = offered_by(again)
        thief = our_client(versions=(TLS13,), resume=replace(ticket, binder=binder(ticket)))
        assert asyncio.run(refusal(port, thief)).alert == AlertDescription.ILLEGAL_PARAMETER
    with serving(tmp_path / "gnutls", *gnutls_serv(files, GNUTLS_ONLY_13)) as port:
        first = OpenSslEngine(hers, server_side=False)
        assert asyncio.run(call(port, first, b"hello\n")) == b"hello\n"
        again = OpenSslEngine(hers, False, first.tls.session)
        assert asyncio.run(call(port, again, b"hello\n")) == b"hello\n"
        assert again.tls.session_reused
        ticket = offered_by(again)
        thief = our_client(versions=(TLS13,), resume=replace(ticket, binder=binder(ticket)))
        assert asyncio.run(refusal(port, thief)).alert == AlertDescription.ILLEGAL_PARAMETER


@pytest.mark.parametrize("group", [None, "secp384r1"], ids=["at once", "after a HelloRetryRequest"])
def test_our_client_goes_on_with_its_own_session_at_openssl(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity, group: str | None
) -> None:
    context = openssl_context(True, authority, bank, versions=(TLS13,), group=group)
    client = our_client(alice, versions=(TLS13,), tickets=True)
    for count in range(3):
        theirs = OpenSslEngine(context, server_side=True)
        assert talk(client, theirs).established
        assert client.resumed == theirs.tls.session_reused == (count > 0)
        assert theirs.peer_chain == (alice.der,)
        assert ("Certificate" in [step.name for step in client.steps]) == (count == 0)
        theirs.send(b"hello")
        assert talk(client, theirs).data("client") == b"hello"
        assert isinstance(client.session, Session13)
        client = our_client(versions=(TLS13,), tickets=True, resume=client.session)


def test_our_clients_session_is_of_no_use_without_its_secret(at_bank: ssl.SSLContext, alice: pki.Identity) -> None:
    client = our_client(alice, versions=(TLS13,), tickets=True)
    assert talk(client, OpenSslEngine(at_bank, server_side=True)).established
    assert isinstance(client.session, Session13)
    thief = our_client(versions=(TLS13,), resume=replace(client.session, secret=bytes(len(client.session.secret))))
    assert "binder does not verify" in talk(thief, OpenSslEngine(at_bank, server_side=True)).failure("server").reason


def test_our_client_resumes_at_server_programs(files: Files, alice: pki.Identity, tmp_path: Path) -> None:
    for name, command in (("openssl", s_server(files, "-tls1_3")), ("gnutls", gnutls_serv(files, GNUTLS_ONLY_13))):
        with serving(tmp_path / name, *command) as port:
            session: object = None
            for count in range(2):
                client = our_client(alice, versions=(TLS13,), tickets=True, resume=session)
                said = asyncio.run(page(port, client) if name == "openssl" else call(port, client, b"hello\n"))
                assert said
                assert client.resumed == (count > 0)
                session = client.session


def test_a_server_that_knows_no_tickets_goes_on_without(alice: pki.Identity, bank: pki.Identity) -> None:
    client, server = our_client(alice, versions=(TLS13,), resume=TICKET), our_server(bank, versions=(TLS13,))
    assert talk(client, server).established
    assert server.peer_chain == (alice.der,)
    assert not client.resumed


SESSION = Session13(b"a ticket", 7, bytes(32), keys.TLS13_SUITES[0])


def test_a_client_goes_on_without_its_session_if_the_server_does_not_take_it(
    alice: pki.Identity, bank: pki.Identity
) -> None:
    client, server = our_client(alice, versions=(TLS13,), resume=SESSION), our_server(bank, versions=(TLS13,))
    assert talk(client, server).established
    assert not client.resumed


def test_a_server_cannot_take_a_session_that_was_not_offered(bank: pki.Identity) -> None:
    """RFC 8446 section 4.2.11: the number is within what the client offered, or it is illegal_parameter."""
    client = our_client(versions=(TLS13,), groups=(GROUP, OTHER_GROUP), resume=SESSION)
    server = ScriptedServer13(client, bank)
    server.say(server.make_hello(add=(Extension(ext.PRE_SHARED_KEY, b"\0\1"),)))
    assert server.refusal == "illegal_parameter"


@pytest.fixture
def scripted(bank: pki.Identity) -> ScriptedServer13:
    return ScriptedServer13(our_client(versions=(TLS13,), groups=(GROUP, OTHER_GROUP), resume=TICKET), bank)


def test_a_client_without_the_key_cannot_go_on_with_a_server_that_does(scripted: ScriptedServer13) -> None:
    scripted.say(scripted.make_hello(add=(Extension(ext.PRE_SHARED_KEY, b"\0\0"),)))
    assert scripted.refusal == "internal_error"


def test_the_ticket_stays_the_last_extension_after_a_retry(scripted: ScriptedServer13) -> None:
    scripted.retry(add=(Extension(ext.COOKIE, b"\0\3abc"),))
    kinds = [one.type for one in scripted.client_hello.extensions or ()]
    assert kinds[-2:] == [ext.COOKIE, ext.PRE_SHARED_KEY]


@cases(("length", "names"), {"SHA-256": (32, ["0x1301", "0x1303"]), "SHA-384": (48, ["0x1302"])})
def test_a_ticket_goes_with_the_suites_of_its_hash(length: int, names: list[str]) -> None:
    ticket = replace(TICKET, binder=bytes(length))
    hello = hello_of(our_client(versions=(TLS13,), suites=keys.ALL_SUITES, resume=ticket))
    assert [f"{suite:#x}" for suite in hello.cipher_suites] == names
    assert ext.read_pre_shared_key(hello.extensions) == ticket
    assert [one.type for one in hello.extensions or ()][-2:] == [ext.PSK_KEY_EXCHANGE_MODES, ext.PRE_SHARED_KEY]


@cases(
    "data",
    {
        "nothing": b"",
        "no identity": b"\0\0\0\x21\x20" + bytes(32),
        "an empty identity": b"\0\6\0\0" + bytes(4) + b"\0\x21\x20" + bytes(32),
        "no age": b"\0\3\0\1a\0\x21\x20" + bytes(32),
        "no binder": b"\0\7\0\1a" + bytes(4) + b"\0\0",
        "a short binder": b"\0\7\0\1a" + bytes(4) + b"\0\x20\x1f" + bytes(31),
        "something behind": ext.pre_shared_key(TICKET).data + b"\0",
    },
)
def test_a_garbled_offer_is_not_read(data: bytes) -> None:
    with pytest.raises(DecodeError):
        ext.read_pre_shared_key((Extension(ext.PRE_SHARED_KEY, data),))
