"""What a server can check in a client's handshake, each with the clauses that require it.

A scheme lists the checks that it performs, a move those that it fails. From both follows what the scheme does with the
move.
"""

from enum import Enum


class Check(Enum):
    """One check; the value describes it, with its clauses in TLS 1.2 and TLS 1.3."""

    CERTIFICATE_PRESENT = "the client presents a certificate (RFC 5246 section 7.4.6, RFC 8446 section 4.4.2.4)"
    CHAIN = "the certificate comes from an issuer that the server trusts, or is one that it knows (RFC 5280 section 6)"
    MESSAGE_ORDER = "each message comes in its turn and once (RFC 5246 section 7.3, RFC 8446 sections 2 and 4)"
    PROOF_PRESENT = "a CertificateVerify follows the certificate (RFC 5246 section 7.3, RFC 8446 section 4.4.3)"
    PROOF_VALID = "its signature fits handshake and certificate (RFC 5246 section 7.4.8, RFC 8446 section 4.4.3)"
    SESSION = "a session is resumed only where its client would be let in (RFC 6066 section 3)"
    PASSWORD = "the client knows the password (RFC 7617, RFC 9110 section 11.6.2)"
    KEYS = (
        "records, Finished and binders fit the keys (RFC 5246 sections 6.2.3 and 7.4.9, RFC 8446 sections 5.2, 4.4.4 "
        "and 4.2.11)"
    )
