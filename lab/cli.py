"""The command `certreplay`. How a call ends, and with which status, is in `lab.exits`.

Each command imports what it needs when it is called: `--help` and the tables need next to nothing.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

import lab
from lab.catalogue.leaks import WIRE
from lab.catalogue.plan import KeyType
from lab.commands.classroom import classroom_app
from lab.commands.course import class_app, export_app, grade
from lab.commands.exercise import exercise
from lab.commands.options import RUNS, Json, NewRuns, RunFolder, Runs, Student
from lab.exits import AS_EXPECTED, BAD_INPUT, NOT_AS_EXPECTED, bad_input, end_with, run_to_end
from lab.printable import one_line, print_json, say

if TYPE_CHECKING:
    from lab.catalogue.moves import Move
    from lab.catalogue.plan import Plan
    from lab.document import Block
    from lab.events.run import Run
    from lab.inspect.certificates import SeenCertificate
    from lab.judging.judgement import Judgement
    from lab.judging.verdicts import JudgedRun
    from lab.staging.student_code import StudentCode

app = typer.Typer(
    help="A man-in-the-middle lab: what a stolen client certificate opens, and what it does not.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="certreplay --version prints the version.",
)

Client = Annotated[
    Path | None, typer.Option(help="A student's client, which alice uses everywhere: FILE.py.", metavar="FILE.py")
]
Short = Annotated[bool, typer.Option("--short", help="Thirty lines, and no bytes.")]
Step = Annotated[bool, typer.Option("--step", help="Show an act at each Enter; when the input ends, the rest at once.")]


@app.command()
def demo(
    runs: NewRuns = RUNS,
    key_type: Annotated[KeyType, typer.Option(help="What kind of keys the certificates have.")] = "p256",
    port: Annotated[int | None, typer.Option(help="The first of the ports to use; free ones if not given.")] = None,
    keep_bundle: Annotated[bool, typer.Option("--keep-bundle", help="Leave alice's bundle in her folder.")] = False,
    student: Student = "",
    short: Short = False,
    step: Step = False,
    scheme: Annotated[
        list[str] | None, typer.Option(help="A student's server as well, for this scheme.", metavar="NAME=FILE.py")
    ] = None,
    move: Annotated[list[Path] | None, typer.Option(help="A student's move as well.", metavar="FILE.py")] = None,
    client: Client = None,
    page: Annotated[bool, typer.Option("--page", help="On a terminal: serve its page too, until Ctrl-C.")] = False,
    opens: Annotated[bool, typer.Option("--open", help="The same, and open the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Run the embedded lab, tell its story, print the verdicts."""
    _check_step(step, as_json)
    beside = None
    if (opens or (page and sys.stdout.isatty())) and not as_json:
        from lab.page.beside import PageBeside

        beside = PageBeside(opens)
    from lab.catalogue.cast import VICTIM_CLIENT
    from lab.catalogue.plan import short_story
    from lab.events.run import open_run
    from lab.judging.verdicts import JudgedRun
    from lab.staging import embedded, pki, student_code
    from lab.story import acts as story
    from lab.views import terminal
    from lab.views.steps import stepwise

    shown = terminal.Terminal(quiet=as_json)
    teller = story.Teller(short)
    code = student_code.load(scheme or (), move or (), client)
    plan = code.joined(short_story(key_type).of(student))

    def watch(run: "Run") -> None:
        if beside:
            beside.show(run.folders.path)
        if not step:  # a run does not wait for its presenter
            shown.show(teller.update(JudgedRun(run)))

    judgement = run_to_end(embedded.run_embedded(runs, plan, embedded.first_port(port, plan), watch, keep_bundle, code))
    run = open_run(runs / judgement.run)
    left = teller.update(JudgedRun(run), over=True)
    shown.show(stepwise(left) if step else left)
    if not as_json:
        say("")
        say(f"Everything is in {run.folders.path}; Wireshark opens {run.folders.capture}")
        if keep_bundle:
            kept = run.folders.part(VICTIM_CLIENT) / f"{pki.BUNDLES[plan.kinds[0]]}.p12"
            say(f"Alice's bundle is kept: certreplay bundle {kept}")
        if not beside:
            say(f"certreplay show {run.folders.path} shows it in a browser")
    if beside:
        beside.stay()
    _end(judgement, as_json)


