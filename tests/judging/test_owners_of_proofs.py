"""Whose key made a proof, and whose name a server took: by certificates and messages made by hand."""

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from handmade import TRIED, with_fields
from lab.catalogue.schemes import NameFrom
from lab.judging.whose_proof import named_certificate, naming, sent_chain, signed_by_itself, whose
from lab.tls.messages import Certificate, serialize
from lab.tls.messages13 import Certificate13, CertificateEntry

START = datetime(2026, 1, 1, tzinfo=UTC)
PrivateKey: TypeAlias = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)
Edwards = ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
NewKey: TypeAlias = Callable[[], PrivateKey]
Steps: TypeAlias = tuple[tuple[str, str, str], ...]
KEY, OTHER_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in "ab")


def issued(
    name: str, key: PrivateKey = KEY, by: PrivateKey = OTHER_KEY, ca: bool | None = None, issuer: str = "ca"
) -> x509.Certificate:
    """A certificate; `ca` is what its basic constraints say, None if it has none."""
    subject, from_ = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    builder = x509.CertificateBuilder(from_, subject, key.public_key(), 1, START, START.replace(year=2027))
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(by, None if isinstance(by, Edwards) else hashes.SHA256())


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


ALICE, MALLORY, AUTHORITY = (
    *(der(issued(name, ca=False)) for name in ("alice", "mallory")),
    der(issued("ca", ca=True)),
)
NO_CONSTRAINTS, UNREADABLE = der(issued("bob")), b"\0"
SHOWN_12 = ("client", "Certificate", serialize(Certificate((MALLORY, ALICE))).hex())
SHOWN_13 = (
    *("client", "Certificate"),
    serialize(Certificate13((CertificateEntry(MALLORY), CertificateEntry(ALICE)))).hex(),
)
SERVERS = ("server", "Certificate", serialize(Certificate((AUTHORITY,))).hex())
AGAIN = ("client", "Certificate", serialize(Certificate((ALICE,))).hex())
GARBLED = ("client", "Certificate", "0b000003000001")
ALERT = ("client", "alert handshake_failure", "0228")


@pytest.mark.parametrize(
    ("tls", "steps", "elsewhere", "chain"),
    [
        ("1.2", (SERVERS, SHOWN_12, AGAIN), (), (MALLORY, ALICE)),
        ("1.3", (SHOWN_13,), (), (MALLORY, ALICE)),
        ("1.2", (SERVERS, ALERT), (), ()),
        ("1.2", (), (SERVERS, SHOWN_12), (MALLORY, ALICE)),
        ("1.2", (AGAIN,), (SHOWN_12,), (ALICE,)),
        ("1.2", (GARBLED, AGAIN), (), ()),
        ("1.2", (SHOWN_13,), (), ()),
        ("9.9", (SHOWN_12,), (), (MALLORY, ALICE)),
    ],
)
def test_an_attempt_sends_the_certificates_of_its_first_message(
    tls: str, steps: Steps, elsewhere: Steps, chain: tuple[bytes, ...]
) -> None:
    """Or of the login in which its session began. A version that is unknown reads as TLS 1.2."""
    assert sent_chain(with_fields(TRIED, tls=tls, steps=steps, elsewhere=elsewhere)) == chain


@pytest.mark.parametrize(
    ("chain", "last"),
    [
        ((ALICE,), 0),
        ((MALLORY, ALICE), 1),
        ((MALLORY, ALICE, AUTHORITY), 1),
        ((MALLORY, NO_CONSTRAINTS, AUTHORITY), 1),
        ((MALLORY, UNREADABLE), 0),
        ((AUTHORITY,), 0),
        ((), 0),
    ],
)
def test_a_server_takes_the_name_from_the_first_or_from_the_last_that_is_no_authoritys(
    chain: tuple[bytes, ...], last: int
) -> None:
    assert naming(chain, NameFrom.LAST) == last
    assert naming(chain, NameFrom.FIRST) == 0


def test_the_certificate_with_the_name_is_told_by_its_fingerprint() -> None:
    tried = with_fields(TRIED, steps=(SHOWN_12,))
    assert named_certificate(tried, NameFrom.FIRST) == sha256(MALLORY).hexdigest()
    assert named_certificate(tried, NameFrom.LAST) == sha256(ALICE).hexdigest()
    assert named_certificate(TRIED, NameFrom.FIRST) == ""


BY_MALLORY = "the proof is by the key of certificate 1, CN=mallory"
BY_ITSELF = (
    "the proof is by the key of certificate 1, CN=alice; no authority signed it: that very key did; CN=ca is only a "
    "name in it"
)
LOOK_ALIKE = ("client", "Certificate", serialize(Certificate((der(issued("alice", by=KEY)),))).hex())


@pytest.mark.parametrize(
    ("fields", "name_from", "told"),
    [
        ({}, NameFrom.FIRST, ""),
        ({"steps": (SHOWN_12,)}, NameFrom.FIRST, BY_MALLORY),
        ({"steps": (SHOWN_12,)}, NameFrom.LAST, f"{BY_MALLORY}; the name is that of certificate 2, CN=alice"),
        ({"steps": (LOOK_ALIKE,)}, NameFrom.FIRST, BY_ITSELF),
        (
            {"elsewhere": (LOOK_ALIKE,)},
            NameFrom.FIRST,
            f"the session began under another name of the server, where {BY_ITSELF}",
        ),
        ({"elsewhere": (SERVERS,)}, NameFrom.FIRST, ""),
        (
            {"steps": (("client", "Certificate", serialize(Certificate((UNREADABLE,))).hex()),)},
            NameFrom.FIRST,
            "",
        ),
    ],
)
def test_it_is_told_whose_key_made_the_proof_and_whose_name_was_taken(
    fields: dict[str, object], name_from: NameFrom, told: str
) -> None:
    assert whose(with_fields(TRIED, **fields), name_from) == told


@pytest.mark.parametrize(
    "new_key",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 1024),
        ed25519.Ed25519PrivateKey.generate,
    ],
)
def test_a_certificate_is_signed_by_itself_if_its_own_key_made_the_signature(new_key: NewKey) -> None:
    """Whatever name its issuer has."""
    mine, other = new_key(), new_key()
    assert signed_by_itself(issued("alice", mine, mine))
    assert not signed_by_itself(issued("alice", mine, other))
    assert not signed_by_itself(issued("alice", mine, other, issuer="alice"))


def test_a_key_of_another_kind_is_not_asked() -> None:
    """A lab has none, and an attacker may send any."""
    strange = ed448.Ed448PrivateKey.generate()
    assert not signed_by_itself(issued("alice", strange, strange))
    rsa_key = rsa.generate_private_key(65537, 1024)
    for mine, theirs in ((rsa_key, OTHER_KEY), (KEY, rsa_key), (rsa_key, strange), (KEY, strange)):
        assert not signed_by_itself(issued("alice", mine, theirs))
