"""The gateways: each scheme with each implementation that serves it. On the wire a gateway is a port."""

from collections.abc import Container
from dataclasses import dataclass

from lab.catalogue.checks import Check
from lab.catalogue.implementations import IMPLEMENTATIONS, STUDENT, Implementation
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

BY_CHOICE = tuple(one for one in GATEWAYS if Check.SESSION not in one.scheme.checks and one.scheme.asks_in_tls)
"""Those that a run has only if it is told to: they take a move that is pointless at the others."""

STUDENTS_GATEWAYS: tuple[Gateway, ...] = tuple(
    Gateway(scheme, STUDENT) for scheme in SCHEMES if scheme.id in STUDENT.serves
)
"""Those that a run has only if a student's file serves them."""


def gateways_named(ids: Container[str]) -> list[Gateway]:
    """The gateways with these ids, in the tables' order."""
    return [gateway for gateway in (*GATEWAYS, *STUDENTS_GATEWAYS) if gateway.id in ids]


def find_gateway(gateway_id: str) -> Gateway | None:
    """The gateway with that id."""
    return next(iter(gateways_named((gateway_id,))), None)
