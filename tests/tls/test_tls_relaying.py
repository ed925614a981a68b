"""What the instrument needs to relay somebody's proof: clients that wait with their flight, servers that repeat others.

The live relay's own tests do the same with real peers; here is what each piece promises.
"""

import os

import pytest

from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.client import Client
from lab.tls.connection import Connection
from lab.tls.engine import Established, Failed
from lab.tls.errors import TlsError
from lab.tls.flight import (
    Flight,
    SendCertificate,
    SendChangeCipherSpec,
    SendFinished,
    SendKeyExchange,
    SendProof,
    honest_flight,
)
from lab.tls.messages import CertificateRequest, ClientHello, Message, NewSessionTicket, ServerHello
from lab.tls.messages13 import CertificateRequest13, NewSessionTicket13, parse
from lab.tls.model import Model
from lab.tls.proof import Challenge
from lab.tls.server import Server
from lab.tls.sessions import Session13, SessionStore
from lab.tls.versions import TLS12, TLS13
from tls_peers import Identities, our_client, our_server, talk, update_keys

VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13])


@pytest.fixture
def rsa_bank(identities: Identities) -> pki.Identity:
    return identities("server", "rsa")


def said(engine: Connection, sender: str) -> list[Message]:
    """One side's messages of a handshake."""
    raws = [entry.raw for entry in engine.transcript.entries if entry.sender == sender]
    return [parse(raw, engine.version or TLS12) for raw in raws]


def first(engine: Connection, sender: str, name: str) -> Message:
    return next(message for message in said(engine, sender) if message.name == name)


# --- patience ---


@VERSIONS
def test_a_patient_client_says_nothing_until_it_is_told_to(
    bank: pki.Identity, alice: pki.Identity, version: int
) -> None:
    client, server = our_client(patient=True, versions=(version,)), our_server(bank, versions=(version,))
    assert talk(client, server).client == []
    assert client.is_its_turn
    assert [message.name for message in said(server, "client")] == ["ClientHello"]

    events = client.go_on(honest_flight(version, (alice.der,), proof.prove_with(alice.key)))
    rest = talk(client, server)
    assert Established() in [*events, *rest.client]
    assert Established() in rest.server
    assert server.peer_chain == (alice.der,)


def test_a_ticket_that_comes_before_the_clients_flight_is_worth_as_much_as_later(bank: pki.Identity) -> None:
    """RFC 8446 section 4.6.1: a server that asks for no certificate need not wait for the client's Finished."""
    client, server = our_client(patient=True, versions=(TLS13,)), our_server(bank, None, versions=(TLS13,))
    ticket = NewSessionTicket13(60, 7, b"nonce", b"ticket")
    assert talk(client, server).client == []
    server.send_message(ticket, in_transcript=False)
    client.receive(server.data_to_send())
    assert client.session is None
    client.go_on(honest_flight(TLS13, (), None))
    early = client.session
    assert isinstance(early, Session13)
    assert (early.ticket, early.age_add, len(early.secret)) == (b"ticket", 7, 32)
    assert Established() in talk(client, server).server
    server.send_message(ticket, in_transcript=False)
    client.receive(server.data_to_send())
    assert client.session == early


def test_keys_may_be_updated_before_a_patient_client_has_spoken(bank: pki.Identity) -> None:
    client, server = our_client(patient=True, versions=(TLS13,)), our_server(bank, None, versions=(TLS13,))
    assert talk(client, server).client == []
    update_keys(server)
    client.receive(server.data_to_send())
    client.go_on(honest_flight(TLS13, (), None))
    assert Established() in talk(client, server).server
    server.send(b"hello")
    assert talk(client, server).data("client") == b"hello"


def test_a_client_without_patience_is_not_told_twice(bank: pki.Identity, alice: pki.Identity) -> None:
    client = our_client(alice)
    assert not client.is_its_turn
    assert talk(client, our_server(bank)).established
    assert client.is_its_turn


def test_a_flight_has_to_wait_for_its_turn() -> None:
    with pytest.raises(TlsError, match="not the client's turn"):
        our_client(patient=True).go_on(())


def test_a_flight_that_cannot_be_made_ends_the_connection_with_an_alert(
    bank: pki.Identity, alice: pki.Identity
) -> None:
    def fail(challenge: Challenge) -> None:
        raise TlsError("no words for that")

    client, server = our_client(patient=True), our_server(bank)
    talk(client, server)
    (failed,) = client.go_on(honest_flight(TLS12, (alice.der,), fail))
    assert failed == Failed(AlertDescription.INTERNAL_ERROR, "client", "no words for that")
    assert talk(client, server).failure("server").alert == AlertDescription.INTERNAL_ERROR


# --- somebody else's hello ---


