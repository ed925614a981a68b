"""What the attacker reports of a captured certificate fits together, and the file that was searched is there."""

from base64 import encodebytes
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from handmade import SEEN, run_of, with_fields
from lab.capture.pcap import MAX_FILE
from lab.events.types import CaptureSearched
from lab.judging.captures import odd_captures, odd_file
from lab.judging.own_proof import own_proof
from lab.tls.messages import Certificate, ClientHello, ServerHello, serialize
from lab.tls.proof import SCHEME_IDS, challenge12, prove_with
from made_up import KEY, certificate_of

ALICE, BOB = certificate_of("alice"), certificate_of("bob")
HELLO, ANSWER = ClientHello(b"\1" * 32, b"", (0xC02B,), None), ServerHello(b"\2" * 32, b"", 0xC02B, None)
SHOWN = serialize(Certificate((ALICE,)))
TRANSCRIPT = (serialize(HELLO), serialize(ANSWER), SHOWN)
PROOF = prove_with(KEY)(challenge12(b"".join(TRANSCRIPT), SCHEME_IDS))
assert PROOF
GARBLED = serialize(replace(PROOF, signature=bytes(8))).hex()
CAPTURED = with_fields(
    SEEN,
    issuer="CN=alice",
    sha256=sha256(ALICE).hexdigest(),
    message=SHOWN.hex(),
    proof=serialize(PROOF).hex(),
    transcript=tuple(raw.hex() for raw in TRANSCRIPT),
    client_random=HELLO.random.hex(),
    server_random=ANSWER.random.hex(),
)
EMPTY = dict.fromkeys(("client", "tls", "record", "message", "client_random", "server_random", "session"), "")
IN_A_FILE = with_fields(CAPTURED, leak="log", server="access.log", proof=None, transcript=(), **EMPTY)
OTHER_CERTIFICATE = "its message has another certificate"
NO_FIT = "its proof does not fit its own transcript"
NO_CONNECTION = "it was in a file, which has no connection to show"
NO_CERTIFICATE = "it has a proof, and no Certificate message before it"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ""),
        ({"proof": None}, ""),
        ({"transcript": ()}, ""),
        ({"client_random": "", "server_random": ""}, ""),
        ({"sha256": "ab" * 32}, OTHER_CERTIFICATE),
        ({"subject": "CN=bob"}, OTHER_CERTIFICATE),
        ({"issuer": "CN=bob"}, OTHER_CERTIFICATE),
        ({"message": serialize(Certificate((BOB,))).hex()}, OTHER_CERTIFICATE),
        ({"client_random": "ab" * 32}, "its transcript has another ClientHello"),
        ({"server_random": "ab" * 32}, "its transcript has another ServerHello"),
        ({"transcript": CAPTURED.transcript[:2]}, NO_FIT),
        ({"proof": GARBLED}, NO_FIT),
        ({"proof": SHOWN.hex()}, NO_FIT),
        ({"message": ""}, NO_CERTIFICATE),
        ({"message": "", "proof": None}, ""),
        ({"tls": ""}, "it was seen on a connection, and the version of TLS is missing"),
        ({"tls": "9.9"}, "it was seen on a connection, and the version of TLS is missing"),
        ({"message": "0b"}, "its messages are not readable: "),
        ({"message": serialize(Certificate(())).hex()}, "its messages are not readable: "),
        ({"message": serialize(Certificate((b"\0",))).hex()}, "its messages are not readable: "),
    ],
)
def test_a_report_of_a_captured_certificate_fits_together(changes: dict[str, Any], found: str) -> None:
    told = "\n".join(odd_captures(run_of(with_fields(CAPTURED, **changes))))
    assert told.startswith(f"the certificate captured from {SEEN.client} (lab#1): {found}" if found else "")
    assert bool(told) == bool(found)


