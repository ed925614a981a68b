"""The implementations: the TLS stacks that serve the schemes, as data."""

from dataclasses import dataclass

from lab.tls.versions import TLS12, VERSIONS, Version


@dataclass(frozen=True)
class Implementation:
    """A TLS stack. `title` is for people; `serves` has the ids of the schemes that it can serve."""

    id: str
    title: str
    serves: tuple[str, ...]
    versions: tuple[Version, ...] = VERSIONS
    rsa_key_transport: bool = False
    """Whether it can be told to do RSA key transport (RFC 5246 section 7.4.7.1)."""
    resumes: tuple[Version, ...] = VERSIONS
    """The versions in which it gives its clients sessions to resume."""
    newcomers: tuple[str, ...] = ()
    """The schemes that it serves under one name, while under another it lets anybody in as a newcomer."""


RSA_TRANSPORT = "kRSA+AESGCM"
"""The suites of RSA key transport, as an OpenSSL cipher list; Python's `ssl` leaves them out by default."""

OPENSSL = Implementation(
    "openssl",
    "OpenSSL through Python's `ssl`",
    ("mtls", "pinned-mtls", "forwarded-header", "password"),
    rsa_key_transport=True,
)
INSTRUMENT = Implementation(
    "instrument",
    "this lab's own handshake code (`lab.tls`), whose check of the proof can be turned off",
    (
        *("mtls", "pinned-mtls", "certificate-only", "pinned-certificate-only", "ignored-proof"),
        *("any-certificate-of-the-chain", "names-only", "resumed-elsewhere"),
    ),
    resumes=(TLS12,),
    newcomers=("mtls", "resumed-elsewhere"),
)
IMPLEMENTATIONS: tuple[Implementation, ...] = (OPENSSL, INSTRUMENT)
STUDENT = Implementation(
    "student",
    "a student's check of the proof, in this lab's own handshake code",
    ("mtls", "pinned-mtls"),
    resumes=(TLS12,),
)
"""A file of a student's, which a run takes where it is told to. What is expected of it is what its scheme promises."""
