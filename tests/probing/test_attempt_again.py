"""Which attempts are made again, and how often: those that an accident may have ended."""

import asyncio

import pytest

from attacker.moves.make import Script
from attacker.moves.replay import Attempt, not_tried
from attacker.probe import attempt as attempts
from attacker.probe.answers import Ending
from attacker.probe.dialects import DIALECTS, Question
from attacker.probe.orders import Pace
from handmade import with_fields
from lab.address import Address
from lab.events.types import MoveTried, ServerAnswered
from lab.tls.versions import TLS12

NO_ANSWER = ServerAnswered("", "1.2", 1, Ending.CLOSED, "closed", "", "", asked=True, made=True, completed=True)


@pytest.mark.parametrize(
    ("move", "answer", "due"),
    [
        ("omit-proof", {}, 2),
        ("look-alike", {}, 6),
        ("self-issued", {}, 6),
        ("omit-proof", {"ending": Ending.ANSWERED}, 1),
        ("omit-proof", {"ending": Ending.SILENT, "made": False}, 2),
        ("omit-proof", {"ending": Ending.SILENT}, 1),
    ],
)
def test_it_is_made_again(move: str, answer: dict[str, object], due: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    async def attempt(it: Attempt, *_: object) -> tuple[MoveTried, ServerAnswered]:
        made.append(it.move)
        return not_tried(it, None), with_fields(NO_ANSWER, **answer)

    monkeypatch.setattr(attempts, "attempt", attempt)
    monkeypatch.setattr(attempts, "PAUSE_SECONDS", 0.0)
    it = Attempt(move, TLS12, Address("127.0.0.1", 1), "localhost", "alice")
    dialect = DIALECTS["http"](Question("localhost"))
    _, told = asyncio.run(attempts.attempt_again(it, Script(), dialect, Pace(1000, 1)))
    assert (made, told.attempts) == ([move] * due, due)
