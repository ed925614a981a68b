"""Searches of files for bytes that should not be in them."""

from hashlib import sha256
from pathlib import Path

import pytest

import wirecraft
from handmade import SEEN, run_of, with_fields
from lab.capture.errors import CaptureFileError
from lab.catalogue.leaks import LOG
from lab.catalogue.searches import TRANSCRIPT_HASHES
from lab.events.types import FileSearched
from lab.judging.searches import search_file, search_for_hashes
from lab.tls.messages import Certificate, ClientHello, ServerHello, serialize
from lab.tls.proof import SCHEME_IDS, challenge12, prove_with
from made_up import KEY, certificate_of

HELLO, ANSWER = ClientHello(b"\1" * 32, b"", (0xC02B,), None), ServerHello(b"\2" * 32, b"", 0xC02B, None)
SHOWN = serialize(Certificate((certificate_of("alice"),)))
TRANSCRIPT = (serialize(HELLO), serialize(ANSWER), SHOWN)
MADE = prove_with(KEY)(challenge12(b"".join(TRANSCRIPT), SCHEME_IDS))
assert MADE
PROOF, HASH = serialize(MADE), sha256(b"".join(TRANSCRIPT)).digest()
WITH_PROOF = with_fields(
    SEEN, message=SHOWN.hex(), proof=PROOF.hex(), transcript=tuple(raw.hex() for raw in TRANSCRIPT)
)


def test_a_file_is_searched_for_what_must_not_be_there_and_for_what_must(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_bytes(b"a secret, and secret again, and a certificate")
    sought = {"secret": b"secret", "key": b"key"}
    control = {"the certificate": b"certificate", "another": b"nowhere"}
    assert search_file(LOG, file, "the secret", sought, "the certificates", control) == FileSearched(
        "log",
        "access.log",
        "the secret",
        ("secret", "key"),
        ("secret: byte 2",),
        "the certificates",
        ("the certificate: byte 34",),
    )


def test_a_capture_is_searched_for_what_the_proofs_sign(tmp_path: Path) -> None:
    """The proofs are in it. What leaked in another way, or has no proof, is not looked for."""
    capture = tmp_path / "capture.pcapng"
    packets = [PROOF, b"\0" * 9 + HASH]
    capture.write_bytes(wirecraft.pcap(packets))
    others = with_fields(WITH_PROOF, leak="rogue-server"), with_fields(WITH_PROOF, proof=None), SEEN
    found = search_for_hashes(capture, run_of(*others, WITH_PROOF))
    at = 24 + 16
    then = at + len(PROOF) + 16 + 9
    assert found == FileSearched(
        "wire",
        "capture.pcapng",
        TRANSCRIPT_HASHES,
        ("sha256 of what lab#4 signs",),
        (f"sha256 of what lab#4 signs: the file itself, byte {then}",),
        "the proofs themselves",
        (f"the proof lab#4: the file itself, byte {at}",),
    )
    assert search_for_hashes(capture, run_of(*others, WITH_PROOF), at + len(PROOF)).found_at == ()
    with pytest.raises(CaptureFileError):
        search_for_hashes(tmp_path / "none" / "capture.pcapng", run_of())
