"""Reading captures: certreplay beside tshark and scapy on the same file, and how much memory its length takes.

Every contender is a command of its own and lists the client certificates in the file, which are then compared with
those that were issued. Its rate leaves out what the command takes for a file with a single handshake: its start.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.forge import SERVER, forge, forge_hostile
from bench.report import Aim, ReportSection, ReportTable, machine, program_version
from bench.timing import Timing

FULL, QUICK = (1500, 5, 60.0), (150, 1, 5.0)
"""Handshakes in the file, rounds, and the seconds that scapy is given."""
LONGER = 4
"""How many times longer the second file is, which shows how memory grows."""
TIMES_TSHARK, MAX_MB = 4, 150
HOSTILE_CONNECTIONS, HOSTILE_QUICK = 400, 20
CERTREPLAY, TSHARK = "certreplay capture", "tshark"

_FILTER = f"tls.handshake.type == 11 && tcp.dstport == {SERVER[1]}"
_MB = 10**6


@dataclass(frozen=True)
class ReaderFigures:
    """One command's run: how long it took, its peak memory, and the certificates that it found."""

    seconds: float
    peak_mb: float
    found: frozenset[str]


@dataclass(frozen=True)
class Forged:
    """A capture file of about this many bytes, and the certificates in it."""

    path: Path
    octets: int
    issued: set[str]


Reader = Callable[[Path], ReaderFigures]


