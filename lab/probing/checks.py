"""What each of the attacker's moves stands for, and what to do where a server takes it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """A move seen from the server's side: the `family` of bugs that it finds, with public cases, and the `cure`."""

    family: str
    cure: str
    cases: tuple[str, ...] = ()


_LIBRARY = (
    "Let the TLS library check the client: ask for a certificate and require it (OpenSSL: SSL_VERIFY_PEER and "
    "SSL_VERIFY_FAIL_IF_NO_PEER_CERT), with no callback that overrules its result, and update the library."
)
_ISSUER = (
    "Verify the chain up to your own CA with the library, or compare the whole certificate (its SHA-256), never its "
    "names, serial number or key identifiers."
)
_ANOTHER = "who it is is taken from another certificate than the one whose key was proved"
_FIRST = "Take the client's identity from the first certificate, the one whose key the handshake proved, and no other."
_SESSION = "Update the library: a session may resume only with its secret."

CHECKS: Mapping[str, Advice] = {
    "no-certificate": Advice("a client without a certificate is let in", "Require the certificate. " + _LIBRARY),
    "no-certificate-message": Advice(
        "a client that leaves out a whole message is let in",
        _LIBRARY,
        ("Java 11.0.5 (certreplay exhibits)",),
    ),
    "verify-header": Advice(
        "what a client writes into a header counts as checked",
        "Let the proxy that checks the certificate remove these headers from every request, in every spelling, and let "
        "nobody but this proxy reach the server behind it.",
        ("CVE-2026-35616 (FortiClient EMS)", "CVE-2026-46579 (OpenShift's router)"),
    ),
    "omit-proof": Advice(
        "the proof may be left out",
        _LIBRARY,
        ("Java 11.0.5 (certreplay exhibits)", "CVE-2022-25640 (wolfSSL, TLS 1.3)"),
    ),
    "replay-proof": Advice("the proof is not checked, or not against this handshake", _LIBRARY),
    "relabelled-proof": Advice("the proof is not checked, or its algorithm is not", _LIBRARY),
    "flipped-proof": Advice("the proof's result is dropped", _LIBRARY),
    "foreign-key": Advice("the proof may be by any key", _LIBRARY),
    "empty-proof": Advice("an empty signature passes", _LIBRARY),
    "zero-proof": Advice("a signature of zeros passes", _LIBRARY, ("CVE-2022-21449 (Java)",)),
    "look-alike": Advice(
        "certificates are compared by names and not by their keys", _ISSUER, ("CVE-2026-35616 (FortiClient EMS)",)
    ),
    "self-issued": Advice("a certificate counts for its name, no matter who issued it", _ISSUER),
    "own-leaf-first": Advice(_ANOTHER, _FIRST, ("CVE-2023-2422 (Keycloak)",)),
    "stolen-leaf-first": Advice(_ANOTHER, _FIRST),
    "early-proof": Advice("messages may come in any order", _LIBRARY, ("CVE-2026-2645 (wolfSSL, TLS 1.2)",)),
    "early-finished": Advice("the handshake may be cut short", _LIBRARY, ("CVE-2022-25640 (wolfSSL, TLS 1.3)",)),
    "second-certificate": Advice("a second certificate replaces the proved one", _LIBRARY),
    "replay-flight": Advice("recorded bytes are taken again", _LIBRARY),
    "resume-session": Advice("a session is resumed without its secret", _SESSION),
    "other-door": Advice(
        "a session that began where others are trusted is resumed here",
        "Give each set of trusted issuers its own ticket keys and session cache, or turn resumption off; update the "
        "server.",
        ("CVE-2025-23419 (nginx, TLS 1.3)", "CVE-2025-68121 (Go)"),
    ),
    "forged-ticket": Advice(
        "a ticket is taken that the server did not make",
        "Update the library; where ticket keys are configured, make each from random bytes.",
        ("CVE-2014-7189 (Go)",),
    ),
    "prefix": Advice(
        "bytes that came before the handshake count as the client's",
        "Update the library or the server: what came in plaintext is dropped when TLS begins.",
        ("CVE-2023-40217 (Python)", "CVE-2021-23214 (PostgreSQL)"),
    ),
}
"""By the move's id."""

STRANGER = Advice("any certificate gets in, even one that nobody issued", _ISSUER)
"""The control with a stranger's certificate."""
