"""Reads client certificates from capture files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.capture.errors import CaptureFileError
from lab.capture.fragments import Fragments
from lab.capture.handshake import Capture, Contact
from lab.capture.layers import FRAGMENT, TOO_SHORT
from lab.capture.packets import Segment, Unread, contents
from lab.capture.pcap import Passed, read_packets
from lab.capture.tally import CUT, NotRead, Tally
from lab.capture.tracker import Tracker

__all__ = ("NotRead", "Reading", "Tally", "Tracker", "read_file", "scan_file")


@dataclass(frozen=True)
class Reading:
    """What a capture file holds: handshakes with a client certificate, and the others.

    `problem` says what is wrong with the file, if anything is; `reason` why it holds no client certificate.
    """

    captures: tuple[Capture, ...]
    contacts: tuple[Contact, ...]
    tally: Tally
    problem: CaptureFileError | None

    @property
    def reason(self) -> str:
        return self.tally.reason()


def read_file(path: Path) -> Reading:
    """Every client certificate in a pcap or pcapng file."""
    found: list[Capture | Contact] = []
    tally, problem = scan_file(path, found.append)
    captures = tuple(one for one in found if isinstance(one, Capture))
    contacts = tuple(one for one in found if isinstance(one, Contact))
    return Reading(captures, contacts, tally, problem)


def scan_file(path: Path, take: Callable[[Capture | Contact], object]) -> tuple[Tally, CaptureFileError | None]:
    """Passes each handshake in a pcap or pcapng file to `take` and keeps none, so memory does not grow with the file.

    Returns the counts, and what is wrong with the file.
    """
    tracker, fragments = Tracker(), Fragments()
    passed = Passed(tracker.flows_over)
    tally = tracker.tally
    problem: CaptureFileError | None = None
    try:
        for time_ns, link_type, data, length, _ in read_packets(path, passed=passed):
            tally.packets += 1
            cut = len(data) < length
            if cut:
                tally.unread[CUT] += 1
            for seen in contents(link_type, data, fragments):
                if isinstance(seen, Segment):
                    found = tracker.feed(time_ns, seen)
                elif isinstance(seen, Unread):
                    if not (cut and seen.kind == TOO_SHORT):
                        tally.unread[seen.kind] += 1
                    continue
                else:
                    found = tracker.take(time_ns, seen)
                for one in found:
                    take(one)
    except CaptureFileError as error:
        problem = error
    tally.packets += passed.packets
    for one in tracker.finish():
        take(one)
    if fragments.unfinished:
        tally.unread[FRAGMENT] += fragments.unfinished
    return tally, problem
