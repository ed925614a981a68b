"""What the question proposes: ask for the certificate, check its chain, and take whoever sent it for its owner.

A CertificateVerify may be missing; one that comes, as real clients always send it, is not looked at.
"""

from lab.tls.server import ClientAuth, Proof
from victim_server.authentication import Authentication, GatewayFiles
from victim_server.chain import ChainCheck
from victim_server.instrument import instrument_servers


def authentication(files: GatewayFiles) -> Authentication:
    """The instrument's server with the check of the proof turned off."""
    check = ChainCheck(files.authorities)
    return Authentication(instrument_servers(files, ClientAuth(check, Proof.NOT_ASKED_FOR, check.names)))
