"""The numbers of the protocol: those that Wireshark's tables have."""

import re
import subprocess
from functools import cache

import pytest

from lab.tls import extensions as ext
from lab.tls import keys, names, proof
from lab.tls.alerts import AlertDescription
from lab.tls.server12 import ECDSA_SIGN, RSA_SIGN
from programs import program

NEWER: dict[str, dict[int, str]] = {
    "MESSAGES": {254: "message_hash"},
    "GROUPS": {
        31: "brainpoolP256r1tls13",
        32: "brainpoolP384r1tls13",
        33: "brainpoolP512r1tls13",
        512: "MLKEM512",
        513: "MLKEM768",
        514: "MLKEM1024",
        4587: "SecP256r1MLKEM768",
        4588: "X25519MLKEM768",
        4589: "SecP384r1MLKEM1024",
    },
    "SIGNATURE_SCHEMES": {
        0x0202: "dsa_sha1",
        0x0302: "dsa_sha224",
        0x0402: "dsa_sha256",
        0x0502: "dsa_sha384",
        0x0602: "dsa_sha512",
        0x0301: "rsa_pkcs1_sha224",
        0x0303: "ecdsa_sha224",
        0x081A: "ecdsa_brainpoolP256r1tls13_sha256",
        0x081B: "ecdsa_brainpoolP384r1tls13_sha384",
        0x081C: "ecdsa_brainpoolP512r1tls13_sha512",
        0x0904: "mldsa44",
        0x0905: "mldsa65",
        0x0906: "mldsa87",
    },
    "EXTENSIONS": {34: "delegated_credential", 65037: "encrypted_client_hello"},
}
"""From the IANA registries and RFC 5246 section 7.4.1.4.1: what the tables of Wireshark 4.0 do not have, or name in
another way."""
OTHERWISE = {
    "client_certificate_url": "CertificateURL",
    "null": "no compression",
    "x_509": "X509",
    "psk_only_key_establishment_psk_ke_": "psk_ke",
    "psk_with_ec_dhe_key_establishment_psk_dhe_ke_": "psk_dhe_ke",
}
"""Wireshark's names that are not ours, with ours."""
NEWER_ALERTS = {52: "too_many_cids_requested", 117: "general_error"}
"""From the IANA registry TLS Alerts; the table of Wireshark 4.0 does not have them."""


@cache
def table(field: str) -> dict[int, str]:
    """Wireshark's names of a field's values, as the RFCs write names."""
    listed = subprocess.run([program("tshark"), "-G", "values"], capture_output=True, text=True, check=True).stdout
    rows = (line.split("\t") for line in listed.splitlines() if line.startswith(f"V\t{field}\t"))
    return {int(number, 0): re.sub(r"\W+", "_", name).lower() for _, _, number, name in rows}


@pytest.mark.parametrize(
    ("ours", "field", "count"),
    [
        ("MESSAGES", "tls.handshake.type", 18),
        ("EXTENSIONS", "tls.handshake.extension.type", 31),
        ("CIPHER_SUITES", "tls.handshake.ciphersuite", 43),
        ("GROUPS", "tls.handshake.extensions_supported_group", 20),
        ("SIGNATURE_SCHEMES", "tls.handshake.sig_hash_alg", 29),
        ("CERTIFICATE_TYPES", "tls.handshake.cert_type", 3),
        ("POINT_FORMATS", "tls.handshake.extensions_ec_point_format", 3),
        ("COMPRESSIONS", "tls.handshake.comp_method", 2),
        ("PSK_MODES", "tls.extension.psk_ke_mode", 2),
        ("CERTIFICATE_FORMS", "tls.handshake.cert_type.type", 3),
    ],
)
def test_a_number_has_its_name(ours: str, field: str, count: int) -> None:
    """And none is there twice, where one of them would be lost."""
    known, theirs, newer = getattr(names, ours), table(field), NEWER.get(ours, {})
    assert len(known) == count
    for number, name in known.items():
        expected = newer.get(number) or OTHERWISE.get(theirs[number], theirs[number])
        assert re.sub(r"\W|_", "", name).lower() == re.sub(r"\W|_", "", expected).lower(), number


@pytest.mark.parametrize("alert", AlertDescription, ids=lambda alert: alert.name)
def test_an_alert_has_its_number(alert: AlertDescription) -> None:
    known = NEWER_ALERTS | table("tls.alert_message.desc")
    assert known[alert] == alert.label


EXTENSIONS = {name: value for name, value in vars(ext).items() if re.match("[A-Z]", name) and isinstance(value, int)}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_an_extension_has_its_number(name: str) -> None:
    written = "application_layer_protocol_negotiation" if name == "ALPN" else name.lower()
    assert table("tls.handshake.extension.type")[EXTENSIONS[name]] == written


@pytest.mark.parametrize("scheme", proof.SIGNATURE_SCHEMES, ids=lambda scheme: scheme.name)
def test_a_signature_scheme_has_its_number(scheme: proof.SignatureScheme) -> None:
    assert table("tls.handshake.sig_hash_alg")[scheme.id] == scheme.name


@pytest.mark.parametrize("name", ["SECP256R1", "SECP384R1", "SECP521R1", "X25519"])
def test_a_group_has_its_number(name: str) -> None:
    assert table("tls.handshake.extensions_supported_group")[getattr(keys, name)] == name.lower()


@pytest.mark.parametrize("suite", keys.ALL_SUITES, ids=lambda suite: suite.name)
def test_a_cipher_suite_has_its_number(suite: keys.CipherSuite) -> None:
    """OpenSSL's names leave `TLS_`, `WITH_` and the exchange by RSA out, and the hash behind ChaCha20."""
    theirs = re.sub("TLS_|WITH_", "", table("tls.handshake.ciphersuite")[suite.id].upper())
    ours = re.sub("^TLS_", "", suite.name.replace("-", "_").replace("AES1", "AES_1").replace("AES2", "AES_2"))
    assert theirs.removeprefix("RSA_" if suite.exchange == "RSA" else "").removesuffix("_SHA256") == ours.removesuffix(
        "_SHA256"
    )


def test_the_types_of_client_certificates_have_their_numbers() -> None:
    kinds = table("tls.handshake.cert_type")
    assert kinds[RSA_SIGN] == "rsa_sign"
    assert kinds[ECDSA_SIGN].startswith("ecdsa_sign")
