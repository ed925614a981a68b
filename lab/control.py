"""What if the bundle were stolen? The control that needs alice's key, so the lab runs it and never the attacker.

It runs the attacker's own replay code with the real key at every gateway: if that does not get in, the refusals of the
moves mean nothing. And it looks whether any encoding of the key is in what the attacker captured, which nobody can do
without the key either.
"""

import asyncio
import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from attacker.moves import STOLEN_KEY
from attacker.plays import stolen_key
from attacker.replay import Attempt, attempt
from attacker.search import find_in_capture
from lab.events import CaptureSearched, MoveTried
from lab.pki import CUSTOMER, SERVER_NAME
from lab.tls.bundle import Bundle
from lab.tls.proof import PrivateKey


@dataclass(frozen=True)
class Target:
    """A gateway, a version to try there, and the bundle that it should take."""

    address: tuple[str, int]
    version: int
    bundle: Bundle


async def try_stolen_key(targets: Iterable[Target]) -> list[MoveTried]:
    """Presents the stolen bundle at every gateway, which must take it."""

    async def try_one(target: Target) -> MoveTried:
        it = Attempt(STOLEN_KEY, target.version, target.address, SERVER_NAME, CUSTOMER)
        return await attempt(it, stolen_key(target.bundle, target.version))

    return await asyncio.gather(*map(try_one, targets))


def search_capture(capture: Path, bundle: Bundle, *others: Bundle) -> CaptureSearched:
    """Looks for the certificate, which must be there, and for the keys, which must not, in all of the capture.

    `others` are further bundles whose keys must not be there.
    """
    forms = dict(key_forms(bundle.key))
    for number, other in enumerate(others, start=2):
        forms |= {f"key {number}, {name}": form for name, form in key_forms(other.key).items()}
    found = find_in_capture(capture, {"certificate": bundle.chain[0], **forms})
    places = [(hit.needle, f"{hit.place}, byte {hit.offset}") for hit in found.hits]
    return CaptureSearched(
        connections=found.connections,
        octets=found.octets,
        gaps=found.gaps,
        cut=found.cut,
        alone=found.alone,
        certificate_at=tuple(place for needle, place in places if needle == "certificate"),
        key_forms=tuple(forms),
        key_at=tuple(f"{needle}: {place}" for needle, place in places if needle != "certificate"),
    )


def key_forms(key: PrivateKey) -> Mapping[str, bytes]:
    """The encodings of a private key that could give it away, each under a name for people."""
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    forms = {
        "PKCS#8 in DER": der,
        "PKCS#8 in base64": base64.b64encode(der),
        "PKCS#8 in PEM": b"\n".join(pem.splitlines()[1:-1]),
        "the words PRIVATE KEY": b"PRIVATE KEY-----",
    }
    for name, secret in _secret_numbers(key).items():
        forms[name] = secret
        forms[f"{name}, bytes reversed"] = secret[::-1]
        forms[f"{name} in hex"] = secret.hex().encode()
        forms[f"{name} in upper-case hex"] = secret.hex().upper().encode()
    return forms


def _secret_numbers(key: PrivateKey) -> Mapping[str, bytes]:
    """The numbers that are the key, big-endian."""

    def octets(number: int) -> bytes:
        return number.to_bytes((number.bit_length() + 7) // 8, "big")

    match key:
        case ec.EllipticCurvePrivateKey():
            return {"scalar": octets(key.private_numbers().private_value)}
        case rsa.RSAPrivateKey():
            numbers = key.private_numbers()
            return {"exponent": octets(numbers.d), "first prime": octets(numbers.p), "second prime": octets(numbers.q)}
        case _:
            return {"seed": key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())}
