"""The schemes: what a server asks its clients for and what it checks, as data.

A scheme says nothing about who implements it; that is `lab.catalogue.gateways`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from lab.catalogue.certificates import CertificateKind
from lab.catalogue.checks import Check
from lab.catalogue.moves import STOLEN_KEY, STOLEN_PASSWORD
from lab.catalogue.shapes import Leaf


class NameFrom(Enum):
    """Where a server takes the name of the customer from that it lets in; the value describes it."""

    FIRST = "the first certificate, whose key makes the proof"
    LAST = "all certificates of the chain: the last one that is no authority's counts"
    HEADER = "the certificate in the header"
    REQUEST = "the request, where it stands beside the password"

    def among(self, leaves: tuple[Leaf, ...]) -> Leaf | None:
        """Whose certificate counts, of those that one message begins with; None without any."""
        return leaves[-1 if self is NameFrom.LAST else 0] if leaves else None


class ProofOf(Enum):
    """Whose proof a server checks before it lets somebody in under a name; the value describes it."""

    CUSTOMER = "the proof is checked, and that it belongs to the name that is let in"
    NOBODY = "no proof has to be valid"
    SOMEBODY = "a proof is checked, but not that it belongs to the name that is let in"


@dataclass(frozen=True)
class Scheme:
    """One way for a server to authenticate its clients.

    `verifies`, `stands_for` and `fault` (what it fails to check) are for people; `checks` is `verifies` as data.
    `trusts` says which certificate a customer needs: one from the CA, or a self-signed one that the server has on its
    list. With a password she needs none; there the moves are tried with the one from the CA. `name_from` says where the
    server takes her name from.
    """

    id: str
    asks_for: str
    verifies: str
    checks: frozenset[Check]
    stands_for: str
    fault: str
    trusts: CertificateKind
    name_from: NameFrom = NameFrom.FIRST

    @property
    def asks_in_tls(self) -> bool:
        """Whether it asks for the certificate in the handshake, not in a header."""
        return self.asks_for != NOTHING_IN_TLS

    @property
    def checks_proof(self) -> bool:
        """Whether a client must prove possession of its certificate's private key."""
        return Check.PROOF_VALID in self.checks

    @property
    def proof_of(self) -> ProofOf:
        """Whose proof it checks: the customer's own, if everything is checked that ties a proof to her name."""
        if not self.checks_proof:
            return ProofOf.NOBODY
        tied = self.name_from is NameFrom.FIRST and self.checks >= TIES_PROOF_TO_NAME
        return ProofOf.CUSTOMER if tied else ProofOf.SOMEBODY

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

ALL_CHECKS = frozenset(Check) - {Check.PASSWORD}
TIES_PROOF_TO_NAME = frozenset({Check.CHAIN, Check.SESSION})
"""What is checked besides the proof, or the key that made it may be anybody's."""
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
        name_from=NameFrom.HEADER,
    ),
    Scheme(
        id="password",
        asks_for=NOTHING_IN_TLS,
        verifies="name and password in the `Authorization` header, against a hash by scrypt",
        checks=frozenset({Check.MESSAGE_ORDER, Check.KEYS, Check.PASSWORD}),
        stands_for='"one might as well use name and password"',
        fault="It takes a password, which every server that is shown it knows.",
        trusts=CertificateKind.FROM_CA,
        name_from=NameFrom.REQUEST,
    ),
    Scheme(
        id="any-certificate-of-the-chain",
        asks_for="Certificate + proof",
        verifies="chain and proof of the first certificate; then it looks for the customer's name in all of them",
        checks=ALL_CHECKS,
        stands_for="CVE-2023-2422: Keycloak looked for the client's name in every certificate that the client had sent "
        "(securitylab.github.com/advisories/GHSL-2023-083_Keycloak)",
        fault="It takes the name from another certificate than the one whose key made the proof.",
        trusts=CertificateKind.FROM_CA,
        name_from=NameFrom.LAST,
    ),
    Scheme(
        id="names-only",
        asks_for="Certificate + proof",
        verifies="proof, and that the issuer has the name of a trusted authority; not the authority's signature",
        checks=ALL_CHECKS - {Check.CHAIN},
        stands_for="CVE-2026-35616: FortiClient EMS compared the names in a chain and no signature "
        "(bishopfox.com/blog/api-authentication-bypass-in-forticlient-ems-7-4-5-7-4-6-cve-2026-35616); CVE-2024-2048: "
        "Vault knew a certificate by its serial number and its issuer's key identifier "
        "(github.com/hashicorp/vault/pull/25649)",
        fault="It knows a certificate by its names, which anybody can write into one of their own.",
        trusts=CertificateKind.FROM_CA,
    ),
    Scheme(
        id="resumed-elsewhere",
        asks_for="Certificate + proof",
        verifies="chain and proof, but not of a session that began under its other name, where anybody is let in as a "
        "newcomer; both names have one ticket key",
        checks=ALL_CHECKS - {Check.SESSION},
        stands_for="CVE-2025-23419 (nginx), CVE-2025-23048 (Apache), CVE-2025-68121 (Go): a session that began under a "
        "name of the server that trusts others was resumed under this one (github.com/golang/go/issues/77217)",
        fault="It resumes a session that began where others are trusted, and checks neither proof nor chain again.",
        trusts=CertificateKind.FROM_CA,
    ),
)


def find_scheme(scheme_id: str) -> Scheme | None:
    """The scheme with that id."""
    return next((scheme for scheme in SCHEMES if scheme.id == scheme_id), None)
