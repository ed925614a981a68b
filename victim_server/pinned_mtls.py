"""The question's own case: mutual TLS with self-signed certificates that the server itself issued, and no CA."""

from victim_server.authentication import Authentication, GatewayFiles
from victim_server.openssl import OpenSslServer, client_context


def authentication(files: GatewayFiles) -> Authentication:
    """OpenSSL, which trusts the certificates on the server's list and nothing else."""
    context = client_context(files, files.issued)
    issued = frozenset(files.issued)
    return Authentication(lambda: OpenSslServer(context, issued))
