"""The gateways: each scheme with each implementation that serves it. On the wire a gateway is a port."""

from dataclasses import dataclass

from lab.catalogue.implementations import IMPLEMENTATIONS, Implementation
from lab.catalogue.schemes import SCHEMES, Scheme
from lab.tls.versions import Version


@dataclass(frozen=True)
class Gateway:
    """A scheme served by an implementation. RFC 9440 calls it a TLS-terminating reverse proxy."""

    scheme: Scheme
    implementation: Implementation

    @property
    def id(self) -> str:
        """For example `mtls@openssl`."""
        return f"{self.scheme.id}@{self.implementation.id}"

    @property
    def versions(self) -> tuple[Version, ...]:
        """The versions of TLS that it can serve."""
        return self.implementation.versions


GATEWAYS: tuple[Gateway, ...] = tuple(
    Gateway(scheme, implementation)
    for scheme in SCHEMES
    for implementation in IMPLEMENTATIONS
    if scheme.id in implementation.serves
)


def find_gateway(gateway_id: str) -> Gateway | None:
    """The gateway with that id."""
    return next((gateway for gateway in GATEWAYS if gateway.id == gateway_id), None)
