"""What a scene is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from lab.judging.verdicts import JudgedRun
from lab.page.ladders import Messages
from lab.page.model import Scene
from lab.page.roles import Roles


@dataclass(frozen=True)
class Teaching:
    """A judged run, whether it is over, who plays which part in it, and the messages that were shown so far."""

    judged: JudgedRun
    over: bool
    roles: Roles
    messages: Messages


Tell: TypeAlias = Callable[[Teaching], Scene | None]
"""Makes a scene; None as long as the run hasn't got there, or if it has nothing for it."""
