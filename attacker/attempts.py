"""Tries: all planned moves at one server in one version, several at once."""

import asyncio
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from attacker.moves.make import MAKERS, Loot
from attacker.moves.replay import Attempt, Transfer, attempt, not_tried
from lab.catalogue.moves import MOVES, Move
from lab.events.log import Reporter
from lab.tls.bundle import Bundle
from lab.tls.versions import TLS12, Version

TRANSFER = Transfer("mallory", 100)
CONCURRENCY = 8


@dataclass(frozen=True)
class Plan:
    """What the attacker sets out to do at each server: which moves, in which versions, how many rounds.

    `own` are mallory's own bundles, where she is a customer too.
    """

    moves: tuple[Move, ...] = MOVES
    versions: tuple[Version, ...] = (TLS12,)
    rounds: int = 1
    own: tuple[Bundle, ...] = ()
    transfer: Transfer | None = TRANSFER

    def own_like(self, certificate: bytes) -> Bundle | None:
        """Of mallory's own bundles the one of the same sort as a certificate in DER, self-signed or not."""
        wanted = is_self_signed(certificate)
        return next((bundle for bundle in self.own if is_self_signed(bundle.chain[0]) == wanted), None)


@dataclass(frozen=True)
class Target:
    """A server to try: where the attacker reaches it and by which name it is asked for.

    `seen_at` is the server at which the certificate was seen, host:port as on the wire.
    """

    address: tuple[str, int]
    name: str
    seen_at: str


class Tries:
    """Carries out a plan's moves with what came by one leak, and reports each attempt when its outcome is in."""

    def __init__(self, reporter: Reporter, leak: str, plan: Plan) -> None:
        self._reporter = reporter
        self._leak = leak
        self._plan = plan
        self._turns = asyncio.Semaphore(CONCURRENCY)

    async def everything(self, target: Target, version: Version, loot: Loot) -> None:
        """All moves that exist in the version, round by round."""
        for round_ in range(1, self._plan.rounds + 1):
            await asyncio.gather(*(self.one(target, version, loot, move, round_) for move in self._plan.moves))

    async def one(self, target: Target, version: Version, loot: Loot, move: Move, round_: int = 1) -> None:
        """One move, once."""
        if version not in move.fails:
            return
        it = Attempt(
            move=move.id,
            version=version,
            target=target.address,
            server_name=target.name,
            victim=common_name(loot.chain[0]),
            transfer=self._plan.transfer,
            leak=self._leak,
            seen_at=target.seen_at,
            round=round_,
            detailed=round_ == 1,
        )
        try:
            script = MAKERS[move.id](loot, version)
        except Exception as reason:  # NotApplicable, or what a parser says of a certificate that is hardly one
            self._reporter.report(not_tried(it, str(reason)))
            return
        async with self._turns:
            self._reporter.report(await attempt(it, script))


def read_certificate(der: bytes) -> x509.Certificate:
    """A certificate that may be anything; ValueError, and nothing else, for what is none or has unreadable names."""
    try:
        parsed = x509.load_der_x509_certificate(der)
        for name in (parsed.subject, parsed.issuer):  # which are read when they are asked for
            name.rfc4514_string()
    except Exception as error:  # the parser's own are of many types: InvalidVersion, TypeError
        raise ValueError(str(error)) from None
    return parsed


def common_name(certificate: bytes) -> str:
    """The common name of a certificate in DER, empty where it has none; ValueError for what is no certificate."""
    names = read_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def is_self_signed(certificate: bytes) -> bool:
    """Whether a certificate in DER names its own subject as its issuer; ValueError for what is no certificate."""
    parsed = read_certificate(certificate)
    return parsed.issuer == parsed.subject
