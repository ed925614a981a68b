"""The numbers of the protocol: those that Wireshark's tables have."""

import re
import subprocess
from functools import cache

import pytest

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.server12 import ECDSA_SIGN, RSA_SIGN
from programs import program

NEWER_ALERTS = {52: "too_many_cids_requested", 117: "general_error"}
"""From the IANA registry TLS Alerts; the table of Wireshark 4.0 does not have them."""


@cache
def table(field: str) -> dict[int, str]:
    """Wireshark's names of a field's values, as the RFCs write names."""
    listed = subprocess.run([program("tshark"), "-G", "values"], capture_output=True, text=True, check=True).stdout
    rows = (line.split("\t") for line in listed.splitlines() if line.startswith(f"V\t{field}\t"))
    return {int(number, 0): re.sub(r"\W+", "_", name).lower() for _, _, number, name in rows}


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
