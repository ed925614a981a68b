"""The triple handshake (RFC 7627 section 1), as data: pairs of a client and a server, and whether it works with them.

In the first pair nothing stands in its way. Each of the others differs from it in one thing.
"""

from dataclasses import dataclass

from lab.catalogue.outcomes import ACCEPTED, REFUSED, Outcome

TLS12_ONLY = "SSLProtocol -all +TLSv1.2"
WITHOUT_EXTENSION = "Options = -ExtendedMasterSecret"
"""For OpenSSL's own configuration, and with `SSLOpenSSLConfCmd` for Apache's."""


@dataclass(frozen=True)
class Peers:
    """Alice and the bank, as they are set up.

    `expected` is what the bank does with mallory's request once alice's proof was passed on; `why` says what decides,
    by the clause of `source`. `directives` are added to the bank's configuration of Apache. `alice_extends` and
    `bank_extends` tell who has the extended master secret. `checks_again` is for a client that compares the server's
    name in every handshake: Python's ssl instead of curl.
    """

    id: str
    title: str
    expected: Outcome
    why: str
    source: str
    directives: tuple[str, ...] = (TLS12_ONLY,)
    alice_extends: bool = False
    bank_extends: bool = False
    checks_again: bool = False

    @property
    def is_a_cure(self) -> bool:
        return self.expected is REFUSED


PEERS: tuple[Peers, ...] = (
    Peers(
        "no-cure",
        "Neither side has the extended master secret",
        ACCEPTED,
        "The master secret depends on the premaster secret and the two random numbers, and on no certificate.",
        "RFC 7627 section 1",
    ),
    Peers(
        "only-alice-extends",
        "Only alice has the extended master secret",
        ACCEPTED,
        "Mallory answers alice without the extension, as an old server does. Alice goes on.",
        "RFC 7627 section 5.2",
        alice_extends=True,
    ),
    Peers(
        "only-the-bank-extends",
        "Only the bank has the extended master secret",
        ACCEPTED,
        "Alice does not offer the extension, as an old client does. The bank goes on.",
        "RFC 7627 section 5.2",
        bank_extends=True,
    ),
    Peers(
        "extended-master-secret",
        "Both have the extended master secret",
        REFUSED,
        "A session without the extension is not resumed for a client that offers it. So mallory takes it out of "
        "alice's hello. Then the Finished messages of the two connections differ, and RFC 5746 shows it.",
        "RFC 7627 section 5.3",
        alice_extends=True,
        bank_extends=True,
    ),
    Peers(
        "no-renegotiation",
        "The bank asks for the certificate at once, for the whole host",
        REFUSED,
        "Nothing is renegotiated. In a first handshake the two transcripts differ, and alice's proof does not fit.",
        "RFC 5246 section 7.4.8",
        directives=(TLS12_ONLY, "SSLVerifyClient require"),
    ),
    Peers(
        "ecdhe",
        "The bank has ECDHE only",
        REFUSED,
        "Both sides add to the secret. If mallory passes both parts on, she does not have the secret. If she adds a "
        "part of her own, there are two secrets.",
        "RFC 8422 section 5.10",
        directives=(TLS12_ONLY, "SSLCipherSuite ECDHE+AESGCM"),
    ),
    Peers(
        "tls-1.3",
        "Both have TLS 1.3",
        REFUSED,
        "Mallory needs TLS 1.2. The bank's random number tells alice that somebody brought the version down.",
        "RFC 8446 section 4.1.3",
        directives=("SSLProtocol -all +TLSv1.2 +TLSv1.3",),
    ),
    Peers(
        "name-checked-again",
        "Alice's client checks the server's name in every handshake",
        REFUSED,
        "In the third handshake the bank's certificate comes, and she asked for the shop's.",
        "RFC 7627 section 1",
        checks_again=True,
    ),
)


def find_peers(peers_id: str) -> Peers | None:
    """The pair with that id."""
    return next((one for one in PEERS if one.id == peers_id), None)
