"""The query that sends a password through every leak, beside a certificate that is used alone."""

from dataclasses import dataclass

from lab.catalogue.leaks import DATABASE, INTERCEPTION, LEAKS, LOG, ROGUE_SERVER, WIRE
from lab.catalogue.searches import PASSWORD
from lab.events.types import FileSearched
from lab.judging.attempts import Tried
from lab.judging.claims.claim import Holding, Settled, numbers
from lab.judging.claims.evidence import BLIND, accepted, at
from lab.judging.queries import Numbered, RunQueries
from lab.words import counted

SEARCHED = (WIRE, LOG, DATABASE)
"""The leaks by which a password could get out as well as a certificate, and whose file is searched for it."""
WHERE = (*SEARCHED, ROGUE_SERVER, INTERCEPTION)
"""All by which a password could get out as well: it is never relayed, and no archive gets it."""


@dataclass(frozen=True)
class LeakedBoth:
    """One leak: the searches for the password, the attempts with it, and those with the certificate alone."""

    leak: str
    searched: list[Numbered[FileSearched]]
    by_password: list[Tried]
    by_certificate: list[Tried]

    @property
    def conclusive(self) -> bool:
        """Whether the password was looked for, by a search that finds what is there, or used."""
        searched = [one for one in self.searched if one.event.control_at]
        return bool(searched or self.by_password) and bool(self.by_certificate)

    @property
    def password_lost(self) -> bool:
        return any(one.event.found_at for one in self.searched) or bool(accepted(self.by_password))

    @property
    def certificate_lost(self) -> bool:
        return bool(accepted(self.by_certificate))


def same_as_a_password(record: RunQueries) -> Settled | None:
    compared = [one for leak in LEAKS if leak in WHERE and (one := _compared(record, leak.id)).conclusive]
    if not any(one.searched for one in compared):
        return None
    worse = [one for one in compared if one.certificate_lost and not one.password_lost]
    better = [one for one in compared if one.password_lost and not one.certificate_lost]
    alike = [one for one in compared if one.password_lost and one.certificate_lost]
    because = "; ".join(
        f"by {', '.join(one.leak for one in some)} {what}"
        for what, some in (
            ("the certificate got out and opened an account, and the password did neither", worse),
            ("both did", alike),
            ("the password did, and the certificate did not", better),
        )
        if some
    )
    hashed = sum(len(one.by_password) for one in worse)
    if hashed:
        because += f"; the hashes in the register were tried as passwords, {counted(hashed, 'time')} in vain"
    evidence = numbers(
        *(one.searched for one in worse),
        *(one.by_password for one in (*worse, *alike, *better)),
        *(accepted(one.by_certificate) for one in worse),
        each=2,
    )
    if worse and not better:
        return Settled(Holding.FAILS, because, evidence, "the certificate used alone is worse than a password")
    return Settled(Holding.FAILS if better else Holding.HOLDS, because or "neither got out", evidence)


def _compared(record: RunQueries, leak: str) -> LeakedBoth:
    return LeakedBoth(
        leak,
        record.all(FileSearched, lambda one: (one.what, one.leak) == (PASSWORD, leak)),
        record.with_the_password(leak),
        at(record, BLIND, leak=leak, move="omit-proof"),
    )
