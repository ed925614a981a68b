"""What the question proposes: ask for the certificate, check its chain, and take whoever sent it for its owner.

No stack can be configured to do this, so this gateway runs the instrument. A CertificateVerify may be missing; one that
comes, as real clients always send it, is not looked at.
"""

import secrets

from lab.tls.server import ClientAuth, Proof, Server
from victim_server.chain import ChainCheck
from victim_server.schemes import EngineFactory, GatewayFiles


def engines(files: GatewayFiles) -> EngineFactory:
    """The instrument's server with the check of the proof turned off."""
    check = ChainCheck(files.authorities)
    client_auth = ClientAuth(check, Proof.NOT_ASKED_FOR, check.names)
    bundle = files.bundle
    return lambda: Server(entropy=secrets.token_bytes, chain=bundle.chain, key=bundle.key, client_auth=client_auth)
