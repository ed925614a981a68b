"""The command `certreplay`. Each verb imports what it needs when it is called, so that none waits for the others."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lab.catalogue.leaks import WIRE
from lab.catalogue.plan import KeyType
from lab.exits import AS_EXPECTED, BAD_INPUT, NOT_AS_EXPECTED, end_on_error, refuse, run_to_end

if TYPE_CHECKING:
    from lab.capture.errors import CaptureFileError
    from lab.capture.handshake import Capture, Contact
    from lab.catalogue.moves import Move
    from lab.catalogue.plan import Plan
    from lab.document import Block
    from lab.events.run import Run
    from lab.inspect.certificates import Sighting
    from lab.inspect.profiles import Profile
    from lab.judging.judgement import Judgement
    from lab.judging.verdicts import JudgedRun

app = typer.Typer(
    help="A man-in-the-middle lab: what a stolen client certificate opens, and what it does not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RUNS = Path("runs")
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]
RunArgument = Annotated[Path | None, typer.Argument(help="A run's directory; the newest run if left out.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="The directory that holds the runs.")]


def run_command(arguments: Sequence[str]) -> int:
    """Carries out a call; the exit status."""
    return end_on_error(lambda: app(list(arguments), prog_name="certreplay", standalone_mode=False))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as version_of

        print(f"certreplay {version_of('certreplay')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A man-in-the-middle lab: what a stolen client certificate opens, and what it does not."""


@app.command()
def demo(
    runs: RunsOption = RUNS,
    key_type: Annotated[KeyType, typer.Option(help="What kind of keys the certificates have.")] = "p256",
    port: Annotated[int | None, typer.Option(help="The first of the ports to use; free ones if left out.")] = None,
    keep_bundle: Annotated[bool, typer.Option("--keep-bundle", help="Leave alice's bundle in her folder.")] = False,
    as_json: Json = False,
) -> None:
    """Run the embedded lab, tell its story, print the verdicts."""
    from lab.catalogue.cast import VICTIM_CLIENT
    from lab.catalogue.plan import short_story
    from lab.events.run import open_run
    from lab.judging.verdicts import JudgedRun
    from lab.staging import embedded, pki
    from lab.story.acts import Teller
    from lab.views.terminal import Terminal

    terminal, teller, plan = Terminal(quiet=as_json), Teller(), short_story(key_type)

    def watch(run: "Run") -> None:
        terminal.show(teller.update(JudgedRun(run)))

    judgement = run_to_end(embedded.run_embedded(runs, plan, _port(port, plan), watch, keep_bundle))
    run = open_run(runs / judgement.run)
    terminal.show(teller.update(JudgedRun(run), over=True))
    if not as_json:
        print(f"\nEverything is in {run.folders.path}; Wireshark opens {run.folders.capture}")
        if keep_bundle:
            print(f"Alice's bundle is kept: certreplay bundle {run.folders.part(VICTIM_CLIENT) / pki.CLIENT_P12}")
    _end(judgement, as_json)


@app.command()
def matrix(
    gateway: Annotated[list[str] | None, typer.Option(help="A gateway; all if left out. Repeatable.")] = None,
    scheme: Annotated[list[str] | None, typer.Option(help="Only gateways of this scheme. Repeatable.")] = None,
    implementation: Annotated[list[str] | None, typer.Option(help="Only of this implementation. Repeatable.")] = None,
    move: Annotated[list[str] | None, typer.Option(help="A move; all if left out. Repeatable.")] = None,
    tls: Annotated[list[str] | None, typer.Option(help="A version, 1.2 or 1.3; both if left out. Repeatable.")] = None,
    key_type: Annotated[list[str] | None, typer.Option(help="A kind of keys; p256 if left out. Repeatable.")] = None,
    leak: Annotated[list[str] | None, typer.Option(help="A leak; the wire if left out. Repeatable.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often to try each move everywhere.")] = 1,
    runs: RunsOption = RUNS,
    as_json: Json = False,
) -> None:
    """Try every move at every gateway, in TLS 1.2 and 1.3, and print what each did."""
    from lab.catalogue.plan import full_matrix, key_types

    plans = [
        full_matrix(
            gateways=gateway or (),
            schemes=scheme or (),
            implementations=implementation or (),
            moves=move or (),
            versions=tls or (),
            key_type=key,
            rounds=repeat,
            leaks=leak or (WIRE.id,),
        )
        for key in key_types(key_type or ["p256"])
    ]
    judgements = [_run_matrix(plan, runs, as_json) for plan in plans]
    if as_json:
        _print_json([one.as_dict() for one in judgements])
    raise typer.Exit(AS_EXPECTED if all(one.as_expected for one in judgements) else NOT_AS_EXPECTED)


