"""Why a proof does not fit: what it was made over, beside what the server had to check it against."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from difflib import SequenceMatcher
from hashlib import sha256
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes

from lab.events.types import CertificateCaptured, MoveTried
from lab.tls import extensions as ext
from lab.tls import keys, proof, wire
from lab.tls.errors import Abort, DecodeError
from lab.tls.messages import Certificate, CertificateVerify, Message, ServerHello, serialize
from lab.tls.messages13 import Certificate13, is_retry, parse
from lab.tls.proof import Challenge, PublicKey
from lab.tls.transcript import MESSAGE_HASH, Transcript
from lab.tls.versions import TLS12, Version, find_version

Messages: TypeAlias = list[tuple[str, bytes]]
"""For each message its sender, `client` or `server`, and its bytes."""
Handshake: TypeAlias = tuple[list[bytes], Version]
"""The messages of a handshake before the client's proof, and its version."""

WHOLE_MESSAGE = "the message itself"
"""The field of a difference that is not one of fields."""
ORDER = "the order of the extensions"
"""What differs where all fields are the same."""
EXTENSION_NAMES = {
    value: name.lower()
    for name, value in vars(ext).items()
    if name.isupper() and isinstance(value, int) and not name.startswith("_")
}

_NO_MESSAGES = ("ChangeCipherSpec", "alert", "protected")


@dataclass(frozen=True)
class Difference:
    """A field in which two transcripts differ. Bytes in hex; `captured` or `server` is empty if that transcript has no
    such field, or if it lacks the whole message."""

    message: str
    field: str
    captured: str
    server: str


@dataclass(frozen=True)
class ProofReason:
    """A proof that was sent in an attempt, compared with both transcripts by the key in the certificate sent with it.

    `scheme` is its signature scheme, as the attempt's version calls it, `made_as` that of alice's proof, in the version
    `made_in`. `fits_as_made` says whether the signature is one over her transcript under the scheme that she signed
    with.

    `captured_hash` is of what alice's proof was made over, by the hash `signed_by` that she signed; `server_hash` is of
    what the server checks against, by the `hash` of the proof that was sent. Both are in hex. `fits_captured` and
    `fits_server` say which of them the signature was made over. `differences` are all the fields in which the
    transcripts differ, in order.
    """

    scheme: str
    signature: str
    signed_by: str
    hash: str
    captured_hash: str
    server_hash: str
    differences: tuple[Difference, ...]
    fits_captured: bool
    fits_server: bool
    made_in: str
    made_as: str
    fits_as_made: bool

    @property
    def difference(self) -> Difference | None:
        """The first difference; None if the transcripts are equal."""
        return next(iter(self.differences), None)


def proof_reason(captured: CertificateCaptured, tried: MoveTried) -> ProofReason | None:
    """The proof of an attempt, compared; None if none was sent, or if a message is missing or unreadable.

    A server checks a proof with the public key of the first certificate that the client presented (RFC 5246 section
    7.4.8, RFC 8446 section 4.4.3), so that key decides here too.
    """
    version, seen_in = find_version(tried.tls), find_version(captured.tls)
    if version is None or seen_in is None:
        return None
    before, verify = up_to_the_proof(handshake_messages(tried.steps), version)
    made_over = [bytes.fromhex(raw) for raw in captured.transcript]
    shown = [raw for sender, raw in before if sender == "client" and raw[0] == Certificate.type]
    if not (verify and made_over and shown):
        return None
    try:
        key = proof.public_key(chain_in(shown[-1], version)[0])
        hers = bytes.fromhex(captured.proof or "")
        return held_against(key, verify, (made_over, seen_in), ([raw for _, raw in before], version), hers)
    except Abort:
        return None


def held_against(
    key: PublicKey, verify: bytes, signed: Handshake, checked: Handshake, hers: bytes = b""
) -> ProofReason:
    """Compares a CertificateVerify that was sent in the second of two handshakes with both.

    `hers` is the CertificateVerify that was sent in the first, if it was another one. Abort if a message is unreadable.
    """
    answer = _proof_in(verify, checked[1])
    first = _proof_in(hers, signed[1]) if hers else answer
    then, now = challenge_of(*signed), challenge_of(*checked)
    signed_by, hash_ = _hash_of(first), _hash_of(answer)
    return ProofReason(
        scheme=proof.scheme_name(answer.scheme, checked[1]),
        signature=answer.signature.hex(),
        signed_by=signed_by.name,
        hash=hash_.name,
        captured_hash=keys.digest(then.content, signed_by).hex(),
        server_hash=keys.digest(now.content, hash_).hex(),
        differences=tuple(_differences(_parsed(*signed), _parsed(*checked))),
        fits_captured=fits(key, then, answer),
        fits_server=fits(key, now, answer),
        made_in=str(signed[1]),
        made_as=proof.scheme_name(first.scheme, signed[1]),
        fits_as_made=fits(key, then, CertificateVerify(first.scheme, answer.signature)),
    )


