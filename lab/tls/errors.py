"""What can go wrong inside the instrument; one family."""


class TlsError(Exception):
    """Everything the instrument raises derives from this."""


class BundleError(TlsError):
    """Key and certificate that cannot be used together, or cannot be read; the text says what to do."""


class Abort(TlsError):
    """Ends a handshake. `alert` is the number to send, from RFC 5246 section 7.2.2; the text says why."""

    def __init__(self, alert: int, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert


class DecodeError(Abort):
    """Bytes that are not what they should be; the text says which field, and where in it."""

    DECODE_ERROR = 50

    def __init__(self, reason: str) -> None:
        super().__init__(self.DECODE_ERROR, reason)


class ProofError(Abort):
    """A CertificateVerify that doesn't prove possession of the certificate's key."""


class CertificateError(Abort):
    """A certificate chain that a check turned down."""
