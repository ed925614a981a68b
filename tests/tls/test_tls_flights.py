"""Flights in every order: what was asked for goes on the wire, OpenSSL and our server answer as the RFCs have it."""

import os
from collections.abc import Callable

import pytest

from lab.staging import pki
from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.client import Client
from lab.tls.connection import Connection
from lab.tls.flight import (
    Flight,
    SendCertificate,
    SendChangeCipherSpec,
    SendFinished,
    SendKeyExchange,
    SendProof,
    honest_flight,
)
from lab.tls.versions import TLS12, TLS13, Version
from tls_peers import Identities, OpenSslEngine, Talk, openssl_context, our_server, talk

UNEXPECTED = AlertDescription.UNEXPECTED_MESSAGE
Make = Callable[[SendCertificate, SendProof, SendCertificate], Flight]
EXCHANGE, CHANGE, FINISHED = SendKeyExchange(), SendChangeCipherSpec(), SendFinished()

REFUSED: dict[str, tuple[int, Make]] = {
    "1.2, the proof before the key exchange": (TLS12, lambda c, p, o: (c, p, EXCHANGE, CHANGE, FINISHED)),
    "1.2, the proof before the certificate": (TLS12, lambda c, p, o: (p, c, EXCHANGE, CHANGE, FINISHED)),
    "1.2, two proofs": (TLS12, lambda c, p, o: (c, EXCHANGE, p, p, CHANGE, FINISHED)),
    "1.2, another certificate after the proof": (TLS12, lambda c, p, o: (c, EXCHANGE, p, o, CHANGE, FINISHED)),
    "1.2, another certificate before the key exchange": (TLS12, lambda c, p, o: (c, o, EXCHANGE, p, CHANGE, FINISHED)),
    "1.2, no certificate message": (TLS12, lambda c, p, o: (EXCHANGE, p, CHANGE, FINISHED)),
    "1.2, no key exchange": (TLS12, lambda c, p, o: (c, CHANGE, FINISHED)),
    "1.2, ChangeCipherSpec before the key exchange": (TLS12, lambda c, p, o: (c, CHANGE, EXCHANGE, p, FINISHED)),
    "1.2, two key exchanges": (TLS12, lambda c, p, o: (c, EXCHANGE, EXCHANGE, p, CHANGE, FINISHED)),
    "1.2, no ChangeCipherSpec": (TLS12, lambda c, p, o: (c, EXCHANGE, p, FINISHED)),
    "1.3, the proof before the certificate": (TLS13, lambda c, p, o: (p, c, FINISHED)),
    "1.3, two proofs": (TLS13, lambda c, p, o: (c, p, p, FINISHED)),
    "1.3, another certificate after the proof": (TLS13, lambda c, p, o: (c, p, o, FINISHED)),
    "1.3, another certificate before the proof": (TLS13, lambda c, p, o: (c, o, p, FINISHED)),
    "1.3, no certificate message": (TLS13, lambda c, p, o: (FINISHED,)),
    "1.3, no proof": (TLS13, lambda c, p, o: (c, FINISHED)),
}


@pytest.fixture
def mallory(identities: Identities) -> pki.Identity:
    return identities("another client", "p256")


def client_with(version: int, flight: Flight) -> Client:
    return Client(entropy=os.urandom, versions=(version,), flight=flight)


def peer(name: str, version: int, authority: pki.Identity, bank: pki.Identity) -> Connection | OpenSslEngine:
    if name == "openssl":
        return OpenSslEngine(openssl_context(True, authority, bank, versions=(version,)), server_side=True)
    return our_server(bank, versions=(version,))


def sent(client: Client) -> list[str]:
    """What the client sent behind its hello."""
    return [step.name for step in client.steps if step.sender == "client"][1:]


@pytest.mark.parametrize("server", ["openssl", "ours"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_flight_in_a_wrong_order_is_unexpected(
    authority: pki.Identity, alice: pki.Identity, mallory: pki.Identity, bank: pki.Identity, case: str, server: str
) -> None:
    version, make = REFUSED[case]
    own, other = SendCertificate((alice.der,)), SendCertificate((mallory.der,))
    client = client_with(version, make(own, SendProof(proof.prove_with(alice.key)), other))
    failed = talk(client, peer(server, version, authority, bank)).failure("client")
    assert (failed.alert, failed.sent_by) == (UNEXPECTED, "server")


@pytest.mark.parametrize("server", ["openssl", "ours"])
@pytest.mark.parametrize("version", [TLS12, TLS13], ids=hex)
def test_the_honest_flight_is_taken_step_by_step(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity, version: Version, server: str
) -> None:
    flight = honest_flight(version, (alice.der,), proof.prove_with(alice.key))
    client = client_with(version, flight)
    assert talk(client, peer(server, version, authority, bank)).established
    expected: dict[int, list[str]] = {
        TLS12: ["Certificate", "ClientKeyExchange", "CertificateVerify", "ChangeCipherSpec", "Finished"],
        TLS13: ["ChangeCipherSpec", "Certificate", "CertificateVerify", "Finished"],
    }
    assert sent(client) == expected[version]


@pytest.mark.parametrize("server", ["openssl", "ours"])
def test_change_cipher_spec_means_nothing_in_tls_13(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity, server: str
) -> None:
    own, prove = SendCertificate((alice.der,)), SendProof(proof.prove_with(alice.key))
    client = client_with(TLS13, (own, CHANGE, prove, CHANGE, EXCHANGE, FINISHED))
    assert talk(client, peer(server, TLS13, authority, bank)).established
    assert sent(client).count("ChangeCipherSpec") == 3


def test_what_follows_an_early_change_cipher_spec_is_under_the_keys_of_an_empty_master_secret(
    alice: pki.Identity, bank: pki.Identity
) -> None:
    """CVE-2014-0224: whoever lets it pass goes on under keys that anybody can derive."""
    client = client_with(TLS12, (SendCertificate((alice.der,)), CHANGE, FINISHED))
    said: Talk = talk(client, our_server(bank))
    assert said.failure("client").alert == UNEXPECTED
    assert sent(client) == ["Certificate", "ChangeCipherSpec", "Finished"]
    label, random, master = (client.key_log.rstrip("\n") + " ").split(" ")[:3]
    assert (label, bytes.fromhex(random), master) == ("CLIENT_RANDOM", client.random, "")


def test_a_flight_leaves_out_what_the_server_did_not_ask_for(alice: pki.Identity, bank: pki.Identity) -> None:
    for version in (TLS12, TLS13):
        client = client_with(version, honest_flight(version, (alice.der,), proof.prove_with(alice.key)))
        assert talk(client, our_server(bank, policy=None, versions=(version,))).established
        assert not {"Certificate", "CertificateVerify"} & set(sent(client))
