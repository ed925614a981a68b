"""A move of a student's: what its file must say of it, and what it may make as a proof."""

from collections.abc import Callable
from pathlib import Path

import pytest

from attacker.moves import student
from attacker.moves.make import Loot, NotApplicable
from lab.process import BadInput, CannotGoOn
from lab.staging import pki
from lab.tls import proof
from lab.tls.flight import SendProof
from lab.tls.messages import CertificateVerify
from lab.tls.versions import TLS12
from tls_peers import cases

CHALLENGE = proof.challenge12(b"this handshake so far", proof.SCHEME_IDS)
HEAD = "from lab.tls.messages import CertificateVerify\n\n"
NAMED = 'NAME = "half-proof"\nFAILS = "signature"\n'
PROVE = "\n\ndef prove(certificate, captured, challenge):\n    return {}\n"
MOST = 0xFFFF

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A student's file."""

    def written(text: str) -> Path:
        file = tmp_path / "move.py"
        file.write_text(text)
        return file

    return written


def proof_made(file: Path, alice: pki.Identity) -> CertificateVerify | None:
    """What its move sends for a challenge, with a proof of alice's that was captured."""
    loot = Loot((alice.der,), CertificateVerify(0x0403, b"captured"))
    script = student.load(file).make(loot, TLS12)
    (step,) = [step for step in script.flight or () if isinstance(step, SendProof)]
    return step.prove(CHALLENGE)


def test_a_move_has_the_name_and_the_fault_that_its_file_gives(write: Write) -> None:
    move = student.load(write(HEAD + NAMED + PROVE.format("None"))).move
    assert (move.id, move.title) == ("half-proof:signature", "A student's move, half-proof")


@cases(
    ("text", "why"),
    {
        "no fault": ('NAME = "half-proof"\n', 'FAILS must say what is wrong with the proof: "signature" or "scheme"'),
        "no known fault": ('NAME = "half-proof"\nFAILS = "all"\n', "FAILS must say what is wrong with the proof"),
        "no name": ('FAILS = "scheme"\n', 'NAME must name the move in small letters, for example "half-proof"'),
        "capitals": ('NAME = "HALF"\nFAILS = "scheme"\n', "NAME must name the move in small letters"),
    },
)
def test_a_file_that_does_not_say_what_its_move_is_is_bad_input(write: Write, text: str, why: str) -> None:
    file = write(HEAD + text + PROVE.format("None"))
    with pytest.raises(BadInput) as caught:
        student.load(file)
    assert f"{file}: {why}" in str(caught.value)


@cases(
    ("made", "expected"),
    {
        "nothing": ("None", None),
        "the captured proof": ("captured", CertificateVerify(0x0403, b"captured")),
        "one of its own": ("CertificateVerify(0x0804, b'half')", CertificateVerify(0x0804, b"half")),
        "the least": ("CertificateVerify(0, b'')", CertificateVerify(0, b"")),
        "the most": ("CertificateVerify(0xFFFF, bytes(0xFFFF))", CertificateVerify(MOST, bytes(MOST))),
    },
)
def test_a_student_makes_any_proof_that_a_message_has_room_for(
    write: Write, alice: pki.Identity, made: str, expected: CertificateVerify | None
) -> None:
    assert proof_made(write(HEAD + NAMED + PROVE.format(made)), alice) == expected


def test_a_students_move_gets_what_was_captured_and_what_is_to_be_signed(write: Write, alice: pki.Identity) -> None:
    made = "CertificateVerify(captured.scheme, certificate[:4] + captured.signature + challenge.transcript)"
    expected = CertificateVerify(0x0403, alice.der[:4] + b"captured" + CHALLENGE.transcript)
    assert proof_made(write(HEAD + NAMED + PROVE.format(made)), alice) == expected


def test_a_students_move_is_not_made_without_a_captured_proof(write: Write, alice: pki.Identity) -> None:
    move = student.load(write(HEAD + NAMED + PROVE.format("None")))
    with pytest.raises(NotApplicable, match="no proof was captured"):
        move.make(Loot((alice.der,), None), TLS12)


@cases(
    ("made", "why"),
    {
        "no proof": ("b'half'", "prove must give back a CertificateVerify, or None to send no proof"),
        "a scheme too high": (
            "CertificateVerify(0x10000, b'')",
            "gives back the scheme 65536 and 0 bytes of signature",
        ),
        "a scheme below all": ("CertificateVerify(-1, b'')", "gives back the scheme -1 and 0 bytes of signature"),
        "too long": ("CertificateVerify(1, bytes(0x10000))", "gives back the scheme 1 and 65536 bytes of signature"),
        "an error": ("nobody", "NameError: name 'nobody' is not defined"),
    },
)
def test_a_proof_that_no_message_has_room_for_ends_the_attack_in_one_line(
    write: Write, alice: pki.Identity, made: str, why: str
) -> None:
    with pytest.raises(CannotGoOn) as caught:
        proof_made(write(HEAD + NAMED + PROVE.format(made)), alice)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
