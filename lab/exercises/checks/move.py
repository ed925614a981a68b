"""Exercise 9: a move of the student's own. It is new, and every gateway does with it what the RFCs say."""

from pathlib import Path

from lab.catalogue.moves import moves_named
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.plan import full_matrix
from lab.exercises.exercise import Checked
from lab.exercises.trial import trial
from lab.judging.verdicts import JudgedRun
from lab.staging import student_code

WHY = (
    "You made a proof that nobody had tried here. What becomes of it was certain before: a server that checks the "
    "proof refuses everything but a signature over this very handshake by the key in the certificate, and one that "
    "does not look lets anything in. (A signature by another key is the move foreign-key, also in a file of yours.)"
)


def check(file: Path) -> Checked:
    """GuestError, with file and line, where the file fails."""
    code = student_code.load(moves=(file,))
    with trial(code.joined(full_matrix(), with_moves=False), code) as judged:
        return _judged(judged)


def _judged(judged: JudgedRun) -> Checked:
    judgement = judged.judgement
    (move,) = moves_named(judged.plan.moves)
    if why := next(iter(judged.departures.values()), ""):
        return Checked(False, _not_new(why))
    if not judgement.verdicts:
        return Checked(False, f"The run came to no verdict: {next(iter(judgement.errors), 'nothing was tried')}.")
    if wrong := [one for one in judgement.verdicts if not one.as_expected]:
        one = wrong[0]
        return Checked(
            False,
            f"At {one.gateway}, TLS {one.tls}, your move was {one.outcome}, and {one.expected} was expected. That is a "
            "finding, or a move that is not what it says.",
        )
    if strange := [one for one in judgement.verdicts if not one.conforms]:
        one, evidence = strange[0], strange[0].evidence
        came = f"alert {evidence.alert.name}" if evidence.alert else "no alert"
        due = " or ".join(alert.name for alert in evidence.expected_alerts)
        fails = move.id.partition(":")[2]
        return Checked(
            False,
            f"{one.gateway} refused it in TLS {one.tls}, by {came}. Your file says that the {fails} is wrong, for "
            f"which the RFC has {due}. Look at what the alert means: is something else wrong with your proof?",
        )
    refused = sum(one.outcome == REFUSED for one in judgement.verdicts)
    accepted = sum(one.outcome == ACCEPTED for one in judgement.verdicts)
    return Checked(True, f"{WHY} Yours was refused {refused} times and let in {accepted} times, each as predicted.")


def _not_new(why: str) -> str:
    known, _, rest = why.removeprefix("its proof is ").partition(":")
    if rest:
        return f"That is no new move: its proof is {known}, and the lab has that. Change what `prove` makes."
    if "CertificateVerify" in why or "proofs" in why:
        return "No proof was sent: that is the move omit-proof. Let `prove` give back a CertificateVerify."
    return f"It is not the move that it says: {why}."
