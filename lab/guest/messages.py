"""What the lab and a guest's process say to each other: JSON, a line each, with the instrument's own types in it."""

import json

from lab.tls.messages import CertificateVerify
from lab.tls.proof import Challenge


def encode(value: object) -> str:
    """One line."""
    return json.dumps(value, default=_as_data) + "\n"


def decode(line: str) -> object:
    """The value of a line; ValueError, LookupError or TypeError for anything else."""
    return json.loads(line, object_hook=_from_data)


def _as_data(value: object) -> object:
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case Challenge():
            return {"challenge": [value.transcript, value.content, list(value.schemes), value.version]}
        case CertificateVerify():
            return {"proof": [value.scheme, value.signature]}
    raise TypeError(f"a {type(value).__name__}")


def _from_data(fields: dict[str, object]) -> object:
    match fields:
        case {"bytes": str(digits)}:
            return bytes.fromhex(digits)
        case {"challenge": [bytes(transcript), bytes(content), list(schemes), int(version)]}:
            return Challenge(transcript, content, tuple(map(int, schemes)), version)
        case {"proof": [int(scheme), bytes(signature)]}:
            return CertificateVerify(scheme, signature)
    return fields
