"""What capture files hold: client certificates, and what was not read, which is told too."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.capture.handshake import Capture, Contact
from lab.capture.reader import scan_file
from lab.capture.tally import NotRead
from lab.document import Block, Section, facts
from lab.inspect.certificates import SeenCertificate, seen_certificate


@dataclass(frozen=True)
class FileRead:
    """One file: how many packets and client certificates it has, and what was not read of it.

    `reason` says why it has no client certificate, `problem` what is wrong with the file; both are empty if nothing is.
    """

    file: str
    packets: int
    certificates: int
    reason: str
    not_read: tuple[NotRead, ...]
    problem: str


def read(file: Path, take: Callable[[SeenCertificate, tuple[bytes, ...]], object]) -> FileRead:
    """Passes each certificate in a file to `take`, with its chain, and keeps none."""

    def found(one: Capture | Contact) -> None:
        if isinstance(one, Capture):
            take(seen_certificate(file, one), one.chain)

    tally, problem = scan_file(file, found)
    reason = "" if problem else tally.reason()
    return FileRead(str(file), tally.packets, tally.certificates, reason, tally.not_read(), str(problem or ""))


def as_json(one: FileRead) -> dict[str, Any]:
    """The same for --json."""
    return asdict(one)


def tell(files: Iterable[FileRead]) -> Iterator[Block]:
    """Of each file that has something to tell: why it has no certificate, and what was not read."""
    for one in files:
        rows = [("answer", one.reason)] if one.reason else []
        others = [it.says for it in one.not_read if it.says not in one.reason]
        rows += [("" if number else "not read", says) for number, says in enumerate(others)]
        if rows:
            yield Section(one.file, (facts(*rows),), "entry")
