"""Exercise 2: the alerts of the refusals, by move."""

import re
from collections.abc import Iterator

from lab.catalogue.leaks import WIRE
from lab.catalogue.moves import MOVES
from lab.catalogue.outcomes import REFUSED
from lab.exercises.answers import words_in
from lab.exercises.exercise import Checked, ExerciseError
from lab.judging.claims.evidence import CHECKING
from lab.judging.judgement import SentAlert
from lab.judging.queries import RunQueries

ASKED = ("omit-proof", "replay-proof", "foreign-key")
WHY = (
    "The server said no each time, by a fatal alert, before mallory could send an HTTP request. Without a proof, a "
    "message is missing where it must come: unexpected_message. With a wrong proof, the message is there and the "
    "signature does not fit: decrypt_error, which is TLS's alert for a failed signature check and has nothing to do "
    "with decryption."
)
_LEVELS = {"1": "warning", "2": "fatal"}
_USUAL = {"alert", "fatal", "level", "description", "sent", "by", "the", "server", "and"}
_MOVE = re.compile("|".join(re.escape(move.id) for move in MOVES))


def check(record: RunQueries, answer: str) -> Checked:
    seen = _alerts(record)
    if missing := [move for move in ASKED if move not in seen]:
        raise ExerciseError(
            f"{record.run.name}: no gateway that checks the proof refused {', '.join(missing)} in TLS 1.2; "
            "`certreplay demo` makes a run with it"
        )
    given = dict(_given(answer))
    problems = [_problem(move, given.get(move), seen) for move in ASKED]
    wrong = [problem for problem in problems if problem]
    return Checked(False, " ".join(wrong)) if wrong else Checked(True, WHY)


def _alerts(record: RunQueries) -> dict[str, set[SentAlert]]:
    """The alerts with which gateways that check the proof refused each move."""
    found: dict[str, set[SentAlert]] = {}
    for one in record.judged.judgement.verdicts:
        alert = one.evidence.alert
        if (one.leak, one.tls, one.outcome) == (WIRE.id, "1.2", REFUSED) and one.scheme in CHECKING and alert:
            found.setdefault(one.move, set()).add(alert)
    return found


def _given(answer: str) -> Iterator[tuple[str, str]]:
    """Each move in the answer with what follows it: the name of an alert or its number."""
    answer = answer.lower()
    moves = list(_MOVE.finditer(answer))
    for move, after in zip(moves, [*moves[1:], None], strict=False):
        words = words_in(answer[move.end() : after.start() if after else None])
        name = "_".join(word for word in words if word.isalpha() and word not in _USUAL)
        yield move[0], name or next((word for word in words if not word.isalpha()), "")


def _problem(move: str, given: str | None, seen: dict[str, set[SentAlert]]) -> str:
    """What is wrong with the alert given for a move; empty for the right one."""
    if not given:
        return f"{move}: the answer names no alert for it; write {move}=ALERT."
    if any(_is(alert, given) for alert in seen[move]):
        return ""
    if given in _LEVELS:
        return f"{move}: {given} is the alert's level, {_LEVELS[given]}. The second byte says which alert it is."
    if given in ("accepted", "none", "200"):
        return f"{move}: look at a gateway that checks the proof, mtls or pinned-mtls. Others let mallory in."
    if given == "close_notify":
        return f"{move}: close_notify ends a connection in good order. It refuses nothing."
    if others := [other for other in ASKED if any(_is(alert, given) for alert in seen[other])]:
        return f"{move}: {given} is the alert for {' and '.join(others)}. This move fails for another reason."
    return f"{move}: no gateway sent {given}. Look at the last step of the attempt, `020a` or the like."


def _is(alert: SentAlert, given: str) -> bool:
    return given in (alert.name.removeprefix("alert "), str(alert.number), f"02{alert.number:02x}")
