"""What a student is called: in certificates, in folders, and in the names of compose projects."""

import re

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)


class StudentError(Exception):
    """A student's name that cannot be used; the text says why and what to do."""


def check_student(name: str) -> str:
    """The name itself, or StudentError."""
    if not _NAME.fullmatch(name):
        raise StudentError(
            f"student {name!r}: write 1 to 32 lower-case letters, digits, - and _, with a letter or digit first"
        )
    return name
