"""The moves: the ways of presenting a stolen certificate without its private key.

Each states, before anything is tried, which checks of a server it fails, the clause that requires each check, and the
alerts that the RFC allows. What a scheme does with a move follows from that and from the scheme's own row.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lab.catalogue.checks import Check
from lab.catalogue.leaks import Leak, LootKind
from lab.catalogue.shapes import Leaf, ProofShape, Shape
from lab.tls.alerts import AlertDescription
from lab.tls.versions import TLS12, TLS13, Version


@dataclass(frozen=True)
class Failure:
    """A check that a move does not pass. `clause` requires the check; `alerts` are those that the RFC has for this
    refusal, the most fitting first: one alone where the RFC says that it must be that one."""

    check: Check
    clause: str
    alerts: tuple[AlertDescription, ...]


@dataclass(frozen=True)
class Move:
    """One way of presenting a captured certificate.

    `title` and `sends` are for people. `fails` has, for each version, the checks that it fails, in the order of the
    handshake. `in_header` is what is sent instead to a server that asks for no certificate in TLS and takes one from a
    Client-Cert header (RFC 9440), empty if the move makes no sense there.
    """

    id: str
    title: str
    sends: str
    fails: Mapping[Version, tuple[Failure, ...]]
    in_header: str = ""
    needs: frozenset[LootKind] = frozenset()
    """What it is made of, besides the certificate."""
    shape: Shape = field(kw_only=True)
    """What the bytes of an attempt hold if it is this move."""

    @property
    def as_herself(self) -> bool:
        """Whether an honest server accepts it, under the attacker's own name, which opens nothing of alice's."""
        return not any(self.fails.values()) and not self.with_key

    @property
    def with_key(self) -> bool:
        """Whether it is made with the certificate's private key: an honest server, too, authenticates it as alice."""
        return LootKind.KEY in self.needs


HERSELF = (
    "RFC 5246 section 7.4.2, RFC 8446 section 4.4.2: the sender's own certificate comes first, and the proof is by its "
    "key; so mallory is authenticated as mallory, and alice's account stays shut"
)
"""What becomes of a move that an honest server accepts: it authenticates the attacker under her own name."""
HERSELF_UNCHECKED = (
    "RFC 5246 section 7.4.2, RFC 8446 section 4.4.2: the sender's own certificate comes first, and it alone decides "
    "here; so mallory is authenticated as mallory, and alice's account stays shut"
)
"""The same where no valid proof is required."""

WITH_THE_KEY = (
    "RFC 5246 section 7.4.8, RFC 8446 section 4.4.3: the proof is valid, as the certificate's own key made it; so the "
    "sender is authenticated as alice"
)
"""What becomes of a move that is made with the key."""

OMIT_PROOF = "omit-proof"
"""The move with the certificate and nothing else."""
REPLAY_PROOF = "replay-proof"
"""The move that sends alice's proof as it was captured."""
STOLEN_KEY = "stolen-key"
"""The move with the key. The lab's control is the same: nobody else has alice's key, unless a leak yields it."""
STOLEN_PASSWORD = "stolen-password"
"""No move with a certificate: name and password, at a gateway that takes these. The lab's control there, too."""
CONTROL = (
    "wherever a server asks for a certificate in TLS, or the refusals mean nothing; the lab tries it, as the attacker "
    "has no such key unless it leaks"
)
"""Why the move with the key is there."""

_DECRYPT, _ORDER, _ILLEGAL = (
    AlertDescription.DECRYPT_ERROR,
    AlertDescription.UNEXPECTED_MESSAGE,
    AlertDescription.ILLEGAL_PARAMETER,
)
_UNTRUSTED = (
    AlertDescription.UNKNOWN_CA,
    AlertDescription.BAD_CERTIFICATE,
    AlertDescription.CERTIFICATE_UNKNOWN,
)
"""What RFC 5246 section 7.2.2 and RFC 8446 section 6.2 have for a certificate without a trusted issuer: an unknown CA,
a signature that does not verify, another problem. decrypt_error is for the signatures of the handshake itself."""


def _both(check: Check, clause12: str, clause13: str, *alerts: AlertDescription) -> dict[Version, tuple[Failure, ...]]:
    return {TLS12: (Failure(check, clause12, alerts),), TLS13: (Failure(check, clause13, alerts),)}


