"""Whether an attempt was its move: the bytes that were sent, held against the shape that the catalogue states.

The tables say what a move does, and a maker does it. A verdict rests on both, so each attempt's own bytes are looked at
again here, with the public keys in the certificates and with what the run says was captured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from lab.catalogue.cast import MALLORY
from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.shapes import ANONYMOUS, Leaf, ProofShape, Shape
from lab.events.run import Run
from lab.events.types import BundleIssued, CertificateCaptured, HandshakeSeen, MoveTried
from lab.judging.attempts import Tried
from lab.judging.facts import captured_certificates, common_name, read_certificate
from lab.judging.proof_comparison import (
    as_the_server_saw_them,
    certificates_in,
    challenge_of,
    fits,
    handshake_messages,
    up_to_the_proof,
)
from lab.judging.stolen import stolen_files
from lab.judging.whose_proof import signed_by_itself
from lab.tls import extensions as ext
from lab.tls import proof
from lab.tls.alerts import FATAL
from lab.tls.copied import within_reach
from lab.tls.errors import TlsError
from lab.tls.messages import Certificate, CertificateRequest, CertificateVerify, ClientHello, NewSessionTicket
from lab.tls.messages13 import CertificateRequest13, NewSessionTicket13, parse
from lab.tls.versions import TLS12, TLS13, find_version

_CURVES = frozenset(one.curve for one in proof.SIGNATURE_SCHEMES)


class NotThisMove(Exception):
    """The bytes of an attempt are not those of its move; the text says what is wrong."""


@dataclass(frozen=True)
class Known:
    """What a run says of certificates, proofs and connections besides the attempts.

    `issued` are the fingerprints of the customers' certificates. `seen` are the client randoms of TLS 1.3 connections,
    and `tickets` the tickets that were offered in them, each with the server's address. `certificates` are those that
    were captured, in DER, by their fingerprints, as far as the run has kept them.
    """

    captured: tuple[CertificateCaptured, ...]
    issued: frozenset[str]
    seen: frozenset[str]
    tickets: frozenset[tuple[str, str]]
    certificates: Mapping[str, bytes] = field(default_factory=dict)

    def of(self, event: MoveTried) -> tuple[CertificateCaptured, ...]:
        """The captures of the customer's certificates that the attempt says it was made of: by leak and place."""
        of_it = event.leak, event.seen_at, event.customer
        return tuple(one for one in self.captured if (one.leak, one.server, common_name(one.subject)) == of_it)


def known(run: Run) -> Known:
    """The same for a run."""
    issued = frozenset(bundle.sha256 for bundle in run.all(BundleIssued))
    seen = frozenset(one.client_random for one in run.all(HandshakeSeen))
    tickets = frozenset((one.server, one.session) for one in run.all(HandshakeSeen) if one.session)
    kept = {sha256(der).hexdigest(): der for file in stolen_files(run) for der in file.certificates}
    return Known(tuple(run.all(CertificateCaptured)), issued, seen, tickets, kept | captured_certificates(run))


def departure(tried: Tried, known: Known) -> str:
    """What keeps an attempt with an outcome from being its move; empty if nothing does."""
    move = find_move(tried.event.move)
    if move is None or tried.outcome not in (ACCEPTED, REFUSED):
        return ""
    try:
        _Attempted(tried, known).check(move.shape)
    except NotThisMove as reason:
        return str(reason)
    except (TlsError, ValueError) as error:
        return f"its messages are not readable: {error}"
    return ""


def presented(run: Run) -> Iterator[bytes]:
    """The certificates, in DER, that came first where an attempt presented some, in TLS or in a header."""
    for event in run.all(MoveTried):
        if event.header:
            yield bytes.fromhex(event.header)
        for sender, raw in handshake_messages(event.steps):
            if sender == "client" and raw[0] == Certificate.type:
                yield from certificates_in(raw, find_version(event.tls) or TLS12)[:1]


def proof_fits(event: MoveTried) -> bool | None:
    """Whether an attempt's proof is a signature over its handshake by the first certificate's key; None without one."""
    version = find_version(event.tls) or TLS12
    sent = handshake_messages(event.steps)
    before, verify = up_to_the_proof(sent, version)
    if not verify:
        return None
    shown = [raw for sender, raw in sent if sender == "client" and raw[0] == Certificate.type]
    try:
        answer = parse(verify, version)
        key = proof.public_key(certificates_in(shown[0], version)[0])
        challenge = challenge_of([raw for _, raw in before], version)
        return isinstance(answer, CertificateVerify) and fits(key, challenge, answer)
    except (TlsError, IndexError):
        return False


