"""A student's file as a guest of the lab: its functions run in a process of their own, with limits.

`from lab.guest import Refuse` is what such a file may need of it. The lab's side is `lab.guest.host`.
"""


class Refuse(Exception):
    """What a student's server raises to refuse a client: why, and by which alert (RFC 5246 section 7.2.2)."""

    def __init__(self, why: str = "the client was refused", alert: str = "decrypt_error") -> None:
        super().__init__(why)
        self.alert = alert
