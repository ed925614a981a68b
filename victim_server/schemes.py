"""The schemes: how a gateway authenticates its clients, as data.

Importing the table is cheap, for whoever only wants to read it; a scheme's module is imported when a gateway opens.
A new scheme is one module with a function `authentication`, and one row here.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

from lab.parts import BadInput
from lab.tls.checks import Check
from lab.tls.engine import Engine

if TYPE_CHECKING:
    from lab.tls.bundle import Bundle

VERSIONS = ("1.2", "1.3")
"""The versions of TLS that a gateway negotiates, as people and events call them."""


@dataclass(frozen=True)
class GatewayFiles:
    """What a gateway has to work with.

    `bundle_file` is the server's own key and chain in PEM and `bundle` the same, read and checked; `authorities` are
    the CA certificates, in DER, whose client certificates count, and `issued` the self-signed client certificates that
    the server itself issued; `key_log_file` takes the session keys (SSLKEYLOGFILE format); `versions` are the versions
    of TLS to serve, out of VERSIONS. With `rsa_transport_file`, a bundle with an RSA key, gateways that run OpenSSL
    also take RSA key transport (RFC 5246 section 7.4.7.1), which has been out of favour since.
    """

    bundle_file: Path
    bundle: "Bundle"
    authorities: tuple[bytes, ...]
    issued: tuple[bytes, ...]
    key_log_file: Path
    versions: tuple[str, ...] = VERSIONS
    rsa_transport_file: Path | None = None


class GatewayEngine(Engine, Protocol):
    """An engine that can also say what a key log has to hold, and which version it settled on."""

    @property
    def key_log(self) -> str:
        """Whole lines for the key log, once there are keys; empty for an engine that writes them itself."""
        ...

    @property
    def version(self) -> int | None:
        """The version of this connection, 0x0303 for TLS 1.2 or 0x0304 for TLS 1.3; None as long as it is open."""
        ...


EngineFactory: TypeAlias = Callable[[], GatewayEngine]
"""Makes the engine of one new connection."""

CheckChain: TypeAlias = Callable[[tuple[bytes, ...]], None]
"""Takes a client's certificates in DER, its own first; raises CertificateError to turn it away."""


@dataclass(frozen=True)
class Authentication:
    """How a gateway comes to know its clients: by the handshake that its engines do, or, where there is
    `check_forwarded`, by the certificate in the Client-Cert header of each request, whoever sent it."""

    engines: EngineFactory
    check_forwarded: CheckChain | None = None


class SchemeModule(Protocol):
    """What a scheme's module has to have."""

    def authentication(self, files: GatewayFiles) -> Authentication:
        """How a gateway with these files authenticates; its engines may serve several connections at once."""
        ...


@dataclass(frozen=True)
class Scheme:
    """One way for a server to authenticate its clients.

    `verifies`, `stands_for` and `fault`, what the scheme leaves out, are for people; `checks` says the first as data.
    `trusts` says which of its certificates a customer has to bring: the CA's or a self-signed one that the server has
    on its list.
    """

    id: str
    asks_for: str
    verifies: str
    checks: frozenset[Check]
    stands_for: str
    fault: str
    proof: Literal["checked", "ignored", "not asked for"]
    trusts: Literal["ca", "pinned"]
    module: str
    versions: tuple[str, ...] = VERSIONS

    @property
    def asks_in_tls(self) -> bool:
        """Whether it asks for the certificate in the handshake, and not in a header."""
        return self.asks_for != NOTHING_IN_TLS

    @property
    def checks_proof(self) -> bool:
        """Whether a client must show that it has its certificate's private key."""
        return Check.PROOF_VALID in self.checks

    def served(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the wanted versions that a gateway of this scheme can serve; BadInput where it is none."""
        if served := tuple(version for version in self.versions if version in wanted):
            return served
        raise BadInput(f"{self.id} cannot do TLS {' or '.join(wanted)}; it does TLS {' and '.join(self.versions)}")

    def authentication(self, files: GatewayFiles) -> Authentication:
        """See `SchemeModule.authentication`."""
        return cast(SchemeModule, importlib.import_module(self.module)).authentication(files)


NOTHING_IN_TLS = "nothing in TLS"

ALL_CHECKS = frozenset(Check)
ALL_BUT_PROOF = ALL_CHECKS - {Check.PROOF_PRESENT, Check.PROOF_VALID}

SCHEMES: tuple[Scheme, ...] = (
    Scheme(
        id="mtls",
        asks_for="Certificate + proof",
        verifies="chain and proof (OpenSSL through Python's `ssl`)",
        checks=ALL_CHECKS,
        stands_for="RFC 5246/8446 as written",
        fault="",
        proof="checked",
        trusts="ca",
        module="victim_server.mtls",
    ),
    Scheme(
        id="pinned-mtls",
        asks_for="Certificate + proof",
        verifies="proof, and that the self-signed certificate is one the server issued",
        checks=ALL_CHECKS,
        stands_for="the question's own case",
        fault="",
        proof="checked",
        trusts="pinned",
        module="victim_server.pinned_mtls",
    ),
    Scheme(
        id="certificate-only",
        asks_for="Certificate",
        verifies="chain",
        checks=ALL_BUT_PROOF,
        stands_for="what the question proposes",
        fault="It asks nobody to show that the certificate's private key is theirs.",
        proof="not asked for",
        trusts="ca",
        module="victim_server.certificate_only",
    ),
    Scheme(
        id="pinned-certificate-only",
        asks_for="Certificate",
        verifies="that it is one of the server's own self-signed certificates",
        checks=ALL_BUT_PROOF,
        stands_for='"treat it like a password"',
        fault="It takes a certificate, which its owner shows on the way, for a password that only she knows.",
        proof="not asked for",
        trusts="pinned",
        module="victim_server.pinned_certificate_only",
    ),
    Scheme(
        id="ignored-proof",
        asks_for="Certificate + proof",
        verifies="chain; computes the proof's check and drops the result",
        checks=ALL_CHECKS - {Check.PROOF_VALID},
        stands_for="a bug shipped by a real library in 2014",
        fault="It checks the proof and lets a wrong one pass.",
        proof="ignored",
        trusts="ca",
        module="victim_server.ignored_proof",
    ),
    Scheme(
        id="forwarded-header",
        asks_for=NOTHING_IN_TLS,
        verifies="chain of the certificate in the `Client-Cert` header, whoever sent it",
        checks=ALL_BUT_PROOF,
        stands_for="RFC 9440 misdeployed",
        fault="It believes a header that anybody can write, and asks nobody for a proof.",
        proof="not asked for",
        trusts="ca",
        module="victim_server.forwarded_header",
    ),
)


def find_scheme(scheme_id: str) -> Scheme:
    """The scheme with that id; BadInput for one that there isn't."""
    for scheme in SCHEMES:
        if scheme.id == scheme_id:
            return scheme
    raise BadInput(f"there is no scheme {scheme_id!r}; there are {', '.join(scheme.id for scheme in SCHEMES)}")
