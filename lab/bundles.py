"""What lies in a bundle, and what of it ever crosses the wire: the question's premise, and where it breaks."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.console import ConsoleRenderable
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attacker.pcap import read_packets
from attacker.search import find_in_capture
from lab.control import key_forms
from lab.story import facts
from lab.tls.bundle import Bundle
from lab.tls.proof import PrivateKey

HEAD = 24
"""So many bytes of a part are enough to say where it begins; what packets cut is not in the file in one piece."""
WITH_SERIAL = 64
"""So many bytes of a certificate have its serial number in them (RFC 5280 section 4.1.2.2)."""


@dataclass(frozen=True)
class Part:
    """A part of a certificate: what it is called, what it says, and its bytes in the certificate."""

    name: str
    says: str
    octets: bytes


@dataclass(frozen=True)
class Place:
    """Where a part was seen first: its first byte's offset in the capture file, and the packet, counted from 1.

    `whole` says whether all of it is in that packet.
    """

    offset: int
    packet: int
    whole: bool


@dataclass(frozen=True)
class Seen:
    """A part of the certificate, and its place on the wire, None where it is nowhere; `times` counts whole ones in the
    connections."""

    part: Part
    place: Place | None
    times: int


@dataclass(frozen=True)
class Crossed:
    """What of a bundle is in a capture file.

    `key_forms` are the encodings of the private key that were looked for, `key_at` where any was found; `octets` in so
    many `connections` were searched, and each packet on its own. Something cut in two might hide at `blind` places.
    """

    capture: str
    seen: tuple[Seen, ...]
    key_forms: tuple[str, ...]
    key_at: tuple[str, ...]
    connections: int
    octets: int
    blind: int


def certificate_parts(der: bytes) -> Iterator[Part]:
    """The parts of a certificate (RFC 5280 section 4.1) that have bytes of their own."""
    certificate = x509.load_der_x509_certificate(der)
    yield Part("certificate", "all of it", der)
    serial = certificate.serial_number
    yield Part("serial number", f"{serial:x}", serial.to_bytes((serial.bit_length() + 8) // 8, "big"))
    yield Part("issuer", certificate.issuer.rfc4514_string(), certificate.issuer.public_bytes())
    yield Part("subject", certificate.subject.rfc4514_string(), certificate.subject.public_bytes())
    key = certificate.public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    yield Part("public key", f"{len(spki)} bytes, for anybody to check signatures with", spki)
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = ", ".join(str(name.value) for name in extension.value)
            yield Part("alternative names", names, extension.value.public_bytes())
    yield Part("issuer's signature", f"{len(certificate.signature)} bytes", certificate.signature)


def key_parts(key: PrivateKey) -> Iterator[str]:
    """What a private key consists of, in words; its numbers are nobody's business."""
    match key:
        case ec.EllipticCurvePrivateKey():
            yield f"the secret scalar, {key.key_size} bits, on {key.curve.name}"
        case rsa.RSAPrivateKey():
            yield f"the secret exponent and the two primes of a modulus of {key.key_size} bits"
        case _:
            yield "the secret seed, 256 bits"


def crossed(capture: Path, bundle: Bundle) -> Crossed:
    """Looks for every part of a bundle in a capture file. CaptureFileError where that cannot be read to its end."""
    parts = tuple(certificate_parts(bundle.chain[0]))
    forms = dict(key_forms(bundle.key))
    found = find_in_capture(capture, {part.name: part.octets for part in parts} | forms)
    places = _places(capture, parts)
    times = {part.name: sum(1 for hit in found.hits if hit.needle == part.name) for part in parts}
    return Crossed(
        capture=str(capture),
        seen=tuple(Seen(part, places.get(part.name), times[part.name]) for part in parts),
        key_forms=tuple(forms),
        key_at=tuple(f"{hit.needle}: {hit.place}, byte {hit.offset}" for hit in found.hits if hit.needle in forms),
        connections=found.connections,
        octets=found.octets,
        blind=found.gaps + found.cut + found.alone,
    )


