"""Mutual TLS as written: OpenSSL asks for a certificate and checks chain and proof."""

from victim_server.authentication import Authentication, GatewayFiles
from victim_server.openssl import OpenSslServer, client_context


def authentication(files: GatewayFiles) -> Authentication:
    """OpenSSL, which trusts the lab's own CA and no other."""
    context = client_context(files, files.authorities)
    return Authentication(lambda: OpenSslServer(context))
