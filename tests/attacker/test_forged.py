"""The forged ticket: what a server that opens tickets under a key of zeros takes it for."""

import hmac
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from attacker.moves.make import MAKERS, Loot, NotApplicable
from lab.staging import pki
from lab.tls import wire
from lab.tls.server import Proof
from lab.tls.sessions import Session, SessionStore
from lab.tls.versions import TLS12, TLS13
from tls_peers import our_client, our_server, talk


class ZeroKeyStore(SessionStore):
    """Opens tickets as crypto/tls did, under zeros."""

    def find(self, session_id: bytes, ticket: bytes) -> Session | None:
        sealed, mac = ticket[:-32], ticket[-32:]
        if not hmac.compare_digest(hmac.digest(bytes(16), sealed, sha256), mac):
            return None
        decryptor = Cipher(algorithms.AES(bytes(16)), modes.CTR(sealed[:16])).decryptor()
        state = wire.Reader(decryptor.update(sealed[16:]) + decryptor.finalize(), "ticket")
        assert state.number(2, "vers") == TLS12
        suite, master = state.number(2, "cipherSuite"), state.vector(2, "masterSecret")
        chain = tuple(state.vector(4, "certificate") for _ in range(state.number(2, "numCerts")))
        state.end()
        return Session(session_id, ticket, master, suite, True, chain)


def test_a_server_without_a_ticket_key_takes_it_for_alices_session(alice: pki.Identity, bank: pki.Identity) -> None:
    script = MAKERS["forged-ticket"](Loot((alice.der,), None), TLS12)
    assert isinstance(script.resume, Session)
    # The instrument's server has the extended master secret, which that library did not have.
    resume = Session(b"", script.resume.ticket, script.resume.master, script.resume.suite, True)
    client, server = our_client(resume=resume, flight=script.flight), our_server(bank, sessions=ZeroKeyStore(bytes))
    assert talk(client, server).established
    assert client.resumed
    assert server.peer_chain == (alice.der,)


def test_a_server_with_a_key_of_its_own_goes_on_without_it(alice: pki.Identity, bank: pki.Identity) -> None:
    script = MAKERS["forged-ticket"](Loot((alice.der,), None), TLS12)
    client = our_client(resume=script.resume, flight=script.flight)
    server = our_server(bank, Proof.REQUIRED, sessions=SessionStore(lambda size: b"\1" * size))
    assert not talk(client, server).established
    assert not client.resumed


def test_no_such_ticket_is_known_for_tls_13(alice: pki.Identity) -> None:
    with pytest.raises(NotApplicable, match="no ticket of this version"):
        MAKERS["forged-ticket"](Loot((alice.der,), None), TLS13)
