"""Captured proofs, each held against the handshake that it was made over."""

from functools import lru_cache

from lab.events.types import CertificateCaptured
from lab.judging.proof_comparison import ProofReason, chain_in, held_against
from lab.tls import proof
from lab.tls.errors import Abort
from lab.tls.versions import Version, find_version

KNOWN = 4096
"""How many proofs are remembered. Several ask about each, and a listener may have seen one many times."""


def own_proof(seen: CertificateCaptured) -> ProofReason | None:
    """A captured proof by the key in its own certificate, over its own transcript; None without all of these."""
    version = find_version(seen.tls)
    if version is None or not (seen.proof and seen.transcript and seen.message):
        return None
    return _held(version, seen.proof, seen.transcript, seen.message)


@lru_cache(KNOWN)
def _held(version: Version, made: str, transcript: tuple[str, ...], message: str) -> ProofReason | None:
    """The same of a proof, the messages it was made over and its Certificate message, all in hex."""
    messages = [bytes.fromhex(raw) for raw in transcript]
    try:
        key = proof.public_key(chain_in(bytes.fromhex(message), version)[0])
        return held_against(key, bytes.fromhex(made), (messages, version), (messages, version))
    except Abort:
        return None
