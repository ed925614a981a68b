"""The schemes: what a server asks its clients for and what it checks, as data.

A scheme says nothing about who implements it; that is `lab.catalogue.gateways`.
"""

from dataclasses import dataclass
from typing import Literal

from lab.catalogue.certificates import CertificateKind
from lab.catalogue.checks import Check
from lab.catalogue.moves import STOLEN_KEY, STOLEN_PASSWORD


@dataclass(frozen=True)
class Scheme:
    """One way for a server to authenticate its clients.

    `verifies`, `stands_for` and `fault` (what it fails to check) are for people; `checks` is `verifies` as data.
    `trusts` says which certificate a customer needs: one from the CA, or a self-signed one that the server has on its
    list. With a password she needs none; there the moves are tried with the one from the CA.
    """

    id: str
    asks_for: str
    verifies: str
    checks: frozenset[Check]
    stands_for: str
    fault: str
    trusts: CertificateKind

    @property
    def asks_in_tls(self) -> bool:
        """Whether it asks for the certificate in the handshake, not in a header."""
        return self.asks_for != NOTHING_IN_TLS

    @property
    def checks_proof(self) -> bool:
        """Whether a client must prove possession of its certificate's private key."""
        return Check.PROOF_VALID in self.checks

    @property
    def takes_password(self) -> bool:
        """Whether a client gives a name and a password instead of a certificate."""
        return Check.PASSWORD in self.checks

    @property
    def control(self) -> str:
        """The control that an attacker's own code is let in with, given what alice keeps secret."""
        return STOLEN_PASSWORD if self.takes_password else STOLEN_KEY

    @property
    def proof(self) -> Literal["checked", "ignored", "not checked"]:
        """What it does about the proof of possession."""
        if self.checks_proof:
            return "checked"
        return "ignored" if Check.PROOF_PRESENT in self.checks else "not checked"


NOTHING_IN_TLS = "nothing in TLS"

ALL_CHECKS = frozenset(Check) - {Check.PASSWORD, Check.SESSION}
ALL_BUT_PROOF = ALL_CHECKS - {Check.PROOF_PRESENT, Check.PROOF_VALID}

SCHEMES: tuple[Scheme, ...] = (
    Scheme(
        id="mtls",
        asks_for="Certificate + proof",
        verifies="chain and proof",
        checks=ALL_CHECKS,
        stands_for="RFC 5246/8446 as written",
        fault="",
        trusts=CertificateKind.FROM_CA,
    ),
    Scheme(
        id="pinned-mtls",
        asks_for="Certificate + proof",
        verifies="proof, and that the self-signed certificate is one the server issued",
        checks=ALL_CHECKS,
        stands_for="the question's own case",
        fault="",
        trusts=CertificateKind.SELF_SIGNED,
    ),
    Scheme(
        id="certificate-only",
        asks_for="Certificate + proof; it does not look at the proof",
        verifies="chain",
        checks=ALL_BUT_PROOF,
        stands_for="what the question proposes",
        fault="It does not make the client prove possession of the private key.",
        trusts=CertificateKind.FROM_CA,
    ),
    Scheme(
        id="pinned-certificate-only",
        asks_for="Certificate + proof; it does not look at the proof",
        verifies="that it is one of the server's own self-signed certificates",
        checks=ALL_BUT_PROOF,
        stands_for='"treat it like a password"',
        fault="It treats a certificate, which others can see, as a password that only its owner knows.",
        trusts=CertificateKind.SELF_SIGNED,
    ),
    Scheme(
        id="ignored-proof",
        asks_for="Certificate + proof",
        verifies="chain; computes the proof's check and drops the result",
        checks=ALL_CHECKS - {Check.PROOF_VALID},
        stands_for="a bug of Bouncy Castle for Java, reported in 2014: it verified the client's signature and never "
        "looked at the result (github.com/bcgit/bc-java/issues/70)",
        fault="It checks the proof and accepts a wrong one.",
        trusts=CertificateKind.FROM_CA,
    ),
    Scheme(
        id="forwarded-header",
        asks_for=NOTHING_IN_TLS,
        verifies="chain of the certificate in the `Client-Cert` header, which any client can write",
        checks=ALL_BUT_PROOF,
        stands_for="RFC 9440 misdeployed",
        fault="It trusts a header that any client can write, and requires no proof.",
        trusts=CertificateKind.FROM_CA,
    ),
    Scheme(
        id="password",
        asks_for=NOTHING_IN_TLS,
        verifies="name and password in the `Authorization` header, against a hash by scrypt",
        checks=frozenset({Check.MESSAGE_ORDER, Check.KEYS, Check.PASSWORD}),
        stands_for='"one might as well use name and password"',
        fault="It takes a password, which every server that is shown it knows.",
        trusts=CertificateKind.FROM_CA,
    ),
)


def find_scheme(scheme_id: str) -> Scheme | None:
    """The scheme with that id."""
    return next((scheme for scheme in SCHEMES if scheme.id == scheme_id), None)
