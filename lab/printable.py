"""Texts that somebody else wrote, made safe to print. Whatever a program prints passes through here.

JSON needs nothing more: it escapes every character that is not ASCII.
"""

import json
import os
import sys
from io import TextIOWrapper

STANDARD_ERROR = 2
LONGEST_LINE = 2000
"""The most characters of an error that are shown."""


def printable(text: str) -> str:
    """Without line breaks, characters that command a terminal, or ones that turn the direction of writing."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


def one_line(text: str) -> str:
    """The same, where line breaks and tabs are just blanks, and only the two ends of a long text: for errors, which may
    quote anything."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]}[...]{line[-LONGEST_LINE // 2 :]}"


def say(text: str, error: bool = False) -> None:
    """Prints a line on standard output, or on standard error."""
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=True)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def prepare_output() -> None:
    """Makes both outputs fit for any text: a character that the terminal's encoding lacks is printed as its number.

    One that is closed becomes /dev/null: the next file to be opened would be taken for it.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        pass
    os.close(spare)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115, it stays open
    sys.stderr = sys.stderr or open(STANDARD_ERROR, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