class _Attempted:
    """The client's side of an attempt."""

    def __init__(self, tried: Tried, known: Known) -> None:
        self.tried, self.event, self.version, self.known = tried, tried.event, tried.version, known
        self.asked_in_tls = tried.gateway.scheme.asks_in_tls
        self.captures = known.of(tried.event)
        self.hers = {one.sha256 for one in self.captures} if tried.event.leak else known.issued
        self.sent = as_the_server_saw_them(handshake_messages(tried.event.steps), tried.version)

    def check(self, shape: Shape) -> None:
        """NotThisMove if the bytes are not of that shape; Abort or ValueError if they are unreadable."""
        self._check_connection()
        if bool(self.event.said_in) != (shape.header is not None):
            raise NotThisMove(f"the headers that say who the client is are {', '.join(self.event.said_in) or 'none'}")
        if bool(self.event.elsewhere) != bool(shape.elsewhere):
            raise NotThisMove("its session began under another name, or did not, and this move is otherwise")
        if shape.recorded:
            self._check_recording(shape)
        elif shape.elsewhere:
            self._check_begun_elsewhere(shape)
        elif self.asked_in_tls:
            self._check_order(shape.in_order(self.version))
            self._check_session(shape)
            self._check_certificates(shape.certificates)
            self._check_proof(shape.proof)
            self._check_hello(shape)
        else:
            self._check_order(ANONYMOUS[self.version])
            shown = [bytes.fromhex(self.event.header)] if self.event.header else []
            self._check_leaves("the Client-Cert header", shown, shape.in_header)

    def _check_connection(self) -> None:
        """Whether the bytes are those of the connection and of the end that the attempt reports."""
        event = self.event
        hellos = [
            bytes.fromhex(raw) for sender, name, raw in event.steps if (sender, name) == ("server", "ServerHello")
        ]
        if (hellos[-1][6:38].hex() if hellos else "") != event.connection:
            raise NotThisMove("its ServerHello is that of another connection")
        alerts = [
            bytes.fromhex(raw)
            for sender, name, raw in event.steps
            if sender == "server" and name.startswith("alert") and bytes.fromhex(raw)[:1] == bytes((FATAL,))
        ]
        reported = event.alert if event.alert_by == "server" else None
        if [alert[1] for alert in alerts] != ([] if reported is None else [reported]):
            raise NotThisMove(f"it reports the server's alert {reported}, and its bytes have another")

    def _check_order(self, due: tuple[str, ...]) -> None:
        names = [name for sender, name, _ in self.event.steps if sender == "client" and not name.startswith("alert")]
        last = max((at for at, name in enumerate(names) if name == ClientHello.name), default=0)
        names = names[last:]
        if self.version == TLS13 and names[1:2] == ["ChangeCipherSpec"]:
            del names[1]
        if tuple(names) != due:
            raise NotThisMove(f"it sent {', '.join(names) or 'nothing'}, and not {', '.join(due)}")

    def _check_session(self, shape: Shape) -> None:
        hello = self._hello()
        if self.version == TLS13:
            psk = ext.read_pre_shared_key(hello.extensions)
            sessions = {ticket for server, ticket in self.known.tickets if server == self.event.seen_at}
            offered = {psk.identity.hex()} if psk else set()
        else:
            sessions = {one.session for one in self.captures if one.session}
            offered = {hello.session_id.hex(), (ext.find(hello.extensions, ext.SESSION_TICKET) or b"").hex()}
        if shape.session and not sessions & offered:
            raise NotThisMove("it offered no session that was captured")

    def _check_certificates(self, due: tuple[tuple[Leaf, ...], ...]) -> None:
        shown = [certificates_in(raw, self.version) for raw in self._all(Certificate.type)]
        if len(shown) != len(due):
            raise NotThisMove(f"it sent {len(shown)} Certificate messages, and not {len(due)}")
        for chain, leaves in zip(shown, due, strict=True):
            self._check_leaves("a Certificate message", chain, leaves)

    def _check_leaves(self, where: str, shown: Sequence[bytes], due: tuple[Leaf, ...]) -> None:
        if len(shown) < len(due) or (shown and not due):
            raise NotThisMove(f"{where} has {len(shown)} certificates, and not {len(due)}")
        for place, (der, leaf) in enumerate(zip(shown, due, strict=False), start=1):
            if not self._is(der, leaf):
                raise NotThisMove(f"certificate {place} in {where} is not {leaf.value}")

    def _is(self, der: bytes, leaf: Leaf) -> bool:
        is_hers = sha256(der).hexdigest() in self.hers
        if is_hers or leaf is Leaf.CUSTOMERS:
            return is_hers and leaf is Leaf.CUSTOMERS
        certificate = read_certificate(der)
        subject = certificate.subject.rfc4514_string()
        if leaf is Leaf.MALLORYS:
            return common_name(subject) == MALLORY
        if leaf is Leaf.NAMESAKE:
            namesakes = {one.subject for one in self.captures} & {certificate.issuer.rfc4514_string()}
            return subject in namesakes and signed_by_itself(certificate)
        names = subject, certificate.issuer.rfc4514_string()
        models = [self._model(one) for one in self.captures if names == (one.subject, one.issuer)]
        copied = any(one is not None and _could_be_copied_from(certificate, der, one) for one in models)
        return copied and signed_by_itself(certificate)

    def _model(self, seen: CertificateCaptured) -> bytes | None:
        """The captured certificate in DER: empty if the run has not kept it, None if its message has none."""
        if not seen.message:
            return self.known.certificates.get(seen.sha256, b"")
        return next(iter(certificates_in(bytes.fromhex(seen.message), find_version(seen.tls) or TLS12)), None)

    def _check_proof(self, due: ProofShape | None) -> None:
        proofs = list(self._all(CertificateVerify.type))
        if len(proofs) != (1 if due else 0):
            raise NotThisMove(f"it sent {len(proofs)} proofs, and not {1 if due else 0}")
        if due and not self._has(proofs[0], due):
            raise NotThisMove(f"its proof is not {due.value}")

    def _check_hello(self, shape: Shape) -> None:
        """In TLS 1.2 such a proof follows the ClientHello that it was captured after, as far as the instrument can do
        what that offers."""
        hellos = [parse(bytes.fromhex(one.transcript[0]), TLS12) for one in self.captures if one.transcript]
        hers = [within_reach(one, (TLS12,)) for one in hellos if isinstance(one, ClientHello)]
        if shape.hello and self.version == TLS12 and hers and within_reach(self._hello(), (TLS12,)) not in hers:
            raise NotThisMove("its ClientHello is not the captured one")

    def _has(self, raw: bytes, due: ProofShape) -> bool:
        answer = parse(raw, self.version)
        assert isinstance(answer, CertificateVerify)
        taken = [parse(bytes.fromhex(one.proof), self.version) for one in self.captures if one.proof]
        captured = [one for one in taken if isinstance(one, CertificateVerify)]
        match due:
            case ProofShape.CAPTURED:
                return answer in captured
            case ProofShape.RELABELLED:
                return any(
                    answer.signature == one.signature and answer.scheme in _other_schemes(self._key(), one.scheme)
                    for one in captured
                )
            case ProofShape.FLIPPED:
                flipped = answer.signature[:-1] + bytes((answer.signature[-1] ^ 1,)) if answer.signature else b""
                return CertificateVerify(answer.scheme, flipped) in captured
            case ProofShape.EMPTY:
                return answer.signature == b"" and answer.scheme == self._due_scheme()
            case ProofShape.ZEROS:
                return answer.signature == _zeros(self._key()) and answer.scheme == self._due_scheme()
            case ProofShape.BY_FOREIGN_KEY:
                key = load_der_public_key(bytes.fromhex(self.event.signed_by)) if self.event.signed_by else None
                if not isinstance(key, proof.PublicKey) or key in map(proof.public_key, self._shown()):
                    return False
                return _alike(key, self._key()) and self._fits(key, answer)
            case ProofShape.NEW:
                others = (one for one in ProofShape if one not in (ProofShape.NEW, ProofShape.BY_SECOND))
                if known := next((one for one in others if self._has(raw, one)), None):
                    raise NotThisMove(f"its proof is {known.value}: that is no new move")
                return True
            case ProofShape.BY_FIRST | ProofShape.BY_SECOND:
                return self._fits(self._key(1 if due is ProofShape.BY_SECOND else 0), answer)

    def _key(self, place: int = 0) -> proof.PublicKey:
        """The key in a certificate of the first Certificate message."""
        return proof.public_key(self._shown()[place])

    def _due_scheme(self) -> int:
        """The scheme for such a key that the server's CertificateRequest allows."""
        asked = (parse(raw, self.version) for sender, raw in self.sent if sender == "server")
        requests = [one for one in asked if isinstance(one, CertificateRequest | CertificateRequest13)]
        allowed = requests[0].signature_schemes if requests else ()
        return (proof.choose_scheme(self._key(), allowed, self.version) or proof.SIGNATURE_SCHEMES[0]).id

    def _fits(self, key: proof.PublicKey, answer: CertificateVerify) -> bool:
        """Whether the signature is one over this very handshake."""
        at = next(at for at, (sender, raw) in enumerate(self.sent) if sender == "client" and raw[0] == answer.type)
        return fits(key, challenge_of([raw for _, raw in self.sent[:at]], self.version), answer)

    def _check_recording(self, shape: Shape) -> None:
        """A recording begins with a ClientHello of hers; in TLS 1.2 her certificate and her proof follow in sight."""
        senders = [sender for sender, name, _ in self.event.steps if not name.startswith("alert")]
        if "server" in senders[: senders.count("client")]:
            raise NotThisMove("it waited for the server's answers")
        random = self._hello().random.hex()
        if random not in {one.client_random for one in self.captures} | self.known.seen:
            raise NotThisMove("it does not begin with a ClientHello of the customer that was seen on the wire")
        if self.version != TLS13 and self._all(Certificate.type):
            self._check_certificates(shape.certificates)
            self._check_proof(shape.proof)

    def _check_begun_elsewhere(self, shape: Shape) -> None:
        """It offers a session that began under another name of the server, by a proof of the attacker's own. Where the
        server does not resume that, a full handshake without a certificate follows."""
        resumed = not self._all(Certificate.type)
        self._check_order(shape.in_order(self.version) if resumed else Shape(((),)).in_order(self.version))
        self._check_certificates(() if resumed else ((),))
        began = _Attempted(replace(self.tried, event=replace(self.event, steps=self.event.elsewhere)), self.known)
        began._check_certificates((shape.elsewhere,))
        began._check_proof(ProofShape.BY_FIRST)
        login = handshake_messages(self.event.elsewhere)
        given = [parse(raw, self.version) for sender, raw in login if sender == "server"]
        tickets = {one.ticket for one in given if isinstance(one, NewSessionTicket | NewSessionTicket13)}
        psk = ext.read_pre_shared_key(self._hello().extensions) if self.version == TLS13 else None
        ticket = psk.identity if psk else ext.find(self._hello().extensions, ext.SESSION_TICKET)
        if not ticket or ticket not in tickets:
            raise NotThisMove("it did not offer the session that began under the server's other name")

    def _hello(self) -> ClientHello:
        for raw in reversed(self._all(ClientHello.type)):
            hello = parse(raw, self.version)
            assert isinstance(hello, ClientHello)
            return hello
        raise NotThisMove("it sent no ClientHello")

    def _shown(self) -> tuple[bytes, ...]:
        """The certificates of the first Certificate message."""
        return certificates_in(self._all(Certificate.type)[0], self.version)

    def _all(self, kind: int) -> list[bytes]:
        return [raw for sender, raw in self.sent if sender == "client" and raw[0] == kind]


