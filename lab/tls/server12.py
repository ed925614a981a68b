"""The server's handshake in TLS 1.2, from the ClientHello on (RFC 5246 section 7.3)."""

import secrets
from enum import Enum
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec, unexpected
from lab.tls.errors import Abort, TlsError
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

if TYPE_CHECKING:
    from lab.tls.server import Server

RSA_SIGN, ECDSA_SIGN = 1, 64
"""client_certificate_type (RFC 5246 section 7.4.4, RFC 8422 section 5.5, which puts Ed25519 under ecdsa_sign)."""

COULD_DO_BETTER = b"DOWNGRD\x01"
"""The end of a server's random that speaks TLS 1.3 and is asked for TLS 1.2 (RFC 8446 section 4.1.3)."""


class State(Enum):
    """What the server waits for."""

    CERTIFICATE = "the client's Certificate"
    CLIENT_KEY_EXCHANGE = "ClientKeyExchange"
    PROOF = "CertificateVerify"
    PROOF_IF_ANY = "CertificateVerify or ChangeCipherSpec"
    CHANGE_CIPHER_SPEC = "the client's ChangeCipherSpec"
    FINISHED = "the client's Finished"
    ESTABLISHED = "nothing more of the handshake"


class ServerHandshake12:
    """One handshake with one client, whose ClientHello it answers at once with one of `suites`.

    `better_known` says that the server would rather have spoken TLS 1.3.
    """

    def __init__(
        self, server: "Server", suites: tuple[keys.CipherSuite, ...], hello: ClientHello, better_known: bool
    ) -> None:
        self._server = server
        self._hello = hello
        self._share: keys.KeyShare | None = None
        self._state: State
        if 0 not in hello.compression_methods:
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the client does not offer to go without compression")
        if ext.find(hello.extensions, ext.RENEGOTIATION_INFO) not in (None, b"\0"):  # RFC 5746 section 3.6
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "renegotiation_info is not empty in a first handshake")
        # What is agreed on is in both hellos; the answer's extensions are the server's own or those of its model.
        model = server.model.hello if server.model else None
        agreed = model or hello
        self._extended = ext.find(agreed.extensions, ext.EXTENDED_MASTER_SECRET) is not None
        random = server.entropy(keys.RANDOM_LENGTH)
        self._random = model.random if model else random[:24] + COULD_DO_BETTER if better_known else random
        ticket_asked = ext.find(agreed.extensions, ext.SESSION_TICKET) is not None
        self._tickets = ticket_asked and (server.sessions is not None or model is not None)
        session = self._offered_session(suites)
        if session:
            self._resume(session, suites)
        else:
            self._answer(suites)

    def advance(self, message: Message | ChangeCipherSpec) -> None:
        """See `Connection._advance`."""
        match self._state, message:
            case State.CERTIFICATE, Certificate():  # RFC 5246 section 7.4.6
                self._server.take_chain(message.chain, AlertDescription.HANDSHAKE_FAILURE)
                self._state = State.CLIENT_KEY_EXCHANGE

            case State.CLIENT_KEY_EXCHANGE, ClientKeyExchange():  # RFC 5246 section 7.4.7
                self._derive_keys(message)
                self._state = self._after_key_exchange()

            case ((State.PROOF | State.PROOF_IF_ANY), CertificateVerify()):  # RFC 5246 section 7.4.8
                self._server.check_proof(message)
                self._state = State.CHANGE_CIPHER_SPEC

            case ((State.CHANGE_CIPHER_SPEC | State.PROOF_IF_ANY), ChangeCipherSpec()):  # RFC 5246 section 7.1
                self._server.read_with(self._secrets.protections["client"])
                self._state = State.FINISHED

            case State.FINISHED, Finished():  # RFC 5246 section 7.4.9
                expected = self._secrets.verify_data("client", self._server.transcript.before_last())
                if not secrets.compare_digest(message.verify_data, expected):
                    raise Abort(AlertDescription.DECRYPT_ERROR, "the client's Finished does not fit this handshake")
                if not self._server.resumed:
                    self._send_last_flight()
                self._state = State.ESTABLISHED
                self._server.establish()

            case _:
                raise unexpected(message, self._state.value)

    def update_keys(self, request: bool) -> None:
        """See `Connection.update_keys`."""
        raise TlsError("TLS 1.2 has no KeyUpdate")

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
        if server.client_auth:
            types = (ECDSA_SIGN, RSA_SIGN)
            request = CertificateRequest(types, server.schemes, server.client_auth.authorities)
            server.send_message((server.model and server.model.request) or request)
        server.send_message(ServerHelloDone())
        self._state = State.CERTIFICATE if server.client_auth else State.CLIENT_KEY_EXCHANGE

    def _send_key_exchange(self, group: int, scheme: proof.SignatureScheme) -> None:
        """RFC 5246 section 7.4.3, RFC 8422 section 5.4."""
        self._share = keys.new_key_share(group, self._server.entropy)
        exchange = ServerKeyExchange(group, self._share.public, scheme.id, b"")
        signature = proof.sign(self._server.key, scheme, self._hello.random + self._random + exchange.params())
        self._server.send_message(ServerKeyExchange(group, self._share.public, scheme.id, signature))

    def _answers(self) -> ext.Extensions | None:
        """The ServerHello's extensions; None rather than an empty block, for clients that know no extensions."""
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
        """RFC 8422 section 5.3 lets Ed25519 certificates serve the ECDSA suites. `ephemeral` says whether there is a
        group for ECDHE and a scheme to sign it (section 5.1 and RFC 5246 section 7.4.3)."""
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
        """RFC 8422 section 4: a client that names no groups takes any. None where there is none in common."""
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

    def _after_key_exchange(self) -> State:
        server = self._server
        if not server.peer_chain:
            return State.CHANGE_CIPHER_SPEC
        server.challenge = proof.challenge12(server.transcript.content(), server.schemes)
        return State.PROOF_IF_ANY if server.proof_may_be_missing else State.PROOF

    def _send_last_flight(self) -> None:
        """[NewSessionTicket] ChangeCipherSpec Finished."""
        server = self._server
        if self._tickets and not server.sessions:  # the model promised one
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

    # --- going on with a session ---

    def _offered_session(self, suites: tuple[keys.CipherSuite, ...]) -> Session | None:
        """The session to go on with, if the client offers one that is known here and fits (RFC 7627 section 5.3)."""
        store, hello = self._server.sessions, self._hello
        if store is None:
            return None
        session = store.find(hello.session_id, ext.find(hello.extensions, ext.SESSION_TICKET) or b"")
        if session is None or session.suite not in hello.cipher_suites:
            return None
        if session.extended and not self._extended:
            reason = "the session is bound to its handshake, and the client would go on with it unbound"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        if self._extended and not session.extended:
            return None
        if self._server.client_auth and not session.peer_chain:
            return None
        return session if any(suite.id == session.suite for suite in suites) else None

    def _resume(self, session: Session, suites: tuple[keys.CipherSuite, ...]) -> None:
        """The short handshake (RFC 5246 section 7.3): whoever has the master secret is whoever was there before."""
        server = self._server
        assert session.master
        self._suite = next(suite for suite in suites if suite.id == session.suite)
        server.resumed = True
        server.peer_chain = session.peer_chain
        self._tickets = False  # the one that the client has goes on being good
        server.send_message(ServerHello(self._random, self._hello.session_id, self._suite.id, self._answers()))
        self._use(Secrets12(session.master, self._hello.random, self._random, self._suite))
        self._send_finished()
        self._state = State.CHANGE_CIPHER_SPEC
