"""Exercises 3 and 4: what alice's proof was made over, and what a server checks it against."""

from collections.abc import Iterator
from hashlib import new, sha256

from lab.catalogue.leaks import WIRE
from lab.catalogue.moves import REPLAY_PROOF
from lab.catalogue.outcomes import REFUSED
from lab.exercises.answers import as_text, check_hash, hex_in, words_in
from lab.exercises.exercise import Checked, ExerciseError
from lab.exercises.recorded import captured, certificates
from lab.judging.claims.evidence import BLIND, CHECKING
from lab.judging.judgement import Verdict
from lab.judging.own_proof import own_proof
from lab.judging.proof_comparison import Difference, ProofReason, handshake_messages, up_to_the_proof
from lab.judging.queries import RunQueries
from lab.tls.errors import Abort
from lab.tls.messages import ServerHelloDone
from lab.tls.messages13 import parse
from lab.tls.versions import TLS12

VERIFIED = (
    "Her proof is a signature over all handshake messages before it, both sides', as they crossed the wire. You had "
    "all of them, and her public key is in her certificate, so anybody on the way can check the proof. Nobody on the "
    "way can make one: that takes the private key."
)
DIFFERS = (
    "Mallory can send alice's ClientHello again, byte for byte. The server's answer she cannot choose: ServerHello "
    "has a new random each time. So the transcript is another one, its hash is another one, and the old signature "
    "does not fit."
)
_NO_FIELD = (
    "sha256",
    "sha2",
    "256",
    "stdin",
    "attempt",
    "alice",
    "signed",
    "bin",
    "hex",
    "byte",
    "verification",
    "failure",
)
"""What programs print around a hash, and how files and places are called: no name of a field."""
SOUGHT = "all handshake messages before her proof"


def check_hers(record: RunQueries, answer: str) -> Checked:
    """Exercise 3."""
    own = [(seen, reason) for seen in captured(record) if (reason := own_proof(seen)) and reason.fits_captured]
    if not own:
        raise ExerciseError(f"{record.run.name}: no proof of alice's was read off the wire in TLS 1.2 in this run")
    if "failure" in words_in(answer):
        return Checked(
            False,
            "The check must end in `Verified OK`. If it fails, look at the types in what you hashed, 01 first and 10 "
            "last, and whether the signature begins after the scheme and its length.",
        )
    wrong = dict(_replayed_hashes(record))
    for der in certificates(record):
        wrong[sha256(der).hexdigest()] = "This is the fingerprint of her certificate, from exercise 1."
    for seen, reason in own:
        messages = [bytes.fromhex(raw) for raw in seen.transcript]
        wrong |= dict(_missteps(messages, bytes.fromhex(seen.proof or ""), reason.signed_by))
    right = {reason.captured_hash: VERIFIED for _, reason in own}
    return check_hash(hex_in(answer), right, wrong.items(), SOUGHT, own[0][1].signed_by)


def check_replayed(record: RunQueries, answer: str) -> Checked:
    """Exercise 4."""
    attempts = dict(_replays(record))
    refused = {one: reason for one, reason in attempts.items() if one.outcome == REFUSED and one.scheme in CHECKING}
    if not refused:
        raise ExerciseError(
            f"{record.run.name}: no gateway that checks the proof refused {REPLAY_PROOF} in TLS 1.2; `certreplay demo` "
            "makes a run with it"
        )
    wrong: dict[str, str] = {}
    for seen in captured(record):
        if own := own_proof(seen):
            wrong[own.captured_hash] = "This is the hash of alice's own handshake, from exercise 3. Take the attempt's."
    for one, reason in attempts.items():
        if one.scheme in BLIND:
            wrong[reason.server_hash] = (
                f"This attempt was at {one.gateway}, which accepted it although the proof does not fit: it does not "
                "look. Take an attempt that was refused."
            )
        steps = ((sent.sender, sent.name, sent.hex) for sent in one.evidence.messages)
        messages, verify = up_to_the_proof(handshake_messages(steps), TLS12)
        before = [raw for _, raw in messages]
        wrong |= {value: why for value, why in _missteps(before, verify, reason.hash) if value not in wrong}
    right = {reason.server_hash: DIFFERS for reason in refused.values()}
    found = hex_in(answer)
    checked = check_hash(found, right, wrong.items(), f"{SOUGHT} in the attempt", next(iter(refused.values())).hash)
    if not checked.right:
        return checked
    of = next(reason for reason in refused.values() if reason.server_hash == found)
    named = [word for word in words_in(answer) if word not in (found, *_NO_FIELD)]
    problem = _wrong_field(named, of.differences)
    return Checked(False, f"The hash is right. {problem}") if problem else checked