def _could_be_copied_from(certificate: x509.Certificate, der: bytes, model: bytes) -> bool:
    """Whether serial number, extensions, end and kind of key are the model's too, if the model is known."""
    if not model:
        return True
    hers = read_certificate(model)
    return (
        certificate.serial_number == hers.serial_number
        and certificate.not_valid_after_utc == hers.not_valid_after_utc
        and [*certificate.extensions] == [*hers.extensions]
        and _alike(proof.public_key(der), proof.public_key(model))
    )


def _alike(key: proof.PublicKey, hers: proof.PublicKey) -> bool:
    """Whether a key of the attacker's own is of the same kind as hers, on the same curve.

    The attacker's RSA keys have one length, and she has none that is for RSASSA-PSS alone.
    """
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(hers, ec.EllipticCurvePublicKey):
        return type(key.curve) is type(hers.curve) or type(hers.curve) not in _CURVES
    return isinstance(hers, proof.PssPublicKey) or proof.key_kind(key) == proof.key_kind(hers)


def _other_schemes(key: proof.PublicKey, scheme: int) -> set[int]:
    """In which schemes a signature can be said to be instead: those for such a key, or any if there are none."""
    others = [one for one in proof.SIGNATURE_SCHEMES if one.id != scheme]
    of_kind = [one for one in others if one.key == proof.key_kind(key)]
    return {one.id for one in of_kind or others}


def _zeros(key: proof.PublicKey) -> bytes:
    """A signature of zeros as such a key's signatures are encoded."""
    match key:
        case ec.EllipticCurvePublicKey():
            return encode_dss_signature(0, 0)
        case rsa.RSAPublicKey():
            return bytes(key.key_size // 8)
        case _:
            return bytes(64)
