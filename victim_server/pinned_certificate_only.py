"""The certificate as a password: whoever sends one of those that the server itself issued is its owner.

A CertificateVerify may be missing; one that comes is not looked at.
"""

from lab.tls.server import ClientAuth, Proof
from victim_server.authentication import Authentication, GatewayFiles
from victim_server.chain import PinCheck
from victim_server.instrument import instrument_servers


def authentication(files: GatewayFiles) -> Authentication:
    """The instrument's server, which looks the certificate up in its list and does no more."""
    return Authentication(instrument_servers(files, ClientAuth(PinCheck(files.issued), Proof.NOT_ASKED_FOR)))
