"""The schemes: how a gateway authenticates its clients, as data.

Importing the table is cheap, for whoever only wants to read it; a scheme's module is imported when a gateway opens.
A new scheme is one module with a function `engines`, and one row here.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

from lab.parts import BadInput
from lab.tls.engine import Engine

if TYPE_CHECKING:
    from lab.tls.bundle import Bundle


@dataclass(frozen=True)
class GatewayFiles:
    """What a gateway has to work with.

    `bundle_file` is the server's own key and chain in PEM and `bundle` the same, read and checked; `authorities` are
    the CA certificates, in DER, whose client certificates count; `key_log_file` takes the session keys (SSLKEYLOGFILE
    format).
    """

    bundle_file: Path
    bundle: "Bundle"
    authorities: tuple[bytes, ...]
    key_log_file: Path


class GatewayEngine(Engine, Protocol):
    """An engine that can also say what a key log has to hold."""

    @property
    def key_log(self) -> str:
        """Whole lines for the key log, once there are keys; empty for an engine that writes them itself."""
        ...


EngineFactory: TypeAlias = Callable[[], GatewayEngine]
"""Makes the engine of one new connection."""


class SchemeModule(Protocol):
    """What a scheme's module has to have."""

    def engines(self, files: GatewayFiles) -> EngineFactory:
        """The factory of the gateway's engines; it may be called for several connections at once."""
        ...


@dataclass(frozen=True)
class Scheme:
    """One way for a server to authenticate its clients; the texts are for people."""

    id: str
    tls: str
    asks_for: str
    checks: str
    stands_for: str
    proof: Literal["checked", "ignored", "not asked for"]
    module: str

    @property
    def checks_proof(self) -> bool:
        """Whether a client must show that it has its certificate's private key."""
        return self.proof == "checked"

    def engines(self, files: GatewayFiles) -> EngineFactory:
        """See `SchemeModule.engines`."""
        return cast(SchemeModule, importlib.import_module(self.module)).engines(files)


SCHEMES: tuple[Scheme, ...] = (
    Scheme(
        id="mtls",
        tls="1.2",
        asks_for="Certificate + proof",
        checks="chain and proof (OpenSSL through Python's `ssl`)",
        stands_for="RFC 5246 as written",
        proof="checked",
        module="victim_server.mtls",
    ),
    Scheme(
        id="certificate-only",
        tls="1.2",
        asks_for="Certificate",
        checks="chain",
        stands_for="what the question proposes",
        proof="not asked for",
        module="victim_server.certificate_only",
    ),
)


def find_scheme(scheme_id: str) -> Scheme:
    """The scheme with that id; BadInput for one that there isn't."""
    for scheme in SCHEMES:
        if scheme.id == scheme_id:
            return scheme
    raise BadInput(f"there is no scheme {scheme_id!r}; there are {', '.join(scheme.id for scheme in SCHEMES)}")
