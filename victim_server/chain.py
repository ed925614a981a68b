"""The checks of a client's certificate, for gateways that don't leave it to their TLS stack.

OpenSSL's X509_verify_cert (RFC 5280 section 6) builds and verifies the chain, as it does for `mtls@openssl`. So the
gateways differ only in what they do about the proof.
"""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from lab.tls.alerts import AlertDescription
from lab.tls.errors import CertificateError

ALERTS = {
    2: AlertDescription.UNKNOWN_CA,  # unable to get issuer certificate
    7: AlertDescription.BAD_CERTIFICATE,  # certificate signature failure
    9: AlertDescription.CERTIFICATE_EXPIRED,  # certificate is not yet valid
    10: AlertDescription.CERTIFICATE_EXPIRED,  # certificate has expired
    18: AlertDescription.UNKNOWN_CA,  # self-signed certificate
    19: AlertDescription.UNKNOWN_CA,  # self-signed certificate in certificate chain
    20: AlertDescription.UNKNOWN_CA,  # unable to get local issuer certificate
    21: AlertDescription.UNKNOWN_CA,  # unable to verify the first certificate
    22: AlertDescription.UNKNOWN_CA,  # certificate chain too long
    23: AlertDescription.CERTIFICATE_REVOKED,  # certificate revoked
    25: AlertDescription.UNKNOWN_CA,  # path length constraint exceeded
    26: AlertDescription.UNSUPPORTED_CERTIFICATE,  # unsuitable certificate purpose
    79: AlertDescription.UNKNOWN_CA,  # invalid CA certificate
}
"""X509_V_ERR_* numbers and what RFC 5246 section 7.2.2 calls them; anything else is certificate_unknown."""

NOT_ISSUED = "the certificate is not one that this server issued"


class ChainCheck:
    """Callable: takes a chain in DER, the client's own certificate first, or raises CertificateError.

    `authorities` are the trusted CA certificates in DER; `names` their names, for the CertificateRequest (RFC 5246
    section 7.4.4).
    """

    def __init__(self, authorities: tuple[bytes, ...]) -> None:
        trusted = [x509.load_der_x509_certificate(der) for der in authorities]
        self._store = crypto.X509Store()
        for certificate in trusted:
            self._store.add_cert(crypto.X509.from_cryptography(certificate))
        self.names = tuple(certificate.subject.public_bytes() for certificate in trusted)

    def __call__(self, chain: tuple[bytes, ...]) -> None:
        if not chain:
            raise _no_certificate()
        try:
            certificates = [x509.load_der_x509_certificate(der) for der in chain]
            is_for_clients = _is_for_clients(certificates[0])
            leaf, *untrusted = [crypto.X509.from_cryptography(certificate) for certificate in certificates]
        except Exception as error:  # the parsers' own errors are of many types
            raise _unreadable(error) from None
        context = crypto.X509StoreContext(self._store, leaf, untrusted)
        try:
            context.verify_certificate()
        except crypto.X509StoreContextError as error:
            alert = ALERTS.get(error.errors[0], AlertDescription.CERTIFICATE_UNKNOWN)
            raise CertificateError(alert, f"certificate verify failed: {error}") from None
        if not is_for_clients:
            raise _not_for_clients()


class NamesCheck:
    """Callable as ChainCheck is. It compares names and dates, and verifies no signature: that is its fault.

    The issuer's name leads from one certificate to the next, and in the end to an authority, or the chain is refused.
    """

    def __init__(self, authorities: tuple[bytes, ...]) -> None:
        trusted = [x509.load_der_x509_certificate(der) for der in authorities]
        self.names = tuple(certificate.subject.public_bytes() for certificate in trusted)

    def __call__(self, chain: tuple[bytes, ...]) -> None:
        if not chain:
            raise _no_certificate()
        try:
            leaf, *others = [x509.load_der_x509_certificate(der) for der in chain]
            is_for_clients = _is_for_clients(leaf)
            issuers = {one.subject.public_bytes(): one.issuer.public_bytes() for one in reversed(others)}
            issuer = leaf.issuer.public_bytes()
        except Exception as error:  # the parsers' own errors are of many types
            raise _unreadable(error) from None
        while issuer not in self.names:
            if issuer not in issuers:
                raise CertificateError(AlertDescription.UNKNOWN_CA, "no trusted authority has the issuer's name")
            issuer = issuers.pop(issuer)
        if not leaf.not_valid_before_utc <= datetime.now(UTC) <= leaf.not_valid_after_utc:
            raise CertificateError(AlertDescription.CERTIFICATE_EXPIRED, "the certificate is not valid at this time")
        if not is_for_clients:
            raise _not_for_clients()


class PinCheck:
    """Callable as ChainCheck is: takes exactly the certificates in `issued`, in DER, and no other."""

    def __init__(self, issued: tuple[bytes, ...]) -> None:
        self._issued = frozenset(issued)

    def __call__(self, chain: tuple[bytes, ...]) -> None:
        if not chain:
            raise _no_certificate()
        if chain[0] not in self._issued:
            raise CertificateError(AlertDescription.CERTIFICATE_UNKNOWN, NOT_ISSUED)


def take_anybody(chain: tuple[bytes, ...]) -> None:
    """As ChainCheck, for newcomers: it takes any certificate. That the client has its key is checked elsewhere."""


def last_customer(chain: tuple[bytes, ...]) -> bytes:
    """The last certificate in a chain that is no authority's; the first certificate where there is none. A server that
    looks for the name in all of the chain takes it from there."""
    return next((der for der in reversed(chain) if not _is_authoritys(der)), chain[0])


def _is_authoritys(der: bytes) -> bool:
    """RFC 5280 section 4.2.1.9; what cannot be read names no customer either."""
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    except Exception:  # the parsers' own errors are of many types
        return True


def _unreadable(error: Exception) -> CertificateError:
    return CertificateError(AlertDescription.BAD_CERTIFICATE, f"an unreadable certificate: {error}")


def _not_for_clients() -> CertificateError:
    reason = "certificate verify failed: unsuitable certificate purpose"
    return CertificateError(AlertDescription.UNSUPPORTED_CERTIFICATE, reason)


def _no_certificate() -> CertificateError:
    """RFC 5246 section 7.4.6."""
    return CertificateError(AlertDescription.HANDSHAKE_FAILURE, "the client presented no certificate")


def _is_for_clients(certificate: x509.Certificate) -> bool:
    """RFC 5280 section 4.2.1.12: no extended key usage at all, or one that names clientAuth."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage
