"""What the attacker reported of captured certificates, held against itself; and the file that was searched."""

from collections.abc import Iterator
from hashlib import sha256

from lab import files
from lab.address import find_address
from lab.capture.pcap import MAX_FILE
from lab.catalogue.leaks import INTERCEPTION, LIVE_RELAY, ROGUE_SERVER, WIRE, find_leak
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import CaptureSearched, CertificateCaptured
from lab.judging.attempts import NAMES_CONNECTIONS
from lab.judging.facts import read_certificate
from lab.judging.own_proof import own_proof
from lab.judging.proof_comparison import chain_in
from lab.judging.stolen import stolen_files
from lab.tls.errors import Abort
from lab.tls.messages import ClientHello, ServerHello
from lab.tls.messages13 import parse
from lab.tls.versions import find_version

CHUNK = 1 << 20
AS_THE_SERVER = (ROGUE_SERVER.id, LIVE_RELAY.id)
"""The leaks in which the attacker is the server and sees the whole handshake."""
ON_A_NETWORK = (WIRE.id, INTERCEPTION.id, *AS_THE_SERVER)
"""The leaks in which a client connects to somebody; the others are files."""
SEEN_BY_THE_SERVER = ("message", "proof", "transcript", "client_random", "server_random")


def odd_captures(run: Run) -> Iterator[str]:
    """Where a report of a captured certificate contradicts itself or the certificate that was kept, a sentence each."""
    kept = {sha256(der).hexdigest(): der for file in stolen_files(run) for der in file.certificates}
    for recorded in run.events:
        if isinstance(recorded.event, CertificateCaptured):
            try:
                why = _odd(recorded.event)
                if not why and recorded.version >= NAMES_CONNECTIONS:
                    why = _out_of_place(recorded.event) or _unlike(recorded.event, kept.get(recorded.event.sha256))
            except (Abort, ValueError) as error:
                why = f"its messages are not readable: {error}"
            if why:
                yield f"the certificate captured from {_place(recorded)} ({recorded.number}): {why}"


def _odd(seen: CertificateCaptured) -> str:
    version = find_version(seen.tls)
    if version is None:
        return ""
    if seen.message:
        leaf = chain_in(bytes.fromhex(seen.message), version)[0]
        if _unlike(seen, leaf) or sha256(leaf).hexdigest() != seen.sha256:
            return "its message has another certificate"
    for raw, random in zip(seen.transcript, (seen.client_random, seen.server_random), strict=False):
        hello = parse(bytes.fromhex(raw), version)
        if isinstance(hello, ClientHello | ServerHello) and random and hello.random.hex() != random:
            return f"its transcript has another {hello.name}"
    if seen.proof and seen.transcript and seen.message:
        own = own_proof(seen)
        if own is None or not own.fits_captured:
            return "its proof does not fit its own transcript"
    return ""


def _out_of_place(seen: CertificateCaptured) -> str:
    """A connection has a version of TLS, a file has no connection, and a proof follows a Certificate message. A server
    sees all of a handshake."""
    if seen.client:
        if find_version(seen.tls) is None:
            return "it was seen on a connection, and the version of TLS is missing"
        shown = seen.record, seen.message, seen.proof, seen.transcript, *_names(seen)
        if seen.leak == INTERCEPTION.id and any(shown):
            return "an interceptor's report has more than mitmproxy exposes"
    elif seen.tls or seen.record or seen.message or seen.client_random or seen.server_random or seen.session:
        return "it was in a file, which has no connection to show"
    on_a_network = seen.leak in ON_A_NETWORK
    if find_leak(seen.leak) and not (bool(seen.client) == bool(find_address(seen.server)) == on_a_network):
        return f"no certificate can come from {seen.server} by the leak {seen.leak}"
    if seen.proof and not seen.message:
        return "it has a proof, and no Certificate message before it"
    missing = [name for name in SEEN_BY_THE_SERVER if seen.leak in AS_THE_SERVER and not getattr(seen, name)]
    return f"mallory was the server, and her report has no {missing[0].replace('_', ' ')}" if missing else ""


def _names(seen: CertificateCaptured) -> tuple[str, ...]:
    """What names its connection."""
    return seen.client_random, seen.server_random, seen.session


def _unlike(seen: CertificateCaptured, der: bytes | None) -> str:
    """Whether the certificate has other names."""
    if not der:
        return ""
    certificate = read_certificate(der)
    names = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    return "" if names == (seen.subject, seen.issuer) else "the certificate that was kept has other names"


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
