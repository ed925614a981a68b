"""Exercise 5: what the wire shows of TLS 1.3 with the keys only."""

from lab.capture.decrypt import ReadHandshake, read_handshakes
from lab.catalogue.cast import VICTIM_CLIENT
from lab.events.parts import KEY_LOG_FILE
from lab.exercises.answers import hex_in
from lab.exercises.exercise import Checked, ExerciseError
from lab.judging.queries import RunQueries
from lab.tls.messages import CertificateVerify
from lab.tls.versions import TLS12, TLS13

WHY = (
    "In TLS 1.3 everything after the hellos is encrypted, so mallory sees neither alice's certificate nor her proof. "
    "You had the keys of the session from alice's own program, not from the wire. Such keys open one session. They "
    "are not her private key: with them nobody can make a new proof."
)
ENOUGH = 24
"""Hex digits of a signature that tell it from any other."""
_HEADER = 8
"""The bytes of a CertificateVerify before the signature: type, length, scheme, length (RFC 8446 section 4.4.3)."""


def check(record: RunQueries, answer: str) -> Checked:
    folders = record.run.folders
    if not folders.capture.is_file():
        raise ExerciseError(f"{record.run.name}: this run has no capture; `certreplay demo` makes a run with one")
    read = read_handshakes(folders.capture, folders.part(VICTIM_CLIENT) / KEY_LOG_FILE)
    signed = {raw: one for one in read if one.version == TLS13 for raw in [_proof(one, "client")] if raw}
    if not signed:
        raise ExerciseError(
            f"{record.run.name}: no login in TLS 1.3 that alice's key log opens is in this run's capture"
        )
    found = hex_in(answer)
    if problem := _wrong_signature(found, signed, read):
        return Checked(False, problem)
    handshake = next(one for raw, one in signed.items() if _starts(raw[_HEADER:], found))
    return _names(answer, handshake)


def _wrong_signature(found: str, signed: dict[bytes, ReadHandshake], read: list[ReadHandshake]) -> str:
    """What is wrong with a signature in hex; empty for one of hers in TLS 1.3."""
    if len(found) < ENOUGH:
        return f"Give the signature in hex, at least its first {ENOUGH} digits; this answer has {len(found)}."
    if any(_starts(raw[_HEADER:], found) for raw in signed):
        return ""
    if any(_starts(raw[at:], found) for raw in signed for at in (0, 4)):
        return (
            "This is her CertificateVerify from its beginning. The signature comes after type, length, scheme, length."
        )
    if any(_starts(_proof(one, "server")[_HEADER:], found) for one in read):
        return "This is the bank's proof. In TLS 1.3 the server sends one, too, and first. Take the client's."
    if any(_starts(_proof(one, "client")[_HEADER:], found) for one in read if one.version == TLS12):
        return "This is a proof of hers in TLS 1.2, where it is plaintext. Take one from a connection in TLS 1.3."
    return "No CertificateVerify of alice's in TLS 1.3 has this signature. Did you give tshark the key log of this run?"


def _names(answer: str, handshake: ReadHandshake) -> Checked:
    given = "".join(filter(str.isalpha, answer.lower()))
    hers = _encrypted(handshake, "client")
    rest = given.replace(CertificateVerify.name.lower(), " ").replace("certificaterequest", "*")
    there = {name: (name.lower() in (given if name == CertificateVerify.name else rest)) for name in hers}
    if "clienthello" in given:
        return Checked(
            False, "The signature is right. But ClientHello is plaintext: it is there without the keys, too."
        )
    servers = [name for name in _encrypted(handshake, "server") if name not in hers and name.lower() in given]
    if servers:
        return Checked(False, f"The signature is right. But {servers[0]} is a message of the bank's. Name alice's.")
    if missing := [name for name, named in there.items() if not named]:
        many = f"{len(missing)} of her {len(hers)} messages are" if len(missing) > 1 else "one of her messages is"
        return Checked(
            False, f"The signature is right. But {many} missing. Name her handshake messages after ClientHello."
        )
    return Checked(True, WHY)


def _encrypted(handshake: ReadHandshake, sender: str) -> list[str]:
    """The handshake messages of one side that no one reads without keys."""
    names = (one.name for one in handshake.messages if one.encrypted and one.sender == sender)
    return [name for name in dict.fromkeys(names) if name.isalpha()]


def _proof(handshake: ReadHandshake, sender: str) -> bytes:
    """The CertificateVerify of one side; empty where there is none."""
    of = (one.raw for one in handshake.messages if (one.sender, one.name) == (sender, CertificateVerify.name))
    return next(of, b"")


def _starts(octets: bytes, digits: str) -> bool:
    return len(digits) >= ENOUGH and octets.hex().startswith(digits)