_NO_CERTIFICATE = {
    TLS12: (
        Failure(
            Check.CERTIFICATE_PRESENT,
            "RFC 5246 section 7.4.6: without a certificate the server may refuse with handshake_failure",
            (AlertDescription.HANDSHAKE_FAILURE,),
        ),
    ),
    TLS13: (
        Failure(
            Check.CERTIFICATE_PRESENT,
            "RFC 8446 section 4.4.2.4: without a certificate the server may refuse with certificate_required",
            (AlertDescription.CERTIFICATE_REQUIRED,),
        ),
    ),
}
_NO_VALID_PROOF = {
    TLS12: (
        Failure(
            Check.PROOF_VALID,
            "RFC 5246 section 7.4.8: the signature is over all messages of this handshake, made with the key in the "
            "certificate",
            (_DECRYPT,),
        ),
    ),
    TLS13: (
        Failure(
            Check.PROOF_VALID,
            "RFC 8446 section 4.4.3: the signature is over this handshake's transcript hash, made with the key in the "
            "certificate; otherwise the receiver must answer with decrypt_error",
            (_DECRYPT,),
        ),
    ),
}
NOT_FOR_SUCH_A_KEY = {
    TLS12: (Failure(Check.PROOF_VALID, _NO_VALID_PROOF[TLS12][0].clause, (_DECRYPT, _ILLEGAL)),),
    TLS13: (
        Failure(
            Check.PROOF_VALID,
            "RFC 8446 section 4.4.3: the scheme must be one that was offered and is for such a key "
            "(illegal_parameter, section 6.2), and the signature must be valid (decrypt_error)",
            (_ILLEGAL, _DECRYPT),
        ),
    ),
}
"""What a server finds wrong with a proof in a scheme that is not for the key."""
_NO_PROOF = _both(
    Check.PROOF_PRESENT,
    "RFC 5246 section 7.3: a client that has sent a certificate that can sign sends a CertificateVerify; without it "
    "the next message is out of order",
    "RFC 8446 section 4.4.3: CertificateVerify must be sent whenever a certificate is; without it Finished is out of "
    "order",
    _ORDER,
)
_NOT_TRUSTED = _both(
    Check.CHAIN,
    "RFC 5246 section 7.4.6: the chain is not acceptable, for example because no known and trusted CA signed it; equal "
    "names count for nothing",
    "RFC 8446 section 4.4.2.4 and RFC 5280 section 6: a path to a trusted issuer, or no authentication",
    *_UNTRUSTED,
)
_WRONG_ORDER = _both(
    Check.MESSAGE_ORDER,
    "RFC 5246 section 7.4: handshake messages out of order are a fatal error",
    "RFC 8446 section 4: handshake messages in the wrong order end the handshake",
    _ORDER,
)
_EARLY_CHANGE = (
    Failure(
        Check.MESSAGE_ORDER,
        "RFC 5246 section 7.4.9: it is a fatal error if ChangeCipherSpec does not precede Finished at the appropriate "
        "point; here it comes in the place of ClientKeyExchange (section 7.2.2 has unexpected_message for it)",
        (_ORDER,),
    ),
)
"""ChangeCipherSpec is no handshake message, so the order of those (section 7.4) is not what it breaks."""
_WRONG_KEYS = _both(
    Check.KEYS,
    "RFC 5246 section 7.2.2: a record that does not open with this connection's keys must be answered with "
    "bad_record_mac",
    "RFC 8446 section 5.2: a record that does not open with this connection's keys must be answered with "
    "bad_record_mac",
    AlertDescription.BAD_RECORD_MAC,
)
_A_PROOF = frozenset({LootKind.PROOF})

_CUSTOMERS = (Leaf.CUSTOMERS,)
_NO_CERTIFICATE_MESSAGE = {
    TLS12: ("ClientHello", "ClientKeyExchange", "ChangeCipherSpec", "Finished"),
    TLS13: ("ClientHello", "Finished"),
}
_EARLY_PROOF = {
    TLS12: ("ClientHello", "Certificate", "CertificateVerify", "ClientKeyExchange", "ChangeCipherSpec", "Finished"),
    TLS13: ("ClientHello", "CertificateVerify", "Certificate", "Finished"),
}
_EARLY_FINISHED = dict.fromkeys((TLS12, TLS13), ("ClientHello", "Certificate", "ChangeCipherSpec", "Finished"))
_TWO_CERTIFICATES = {
    TLS12: (
        *("ClientHello", "Certificate", "ClientKeyExchange", "CertificateVerify", "Certificate"),
        *("ChangeCipherSpec", "Finished"),
    ),
    TLS13: ("ClientHello", "Certificate", "CertificateVerify", "Certificate", "Finished"),
}

