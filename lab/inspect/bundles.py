"""What lies in a bundle, and what of it ever crosses the wire: the question's premise, and where it breaks."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lab import files
from lab.capture.key_forms import key_forms
from lab.capture.pcap import read_packets
from lab.capture.reader import read_file
from lab.capture.search import MAX_HITS, Hit, Piece, find_in_capture
from lab.catalogue.cast import VICTIM_CLIENT
from lab.document import Block, Break, Column, Inline, Paragraph, Section, Span, Table, facts
from lab.events.run import Folders
from lab.inspect.certificates import UNREADABLE, alternative_names
from lab.inspect.times import period
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.der import layout
from lab.tls.errors import BundleError
from lab.tls.proof import PrivateKey

LEAF = "certificate"
THE_BUNDLE = "the bundle file itself"


@dataclass(frozen=True)
class CertificatePart:
    """A part of a certificate: what it is called, what it says, its bytes, and where in the certificate they begin."""

    name: str
    says: str
    octets: bytes
    at: int


@dataclass(frozen=True)
class SeenPart:
    """A part of a bundle's certificates on the wire: how often, at most MAX_HITS times, and where it was seen first.

    `places` has more than one piece where packets cut it, and none if it was not found or the place is not known.
    """

    part: CertificatePart
    places: tuple[Piece, ...]
    times: int


@dataclass(frozen=True)
class Crossed:
    """What of a bundle is in a capture file.

    `why_not` says why the certificate is not in there, empty where it is. `key_forms` are the encodings of the private
    key that were looked for, `key_at` where any was found; `octets` in `connections` were searched, and each
    packet on its own. At `blind` places the search misses what is split in two. `first` says which client sent the
    certificate first, and to which server.
    """

    capture: str
    seen: tuple[SeenPart, ...]
    first: str
    why_not: str
    key_forms: tuple[str, ...]
    key_at: tuple[str, ...]
    connections: int
    octets: int
    blind: int


def read_bundle(file: Path, password_file: Path | None) -> tuple[Bundle, bytes]:
    """A bundle, expired or not, and its file's content; the password may lie beside it, in FILE.password.

    BundleError and OSError say what is wrong with either file.
    """
    content = files.read(file)
    beside = file.with_name(f"{file.name}.password")
    if password_file is None and beside.is_file():
        password_file = beside
    try:
        password = files.read(password_file).decode().rstrip("\r\n") if password_file else None
    except UnicodeDecodeError:
        raise BundleError(f"{password_file}: holds no password but binary data") from None
    try:
        return parse_bundle(content, password, str(file), None), content
    except BundleError as error:
        hint = "" if password_file or "password" not in str(error) else " (--password-file)"
        raise BundleError(f"{error}{hint}") from None


def wire_of(file: Path, capture: Path | None) -> Path | None:
    """The capture file to look into: that of the run that is meant, or else of the run that the bundle lies in."""
    if capture:
        return Folders(capture).capture if capture.is_dir() else capture
    folder = file.absolute().parent
    own = Folders(folder.parent).capture
    return Path(os.path.relpath(own)) if folder.name == VICTIM_CLIENT and own.is_file() else None


def certificate_parts(der: bytes) -> Iterator[CertificatePart]:
    """The parts of a certificate (RFC 5280 section 4.1), in their order; the whole comes first."""
    certificate = x509.load_der_x509_certificate(der)
    lies = layout(der)
    valid = period(certificate.not_valid_before_utc, certificate.not_valid_after_utc)

    def part(name: str, says: str, where: slice) -> CertificatePart:
        return CertificatePart(name, says, der[where], where.start)

    yield CertificatePart(LEAF, "the whole certificate", der, 0)
    yield part("serial number", der[lies.serial].hex(), lies.serial)
    yield part("issuer", certificate.issuer.rfc4514_string(), lies.issuer)
    yield part("validity", valid, lies.validity)
    yield part("subject", certificate.subject.rfc4514_string(), lies.subject)
    yield part("public key", "to check signatures with", lies.public_key)
    if lies.alternative_names:
        names = ", ".join(name.value for name in alternative_names(certificate))
        yield part("alternative names", names or UNREADABLE, lies.alternative_names)
    yield part("issuer's signature", "over the part that is signed (tbsCertificate)", lies.signature)


def _further(bundle: Bundle) -> Iterator[CertificatePart]:
    for number, der in enumerate(bundle.chain[1:], start=2):
        yield CertificatePart(f"{LEAF} {number}", x509.load_der_x509_certificate(der).subject.rfc4514_string(), der, 0)


def key_parts(key: PrivateKey) -> Iterator[str]:
    """What a private key consists of, in words, without its numbers."""
    match key:
        case ec.EllipticCurvePrivateKey():
            yield f"private scalar on {key.curve.name}, {(key.key_size + 7) // 8} bytes"
        case rsa.RSAPrivateKey():
            size = key.key_size // 8
            yield f"private exponent, {size} bytes"
            yield f"two primes, {size // 2} bytes each"
            yield f"two exponents and a coefficient that speed it up, {size // 2} bytes each"
        case _:
            yield "secret seed, 32 bytes"


def crossed(capture: Path, bundle: Bundle, file: bytes = b"") -> Crossed:
    """Looks for every part of a bundle in a capture file. CaptureFileError where that cannot be read to its end.

    `file` is the bundle as it lies, to be looked for too.
    """
    certificates = {LEAF: bundle.chain[0]} | {part.name: part.octets for part in _further(bundle)}
    forms = dict(key_forms(bundle.key)) | ({THE_BUNDLE: file} if file else {})
    found = find_in_capture(capture, certificates | forms)
    hits = {name: [hit for hit in found.hits if hit.needle == name] for name in certificates}
    first = {name: _first(capture, hits[name]) for name in certificates}
    leaf = first[LEAF]
    pieces = leaf.pieces if leaf else ()
    seen = [
        SeenPart(part, tuple(_within(pieces, part.at, len(part.octets))), len(hits[LEAF]))
        for part in certificate_parts(bundle.chain[0])
    ]
    for part in _further(bundle):
        hit = first[part.name]
        seen.append(SeenPart(part, hit.pieces if hit else (), len(hits[part.name])))
    return Crossed(
        capture=str(capture),
        seen=tuple(seen),
        first=leaf.place if leaf else "",
        why_not="" if hits[LEAF] else _why_not(capture),
        key_forms=tuple(forms),
        key_at=tuple(f"{hit.needle}: {hit.place}, byte {hit.offset}" for hit in found.hits if hit.needle in forms),
        connections=found.connections,
        octets=found.octets,
        blind=found.gaps + found.cut + found.alone,
    )


def _first(capture: Path, hits: list[Hit]) -> Hit | None:
    """The hit that comes first in the file, of those whose place is known; any, where that is none."""
    known = [hit for hit in hits if hit.pieces]
    if not known:
        return hits[0] if hits else None
    hit = min(known, key=lambda hit: hit.pieces[0].at)
    return dataclasses.replace(hit, pieces=tuple(_with_packet(capture, piece) for piece in hit.pieces))


def _with_packet(capture: Path, piece: Piece) -> Piece:
    """In which packet a piece is that was found in the file only."""
    if piece.packet is None:
        for number, packet in enumerate(read_packets(capture), start=1):
            if packet.at <= piece.at < packet.at + len(packet.data):
                return dataclasses.replace(piece, packet=number)
    return piece


def _within(pieces: Iterable[Piece], at: int, octets: int) -> Iterator[Piece]:
    """Where a part is, from byte `at` on and `octets` long, of something that is in these pieces."""
    begins = 0
    for piece in pieces:
        start, end = max(at, begins), min(at + octets, begins + piece.octets)
        if start < end:
            yield Piece(piece.packet, piece.at + start - begins, end - start)
        begins += piece.octets


def _why_not(capture: Path) -> str:
    """What the capture has instead of the certificate."""
    reading = read_file(capture)
    others = len({one.chain[0] for one in reading.captures})
    if others:
        certificates = "certificate" if others == 1 else "certificates"
        return f"The capture holds {others} other client {certificates}; `certreplay capture` lists them."
    reason = str(reading.problem).removeprefix(f"{capture}: ") if reading.problem else reading.reason
    return f"The capture {reason}."


def tell_bundle(bundle: Bundle, what: Crossed | None) -> Iterator[Block]:
    """All of it; without a capture only what lies in the bundle."""
    rows: list[tuple[str, Inline]] = [
        (part.name, f"{len(part.octets)} bytes: {part.says}")
        for part in (*certificate_parts(bundle.chain[0]), *_further(bundle))
    ]
    rows += [("private key", Span(part, strong=True)) for part in key_parts(bundle.key)]
    yield Section("In the bundle", (facts(*rows),))
    if not what:
        yield Break()
        yield Paragraph("No capture was searched: --capture takes a capture file or a run's directory.")
        return
    searched = Paragraph(_searched(what))
    on_the_wire: tuple[Block, ...]
    if what.why_not:
        nothing = "This certificate is not in the capture, so a search for its key proves nothing."
        missing = Paragraph(f"{nothing} {what.why_not}")
        on_the_wire = (missing,) if what.key_at else (missing, searched)
    else:
        first = f"First from {what.first}; the parts are those of this certificate."
        on_the_wire = _places(what), Paragraph(f"{first} {_look(what)}")
    yield Section(f"On the wire, in {what.capture}", on_the_wire)
    if what.key_at:
        found = f"FINDING: the private key is on the wire: {'; '.join(what.key_at)}"
        yield Section(Span(found, "finding"), (searched,))
    elif not what.why_not:
        yield Section("Never on the wire: the private key", (searched,))


def _places(what: Crossed) -> Table:
    numbers = (Column(heading, "number") for heading in ("bytes", "first at byte", "in packet", "times"))
    rows = []
    for seen in what.seen:
        times = f"{seen.times:,}{' or more' if seen.times >= MAX_HITS else ''}"
        if not seen.places:
            rows.append((seen.part.name, str(len(seen.part.octets)), "", "", times if seen.times else "not found"))
        for number, place in enumerate(seen.places):
            name, times = ("  and on", "") if number else (seen.part.name, times)
            rows.append((name, str(place.octets), str(place.at), str(place.packet or ""), times))
    return Table((Column("", "name"), *numbers), tuple(rows))


def _look(what: Crossed) -> str:
    """How to see it for oneself."""
    of = next((seen for seen in what.seen if seen.part.name == "subject" and seen.places), None)
    return f"`xxd -s {of.places[0].at} -l {of.places[0].octets}` shows its subject in that file." if of else ""


def _searched(what: Crossed) -> str:
    connections = "connection" if what.connections == 1 else "connections"
    searched = f"{what.octets:,} bytes in {what.connections} {connections} and each packet on its own"
    places = "place" if what.blind == 1 else "places"
    split = f", and matches split in two at {what.blind} {places}" if what.blind else ""
    blind = f" Blind spots: what is in encrypted records{split}."
    found = "" if what.key_at else " and found none"
    forms = f"{len(what.key_forms)} encodings of the private key"
    return f"The lab searched {searched} for {forms}{found}.{blind}"


def as_json(bundle: Bundle, what: Crossed | None) -> dict[str, Any]:
    """The same as data; bytes in hex, `offset` and `packet` are where the first of a part's places is."""
    wire: dict[str, Any] | None = None
    if what:
        wire = dataclasses.asdict(what)
        wire["seen"] = [
            {
                "name": seen.part.name,
                "times": seen.times,
                "offset": seen.places[0].at if seen.places else None,
                "packet": seen.places[0].packet if seen.places else None,
                "whole": len(seen.places) == 1,
                "places": [dataclasses.asdict(place) for place in seen.places],
            }
            for seen in what.seen
        ]
    return {
        "certificates": [x509.load_der_x509_certificate(der).subject.rfc4514_string() for der in bundle.chain],
        "parts": [
            {"name": part.name, "says": part.says, "octets": part.octets.hex()}
            for part in (*certificate_parts(bundle.chain[0]), *_further(bundle))
        ],
        "private_key": list(key_parts(bundle.key)),
        "wire": wire,
    }