def _places(capture: Path, parts: tuple[Part, ...]) -> dict[str, Place]:
    """Where each part begins in the file.

    Other certificates begin alike, and their issuer may be the same: the parts are looked for behind the beginning of
    the whole, which has the serial number in it.
    """
    with capture.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        begins = content.find(parts[0].octets[:WITH_SERIAL])
        if begins < 0:
            return {}
        offsets = {part: _first(content, part.octets, begins) for part in parts}
        places: dict[str, Place] = {}
        at = 0
        for number, packet in enumerate(read_packets(capture), start=1):
            start = content.find(packet.data, at)
            at = start + len(packet.data)
            for part, offset in offsets.items():
                if start <= offset < at:
                    places[part.name] = Place(offset, number, offset + len(part.octets) <= at)
            if len(places) == len(parts):
                break
        return places


def _first(content: mmap, octets: bytes, begins: int) -> int:
    """Where these bytes are; where they begin, if packets cut them; -1 for nowhere."""
    at = content.find(octets, begins)
    return at if at >= 0 else content.find(octets[:HEAD], begins)


def lines(bundle: Bundle, what: Crossed | None) -> Iterator[ConsoleRenderable]:
    """All of it for people; without a capture only what lies in the bundle."""
    yield Text("In the bundle", "bold")
    yield Padding(facts(*((part.name, part.says) for part in certificate_parts(bundle.chain[0]))), (0, 0, 0, 2))
    for der in bundle.chain[1:]:
        subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
        yield Padding(facts(("further certificate", subject)), (0, 0, 0, 2))
    yield Padding(facts(*(("private key", Text(part, "bold")) for part in key_parts(bundle.key))), (0, 0, 0, 2))
    if what:
        yield Text(f"\nOn the wire, in {what.capture}", "bold")
        yield Padding(_on_the_wire(what), (0, 0, 0, 2))
        yield Text(f"\nNever on the wire: {_never(what)}", "bold")


def _on_the_wire(what: Crossed) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "bytes", "first at offset", "in packet", "times"):
        table.add_column(heading)
    for seen in what.seen:
        if seen.place:
            in_packet = f"{seen.place.packet}{'' if seen.place.whole else ' and on'}"
            where = (f"{seen.place.offset:#x}", in_packet, str(seen.times))
        else:
            where = ("NOWHERE", "", "0")
        table.add_row(seen.part.name, str(len(seen.part.octets)), *where)
    return table


def _never(what: Crossed) -> str:
    searched = f"{what.octets:,} bytes in {what.connections} connections and each packet on its own"
    if what.key_at:
        return f"FINDING: the private key was found: {'; '.join(what.key_at)}"
    blind = f"; something cut in two might hide at {what.blind} places" if what.blind else ""
    return f"the private key. {len(what.key_forms)} encodings of it were looked for in {searched}{blind}."


def as_json(bundle: Bundle, what: Crossed | None) -> dict[str, Any]:
    """The same as data; bytes in hex."""
    return {
        "certificates": [x509.load_der_x509_certificate(der).subject.rfc4514_string() for der in bundle.chain],
        "parts": [
            {"name": part.name, "says": part.says, "octets": part.octets.hex()}
            for part in certificate_parts(bundle.chain[0])
        ],
        "private_key": list(key_parts(bundle.key)),
        "wire": None
        if what is None
        else {
            "capture": what.capture,
            "seen": [
                {
                    "name": seen.part.name,
                    "times": seen.times,
                    **(dataclasses.asdict(seen.place) if seen.place else {"offset": None}),
                }
                for seen in what.seen
            ],
            "key_forms": list(what.key_forms),
            "key_at": list(what.key_at),
            "connections": what.connections,
            "octets": what.octets,
            "blind": what.blind,
        },
    }
