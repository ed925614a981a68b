"""What renegotiation changes (RFC 5246 section 7.4.1.1, RFC 5746): OpenSSL at both ends, and against our gateways.

In a connection's first handshake the client's certificate is in plaintext. Asked for in a second one it is not, and the
gateways do no second one.
"""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from lab.staging import pki
from lab.tls.records import ContentType
from victims import Victims, alice_at, connect

NO_RESUMPTION_ON_RENEGOTIATION = 0x10000
"""SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION, for which pyOpenSSL has no name."""


def context(identity: pki.Identity, authority: pki.Identity) -> SSL.Context:
    """OpenSSL's, in TLS 1.2, with a certificate."""
    it = SSL.Context(SSL.TLS_METHOD)
    it.set_min_proto_version(SSL.TLS1_2_VERSION)
    it.set_max_proto_version(SSL.TLS1_2_VERSION)
    it.use_certificate(identity.certificate)
    it.use_privatekey(identity.key)
    it.set_options(NO_RESUMPTION_ON_RENEGOTIATION)
    store = it.get_cert_store()
    assert store
    store.add_cert(crypto.X509.from_cryptography(authority.certificate))
    return it


class Pair:
    """A client and a server, and all that each has sent."""

    def __init__(self, client: SSL.Context, server: SSL.Context) -> None:
        self.client, self.server = SSL.Connection(client, None), SSL.Connection(server, None)
        self.client.set_connect_state()
        self.server.set_accept_state()
        self.sent = {self.client: b"", self.server: b""}

    def shake_hands(self) -> None:
        """Until neither has more to say."""
        for _ in range(10):
            for one, other in ((self.client, self.server), (self.server, self.client)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                try:
                    data = one.bio_read(1 << 16)
                except SSL.WantReadError:
                    continue
                self.sent[one] += data
                other.bio_write(data)
            for one in (self.client, self.server):
                with pytest.raises(SSL.WantReadError):
                    one.recv(1)

    @property
    def authenticated(self) -> bytes | None:
        """The client's certificate, in DER, as the server has it."""
        certificate = self.server.get_peer_certificate(as_cryptography=True)
        return certificate.public_bytes(Encoding.DER) if certificate else None


REQUIRED = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


def test_in_a_first_handshake_the_certificate_is_in_plaintext(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity
) -> None:
    pair = Pair(context(alice, authority), context(bank, authority))
    pair.server.set_verify(REQUIRED)
    pair.shake_hands()
    assert pair.authenticated == alice.der
    assert alice.der in pair.sent[pair.client]


def test_in_a_renegotiated_handshake_the_certificate_is_encrypted(
    authority: pki.Identity, alice: pki.Identity, bank: pki.Identity
) -> None:
    pair = Pair(context(alice, authority), context(bank, authority))
    pair.shake_hands()
    assert pair.authenticated is None
    pair.server.set_verify(REQUIRED)
    assert pair.server.renegotiate()
    pair.shake_hands()
    assert pair.server.total_renegotiations() == 1
    assert pair.authenticated == alice.der
    assert alice.der not in pair.sent[pair.client]


@pytest.mark.parametrize("gateway_id", ["mtls@openssl", "mtls@instrument", "pinned-mtls@openssl"])
def test_the_gateways_renegotiate_nothing(victims: Victims, gateway_id: str) -> None:
    """So no proof can be passed on in a second handshake."""
    issued = victims.issued
    client = context(alice_at(issued, gateway_id), issued.authority)
    with connect(victims, gateway_id) as plain:
        plain.settimeout(5)
        it = SSL.Connection(client, None)
        it.set_connect_state()

        def pump() -> bytes:
            """Sends what there is and takes in what comes; what came."""
            try:
                plain.sendall(it.bio_read(1 << 16))
            except SSL.WantReadError:
                pass
            data = plain.recv(1 << 16)
            it.bio_write(data)
            return data

        while True:
            try:
                it.do_handshake()
                break
            except SSL.WantReadError:
                pump()
        assert it.renegotiate()
        with pytest.raises(SSL.WantReadError):
            it.do_handshake()
        answer = pump()
        assert answer[0] == ContentType.ALERT
        with pytest.raises(SSL.Error, match="no renegotiation"):
            it.do_handshake()
