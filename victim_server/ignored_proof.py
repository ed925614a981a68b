"""A bug: the proof has to come and is checked, and the result of the check is dropped.

On the wire everything looks right as long as clients are honest, which is why nobody notices.
"""

from lab.tls.server import ClientAuth, Proof
from victim_server.authentication import Authentication, GatewayFiles
from victim_server.chain import ChainCheck
from victim_server.instrument import instrument_servers


def authentication(files: GatewayFiles) -> Authentication:
    """The instrument's server, which goes on whatever the check of the proof has found."""
    check = ChainCheck(files.authorities)
    return Authentication(instrument_servers(files, ClientAuth(check, Proof.IGNORED, check.names)))
