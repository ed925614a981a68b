"""Gateways that run the instrument (`lab.tls.server`), for schemes that no real TLS stack can be configured to do."""

import secrets

from lab.tls.server import ClientAuth, Server
from lab.tls.sessions import SessionStore
from lab.tls.versions import TLS12, TLS13
from victim_server.authentication import EngineFactory, GatewayFiles

_NUMBERS = {"1.2": TLS12, "1.3": TLS13}


def instrument_servers(files: GatewayFiles, client_auth: ClientAuth) -> EngineFactory:
    """The factory of the instrument's servers, which authenticate their clients as told and, like any server, let them
    go on with their TLS 1.2 sessions."""
    bundle = files.bundle
    versions = tuple(_NUMBERS[version] for version in reversed(files.versions))
    sessions = SessionStore(secrets.token_bytes)
    return lambda: Server(
        entropy=secrets.token_bytes,
        chain=bundle.chain,
        key=bundle.key,
        client_auth=client_auth,
        versions=versions,
        sessions=sessions,
    )
