"""The server's handshake (RFC 5246 section 7.3), with an argument that no real stack has: what to do with the proof."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec, Connection, protections, unexpected
from lab.tls.errors import Abort, ProofError
from lab.tls.messages import (
    TLS12,
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    Message,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
)
from lab.tls.proof import Challenge, PrivateKey

RSA_SIGN, ECDSA_SIGN = 1, 64
"""client_certificate_type (RFC 5246 section 7.4.4, RFC 8422 section 5.5, which puts Ed25519 under ecdsa_sign)."""


class Proof(Enum):
    """What a server does about the client's CertificateVerify."""

    REQUIRED = "it must come and must be right, as RFC 5246 section 7.4.8 has it"
    IGNORED = "it must come; it is checked and the result is dropped"
    NOT_ASKED_FOR = "it may be missing, and is not looked at when it comes"


@dataclass(frozen=True)
class ClientAuth:
    """How a server authenticates its clients.

    `check_chain` gets the client's certificates in DER, its own first, and raises CertificateError to turn it away;
    `authorities` are the DER names that the CertificateRequest lists.
    """

    check_chain: Callable[[tuple[bytes, ...]], None]
    proof: Proof
    authorities: tuple[bytes, ...] = ()


class State(Enum):
    """What the server waits for."""

    CLIENT_HELLO = "ClientHello"
    CERTIFICATE = "the client's Certificate"
    CLIENT_KEY_EXCHANGE = "ClientKeyExchange"
    PROOF = "CertificateVerify"
    PROOF_IF_ANY = "CertificateVerify or ChangeCipherSpec"
    CHANGE_CIPHER_SPEC = "the client's ChangeCipherSpec"
    FINISHED = "the client's Finished"
    ESTABLISHED = "nothing more of the handshake"


