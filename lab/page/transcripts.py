"""What alice signed beside what the bank checks: two transcripts, message by message."""

from dataclasses import replace
from typing import Literal

from lab.catalogue.outcomes import ACCEPTED
from lab.document import Octets
from lab.events.types import CertificateCaptured
from lab.judging.judgement import Sent, Verdict
from lab.judging.proof_comparison import WHOLE_MESSAGE, Difference, handshake_messages, pairs, up_to_the_proof
from lab.page import ladders
from lab.page.model import Changed, MessagePair, Said, TwoTranscripts
from lab.story.explain import on_the_proof
from lab.story.octets import IN_SIGHT, exchange
from lab.tls.versions import TLS12, TLS13, find_version

SIGNER = {True: "the same signature", False: "the signature that was sent"}


def two_transcripts(seen: CertificateCaptured, verdict: Verdict, store: ladders.Messages) -> TwoTranscripts | None:
    """The proof of an attempt, held against both transcripts; None if no proof decided it, or a transcript lacks."""
    reason, version = verdict.evidence.proof, find_version(verdict.tls)
    if reason is None or version is None or not seen.transcript:
        return None
    hers = [(sender, raw) for sender, _, raw in ladders.with_senders(seen.transcript, find_version(seen.tls) or TLS12)]
    steps = ((one.sender, one.name, one.hex) for one in verdict.evidence.messages)
    checked, proof_sent = up_to_the_proof(handshake_messages(steps), version)
    opened = reason.difference
    found: list[MessagePair] = []
    for left, right in pairs([raw[0] for _, raw in hers], [raw[0] for _, raw in checked]):
        one = hers[left] if left is not None else None
        other = checked[right] if right is not None else None
        same = bool(one and other and one[1] == other[1])
        hold = opened if opened and not same and one and other else None
        copied = same and other is not None and other[0] == "client"
        found.append(
            MessagePair(
                _said(one, "alice", seen.tls, store),
                _said(other, "mallory", verdict.tls, store, copied),
                same,
                _changed(hold) if hold and hold.field != WHOLE_MESSAGE else None,
            )
        )
        opened = None if hold else opened
    return TwoTranscripts(
        tuple(found),
        (reason.signed_by, reason.hash),
        reason.captured_hash,
        reason.server_hash,
        SIGNER[proof_sent.hex() == seen.proof],
        (reason.fits_captured, reason.fits_server),
        on_the_proof(verdict, reason).rstrip(":") if verdict.outcome == ACCEPTED else "",
    )


def _said(
    message: tuple[str, bytes] | None,
    client: Literal["alice", "mallory"],
    tls: str,
    store: ladders.Messages,
    copied: bool = False,
) -> Said | None:
    if message is None:
        return None
    sender, raw = message
    shown = _octets(sender, raw, tls)
    return Said("bank" if sender == "server" else client, shown.message, len(raw), copied, store.add(shown))


def _octets(sender: str, raw: bytes, tls: str) -> Octets:
    name = ladders.message_name(raw, find_version(tls) or TLS12)
    shown = exchange([Sent(sender, name, raw.hex())], tls).messages[0]
    return replace(shown, encrypted=tls == str(TLS13) and name not in IN_SIGHT)


def _changed(difference: Difference) -> Changed:
    left, right = bytes.fromhex(difference.captured), bytes.fromhex(difference.server)
    flags = tuple(
        tuple(at >= len(other) or octet != other[at] for at, octet in enumerate(one))
        for one, other in ((left, right), (right, left))
    )
    return Changed(f"{difference.message}, {difference.field}", left, right, (flags[0], flags[1]))
