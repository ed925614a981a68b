"""The control that needs alice's key: what if the bundle were stolen? The lab runs it, never the attacker.

It runs the attacker's own replay code with the real key at every gateway: if that does not get in, the refusals of the
moves mean nothing. It also searches the attacker's capture for many encodings of the key, which takes the key too.
"""

import asyncio
import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from attacker.moves.make import stolen_key
from attacker.moves.replay import Attempt, attempt
from lab.address import Address
from lab.capture.key_forms import key_forms
from lab.capture.search import find_in_capture
from lab.catalogue.cast import CUSTOMER, SERVER_NAME
from lab.catalogue.moves import STOLEN_KEY
from lab.events.types import CaptureSearched, MoveTried
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.versions import Version

CERTIFICATE = "certificate"

_PEM_BLOCK = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----(.+?)-----END", re.DOTALL)


@dataclass(frozen=True)
class ControlTarget:
    """A gateway, a version to try there, and the bundle that it should accept."""

    address: Address
    version: Version
    bundle: Bundle


async def try_stolen_key(targets: Iterable[ControlTarget]) -> list[MoveTried]:
    """Presents the stolen bundle at every gateway; all must accept it."""

    async def try_one(target: ControlTarget) -> MoveTried:
        it = Attempt(STOLEN_KEY, target.version, target.address, SERVER_NAME, CUSTOMER)
        return await attempt(it, stolen_key(target.bundle, target.version))

    return await asyncio.gather(*map(try_one, targets))


def search_capture(capture: Path, *bundles: Path) -> CaptureSearched:
    """Searches the whole capture for the certificate in the first bundle, which must be there, and for the private keys
    of all of them, which must not.

    The same needles are first looked for in the bundles themselves, PEM files: a search that doesn't find the keys
    where they are would prove nothing. BundleError or OSError for a file that is none.
    """
    contents = [path.read_bytes() for path in bundles]
    read = [parse_bundle(content, None, str(path), None) for path, content in zip(bundles, contents, strict=True)]
    forms: dict[str, bytes] = {}
    for number, one in enumerate(read, start=1):
        forms |= {f"key {number}, {name}": form for name, form in key_forms(one.key).items()}
    found = find_in_capture(capture, {CERTIFICATE: read[0].chain[0], **forms})
    places = [(hit.needle, f"{hit.place}, byte {hit.offset}") for hit in found.hits]
    kept = b"\n".join(content + b"\n".join(_decoded(content)) for content in contents)
    return CaptureSearched(
        connections=found.connections,
        octets=found.octets,
        gaps=found.gaps,
        cut=found.cut,
        alone=found.alone,
        certificate_at=tuple(place for needle, place in places if needle == CERTIFICATE),
        key_forms=tuple(forms),
        key_at=tuple(f"{needle}: {place}" for needle, place in places if needle != CERTIFICATE),
        keys=len(read),
        key_in_bundle=tuple(name for name, form in forms.items() if form in kept),
    )


def _decoded(pem: bytes) -> Iterator[bytes]:
    """What a PEM file's blocks encode (RFC 7468 section 3)."""
    for block in _PEM_BLOCK.findall(pem):
        yield base64.b64decode(block)
