"""Gateways that run the instrument (`lab.tls.server`): the check of the proof is one argument here.

No real TLS stack can be told to skip that check. Apart from it, these gateways do all that OpenSSL's do.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter

from lab.catalogue.cast import NEWCOMERS_NAME
from lab.catalogue.implementations import INSTRUMENT
from lab.tls.server import ClientAuth, OtherName, Proof, Server
from lab.tls.sessions import SessionStore
from victim_server.authentication import Authentication, GatewayFiles
from victim_server.chain import ChainCheck, NamesCheck, PinCheck, last_customer, take_anybody


def _chain(files: GatewayFiles, proof: Proof) -> ClientAuth:
    """The client's certificate leads to one of the authorities, which the CertificateRequest names."""
    check = ChainCheck(files.authorities)
    return ClientAuth(check, proof, check.names)


def _pinned(files: GatewayFiles, proof: Proof) -> ClientAuth:
    """The client's certificate is one that this server issued."""
    return ClientAuth(PinCheck(files.issued), proof)


def _by_names(files: GatewayFiles, proof: Proof) -> ClientAuth:
    """The client's certificate has an authority's name as its issuer."""
    check = NamesCheck(files.authorities)
    return ClientAuth(check, proof, check.names)


@dataclass(frozen=True)
class _Serving:
    """How a scheme is served: how the certificate is checked, how the proof, and which certificate names the customer.

    The gateway that takes a certificate alone and the one that takes it with its proof differ in `proof` alone.
    """

    check: Callable[[GatewayFiles, Proof], ClientAuth]
    proof: Proof
    customer: Callable[[tuple[bytes, ...]], bytes] = itemgetter(0)
    one_ticket_key: bool = False
    """Whether sessions that began under the other name are resumed here: one store of sessions for both."""


_SCHEMES: Mapping[str, _Serving] = {
    "mtls": _Serving(_chain, Proof.REQUIRED),
    "certificate-only": _Serving(_chain, Proof.NOT_CHECKED),
    "ignored-proof": _Serving(_chain, Proof.IGNORED),
    "pinned-mtls": _Serving(_pinned, Proof.REQUIRED),
    "pinned-certificate-only": _Serving(_pinned, Proof.NOT_CHECKED),
    "any-certificate-of-the-chain": _Serving(_chain, Proof.REQUIRED, last_customer),
    "names-only": _Serving(_by_names, Proof.REQUIRED),
    "resumed-elsewhere": _Serving(_chain, Proof.REQUIRED, one_ticket_key=True),
}


def authentication(scheme: str, files: GatewayFiles, make_server: Callable[..., Server] = Server) -> Authentication:
    """The instrument's servers for a scheme. Like any server, they let clients resume their TLS 1.2 sessions."""
    how = _SCHEMES[scheme]
    client_auth = how.check(files, how.proof)
    sessions = SessionStore(secrets.token_bytes)
    other_names = {}
    if scheme in INSTRUMENT.newcomers:
        theirs = sessions if how.one_ticket_key else SessionStore(secrets.token_bytes)
        other_names[NEWCOMERS_NAME] = OtherName(ClientAuth(take_anybody, Proof.REQUIRED), theirs)
    return Authentication(
        lambda: make_server(
            entropy=secrets.token_bytes,
            chain=files.bundle.chain,
            key=files.bundle.key,
            client_auth=client_auth,
            versions=tuple(sorted(files.versions, reverse=True)),
            sessions=sessions,
            other_names=other_names,
        ),
        customer=how.customer,
        newcomers=bool(other_names),
    )
