"""Gateways that run the instrument (`lab.tls.server`), for schemes that no real TLS stack can be configured to do."""

import secrets

from lab.tls.server import ClientAuth, Server
from victim_server.schemes import EngineFactory, GatewayFiles


def instrument_servers(files: GatewayFiles, client_auth: ClientAuth) -> EngineFactory:
    """The factory of the instrument's servers, which authenticate their clients as told."""
    bundle = files.bundle
    return lambda: Server(entropy=secrets.token_bytes, chain=bundle.chain, key=bundle.key, client_auth=client_auth)
