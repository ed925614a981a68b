"""What a client was set up with and offers in its ClientHello."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.tls.keys import CipherSuite, Entropy, KeyShare
from lab.tls.sessions import Session


@dataclass(frozen=True)
class Offer:
    """See `lab.tls.client.Client`; `random` is the client's, `suites` go by their number."""

    entropy: Entropy
    random: bytes
    versions: tuple[int, ...]
    suites: Mapping[int, CipherSuite]
    groups: tuple[int, ...]
    schemes: tuple[int, ...]
    shares: tuple[KeyShare, ...]
    check_chain: Callable[[tuple[bytes, ...]], None] | None
    resume: Session | None
