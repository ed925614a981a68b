"""Texts that somebody else wrote, made safe to print."""


def printable(text: str) -> str:
    """Without line breaks, characters that command a terminal, or ones that turn the direction of writing."""
    return "".join(character if character.isprintable() else "?" for character in text)
