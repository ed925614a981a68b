"""The forms in which a private key could show up in a capture."""

import base64
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.tls.proof import PrivateKey

WORDS = "the words PRIVATE KEY"
"""The form that all keys have in common."""


def key_forms(key: PrivateKey) -> Mapping[str, bytes]:
    """The encodings of a private key that could give it away, each under a name for people."""
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    forms = {
        "PKCS#8 in DER": der,
        "PKCS#8 in base64": base64.b64encode(der),
        "PKCS#8 in PEM": b"\n".join(pem.splitlines()[1:-1]),
        WORDS: b"PRIVATE KEY-----",
    }
    for name, secret in _secret_numbers(key).items():
        forms[name] = secret
        forms[f"{name}, bytes reversed"] = secret[::-1]
        forms[f"{name} in hex"] = secret.hex().encode()
        forms[f"{name} in upper-case hex"] = secret.hex().upper().encode()
    return forms


def _secret_numbers(key: PrivateKey) -> Mapping[str, bytes]:
    """The numbers that are the key, big-endian."""

    def octets(number: int) -> bytes:
        return number.to_bytes((number.bit_length() + 7) // 8, "big")

    match key:
        case ec.EllipticCurvePrivateKey():
            return {"scalar": octets(key.private_numbers().private_value)}
        case rsa.RSAPrivateKey():
            numbers = key.private_numbers()
            return {"exponent": octets(numbers.d), "first prime": octets(numbers.p), "second prime": octets(numbers.q)}
        case _:
            return {"seed": key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())}
