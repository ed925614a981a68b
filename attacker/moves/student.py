"""A move of a student's: the file makes the proof, the rest is as in a replay.

The file runs as a guest, in a process of its own (`lab.guest`). The attacker waits for each proof, and does nothing
else meanwhile: for SECONDS of `lab.guest.loading` at most.
"""

from dataclasses import dataclass
from pathlib import Path

from attacker.moves.make import Loot, Maker, Script, replay_with
from lab.catalogue.moves import STUDENTS_EXPECTATIONS, Move, students_move
from lab.guest.host import Guest
from lab.guest.kinds import PROVE
from lab.guest.loading import GuestError
from lab.process import BadInput, CannotGoOn
from lab.tls.messages import CertificateVerify
from lab.tls.proof import Challenge
from lab.tls.versions import Version

NAME, FAILS = "NAME", "FAILS"
MOST_16_BITS = 0xFFFF
"""The highest scheme, and the greatest length of a signature (RFC 5246 section 4.7)."""


@dataclass(frozen=True)
class StudentMove:
    """The move, and how it is made."""

    move: Move
    make: Maker


def load(file: Path) -> StudentMove:
    """The move in a file, whose process goes on as long as this one; BadInput, with file and line, where there is
    none."""
    try:
        guest = Guest(file, *PROVE, (NAME, FAILS))
        return StudentMove(move_of(guest), _maker(guest))
    except GuestError as error:
        raise BadInput(str(error)) from None


def move_of(guest: Guest) -> Move:
    """The row of the file's move, from what the file says of it; GuestError where it does not."""
    name, fails = guest.values.get(NAME, ""), guest.values.get(FAILS, "")
    if fails not in STUDENTS_EXPECTATIONS:
        known = " or ".join(f'"{one}"' for one in STUDENTS_EXPECTATIONS)
        raise GuestError(f"{guest.file}: {FAILS} must say what is wrong with the proof: {known}")
    move = students_move(f"{name}:{fails}")
    if move is None:
        raise GuestError(f'{guest.file}: {NAME} must name the move in small letters, for example "half-proof"')
    return move


def proof_of(guest: Guest, *given: object) -> CertificateVerify | None:
    """What the file makes as a proof; GuestError where it is none that a message has room for."""
    made = guest.call(*given)
    if made is None:
        return None
    if not isinstance(made, CertificateVerify):
        what = "must give back a CertificateVerify, or None to send no proof"
        raise GuestError(f"{guest.file}: {PROVE[0]} {what}")
    if not (0 <= made.scheme <= MOST_16_BITS and len(made.signature) <= MOST_16_BITS):
        what = f"gives back the scheme {made.scheme} and {len(made.signature)} bytes of signature"
        raise GuestError(f"{guest.file}: {PROVE[0]} {what}; TLS has 16 bits for each of these numbers")
    return made


def _maker(guest: Guest) -> Maker:
    def make(loot: Loot, version: Version) -> Script:
        captured = loot.proof

        def prove(challenge: Challenge) -> CertificateVerify | None:
            try:
                return proof_of(guest, loot.chain[0], captured, challenge)
            except GuestError as error:
                raise CannotGoOn(str(error)) from None

        return replay_with(loot, version, prove)

    return make
