"""Gateways that run the instrument (`lab.tls.server`): the check of the proof is one argument here.

No real TLS stack can be told to skip that check. Apart from it, these gateways do all that OpenSSL's do.
"""

import secrets
from collections.abc import Callable, Mapping

from lab.tls.server import ClientAuth, Proof, Server
from lab.tls.sessions import SessionStore
from victim_server.authentication import Authentication, GatewayFiles
from victim_server.chain import ChainCheck, PinCheck


def _chain(files: GatewayFiles, proof: Proof) -> ClientAuth:
    """The client's certificate leads to one of the authorities, which the CertificateRequest names."""
    check = ChainCheck(files.authorities)
    return ClientAuth(check, proof, check.names)


def _pinned(files: GatewayFiles, proof: Proof) -> ClientAuth:
    """The client's certificate is one that this server issued."""
    return ClientAuth(PinCheck(files.issued), proof)


_SCHEMES: Mapping[str, tuple[Callable[[GatewayFiles, Proof], ClientAuth], Proof]] = {
    "mtls": (_chain, Proof.REQUIRED),
    "certificate-only": (_chain, Proof.NOT_CHECKED),
    "ignored-proof": (_chain, Proof.IGNORED),
    "pinned-mtls": (_pinned, Proof.REQUIRED),
    "pinned-certificate-only": (_pinned, Proof.NOT_CHECKED),
}
"""How the certificate is checked, and how the proof. The gateway that is fooled and the one that is not differ in the
second alone."""


def authentication(scheme: str, files: GatewayFiles, make_server: Callable[..., Server] = Server) -> Authentication:
    """The instrument's servers for a scheme. Like any server, they let clients resume their TLS 1.2 sessions."""
    certificate, proof = _SCHEMES[scheme]
    client_auth = certificate(files, proof)
    sessions = SessionStore(secrets.token_bytes)
    return Authentication(
        lambda: make_server(
            entropy=secrets.token_bytes,
            chain=files.bundle.chain,
            key=files.bundle.key,
            client_auth=client_auth,
            versions=tuple(sorted(files.versions, reverse=True)),
            sessions=sessions,
        )
    )
