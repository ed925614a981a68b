"""Captured proofs, each held against the handshake that it was made over."""

from lab.events.types import CertificateCaptured
from lab.judging.proof_comparison import ProofReason, chain_in, held_against
from lab.tls import proof
from lab.tls.errors import Abort
from lab.tls.versions import find_version


def own_proof(seen: CertificateCaptured) -> ProofReason | None:
    """A captured proof by the key in its own certificate, over its own transcript; None without all of these."""
    version = find_version(seen.tls)
    if version is None or not (seen.proof and seen.transcript and seen.message):
        return None
    messages = [bytes.fromhex(raw) for raw in seen.transcript]
    try:
        key = proof.public_key(chain_in(bytes.fromhex(seen.message), version)[0])
        return held_against(key, bytes.fromhex(seen.proof), (messages, version), (messages, version))
    except Abort:
        return None
