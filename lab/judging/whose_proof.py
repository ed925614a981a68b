"""Whose key made an attempt's proof, and whose name the server took: from the bytes that were sent."""

from collections.abc import Iterator
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from lab.catalogue.schemes import NameFrom
from lab.events.types import MoveTried
from lab.judging.facts import read_certificate
from lab.judging.proof_comparison import certificates_in, handshake_messages
from lab.tls.errors import TlsError
from lab.tls.messages import Certificate
from lab.tls.versions import TLS12, find_version


def sent_chain(event: MoveTried) -> tuple[bytes, ...]:
    """The certificates, in DER, of the first Certificate message that an attempt sent, or else of the login in which
    the session began that it offered; empty for none, and where it is not readable, which is said elsewhere."""
    version = find_version(event.tls) or TLS12
    try:
        sent = handshake_messages((*event.steps, *event.elsewhere))
        shown = (raw for sender, raw in sent if sender == "client" and raw[0] == Certificate.type)
        return next((certificates_in(raw, version) for raw in shown), ())
    except TlsError:
        return ()


def naming(chain: tuple[bytes, ...], name_from: NameFrom) -> int:
    """Which of these certificates a server takes the name from that takes it from there; the first is 0."""
    if name_from is not NameFrom.LAST:
        return 0
    return max((at for at, der in enumerate(chain) if not _is_authoritys(der)), default=0)


def named_certificate(event: MoveTried, name_from: NameFrom) -> str:
    """The fingerprint of the certificate from which the name is taken, in hex; empty if none was sent."""
    chain = sent_chain(event)
    return sha256(chain[naming(chain, name_from)]).hexdigest() if chain else ""


def whose(event: MoveTried, name_from: NameFrom) -> str:
    """A sentence on the key that made the proof and on the name that was taken; empty if no certificate was sent."""
    chain = sent_chain(event)
    try:
        told = "; ".join(_whose(chain, naming(chain, name_from))) if chain else ""
    except ValueError:
        return ""  # an unreadable certificate, which no gateway takes
    return f"the session began under another name of the server, where {told}" if event.elsewhere and told else told


def _whose(chain: tuple[bytes, ...], named: int) -> Iterator[str]:
    yield f"the proof is by the key of certificate 1, {_owner(chain[0])}"
    if named:
        yield f"the name is that of certificate {named + 1}, {_owner(chain[named])}"
    elif signed_by_itself(read_certificate(chain[0])):
        yield f"no authority signed it: that very key did; {_issuer(chain[0])} is only a name in it"


def _owner(der: bytes) -> str:
    return read_certificate(der).subject.rfc4514_string()


def _issuer(der: bytes) -> str:
    return read_certificate(der).issuer.rfc4514_string()


def _is_authoritys(der: bytes) -> bool:
    """RFC 5280 section 4.2.1.9; what cannot be read names no customer either."""
    try:
        return read_certificate(der).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    except ValueError:
        return True


def signed_by_itself(certificate: x509.Certificate) -> bool:
    """Whether the certificate's own key made its signature, whatever name its issuer has."""
    key = certificate.public_key()
    content, hash_ = certificate.tbs_certificate_bytes, certificate.signature_hash_algorithm
    try:
        match key:
            case ec.EllipticCurvePublicKey() if hash_:
                key.verify(certificate.signature, content, ec.ECDSA(hash_))
            case rsa.RSAPublicKey() if hash_:
                key.verify(certificate.signature, content, padding.PKCS1v15(), hash_)
            case ed25519.Ed25519PublicKey():
                key.verify(certificate.signature, content)
            case _:
                return False
    except InvalidSignature:
        return False
    return True
