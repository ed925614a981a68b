"""The client's side of the hellos: what it offers and what the server makes of that; the version's handshake goes on.

A real stack signs the handshake or sends no certificate. This client sends whatever flight it is given: it may present
certificates and then sign, answer with somebody else's signature, stay silent, or say it all in another order.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.client12 import ClientHandshake12
from lab.tls.client13 import ClientHandshake13
from lab.tls.connection import ChangeCipherSpec, Connection, unexpected
from lab.tls.engine import EngineEvent
from lab.tls.errors import Abort, TlsError
from lab.tls.flight import Flight, honest_flight
from lab.tls.messages import CertificateRequest, ClientHello, Message, ServerHello
from lab.tls.messages13 import CertificateRequest13, NewSessionTicket13, is_retry
from lab.tls.offer import Offer
from lab.tls.proof import Challenge, Prover
from lab.tls.sessions import Session
from lab.tls.versions import TLS12, TLS13

DOWNGRADED = (b"DOWNGRD\x01", b"DOWNGRD\x00")
"""The last eight bytes of a server's random where it could have done better (RFC 8446 section 4.1.3)."""
MAX_COOKIE = 1 << 14
"""A longer one is refused; the ClientHello has to have room for it."""

_IN_SERVER_HELLO_12 = (
    ext.SERVER_NAME,
    ext.SUPPORTED_GROUPS,  # which some servers send
    ext.EC_POINT_FORMATS,
    ext.EXTENDED_MASTER_SECRET,
    ext.SESSION_TICKET,
    ext.RENEGOTIATION_INFO,
)
_IN_SERVER_HELLO_13 = (ext.SUPPORTED_VERSIONS, ext.KEY_SHARE)
_IN_RETRY = (ext.SUPPORTED_VERSIONS, ext.KEY_SHARE, ext.COOKIE)


class Handshake(Protocol):
    """A version's handshake behind the hellos."""

    def advance(self, message: Message | ChangeCipherSpec) -> None:
        """See `Connection._advance`."""
        ...

    def speak(self, flight: Flight) -> None:
        """Sends the flight; it is the client's turn."""
        ...