@app.command()
def matrix(
    gateway: Annotated[list[str] | None, typer.Option(help="A gateway; all if not given. Repeatable.")] = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            help="Only gateways of this scheme; NAME=FILE.py: a student's server for it. Repeatable.",
            metavar="NAME[=FILE.py]",
        ),
    ] = None,
    implementation: Annotated[list[str] | None, typer.Option(help="Only of this implementation. Repeatable.")] = None,
    move: Annotated[
        list[str] | None,
        typer.Option(help="A move; all if not given. FILE.py: a student's. Repeatable.", metavar="NAME|FILE.py"),
    ] = None,
    client: Client = None,
    tls: Annotated[list[str] | None, typer.Option(help="A version, 1.2 or 1.3; both if not given. Repeatable.")] = None,
    key_type: Annotated[list[str] | None, typer.Option(help="A kind of keys; p256 if not given. Repeatable.")] = None,
    leak: Annotated[list[str] | None, typer.Option(help="A leak; the wire if not given. Repeatable.")] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="How often to try each move everywhere.")] = 1,
    student: Student = "",
    runs: NewRuns = RUNS,
    as_json: Json = False,
) -> None:
    """Try every move at every gateway, in TLS 1.2 and 1.3, and print what each did."""
    from lab.catalogue.plan import full_matrix, key_types
    from lab.staging import student_code

    servers, schemes = _parted(scheme, lambda one: "=" in one)
    files, moves = _parted(move, lambda one: one.endswith(".py"))
    code = student_code.load(servers, map(Path, files), client)
    others = gateway or schemes or implementation
    plans = [
        full_matrix(
            gateways=gateway or (),
            schemes=schemes,
            implementations=implementation or (),
            moves=moves,
            versions=tls or (),
            key_type=key,
            rounds=repeat,
            leaks=leak or (WIRE.id,),
        ).of(student)
        for key in key_types(key_type or ["p256"])
    ]
    plans = [code.joined(plan, bool(others), bool(moves)) for plan in plans]
    judgements: list[Judgement] = []
    for plan in plans:
        if judgements and not as_json:
            say("")
        judgements.append(_run_matrix(plan, runs, as_json, code))
    if as_json:
        print_json([judgement.as_dict() for judgement in judgements])
    sys.exit(AS_EXPECTED if all(judgement.as_expected for judgement in judgements) else NOT_AS_EXPECTED)


