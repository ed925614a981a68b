"""The client's handshake in TLS 1.3, after the hellos (RFC 8446 section 2 and appendix A.1)."""

import secrets

from lab.tls import extensions as ext
from lab.tls import proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec
from lab.tls.copied import check_choice, check_reach, chosen_protocol
from lab.tls.errors import Abort
from lab.tls.flight import Flight, SendCertificate, SendChangeCipherSpec, SendFinished, SendKeyExchange, SendProof, Step
from lab.tls.keys import CipherSuite
from lab.tls.keys13 import Keys13
from lab.tls.messages import CertificateVerify, ClientHello, Finished, Message, ServerHello
from lab.tls.messages13 import Certificate13, CertificateRequest13, EncryptedExtensions, KeyUpdate, NewSessionTicket13
from lab.tls.schedule import ticket_secret
from lab.tls.sessions import Session13
from lab.tls.sides import ClientSide, Offer
from lab.tls.states import CLIENT13, Fact
from lab.tls.versions import TLS13

_IN_ENCRYPTED_EXTENSIONS = (ext.SERVER_NAME, ext.SUPPORTED_GROUPS, ext.ALPN)
_IN_CERTIFICATE = (ext.STATUS_REQUEST, ext.SIGNED_CERTIFICATE_TIMESTAMP)
"""The extensions of an offer that EncryptedExtensions and Certificate may answer (RFC 8446 section 4.2)."""


