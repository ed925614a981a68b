"""From what a server answered to the verdicts: what counts as in is decided by difference, not by what it means.

Controls say what this server answers to the owner with her key, to a client without a certificate, and to a stranger.
An attempt is accepted where the answer is like the owner's, refused where it is like the others', or a fatal alert.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attacker.probe.answers import HANDSHAKE, Ending, ServerAnswer
from attacker.probe.prefixed import DROPPED, TAKEN
from lab.catalogue.leaks import LootKind
from lab.catalogue.moves import PREFIX, find_move
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED, Outcome
from lab.catalogue.shapes import Leaf
from lab.events.types import MoveTried
from lab.tls.versions import TLS13, Version

_WORST = (NOT_APPLICABLE, REFUSED, INCONCLUSIVE, ACCEPTED)
"""Of several attempts at one move the one counts that comes last here."""
_MISDIRECTED = "HTTP 421"
"""RFC 9110 section 15.5.20: the server refuses to answer for this name on this connection."""
_AS_HERSELF = "the answer that the attacker's own certificate gets, and no more"
_NO_SUCH_VERSION = "alert protocol_version (70)"
_NO_COMMON_GROUND = "alert handshake_failure (40)"


@dataclass(frozen=True)
class Answered:
    """What a server answered to one of us, and whether it asked for a certificate, where the handshake got so far."""

    answer: ServerAnswer
    asked: bool = True


@dataclass(frozen=True)
class Controls:
    """The controls of one version. `owner` is OpenSSL with the bundle, through the relay; `key` is the instrument with
    it, `spoiled` the same with a wrong Finished, which says how this server answers a handshake that fails, and `again`
    the key when all was tried. `other` is the attacker's own bundle, if she has one."""

    owner: tuple[ServerAnswer, ...]
    key: Answered
    none: Answered
    stranger: Answered
    spoiled: Answered
    again: Answered
    other: Answered | None = None


@dataclass(frozen=True)
class Attempted:
    """One attempt: the report of it, the answer, None where the move could not be made, and what is wrong with it."""

    event: MoveTried
    answer: ServerAnswer | None
    made: bool
    completed: bool = True
    """Whether the handshake came to its end, as far as the client can tell; in TLS 1.3 that is before the server has
    checked the client (RFC 8446 section 4.4)."""
    departure: str = ""
    """What keeps it from being its move; empty where nothing does."""
    attempts: int = 1
    """How often it was made: again where the one before may have ended by an accident. This is the last one."""


@dataclass(frozen=True)
class MoveVerdict:
    """What became of one move in one version, and why."""

    move: str
    tls: str
    outcome: Outcome
    answer: str
    """What came back, in one line; empty for nothing."""
    reason: str
    """Why the outcome is what it is, where that needs a word."""
    event: MoveTried