MOVES: tuple[Move, ...] = (
    Move(
        "no-certificate",
        "Send no certificate at all",
        "an empty Certificate message: the baseline, an anonymous client",
        _NO_CERTIFICATE,
        in_header="no Client-Cert header: the baseline, an anonymous client",
        shape=Shape(((),)),
    ),
    Move(
        "no-certificate-message",
        "Leave the Certificate message out",
        "no Certificate message at all, not even an empty one, and what follows it",
        _both(
            Check.MESSAGE_ORDER,
            "RFC 5246 section 7.4.6: a client that is asked must send a Certificate message, without a certificate an "
            "empty one; without it the next message is out of order",
            "RFC 8446 section 4.4.2: a client that is asked must send a Certificate message, without a certificate an "
            "empty one; without it Finished is out of order",
            _ORDER,
        ),
        shape=Shape(messages=_NO_CERTIFICATE_MESSAGE),
    ),
    Move(
        "verify-header",
        "Say in a header that the certificate was checked",
        "an empty Certificate message; then, in the request, the headers in which proxies pass a client's certificate "
        "on and say that they have checked it",
        _NO_CERTIFICATE,
        in_header="these headers: Client-Cert, X-SSL-Client-Verify, X-Forwarded-Client-Cert and more, with alice's "
        "certificate and name",
        shape=Shape(((),), header=_CUSTOMERS),
    ),
    Move(
        OMIT_PROOF,
        "Send the certificate, skip the proof",
        "Certificate and no CertificateVerify",
        _NO_PROOF,
        in_header="alice's certificate in the Client-Cert header",
        shape=Shape((_CUSTOMERS,)),
    ),
    Move(
        REPLAY_PROOF,
        "Send the certificate and the captured proof",
        "the CertificateVerify that was captured, byte for byte",
        _NO_VALID_PROOF,
        needs=_A_PROOF,
        shape=Shape((_CUSTOMERS,), ProofShape.CAPTURED, hello=True),
    ),
    Move(
        "relabelled-proof",
        "Send the captured proof under another scheme",
        "the captured signature, said to be in another signature scheme",
        NOT_FOR_SUCH_A_KEY,
        needs=_A_PROOF,
        shape=Shape((_CUSTOMERS,), ProofShape.RELABELLED, hello=True),
    ),
    Move(
        "flipped-proof",
        "Send the captured proof with one bit changed",
        "the captured CertificateVerify, the last bit of its signature turned",
        _NO_VALID_PROOF,
        needs=_A_PROOF,
        shape=Shape((_CUSTOMERS,), ProofShape.FLIPPED, hello=True),
    ),
    Move(
        "foreign-key",
        "Send the certificate and sign with another key",
        "a CertificateVerify over this very handshake, made with the attacker's own key",
        _NO_VALID_PROOF,
        shape=Shape((_CUSTOMERS,), ProofShape.BY_FOREIGN_KEY),
    ),
    Move(
        "empty-proof",
        "Send a proof without a signature",
        "a CertificateVerify whose signature has no bytes",
        _NO_VALID_PROOF,
        shape=Shape((_CUSTOMERS,), ProofShape.EMPTY),
    ),
    Move(
        "zero-proof",
        "Send a proof of zeros",
        "an ECDSA signature with r = s = 0; for RSA and Ed25519, zeros of the right length",
        _NO_VALID_PROOF,
        shape=Shape((_CUSTOMERS,), ProofShape.ZEROS),
    ),
    Move(
        "look-alike",
        "Send a certificate that looks the same",
        "a certificate signed by its own key, with alice's subject, issuer, serial number and key identifiers, and a "
        "valid proof by that key",
        _NOT_TRUSTED,
        in_header="such a certificate in the Client-Cert header: signed by its own key, with alice's subject, issuer, "
        "serial number and key identifiers",
        shape=Shape(((Leaf.COPY,),), ProofShape.BY_FIRST),
    ),
    Move(
        "own-leaf-first",
        "Hide the stolen certificate behind one's own",
        "mallory's certificate, then alice's, and a valid proof by mallory's key",
        {TLS12: (), TLS13: ()},
        shape=Shape(((Leaf.MALLORYS, Leaf.CUSTOMERS),), ProofShape.BY_FIRST),
    ),
    Move(
        "stolen-leaf-first",
        "Hide one's own certificate behind the stolen one",
        "alice's certificate, then mallory's, and a proof by mallory's key",
        _NO_VALID_PROOF,
        shape=Shape(((Leaf.CUSTOMERS, Leaf.MALLORYS),), ProofShape.BY_SECOND),
    ),
    Move(
        "early-proof",
        "Send the proof too early",
        "the captured proof before ClientKeyExchange (1.2) or before Certificate (1.3)",
        _WRONG_ORDER,
        needs=_A_PROOF,
        shape=Shape((_CUSTOMERS,), ProofShape.CAPTURED, _EARLY_PROOF),
    ),
    Move(
        "early-finished",
        "Finish before the proof is due",
        "ChangeCipherSpec and Finished straight after Certificate: no ClientKeyExchange (1.2), no proof; in 1.3 it is "
        "omit-proof and a ChangeCipherSpec, which servers drop (RFC 8446 section 5)",
        {TLS12: _EARLY_CHANGE, TLS13: _NO_PROOF[TLS13]},
        shape=Shape((_CUSTOMERS,), None, _EARLY_FINISHED),
    ),
    Move(
        "second-certificate",
        "Send a second certificate after a valid proof",
        "mallory's certificate with her valid proof, then alice's certificate",
        _WRONG_ORDER,
        shape=Shape(((Leaf.MALLORYS,), _CUSTOMERS), ProofShape.BY_FIRST, _TWO_CERTIFICATES),
    ),
    Move(
        "replay-flight",
        "Send everything again",
        "all bytes that alice sent on one connection, in order, no matter what the server answers",
        {TLS12: _NO_VALID_PROOF[TLS12] + _WRONG_KEYS[TLS12], TLS13: _WRONG_KEYS[TLS13]},
        needs=frozenset({LootKind.RECORDING}),
        in_header="the same: all bytes that alice sent on one connection, in order, no matter what the server answers",
        shape=Shape((_CUSTOMERS,), ProofShape.CAPTURED, recorded=True),
    ),
    Move(
        "resume-session",
        "Resume alice's session",
        "alice's session ID or ticket as the wire showed it, and a guess instead of what the session's secret makes: "
        "Finished in 1.2, in 1.3 the binder, a MAC over the ClientHello",
        {
            TLS12: _WRONG_KEYS[TLS12],
            TLS13: (
                Failure(
                    Check.KEYS,
                    "RFC 8446 section 4.2.11: if the binder is not valid, the server must abort the handshake; section "
                    "6.2 names such a binder under decrypt_error, and OpenSSL sends illegal_parameter",
                    (_DECRYPT, _ILLEGAL),
                ),
            ),
        },
        needs=frozenset({LootKind.SESSION}),
        shape=Shape(
            messages={TLS12: ("ClientHello", "ChangeCipherSpec", "Finished"), TLS13: ("ClientHello",)}, session=True
        ),
    ),
    Move(
        STOLEN_KEY,
        "Prove possession with the real key",
        "alice's certificate and a CertificateVerify over this very handshake, made with her key",
        {TLS12: (), TLS13: ()},
        in_header="alice's certificate in the Client-Cert header; her key is not used",
        needs=frozenset({LootKind.KEY}),
        shape=Shape((_CUSTOMERS,), ProofShape.BY_FIRST),
    ),
)


