"""Exercises 11 and 12: the answer is a run that shows something."""

from lab.catalogue.leaks import ARCHIVE, REQUESTS, WIRE
from lab.exercises.exercise import Checked
from lab.judging.claims.claim import Holding
from lab.judging.claims.evidence import BLIND, CHECKING, accepted, at, count, logins
from lab.judging.claims.keys import at_checking, issuer_has_the_key
from lab.judging.queries import RunQueries

NOT_SOUND = (
    "This run has findings or lacks verdicts (`certreplay verdicts` names them), so it shows nothing. Make a new one."
)


def check_tls13(record: RunQueries, answer: str) -> Checked:
    """A certificate that did not leak on the wire opens, over TLS 1.3, a gateway that does not check the proof."""
    tried = at(record, BLIND, tls="1.3")
    open_ = accepted(tried)
    beside = [one for one in open_ if one.event.leak != WIRE.id]
    closed = at(record, CHECKING, tls="1.3")
    if not record.judged.judgement.as_expected:
        return Checked(False, NOT_SOUND)
    if not (tried or closed):
        return Checked(False, "Mallory tried nothing over TLS 1.3 in this run. Make one with `--tls 1.3`.")
    if not tried:
        return Checked(
            False, f"No gateway of the scheme {' or '.join(BLIND)} was tried. Which servers trust a certificate?"
        )
    if not open_:
        return Checked(False, "Nothing got in over TLS 1.3 in this run. Take more moves, such as omit-proof.")
    if not beside:
        return Checked(
            False,
            "Good, mallory got in over TLS 1.3. But she read the certificate off a login in TLS 1.2: turn that off, "
            "one could say, and all is well. Take a leak that does not need the wire (--leak).",
        )
    if not closed:
        return Checked(False, f"Try a gateway of the scheme {' or '.join(CHECKING)} as well, to show what does help.")
    leaks = " and ".join(dict.fromkeys(one.event.leak for one in beside))
    return Checked(
        True,
        f"TLS 1.3 hides the certificate on the wire, and it got out another way: {leaks}. Where the server does not "
        f"check the proof, {count(tried)} over TLS 1.3; where it does, {count(closed)}. It is the check that keeps "
        "mallory out, not the version.",
    )


def check_request(record: RunQueries, answer: str) -> Checked:
    """Where the bank signed a request, what it kept opens nothing; where it made the key, everything."""
    leaks = record.judged.plan.leaks
    if ARCHIVE.id not in leaks and REQUESTS.id not in leaks:
        return Checked(
            False, "This run has no leak at the bank. `certreplay matrix --leak NAME` makes one; see the README."
        )
    if REQUESTS.id not in leaks:
        return Checked(
            False, f"This run shows the illness: the leak {ARCHIVE.id} with alice's key. Add the leak with the cure."
        )
    if ARCHIVE.id not in leaks:
        return Checked(
            False, f"This run shows the cure. To show that it is one, add the leak {ARCHIVE.id} to the same run."
        )
    if not record.judged.judgement.as_expected:
        return Checked(False, NOT_SOUND)
    if not at_checking(record, REQUESTS.id):
        return Checked(
            False,
            f"No gateway of the scheme {' or '.join(CHECKING)} was tried. Only a server that checks the proof shows "
            "whether mallory has the key.",
        )
    if not accepted(at(record, BLIND, leak=REQUESTS.id)):
        return Checked(
            False,
            "Add a gateway that does not check the proof, and a move such as omit-proof: there what the bank kept "
            "must get mallory in, or nobody knows that it leaked at all.",
        )
    settled = issuer_has_the_key(record)
    if settled is None or settled.holding is not Holding.CONDITIONAL:
        hers = "" if logins(record) else " Alice never logged in."
        return Checked(False, f"This run does not show the difference between the two leaks.{hers}")
    return Checked(True, f"What happened: {settled.because}. A bank cannot lose a key that it never had.")
