"""What a gateway needs to authenticate its clients, and the implementation that does it."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Protocol, TypeAlias, cast

from lab.catalogue.gateways import Gateway
from lab.process import BadInput
from lab.tls.bundle import Bundle
from lab.tls.engine import Engine
from lab.tls.versions import VERSIONS, Version
from victim_server.passwords import KeptPassword


@dataclass(frozen=True)
class GatewayFiles:
    """What a gateway works with.

    `bundle_file` is the server's own key and chain in PEM, and `bundle` the same, read and checked. `authorities` are
    the trusted CA certificates in DER, `issued` the self-signed client certificates that the server itself issued.
    `key_log_file` receives the session keys (SSLKEYLOGFILE format). `versions` are the versions of TLS to serve. With
    `rsa_transport_file`, a bundle with an RSA key, gateways that run OpenSSL also do RSA key transport (RFC 5246
    section 7.4.7.1). `passwords` are what the server keeps of its customers' passwords, by name.
    `student_code` has the files with a student's check of the proof, by the scheme that they are to serve.
    """

    bundle_file: Path
    bundle: Bundle
    authorities: tuple[bytes, ...]
    issued: tuple[bytes, ...]
    key_log_file: Path
    versions: tuple[Version, ...] = VERSIONS
    rsa_transport_file: Path | None = None
    passwords: Mapping[str, KeptPassword] = field(default_factory=dict)
    student_code: Mapping[str, Path] = field(default_factory=dict)


class GatewayEngine(Engine, Protocol):
    """An engine that also gives the lines for a key log, and what a gateway reports of a handshake."""

    @property
    def key_log(self) -> str:
        """Whole lines for the key log, once there are keys; empty if the engine writes them itself."""
        ...

    @property
    def version(self) -> int | None:
        """The version of this connection, 0x0303 for TLS 1.2 or 0x0304 for TLS 1.3; None until it is negotiated."""
        ...

    @property
    def server_name(self) -> str | None:
        """The name of the server that the client asked for; None if it named none."""
        ...

    @property
    def server_random(self) -> bytes:
        """The random of the ServerHello; empty until it is sent."""
        ...

    @property
    def proof(self) -> str:
        """What was measured of the client's proof in this handshake, for people."""
        ...


EngineFactory: TypeAlias = Callable[[], GatewayEngine]
"""Makes the engine of one new connection."""

Customer: TypeAlias = bytes | str
"""Who a request comes from: the client's certificate in DER, or the name of a customer who gave her password."""

CheckPassword: TypeAlias = Callable[[str, str], bool]
"""Takes a name and a password; whether they belong together."""

CheckChain: TypeAlias = Callable[[tuple[bytes, ...]], None]
"""Takes a client's certificates in DER, its own first; raises CertificateError to refuse it."""


@dataclass(frozen=True)
class Authentication:
    """How a gateway authenticates its clients: in the handshake that its engines do, or by each request. With
    `check_forwarded` that is by the certificate in the Client-Cert header, which any client can write; with
    `check_password` by name and password (RFC 7617). `customer` picks the certificate that names the customer, in DER,
    out of those that the client sent in the handshake; it is the first, or else that is a fault.
    With `newcomers` the server has another name too, under which anybody may come in and has no account."""

    engines: EngineFactory
    check_forwarded: CheckChain | None = None
    check_password: CheckPassword | None = None
    customer: Callable[[tuple[bytes, ...]], bytes] = itemgetter(0)
    newcomers: bool = False


def authentication_for(gateway: Gateway, files: GatewayFiles) -> Authentication:
    """How a gateway authenticates its clients: its implementation's module says it, with `authentication`.

    The module is imported when a gateway opens, so that a wrong call is refused without waiting for it.
    """
    module = importlib.import_module(f"victim_server.{gateway.implementation.id}")
    return cast(Authentication, module.authentication(gateway.scheme.id, files))


def served(gateway: Gateway, wanted: tuple[Version, ...]) -> tuple[Version, ...]:
    """Those of the wanted versions that a gateway can serve; BadInput if there is none."""
    if versions := tuple(version for version in gateway.versions if version in wanted):
        return versions
    able, asked = " and ".join(map(str, gateway.versions)), " or ".join(map(str, wanted))
    raise BadInput(f"{gateway.id} cannot do TLS {asked}; it does TLS {able}")
