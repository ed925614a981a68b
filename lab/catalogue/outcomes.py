"""What can become of an attempt."""

ACCEPTED = "accepted"
REFUSED = "refused"
NOT_APPLICABLE = "not applicable"
INCONCLUSIVE = "inconclusive"
"""Neither let in nor refused: the server was away, for example. Such an attempt proves nothing and is no verdict."""

NOT_ASKED = "the server does not ask for a certificate in TLS, so there is no proof to leave out or to forge"
NOT_RESUMED = "the server did not go on with the session that was offered"
