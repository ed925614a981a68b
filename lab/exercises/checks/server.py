"""Exercise 8: the server that dropped the result of its check. Every move is refused, and alice gets in."""

import os
import re
from contextlib import closing
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256

from lab.catalogue.moves import MOVES
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.plan import full_matrix
from lab.exercises.exercise import Checked
from lab.exercises.trial import trial
from lab.guest.host import Guest, decision
from lab.guest.kinds import CHECK
from lab.guest.loading import GuestError
from lab.judging.verdicts import JudgedRun
from lab.staging import pki, student_code
from lab.tls.proof import SCHEME_IDS, Challenge, challenge12, challenge13, prove_with

FOREIGN_KEY = "foreign-key"
"""The move with a signature by another key, for which the RFCs name one alert."""
_REFUSING = re.compile(r": (Exception|(Assertion|Value|Runtime|Permission)Error|InvalidSignature)\b")
"""What people raise to refuse a client."""
SCHEMES = ("mtls", "pinned-mtls")
WHY = (
    "A check is worth what its result does. The server always computed whether the proof fits; now a proof that does "
    "not fit ends the handshake, before there is a request."
)
DROPPED = "The check is computed, and its result has no effect: act on it before the function returns."


def check(file: Path) -> Checked:
    """GuestError, with file and line, where the file fails."""
    try:
        problem = _decides_wrongly(file)
    except GuestError as error:
        hint = "; to refuse a client, raise Refuse" if _REFUSING.search(str(error)) else ""
        raise GuestError(f"{error}{hint}") from None
    if problem:
        return Checked(False, problem)
    code = student_code.load(f"{scheme}={file}" for scheme in SCHEMES)
    with trial(code.joined(full_matrix(), with_gateways=False), code) as judged:
        return _judged(judged)


def _decides_wrongly(file: Path) -> str:
    """What is wrong with the function alone, asked about proofs that fit and that do not; empty if nothing is."""
    alice, mallory = pki.new_self_signed_client("alice"), pki.new_self_signed_client("mallory")
    found: list[str] = []
    with closing(Guest(file, *CHECK)) as guest:
        for version in ("1.2", "1.3"):

            def handshake(version: str = version) -> Challenge:
                transcript = os.urandom(400)
                if version == "1.2":
                    return challenge12(transcript, SCHEME_IDS)
                return challenge13(transcript, SCHEME_IDS, SHA256())

            mine, other = handshake(), handshake()
            hers, replayed, foreign = (
                decision(guest, alice.der, mine, proof) is None
                for proof in (
                    prove_with(alice.key)(mine),
                    prove_with(alice.key)(other),
                    prove_with(mallory.key)(mine),
                )
            )
            found.append(_problem(hers, replayed, foreign))
    first, second = found
    if first == second:
        return first
    version, problem = ("1.2", first) if first else ("1.3", second)
    both = " In the other version it is right." if not (first and second) else ""
    return f"In TLS {version}: {problem}{both}"


def _problem(hers: bool, replayed: bool, foreign: bool) -> str:
    """What is wrong, from what gets in: a fresh proof of alice's, an old one of hers, one by another key."""
    match hers, replayed, foreign:
        case True, False, False:
            return ""
        case False, False, False:
            return (
                "Your server refuses everybody, alice too, whose proof is right. So its refusals mean nothing. Refuse "
                "only where the proof does not fit."
            )
        case False, _, _:
            return "It is the wrong way round: alice, whose proof is right, is refused, and a wrong proof gets in."
        case True, True, True:
            return f"A proof by another key still gets in. {DROPPED}"
        case True, True, False:
            return (
                "An old proof of alice's still gets in. The signature must be one over this handshake: hold it against "
                "`challenge.content`."
            )
    return "A proof over this handshake by another key still gets in. Check it with the key in the certificate."


def _judged(judged: JudgedRun) -> Checked:
    judgement = judged.judgement
    moves = {move.id for move in MOVES if not move.with_key}
    tried = [one for one in judgement.verdicts if one.move in moves and one.outcome in (ACCEPTED, REFUSED)]
    if open_ := list(dict.fromkeys(one.move for one in tried if one.outcome == ACCEPTED)):
        return Checked(False, f"In a run with fresh keys these moves still get in: {', '.join(open_)}. {DROPPED}")
    if not judgement.as_expected:
        what = next(iter((*judgement.errors, *judgement.contradictions)), "a verdict is not as expected")
        return Checked(False, f"In a run with fresh keys not everything went as it must: {what}.")
    attempts = sum(one.evidence.attempts for one in tried)
    controls = sum(one.outcome == ACCEPTED for one in judgement.controls)
    why = (
        f"{WHY} In a run with fresh keys {attempts} attempts in {len({one.move for one in tried})} moves and both "
        f"versions were refused, and alice and the attack code with her key got in {controls} of "
        f"{len(judgement.controls)} times."
    )
    strange = [one for one in tried if one.move == FOREIGN_KEY and not one.conforms and one.evidence.alert]
    if strange and (alert := strange[0].evidence.alert):
        why += f" One thing more: RFC 5246 section 7.2.2 has decrypt_error for this, and yours is {alert.name}."
    return Checked(True, why)
