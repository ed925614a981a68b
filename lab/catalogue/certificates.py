"""The kinds of client certificates."""

from enum import StrEnum


class CertificateKind(StrEnum):
    """Who vouches for a certificate: an authority, or nobody, so that the server has to have it on its list."""

    FROM_CA = "ca"
    SELF_SIGNED = "pinned"