def _run_matrix(plan: "Plan", runs: Path, as_json: bool) -> "Judgement":
    from lab.views.terminal import show

    judgement, summary = _run_plan(plan, runs)
    if not as_json:
        show(_matrix_blocks(plan, judgement, summary))
        print(f"\nThe run is in {runs / judgement.run}; `certreplay explain` shows why.")
    return judgement


def _run_plan(plan: "Plan", runs: Path) -> "tuple[Judgement, str]":
    """Carries out a plan behind a progress bar; the outcome, and how fast that went."""
    from lab.staging.embedded import run_embedded
    from lab.views.progress import MatrixProgress

    with MatrixProgress(len(plan)) as progress:
        judgement = run_to_end(run_embedded(runs, plan, None, progress.update))
    return judgement, progress.summary()


def _matrix_blocks(plan: "Plan", judgement: "Judgement", summary: str) -> "Iterator[Block]":
    from lab.document import Break, Paragraph
    from lab.story.matrix import NOTE_ON_TLS13, tell_matrix, tell_problems
    from lab.tls.versions import TLS13

    yield Break()
    yield Paragraph(f"{plan.key_type} keys, {summary}")
    yield from tell_matrix(judgement)
    yield from tell_problems(judgement)
    if TLS13 in plan.versions and WIRE.id in plan.leaks:
        yield Break()
        yield Paragraph(NOTE_ON_TLS13)


@app.command()
def claims(
    run: RunArgument = None,
    new: Annotated[bool, typer.Option("--new", help="First make a new run, of everything with every leak.")] = False,
    runs: RunsOption = RUNS,
    as_json: Json = False,
) -> None:
    """Settle each claim of the discussion by what happened in a run."""
    from lab.catalogue.plan import everything
    from lab.judging.claims import CLAIMS, Holding, settle
    from lab.judging.queries import RunQueries
    from lab.story.claims import as_json as to_json
    from lab.story.claims import tell_claims
    from lab.story.matrix import tell_problems
    from lab.views.terminal import show

    if new:
        run = runs / _run_plan(everything(), runs)[0].run
    judged = _judged(run, runs)
    settled = settle(CLAIMS, RunQueries(judged))
    folder = judged.run.folders.path
    if as_json:
        _print_json(to_json(folder.name, settled))
    else:
        show((*tell_claims(settled), *tell_problems(judged.judgement)))
        print(f"The evidence is in {folder}, by part and number: attacker#12 is line 12 of attacker/events.jsonl.")
    lacking = any(one.holding is Holding.NO_EVIDENCE for _, one in settled)
    if not as_json and lacking:
        print("`certreplay claims --new` makes a run of everything, which settles all claims.")
    raise typer.Exit(AS_EXPECTED if judged.judgement.as_expected and not lacking else NOT_AS_EXPECTED)


@app.command(name="verdicts")
def verdicts_command(run: RunArgument = None, runs: RunsOption = RUNS, as_json: Json = False) -> None:
    """Print a run's verdicts, judged anew from its events."""
    from lab.story.acts import verdict_table
    from lab.views.terminal import safe, show

    judgement = _judged(run, runs).judgement
    if not as_json:
        show([verdict_table(judgement)])
        for error in judgement.errors:
            print(safe(error))
    _end(judgement, as_json)


