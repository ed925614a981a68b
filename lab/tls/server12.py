"""The server's handshake in TLS 1.2, from the ClientHello on (RFC 5246 section 7.3)."""

import secrets

from cryptography.hazmat.primitives.asymmetric import rsa

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec
from lab.tls.errors import Abort
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
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
from lab.tls.sessions import TICKET_LIFETIME_SECONDS, Session
from lab.tls.sides import ServerSide
from lab.tls.states import SERVER12, Fact
from lab.tls.versions import DOWNGRADED_TO_TLS12

RSA_SIGN, ECDSA_SIGN = 1, 64
"""client_certificate_type (RFC 5246 section 7.4.4, RFC 8422 section 5.5, which puts Ed25519 under ecdsa_sign)."""


class ServerHandshake12:
    """The handshake from the ClientHello on. It answers at once, with one of `suites`; the machine is `SERVER12`.

    `downgraded` says that the server could have spoken TLS 1.3.
    """

    def __init__(
        self, server: ServerSide, suites: tuple[keys.CipherSuite, ...], hello: ClientHello, downgraded: bool
    ) -> None:
        self._server = server
        self._hello = hello
        self._share: keys.KeyShare | None = None
        if 0 not in hello.compression_methods:
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the client does not offer the null compression method")
        if ext.find(hello.extensions, ext.RENEGOTIATION_INFO) not in (None, b"\0"):  # RFC 5746 section 3.6
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "renegotiation_info is not empty in a first handshake")
        # Both sides agree on an extension if both hellos have it; a model has the answer already.
        model = server.model.hello if server.model else None
        agreed = model or hello
        self._extended = ext.find(agreed.extensions, ext.EXTENDED_MASTER_SECRET) is not None
        random = server.entropy(keys.RANDOM_LENGTH)
        self._random = model.random if model else random[:24] + DOWNGRADED_TO_TLS12 if downgraded else random
        ticket_asked = ext.find(agreed.extensions, ext.SESSION_TICKET) is not None
        self._tickets = ticket_asked and (server.sessions is not None or model is not None)
        facts = {Fact.NO_REQUEST: server.authorities is None, Fact.PROOF_NOT_CHECKED: server.proof_may_be_missing}
        session = self._offered_session(suites)
        if session:
            facts[Fact.RESUMED] = True
            self._resume(session, suites)
        else:
            self._answer(suites)
        self._facts = [fact for fact, holds in facts.items() if holds]
        self._state = SERVER12.after(SERVER12.start, hello, self._facts)

    def advance(self, message: Message | ChangeCipherSpec) -> None:
        """See `Connection._advance`."""
        SERVER12.allow(self._state, message)
        match message:
            case Certificate():  # RFC 5246 section 7.4.6
                self._server.take_chain(message.chain, AlertDescription.HANDSHAKE_FAILURE)
            case ClientKeyExchange():  # RFC 5246 section 7.4.7
                self._derive_keys(message)
                self._set_challenge()
            case CertificateVerify():  # RFC 5246 section 7.4.8
                self._server.check_proof(message)
            case ChangeCipherSpec():  # RFC 5246 section 7.1
                self._server.read_with(self._secrets.protections["client"])
            case Finished():  # RFC 5246 section 7.4.9
                expected = self._secrets.verify_data("client", self._server.transcript.before_last())
                if not secrets.compare_digest(message.verify_data, expected):
                    raise Abort(AlertDescription.DECRYPT_ERROR, "the client's Finished does not fit this handshake")
                if not self._server.resumed:
                    self._send_last_flight()
                self._server.establish()
        self._state = SERVER12.after(self._state, message, self._facts)

    # --- the full handshake ---

    def _answer(self, suites: tuple[keys.CipherSuite, ...]) -> None:
        """ServerHello Certificate [ServerKeyExchange] [CertificateRequest] ServerHelloDone."""
        server = self._server
        group = self._choose_group()
        offered = ext.read_number_list(self._hello.extensions, ext.SIGNATURE_ALGORITHMS) or ()
        scheme = proof.choose_scheme(server.key, offered)
        self._suite = self._choose_suite(suites, ephemeral=group is not None and scheme is not None)
        self._session_id = server.entropy(32) if server.sessions and not self._tickets else b""
        hello = ServerHello(self._random, self._session_id, self._suite.id, self._answers())
        server.send_message(server.model.hello if server.model else hello)
        server.send_message(Certificate(server.chain))
        if self._suite.exchange == "ECDHE":
            assert group
            assert scheme
            self._send_key_exchange(group, scheme)
        if server.authorities is not None:
            request = CertificateRequest((ECDSA_SIGN, RSA_SIGN), server.schemes, server.authorities)
            server.send_message((server.model and server.model.request) or request)
        server.send_message(ServerHelloDone())

    def _send_key_exchange(self, group: int, scheme: proof.SignatureScheme) -> None:
        """RFC 5246 section 7.4.3, RFC 8422 section 5.4."""
        self._share = keys.new_key_share(group, self._server.entropy)
        exchange = ServerKeyExchange(group, self._share.public, scheme.id, b"")
        signature = proof.sign(self._server.key, scheme, self._hello.random + self._random + exchange.params())
        self._server.send_message(ServerKeyExchange(group, self._share.public, scheme.id, signature))

    def _answers(self) -> ext.Extensions | None:
        """The ServerHello's extensions; None instead of an empty block, for clients without extensions."""
        answers = []
        asked = {extension.type for extension in self._hello.extensions or ()}
        if ext.RENEGOTIATION_INFO in asked or keys.RENEGOTIATION_SCSV in self._hello.cipher_suites:
            answers.append(ext.renegotiation_info())
        if self._extended:
            answers.append(ext.extended_master_secret())
        if ext.EC_POINT_FORMATS in asked:
            answers.append(ext.point_formats())
        if self._tickets:
            answers.append(ext.Extension(ext.SESSION_TICKET, b""))
        return tuple(answers) or None

    def _choose_suite(self, suites: tuple[keys.CipherSuite, ...], ephemeral: bool) -> keys.CipherSuite:
        """The first of `suites` for the server's key; Ed25519 keys use the ECDSA suites (RFC 8422 section 5.3).
        `ephemeral` says whether there is a group for ECDHE and a scheme to sign it (section 5.1)."""
        signed_with = "RSA" if proof.key_kind(self._server.key) == "RSA" else "ECDSA"
        for suite in suites:
            fits = suite.signed_with == signed_with and (ephemeral or suite.exchange == "RSA")
            if fits and suite.id in self._hello.cipher_suites:
                return suite
        raise Abort(
            AlertDescription.HANDSHAKE_FAILURE,
            "client and server have no cipher suite in common, or no group or signature scheme for it",
        )

    def _choose_group(self) -> int | None:
        """RFC 8422 section 4: a client that names no groups accepts any. None if there is none in common."""
        offered = ext.read_number_list(self._hello.extensions, ext.SUPPORTED_GROUPS)
        if offered is None:
            return self._server.groups[0]
        return next((group for group in self._server.groups if group in offered), None)

    def _derive_keys(self, message: ClientKeyExchange) -> None:
        server = self._server
        if self._share:
            premaster = self._share.shared_secret(message.point())
        else:
            assert isinstance(server.key, rsa.RSAPrivateKey)
            premaster = keys.decrypt_premaster(
                server.key, message.encrypted_premaster(), self._hello.version, server.entropy
            )
        server.premaster = premaster
        handshake = server.transcript.content() if self._extended else None
        self._use(Secrets12.of(premaster, self._hello.random, self._random, self._suite, handshake))

    def _use(self, secrets12: Secrets12) -> None:
        self._secrets = secrets12
        self._server.key_log = secrets12.key_log()

    def _set_challenge(self) -> None:
        """Fixes what a proof must sign, if the client presented a certificate."""
        server = self._server
        if server.peer_chain:
            server.challenge = proof.challenge12(server.transcript.content(), server.schemes)

    def _send_last_flight(self) -> None:
        """[NewSessionTicket] ChangeCipherSpec Finished."""
        server = self._server
        if self._tickets and not server.sessions:  # the model promised a ticket
            server.send_message(NewSessionTicket(0, b""))
        if server.sessions:
            session = Session(
                self._session_id, b"", self._secrets.master, self._suite.id, self._extended, server.peer_chain
            )
            if self._tickets:
                server.send_message(NewSessionTicket(TICKET_LIFETIME_SECONDS, server.sessions.ticket(session)))
            else:
                server.sessions.keep(session)
        self._send_finished()

    def _send_finished(self) -> None:
        server = self._server
        server.send_change_cipher_spec()
        server.write_with(self._secrets.protections["server"])
        server.send_message(Finished(self._secrets.verify_data("server", server.transcript.content())))

    # --- resuming a session ---

    def _offered_session(self, suites: tuple[keys.CipherSuite, ...]) -> Session | None:
        """The session to resume, if the client offers one that is known and fits (RFC 7627 section 5.3)."""
        store, hello = self._server.sessions, self._hello
        if store is None:
            return None
        session = store.find(hello.session_id, ext.find(hello.extensions, ext.SESSION_TICKET) or b"")
        if session is None or session.suite not in hello.cipher_suites:
            return None
        if session.extended and not self._extended:
            reason = "the client resumes a session with an extended master secret and does not offer the extension"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        if self._extended and not session.extended:
            return None
        if self._server.authorities is not None and not session.peer_chain:
            return None
        return session if any(suite.id == session.suite for suite in suites) else None

    def _resume(self, session: Session, suites: tuple[keys.CipherSuite, ...]) -> None:
        """The short handshake (RFC 5246 section 7.3): the master secret authenticates the client."""
        server = self._server
        assert session.master
        self._suite = next(suite for suite in suites if suite.id == session.suite)
        server.resumed = True
        server.peer_chain = session.peer_chain
        self._tickets = False  # the client's ticket stays valid
        server.send_message(ServerHello(self._random, self._hello.session_id, self._suite.id, self._answers()))
        self._use(Secrets12(session.master, self._hello.random, self._random, self._suite))
        self._send_finished()
