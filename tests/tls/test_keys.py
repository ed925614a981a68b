"""Key shares, the suites, and the secrets of TLS 1.2: held against OpenSSL, and against the groups themselves."""

import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab.tls import keys
from lab.tls.alerts import AlertDescription
from lab.tls.errors import Abort
from lab.tls.keys import CipherSuite
from lab.tls.versions import TLS13
from programs import output_of

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


every_suite = pytest.mark.parametrize("suite", keys.ALL_SUITES, ids=lambda suite: suite.name)


@pytest.fixture(scope="module")
def openssls() -> dict[str, tuple[str, ...]]:
    """OpenSSL's suites by their names: number, version, key exchange, kind of key, cipher and its bits."""
    row = re.compile(r"0x(..),0x(..) - (\S+) +(\S+) +Kx=(\S+) +Au=(\S+) +Enc=(.+)\((\d+)\)")
    listed = output_of("openssl", "ciphers", "-V", "ALL:@SECLEVEL=0")
    return {one[3]: (one[1] + one[2], *one.groups()[3:]) for one in row.finditer(listed)}


@every_suite
def test_a_suite_is_openssls_of_this_name(suite: CipherSuite, openssls: dict[str, tuple[str, ...]]) -> None:
    number, version, exchange, signed_with, cipher, bits = openssls[suite.name]
    assert (f"{suite.id:04X}", f"TLSv{suite.version}", suite.key_length * 8) == (number, version, int(bits))
    assert suite.aead is {"AESGCM": AESGCM, "CHACHA20/POLY1305": ChaCha20Poly1305}[cipher]
    if suite.version == TLS13:
        assert (suite.exchange, suite.signed_with) == ("ECDHE", "")
    else:
        assert (suite.exchange, suite.signed_with) == ({"ECDH": "ECDHE"}.get(exchange, exchange), signed_with)


@every_suite
def test_a_suites_hash_and_nonce_are_those_of_its_rfc(suite: CipherSuite) -> None:
    """RFC 5288 sections 3 and 4, RFC 7905 section 2, RFC 8446 appendix B.4."""
    assert suite.hash.name == ("sha384" if suite.name.endswith("SHA384") else "sha256")
    assert suite.salt_length == (4 if suite.aead is AESGCM and suite.version != TLS13 else 12)


def test_which_suites_are_offered_and_which_first() -> None:
    """RSA key transport only where it is asked for; forward secrecy and the newer version first."""
    assert [suite.version for suite in keys.DEFAULT_SUITES] == sorted(
        (suite.version for suite in keys.DEFAULT_SUITES), reverse=True
    )
    assert {suite.exchange for suite in keys.DEFAULT_SUITES} == {"ECDHE"}
    assert keys.ALL_SUITES == keys.DEFAULT_SUITES + keys.RSA_TRANSPORT_SUITES
    assert {suite.exchange for suite in keys.RSA_TRANSPORT_SUITES} == {"RSA"}
    assert len({suite.id for suite in keys.ALL_SUITES}) == len(keys.ALL_SUITES) == 11


def by_openssl(secret: bytes, seed: bytes, length: int, hash_name: str) -> bytes:
    options = (f"digest:{hash_name}", f"hexsecret:{secret.hex()}", f"hexseed:{seed.hex()}")
    arguments = [word for option in options for word in ("-kdfopt", option)]
    return bytes.fromhex(output_of("openssl", "kdf", "-keylen", str(length), *arguments, "TLS1-PRF").replace(":", ""))


@pytest.mark.parametrize("suite", keys.CIPHER_SUITES[:2], ids=lambda suite: suite.name)
def test_the_secrets_of_tls_12_are_openssls(suite: CipherSuite) -> None:
    """RFC 5246 sections 5, 7.4.9 and 8.1, RFC 7627 section 4: 48 bytes, and 12 in Finished."""
    premaster, client, server, handshake = bytes(48), b"c" * 32, b"s" * 32, b"all messages so far"
    hashed, name = keys.digest(handshake, suite.hash), suite.hash.name
    assert keys.master_secret(premaster, client, server, suite) == by_openssl(
        premaster, b"master secret" + client + server, 48, name
    )
    assert keys.extended_master_secret(premaster, handshake, suite) == by_openssl(
        premaster, b"extended master secret" + hashed, 48, name
    )
    for sender in ("client", "server"):
        expected = by_openssl(b"master", f"{sender} finished".encode() + hashed, 12, name)
        assert keys.verify_data(b"master", sender, handshake, suite) == expected
    for length in (0, 1, 32, 33, 100):
        wanted = by_openssl(b"secret", b"label" + b"seed", length, name) if length else b""
        assert keys.prf(b"secret", b"label", b"seed", length, suite.hash) == wanted


def test_random_bytes_and_premaster_secrets_have_their_lengths() -> None:
    """RFC 5246 sections 7.4.1.2 and 7.4.7.1."""
    assert (keys.RANDOM_LENGTH, len(keys.new_rsa_premaster(bytes))) == (32, 48)
    assert keys.new_rsa_premaster(bytes)[:2] == b"\x03\x03"


def test_the_groups_are_those_of_the_registry() -> None:
    """RFC 8422 section 5.1.1; the quickest first."""
    assert keys.GROUPS == (29, 23, 24, 25)
    assert keys.RENEGOTIATION_SCSV == 0x00FF
    for group in keys.GROUPS:
        octets = 32 if group == keys.X25519 else 2 * octets_of(group) + 1
        assert len(keys.new_key_share(group, lambda size: b"\1" * size).public) == octets
