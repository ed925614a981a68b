"""What capture files hold: client certificates, and what was not read, which is told too."""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lab.capture.handshake import Capture, Contact
from lab.capture.reader import scan_file
from lab.capture.tally import NotRead
from lab.document import Block, Section, facts
from lab.inspect.certificates import SeenCertificate, seen_certificate

Take = Callable[[SeenCertificate, tuple[bytes, ...]], object]
"""What is done with each certificate and its chain."""
MAX_KEPT, MAX_KEPT_TEXT = 10_000, 1 << 23
"""No more handshakes, and no more characters of what they tell, are kept to be sorted by certificate or by person."""
WORTH_A_PROCESS = 1 << 23
"""Files that are smaller than this together, in bytes, are read before another process has started."""


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


class Kept:
    """The handshakes that can be sorted, as many as memory allows; `left_out` counts the others."""

    def __init__(self) -> None:
        self.seen: list[SeenCertificate] = []
        self.left_out = 0
        self._text = 0

    def add(self, one: SeenCertificate) -> None:
        """Keeps it, or counts it."""
        self._text += len(one.subject) + len(one.issuer) + sum(len(name.value) for name in one.identifies)
        if len(self.seen) < MAX_KEPT and self._text <= MAX_KEPT_TEXT:
            self.seen.append(one)
        else:
            self.left_out += 1

    def tell(self) -> Iterator[Block]:
        """What was left out, if anything was."""
        if self.left_out:
            more = f"{self.left_out} more handshakes with a certificate, to save memory"
            yield facts(("not listed", f"{more}; --json without --profile prints each"))


def read(file: Path, take: Take) -> FileRead:
    """Passes each certificate in a file to `take`, with its chain, and keeps none."""

    def found(one: Capture | Contact) -> None:
        if isinstance(one, Capture):
            take(seen_certificate(file, one), one.chain)

    tally, problem = scan_file(file, found)
    reason = "" if problem else tally.reason()
    return FileRead(str(file), tally.packets, tally.certificates, reason, tally.not_read(), str(problem or ""))


def read_all(files: Sequence[Path], take: Take) -> list[FileRead]:
    """The same for several files, in their order; large ones at once, each in a process of its own."""
    processes = min(len(files), os.cpu_count() or 1)
    if processes == 1 or sum(map(_size, files)) < WORTH_A_PROCESS:
        return [read(file, take) for file in files]
    from concurrent.futures import ProcessPoolExecutor  # takes time to import

    found = []
    with TemporaryDirectory() as folder, ProcessPoolExecutor(processes) as pool:
        spools = [Path(folder) / str(number) for number in range(len(files))]
        for spool, one in zip(spools, pool.map(_read_apart, files, spools), strict=True):
            with spool.open("rb") as certificates:
                while certificates.peek(1):
                    take(*pickle.load(certificates))  # noqa: S301 the file is ours
            spool.unlink()
            found.append(one)
    return found


def _read_apart(file: Path, spool: Path) -> FileRead:
    """Reads a file in a process of its own; what is found goes through a file, so that memory does not grow with it."""
    with spool.open("wb") as certificates:
        return read(file, lambda *found: pickle.dump(found, certificates))


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


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
