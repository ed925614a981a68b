"""The server: it answers a ClientHello, then the handshake of that version takes over.

It has an argument that no real stack has: what to do with the client's proof.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec, Connection
from lab.tls.errors import Abort, ProofError
from lab.tls.messages import CertificateVerify, ClientHello, Message
from lab.tls.model import Model
from lab.tls.proof import PrivateKey
from lab.tls.server12 import ServerHandshake12
from lab.tls.server13 import ServerHandshake13
from lab.tls.sessions import SessionStore
from lab.tls.sides import VersionHandshake
from lab.tls.states import SERVER12
from lab.tls.versions import SSL3, TLS12, TLS13, Version


class Proof(Enum):
    """What a server does about the client's CertificateVerify."""

    REQUIRED = "the client must send it and it must be right (RFC 5246 section 7.4.8, RFC 8446 section 4.4.3)"
    IGNORED = "the client must send it; the server checks it and ignores the result"
    NOT_CHECKED = "the client may leave it out; the server doesn't look at it"


class ProofSeen(StrEnum):
    """What a server has measured of the client's CertificateVerify in one handshake; the value is for people."""

    NONE = "none received"
    UNCHECKED = "received, not checked"
    VALID = "received, checked by the instrument, valid"
    INVALID = "received, checked by the instrument, not valid"


@dataclass(frozen=True)
class ClientAuth:
    """How a server authenticates its clients.

    `check_chain` gets the client's certificates in DER, its own first, and raises CertificateError to refuse them;
    `authorities` are the DER names in the CertificateRequest.
    """

    check_chain: Callable[[tuple[bytes, ...]], None]
    proof: Proof
    authorities: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class OtherName:
    """What a server does for clients that ask for another of its names (RFC 6066 section 3)."""

    client_auth: ClientAuth
    sessions: SessionStore


class Server(Connection):
    """A TLS server (`lab.tls.engine.Engine`) with the certificates `chain` (DER, own first) and their `key`.

    It chooses the first of `versions` that the client offers. Without `client_auth` it doesn't ask for a certificate;
    without `sessions` every handshake is a full one. Clients that ask for one of `other_names` get what stands there
    instead. `model` holds messages of another server: this one repeats them,
    except where they need a key. Then `suites` and `groups` must be the cipher suite and group of the model.
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
        other_names: Mapping[str, OtherName] | None = None,
    ) -> None:
        super().__init__()
        self.entropy = entropy
        self.chain = chain
        self.key = key
        self.client_auth = client_auth
        self.groups = groups
        self.sessions = sessions
        self.model = model
        self._other_names = other_names or {}
        self.schemes = proof.SCHEME_IDS
        self.proof = ProofSeen.NONE
        """What it has measured of the client's proof so far."""
        self.server_name: str | None = None
        """The host that the client asked for, if it named one."""
        self.premaster = b""
        """The premaster secret of TLS 1.2, once the client has sent its part."""
        self._versions = tuple(map(Version, versions))
        self._suites = suites
        self._handshake: VersionHandshake | None = None

    def check_proof(self, answer: CertificateVerify) -> None:
        """Checks the client's CertificateVerify: the check that the lab is about. ProofError if it is wrong."""
        assert self.client_auth
        assert self.challenge
        self.proof = ProofSeen.UNCHECKED
        if self.client_auth.proof is Proof.NOT_CHECKED:
            return
        try:
            proof.check(proof.public_key(self.peer_chain[0]), self.challenge, answer)
            self.proof = ProofSeen.VALID
        except ProofError:
            self.proof = ProofSeen.INVALID
            if self.client_auth.proof is Proof.REQUIRED:
                raise

    @property
    def proof_may_be_missing(self) -> bool:
        """Whether a client may present a certificate without a proof."""
        return self.client_auth is not None and self.client_auth.proof is Proof.NOT_CHECKED

    @property
    def authorities(self) -> tuple[bytes, ...] | None:
        """The DER names for the CertificateRequest; None if the server sends none."""
        return self.client_auth.authorities if self.client_auth else None

    def take_chain(self, chain: tuple[bytes, ...], none_presented: AlertDescription) -> None:
        """Takes the client's certificates if the key is readable and `check_chain` accepts them."""
        assert self.client_auth
        if not chain:
            raise Abort(none_presented, "the client presented no certificate")
        proof.public_key(chain[0])
        self.peer_chain = chain
        self.client_auth.check_chain(chain)

    def _advance(self, message: Message | ChangeCipherSpec) -> None:
        if self._handshake:
            self._handshake.advance(message)
        else:
            SERVER12.allow(SERVER12.start, message)  # SERVER13 starts alike: the version is not settled yet
            assert isinstance(message, ClientHello)
            self._on_client_hello(message)  # RFC 5246 section 7.4.1.2, RFC 8446 section 4.1.2

    def _on_client_hello(self, hello: ClientHello) -> None:
        self.version = self._choose_version(hello)
        ext.check(hello.extensions)
        self.server_name = ext.read_server_name(hello.extensions)
        if other := self._other_names.get(self.server_name or ""):
            self.client_auth, self.sessions = other.client_auth, other.sessions
        suites = tuple(suite for suite in self._suites if suite.version == self.version)
        if self.version == TLS13:
            self.ignores_change_cipher_spec = True
            self._handshake = ServerHandshake13(self, suites, hello)
        else:
            self._handshake = ServerHandshake12(self, suites, hello, downgraded=TLS13 in self._versions)

    def _choose_version(self, hello: ClientHello) -> Version:
        """From supported_versions (RFC 8446 section 4.2.1), or from client_version in a hello without it.

        A hello of SSL 3.0 is refused, whatever else it offers (RFC 8446 appendix D.5)."""
        if hello.version <= SSL3:
            raise Abort(AlertDescription.PROTOCOL_VERSION, f"the ClientHello has version 0x{hello.version:04x}")
        offered = ext.read_versions(hello.extensions)
        if offered is None:
            offered = (TLS12,) if hello.version >= TLS12 else ()
        for version in self._versions:
            if version in offered:
                return version
        names = " or ".join(f"TLS {version}" for version in self._versions)
        raise Abort(AlertDescription.PROTOCOL_VERSION, f"the client does not offer {names}")