def _proof_in(raw: bytes, version: Version) -> CertificateVerify:
    answer = parse(raw, version)
    if not isinstance(answer, CertificateVerify):
        raise DecodeError(f"{answer.name} in the place of a CertificateVerify")
    return answer


def _hash_of(answer: CertificateVerify) -> hashes.HashAlgorithm:
    """The hash that its scheme signs; SHA-256 to show for those that hash in their own way."""
    return next((one.hash for one in proof.SIGNATURE_SCHEMES if one.id == answer.scheme and one.hash), hashes.SHA256())


def up_to_the_proof(messages: Messages, version: Version) -> tuple[Messages, bytes]:
    """The messages before the client's proof, in the order in which the server saw them, and the proof.

    Without a proof they are all messages, and it is empty.
    """
    seen = as_the_server_saw_them(messages, version)
    kind = bytes([CertificateVerify.type])
    at = next((i for i, (who, raw) in enumerate(seen) if who == "client" and raw[:1] == kind), len(seen))
    return seen[:at], seen[at][1] if at < len(seen) else b""


def as_the_server_saw_them(messages: Messages, version: Version) -> Messages:
    """A transcript is in the order of the handshake. An attempt that sends everything at once is answered afterwards.

    In TLS 1.2 the server's first flight follows the ClientHello (RFC 5246 section 7.3); TLS 1.3 encrypts with keys that
    depend on the server's answer, so there such an attempt has no readable proof.
    """
    first = next((i for i, (sender, _) in enumerate(messages) if sender == "server"), len(messages))
    if version != TLS12 or first <= 1:
        return messages
    hello, *rest = messages
    servers = [one for one in rest if one[0] == "server"]
    return [hello, *servers, *(one for one in rest if one[0] != "server")]


def handshake_messages(steps: Iterable[tuple[str, str, str]]) -> Messages:
    """The handshake messages of an attempt, with who sent them. A step is sender, name and hex."""
    return [(sender, bytes.fromhex(raw)) for sender, name, raw in steps if not name.startswith(_NO_MESSAGES)]


def challenge_of(sent: list[bytes], version: Version) -> Challenge:
    """What a proof has to sign after these messages, the first of which may already be hashed (RFC 8446, 4.4.1)."""
    if version == TLS12:
        return proof.challenge12(b"".join(sent), proof.SCHEME_IDS)
    transcript = Transcript()
    suite, *_ = keys.TLS13_SUITES  # until a ServerHello names it
    for raw in sent:
        message = parse(raw, version)
        if isinstance(message, ServerHello):
            suite = next((one for one in keys.TLS13_SUITES if one.id == message.cipher_suite), suite)
            if is_retry(message) and transcript.entries and transcript.entries[0].raw[0] != MESSAGE_HASH:
                transcript.hash_first(suite.hash)
        transcript.add("client", raw)  # its content is the same whoever sent it
    return proof.challenge13(transcript.content(), proof.SCHEME_IDS, suite.hash)


def fits(key: PublicKey, challenge: Challenge, answer: CertificateVerify) -> bool:
    try:
        proof.check(key, challenge, answer)
    except Abort:
        return False
    return True


def scheme_suits(tried: MoveTried) -> bool:
    """Whether an attempt's proof is in a scheme for the key in the certificate sent with it, in its version.

    Also if no proof was sent, or if one of the two is unreadable.
    """
    version = find_version(tried.tls) or TLS12
    before, verify = up_to_the_proof(handshake_messages(tried.steps), version)
    shown = [raw for sender, raw in before if sender == "client" and raw[0] == Certificate.type]
    if not (verify and shown):
        return True
    try:
        key = proof.public_key(chain_in(shown[-1], version)[0])
        scheme = proof.find_signature_scheme(_proof_in(verify, version).scheme)
    except Abort:
        return True
    return scheme is None or scheme.suits(key, version)


