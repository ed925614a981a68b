"""Exercise 6: what of alice's bundle is in the capture, and what is not."""

import re
from collections.abc import Iterator

from lab import files
from lab.events.types import CaptureSearched
from lab.exercises.answers import words_in
from lab.exercises.exercise import Checked, ExerciseError
from lab.exercises.recorded import certificates, servers_certificates
from lab.judging.claims.evidence import found_something
from lab.judging.queries import RunQueries

WHY = (
    "A bundle holds two things. The certificate goes to every server that asks, and in TLS 1.2 all who listen can "
    "read it. The private key never leaves: alice's program signs with it and sends the signature. Key and "
    "certificate lie in one file, but only one of them is a secret."
)
_BEGINS = 32
"""How many bytes of a certificate are looked for: they hold its serial number, and no packet ends within them."""
_NUMBER = re.compile(r"\b(0x[0-9a-f]+|\d+)\b", re.IGNORECASE)


def check(record: RunQueries, answer: str) -> Checked:
    capture = record.run.folders.capture
    hers = certificates(record)
    searched = record.all(CaptureSearched, found_something)
    if not (hers and searched and capture.is_file()):
        raise ExerciseError(
            f"{record.run.name}: nobody searched this run's capture; `certreplay demo` makes such a run"
        )
    if searched[-1].event.key_at:
        raise ExerciseError(f"{record.run.name}: her key is in this run's capture, so this run has no answer")
    problem = _wrong_part(words_in(answer)) or _wrong_offset(files.read(capture, files.LARGE), record, answer, hers)
    return Checked(not problem, problem or WHY)


def _wrong_part(words: list[str]) -> str:
    joined = "".join(words)
    if "private" in joined and "key" in joined:
        return ""
    if "public" in joined:
        return "The public key is in the certificate, so it crossed the wire with it."
    if "signature" in joined or "proof" in joined:
        return "Her proof crossed the wire. It is not in the bundle: she makes a new one for each handshake."
    if "password" in joined:
        return "The password opens the bundle's file, and it is not in there. Which part of the content never left?"
    if "certificate" in joined or "subject" in joined or "serial" in joined:
        return "That is in the capture: you found it in exercise 1. Name the part that is not."
    if "key" in joined:
        return "There are two keys, and one of them is in the certificate. Which one do you mean?"
    return "Name the part that never left, and the offset of the other part: two things."


def _wrong_offset(content: bytes, record: RunQueries, answer: str, hers: list[bytes]) -> str:
    number = _NUMBER.search(answer)
    if not number:
        return "The part is right. Give the offset as well at which her certificate begins in the capture file."
    digits = number[1].lower()
    at = int(digits, 16) if digits.startswith("0x") else int(digits)
    starts = {place for der in hers for place in _places(content, der)}
    if at in starts:
        return ""
    ways: dict[int, str] = {}
    for der in servers_certificates(record):
        ways |= dict.fromkeys(_places(content, der), "the bank's certificate begins there, not alice's.")
    for place in starts:
        length = next(len(der) for der in hers if content.startswith(der[:_BEGINS], place))
        ways |= dict.fromkeys(range(place + 1, place + length), "this is inside her certificate. It begins before.")
        ways[place + 1] = "this is one too many: the first byte of a file has offset 0."
        ways |= dict.fromkeys((place - 7, place - 10, place - 15), "a header is there; the certificate begins 30 82.")
    if at in ways:
        return f"The part is right. The offset is not: {ways[at]}"
    if digits.isdigit() and int(digits, 16) in starts:
        return "The part is right. The offset is hexadecimal: write 0x before it."
    return "The part is right. Her certificate does not begin at this offset of the capture file, counted from 0."


def _places(content: bytes, der: bytes) -> Iterator[int]:
    at = content.find(der[:_BEGINS])
    while at >= 0:
        yield at
        at = content.find(der[:_BEGINS], at + 1)
