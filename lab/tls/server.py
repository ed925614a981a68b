"""The server's side of the hellos, with an argument that no real stack has: what to do with the client's proof."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec, Connection, unexpected
from lab.tls.errors import Abort, ProofError
from lab.tls.messages import CertificateVerify, ClientHello, Message
from lab.tls.model import Model
from lab.tls.proof import Challenge, PrivateKey
from lab.tls.server12 import ServerHandshake12
from lab.tls.server13 import ServerHandshake13
from lab.tls.sessions import SessionStore
from lab.tls.versions import TLS12, TLS13


class Proof(Enum):
    """What a server does about the client's CertificateVerify."""

    REQUIRED = "it must come and must be right, as RFC 5246 section 7.4.8 and RFC 8446 section 4.4.3 have it"
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


class Handshake(Protocol):
    """A version's handshake behind the ClientHello."""

    def advance(self, message: Message | ChangeCipherSpec) -> None:
        """See `Connection._advance`."""
        ...

    def update_keys(self, request: bool) -> None:
        """See `Connection.update_keys`."""
        ...


class Server(Connection):
    """A TLS server (`lab.tls.engine.Engine`) with the certificates `chain` (DER, own first) and their `key`.

    Takes the first of `versions` that the client offers. Without `client_auth` it doesn't ask the client for a
    certificate; without `sessions` every handshake is a full one. What another server said, its `model`, it says word
    for word, wherever that takes none of the other's keys; cipher suite and group have to be `suites` and `groups`.
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
        versions: tuple[int, ...] = (TLS12,),
        suites: tuple[keys.CipherSuite, ...] = keys.DEFAULT_SUITES,
        groups: tuple[int, ...] = keys.GROUPS,
        sessions: SessionStore | None = None,
        model: Model | None = None,
    ) -> None:
        super().__init__()
        self.entropy = entropy
        self.chain = chain
        self.key = key
        self.client_auth = client_auth
        self.groups = groups
        self.sessions = sessions
        self.model = model
        self.schemes = proof.SCHEME_IDS
        self.server_name: str | None = None
        """The host that the client asked for, if it named one."""
        self.challenge: Challenge | None = None
        """What a proof had to sign in this handshake, once a client had presented a certificate."""
        self.premaster = b""
        """The secret that TLS 1.2's keys come from, once the client has sent its part of it."""
        self.resumed = False
        """Whether this connection goes on with an earlier session."""
        self._versions = versions
        self._suites = suites
        self._handshake: Handshake | None = None

    def update_keys(self, request: bool = False) -> None:
        if not self._established or not self.may_write or not self._handshake:
            super().update_keys()
        else:
            self._handshake.update_keys(request)

    def check_proof(self, answer: CertificateVerify) -> None:
        """What this function does, or doesn't, is what the lab is about."""
        assert self.client_auth
        assert self.challenge
        if self.client_auth.proof is Proof.NOT_ASKED_FOR:
            return
        try:
            proof.check(proof.public_key(self.peer_chain[0]), self.challenge, answer)
        except ProofError:
            if self.client_auth.proof is Proof.REQUIRED:
                raise

    @property
    def proof_may_be_missing(self) -> bool:
        """Whether a client may present a certificate and leave it at that."""
        return self.client_auth is not None and self.client_auth.proof is Proof.NOT_ASKED_FOR

    def take_chain(self, chain: tuple[bytes, ...], none_presented: AlertDescription) -> None:
        """The client's Certificate: its key must be readable and its chain must pass the check."""
        assert self.client_auth
        if not chain:
            raise Abort(none_presented, "the client presented no certificate")
        proof.public_key(chain[0])
        self.peer_chain = chain
        self.client_auth.check_chain(chain)

    def _advance(self, message: Message | ChangeCipherSpec) -> None:
        if self._handshake:
            self._handshake.advance(message)
        elif isinstance(message, ClientHello):  # RFC 5246 section 7.4.1.2, RFC 8446 section 4.1.2
            self._on_client_hello(message)
        else:
            raise unexpected(message, "ClientHello")

    def _on_client_hello(self, hello: ClientHello) -> None:
        self.version = self._choose_version(hello)
        ext.check(hello.extensions)
        self.server_name = ext.read_server_name(hello.extensions)
        suites = tuple(suite for suite in self._suites if suite.version == self.version)
        if self.version == TLS13:
            self.ignores_change_cipher_spec = True
            self._handshake = ServerHandshake13(self, suites, hello)
        else:
            self._handshake = ServerHandshake12(self, suites, hello, better_known=TLS13 in self._versions)

    def _choose_version(self, hello: ClientHello) -> int:
        """RFC 8446 section 4.2.1: supported_versions where it is there, else the version that TLS 1.2 goes by."""
        offered = ext.read_versions(hello.extensions)
        if offered is None:
            offered = (TLS12,) if hello.version >= TLS12 else ()
        for version in self._versions:
            if version in offered:
                return version
        names = " or ".join(f"TLS 1.{version - TLS12 + 2}" for version in self._versions)
        raise Abort(AlertDescription.PROTOCOL_VERSION, f"the client does not offer {names}")