def run(quick: bool) -> ReportSection:
    """The bench."""
    handshakes, rounds, scapy_seconds = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        counts = (1, handshakes // 10, handshakes, handshakes * LONGER)
        single, short, file, long = (_forged(Path(folder) / f"{count}.pcapng", count) for count in counts)
        readers = {CERTREPLAY: _certreplay} | ({TSHARK: _tshark} if shutil.which("tshark") else {})
        starts, readings = _side_by_side(readers, (single.path, file.path), rounds)
        hostile = _hostile(Path(folder) / "hostile.pcap", HOSTILE_QUICK if quick else HOSTILE_CONNECTIONS)
        lengths = [(of, _certreplay(of.path)) for of in (short, file, long, hostile)]
        both = _certreplay(file.path, file.path).seconds
        rows = [_row(name, file, starts[name], readings[name]) for name in readers]
        rows.append(_scapy(file, scapy_seconds))
    heads = ("reader", "whole command, s", "spread, s", "its start, s", "MB/s", "handshakes/s", "found", "peak, MB")
    of_lengths = ("certreplay, file of", "handshakes", "found", "peak, MB")
    memory = [
        (f"{of.octets / _MB:.0f} MB", f"{len(of.issued):,}", _share(it.found, of.issued), f"{it.peak_mb:.0f}")
        for of, it in lengths
    ]
    aims = [_completeness(lengths), _bounded(lengths), _at_once(both, readings[CERTREPLAY])]
    if TSHARK in readers:
        aims.insert(0, _faster(starts, readings))
    programs = (program_version("tshark", "--version"), f"scapy {version('scapy')}")
    conditions = (
        f"{file.octets / _MB:.0f} MB in frames of up to 1,514 bytes, {handshakes:,} mutual handshakes in TLS 1.2, each "
        f"with a certificate of its own; {rounds} rounds. {machine(*filter(None, programs))}"
    )
    return ReportSection(
        conditions, (ReportTable(heads, tuple(rows)), ReportTable(of_lengths, tuple(memory))), tuple(aims)
    )


def _forged(path: Path, handshakes: int) -> Forged:
    issued = forge(path, handshakes)
    return Forged(path, path.stat().st_size, issued)


def _side_by_side(
    readers: Mapping[str, Reader], files: tuple[Path, ...], rounds: int
) -> list[dict[str, list[ReaderFigures]]]:
    """Every reader on every file, round by round; for each file what each reader did."""
    measured: list[dict[str, list[ReaderFigures]]] = [{name: [] for name in readers} for _ in files]
    for _ in range(rounds):
        for of, file in zip(measured, files, strict=True):
            for name, read in readers.items():
                of[name].append(read(file))
    return measured


def _row(name: str, file: Forged, starts: list[ReaderFigures], readings: list[ReaderFigures]) -> tuple[str, ...]:
    whole, start = _timing(readings), _timing(starts)
    seconds = whole.median - start.median
    return (
        name,
        f"{whole.median:.2f}",
        "{:.2f} to {:.2f}".format(*whole.spread),
        f"{start.median:.2f}",
        f"{file.octets / _MB / seconds:.0f}",
        f"{len(file.issued) / seconds:.0f}",
        _share(readings[0].found, file.issued),
        f"{max(it.peak_mb for it in readings):.0f}",
    )


def _timing(readings: list[ReaderFigures]) -> Timing:
    return Timing(tuple(it.seconds for it in readings))


def _share(found: frozenset[str], issued: set[str]) -> str:
    return f"{len(found & issued):,} of {len(issued):,}"


def _faster(starts: dict[str, list[ReaderFigures]], readings: dict[str, list[ReaderFigures]]) -> Aim:
    whole = {name: _timing(of).median for name, of in readings.items()}
    reading = {name: seconds - _timing(starts[name]).median for name, seconds in whole.items()}
    times = whole[TSHARK] / whole[CERTREPLAY]
    measured = f"{times:.1f} times ({reading[TSHARK] / reading[CERTREPLAY]:.1f} times without both commands' start)"
    return Aim(f"at least {TIMES_TSHARK} times as fast as tshark, whole command", measured, times >= TIMES_TSHARK)


def _completeness(lengths: list[tuple[Forged, ReaderFigures]]) -> Aim:
    missed = sum(len(of.issued - it.found) for of, it in lengths)
    invented = sum(len(it.found - of.issued) for of, it in lengths)
    measured = f"{missed} missed, {invented} that were not issued"
    return Aim("every certificate found", measured, not missed and not invented)


def _bounded(lengths: list[tuple[Forged, ReaderFigures]]) -> Aim:
    (short, least), *_, (long, most), (_, worst) = lengths
    times = long.octets / short.octets
    measured = (
        f"{least.peak_mb:.0f} MB, {most.peak_mb:.0f} MB for a file {times:.0f} times as long, and "
        f"{worst.peak_mb:.0f} MB for one made of small segments out of order"
    )
    return Aim(f"memory under {MAX_MB} MB for any file", measured, max(most.peak_mb, worst.peak_mb) < MAX_MB)


def _at_once(seconds: float, alone: list[ReaderFigures]) -> Aim:
    times = seconds / _timing(alone).median
    return Aim("two files on two processors in under 1.6 times the time of one", f"{times:.1f} times", times < 1.6)


def _hostile(path: Path, connections: int) -> Forged:
    forge_hostile(path, connections)
    return Forged(path, path.stat().st_size, set())


def _command(*command: str) -> tuple[float, float, str]:
    """Runs a command to its end: seconds, peak memory in MB, and what it printed."""
    measured = subprocess.run((sys.executable, "-m", "bench.measured", *command), capture_output=True, text=True)
    told = json.loads(measured.stderr)
    if told["status"]:
        raise RuntimeError(f"{command[0]} ended with {told['status']}")
    return told["seconds"], told["peak_octets"] / _MB, measured.stdout


def _certreplay(*files: Path) -> ReaderFigures:
    command = str(Path(sys.executable).parent / "certreplay")
    seconds, peak_mb, printed = _command(command, "capture", "--json", *map(str, files))
    return ReaderFigures(seconds, peak_mb, frozenset(seen["sha256"] for seen in json.loads(printed)["certificates"]))


def _tshark(file: Path) -> ReaderFigures:
    fields = ("-Y", _FILTER, "-T", "fields", "-e", "tls.handshake.certificate")
    seconds, peak_mb, printed = _command("tshark", "-n", "-r", str(file), *fields)
    leaves = (line.split(",")[0].replace(":", "") for line in printed.splitlines())
    return ReaderFigures(
        seconds, peak_mb, frozenset(hashlib.sha256(bytes.fromhex(leaf)).hexdigest() for leaf in leaves)
    )


def _scapy(file: Forged, limit_seconds: float) -> tuple[str, ...]:
    """scapy's row: it reads as much of the same file as it can in a limited time."""
    _, peak_mb, printed = _command(sys.executable, "-m", "bench.scapy_reader", str(file.path), str(limit_seconds))
    told = json.loads(printed)
    seconds, octets, found = told["seconds"], told["octets"], frozenset(told["found"])
    name = "scapy" if octets == file.octets else f"scapy, stopped at {octets / file.octets * 100:.0f} % of the file"
    rates = f"{octets / _MB / seconds:.2f}", f"{len(found) / seconds:.1f}"
    return name, f"{seconds:.1f}", "", "", *rates, _share(found, file.issued), f"{peak_mb:.0f}"
