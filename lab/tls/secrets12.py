"""The keys of a TLS 1.2 connection, for either role."""

from collections.abc import Mapping

from lab.tls import keys
from lab.tls.engine import Party
from lab.tls.records import Protection, Protection12


class Secrets12:
    """The master secret (48 bytes) of one connection and what follows from it (RFC 5246 sections 6.3 and 7.4.9)."""

    def __init__(self, master: bytes, client_random: bytes, server_random: bytes, suite: keys.CipherSuite) -> None:
        self.master = master
        self._client_random = client_random
        self._suite = suite
        both = keys.traffic_keys(master, client_random, server_random, suite)
        self.protections: Mapping[Party, Protection] = {party: Protection12(suite, key) for party, key in both.items()}
        """How each party protects what it writes."""

    @classmethod
    def of(
        cls,
        premaster: bytes,
        client_random: bytes,
        server_random: bytes,
        suite: keys.CipherSuite,
        handshake: bytes | None,
    ) -> "Secrets12":
        """From the premaster secret; bound to `handshake` (RFC 7627) if given, else to the randoms."""
        if handshake is None:
            master = keys.master_secret(premaster, client_random, server_random, suite)
        else:
            master = keys.extended_master_secret(premaster, handshake, suite)
        return cls(master, client_random, server_random, suite)

    def verify_data(self, sender: Party, handshake: bytes) -> bytes:
        """The content of the sender's Finished, 12 bytes."""
        return keys.verify_data(self.master, sender, handshake, self._suite)

    def key_log(self) -> str:
        """The line for an SSLKEYLOGFILE."""
        return keys.key_log_line(self._client_random, self.master)
