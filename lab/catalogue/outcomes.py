"""The outcomes of an attempt."""

from enum import StrEnum


class Outcome(StrEnum):
    """An attempt's outcome; the value is what events and JSON hold."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_APPLICABLE = "not applicable"
    INCONCLUSIVE = "inconclusive"
    """Neither let in nor refused: the server was away, for example. Such an attempt is no verdict."""


ACCEPTED, REFUSED = Outcome.ACCEPTED, Outcome.REFUSED
NOT_APPLICABLE, INCONCLUSIVE = Outcome.NOT_APPLICABLE, Outcome.INCONCLUSIVE

NOT_ASKED = "the server does not ask for a certificate in TLS, so no handshake with it shows who the client is"
NO_OTHER_NAME = "this server has no other name under which it trusts others"
NOT_RESUMED = "the server did not resume the session that was offered"
NO_TICKET = "the wire showed no ticket of a session that began with a client's certificate at this server"
