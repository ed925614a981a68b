"""What the queries of the claims have in common: which attempts and events they look at, and how they count them."""

from lab.catalogue.cast import VICTIM_CLIENT
from lab.catalogue.leaks import WIRE
from lab.catalogue.schemes import SCHEMES, ProofOf
from lab.events.types import CaptureSearched, CertificateCaptured, LoggedIn, PositionTaken
from lab.judging.attempts import Tried
from lab.judging.queries import Numbered, RunQueries
from lab.words import counted

CHECKING = ("mtls", "pinned-mtls")
"""The schemes that check the proof, as the RFCs have it."""
BLIND = ("certificate-only", "pinned-certificate-only")
"""The schemes that check the certificate only."""
NOT_WHOSE = tuple(scheme.id for scheme in SCHEMES if scheme.proof_of is ProofOf.SOMEBODY)
"""The schemes that check a proof, but not that it belongs to the name that they let in."""

ON_THE_WIRE = ("relay", "arp")
"""The positions from which a listener captures what passes."""


def in_the_clear(record: RunQueries, tls: str) -> list[Numbered[CertificateCaptured]]:
    """Alice's own certificates, read off the wire in a version."""
    return record.all(
        CertificateCaptured,
        lambda seen: (seen.leak, seen.tls) == (WIRE.id, tls) and bool(seen.message) and seen.sha256 in record.issued,
    )


def logins(record: RunQueries, *, tls: str = "", scheme: str = "") -> list[Numbered[LoggedIn]]:
    """Alice's own logins with a certificate in the handshake or a header; she verifies the server each time."""
    return record.all(
        LoggedIn,
        lambda login: (
            tls in ("", login.tls)
            and scheme in ("", scheme_of(login.gateway))
            and bool(login.sha256)
            and not login.resumed
        ),
        part=VICTIM_CLIENT,
    )


def scheme_of(gateway: str) -> str:
    """The scheme in a gateway's id."""
    return gateway.partition("@")[0]


def at(record: RunQueries, schemes: tuple[str, ...], leak: str = "", tls: str = "", move: str = "") -> list[Tried]:
    """The attempts to get in as alice at these schemes."""
    return [tried for one in schemes for tried in record.attempts(leak=leak, scheme=one, tls=tls, move=move)]


def accepted(tried: list[Tried]) -> list[Tried]:
    return [one for one in tried if one.accepted]


def refused(tried: list[Tried]) -> list[Tried]:
    return [one for one in tried if not one.accepted]


def count(tried: list[Tried]) -> str:
    return f"{len(accepted(tried))} of {counted(len(tried), 'attempt')} succeeded"


def both(checking: list[Tried], blind: list[Tried]) -> str:
    return f"where the proof is checked {count(checking)}, where the certificate alone is checked {count(blind)}"


def schemes(tried: list[Tried]) -> str:
    return " and ".join(dict.fromkeys(one.gateway.scheme.id for one in tried))


def found_something(searched: CaptureSearched) -> bool:
    """A search that misses what is there proves nothing about the rest."""
    return bool(searched.certificate_at)


def listened(record: RunQueries) -> bool:
    """Whether an attacker was on the wire; without one, that nothing was read proves nothing."""
    return bool(record.all(PositionTaken, lambda taken: taken.kind in ON_THE_WIRE))