@app.command(name="explain")
def explain_command(
    move: Annotated[str, typer.Option(help="A move, as `certreplay moves` lists them.")],
    gateway: Annotated[str, typer.Option(help="A gateway, as `certreplay gateways` lists them.")],
    run: RunArgument = None,
    tls: Annotated[str, typer.Option(help="The version, 1.2 or 1.3.")] = "1.2",
    leak: Annotated[str, typer.Option(help="How the certificate got out.")] = WIRE.id,
    all_bytes: Annotated[bool, typer.Option("--all-bytes", help="Show long messages whole.")] = False,
    runs: RunsOption = RUNS,
    as_json: Json = False,
) -> None:
    """Show all evidence for one verdict, and why a proof did not fit."""
    from dataclasses import asdict

    from lab.story.explain import explain
    from lab.views.terminal import show

    judged = _judged(run, runs)
    judgement = judged.judgement
    found = [v for v in judgement.verdicts if (v.leak, v.move, v.gateway, v.tls) == (leak, move, gateway, tls)]
    if not found:
        wanted = f"move {move}, gateway {gateway}, TLS {tls}, leak {leak}"
        refuse(f"{judged.run.folders.path}: no verdict for {wanted}; {_has(judgement, leak)}")
    if as_json:
        _print_json(asdict(found[0]))
    else:
        show(explain(found[0]), all_bytes)


def _has(judgement: "Judgement", leak: str) -> str:
    """What a run has verdicts on, for a caller who asked for another one."""
    leaks = dict.fromkeys(v.leak for v in judgement.verdicts)
    if not leaks:
        return "it has none at all; `certreplay verdicts` says why"
    if leak not in leaks:
        return f"give --leak: it has {', '.join(leaks)}"
    mine = [v for v in judgement.verdicts if v.leak == leak]
    gateways, moves = dict.fromkeys(f"{v.gateway} in {v.tls}" for v in mine), dict.fromkeys(v.move for v in mine)
    return f"it has the moves {', '.join(moves)} at {', '.join(gateways)}"


@app.command(name="story")
def story_command(run: RunArgument = None, runs: RunsOption = RUNS, as_json: Json = False) -> None:
    """Tell a run's story again, as far as it got."""
    from lab.story.acts import tell
    from lab.views.terminal import show

    judged = _judged(run, runs)
    if not as_json:
        show(tell(judged))
    _end(judged.judgement, as_json)


@app.command()
def capture(
    files: Annotated[list[Path], typer.Argument(help="Capture files, pcap or pcapng.", metavar="FILE...")],
    pem: Annotated[Path | None, typer.Option(help="Also write the certificates there, as PEM.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Sum up who was seen, where and when.")] = False,
    as_json: Json = False,
) -> None:
    """List every client certificate in the given captures: who is in them, and whether a proof was seen."""
    import sys
    from dataclasses import asdict

    from lab.capture.handshake import Capture
    from lab.capture.reader import scan_file
    from lab.inspect.certificates import sighting, tell_sightings, write_pem
    from lab.inspect.profiles import profiles
    from lab.views.terminal import show

    chains: dict[tuple[bytes, ...], None] = {}
    seen: list[Sighting] = []
    printed = _JsonArray()
    problems: list[CaptureFileError] = []
    for file in files:

        def take(one: "Capture | Contact", file: Path = file) -> None:
            if not isinstance(one, Capture):
                return
            this = sighting(file, one)
            if pem:
                chains[one.chain] = None
            if as_json and not profile:
                printed.add(asdict(this))
            else:
                seen.append(this)

        _, problem = scan_file(file, take)
        problems += [problem] if problem else []
    if profile:
        _show_profiles(profiles(seen), as_json)
    elif as_json:
        printed.end()
    else:
        show(tell_sightings(seen))
    if pem and chains:
        for path in write_pem(pem, chains):
            print(f"wrote {path}", file=sys.stderr)
    for problem in problems:
        print(f"certreplay: {problem}", file=sys.stderr)
    if problems:
        raise typer.Exit(BAD_INPUT)


