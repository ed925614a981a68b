"""Reads what a student typed, and finds the wrong way that led there."""

import re
from collections.abc import Iterable, Mapping
from hashlib import new

from lab.exercises.exercise import Checked

_LABEL = re.compile(r"\bsha2?-?(256|384|512)\s*[:(=]", re.IGNORECASE)
_HEX = re.compile(r"(0x)?((?:[0-9a-f]{2})+)", re.IGNORECASE)
HASHES = ("sha256", "sha384", "sha512", "sha1", "md5")
BESIDES = {2 * new(name, b"", usedforsecurity=False).digest_size: name for name in HASHES}
"""Hashes by the number of their hex digits."""

WrongWays = Iterable[tuple[str, str]]
"""Values in hex that a wrong way leads to, each with a sentence that helps."""


def hex_in(answer: str) -> str:
    """The bytes in an answer, as hex in lower case; what programs print around them is left out.

    Colons between bytes, blanks and line breaks are fine: `SHA256 Fingerprint=AB:CD`, `SHA2-256(file)= abcd`,
    `abcd  file`. Empty where there are none.
    """
    words = re.split(r"[\s=,]+", _LABEL.sub(" ", answer.replace(")=", " = ")))
    found = (_HEX.fullmatch(word.replace(":", "")) for word in words)
    return "".join(one[2] for one in found if one).lower()


def words_in(answer: str) -> list[str]:
    """The words of an answer in lower case, without the marks around them."""
    return [word for word in re.split(r"[^a-z0-9]+", answer.lower()) if word]


def check_hash(found: str, right: Mapping[str, str], wrong: WrongWays, sought: str, called: str = "sha256") -> Checked:
    """Compares a hash in hex with the right ones, each of which has the reason why it worked, and with wrong ways.

    `sought` says what the hash should be of, `called` by which hash.
    """
    if found in right:
        return Checked(True, right[found])
    if (way := dict(wrong).get(found)) is not None:
        return Checked(False, way)
    if not found:
        return Checked(False, f"There is no hash in this answer. Give the {called} of {sought}, in hex.")
    length = len(next(iter(right)))
    if len(found) == length:
        why = f"This hash has the right length, but it is not of {sought}. Look at what you hashed, with `xxd`."
        return Checked(False, why)
    if len(found) in BESIDES:
        return Checked(
            False, f"A hash of {len(found)} hex digits is {BESIDES[len(found)]}. Use {called}: {length} digits."
        )
    return Checked(False, f"A {called} has {length} hex digits; this answer has {len(found)}. Was it cut off?")


def as_text(octets: bytes) -> tuple[bytes, ...]:
    """Bytes as hex digits in text, as people hash them if they forget `xxd -r -p`: with and without a line break."""
    text = octets.hex().encode()
    return text, text + b"\n"
