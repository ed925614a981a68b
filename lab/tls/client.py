"""The client: it offers a ClientHello and checks the server's answer; then the handshake of that version takes over.

A real stack signs the handshake or sends no certificate. This client sends any flight that it is given: it may present
certificates and sign, send the signature of another party, send none, or send its messages in another order.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import replace

from lab.tls import extensions as ext
from lab.tls import keys, proof, schedule
from lab.tls.alerts import AlertDescription
from lab.tls.client12 import ClientHandshake12
from lab.tls.client13 import ClientHandshake13
from lab.tls.connection import ChangeCipherSpec, Connection
from lab.tls.copied import HTTP_1, able_to_do, check_choice, check_reach
from lab.tls.engine import EngineEvent
from lab.tls.errors import Abort, OutOfReach, TlsError
from lab.tls.flight import Flight, honest_flight
from lab.tls.messages import CertificateRequest, ClientHello, Message, ServerHello, serialize
from lab.tls.messages13 import CertificateRequest13, is_retry
from lab.tls.proof import Prover
from lab.tls.sessions import Session, Session13
from lab.tls.sides import ClientHandshake, Offer
from lab.tls.states import CLIENT12
from lab.tls.versions import DOWNGRADED, TLS12, TLS13, Version

MAX_COOKIE = 1 << 14
"""A longer one is refused: it must fit into the ClientHello."""

_IN_SERVER_HELLO_12 = (
    ext.SERVER_NAME,
    ext.SUPPORTED_GROUPS,  # which some servers send
    ext.EC_POINT_FORMATS,
    ext.ALPN,
    ext.SIGNED_CERTIFICATE_TIMESTAMP,
    ext.EXTENDED_MASTER_SECRET,
    ext.SESSION_TICKET,
    ext.RENEGOTIATION_INFO,
)
_IN_SERVER_HELLO_13 = (ext.SUPPORTED_VERSIONS, ext.KEY_SHARE)
_IN_RETRY = (ext.SUPPORTED_VERSIONS, ext.KEY_SHARE, ext.COOKIE)


class Client(Connection):
    """A TLS client (`lab.tls.engine.Engine`) for the `versions` it is given, the most preferred first.

    If the server asks for a certificate, the client sends `chain` (DER, own certificate first), and `prove` answers the
    challenge; an empty chain or no `prove` leaves that message out. A `flight` replaces this order, for one version.

    `check_chain` gets the server's chain and may raise CertificateError; without it the client accepts every chain. In
    a full handshake it always checks the server's proof. `resume` is a session to resume, or a TLS 1.3 ticket to offer,
    with its binder as it is; `tickets` asks for a session ticket. The client sends key shares for the groups in
    `shares`, or for the first of `groups`. It offers the `protocols` that are spoken above TLS (RFC 7301), if there are
    any. `hello` is a captured ClientHello to send instead of the client's own, with key shares of the client's own in
    TLS 1.3 (`lab.tls.copied`).

    A `patient` client doesn't speak when its turn comes. It waits for its flight (`go_on`), which may depend on what
    another connection brings.
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
        resume: Session | Session13 | ext.OfferedPsk | None = None,
        tickets: bool = False,
        protocols: tuple[bytes, ...] = (),
        hello: ClientHello | None = None,
        patient: bool = False,
    ) -> None:
        super().__init__()
        self.is_its_turn = False
        """Whether the server has sent its flight, so that the client's is due or sent."""
        self.request: CertificateRequest | CertificateRequest13 | None = None
        """The server's CertificateRequest, once it has come."""
        self.session: Session | Session13 | None = None
        """The session of a complete handshake, to resume it later; None if the server gave none. In TLS 1.3 a ticket
        brings it, usually after the handshake."""
        self.protocol = b""
        """What the server chose to speak above TLS (RFC 7301); empty if it chose nothing."""
        self.out_of_reach = False
        """Whether the server chose what the copied `hello` offers and this client cannot do."""
        self.ignores_change_cipher_spec = TLS13 in versions
        self._handshake: ClientHandshake | None = None
        self._retried_with: keys.CipherSuite | None = None
        self._flight = flight
        self._patient = patient
        self._chain, self._prove = chain, prove
        offered = _offered(resume) if isinstance(resume, Session13) else resume
        self._psk = offered if isinstance(offered, ext.OfferedPsk) else None
        offered_suites = tuple(suite for suite in suites if suite.version in versions and self._fits_psk(suite))
        schemes = proof.SCHEME_IDS
        if hello:
            offered_suites = tuple(suite for suite in offered_suites if suite.id in hello.cipher_suites)
            groups = able_to_do(hello, ext.SUPPORTED_GROUPS, groups)
            schemes = able_to_do(hello, ext.SIGNATURE_ALGORITHMS, schemes)
        share_groups = (shares or groups[:1]) if TLS13 in versions else ()
        new_shares = tuple(keys.new_key_share(group, entropy) for group in share_groups)
        self._offer = Offer(
            entropy=entropy,
            random=hello.random if hello else entropy(keys.RANDOM_LENGTH),
            versions=tuple(map(Version, versions)),
            suites={suite.id: suite for suite in offered_suites},
            groups=groups,
            schemes=schemes,
            shares=new_shares,
            check_chain=check_chain,
            resume=resume if isinstance(resume, Session | Session13) else None,
            protocols=protocols or HTTP_1,
        )
        self.random = self._offer.random
        host = server_name if server_name and not _is_address(server_name) else None
        if hello:
            self._hello = replace(hello, extensions=self._with_own_shares(hello.extensions))
        else:
            extensions = tuple(self._extensions(host, tickets, protocols))
            suites_offered = tuple(self._offer.suites)
            self._hello = self._bound(ClientHello(self._offer.random, self._session_id(), suites_offered, extensions))
        self.send_message(self._hello)

    def go_on(self, flight: Flight) -> list[EngineEvent]:
        """Sends the flight of a patient client and returns the events that follow; TlsError before its turn."""
        if not self.is_its_turn:
            raise TlsError("it is not the client's turn yet")
        return self._react(lambda: self._speak(flight))

    def take_turn(self) -> None:
        """The server has sent its flight."""
        self.is_its_turn = True
        if not self._patient:
            assert self.version
            self._speak(self._flight or honest_flight(self.version, self._chain, self._prove))

    def _speak(self, flight: Flight) -> None:
        assert self._handshake
        self._handshake.speak(flight)

    @property
    def _may13(self) -> bool:
        return TLS13 in self._offer.versions

    def _session_id(self) -> bytes:
        """With a ticket, the server's echo of the ID says that it resumes (RFC 5077 section 3.4); in TLS 1.3 the ID is
        for middleboxes (RFC 8446 appendix D.4)."""
        resume = self._offer.resume
        if isinstance(resume, Session) and resume.id:
            return resume.id
        return self._offer.entropy(32) if self._may13 or resume else b""

    def _bound(self, hello: ClientHello) -> ClientHello:
        """The same with the binder of the session that is offered (RFC 8446 section 4.2.11.2), if its key is known."""
        session = self._offer.resume
        if not self._psk or not isinstance(session, Session13):
            return hello
        binders = 2 + 1 + len(self._psk.binder)
        transcript = self.transcript.content() + serialize(hello)[:-binders]
        binder = schedule.binder(session.secret, transcript, session.suite)
        return replace(
            hello, extensions=(*(hello.extensions or ())[:-1], ext.pre_shared_key(replace(self._psk, binder=binder)))
        )

    def _with_own_shares(self, extensions: ext.Extensions | None) -> ext.Extensions | None:
        """Captured extensions, with key shares of which this client has the private keys."""
        own = ext.key_shares((share.group, share.public) for share in self._offer.shares)
        return extensions and tuple(own if one.type == ext.KEY_SHARE else one for one in extensions)

    def _extensions(self, host: str | None, tickets: bool, protocols: tuple[bytes, ...]) -> list[ext.Extension]:
        offer = self._offer
        offered = [ext.server_name(host)] if host else []
        offered.append(ext.number_list(ext.SUPPORTED_GROUPS, offer.groups))
        if TLS12 in offer.versions:
            offered.append(ext.point_formats())
        offered.append(ext.number_list(ext.SIGNATURE_ALGORITHMS, offer.schemes))
        if protocols:
            offered.append(ext.protocols(protocols))
        if TLS12 in offer.versions:
            offered += [ext.extended_master_secret(), ext.renegotiation_info()]
            ticket = offer.resume.ticket if isinstance(offer.resume, Session) else b""
            if tickets or ticket:
                offered.append(ext.Extension(ext.SESSION_TICKET, ticket))
        if self._may13:
            offered.append(ext.versions(offer.versions))
            offered.append(ext.key_shares((share.group, share.public) for share in offer.shares))
            if tickets or self._psk:
                offered.append(ext.psk_modes())
            if self._psk:
                offered.append(ext.pre_shared_key(self._psk))
        return offered

    def _fits_psk(self, suite: keys.CipherSuite) -> bool:
        """Whether the suite's hash is that of the key that is offered, if one is (RFC 8446 section 4.2.11)."""
        return not self._psk or suite.hash.digest_size == len(self._psk.binder)

    def _advance(self, message: Message | ChangeCipherSpec) -> None:
        try:
            self._take(message)
        except OutOfReach:
            self.out_of_reach = True
            raise

    def _take(self, message: Message | ChangeCipherSpec) -> None:
        if self._handshake:
            self._handshake.advance(message)
        else:
            CLIENT12.allow(CLIENT12.start, message)  # CLIENT13 starts alike: the version is not settled yet
            assert isinstance(message, ServerHello)
            self._on_server_hello(message)  # RFC 5246 section 7.4.1.3, RFC 8446 section 4.1.3

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
        takes_psk = ext.find(hello.extensions, ext.PRE_SHARED_KEY) is not None
        knows_psk = isinstance(self._offer.resume, Session13)
        if version == TLS13 and self._psk and takes_psk and not knows_psk:
            raise Abort(
                AlertDescription.INTERNAL_ERROR, "the server accepts the binder of a key that is not known here"
            )
        if version == TLS12 and self._may_be_downgraded(hello):
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "downgrade sentinel in ServerHello.random")
        in_hello = _IN_SERVER_HELLO_13 if version == TLS13 else _IN_SERVER_HELLO_12
        suite = self._chosen_suite(hello, version, (*in_hello, *((ext.PRE_SHARED_KEY,) if knows_psk else ())))
        if self._retried_with not in (None, suite):
            raise Abort(
                AlertDescription.ILLEGAL_PARAMETER,
                "the HelloRetryRequest had another cipher suite",
            )
        if version == TLS13:
            self._handshake = ClientHandshake13(self, self._offer, suite, self._hello, hello)
        else:
            self._handshake = ClientHandshake12(self, self._offer, suite, self._hello, hello)

    def _chosen_version(self, hello: ServerHello) -> Version:
        offered = ext.read_versions(self._hello.extensions)
        selected = ext.selected_version(hello.extensions) if offered else None
        if selected is not None:
            choice = f"the server selected version 0x{selected:04x}"
            if selected < TLS13:  # RFC 8446 section 4.2.1
                raise Abort(AlertDescription.ILLEGAL_PARAMETER, choice)
            check_choice(choice, selected, self._offer.versions, offered)
        chosen = selected or hello.version
        if chosen not in self._offer.versions or hello.version != TLS12:
            names = " or ".join(f"0x{version:04x}" for version in self._offer.versions)
            reason = f"the server chose version 0x{chosen:04x}, {names} was offered"
            raise Abort(AlertDescription.PROTOCOL_VERSION, reason)
        if self.version not in (None, chosen):
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the HelloRetryRequest had another version")
        return Version(chosen)

    def _chosen_suite(self, hello: ServerHello, version: Version, extensions: tuple[int, ...]) -> keys.CipherSuite:
        """The suite that the server chose out of the offer; the hello may have `extensions` and no others."""
        able = {number: suite for number, suite in self._offer.suites.items() if suite.version == version}
        offered = () if hello.cipher_suite in self._offer.suites else self._hello.cipher_suites
        choice = f"the server chose cipher suite 0x{hello.cipher_suite:04x}"
        check_choice(choice, hello.cipher_suite, able, offered)
        suite = able[hello.cipher_suite]
        if hello.compression_method:
            reason = f"the server chose compression method {hello.compression_method}, which was not offered"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        asked = {extension.type for extension in self._hello.extensions or ()}
        if keys.RENEGOTIATION_SCSV in self._hello.cipher_suites:  # RFC 5746 section 3.4
            asked.add(ext.RENEGOTIATION_INFO)
        if ext.COOKIE in extensions:  # the only one that answers no other (RFC 8446 section 4.2)
            asked.add(ext.COOKIE)
        check_reach(self._hello, hello.extensions, extensions)
        ext.check_answers(hello.extensions, asked, extensions)
        return suite

    def _may_be_downgraded(self, hello: ServerHello) -> bool:
        return self._may13 and hello.random[24:] in DOWNGRADED

    def _retry(self, hello: ServerHello) -> None:
        """HelloRetryRequest (RFC 8446 section 4.1.4): sends the ClientHello again with a new key share or a cookie."""
        suite = self._chosen_suite(hello, TLS13, _IN_RETRY)
        if hello.session_id != self._hello.session_id:
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "the server did not echo the session ID")
        group, cookie = ext.read_retry_group(hello.extensions), ext.find(hello.extensions, ext.COOKIE)
        shared = {share.group for share in self._offer.shares}
        if (group is None and cookie is None) or group in shared:
            reason = f"a HelloRetryRequest for group {group}, which changes nothing"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
        if group is not None:
            offered = ext.read_number_list(self._hello.extensions, ext.SUPPORTED_GROUPS)
            check_choice(f"a HelloRetryRequest for group {group}", group, self._offer.groups, offered)
        extensions = list(self._hello.extensions or ())
        if group is not None:
            share = keys.new_key_share(group, self._offer.entropy)
            self._offer = replace(self._offer, shares=(share,))
            at = next(i for i, extension in enumerate(extensions) if extension.type == ext.KEY_SHARE)
            extensions[at] = ext.key_shares([(group, share.public)])
        if cookie is not None:
            if not 2 < len(cookie) <= MAX_COOKIE:
                raise Abort(AlertDescription.DECODE_ERROR, f"a cookie of {len(cookie) - 2} bytes")
            extensions.insert(len(extensions) - bool(self._psk), ext.Extension(ext.COOKIE, cookie))
        self.transcript.hash_first(suite.hash)
        self.send_change_cipher_spec()  # RFC 8446 appendix D.4
        self._hello = self._bound(replace(self._hello, extensions=tuple(extensions)))
        self._retried_with = suite
        self.send_message(self._hello)


def _offered(session: Session13) -> ext.OfferedPsk:
    """The session's ticket as it is offered, before there is a binder. Its age is not kept: it counts as new."""
    return ext.OfferedPsk(session.ticket, session.age_add, bytes(session.suite.hash.digest_size))


def _is_address(name: str) -> bool:
    """server_name takes host names only (RFC 6066 section 3)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
