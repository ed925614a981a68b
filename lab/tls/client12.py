"""The client's handshake in TLS 1.2, after the hellos (RFC 5246 section 7.3)."""

import secrets

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec
from lab.tls.copied import check_choice, chosen_protocol
from lab.tls.errors import Abort
from lab.tls.flight import Flight, SendCertificate, SendChangeCipherSpec, SendFinished, SendKeyExchange, SendProof, Step
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    ClientHello,
    ClientKeyExchange,
    Finished,
    Message,
    NewSessionTicket,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
)
from lab.tls.secrets12 import Secrets12
from lab.tls.sessions import Session
from lab.tls.sides import ClientSide, Offer
from lab.tls.states import CLIENT12, Fact
from lab.tls.versions import TLS12


class ClientHandshake12:
    """The handshake from the ServerHello on, which chose `suite`; the machine is `CLIENT12`."""

    def __init__(
        self,
        client: ClientSide,
        offer: Offer,
        suite: keys.CipherSuite,
        client_hello: ClientHello,
        hello: ServerHello,
    ) -> None:
        self._client = client
        self._offer = offer
        self._suite = suite
        self._hello = hello
        self._client_hello = client_hello
        self._secrets: Secrets12 | None = None
        self._ticket = b""
        self._guessed = False
        self._server_share: ServerKeyExchange | None = None
        if ext.find(hello.extensions, ext.RENEGOTIATION_INFO) not in (None, b"\0"):  # RFC 5746 section 3.4
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "renegotiation_info is not empty in a first handshake")
        client.protocol = chosen_protocol(client_hello, hello.extensions, offer.protocols)
        self._extended = ext.find(hello.extensions, ext.EXTENDED_MASTER_SECRET) is not None
        facts = {Fact.RSA_TRANSPORT: suite.exchange == "RSA"}
        facts[Fact.NO_TICKET] = ext.find(hello.extensions, ext.SESSION_TICKET) is None  # RFC 5077 section 3.2
        if isinstance(offer.resume, Session) and hello.session_id and hello.session_id == client_hello.session_id:
            facts[Fact.RESUMED] = True
            self._resume(offer.resume)
        self._facts = [fact for fact, holds in facts.items() if holds]
        self._state = CLIENT12.after(CLIENT12.start, hello, self._facts)

    def advance(self, message: Message | ChangeCipherSpec) -> None:
        """See `Connection._advance`."""
        CLIENT12.allow(self._state, message)
        match message:
            case Certificate():  # RFC 5246 section 7.4.2
                self._on_certificate(message)
            case ServerKeyExchange():  # RFC 5246 section 7.4.3, RFC 8422 section 5.4
                self._on_server_key_exchange(message)
            case CertificateRequest():  # RFC 5246 section 7.4.4
                self._client.request = message
            case ServerHelloDone():  # RFC 5246 section 7.4.5
                self._client.take_turn()
            case NewSessionTicket():  # RFC 5077 section 3.3
                self._ticket = message.ticket
            case ChangeCipherSpec():  # RFC 5246 section 7.1
                if self._guessed:
                    self._client.read_nothing()
                self._client.read_with(self._keys().protections["server"])
            case Finished():  # RFC 5246 section 7.4.9
                self._on_finished(message)
        self._state = CLIENT12.after(self._state, message, self._facts)

    def speak(self, flight: Flight) -> None:
        """Sends the client's flight."""
        for step in flight:
            self._send(step)

    # --- what the server sends ---

    def _on_certificate(self, message: Certificate) -> None:
        if not message.chain:
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "the server presented no certificate")
        self._client.peer_chain = message.chain
        self._server_key = proof.public_key(message.chain[0])
        if proof.key_kind(self._server_key).startswith("RSA") != (self._suite.signed_with == "RSA"):
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the server's certificate does not suit the cipher suite")
        if self._offer.check_chain:
            self._offer.check_chain(message.chain)

    def _on_server_key_exchange(self, message: ServerKeyExchange) -> None:
        offered, offer = self._client_hello.extensions, self._offer
        groups, schemes = (ext.read_number_list(offered, of) for of in (ext.SUPPORTED_GROUPS, ext.SIGNATURE_ALGORITHMS))
        check_choice(f"the server chose group {message.group}", message.group, offer.groups, groups)
        scheme = proof.scheme_name(message.scheme, TLS12)
        check_choice(f"the server signed with scheme {scheme}", message.scheme, offer.schemes, schemes)
        signed = self._offer.random + self._hello.random + message.params()
        proof.check_signature(self._server_key, message.scheme, signed, message.signature)
        self._server_share = message

    def _on_finished(self, message: Finished) -> None:
        expected = self._keys().verify_data("server", self._client.transcript.before_last())
        if not secrets.compare_digest(message.verify_data, expected):
            raise Abort(AlertDescription.DECRYPT_ERROR, "the server's Finished does not fit this handshake")
        if self._client.resumed:
            self._send(SendChangeCipherSpec())
            self._send(SendFinished())
        if self._hello.session_id or self._ticket:
            self._client.session = Session(
                self._hello.session_id,
                self._ticket,
                self._keys().master,
                self._suite.id,
                self._extended,
                self._client.peer_chain,
            )
        self._client.establish()

    # --- what the client sends ---

    def _send(self, step: Step) -> None:
        """Sends one step of the flight."""
        client = self._client
        match step:
            case SendCertificate(chain):
                if client.request is not None:
                    client.send_message(Certificate(chain))  # RFC 5246 section 7.4.6
            case SendKeyExchange():
                message, premaster = self._key_exchange(step)
                client.send_message(message)  # RFC 5246 section 7.4.7
                self._derive_keys(premaster)
            case SendProof(prove):
                if isinstance(client.request, CertificateRequest):
                    schemes = client.request.signature_schemes
                    client.challenge = proof.challenge12(client.transcript.content(), schemes)
                    answer = prove(client.challenge)
                    if answer is not None:
                        client.send_message(answer)  # RFC 5246 section 7.4.8
            case SendChangeCipherSpec():
                client.send_change_cipher_spec()  # RFC 5246 section 7.1
                client.write_with(self._keys().protections["client"])
            case SendFinished() as finished:
                handshake = client.transcript.content()
                client.send_message(
                    Finished(finished.made(self._keys().verify_data("client", handshake)))
                )  # RFC 5246 section 7.4.9

    def _key_exchange(self, step: SendKeyExchange) -> tuple[ClientKeyExchange, bytes]:
        """ClientKeyExchange and the premaster secret."""
        if self._server_share:
            share = keys.new_key_share(self._server_share.group, self._offer.entropy)
            return ClientKeyExchange.ecdhe(share.public), share.shared_secret(self._server_share.point)
        premaster = step.premaster or keys.new_rsa_premaster(self._offer.entropy)
        encrypted = step.encrypted or keys.encrypt_premaster(self._server_key, premaster)
        return ClientKeyExchange.rsa(encrypted), premaster

    def _derive_keys(self, premaster: bytes) -> None:
        randoms = self._offer.random, self._hello.random
        handshake = self._client.transcript.content() if self._extended else None
        self._use(Secrets12.of(premaster, *randoms, self._suite, handshake))

    def _use(self, secrets12: Secrets12) -> None:
        self._secrets = secrets12
        self._client.key_log = secrets12.key_log()

    def _keys(self) -> Secrets12:
        """The connection's keys; before the key exchange, those of an empty master secret."""
        if self._secrets is None:
            self._use(Secrets12(b"", self._offer.random, self._hello.random, self._suite))
        assert self._secrets
        return self._secrets

    # --- resuming a session ---

    def _resume(self, session: Session) -> None:
        """The short handshake (RFC 5246 section 7.3): no certificates, and the server sends its Finished first.

        A client without the master secret guesses one. It cannot read the server's Finished or anything after it; of
        the server's answer to the guess it can see only that it is an alert.
        """
        if self._suite.id != session.suite or (session.master and self._extended != session.extended):
            reason = "the server resumes the session with another cipher suite or kind of master secret"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        self._client.resumed = True
        self._client.peer_chain = session.peer_chain
        self._ticket = session.ticket
        master = session.master or self._offer.entropy(keys.MASTER_SECRET_LENGTH)
        self._use(Secrets12(master, self._offer.random, self._hello.random, self._suite))
        self._guessed = session.master is None
        if self._guessed:
            self._send(SendChangeCipherSpec())
            self._send(SendFinished())