def _show_profiles(found: "list[Profile]", as_json: bool) -> None:
    from dataclasses import asdict

    from lab.inspect.profiles import tell_profiles
    from lab.views.terminal import show

    if as_json:
        _print_json([asdict(one) | {"summary": one.summary} for one in found])
    else:
        show(tell_profiles(found))


class _JsonArray:
    """Prints a JSON array item by item, so that a long one need not be kept."""

    def __init__(self) -> None:
        self._before = "["

    def add(self, item: dict[str, Any]) -> None:
        import json
        import textwrap

        print(self._before, textwrap.indent(json.dumps(item, indent=2), "  "), sep="\n", end="")
        self._before = ","

    def end(self) -> None:
        print("[]" if self._before == "[" else "\n]")


@app.command()
def bundle(
    file: Annotated[Path, typer.Argument(help="A bundle, PEM or PKCS#12.")],
    password_file: Annotated[
        Path | None, typer.Option(help="Holds the bundle's password; FILE.password if there is such a file.")
    ] = None,
    capture: Annotated[
        Path | None,
        typer.Option(help="A capture file or a run's directory to look into; the bundle's own run, if it lies in one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what lies in a bundle, what of it crossed the wire, where, and what never did."""
    from lab.inspect import bundles
    from lab.views.terminal import show

    it, content = bundles.read_bundle(file, password_file)
    wire = bundles.wire_of(file, capture)
    what = bundles.crossed(wire, it, content) if wire else None
    if as_json:
        _print_json(bundles.as_json(it, what))
    else:
        show(bundles.tell_bundle(it, what))
    if what and (what.key_at or what.why_not):
        raise typer.Exit(NOT_AS_EXPECTED)


@app.command()
def moves(as_json: Json = False) -> None:
    """List the moves: the ways of presenting a certificate without its key."""
    from lab.catalogue.moves import MOVES, STOLEN_KEY

    rows = [{"id": m.id, "title": m.title, "sends": m.sends, **dict(_refusals(m))} for m in MOVES]
    control = {
        "id": STOLEN_KEY,
        "title": "Control: prove possession with the real key",
        "sends": "alice's certificate and a CertificateVerify over this very handshake, made with her key",
        "accepted": "everywhere, or the refusals mean nothing; the lab tries it, as the attacker has no such key",
    }
    _list([*rows, control], as_json)


def _refusals(move: "Move") -> Iterator[tuple[str, str]]:
    """What makes a correct server refuse it, by version."""
    from lab.catalogue.moves import HERSELF
    from lab.tls.versions import VERSIONS

    for version in VERSIONS:
        for number, failure in enumerate(move.fails.get(version, ())):
            suffix = f" {number + 1}" if number else ""
            alerts = " or ".join(alert.label for alert in failure.alerts)
            yield f"refused in {version}{suffix}", f"{failure.clause}: {alerts}"
        if version in move.impossible:
            yield f"not in {version}", move.impossible[version]
    if move.as_herself:
        yield "refused", HERSELF


@app.command()
def schemes(as_json: Json = False) -> None:
    """List the schemes: the ways of authenticating a client."""
    from lab.catalogue.schemes import SCHEMES

    rows = [
        {
            "id": s.id,
            "asks_for": s.asks_for,
            "checks": s.verifies,
            "stands_for": s.stands_for,
            "fault": s.fault or "none",
        }
        for s in SCHEMES
    ]
    _list(rows, as_json)


@app.command()
def gateways(as_json: Json = False) -> None:
    """List the gateways: each scheme with the implementations that serve it."""
    from lab.catalogue.gateways import GATEWAYS

    rows = [
        {
            "id": g.id,
            "scheme": g.scheme.id,
            "implementation": g.implementation.title,
            "tls": " and ".join(map(str, g.versions)),
        }
        for g in GATEWAYS
    ]
    _list(rows, as_json)


classroom_app = typer.Typer(
    help="What the services in compose.yaml run.", no_args_is_help=True, hidden=True, rich_markup_mode=None
)
app.add_typer(classroom_app, name="classroom")


@classroom_app.command()
def authority(
    key_type: Annotated[KeyType, typer.Option(help="What kind of keys the certificates have.")] = "p256",
) -> None:
    """Issue the bundles and name the run."""
    from lab.staging import classroom

    classroom.start_run(key_type)


@classroom_app.command(name="control")
def control_command(
    gateway: Annotated[list[str], typer.Option(help="HOST:PORT of a gateway; once for each.")],
) -> None:
    """Try the stolen bundle at every gateway, after the attacker."""
    from lab.address import find_address
    from lab.staging import classroom

    targets = [address for address in map(find_address, gateway) if address]
    if len(targets) != len(gateway):
        refuse(f"--gateway {' '.join(gateway)}: give HOST:PORT")
    run_to_end(classroom.run_control(targets))


@classroom_app.command()
def follow() -> None:
    """Follow the parts, tell the story, judge."""
    import asyncio

    from lab import process
    from lab.judging.verdicts import JudgedRun
    from lab.staging import classroom
    from lab.story.acts import Teller
    from lab.views.terminal import Terminal

    terminal, teller = Terminal(), Teller()
    once = bool(os.environ.get("CERTREPLAY_ONCE"))

    def watch(run: "Run", judgement: "Judgement | None") -> None:
        was_done = teller.done
        terminal.show(teller.update(JudgedRun(run), over=judgement is not None))
        if teller.done and not was_done and not once:
            print(f"\nThe run is in runs/{run.name}. Everything goes on as it is, for the class; Ctrl-C ends it.")

    async def follow_run() -> "Judgement":
        return await classroom.follow(process.stop_signal(tether=False), once, watch)

    _end(asyncio.run(follow_run()), as_json=False)


def _judged(folder: Path | None, runs: Path) -> "JudgedRun":
    """A run, judged; the newest one if none is named."""
    import sys

    from lab.events.run import newest_run, open_run
    from lab.judging.verdicts import JudgedRun

    if folder is None:
        folder = newest_run(runs)
        print(f"certreplay: the newest run, {folder}", file=sys.stderr)
    return JudgedRun(open_run(folder))


def _end(judgement: "Judgement", as_json: bool) -> NoReturn:
    if as_json:
        _print_json(judgement.as_dict())
    raise typer.Exit(AS_EXPECTED if judgement.as_expected else NOT_AS_EXPECTED)


def _list(rows: Iterable[dict[str, str]], as_json: bool) -> None:
    if as_json:
        _print_json(list(rows))
        return
    for row in rows:
        print(row["id"])
        width = max(map(len, row)) + 2
        for key, value in row.items():
            if key != "id":
                print(*_wrapped(key.replace("_", " "), value, width), sep="\n")
        print()


def _wrapped(key: str, value: str, width: int) -> list[str]:
    from textwrap import wrap

    indent = " " * (2 + width)
    return wrap(value, 110, initial_indent=f"  {key.ljust(width)}", subsequent_indent=indent, break_on_hyphens=False)


def _print_json(content: object) -> None:
    import json

    print(json.dumps(content, indent=2))


def _port(port: int | None, plan: "Plan") -> int | None:
    """The first port, checked: all that follow it have to be free."""
    import socket

    from lab.ports import HOST
    from lab.staging.embedded import port_count

    highest = 65536 - port_count(plan)
    if port is not None and not 1 <= port <= highest:
        refuse(f"--port {port}: choose one from 1 to {highest}")
    if port is not None:
        for one in range(port, port + port_count(plan)):
            try:
                socket.create_server((HOST, one)).close()
            except OSError as error:
                refuse(f"--port {port}: {HOST}:{one}: {os.strerror(error.errno or 0)}; choose other ports")
    return port
