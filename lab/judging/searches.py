"""Searches of files for bytes that should not be in them, each with a control: bytes that have to be."""

from collections.abc import Mapping
from pathlib import Path

from lab import files
from lab.capture.pcap import MAX_FILE
from lab.capture.search import find_in_capture
from lab.catalogue.leaks import WIRE, Leak
from lab.catalogue.searches import TRANSCRIPT_HASHES
from lab.events.parts import CAPTURE_FILE
from lab.events.run import Run
from lab.events.types import CertificateCaptured, FileSearched
from lab.judging.own_proof import own_proof


def search_for_hashes(capture: Path, run: Run, end: int = MAX_FILE) -> FileSearched:
    """Searches the capture for what alice's captured proofs sign, hashed: the proofs are in there, the hashes are not.

    The capture is searched up to byte `end`. CaptureFileError if it cannot be read.
    """
    proofs: dict[str, bytes] = {}
    hashes: dict[str, bytes] = {}
    for recorded in run.events:
        seen = recorded.event
        if isinstance(seen, CertificateCaptured) and seen.leak == WIRE.id and seen.proof and (own := own_proof(seen)):
            proofs[f"the proof {recorded.number}"] = bytes.fromhex(seen.proof)
            hashes[f"{own.hash} of what {recorded.number} signs"] = bytes.fromhex(own.captured_hash)
    return search_file(WIRE, capture, TRANSCRIPT_HASHES, hashes, "the proofs themselves", proofs, end)


def search_file(
    leak: Leak,
    file: Path,
    what: str,
    sought: Mapping[str, bytes],
    control: str,
    present: Mapping[str, bytes],
    end: int = MAX_FILE,
) -> FileSearched:
    """Searches a file for what should not be there, and for what is `present` as the control."""
    places = _places(file, {**sought, **present}, end)
    return FileSearched(
        leak=leak.id,
        file=file.name,
        what=what,
        sought=tuple(sought),
        found_at=tuple(f"{needle}: {place}" for needle, place in places if needle in sought),
        control=control,
        control_at=tuple(f"{needle}: {place}" for needle, place in places if needle in present),
    )


def _places(file: Path, needles: Mapping[str, bytes], end: int) -> list[tuple[str, str]]:
    """Where each needle is: in a capture in every connection, in another file the first place."""
    if file.name == CAPTURE_FILE:
        return [(hit.needle, f"{hit.place}, byte {hit.offset}") for hit in find_in_capture(file, needles, end).hits]
    content = files.read(file, files.LARGE)
    return [(name, f"byte {content.index(needle)}") for name, needle in needles.items() if needle in content]