def _replays(record: RunQueries) -> Iterator[tuple[Verdict, ProofReason]]:
    for one in record.judged.judgement.verdicts:
        if (one.leak, one.tls, one.move) == (WIRE.id, "1.2", REPLAY_PROOF) and one.evidence.proof:
            yield one, one.evidence.proof


def _replayed_hashes(record: RunQueries) -> Iterator[tuple[str, str]]:
    for one, reason in _replays(record):
        yield reason.server_hash, f"This is the hash of mallory's attempt at {one.gateway}. Take alice's own handshake."


def _missteps(messages: list[bytes], verify: bytes, hash_name: str) -> Iterator[tuple[str, str]]:
    """The hashes of what is easily hashed instead of these messages, which precede the proof `verify`."""

    def digest(octets: bytes) -> str:
        return new(hash_name, octets, usedforsecurity=False).hexdigest()

    whole = b"".join(messages)
    for text in (*as_text(whole), b"".join(message.hex().encode() + b"\n" for message in messages)):
        yield digest(text), "This is the hash of the hex digits as text. Turn them into bytes first: `xxd -r -p`."
    yield digest(whole + verify), "The proof itself is in there. A signature cannot sign itself: stop before it."
    yield (
        digest(b"".join(one[4:] for one in messages)),
        "The headers are missing: type and length of each.",
    )
    yield digest(b"".join(messages[1:])), "The first message is missing, the ClientHello."
    yield digest(bytes.fromhex(digest(whole))), "This is the hash of the hash. Hash the messages once."
    for end in range(1, len(messages)):
        why = (
            f"Messages are missing: this ends after {_name(messages[end - 1])}. Go on to the last one before the proof."
        )
        yield digest(b"".join(messages[:end])), why
    done = next((at for at, one in enumerate(messages) if one[0] == ServerHelloDone.type), 0)
    for octets in (b"".join([messages[0], *messages[done + 1 :]]), b"".join(messages[1 : done + 1]), messages[-1]):
        yield digest(octets), "She signs the messages of both sides, all of them."


def _name(raw: bytes) -> str:
    try:
        return parse(raw, TLS12).name
    except Abort:
        return f"type {raw[0]}"


def _wrong_field(named: list[str], differences: tuple[Difference, ...]) -> str:
    """What is wrong with the field that was named as the first that differs; empty for the right one."""
    first, *later = differences
    words = "".join(named)
    field = first.field.replace("_", "")
    if field in words or (field == "random" and "gmtunixtime" in words):
        if _is_named(first.message, words) or ("server" in named and first.message.startswith("Server")):
            return ""
        if "client" in words:
            return (
                "Both ClientHellos are the same, with the same random: mallory sent alice's again. Look one message on."
            )
        return "Which message is the field in? Both hellos have a random."
    for one in later:
        if _is_named(one.message, words):
            name = f"{one.message[0].upper()}{one.message[1:]}"
            return f"{name} differs, too, but something before it does already. `cmp` names the first byte."
    if _is_named(first.message, words):
        return f"The message is right. Which field of {first.message} is it? `xxd` shows the bytes."
    if not "".join(word for word in named if not word.isdigit()):
        return "Name the first field that differs as well: the message and the field, not the number of the byte."
    return "This is not the first field that differs. `cmp alice.signed attempt.signed` names the first byte."


def _is_named(message: str, words: str) -> bool:
    """Whether it is named, with or without whose it is: `the server's Certificate`, `certificate`."""
    return message.split()[-1].lower() in words
