"""What several checks ask of a run."""

from lab.catalogue.leaks import WIRE
from lab.events.types import CertificateCaptured
from lab.judging.claims.evidence import in_the_clear
from lab.judging.proof_comparison import certificates_in, chain_in
from lab.judging.queries import RunQueries
from lab.tls.errors import Abort
from lab.tls.messages import Certificate
from lab.tls.versions import TLS12


def captured(record: RunQueries) -> list[CertificateCaptured]:
    """Alice's certificates as mallory read them off the wire, in TLS 1.2, with what alice signed."""
    return [seen.event for seen in in_the_clear(record, "1.2")]


def certificates(record: RunQueries) -> list[bytes]:
    """Alice's certificates that crossed the wire in the clear, in DER, each once."""
    return list(dict.fromkeys(chain_in(bytes.fromhex(one.message), TLS12)[0] for one in captured(record)))


def servers_certificates(record: RunQueries) -> list[bytes]:
    """The certificates that the gateways showed to alice in the same handshakes."""
    found: dict[bytes, None] = {}
    for one in record.all(CertificateCaptured, lambda seen: seen.leak == WIRE.id and bool(seen.transcript)):
        shown = [raw for raw in map(bytes.fromhex, one.event.transcript) if raw[:1] == bytes([Certificate.type])]
        try:
            found |= dict.fromkeys(certificates_in(shown[0], TLS12)) if len(shown) > 1 else {}
        except Abort:
            continue
    return list(found)
