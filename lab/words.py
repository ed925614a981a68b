"""Small things that several views say in the same words."""

from collections.abc import Sequence


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence: `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def counted(number: int, what: str) -> str:
    """A number of things: `1 move`, `16 moves`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
