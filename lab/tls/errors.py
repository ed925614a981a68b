"""What can go wrong inside the instrument; one family."""


class TlsError(Exception):
    """Everything the instrument raises derives from this."""


class DecodeError(TlsError):
    """Bytes that are not what they should be; the text says which field, and where in it."""


class ProofError(TlsError):
    """A CertificateVerify that doesn't prove possession of the certificate's key; the text says why."""


class BundleError(TlsError):
    """Key and certificate that cannot be used together, or cannot be read; the text says what to do."""


class CertificateError(TlsError):
    """A certificate chain that a check turned down.

    `alert` is the number to send, from RFC 5246 section 7.2.2.
    """

    def __init__(self, alert: int, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert
