"""A call of `certreplay try`: from its options to the exit status."""

import asyncio
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from attacker.probe.dialects import STARTTLS, Question
from attacker.probe.orders import Target
from lab import files
from lab.address import Address, find_address
from lab.catalogue.cast import TRIPLE_HANDSHAKE
from lab.catalogue.exhibits import EXHIBITS, find_exhibit
from lab.catalogue.gallery import GALLERY, find_server
from lab.catalogue.moves import find_move
from lab.catalogue.triple import PEERS, find_peers
from lab.events.log import EventLog
from lab.events.run import Folders, open_run
from lab.events.types import PartStopped
from lab.exits import bad_input, run_to_end
from lab.inspect.bundles import read_bundle
from lab.printable import print_json, say
from lab.probing import gallery_blocks, reports, triple_blocks
from lab.probing.exhibits import ReleasePair, exhibits_document, tell_exhibits, try_exhibit
from lab.probing.gallery import Shown, show
from lab.probing.judge import status
from lab.probing.probe import MOVE_IDS, Probed, ProbeFailed, probe
from lab.probing.tell import tell
from lab.probing.triple import TripleTried, try_peers
from lab.tls.bundle import Bundle
from lab.tls.versions import VERSIONS, find_version
from lab.views import markdown, terminal

MAX_RATE, MAX_AT_ONCE = 1000.0, 32
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A field's name in HTTP (RFC 9110 section 5.1)."""


@dataclass(frozen=True)
class Options:
    """What the caller said, as it was said."""

    server: str
    bundle: Path
    password_file: Path | None = None
    other_bundle: Path | None = None
    other_name: str = ""
    name: str = ""
    starttls: str = ""
    raw: bool = False
    send: str = ""
    path: str = "/"
    header: list[str] = field(default_factory=list)
    user: str = ""
    database: str = ""
    alpn: list[str] = field(default_factory=list)
    move: list[str] = field(default_factory=list)
    tls: list[str] = field(default_factory=list)
    rate: float = 20
    at_once: int = 4
    baseline: Path | None = None
    write_baseline: Path | None = None
    junit: Path | None = None
    sarif: Path | None = None
    as_json: bool = False


def carry_out(options: Options) -> int:
    """The probe and its reports; the exit status. What is wrong with the call is said in one line."""
    bundle = _bundle(options.bundle, options.password_file)
    other = _bundle(options.other_bundle, None) if options.other_bundle else None
    target = _target(options, bundle)
    try:
        accepted = reports.read_baseline(options.baseline) if options.baseline else frozenset()
    except reports.BaselineError as error:
        bad_input(str(error))

    try:
        probed = run_to_end(_bounded(target, bundle, other, _stages(options.as_json)))
    except ProbeFailed as error:
        bad_input(str(error))
    if options.junit:
        files.write(options.junit, reports.junit(probed, accepted))
    if options.sarif:
        files.write(options.sarif, reports.sarif(probed, accepted))
    if options.write_baseline:
        files.write(options.write_baseline, reports.baseline(probed))
    if options.as_json:
        print_json(reports.as_dict(probed, accepted))
    else:
        terminal.show(tell(probed))
        _tell_of_baseline([one for one in reports.findings(probed) if one.fingerprint in accepted])
    return reports.status_with(probed, accepted)


def _stages(as_json: bool) -> Callable[[str], object]:
    """Says on a terminal what goes on."""
    shown = sys.stderr.isatty() and not as_json
    return lambda words: say(f"certreplay: {words}", error=True) if shown else None


async def _bounded(target: Target, bundle: Bundle, other: Bundle | None, stage: Callable[[str], object]) -> Probed:
    """With an end: each connection has its own limit, and all together this one."""
    connections = len(target.versions) * (len(target.moves) * 2 + 10)
    seconds = 30 + connections * (15 / target.at_once + 1 / target.rate)
    try:
        async with asyncio.timeout(seconds):
            return await probe(target, bundle, other, stage)
    except TimeoutError:
        raise ProbeFailed(f"{target.address}: not done within {seconds:.0f} s; the server is too slow") from None


def _tell_of_baseline(found: "list[reports.Finding]") -> None:
    for one in found:
        say(f"In the baseline, so it does not count: {one.id}, TLS {one.tls} ({one.fingerprint[:12]})")


