"""The client's handshake (RFC 5246 section 7.3), with the proof of possession left to whoever uses it.

A real stack signs the handshake or sends no certificate. This client sends the certificates it was given and then
asks its `prove` function: that may sign, answer with somebody else's signature, or stay silent.
"""

import ipaddress
import secrets
from collections.abc import Callable
from enum import Enum

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec, Connection, protections, unexpected
from lab.tls.errors import Abort
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
from lab.tls.proof import Challenge, Prover


class State(Enum):
    """What the client waits for, by the name it has in the figure of RFC 5246 section 7.3."""

    SERVER_HELLO = "ServerHello"
    CERTIFICATE = "the server's Certificate"
    SERVER_KEY_EXCHANGE = "ServerKeyExchange"
    REQUEST_OR_DONE = "CertificateRequest or ServerHelloDone"
    SERVER_HELLO_DONE = "ServerHelloDone"
    CHANGE_CIPHER_SPEC = "the server's ChangeCipherSpec"
    FINISHED = "the server's Finished"
    ESTABLISHED = "nothing more of the handshake"


class Client(Connection):
    """A TLS 1.2 client (`lab.tls.engine.Engine`).

    Presents `chain` (DER, own certificate first) if the server asks; `prove` then answers the server's challenge and
    None for either means: none sent. The server's chain is shown to `check_chain`, which may raise CertificateError;
    without it every chain will do. That the server possesses its own key is always checked.
    """

    role = "client"
    peer = "server"

    def __init__(
        self,
        *,
        entropy: keys.Entropy,
        server_name: str | None = None,
        chain: tuple[bytes, ...] = (),
        prove: Prover | None = None,
        check_chain: Callable[[tuple[bytes, ...]], None] | None = None,
        suites: tuple[keys.CipherSuite, ...] = keys.CIPHER_SUITES,
        groups: tuple[int, ...] = keys.GROUPS,
        schemes: tuple[int, ...] = proof.SCHEME_IDS,
    ) -> None:
        super().__init__()
        self._entropy = entropy
        self._chain = chain
        self._prove = prove
        self._check_chain = check_chain
        self._suites = {suite.id: suite for suite in suites}
        self._groups = groups
        self._schemes = schemes
        self._state = State.SERVER_HELLO
        self.request: CertificateRequest | None = None
        """The server's CertificateRequest, once it came."""
        self.challenge: Challenge | None = None
        """What a proof had to sign in this handshake, once that was settled."""

        offered = [
            ext.number_list(ext.SUPPORTED_GROUPS, groups),
            ext.point_formats(),
            ext.number_list(ext.SIGNATURE_ALGORITHMS, schemes),
            ext.extended_master_secret(),
            ext.renegotiation_info(),
        ]
        if server_name and not _is_address(server_name):
            offered.insert(0, ext.server_name(server_name))
        self.random = entropy(keys.RANDOM_LENGTH)
        self._offered = {extension.type for extension in offered}
        self._send_message(ClientHello(self.random, b"", tuple(self._suites), tuple(offered)))

    def _advance(self, message: Message | ChangeCipherSpec) -> None:
        match self._state, message:
            case State.SERVER_HELLO, ServerHello():  # RFC 5246 section 7.4.1.3
                self._on_server_hello(message)
                self._state = State.CERTIFICATE

            case State.CERTIFICATE, Certificate():  # RFC 5246 section 7.4.2
                self._on_certificate(message)
                self._state = State.SERVER_KEY_EXCHANGE

            case State.SERVER_KEY_EXCHANGE, ServerKeyExchange():  # RFC 5246 section 7.4.3, RFC 8422 section 5.4
                self._on_server_key_exchange(message)
                self._state = State.REQUEST_OR_DONE

            case State.REQUEST_OR_DONE, CertificateRequest():  # RFC 5246 section 7.4.4
                self.request = message
                self._state = State.SERVER_HELLO_DONE

            case ((State.REQUEST_OR_DONE | State.SERVER_HELLO_DONE), ServerHelloDone()):  # RFC 5246 section 7.4.5
                self._send_second_flight()
                self._state = State.CHANGE_CIPHER_SPEC

            case State.CHANGE_CIPHER_SPEC, ChangeCipherSpec():  # RFC 5246 section 7.1
                self._read_protected(self._protections["server"])
                self._state = State.FINISHED

            case State.FINISHED, Finished():  # RFC 5246 section 7.4.9
                expected = keys.verify_data(self._master, "server", self.transcript.before_last(), self._suite)
                if not secrets.compare_digest(message.verify_data, expected):
                    raise Abort(AlertDescription.DECRYPT_ERROR, "the server's Finished does not fit this handshake")
                self._state = State.ESTABLISHED
                self._establish()

            case _:
                raise unexpected(message, self._state.value)

    def _on_server_hello(self, hello: ServerHello) -> None:
        if hello.version != TLS12 or ext.selected_version(hello.extensions) not in (None, TLS12):
            reason = f"the server chose version 0x{hello.version:04x}, not TLS 1.2"
            raise Abort(AlertDescription.PROTOCOL_VERSION, reason)
        suite = self._suites.get(hello.cipher_suite)
        if suite is None:
            reason = f"the server chose cipher suite 0x{hello.cipher_suite:04x}, which was not offered"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        if hello.compression_method:
            reason = f"the server chose compression method {hello.compression_method}, which was not offered"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        for extension in hello.extensions or ():
            if extension.type not in self._offered:
                reason = f"the server answered with extension {extension.type}, which was not offered"
                raise Abort(AlertDescription.UNSUPPORTED_EXTENSION, reason)
        ext.check(hello.extensions)
        if ext.find(hello.extensions, ext.RENEGOTIATION_INFO) not in (None, b"\0"):  # RFC 5746 section 3.4
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "renegotiation_info is not empty in a first handshake")
        self._suite = suite
        self._server_random = hello.random
        self._extended = ext.find(hello.extensions, ext.EXTENDED_MASTER_SECRET) is not None

    def _on_certificate(self, message: Certificate) -> None:
        if not message.chain:
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "the server presented no certificate")
        self.peer_chain = message.chain
        self._server_key = proof.public_key(message.chain[0])
        if (proof.key_kind(self._server_key) == "RSA") != (self._suite.signed_with == "RSA"):
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the server's certificate does not suit the cipher suite")
        if self._check_chain:
            self._check_chain(message.chain)

    def _on_server_key_exchange(self, message: ServerKeyExchange) -> None:
        if message.group not in self._groups or message.scheme not in self._schemes:
            reason = f"group {message.group} or scheme {proof.scheme_name(message.scheme)} was not offered"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        signed = self.random + self._server_random + message.params()
        proof.check_signature(self._server_key, message.scheme, signed, message.signature)
        self._server_share = message

    def _send_second_flight(self) -> None:
        """[Certificate] ClientKeyExchange [CertificateVerify] ChangeCipherSpec Finished."""
        if self.request is not None:
            self._send_message(Certificate(self._chain))  # RFC 5246 section 7.4.6
        share = keys.new_key_share(self._server_share.group, self._entropy)
        premaster = share.shared_secret(self._server_share.point)
        self._send_message(ClientKeyExchange.ecdhe(share.public))  # RFC 5246 section 7.4.7
        self._derive_keys(premaster)
        if self.request is not None and self._chain:
            self.challenge = Challenge(self.transcript.content(), self.request.signature_schemes, TLS12)
            answer: CertificateVerify | None = self._prove(self.challenge) if self._prove else None
            if answer is not None:
                self._send_message(answer)  # RFC 5246 section 7.4.8
        self._send_change_cipher_spec(self._protections["client"])
        handshake = self.transcript.content()
        self._send_message(Finished(keys.verify_data(self._master, "client", handshake, self._suite)))

    def _derive_keys(self, premaster: bytes) -> None:
        if self._extended:
            self._master = keys.extended_master_secret(premaster, self.transcript.content(), self._suite)
        else:
            self._master = keys.master_secret(premaster, self.random, self._server_random, self._suite)
        self._protections = protections(self._master, self.random, self._server_random, self._suite)
        self.key_log = keys.key_log_line(self.random, self._master)


def _is_address(name: str) -> bool:
    """server_name takes host names only (RFC 6066 section 3)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
