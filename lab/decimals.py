"""Numbers in text that others wrote."""

MAX_DIGITS = 9


def decimal(text: str) -> int | None:
    """The number in a text of ASCII digits; None for any other text, and for more digits than MAX_DIGITS, of which
    `int` would refuse some thousands by an error."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None
