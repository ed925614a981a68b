"""What the attacker reported of captured certificates, held against itself; and the file that was searched."""

from collections.abc import Iterator
from hashlib import sha256

from lab import files
from lab.capture.pcap import MAX_FILE
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import CaptureSearched, CertificateCaptured
from lab.judging.facts import read_certificate
from lab.judging.own_proof import own_proof
from lab.judging.proof_comparison import certificates_in
from lab.tls.errors import Abort
from lab.tls.messages import ClientHello, ServerHello
from lab.tls.messages13 import parse
from lab.tls.versions import find_version

CHUNK = 1 << 20


def odd_captures(run: Run) -> Iterator[str]:
    """Where a report of a captured certificate contradicts itself, a sentence each."""
    for recorded in run.events:
        if isinstance(recorded.event, CertificateCaptured):
            try:
                why = _odd(recorded.event)
            except (Abort, ValueError) as error:
                why = f"its messages are not readable: {error}"
            if why:
                yield f"the certificate captured from {_place(recorded)} ({recorded.number}): {why}"


def _odd(seen: CertificateCaptured) -> str:
    version = find_version(seen.tls)
    if version is None:
        return ""
    if seen.message:
        leaf = certificates_in(bytes.fromhex(seen.message), version)[0]
        certificate = read_certificate(leaf)
        names = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
        if (sha256(leaf).hexdigest(), *names) != (seen.sha256, seen.subject, seen.issuer):
            return "its message has another certificate"
    hellos = [parse(bytes.fromhex(raw), version) for raw in seen.transcript[:2]]
    for hello, random in zip(hellos, (seen.client_random, seen.server_random), strict=False):
        if isinstance(hello, ClientHello | ServerHello) and random and hello.random.hex() != random:
            return f"its transcript has another {hello.name}"
    if seen.proof and seen.transcript and seen.message:
        own = own_proof(seen)
        if own is None or not own.fits_captured:
            return "its proof does not fit its own transcript"
    return ""


def _place(recorded: Recorded) -> str:
    event = recorded.event
    return event.client or event.server if isinstance(event, CertificateCaptured) else ""


def odd_file(run: Run) -> Iterator[str]:
    """Whether the capture file is the one that was searched. It may have grown since then."""
    searched = run.first(CaptureSearched)
    if searched is None or not searched.file_sha256:
        return
    digest, left = sha256(), searched.file_octets
    try:
        with files.open_to_read(run.folders.capture, MAX_FILE) as file:
            while left and (chunk := file.read(min(left, CHUNK))):
                digest.update(chunk)
                left -= len(chunk)
    except OSError as error:
        yield f"{run.folders.capture.name}, which was searched, cannot be read: {error.strerror}"
        return
    if left or digest.hexdigest() != searched.file_sha256:
        yield f"{run.folders.capture.name} is not the file that was searched"