def _parted(given: list[str] | None, is_file: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """What names a student's file, and the rest."""
    return [one for one in given or () if is_file(one)], [one for one in given or () if not is_file(one)]


def _run_matrix(plan: "Plan", runs: Path, as_json: bool, code: "StudentCode") -> "Judgement":
    from lab.views import terminal

    judgement, summary = _run_plan(plan, runs, code)
    if as_json:
        return judgement
    terminal.show(_matrix_blocks(plan, judgement, summary))
    say("")
    say(f"The run is in {runs / judgement.run}; `certreplay explain` shows why.")
    return judgement


def _run_plan(plan: "Plan", runs: Path, code: "StudentCode | None" = None) -> "tuple[Judgement, str]":
    """A new run, with its progress on the screen, and a summary of that."""
    from lab.staging import embedded
    from lab.views.progress import MatrixProgress

    with MatrixProgress(len(plan)) as progress:
        running = embedded.run_embedded(runs, plan, None, progress.update, code=code)
        return run_to_end(running), progress.summary()


def _matrix_blocks(plan: "Plan", judgement: "Judgement", summary: str) -> "Iterator[Block]":
    from lab.document import Break, Paragraph
    from lab.story import matrix as tables
    from lab.tls.versions import TLS13

    yield Paragraph(f"{plan.key_type} keys, {summary}")
    yield from tables.tell_matrix(judgement)
    yield from tables.tell_problems(judgement)
    yield from tables.tell_lessons(judgement)
    if TLS13 in plan.versions and WIRE.id in plan.leaks:
        yield Break()
        yield Paragraph(tables.NOTE_ON_TLS13)


@app.command()
def claims(
    run: RunFolder = None,
    runs: Runs = RUNS,
    new: Annotated[bool, typer.Option("--new", help="Run every move and leak first, and take that run.")] = False,
    student: Student = "",
    as_json: Json = False,
) -> None:
    """Settle each claim of the discussion by what happened in a run."""
    from lab.catalogue.plan import everything
    from lab.judging.claims import CLAIMS, Holding, settle
    from lab.judging.queries import RunQueries
    from lab.story import claims as show
    from lab.story import matrix as tables
    from lab.views import terminal

    if new and run is not None:
        bad_input("--new makes a run of its own: leave RUN out")
    run = runs / _run_plan(everything().of(student), runs)[0].run if new else _find_run(run, runs)
    judged = _judge(run)
    judgement, settled = judged.judgement, settle(CLAIMS, RunQueries(judged))
    if as_json:
        print_json(show.as_json(run.name, settled))
    else:
        terminal.show((*show.tell_claims(settled), *tables.tell_problems(judgement)))
        say(f"The evidence is in {run}, by part and number: attacker#12 is line 12 of attacker/events.jsonl.")
    lacking = any(one.holding is Holding.NO_EVIDENCE for _, one in settled)
    sys.exit(AS_EXPECTED if judgement.as_expected and not lacking else NOT_AS_EXPECTED)


@app.command(name="verdicts")
def verdicts_command(run: RunFolder = None, runs: Runs = RUNS, as_json: Json = False) -> None:
    """Print a run's verdicts, judged anew from its events."""
    from lab.story.acts import verdict_table
    from lab.story.matrix import tell_problems
    from lab.views import terminal

    judgement = _judge(_find_run(run, runs)).judgement
    if not as_json:
        terminal.show([verdict_table(judgement.verdicts), *tell_problems(judgement)])
    _end(judgement, as_json)


@app.command(name="explain")
def explain_command(
    run: RunFolder = None,
    move: Annotated[str | None, typer.Option(help="A move, as `certreplay moves` lists them.")] = None,
    gateway: Annotated[str | None, typer.Option(help="A gateway, as `certreplay gateways` lists them.")] = None,
    scheme: Annotated[str | None, typer.Option(help="Or a scheme: the first gateway of it in the run.")] = None,
    tls: Annotated[str, typer.Option(help="The version, 1.2 or 1.3.")] = "1.2",
    leak: Annotated[str, typer.Option(help="How the certificate got out.")] = WIRE.id,
    all_bytes: Annotated[bool, typer.Option("--all-bytes", help="Say of every byte what it means.")] = False,
    as_recipe: Annotated[
        bool,
        typer.Option(
            "--recipe",
            help="Print commands instead (tshark, xxd, openssl) that recompute it; of replay-proof, at the first "
            "gateway that refused it, if not told otherwise.",
        ),
    ] = False,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Show all evidence for one verdict, and why a proof did not fit."""
    import dataclasses

    from lab.catalogue.moves import REPLAY_PROOF
    from lab.catalogue.outcomes import REFUSED
    from lab.story.explain import explain
    from lab.story.recipe import recipe
    from lab.views import terminal

    if move is None and not as_recipe:
        bad_input("give --move: `certreplay moves` lists them")
    if (gateway and scheme) or not (gateway or scheme or as_recipe):
        bad_input("give --gateway or --scheme, one of them")
    move = move or REPLAY_PROOF
    run = _find_run(run, runs)
    judged = _judge(run)
    judgement = judged.judgement
    found = [
        verdict
        for verdict in judgement.verdicts
        if (verdict.leak, verdict.move, verdict.tls) == (leak, move, tls)
        and (
            verdict.gateway == gateway
            or verdict.scheme == scheme
            or not (gateway or scheme or verdict.outcome != REFUSED)
        )
    ]
    if not found:
        place = f"gateway {gateway}" if gateway else f"scheme {scheme}" if scheme else "any gateway that refused it"
        bad_input(f"{run}: no verdict for move {move}, {place}, TLS {tls}, leak {leak}; {_has(judgement, leak)}")
    if as_recipe:
        commands = recipe(judged.run, found[0])
        if as_json:
            print_json(dataclasses.asdict(commands))
        else:
            for line in commands.script().splitlines():
                say(line)
        return
    if as_json:
        print_json(dataclasses.asdict(found[0]))
        return
    terminal.show(explain(found[0]), all_bytes)
    if doubts := [one for one in judgement.contradictions if f"({found[0].evidence.attempt})" in one]:
        for doubt in doubts:
            say(f"FINDING: {doubt}")
        sys.exit(NOT_AS_EXPECTED)


def _has(judgement: "Judgement", leak: str) -> str:
    """What the run has verdicts on, for the error if the one asked for is missing."""
    leaks = dict.fromkeys(v.leak for v in judgement.verdicts)
    if not leaks:
        return "it has none at all; `certreplay verdicts` says why"
    if leak not in leaks:
        return f"give --leak: it has {', '.join(leaks)}"
    mine = [v for v in judgement.verdicts if v.leak == leak]
    places, moves = dict.fromkeys(f"{v.gateway} in {v.tls}" for v in mine), dict.fromkeys(v.move for v in mine)
    return f"it has the moves {', '.join(moves)} at {', '.join(places)}"


@app.command(name="story")
def story_command(
    run: RunFolder = None, runs: Runs = RUNS, short: Short = False, step: Step = False, as_json: Json = False
) -> None:
    """Tell a run's story again, as far as it got."""
    from lab.story import acts as story
    from lab.views import terminal
    from lab.views.steps import stepwise

    _check_step(step, as_json)
    judged = _judge(_find_run(run, runs))
    if not as_json:
        told = story.tell(judged, short)
        terminal.show(stepwise(told) if step else told)
    _end(judged.judgement, as_json)


def _check_step(step: bool, as_json: bool) -> None:
    if step and as_json:
        bad_input("--step shows the story, which --json leaves out: give one of them")


@app.command()
def record(
    run: RunFolder = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; the run's name with .cast if not given.")
    ] = None,
    pace: Annotated[float, typer.Option(help="How fast it goes; 2 is twice as fast as a reader.")] = 1.0,
    short: Short = False,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Record a run's story for a terminal player: an asciicast, with a marker for each act."""
    from lab import files
    from lab.document import Section
    from lab.story import acts as story
    from lab.views import cast

    slowest, fastest = cast.PACES
    if not slowest <= pace <= fastest:
        bad_input(f"--pace {pace:g}: give a number from {slowest:g} to {fastest:g}")
    folder = _find_run(run, runs)
    judged = _judge(folder)
    began = judged.run.events[0].time if judged.run.events else None
    if began is None:
        bad_input(f"{folder}: has no events, so there is nothing to record")
    blocks = story.tell(judged, short)
    lines = list(cast.recording(blocks, f"certreplay, run {folder.name}", int(began.timestamp()), pace))
    file = output or Path(f"{folder.name}.cast")
    files.write(file, "".join(f"{line}\n" for line in lines))
    lasts = cast.lasts(lines)
    if as_json:
        acts = sum(isinstance(block, Section) for block in blocks)
        print_json({"file": str(file), "seconds": lasts, "acts": acts, "width": cast.WIDTH, "height": cast.HEIGHT})
    else:
        minutes, rest = divmod(round(lasts), 60)
        say(f"wrote {file}: {minutes} min {rest} s; asciinema play {file}")


@app.command()
def show(
    run: RunFolder = None,
    runs: Runs = RUNS,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The port of the page; 8440 or a free one if not given.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(help="An address of this machine, for others on its network, with the token.", metavar="ADDRESS"),
    ] = None,
    socket: Annotated[
        Path | None, typer.Option(help="Serve the newest run on this UNIX socket, for a proxy that knows its user.")
    ] = None,
    opens: Annotated[bool, typer.Option("--open", help="Open the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Show a run in a browser: serve its page, also while the run goes on, until Ctrl-C."""
    from lab.events.run import named_run, open_run
    from lab.page import showing

    if socket:
        if run or port or listen or opens or as_json:
            bad_input("--socket shows the newest run there: give --runs alone with it")
        from lab.page.behind_proxy import serve

        run_to_end(serve(runs, socket))
        return
    folder = named_run(run, runs) if run else showing.run_to_show(runs)
    open_run(folder)
    if as_json:
        from lab.page.director import tell_page
        from lab.page.model import as_data

        print_json(as_data(tell_page(_judge(folder)).page))
        return
    say(f"certreplay: showing {folder}", error=True)
    run_to_end(showing.show(lambda: folder, port, listen, opens))


@app.command()
def report(
    run: RunFolder = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Pack a run's page in one file, which opens in any browser and asks nobody for anything."""
    from lab import files
    from lab.page.director import tell_page
    from lab.page.report import render_report

    director = tell_page(_judge(_find_run(run, runs)))
    content = render_report(director).encode()
    files.write(output, content)
    if as_json:
        print_json({"file": str(output), "bytes": len(content), "scenes": [one.id for one in director.page.scenes]})
    else:
        say(f"wrote {output}: {len(director.page.scenes)} scenes, {len(content):,} bytes")


@app.command()
def capture(
    files: Annotated[list[Path], typer.Argument(help="pcap, pcapng or snoop, also compressed.", metavar="FILE...")],
    pem: Annotated[Path | None, typer.Option(help="Also write the certificates there, as PEM.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Sum up who was seen, where and when.")] = False,
    as_json: Json = False,
) -> None:
    """List every client certificate in the given captures: who is in them, and whether a proof was seen."""
    import dataclasses
    from itertools import chain

    from lab.inspect import captures, certificates, profiles
    from lab.views.json_array import JsonListing

    chains: dict[tuple[bytes, ...], None] = {}
    kept = captures.Kept()
    listing = JsonListing("certificates")

    def take(one: "SeenCertificate", sent: tuple[bytes, ...]) -> None:
        if pem:
            chains[sent] = None
        if as_json and not profile:
            listing.add(dataclasses.asdict(one))
        else:
            kept.add(one)

    read = captures.read_all(files, take)
    problems = [one.problem for one in read if one.problem]
    if problems and all(one.problem and not one.packets for one in read):
        bad_input("; ".join(problems))
    told = [captures.as_json(one) for one in read]
    if profile and as_json:
        found = profiles.profiles(kept.seen)
        summed = [dataclasses.asdict(one) | {"summary": one.summary} for one in found]
        print_json({"profiles": summed, "left_out": kept.left_out, "files": told})
    elif as_json:
        listing.end({"files": told})
    else:
        from lab.views import terminal

        shown = (
            profiles.tell_profiles(profiles.profiles(kept.seen)) if profile else certificates.tell_sightings(kept.seen)
        )
        terminal.show(chain(shown, kept.tell(), captures.tell(read)))
    if pem and chains:
        for path in certificates.write_pem(pem, chains):
            say(f"wrote {path}", error=True)
    for words in problems:
        say(f"certreplay: {one_line(words)}", error=True)
    if problems:
        sys.exit(BAD_INPUT)


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
    """List the contents of a bundle: which parts are in a capture, where, and which are not."""
    from lab.inspect import bundles
    from lab.views import terminal

    it, content = bundles.read_bundle(file, password_file)
    wire = bundles.wire_of(file, capture)
    what = bundles.crossed(wire, it, content) if wire else None
    if as_json:
        print_json(bundles.as_json(it, what))
    else:
        terminal.show(bundles.tell_bundle(it, what))
    if what and (what.key_at or what.why_not):
        sys.exit(NOT_AS_EXPECTED)


@app.command(name="try")
def try_command(
    server: Annotated[str, typer.Argument(help="Your server, on loopback.", metavar="HOST:PORT")],
    bundle: Annotated[Path, typer.Option(help="A client's bundle that the server lets in, PEM or PKCS#12.")],
    password_file: Annotated[Path | None, typer.Option(help="Its password; FILE.password if there is one.")] = None,
    other_bundle: Annotated[Path | None, typer.Option(help="Another client's, as the attacker's own.")] = None,
    other_name: Annotated[str, typer.Option(help="NAME[:PORT] of another door, which lets that one in.")] = "",
    name: Annotated[str, typer.Option(help="The server's name for the handshake; HOST if not given.")] = "",
    starttls: Annotated[str, typer.Option(help="smtp, imap, pop3, ldap, xmpp, postgres or mysql.")] = "",
    raw: Annotated[bool, typer.Option("--raw", help="No protocol: in is a complete handshake.")] = False,
    send: Annotated[str, typer.Option(help="Instead of HTTP: what to send, with \\r\\n as such.")] = "",
    path: Annotated[str, typer.Option(help="For HTTP: what to ask for.")] = "/",
    header: Annotated[list[str] | None, typer.Option(help="For HTTP: NAME: VALUE. Repeatable.")] = None,
    user: Annotated[str, typer.Option(help="For databases: the user; the certificate's name if not given.")] = "",
    database: Annotated[str, typer.Option(help="For databases: the database; the user's name if not given.")] = "",
    alpn: Annotated[list[str] | None, typer.Option(help="What to offer by ALPN, such as h2. Repeatable.")] = None,
    move: Annotated[list[str] | None, typer.Option(help="A move; all if not given. Repeatable.")] = None,
    tls: Annotated[list[str] | None, typer.Option(help="A version, 1.2 or 1.3; both if not given. Repeatable.")] = None,
    rate: Annotated[float, typer.Option(help="Connections a second, at most.")] = 20,
    at_once: Annotated[int, typer.Option(help="Connections at a time, at most.")] = 4,
    baseline: Annotated[Path | None, typer.Option(help="A file of findings that do not count.")] = None,
    write_baseline: Annotated[Path | None, typer.Option(help="Write such a file of what is found.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit's XML there.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Also write SARIF 2.1.0 there.")] = None,
    as_json: Json = False,
) -> None:
    """Does a server of yours check possession of the key? Status 0: it does; 1: it doesn't; 2: no verdict."""
    from lab.probing.call import Options, carry_out

    sys.exit(
        carry_out(
            Options(
                server=server,
                bundle=bundle,
                password_file=password_file,
                other_bundle=other_bundle,
                other_name=other_name,
                name=name,
                starttls=starttls,
                raw=raw,
                send=send,
                path=path,
                header=header or [],
                user=user,
                database=database,
                alpn=alpn or [],
                move=move or [],
                tls=tls or [],
                rate=rate,
                at_once=at_once,
                baseline=baseline,
                write_baseline=write_baseline,
                junit=junit,
                sarif=sarif,
                as_json=as_json,
            )
        )
    )


@app.command()
def gallery(
    servers: Annotated[list[str] | None, typer.Argument(help="Which; all if not given.", metavar="[SERVER...]")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Start real servers on loopback, one after the other, and try every move at each."""
    from lab.probing.call import carry_out_gallery

    sys.exit(carry_out_gallery(servers or [], markdown, as_json))


@app.command()
def exhibits(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all if not given.", metavar="[EXHIBIT...]")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Install releases that shipped without the check, for a moment, and see them taken in on loopback."""
    from lab.probing.call import carry_out_exhibits

    sys.exit(carry_out_exhibits(names or [], markdown, as_json))


@app.command()
def triple_handshake(
    peers: Annotated[list[str] | None, typer.Argument(help="Which; all if not given.", metavar="[PEERS...]")] = None,
    run: Annotated[Path | None, typer.Option(help="A run to note it in: then its claims rest on it too.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Pass a fresh proof on between curl and Apache on loopback (RFC 7627 section 1), and see what shuts that."""
    from lab.events.run import named_run
    from lab.probing.call import carry_out_triple_handshake

    folder = named_run(run, RUNS) if run else None
    sys.exit(carry_out_triple_handshake(peers or [], folder, markdown, as_json))


app.command()(exercise)
app.command()(grade)
app.add_typer(export_app, name="export")
app.add_typer(class_app, name="class")
app.add_typer(classroom_app, name="classroom")


@app.command()
def moves(as_json: Json = False) -> None:
    """List the moves: the ways of presenting a certificate without its key, and the one with it."""
    from lab.catalogue.moves import LAB_MOVES

    _show([{"id": m.id, "title": m.title, "sends": m.sends, **dict(_refusals(m))} for m in LAB_MOVES], as_json)


def _refusals(move: "Move") -> Iterator[tuple[str, str]]:
    """What makes a correct server refuse it, by version; of the move with the key, why it does not."""
    from lab.catalogue.moves import CONTROL, HERSELF
    from lab.tls.versions import VERSIONS

    for version in VERSIONS:
        for number, failure in enumerate(move.fails[version]):
            suffix = f" {number + 1}" if number else ""
            alerts = " or ".join(alert.label for alert in failure.alerts)
            yield f"refused in {version}{suffix}", f"{failure.clause}: {alerts}"
    if move.as_herself:
        yield "not as alice", HERSELF
    if move.with_key:
        yield "accepted", CONTROL


@app.command()
def schemes(as_json: Json = False) -> None:
    """List the schemes: the ways of authenticating a client."""
    from lab.catalogue.schemes import SCHEMES

    rows = [
        {
            "id": s.id,
            "asks_for": s.asks_for,
            "checks": s.verifies,
            "name_from": s.name_from.value,
            "stands_for": s.stands_for,
            "fault": s.fault or "none",
        }
        for s in SCHEMES
    ]
    _show(rows, as_json)


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
    _show(rows, as_json)


def main(arguments: Sequence[str]) -> NoReturn:
    """Carries out a call, and ends by SystemExit."""
    end_with(lambda: _call(arguments), as_json="--json" in arguments)


def _call(arguments: Sequence[str]) -> None:
    """As typer does it, except that a closed pipe is no failed verdict, status 1, here."""
    if list(arguments) == ["--version"]:
        say(f"certreplay {lab.__version__}")
        return
    command = typer.main.get_command(app)
    try:
        with command.make_context("certreplay", list(arguments) or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as end:
        sys.exit(end.exit_code if arguments else BAD_INPUT)


def _find_run(run: Path | None, runs: Path) -> Path:
    """The run that was asked for; the newest, if none was, is said on stderr."""
    from lab.events.run import named_run

    found = named_run(run, runs)
    if run is None:
        say(f"certreplay: taking the newest run, {found}", error=True)
    return found


def _judge(folder: Path) -> "JudgedRun":
    from lab.events.run import open_run
    from lab.judging.verdicts import JudgedRun

    return JudgedRun(open_run(folder))


def _end(judgement: "Judgement", as_json: bool) -> NoReturn:
    if as_json:
        sys.stdout.write(judgement.to_json())
    sys.exit(AS_EXPECTED if judgement.as_expected else NOT_AS_EXPECTED)


def _show(rows: Iterable[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print_json(list(rows))
        return
    from lab.document import Section, facts
    from lab.views import terminal

    terminal.show(Section(row["id"], (facts(*_facts(row)),), "entry") for row in rows)


def _facts(row: dict[str, str]) -> Iterator[tuple[str, str]]:
    return ((key.replace("_", " "), value) for key, value in row.items() if key != "id")
