"""What a scene is made of."""

from dataclasses import dataclass

from lab.judging.verdicts import JudgedRun
from lab.page.ladders import Messages
from lab.page.roles import Roles


@dataclass(frozen=True)
class Teaching:
    """A judged run, whether it is over, who plays which part in it, and the messages that were shown so far."""

    judged: JudgedRun
    over: bool
    roles: Roles
    messages: Messages