class Client(Connection):
    """A TLS client (`lab.tls.engine.Engine`) for the `versions` it is given, the most preferred first.

    Presents `chain` (DER, own certificate first) if the server asks; `prove` then answers the server's challenge and
    None for either means: none sent. A `flight` takes the place of that order of things, for one version. The server's
    chain is shown to `check_chain`, which may raise CertificateError; without it every chain will do. That the server
    possesses its own key is always checked. With `resume` a TLS 1.2 session is offered to go on with, `tickets` asks
    for one. Key shares are sent for `shares`, the first of `groups` if not given. A `hello`, somebody's as it was
    captured, takes the place of the client's own; but the key shares of TLS 1.3 have to be its own all the same.

    A `patient` client does not speak when it is its turn, but waits to be told its flight (`go_on`): words of somebody
    else's, perhaps, which aren't there yet.
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
        flight: Flight | None = None,
        check_chain: Callable[[tuple[bytes, ...]], None] | None = None,
        versions: tuple[int, ...] = (TLS12,),
        suites: tuple[keys.CipherSuite, ...] = keys.DEFAULT_SUITES,
        groups: tuple[int, ...] = keys.GROUPS,
        shares: tuple[int, ...] | None = None,
        schemes: tuple[int, ...] = proof.SCHEME_IDS,
        resume: Session | None = None,
        tickets: bool = False,
        hello: ClientHello | None = None,
        patient: bool = False,
    ) -> None:
        super().__init__()
        self.is_its_turn = False
        """Whether the server has had its say, and the client's flight is due or has been sent."""
        self.request: CertificateRequest | CertificateRequest13 | None = None
        """The server's CertificateRequest, once it came."""
        self.challenge: Challenge | None = None
        """What a proof had to sign in this handshake, once that was settled."""
        self.session: Session | None = None
        """What a TLS 1.2 handshake that is complete can be gone on with, if the server keeps sessions."""
        self.resumed = False
        """Whether the server went on with the session that was offered."""
        self.tickets: list[NewSessionTicket13] = []
        """The tickets that came in TLS 1.3, the newest so many."""
        self.ignores_change_cipher_spec = TLS13 in versions
        self._handshake: Handshake | None = None
        self._retried_with: keys.CipherSuite | None = None
        self._flight = flight
        self._patient = patient
        self._chain, self._prove = chain, prove
        offered_suites = tuple(suite for suite in suites if suite.version in versions)
        if hello:
            offered_suites = tuple(suite for suite in offered_suites if suite.id in hello.cipher_suites)
        new_shares = tuple(keys.new_key_share(group, entropy) for group in shares or groups[:1]) if self._may13 else ()
        self._offer = Offer(
            entropy=entropy,
            random=hello.random if hello else entropy(keys.RANDOM_LENGTH),
            versions=versions,
            suites={suite.id: suite for suite in offered_suites},
            groups=groups,
            schemes=schemes,
            shares=new_shares,
            check_chain=check_chain,
            resume=resume,
        )
        self.random = self._offer.random
        host = server_name if server_name and not _is_address(server_name) else None
        if hello:
            self._hello = replace(hello, extensions=self._with_own_shares(hello.extensions))
        else:
            extensions = tuple(self._extensions(host, tickets))
            self._hello = ClientHello(self._offer.random, self._session_id(), tuple(self._offer.suites), extensions)
        self.send_message(self._hello)

    def update_keys(self, request: bool = False) -> None:
        if not self._established or not self.may_write or not isinstance(self._handshake, ClientHandshake13):
            super().update_keys()
        else:
            self._handshake.keys.update(request)

    def go_on(self, flight: Flight) -> list[EngineEvent]:
        """The flight of a client that has waited with it, and the events that it caused; TlsError where it isn't its
        turn."""
        if not self.is_its_turn:
            raise TlsError("it is not the client's turn yet")
        return self._react(lambda: self._speak(flight))

    def take_turn(self) -> None:
        """The server has had its say."""
        self.is_its_turn = True
        if not self._patient:
            assert self.version
            self._speak(self._flight or honest_flight(self.version, self._chain, self._prove))

    def _speak(self, flight: Flight) -> None:
        assert self._handshake
        self._handshake.speak(flight)

    @property
    def _may13(self) -> bool:
        return self.ignores_change_cipher_spec

    def _session_id(self) -> bytes:
        """A ticket needs one to be told by whether it was taken (RFC 5077 section 3.4), and middleboxes like to see one
        in TLS 1.3 (RFC 8446 appendix D.4)."""
        resume = self._offer.resume
        if resume and resume.id:
            return resume.id
        return self._offer.entropy(32) if self._may13 or resume else b""

    def _with_own_shares(self, extensions: ext.Extensions | None) -> ext.Extensions | None:
        """Somebody's extensions, with key shares whose private halves this client has."""
        own = ext.key_shares((share.group, share.public) for share in self._offer.shares)
        return extensions and tuple(own if one.type == ext.KEY_SHARE else one for one in extensions)

    def _extensions(self, host: str | None, tickets: bool) -> list[ext.Extension]:
        offer = self._offer
        offered = [ext.server_name(host)] if host else []
        offered.append(ext.number_list(ext.SUPPORTED_GROUPS, offer.groups))
        if TLS12 in offer.versions:
            offered.append(ext.point_formats())
        offered.append(ext.number_list(ext.SIGNATURE_ALGORITHMS, offer.schemes))
        if TLS12 in offer.versions:
            offered += [ext.extended_master_secret(), ext.renegotiation_info()]
            ticket = offer.resume.ticket if offer.resume else b""
            if tickets or ticket:
                offered.append(ext.Extension(ext.SESSION_TICKET, ticket))
        if self._may13:
            offered.append(ext.versions(offer.versions))
            offered.append(ext.key_shares((share.group, share.public) for share in offer.shares))
            if tickets:
                offered.append(ext.psk_modes())
        return offered

    def _advance(self, message: Message | ChangeCipherSpec) -> None:
        if self._handshake:
            self._handshake.advance(message)
        elif isinstance(message, ServerHello):  # RFC 5246 section 7.4.1.3, RFC 8446 section 4.1.3
            self._on_server_hello(message)
        else:
            raise unexpected(message, "ServerHello")

    def _on_server_hello(self, hello: ServerHello) -> None:
        version = self._chosen_version(hello)
        if version == TLS13 and is_retry(hello):
            if self._retried_with:
                raise Abort(AlertDescription.UNEXPECTED_MESSAGE, "a second HelloRetryRequest (RFC 8446 section 4.1.4)")
            self.version = version
            self._retry(hello)
            return
        self.version = version
        self.ignores_change_cipher_spec = version == TLS13
        if version == TLS12 and self._may_be_downgraded(hello):
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "somebody brought the version down to TLS 1.2")
        suite = self._chosen_suite(hello, version, _IN_SERVER_HELLO_13 if version == TLS13 else _IN_SERVER_HELLO_12)
        if self._retried_with not in (None, suite):
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the server changed its mind about the cipher suite")
        if version == TLS13:
            self._handshake = ClientHandshake13(self, self._offer, suite, self._hello, hello)
        else:
            self._handshake = ClientHandshake12(self, self._offer, suite, self._hello, hello)

    def _chosen_version(self, hello: ServerHello) -> int:
        selected = ext.selected_version(hello.extensions) if self._may13 else None
        if selected is not None and (selected not in self._offer.versions or selected < TLS13):
            reason = f"the server selected version 0x{selected:04x}"  # RFC 8446 section 4.2.1
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        chosen = selected or hello.version
        if chosen not in self._offer.versions or hello.version != TLS12:
            names = " or ".join(f"0x{version:04x}" for version in self._offer.versions)
            reason = f"the server chose version 0x{chosen:04x}, {names} was offered"
            raise Abort(AlertDescription.PROTOCOL_VERSION, reason)
        if self.version not in (None, chosen):
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the server changed its mind about the version")
        return chosen

    def _chosen_suite(self, hello: ServerHello, version: int, extensions: tuple[int, ...]) -> keys.CipherSuite:
        """The suite that the server chose, from an offer of ours, with no `extensions` but these."""
        suite = self._offer.suites.get(hello.cipher_suite)
        if suite is None or suite.version != version:
            reason = f"the server chose cipher suite 0x{hello.cipher_suite:04x}, which was not offered"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        if hello.compression_method:
            reason = f"the server chose compression method {hello.compression_method}, which was not offered"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        offered = {extension.type for extension in self._hello.extensions or ()}
        if keys.RENEGOTIATION_SCSV in self._hello.cipher_suites:  # RFC 5746 section 3.4
            offered.add(ext.RENEGOTIATION_INFO)
        if ext.COOKIE in extensions:  # the one that comes without having been asked for (RFC 8446 section 4.2)
            offered.add(ext.COOKIE)
        ext.check_answers(hello.extensions, offered, extensions)
        return suite

    def _may_be_downgraded(self, hello: ServerHello) -> bool:
        return TLS13 in self._offer.versions and hello.random[24:] in DOWNGRADED

    def _retry(self, hello: ServerHello) -> None:
        """HelloRetryRequest (RFC 8446 section 4.1.4): the ClientHello again, with another key share or a cookie."""
        suite = self._chosen_suite(hello, TLS13, _IN_RETRY)
        if hello.session_id != self._hello.session_id:
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the server did not echo the session ID")
        group, cookie = ext.read_retry_group(hello.extensions), ext.find(hello.extensions, ext.COOKIE)
        shared = {share.group for share in self._offer.shares}
        if (group is None and cookie is None) or group in shared or group not in (None, *self._offer.groups):
            reason = f"the server asks again, for group {group}, which changes nothing or was not offered"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        extensions = list(self._hello.extensions or ())
        if group is not None:
            share = keys.new_key_share(group, self._offer.entropy)
            self._offer = replace(self._offer, shares=(share,))
            at = next(i for i, extension in enumerate(extensions) if extension.type == ext.KEY_SHARE)
            extensions[at] = ext.key_shares([(group, share.public)])
        if cookie is not None:
            if not 2 < len(cookie) <= MAX_COOKIE:
                raise Abort(AlertDescription.DECODE_ERROR, f"a cookie of {len(cookie) - 2} bytes")
            extensions.append(ext.Extension(ext.COOKIE, cookie))
        self.transcript.hash_first(suite.hash)
        self.send_change_cipher_spec()  # RFC 8446 appendix D.4
        self._hello = replace(self._hello, extensions=tuple(extensions))
        self._retried_with = suite
        self.send_message(self._hello)


def _is_address(name: str) -> bool:
    """server_name takes host names only (RFC 6066 section 3)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