def _bundle(file: Path, password_file: Path | None) -> Bundle:
    bundle, _ = read_bundle(file, password_file)
    return bundle


def _target(options: Options, bundle: Bundle) -> Target:
    address = _address(options.server)
    for name, value in (("--rate", options.rate / MAX_RATE), ("--at-once", options.at_once / MAX_AT_ONCE)):
        if not 0 < value <= 1:
            bad_input(f"{name}: give more than 0 and at most {MAX_RATE if name == '--rate' else MAX_AT_ONCE:g}")
    chosen = [bool(options.starttls), options.raw, bool(options.send)]
    if sum(chosen[:2]) > 1 or (options.starttls and options.send):
        bad_input("give one of --starttls, --raw and --send")
    if options.starttls and options.starttls not in STARTTLS:
        bad_input(f"--starttls {options.starttls}: give one of {', '.join(STARTTLS)}")
    if not options.path.isascii() or any(char.isspace() for char in options.path) or not options.path.startswith("/"):
        bad_input(f"--path {options.path!r}: give a path that begins with / and has no spaces")
    for move in options.move:
        if move not in MOVE_IDS:
            known = "it takes the key" if find_move(move) else f"give one of {', '.join(MOVE_IDS)}"
            bad_input(f"--move {move}: {known}")
    versions = tuple(version for version in VERSIONS if not options.tls or str(version) in options.tls)
    for text in options.tls:
        if find_version(text) is None:
            bad_input(f"--tls {text}: give 1.2 or 1.3")
    name = options.name or address.host
    question = Question(
        host=name if address.port == 443 else str(Address(name, address.port)),
        path=options.path,
        headers=tuple(map(_header, options.header)),
        user=options.user or _common_name(bundle),
        database=options.database,
        send=_octets(options.send),
    )
    dialect = options.starttls or ("raw" if options.raw or options.send else "http")
    moves = tuple(move for move in MOVE_IDS if not options.move or move in options.move)
    other = _other_door(options, address)
    return Target(
        address,
        name,
        dialect,
        question,
        versions,
        moves,
        options.rate,
        options.at_once,
        other.host,
        other.port,
        tuple(map(_protocol, options.alpn)),
    )


def _other_door(options: Options, address: Address) -> Address:
    """The server's other name, with its port; an empty name if there is none."""
    if not options.other_name:
        return Address("", 0)
    if not options.other_bundle:
        bad_input("--other-name: give --other-bundle too, a bundle that gets in there")
    text = options.other_name
    found = find_address(text if ":" in text else f"{text}:{address.port}")
    if found is None or not found.host:
        bad_input(f"--other-name {text}: give NAME or NAME:PORT")
    return found


def _octets(text: str) -> bytes:
    """What --send stands for, with its escapes resolved."""
    try:
        return text.encode().decode("unicode_escape").encode("latin-1")
    except UnicodeError as error:
        bad_input(f"--send {text}: give ASCII, and other bytes as \\x00 to \\xff ({error})")


def _address(text: str) -> Address:
    address = find_address(text)
    if address is None or not address.port:
        bad_input(f"{text}: give HOST:PORT, such as localhost:8443")
    return address


def _protocol(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not 0 < len(text) < 256:
        bad_input(f"--alpn {text!r}: give a protocol's name in ASCII, such as h2")
    return text


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name.strip()) or not text.isascii() or not text.isprintable():
        bad_input(f"--header {text!r}: give NAME: VALUE, in ASCII and on one line, the name without spaces")
    return name.strip(), value.strip()


def _common_name(bundle: Bundle) -> str:
    from attacker.collected import common_name

    return common_name(bundle.chain[0])


