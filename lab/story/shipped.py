"""Was this ever real? Releases that shipped without the check. No run tries them, which the answer says."""

from lab.catalogue.exhibits import EXHIBITS
from lab.words import counted

QUESTION = "Was this ever real?"
COMMAND = "certreplay exhibits"
IN_THIS_RUN = "This run tried none of them."


def how_many() -> str:
    """How many are known here."""
    return f"{counted(len(EXHIBITS), 'release')} are known here that shipped with such a fault, and were mended later."


def the_first() -> str:
    """The answer, with the release that did what the question proposes."""
    first = EXHIBITS[0]
    return f"Yes. {how_many()} One is {first.title}. {first.story} {IN_THIS_RUN} `{COMMAND}` does."