OTHER_DOOR, PREFIX = "other-door", "prefix"

REAL_MOVES: tuple[Move, ...] = (
    Move(
        "self-issued",
        "Issue oneself a certificate with the same name",
        "a certificate with alice's subject and alternative names that its own key signed, with nothing else of hers, "
        "and a valid proof by that key",
        _NOT_TRUSTED,
        shape=Shape(((Leaf.NAMESAKE,),), ProofShape.BY_FIRST),
    ),
    Move(
        OTHER_DOOR,
        "Log in at another door, and go on here",
        "a session that began with the attacker's own certificate at another name or port of this server, which trusts "
        "others",
        _both(
            Check.SESSION,
            "RFC 6066 section 3: a session is not resumed under another server name; a full handshake follows",
            "RFC 8446 section 4.2.11 does not tie a ticket to a server name: a server that trusts others under another "
            "name has to do so itself, and go on with a full handshake",
            AlertDescription.HANDSHAKE_FAILURE,
            AlertDescription.CERTIFICATE_REQUIRED,
            AlertDescription.ACCESS_DENIED,
        ),
        shape=Shape(
            messages={TLS12: ("ClientHello", "ChangeCipherSpec", "Finished"), TLS13: ("ClientHello", "Finished")},
            elsewhere=(Leaf.COPY,),
        ),
    ),
    Move(
        "forged-ticket",
        "Resume a session that never was",
        "a ticket for a session of alice's that the attacker made up: in the format of Go's crypto/tls before 1.3.2, "
        "under a key of zeros, which a server without a ticket key had",
        _both(
            Check.KEYS,
            "RFC 5077 section 4: a ticket is authenticated with a key that only the server has; without that a full "
            "handshake follows",
            "RFC 8446 section 4.6.1: the ticket is the server's own; no format of TLS 1.3 is known to be forgeable",
            AlertDescription.HANDSHAKE_FAILURE,
        ),
        shape=Shape(messages={TLS12: ("ClientHello", "ChangeCipherSpec", "Finished"), TLS13: ("ClientHello",)}),
    ),
    Move(
        PREFIX,
        "Send the request before the handshake",
        "a command in plaintext right behind the one that begins TLS (STARTTLS), in the owner's connection; to HTTPS a "
        "request in plaintext and no handshake",
        _both(
            Check.KEYS,
            "RFC 5246 section 7.3: application data is sent once the handshake is complete",
            "RFC 8446 section 2: application data is sent once the handshake is complete",
            _ORDER,
        ),
        shape=Shape(messages={TLS12: (), TLS13: ()}),
    ),
)
"""More moves, which `certreplay try` makes at real servers; the lab itself makes `other-door`, where a gateway has
another name."""


