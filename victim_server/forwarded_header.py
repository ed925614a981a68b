"""RFC 9440 misdeployed: a server that was meant to stand behind a TLS-terminating proxy, and doesn't.

It takes the client's certificate from the Client-Cert header, which the proxy would have set, whoever sent it (RFC 9440
section 4). In TLS it asks for nothing.
"""

from victim_server.authentication import Authentication, GatewayFiles
from victim_server.chain import ChainCheck
from victim_server.openssl import OpenSslServer, server_context


def authentication(files: GatewayFiles) -> Authentication:
    """OpenSSL without client authentication; the chain is checked for each request."""
    context = server_context(files)
    return Authentication(lambda: OpenSslServer(context), ChainCheck(files.authorities))