def carry_out_gallery(names: Sequence[str], as_markdown: bool, as_json: bool) -> int:
    """Tries the servers of the gallery that are installed; 0 if each is safe, 1 if one is not, 2 if none was tried."""
    for name in names:
        if find_server(name) is None:
            bad_input(f"{name}: no such server; give one of {', '.join(one.id for one in GALLERY)}")
    servers = [one for one in GALLERY if not names or one.id in names]

    stage = _stages(as_json)

    async def all_of_them() -> list[Shown]:
        found = []
        for number, server in enumerate(servers, start=1):
            stage(f"{server.id} ({number} of {len(servers)})")
            found.append(await show(server))
        return found

    shown = run_to_end(all_of_them())
    tried = [one.probed for one in shown if one.probed]
    if as_json:
        rows = [
            {"server": one.server.id, "version": one.version, "missing": one.missing, "log": list(one.log)}
            | ({"probe": reports.as_dict(one.probed)} if one.probed else {})
            for one in shown
        ]
        print_json(rows)
    elif as_markdown:
        print(markdown.text(gallery_blocks.document(shown)), end="")
    else:
        terminal.show(gallery_blocks.tell(shown))
    if not tried or (names and len(tried) < len(servers)):
        return 2
    return max((1 if status(one.judged) else 0 for one in tried), default=2)


def carry_out_exhibits(names: Sequence[str], as_markdown: bool, as_json: bool) -> int:
    """Tries the exhibits; 0 if each is as the catalogue has it, 1 if one is not, 2 if one could not be tried."""
    for name in names:
        if find_exhibit(name) is None:
            bad_input(f"{name}: no such exhibit; give one of {', '.join(one.id for one in EXHIBITS)}")
    chosen = [one for one in EXHIBITS if not names or one.id in names]

    stage = _stages(as_json)

    async def all_of_them() -> list[ReleasePair]:
        return [await try_exhibit(one, stage) for one in chosen]

    pairs = run_to_end(all_of_them())
    if as_json:
        print_json([_pair_as_dict(pair) for pair in pairs])
    elif as_markdown:
        print(markdown.text(exhibits_document(pairs)), end="")
    else:
        terminal.show(tell_exhibits(pairs))
    if any(pair.missing for pair in pairs):
        return 2
    return 0 if all(pair.as_written for pair in pairs) else 1


def _pair_as_dict(pair: ReleasePair) -> dict[str, object]:
    found = {
        name: {"requirement": requirement, "version": shown.version, "probe": reports.as_dict(shown.probed)}
        for name, requirement, shown in (
            ("shipped", pair.exhibit.shipped, pair.shipped),
            ("mended", pair.exhibit.mended, pair.mended),
        )
        if shown and shown.probed
    }
    return {"exhibit": pair.exhibit.id, "missing": pair.missing, "as_written": pair.as_written, **found}


def carry_out_triple_handshake(names: Sequence[str], run: Path | None, as_markdown: bool, as_json: bool) -> int:
    """Tries the pairs of peers, and notes in the `run`, if there is one, what was found.

    0 if each is as the RFCs predict, 1 if one is not, 2 if one could not be tried.
    """
    for name in names:
        if find_peers(name) is None:
            bad_input(f"{name}: no such peers; give one of {', '.join(one.id for one in PEERS)}")
    chosen = [one for one in PEERS if not names or one.id in names]
    folders = open_run(run).folders if run else None

    stage = _stages(as_json)

    async def all_of_them() -> list[TripleTried]:
        found = []
        for one in chosen:
            stage(one.id)
            found.append(await try_peers(one))
        return found

    tried = run_to_end(all_of_them())
    if folders:
        note(folders, tried)
    if as_json:
        print_json([_triple_as_dict(one) for one in tried])
    elif as_markdown:
        print(markdown.text(triple_blocks.document(tried)), end="")
    else:
        terminal.show(triple_blocks.tell(tried))
    if any(one.missing for one in tried):
        return 2
    return 0 if all(one.as_written for one in tried) else 1


def note(folders: Folders, tried: Sequence[TripleTried]) -> None:
    """Writes what was found into a run, for its claims. CannotWrite if that cannot be done."""
    try:
        log = EventLog(folders.part(TRIPLE_HANDSHAKE), TRIPLE_HANDSHAKE)
    except OSError as error:
        raise files.CannotWrite(f"{error.filename}: {error.strerror}") from None
    for one in tried:
        if not one.missing:
            log.report(one.event)
    log.report(PartStopped("all peers were tried"))
    log.close()


def _triple_as_dict(one: TripleTried) -> dict[str, object]:
    found = asdict(one)
    found["peers"] = one.peers.id
    return {**found, "expected": one.peers.expected, "outcome": one.outcome, "as_written": one.as_written}