LAB_MOVES = (*MOVES, *(move for move in REAL_MOVES if move.id == OTHER_DOOR))
"""All that the lab itself can make."""


STUDENTS_EXPECTATIONS: Mapping[str, Mapping[Version, tuple[Failure, ...]]] = {
    "signature": _NO_VALID_PROOF,
    "scheme": NOT_FOR_SUCH_A_KEY,
}
"""What a server must find wrong with the proof of a student's move, by the word that its file has for it."""
_STUDENTS_MOVE = re.compile(r"([a-z][a-z0-9-]{0,31}):([a-z-]+)")


def students_move(move_id: str) -> Move | None:
    """A student's move. Its id says what is expected of it: its name, and what is wrong with its proof, as in
    `half-proof:signature`. So a run that is read later needs nothing but the id.
    """
    named = _STUDENTS_MOVE.fullmatch(move_id)
    if named is None or named[2] not in STUDENTS_EXPECTATIONS:
        return None
    title, sends = f"A student's move, {named[1]}", "what a student's code makes of alice's captured proof"
    fails, shape = STUDENTS_EXPECTATIONS[named[2]], Shape((_CUSTOMERS,), ProofShape.NEW, hello=True)
    return Move(move_id, title, sends, fails, needs=_A_PROOF, shape=shape)


def moves_named(ids: Collection[str]) -> tuple[Move, ...]:
    """The moves with these ids, in the table's order, then the students'."""
    return (*(one for one in (*MOVES, *REAL_MOVES) if one.id in ids), *filter(None, map(students_move, sorted(ids))))


def moves_for(leak: Leak, chosen: Collection[str]) -> tuple[Move, ...]:
    """What is tried with what a leak yields: the chosen moves, by id, and the move with the key if the key leaks."""
    with_key = {one.id for one in MOVES if one.with_key and LootKind.KEY in leak.gives}
    return moves_named({*chosen, *with_key})


def find_move(move_id: str) -> Move | None:
    """The move with that id."""
    return next(iter(moves_named((move_id,))), None)