@pytest.mark.parametrize("leak", ["rogue-server", "live-relay"])
def test_a_server_of_the_attackers_sees_the_whole_handshake(leak: str) -> None:
    hers = with_fields(CAPTURED, leak=leak)
    assert list(odd_captures(run_of(hers))) == []
    where = f"the certificate captured from {SEEN.client} (lab#1): "
    for field, empty in (("transcript", ()), ("proof", None), ("client_random", ""), ("server_random", "")):
        told = f"{where}mallory was the server, and her report has no {field.replace('_', ' ')}"
        assert list(odd_captures(run_of(with_fields(hers, **{field: empty})))) == [told]
    no_message = f"{where}mallory was the server, and her report has no message"
    assert list(odd_captures(run_of(with_fields(hers, message="", proof=None)))) == [no_message]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ""),
        ({"tls": "1.2"}, NO_CONNECTION),
        ({"record": "1603030001"}, NO_CONNECTION),
        ({"client_random": "ab"}, NO_CONNECTION),
        ({"server_random": "ab"}, NO_CONNECTION),
        ({"session": "ab"}, NO_CONNECTION),
        ({"message": SHOWN.hex()}, NO_CONNECTION),
        ({"proof": "0f"}, NO_CERTIFICATE),
    ],
)
def test_a_file_shows_no_connection(changes: dict[str, Any], found: str) -> None:
    told = list(odd_captures(run_of(with_fields(IN_A_FILE, **changes))))
    assert told == ([f"the certificate captured from access.log (lab#1): {found}"] if found else [])
    earlier = run_of(with_fields(IN_A_FILE, **changes))
    earlier.events = [replace(one, version=2) for one in earlier.events]
    assert list(odd_captures(earlier)) == []


def test_a_certificate_that_was_kept_has_the_names_that_were_reported(tmp_path: Path) -> None:
    stolen = tmp_path / "attacker" / "stolen"
    stolen.mkdir(parents=True)
    (stolen / "alice.pem").write_bytes(
        b"-----BEGIN CERTIFICATE-----\n" + encodebytes(ALICE) + b"-----END CERTIFICATE-----\n"
    )
    other = "the certificate captured from access.log (lab#1): the certificate that was kept has other names"
    assert list(odd_captures(run_of(IN_A_FILE, folder=tmp_path))) == []
    assert list(odd_captures(run_of(with_fields(IN_A_FILE, subject="CN=bob"), folder=tmp_path))) == [other]
    assert list(odd_captures(run_of(with_fields(IN_A_FILE, issuer="CN=bob"), folder=tmp_path))) == [other]
    assert list(odd_captures(run_of(with_fields(IN_A_FILE, subject="CN=bob", sha256="ab" * 32), folder=tmp_path))) == []


def test_a_captured_proof_is_held_against_its_own_transcript() -> None:
    own = own_proof(CAPTURED)
    assert own
    assert own.fits_captured
    assert own.captured_hash == sha256(b"".join(TRANSCRIPT)).hexdigest()
    garbled = own_proof(with_fields(CAPTURED, proof=GARBLED))
    assert garbled
    assert not garbled.fits_captured
    for lacking in ({"proof": None}, {"transcript": ()}, {"message": ""}, {"tls": "9.9"}, {"proof": SHOWN.hex()}):
        assert own_proof(with_fields(CAPTURED, **lacking)) is None


def test_the_file_that_was_searched_is_there_and_may_have_grown(tmp_path: Path) -> None:
    content = bytes(range(100)) * 25_000
    capture = tmp_path / "attacker" / "capture.pcapng"
    searched = CaptureSearched(
        *(1, 1, 0, 0, 0, (), (), ()), file_octets=len(content), file_sha256=sha256(content).hexdigest()
    )

    def odd(event: CaptureSearched = searched) -> list[str]:
        return list(odd_file(run_of(event, folder=tmp_path)))

    assert odd() == ["capture.pcapng, which was searched, cannot be read: No such file or directory"]
    assert odd(with_fields(searched, file_sha256="")) == []
    assert list(odd_file(run_of(folder=tmp_path))) == []
    capture.parent.mkdir()
    for kept, is_it in ((content, True), (content + b"more", True), (content[:-1], False), (b"x" + content[1:], False)):
        capture.write_bytes(kept)
        assert odd() == ([] if is_it else ["capture.pcapng is not the file that was searched"])
    capture.write_bytes(content[:-1])
    cut_off = with_fields(searched, file_sha256=sha256(content[:-1]).hexdigest())
    assert odd(cut_off) == ["capture.pcapng is not the file that was searched"]
    with capture.open("ab") as file:
        file.truncate(MAX_FILE + 1)
    assert "cannot be read" in odd()[0]
