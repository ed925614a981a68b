"""How each scheme is served: a module each, imported when a gateway opens."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from lab.catalogue.schemes import VERSIONS, Scheme
from lab.process import BadInput
from lab.tls.engine import Engine

if TYPE_CHECKING:
    from lab.tls.bundle import Bundle


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


_MODULES: Mapping[str, str] = {
    "mtls": "victim_server.mtls",
    "pinned-mtls": "victim_server.pinned_mtls",
    "certificate-only": "victim_server.certificate_only",
    "pinned-certificate-only": "victim_server.pinned_certificate_only",
    "ignored-proof": "victim_server.ignored_proof",
    "forwarded-header": "victim_server.forwarded_header",
}


def authentication_for(scheme: Scheme, files: GatewayFiles) -> Authentication:
    """How a gateway of this scheme authenticates its clients; see `SchemeModule.authentication`."""
    return cast(SchemeModule, importlib.import_module(_MODULES[scheme.id])).authentication(files)


def served(scheme: Scheme, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the wanted versions that a gateway of this scheme can serve; BadInput where it is none."""
    if versions := tuple(version for version in scheme.versions if version in wanted):
        return versions
    raise BadInput(f"{scheme.id} cannot do TLS {' or '.join(wanted)}; it does TLS {' and '.join(scheme.versions)}")
