"""What the attacker's part can fail with; one family, every text one line for people."""


class AttackerError(Exception):
    """Everything that the attacker's part raises for its caller's sake derives from this."""
