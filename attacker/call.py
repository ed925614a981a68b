"""What a call of the attacker's command line says, and how a leak takes part in it."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from attacker.attempts import Destination, Orders
from attacker.campaign import Campaign
from attacker.moves.student import load
from attacker.position.tcp_relay import Forward
from attacker.position.watchdog import Watchdog
from lab import files
from lab.address import Address, find_address
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.leaks import Leak
from lab.catalogue.moves import MOVES, moves_named
from lab.events.log import Reporter
from lab.events.types import LeakSought
from lab.process import BadInput
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.errors import BundleError
from lab.tls.versions import TLS12, versions_named

Parser: TypeAlias = argparse.ArgumentParser


@dataclass(frozen=True)
class Call:
    """A call: its arguments, where to report, the event that tells the attacker to stop, and the watchdog if there is
    one."""

    arguments: argparse.Namespace
    reporter: Reporter
    stop: asyncio.Event
    watchdog: Watchdog | None = None

    @property
    def folder(self) -> Path:
        """Where everything that the attacker writes goes."""
        folder: Path = self.arguments.folder
        return folder

    def orders(self) -> Orders:
        """What to try; BadInput for an unusable bundle or file of a move."""
        asked = self.arguments
        students = tuple(map(load, asked.move_file))
        named = asked.move or [move.id for move in MOVES if not students]
        return Orders(
            moves=moves_named([*named, *(one.move.id for one in students)]),
            students=students,
            versions=versions_named(asked.tls or [str(TLS12)]),
            rounds=asked.rounds,
            at_once=asked.at_once,
            own=tuple(map(read_bundle, asked.bundle)),
            source=asked.source,
            other_name=asked.other_name,
        )

    def forwards(self) -> list[Forward]:
        """The forwards of `add_forwards`; BadInput if one is wrong."""
        return [parse_forward(text) for text in self.arguments.forward]

    def gateways(self) -> list[Destination]:
        """The gateways of `add_gateways`; BadInput if one is wrong."""
        return [parse_gateway(text) for text in self.arguments.gateway]

    def begin(self, leak: Leak) -> Campaign:
        """A campaign at the gateways of the call; reports that it begins."""
        self.reporter.report(LeakSought(leak.id))
        victim: str = self.arguments.victim
        return Campaign(self.reporter, self.folder, leak, self.orders(), self.gateways(), victim=victim)


@dataclass(frozen=True)
class LeakCommand:
    """One command of the attacker: what it takes, and what it does.

    `ends` tells whether it comes to an end by itself; otherwise it runs until told to stop. `takes_network` tells from
    the arguments whether it spoofs ARP, so that it needs a watchdog.
    """

    help: str
    add_arguments: Callable[[Parser], None]
    run: Callable[[Call], Coroutine[Any, Any, None]]
    ends: bool = True
    takes_network: Callable[[argparse.Namespace], bool] = lambda arguments: False


FORWARD = "HOST:PORT=HOST:PORT"
LISTEN_INSTEAD = "listen at the first address in place of the server at the second; repeatable"


def add_gateways(parser: Parser) -> None:
    """The arguments for a leak whose loot is tried at known gateways."""
    tell = (
        "a gateway to try; self-signed= if it takes the certificates that the bank's customers signed themselves, "
        "password= if it takes passwords"
    )
    metavar = "[self-signed=|password=]HOST:PORT"
    parser.add_argument("--gateway", action="append", required=True, metavar=metavar, help=tell)
    parser.add_argument("--victim", default="alice", metavar="NAME", help="the customer to impersonate (%(default)s)")


def parse_gateway(text: str) -> Destination:
    """Reads `HOST:PORT`, perhaps with `self-signed=` or `password=` before it; BadInput for anything else."""
    prefix, equals, rest = text.rpartition("=")
    address = find_address(rest)
    if not address or prefix not in (("self-signed", "password") if equals else ("",)):
        raise BadInput(f"--gateway {text}: give HOST:PORT, self-signed=HOST:PORT or password=HOST:PORT")
    kind = CertificateKind.SELF_SIGNED if prefix == "self-signed" else CertificateKind.FROM_CA
    return Destination(address, address.host, kind, takes_password=prefix == "password")


def parse_forward(text: str) -> Forward:
    """Reads `127.0.0.1:40001=127.0.0.1:8441`; BadInput for anything else."""
    listen, _, target = (find_address(part) for part in text.partition("="))
    if not (listen and target):
        raise BadInput(f"{text!r} is not {FORWARD}")
    return Forward(listen, target)


def parse_listen(text: str) -> Address:
    """Reads `127.0.0.1:8443`; BadInput for anything else."""
    if address := find_address(text):
        return address
    raise BadInput(f"--listen {text}: give HOST:PORT")


def read_bundle(file: Path) -> Bundle:
    """One of mallory's own bundles; BadInput if it cannot be used."""
    try:
        return parse_bundle(files.read(file), None, str(file), datetime.now(UTC))
    except BundleError as error:
        raise BadInput(str(error)) from None
