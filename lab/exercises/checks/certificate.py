"""Exercise 1: the fingerprint of alice's certificate."""

from collections.abc import Iterator
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab.exercises.answers import as_text, check_hash, hex_in
from lab.exercises.exercise import Checked, ExerciseError
from lab.exercises.recorded import captured, certificates, servers_certificates
from lab.judging.proof_comparison import chain_in
from lab.judging.queries import RunQueries
from lab.tls.versions import TLS12

WHY = (
    "TLS 1.2 sends the client's Certificate message before anything is encrypted, so everybody on the way can read it. "
    "Nothing had to be broken. The fingerprint is the SHA-256 of the certificate's bytes, its DER."
)


def check(record: RunQueries, answer: str) -> Checked:
    hers = certificates(record)
    if not hers:
        raise ExerciseError(f"{record.run.name}: nobody read alice's certificate off the wire in this run")
    right = {sha256(der).hexdigest(): WHY for der in hers}
    return check_hash(hex_in(answer), right, _wrong(record, hers), "alice's certificate")


def _wrong(record: RunQueries, hers: list[bytes]) -> Iterator[tuple[str, str]]:
    for der in servers_certificates(record):
        yield (
            sha256(der).hexdigest(),
            "This is the bank's certificate. Both sides send a Certificate message, and the server's comes first. Look "
            "at the one whose destination port is the server's.",
        )
    for der in hers:
        certificate = x509.load_der_x509_certificate(der)
        pem = certificate.public_bytes(Encoding.PEM)
        for text in (pem, pem.rstrip()):
            yield (
                sha256(text).hexdigest(),
                "This is the hash of the PEM file, a text. Hash the DER bytes.",
            )
        for text in as_text(der):
            yield (
                sha256(text).hexdigest(),
                "This is the hash of the hex digits as text. Turn them into bytes first: `xxd -r -p`.",
            )
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        yield sha256(key).hexdigest(), "This is the hash of her public key. Hash the whole certificate."
        yield (
            f"{certificate.serial_number:x}".zfill(40),
            "This is the certificate's serial number. Give the SHA-256 of the whole certificate.",
        )
        yield (
            sha256(certificate.tbs_certificate_bytes).hexdigest(),
            "This is the hash of the part that the issuer signed. Hash the whole certificate, with the signature.",
        )
    for seen in captured(record):
        message = bytes.fromhex(seen.message)
        chain = chain_in(message, TLS12)
        for der in chain[1:]:
            yield (
                sha256(der).hexdigest(),
                "This is the authority's certificate, the second one. Take the first.",
            )
        for octets in (b"".join(chain), message[10:]):
            yield (
                sha256(octets).hexdigest(),
                "Two certificates are in there. Hash hers alone, the first.",
            )
        for at in (0, 4, 7):
            yield (
                sha256(message[at:]).hexdigest(),
                "These are the right bytes with something before them: type and lengths of the message. The "
                "certificate begins 10 bytes later, with 30 82.",
            )