def presented(tried: MoveTried) -> frozenset[str]:
    """The fingerprints of the certificates that an attempt sent, in hex; none if they are unreadable."""
    version = find_version(tried.tls) or TLS12
    own = [raw for sender, raw in handshake_messages(tried.steps) if sender == "client" and raw[0] == Certificate.type]
    try:
        return frozenset(sha256(der).hexdigest() for raw in own for der in certificates_in(raw, version))
    except Abort:
        return frozenset()


def chain_in(certificate_message: bytes, version: Version) -> tuple[bytes, ...]:
    """The certificates in a Certificate message, in DER: one or more. Abort if there is none."""
    if chain := certificates_in(certificate_message, version):
        return chain
    raise DecodeError("Certificate: it has no certificate")


def certificates_in(certificate_message: bytes, version: Version) -> tuple[bytes, ...]:
    message = parse(certificate_message, version)
    if not isinstance(message, Certificate | Certificate13):
        raise DecodeError(f"{message.name} in the place of a Certificate")
    return message.chain


def _parsed(messages: list[bytes], version: Version) -> list[Message]:
    return [parse(raw, version) for raw in messages]


def pairs(one: list[int], other: list[int]) -> Iterator[tuple[int | None, int | None]]:
    """The places of corresponding messages in two transcripts, by their types; None if one has no counterpart."""
    for _, i, i_end, j, j_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if i_end - i == j_end - j and one[i:i_end] == other[j:j_end]:
            yield from zip(range(i, i_end), range(j, j_end), strict=True)
        else:
            yield from ((at, None) for at in range(i, i_end))
            yield from ((None, at) for at in range(j, j_end))


def _differences(then: list[Message], now: list[Message]) -> Iterator[Difference]:
    kinds, others = ([one.type for one in messages] for messages in (then, now))
    for left, right in pairs(kinds, others):
        if left is None or right is None:
            messages, types, at = (then, kinds, left) if left is not None else (now, others, right or 0)
            sent = ("sent", "") if right is None else ("", "sent")
            yield Difference(whose(messages[at].name, types, at), WHOLE_MESSAGE, *sent)
            continue
        name = whose(then[left].name, kinds, left)
        one, other = message_fields(then[left]), message_fields(now[right])
        differing = [field for field in dict.fromkeys((*one, *other)) if one.get(field) != other.get(field)]
        for field in differing:
            yield Difference(name, field, one.get(field, ""), other.get(field, ""))
        if not differing and then[left] != now[right]:
            yield Difference(name, ORDER, serialize(then[left]).hex(), serialize(now[right]).hex())


def whose(name: str, kinds: Sequence[int], at: int) -> str:
    """The name of a message among others, by their types; of the two Certificate messages the server's comes first."""
    if kinds[at] != Certificate.type:
        return name
    return f"the {'server' if at == kinds.index(Certificate.type) else 'client'}'s {name}"


def message_fields(message: Message) -> dict[str, str]:
    """A message's fields by name, in hex; certificates and extensions one by one.

    TLS 1.3 has a context before the certificates, and extensions behind each; these are with their lengths, as they may
    be empty.
    """
    if isinstance(message, Certificate):
        return {f"certificate {number}": der.hex() for number, der in enumerate(message.chain, start=1)}
    if isinstance(message, Certificate13):
        shown = {"certificate_request_context": wire.vector(message.context, 1).hex()}
        for number, entry in enumerate(message.entries, start=1):
            shown[f"certificate {number}"] = entry.certificate.hex()
            shown[f"extensions of certificate {number}"] = ext.write_extensions(entry.extensions).hex()
        return shown
    found: dict[str, str] = {}
    for field in fields(message):  # type: ignore[arg-type]
        value = getattr(message, field.name)
        if field.name == "extensions":
            for extension in value or ():
                found[EXTENSION_NAMES.get(extension.type, f"extension {extension.type}")] = extension.data.hex()
        elif isinstance(value, bytes):
            found[field.name] = value.hex()
        elif isinstance(value, int):
            found[field.name] = f"{value:04x}"
        else:
            found[field.name] = "".join(f"{one:04x}" if isinstance(one, int) else one.hex() for one in value)
    return found