def test_a_tls13_hello_is_repeated_but_for_its_key_share(bank: pki.Identity) -> None:
    hers = our_client(versions=(TLS13, TLS12), tickets=True)
    server = our_server(bank, policy=None, versions=(TLS13,))
    server.receive(hers.data_to_send())
    hello = first(server, "client", "ClientHello")
    assert isinstance(hello, ClientHello)

    client = Client(entropy=os.urandom, versions=(TLS13, TLS12), hello=hello)
    another = our_server(bank, policy=None, versions=(TLS13,))
    assert talk(client, another).established
    repeated = first(another, "client", "ClientHello")
    assert isinstance(repeated, ClientHello)
    differing = [
        one.type for one, other in zip(hello.extensions or (), repeated.extensions or (), strict=True) if one != other
    ]
    assert differing == [ext.KEY_SHARE]
    assert (repeated.random, repeated.session_id) == (hello.random, hello.session_id)
    assert repeated.cipher_suites == hello.cipher_suites


# --- somebody else's premaster secret ---


def transport(alice: pki.Identity, exchange: SendKeyExchange) -> Flight:
    certificate, prove = SendCertificate((alice.der,)), SendProof(proof.prove_with(alice.key))
    return (certificate, exchange, prove, SendChangeCipherSpec(), SendFinished())


def rsa_client() -> Client:
    return our_client(suites=keys.RSA_TRANSPORT_SUITES, patient=True)


def test_a_premaster_secret_is_passed_on(rsa_bank: pki.Identity, alice: pki.Identity) -> None:
    premaster = keys.new_rsa_premaster(os.urandom)
    servers = [our_server(rsa_bank, suites=keys.RSA_TRANSPORT_SUITES) for _ in range(2)]
    for server in servers:
        client = rsa_client()
        talk(client, server)
        client.go_on(transport(alice, SendKeyExchange(premaster)))
        assert Established() in talk(client, server).server
    assert {server.premaster for server in servers} == {premaster}
    exchanges = {first(server, "client", "ClientKeyExchange").body() for server in servers}
    assert len(exchanges) == 2, "encrypted anew each time"


def test_an_encrypted_premaster_secret_is_passed_on_as_it_is(rsa_bank: pki.Identity, alice: pki.Identity) -> None:
    premaster = keys.new_rsa_premaster(os.urandom)
    encrypted = keys.encrypt_premaster(rsa_bank.key.public_key(), premaster)
    client, server = rsa_client(), our_server(rsa_bank, suites=keys.RSA_TRANSPORT_SUITES)
    talk(client, server)
    client.go_on(transport(alice, SendKeyExchange(premaster, encrypted)))
    assert Established() in talk(client, server).server
    assert first(server, "client", "ClientKeyExchange").body()[2:] == encrypted


# --- servers with a model ---


def with_model(identity: pki.Identity, model: Model, version: int) -> Server:
    return our_server(identity, versions=(version,), model=model)


@VERSIONS
def test_a_server_repeats_its_model_word_for_word(bank: pki.Identity, alice: pki.Identity, version: int) -> None:
    real, client = our_server(bank, versions=(version,)), our_client(alice, versions=(version,))
    assert talk(client, real).established
    model = Model.of(said(client, "server"))
    hello = first(client, "client", "ClientHello")
    assert isinstance(hello, ClientHello)

    impostor = with_model(pki.new_server(pki.new_authority()), model, version)
    again = Client(
        entropy=os.urandom, versions=(version,), hello=hello, chain=(alice.der,), prove=proof.prove_with(alice.key)
    )
    assert talk(again, impostor).established
    repeated = Model.of(said(again, "server"))
    assert repeated.request == model.request
    assert isinstance(repeated.request, CertificateRequest13 if version == TLS13 else CertificateRequest)
    assert repeated.encrypted_extensions == model.encrypted_extensions
    assert repeated.hello.random == model.hello.random
    assert (repeated.hello == model.hello) == (version == TLS12)  # in TLS 1.3 the key share is its own
    assert [one.type for one in repeated.hello.extensions or ()] == [one.type for one in model.hello.extensions or ()]


def test_a_ticket_that_the_model_promised_is_an_empty_one(bank: pki.Identity, alice: pki.Identity) -> None:
    """RFC 5077 section 3.3: a server that has answered the extension sends a ticket, which may be none."""
    client = our_client(alice, tickets=True)
    assert talk(client, our_server(bank, sessions=SessionStore(os.urandom))).established
    model = Model.of(said(client, "server"))
    again = our_client(alice, tickets=True)
    assert talk(again, with_model(bank, model, TLS12)).established
    assert again.session is None
    assert NewSessionTicket(0, b"") in said(again, "server")


def test_a_model_is_a_handshakes_last_server_hello() -> None:
    hellos = [ServerHello(bytes([number] * 32), b"", 0x1301, None) for number in (1, 2)]
    assert Model.of(hellos).hello == hellos[1]
