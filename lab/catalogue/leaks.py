"""The leaks, as data: the ways in which a certificate leaves its owner, and what comes with it."""

from dataclasses import dataclass
from enum import Enum

from lab.catalogue.certificates import CertificateKind


class LootKind(Enum):
    """What a leak can give besides a certificate; the value is for people."""

    PROOF = "proof of possession"
    SESSION = "session"
    RECORDING = "recording of a whole connection"
    KEY = "private key"


@dataclass(frozen=True)
class Leak:
    """One way in which a certificate gets into the attacker's hands.

    `title` and `how` are for people. `gives` is what comes with the certificate; `certificates` are the kinds that leak
    this way.
    """

    id: str
    title: str
    how: str
    gives: frozenset[LootKind]
    certificates: frozenset[CertificateKind] = frozenset(CertificateKind)


WIRE = Leak(
    "wire",
    "Read off the wire",
    "a passive listener reads the plaintext Certificate message of TLS 1.2",
    frozenset(LootKind) - {LootKind.KEY},
)
INTERCEPTION = Leak(
    "interception",
    "Handed to an interceptor",
    "mitmproxy answers in the bank's place and asks for a certificate; a client that does not verify the server sends "
    "it, in TLS 1.3 too",
    frozenset(),
)
LIVE_RELAY = Leak(
    "live-relay",
    "Relayed while it is fresh",
    "mallory is the server to a client that does not verify it, and a client of the bank at the same time; she relays "
    "the client's Certificate and proof at once",
    frozenset({LootKind.PROOF}),
)
ROGUE_SERVER = Leak(
    "rogue-server",
    "Shown to another server",
    "a shop that alice uses, and whose certificate she verifies, keeps what she shows when she logs in",
    frozenset({LootKind.PROOF}),
)
DATABASE = Leak(
    "database",
    "Stolen from the server's database",
    "the bank's list of the self-signed certificates that it issued leaks",
    frozenset(),
    frozenset({CertificateKind.SELF_SIGNED}),
)
LOG = Leak(
    "log",
    "Read in a log",
    "a gateway's access log has each client's certificate, as PEM in a log line",
    frozenset(),
)
ARCHIVE = Leak(
    "archive",
    "Kept by the issuer, key and all",
    "the bank made its customers' keys and kept a copy of each bundle that it handed out; the copies leak",
    frozenset({LootKind.KEY}),
)
REQUESTS = Leak(
    "requests",
    "Kept by an issuer that never had the key",
    "alice made her own key and sent the bank a certificate request; the bank's copies of request and certificate leak",
    frozenset(),
    frozenset({CertificateKind.FROM_CA}),
)
LEAKS: tuple[Leak, ...] = (WIRE, INTERCEPTION, LIVE_RELAY, ROGUE_SERVER, DATABASE, LOG, ARCHIVE, REQUESTS)


def find_leak(leak_id: str) -> Leak | None:
    """The leak with that id."""
    return next((leak for leak in LEAKS if leak.id == leak_id), None)
