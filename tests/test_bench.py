"""What the benches stand on. The benches themselves are not tests: nothing here looks at a time."""

from pathlib import Path

import pytest

from bench import report
from bench.__main__ import BENCHES
from bench.forge import forge
from bench.report import Aim, ReportSection, ReportTable
from bench.timing import WARM_UP_ROUNDS, Timing, side_by_side
from lab.capture.reader import read_file

SECTION = ReportSection(
    "Measured here.", (ReportTable(("what", "s"), (("it", "1.0"),)),), (Aim("fast", "slow", met=False),)
)


def test_contenders_take_turns_and_each_goes_first() -> None:
    order: list[str] = []
    contenders = {name: lambda name=name: order.append(name) for name in "abc"}
    times = side_by_side(contenders, rounds=3)
    rounds = ["".join(order[at : at + 3]) for at in range(0, len(order), 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca"]
    assert {name: len(timing.seconds) for name, timing in times.items()} == dict.fromkeys("abc", 5 - WARM_UP_ROUNDS)


def test_a_timing_tells_median_and_spread() -> None:
    assert Timing((0.003, 0.001, 0.002)).in_ms() == ("2.00", "1.00 to 3.00")


def test_the_document_has_a_place_for_every_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "benchmarks.md"
    copy.write_text(report.FILE.read_text())
    monkeypatch.setattr(report, "FILE", copy)
    for name in BENCHES:
        report.write(name, SECTION)
    once = copy.read_text()
    assert once.count(SECTION.text()) == len(BENCHES)
    report.write(BENCHES[0], SECTION)
    assert copy.read_text() == once


def test_a_section_says_what_was_not_met() -> None:
    assert SECTION.text().splitlines() == [
        "| what |   s |",
        "| ---- | --: |",
        "| it   | 1.0 |",
        "",
        "- **FINDING, not met**: fast: slow.",
        "",
        "Measured here.",
    ]


def test_a_forged_capture_holds_what_was_issued(tmp_path: Path) -> None:
    handshakes = 30
    issued = forge(tmp_path / "forged.pcapng", handshakes)
    reading = read_file(tmp_path / "forged.pcapng")
    assert len(reading.captures) == len(issued) == handshakes
    assert all(capture.certificate_verify and not capture.note for capture in reading.captures)
    assert reading.problem is None