class Server(Connection):
    """A TLS 1.2 server (`lab.tls.engine.Engine`) with the certificates `chain` (DER, own first) and their `key`.

    Without `client_auth` it doesn't ask the client for a certificate.
    """

    role = "server"
    peer = "client"

    def __init__(
        self,
        *,
        entropy: keys.Entropy,
        chain: tuple[bytes, ...],
        key: PrivateKey,
        client_auth: ClientAuth | None = None,
        suites: tuple[keys.CipherSuite, ...] = keys.CIPHER_SUITES,
        groups: tuple[int, ...] = keys.GROUPS,
    ) -> None:
        super().__init__()
        self._entropy = entropy
        self._chain = chain
        self._key = key
        self._client_auth = client_auth
        self._suites = suites
        self._groups = groups
        self._schemes = proof.SCHEME_IDS
        self._state = State.CLIENT_HELLO
        self.version: int | None = None
        """0x0303 or 0x0304, once the ServerHello has settled it."""
        self.server_name: str | None = None
        """The host that the client asked for, if it named one."""
        self.challenge: Challenge | None = None
        """What a proof had to sign in this handshake, once a client had presented a certificate."""

    def _advance(self, message: Message | ChangeCipherSpec) -> None:
        match self._state, message:
            case State.CLIENT_HELLO, ClientHello():  # RFC 5246 section 7.4.1.2
                self._on_client_hello(message)
                self._state = State.CERTIFICATE if self._client_auth else State.CLIENT_KEY_EXCHANGE

            case State.CERTIFICATE, Certificate():  # RFC 5246 section 7.4.6
                self._on_certificate(message)
                self._state = State.CLIENT_KEY_EXCHANGE

            case State.CLIENT_KEY_EXCHANGE, ClientKeyExchange():  # RFC 5246 section 7.4.7
                self._derive_keys(self._share.shared_secret(message.point()))
                self._state = self._after_key_exchange()

            case ((State.PROOF | State.PROOF_IF_ANY), CertificateVerify()):  # RFC 5246 section 7.4.8
                self._on_proof(message)
                self._state = State.CHANGE_CIPHER_SPEC

            case ((State.CHANGE_CIPHER_SPEC | State.PROOF_IF_ANY), ChangeCipherSpec()):  # RFC 5246 section 7.1
                self._read_protected(self._protections["client"])
                self._state = State.FINISHED

            case State.FINISHED, Finished():  # RFC 5246 section 7.4.9
                expected = keys.verify_data(self._master, "client", self.transcript.before_last(), self._suite)
                if not secrets.compare_digest(message.verify_data, expected):
                    raise Abort(AlertDescription.DECRYPT_ERROR, "the client's Finished does not fit this handshake")
                self._send_last_flight()
                self._state = State.ESTABLISHED
                self._establish()

            case _:
                raise unexpected(message, self._state.value)

    def _on_proof(self, message: CertificateVerify) -> None:
        """What this function does, or doesn't, is what the lab is about."""
        assert self._client_auth
        assert self.challenge
        if self._client_auth.proof is Proof.NOT_ASKED_FOR:
            return
        try:
            proof.check(self._client_key, self.challenge, message)
        except ProofError:
            if self._client_auth.proof is Proof.REQUIRED:
                raise

    def _after_key_exchange(self) -> State:
        if not self.peer_chain or not self._client_auth:
            return State.CHANGE_CIPHER_SPEC
        self.challenge = Challenge(self.transcript.content(), self._schemes, TLS12)
        return State.PROOF_IF_ANY if self._client_auth.proof is Proof.NOT_ASKED_FOR else State.PROOF

    def _on_client_hello(self, hello: ClientHello) -> None:
        versions = ext.read_versions(hello.extensions)
        if hello.version < TLS12 or (versions is not None and TLS12 not in versions):
            raise Abort(AlertDescription.PROTOCOL_VERSION, "the client does not offer TLS 1.2")
        if 0 not in hello.compression_methods:
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the client does not offer to go without compression")
        ext.check(hello.extensions)
        if ext.find(hello.extensions, ext.RENEGOTIATION_INFO) not in (None, b"\0"):  # RFC 5746 section 3.6
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "renegotiation_info is not empty in a first handshake")
        self.server_name = ext.read_server_name(hello.extensions)
        self._suite = self._choose_suite(hello)
        group = self._choose_group(hello)
        offered = ext.read_number_list(hello.extensions, ext.SIGNATURE_ALGORITHMS) or ()
        scheme = proof.choose_scheme(self._key, offered)
        if scheme is None:
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "the client takes no signature of the server's key")
        self._extended = ext.find(hello.extensions, ext.EXTENDED_MASTER_SECRET) is not None
        self._client_random = hello.random
        self._server_random = self._entropy(keys.RANDOM_LENGTH)
        self._share = keys.new_key_share(group, self._entropy)

        answers = self._answers_to(hello)
        self.version = TLS12
        self._send_message(ServerHello(self._server_random, b"", self._suite.id, answers))
        self._send_message(Certificate(self._chain))
        exchange = ServerKeyExchange(group, self._share.public, scheme.id, b"")
        signature = proof.sign(self._key, scheme, self._client_random + self._server_random + exchange.params())
        self._send_message(ServerKeyExchange(group, self._share.public, scheme.id, signature))
        if self._client_auth:
            request = CertificateRequest((ECDSA_SIGN, RSA_SIGN), self._schemes, self._client_auth.authorities)
            self._send_message(request)
        self._send_message(ServerHelloDone())

    def _answers_to(self, hello: ClientHello) -> ext.Extensions | None:
        """The ServerHello's extensions; None rather than an empty block, for clients that know no extensions."""
        answers = []
        asked = {extension.type for extension in hello.extensions or ()}
        if ext.RENEGOTIATION_INFO in asked or keys.RENEGOTIATION_SCSV in hello.cipher_suites:
            answers.append(ext.renegotiation_info())
        if self._extended:
            answers.append(ext.extended_master_secret())
        if ext.EC_POINT_FORMATS in asked:
            answers.append(ext.point_formats())
        return tuple(answers) or None

    def _choose_suite(self, hello: ClientHello) -> keys.CipherSuite:
        """RFC 8422 section 5.3 lets Ed25519 certificates serve the ECDSA suites."""
        signed_with = "RSA" if proof.key_kind(self._key) == "RSA" else "ECDSA"
        for suite in self._suites:
            if suite.id in hello.cipher_suites and suite.signed_with == signed_with:
                return suite
        raise Abort(AlertDescription.HANDSHAKE_FAILURE, "client and server have no cipher suite in common")

    def _choose_group(self, hello: ClientHello) -> int:
        """RFC 8422 section 4: a client that names no groups takes any."""
        offered = ext.read_number_list(hello.extensions, ext.SUPPORTED_GROUPS)
        if offered is None:
            return self._groups[0]
        for group in self._groups:
            if group in offered:
                return group
        raise Abort(AlertDescription.HANDSHAKE_FAILURE, "client and server have no group in common")

    def _on_certificate(self, message: Certificate) -> None:
        assert self._client_auth
        if not message.chain:
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "the client presented no certificate")
        self.peer_chain = message.chain
        self._client_key = proof.public_key(message.chain[0])
        self._client_auth.check_chain(message.chain)

    def _derive_keys(self, premaster: bytes) -> None:
        if self._extended:
            self._master = keys.extended_master_secret(premaster, self.transcript.content(), self._suite)
        else:
            self._master = keys.master_secret(premaster, self._client_random, self._server_random, self._suite)
        self._protections = protections(self._master, self._client_random, self._server_random, self._suite)
        self.key_log = keys.key_log_line(self._client_random, self._master)

    def _send_last_flight(self) -> None:
        self._send_change_cipher_spec(self._protections["server"])
        handshake = self.transcript.content()
        self._send_message(Finished(keys.verify_data(self._master, "server", handshake, self._suite)))
