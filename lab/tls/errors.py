"""The errors of the instrument, one family."""


class TlsError(Exception):
    """The base of all errors here."""


class BundleError(TlsError):
    """A bundle that cannot be read or used; the text says what to do."""


class Abort(TlsError):
    """Ends a handshake. `alert` is the number to send (RFC 5246 section 7.2.2); the text says why."""

    def __init__(self, alert: int, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert


class DecodeError(Abort):
    """Bytes that cannot be read; the text names the field and the offset."""

    DECODE_ERROR = 50

    def __init__(self, reason: str) -> None:
        super().__init__(self.DECODE_ERROR, reason)


class HandshakeTooLong(TlsError):
    """A peer has sent all that it may, and the handshake is not complete."""


class OutOfReach(Abort):
    """A server chose what a copied ClientHello offered and the instrument cannot do; the text says what."""

    HANDSHAKE_FAILURE = 40

    def __init__(self, what: str) -> None:
        super().__init__(self.HANDSHAKE_FAILURE, f"{what}, which the copied ClientHello offers and the lab cannot do")


class ProofError(Abort):
    """A CertificateVerify that doesn't prove possession of the private key."""


class CertificateError(Abort):
    """A certificate or chain that was refused."""
