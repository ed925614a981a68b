"""The headers in which a proxy tells the server behind it who the client is, as an attacker writes them herself.

A server that trusts them and is reached by anybody but its proxy, or by a proxy that lets a client's own headers pass,
takes what they say for checked.
"""

import base64
from hashlib import sha1, sha256
from typing import TypeAlias
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, in order."""


def client_cert(certificate: bytes) -> Headers:
    """The certificate, in DER, in the header of RFC 9440 section 2.2."""
    return (("Client-Cert", f":{base64.b64encode(certificate).decode()}:"),)


def spellings(certificate: bytes) -> tuple[Headers, ...]:
    """All headers that say that this certificate, in DER, was checked: as they are documented; in capitals with
    underscores, which servers that turn names into variables take for the same; and in small letters.

    Each is for a request of its own, as a server puts equal names together. Raises what `cryptography` does for a
    certificate that it cannot read.
    """
    usual = _usual(certificate)
    shouted = tuple((name.upper().replace("-", "_"), value) for name, value in usual)
    quiet = tuple((name.lower(), value) for name, value in usual)
    return usual, shouted, quiet


def _usual(der: bytes) -> Headers:
    certificate = x509.load_der_x509_certificate(der)
    subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    common_name = str(names[0].value) if names else subject
    pem, text = quote(certificate.public_bytes(Encoding.PEM).decode(), safe=""), base64.b64encode(der).decode()
    said = (
        *client_cert(der),  # RFC 9440 section 2.2
        ("Client-Cert-Chain", f":{text}:"),  # RFC 9440 section 2.3
        ("X-Forwarded-Client-Cert", f'Hash={sha256(der).hexdigest()};Cert="{pem}";Subject="{subject}"'),  # Envoy
        ("X-SSL", "1"),
        ("X-SSL-Client-Verify", "SUCCESS"),  # the value of nginx's $ssl_client_verify and Apache's SSL_CLIENT_VERIFY
        ("X-SSL-Client-S-DN", subject),
        ("X-SSL-Client-DN", subject),
        ("X-SSL-Client-I-DN", issuer),
        ("X-SSL-Client-CN", common_name),
        ("X-SSL-Client-SHA1", sha1(der, usedforsecurity=False).hexdigest()),
        ("X-SSL-Client-DER", text),
        ("X-SSL-Client-Cert", pem),
        ("SSL-Client-Verify", "SUCCESS"),  # ingress-nginx
        ("SSL-Client-Subject-DN", subject),
        ("SSL-Client-Cert", pem),
    )
    return tuple((name, " ".join(value.encode("ascii", "replace").decode().split())) for name, value in said)
