"""Addresses in what the parts report, with the gateways behind them."""

import re
from collections.abc import Iterable, Iterator

from lab.judging.verdicts import JudgedRun

_PORTS = re.compile(r"(?<![:\w])(?:\[[0-9a-f:]+\]|[\w.-]+):(\d+)(?![:\w])")
"""The ports of addresses, host:port; what is in a MAC address is none."""


def with_gateways(judged: JudgedRun, lines: Iterable[str]) -> Iterator[str]:
    """Each line, followed by the gateway whose address is in it."""
    for line in lines:
        there = dict.fromkeys(
            judged.gateways[port].id for port in map(int, _PORTS.findall(line)) if port in judged.gateways
        )
        yield f"{line} ({', '.join(there)})" if there else line
