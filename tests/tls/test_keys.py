"""Fresh key shares: every private key from 1 to the order of the group less one, each as likely as another."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab.tls import keys
from lab.tls.alerts import AlertDescription
from lab.tls.errors import Abort

CURVES: dict[int, ec.EllipticCurve] = {
    keys.SECP256R1: ec.SECP256R1(),
    keys.SECP384R1: ec.SECP384R1(),
    keys.SECP521R1: ec.SECP521R1(),
}
every_curve = pytest.mark.parametrize("group", CURVES, ids=["P-256", "P-384", "P-521"])


def octets_of(group: int) -> int:
    return (CURVES[group].key_size + 7) // 8


def public(group: int, scalar: int) -> bytes:
    key = ec.derive_private_key(scalar, CURVES[group]).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def share_from(group: int, number: int) -> bytes:
    """The share that follows from this number as the random bytes."""
    sizes = []

    def entropy(size: int) -> bytes:
        sizes.append(size)
        return number.to_bytes(size, "big")

    made = keys.new_key_share(group, entropy).public
    # 64 bits more than the order has, so that no private key is likelier than others (FIPS 186-5 appendix A.2.1).
    assert sizes == [octets_of(group) + 8]
    return made


@every_curve
def test_the_order_is_that_of_the_group(group: int) -> None:
    """The order less one is the base point's inverse: the same point but for the sign of y."""
    _, order = keys._CURVES[group]
    base, inverse = public(group, 1), public(group, order - 1)
    octets = octets_of(group)
    assert inverse[: 1 + octets] == base[: 1 + octets]
    assert inverse != base


@every_curve
def test_a_private_key_is_from_one_to_the_order_less_one(group: int) -> None:
    _, order = keys._CURVES[group]
    assert share_from(group, 0) == public(group, 1)
    assert share_from(group, 1) == public(group, 2)
    assert share_from(group, order - 2) == public(group, order - 1)
    assert share_from(group, order - 1) == public(group, 1), "and begins anew"


def test_an_rsa_key_too_small_for_a_premaster_secret_is_a_bad_certificate() -> None:
    """RFC 8017 section 7.2.1: 48 bytes take a modulus of 59."""
    small = rsa.RSAPublicNumbers(65537, (1 << 463) + 1).public_key()
    with pytest.raises(Abort, match="too small") as caught:
        keys.encrypt_premaster(small, bytes(48))
    assert caught.value.alert == AlertDescription.BAD_CERTIFICATE
