"""The server's handshake in TLS 1.3, from the ClientHello on (RFC 8446 section 2 and appendix A.2)."""

import secrets
from dataclasses import replace

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec
from lab.tls.errors import Abort
from lab.tls.keys13 import Keys13
from lab.tls.messages import CertificateVerify, ClientHello, Finished, Message, ServerHello
from lab.tls.messages13 import RETRY_RANDOM, Certificate13, CertificateRequest13, EncryptedExtensions, KeyUpdate
from lab.tls.sides import ServerSide
from lab.tls.states import SERVER13, Fact
from lab.tls.versions import TLS13


class ServerHandshake13:
    """The handshake from the ClientHello on. It answers at once, with one of `suites`; the machine is `SERVER13`."""

    def __init__(self, server: ServerSide, suites: tuple[keys.CipherSuite, ...], hello: ClientHello) -> None:
        self._server = server
        self._suite = self._choose_suite(suites, hello)
        self._scheme = self._choose_scheme(hello)
        self.keys: Keys13 | None = None
        self._first_hello: ClientHello | None = None
        facts = {Fact.NO_REQUEST: server.authorities is None, Fact.PROOF_NOT_CHECKED: server.proof_may_be_missing}
        self._facts = [fact for fact, holds in facts.items() if holds]
        group, shares = self._choose_group(hello)
        if ext.find(hello.extensions, ext.EARLY_DATA) is not None:
            server.skip_early_data()
        if group in shares:
            self._answer(hello, group, shares[group])
            self._state = SERVER13.after(SERVER13.start, hello, self._facts)
        else:
            self._ask_again(hello, group)
            self._state = SERVER13.after(SERVER13.start, hello, (Fact.RETRY,))

    def advance(self, message: Message | ChangeCipherSpec) -> None:
        """See `Connection._advance`."""
        SERVER13.allow(self._state, message)
        server = self._server
        match message:
            case ClientHello():  # RFC 8446 section 4.1.4
                self._on_second_hello(message)
            case Certificate13():  # RFC 8446 section 4.4.2
                if message.context:
                    raise Abort(
                        AlertDescription.ILLEGAL_PARAMETER, "the context of the client's Certificate is not empty"
                    )
                for entry in message.entries:
                    ext.check_answers(entry.extensions, (), ())
                server.take_chain(message.chain, AlertDescription.CERTIFICATE_REQUIRED)
                server.challenge = proof.challenge13(server.transcript.content(), server.schemes, self._suite.hash)
            case CertificateVerify():  # RFC 8446 section 4.4.3
                server.check_proof(message)
            case Finished():  # RFC 8446 section 4.4.4
                assert self.keys
                expected = self.keys.verify_data("client", server.transcript.before_last())
                if not secrets.compare_digest(message.verify_data, expected):
                    raise Abort(AlertDescription.DECRYPT_ERROR, "the client's Finished does not fit this handshake")
                self.keys.read()
                server.establish()
            case KeyUpdate():  # RFC 8446 section 4.6.3
                assert self.keys
                self.keys.on_update(message)
        self._state = SERVER13.after(self._state, message, self._facts)

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
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "the client offers no scheme for the server's key")
        return scheme

    def _choose_group(self, hello: ClientHello) -> tuple[int, dict[int, bytes]]:
        """The group to use, if possible one with a key share, and all key shares (RFC 8446 section 4.2.8)."""
        offered = ext.read_number_list(hello.extensions, ext.SUPPORTED_GROUPS)
        shares = ext.read_key_shares(hello.extensions)
        if offered is None or shares is None:  # RFC 8446 section 9.2
            raise Abort(AlertDescription.MISSING_EXTENSION, "the ClientHello lacks supported_groups or key_share")
        if any(group not in offered for group in shares):
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "a key share of a group that is not in supported_groups")
        common = [group for group in self._server.groups if group in offered]
        if not common:
            raise Abort(AlertDescription.HANDSHAKE_FAILURE, "client and server have no group in common")
        return next((group for group in common if group in shares), common[0]), shares

    def _ask_again(self, hello: ClientHello, group: int) -> None:
        """Sends HelloRetryRequest (RFC 8446 section 4.1.4)."""
        server = self._server
        server.transcript.hash_first(self._suite.hash)
        answers = (ext.chosen_version(TLS13), ext.retry_group(group))
        server.send_message(ServerHello(RETRY_RANDOM, hello.session_id, self._suite.id, answers))
        self._send_change_cipher_spec(hello)
        self._first_hello, self._group = hello, group

    def _send_change_cipher_spec(self, hello: ClientHello) -> None:
        """Sent after the first message for middleboxes, if the client wants it (RFC 8446 appendix D.4)."""
        if hello.session_id:
            self._server.send_change_cipher_spec()

    def _on_second_hello(self, hello: ClientHello) -> None:
        """It must equal the first, except for the key share (RFC 8446 section 4.1.2)."""
        ext.check(hello.extensions)
        shares = ext.read_key_shares(hello.extensions) or {}
        early = ext.find(hello.extensions, ext.EARLY_DATA) is not None
        assert self._first_hello
        if early or tuple(shares) != (self._group,) or _lasting(hello) != _lasting(self._first_hello):
            reason = "the second ClientHello differs from the first in more than the key share"
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
        self.keys = Keys13(server, self._suite, shared_secret, hello.random)
        self.keys.write()
        self.keys.read()
        server.send_message((model and model.encrypted_extensions) or EncryptedExtensions(()))
        if server.authorities is not None:
            request = CertificateRequest13.of(server.schemes, server.authorities)
            server.send_message((model and model.request) or request)
        server.send_message(Certificate13.of(server.chain))
        content = proof.signed_content("server", server.transcript.content(), self._suite.hash)
        server.send_message(CertificateVerify(self._scheme.id, proof.sign(server.key, self._scheme, content)))
        finished = self.keys.verify_data("server", server.transcript.content())
        server.send_message(Finished(finished))
        self.keys.to_application()
        self.keys.write()


_CHANGING = (ext.KEY_SHARE, ext.EARLY_DATA, ext.COOKIE, ext.PRE_SHARED_KEY, ext.PADDING)
"""What may differ between a client's two hellos (RFC 8446 section 4.1.2)."""


def _lasting(hello: ClientHello) -> ClientHello:
    """The hello without what may differ in the second."""
    lasting = tuple(extension for extension in hello.extensions or () if extension.type not in _CHANGING)
    return replace(hello, extensions=lasting)
