"""The checks of a certificate that leave something out: what they do look at, and what gets past them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from lab.staging import pki
from lab.tls.errors import CertificateError
from victim_server.chain import ChainCheck, NamesCheck, last_customer

AUTHORITY = pki.new_authority()
ALICE = pki.new_client(AUTHORITY)


def called(subject: str, issuer: str) -> bytes:
    """A certificate of these names, signed by its own key."""
    key = pki.new_key("p256")
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .public_key(key.public_key())
    )
    return pki.Identity(builder.sign(key, hashes.SHA256()), key).der


NAME = AUTHORITY.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
PAST_NAMES: dict[str, Callable[[], tuple[bytes, ...]]] = {
    "of a namesake of the authority": lambda: (pki.new_client(pki.new_authority()).der,),
    "by its own key": lambda: (called("alice", str(NAME)),),
    "over an issuer whose name leads there": lambda: (called("alice", "between"), called("between", str(NAME))),
}


@pytest.mark.parametrize("chain", PAST_NAMES.values(), ids=PAST_NAMES)
def test_names_get_past_a_check_of_names_and_not_past_one_of_signatures(
    chain: Callable[[], tuple[bytes, ...]],
) -> None:
    sent = chain()
    NamesCheck((AUTHORITY.der,))(sent)
    with pytest.raises(CertificateError):
        ChainCheck((AUTHORITY.der,))(sent)


def test_a_check_of_names_takes_an_honest_client_and_names_the_authority() -> None:
    check = NamesCheck((AUTHORITY.der,))
    check((ALICE.der,))
    check((ALICE.der, AUTHORITY.der))
    assert check.names == ChainCheck((AUTHORITY.der,)).names


REFUSED: dict[str, tuple[Callable[[], tuple[bytes, ...]], int]] = {
    "no certificate": (lambda: (), 40),
    "no certificate in it": (lambda: (b"no certificate",), 42),
    "of another authority": (lambda: (pki.new_client(pki.new_authority("another authority")).der,), 48),
    "names that lead in a circle": (lambda: (called("a", "b"), called("b", "c"), called("c", "b")), 48),
    "expired": (lambda: (pki.new_client(AUTHORITY, now=datetime.now(UTC) - timedelta(days=60)).der,), 45),
    "a server's": (lambda: (pki.new_server(AUTHORITY).der,), 43),
}


@pytest.mark.parametrize(("chain", "alert"), REFUSED.values(), ids=REFUSED)
def test_a_check_of_names_still_looks_at_all_that_it_says(chain: Callable[[], tuple[bytes, ...]], alert: int) -> None:
    with pytest.raises(CertificateError) as refused:
        NamesCheck((AUTHORITY.der,))(chain())
    assert refused.value.alert == alert


def test_the_last_certificate_that_is_no_authoritys_names_the_customer() -> None:
    mallory, authority = pki.new_client(AUTHORITY, name="mallory").der, AUTHORITY.der
    for chain, named in (
        ((ALICE.der,), ALICE.der),
        ((ALICE.der, authority), ALICE.der),
        ((mallory, ALICE.der), ALICE.der),
        ((mallory, ALICE.der, authority), ALICE.der),
        ((ALICE.der, mallory), mallory),
        ((ALICE.der, b"no certificate"), ALICE.der),
        ((authority,), authority),
    ):
        assert last_customer(chain) == named
