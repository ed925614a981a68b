"""The attacker's errors: one family, each text one line for people."""


class AttackerError(Exception):
    """The base of all errors that the attacker raises for its callers."""