class ClientHandshake13:
    """The handshake from the ServerHello on, which chose `suite`; the machine is `CLIENT13`."""

    def __init__(
        self,
        client: ClientSide,
        offer: Offer,
        suite: CipherSuite,
        client_hello: ClientHello,
        hello: ServerHello,
    ) -> None:
        self._client = client
        self._offer = offer
        self._suite = suite
        self._client_hello = client_hello
        self._offered = {extension.type for extension in client_hello.extensions or ()}
        if hello.session_id != client_hello.session_id:
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the server did not echo the session ID")
        psk = self._resumed_with(hello)
        self._facts = (Fact.RESUMED,) if psk else ()
        self.keys = Keys13(client, suite, self._shared_secret(hello), offer.random, psk)
        self._resumption = b""
        self._ticket: NewSessionTicket13 | None = None
        self.keys.read()
        self.keys.write()
        self._state = CLIENT13.after(CLIENT13.start, hello)

    def advance(self, message: Message | ChangeCipherSpec) -> None:
        """See `Connection._advance`."""
        CLIENT13.allow(self._state, message)
        match message:
            case EncryptedExtensions():  # RFC 8446 section 4.3.1
                self._on_encrypted_extensions(message)
            case CertificateRequest13():  # RFC 8446 section 4.3.2
                self._on_request(message)
            case Certificate13():  # RFC 8446 section 4.4.2
                self._on_certificate(message)
            case CertificateVerify():  # RFC 8446 section 4.4.3
                self._on_certificate_verify(message)
            case Finished():  # RFC 8446 section 4.4.4
                self._on_finished(message)
            case KeyUpdate():  # RFC 8446 section 4.6.3
                self.keys.on_update(message)
            case NewSessionTicket13():  # RFC 8446 section 4.6.1
                self._ticket = message
                self._keep_session()
        self._state = CLIENT13.after(self._state, message, self._facts)

    def speak(self, flight: Flight) -> None:
        """Sends the client's flight, which completes the handshake as far as the client can tell."""
        for step in flight:
            self._send(step)
        self._resumption = self.keys.resumption_secret()
        self._keep_session()
        self.keys.write()
        self._client.establish()

    def _keep_session(self) -> None:
        """Its secret comes from both flights. A server that asks for no certificate may send a ticket with its own
        (RFC 8446 section 4.6.1)."""
        if self._ticket and self._resumption:
            secret = ticket_secret(self._resumption, self._ticket.nonce, self._suite)
            ticket, peer = self._ticket, self._client.peer_chain
            self._client.session = Session13(ticket.ticket, ticket.age_add, secret, self._suite, peer)

    # --- what the server sends ---

    def _resumed_with(self, hello: ServerHello) -> bytes:
        """The pre-shared key that the server takes (RFC 8446 section 4.2.11); empty if it takes none."""
        chosen, session = ext.find(hello.extensions, ext.PRE_SHARED_KEY), self._offer.resume
        if chosen is None or not isinstance(session, Session13):
            return b""
        if int.from_bytes(chosen, "big") or self._suite.hash.name != session.suite.hash.name:
            reason = "the server took a pre-shared key that was not offered, or another hash"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        self._client.resumed, self._client.peer_chain = True, session.peer_chain
        return session.secret

    def _shared_secret(self, hello: ServerHello) -> bytes:
        chosen = ext.read_key_share(hello.extensions)
        if chosen is None:
            raise Abort(AlertDescription.MISSING_EXTENSION, "the ServerHello has no key_share")
        for share in self._offer.shares:
            if share.group == chosen[0]:
                return share.shared_secret(chosen[1])
        raise Abort(AlertDescription.ILLEGAL_PARAMETER, f"the server's key share is of group {chosen[0]}, none of ours")

    def _on_encrypted_extensions(self, message: EncryptedExtensions) -> None:
        check_reach(self._client_hello, message.extensions, _IN_ENCRYPTED_EXTENSIONS)
        ext.check_answers(message.extensions, self._offered, _IN_ENCRYPTED_EXTENSIONS)
        self._client.protocol = chosen_protocol(self._client_hello, message.extensions, self._offer.protocols)

    def _on_request(self, message: CertificateRequest13) -> None:
        if message.context:
            raise Abort(
                AlertDescription.ILLEGAL_PARAMETER,
                "the context of the CertificateRequest is not empty",
            )
        if not message.signature_schemes:
            raise Abort(AlertDescription.MISSING_EXTENSION, "the CertificateRequest lacks signature_algorithms")
        self._client.request = message

    def _on_certificate(self, message: Certificate13) -> None:
        if not message.entries:
            reason = "the server presented no certificate"  # RFC 8446 section 4.4.2.4
            raise Abort(AlertDescription.DECODE_ERROR, reason)
        if message.context:
            raise Abort(
                AlertDescription.ILLEGAL_PARAMETER,
                "the context of the server's Certificate is not empty",
            )
        for entry in message.entries:
            ext.check_answers(entry.extensions, self._offered, _IN_CERTIFICATE)
        self._client.peer_chain = message.chain
        self._server_key = proof.public_key(message.chain[0])
        if self._offer.check_chain:
            self._offer.check_chain(message.chain)

    def _on_certificate_verify(self, message: CertificateVerify) -> None:
        offered = ext.read_number_list(self._client_hello.extensions, ext.SIGNATURE_ALGORITHMS)
        scheme = proof.scheme_name(message.scheme, TLS13)
        check_choice(f"the server signed with scheme {scheme}", message.scheme, self._offer.schemes, offered)
        content = proof.signed_content("server", self._client.transcript.before_last(), self._suite.hash)
        proof.check_signature(self._server_key, message.scheme, content, message.signature, TLS13)

    def _on_finished(self, message: Finished) -> None:
        expected = self.keys.verify_data("server", self._client.transcript.before_last())
        if not secrets.compare_digest(message.verify_data, expected):
            raise Abort(AlertDescription.DECRYPT_ERROR, "the server's Finished does not fit this handshake")
        if not any(step.name == ChangeCipherSpec.name for step in self._client.steps if step.sender == "client"):
            self._client.send_change_cipher_spec()  # RFC 8446 appendix D.4
        self.keys.to_application()
        # A server changes its keys right after its Finished (RFC 8446 section 4.4.4). mbedTLS and Erlang refuse the
        # client's certificate under the old ones.
        self.keys.read(or_alert_before=True)
        self._client.take_turn()

    # --- what the client sends ---

    def _send(self, step: Step) -> None:
        """Sends one step of the flight."""
        client = self._client
        match step:
            case SendCertificate(chain):
                if client.request is not None:
                    client.send_message(Certificate13.of(chain))  # RFC 8446 section 4.4.2
            case SendProof(prove):
                if isinstance(client.request, CertificateRequest13):
                    schemes = client.request.signature_schemes
                    transcript = client.transcript.content()
                    client.challenge = proof.challenge13(transcript, schemes, self._suite.hash)
                    answer = prove(client.challenge)
                    if answer is not None:
                        client.send_message(answer)  # RFC 8446 section 4.4.3
            case SendChangeCipherSpec():
                client.send_change_cipher_spec()
            case SendFinished() as finished:
                handshake = client.transcript.content()
                client.send_message(
                    Finished(finished.made(self.keys.verify_data("client", handshake)))
                )  # RFC 8446 section 4.4.4
            case SendKeyExchange():
                pass  # TLS 1.3 has none: the hellos have exchanged keys
