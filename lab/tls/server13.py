"""The server's handshake in TLS 1.3, from the ClientHello on (RFC 8446 section 2 and appendix A.2)."""

import secrets
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec, unexpected
from lab.tls.errors import Abort
from lab.tls.keys13 import Keys13
from lab.tls.messages import CertificateVerify, ClientHello, Finished, Message, ServerHello
from lab.tls.messages13 import RETRY_RANDOM, Certificate13, CertificateRequest13, EncryptedExtensions, KeyUpdate
from lab.tls.versions import TLS13

if TYPE_CHECKING:
    from lab.tls.server import Server


class State(Enum):
    """What the server waits for, after the states of RFC 8446 appendix A.2."""

    SECOND_HELLO = "a second ClientHello"
    CERTIFICATE = "the client's Certificate"
    PROOF = "CertificateVerify"
    PROOF_IF_ANY = "CertificateVerify or Finished"
    FINISHED = "the client's Finished"
    CONNECTED = "KeyUpdate"


class ServerHandshake13:
    """One handshake with one client, whose ClientHello it answers at once with one of `suites`."""

    def __init__(self, server: "Server", suites: tuple[keys.CipherSuite, ...], hello: ClientHello) -> None:
        self._server = server
        self._suite = self._choose_suite(suites, hello)
        self._scheme = self._choose_scheme(hello)
        self._keys: Keys13 | None = None
        self._first_hello: ClientHello | None = None
        self._state: State
        group, shares = self._choose_group(hello)
        if ext.find(hello.extensions, ext.EARLY_DATA) is not None:
            server.skip_early_data()
        if group in shares:
            self._answer(hello, group, shares[group])
        else:
            self._ask_again(hello, group)

    def advance(self, message: Message | ChangeCipherSpec) -> None:
        """See `Connection._advance`."""
        server = self._server
        match self._state, message:
            case State.SECOND_HELLO, ClientHello():  # RFC 8446 section 4.1.4
                self._on_second_hello(message)

            case State.CERTIFICATE, Certificate13():  # RFC 8446 section 4.4.2
                if message.context:
                    raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the client's Certificate answers no request")
                for entry in message.entries:
                    ext.check_answers(entry.extensions, (), ())
                server.take_chain(message.chain, AlertDescription.CERTIFICATE_REQUIRED)
                server.challenge = proof.challenge13(server.transcript.content(), server.schemes, self._suite.hash)
                self._state = State.PROOF_IF_ANY if server.proof_may_be_missing else State.PROOF

            case ((State.PROOF | State.PROOF_IF_ANY), CertificateVerify()):  # RFC 8446 section 4.4.3
                server.check_proof(message)
                self._state = State.FINISHED

            case ((State.FINISHED | State.PROOF_IF_ANY), Finished()):  # RFC 8446 section 4.4.4
                assert self._keys
                expected = self._keys.verify_data("client", server.transcript.before_last())
                if not secrets.compare_digest(message.verify_data, expected):
                    raise Abort(AlertDescription.DECRYPT_ERROR, "the client's Finished does not fit this handshake")
                self._keys.read()
                self._state = State.CONNECTED
                server.establish()

            case State.CONNECTED, KeyUpdate():  # RFC 8446 section 4.6.3
                assert self._keys
                self._keys.on_update(message)

            case _:
                raise unexpected(message, self._state.value)

    def update_keys(self, request: bool) -> None:
        """See `Connection.update_keys`."""
        assert self._keys
        self._keys.update(request)

    # --- the hellos ---

    def _choose_suite(self, suites: tuple[keys.CipherSuite, ...], hello: ClientHello) -> keys.CipherSuite:
        if hello.compression_methods != b"\0":
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the client offers compression in TLS 1.3")
        for suite in suites:
            if suite.id in hello.cipher_suites:
                return suite
        raise Abort(AlertDescription.HANDSHAKE_FAILURE, "client and server have no cipher suite in common")

    def _choose_scheme(self, hello: ClientHello) -> proof.SignatureScheme:
        offered = ext.read_number_list(hello.extensions, ext.SIGNATURE_ALGORITHMS)
        if offered is None:  # RFC 8446 section 9.2
            raise Abort(AlertDescription.MISSING_EXTENSION, "the ClientHello lacks signature_algorithms")
        scheme = proof.choose_scheme(self._server.key, offered, TLS13)
        if scheme is None:
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "the client takes no signature of the server's key")
        return scheme

    def _choose_group(self, hello: ClientHello) -> tuple[int, dict[int, bytes]]:
        """The group to use, rather one that has come with a key share, and all shares (RFC 8446 section 4.2.8)."""
        offered = ext.read_number_list(hello.extensions, ext.SUPPORTED_GROUPS)
        shares = ext.read_key_shares(hello.extensions)
        if offered is None or shares is None:  # RFC 8446 section 9.2
            raise Abort(AlertDescription.MISSING_EXTENSION, "the ClientHello lacks supported_groups or key_share")
        if any(group not in offered for group in shares):
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "a key share of a group that supported_groups lacks")
        common = [group for group in self._server.groups if group in offered]
        if not common:
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "client and server have no group in common")
        return next((group for group in common if group in shares), common[0]), shares

    def _ask_again(self, hello: ClientHello, group: int) -> None:
        """HelloRetryRequest (RFC 8446 section 4.1.4)."""
        server = self._server
        server.transcript.hash_first(self._suite.hash)
        answers = (ext.chosen_version(TLS13), ext.retry_group(group))
        server.send_message(ServerHello(RETRY_RANDOM, hello.session_id, self._suite.id, answers))
        self._send_change_cipher_spec(hello)
        self._first_hello, self._group = hello, group
        self._state = State.SECOND_HELLO

    def _send_change_cipher_spec(self, hello: ClientHello) -> None:
        """Behind the first message, for middleboxes, if the client wants it so (RFC 8446 appendix D.4)."""
        if hello.session_id:
            self._server.send_change_cipher_spec()

    def _on_second_hello(self, hello: ClientHello) -> None:
        """The same as the first but for the key share (RFC 8446 section 4.1.2)."""
        ext.check(hello.extensions)
        shares = ext.read_key_shares(hello.extensions) or {}
        early = ext.find(hello.extensions, ext.EARLY_DATA) is not None
        assert self._first_hello
        if early or tuple(shares) != (self._group,) or _lasting(hello) != _lasting(self._first_hello):
            reason = "the second ClientHello is not the first with the key share that was asked for"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        self._server.skip_early_data(0)
        self._answer(hello, self._group, shares[self._group])

    def _answer(self, hello: ClientHello, group: int, point: bytes) -> None:
        """ServerHello EncryptedExtensions [CertificateRequest] Certificate CertificateVerify Finished."""
        server = self._server
        share = keys.new_key_share(group, server.entropy)
        shared_secret = share.shared_secret(point)
        own_share = ext.key_share(group, share.public)
        if model := server.model:
            answers = tuple(own_share if one.type == ext.KEY_SHARE else one for one in model.hello.extensions or ())
            server.send_message(replace(model.hello, extensions=answers))
        else:
            random = server.entropy(keys.RANDOM_LENGTH)
            answers = (ext.chosen_version(TLS13), own_share)
            server.send_message(ServerHello(random, hello.session_id, self._suite.id, answers))
        if self._first_hello is None:
            self._send_change_cipher_spec(hello)
        self._keys = Keys13(server, self._suite, shared_secret, hello.random)
        self._keys.write()
        self._keys.read()
        server.send_message((model and model.encrypted_extensions) or EncryptedExtensions(()))
        if server.client_auth:
            request = CertificateRequest13.of(server.schemes, server.client_auth.authorities)
            server.send_message((model and model.request) or request)
        server.send_message(Certificate13.of(server.chain))
        content = proof.signed_content("server", server.transcript.content(), self._suite.hash)
        server.send_message(CertificateVerify(self._scheme.id, proof.sign(server.key, self._scheme, content)))
        finished = self._keys.verify_data("server", server.transcript.content())
        server.send_message(Finished(finished))
        self._keys.to_application()
        self._keys.write()
        self._state = State.CERTIFICATE if server.client_auth else State.FINISHED


_CHANGING = (ext.KEY_SHARE, ext.EARLY_DATA, ext.COOKIE, ext.PRE_SHARED_KEY, ext.PADDING)
"""What may differ between a client's two hellos (RFC 8446 section 4.1.2)."""


def _lasting(hello: ClientHello) -> ClientHello:
    """The hello without what may differ in its second."""
    lasting = tuple(extension for extension in hello.extensions or () if extension.type not in _CHANGING)
    return replace(hello, extensions=lasting)