@dataclass(frozen=True)
class Judged:
    """One version: whether its controls carry a verdict, and the verdicts.

    `unfit` says why they don't, empty where they do. `spoken` is False where the server does not have this version.
    `stranger_in` tells that a certificate that nobody issued gets in.
    """

    version: Version
    controls: Controls
    spoken: bool
    unfit: str
    stranger_in: bool
    verdicts: tuple[MoveVerdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether anybody got in without the key."""
        return self.stranger_in or bool(self.accepted)

    @property
    def accepted(self) -> tuple[MoveVerdict, ...]:
        """The moves that got in and say more than that any stranger does."""
        return tuple(
            one
            for one in self.verdicts
            if one.outcome == ACCEPTED and not (self.stranger_in and shows_a_made_up_one(one.move))
        )

    @property
    def refused(self) -> tuple[MoveVerdict, ...]:
        """The moves that did not get in."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome == REFUSED)

    @property
    def asked_for_the_key(self) -> bool:
        """Whether the owner's certificate was refused because its key was missing and for nothing else."""
        return any(_lacks_the_key_only(one.move) for one in self.refused)

    @property
    def undecided(self) -> bool:
        """Whether an attempt came to no verdict."""
        return any(verdict.outcome == INCONCLUSIVE for verdict in self.verdicts)


def judge(version: Version, controls: Controls, attempts: Sequence[Attempted]) -> Judged:
    """The verdicts of one version."""
    if _lacks_version(controls):
        return Judged(version, controls, False, "", False, ())
    alike = _Likeness(controls)
    unfit = _unfit(controls, alike)
    stranger_in = not unfit and alike(controls.stranger.answer, controls.key.answer)
    verdicts: dict[str, MoveVerdict] = {}
    for attempted in attempts:
        one = _verdict(controls, alike, unfit, attempted)
        verdicts[one.move] = max(verdicts.get(one.move, one), one, key=lambda verdict: _WORST.index(verdict.outcome))
    notes = _notes(controls) + _of_another_version(version, verdicts)
    return Judged(version, controls, True, unfit, stranger_in, tuple(verdicts.values()), tuple(notes))


def shows_a_made_up_one(move_id: str) -> bool:
    """Whether the move shows a certificate that the attacker made, as a stranger does."""
    move = find_move(move_id)
    return move is not None and move.shape.shows_a_made_up_one


def _lacks_the_key_only(move_id: str) -> bool:
    """Whether the move shows the owner's certificate in an orderly handshake, with a proof that is none or wrong."""
    move = find_move(move_id)
    if move is None or move.shape.recorded or move.shape.messages:
        return False
    return next(iter(move.shape.certificates), ())[:1] == (Leaf.CUSTOMERS,)


def _is_recording(move_id: str) -> bool:
    move = find_move(move_id)
    return move is not None and move.shape.recorded


def _lacks_version(controls: Controls) -> bool:
    key = controls.key.answer
    return key.kind == _NO_SUCH_VERSION and all(one.ending is not Ending.ANSWERED for one in controls.owner)


def _unfit(controls: Controls, alike: "_Likeness") -> str:
    """Why no verdict can rest on these controls; empty where it can."""
    key, none, again = controls.key, controls.none, controls.again
    owner = controls.owner[0]
    if not key.asked:
        return (
            "the server does not ask for a certificate in the handshake; asking later, by renegotiation or after the "
            "handshake in TLS 1.3, is not tried"
        )
    answers = (key.answer, none.answer, controls.spoiled.answer, again.answer)
    if owner.ending is Ending.CLOSED and all(one.kind == owner.kind for one in answers):
        return (
            f"it ends every connection ({owner.text}), also the owner's: give a port that speaks TLS from the first "
            "byte on, without the PROXY protocol, or --starttls"
        )
    if all(one.kind == _NO_COMMON_GROUND for one in (owner, *answers)):
        return (
            f"it refuses every client in this version ({owner.text}), also the owner: it does not speak the version, "
            "which --tls can leave out, or takes none of the suites, groups, signature schemes or certificates that "
            "were offered"
        )
    if owner.ending is not Ending.ANSWERED:
        return f"the bundle's owner does not get in with OpenSSL ({owner.text}), so a refusal would mean nothing"
    if all(one.kind == _NO_COMMON_GROUND for one in answers):
        return (
            f"it refuses every client of the lab's own ({key.answer.text}), and the owner gets in with OpenSSL: the "
            "suites, groups or signature schemes that it takes are none that the lab has"
        )
    if key.answer.ending is not Ending.ANSWERED:
        return f"the owner's key does not get in ({key.answer.text}), so a refusal would mean nothing"
    if not alike(again.answer, key.answer):
        return (
            f"the owner got in before and not after ({key.answer.text}; then {again.answer.text}): the server stopped, "
            "or shuts clients out that fail too often"
        )
    if alike(controls.spoiled.answer, key.answer):
        return "it completes a handshake whose Finished is wrong (RFC 5246 section 7.4.9), so this is no TLS to judge"
    if alike(none.answer, key.answer):
        return (
            f"it answers a client without a certificate as it answers the owner ({key.answer.text}): ask for something "
            "that only the owner gets"
        )
    return ""


class _Likeness:
    """Whether two answers mean the same here: of the same kind, and of the same content where only that tells the owner
    from a client without a certificate."""

    def __init__(self, controls: Controls) -> None:
        owners = {controls.key.answer.content, controls.again.answer.content, controls.owner[0].content}
        self.by_content = len(owners) == 1
        """Whether the owner always gets the same content."""
        self._needs_content = controls.key.answer.kind == controls.none.answer.kind and self.by_content

    def __call__(self, one: ServerAnswer, other: ServerAnswer) -> bool:
        return one.kind == other.kind and (not self._needs_content or one.content == other.content)


def _verdict(controls: Controls, alike: _Likeness, unfit: str, attempted: Attempted) -> MoveVerdict:
    event, answer = attempted.event, attempted.answer
    outcome, reason = _outcome(controls, alike, unfit, attempted)
    return MoveVerdict(event.move, event.tls, outcome, answer.text if answer else "", reason, event)


def _outcome(controls: Controls, alike: _Likeness, unfit: str, attempted: Attempted) -> tuple[Outcome, str]:
    event, answer = attempted.event, attempted.answer
    if answer is None or event.outcome == NOT_APPLICABLE:
        return NOT_APPLICABLE, event.error or "it could not be tried"
    if unfit:
        return INCONCLUSIVE, unfit
    if attempted.departure:
        return INCONCLUSIVE, f"the attempt was not this move: {attempted.departure}"
    if event.move == PREFIX and answer.kind in (TAKEN, DROPPED):
        return (ACCEPTED if answer.kind == TAKEN else REFUSED), ""
    if alike(answer, controls.key.answer):
        return _in_as_whom(controls, alike, attempted)
    if event.move == PREFIX and answer.ending is Ending.FAILED and event.local:
        return REFUSED, "no handshake follows it"
    if answer.ending is Ending.FAILED:
        return INCONCLUSIVE, answer.words
    if not attempted.made:
        return INCONCLUSIVE, "the handshake did not get as far as the move"
    if answer.ending is Ending.ALERT:
        return REFUSED, ""
    if answer.ending is Ending.CLOSED and not attempted.completed:
        return REFUSED, "the server ended the handshake"
    if answer.ending is Ending.SILENT and _is_recording(event.move) and controls.key.answer.kind != HANDSHAKE:
        return REFUSED, "the recorded bytes got no answer, and the owner's get one at once"
    if any(alike(answer, one.answer) for one in (controls.none, controls.stranger, controls.spoiled)):
        return REFUSED, ""
    if controls.other and answer.ending is Ending.ANSWERED and alike(answer, controls.other.answer):
        return REFUSED, _AS_HERSELF
    if answer.kind == _MISDIRECTED:
        return REFUSED, ""
    if answer.ending is Ending.CLOSED and attempted.attempts > 1:
        return REFUSED, f"no answer to any of {attempted.attempts} attempts; the owner gets one"
    return INCONCLUSIVE, "this answer is like none of the controls'"


def _in_as_whom(controls: Controls, alike: _Likeness, attempted: Attempted) -> tuple[Outcome, str]:
    """The owner's answer came back. A move that begins with the attacker's own certificate may be in as herself."""
    move, answer = find_move(attempted.event.move), attempted.answer
    assert answer
    first = next(iter(move.shape.certificates), ()) if move else ()
    as_herself = move and (move.shape.elsewhere or first[:1] == (Leaf.MALLORYS,))
    if not as_herself or controls.other is None:
        return ACCEPTED, "the same answer as the owner's"
    other = controls.other.answer
    if not alike(other, controls.key.answer):
        return ACCEPTED, "the same answer as the owner's, and not the one that the attacker's own certificate gets"
    if alike.by_content and other.content != controls.key.answer.content:
        if answer.content == other.content:
            return REFUSED, _AS_HERSELF
        if answer.content == controls.key.answer.content:
            return ACCEPTED, "the owner's content, and not that of the attacker's own certificate"
    return NOT_APPLICABLE, "let in, and the answer does not say under whose name: ask for something that does"


def _notes(controls: Controls) -> list[str]:
    found = []
    key, other = controls.key.answer, controls.other
    if other and other.answer.ending is not Ending.ANSWERED:
        found.append(f"the attacker's own bundle does not get in ({other.answer.text}): moves with it show less")
    first, *later = controls.owner
    if first.kind != key.kind:
        found.append(f"OpenSSL and the instrument, both with the key, got different answers: {first.text}; {key.text}")
    return found + [
        f"the owner's second login, which resumes the session of the first, got another answer: {one.text}"
        for one in later
        if one.kind != first.kind
    ]


def _of_another_version(version: Version, verdicts: Mapping[str, MoveVerdict]) -> list[str]:
    """A captured proof is always one of TLS 1.2, as TLS 1.3 encrypts its own."""
    tried = [find_move(name) for name, verdict in verdicts.items() if verdict.outcome != NOT_APPLICABLE]
    names = ", ".join(move.id for move in tried if move and LootKind.PROOF in move.needs)
    what = "the wire shows no proof of TLS 1.3, so these moves send the one that the owner made in TLS 1.2"
    return [f"{what}: {names}"] if version == TLS13 and names else []


def status(judged: Mapping[Version, Judged], open_counts: bool = True) -> int:
    """0 safe, 1 not safe, 2 no verdict. Without `open_counts` only what is undecided counts."""
    spoken = [one for one in judged.values() if one.spoken]
    if open_counts and any(one.open for one in spoken):
        return 1
    decided = any(one.refused or one.accepted for one in spoken)
    return 2 if not decided or any(one.unfit or one.undecided for one in spoken) else 0
